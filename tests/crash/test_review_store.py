"""Faults that a review of the store found: each is a way in which mail was lost, hidden or shown twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.store import marker
from mailkeep.store.apply import Apply
from mailkeep.store.findings import Findings
from mailkeep.store.holds import approve, holds
from mailkeep.store.maildir import Maildir
from mailkeep.store.removals import Removals
from mailkeep.store.store import Store
from mailkeep.system import clock, fs
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


def marker_of(side: Side) -> bytes:
    """A Maildir's marker as it is now, for a backup."""
    with open(side.path(marker.NAME), "rb") as file:
        return file.read()


def restore_marker(side: Side, old: bytes) -> None:
    """The Maildir comes from a backup: it has the marker of then."""
    with open(side.path(marker.NAME), "wb") as file:
        file.write(old)


def test_a_run_that_only_opened_the_store_does_not_use_up_the_distrust_of_a_backup(tmp_path: Path) -> None:
    a = Side(tmp_path, "a")
    path = a.deliver(b"", b"kept", "S")
    a.create()
    old_marker = marker_of(a)
    a.deliver(b"", b"another", "S")
    a.scan()
    os.unlink(path)  # the Maildir comes from a backup that lacks this message,
    restore_marker(a, old_marker)
    store = a.open()  # a run that ends before it has scanned
    assert store.distrust
    store.close()
    report = a.scan()
    assert report.expunged == 0
    assert a.texts() == ["another", "kept"]


