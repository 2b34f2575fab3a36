"""An index that is lost, cut short, zeroed, another store's or of last week: a clear error or a right state, and no deletion.

Each form of damage is followed by sessions with a second store, in both roles, and by `Rebuild`.
"""

from __future__ import annotations

import os
import random
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw
import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import MailkeepError, StorageError
from mailkeep.rules.guard import Limits
from mailkeep.store import backup as backups
from mailkeep.store import index as index_module
from mailkeep.store.holds import approve, holds, reject
from mailkeep.store.rebuild import Rebuild, examine
from mailkeep.store.verify import Verification
from mailkeep.system import clock, fs
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

INDEX = b"index.db"
ROLES = pytest.mark.parametrize("starts", ["it", "the other"])
"""Who starts the session: the side whose index was lost, or the other one."""


def meet(a: Side, b: Side, starts: str) -> None:
    """Sessions until there is nothing to do, as the command line has them."""
    first, second = (a, b) if starts == "it" else (b, a)
    settle(first, second)


def rebuild(
    side: Side, *, from_mail: bool = False, force: bool = False, recover: str | None = None
) -> Rebuild:
    work = Rebuild(side.root, side.state, side.limits, lambda: side.layout, from_mail=from_mail, force=force)
    assert work.needed
    work.run(recover).close()
    return work


def back_up(side: Side) -> None:
    assert backups.take(side.state, now=clock.now(), daily=3, weekly=2) is not None


def index_of(side: Side) -> bytes:
    return os.path.join(side.state, INDEX)


def bytes_of(side: Side) -> bytes:
    with open(index_of(side), "rb") as file:
        return file.read()


def lose_index(side: Side) -> None:
    for name in os.listdir(side.state):
        if name.startswith(INDEX):
            os.unlink(os.path.join(side.state, name))


def is_sound(side: Side) -> None:
    work = Verification(side.root, side.state)
    try:
        work.run()
        assert not work.faults, (side.name, work.faults)
    finally:
        work.close()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    """Two stores that agree: an inbox, a mailbox, one that was renamed, one that took over its old name."""
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    for number in range(4):
        a.deliver(b"", b"mail %d" % number, "FS" if number % 2 else "S")
    a.deliver(b"", b"twice", "S")
    a.deliver(b"", b"twice", "S")
    for name in (b".Old", b".Work"):
        a.mailbox(name)
        for number in range(3):
            a.deliver(name, b"%b %d" % (name, number), "S")
    a.create()
    b.create()
    sync(a, b)
    os.rename(a.path(b".Old"), a.path(b".Renamed"))
    sync(a, b)
    a.mailbox(b".Old")
    a.deliver(b".Old", b"in the second of that name", "S")
    settle(a, b)
    return a, b


# --- rebuilt from Maildir and vault


@ROLES
def test_a_lost_index_is_rebuilt_and_the_next_session_changes_nothing(
    pair: tuple[Side, Side], starts: str
) -> None:
    a, b = pair
    before = a.shown()
    lose_index(a)
    with pytest.raises(StorageError, match="is gone"):
        a.open()
    work = rebuild(a)
    assert work.spare == 0
    assert a.shown() == before
    meet(a, b, starts)
    assert a.shown() == b.shown() == before, "nothing lost, nothing twice, whatever was renamed before"
    for side in pair:
        side.at_rest()
        is_sound(side)


