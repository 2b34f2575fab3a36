"""The header cache: filled from the vault, right after every damage, and nobody's truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from mailkeep.store import headers
from mailkeep.store.cachefile import reset
from mailkeep.store.headers import HeaderCache
from mailkeep.store.store import Store
from mailkeep.wire.headers import Headers, parse
from mailkeep.wire.layouts import MAILDIRPP, UTF7, Layout


def mail(number: int) -> bytes:
    return (
        f"From: sender{number}@example.org\nTo: me\nSubject: number {number}\n"
        f"Message-ID: <id.{number}@example.org>\n\nbody {number}\n"
    ).encode()


def make(home: Path, count: int) -> Store:
    root = home / "Maildir"
    for sub in ("cur", "new", "tmp"):
        (root / sub).mkdir(parents=True)
    for number in range(count):
        (root / "cur" / f"1700000000.M{number}.host:2,").write_bytes(mail(number))
    store = Store.create(os.fsencode(root), os.fsencode(home / "state"), Layout(MAILDIRPP, UTF7))
    store.scan()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = make(tmp_path, 12)
    yield store
    store.close()


def opened(store: Store) -> HeaderCache:
    return HeaderCache(store.state, store.ledger, store.vault)


def check(store: Store, cache: HeaderCache) -> None:
    """It says of every content what the content says."""
    rows: list[Any] = store.index.execute("SELECT no, id FROM content").fetchall()
    assert len(rows) == 12
    for no, content_id in rows:
        known = cache.get(no)
        assert known is not None
        number = known.subject.partition(" ")[2]
        assert store.vault.read(bytes(content_id)) == mail(int(number))
        assert cache.by_message_id(f"<ID.{number}@example.org>") == [no]
    assert cache.by_message_id("") == cache.by_message_id("<id.99@example.org>") == []


def test_it_is_filled_once_and_read_by_the_next(store: Store) -> None:
    with opened(store) as cache:
        assert cache.get(1) is None
        assert cache.fill([2, 3, 99]) == 2
        assert cache.get(2) is not None
        assert cache.fill() == 10
        assert cache.fill() == 0
        check(store, cache)
    with opened(store) as cache:
        assert cache.fill() == 0
        check(store, cache)
        assert os.stat(cache.file.path).st_mode & 0o777 == 0o600
        for more in ("-wal", "-shm"):
            assert os.stat(cache.file.path + more).st_mode & 0o777 == 0o600


def test_many_are_read_by_several_processes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "CHUNK", 1)
    monkeypatch.setattr(headers, "BATCH", 5)
    monkeypatch.setattr(headers, "workers", lambda: 3)
    with opened(store) as cache:
        assert cache.fill() == 12
        check(store, cache)


def test_a_worker_that_dies_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "CHUNK", 2)
    monkeypatch.setattr(headers, "workers", lambda: 3)
    me = os.getpid()

    def mortal(head: bytes) -> Headers:
        if os.getpid() != me:
            os._exit(9)
        return parse(head)

    monkeypatch.setattr(headers, "parse", mortal)
    with opened(store) as cache:
        assert cache.fill() == 12
        check(store, cache)


def test_contents_that_are_gone_and_numbers_that_mean_another_content(store: Store) -> None:
    with opened(store) as cache:
        cache.fill()
        ids = dict(store.index.execute("SELECT no, id FROM content"))
        with (
            store.index.transaction()
        ):  # as an index that was rebuilt: 1 and 2 have changed places, 3 is gone
            store.index.execute("DELETE FROM record WHERE content = 3")
            store.index.execute("DELETE FROM content WHERE no = 3")
            store.index.execute("UPDATE content SET id = x'00' WHERE no = 1")
            store.index.execute("UPDATE content SET id = ? WHERE no = 2", (ids[1],))
            store.index.execute("UPDATE content SET id = ? WHERE no = 1", (ids[2],))
        assert cache.get(1) is None
        assert cache.get(3) is None
        assert cache.fill() == 2
        assert cache.db.execute("SELECT count(*) FROM header").get == 11
        for no in (1, 2):
            known = cache.get(no)
            assert known is not None
            content = store.vault.read(store.ledger.content_id(no))
            assert f"<{known.message_id}>".encode() in content
            assert cache.by_message_id(known.message_id) == [no]


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "pages", "version", "other", "table"])
def test_whatever_became_of_the_file(store: Store, damage: str) -> None:
    with opened(store) as cache:
        cache.fill()
        path = Path(cache.file.path)
    if damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "pages":
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    else:
        connection = apsw.Connection(str(path))
        connection.execute(
            {
                "version": "PRAGMA user_version=99",
                "other": "UPDATE about SET value = x'00'",
                "table": "DROP TABLE header",
            }[damage]
        )
        connection.close()
    with opened(store) as cache:
        cache.fill()
        check(store, cache)
        assert not cache.file.in_memory
    with opened(store) as cache:
        assert cache.fill() == 0


def test_damage_that_shows_only_when_somebody_asks(store: Store) -> None:
    with opened(store) as cache:
        cache.fill()
    other = opened(store)
    data = Path(other.file.path).read_bytes()
    Path(other.file.path).write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    other.db.execute("PRAGMA shrink_memory")
    check(store, other)
    other.close()


@pytest.mark.parametrize("what", ["directory", "link"])
def test_where_there_can_be_no_file_it_works_without(store: Store, tmp_path: Path, what: str) -> None:
    path = Path(os.fsdecode(store.state)) / "headers.db"
    if what == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with opened(store) as cache:
        assert cache.fill() == 12
        assert cache.file.in_memory
        check(store, cache)
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_is_full_costs_the_cache_and_no_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(head: bytes) -> Headers:
        found = parse(head)
        return Headers(found.message_id, "x" * 3000, "", found.subject, None)

    monkeypatch.setattr(headers, "parse", long)
    with opened(store) as cache:
        cache.fill([1])
        cache.db.execute(f"PRAGMA max_page_count={cache.db.pragma('page_count')}")
        assert cache.fill() == 12
        assert cache.file.in_memory
        check(store, cache)


def test_two_at_once(store: Store) -> None:
    one, two = opened(store), opened(store)
    assert one.fill([1, 2, 3]) == 3
    assert two.fill() == 9
    assert one.fill() == 0
    check(store, one)
    check(store, two)
    one.close()
    two.close()


def test_one_empties_a_damaged_file_under_another(store: Store) -> None:
    one = opened(store)
    one.fill()
    reset(one.db)
    two = opened(store)
    check_lacks = two.get(1)
    assert check_lacks is None
    one.fill()
    check(store, one)
    two.fill()
    check(store, two)
    one.close()
    two.close()


def test_an_object_that_cannot_be_read_is_tried_again(store: Store) -> None:
    path = Path(os.fsdecode(store.vault.path(store.ledger.content_id(5))))
    data = path.read_bytes()
    path.unlink()
    with opened(store) as cache:
        assert cache.fill() == 11
        assert cache.unreadable == 1
        assert cache.get(5) is None
        path.write_bytes(data)
        assert cache.fill() == 1
        check(store, cache)


def test_a_long_head_is_read_to_its_end(tmp_path: Path) -> None:
    store = make(tmp_path, 0)
    (tmp_path / "Maildir/new/1.h").write_bytes(b"X-Long: " + b"x" * 20_000 + b"\r\nSubject: late\r\n\r\nbody")
    (tmp_path / "Maildir/new/2.h").write_bytes(
        b"X-Long: " + b"x" * 90_000 + b"\r\nSubject: too late\r\n\r\nbody"
    )
    store.scan()
    with opened(store) as cache:
        assert cache.fill() == 2
        assert sorted(h.subject for h in (cache.get(1), cache.get(2)) if h) == ["", "late"]
    store.close()
