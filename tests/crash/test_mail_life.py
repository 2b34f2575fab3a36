"""What ordinary mail life does to a Maildir, and other synchronisers get wrong: nothing vanishes, nothing comes twice."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.domain.record import SIZE_MAX
from mailkeep.store.maildir import KEYWORDS
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from _pytest.monkeypatch import MonkeyPatch


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    """Two stores that agree, with three messages."""
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    for n in range(3):
        a.deliver(b"", b"message %d" % n, "S")
    a.create()
    b.create()
    settle(a, b)
    return a, b


def problems(side: Side) -> dict[str, str]:
    return dict(side.scan().problems)


# --- what lies in cur/ and is no message


def test_what_is_no_file_is_named_and_left_alone_and_the_rest_flows(pair: tuple[Side, Side]) -> None:
    a, b = pair
    odd = {
        name: a.path(b"cur", name + b".host:2,S")
        for name in (b"fifo", b"socket", b"link", b"dangling", b"loop", b"dir")
    }
    os.mkfifo(odd[b"fifo"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(odd[b"socket"])
    os.symlink(a.path(a.files()[0]), odd[b"link"])
    os.symlink(b"/nonexistent", odd[b"dangling"])
    os.symlink(odd[b"loop"], odd[b"loop"])
    os.mkdir(odd[b"dir"])
    devices = []
    if os.geteuid() == 0:
        odd[b"device"] = a.path(b"cur", b"device.host:2,S")
        try:
            os.mknod(odd[b"device"], stat.S_IFCHR | 0o600, os.makedev(1, 3))  # null
            devices.append(b"device")
        except PermissionError:
            del odd[b"device"]
    before = {name: os.lstat(path) for name, path in odd.items()}
    a.deliver(b"", b"after them", None)
    said = problems(a)
    listener.close()
    assert {name for name in said if "host" in name} == {f"cur/{name.decode()}.host:2,S" for name in odd}
    assert all("no regular file" in why for why in said.values())
    settle(a, b)
    assert b.texts() == ["after them", "message 0", "message 1", "message 2"]
    # They are as they were, and the vault has none of them.
    assert {name: os.lstat(path)[:7] for name, path in odd.items()} == {
        name: st[:7] for name, st in before.items()
    }
    for path in odd.values():
        (os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)
    settle(a, b)
    a.at_rest()


def test_a_message_of_4_gib_is_refused_and_the_rest_flows(pair: tuple[Side, Side]) -> None:
    a, b = pair
    huge = a.deliver(b"", b"huge", "S")
    os.truncate(huge, SIZE_MAX)  # sparse: it takes no space
    a.deliver(b"", b"small", "S")
    began = time.monotonic()
    said = problems(a)
    assert list(said) == [os.fsdecode(os.path.relpath(huge, a.root))]
    assert "4 GiB" in next(iter(said.values()))
    sync(a, b)
    assert time.monotonic() - began < 60, "it was read all the same"
    assert b.texts() == ["message 0", "message 1", "message 2", "small"]
    assert os.stat(huge).st_size == SIZE_MAX
    os.truncate(huge, 5)
    os.rename(huge, huge + b"F")
    settle(a, b)
    assert len(b.texts()) == 5
    a.at_rest()


def test_a_message_of_4_gib_at_the_first_index_is_refused_too(tmp_path: Path) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    huge = a.deliver(b"", b"huge", "S")
    os.truncate(huge, SIZE_MAX)
    a.deliver(b"", b"small", "S")
    a.create()
    b.create()
    sync(a, b)
    assert b.texts() == ["small"]


# --- names


@pytest.mark.parametrize(
    ("where", "name", "shown"),
    [
        (b"cur", b"1700000050.M1P1.host", ("", "no colon")),
        (b"cur", b"1700000050.M1P1.host:2,", ("", "no flag")),
        (b"cur", b"1700000050.M1P1.host:2,FXSz!", ("FSz", "foreign")),
        (b"cur", b"1700000050.M1P1.host:1,experimental", ("", "info 1")),
        (b"cur", b"1700000050.M1P1.host:", ("", "colon alone")),
        (b"cur", b"plain name with spaces", ("", "spaces")),
        (b"cur", b"\xff\xfe latin", ("", "no UTF-8")),
        (b"new", b"1700000050.M1P1.host:2,S", ("S", "flags in new")),
        (b"new", b"1700000050.M1P1.host", ("new", "new")),
    ],
)
def test_odd_names_arrive_once_and_stay(
    pair: tuple[Side, Side], where: bytes, name: bytes, shown: tuple[str, str]
) -> None:
    a, b = pair
    text = shown[1].encode()
    with open(a.path(where, name), "wb") as file:
        file.write(text)
    settle(a, b)
    (found,) = [row for row in b.shown() if row[2] == shown[1]]
    assert found[1].replace("X", "").replace("!", "") == shown[0]
    assert os.path.exists(a.path(where, name)), "the name here stays what it was"
    a.at_rest()
    b.at_rest()


@pytest.mark.parametrize("same", [True, False])
def test_one_base_name_in_new_and_in_cur(pair: tuple[Side, Side], same: bool) -> None:
    """Two messages, of one text or of two: both are there, and each can be removed."""
    a, b = pair
    texts = [b"twin", b"twin" if same else b"other"]
    paths = [
        a.deliver(b"", texts[0], None, name=b"1700000060.M1P1.host"),
        a.deliver(b"", texts[1], "S", name=b"1700000060.M1P1.host"),
    ]
    settle(a, b)
    assert len(a.texts()) == len(b.texts()) == 5
    for path, left in ((paths[1], 4), (paths[0], 3)):
        os.unlink(path)
        settle(a, b)
        assert len(a.texts()) == len(b.texts()) == left
    a.at_rest()
    b.at_rest()


def test_identical_copies_and_one_message_id_on_different_mails(pair: tuple[Side, Side]) -> None:
    a, b = pair
    for side in (a, b):
        for n in range(2):
            side.deliver(b"", b"Message-ID: <same@host>\n\nversion %d\n" % n, "S")
    copies = [a.deliver(b"", b"three times", "S") for _ in range(3)]
    settle(a, b)
    for side in (a, b):
        assert len([text for text in side.texts() if text.startswith("Message-ID")]) in (2, 4)
        assert side.texts().count("three times") == 3
    assert a.shown() == b.shown()
    os.unlink(copies[1])
    settle(a, b)
    assert a.texts().count("three times") == b.texts().count("three times") == 2


def test_a_copy_that_each_keeps_in_another_mailbox_is_not_lost(pair: tuple[Side, Side]) -> None:
    """One removes it here and one there: each removal alone was meant to leave the other copy."""
    a, b = pair
    a.mailbox(b".Work")
    for number in range(20):
        a.deliver(b"", b"stays %d" % number, "S")
        a.deliver(b".Work", b"stays, too %d" % number, "S")
    a.deliver(b"", b"twice", "S")
    a.deliver(b".Work", b"twice", "S")
    settle(a, b)
    for side, directory in ((a, b""), (b, b".Work")):
        [path] = [
            side.path(p)
            for p in side.files()
            if _is_twice(side, p) and os.path.dirname(p)[:-4] in (directory, directory + b"/")
        ]
        os.unlink(path)
        side.scan()
        side.scan()
    settle(a, b)
    assert a.texts().count("twice") == b.texts().count("twice") == 1
    assert a.shown() == b.shown()
    a.at_rest()
    b.at_rest()


def _is_twice(side: Side, path: bytes) -> bool:
    with open(side.path(path), "rb") as file:
        return file.read() == b"twice"


def test_a_message_that_is_delivered_again_has_its_new_date_everywhere(pair: tuple[Side, Side]) -> None:
    """Else a rule of expiry would count its age from the delivery of years ago, on the replicas that knew it."""
    a, b = pair
    days = (1_500_000_000, 1_700_000_000)
    for number in range(20):
        a.deliver(b"", b"stays %d" % number, "S")
    os.utime(a.deliver(b"", b"again", "S"), (days[0],) * 2)
    settle(a, b)
    os.unlink(b.path_of("again"))
    b.scan()
    settle(a, b)
    os.utime(b.deliver(b"", b"again", "S"), (days[1],) * 2)
    settle(a, b)
    for side in (a, b):
        assert os.stat(side.path_of("again")).st_mtime == days[1]
        store = side.open()
        dates = {date for (date,) in store.index.execute("SELECT date FROM record WHERE date != 0 AND live")}
        store.close()
        assert days[0] not in dates
        assert days[1] in dates
        side.at_rest()


def test_names_that_are_swapped_between_two_messages(pair: tuple[Side, Side]) -> None:
    a, b = pair
    one, two = (a.path(path) for path in a.files()[:2])
    with open(one, "rb") as first, open(two, "rb") as second:
        texts = first.read(), second.read()
    os.rename(one, one + b"~")
    os.rename(two, one)
    os.rename(one + b"~", two)
    settle(a, b)
    assert a.texts() == b.texts() == ["message 0", "message 1", "message 2"]
    with open(one, "rb") as file:
        assert file.read() == texts[1]
    a.at_rest()


def test_mailboxes_that_change_names_in_the_nested_layout_come_right(tmp_path: Path) -> None:
    a, b = (Side(tmp_path, name, Layout(FS, "utf-8")) for name in ("a", "b"))
    for name in (b"One", b"Two"):
        a.mailbox(name)
        a.deliver(name, b"born in " + name, "S")
    a.create()
    b.create()
    settle(a, b)
    for old, new in ((b"One", b"Three"), (b"Two", b"One"), (b"Three", b"Two")):
        os.rename(a.path(old), a.path(new))
        a.scan()
    for _ in range(4):
        sync(a, b)
    assert a.shown() == [("One", "S", "born in Two"), ("Two", "S", "born in One")]
    assert b.texts() == a.texts()
    assert b.shown() == a.shown()


# --- a file that changes after it was seen


def test_a_message_completed_after_it_was_first_seen(pair: tuple[Side, Side]) -> None:
    """A program that writes into new/ directly, slowly: what comes later ends up the same everywhere, once."""
    a, b = pair
    path = a.path(b"new", b"1700000070.M1P1.host")
    with open(path, "wb") as file:
        for part in (b"Subject: slow\n", b"\nfirst half,", b" second half\n"):
            file.write(part)
            file.flush()
            sync(a, b)
            os.chmod(path, 0o600)
    settle(a, b)
    settle(a, b)
    text = "Subject: slow\n\nfirst half, second half\n"
    assert a.texts().count(text) == b.texts().count(text) == 1
    assert len(a.texts()) == len(b.texts()) == 4


def test_a_change_in_the_tick_of_the_last_run_is_seen_by_the_next(pair: tuple[Side, Side]) -> None:
    """A run, and at once another change, and another run: without a pause between them."""
    a, b = pair
    for n in range(8):
        path = a.deliver(b"", b"quick %d" % n, None)
        a.scan()
        os.rename(path, a.path(b"cur", os.path.basename(path) + b":2,F"))
        a.scan()
        a.deliver(b"", b"second %d" % n, None)
    settle(a, b)
    assert a.shown() == b.shown()
    assert len(b.texts()) == 3 + 16
    assert sum(flags == "F" for _, flags, _ in b.shown()) == 8


# --- others' files and locks


def test_a_file_of_another_user_stops_nobody(pair: tuple[Side, Side], monkeypatch: MonkeyPatch) -> None:
    """Its mode cannot be changed: the vault takes a copy, and everything else goes on."""
    a, b = pair
    theirs = a.deliver(b"", b"theirs", "S")
    inode = os.stat(theirs).st_ino
    fchmod = os.fchmod

    def refused(fd: int, mode: int) -> None:
        if os.fstat(fd).st_ino == inode:
            raise PermissionError(1, "Operation not permitted")
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", refused)
    a.deliver(b"", b"mine", "S")
    settle(a, b)
    assert b.texts() == ["message 0", "message 1", "message 2", "mine", "theirs"]
    assert os.stat(theirs).st_nlink == 1, "what can be written to is no object of the vault"
    a.at_rest()
    os.unlink(theirs)
    settle(a, b)
    assert "theirs" not in b.texts()


def test_files_of_another_user_at_the_first_index(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    paths = [a.deliver(b"", b"theirs %d" % n, "S") for n in range(3)]
    a.deliver(b"", b"mine", "S")
    inodes = {os.stat(path).st_ino for path in paths}
    fchmod = os.fchmod

    def refused(fd: int, mode: int) -> None:
        if os.fstat(fd).st_ino in inodes:
            raise PermissionError(1, "Operation not permitted")
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", refused)
    a.create()
    b.create()
    settle(a, b)
    assert b.texts() == ["mine", "theirs 0", "theirs 1", "theirs 2"]
    assert {os.stat(path).st_nlink for path in paths} == {1}
    a.at_rest()


def keyworded(pair: tuple[Side, Side]) -> tuple[Side, Side]:
    """A message on a side with a keyword that the other side has no letter for yet."""
    a, b = pair
    with open(a.path(KEYWORDS), "wb") as file:
        file.write(b"0 urgent\n")
    path = a.path(next(path for path in a.files()))
    os.rename(path, path + b"a")
    return a, b


def test_a_lock_on_keywords_that_is_held_delays_the_keyword_alone(pair: tuple[Side, Side]) -> None:
    a, b = keyworded(pair)
    lock = b.path(KEYWORDS + b".lock")
    with open(lock, "wb"):
        pass
    a.deliver(b"", b"beside it", "S")
    sync(a, b)
    assert "beside it" in b.texts()
    assert not os.path.exists(b.path(KEYWORDS)), "the lock is another program's"
    os.unlink(lock)
    settle(a, b)
    with open(b.path(KEYWORDS), "rb") as file:
        assert b"urgent" in file.read()
    assert ["Sa" in flags for _, flags, _ in b.shown()].count(True) == 1


def test_a_stale_lock_on_keywords_is_taken_away(pair: tuple[Side, Side]) -> None:
    """Dovecot died with it; nobody will ever give it back."""
    a, b = keyworded(pair)
    lock = b.path(KEYWORDS + b".lock")
    with open(lock, "wb"):
        pass
    os.utime(lock, (1_700_000_000, 1_700_000_000))
    settle(a, b)
    assert not os.path.exists(lock)
    assert ["Sa" in flags for _, flags, _ in b.shown()].count(True) == 1


# --- the vault


def test_a_damaged_object_is_made_good_by_another_copy_of_the_message(pair: tuple[Side, Side]) -> None:
    """The vault has an object of that name and size already: it is looked at before it is relied on."""
    a, _ = pair
    store = a.open()
    (content_id,) = [cid for cid, _ in store.vault.objects() if store.vault.read(cid) == b"message 1"]
    path = store.vault.path(content_id)
    store.close()
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"mess@ge 1")
    a.deliver(b"", b"message 1", "S")
    a.scan()
    store = a.open()
    assert store.vault.read(content_id) == b"message 1"
    store.close()
