"""The tick of a file system's clock, from the stamps that it gave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailkeep.system import fs

MS = 1_000_000
SECOND = 1000 * MS


def stamped(tick: int, pauses: dict[int, int], count: int = 300, each: int = MS // 5) -> int:
    """What is measured where files are made every `each` nanoseconds, with pauses before some of them."""
    now, made, stamps = 123_456_789_000, [], []
    for number in range(count):
        now += pauses.get(number, 0)
        made.append((now, now + each // 2))
        stamps.append((now + each // 4) // tick * tick)
        now += each
    return fs.tick_of(made, stamps)


@pytest.mark.parametrize("tick", [MS, 4 * MS, 10 * MS])
def test_a_tick_is_found(tick: int) -> None:
    assert 0.9 * tick <= stamped(tick, {}) <= 1.1 * tick


@pytest.mark.parametrize("tick", [4 * MS, 10 * MS])
def test_a_busy_machine_does_not_make_the_clock_coarse(tick: int) -> None:
    """It was stopped for a second between two files: every later run waited for seconds, on account of that."""
    assert 0.9 * tick <= stamped(tick, {50: 1500 * MS, 120: 80 * MS}) <= 1.1 * tick


def test_a_fine_clock_has_next_to_no_tick() -> None:
    assert stamped(1, {}) < MS
    assert stamped(1, {50: SECOND}) < MS


def test_a_clock_of_whole_seconds_is_coarse_whether_or_not_one_passes() -> None:
    assert stamped(SECOND, {}) == 2 * SECOND
    assert stamped(SECOND, {}, count=20) == 2 * SECOND
    assert stamped(SECOND, {10: SECOND}) >= 0.99 * SECOND


def test_where_each_file_takes_longer_than_a_tick_the_longer_time_counts() -> None:
    assert stamped(4 * MS, {}, count=20, each=50 * MS) >= 4 * MS


def test_of_this_file_system(tmp_path: Path) -> None:
    assert 0 <= fs.measure_granularity(os.fsencode(tmp_path)) <= 2 * SECOND
    assert list(tmp_path.iterdir()) == []
