"""What mailkeep asks of the file system: never overwrite, never follow, durable in groups.

Everything here is a thin layer over system calls that says in one place how a file is made, renamed and
made durable. Names are bytes. See open(2), link(2), rename(2), fsync(2), syncfs(2).
"""

from __future__ import annotations

import errno
import os
import stat
import time

from mailkeep.domain.errors import PermissionDenied, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class _Stat(Protocol):
        """The part of os.stat_result that tells one file from another."""

        @property
        def st_dev(self) -> int: ...
        @property
        def st_ino(self) -> int: ...
        @property
        def st_size(self) -> int: ...


O_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO that stands where a file should be must not make us wait."""
O_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100

# statfs f_type of file systems whose syncfs reports errors of write-back (Linux >= 5.8): ext4, xfs, btrfs, f2fs, tmpfs.
_SYNCFS_TYPES = frozenset((0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994))

READ_BYTES = 1 << 18
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO))
"""Errors of a disk or a process that has no more to give: what comes next would fail too."""
NS_MAX = (1 << 33) * 1_000_000_000 - 1
"""The year 2242. Nanoseconds of times after 2262 do not fit into 64 bits."""

_libc: Any = None


def libc() -> Any:
    """The C library, loaded when first needed."""
    global _libc
    if _libc is None:
        import ctypes

        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def open_directory(path: bytes, below: int | None = None) -> int:
    """Open a directory, each component without following links; relative paths start at `below`."""
    at = below
    opened = -1
    parts = path.split(b"/") if path else [b"."]
    if below is None:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            fd = os.open(part, O_DIRECTORY, dir_fd=at)
            if opened >= 0:
                os.close(opened)
            opened = at = fd
    except OSError:
        if opened >= 0:
            os.close(opened)
        raise
    return opened


class Parent:
    """`with Parent(path, below) as (fd, name):` the directory in which a path's last component lies, no link followed.

    The kernel follows links in all but the last component of a path: whoever may write in a mail root could
    plant one, and what was meant for the mail would be made, renamed or removed wherever it points.
    """

    __slots__ = ("below", "fd", "path")

    def __init__(self, path: bytes, below: int) -> None:
        self.path, self.below, self.fd = path, below, -1

    def __enter__(self) -> tuple[int, bytes]:
        above, slash, name = self.path.rpartition(b"/")
        if not slash:
            return self.below, name
        self.fd = open_directory(above, self.below)
        return self.fd, name

    def __exit__(self, *error: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def make_directory(path: bytes, below: int) -> None:
    """Make a directory for its owner alone, unless it is there; none of its path is a link.

    Raises:
        NotADirectoryError: Something else stands there, be it a link to a directory.
    """
    with Parent(path, below) as (fd, name):
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None


def rename_noreplace(source: bytes, target: bytes, source_fd: int, target_fd: int) -> None:
    """rename(2) that fails with FileExistsError rather than overwrite.

    Where the file system has no RENAME_NOREPLACE: link, then unlink.
    """
    if libc().renameat2(source_fd, source, target_fd, target, RENAME_NOREPLACE) == 0:
        return
    import ctypes

    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        os.unlink(source, dir_fd=source_fd)
        return
    raise OSError(code, os.strerror(code), source, None, target)


def exchange(a: bytes, b: bytes, at: int) -> None:
    """Let two names change places at once."""
    if libc().renameat2(at, a, at, b, RENAME_EXCHANGE) != 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), a, None, b)


def link(
    source: bytes, target: bytes, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Make a second name for a file: never over an existing one, never through a symbolic link."""
    os.link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)


def unlink(path: bytes, *, dir_fd: int | None = None) -> None:
    """Remove one name of a file; the caller knows where the content is kept."""
    os.unlink(path, dir_fd=dir_fd)


