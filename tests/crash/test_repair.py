"""`verify --repair`: what is damaged is mended from where it is still whole, whatever step it is cut off at."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.store.index import Index
from mailkeep.store.repair import Repair, mend_indexes
from mailkeep.store.verify import Verification

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


def look(side: Side) -> Verification:
    work = Verification(side.root, side.state)
    try:
        work.run()
    finally:
        work.close()
    return work


def repair(side: Side) -> Repair:
    found = look(side)
    store = side.open()
    try:
        work = Repair(store, found)
        work.run()
        store.end_run("repair", None, 0, {})
    finally:
        store.close()
    return work


def sql(side: Side, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
    index = Index.open(os.fsdecode(os.path.join(side.state, b"index.db")))
    try:
        return list(index.execute(statement, values))
    finally:
        index.close()


def object_of(side: Side, text: bytes) -> bytes:
    root = os.path.join(side.state, b"objects")
    for at, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                if file.read() == text:
                    return os.path.join(at, name)
    raise AssertionError(text)


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def file_of(side: Side, text: bytes) -> bytes:
    for path in side.files():
        with open(side.path(path), "rb") as file:
            if file.read() == text:
                return side.path(path)
    raise AssertionError(text)


def rot(side: Side, path: bytes) -> None:
    """Other bytes in a file that nobody wrote to: the index is told the times that the file has now."""
    st = os.stat(path)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"\x00ROT\x00")
    os.chmod(path, st.st_mode)
    os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
    now = os.stat(path)
    sql(side, "UPDATE record SET ctime = ? WHERE ino = ?", now.st_ctime_ns, now.st_ino)


def edit(path: bytes) -> None:
    """As rot, but by a person: the file's ctime tells."""
    st = os.stat(path)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"EDIT!")
    os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))


def aside(side: Side) -> list[bytes]:
    try:
        return sorted(os.listdir(os.path.join(side.state, b"damaged")))
    except FileNotFoundError:
        return []


def split_up(side: Side, text: bytes) -> None:
    """Let file and object be two files, as where there are no hard links."""
    path = object_of(side, text)
    shutil.copy2(path, path + b".copy")
    os.rename(path + b".copy", path)
    sql(side, "UPDATE content SET ino = NULL WHERE id = ?", bytes.fromhex(os.path.basename(path).decode()))


