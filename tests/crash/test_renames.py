"""A mailbox that is renamed early in its life is renamed everywhere: it has not disappeared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.store.findings import Findings
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b", Layout(FS, "utf-8"))
    a.deliver(b"", b"something", "S")
    a.create()
    b.create()
    settle(a, b)
    return a, b


def delete(side: Side) -> None:
    for path in side.files():
        with open(side.path(path), "rb") as file:
            text = file.read()
        if text == b"to be deleted":
            os.unlink(side.path(path))


def renamed_everywhere(a: Side, b: Side) -> None:
    settle(a, b)
    for side in (a, b):
        boxes = {box.lstrip(".") for box, _, text in side.shown() if text == "in the mailbox"}
        assert boxes == {"After"}, side.name
        assert "to be deleted" not in side.texts(), "one deletion is no disappearance, and is not held"
        side.at_rest()


def test_one_that_a_session_made_a_moment_ago(pair: tuple[Side, Side]) -> None:
    """Nobody has listed it since: that it is the same directory was not known, and its mail was held."""
    a, b = pair
    a.mailbox(b".Before")
    a.deliver(b".Before", b"in the mailbox", "S")
    a.deliver(b".Before", b"to be deleted", "S")
    sync(a, b)
    delete(b)
    os.rename(b.path(b"Before"), b.path(b"After"))
    renamed_everywhere(a, b)


def test_one_whose_first_listing_was_disturbed(pair: tuple[Side, Side], monkeypatch: MonkeyPatch) -> None:
    """A mail program was busy in it: its listing was not relied on, and with it its inode was forgotten."""
    a, b = pair
    a.mailbox(b".Before")
    a.deliver(b".Before", b"in the mailbox", "S")
    a.deliver(b".Before", b"to be deleted", "S")
    with monkeypatch.context() as patch:
        patch.setattr(Findings, "is_recent", lambda self, *when: True)
        a.scan()
    delete(a)
    os.rename(a.path(b".Before"), a.path(b".After"))
    renamed_everywhere(a, b)
