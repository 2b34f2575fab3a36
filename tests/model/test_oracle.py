"""The oracle holds what it promises: by example, by random histories, and by catching each mutant.

`MODEL_RUNS=20000 MODEL_SEED=7 pytest tests/model` goes deeper.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from . import histories, mutants, spares
from .oracle import Clock, Doomed, Key, Replica, Tally, plain_view, session, sync, view

RUNS = int(os.environ.get("MODEL_RUNS", "210"))
SEED = int(os.environ.get("MODEL_SEED", "1"))
SOAK_RUNS = int(os.environ.get("MODEL_RUNS", "4200"))
MUTANT_RUNS = max(300, RUNS // 10)

X, Y = b"content x", b"content y"


def pair() -> tuple[Replica, Replica]:
    """Two replicas that have met and have an INBOX."""
    clock = Clock()
    a, b = Replica("a", b"\x01", clock=clock), Replica("b", b"\x02", clock=clock)
    a.create_mailbox("INBOX")
    sync(a, b)
    return a, b


def agree(a: Replica, b: Replica) -> None:
    """Meet once, and then have nothing left to say."""
    sync(a, b)
    assert view(a) == view(b)
    assert sync(b, a) == Tally()


def hold_all(replica: Replica, doomed: Sequence[Doomed]) -> Sequence[Doomed]:
    """A guard that holds everything it is asked about."""
    return doomed


def test_transaction_shares_one_stamp_and_rank() -> None:
    a, _ = pair()
    before = a.state.lamport
    with a.transaction():
        key = a.add("INBOX", X, "SO")
        other = a.add("INBOX", Y)
        a.flag("INBOX", other, "F")
    records = a.state.boxes[a.resolve("INBOX")].records
    written = [register for k in (key, other) for register in records[k].registers.values()]
    assert (
        {register.stamp.lamport for register in written}
        == {before + 1}
        == {register.rank for register in written}
    )
    with a.transaction():
        pass
    assert a.state.lamport == before + 1


def test_ranks_tie_by_bytes_of_the_replica_id() -> None:
    clock = Clock()
    high, low = Replica("high", b"\xff", clock=clock), Replica("low", b"\x7f\xff", clock=clock)
    high.create_mailbox("INBOX")
    key = high.add("INBOX", X)
    sync(high, low)
    sync(low, high)
    assert high.state.lamport == low.state.lamport
    high.flag("INBOX", key, "S", True)
    low.flag("INBOX", key, "S", False)
    agree(low, high)
    assert plain_view(low) == {"INBOX": [(X, frozenset("S"))]}


@pytest.mark.parametrize("is_swapped", [False, True])
def test_splitbrain_both_expunge(is_swapped: bool) -> None:
    a, b = pair()
    key = a.add("INBOX", X)
    agree(a, b)
    for replica in (a, b):
        replica.remove("INBOX", key)
    agree(*((b, a) if is_swapped else (a, b)))
    assert view(a) == {"INBOX": {}}


def test_message_moved_in_two_ways_is_in_both_places() -> None:
    a, b = pair()
    a.create_mailbox("Work")
    a.create_mailbox("Old")
    key = a.add("INBOX", X)
    agree(a, b)
    a.move("INBOX", key, "Work")
    b.move("INBOX", key, "Old")
    agree(b, a)
    assert plain_view(a) == {"INBOX": [], "Work": [(X, frozenset())], "Old": [(X, frozenset())]}


def test_each_removes_the_copy_that_the_other_keeps() -> None:
    a, b = pair()
    keys = [a.add("INBOX", X), a.add("INBOX", X)]
    agree(a, b)
    a.remove("INBOX", keys[0])
    b.remove("INBOX", keys[1])
    agree(a, b)
    assert plain_view(b) == {"INBOX": [(X, frozenset())]}


def test_same_mailbox_made_twice_and_twins_by_renaming() -> None:
    a, b = pair()
    assert a.create_mailbox("Work") == b.create_mailbox("Work")
    a.create_mailbox("Old")
    b.create_mailbox("Lists")
    a.rename_mailbox("Old", "New")
    b.rename_mailbox("Lists", "New")
    agree(a, b)
    assert {"INBOX", "Work", "New"} < view(a).keys()
    assert len(view(a)) == 4


def test_message_added_meanwhile_keeps_a_deleted_mailbox() -> None:
    a, b = pair()
    a.create_mailbox("Work")
    agree(a, b)
    a.delete_mailbox("Work")
    b.add("Work", X)
    agree(a, b)
    assert plain_view(a)["Work"] == [(X, frozenset())]


def test_flag_set_between_hello_and_commit_survives() -> None:
    a, b = pair()
    key = a.add("INBOX", X)
    agree(a, b)
    running = session(a, b)
    next(running)
    next(running)
    a.flag("INBOX", key, "S")
    b.flag("INBOX", key, "F")
    assert len(list(running)) == 4
    agree(b, a)
    assert plain_view(a) == {"INBOX": [(X, frozenset("SF"))]}


def test_approval_travels_and_releases_other_holds() -> None:
    a, b = pair()
    c = Replica("c", b"\x03", clock=a.clock)
    key = a.add("INBOX", X)
    agree(a, b)
    agree(b, c)
    a.remove("INBOX", key)
    sync(a, b, guard=hold_all)
    sync(b, c, guard=hold_all)
    assert [len(r.held()) for r in (a, b, c)] == [0, 1, 1]
    assert view(c) == {"INBOX": {}}
    assert view(c, with_held=True) == {"INBOX": {1: (X, frozenset())}}
    b.approve("INBOX", key)
    sync(b, c, guard=hold_all)
    assert [len(r.held()) for r in (b, c)] == [0, 0]


def test_approved_deletion_is_not_held_and_a_later_one_is() -> None:
    a, b = pair()
    key = a.add("INBOX", X)
    agree(a, b)
    a.remove("INBOX", key, approved=True)
    sync(a, b, guard=hold_all)
    assert not b.held()
    assert a.add("INBOX", X) == key
    agree(a, b)
    a.remove("INBOX", key)
    sync(a, b, guard=hold_all)
    assert b.held() == [(b.resolve("INBOX"), key)]


def test_rejected_deletion_comes_back_everywhere_with_a_new_uid() -> None:
    a, b = pair()
    key = a.add("INBOX", X, "F")
    agree(a, b)
    a.remove("INBOX", key)
    sync(a, b, guard=hold_all)
    b.reject("INBOX", key)
    agree(b, a)
    assert view(a) == {"INBOX": {2: (X, frozenset("F"))}}


def test_guard_is_told_whether_anything_vanishes() -> None:
    a, b = pair()
    a.create_mailbox("Work")
    moved, removed = a.add("INBOX", X), a.add("INBOX", Y)
    agree(a, b)
    a.move("INBOX", moved, "Work")
    a.remove("INBOX", removed)
    asked: list[Doomed] = []

    def guard(replica: Replica, doomed: Sequence[Doomed]) -> Sequence[Doomed]:
        asked.extend(doomed)
        return [each for each in doomed if each.vanishes]

    sync(a, b, guard=guard)
    assert {each.key: each.vanishes for each in asked} == {moved: False, removed: True}
    assert b.held() == [(b.resolve("INBOX"), removed)]


def revival_after_purge() -> set[bytes]:
    """A store goes back to before a removal of which the other one only ever had the tombstone, since purged."""
    clock = Clock()
    a, b = Replica("a", b"a", clock=clock), Replica("b", b"b", clock=clock)
    for replica in (a, b):
        replica.create_mailbox("INBOX", weak=True, validity=1)
    key = a.add("INBOX", X, weak=True)
    backup = a.state.twin()
    a.remove("INBOX", key)
    sync(a, b)
    b.purge()
    clock.now += 100
    b.purge()
    assert not b.state.boxes[b.resolve("INBOX")].records
    a.state = backup
    sync(a, b)
    assert plain_view(b) == {"INBOX": [(X, frozenset())]}
    return a.state.revived | b.state.revived


def flag_after_broken_notice() -> bool:
    """The session that notices a rollback dies; the next one finds news; then the only witness goes back, too."""
    a, b = pair()
    key = a.add("INBOX", X)
    sync(a, b)
    backups = a.state.twin(), b.state.twin()
    a.flag("INBOX", key, "S")
    sync(a, b)
    a.state = backups[0]
    for n in range(3):
        a.add("INBOX", b"later %d" % n)  # These use the lost stamps again.
    next(session(a, b))
    b.add("INBOX", Y)
    sync(a, b)
    b.state = backups[1]
    sync(b, a)
    agree(a, b)
    return (X, frozenset("S")) in plain_view(a)["INBOX"]


def copies_after_lost_row() -> int:
    """Of two copies each of two people removes another; between, an index loses the row of the one left."""
    a, b = pair()
    keys = [a.add("INBOX", X), a.add("INBOX", X)]
    agree(a, b)
    b.remove("INBOX", keys[1])
    del b.state.boxes[b.resolve("INBOX")].records[keys[0]]
    a.remove("INBOX", keys[0])
    agree(a, b)
    return len(view(a)["INBOX"])


def test_revival_is_reported_by_who_only_had_the_tombstone() -> None:
    assert revival_after_purge() == {X}
    with mutants.mutated("only removals seen here are history"):
        assert revival_after_purge() == set()


def test_doubt_outlasts_the_session_that_raised_it() -> None:
    assert flag_after_broken_notice()
    with mutants.mutated("doubt ends with the session"):
        assert not flag_after_broken_notice()


def test_lost_row_and_two_removals_need_spares() -> None:
    assert copies_after_lost_row() == 0
    with spares.spares():
        assert copies_after_lost_row() == 1
        test_each_removes_the_copy_that_the_other_keeps()
        test_splitbrain_both_expunge(False)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(7))
def test_histories(part: int) -> None:
    work = [job for n, job in enumerate(histories.jobs(RUNS, SEED)) if n % 7 == part]
    failures = histories.try_histories(work)
    assert not failures, [(f.seed, f.faults, f.text) for f in failures]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_histories_with_spares(part: int) -> None:
    work = histories.jobs(RUNS // 21, SEED + part * 1000, ["lies", "crash,lies", "crash"])
    with spares.spares():
        failures = histories.try_histories(work)
    assert not failures, [(f.seed, f.faults, f.text) for f in failures]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, m in mutants.MUTANTS.items() if not m.is_caught_by_example])
def test_mutant_is_caught(name: str) -> None:
    failure = mutants.first_catch(name, MUTANT_RUNS)
    assert failure, f"{name} lived through {MUTANT_RUNS} histories"


@pytest.mark.soak
@pytest.mark.parametrize("part", range(21))
def test_many_histories(part: int) -> None:
    work = [job for n, job in enumerate(histories.jobs(SOAK_RUNS, SEED + 10_000)) if n % 21 == part]
    failures = histories.try_histories(work)
    assert not failures, [(f.seed, f.faults, f.text) for f in failures]


@pytest.mark.soak
@pytest.mark.parametrize("name", [n for n, m in mutants.MUTANTS.items() if m.is_caught_by_example])
def test_rare_mutant_is_caught(name: str) -> None:
    assert mutants.first_catch(name, SOAK_RUNS)


def test_histories_are_reproducible() -> None:
    logs = []
    for _ in range(2):
        world = histories.World(5, ["crash", "hold"])
        world.run()
        logs.append(world.log)
    assert logs[0] == logs[1]


def test_keys_are_found_by_uid() -> None:
    a, _ = pair()
    assert a.add("INBOX", X) == Key(X, 0) == a.find("INBOX", 1)
    assert a.add("INBOX", X) == Key(X, 1) == a.find("INBOX", 2)
    with pytest.raises(KeyError):
        a.find("INBOX", 99)
