"""The vault: every content that the store holds, or has held within its retention.

    objects/ab/ab12...   one file per content, named by the SHA-256 of its bytes

An object is made by hard link from the user's file, or written when a peer sends it. Its name means
nothing until the index says `kept`: that is committed only after the object is durable, so a name whose
bytes a crash took is never believed. `sha256sum` audits it. Linked files are made read-only for their
owner (0400): rename and unlink still work, writing in place does not; whatever leaves the vault is hashed
on the way all the same.
"""

from __future__ import annotations

import errno
import os

from mailkeep.domain.errors import DataError
from mailkeep.system import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OBJECT_MODE = 0o400
FICLONE = 0x40049409
LINK, REFLINK, COPY = "link", "reflink", "copy"


class Vault:
    """The objects of one store, in the state directory.

    Attributes:
        mode: How an object and a Maildir file share bytes: LINK, REFLINK or COPY.
        syncer: Covers everything written here and, being one file system, in the Maildir.
    """

    def __init__(self, state: bytes, mode: str, syncer: fs.Syncer) -> None:
        self.root = os.path.join(state, b"objects")
        self._prefix = os.fsdecode(self.root) + "/"
        self.mode = mode
        self.syncer = syncer
        self._made: set[int] = set()

    def path(self, content_id: bytes) -> bytes:
        """Where the object of a content is, or would be."""
        name = content_id.hex()
        return f"{self._prefix}{name[:2]}/{name}".encode(errors="surrogateescape")

    def stat(self, content_id: bytes) -> os.stat_result | None:
        """Of the object, or None where there is none."""
        try:
            return os.lstat(self.path(content_id))
        except FileNotFoundError:
            return None

    def _place(self, content_id: bytes) -> bytes:
        path = self.path(content_id)
        if content_id[0] not in self._made:
            directory = os.path.dirname(path)
            os.makedirs(directory, 0o700, exist_ok=True)
            self._made.add(content_id[0])
            self.syncer.note(directory)
        return path

    def adopt(
        self, content_id: bytes, fd: int, name: bytes, directory: int, st: os.stat_result, *, kept: bool
    ) -> os.stat_result | None:
        """Take in a file of the Maildir, open as `fd`, whose bytes were just hashed to `content_id`.

        Args:
            kept: The index relies on an object of this id already, which is read, and made anew where it is
                damaged; else one that is there is the rest of a run that was cut off, and is made anew.

        Returns:
            The file's stat after linking when object and file are now one inode, else None (the object
            was there already, or is a copy). Durable after the next sync.
        """
        path = self._place(content_id)
        try:
            have = os.lstat(path) if kept else None
        except FileNotFoundError:
            have = None
        if have is not None and fs.is_same(have, st):
            return os.fstat(fd)
        if have is not None and have.st_size == st.st_size and self.is_whole(content_id):
            return None
        if self.mode == LINK:
            try:
                return self._link(path, fd, name, directory, st)
            except OSError as err:
                if err.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
                    raise
        self._copy(fd, path, st)
        return None

    def is_whole(self, content_id: bytes) -> bool:
        """Whether an object has the bytes that its name says."""
        try:
            fd = self.open(content_id)
        except OSError:
            return False
        try:
            return hash_of(fd) == content_id
        except OSError:
            return False
        finally:
            os.close(fd)

    def make_places(self) -> None:
        """Make all object directories, before several processes put objects into them."""
        for first in range(256):
            if first not in self._made:
                self._place(bytes([first]) * 32)

    def adopt_new(
        self, content_id: bytes, fd: int, name: bytes, directory: int, st: os.stat_result
    ) -> os.stat_result | None:
        """As `adopt`, by hard link alone, of a content that has no object yet; None: it has, or cannot be linked."""
        if self.mode != LINK:
            return None
        path = self.path(content_id)
        try:
            fs.link(name, path, src_dir_fd=directory)
        except FileExistsError:  # of an index that was lost: this very file is the object
            try:
                return os.fstat(fd) if fs.is_same(os.lstat(path), st) else None
            except FileNotFoundError:
                return None
        except OSError:
            return None
        os.fchmod(fd, OBJECT_MODE)
        now = os.fstat(fd)
        if now.st_nlink != st.st_nlink + 1 or os.lstat(path).st_ino != st.st_ino:
            fs.unlink(path)
            return None
        self.syncer.note(path)
        return now

    def _link(
        self, path: bytes, fd: int, name: bytes, directory: int, st: os.stat_result
    ) -> os.stat_result | None:
        try:
            fs.link(name, path, src_dir_fd=directory)
        except FileExistsError:
            if not fs.is_same(os.lstat(path), st):
                fs.unlink(path)
                fs.link(name, path, src_dir_fd=directory)
        os.fchmod(fd, OBJECT_MODE)
        now = os.fstat(fd)
        # One link more shows that it was this very file that was linked; else its name may have been given
        # to another since it was opened.
        if now.st_nlink != st.st_nlink + 1 and os.lstat(path).st_ino != st.st_ino:
            self._copy(fd, path, st)
            return None
        self.syncer.note(path)
        return now

    def _copy(self, fd: int, path: bytes, st: os.stat_result) -> None:
        try:
            fs.unlink(path)
        except FileNotFoundError:
            pass
        out = os.open(path, fs.O_CREATE, OBJECT_MODE)
        try:
            copy_bytes(fd, out)
            os.utime(out, ns=(st.st_mtime_ns, st.st_mtime_ns))
        finally:
            os.close(out)
        self.syncer.note(path)

    def write(self, content_id: bytes, date: int, data: bytes | memoryview) -> os.stat_result:
        """Write a whole small object whose hash the caller has checked. Durable after the next sync."""
        path = self._place(content_id)
        try:
            fd = os.open(path, fs.O_CREATE, OBJECT_MODE)
        except FileExistsError:
            fs.unlink(path)  # the index does not rely on it, or the caller would not write
            fd = os.open(path, fs.O_CREATE, OBJECT_MODE)
        try:
            if data:
                fs.write_all(fd, data)
            os.utime(fd, (date, date))
            self.syncer.note(path)
            return os.fstat(fd)
        except OSError:
            fs.unlink(path)
            raise
        finally:
            os.close(fd)

    def writer(self, content_id: bytes, date: int, size: int) -> Writer:
        """For an object too large to hold in memory."""
        return Writer(self, content_id, date, size)

    def open(self, content_id: bytes) -> int:
        """A descriptor to read an object from; hash what you read.

        Raises:
            FileNotFoundError: There is none.
        """
        return os.open(self.path(content_id), fs.O_READ)

    def read(self, content_id: bytes) -> bytes:
        """A whole object, checked.

        Raises:
            DataError: Its bytes are not those that its name says.
        """
        from hashlib import sha256

        fd = self.open(content_id)
        try:
            data = fs.read_all(fd)
        finally:
            os.close(fd)
        if sha256(data).digest() != content_id:
            raise damaged(content_id)
        return data

    def drop(self, content_id: bytes) -> None:
        """Remove an object's name."""
        fs.unlink(self.path(content_id))

    def objects(self) -> Iterator[tuple[bytes, bytes]]:
        """(content id, path) of all that is named like an object."""
        for first in range(256):
            yield from self.objects_of(first)

    def objects_of(self, first: int) -> Iterator[tuple[bytes, bytes]]:
        """Likewise, of those whose id begins with this byte."""
        directory = os.path.join(self.root, b"%02x" % first)
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return
        for name in names:
            try:
                content_id = bytes.fromhex(name.decode())
            except ValueError:
                continue
            if len(content_id) == 32 and content_id[0] == first:
                yield content_id, os.path.join(directory, name)


