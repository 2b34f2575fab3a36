"""Lists of messages by Message-ID: plain ones, and dumps of notmuch's tags."""

from __future__ import annotations

import re

from mailkeep.wire.headers import message_key

LINE_CHARS_MAX = 100_000
"""A longer line is passed over: no list of one message a line has such."""
_BARE = re.compile(r"<?([^<>\s@,;]+@[^<>\s,;]+?)>?[,;]?\Z")
_SUP = re.compile(r"(\S+) \(([^()]*)\)\Z")
_HEX = re.compile(r"%([0-9A-Fa-f]{2})")
NOTMUCH_HEAD = "#notmuch-dump"


def plain(line: str) -> str | None:
    """The Message-ID of a line such as `<a@b>`, `a@b`, `id:a@b` or `Message-ID: <a@b>`; None: it has none.

    Empty lines and comments (#) have none either.
    """
    text = line.strip()[:LINE_CHARS_MAX]
    if not text or text[0] == "#":
        return None
    low = text[:12].lower()
    for prefix in ("message-id:", "id:", "mid:"):
        if low.startswith(prefix):
            text = text[len(prefix) :].strip()
            break
    if text[:1] == "<":
        inside, closed, rest = text[1:].partition(">")
        whole = closed and not rest.strip(" \t,;") and " " not in inside
        return (message_key(inside) or None) if whole else None
    text = text.strip('"')
    found = _BARE.match(text)
    return (message_key(found[1]) or None) if found else None


def notmuch(line: str) -> tuple[str, list[str]] | None:
    """Message-ID and tags of a line of `notmuch dump`, in its format batch-tag or sup; None: it is about no message.

    See notmuch-dump(1). Configuration (#@), properties (#=) and the head are about none.
    """
    text = line.rstrip("\r\n")[:LINE_CHARS_MAX]
    if not text or text[0] == "#":
        return None
    before, mark, query = (
        text.rpartition("-- id:") if not text.startswith("-- id:") else ("", "-- id:", text[6:])
    )
    if mark:
        if query[:1] == '"' and query[-1:] == '"' and len(query) > 1:
            query = query[1:-1].replace('""', '"')
        tags = [_plain(tag[1:]) for tag in before.split() if tag[0] == "+" and len(tag) > 1]
        return (message_key(query), tags) if query else None  # it is quoted, and, unlike tags, never encoded
    found = _SUP.match(text)
    return (message_key(found[1]), found[2].split()) if found else None


def _plain(text: str) -> str:
    """Undo the encoding of characters as %xx, which stand for bytes of UTF-8."""
    if "%" not in text:
        return text
    raw = _HEX.sub(lambda found: chr(int(found[1], 16)), text)
    try:
        return raw.encode("latin-1").decode()
    except UnicodeError:
        return raw
