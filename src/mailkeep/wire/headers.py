"""The few header fields by which people look for a message, read from any bytes.

What a message says in its head is its sender's choice: nothing here may fail, or take longer than the head is long.
RFC 5322 §2.2 for the folding of lines, RFC 2047 for encoded words, RFC 6532 for UTF-8 in fields.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

HEAD_BYTES = 1 << 16
"""What stands further down in a message than this is not looked for."""
ID_CHARS_MAX = 250
"""RFC 5322 §2.1.1 allows lines of 998; real Message-IDs have under 150. See `message_key`."""
ADDRESS_CHARS_MAX = 300
RECIPIENTS_CHARS_MAX = 1000
SUBJECT_CHARS_MAX = 500
"""A longer field is cut: what is searched for stands at its beginning, and a cache must not grow with hostile mail."""
_RAW_BYTES_MAX = 8192
"""Of a field before it is decoded."""

# The line break comes first, and is looked at only: so the search leaps from line to line (measured: ten times as fast).
_FIELD = re.compile(rb"\n([MmFfTtCcSsDd][A-Za-z-]{1,9})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_NAMES = frozenset((b"message-id", b"from", b"to", b"cc", b"subject", b"date"))
_ID = re.compile(rb"<([^<>\s]+)>|([^\s<>]+)")
_FOLD = re.compile(r"\s+")
_ENCODED = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_DATE = re.compile(
    rb"(\d{1,2})[ \t\r\n-]+([A-Za-z]{3})[A-Za-z]*[ \t\r\n,-]+(\d{2,4})"
    rb"(?:[ \t\r\n]+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:[ \t\r\n]*([+-]\d{4}|[A-Za-z]{1,5}))?)?"
)
_MONTHS = {name: n for n, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_ZONES = {b"EST": -5, b"EDT": -4, b"CST": -6, b"CDT": -5, b"MST": -7, b"MDT": -6, b"PST": -8, b"PDT": -7}
"""RFC 5322 §4.3; every other name of a zone counts as UTC there."""


class Headers:
    """What a message says of itself. A field that is not there is empty.

    Attributes:
        message_id: As `message_key` makes it.
        sender: From.
        recipients: To and Cc, joined by a comma.
        subject: Decoded, on one line.
        date: Date, in seconds since 1970, or None where there is none that can be read. The sender's choice.
    """

    __slots__ = ("date", "message_id", "recipients", "sender", "subject")

    def __init__(self, message_id: str, sender: str, recipients: str, subject: str, date: int | None) -> None:
        self.message_id, self.sender, self.recipients = message_id, sender, recipients
        self.subject, self.date = subject, date

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.astuple() == other.astuple()

    def __hash__(self) -> int:
        return hash(self.astuple())

    def __repr__(self) -> str:
        return f"Headers{self.astuple()!r}"

    def astuple(self) -> tuple[str, str, str, str, int | None]:
        """Message-ID, sender, recipients, subject, date: as they are stored."""
        return (self.message_id, self.sender, self.recipients, self.subject, self.date)


NOTHING = Headers("", "", "", "", None)
"""Of a message whose head says nothing, or that cannot be read."""


def parse(head: bytes) -> Headers:
    """Read the first bytes of a message; of a field that is there twice, the first counts (but all of To and Cc)."""
    head = b"\n" + head[:HEAD_BYTES]
    ends = [at for at in (head.find(b"\n\n"), head.find(b"\n\r\n")) if at >= 0]
    if ends:
        head = head[: min(ends)]
    message_id = sender = subject = ""
    recipients: list[str] = []
    date: int | None = None
    for name, value in _FIELD.findall(head):
        kind = name.lower()
        if kind not in _NAMES:
            continue
        if kind == b"message-id":
            message_id = message_id or _message_id(value)
        elif kind == b"from":
            sender = sender or decoded(value, ADDRESS_CHARS_MAX)
        elif kind == b"subject":
            subject = subject or decoded(value, SUBJECT_CHARS_MAX)
        elif kind == b"date":
            date = parse_date(value[:200]) if date is None else date
        elif len(recipients) < RECIPIENTS_CHARS_MAX:
            recipients.append(decoded(value, RECIPIENTS_CHARS_MAX))
    return Headers(message_id, sender, ", ".join(recipients)[:RECIPIENTS_CHARS_MAX], subject, date)


def message_key(text: str) -> str:
    """A Message-ID without its angle brackets; one that is absurdly long by its beginning and its hash.

    Whatever is looked for or compared by Message-ID goes through this, so that what was cut still differs.
    """
    text = text.strip()
    if text[:1] == "<" and text[-1:] == ">":
        text = text[1:-1]
    if len(text) > ID_CHARS_MAX:
        tail = "#" + sha256(text.encode(errors="surrogatepass")).hexdigest()
        text = text[: ID_CHARS_MAX - len(tail)] + tail
    return text


def _message_id(value: bytes) -> str:
    found = _ID.search(value)
    return message_key(_text(found[1] or found[2])) if found else ""


def _text(raw: bytes) -> str:
    """Bytes that ought to be ASCII or UTF-8 and may be anything."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def decoded(raw: bytes, chars_max: int) -> str:
    """A field's value to be searched and shown: unfolded, encoded words decoded (RFC 2047), cut to so many characters."""
    text = _text(raw[:_RAW_BYTES_MAX])
    if "=?" in text:
        text = _words(text)
    if not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":
        text = _FOLD.sub(" ", text.replace("\0", " ")).strip()
    return text[:chars_max]


