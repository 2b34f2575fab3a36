"""Sides that come from a backup or are copied, clocks that are wrong, files from other centuries: nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.rules.guard import Limits
from mailkeep.system import clock
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

pytestmark = pytest.mark.crash

YEAR = 365 * 86_400
NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)


def remember(side: Side) -> Path:
    """Take a backup of the whole side."""
    from pathlib import Path

    base = Path(os.fsdecode(side.root)).parent
    backup = base / f"{side.name}.backup"
    backup.mkdir()
    subprocess.run(["cp", "-a", base / side.name, base / f"{side.name}.state", backup], check=True)
    return backup


def go_back(side: Side, backup: Path) -> None:
    """Restore it."""
    for path in (side.root, side.state):
        shutil.rmtree(path)
        subprocess.run(["cp", "-a", backup / os.fsdecode(os.path.basename(path)), path], check=True)


def three(base: Path) -> tuple[Side, Side, Side]:
    """Three stores that agree; the middle one meets both others."""
    a, b, c = (Side(base, "a"), Side(base, "b", Layout(FS, "utf-8")), Side(base, "c"))
    for side in (a, b, c):
        side.limits = NEVER_HELD
    a.mailbox(b".Work")
    for number in range(8):
        a.deliver(b".Work" if number % 2 else b"", b"message %d" % number, "S")
    for side in (a, b, c):
        side.create()
    everywhere(a, b, c)
    return a, b, c


def everywhere(a: Side, b: Side, c: Side) -> None:
    for _ in range(4):
        settle(a, b)
        settle(c, b)
    assert a.texts() == b.texts() == c.texts()


# --- yesterday's backup


def uids(side: Side) -> dict[tuple[str, int, int], str]:
    """What an IMAP client has in its cache: (mailbox, UIDVALIDITY, UID) -> content."""
    store = side.open()
    try:
        return {
            (box.name, box.validity, record.uid): store.vault.read(
                store.ledger.content_id(record.content)
            ).decode()
            for box in store.ledger.alive()
            for record in store.ledger.shown(box)
        }
    finally:
        store.close()


@pytest.mark.parametrize("starts", ["restored", "other"])
def test_a_side_from_yesterday_is_a_new_replica_and_gives_no_uid_a_second_meaning(
    tmp_path: Path, starts: str
) -> None:
    a, b, c = three(tmp_path)
    backup = remember(a)
    a.deliver(b"", b"since then", "S")
    everywhere(a, b, c)
    seen = [uids(side) for side in (a, b, c)]
    go_back(a, backup)
    a.deliver(b"", b"today", "S")
    store = a.open()
    before = store.index.ids[store.index.me]
    store.close()
    if starts == "restored":
        sync(a, b)
    else:
        sync(b, a)
    everywhere(a, b, c)
    for side, cached in zip((a, b, c), seen, strict=True):
        for key, text in uids(side).items():
            assert cached.get(key, text) == text, f"{side.name} shows another message as {key}"
    store = a.open()
    assert store.index.ids[store.index.me] != before
    store.close()


@pytest.mark.parametrize("starts", ["restored", "other"])
@pytest.mark.parametrize("who", ["end", "middle"])
def test_a_whole_side_from_yesterday_takes_everything_in_again(tmp_path: Path, who: str, starts: str) -> None:
    """What came, was flagged, moved and deleted since the backup is there again; mail of today stays."""
    a, b, c = three(tmp_path)
    victim = a if who == "end" else b
    backup = remember(victim)
    a.deliver(b"", b"since then, on a", "S")
    c.deliver(b"", b"since then, on c", "S")
    os.rename(a.path_of("message 2"), a.path_of("message 2") + b"F")
    os.unlink(c.path_of("message 4"))
    everywhere(a, b, c)
    go_back(victim, backup)
    assert "since then, on c" not in victim.texts()
    victim.deliver(b"", b"today", "S")
    other = b if victim is a else a
    if starts == "restored":
        sync(victim, other)
    else:
        sync(other, victim)
    everywhere(a, b, c)
    texts = [f"message {n}" for n in range(8) if n != 4]
    assert a.texts() == sorted([*texts, "since then, on a", "since then, on c", "today"])
    assert any("F" in flags for _, flags, text in c.shown() if text == "message 2")
    for side in (a, b, c):
        side.at_rest()


@pytest.mark.parametrize("starts", ["restored", "other"])
def test_stamps_that_are_used_again_before_the_next_session(tmp_path: Path, starts: str) -> None:
    """The restored side writes as much as it had written, so that its stamps look as if all were known."""
    a, b, c = three(tmp_path)
    backup = remember(a)
    for number in range(5):
        a.deliver(b"", b"lost with the disk %d" % number, "S")
        a.scan()
    everywhere(a, b, c)
    go_back(a, backup)
    for number in range(7):  # as many writes and more: the same stamps mean something else now
        a.deliver(b".Work", b"written anew %d" % number, "S")
        a.scan()
    os.unlink(a.path_of("message 1"))
    a.scan()
    settle(*((a, b) if starts == "restored" else (b, a)))
    everywhere(a, b, c)
    wanted = [f"message {n}" for n in range(8) if n != 1]
    wanted += [f"lost with the disk {n}" for n in range(5)] + [f"written anew {n}" for n in range(7)]
    kept = set(c.texts())
    assert kept >= set(wanted)
    assert len(c.texts()) == len(kept), "nothing is there twice"
    for side in (a, b, c):
        side.at_rest()


def test_both_sides_from_yesterday(tmp_path: Path) -> None:
    a, b, c = three(tmp_path)
    backups = [remember(side) for side in (a, b)]
    a.deliver(b"", b"since then", "S")
    everywhere(a, b, c)
    for side, backup in zip((a, b), backups, strict=True):
        go_back(side, backup)
        side.deliver(b"", b"today on " + side.name.encode(), "S")
    settle(a, b)
    everywhere(a, b, c)
    assert set(a.texts()) == {*(f"message {n}" for n in range(8)), "since then", "today on a", "today on b"}


def test_yesterday_again_and_again(tmp_path: Path) -> None:
    """The same backup is restored three times: a store that goes back each time, as a virtual machine's snapshot."""
    a, b, c = three(tmp_path)
    backup = remember(a)
    texts = {f"message {n}" for n in range(8)}
    for number in range(3):
        go_back(a, backup)
        a.deliver(b"", b"life %d" % number, "S")
        a.scan()
        texts.add(f"life {number}")
        settle(a, b)
        settle(b, c)
    everywhere(a, b, c)
    assert set(a.texts()) == texts
    assert len(a.texts()) == len(texts)


