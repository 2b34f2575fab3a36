from __future__ import annotations

import itertools

import pytest

from mailkeep.rules.inverse import (
    BACK_LATER,
    DELETED_LATER,
    FLAGGED,
    MADE_LATER,
    REMADE_LATER,
    REMOVED_LATER,
    RENAMED_LATER,
    BoxState,
    State,
    inverse,
    inverse_of_box,
)


def live(flags: str = "") -> State:
    return State(True, frozenset(flags))


def dead(flags: str = "") -> State:
    return State(False, frozenset(flags))


@pytest.mark.parametrize(
    ("before", "after", "later", "now", "live_then", "on", "off"),
    [
        (live("S"), dead("S"), [], dead("S"), True, "", ""),
        (live("S"), dead("FS"), [], dead("FS"), True, "", "F"),
        (None, live("S"), [], live("S"), False, "", ""),
        (None, live(), [], live("O"), False, "", ""),
        (dead("S"), live("S"), [], live("S"), False, "", ""),
        (live("S"), live("F"), [], live("F"), None, "S", "F"),
        (live("S"), live("FS"), [live("FRS")], live("FRS"), None, "", "F"),
    ],
)
def test_what_a_run_changed_is_taken_back(
    before: State | None,
    after: State,
    later: list[State],
    now: State,
    live_then: bool | None,
    on: str,
    off: str,
) -> None:
    step = inverse(before, after, now, later)
    assert not step.conflict
    assert (step.live, step.on, step.off) == (live_then, frozenset(on), frozenset(off))


@pytest.mark.parametrize(
    ("before", "after", "later", "now"),
    [
        (live("S"), dead("S"), [], live("S")),
        (live("S"), dead("S"), [live("S")], live("FS")),
        (None, live("S"), [], dead("S")),
        (None, dead("S"), [], dead("S")),
        (live("S"), live("FS"), [], live("S")),
    ],
)
def test_what_is_as_before_needs_nothing(
    before: State | None, after: State, later: list[State], now: State
) -> None:
    step = inverse(before, after, now, later)
    assert step.nothing
    assert not step.conflict


@pytest.mark.parametrize(
    ("before", "after", "later", "now", "why"),
    [
        (live("S"), dead("S"), [live("S")], dead("S"), BACK_LATER),
        (None, live("S"), [dead("S")], live("S"), REMADE_LATER),
        (None, live(), [], live("S"), FLAGGED),
        (live("S"), live("FS"), [live("S")], live("FS"), FLAGGED),
        (live("S"), live("FS"), [], dead("FS"), REMOVED_LATER),
    ],
)
def test_what_somebody_changed_later_is_a_conflict(
    before: State | None, after: State, later: list[State], now: State, why: str
) -> None:
    assert inverse(before, after, now, later).conflict == why


ALL = [live(), live("F"), live("S"), live("FS"), dead(), dead("S")]


def test_undone_is_undone() -> None:
    """Every story of one run and nothing later: done without a conflict, it is as before, and then nothing is left to do."""
    for before, after in itertools.product([None, *ALL], ALL):
        step = inverse(before, after, after, [])
        assert not step.conflict
        now = State(after.live if step.live is None else step.live, (after.flags | step.on) - step.off)
        was = State(False) if before is None else before
        assert now.live == was.live
        if was.live:
            assert now.flags == was.flags
        assert inverse(before, after, now, [after]).nothing


INBOX, WORK, GONE, NONE = BoxState("A", True), BoxState("B", True), BoxState("A", False), BoxState("", False)


@pytest.mark.parametrize(
    ("before", "after", "later", "now", "name", "live_then", "why"),
    [
        (NONE, INBOX, [], INBOX, None, False, ""),
        (INBOX, GONE, [], GONE, None, True, ""),
        (INBOX, WORK, [], WORK, "A", None, ""),
        (INBOX, BoxState("B", False), [], BoxState("B", False), "A", True, ""),
        (INBOX, WORK, [], INBOX, None, None, ""),
        (INBOX, GONE, [INBOX], GONE, None, True, MADE_LATER),
        (NONE, INBOX, [], WORK, None, False, RENAMED_LATER),
        (INBOX, WORK, [BoxState("C", True)], WORK, "A", None, RENAMED_LATER),
        (INBOX, WORK, [], BoxState("B", False), "A", None, DELETED_LATER),
    ],
)
def test_mailboxes(
    before: BoxState,
    after: BoxState,
    later: list[BoxState],
    now: BoxState,
    name: str | None,
    live_then: bool | None,
    why: str,
) -> None:
    step = inverse_of_box(before, after, now, later)
    assert (step.name, step.live, step.conflict) == (name, live_then, why)
