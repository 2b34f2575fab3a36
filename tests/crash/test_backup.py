"""A backup of the index is whole or not there, whatever is written beside it and wherever it is cut off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps
from mailkeep.domain.errors import StorageError
from mailkeep.store import backup as backups
from mailkeep.store.index import Index
from mailkeep.system import clock
from mailkeep.system.lock import Lock

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

DAY = 86_400


@pytest.fixture
def side(tmp_path: Path) -> Side:
    a = Side(tmp_path, "a")
    for number in range(50):
        a.deliver(b"", b"mail %d" % number, "S")
    return a.create()


def take(side: Side, now: int | None = None) -> backups.Backup:
    made = backups.take(side.state, now=now or clock.now(), daily=2, weekly=1)
    assert made is not None
    return made


def test_a_backup_is_a_snapshot_beside_a_run_that_writes(side: Side) -> None:
    index = Index.open(os.fsdecode(os.path.join(side.state, b"index.db")))
    with index.transaction():
        index.meta["generation"] += 1
        index.execute("DELETE FROM record")
        made = take(side)
    index.close()
    assert made.fault() == ""
    copy = Index.open(os.fsdecode(made.path))
    assert copy.value("SELECT count(*) FROM record") == 50
    assert copy.meta["generation"] == made.generation
    copy.close()


def test_old_ones_go_only_when_a_new_one_is_there(side: Side) -> None:
    now = clock.now()
    for day in range(6):
        take(side, now + day * DAY)
    have = backups.backups(side.state)
    assert len(have) <= 3
    assert max(b.at for b in have) == now + 5 * DAY
    assert all(b.fault() == "" for b in have)


def test_a_damaged_index_is_not_backed_up_over_good_ones(side: Side) -> None:
    good = take(side)
    path = os.path.join(side.state, b"index.db")
    with open(path, "r+b") as file:
        file.seek(3 * 4096)
        file.write(bytes(4096))
    with pytest.raises(StorageError, match="is damaged"):
        take(side, clock.now() + 30 * DAY)
    assert [b.path for b in backups.backups(side.state)] == [good.path]


def test_a_count_that_is_wrong_is_a_damage_too(side: Side) -> None:
    good = take(side)
    index = Index.open(os.fsdecode(os.path.join(side.state, b"index.db")))
    index.execute("UPDATE mailbox SET count = 7")
    index.close()
    with pytest.raises(StorageError, match="counts 7 messages and has 50"):
        take(side, clock.now() + 30 * DAY)
    assert [b.path for b in backups.backups(side.state)] == [good.path]


def test_without_room_nothing_is_made_and_nothing_goes(side: Side, monkeypatch: MonkeyPatch) -> None:
    good = take(side)
    monkeypatch.setattr(backups, "ROOM", 1 << 60)
    with pytest.raises(StorageError, match="too little is free"):
        take(side, clock.now() + 30 * DAY)
    assert [b.path for b in backups.backups(side.state)] == [good.path]


def test_two_at_once_make_one(side: Side) -> None:
    take(side)
    other = Lock(os.path.join(side.state, b"backups", b"lock"))
    other.acquire()
    assert backups.take(side.state, now=clock.now(), daily=2, weekly=1) is None
    other.release()


@pytest.mark.parametrize("spoil", ["bit", "cut", "name"])
def test_a_backup_that_rots_is_found_out(side: Side, spoil: str) -> None:
    made = take(side)
    if spoil == "cut":
        os.truncate(made.path, made.size - 1)
    elif spoil == "bit":
        with open(made.path, "r+b") as file:
            file.seek(made.size // 2)
            byte = file.read(1)[0]
            file.seek(made.size // 2)
            file.write(bytes([byte ^ 16]))
    else:
        os.rename(made.path, made.path.replace(made.digest.encode(), b"0" * 16))
    (found,) = backups.backups(side.state)
    assert "are not those that were written" in found.fault()


def test_cut_off_at_any_step_it_leaves_whole_backups_only(side: Side) -> None:
    first = take(side)
    steps = Steps()
    for step in range(30):
        for after in (False, True):
            steps = Steps(step, Crash(), after=after)
            with steps.installed():
                try:
                    take(side, clock.now() + (2 * step + after + 1) * DAY)
                except Crash:
                    pass
                finally:
                    steps.stop()
            have = backups.backups(side.state)
            assert have
            assert all(b.fault() == "" for b in have), (step, steps.hit)
        if not steps.hit:
            break
    else:
        raise AssertionError("more steps than thought")
    take(side, clock.now() + 100 * DAY)
    names = sorted(os.listdir(os.path.join(side.state, b"backups")))
    assert len(names) <= 4
    assert b"new.db" not in names
    assert first.at
