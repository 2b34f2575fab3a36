"""History is kept for as long, and as long as it is, as the settings say; what is left of it is still right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps
from mailkeep.rules.keeping import Keeping
from mailkeep.store import past
from mailkeep.store.history import trim

if TYPE_CHECKING:
    from pathlib import Path

    from mailkeep.store.store import Store

NOW = 2_000_000_000
DAY = 86_400


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """Changes: the mailbox that run 1 made, and 3 messages flagged, on and off, by each of runs 2 to 6; run N ended N days after 2,000,000,000 - 10 days."""
    side = Side(tmp_path, "a")
    for number in range(3):
        side.deliver(b"", b"mail %d" % number, "S")
    side.create()
    for number in range(2, 7):
        for path in side.files():
            old = side.path(path)
            os.rename(old, old + b"T" if number % 2 == 0 else old[:-1])
        assert side.scan().flagged == 3
    store = side.open()
    with store.index.transaction():
        store.index.execute("UPDATE run SET ended = ? + no * ?", (NOW - 10 * DAY, DAY))
    store.close()
    return side


def trimmed(store: Store, **keeping: int) -> list[int]:
    store.ledger.keeping = Keeping(**keeping)
    counts: list[int] = []
    while not counts or counts[-1]:
        counts.append(trim(store.ledger, NOW, most=4))
        assert len(counts) < 20
    return counts


def known(store: Store) -> list[tuple[int, int]]:
    """(run, how many messages it is known to have changed)."""
    runs = reversed(past.runs_between(store.ledger, None, None, 0))
    return [(run.no, len(list(past.entries(store.ledger, run)))) for run in runs]


ALL = [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3)]


@pytest.mark.parametrize(
    ("keeping", "left"),
    [
        ({}, ALL),
        ({"history": 6 * DAY}, ALL[3:]),
        ({"history": 0}, ALL[5:]),
        ({"history_changes": 16}, ALL),
        ({"history_changes": 15}, [(1, 0), *ALL[1:]]),
        ({"history_changes": 14}, [(1, 0), (2, 0), *ALL[2:]]),
        ({"history_changes": 0}, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), ALL[5]]),
        ({"history": 6 * DAY, "history_changes": 7}, [(4, 0), *ALL[4:]]),
    ],
)
def test_what_is_left_is_whole_runs(side: Side, keeping: dict[str, int], left: list[tuple[int, int]]) -> None:
    store = side.open()
    before = store.index.value("SELECT count(*) FROM change") + store.index.value(
        "SELECT count(*) FROM box_change"
    )
    deleted = sum(trimmed(store, **keeping))
    assert known(store) == left
    first = past.first_kept(store.ledger)
    assert first is not None
    assert first.first_change is not None
    assert deleted == first.first_change - 1
    assert before - deleted == store.index.value(
        "SELECT count(*) FROM change WHERE no >= ?", (first.first_change,)
    ) + (first.no == 1)
    store.close()


def test_a_clock_that_was_wrong_does_not_take_younger_runs_with_it(side: Side) -> None:
    store = side.open()
    with store.index.transaction():
        store.index.execute("UPDATE run SET ended = 0 WHERE no = 5")
    trimmed(store, history=6 * DAY)
    assert known(store) == ALL[3:]
    store.close()


def test_a_store_without_runs_has_nothing_to_trim(tmp_path: Path) -> None:
    side = Side(tmp_path, "a").create()
    store = side.open()
    with store.index.transaction():
        store.index.execute("DELETE FROM run")
    assert trimmed(store, history=0, history_changes=0) == [0]
    store.close()


def test_cut_off_anywhere_it_goes_on(side: Side, tmp_path: Path) -> None:
    at = 0
    while True:
        store = side.open()
        steps = Steps(at, Crash())
        try:
            with steps.installed():
                trimmed(store, history_changes=7)
        except Crash:
            store.index.close()
            store.lock.release()
            at += 1
            continue
        assert known(store) == [(1, 0), (2, 0), (3, 0), (4, 0), *ALL[4:]]
        store.close()
        break
    assert at >= 1
