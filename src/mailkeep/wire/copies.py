r"""The form of a copy: what `mailkeep snapshot` and `mailkeep export` write, and `mailkeep import` reads.

    DIR/manifest.jsonl   a line of JSON for the copy, each annotation, mailbox and message, and one for the end
    DIR/SHA256SUMS       for `sha256sum -c`: every message, and the manifest
    DIR/README           what this is, for whoever finds it
    DIR/Maildir/...      the mail, as a Maildir tree that any mail program reads
    DIR/other/ID/...     mailboxes whose names have no place in that tree's layout
    DIR/expunged/...     contents of expunged messages, where they were asked for

Everything that is read here may have been made by an enemy: each line is bounded before it is parsed, each value
checked, and the lines come in one strict order, so that no file and no mailbox is named twice. Pure.
"""

from __future__ import annotations

import json
import re

from mailkeep.domain.annotation import is_key, is_text
from mailkeep.domain.errors import DataError
from mailkeep.domain.flags import BadFlags, unpack
from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.domain.record import (
    CONTENT_ID_BYTES,
    COPY_MAX,
    MAILBOX_ID_BYTES,
    SIZE_MAX,
    UID_MAX,
)
from mailkeep.wire.layouts import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    Kind = Literal["snapshot", "export"]

MANIFEST, SUMS, README = b"manifest.jsonl", b"SHA256SUMS", b"README"
MAIL, OTHER, EXPUNGED = b"Maildir", b"other", b"expunged"
PLAN, LOCK = b".plan.db", b".lock"
"""Of a copy in the making; a crash after its last step may leave them in the finished one."""
PARTIAL = b".partial"
"""What the name of a copy in the making ends with."""
VERSION = 1
LINE_BYTES_MAX = 1 << 17
"""A message with as many keywords as there may be takes half of it."""
COPIED_BOXES_MAX = 100_000
"""As many mailboxes as a store may have."""
ANNOTATIONS_CHARS_MAX = 1 << 23
"""Keys and values of the annotations that are taken in: as many as in a session."""
SECONDS_MAX = 1 << 34
"""Dates before 1970 may be as far away."""
DATED_MAX = 9_999_999_999
"""The last date that a name of ten digits has."""

