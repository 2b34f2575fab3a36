"""Undoing a run right after it gives the state before it, whatever the run did; and undoing that gives the state after."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from crash.kit import Side, settle
from mailkeep.store import past
from mailkeep.store.undo import carry_out, plan

BOXES = (b"", b".Work", b".Work.Old", b".Trash")
ACT = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from(BOXES), st.integers(0, 3)),
    st.tuples(st.just("remove"), st.integers(0, 50), st.just(0)),
    st.tuples(st.just("move"), st.integers(0, 50), st.sampled_from(BOXES)),
    st.tuples(st.just("flag"), st.integers(0, 50), st.sampled_from(["", "F", "S", "FS", "RST", "D"])),
    st.tuples(st.just("make"), st.sampled_from([b".New", b".New.Below", b".Work"]), st.just(0)),
    st.tuples(st.just("rename"), st.sampled_from([b".Work", b".Trash", b".New"]), st.sampled_from([b".Work", b".Moved"])),
    st.tuples(st.just("drop"), st.sampled_from([b".Work", b".Trash"]), st.just(0)),
)  # fmt: skip


def act(side: Side, kind: str, first: object, second: object, count: int) -> None:
    """One thing that a mail program does; nothing where there is nothing to do it to."""
    files = side.files()
    if kind == "deliver":
        assert isinstance(first, bytes)
        if os.path.isdir(side.path(first, b"cur")):
            side.deliver(first, b"mail %d" % (count * 4 + int(str(second))), "S" if second else None)
    elif kind == "make":
        assert isinstance(first, bytes)
        side.mailbox(first)
    elif kind in ("rename", "drop"):
        assert isinstance(first, bytes)
        source = side.path(first)
        if kind == "rename":
            assert isinstance(second, bytes)
            if os.path.isdir(source) and not os.path.exists(side.path(second)):
                os.rename(source, side.path(second))
        elif os.path.isdir(source):
            for part in (b"new", b"cur", b"tmp"):
                for name in os.listdir(os.path.join(source, part)):
                    os.unlink(os.path.join(source, part, name))
    elif files:
        assert isinstance(first, int)
        path = side.path(files[first % len(files)])
        base, _, flags = os.path.basename(path).partition(b":2,")
        directory = os.path.dirname(os.path.dirname(path))
        if kind == "remove":
            os.unlink(path)
        elif kind == "move":
            assert isinstance(second, bytes)
            target = side.path(second, b"cur", base + b":2," + flags)
            if os.path.isdir(os.path.dirname(target)) and not os.path.exists(target):
                os.rename(path, target)
        else:
            os.rename(path, os.path.join(directory, b"cur", base + b":2," + str(second).encode()))


def undo(side: Side) -> None:
    store = side.open()
    try:
        run = past.last_run(store.ledger)
        assert run is not None
        wanted = plan(
            store.ledger, run, list(past.entries(store.ledger, run)), past.box_entries(store.ledger, run)
        )
        assert not wanted.conflicts
        assert not wanted.box_conflicts
        assert not wanted.purged
        done = carry_out(store.ledger, wanted, store.limits, approved=True)
        assert not done.stands, [(c.entry.before, c.entry.after, c.stands) for c in done.stands]
        store.bump()
        assert not store.apply().problems
        store.end_run("undo", None, 0, {})
    finally:
        store.close()


def boxes(side: Side) -> set[bytes]:
    return {
        os.path.relpath(at, side.root)
        for at, names, _ in os.walk(side.root)
        if {"cur", "new"} <= set(map(os.fsdecode, names))
    }


def runs(side: Side) -> int:
    store = side.open()
    try:
        last = past.last_run(store.ledger)
        return 0 if last is None else last.no
    finally:
        store.close()


@pytest.mark.timeout(3600)
@settings(max_examples=200 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 5, deadline=None)
@given(st.lists(ACT, min_size=1, max_size=12), st.lists(ACT, min_size=1, max_size=10))
def test_undo_gives_the_state_before_and_undoing_that_the_state_after(
    first: list[tuple[str, object, object]], second: list[tuple[str, object, object]]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        a, b = Side(Path(scratch), "a"), Side(Path(scratch), "b")
        for box in BOXES:
            a.mailbox(box)
        for number in range(6):
            a.deliver(BOXES[number % 4], b"old %d" % (number // 2), ("S", "FS", None)[number % 3])
        count = 0
        for one in first:
            act(a, *one, count := count + 1)
        a.create()
        b.create()
        settle(a, b)
        before, before_boxes, runs_before = a.shown(), boxes(a), runs(a)
        for one in second:
            act(a, *one, count := count + 1)
        a.scan()
        if runs(a) == runs_before:
            return
        after, after_boxes = a.shown(), boxes(a)
        note(f"{before}\n{after}")
        undo(a)
        assert (a.shown(), boxes(a)) == (before, before_boxes)
        settle(a, b)
        assert (b.shown(), boxes(b)) == (before, before_boxes)
        if runs(a) == runs_before + 2:  # else the session changed something too, and is the last run
            undo(a)
            assert (a.shown(), boxes(a)) == (after, after_boxes)
            settle(a, b)
            assert b.shown() == after
        a.at_rest()
        b.at_rest()
