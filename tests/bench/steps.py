"""What each step of a first sync costs mailkeep itself: microseconds of processor a message, beside its floor.

    PYTHONPATH=src:tests python -m bench.steps MAILDIR SCRATCH [--sample 10000]

The product's own code does a first sync of a sample: the first index of one end, the session through two pipes,
the files of the other end; each end in one process, so that no cost hides in a worker. The system calls and
library calls that make up a step are timed where they are made; `the rest` is mailkeep's Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from bench import floors
from bench.churn import Place, list_messages

SAMPLE = 10_000
OVERHEAD_CALLS = 20_000
READ, HASH, LINK, WRITE, RENAME = "read", "hash", "link", "write", "rename"
INSERT, COMPRESS, DECOMPRESS, SEND, RECEIVE = "insert", "compress", "decompress", "send", "receive"
SYNC, REST = "sync (waiting included)", "the rest: Python, queries"
FLOOR_OF = {
    READ: "open, read, close",
    HASH: "open, read, close, sha256",
    LINK: "hard link",
    WRITE: "create, write, rename",
    INSERT: f"SQLite insert, commit per {floors.SYNC_EVERY}",
    COMPRESS: "zstd -1",
}
"""The floor that a step can be held against; that of `hash` includes reading."""


class Clock:
    """Adds up what is spent in calls that were given to it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls = 0
        self.pipes: set[int] = set()
        self.began = time.process_time()

    def add(self, step: str, seconds: float) -> None:
        """Count towards a step."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def timed(self, step: str | Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted; the step may depend on the arguments."""
        now = time.monotonic if step == SYNC else time.process_time

        def call(*args: Any, **kwargs: Any) -> Any:
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(step if isinstance(step, str) else step(*args), now() - began)
                self.calls += 1

        return call

    def restart(self) -> None:
        """Count from now on."""
        self.seconds.clear()
        self.calls, self.began = 0, time.process_time()

    def overhead(self) -> float:
        """Seconds that the clock itself takes for one call and does not count towards its step."""
        other = Clock()
        call = other.timed(READ, int)
        for _ in range(OVERHEAD_CALLS):
            call()
        return (time.process_time() - other.began - other.seconds[READ]) / OVERHEAD_CALLS

    def result(self) -> dict[str, float]:
        """Seconds by step, since the beginning; what is left of the processor time is `REST`."""
        total = time.process_time() - self.began
        counted = sum(seconds for step, seconds in self.seconds.items() if step not in (SYNC, REST))
        return {**self.seconds, REST: total - counted - self.calls * self.overhead()}


def instrument(clock: Clock) -> None:
    """Put the clock around the calls that steps consist of. For a process of its own: nothing is put back."""
    from mailkeep.replicate import received
    from mailkeep.store import apply
    from mailkeep.system import fs, parallel
    from mailkeep.wire import zstd

    class Here:
        """Workers' work, done here."""

        def __init__(self, work: Callable[[Any], Any], jobs: Sequence[Any], count: int) -> None:
            self.jobs = jobs
            self._results = [work(job) for job in jobs]

        def results(self) -> list[Any]:
            """What the workers would have sent."""
            return self._results

        def abandon(self) -> None:
            """Nothing is under way."""

    place: Any = parallel
    place.Share = Here
    place = apply
    place.Share = Here
    place = received
    place.workers = lambda: 1
    place = os
    on_pipe = clock.pipes.__contains__
    place.open = clock.timed(lambda path, flags, *rest: WRITE if flags & os.O_CREAT else READ, os.open)
    place.read = clock.timed(lambda fd, size: RECEIVE if on_pipe(fd) else READ, os.read)
    place.write = clock.timed(lambda fd, data: SEND if on_pipe(fd) else WRITE, os.write)
    for name, step in (("close", READ), ("fstat", READ), ("link", LINK), ("fchmod", LINK), ("lstat", LINK),
                       ("utime", WRITE), ("rename", RENAME)):  # fmt: skip
        setattr(place, name, clock.timed(step, getattr(os, name)))
    place = hashlib
    place.sha256 = clock.timed(HASH, hashlib.sha256)
    place = fs.Syncer
    place.sync = clock.timed(SYNC, fs.Syncer.sync)
    place = zstd
    compressor, decompressor = zstd.compressor, zstd.decompressor
    place.compressor = lambda level: _Timed(compressor(level), clock, compress=COMPRESS)
    place.decompressor = lambda limit: _Timed(decompressor(limit), clock, decompress=DECOMPRESS)

    place = apsw
    connection = apsw.Connection
    place.Connection = lambda *args, **kwargs: _Timed(
        connection(*args, **kwargs), clock, executemany=INSERT, execute=lambda sql, *_: _kind_of(sql)
    )


def _kind_of(sql: str) -> str:
    """What is read from a query is read later, and not in the call: it counts as the rest."""
    return REST if sql.startswith("SELECT") else INSERT