def test_distrust_ends_with_a_scan_that_was_sure_of_every_mailbox(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a = Side(tmp_path, "a")
    path = a.deliver(b"", b"kept", "S")
    a.create()
    old_marker = marker_of(a)
    a.deliver(b"", b"another", "S")
    a.scan()
    os.unlink(path)
    restore_marker(a, old_marker)
    with monkeypatch.context() as m:  # a mail client keeps the mailbox busy
        m.setattr(Removals, "second_look", lambda self, gone: {})
        m.setattr(Findings, "is_recent", lambda self, *when: True)
        a.scan()
    assert a.scan().expunged == 0
    assert a.texts() == ["another", "kept"]
    os.unlink(a.path(next(p for p in a.files() if p.endswith(b",S=4:2,S"))))
    assert a.scan().expunged == 1, "from then on absences count again"


def test_an_empty_mailbox_that_a_backup_lacks_is_made_again(tmp_path: Path) -> None:
    a = Side(tmp_path, "a")
    a.mailbox(b".Empty")
    a.create()
    old_marker = marker_of(a)
    a.deliver(b"", b"another", "S")
    a.scan()
    for sub in (b"tmp", b"new", b"cur", b""):
        os.rmdir(a.path(b".Empty", sub))
    restore_marker(a, old_marker)
    a.scan()
    a.scan()
    assert os.path.isdir(a.path(b".Empty", b"cur"))


def test_a_vanished_mailbox_beside_an_unreadable_one_is_never_expunged(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a = Side(tmp_path, "a")
    for name in (b".Gone", b".Bad"):
        a.mailbox(name)
        a.deliver(name, b"in " + name, "S")
    a.create()
    os.rename(a.path(b".Gone"), os.path.join(os.path.dirname(a.root), b"elsewhere"))
    os.unlink(a.path(a.files()[0]))
    opened = Maildir.open

    def fails(self: Maildir, directory: bytes, sub: bytes = b"") -> int:
        if directory == b".Bad":
            raise OSError(5, "Input/output error")
        return opened(self, directory, sub)

    with monkeypatch.context() as m:
        m.setattr(Maildir, "open", fails)
        assert a.scan().expunged == 0
    later = clock.now() + 3600
    monkeypatch.setattr(clock, "now", lambda: later)
    for _ in range(3):
        a.scan()
        later += 3600
    store = a.open()
    dead = [r for r in store.ledger.records("NOT live") if store.ledger.boxes[r.mailbox].name == "Gone"]
    assert not dead, "a mailbox that disappeared is held, not deleted"
    assert any(h.mailboxes.get("Gone") for h in holds(store.ledger))
    store.close()


def test_a_mailbox_moved_out_of_the_maildir_is_held_even_after_its_files_stay_unexplained(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a = Side(tmp_path, "a")
    a.mailbox(b".Gone")
    a.deliver(b".Gone", b"in it", "S")
    a.create()
    os.rename(a.path(b".Gone"), os.path.join(os.path.dirname(a.root), b"elsewhere"))  # its links count
    later = clock.now()
    monkeypatch.setattr(clock, "now", lambda: later)
    expunged = 0
    for _ in range(4):
        expunged += a.scan().expunged
        later += 3600
    assert expunged == 0
    store = a.open()
    assert [h.mailboxes for h in holds(store.ledger)] == [{"Gone": 1}]
    store.close()


def test_two_mailboxes_never_share_a_directory(tmp_path: Path) -> None:
    """A name with a dot has no place in Maildir++: that mailbox keeps its directory, and another one comes."""
    a, b = Side(tmp_path, "a", Layout(FS, "utf-8")), Side(tmp_path, "b")
    a.mailbox(b"Box")
    a.deliver(b"Box", b"old mail", "S")
    a.create()
    b.create()
    settle(a, b)
    assert (".Box", "S", "old mail") in b.shown()
    os.rename(a.path(b"Box"), a.path(b"Box.2024"))
    sync(a, b)
    a.mailbox(b"Box")
    a.deliver(b"Box", b"new mail", "S")
    for _ in range(4):
        sync(a, b)
    assert sorted(a.texts()) == ["new mail", "old mail"], "nothing comes back twice"
    assert sorted(b.texts())[-1] == "old mail"
    store = b.open()
    used = [box.dir for box in store.ledger.boxes.values() if box.dir is not None]
    store.close()
    assert len(used) == len(set(used))
    os.rename(a.path(b"Box.2024"), a.path(b"Elsewhere"))  # now there is room
    for _ in range(4):
        sync(a, b)
    assert b.shown() == [(".Box", "S", "new mail"), (".Elsewhere", "S", "old mail")]


def test_two_mailboxes_that_change_names_change_directories(tmp_path: Path) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    for name in (b".One", b".Two"):
        a.mailbox(name)
        a.deliver(name, b"born in " + name, "S")
    a.create()
    b.create()
    settle(a, b)
    os.rename(a.path(b".One"), a.path(b".Three"))
    a.scan()
    os.rename(a.path(b".Two"), a.path(b".One"))
    a.scan()
    os.rename(a.path(b".Three"), a.path(b".Two"))
    for _ in range(3):
        sync(a, b)
    assert a.shown() == [(".One", "S", "born in .Two"), (".Two", "S", "born in .One")]
    assert b.shown() == a.shown()


def test_a_message_rewritten_in_place_with_its_size_and_time_is_seen(tmp_path: Path) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    path = a.deliver(b"", b"before", "S")
    a.create()
    b.create()
    settle(a, b)
    settle(a, b)
    st = os.stat(path)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"after!")
    os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
    settle(a, b)
    assert a.texts() == b.texts() == ["after!"]


def test_a_file_that_left_and_came_back_changed_is_read_again(tmp_path: Path) -> None:
    a = Side(tmp_path, "a")
    path = a.deliver(b"", b"before", "S")
    a.deliver(b"", b"other", "S")
    a.create()
    away = os.path.join(os.path.dirname(a.root), b"away")
    os.link(path, away)
    st = os.stat(path)
    os.unlink(path)
    store = a.open()
    with store.index.transaction():
        (record,) = [r for r in store.ledger.records("live") if r.base and path.endswith(r.base + b":2,S")]
        record.sub, record.base, record.info, record.ino = 0, None, None, None
        store.ledger.set_file(record)
        store.ledger.remove(record)
    store.end_run("sync", None, 0, {})
    store.close()
    os.chmod(away, 0o600)
    with open(away, "r+b") as file:
        file.write(b"after!")
    os.utime(away, ns=(st.st_mtime_ns + 7, st.st_mtime_ns + 7))
    os.rename(away, path)
    a.scan()
    store = a.open()
    for (content_id,) in list(
        store.index.execute("SELECT c.id FROM record r JOIN content c ON c.no = r.content WHERE live")
    ):
        store.vault.read(content_id)  # raises when a name and its bytes differ
    store.close()


@pytest.mark.parametrize("seconds", [1 << 34, -(1 << 33) - 5, (1 << 33) + 3])
def test_a_file_dated_centuries_away_stops_nobody(tmp_path: Path, seconds: int) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    path = a.deliver(b"", b"from the year 2514", "S")
    os.utime(path, (seconds, seconds))
    a.create()
    b.create()
    settle(a, b)
    settle(a, b)
    assert b.texts() == ["from the year 2514"]
    a.at_rest()
    b.at_rest()


def test_a_mailbox_made_slowly_is_seen_when_it_is_whole(tmp_path: Path) -> None:
    a = Side(tmp_path, "a")
    a.create()
    os.mkdir(a.path(b".Slow"))
    clock.sleep(0.05)
    a.scan()
    a.mailbox(b".Slow")
    a.deliver(b".Slow", b"in it", "S")
    assert a.scan().added == 1


@pytest.mark.parametrize("other", [b"cur", b"elsewhere"])
def test_a_message_read_between_a_crash_and_the_next_run_is_not_there_twice(
    tmp_path: Path, monkeypatch: MonkeyPatch, other: bytes
) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    a.deliver(b"", b"hello", None)
    a.create()
    b.create()

    def dies(self: Apply, done: object) -> None:
        if done and self.maildir.root == b.root:
            raise Crash
        clear(self, done)  # type: ignore[arg-type]

    clear = Apply._clear
    with monkeypatch.context() as m:
        m.setattr(Apply, "_clear", dies)
        with pytest.raises(Crash):
            sync(a, b)
    (path,) = b.files()
    assert path.startswith(b"new/")
    name = os.path.basename(path) if other == b"cur" else b"1.other.name"
    os.rename(b.path(path), b.path(b"cur", name + b":2,S"))
    settle(a, b)
    assert b.shown() == [("", "S", "hello")]
    assert a.shown() == [("", "S", "hello")]


def test_keywords_that_could_not_be_read_are_not_overwritten(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a = Side(tmp_path, "a")
    a.create()
    with open(a.path(b"dovecot-keywords"), "wb") as file:
        file.write(b"0 $Forwarded\n1 $Junk\n")
    maildir = Maildir(a.root, a.layout)
    real = os.open

    def fails(path: bytes, flags: int, *rest: int, **more: int) -> int:
        if path == b"dovecot-keywords":
            raise OSError(24, "Too many open files")
        return real(path, flags, *rest, **more)

    with monkeypatch.context() as m:
        m.setattr(os, "open", fails)
        try:
            maildir.add_keywords(b"", frozenset(["urgent"]))
        except OSError:
            pass
    maildir.close()
    with open(a.path(b"dovecot-keywords"), "rb") as keywords:
        assert keywords.read().startswith(b"0 $Forwarded\n1 $Junk\n")
    assert not os.path.exists(a.path(b"dovecot-keywords.lock"))


def test_a_full_disk_leaves_no_lock_on_keywords(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    a = Side(tmp_path, "a")
    a.create()
    maildir = Maildir(a.root, a.layout)

    def full(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(fs, "write_all", full)
        with pytest.raises(OSError, match="No space"):
            maildir.add_keywords(b"", frozenset(["urgent"]))
    maildir.close()
    assert not os.path.exists(a.path(b"dovecot-keywords.lock"))


def test_a_listing_of_the_root_that_misses_a_renamed_mailbox_makes_nothing_vanish(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a = Side(tmp_path, "a")
    a.mailbox(b".Work")
    a.deliver(b".Work", b"in it", "S")
    a.create()
    survey = Maildir.survey
    calls = []

    def races(self: Maildir) -> object:
        calls.append(1)
        found, stamps = survey(self)
        if len(calls) == 1:  # a client renames the mailbox while the root is listed: neither name is seen
            found.remove(b".Work")
            os.rename(a.path(b".Work"), a.path(b".Job"))
        return found, stamps

    with monkeypatch.context() as m:
        m.setattr(Maildir, "survey", races)
        os.mkdir(a.path(b".trigger"))
        report = a.scan()
    assert report.held == 0
    a.scan()
    store = a.open()
    assert not holds(store.ledger)
    assert sorted(box.name for box in store.ledger.alive()) == ["INBOX", "Job"]
    store.close()


def test_a_name_taken_by_the_very_message_is_no_obstacle(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """A crash after a copy was put in place, and a vault whose object can be linked when it is tried again."""
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    a.deliver(b"", b"hello", "S")
    a.create()
    b.create()
    clear = Apply._clear

    def dies(self: Apply, done: object) -> None:
        if done and self.maildir.root == b.root:
            raise Crash
        clear(self, done)  # type: ignore[arg-type]

    with monkeypatch.context() as m:
        m.setattr(Apply, "_clear", dies)
        m.setattr(Apply, "_datable", lambda *args: False)
        with pytest.raises(Crash):
            sync(a, b)
    settle(a, b)
    b.at_rest()
    assert b.shown() == a.shown()


def test_one_unreadable_object_stops_no_other_message(tmp_path: Path) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    a.mailbox(b".Work")
    a.deliver(b"", b"good", "S")
    a.deliver(b"", b"damaged", "S")
    a.create()
    b.create()
    settle(a, b)
    store = b.open()
    for content_id, path in list(store.vault.objects()):
        if store.vault.read(content_id) == b"damaged":
            os.unlink(path)
            with open(path, "wb") as file:
                file.write(b"dam@ged")
    store.close()
    for path in a.files():
        os.link(a.path(path), a.path(b".Work", b"cur", os.path.basename(path)))
    settle(a, b)
    assert a.texts() == b.texts() == ["damaged", "damaged", "good", "good"]


def test_init_that_died_before_the_marker_can_go_on(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    a = Side(tmp_path, "a")
    a.deliver(b"", b"hello", "S")

    def dies(*args: object) -> None:
        raise Crash

    with monkeypatch.context() as m:
        m.setattr(marker, "write", dies)
        with pytest.raises(Crash):
            Store.create(a.root, a.state, a.layout)
    assert a.scan().added == 1


def test_after_approval_of_a_deleted_mailbox_its_directory_goes(tmp_path: Path) -> None:
    from mailkeep.rules.guard import Limits

    a, b = Side(tmp_path, "a"), Side(tmp_path, "b", limits=Limits(count=0, minimum=0))
    a.mailbox(b".Gone")
    a.deliver(b".Gone", b"in it", "S")
    a.create()
    b.create()
    settle(a, b)
    os.unlink(a.path(a.files()[0]))
    assert a.scan().expunged + a.scan().expunged == 1
    for sub in (b"tmp", b"new", b"cur", b""):
        os.rmdir(a.path(b".Gone", sub))
    sync(a, b)
    sync(a, b)
    assert b.texts() == ["in it"]
    store = b.open()
    for hold in holds(store.ledger):
        with store.index.transaction():
            approve(store.ledger, hold.no)
    store.apply()
    store.end_run("approve", None, 0, {})
    store.close()
    assert b.texts() == []
    settle(a, b)
    assert not os.path.exists(b.path(b".Gone"))


def test_a_crash_while_the_marker_is_written_leaves_no_file_in_the_maildir(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """Its temporary name had the process's number in it: each such crash left one more file for ever."""
    a = Side(tmp_path, "a").create()
    rename = fs.rename
    for number in range(3):
        a.deliver(b"", b"message %d" % number, "S")

        def crashes(source: bytes, target: bytes, **where: int | None) -> None:
            if target == marker.NAME:
                raise Crash
            rename(source, target, **where)

        with monkeypatch.context() as patch:
            patch.setattr(fs, "rename", crashes)
            patch.setattr(os, "getpid", lambda n=number: 1000 + n)  # each run is another process
            steps = Steps()
            with steps.installed(), pytest.raises(Crash):
                a.scan()
            steps.stop()
        a.scan()
    assert [name for name in os.listdir(a.root) if name.startswith(marker.NAME)] == [marker.NAME]


def test_markers_of_neighbouring_generations_differ_in_size(tmp_path: Path) -> None:
    """rsync goes by size and whole seconds: it restored a Maildir, and left the marker of what came after."""
    from itertools import pairwise

    a = Side(tmp_path, "a").create()
    sizes = []
    for number in range(12):
        a.deliver(b"", b"message %d" % number, "S")
        a.scan()
        sizes.append(os.path.getsize(a.path(marker.NAME)))
    assert all(one != other for one, other in pairwise(sizes))
    assert len(set(sizes)) > 10