def rename(
    source: bytes, target: bytes, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename over what may be there: for small files of ours that are replaced as a whole."""
    os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def rmdir(path: bytes, *, dir_fd: int | None = None) -> None:
    """Remove a directory that is empty; any other stays, with an OSError."""
    os.rmdir(path, dir_fd=dir_fd)


def exists(path: bytes, at: int) -> bool:
    """Whether there is anything of this path below a directory; no link in it is followed."""
    try:
        with Parent(path, at) as (fd, name):
            os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def drop_stale(name: bytes, at: int, seconds: int) -> None:
    """Take away a lock file of others that is older than this.

    It is renamed first and looked at again: another program may have come to the same conclusion, and have
    made a new lock in between, which is put back.
    """
    try:
        st = os.stat(name, dir_fd=at, follow_symlinks=False)
        if time.time() - st.st_mtime < seconds:
            return
        aside = b"%b.stale.%d" % (name, os.getpid())
        rename(name, aside, src_dir_fd=at, dst_dir_fd=at)
    except OSError:
        return
    if os.stat(aside, dir_fd=at, follow_symlinks=False).st_ino != st.st_ino:
        try:
            rename_noreplace(aside, name, at, at)
            return
        except FileExistsError:
            pass
    unlink(aside, dir_fd=at)


def remove_tree(path: bytes) -> None:
    """Remove a temporary directory of ours with all that is in it; what cannot be removed stays."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def fsync(fd: int) -> None:
    """Make one file durable; an error means that the state of the file is unknown."""
    os.fsync(fd)


def read_all(fd: int) -> bytes:
    """The whole of an open file."""
    chunks = []
    while chunk := os.read(fd, READ_BYTES):
        chunks.append(chunk)
    return b"".join(chunks)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything to a blocking descriptor, in as many calls as it takes. Not durable on return."""
    written = os.write(fd, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(fd, data)


class Syncer:
    """Makes everything written to one file system since the last `sync` durable, at once.

    One syncfs(2) for a batch, through a descriptor opened before the batch, where that call is known to
    report write-back errors; elsewhere the files and directories that were noted are fsynced one by one.
    An error means that the state of the whole batch is unknown: write it again from its source; a second
    sync would say that all is well (measured). So once one has failed, all later ones of this object do.
    """

    def __init__(self, directory: bytes) -> None:
        self.fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.directory = directory
        self._whole: bool | None = None
        self.failed = False
        self.paths: list[bytes] = []
        self.directories: set[bytes] = set()

    @property
    def whole(self) -> bool:
        """Whether one syncfs does."""
        if self._whole is None:
            self._whole = _can_syncfs(self.directory)
        return self._whole

    def note(self, path: bytes) -> None:
        """A file was written, linked or renamed to `path`: it and its directory belong to the batch."""
        if not self.whole:
            self.paths.append(path)
            self.directories.add(os.path.dirname(path))

    def sync(self) -> None:
        """Return when the batch is durable.

        Raises:
            StorageError: It may not be; nothing of the batch may be relied on.
        """
        try:
            if self.failed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self.whole:
                if libc().syncfs(self.fd) != 0:
                    import ctypes

                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
            else:
                for path in self.paths:
                    fsync_path(path)
                for path in sorted(self.directories):
                    fsync_path(path)
        except OSError as err:
            self.failed = True
            raise StorageError(
                f"what was just written could not be made durable: {os.strerror(err.errno or errno.EIO)}",
                untouched="nothing that was acknowledged before; this batch will be written again from its source",
                hint="look at the disk (dmesg, smartctl) and its free space, then run the same command again",
            ) from err
        finally:
            self.paths.clear()
            self.directories.clear()

    def close(self) -> None:
        """Give the descriptor back. Nothing is synced by this."""
        os.close(self.fd)


def fsync_path(path: bytes) -> None:
    """Make a file or a directory durable by its name; one that is gone needs nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return  # renamed or removed since: its new name was noted as well
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _can_syncfs(directory: bytes) -> bool:
    import ctypes

    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int("".join(filter(str.isdigit, minor)) or 0)) < (5, 8):
        return False
    buffer = (ctypes.c_long * 32)()
    if libc().statfs(directory, buffer) != 0:
        return False
    return (buffer[0] & 0xFFFFFFFF) in _SYNCFS_TYPES