class _Timed:
    """An object some of whose methods are counted."""

    def __init__(self, inner: Any, clock: Clock, **steps: str | Callable[..., str]) -> None:
        self._inner = inner
        for method, step in steps.items():
            setattr(self, method, clock.timed(step, getattr(inner, method)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._inner.__exit__(*error)


def measure(root: Path, scratch: Path, sample: int = SAMPLE) -> dict[str, dict[str, float]]:
    """Return, for the first index, the sending and the receiving end, microseconds a message by step."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        count = _copy_sample(root, scratch / "a", sample)
        for part in ("cur", "new", "tmp"):
            (scratch / "b" / part).mkdir(parents=True)
        down, up = os.pipe(), os.pipe()
        os.sync()
        ends = {"sending": (down[0], up[1]), "receiving": (up[0], down[1])}
        children = []
        for name, own in ends.items():
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for fd in {*down, *up} - set(own):
                        os.close(fd)
                    _end(name, scratch, *own)
                    status = 0
                finally:
                    os._exit(status)
            children.append(pid)
        for fd in (*down, *up):
            os.close(fd)
        if any(os.waitpid(pid, 0)[1] for pid in children):
            raise RuntimeError("an end of the measured session failed")
        out: dict[str, dict[str, float]] = {}
        for name in ends:
            phases: dict[str, dict[str, float]] = json.loads((scratch / f"{name}.json").read_text())
            for phase, seconds in phases.items():
                out[phase] = {step: value * 1e6 / count for step, value in seconds.items()}
        return out
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy_sample(root: Path, target: Path, sample: int) -> int:
    """Copy whole folders until the sample is large enough."""
    folders, places = list_messages(root)
    by_folder: dict[str, list[Place]] = {folder: [] for folder in folders}
    for at in places:
        by_folder[at[0]].append(at)
    count = 0
    for folder, messages in sorted(by_folder.items(), key=lambda item: (item[0] not in ("", "."), item[0])):
        if count >= sample:
            break
        for part in ("cur", "new", "tmp"):
            (target / folder / part).mkdir(parents=True, exist_ok=True)
        for at in messages:
            shutil.copy2(root.joinpath(*at), target.joinpath(*at))
        count += len(messages)
    for part in ("cur", "new", "tmp"):
        (target / part).mkdir(parents=True, exist_ok=True)
    return count


def _end(name: str, scratch: Path, source: int, target: int) -> None:
    """One end, in a process of its own: `sending` has the mail and begins the session."""
    from mailkeep.replicate.channel import drive
    from mailkeep.replicate.initiator import Initiator
    from mailkeep.replicate.responder import Responder
    from mailkeep.store.store import Store
    from mailkeep.wire.layouts import Layout

    clock = Clock()
    instrument(clock)
    sends = name == "sending"
    where = "a" if sends else "b"
    store = Store.create(os.fsencode(scratch / where), os.fsencode(scratch / f"state-{where}"), Layout())
    store.scan()
    store.end_run("init", None, 0, {})
    phases = {"first index": clock.result()} if sends else {}
    clock.restart()
    clock.pipes.update((source, target))
    os.set_blocking(source, False)
    os.set_blocking(target, False)
    end = Initiator(store, "b") if sends else Responder(store, dry=False)
    end.wire.greet()
    if isinstance(end, Initiator):
        end.start()
    drive(end, source, target, timeout_seconds=600, until=lambda: end.finished)
    phases[name] = clock.result()
    (scratch / f"{name}.json").write_text(json.dumps(phases))


def table(ours: Mapping[str, Mapping[str, float]], bare: Mapping[str, float]) -> str:
    """Steps in lines, phases in columns, the floor at the end."""
    steps = [READ, HASH, LINK, INSERT, COMPRESS, SEND, RECEIVE, DECOMPRESS, WRITE, RENAME, REST, SYNC]
    lines = [
        "MAILKEEP'S STEPS, microseconds of processor a message, each end in one process",
        f"{'':26}" + "".join(f"{phase:>14}" for phase in ours) + "   floor",
    ]
    for step in steps:
        floor = FLOOR_OF.get(step, "")
        shown = f"{bare[floor]:8.2f}  {floor}" if floor in bare else ""
        lines.append(
            f"{step:26}" + "".join(f"{phase.get(step, 0.0):14.2f}" for phase in ours.values()) + shown
        )
    total = [sum(value for step, value in phase.items() if step != SYNC) for phase in ours.values()]
    lines.append(f"{'processor, all steps':26}" + "".join(f"{value:14.2f}" for value in total))
    return "\n".join(lines)


def main() -> None:
    """Measure the steps and their floors on one Maildir and one disk."""
    parser = argparse.ArgumentParser(description="Measure mailkeep's steps beside their floors.")
    parser.add_argument("maildir", type=Path)
    parser.add_argument(
        "scratch", type=Path, help="a directory that does not exist yet, on the disk of interest"
    )
    parser.add_argument("--sample", type=int, default=SAMPLE, help="messages")
    args = parser.parse_args()
    ours = measure(args.maildir, args.scratch, args.sample)
    bare = floors.measure(args.maildir, args.scratch, min(args.sample, floors.SAMPLE))
    sys.stdout.write(table(ours, bare) + "\n\n" + floors.table(bare) + "\n")


if __name__ == "__main__":
    main()
