"""Something else that knows of mail: a backup, an archive, a list, a log, another store. Opened, recognised, and read only.

A *source* yields items. With contents (a Maildir, an mbox, a store) each has a content id, and its bytes can be had later;
without (a list of Message-IDs, a log, a dump of tags) it is a Message-ID, and perhaps when and to whom.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from mailkeep.domain.errors import DataError, NoInput, UsageError, printable
from mailkeep.domain.record import SIZE_MAX
from mailkeep.system import fs
from mailkeep.wire.headers import HEAD_BYTES, Headers, parse
from mailkeep.wire.mbox import MESSAGE_BYTES_MAX, message_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailkeep.domain.progress import Watch

MAILDIR, MBOX, IDS, LOG, NOTMUCH, STORE, PEER = "maildir", "mbox", "ids", "log", "notmuch", "store", "peer"
WHOLE_BYTES = 1 << 20
"""A larger content is passed on piece by piece."""
PROBLEMS_MAX = 1000
KIND_BYTES = 1 << 16
"""By which a file's kind is found out."""
WINDOW_LOG_MAX = 27
"""128 MiB: what zstd itself takes without being asked to take more (--long)."""
_PIECE = 1 << 18
TOO_LARGE = "4 GiB or more: no store takes such a message"


class Item:
    """What a source has of one message.

    Attributes:
        content: Content id, or None: only the Message-ID is known.
        message_id: As `wire.headers.message_key` makes it; '' if it was not looked for yet, or there is none.
        mailbox: Name in its text form; '': the source does not say.
        flags: Packed.
        date: Of delivery, in seconds; None: not known.
        size: Bytes; 0: not known.
        place: By which the source finds it again.
        body: Its `key`, where the source has it at hand; else None.
    """

    __slots__ = ("body", "content", "date", "flags", "mailbox", "message_id", "place", "size")

    def __init__(
        self,
        content: bytes | None,
        message_id: str = "",
        mailbox: str = "",
        flags: str = "",
        date: int | None = None,
        size: int = 0,
        place: bytes = b"",
        body: bytes | None = None,
    ) -> None:
        self.content, self.message_id, self.mailbox, self.flags = content, message_id, mailbox, flags
        self.date, self.size, self.place, self.body = date, size, place, body


class Problems:
    """What of a source could not be used: (where, why), at most PROBLEMS_MAX, and how many in all."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.count = 0

    def add(self, where: bytes | str, why: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.rows) < PROBLEMS_MAX:
            self.rows.append((printable(where) or ".", why))


class Source(Protocol):
    """Something that was opened to be compared with.

    Attributes:
        kind: One of the words above.
        name: As a person named it.
        has_contents: It has more than Message-IDs.
        in_order: Its messages stand in the order of their delivery; else their dates tell it.
        problems: What was passed over.
    """

    kind: str
    name: str
    has_contents: bool
    in_order: bool
    problems: Problems

    @property
    def key(self) -> Callable[[bytes], bytes]:
        """What makes two messages of one Message-ID the same one, though their bytes differ: a hash of the rest."""

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Everything that it has; of messages of which `here` is true it may say merely how many they are.

        Args:
            known: Whether this store's index knows a content id.
            here: Whether a mailbox of the store has it, and nothing more is asked about such.
        """

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """The head of a message that `items` gave without a Message-ID, and a function for its key."""

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """For each (place, content id), in this order: the bytes, or a descriptor of a large file, which the caller closes.

        None: it is not there any more, or is another now; `problems` says why. Hash what you get.
        """

    def close(self) -> None:
        """Give everything back."""


# --- opening


def open_source(
    name: str,
    kind: str | None,
    now: int,
    recipients: Iterable[str],
    store_at: Callable[[bytes], Source | None],
) -> Source:
    """Find out what something is, and open it.

    Args:
        name: A path, or "-" for standard input.
        kind: What it is, if a person says so.
        now: Seconds since 1970.
        recipients: Of a log, only what was delivered to one of these; none: all.
        store_at: Opens the store whose Maildir is at a path, or None where there is none.

    Raises:
        NoInput, DataError, PermissionDenied, StorageError: It is not there, not readable, or nothing that is understood.
    """
    path = os.fsencode(os.path.expanduser(name))
    if name != "-":
        try:
            st = os.stat(path)
        except FileNotFoundError as err:
            raise NoInput(
                f"there is no {printable(name)}",
                untouched="anything",
                hint="name a file, a directory or a peer",
            ) from err
        except OSError as err:
            raise _unreadable(name, err) from err
        if stat.S_ISDIR(st.st_mode):
            return _open_directory(name, path, kind, store_at)
        if not stat.S_ISREG(st.st_mode) and not stat.S_ISFIFO(st.st_mode):
            raise DataError(f"{printable(name)} is neither a file nor a directory", untouched="anything")
    if kind in (MAILDIR, STORE):
        raise DataError(f"{printable(name)} is no directory, and so no {kind}", untouched="anything")
    from mailkeep.store.foreignfiles import open_file

    return open_file(name, path, kind, now, recipients)