def _words(text: str) -> str:
    """Decode encoded words; white space between two of them goes (RFC 2047 §6.2).

    Neighbours of one charset are joined before they are decoded: much software cuts a character in two.
    """
    out: list[str] = []
    pending, charset, at = b"", "", 0
    found: Match[str]
    for found in _ENCODED.finditer(text):
        between = text[at : found.start()]
        # The language that RFC 2231 §5 allows behind a charset is of no use here.
        name = found[1].partition("*")[0].lower()
        glued = not between.strip() and bool(pending)
        if pending and not (glued and name == charset):
            out.append(_from(pending, charset))
            pending = b""
        if not glued:
            out.append(between)
        pending, charset, at = pending + _bytes(found), name, found.end()
    out.append(_from(pending, charset))
    return "".join(out) + text[at:]


def _bytes(word: Match[str]) -> bytes:
    raw = word[3].encode("ascii", "replace")
    if word[2] in "qQ":
        return a2b_qp(raw, header=True)
    try:
        return a2b_base64(raw + b"==")
    except Base64Error:
        return raw


def _from(raw: bytes, charset: str) -> str:
    if charset in ("us-ascii", "utf8", "utf-8", ""):
        return raw.decode("utf-8", "replace")
    try:
        return raw.decode(charset, "replace")
    except (LookupError, ValueError, TypeError):  # no such charset, or one that is no encoding of text
        return raw.decode("latin-1")


def parse_date(value: bytes) -> int | None:
    """Seconds since 1970 of a Date field (RFC 5322 §3.3, with the obsolete forms of §4.3), or None."""
    found = _DATE.search(value)
    month = _MONTHS.get(found[2].lower()) if found else None
    if found is None or month is None:
        return None
    day, year = int(found[1]), int(found[3])
    if len(found[3]) < 4:
        year += 2000 if year < 50 else 1900
    hour, minute, second = int(found[4] or 0), int(found[5] or 0), int(found[6] or 0)
    if not (1 <= day <= 31 and year >= 1900 and hour < 24 and minute < 60 and second < 61):
        return None
    zone = found[7] or b""
    if zone[:1] in (b"+", b"-"):
        offset = int(zone[1:3]) * 3600 + int(zone[3:]) * 60
        offset = -offset if zone[:1] == b"-" else offset
    else:
        offset = _ZONES.get(zone.upper(), 0) * 3600
    return days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a day of the Gregorian calendar; the 31st of a short month is the 1st or so of the next."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
