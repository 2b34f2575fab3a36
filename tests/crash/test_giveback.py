"""undelete, undo and restore: what they give back, on every replica, wherever they are cut off, and beside a mail program."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import OLD, Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import MailkeepError
from mailkeep.rules.guard import Limits
from mailkeep.store import past
from mailkeep.store.giveback import ELSEWHERE, LIVES, OTHER_PLACE, PURGED, Lost, bring_back, choose, expunged
from mailkeep.store.undo import Plan, Undone, carry_out, plan
from mailkeep.store.writeout import MAILDIR, MBOX, Item, Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailkeep.store.past import Run

COUNT = 6


def undelete(side: Side, *, everywhere: bool = False, into: str | None = None) -> list[Lost]:
    """As the command does it: scan, choose, bring back, put in place."""
    store = side.open()
    try:
        store.scan()
        store.end_run("scan", None, 0, {})
        found = list(expunged(store.ledger))
        box = None if into is None else store.ledger.named(into)
        if into is not None and box is None:
            with store.index.transaction():
                box = store.ledger.create(into, OLD)
        choose(store.ledger, found, store.limits, into=box, everywhere=everywhere)
        bring_back(store.ledger, [lost for lost in found if not lost.why], into=box)
        store.bump()
        store.apply()
        store.end_run("undelete", None, 0, {})
        return found
    finally:
        store.close()


def last_run(side: Side) -> Run:
    store = side.open()
    try:
        run = past.last_run(store.ledger)
        assert run is not None
        return run
    finally:
        store.close()


def undo(side: Side, run: Run, *, force: bool = False, approved: bool = False) -> tuple[Plan, Undone]:
    store = side.open()
    try:
        store.scan()
        store.end_run("scan", None, 0, {})
        entries = list(past.entries(store.ledger, run))
        wanted = plan(store.ledger, run, entries, past.box_entries(store.ledger, run), force=force)
        done = carry_out(store.ledger, wanted, store.limits, approved=approved)
        store.bump()
        store.apply()
        store.end_run("undo", None, 0, {})
        return wanted, done
    finally:
        store.close()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    a.mailbox(b".Work")
    a.mailbox(b".Trash")
    for number in range(COUNT):
        a.deliver(b"" if number % 2 else b".Work", b"message %d" % number, ("S", "FS", None)[number % 3])
    a.create()
    b.create()
    settle(a, b)
    return a, b


def removes(side: Side) -> None:
    """A move, a removal for good, and a mailbox deleted with what is in it, which a person approves."""
    os.rename(side.path_of("message 1"), side.path(b".Trash", b"cur", b"1.M1.h:2,FS"))
    os.unlink(side.path_of("message 3"))
    for number in (0, 2, 4):
        os.unlink(side.path_of(f"message {number}"))
    side.scan()
    for part in (b"cur", b"new", b"tmp"):
        os.rmdir(side.path(b".Work", part))
    os.rmdir(side.path(b".Work"))
    side.scan()


def uids(side: Side) -> set[tuple[int, int, int]]:
    store = side.open()
    try:
        return set(
            store.index.execute("SELECT mailbox, uid, content FROM record WHERE live OR hold IS NOT NULL")
        )
    finally:
        store.close()


def test_what_was_removed_comes_back_with_flags_and_dates_under_new_uids(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    was = uids(a)
    removes(a)
    found = undelete(a)
    assert sorted(lost.why for lost in found) == ["", "", "", "", ELSEWHERE]
    moved = [(place if text != "message 1" else ".Trash", flags, text) for place, flags, text in before]
    assert a.shown() == sorted(moved)
    for path in a.files():
        with open(a.path(path), "rb") as file:
            number = int(file.read().split()[1])
        assert os.stat(a.path(path)).st_mtime == OLD + number + 1
    now = uids(a)
    assert len(now - was) == 5
    assert not {(box, uid) for box, uid, _ in was} & {(box, uid) for box, uid, _ in now - was}
    settle(a, b)
    assert b.shown() == a.shown()
    a.at_rest()
    b.at_rest()


def test_a_second_undelete_has_nothing_to_do(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    removes(a)
    undelete(a)
    before = a.shown()
    assert {lost.why for lost in undelete(a)} == {ELSEWHERE}
    assert a.shown() == before


def test_what_went_by_way_of_trash_comes_back_where_it_was(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    before = a.shown()
    os.rename(a.path_of("message 1"), a.path(b".Trash", b"cur", b"1.M1.h:2,FST"))
    a.scan()
    os.unlink(a.path_of("message 1"))
    found = undelete(a)
    assert sorted(lost.why for lost in found) == ["", OTHER_PLACE]
    assert a.shown() == before


def test_the_flag_that_marks_for_removal_does_not_come_back(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    before = a.shown()
    path = a.path_of("message 1")
    os.rename(path, path + b"T")
    a.scan()
    os.unlink(a.path_of("message 1"))
    undelete(a)
    assert a.shown() == before


def test_one_that_is_purged_is_said_to_be(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    os.unlink(a.path_of("message 3"))
    a.scan()
    store = a.open()
    with store.index.transaction():
        store.index.execute(
            "UPDATE content SET kept = 0 WHERE no IN (SELECT content FROM record WHERE NOT live)"
        )
    store.close()
    (lost,) = undelete(a)
    assert lost.why == PURGED
    assert lost.gone > OLD
    assert "message 3" not in a.texts()


def test_into_another_mailbox_once(pair: tuple[Side, Side]) -> None:
    a, b = pair
    os.unlink(a.path_of("message 3"))
    undelete(a, into="Rescued")
    assert [lost.why for lost in undelete(a, into="Rescued")] == [LIVES]
    assert [place for place, _, text in a.shown() if text == "message 3"] == [".Rescued"]
    settle(a, b)
    assert a.shown() == b.shown()


def test_everywhere_makes_a_second_of_what_was_moved(pair: tuple[Side, Side]) -> None:
    a, b = pair
    os.rename(a.path_of("message 1"), a.path(b".Trash", b"cur", b"1.M1.h:2,FS"))
    undelete(a, everywhere=True)
    undelete(a, everywhere=True)
    assert [place for place, _, text in a.shown() if text == "message 1"] == ["", ".Trash"]
    settle(a, b)
    assert a.shown() == b.shown()


# --- undo


def changes(side: Side) -> None:
    """A little of everything in one run: new, removed, moved, flagged, unflagged; mailboxes made and renamed."""
    side.mailbox(b".New")
    side.deliver(b".New", b"new here", "S")
    side.deliver(b"", b"new there", None)
    os.rename(side.path_of("message 1"), side.path(b".Trash", b"cur", b"1.M1.h:2,FS"))
    os.unlink(side.path_of("message 3"))
    path = side.path_of("message 0")
    os.rename(path, path + b"T")
    path = side.path_of("message 4")
    os.rename(path, path.replace(b":2,FS", b":2,"))
    os.rename(side.path(b".Work"), side.path(b".Play"))


def test_undo_gives_the_state_before_on_both_replicas(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    changes(a)
    a.scan()
    run = last_run(a)
    after = a.shown()
    settle(a, b)
    assert b.shown() == after
    wanted, done = undo(a, run)
    assert not wanted.conflicts + wanted.purged
    assert not wanted.box_conflicts
    assert not done.stands
    assert not done.held
    assert a.shown() == before
    settle(a, b)
    assert b.shown() == before
    undo(b, last_run_named(a, b))
    settle(a, b)
    assert a.shown() == b.shown() == after
    a.at_rest()
    b.at_rest()


def last_run_named(a: Side, b: Side) -> Run:
    """The run in which b heard of the undo at a."""
    store = b.open()
    try:
        runs = past.runs_between(store.ledger, None, None, 0)
        return next(run for run in runs if len(list(past.entries(store.ledger, run))) > 2)
    finally:
        store.close()


def test_undoing_twice_is_undoing_once(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    before = a.shown()
    changes(a)
    a.scan()
    run = last_run(a)
    undo(a, run)
    wanted, _ = undo(a, run)
    assert not wanted.changes
    assert not wanted.boxes
    assert wanted.nothing > 6
    assert a.shown() == before


def test_undoing_an_undo(pair: tuple[Side, Side]) -> None:
    a, b = pair
    changes(a)
    a.scan()
    after = a.shown()
    undo(a, last_run(a))
    undo(a, last_run(a))
    assert a.shown() == after
    settle(a, b)
    assert b.shown() == after


def test_what_somebody_changed_later_stands(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    before = a.shown()
    changes(a)
    a.scan()
    run = last_run(a)
    path = a.path_of("new here")  # somebody has answered it since
    os.rename(path, path.replace(b":2,S", b":2,RS"))
    wanted, _ = undo(a, run)
    assert len(wanted.conflicts) == 1
    shown = [row for row in a.shown() if row[2] != "new here"]
    assert shown == before
    assert "new here" in a.texts()
    wanted, done = undo(a, run, force=True)
    assert not wanted.conflicts
    assert done.removed == 1
    assert a.shown() == before


def test_removals_beyond_the_limits_are_not_carried_out_unless_approved(tmp_path: Path) -> None:
    a = Side(tmp_path, "a", limits=Limits(count=2, minimum=1))
    b = Side(tmp_path, "b", limits=Limits(count=2, minimum=1))
    for number in range(4):
        a.deliver(b"", b"message %d" % number, "S")
    a.create()
    b.create()
    settle(a, b)
    store = b.open()
    run = next(
        r for r in past.runs_between(store.ledger, None, None, 0) if list(past.entries(store.ledger, r))
    )
    store.close()
    _, done = undo(b, run)
    assert done.held == 4
    assert done.reasons
    assert len(b.texts()) == 4
    _, done = undo(b, run, approved=True)
    assert done.removed == 4
    assert b.texts() == []
    settle(a, b)
    assert a.texts() == [], "an approval travels with the deletions"
    assert {f"message {n}" for n in range(4)} <= a.kept()


def test_mailboxes_that_changed_names_change_them_back(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    os.rename(a.path(b".Work"), a.path(b"aside"))
    os.rename(a.path(b".Trash"), a.path(b".Work"))
    os.rename(a.path(b"aside"), a.path(b".Trash"))
    a.scan()
    run = last_run(a)
    assert a.shown() != before
    _, done = undo(a, run)
    assert not done.stands
    assert a.shown() == before
    settle(a, b)
    assert b.shown() == before


# --- cut off


def take_back(side: Side) -> None:
    store = side.open()
    run = next(r for r in past.runs_between(store.ledger, None, None, 0)[::-1] if r.counts.get("marked"))
    store.close()
    undo(side, run)


def marked_changes(side: Side) -> None:
    changes(side)
    store = side.open()
    store.scan()
    store.end_run("sync", None, 0, {"marked": 1})
    store.close()


STORIES: dict[str, tuple[Callable[[Side], None], Callable[[Side], object]]] = {
    "undelete": (removes, undelete),
    "undo": (marked_changes, take_back),
}


def story(base: Path, name: str) -> Side:
    base.mkdir()
    side = Side(base, "a")
    side.mailbox(b".Work")
    side.mailbox(b".Trash")
    for number in range(COUNT):
        side.deliver(b"" if number % 2 else b".Work", b"message %d" % number, ("S", "FS", None)[number % 3])
    side.create()
    STORIES[name][0](side)
    return side


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["crash", "full"])
def test_cut_off_at_each_step_it_is_begun_again(
    tmp_path: Path, name: str, after: bool, fault: str, every: bool
) -> None:
    whole = story(tmp_path / "whole", name)
    steps = Steps()
    with steps.installed():
        STORIES[name][1](whole)
    expected, count = whole.shown(), len(steps.names)
    assert count > 10
    for at in range(0, count, 1 if every else 5):
        side = story(tmp_path / f"{at}", name)
        had = side.kept()
        steps = Steps(
            at, Crash() if fault == "crash" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), after=after
        )
        with steps.installed():
            try:
                STORIES[name][1](side)
            except (Crash, MailkeepError, OSError):
                pass
        steps.stop()
        assert had <= side.kept(), f"lost at step {at}: {steps.hit}"
        STORIES[name][1](side)
        assert side.shown() == expected, f"at step {at}: {steps.hit}"
        assert had <= side.kept()
        side.at_rest()


def test_a_mail_program_goes_on_meanwhile(pair: tuple[Side, Side]) -> None:
    """Between any two steps of an undelete: a delivery, a flag, a removal of something else."""
    a, b = pair
    removes(a)
    steps = Steps()
    at = 0
    done: list[bytes] = []

    def meddles() -> None:
        a.deliver(b"", b"meanwhile %d" % at, None)
        path = a.path_of("message 5")
        os.rename(path, path.replace(b"/new/", b"/cur/") + b":2,S" if b"/new/" in path else path[:-1] + b"RS")
        done.append(b"")

    for at in (4, 9):
        steps = Steps(at, meddles)
        with steps.installed():
            undelete(a)
        if at < 9:
            os.unlink(a.path_of("message 3"))
    assert done
    settle(a, b)
    assert sorted(set(a.texts())) == a.texts(), "nothing is there twice"
    assert set(a.texts()) >= {f"message {n}" for n in range(COUNT)}
    assert a.shown() == b.shown()
    a.at_rest()


# --- written out


def items(side: Side, run: int) -> list[tuple[str, list[Item]]]:
    store = side.open()
    try:
        at = past.run_numbered(store.ledger, run)
        assert at is not None
        point = past.end_of(store.ledger, at)
        out = []
        for no, box in past.box_states(store.ledger, point).items():
            rows = past.messages_at(store.ledger, point, no)
            here = [(store.ledger.content_row(row[1]), row) for row in rows]
            out.append((box.name, [Item(content[0], content[1], row[3], row[6]) for content, row in here]))
        return out
    finally:
        store.close()


def write_out(side: Side, what: list[tuple[str, list[Item]]], target: bytes, form: str) -> Writer:
    store = side.open()
    try:
        writer = Writer(target, store.vault, form, store.maildir.layout, single=False)
        with writer:
            for name, wanted in what:
                writer.mailbox(name, wanted)
            writer.finish()
        return writer
    finally:
        store.close()


@pytest.mark.parametrize("form", [MAILDIR, MBOX])
def test_a_target_is_whole_or_not_there(
    pair: tuple[Side, Side], tmp_path: Path, form: str, every: bool
) -> None:
    a, _ = pair
    before = a.shown()
    what = items(a, 1)
    removes(a)
    target = os.fsencode(tmp_path / "out")
    steps = Steps()
    with steps.installed():
        assert write_out(a, what, target, form).written == COUNT
    written = tree(target)
    if form == MAILDIR:
        other = Side.__new__(Side)
        other.root = target
        assert other.shown() == before
    else:
        assert sorted(written) == ["INBOX.mbox", "Trash.mbox", "Work.mbox"]
        assert written["Work.mbox"].count(b"From MAILER-DAEMON ") == 3
    with pytest.raises(MailkeepError, match="is there already"):
        write_out(a, what, target, form)
    for at in range(0, len(steps.names), 1 if every else 4):
        for fault in (Crash(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
            there = os.fsencode(tmp_path / f"out {at} {type(fault).__name__}")
            struck = Steps(at, fault)
            with struck.installed():
                try:
                    write_out(a, what, there, form)
                except (Crash, MailkeepError, OSError):
                    pass
            struck.stop()
            if not os.path.lexists(there):
                assert write_out(a, what, there, form).written == COUNT
            found = tree(there)
            found.pop(".mailkeep-restore", None)
            assert found == written, (at, struck.hit)
            assert not os.path.lexists(there + b".partial")


def tree(root: bytes) -> dict[str, bytes]:
    out = {}
    for at, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                out[os.fsdecode(os.path.relpath(os.path.join(at, name), root))] = file.read()
    return out


def test_what_is_not_of_mailkeep_is_not_removed(pair: tuple[Side, Side], tmp_path: Path) -> None:
    a, _ = pair
    what = items(a, 1)
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "precious").write_bytes(b"mine")
    with pytest.raises(MailkeepError, match="and not by mailkeep"):
        write_out(a, what, os.fsencode(tmp_path / "out"), MAILDIR)
    assert (tmp_path / "out.partial" / "precious").read_bytes() == b"mine"


def test_a_sync_and_an_undelete_at_both_ends_meet(pair: tuple[Side, Side]) -> None:
    """Both replicas give the same back before they meet: it is there once."""
    a, b = pair
    before = a.shown()
    os.unlink(a.path_of("message 3"))
    os.unlink(a.path_of("message 0"))
    settle(a, b)
    undelete(a)
    undelete(b)
    sync(a, b)
    settle(a, b)
    assert a.shown() == b.shown() == before
