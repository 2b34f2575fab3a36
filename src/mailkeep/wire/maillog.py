"""Mail logs: which messages did this machine accept and deliver into a mailbox of its own?

Read are Postfix, Exim, sendmail and Dovecot (LMTP, LDA, Sieve), as syslog writes them (with a year or without), as Exim writes
its main log, and as `journalctl -o short`, `json` and `export` give them. A server writes the Message-ID in one line and the
delivery in others, under its queue id: so lines are fed in their order, and few are remembered.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

from mailkeep.wire.headers import message_key

QUEUE_IDS_MAX = 100_000
"""Queue ids whose end was not seen yet; the oldest go. A busy server has some thousands of them."""
LINE_CHARS_MAX = 20_000
"""The rest of a longer line is not read."""
FIELD_BYTES_MAX = 1 << 20
"""A longer field of a journal is passed over."""

_MONTHS = {
    name: n
    for n, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d+)? ")
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z| ?[+-]\d\d:?\d\d)? ")
_TAG = re.compile(r"(?:\S+ )?([A-Za-z][\w./()@+-]*)(?:\[\d+\])?: (.*)\Z", re.DOTALL)
_QUEUE = re.compile(r"([0-9A-Za-z]{5,30}): (.*)\Z", re.DOTALL)
_POSTFIX_ID = re.compile(r"(?:resent-)?message-id=<?([^<>\s,]+)>?")
_TO = re.compile(r"\bto=<([^>]*)>")
_ORIG_TO = re.compile(r"\borig_to=<([^>]*)>")
_SENDMAIL_ID = re.compile(r"\bmsgid=<?([^<>\s,]+)>?")
_DOVECOT_USER = re.compile(r"^(?:lmtp|lda|deliver)\(([^)]*)\)")
_DOVECOT_ID = re.compile(r"\bmsgid=<?([^<>\s,:]+)>?")
_DOVECOT_BOX = re.compile(r"(?:saved mail to|stored mail into mailbox) '?([^']+?)'?\s*\Z")
_EXIM = re.compile(
    r"(?:\[\d+\] )?([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) (<=|=>|->|>>|Completed|\*\*|==)(.*)\Z",
    re.DOTALL,
)
_EXIM_ID = re.compile(r" id=([^\s<>]+)")
_LOCAL = frozenset(("local", "virtual", "pipe", "lmtp"))
"""Postfix's delivery agents that end on this machine, or hand over to what does."""
_REMOTE = frozenset(("esmtp", "smtp", "relay", "esmtps", "smtp8", "dsmtp"))
"""sendmail's mailers that send to other machines."""


class Delivery:
    """A message that was delivered here.

    Attributes:
        message_id: As `message_key` makes it.
        date: Seconds since 1970.
        recipients: Addresses, as logged.
        mailbox: Where Dovecot says that it put it, or ''.
    """

    __slots__ = ("date", "mailbox", "message_id", "recipients")

    def __init__(self, message_id: str, date: int, recipients: tuple[str, ...], mailbox: str = "") -> None:
        self.message_id, self.date, self.recipients, self.mailbox = message_id, date, recipients, mailbox


