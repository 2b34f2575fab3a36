"""Mailboxes in one file: where a message ends, what its writer did to it, and what it was before.

There are four dialects and no mark which one a file is in (mboxo, mboxrd, mboxcl, mboxcl2; see mbox(5) and RFC 4155).
A message begins at a line `From SENDER DATE` behind an empty line and before a header field; body lines that begin with
`From ` are quoted by `>`, in mboxrd also those that have such signs already. Mail programs that write an mbox add fields
for flags and numbers. So the bytes that a message had elsewhere are one of a few `variants`.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256

from mailkeep.domain.flags import OLD, canonical, is_atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MESSAGE_BYTES_MAX = 64 << 20
"""A larger message of an mbox is only counted: it has to fit into memory some times over. Mail servers refuse such."""
_LOOK_AHEAD = 4096
"""Bytes behind a separator that are enough to judge it."""

_FROM = re.compile(rb"From [^\n]*\d:\d\d[^\n]*\r?\n(?=[!-9;-~]+[ \t]*:|>From |\r?\n)")
_QUOTED_RD = re.compile(rb"^>(>*From )", re.MULTILINE)
_QUOTED_O = re.compile(rb"^>(From )", re.MULTILINE)
_QUOTES = re.compile(rb"^>+(From )", re.MULTILINE)
_ADDED = re.compile(
    rb"^(?:status|x-status|x-keywords|x-uid|x-imap|x-imapbase|content-length):[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_STATE = re.compile(
    rb"^(status|x-status|x-keywords|x-mozilla-status):([^\n]*)$", re.IGNORECASE | re.MULTILINE
)
_DATE = re.compile(
    rb"([A-Z][a-z]{2}) +(\d{1,2}) +(\d{1,2}):(\d\d)(?::(\d\d))? +(?:[A-Z]{2,5} +|([+-]\d{4}) +)?(\d{4})(?: +([+-]\d{4}))?\s*$"
)
_MONTHS = {name: n for n, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_STATUS = {"R": "S", "O": OLD, "A": "R", "F": "F", "T": "D", "D": "T"}
"""Letters of Status and X-Status, and the flags that they are."""


class Mail:
    """One message of an mbox.

    Attributes:
        from_line: Without its line end.
        raw: What stands between the separators; None: it was too large to be kept.
        size: Of `raw`, in bytes.
    """

    __slots__ = ("from_line", "raw", "size")

    def __init__(self, from_line: bytes, raw: bytes | None, size: int) -> None:
        self.from_line, self.raw, self.size = from_line, raw, size


def split(chunks: Iterable[bytes]) -> Iterator[Mail]:
    """The messages of an mbox that comes in pieces; memory is bounded by the longest message that is kept.

    Raises:
        ValueError: It does not begin like one.
    """
    buffer = bytearray()
    pieces = iter(chunks)
    at_end = False
    while (
        not at_end
        and (len(buffer) < _LOOK_AHEAD or b"\n" not in buffer[:_LOOK_AHEAD])
        and len(buffer) < 1 << 16
    ):
        piece = next(pieces, None)
        at_end = piece is None
        buffer += piece or b""
    while buffer.startswith((b"\n", b"\r")):
        del buffer[:1]
    if not buffer:
        return
    if buffer[:5] != b"From " or b"\n" not in buffer:
        raise ValueError('it does not begin with "From "')
    start = buffer.index(b"\n") + 1
    from_line, searched, dropped = bytes(buffer[: start - 1]).rstrip(b"\r"), start - 1, 0
    del buffer[:start]
    searched = 0
    while True:
        found = buffer.find(b"\nFrom ", searched)
        if found < 0 or (not at_end and len(buffer) - found < _LOOK_AHEAD):
            if at_end and found < 0:
                yield _mail(from_line, buffer, len(buffer), dropped)
                return
            searched = max(0, len(buffer) - 6) if found < 0 else found
            if len(buffer) > MESSAGE_BYTES_MAX and found < 0:
                gone = len(buffer) - 8  # what may be the beginning of a separator stays
                dropped += gone
                del buffer[:gone]
                searched = 0
            piece = next(pieces, None)
            at_end = piece is None
            buffer += piece or b""
            continue
        line = _FROM.match(buffer, found + 1, found + 1 + _LOOK_AHEAD)
        blank = 1 if buffer[found - 1 : found] == b"\n" else 2 if buffer[found - 2 : found] == b"\n\r" else 0
        if found == 0 and not dropped:
            blank = 1
        if line is None or not blank:
            searched = found + 1
            continue
        yield _mail(from_line, buffer, found + 1, dropped)
        from_line = bytes(buffer[found + 1 : line.end()]).rstrip(b"\r\n")
        del buffer[: line.end()]
        searched = dropped = 0


def _mail(from_line: bytes, buffer: bytearray, end: int, dropped: int) -> Mail:
    """The message before `end`; the empty line at its end belongs to the separator."""
    size = dropped + end
    if dropped or end > MESSAGE_BYTES_MAX:
        return Mail(from_line, None, size)
    raw = bytes(memoryview(buffer)[:end])
    if raw.endswith(b"\n\r\n"):
        raw = raw[:-2]
    elif raw.endswith(b"\n\n") or raw == b"\n":
        raw = raw[:-1]
    return Mail(from_line, raw, len(raw))


def head_and_body(raw: bytes) -> tuple[bytes, bytes]:
    """The header with the empty line that ends it, and the rest."""
    ends = [at + len(mark) for mark in (b"\n\n", b"\n\r\n") if (at := raw.find(mark)) >= 0]
    if raw[:1] == b"\n":
        ends.append(1)
    end = min(ends, default=len(raw))
    return raw[:end], raw[end:]


def variants(raw: bytes) -> list[bytes]:
    """What the message may have been elsewhere, without doubles; the first is the most likely."""
    head, body = head_and_body(raw)
    heads = [_ADDED.sub(b"", head), head]
    bodies = [body]
    if b"From " in body:
        bodies = [_QUOTED_RD.sub(rb"\1", body), _QUOTED_O.sub(rb"\1", body), body]
    out: dict[bytes, None] = {}
    for each in heads:
        for rest in bodies:
            out[each + rest] = None
    for text in list(out):
        out[text.replace(b"\r\n", b"\n") if b"\r\n" in text else text.replace(b"\n", b"\r\n")] = None
    return list(out)


def body_key(data: bytes) -> bytes:
    """A hash that is the same for bodies which differ only in line ends, in quoted `From ` and in empty lines at the end."""
    body = head_and_body(data)[1].replace(b"\r\n", b"\n")
    if b"From " in body:
        body = _QUOTES.sub(rb"\1", body)
    return sha256(body.rstrip(b"\r\n")).digest()


def message_key(data: bytes) -> bytes:
    """As `body_key`, of the header too: the same for messages that differ in nothing else but fields for flags and numbers."""
    head = _ADDED.sub(b"", head_and_body(data)[0].replace(b"\r\n", b"\n"))
    return sha256(head.rstrip(b"\n") + b"\n\n" + body_key(data)).digest()


def flags_of(raw: bytes) -> frozenset[str]:
    """The flags that Status, X-Status, X-Keywords and X-Mozilla-Status say; none of them: an old message, unseen."""
    flags: set[str] = set()
    known = False
    for name, value in _STATE.findall(head_and_body(raw)[0][: 1 << 16]):
        text = value.decode("ascii", "replace").strip()
        kind = name.lower()
        if kind == b"x-keywords":
            flags |= {canonical(word) for word in text.split()[:100] if is_atom(word)}
        elif kind == b"x-mozilla-status":
            known = True
            flags |= _mozilla(text)
        else:
            known = True
            flags |= {_STATUS[char] for char in text if char in _STATUS}
    if not known or flags - {OLD}:
        flags.add(OLD)
    return frozenset(flags)


def _mozilla(text: str) -> set[str]:
    try:
        bits = int(text[:8], 16)
    except ValueError:
        return set()
    names = {0x1: "S", 0x2: "R", 0x4: "F", 0x8: "T", 0x1000: "P"}
    return {OLD, *(name for bit, name in names.items() if bits & bit)}


def date_of(from_line: bytes) -> int | None:
    """When it was delivered, in seconds since 1970, by the local clock unless the line has an offset; None: it does not say."""
    found = _DATE.search(from_line)
    month = _MONTHS.get(found[1]) if found else None
    if found is None or month is None:
        return None
    try:
        when = datetime(int(found[7]), month, int(found[2]), int(found[3]), int(found[4]), int(found[5] or 0))  # noqa: DTZ001
        offset = found[6] or found[8]
        if offset:
            when = datetime.fromisoformat(f"{when.isoformat()}{offset[:3].decode()}:{offset[3:].decode()}")
        return int(when.timestamp())
    except (ValueError, OverflowError, OSError):
        return None