def bounded(nanoseconds: int) -> int:
    """A file's time as index and peers can hold it; one may be dated centuries away (ext4: until 2446)."""
    return max(-NS_MAX, min(nanoseconds, NS_MAX))


def is_same(a: _Stat, b: _Stat) -> bool:
    """Whether two stats are of one file, with one size."""
    return (a.st_dev, a.st_ino, a.st_size) == (b.st_dev, b.st_ino, b.st_size)


def is_regular(st: os.stat_result) -> bool:
    """Whether it is a plain file: no directory, link, FIFO or device."""
    return stat.S_ISREG(st.st_mode)


def now_of(directory: bytes) -> int:
    """The time of the file system's own clock, in nanoseconds: what a change made now would be stamped with."""
    probe = os.path.join(directory, b".clock")
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.utime(fd)
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)


def measure_granularity(directory: bytes) -> int:
    """How far apart, in nanoseconds, two changes must be to be sure of different time stamps.

    Files are made for some 40 ms, on a busy machine for as long as it takes to make some, without looking at
    them in between: looking makes newer kernels give finer stamps.
    """
    probe = os.path.join(directory, b".tick")
    made: list[tuple[int, int]] = []
    names: list[bytes] = []
    end = time.monotonic_ns() + 40_000_000
    while len(names) < PROBES_MIN or (time.monotonic_ns() < end and len(names) < PROBES_MAX):
        name = b"%b.%d" % (probe, len(names))
        before = time.monotonic_ns()
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        made.append((before, time.monotonic_ns()))
        names.append(name)
        time.sleep(0.0001)
    stamps = []
    for name in names:
        stamps.append(os.lstat(name).st_mtime_ns)
        os.unlink(name)
    return tick_of(made, stamps)


PROBES_MIN, PROBES_MAX = 20, 400


def tick_of(made: list[tuple[int, int]], stamps: list[int]) -> int:
    """The tick, in nanoseconds, of a clock that gave these stamps to files made one after the other.

    From one stamp to the next there is the time between, and at most one tick more. A pause of the machine
    lengthens both; so what counts is by how much a stamp ran ahead of that time.

    Args:
        made: When, by a fine clock: before and after each was made.
    """
    from itertools import pairwise

    steps = [b - a for a, b in pairwise(stamps)]
    between = [b[1] - a[0] for a, b in pairwise(made)]
    jumps = sorted(step for step in steps if step > 0)
    if not jumps:
        return 2_000_000_000  # a clock of whole seconds, or of two (FAT)
    ahead = max(step - time_between for step, time_between in zip(steps, between, strict=True))
    # Where no stamp ever ran ahead the clock is fine, or each file took longer than a tick.
    return ahead + min(between) if ahead > 0 else jumps[len(jumps) // 2]


def explain(err: OSError, doing: str) -> StorageError | PermissionDenied:
    """An OSError of a write as an error that says what to do."""
    hints = {
        errno.ENOSPC: "free some space, then run the same command again: it goes on where it stopped",
        errno.EDQUOT: "your quota is used up: free some space, then run the same command again",
        errno.EROFS: "the file system is mounted read-only: mount it read-write, or look in dmesg why it became so",
        errno.EMFILE: "raise the limit of open files (ulimit -n), then run the same command again",
    }
    kind: Callable[..., StorageError | PermissionDenied]
    kind = PermissionDenied if err.errno in (errno.EACCES, errno.EPERM) else StorageError
    name = err.filename2 or err.filename
    where = f" ({os.fsdecode(name)})" if isinstance(name, str | bytes) else ""
    return kind(
        f"{doing}: {os.strerror(err.errno or errno.EIO)}{where}",
        untouched="everything that was acknowledged before; no mail was removed",
        hint=hints.get(err.errno or 0, "look at the path named above, then run the same command again"),
    )
