"""Files that know of mail: an mbox, a list of Message-IDs, a log, a dump of notmuch's tags; plain or compressed."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.flags import pack
from mailkeep.store.foreign import (
    IDS,
    KIND_BYTES,
    LOG,
    MBOX,
    NOTMUCH,
    Item,
    Problems,
    Stream,
    pieces_or_error,
)
from mailkeep.wire import mbox, messageids
from mailkeep.wire.headers import parse
from mailkeep.wire.maillog import Delivery, Export, MailLog
from mailkeep.wire.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.store.foreign import Source
    from mailkeep.wire.headers import Headers

LINE_BYTES_MAX = 1 << 20
"""The rest of a longer line is passed over."""
_LOG_LINE = re.compile(
    rb"(?:<\d+>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)", re.MULTILINE
)
_EXPORT_LINE = re.compile(rb"^__[A-Z_]+=", re.MULTILINE)


def open_file(name: str, path: bytes, kind: str | None, now: int, recipients: Iterable[str]) -> Source:
    """Open a file, or standard input, by what it is; `mailkeep.store.foreign.open_source` says more."""
    stream = Stream(name, path)
    try:
        pieces = stream.chunks()
        first = bytearray()
        while len(first) < KIND_BYTES and (piece := next(pieces, b"")):
            first += piece
        head = bytes(first)
        if kind is None:
            kind = _kind(head, name)
        again = _Pieces(stream, head, pieces)
        if kind == MBOX:
            if head and not head.lstrip(b"\r\n").startswith(b"From "):
                raise DataError(
                    f'{printable(name)} is no mbox: it does not begin with "From "', untouched="anything"
                )
            return MboxSource(name, stream, again)
        return IdSource(name, kind, stream, again, now, recipients)
    except BaseException:
        stream.close()
        raise


def _kind(head: bytes, name: str) -> str:
    """What a file is, by its beginning.

    Raises:
        DataError: Nothing that is understood.
    """
    text = head.lstrip(b"\r\n\xef\xbb\xbf \t")
    if text.startswith(b"From "):
        return MBOX
    if text.startswith(messageids.NOTMUCH_HEAD.encode()):
        return NOTMUCH
    if (
        _LOG_LINE.match(text)
        or _EXPORT_LINE.match(text)
        or (text[:1] == b"{" and b'"__REALTIME_TIMESTAMP"' in text)
    ):
        return LOG
    lines = [line.decode(errors="replace") for line in text.split(b"\n")[:200]]
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip() and line[:1] != "#"]
    if lines and sum(messageids.notmuch(line) is not None for line in lines) * 10 >= len(lines) * 9:
        return NOTMUCH
    if lines and sum(messageids.plain(line) is not None for line in lines) * 10 >= len(lines) * 9:
        return IDS
    raise DataError(
        f"{printable(name)} is {'empty' if not text else 'nothing that is understood'}",
        untouched="anything",
        hint="it may be a Maildir, an mbox, a list of Message-IDs, a mail log or a notmuch dump, plain, .gz or .zst;"
        " --kind says which",
    )


class _Pieces:
    """All bytes of a stream whose beginning was read: once, or again where it is a file."""

    def __init__(self, stream: Stream, head: bytes, rest: Iterator[bytes]) -> None:
        self.stream, self.head, self.rest = stream, head, rest
        self.used = False

    def __call__(self) -> Iterator[bytes]:
        if self.used:
            pieces_or_error(self.stream.again, self.stream.name)
            return self.stream.chunks()
        self.used = True
        return self._first()

    def _first(self) -> Iterator[bytes]:
        yield self.head
        yield from self.rest


class MboxSource:
    """The messages of an mbox, each as one of the variants that it may have been elsewhere."""

    kind, has_contents, in_order = MBOX, True, True
    key = staticmethod(mbox.body_key)

    def __init__(self, name: str, stream: Stream, pieces: _Pieces) -> None:
        self.name, self.stream, self.pieces = name, stream, pieces
        self.problems = Problems()

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _mails(self) -> Iterator[tuple[int, mbox.Mail]]:
        try:
            yield from enumerate(mbox.split(self.pieces()), 1)
        except ValueError as err:
            raise DataError(f"{printable(self.name)} is no mbox: {err}", untouched="anything") from err

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Every message: under the content id that this store knows, if it knows any of its variants."""
        del here
        size = 0
        for number, mail in self._mails():
            size += mail.size
            if progress is not None:
                progress("compared", number, size)
            if mail.raw is None:
                self.problems.add(
                    f"message {number}", f"has {format_size(mail.size)}: too large to be taken from an mbox"
                )
                continue
            forms = mbox.variants(mail.raw)
            ids = (sha256(form).digest() for form in forms)
            first = next(ids)
            content, length = first, len(forms[0])
            for at, found in enumerate((first, *ids)) if not known(first) else ():
                if known(found):
                    content, length = found, len(forms[at])
                    break
            head = parse(forms[0])
            date = mbox.date_of(mail.from_line)
            yield Item(
                content, head.message_id, "", pack(mbox.flags_of(mail.raw)), head.date if date is None else date, length,
                number.to_bytes(8, "big"), mbox.body_key(mail.raw),
            )  # fmt: skip

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """Nothing more than `items` gave."""
        del place
        return parse(b""), lambda: None

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """The messages again, in the order in which they stand in the file."""
        mails = self._mails()
        at, mail = 0, None
        for place, content_id in wanted:
            number = int.from_bytes(place, "big")
            while at < number:
                at, mail = next(mails, (1 << 62, None))
            found = None
            if at == number and mail is not None and mail.raw is not None:
                found = next((v for v in mbox.variants(mail.raw) if sha256(v).digest() == content_id), None)
            if found is None:
                self.problems.add(f"message {number}", "is another since it was compared")
            yield found