_NAME = re.compile(r"([0-9]{10})\.([0-9a-f]{64})(?:\.([1-9][0-9]{0,5}))?(:2,[A-Za-z]{0,64})?")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadManifest(DataError, ValueError):
    """A line that no mailkeep wrote.

    Attributes:
        line: Its number, from 1.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(
            f"line {line} of the manifest is none of a copy: {reason}",
            untouched="anything: nothing was taken in",
            hint="sha256sum -c SHA256SUMS in the copy tells whether the manifest is as it was written",
        )
        self.line = line


class Head:
    """The first line: what was copied.

    Attributes:
        kind: A whole store, or what was chosen of it.
        store: The store's id.
        made: As it was then, in seconds since 1970.
        chosen: The words by which messages were chosen; none for a whole store.
        expunged: Whether expunged messages are among them.
    """

    __slots__ = ("chosen", "expunged", "kind", "layout", "made", "store")

    def __init__(
        self, kind: Kind, store: bytes, made: int, layout: str, chosen: tuple[str, ...], expunged: bool
    ) -> None:
        self.kind, self.store, self.made, self.layout = kind, store, made, layout
        self.chosen, self.expunged = chosen, expunged


class Annotation:
    """What was laid down for a mailbox or a level of the tree, or (with the empty name) for the whole store.

    Attributes:
        id: The mailbox's.
        key, text: As mailkeep.domain.annotation says.
    """

    __slots__ = ("id", "key", "mailbox", "text")

    def __init__(self, mailbox: str, box_id: bytes, key: str, text: str) -> None:
        self.mailbox, self.id, self.key, self.text = mailbox, box_id, key, text


class Box:
    """A mailbox, before its messages.

    Attributes:
        directory: Where its messages lie, below the copy.
    """

    __slots__ = ("directory", "id", "name", "uidnext", "validity")

    def __init__(self, name: str, box_id: bytes, directory: bytes, validity: int, uidnext: int) -> None:
        self.name, self.id, self.directory = name, box_id, directory
        self.validity, self.uidnext = validity, uidnext


class Message:
    """A message of the mailbox before it; or, after all mailboxes, an expunged one.

    Attributes:
        path: Below the copy.
        copy: Which of several equal ones in this mailbox, from 0.
        flags: Packed, as `mailkeep.domain.flags` writes them.
        gone: When it was expunged; None: it was not.
        mailbox: The name of the mailbox that it was expunged from.
    """

    __slots__ = ("content_id", "copy", "date", "flags", "gone", "mailbox", "path", "size", "uid")

    def __init__(
        self,
        path: bytes,
        content_id: bytes,
        size: int,
        date: int,
        flags: str,
        uid: int,
        copy: int,
        gone: int | None = None,
        mailbox: str = "",
    ) -> None:
        self.path, self.content_id, self.size, self.date = path, content_id, size, date
        self.flags, self.uid, self.copy, self.gone, self.mailbox = flags, uid, copy, gone, mailbox


class End:
    """The last line: how much there is, and the SHA-256 of all lines before it.

    Attributes:
        lacking: Messages of the store that could not be copied.
    """

    __slots__ = ("bytes", "digest", "expunged", "lacking", "mailboxes", "messages")

    def __init__(
        self, mailboxes: int, messages: int, expunged: int, size: int, lacking: int, digest: str
    ) -> None:
        self.mailboxes, self.messages, self.expunged = mailboxes, messages, expunged
        self.bytes, self.lacking, self.digest = size, lacking, digest


Line = Head | Annotation | Box | Message | End


# --- writing


def line_of(line: Line) -> bytes:
    """One line of the manifest, with its end."""
    return json.dumps(_table(line), separators=(", ", ": ")).encode() + b"\n"


def _table(line: Line) -> dict[str, Any]:
    match line:
        case Head():
            return {
                "mailkeep": "copy", "version": VERSION, "kind": line.kind, "store": line.store.hex(), "made": line.made,
                "layout": line.layout, "chosen": list(line.chosen), "expunged": line.expunged,
            }  # fmt: skip
        case Annotation():
            return {
                "annotation": line.key, "value": line.text, "mailbox": line.mailbox or None, "id": line.id.hex(),
            }  # fmt: skip
        case Box():
            return {
                "mailbox": line.name, "directory": line.directory.decode(), "id": line.id.hex(),
                "uidvalidity": line.validity, "uidnext": line.uidnext,
            }  # fmt: skip
        case Message():
            gone = {"expunged": line.gone, "mailbox": line.mailbox, "copy": line.copy}
            more = {} if line.gone is None else gone
            return {
                "message": line.path.decode(), "sha256": line.content_id.hex(), "bytes": line.size, "date": line.date,
                "flags": line.flags, "uid": line.uid, **more,
            }  # fmt: skip
        case End():
            return {
                "end": line.digest, "mailboxes": line.mailboxes, "messages": line.messages, "expunged": line.expunged,
                "bytes": line.bytes, "lacking": line.lacking,
            }  # fmt: skip


def file_name(date: int, content_id: bytes, copy: int, info: bytes) -> bytes:
    """The name of a message's file: it follows from the message, so a copy that goes on knows its own work."""
    number = b"" if not copy else b".%d" % copy
    return b"%010d.%b%b%b" % (dated(date), content_id.hex().encode(), number, info)


def dated(date: int) -> int:
    """The date as names of files have it, by which they are in order; what is older than 1970 is of then."""
    return max(0, min(date, DATED_MAX))


def expunged_path(content_id: bytes) -> bytes:
    """Where the content of an expunged message lies, below the copy."""
    name = content_id.hex().encode()
    return b"/".join((EXPUNGED, name[:2], name))


def sums_line(content_id: bytes, path: bytes) -> bytes:
    """A line of SHA256SUMS; where the path has a backslash in it, as sha256sum of GNU writes it."""
    escape = b"\\" if b"\\" in path else b""
    return b"%b%b  %b\n" % (escape, content_id.hex().encode(), path.replace(b"\\", b"\\\\"))


def directory_of(layout: Layout, name: str, box_id: bytes) -> bytes:
    """Where a mailbox lies in a copy."""
    from mailkeep.wire.layouts import Unmappable

    try:
        below = layout.directory(MailboxName.parse(name))
    except (Unmappable, BadMailboxName):
        return OTHER + b"/" + box_id.hex().encode()
    return MAIL + b"/" + below if below else MAIL


# --- reading


