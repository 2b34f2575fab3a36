"""One line on the terminal for work that takes more than a second."""

from __future__ import annotations

import sys

from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_duration, format_rate

AFTER_SECONDS = 1.0
EVERY_SECONDS = 0.2


class Progress:
    """Called with what is done and how often so far; shows it with the rate, on standard error."""

    def __init__(self) -> None:
        self._what = ""
        self._began = self._shown = clock.monotonic()
        self._wide = 0
        self.totals: dict[str, int] = {}
        """How often in all, where that is known: then what remains is shown too."""

    def __call__(self, what: str, count: int) -> None:
        """Note that `count` of `what` is done by now."""
        now = clock.monotonic()
        if what != self._what:
            self._what, self._began = what, now
            return
        if now - self._began < AFTER_SECONDS or now - self._shown < EVERY_SECONDS:
            return
        self._shown = now
        total = self.totals.get(what, 0)
        left = ""
        if total > count > 0:
            left = f", {format_duration((now - self._began) * (total - count) / count)} left"
        text = f"{format_count(count, 'message')} {what}, {format_rate(count, now - self._began, 'message')}{left}"
        sys.stderr.write("\r" + text.ljust(self._wide))
        sys.stderr.flush()
        self._wide = max(self._wide, len(text))

    def end(self) -> None:
        """Take the line away."""
        if self._wide:
            sys.stderr.write("\r" + " " * self._wide + "\r")
            sys.stderr.flush()
            self._wide = 0