class MailLog:
    """Reads lines of one log, in their order.

    Attributes:
        lines: How many had a time, as lines of a log have.
        mail: How many of these a mail server wrote, as far as understood.
    """

    def __init__(self, now: int) -> None:
        """Begin.

        Args:
            now: Seconds since 1970: a time without a year is the last such one before.
        """
        self.now = now
        self.lines = self.mail = 0
        self._ids: dict[str, str] = {}
        self._year = datetime.fromtimestamp(now).astimezone().year
        self._at = ""
        self._date = 0

    def line(self, text: str) -> Delivery | None:
        """One line of syslog, of Exim's main log or of `journalctl -o short` or json; a delivery that it tells of."""
        text = text.rstrip("\r\n")[:LINE_CHARS_MAX]
        if text[:1] == "{":
            return self._json(text)
        date, rest = self._time(text)
        if date is None:
            return None
        self.lines += 1
        found = _EXIM.match(rest)
        if found:
            return self._exim(found[1], found[2], found[3], date)
        tag = _TAG.match(rest)
        return self.entry(tag[1], tag[2], date) if tag else None

    def _json(self, text: str) -> Delivery | None:
        try:
            fields = json.loads(text)
        except ValueError:
            return None
        if not isinstance(fields, dict):
            return None
        message = fields.get("MESSAGE")
        if isinstance(message, list):  # bytes that are no UTF-8
            message = bytes(b for b in message if isinstance(b, int) and 0 <= b < 256).decode(
                errors="replace"
            )
        return self.fields({"MESSAGE": message, **{name: fields.get(name) for name in _FIELDS[1:]}})

    def fields(self, fields: dict[str, object]) -> Delivery | None:
        """One entry of the journal, by its fields."""
        message, stamp = fields.get("MESSAGE"), str(fields.get("__REALTIME_TIMESTAMP") or "")
        if not isinstance(message, str) or not (stamp.isascii() and stamp.isdigit() and len(stamp) < 18):
            return None
        self.lines += 1
        date = int(stamp) // 1_000_000
        found = _EXIM.match(message)
        if found:
            return self._exim(found[1], found[2], found[3], date)
        return self.entry(str(fields.get("SYSLOG_IDENTIFIER") or fields.get("_COMM") or ""), message, date)

    def entry(self, program: str, text: str, date: int) -> Delivery | None:
        """What a program said at a time."""
        if program.startswith("dovecot") or _DOVECOT_USER.match(program):
            return self._dovecot(text if program.startswith("dovecot") else f"{program}: {text}", date)
        if program == "exim" or program.startswith("exim4"):
            found = _EXIM.match(text)
            return self._exim(found[1], found[2], found[3], date) if found else None
        queued = _QUEUE.match(text)
        if queued is None:
            return None
        if "/" in program:  # postfix/local, and under other names where there are several instances
            return self._postfix(program.rpartition("/")[2], queued[1], queued[2], date)
        return self._sendmail(queued[1], queued[2], date)

    # --- servers

    def _note(self, queue_id: str, message_id: str) -> None:
        self._ids.pop(queue_id, None)
        if len(self._ids) >= QUEUE_IDS_MAX:
            del self._ids[next(iter(self._ids))]
        self._ids[queue_id] = message_key(message_id)

    def _postfix(self, agent: str, queue_id: str, text: str, date: int) -> Delivery | None:
        self.mail += 1
        if agent == "cleanup":
            found = _POSTFIX_ID.match(text)
            if found:
                self._note(queue_id, found[1])
        elif text.startswith("removed"):
            self._ids.pop(queue_id, None)
        elif "status=sent" in text and (agent in _LOCAL or "relay=local" in text or "relay=virtual" in text):
            if "forwarded as" in text:
                return None
            to, orig = _TO.search(text), _ORIG_TO.search(text)
            return self._delivered(queue_id, [found[1] for found in (to, orig) if found], date)
        return None

    def _sendmail(self, queue_id: str, text: str, date: int) -> Delivery | None:
        found = _SENDMAIL_ID.search(text)
        if found and text.startswith("from="):
            self.mail += 1
            self._note(queue_id, found[1])
        elif "stat=Sent" in text and "mailer=" in text:
            self.mail += 1
            mailer = text.partition("mailer=")[2].partition(",")[0].strip().lower()
            if mailer not in _REMOTE:
                to = text.removeprefix("to=").partition(", delay=")[0].partition(", ctladdr=")[0]
                names = [word.strip(" <>") for word in to.split(",")]
                return self._delivered(queue_id, names, date)
        return None

    def _exim(self, queue_id: str, mark: str, text: str, date: int) -> Delivery | None:
        self.mail += 1
        if mark == "<=":
            found = _EXIM_ID.search(text)
            if found:
                self._note(queue_id, found[1])
        elif mark == "Completed":
            self._ids.pop(queue_id, None)
        elif mark in ("=>", "->", ">>") and " H=" not in text:
            words = text.partition(" R=")[0].split()
            return self._delivered(queue_id, [word.strip("<>") for word in words], date)
        return None

    def _dovecot(self, text: str, date: int) -> Delivery | None:
        user, found, box = _DOVECOT_USER.match(text), _DOVECOT_ID.search(text), _DOVECOT_BOX.search(text)
        if not (user and found and box):
            return None
        self.mail += 1
        name = user[1].partition(",")[0]
        return Delivery(message_key(found[1]), date, (name,), box[1])

    def _delivered(self, queue_id: str, recipients: list[str], date: int) -> Delivery | None:
        message_id = self._ids.get(queue_id)
        return Delivery(message_id, date, tuple(filter(None, recipients))) if message_id else None

    # --- times

    def _time(self, text: str) -> tuple[int | None, str]:
        """When a line was written, and what follows; None: it is no line of a log."""
        if text[:1] == "<" and ">" in text[:6]:  # a priority in front, as some daemons leave it
            text = text[text.index(">") + 1 :]
        found = _SYSLOG.match(text) or _ISO.match(text)
        if found is None:
            return None, text
        if found[0] != self._at:
            try:
                self._date = self._without_year(found) if found.re is _SYSLOG else _iso(found)
            except (ValueError, OverflowError, KeyError):
                return None, text
            self._at = found[0]
        return self._date, text[found.end() :]

    def _without_year(self, found: re.Match[str]) -> int:
        month = _MONTHS[found[1]]
        for year in range(self._year, self._year - 9, -1):  # up to eight back, for the 29th of February
            try:
                day, hour, minute, second = map(int, found.groups()[1:])
                at = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the local clock's
            except ValueError:
                continue
            if at.timestamp() <= self.now + 86400:
                return int(at.timestamp())
        raise ValueError("no such day")