class Reading:
    """Reads a manifest line by line, and knows what may come next."""

    def __init__(self) -> None:
        from hashlib import sha256

        self.number = 0
        self.head: Head | None = None
        self.box: Box | None = None
        self.end: End | None = None
        self.mailboxes = self.messages = self.expunged = self.bytes = 0
        self._last: tuple[Any, ...] = ()
        self._hash = sha256()
        self.digest = b""
        """SHA-256 of the whole manifest, once its end was read."""

    def line(self, data: bytes) -> Line:
        """Check the next line, with its end.

        Raises:
            BadManifest: It cannot be one, or not here.
        """
        self.number += 1
        if len(data) > LINE_BYTES_MAX:
            raise self._bad(f"it has more than {LINE_BYTES_MAX:,} bytes")
        if data[-1:] != b"\n":
            raise self._bad("it is cut short")
        if self.end is not None:
            raise self._bad("there is something after the end")
        try:
            table = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise self._bad("it is no JSON") from err
        if not isinstance(table, dict):
            raise self._bad("it is no table")
        if self.head is None:
            line: Line = self._head(table)
        elif "annotation" in table:
            line = self._annotation(table)
        elif "message" in table:
            line = self._expunged(table) if "expunged" in table else self._message(table)
        elif "mailbox" in table:
            line = self._box(table)
        elif "end" in table:
            end = self._end(table)
            self._hash.update(data)
            self.digest = self._hash.digest()
            return end
        else:
            raise self._bad("it is neither an annotation nor a mailbox nor a message nor the end")
        self._hash.update(data)
        return line

    def finish(self) -> None:
        """There are no more lines.

        Raises:
            BadManifest: The end is missing: the manifest was cut short.
        """
        if self.end is None:
            self.number += 1
            raise self._bad("there is none: it was cut short")

    def _bad(self, reason: str) -> BadManifest:
        return BadManifest(self.number, reason)

    def _head(self, table: Mapping[str, Any]) -> Head:
        if table.get("mailkeep") != "copy":
            raise self._bad("it does not say that this is a copy")
        if table.get("version") != VERSION:
            raise self._bad(
                f"its version is {table.get('version')!r:.40}; this mailkeep reads version {VERSION}"
            )
        kind, layout, chosen = table.get("kind"), table.get("layout"), table.get("chosen")
        if kind not in ("snapshot", "export"):
            raise self._bad("its kind is none")
        if not isinstance(chosen, list) or not all(isinstance(word, str) for word in chosen):
            raise self._bad("what was chosen is no list of words")
        try:
            Layout.parse(layout)  # type: ignore[arg-type]
        except (ValueError, AttributeError) as err:
            raise self._bad("its layout is none") from err
        assert isinstance(layout, str)
        made = self._whole(table, "made", 0, SECONDS_MAX)
        store = self._bytes(table, "store", MAILBOX_ID_BYTES)
        self.head = Head(kind, store, made, layout, tuple(chosen), self._yes_or_no(table, "expunged"))
        return self.head

    def _annotation(self, table: Mapping[str, Any]) -> Annotation:
        if self.mailboxes or self.expunged:
            raise self._bad("it is an annotation after a mailbox")
        mailbox = "" if table.get("mailbox") is None else self._name(table)
        line = Annotation(
            mailbox,
            self._bytes(table, "id", MAILBOX_ID_BYTES),
            self._text(table, "annotation"),
            self._text(table, "value"),
        )
        if not is_key(line.key) or not line.text or not is_text(line.text):
            raise self._bad("it is no annotation")
        self._in_order((line.mailbox, line.id, line.key), "annotations")
        return line

    def _box(self, table: Mapping[str, Any]) -> Box:
        self.mailboxes += 1
        if self.mailboxes > COPIED_BOXES_MAX:
            raise self._bad(f"there are more than {COPIED_BOXES_MAX:,} mailboxes")
        if self.expunged:
            raise self._bad("it is a mailbox after the expunged messages")
        name = self._name(table)
        directory = self._path(table, "directory")
        parts = directory.split(b"/")
        if parts[0] == OTHER and len(parts) == 2:
            if not re.fullmatch(r"[0-9a-f]{32}", parts[1].decode()):
                raise self._bad("its directory is none of a copy")
        elif parts[0] != MAIL or any(part in (b"cur", b"new", b"tmp") for part in parts):
            raise self._bad("its directory is none of a copy")
        if self.box is not None and directory <= self.box.directory:
            raise self._bad("mailboxes are not in the order of their directories")
        self._last = ()
        self.box = Box(
            name,
            self._bytes(table, "id", MAILBOX_ID_BYTES),
            directory,
            self._whole(table, "uidvalidity", 0, SECONDS_MAX),
            self._whole(table, "uidnext", 0, UID_MAX + 1),
        )
        return self.box

    def _message(self, table: Mapping[str, Any]) -> Message:
        if self.box is None or self.expunged:
            raise self._bad("it is a message without a mailbox")
        message = self._any(table)
        message.copy, key = self._placed(message.path, message.content_id)
        self._in_order(key)
        self.messages += 1
        return message

    def _expunged(self, table: Mapping[str, Any]) -> Message:
        assert self.head is not None
        if not self.head.expunged:
            raise self._bad("it is an expunged message, and the first line says that there are none")
        message = self._any(table)
        message.gone = self._whole(table, "expunged", 0, SECONDS_MAX)
        message.copy = self._whole(table, "copy", 0, COPY_MAX)
        message.mailbox = self._name(table)
        if message.path != expunged_path(message.content_id):
            raise self._bad("its file is not where the content of an expunged message lies")
        if not self.expunged:
            self._last = ()
        self._in_order((message.content_id.hex(), message.mailbox, message.copy))
        self.expunged += 1
        return message

    def _any(self, table: Mapping[str, Any]) -> Message:
        path = self._path(table, "message")
        content_id = self._bytes(table, "sha256", CONTENT_ID_BYTES)
        size = self._whole(table, "bytes", 0, SIZE_MAX - 1)
        flags = self._text(table, "flags")
        try:
            unpack(flags)
        except BadFlags as err:
            raise self._bad(err.what) from err
        self.bytes += size
        date = self._whole(table, "date", -SECONDS_MAX, SECONDS_MAX)
        return Message(path, content_id, size, date, flags, self._whole(table, "uid", 0, UID_MAX), 0)

    def _in_order(self, key: tuple[Any, ...], what: str = "messages") -> None:
        if key <= self._last:
            raise self._bad(f"{what} are not in their order, or one is named twice")
        self._last = key

    def _placed(self, path: bytes, content_id: bytes) -> tuple[int, tuple[Any, ...]]:
        assert self.box is not None
        directory, _, name = path.rpartition(b"/")
        mailbox, _, sub = directory.rpartition(b"/")
        parsed = _NAME.fullmatch(name.decode())
        if mailbox != self.box.directory or sub not in (b"new", b"cur") or parsed is None:
            raise self._bad("its file is not where a message of this mailbox lies")
        if parsed[2] != content_id.hex():
            raise self._bad("its file is not called after its content")
        copy = int(parsed[3] or 0)
        if copy > COPY_MAX:
            raise self._bad(f"more than {COPY_MAX:,} equal messages in one mailbox")
        return copy, (int(sub == b"cur"), parsed[1], parsed[2], copy)

    def _end(self, table: Mapping[str, Any]) -> End:
        end = End(
            self._whole(table, "mailboxes", 0, COPIED_BOXES_MAX),
            self._whole(table, "messages", 0, 1 << 40),
            self._whole(table, "expunged", 0, 1 << 40),
            self._whole(table, "bytes", 0, 1 << 62),
            self._whole(table, "lacking", 0, 1 << 40),
            self._text(table, "end"),
        )
        if end.digest != self._hash.hexdigest():
            raise self._bad("the lines before it are not those that were written")
        if (end.mailboxes, end.messages, end.expunged, end.bytes) != (
            self.mailboxes,
            self.messages,
            self.expunged,
            self.bytes,
        ):
            raise self._bad("it counts other lines than there are")
        self.end = end
        return end

    # --- values

    def _name(self, table: Mapping[str, Any]) -> str:
        name = self._text(table, "mailbox")
        try:
            if str(MailboxName.parse(name)) != name:
                raise self._bad("the name of the mailbox is not in its one form")
        except BadMailboxName as err:
            raise self._bad(err.what) from err
        return name

    def _text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str):
            raise self._bad(f"its {key} is no text")
        return value

    def _whole(self, table: Mapping[str, Any], key: str, least: int, most: int) -> int:
        value = table.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self._bad(f"its {key} is no number from {least} to {most}")
        return value

    def _yes_or_no(self, table: Mapping[str, Any], key: str) -> bool:
        value = table.get(key)
        if type(value) is not bool:
            raise self._bad(f"its {key} is neither true nor false")
        return value

    def _bytes(self, table: Mapping[str, Any], key: str, size: int) -> bytes:
        value = self._text(table, key)
        if len(value) != 2 * size or _HEX.fullmatch(value) is None:
            raise self._bad(f"its {key} is not {2 * size} hexadecimal digits")
        return bytes.fromhex(value)

    def _path(self, table: Mapping[str, Any], key: str) -> bytes:
        text = self._text(table, key)
        if len(text) > 4000 or _CONTROL.search(text):
            raise self._bad(f"its {key} is no path in a copy")
        try:
            path = text.encode()
        except UnicodeEncodeError as err:
            raise self._bad(f"its {key} is no path in a copy") from err
        for part in path.split(b"/"):
            if part in (b"", b".", b"..") or len(part) > 255:
                raise self._bad(f"its {key} is no path in a copy")
        return path
