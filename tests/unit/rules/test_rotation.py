"""Which backups stay, and when another is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailkeep.rules.rotation import DAY_SECONDS, WEEK_SECONDS, due, keep

NOW = 1_800_000_000
TIMES = st.integers(NOW - 100 * DAY_SECONDS, NOW + 10 * DAY_SECONDS)
MADE = st.lists(st.tuples(TIMES, st.integers(0, 50)), max_size=40)


@given(MADE, st.integers(0, 5), st.integers(0, 5))
def test_few_stay_and_the_newest_is_among_them(made: list[tuple[int, int]], daily: int, weekly: int) -> None:
    stays = keep(made, NOW, daily, weekly)
    assert sum(stays) <= max(daily, 1) + weekly
    if made:
        newest = max(range(len(made)), key=lambda i: (min(made[i][0], NOW), made[i][1]))
        assert stays[newest]


@given(MADE, st.integers(1, 5), st.integers(0, 5))
def test_what_stays_would_stay_again(made: list[tuple[int, int]], daily: int, weekly: int) -> None:
    kept = [m for m, stay in zip(made, keep(made, NOW, daily, weekly), strict=True) if stay]
    assert all(keep(kept, NOW, daily, weekly))


def test_a_month_of_daily_backups_leaves_three_days_and_two_weeks() -> None:
    made: list[tuple[int, int]] = []
    for day in range(30):
        now = NOW + day * DAY_SECONDS
        made = [
            m
            for m, stay in zip([*made, (now, day)], keep([*made, (now, day)], now, 3, 2), strict=True)
            if stay
        ]
    days = [(NOW + 29 * DAY_SECONDS - at) // DAY_SECONDS for at, _ in made]
    assert len(made) <= 5
    assert {0, 1, 2} <= set(days)
    assert max(days) >= 3, "and one of an earlier week"


def test_one_is_due_when_the_newest_is_old_or_from_a_clock_that_was_wrong() -> None:
    assert due([], NOW, DAY_SECONDS)
    assert not due([(NOW - 10, 1)], NOW, DAY_SECONDS)
    assert due([(NOW - DAY_SECONDS, 1)], NOW, DAY_SECONDS)
    assert not due([(NOW + 60, 1)], NOW, DAY_SECONDS), "a clock that was set back a little"
    assert due([(NOW + WEEK_SECONDS, 1)], NOW, DAY_SECONDS), (
        "one that was years ahead makes no pause of years"
    )
