"""The files of a copy that is made: messages from the vault, or from the Maildir where that is whole, each hashed on the way.

`mailkeep.store.snapshot` says what is copied, and where to; the plan's rows are read here page by page.
"""

from __future__ import annotations

import errno
import os
import stat
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import apsw

from mailkeep.domain.flags import OLD, unpack
from mailkeep.store.maildir import KEYWORDS, SUBS
from mailkeep.store.vault import REFLINK, copy_bytes, damaged, hash_of
from mailkeep.system import fs
from mailkeep.system.parallel import Share, workers
from mailkeep.wire import copies, dovecotkeywords
from mailkeep.wire.maildirname import info_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.store import Store

BATCH = 2000
"""Messages between two looks at the plan; so many are given to workers at once."""
WORKERS_FROM = 200
WHOLE_BYTES = 1 << 20
"""Contents up to this size are read at once."""


class Source:
    """Where the contents of a copy come from: the vault, and where that has lost one, the Maildir."""

    def __init__(self, store: Store) -> None:
        self.id, self.vault, self.root = store.id, store.vault, store.root
        self.directories = {box.no: box.dir for box in store.ledger.boxes.values()}

    def opened(self, row: Row) -> Iterator[int]:
        """Descriptors from which the content may be had, one after the other; to be read from their beginning."""
        try:
            yield self.vault.open(row.id)
        except OSError:
            pass
        directory = self.directories.get(row.box)
        if row.file is None or directory is None:
            return
        try:
            root = fs.open_directory(self.root)
            try:
                with fs.Parent(os.path.join(directory, row.file), root) as (fd, name):
                    yield os.open(name, fs.O_READ, dir_fd=fd)
            finally:
                os.close(root)
        except OSError:
            return


class Row:
    """One message of the plan."""

    __slots__ = ("box", "copy", "date", "file", "flags", "gone", "id", "kept", "mailbox", "no", "size", "uid")

    def __init__(self, row: tuple[Any, ...]) -> None:
        (self.no, self.box, self.id, self.size, self.date, self.flags, self.uid, self.copy, self.gone, self.mailbox,
         self.kept, self.file) = row  # fmt: skip


LACKS, COPIED, LINKED = range(3)
"""What became of a message; the first: it could not be had."""


def pages(db: apsw.Connection, box: int) -> Iterator[list[Row]]:
    """The planned messages of a mailbox, in the order of the manifest, some at a time."""
    after = 0
    while True:
        found = db.execute(
            "SELECT * FROM message WHERE box = ? AND no > ? ORDER BY no LIMIT ?", (box, after, BATCH)
        )
        rows = [Row(row) for row in found]
        if not rows:
            return
        after = rows[-1].no
        yield rows