@ROLES
def test_both_sides_lose_their_index(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    before = a.shown()
    for side in pair:
        lose_index(side)
        rebuild(side)
    meet(a, b, starts)
    assert a.shown() == b.shown() == before


@ROLES
@pytest.mark.parametrize("sides", [1, 2])
def test_the_whole_state_is_lost(pair: tuple[Side, Side], starts: str, sides: int) -> None:
    a, b = pair
    before = a.shown()
    for side in pair[:sides]:
        shutil.rmtree(side.state)
        with pytest.raises(StorageError, match=r"state of this store, .* is gone"):
            side.open()
        rebuild(side)
    meet(a, b, starts)
    assert a.shown() == b.shown() == before
    for side in pair:
        is_sound(side)


@ROLES
def test_what_is_new_on_either_side_is_kept_and_given(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    a.deliver(b".Work", b"new here", "F")
    b.deliver(b"", b"new there")
    os.rename(b.path(b".Work"), b.path(b".Job"))
    lose_index(a)
    rebuild(a)
    meet(a, b, starts)
    assert a.shown() == b.shown()
    assert {"new here", "new there"} < set(a.texts())
    assert len(a.texts()) == 15
    names = {where for where, _, _ in a.shown()}
    assert names >= {".Job", ".Renamed", ".Old"}


@ROLES
def test_what_the_peer_deleted_meanwhile_is_deleted(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    victim = next(path for path in b.files() if path.startswith(b".Work"))
    os.unlink(b.path(victim))
    lose_index(a)
    rebuild(a)
    meet(a, b, starts)
    assert a.shown() == b.shown()
    assert len(a.texts()) == 12


@ROLES
def test_few_removals_that_no_peer_had_heard_of_come_back(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    before = a.shown()
    os.unlink(a.path(next(path for path in a.files() if path.startswith(b".Work"))))
    lose_index(a)
    assert rebuild(a).spare == 1
    meet(a, b, starts)
    assert a.shown() == b.shown() == before


@ROLES
@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_many_removals_that_no_peer_had_heard_of_are_held(tmp_path: Path, starts: str, answer: str) -> None:
    a, b = Side(tmp_path, "a", limits=Limits(count=5)), Side(tmp_path, "b")
    for number in range(20):
        a.deliver(b"", b"mail %d" % number, "S")
    a.create()
    b.create()
    settle(a, b)
    everything = b.shown()
    for path in a.files()[:12]:
        os.unlink(a.path(path))
    lose_index(a)
    assert rebuild(a).spare == 12
    meet(a, b, starts)
    assert len(a.shown()) == 8, "not brought back unasked"
    assert b.shown() == everything, "not removed unasked"
    store = a.open()
    (hold,) = holds(store.ledger)
    assert hold.count == 12
    with store.index.transaction():
        (approve if answer == "approve" else reject)(store.ledger, hold.no)
    store.bump()
    store.apply()
    store.end_run(answer, None, 0, {})
    store.close()
    meet(a, b, starts)
    assert len(a.shown()) == (8 if answer == "approve" else 20)
    assert a.shown() == b.shown()
    is_sound(a)


def test_a_first_session_that_was_cut_off_is_no_removal(tmp_path: Path) -> None:
    """Contents that arrived before a cut have no record yet either; they were never here."""
    a, b = Side(tmp_path, "a", limits=Limits(count=2)), Side(tmp_path, "b")
    a.create()
    for number in range(8):
        b.deliver(b"", b"mail %d" % number, "S")
    b.create()
    steps = Steps(-1)
    with pytest.MonkeyPatch.context() as patch:
        from mailkeep.replicate.initiator import Initiator

        def dies(self: Initiator) -> None:
            raise MailkeepError("cut off")

        patch.setattr(Initiator, "commit", dies)
        with pytest.raises(MailkeepError):
            sync(a, b)
    assert not steps.hit
    settle(a, b)
    assert a.shown() == b.shown()
    assert len(a.texts()) == 8


def test_the_vault_alone_gives_back_what_it_has_when_asked(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    texts = set(a.texts())
    for path in a.files():
        os.unlink(a.path(path))
    lose_index(a)
    work = rebuild(a)
    assert a.texts() == []
    assert work.spare == len(texts)
    work = Rebuild(a.root, a.state, None, Layout)
    assert not work.needed
    store = a.open(lock=work.lock)
    work.recover(store, "Recovered")
    store.bump()
    store.close()
    assert {(where, text) for where, _, text in a.shown()} == {(".Recovered", text) for text in texts}
    is_sound(a)


def test_a_damaged_object_that_nothing_has_any_more_goes_aside(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    path = a.path(next(p for p in a.files() if p.startswith(b".Work")))
    os.chmod(path, 0o600)
    os.unlink(path)
    lose_index(a)
    (spoilt,) = [p for p in objects(a) if os.stat(p).st_nlink == 1]
    os.chmod(spoilt, 0o600)
    with open(spoilt, "r+b") as file:
        file.write(b"X")
    work = rebuild(a)
    assert work.damaged_objects == [os.path.basename(spoilt).decode()]
    assert len(os.listdir(os.path.join(a.state, b"damaged"))) == 1


def objects(side: Side) -> list[bytes]:
    root = os.path.join(side.state, b"objects")
    return sorted(os.path.join(at, name) for at, _, names in os.walk(root) for name in names)


# --- from a backup


@ROLES
@pytest.mark.parametrize("found_out", ["by rebuild", "by the marker"])
def test_an_index_from_an_old_backup_loses_and_doubles_nothing(
    pair: tuple[Side, Side], starts: str, found_out: str
) -> None:
    a, b = pair
    back_up(a)
    a.deliver(b"", b"taken in since", "S")
    settle(a, b)
    b.deliver(b".Work", b"from there since", "S")
    os.rename(b.path(b".Renamed"), b.path(b".Again"))
    settle(a, b)
    os.unlink(b.path(next(p for p in b.files() if p.startswith(b".Old"))))
    settle(a, b)
    before = a.shown()
    a.deliver(b"", b"never told to anybody", "S")
    old = index_module.Index.open(os.fsdecode(index_of(a)))
    replica = old.ids[old.me]
    old.close()
    lose_index(a)
    if found_out == "by rebuild":
        work = rebuild(a)
        assert work.found.backup is not None
    else:
        shutil.copy(backups.backups(a.state)[0].path, index_of(a))
    meet(a, b, starts)
    assert a.shown() == b.shown()
    assert a.shown() == sorted([*before, ("", "S", "never told to anybody")])
    store = a.open()
    assert store.index.ids[store.index.me] != replica
    assert store.index.numbers[replica] in store.index.waived
    store.close()
    for side in pair:
        is_sound(side)


@ROLES
def test_many_messages_that_an_old_index_has_and_the_maildir_has_not_are_held(
    tmp_path: Path, starts: str
) -> None:
    a, b = Side(tmp_path, "a", limits=Limits(count=5)), Side(tmp_path, "b", limits=Limits(count=100))
    for number in range(20):
        a.deliver(b"", b"mail %d" % number, "S")
    a.create()
    b.create()
    settle(a, b)
    back_up(a)
    a.limits = Limits(count=100)
    for path in a.files()[:12]:
        os.unlink(a.path(path))
    settle(a, b)
    assert len(b.shown()) == 8
    before = b.shown()
    a.limits = Limits(count=5)
    lose_index(a)
    work = rebuild(a)
    assert work.report is not None
    assert work.report.held == 12
    assert len(a.shown()) == 8, "not put back unasked"
    meet(a, b, starts)
    assert a.shown() == b.shown() == before
    store = a.open()
    assert not holds(store.ledger), "the peer knows that they were removed"
    store.close()


def test_a_damaged_backup_is_passed_over_for_an_older_one(
    pair: tuple[Side, Side], monkeypatch: MonkeyPatch
) -> None:
    a, b = pair
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now - 86_400)
    back_up(a)
    monkeypatch.undo()
    a.deliver(b"", b"taken in since", "S")
    settle(a, b)
    back_up(a)
    newest, older = backups.backups(a.state)
    with open(newest.path, "r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00\xff")
    before = a.shown()
    lose_index(a)
    found = examine(a.root, a.state)
    assert [where for where, _ in found.refused] == [os.fsdecode(newest.path)]
    assert found.backup is not None
    assert found.backup.path == older.path
    rebuild(a)
    settle(b, a)
    assert a.shown() == b.shown() == before


def test_another_stores_backup_is_refused(pair: tuple[Side, Side]) -> None:
    a, b = pair
    back_up(b)
    lose_index(a)
    shutil.copytree(
        os.fsdecode(os.path.join(b.state, b"backups")), os.fsdecode(os.path.join(a.state, b"backups"))
    )
    found = examine(a.root, a.state)
    assert found.backup is None
    assert found.refused[0][1] == "it is another store's"
    with pytest.raises(MailkeepError, match="another store"):
        examine(a.root, a.state, source=backups.backups(b.state)[0].path)


# --- damage


def damage_empty(side: Side, rng: random.Random) -> None:
    os.truncate(index_of(side), 0)


def damage_cut(side: Side, rng: random.Random) -> None:
    os.truncate(index_of(side), rng.randrange(1, os.stat(index_of(side)).st_size))


def damage_zero(side: Side, rng: random.Random) -> None:
    size = os.stat(index_of(side)).st_size
    with open(index_of(side), "r+b") as file:
        file.write(bytes(size))


def damage_page(side: Side, rng: random.Random) -> None:
    """One page of zeros, anywhere but the first."""
    pages = os.stat(index_of(side)).st_size // 4096
    with open(index_of(side), "r+b") as file:
        file.seek(rng.randrange(1, pages) * 4096)
        file.write(bytes(4096))


def damage_bit(side: Side, rng: random.Random) -> None:
    with open(index_of(side), "r+b") as file:
        at = rng.randrange(os.stat(index_of(side)).st_size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def damage_bits(side: Side, rng: random.Random) -> None:
    for _ in range(8):
        damage_bit(side, rng)


def damage_many_bits(side: Side, rng: random.Random) -> None:
    for _ in range(100):
        damage_bit(side, rng)


CERTAIN = (damage_empty, damage_cut, damage_zero)
DAMAGES = (*CERTAIN, damage_page, damage_bit, damage_bits, damage_many_bits)


@pytest.mark.parametrize("damage", CERTAIN, ids=lambda d: d.__name__)
def test_an_index_that_is_empty_cut_short_or_zeroed_is_named_and_left_as_it_is(
    pair: tuple[Side, Side], damage: Callable[[Side, random.Random], None]
) -> None:
    a, b = pair
    before, whole = a.shown(), bytes_of(a)
    for seed in range(6 if damage is damage_cut else 1):
        with open(index_of(a), "wb") as file:
            file.write(whole)
        damage(a, random.Random(seed))
        left = bytes_of(a)
        for _ in range(2):
            with pytest.raises(StorageError) as told:
                a.open()
            assert "is damaged" in told.value.what
            assert "mailkeep rebuild" in told.value.hint
        assert bytes_of(a) == left
        assert sorted(os.listdir(a.state)) == sorted(
            name for name in os.listdir(a.state) if not name.startswith(b"index.db-")
        )
    rebuild(a)
    settle(b, a)
    assert a.shown() == b.shown() == before


def ends_well(a: Side, b: Side, before: list[tuple[str, str, str]], starts: str, where: str) -> None:
    """A clear error or a right state; then, by a rebuild, a right state in any case."""
    texts = sorted(text for _, _, text in before)
    try:
        meet(a, b, starts)
    except MailkeepError as err:
        assert err.hint, (where, err)
    except (
        AssertionError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        apsw.Error,
    ) as err:
        explained = index_module.explain(err)
        assert explained is not None, (where, repr(err))
    for side in (a, b):
        assert side.texts() == texts, f"{where}: {side.name} lost or doubled something"
    if examine(a.root, a.state).index:
        rebuild(a)
    for _ in range(2):
        meet(a, b, starts)
    assert a.texts() == b.texts() == texts, where


def soil(base: Path, seed: int) -> None:
    rng = random.Random(seed)
    damage = rng.choice(DAMAGES)
    a, b = Side(base, "a"), Side(base, "b")
    a.mailbox(b".Work")
    for number in range(rng.choice((3, 30, 150))):
        a.deliver(rng.choice((b"", b".Work")), b"mail %d" % number, rng.choice(("S", "FS", "")))
    a.create()
    b.create()
    settle(a, b)
    if rng.random() < 0.5:
        back_up(a)
    before = a.shown()
    damage(a, rng)
    ends_well(a, b, before, rng.choice(("it", "the other")), f"seed {seed}, {damage.__name__}")


# --- the WAL


@contextmanager
def wal_kept(side: Side) -> Iterator[None]:
    """Meanwhile nothing is folded into the database: as after a run that was killed, the WAL has it."""
    reader = apsw.Connection(os.fsdecode(index_of(side)))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM meta").fetchall()
    try:
        yield
    finally:
        reader.close()


def files_of(side: Side) -> tuple[bytes, bytes]:
    with open(index_of(side) + b"-wal", "rb") as file:
        return bytes_of(side), file.read()


def put(side: Side, database: bytes, wal: bytes | None) -> None:
    lose_index(side)
    for suffix, data in ((b"", database), (b"-wal", wal)):
        if data is not None:
            with open(index_of(side) + suffix, "wb") as file:
                file.write(data)


def events(a: Side, b: Side) -> None:
    """Mail comes, goes, moves and is renamed on both sides."""
    a.deliver(b"", b"one more", "S")
    b.deliver(b".Work", b"and one more", "S")
    settle(a, b)
    os.unlink(a.path(next(p for p in a.files() if p.startswith(b".Work"))))
    os.unlink(b.path(next(p for p in b.files() if p.startswith(b".Renamed"))))
    moved = next(p for p in b.files() if p.startswith(b".Old"))
    os.rename(b.path(moved), b.path(b"cur", os.path.basename(moved)))
    settle(a, b)


@ROLES
def test_a_lost_wal_loses_no_mail_and_brings_none_back(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    with wal_kept(a):
        events(a, b)
        database, wal = files_of(a)
    assert wal
    before = a.shown()
    put(a, database, None)
    meet(a, b, starts)
    assert a.shown() == b.shown() == before
    is_sound(a)
    is_sound(b)


@ROLES
def test_another_stores_wal_is_noticed(pair: tuple[Side, Side], tmp_path: Path, starts: str) -> None:
    a, b = pair
    c = Side(tmp_path, "c")
    for number in range(40):
        c.deliver(b"", b"of another %d" % number, "S")
    c.create()
    with wal_kept(c):
        for number in range(40):
            c.deliver(b"", b"later %d" % number, "S")
        c.scan()
        foreign = files_of(c)[1]
    before = a.shown()
    put(a, bytes_of(a), foreign)
    with pytest.raises(MailkeepError) as told:
        meet(a, b, starts)
    assert "mailkeep rebuild" in told.value.hint
    assert a.shown() == b.shown() == before
    rebuild(a)
    meet(a, b, starts)
    assert a.shown() == b.shown() == before


@ROLES
def test_an_older_wal_of_the_same_store_does_no_harm(pair: tuple[Side, Side], starts: str) -> None:
    a, b = pair
    with wal_kept(a):
        events(a, b)
        old = files_of(a)[1]
    for number in range(30):
        b.deliver(b".Work", b"much later %d" % number, "S")
    settle(a, b)
    before = a.shown()
    put(a, bytes_of(a), old)
    ends_well(a, b, before, starts, "older WAL")
    assert a.shown() == b.shown() == before


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_index_is_told_or_does_no_harm(tmp_path: Path, seed: int) -> None:
    soil(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_damaged_indexes_are_told_or_do_no_harm(tmp_path: Path) -> None:
    """DAMAGE_SEED=1234 DAMAGE_RUNS=1 says it again."""
    first = int(os.environ.get("DAMAGE_SEED", random.SystemRandom().randrange(1 << 30)))
    runs = int(os.environ.get("DAMAGE_RUNS", "500"))
    print(f"damage: seeds {first} to {first + runs - 1}")
    for seed in range(first, first + runs):
        base = tmp_path / str(seed)
        base.mkdir()
        soil(base, seed)
        shutil.rmtree(base)


# --- cut off


def lost(base: Path, way: str) -> tuple[Side, Side]:
    base.mkdir()
    a, b = Side(base, "a"), Side(base, "b")
    a.mailbox(b".Work")
    for number in range(5):
        a.deliver(b"" if number % 2 else b".Work", b"mail %d" % number, "S")
    a.create()
    b.create()
    settle(a, b)
    if way == "from a backup":
        back_up(a)
    a.deliver(b"", b"since", "F")
    os.unlink(a.path(next(p for p in a.files() if p.startswith(b".Work"))))
    settle(a, b)
    lose_index(a)
    return a, b


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["from mail", "from a backup"])
def test_a_rebuild_that_is_cut_off_at_any_step_is_completed_by_the_next(
    tmp_path: Path, way: str, request: pytest.FixtureRequest, monkeypatch: MonkeyPatch
) -> None:
    tick = fs.measure_granularity(os.fsencode(tmp_path))
    monkeypatch.setattr(
        fs, "measure_granularity", lambda directory: tick
    )  # hundreds of steps that mean nothing
    every = os.environ.get("HYPOTHESIS_PROFILE") == "deep" or request.config.getoption("-m") == "crash"
    a, b = lost(tmp_path / "whole", way)
    before, steps = b.shown(), Steps()
    with steps.installed():
        rebuild(a)
    meet(a, b, "it")
    assert a.shown() == b.shown() == before
    names = steps.names
    points = [
        i for i, name in enumerate(names) if i < 2 or name != "mkdir" or names[i - 2 : i] != ["mkdir"] * 2
    ]
    assert len(points) > 10
    for step in points if every else points[len(points) % 9 :: 9]:
        for after in (False, True):
            a, b = lost(tmp_path / f"{step}{after}", way)
            steps = Steps(step, Crash(), after=after)
            with steps.installed():
                try:
                    rebuild(a)
                except Crash:
                    pass
                finally:
                    steps.stop()
            where = f"step {step} ({steps.hit}), after: {after}"
            if examine(a.root, a.state).index:
                rebuild(a)
            meet(a, b, "the other" if after else "it")
            assert a.shown() == b.shown() == before, where
            is_sound(a)