@pytest.fixture(params=["link", "copy"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: MonkeyPatch) -> tuple[Side, Side]:
    if request.param == "copy":
        monkeypatch.setattr("mailkeep.store.vault.probe", lambda state, root_fd: "copy")
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    a.mailbox(b".Work")
    for number in range(4):
        a.deliver(b"" if number % 2 else b".Work", b"message %d" % number, "S")
    a.create()
    b.create()
    settle(a, b)
    return a, b


def is_whole(*sides: Side) -> None:
    for side in sides:
        found = look(side)
        assert not found.faults, (side.name, found.faults)
        side.at_rest()


def test_a_missing_object_is_taken_from_the_maildir(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    for number in range(4):
        os.unlink(object_of(a, b"message %d" % number))
    assert look(a).fault_count >= 4
    work = repair(a)
    assert len(work.healed) == 4
    assert not work.left
    assert work.asked == 0
    assert a.shown() == before
    is_whole(a)
    settle(a, b)
    assert a.shown() == b.shown() == before
    assert not repair(a).healed, "a second repair has nothing to do"


def test_the_whole_vault_is_gone(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    before = a.shown()
    shutil.rmtree(os.path.join(a.state, b"objects"))
    assert look(a).fault_count >= 4
    assert len(repair(a).healed) == 4
    is_whole(a)
    assert a.shown() == before


@pytest.mark.parametrize("cut", ["damaged", "truncated", "empty"])
def test_a_damaged_object_is_taken_from_a_file_of_its_own(pair: tuple[Side, Side], cut: str) -> None:
    a, _ = pair
    split_up(a, b"message 1")
    path = object_of(a, b"message 1")
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        if cut == "damaged":
            file.write(b"\x00")
        else:
            file.truncate(3 if cut == "truncated" else 0)
    work = repair(a)
    assert not work.left
    assert len(aside(a)) == 1
    is_whole(a)


def test_a_damaged_file_is_replaced_from_the_vault(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    split_up(a, b"message 2")
    path = file_of(a, b"message 2")
    rot(a, path)
    (fault,) = look(a).faults
    assert fault[0] == "file"
    work = repair(a)
    assert not work.left
    assert a.shown() == before
    assert os.path.exists(path), "under the name that it had"
    assert len(aside(a)) == 1
    is_whole(a)
    settle(a, b)
    assert a.shown() == b.shown() == before


def test_a_file_that_a_person_rewrote_is_no_damage(pair: tuple[Side, Side]) -> None:
    a, b = pair
    settle(a, b)
    a.scan()
    split_up(a, b"message 2")
    path = file_of(a, b"message 2")
    edit(path)
    work = repair(a)
    assert len(work.left) == 1
    assert not aside(a)
    with open(path, "rb") as file:
        assert file.read().startswith(b"EDIT!")
    sql(a, "UPDATE record SET young = 1 WHERE sub != 0")  # as soon as the scan looks at it
    settle(a, b)
    assert a.shown() == b.shown()
    assert any(text.startswith("EDIT!") for text in a.texts())


def test_what_file_and_object_have_lost_comes_from_a_peer(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    path, there = file_of(a, b"message 3"), object_of(a, b"message 3")
    rot(a, path)
    if not os.path.samefile(path, there):
        os.chmod(there, 0o600)
        with open(there, "r+b") as file:
            file.truncate(2)
    work = repair(a)
    assert work.asked == 1
    assert os.path.exists(path), (
        "a damaged message is better than none, until the peer has sent the whole one"
    )
    found = look(a)
    assert [kind for kind, _, _ in found.faults] == ["lacking"]
    assert repair(a).asked == 1, "asked for until it comes"
    sync(b, a)
    assert a.shown() == before
    assert os.path.exists(path)
    is_whole(a, b)
    settle(a, b)
    assert a.shown() == b.shown() == before


def test_flags_of_a_damaged_message_change_before_it_is_whole_again(pair: tuple[Side, Side]) -> None:
    a, b = pair
    there = object_of(a, b"message 3")
    rot(a, file_of(a, b"message 3"))
    if os.stat(there).st_nlink == 1:
        os.unlink(there)
    repair(a)
    damaged = next(a.path(p) for p in a.files() if b"\x00ROT" in read(a.path(p)))
    for path, letter in ((file_of(b, b"message 3"), b"F"), (damaged, b"R")):
        os.rename(path, path + letter)
    settle(b, a)
    assert a.shown() == b.shown()
    assert ("", "FRS", "message 3") in [
        (where, "".join(sorted(flags)), text) for where, flags, text in a.shown()
    ]
    is_whole(a, b)


@pytest.mark.parametrize("starts", ["it", "the other"])
@pytest.mark.parametrize("what", ["missing", "damaged", "truncated"])
def test_a_session_with_a_spoilt_vault_deletes_nothing(
    pair: tuple[Side, Side], what: str, starts: str
) -> None:
    a, b = pair
    for text in (b"new 1", b"new 2"):
        a.deliver(b"", text, "S")
    a.scan()
    before, there = a.shown(), b.shown()
    for text in (b"message 0", b"message 1", b"new 1", b"new 2"):
        split_up(a, text)
        path = object_of(a, text)
        os.chmod(path, 0o600)
        if what == "missing":
            os.unlink(path)
        else:
            with open(path, "r+b") as file:
                file.truncate(3) if what == "truncated" else file.write(b"\x00")
    for _ in range(3):
        sync(*((a, b) if starts == "it" else (b, a)))
        assert a.shown() == before
        assert set(b.shown()) >= set(there)
    repair(a)
    settle(a, b)
    assert a.shown() == b.shown() == before
    is_whole(a, b)


def test_a_content_that_only_a_tombstone_has_is_reported_as_lost(pair: tuple[Side, Side]) -> None:
    a, b = pair
    there = object_of(a, b"message 3")
    os.unlink(file_of(a, b"message 3"))
    settle(a, b)
    os.chmod(there, 0o600)
    with open(there, "r+b") as file:
        file.write(b"\x00")
    work = repair(a)
    assert len(work.left) == 1
    assert "is lost" in work.left[0][2]
    assert len(aside(a)) == 1
    is_whole(a)


def test_a_missing_file_in_an_unchanged_directory_is_put_back(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    path = file_of(a, b"message 1")
    os.unlink(path)
    box = next(row for row in sql(a, "SELECT no, stamps FROM mailbox WHERE name = 'INBOX'"))
    from msgpack import packb

    stamps = [
        [(st := os.stat(a.path(sub))).st_ino, st.st_mtime_ns, st.st_ctime_ns] for sub in (b"new", b"cur")
    ]
    sql(a, "UPDATE mailbox SET stamps = ? WHERE no = ?", packb(stamps), box[0])
    assert len(look(a).missing_files) == 1
    repair(a)
    assert a.shown() == before
    is_whole(a)
    settle(a, b)
    assert a.shown() == b.shown() == before


def test_rows_that_point_nowhere_get_their_files_again(pair: tuple[Side, Side]) -> None:
    a, b = pair
    before = a.shown()
    paths = {text: file_of(a, text) for text in (b"message 0", b"message 1")}
    for path in paths.values():
        base = os.path.basename(path).partition(b":")[0]
        sql(a, "UPDATE record SET sub = 0, base = NULL, info = NULL, ino = NULL WHERE base = ?", base)
        os.unlink(path)
    repair(a)
    settle(a, b)
    assert a.texts() == [text for _, _, text in sorted(before, key=lambda row: row[2])]
    is_whole(a)


def test_a_file_of_a_tombstone_is_taken_in_again_and_not_removed(pair: tuple[Side, Side]) -> None:
    a, b = pair
    text = b"message 3"
    path = file_of(a, text)
    shutil.copy2(path, path + b".kept")
    os.rename(path + b".kept", os.path.join(a.state, b"kept"))
    (row,) = sql(
        a,
        "SELECT r.no, sub, base, info FROM record r WHERE base = ?",
        os.path.basename(path).partition(b":")[0],
    )
    os.unlink(path)
    settle(a, b)
    assert len(a.texts()) == 3
    os.rename(os.path.join(a.state, b"kept"), path)
    sql(
        a,
        "UPDATE record SET sub = ?, base = ?, info = ?, ino = 1, mtime = 0 WHERE no = ?",
        row[1],
        row[2],
        row[3],
        row[0],
    )
    assert look(a).dead_files == [row[0]]
    repair(a)
    settle(a, b)
    assert len(a.texts()) == len(b.texts()) == 4
    is_whole(a)


def test_wrong_counts_digests_and_uids_are_counted_anew(pair: tuple[Side, Side]) -> None:
    a, b = pair
    sql(a, "UPDATE mailbox SET count = 17, digest = zeroblob(32), uidnext = 1")
    sql(a, "UPDATE record SET uid = 1 WHERE mailbox = 1")
    sql(a, "UPDATE meta SET value = x'00' WHERE key = 'root'")
    assert look(a).fault_count >= 4
    repair(a)
    is_whole(a)
    settle(a, b)
    assert a.shown() == b.shown()
    is_whole(a, b)


def test_an_index_of_sqlites_own_that_lacks_rows_is_made_anew(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    from mailkeep.store.index import apsw  # type: ignore[attr-defined]

    db = apsw.Connection(os.fsdecode(os.path.join(a.state, b"index.db")))
    db.execute("PRAGMA writable_schema = ON")
    db.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX record_seq ON record (seq) WHERE seq < 0' WHERE name = 'record_seq'"
    )
    db.close()
    db = apsw.Connection(os.fsdecode(os.path.join(a.state, b"index.db")))
    db.execute("REINDEX record_seq")
    db.execute("PRAGMA writable_schema = ON")
    db.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX record_seq ON record (seq)' WHERE name = 'record_seq'"
    )
    db.close()
    assert look(a).index_faults
    assert mend_indexes(a.state)
    is_whole(a)


# --- cut off


def ruin(base: Path) -> Side:
    """A store with one of each that can be mended without a peer."""
    a = Side(base, "a")
    a.mailbox(b".Work")
    for number in range(6):
        a.deliver(b"" if number % 2 else b".Work", b"message %d" % number, "S")
    a.create()
    a.scan()
    os.unlink(object_of(a, b"message 0"))
    split_up(a, b"message 1")
    path = object_of(a, b"message 1")
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.truncate(4)
    split_up(a, b"message 2")
    rot(a, file_of(a, b"message 2"))
    split_up(a, b"message 3")
    rot(a, file_of(a, b"message 3"))
    sql(a, "UPDATE mailbox SET count = 17, digest = zeroblob(32)")
    assert look(a).fault_count >= 6
    return a


def wanted() -> list[str]:
    return [f"message {number}" for number in range(6)]


def steps_of(base: Path) -> int:
    base.mkdir()
    a = ruin(base)
    steps = Steps()
    with steps.installed():
        repair(a)
    assert a.texts() == wanted()
    is_whole(a)
    return len(steps.names)


@pytest.mark.crash
@pytest.mark.timeout(1800)
def test_a_repair_that_is_cut_off_at_any_step_is_completed_by_the_next(tmp_path: Path, every: bool) -> None:
    total = steps_of(tmp_path / "whole")
    assert total > 15
    for step in range(total) if every else range(total % 5, total, 5):
        for after in (False, True):
            base = tmp_path / f"{step}{after}"
            base.mkdir()
            a = ruin(base)
            steps = Steps(step, Crash(), after=after)
            with steps.installed():
                try:
                    repair(a)
                except Crash:
                    pass
                finally:
                    steps.stop()
            where = f"step {step} ({steps.hit}), after: {after}"
            a.scan()  # a run in between, as a timer starts it
            repair(a)
            assert a.texts() == wanted(), where
            is_whole(a)