class Writer:
    """Writes one large object piece by piece; only `finish` with the right hash leaves it there."""

    def __init__(self, vault: Vault, content_id: bytes, date: int, size: int) -> None:
        from hashlib import sha256

        self.path = vault._place(content_id)
        self.vault, self.content_id, self.date, self.left = vault, content_id, date, size
        self.size = size
        self.hash = sha256()
        try:
            self.fd = os.open(self.path, fs.O_CREATE, OBJECT_MODE)
        except FileExistsError:
            fs.unlink(self.path)
            self.fd = os.open(self.path, fs.O_CREATE, OBJECT_MODE)

    def write(self, data: bytes) -> None:
        """Write the next piece.

        Raises:
            DataError: More came than was announced; nothing was kept.
        """
        self.left -= len(data)
        if self.left < 0:
            self.abandon()
            raise DataError(f"the content {self.content_id.hex()} is longer than announced")
        self.hash.update(data)
        fs.write_all(self.fd, data)

    def finish(self) -> os.stat_result:
        """Durable after the next sync.

        Raises:
            DataError: The bytes do not hash to the id; nothing was kept.
        """
        if self.left or self.hash.digest() != self.content_id:
            self.abandon()
            raise DataError(
                f"the bytes received for content {self.content_id.hex()} are others; they were not kept"
            )
        os.utime(self.fd, (self.date, self.date))
        st = os.fstat(self.fd)
        os.close(self.fd)
        self.fd = -1
        self.vault.syncer.note(self.path)
        return st

    def abandon(self) -> None:
        """Give up: what was written is removed. After `finish`, nothing happens."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            fs.unlink(self.path)


def damaged(content_id: bytes) -> DataError:
    """The error for an object whose bytes are not those of its name, for the caller to raise."""
    return DataError(
        f"the vault's object {content_id.hex()} is damaged: its bytes are not those that its name says",
        untouched="the object; it was neither sent nor put anywhere",
        hint="mailkeep verify --repair names all that are damaged, and takes them from the Maildir or, in the next session,"
        " from a peer",
    )


def hash_of(fd: int) -> bytes:
    """The content id of what an open file still has to give."""
    from hashlib import sha256

    hashed = sha256()
    while chunk := os.read(fd, fs.READ_BYTES):
        hashed.update(chunk)
    return hashed.digest()


def copy_bytes(source: int, target: int) -> None:
    """Copy an open file, sharing blocks where the file system can."""
    import fcntl

    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        os.lseek(source, 0, os.SEEK_SET)
        while chunk := os.read(source, fs.READ_BYTES):
            fs.write_all(target, chunk)


def probe(state: bytes, root_fd: int) -> str:
    """How files can be shared between the state directory and the Maildir's own directory.

    Raises:
        OSError: Not even a file can be written there.
    """
    name, other = b".mailkeep-probe-%d" % os.getpid(), os.path.join(state, b".probe")
    for leftover, at in ((name, root_fd), (other, None)):  # of a run that was cut off and had our number
        try:
            fs.unlink(leftover, dir_fd=at)
        except FileNotFoundError:
            pass
    fd = os.open(name, fs.O_CREATE ^ os.O_WRONLY | os.O_RDWR, 0o600, dir_fd=root_fd)
    try:
        os.write(fd, b"mailkeep\n")
        try:
            out = os.open(other, fs.O_CREATE, 0o600)
            try:
                import fcntl

                fcntl.ioctl(out, FICLONE, fd)
                return REFLINK
            except OSError:
                pass
            finally:
                os.close(out)
                fs.unlink(other)
            fs.link(name, other, src_dir_fd=root_fd)
            fs.unlink(other)
            return LINK
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return COPY
    finally:
        os.close(fd)
        fs.unlink(name, dir_fd=root_fd)
