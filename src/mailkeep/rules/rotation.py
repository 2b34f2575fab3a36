"""Which backups are kept: the newest, the last of each of some days, the last of each of some weeks.

Clocks lie: a backup dated in the future counts as one of now, and of two that look alike in time the one
of the higher generation is the newer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS


def keep(made: Sequence[tuple[int, int]], now: int, daily: int, weekly: int) -> list[bool]:
    """For each backup whether it stays.

    Args:
        made: (seconds since 1970, generation) of each.
        now: The time by the clock that dated them, or what is left of it.
        daily: Of so many days, the last one; at least the newest of all stays.
        weekly: Of so many weeks, likewise; these may be the same backups.
    """
    order = sorted(range(len(made)), key=lambda i: (min(made[i][0], now), made[i][1]), reverse=True)
    stays = [False] * len(made)
    for length, most in ((DAY_SECONDS, max(daily, 1)), (WEEK_SECONDS, weekly)):
        seen: set[int] = set()
        for i in order:
            period = min(made[i][0], now) // length
            if period not in seen and len(seen) < most:
                seen.add(period)
                stays[i] = True
    return stays


def due(made: Sequence[tuple[int, int]], now: int, every_seconds: int) -> bool:
    """Whether another backup is to be made: none is younger than this, or dated by a clock that was right."""
    return not any(0 <= now - at < every_seconds or now < at <= now + DAY_SECONDS for at, _ in made)
