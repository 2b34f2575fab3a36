"""What each run changed is written in the transactions that changed it: enough to say how everything was before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw
import pytest

from crash.kit import Side, sync
from mailkeep.domain.errors import StorageError
from mailkeep.domain.record import LIVE
from mailkeep.store.history import ASKED, FOUND, MERGED
from mailkeep.store.index import SCHEMA_VERSION, Index, unsound

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[object, ...]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    a = Side(tmp_path, "a")
    for number in range(3):
        a.deliver(b"", b"mail %d" % number, "S")
    a.create()
    b = Side(tmp_path, "b").create()
    sync(a, b)
    return a, b


def rows(side: Side, sql: str, *values: object) -> list[Row]:
    index = Index.open(os.fsdecode(os.path.join(side.state, b"index.db")))
    try:
        return list(index.execute(sql, values))
    finally:
        index.close()


def last_changes(side: Side) -> list[Row]:
    """(was live, flags before, cause, writer is this store) of the last run's changes."""
    return rows(
        side,
        "SELECT c.live, c.flags, c.cause, c.writer = (SELECT value FROM meta WHERE key = 'me') FROM change c"
        " WHERE c.no >= (SELECT first_change FROM run ORDER BY no DESC LIMIT 1) ORDER BY c.no",
    )


def test_what_arrives_and_stays_leaves_no_row(pair: tuple[Side, Side]) -> None:
    for side in pair:
        assert rows(side, "SELECT count(*) FROM change") == [(0,)]
        made = rows(side, "SELECT first_record FROM run ORDER BY no LIMIT 1")
        assert made == [(1,)]


def test_a_change_says_how_it_was_what_made_it_and_whose_it_was(pair: tuple[Side, Side]) -> None:
    a, b = pair
    path = a.path_of("mail 1")
    os.rename(path, path + b"F")
    os.unlink(a.path_of("mail 2"))
    sync(a, b)
    assert {row[2:] for row in last_changes(a)} == {(FOUND, 1)}
    assert {row[2:] for row in last_changes(b)} == {(MERGED, 0)}
    assert len(last_changes(a)) == len(last_changes(b)) == 2


def test_a_rename_of_a_mailbox_is_noted_with_its_old_name(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.mailbox(b".Work")
    a.deliver(b".Work", b"work", "")
    sync(a, b)
    os.rename(a.path(b".Work"), a.path(b".Play"))
    sync(a, b)
    for side, cause in (a, FOUND), (b, MERGED):
        named = rows(side, "SELECT name, live, cause FROM box_change ORDER BY no DESC LIMIT 1")
        assert named == [("Work", 1, cause)]


def test_a_run_that_is_cut_off_is_noted_as_such(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    os.unlink(a.path_of("mail 0"))
    store = a.open()
    store.scan()
    store.close()  # killed before it said how it ended
    a.deliver(b"", b"later", "S")
    a.scan()
    was, now = rows(a, "SELECT verb, status, first_change, first_record FROM run ORDER BY no DESC LIMIT 2")[
        ::-1
    ]
    assert (was[:2], now[:2]) == (("run", None), ("sync", 0))
    assert now[2:] == (int(str(was[2])) + 1, was[3]), (
        "the deletion is a change of the first, the new mail of the second"
    )


def test_a_roll_back_takes_its_history_with_it(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    store = a.open()
    record = next(store.ledger.records("live"))
    try:
        with store.index.transaction():
            store.ledger.remove(record)
            store.ledger.history.flush()
            raise InterruptedError
    except InterruptedError:
        pass
    assert store.index.value("SELECT count(*) FROM change") == 0
    before = store.index.meta["changes"]
    record = next(store.ledger.records("live"))
    with store.index.transaction():
        store.ledger.remove(record)
    store.end_run("sync", None, 0, {})
    store.close()
    assert rows(a, "SELECT no, cause FROM change") == [(before + 1, ASKED)]


def test_retention_begins_when_it_is_expunged_or_its_hold_is_released(pair: tuple[Side, Side]) -> None:
    a, _ = pair
    store = a.open()
    store.ledger.keeping.expunged = 1000
    one, two, _ = store.ledger.records("live")
    with store.index.transaction():
        store.ledger.remove(one)
        store.ledger.take(two, {**two.regs, LIVE: store.ledger.register(False)})
        store.ledger.hold(two, 1)
        store.ledger.set_file(two)
    one, two = (store.ledger.record(record.no) for record in (one, two))
    assert one.gone is not None
    assert one.keep == one.gone + 1000
    assert (two.gone, two.keep) == (None, None), "held: no time runs"
    with store.index.transaction():
        store.ledger.approve(two)
    two = store.ledger.record(two.no)
    assert two.gone is not None
    assert two.keep == two.gone + 1000
    with store.index.transaction():
        store.ledger.take(one, {**one.regs, LIVE: store.ledger.register(True)})
    one = store.ledger.record(one.no)
    assert (one.gone, one.keep) == (None, None)
    store.close()


def older(side: Side) -> None:
    """Make the index what version 1 of its schema was."""
    db = apsw.Connection(os.fsdecode(os.path.join(side.state, b"index.db")))
    for statement in (
        "DROP TABLE change", "DROP TABLE box_change", "DROP INDEX record_keep", "DROP INDEX record_gone",
        "ALTER TABLE record DROP COLUMN gone", "ALTER TABLE record DROP COLUMN keep", "ALTER TABLE run RENAME TO new_run",
        "CREATE TABLE run (no INTEGER PRIMARY KEY, began INTEGER NOT NULL, ended INTEGER NOT NULL, verb TEXT NOT NULL,"
        " peer TEXT, status INTEGER NOT NULL, counts BLOB NOT NULL) STRICT",
        "INSERT INTO run SELECT no, began, ended, verb, peer, status, counts FROM new_run", "DROP TABLE new_run",
        "DELETE FROM meta WHERE key = 'changes'", "PRAGMA user_version=1",
    ):  # fmt: skip
        db.execute(statement)
    db.close()


def test_an_index_of_the_first_schema_is_brought_up_to_date(pair: tuple[Side, Side]) -> None:
    a, b = pair
    os.unlink(a.path_of("mail 0"))
    sync(a, b)
    before = a.texts()
    older(a)
    path = os.fsdecode(os.path.join(a.state, b"index.db"))
    assert unsound(path) == ""
    with pytest.raises(StorageError, match="schema version 1"):
        Index.open(path)  # somebody who only looks writes nothing
    a.deliver(b"", b"later", "S")
    sync(a, b)
    assert rows(a, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert a.texts() == b.texts() == sorted([*before, "later"])
    ((gone, keep),) = rows(a, "SELECT gone, keep FROM record WHERE NOT live")
    assert isinstance(gone, int)
    assert keep == gone + 90 * 86_400
    assert rows(a, "SELECT count(*) FROM run WHERE first_change IS NULL") != [(0,)]
    a.at_rest()
