"""One line on the terminal for work that takes more than a second."""

from __future__ import annotations

import sys

from mailkeep.domain.progress import seconds_left
from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_duration, format_rate

AFTER_SECONDS = 1.0
EVERY_SECONDS = 0.2
STILL_SECONDS = 3.0
"""What said nothing for so long is not shown any more: it has ended, or waits for something else."""


class Work:
    """One kind of work: since when it goes on, how much was done then and is done now, and how much there is."""

    __slots__ = ("before", "began", "done", "said", "total")

    def __init__(self, now: float, done: tuple[int, int], total: tuple[int, int]) -> None:
        self.began = self.said = now
        self.before = self.done = done
        self.total = total


class Progress:
    """Called with what is done and how often so far; shows it with rate and time left, on standard error.

    Receiving and sending go on at the same time: then both are shown.
    """

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._shown = clock.monotonic()
        self._wide = 0

    def expect(self, what: str, count: int, size: int = 0) -> None:
        """There are so many in all; said before the first: then what remains is shown too."""
        self._works[what] = Work(clock.monotonic(), (0, 0), (count, size))

    def __call__(self, what: str, count: int, size: int = 0) -> None:
        """Note that `count` of `what`, of `size` bytes together, is done by now."""
        now = clock.monotonic()
        work = self._works.get(what)
        if work is None:
            work = self._works[what] = Work(now, (count, size), (0, 0))
        work.done, work.said = (count, size), now
        if now - self._shown < EVERY_SECONDS:
            return
        texts = [
            _text(name, each, now)
            for name, each in self._works.items()
            if now - each.began >= AFTER_SECONDS
            and now - each.said < STILL_SECONDS
            and each.done > each.before
        ]
        if not texts:
            return
        self._shown = now
        text = "; ".join(texts)
        sys.stderr.write("\r" + text.ljust(self._wide))
        sys.stderr.flush()
        self._wide = max(self._wide, len(text))

    def end(self) -> None:
        """Take the line away."""
        self._works.clear()
        if self._wide:
            sys.stderr.write("\r" + " " * self._wide + "\r")
            sys.stderr.flush()
            self._wide = 0


def _text(what: str, work: Work, now: float) -> str:
    """Such as ``1,000 messages received, 500 messages/s, 4s left``."""
    elapsed = now - work.began
    rate = format_rate(work.done[0] - work.before[0], elapsed, "message")
    left = seconds_left(elapsed, work.done, work.total, work.before)
    text = f"{format_count(work.done[0], 'message')} {what}, {rate}"
    return text if not left else f"{text}, {format_duration(left)} left"
