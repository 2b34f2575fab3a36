"""Work spread over processes that are forked for it: the first index reads every message there is.

A worker inherits everything by fork, does its share of the jobs, sends its results through a pipe and ends
without clean-up handlers; it must not touch the index. The process that forks has one thread.
"""

from __future__ import annotations

import os

from msgpack import packb, unpackb

from mailkeep.system import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

WORKERS_MAX = 4


def workers() -> int:
    """How many processes can really run at once."""
    return min(WORKERS_MAX, len(os.sched_getaffinity(0)))


class Share:
    """Jobs given to workers, whose results are still to come."""

    def __init__(self, work: Callable[[Any], Any], jobs: Sequence[Any], count: int) -> None:
        """Fork `count` workers; worker k does jobs k, k + count, ...; a result is what msgpack can carry."""
        self.jobs, self.count = jobs, count
        self.children: list[tuple[int, int]] = []
        for k in range(count):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _work(work, jobs[k::count], writing)
            os.close(writing)
            self.children.append((pid, reading))

    def results(self) -> list[Any]:
        """All results in the order of the jobs; None for each job of a worker that died."""
        out: list[Any] = [None] * len(self.jobs)
        for k, (pid, reading) in enumerate(self.children):
            chunks = []
            while chunk := os.read(reading, 1 << 20):
                chunks.append(chunk)
            os.close(reading)
            _, status = os.waitpid(pid, 0)
            if status == 0:
                out[k :: self.count] = unpackb(b"".join(chunks), use_list=False)
        self.children = []
        return out

    def abandon(self) -> None:
        """Wait for the workers and forget what they did."""
        if self.children:
            self.results()


def _work(work: Callable[[Any], Any], jobs: Sequence[Any], writing: int) -> None:
    status = 1
    try:
        fs.write_all(writing, packb([work(job) for job in jobs]))
        status = 0
    finally:
        os._exit(status)
