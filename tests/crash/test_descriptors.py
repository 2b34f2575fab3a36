"""Descriptors of mailboxes are kept open for a while; one in use is never closed, or worse, given to another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import OLD, Side, settle
from mailkeep.store import maildir as maildirs
from mailkeep.store.maildir import Maildir
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

OPEN = 5
BOXES = 12


@pytest.fixture(autouse=True)
def few(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(maildirs, "OPEN_MAX", OPEN)


def test_a_descriptor_stays_valid_while_others_are_opened(tmp_path: Path) -> None:
    side = Side(tmp_path, "a")
    directories = [b".box%03d" % n for n in range(BOXES)]
    for directory in directories:
        side.mailbox(directory)
    maildir = Maildir(side.root, Layout())
    for directory in directories:
        cur = maildir.open(directory, b"cur")
        inode = os.fstat(cur).st_ino
        tmp = maildir.open(directory, b"tmp")
        assert os.fstat(cur).st_ino == inode
        assert os.fstat(tmp).st_ino == os.stat(side.path(directory, b"tmp")).st_ino
    maildir.close()


def test_copies_of_another_date_in_many_mailboxes_all_get_their_file(tmp_path: Path) -> None:
    """Such a copy is written by way of tmp/: a second directory is opened while the first is in use."""
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    for n in range(BOXES):
        directory = b".box%03d" % n
        a.mailbox(directory)
        a.deliver(directory, b"the same to all", "S")
    a.create()
    b.create()
    settle(a, b)
    assert b.shown() == a.shown()
    assert len(b.shown()) == BOXES
    dates = {int(os.stat(b.path(path)).st_mtime) - OLD for path in b.files()}
    assert len(dates) == BOXES