class IdSource:
    """Message-IDs, of which a list, a log or a dump knows no more than when and to whom.

    Attributes:
        unread: Lines that told of no message though they should have; of a log, of course, most lines do not.
    """

    has_contents, in_order = False, True
    key = staticmethod(mbox.body_key)

    def __init__(
        self, name: str, kind: str, stream: Stream, pieces: _Pieces, now: int, recipients: Iterable[str]
    ) -> None:
        self.name, self.kind, self.stream, self.pieces, self.now = name, kind, stream, pieces, now
        self.recipients = [word.casefold() for word in recipients]
        self.problems = Problems()
        self.unread = 0

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Every message, once."""
        del known, here
        seen: set[bytes] = set()  # 8 bytes of a hash each: a list of a million takes less than 100 MB
        for item in self._all():
            mark = sha256(item.message_id.lower().encode(errors="surrogatepass")).digest()[:8]
            if mark in seen:
                continue
            seen.add(mark)
            if progress is not None and len(seen) % 500 == 0:
                progress("compared", len(seen))
            yield item

    def _all(self) -> Iterator[Item]:
        if self.kind == LOG:
            yield from self._log()
            return
        for line in lines(self.pieces()):
            if self.kind == NOTMUCH:
                tagged = messageids.notmuch(line)
                if tagged is not None:
                    yield Item(None, tagged[0], flags=_of_tags(tagged[1]))
                elif line.strip() and line[:1] != "#":
                    self._pass_over(line)
            else:
                found = messageids.plain(line)
                if found is not None:
                    yield Item(None, found)
                elif line.strip() and line.strip()[:1] != "#":
                    self._pass_over(line)

    def _pass_over(self, line: str) -> None:
        self.unread += 1
        self.problems.add(line.strip()[:80], "is no Message-ID")

    def _log(self) -> Iterator[Item]:
        log = MailLog(self.now)
        pieces = self.pieces()
        head = next(pieces, b"")
        if _EXPORT_LINE.match(head):
            export = Export(log)
            found: Iterable[Delivery] = export.feed(head)
            while True:
                for delivery in found:
                    yield from self._wanted(delivery)
                piece = next(pieces, None)
                if piece is None:
                    break
                found = export.feed(piece)
            for delivery in export.end():
                yield from self._wanted(delivery)
        else:
            for line in lines(_chain(head, pieces)):
                told = log.line(line)
                if told is not None:
                    yield from self._wanted(told)
        if not log.mail:
            raise DataError(
                f"{printable(self.name)} has no line of a mail server that is understood ({log.lines:,} lines of a log)",
                untouched="anything",
                hint="Postfix, Exim, sendmail and Dovecot are; Postfix needs its cleanup lines, which have the Message-IDs",
            )

    def _wanted(self, delivery: Delivery) -> Iterator[Item]:
        if self.recipients:
            names = [name.casefold() for name in delivery.recipients]
            names += [name.partition("@")[0] for name in names]
            if not any(word in names for word in self.recipients):
                return
        yield Item(None, delivery.message_id, date=delivery.date)

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """Nothing."""
        del place
        return parse(b""), lambda: None

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """Nothing."""
        for _ in wanted:
            yield None


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines of text without their ends; of one that is absurdly long, the beginning."""
    rest, skipping = b"", False
    for piece in pieces:
        parts = (rest + piece).split(b"\n")
        rest = parts.pop()
        for part in parts:
            if not skipping:
                yield part[:LINE_BYTES_MAX].rstrip(b"\r").decode(errors="replace")
            skipping = False
        if len(rest) > LINE_BYTES_MAX:
            if not skipping:
                yield rest[:LINE_BYTES_MAX].decode(errors="replace")
            rest, skipping = b"", True
    if rest and not skipping:
        yield rest.rstrip(b"\r").decode(errors="replace")


def _of_tags(tags: list[str]) -> str:
    """The Maildir flags that notmuch keeps as tags (notmuch-config(1), maildir.synchronize_flags)."""
    flags = {"draft": "D", "flagged": "F", "passed": "P", "replied": "R"}
    found = {flags[tag] for tag in tags if tag in flags}
    if "unread" not in tags:
        found.add("S")
    return pack(found)
