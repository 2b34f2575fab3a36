"""What looks like a removal, a move or the file that was meant, and is not: each belief that the scan and the apply refuse."""

from __future__ import annotations

import os
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Crash, Side, settle
from mailkeep.store import scan, vault
from mailkeep.store.maildir import Maildir
from mailkeep.system import fs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mailkeep.store.store import Store


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores hold copies, as on a file system without hard links: no link count tells that a file is somewhere."""
    monkeypatch.setattr(vault, "probe", lambda state, root_fd: vault.COPY)


def side_with(base: Path, *texts: bytes) -> tuple[Side, list[bytes]]:
    """A store whose INBOX holds these, read; and their paths."""
    side = Side(base, "a")
    paths = [side.deliver(b"", text, "S") for text in texts]
    return side.create(), paths


def hide(
    monkeypatch: pytest.MonkeyPatch,
    name: bytes,
    times: int,
    during: Callable[[int], object] = lambda number: None,
) -> None:
    """Let the first listings of cur lack a file that is there, as a race with a rename does."""
    listing = Maildir.listing
    count = 0

    @contextmanager
    def lacking(self: Maildir, directory: bytes, sub: bytes) -> Iterator[Any]:
        nonlocal count
        with listing(self, directory, sub) as entries:
            if sub != b"cur" or count >= times:
                yield entries
                return
            count += 1
            found = [entry for entry in entries if entry.name != name]
            during(count)
            yield found

    monkeypatch.setattr(Maildir, "listing", lacking)


def live(side: Side) -> int:
    store = side.open()
    count = int(store.index.value("SELECT count(*) FROM record WHERE live AND hold IS NULL"))
    store.close()
    return count


def test_a_file_that_one_listing_lacks_and_the_next_has_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    side, (first, _) = side_with(tmp_path, b"one", b"two")
    os.utime(side.path(b"cur"))
    side.deliver(b"", b"three", "S")
    hide(monkeypatch, os.path.basename(first), 1)
    assert side.scan().expunged == 0
    monkeypatch.undo()
    side.scan()
    assert live(side) == 3


def test_a_second_listing_beside_a_busy_program_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    side, (first, _) = side_with(tmp_path, b"one", b"two")
    side.deliver(b"", b"three", "S")

    def busy(number: int) -> None:
        if number == 2:
            side.deliver(b"", b"four", "S")

    hide(monkeypatch, os.path.basename(first), 2, busy)
    report = side.scan()
    assert (report.expunged, report.held) == (0, 0)
    monkeypatch.undo()
    side.scan()
    assert live(side) == 4


def test_a_mailbox_that_a_survey_lacks_and_that_is_there_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    side = Side(tmp_path, "a")
    side.mailbox(b".Work")
    side.deliver(b".Work", b"in it", "S")
    side.create()
    survey = Maildir.survey

    def blind(self: Maildir) -> tuple[list[bytes], dict[bytes, Any]]:
        found, stamps = survey(self)
        return [path for path in found if path != b".Work"], stamps

    with monkeypatch.context() as m:
        m.setattr(Maildir, "survey", blind)
        os.mkdir(side.path(b".trigger"))
        report = side.scan()
    assert (report.expunged, report.held) == (0, 0)
    store = side.open()
    work = store.ledger.named("Work")
    assert work is not None
    assert work.dir == b".Work"
    store.close()


def test_a_file_that_has_another_name_somewhere_is_not_removed(tmp_path: Path) -> None:
    side, (first, _) = side_with(tmp_path, b"one", b"two")
    os.rename(first, tmp_path / "on its way into a mailbox")
    report = side.scan()
    assert (report.expunged, report.unknown) == (0, 1)
    os.rename(tmp_path / "on its way into a mailbox", first)
    side.scan()
    assert live(side) == 2


def test_an_inode_that_another_file_got_is_no_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object was restored from a backup as a copy; its old inode went to the next message, of the same age."""
    monkeypatch.setattr(scan, "SLICE", 0)
    side, (first, _) = side_with(tmp_path, b"one", b"two")
    other = side.deliver(b"", b"another", "S")
    st = os.stat(first)
    os.utime(other, ns=(st.st_atime_ns, st.st_mtime_ns))
    store = side.open()
    with store.index.transaction():
        record = next(store.ledger.records("ino = ?", (st.st_ino,)))
        inode = os.stat(other).st_ino
        store.index.execute("UPDATE content SET ino = ? WHERE no = ?", (inode, record.content))
        store.index.execute("UPDATE record SET ino = ? WHERE no = ?", (inode, record.no))
    store.close()
    side.scan()
    store = side.open()
    for text in (b"one", b"two", b"another"):
        assert store.vault.read(sha256(text).digest()) == text
    store.close()
    b = Side(tmp_path, "b").create()
    settle(side, b)
    assert sorted(b.texts()) == ["another", "one", "two"]


def test_a_message_completed_after_it_was_seen_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SLICE", 0)
    side = Side(tmp_path, "a").create()
    path = side.path(b"cur", b"1.M1P1.x:2,S")
    with open(path, "xb") as file:
        file.write(b"the beginning")
        file.flush()
        side.scan()
        file.write(b" and the end")
    side.scan()
    b = Side(tmp_path, "b").create()
    settle(side, b)
    assert b.texts() == ["the beginning and the end"]


def deleting(side: Side, path: bytes) -> Store:
    """The store, open, of which a peer has deleted this message: the file has yet to go."""
    store = side.open()
    store.scan()
    with store.index.transaction():
        record = next(store.ledger.records("base = ?", (os.path.basename(path).partition(b":")[0],)))
        store.ledger.remove(record)
        record.todo = 1
        store.ledger.set_file(record)
    return store


def test_a_file_that_took_the_place_of_the_one_to_be_removed_stays(tmp_path: Path) -> None:
    side, (first, _) = side_with(tmp_path, b"one", b"two")
    store = deleting(side, first)
    os.unlink(first)
    with open(first, "xb") as file:
        file.write(b"new")  # of the same name and size, as a program does that rewrites by rename
    report = store.apply()
    store.close()
    assert report.removed == 0 or os.path.exists(first)
    with open(first, "rb") as file:
        assert file.read() == b"new"
    side.scan()
    side.scan()
    assert side.texts() == ["new", "two"]


def test_a_removal_that_was_cut_off_leaves_nothing_in_tmp_and_takes_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without links the file is looked at in tmp/: the machine stops between that and the drop."""
    without_links(monkeypatch)
    for changed in (False, True):
        base = tmp_path / str(changed)
        base.mkdir()
        side, (first, _) = side_with(base, b"one", b"two")
        store = deleting(side, first)

        def stop(path: bytes, *, dir_fd: int | None = None) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(fs, "unlink", stop)
            with pytest.raises(Crash):
                store.apply()
        store.close()
        left = os.listdir(side.path(b"tmp"))
        assert len(left) == 1
        if changed:  # a person, or a program, has put another there meanwhile
            with open(side.path(b"tmp", left[0]), "r+b") as file:
                file.write(b"new")
        side.open().close()  # replays
        assert not os.listdir(side.path(b"tmp"))
        assert os.path.exists(first) == changed
        assert "one" in side.kept()
