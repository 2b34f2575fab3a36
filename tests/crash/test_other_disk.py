"""The state lies on another file system than the mail: deleted mailboxes go all the same, whatever cuts that off."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps, settle, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY = "/dev/shm"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[bytes]:
    """A directory on another file system than tmp_path's."""
    path = os.fsencode(tempfile.mkdtemp(prefix="mailkeep-test-", dir=MEMORY))
    assert os.stat(path).st_dev != os.stat(tmp_path).st_dev
    yield path
    shutil.rmtree(path)


def pair(base: Path, elsewhere: bytes) -> tuple[Side, Side]:
    """B's state is elsewhere. A has deleted the mailbox Gone, whose mail is in INBOX now; B has files of Dovecot's there."""
    base.mkdir()
    a, b = Side(base, "a"), Side(base, "b")
    b.state = os.path.join(elsewhere, os.fsencode(base.name))
    for name in (b".Gone", b".Work"):
        a.mailbox(name)
        a.deliver(name, b"in " + name, "S")
    a.create()
    b.create()
    settle(a, b)
    with open(b.path(b".Gone", b"dovecot-uidlist"), "wb") as file:
        file.write(b"3 V1 N2\n")
    (name,) = os.listdir(a.path(b".Gone", b"cur"))
    os.rename(a.path(b".Gone", b"cur", name), a.path(b"cur", name))
    shutil.rmtree(a.path(b".Gone"))
    return a, b


def carried(b: Side) -> list[bytes]:
    """What was taken away with the mailbox."""
    out = []
    for at, _, names in os.walk(os.path.join(b.state, b"removed-mailboxes")):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                out.append(file.read())
    return out


def ended(a: Side, b: Side, where: str) -> None:
    settle(a, b)
    assert not os.path.exists(b.path(b".Gone")), where
    assert a.shown() == b.shown(), where
    assert b"3 V1 N2\n" in carried(b), where
    a.at_rest()
    b.at_rest()


def test_a_mailbox_that_was_deleted_elsewhere_goes(tmp_path: Path, elsewhere: bytes) -> None:
    a, b = pair(tmp_path / "x", elsewhere)
    session = sync(a, b)
    assert session.responder.final is not None
    assert session.responder.final["problems"] == []
    ended(a, b, "undisturbed")


def test_new_mail_in_it_keeps_it(tmp_path: Path, elsewhere: bytes) -> None:
    a, b = pair(tmp_path / "x", elsewhere)

    def delivered() -> None:
        b.deliver(b".Gone", b"just now")

    sync(a, b, delivered)
    assert "just now" in b.texts()
    assert os.path.exists(b.path(b".Gone", b"dovecot-uidlist"))
    settle(a, b)
    assert a.shown() == b.shown()
    assert "just now" in a.texts()


def test_what_is_no_file_stays_and_is_no_mailbox(tmp_path: Path, elsewhere: bytes) -> None:
    a, b = pair(tmp_path / "x", elsewhere)
    os.symlink("/etc/passwd", b.path(b".Gone", b"link"))
    settle(a, b)
    assert os.listdir(b.path(b".Gone")) == [b"link"]
    store = b.open()
    assert sorted(box.name for box in store.ledger.alive()) == ["INBOX", "Work"]
    store.close()


@pytest.mark.crash
@pytest.mark.slow
def test_cut_off_at_any_step(tmp_path: Path, elsewhere: bytes, every: bool) -> None:
    a, b = pair(tmp_path / "count", elsewhere)
    steps = Steps()
    with steps.installed():
        sync(a, b)
    last = len(steps.names)
    first = max(at for at, name in enumerate(steps.names) if "rmdir" in name) - 12
    for at in range(last) if every else range(first, last, 4):
        a, b = pair(tmp_path / str(at), elsewhere)
        try:
            with Steps(at, Crash()).installed():
                sync(a, b)
        except Crash:
            pass
        ended(a, b, f"cut off before step {at}, {steps.names[at]}")