# --- a copy with the same replica id


def copy_of(side: Side, name: str) -> Side:
    from pathlib import Path

    base = Path(os.fsdecode(side.root)).parent
    for suffix in ("", ".state"):
        subprocess.run(["cp", "-a", base / (side.name + suffix), base / (name + suffix)], check=True)
    copy = Side.__new__(Side)
    copy.__dict__.update(side.__dict__)
    copy.name, copy.root, copy.state = name, os.fsencode(base / name), os.fsencode(base / f"{name}.state")
    return copy


@pytest.mark.parametrize("order", ["copy first", "original first", "each other"])
def test_a_store_copied_to_a_second_machine_becomes_another_replica(tmp_path: Path, order: str) -> None:
    a, b, c = three(tmp_path)
    twin = copy_of(a, "twin")
    a.deliver(b"", b"on the original", "S")
    twin.deliver(b"", b"on the copy", "S")
    os.rename(a.path_of("message 2"), a.path_of("message 2") + b"F")
    os.unlink(twin.path_of("message 3"))
    a.scan()
    twin.scan()
    if order == "each other":
        settle(a, twin)
    for side in (twin, a) if order == "copy first" else (a, twin):
        settle(side, b)
    for _ in range(3):
        for side in (a, twin, c):
            settle(side, b)
    texts = [f"message {n}" for n in range(8)]
    wanted = {*texts, "on the original", "on the copy"} - {"message 3"}
    for side in (a, b, c, twin):
        assert set(side.texts()) == wanted, side.name
        assert len(side.texts()) == len(wanted), side.name
        side.at_rest()
        assert any("F" in flags for _, flags, text in side.shown() if text == "message 2")


# --- clocks


@pytest.mark.parametrize(
    ("years", "who"),
    [
        (-40, "a"),
        (60, "b"),
        *(pytest.param(y, w, marks=pytest.mark.soak) for y in (-3, 3, 150) for w in ("a", "b")),
    ],
)
def test_a_clock_that_is_years_off(tmp_path: Path, monkeypatch: MonkeyPatch, years: int, who: str) -> None:
    """Clocks only date mail and runs: what is newer is told by ranks."""
    now = clock.now
    a, b, c = three(tmp_path)

    def off(side: Side, act: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            if side.name == who:
                patch.setattr(clock, "now", lambda: now() + years * YEAR)
            act()

    for number in range(2):
        for side in (a, b):
            side.deliver(b"", b"later %d on %b" % (number, side.name.encode()), "S")
        os.rename(a.path_of(f"message {number}"), a.path_of(f"message {number}") + b"F")
        os.unlink(b.path_of(f"message {number + 4}"))
        off(a, lambda: sync(a, b))
        off(b, lambda: sync(b, a))
        sync(c, b)
    everywhere(a, b, c)
    wanted = {f"message {n}" for n in range(8) if n not in (4, 5)}
    assert set(a.texts()) == wanted | {f"later {n} on {x}" for n in range(2) for x in "ab"}
    for side in (a, b, c):
        side.at_rest()


TIMES = (0, -1, -YEAR * 68, YEAR * 68, YEAR * 130, YEAR * 272, YEAR * 470)


def test_files_from_other_centuries(tmp_path: Path) -> None:
    """A file's time is what a mail program wrote: 1901, 1969, 2038, 2100, 2242, 2440."""
    a, b, c = three(tmp_path)
    for number, when in enumerate(TIMES):
        path = a.deliver(b"", b"from %d" % number, "S")
        try:
            os.utime(path, (when, when))
        except (OverflowError, OSError):
            continue
    everywhere(a, b, c)
    assert {f"from {n}" for n in range(len(TIMES))} <= set(c.texts())
    for number in range(len(TIMES)):
        path = c.path_of(f"from {number}")
        os.rename(path, path + b"F")
    everywhere(a, b, c)
    assert sum("F" in flags for _, flags, _ in a.shown()) == len(TIMES)
    assert not sync(a, b).scans[0].changed
    for side in (a, b, c):
        side.at_rest()


@pytest.mark.parametrize("years", [-5, 5])
def test_a_maildir_whose_directories_are_dated_years_off(tmp_path: Path, years: int) -> None:
    """As after a clock that was wrong for a day: a directory from the future is never quiet by its date alone."""
    a, b, c = three(tmp_path)
    when = clock.now() + years * YEAR
    for side in (a, b):
        for at, _, _ in os.walk(side.root):
            os.utime(at, (when, when))
    a.deliver(b"", b"new", "S")
    os.unlink(b.path_of("message 0"))
    for side in (a, b):
        for at, _, _ in os.walk(side.root):
            os.utime(at, (when, when))
    everywhere(a, b, c)
    assert "new" in c.texts()
    assert "message 0" not in c.texts()
