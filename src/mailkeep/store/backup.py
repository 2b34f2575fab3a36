"""Rolling backups of the index, beside it in the state directory.

    backups/20260131T120000Z-42-0123456789abcdef.db    when, generation, first 8 bytes of its SHA-256

Each is a whole SQLite database: a snapshot through SQLite's backup interface, so that sessions go on beside
it; read through, hashed and durable before it gets its name, and only then an older one goes. They help
when the index is damaged; against the loss of the disk only a backup elsewhere does.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

import apsw

from mailkeep.domain.errors import StorageError, StoreBusy, printable
from mailkeep.rules import rotation
from mailkeep.store.gate import INDEX
from mailkeep.store.index import damaged, unsound
from mailkeep.system import clock, fs
from mailkeep.system.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY, TEMPORARY, LOCK = b"backups", b"new.db", b"lock"
STEP_PAGES = 2000
DIGEST_DIGITS = 16
ROOM = 2
"""No backup is made where less than this many times its size is free: mail needs the room more."""


class Backup:
    """A finished backup, as its name says."""

    __slots__ = ("at", "digest", "generation", "path", "size")

    def __init__(self, path: bytes, at: int, generation: int, digest: str, size: int) -> None:
        self.path, self.at, self.generation, self.digest, self.size = path, at, generation, digest, size

    def fault(self) -> str:
        """Read it through: what is wrong with it, or ''."""
        try:
            found = _digest(self.path)
        except OSError as err:
            return f"it cannot be read: {os.strerror(err.errno or 5)}"
        if found != self.digest:
            return "its bytes are not those that were written"
        return unsound(os.fsdecode(self.path))


def backups(state: bytes) -> list[Backup]:
    """Those that there are, the newest first."""
    directory = os.path.join(state, DIRECTORY)
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    out = []
    for name in names:
        parsed = _parse(name)
        if parsed is not None:
            path = os.path.join(directory, name)
            try:
                out.append(Backup(path, *parsed, os.lstat(path).st_size))
            except FileNotFoundError:
                continue
    return sorted(out, key=lambda b: (b.generation, b.at), reverse=True)


def due(state: bytes, every_seconds: int, now: int) -> bool:
    """Whether it is time for another one."""
    return rotation.due([(b.at, b.generation) for b in backups(state)], now, every_seconds)


def take(state: bytes, *, now: int, daily: int, weekly: int) -> Backup | None:
    """Make one, then drop what is too many. Needs no store lock; durable on return.

    Returns:
        None when another process is at it.

    Raises:
        StorageError: There is no room, the disk failed, or the index is damaged. Older ones all stay.
    """
    directory = os.path.join(state, DIRECTORY)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        lock = Lock(os.path.join(directory, LOCK))
        lock.acquire()
    except StoreBusy:
        return None
    except OSError as err:
        raise fs.explain(err, "the index could not be backed up") from err
    try:
        return _take(state, directory, now, daily, weekly)
    except OSError as err:
        raise fs.explain(err, "the index could not be backed up") from err
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as err:
        raise StorageError(
            f"the index could not be backed up: {err}",
            untouched="the index, and the backups that there are",
            hint="look at the disk (df, dmesg), then: mailkeep backup",
        ) from err
    finally:
        lock.release()


def _take(state: bytes, directory: bytes, now: int, daily: int, weekly: int) -> Backup:
    source, target = os.path.join(state, INDEX), os.path.join(directory, TEMPORARY)
    _remove(target)
    size = os.stat(source).st_size
    room = os.statvfs(directory)
    if room.f_bavail * room.f_frsize < ROOM * size:
        raise StorageError(
            "the index was not backed up: too little is free on its disk",
            untouched="the index, and the backups that there are",
            hint="free some space, then: mailkeep backup",
        )
    generation = _copy(os.fsdecode(source), os.fsdecode(target))
    fd = os.open(target, fs.O_READ)
    try:
        fs.fsync(fd)
    finally:
        os.close(fd)
    digest = _digest(target)
    name = f"{clock.utc(now)}-{generation}-{digest}.db".encode()
    path = os.path.join(directory, name)
    fs.rename(target, path)
    fs.fsync_path(directory)
    made = Backup(path, now, generation, digest, os.stat(path).st_size)
    _drop_old(directory, made, backups(state), now, daily, weekly)
    return made


def _copy(source: str, target: str) -> int:
    """Copy a snapshot of the index and read the copy through; its generation.

    Raises:
        StorageError: The index is damaged.
    """
    here = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READWRITE)
    there = apsw.Connection(target)
    try:
        here.set_busy_timeout(10_000)
        os.chmod(target, 0o600)
        here.execute("BEGIN")  # one snapshot, whatever is committed beside it
        generation = int(here.execute("SELECT value FROM meta WHERE key = 'generation'").get)
        with there.backup("main", here, "main") as work:
            while not work.done:
                work.step(STEP_PAGES)
        there.execute("PRAGMA journal_mode = DELETE")  # one file, and nothing beside it
        said = [str(row[0]) for row in there.execute("PRAGMA quick_check(1)")]
        if said != ["ok"]:
            raise damaged(source, said[0].replace("\n", " "))
        counts = dict(there.execute("SELECT mailbox, count(*) FROM record WHERE live GROUP BY mailbox"))
        for no, count in there.execute("SELECT no, count FROM mailbox"):
            if counts.get(no, 0) != count:
                raise damaged(source, f"a mailbox counts {count} messages and has {counts.get(no, 0)}")
        return generation
    except (apsw.CorruptError, apsw.NotADBError) as err:
        raise damaged(source, str(err)) from err
    finally:
        there.close()
        here.close()


def _drop_old(
    directory: bytes, made: Backup, have: Sequence[Backup], now: int, daily: int, weekly: int
) -> None:
    stays = rotation.keep([(b.at, b.generation) for b in have], now, daily, weekly)
    for backup, keep in zip(have, stays, strict=True):
        if not keep and backup.path != made.path:
            _remove(backup.path)


def restore(backup: Backup, target: bytes) -> None:
    """Copy a backup to a name that nothing has; durable on return, but for the name."""
    _remove(target)
    source = os.open(backup.path, fs.O_READ)
    try:
        out = os.open(target, fs.O_CREATE, 0o600)
        try:
            while chunk := os.read(source, fs.READ_BYTES):
                fs.write_all(out, chunk)
            fs.fsync(out)
        finally:
            os.close(out)
    finally:
        os.close(source)
    if _digest(target) != backup.digest:
        raise StorageError(
            f"the copy of {printable(backup.path)} came out different",
            untouched="the index, and the backup",
            hint="look at the disk (dmesg, smartctl), then run the same command again",
        )


def _remove(path: bytes) -> None:
    for suffix in (b"", b"-journal", b"-wal", b"-shm"):
        name = path + suffix
        try:
            fs.unlink(name)
        except FileNotFoundError:
            pass


def _digest(path: bytes) -> str:
    fd = os.open(path, fs.O_READ)
    try:
        hashed = sha256()
        while chunk := os.read(fd, fs.READ_BYTES):
            hashed.update(chunk)
    finally:
        os.close(fd)
    return hashed.hexdigest()[:DIGEST_DIGITS]


def _parse(name: bytes) -> tuple[int, int, str] | None:
    stem, dot, kind = name.decode("ascii", "replace").rpartition(".")
    parts = stem.split("-")
    if not dot or kind != "db" or len(parts) != 3 or len(parts[2]) != DIGEST_DIGITS:
        return None
    at = clock.from_utc(parts[0])
    if at is None or not parts[1].isdigit():
        return None
    return at, int(parts[1]), parts[2]
