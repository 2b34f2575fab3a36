"""Ways in which retiring mail might lose it: clocks that are wrong at the wrong moment, objects that rot beside whole files."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle
from crash.test_expiry import DAY, REAL_NOW, Calendar, expire, full, lay_down, remove_all, text, with_store
from mailkeep.rules.keeping import Keeping
from mailkeep.store.expire import Bounds, Expire
from mailkeep.store.policy import Policy
from mailkeep.store.vault import COPY
from mailkeep.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailkeep.store.store import Store


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


def retained(side: Side) -> int:
    """Contents that can be given back."""
    return int(with_store(side, lambda store: store.index.value("SELECT count(*) FROM content WHERE kept")))


@pytest.mark.parametrize("how", ["scan", "peer", "expire"])
def test_what_was_removed_while_the_clock_was_behind_is_kept_as_long(
    tmp_path: Path, calendar: Calendar, how: str
) -> None:
    """A machine without a clock of its own starts in 1970, syncs, and gets the right time a minute later."""
    side = full(tmp_path, 3)
    expire(side, clock_is_right=False)
    peer = Side(tmp_path, "peer").create()
    if how == "peer":
        settle(side, peer)
        remove_all(peer)
        remove_all(peer)
    calendar.go(1)
    expire(side, clock_is_right=False)
    right = calendar.days
    calendar.days = -REAL_NOW() / DAY + 1
    if how == "peer":
        settle(side, peer)
    elif how == "expire":
        calendar.days = (
            right - 2000
        )  # the rule sees mail from the future, and one that is older than anything
        path = side.deliver(b"", text("ancient"), "S")
        os.utime(path, (1000, 1000))
        side.scan()
        lay_down(side, "INBOX", "expire", "30d")
        assert expire(side).expired == 1
        lay_down(side, "INBOX", "expire", "never")
    else:
        remove_all(side)
        remove_all(side)
    calendar.days = right
    calendar.go(1)
    before = retained(side)
    report = expire(side, clock_is_right=how == "expire")
    assert report.stopped == ""
    assert (report.freed, retained(side)) == (0, before)
    calendar.go(85)
    expire(side)
    assert retained(side) == before
    calendar.go(10)
    expire(side)
    assert retained(side) == (3 if how == "expire" else 0)


def test_the_first_run_notices_too_that_the_clock_jumped_before_it(
    tmp_path: Path, calendar: Calendar
) -> None:
    """A session that went on by the wrong clock is no witness for it."""
    side = full(tmp_path, 3)
    remove_all(side)
    remove_all(side)
    calendar.go(400)
    side.deliver(b"", text("after the jump"), "S")
    side.scan()
    report = expire(side, clock_is_right=False)
    assert report.freed == 0
    assert "the clock may have jumped" in report.stopped
    assert expire(side, clock_is_right=True).freed == 3
    calendar.go(1)
    assert expire(side, clock_is_right=False).stopped == ""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[bytes]:
    path = os.fsencode(tempfile.mkdtemp(prefix="mailkeep-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("how", ["rotten", "gone"])
def test_a_whole_file_does_not_go_for_a_rotten_object(tmp_path: Path, elsewhere: bytes, how: str) -> None:
    """Where the vault copies, file and object rot apart: what is removed must still be there to be given back."""
    side = Side(tmp_path, "a")
    side.state = os.path.join(elsewhere, b"state")
    old = side.deliver(b"", text("old"), "S")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    side.create()
    content = hashlib.sha256(text("old")).digest()

    def spoil(store: Store) -> None:
        assert store.vault.mode == COPY
        path = store.vault.path(content)
        if how == "gone":
            os.unlink(path)
            return
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.write(b"ROT")

    with_store(side, spoil)
    lay_down(side, "INBOX", "expire", "30d")
    expire(side)
    if how == "gone":
        assert side.texts() == [text("old").decode()]
    else:
        assert side.texts() == []
        assert with_store(side, lambda store: store.vault.read(content)) == text("old")


def test_a_message_that_is_damaged_in_both_places_stays(tmp_path: Path, elsewhere: bytes) -> None:
    side = Side(tmp_path, "a")
    side.state = os.path.join(elsewhere, b"state")
    old = side.deliver(b"", text("old"), "S")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    side.create()
    lay_down(side, "INBOX", "expire", "30d")

    def rot(_: int) -> None:
        for path in (store.vault.path(hashlib.sha256(text("old")).digest()), old):
            os.chmod(path, 0o600)
            st = os.stat(path)
            with open(path, "r+b") as file:
                file.write(b"ROT")
            os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))

    store = side.open(before_removal=rot)  # after the scan looked at it
    try:
        store.scan()
        report = Expire(store, Policy(store.ledger, clock.now()), Bounds(clock_is_right=True)).run()
        store.end_run("expire", None, 0, {})
    finally:
        store.close()
    assert len(side.files()) == 1
    assert [why for _, why in report.problems] == [
        "a message to be removed is damaged, in the vault too; it was left"
    ]


@pytest.mark.parametrize(("rule", "stays"), [("30d", False), ("30d by=flag", True)])
def test_what_was_moved_to_the_trash_yesterday(
    tmp_path: Path, calendar: Calendar, rule: str, stays: bool
) -> None:
    """By delivery an old message is due wherever it is moved to; by=flag counts from when it came there."""
    side = Side(tmp_path, "a")
    side.mailbox(b".Trash")
    old = side.deliver(b"", text("old"), "S")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    side.create()
    lay_down(side, "Trash", "expire", rule)
    os.rename(old, side.path(b".Trash", b"cur", os.path.basename(old)))
    side.scan()
    side.scan()
    calendar.go(1)
    assert expire(side).expired == (not stays)
    calendar.go(31)
    assert expire(side).expired == stays


def test_the_time_is_that_of_the_last_run_at_least(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 2)
    calendar.go(-10)
    remove_all(side)
    remove_all(side)
    gone = with_store(side, lambda store: store.index.value("SELECT min(gone) FROM record WHERE NOT live"))
    assert gone >= REAL_NOW() - 60
    assert with_store(side, lambda store: store.index.value("SELECT min(keep - gone) FROM record")) == (
        Keeping().expunged
    )
    assert clock.now() < gone