def _open_directory(
    name: str, path: bytes, kind: str | None, store_at: Callable[[bytes], Source | None]
) -> Source:
    from mailkeep.store.foreignmaildir import MaildirSource

    if kind not in (None, MAILDIR, STORE):
        raise DataError(f"{printable(name)} is a directory, and so no {kind}", untouched="anything")
    if kind != MAILDIR:
        found = store_at(path)
        if found is not None:
            return found
        if kind == STORE:
            raise NoInput(
                f"{printable(name)} is not the Maildir of a mailkeep store whose state is known here",
                untouched="anything",
                hint="--kind maildir reads it as it is",
            )
    return MaildirSource(name, path)


def _unreadable(name: str, err: OSError) -> Exception:
    return fs.explain(err, f"{printable(name)} cannot be read")


# --- files, compressed or not


class Stream:
    """The bytes of a file or of standard input, decompressed when they are gzip or zstd; memory stays bounded."""

    def __init__(self, name: str, path: bytes) -> None:
        self.name, self.path = name, path
        try:
            self.fd = os.dup(0) if name == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise _unreadable(name, err) from err
        self.again = stat.S_ISREG(os.fstat(self.fd).st_mode)
        self.head = b""

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def chunks(self) -> Iterator[bytes]:
        """All of it, from the beginning.

        Raises:
            DataError: What is compressed is damaged, or wants more memory than it may have.
        """
        if self.again:
            os.lseek(self.fd, 0, os.SEEK_SET)
        first = self._read()
        if first[:2] == b"\x1f\x8b":
            yield from self._gunzip(first)
        elif first[:4] == b"\x28\xb5\x2f\xfd":
            yield from self._unzstd(first)
        else:
            while first:
                yield first
                first = self._read()

    def _read(self) -> bytes:
        try:
            return os.read(self.fd, _PIECE)
        except OSError as err:
            raise _unreadable(self.name, err) from err

    def _gunzip(self, data: bytes) -> Iterator[bytes]:
        import zlib

        member = zlib.decompressobj(31)
        while data:
            try:
                out = member.decompress(data, _PIECE)
            except zlib.error as err:
                if data.strip(b"\0") == b"":
                    return  # padding behind the last member, as tapes have
                raise self._damaged(err) from err
            if out:
                yield out
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data or self._read()
                member = zlib.decompressobj(31)
                if not data:
                    return
            elif not data:
                data = self._read()
        raise self._damaged("it is cut short")

    def _unzstd(self, data: bytes) -> Iterator[bytes]:
        from mailkeep.wire import zstd

        frame = zstd.decompressor(WINDOW_LOG_MAX)
        while True:
            try:
                out = frame.decompress(data, _PIECE)
            except (zstd.Error, EOFError) as err:
                raise self._damaged(err) from err
            if out:
                yield out
            data = b""
            if frame.eof:
                data = frame.unused_data or self._read()
                if not data:
                    return
                frame = zstd.decompressor(WINDOW_LOG_MAX)
            elif frame.needs_input:
                data = self._read()
                if not data:
                    raise self._damaged("it is cut short")

    def _damaged(self, why: object) -> DataError:
        return DataError(
            f"{printable(self.name)} cannot be decompressed: {why}",
            untouched="anything here; what came before in it was read",
            hint="look at it with gzip -t or zstd -t",
        )


def pieces_or_error(seekable: bool, name: str) -> None:
    """Refuse to restore from what can be read only once."""
    if not seekable:
        raise UsageError(
            f"messages cannot be restored from {'standard input' if name == '-' else printable(name)}: it would have to be"
            " read twice",
            untouched="anything",
            hint="write it to a file first, and name that",
        )


def too_large(size: int) -> bool:
    """Whether no store takes a message of this size."""
    return size >= SIZE_MAX


def head_and_key(opened: Callable[[], int]) -> tuple[Headers, Callable[[], bytes | None]]:
    """What the head of a message says, and how to get the key of all of it; what cannot be read says nothing.

    Args:
        opened: Opens it to be read.
    """

    def key() -> bytes | None:
        try:
            fd = opened()
        except OSError:
            return None
        try:
            return message_key(fs.read_all(fd)) if os.fstat(fd).st_size <= MESSAGE_BYTES_MAX else None
        except OSError:
            return None
        finally:
            os.close(fd)

    try:
        fd = opened()
    except OSError:
        return parse(b""), key
    try:
        return parse(os.read(fd, HEAD_BYTES)), key
    except OSError:
        return parse(b""), key
    finally:
        os.close(fd)