class Place:
    """One mailbox of a copy: its directories, opened without following links, and the way files get there."""

    def __init__(
        self,
        below: int,
        directory: bytes,
        name: str,
        keywords: bytes | None,
        source: Source,
        link: bool,
        syncer: fs.Syncer,
    ) -> None:
        self.below, self.directory, self.name, self.source, self.link = below, directory, name, source, link
        self.syncer = syncer
        self.table = None if keywords is None else dovecotkeywords.parse(keywords)[0]
        self._fds: dict[bytes, int] = {}
        if directory:
            self._make(directory)
            for sub in (b"tmp", *SUBS[1:]):
                self._make(directory + b"/" + sub)
        if keywords is not None:
            with fs.Parent(directory + b"/" + KEYWORDS, below) as (fd, file), Written(fd, file) as written:
                written.write(keywords)
            self._note(directory + b"/" + KEYWORDS)

    def close(self) -> None:
        """Close its directories."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def files(self, rows: list[Row]) -> list[tuple[bytes, int, str]]:
        """(path below the copy, what became of it, why not) of each message.

        Raises:
            OSError: The copy's own disk does not take it.
        """
        done: list[Any] = [None] * len(rows)
        for row in rows:  # what is opened here is there for all workers
            self._note(b"/".join(self._where(row)[::2]))
        if len(rows) >= WORKERS_FROM and workers() > 1:
            done = Share(self._quietly, rows, workers()).results()
        return [self._file(row) if said is None else said for row, said in zip(rows, done, strict=True)]

    def _quietly(self, row: Row) -> tuple[bytes, int, str] | None:
        try:
            return self._file(row)
        except OSError:
            return None  # once more, where the error has somewhere to go

    def _note(self, path: bytes) -> None:
        if not self.syncer.whole:
            self.syncer.note(os.path.join(self.syncer.directory, path))

    def _make(self, directory: bytes) -> None:
        parts = directory.split(b"/")
        for depth in range(1, len(parts) + 1):
            path = b"/".join(parts[:depth])
            fs.make_directory(path, self.below)
            self._note(path)

    def _where(self, row: Row) -> tuple[bytes, int, bytes]:
        """(directory below the copy, its descriptor, name) of a message."""
        if row.gone is not None:
            directory, _, name = copies.expunged_path(row.id).rpartition(b"/")
        else:
            info = info_for(unpack(row.flags) | {OLD}, self.table) if row.flags else b""
            directory = self.directory + (b"/cur" if row.flags else b"/new")
            name = copies.file_name(row.date, row.id, row.copy, info)
        fd = self._fds.get(directory)
        if fd is None:
            if row.gone is not None:
                self._make(directory)
            fd = self._fds[directory] = fs.open_directory(directory, self.below)
        return directory, fd, name

    def _file(self, row: Row) -> tuple[bytes, int, str]:
        directory, fd, name = self._where(row)
        path = directory + b"/" + name
        if not row.kept:
            return (
                path,
                LACKS,
                f"the message {row.id.hex()} has not come here yet: a session with a peer brings it",
            )
        try:
            whole = _is_whole(fd, name, row)
        except FileNotFoundError:
            pass
        else:
            if whole:
                return path, COPIED, ""
            fs.unlink(name, dir_fd=fd)  # half of it, of a run that was cut off
        if self.link and self._linked(row, fd, name):
            return path, LINKED, ""
        for source in self.source.opened(row):
            try:
                if _copied(source, row, fd, name, whole=self.source.vault.mode != REFLINK):
                    return path, COPIED, ""
            finally:
                os.close(source)
        return path, LACKS, damaged(row.id).what

    def _linked(self, row: Row, fd: int, name: bytes) -> bool:
        """Give the vault's object another name, if it is sound and its date is the message's."""
        try:
            source = self.source.vault.open(row.id)
        except OSError:
            return False
        try:
            st = os.fstat(source)
            if (
                st.st_size != row.size
                or st.st_mtime_ns // 1_000_000_000 != row.date
                or hash_of(source) != row.id
            ):
                return False
            fs.link(self.source.vault.path(row.id), name, dst_dir_fd=fd)
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino == st.st_ino:
                return True
            fs.unlink(name, dir_fd=fd)  # a repair put another object there meanwhile
        except OSError as err:
            if err.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOENT):
                raise
        finally:
            os.close(source)
        return False


class Written:
    """A small file of the copy's own, written from its beginning: what a run that was cut off left of it is replaced."""

    def __init__(self, fd: int, name: bytes) -> None:
        try:
            fs.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
        self.fd = os.open(name, fs.O_CREATE, 0o600, dir_fd=fd)
        self.digest = sha256()
        self._pending: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Write more; not there before the context ends."""
        self.digest.update(data)
        self._pending.append(data)
        self._bytes += len(data)
        if self._bytes > WHOLE_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            fs.write_all(self.fd, b"".join(self._pending))
        self._pending, self._bytes = [], 0

    def __enter__(self) -> Written:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            os.close(self.fd)


def _is_whole(directory: int, name: bytes, row: Row) -> bool:
    """Whether a file of an earlier run has what it should.

    Raises:
        FileNotFoundError: There is none.
    """
    fd = os.open(name, fs.O_READ, dir_fd=directory)
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_size != row.size:
            return False
        # Not from memory: a disk that failed when it was synced has less than that.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if hash_of(fd) != row.id:
            return False
        if st.st_mtime_ns != row.date * 1_000_000_000 and st.st_nlink == 1:
            os.utime(fd, (row.date, row.date))
        return True
    finally:
        os.close(fd)


def _copied(source: int, row: Row, directory: int, name: bytes, *, whole: bool) -> bool:
    """Copy one content, hashed on the way; False, and nothing is there: the source has not what it should.

    Args:
        whole: Read and write it at once if it is small, rather than let the file system share its blocks.
    """
    data, whole = b"", whole and row.size <= WHOLE_BYTES
    try:
        st = os.fstat(source)
        if not stat.S_ISREG(st.st_mode) or st.st_size != row.size:
            return False
        if whole:
            data = fs.read_all(source)
        if (sha256(data).digest() if whole else hash_of(source)) != row.id:
            return False
        os.lseek(source, 0, os.SEEK_SET)
    except OSError:
        return False  # the disk cannot read it
    fd = os.open(name, fs.O_CREATE, 0o600, dir_fd=directory)
    try:
        if data:
            fs.write_all(fd, data)
        elif not whole:
            copy_bytes(source, fd)
        os.utime(fd, (row.date, row.date))
    finally:
        os.close(fd)
    if whole or _is_whole(directory, name, row):  # of what was read twice, what came of it counts
        return True
    fs.unlink(name, dir_fd=directory)
    return False
