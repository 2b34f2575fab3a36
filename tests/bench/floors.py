"""What each step costs when nothing but that step is done: microseconds a message.

    PYTHONPATH=tests python -m bench.floors MAILDIR SCRATCH [--sample 5000]

A speed says little without what bounds it. Each floor does one thing to a sample
of the corpus, in the fewest calls that Python allows, warm caches, and is timed
three times; the best counts. Waiting counts only where something is made durable.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.churn import list_messages

SAMPLE = 5000
ROUNDS = 3
SYNC_EVERY = 1000
ZSTD_LEVELS = (1, 3, 6, 9)


def _zstd() -> Callable[[bytes, int], bytes] | None:
    """Return a one-shot compressor from whichever binding is installed."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError:
            return None
    return lambda data, level: bytes(zstd.compress(data, level))


def zstd_size(data: bytes, level: int = 3) -> int:
    """Return the size of the data as one zstd stream, at the level that zstd chooses by default."""
    if compress := _zstd():
        return len(compress(data, level))
    done = subprocess.run(["zstd", "-c", f"-{level}"], input=data, capture_output=True, check=True)
    return len(done.stdout)


@contextmanager
def _stopwatch(times: dict[str, float], name: str, count: int) -> Iterator[None]:
    now = time.monotonic if "sync" in name or "commit" in name else time.process_time
    began = now()
    yield
    spent = (now() - began) * 1e6 / max(1, count)
    times[name] = min(spent, times.get(name, spent))


def measure(root: Path, scratch: Path, sample: int = SAMPLE) -> dict[str, float]:
    """Return microseconds a message of each floor; `scratch` must be on the disk of interest."""
    times: dict[str, float] = {}
    folders, places = list_messages(root)
    step = max(1, len(places) // sample)
    paths = [str(root.joinpath(*place)) for place in places[::step]][:sample]
    for _ in range(ROUNDS):
        _reading(times, root, folders, paths, len(places))
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _writing(times, scratch, paths)
        _indexing(times, scratch, len(paths))
        shutil.rmtree(scratch)
    _compressing(times, b"".join(Path(path).read_bytes() for path in paths[:2000]), len(paths[:2000]))
    return times


def _reading(times: dict[str, float], root: Path, folders: list[str], paths: list[str], total: int) -> None:
    with _stopwatch(times, "scandir, names and inodes", total):
        for folder in folders:
            for part in ("cur", "new"):
                with os.scandir(root / folder / part) as entries:
                    _ = [(entry.name, entry.inode()) for entry in entries]
    with _stopwatch(times, "stat", len(paths)):
        for path in paths:
            os.stat(path)
    with _stopwatch(times, "open, read, close", len(paths)):
        for path in paths:
            _slurp(path)
    with _stopwatch(times, "open, read, close, sha256", len(paths)):
        for path in paths:
            hashlib.sha256(_slurp(path)).digest()


def _slurp(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _writing(times: dict[str, float], scratch: Path, paths: list[str]) -> None:
    contents = [_slurp(path) for path in paths]
    for name in ("source", "linked", "final"):
        (scratch / name).mkdir()
    base = str(scratch)
    os.sync()
    with _stopwatch(times, "create, write, rename", len(contents)):
        _write_files(contents, base, f"{base}/source")
    os.sync()
    with _stopwatch(times, "hard link", len(contents)):
        for number in range(len(contents)):
            os.link(f"{base}/source/{number}", f"{base}/linked/{number}")
    os.sync()
    with _stopwatch(times, f"create, write, one sync per {SYNC_EVERY}, rename", len(contents)):
        for start in range(0, len(contents), SYNC_EVERY):
            _write_files(contents[start : start + SYNC_EVERY], base, f"{base}/final", start, sync=True)
    few = contents[:200]
    with _stopwatch(times, "create, write, fsync each, rename", len(few)):
        for number, data in enumerate(few):
            draft = f"{base}/each-{number}"
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
            os.rename(draft, f"{base}/final/each-{number}")


def _write_files(
    contents: list[bytes], base: str, target: str, start: int = 0, *, sync: bool = False
) -> None:
    for number, data in enumerate(contents, start):
        fd = os.open(f"{base}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, data)
        os.close(fd)
    if sync:
        syncfs(base)
    for number in range(start, start + len(contents)):
        os.rename(f"{base}/{number}", f"{target}/{number}")


def syncfs(path: str) -> None:
    """Make all of a file system durable, by syncfs(2)."""
    import ctypes

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)


def _indexing(times: dict[str, float], scratch: Path, count: int) -> None:
    """A row of the size of a record, in transactions of SYNC_EVERY, WAL and synchronous=FULL."""
    database = sqlite3.connect(scratch / "index.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(
        "CREATE TABLE record (mailbox INTEGER, content BLOB, copy INTEGER, name BLOB, stamp INTEGER,"
        " PRIMARY KEY (mailbox, content, copy)) WITHOUT ROWID"
    )
    rows = [
        (n % 60, hashlib.sha256(str(n).encode()).digest(), 0, b"1262493777.M574974P2002Q2.mx,S=7479:2,S", n)
        for n in range(count)
    ]
    with _stopwatch(times, f"SQLite insert, commit per {SYNC_EVERY}", count):
        for start in range(0, count, SYNC_EVERY):
            database.execute("BEGIN IMMEDIATE")
            database.executemany(
                "INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows[start : start + SYNC_EVERY]
            )
            database.execute("COMMIT")
    database.close()


def _compressing(times: dict[str, float], data: bytes, count: int) -> None:
    compress = _zstd()
    for level in ZSTD_LEVELS if compress else ():
        assert compress is not None
        with _stopwatch(times, f"zstd -{level}", count):
            size = len(compress(data, level))
        times[f"zstd -{level}, share of the size left"] = size / len(data)


def table(times: Mapping[str, float]) -> str:
    """Return the floors, one a line."""
    lines = ["FLOORS, microseconds a message: of processor; where something is made durable, wall"]
    return "\n".join(lines + [f"{name:48} {value:10.2f}" for name, value in times.items()])


def main() -> None:
    """Measure the floors of one Maildir on one disk."""
    parser = argparse.ArgumentParser(description="Measure per-message floors.")
    parser.add_argument("maildir", type=Path)
    parser.add_argument(
        "scratch", type=Path, help="a directory that does not exist yet, on the disk of interest"
    )
    parser.add_argument("--sample", type=int, default=SAMPLE, help="messages")
    args = parser.parse_args()
    sys.stdout.write(table(measure(args.maildir, args.scratch, args.sample)) + "\n")


if __name__ == "__main__":
    main()