_FIELDS = ("MESSAGE", "__REALTIME_TIMESTAMP", "SYSLOG_IDENTIFIER", "_COMM")


def _iso(found: re.Match[str]) -> int:
    zone = (found[3] or "").strip()
    if zone and zone != "Z" and ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    return int(
        datetime.fromisoformat(f"{found[1]}T{found[2]}{'+00:00' if zone == 'Z' else zone}").timestamp()
    )


class Export:
    """Reads `journalctl -o export`: fields a line each, entries divided by empty lines, bytes with a length before them.

    See systemd.io/JOURNAL_EXPORT_FORMATS.
    """

    def __init__(self, log: MailLog) -> None:
        self.log = log
        self._buffer = bytearray()
        self._fields: dict[str, object] = {}
        self._skip = 0

    def feed(self, data: bytes) -> list[Delivery]:
        """Take the next bytes; deliveries that are told of in entries that are whole by now."""
        self._buffer += data
        out: list[Delivery] = []
        while self._step(out):
            pass
        return out

    def end(self) -> list[Delivery]:
        """No more comes."""
        return self.feed(b"\n\n")

    def _step(self, out: list[Delivery]) -> bool:
        buffer = self._buffer
        if self._skip:
            gone = min(self._skip, len(buffer))
            del buffer[:gone]
            self._skip -= gone
            return not self._skip and bool(buffer)
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > FIELD_BYTES_MAX:
                del buffer[: len(buffer) - 1]
            return False
        line = bytes(buffer[:end])
        if b"=" in line or not line:
            del buffer[: end + 1]
            if line:
                name, _, value = line.partition(b"=")
                self._keep(name, value)
            else:
                delivery = self.log.fields(self._fields)
                self._fields = {}
                if delivery is not None:
                    out.append(delivery)
            return True
        if len(buffer) < end + 9:
            return False
        size = int.from_bytes(buffer[end + 1 : end + 9], "little")
        if size > FIELD_BYTES_MAX:
            del buffer[: end + 9]
            self._skip = size + 1
            return True
        if len(buffer) < end + 10 + size:
            return False
        self._keep(line, bytes(buffer[end + 9 : end + 9 + size]))
        del buffer[: end + 10 + size]
        return True

    def _keep(self, name: bytes, value: bytes) -> None:
        key = name[:64].decode("ascii", "replace")
        if key in _FIELDS:
            self._fields[key] = value.decode(errors="replace")
