"""Symbolic links planted in a Maildir, at every level: nothing is made, changed, removed or read through one."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.domain.errors import MailkeepError
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from pathlib import Path

LAYOUTS = pytest.mark.parametrize("layout", ["maildir++", "fs"])
PLACES = [b"box", b"box/cur", b"box/new", b"box/tmp"]


def snapshot(top: Path) -> list[tuple[str, bool, bytes]]:
    return sorted(
        (str(path.relative_to(top)), path.is_dir(), path.read_bytes() if path.is_file() else b"")
        for path in top.rglob("*")
    )


def elsewhere(base: Path, *, empty: bool) -> Path:
    """A directory outside of the store that looks like a mailbox."""
    there = base / "elsewhere"
    for part in ("cur", "new", "tmp"):
        (there / part).mkdir(parents=True)
    if not empty:
        (there / "cur" / "1700000000.M1P1.other:2,S").write_bytes(b"somebody else's")
        (there / "precious").write_bytes(b"precious")
    return there


@LAYOUTS
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "with mail"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("when", ["before it is made", "it was there"])
def test_nothing_happens_behind_a_planted_link(
    tmp_path: Path, layout: str, place: bytes, when: str, empty: bool
) -> None:
    kind = Layout("fs", "utf-7") if layout == "fs" else Layout()
    a, b = Side(tmp_path, "a", kind), Side(tmp_path, "b", kind)
    directory = b".Box" if layout == "maildir++" else b"Box"
    for side in (a, b):
        if layout == "fs":
            side.mailbox(b"INBOX")
        side.create()
    a.mailbox(directory)
    a.deliver(directory, b"mail for the box", "S")
    if when == "it was there":
        settle(a, b)
        a.deliver(directory, b"more", "FS")
        os.unlink(a.path(next(path for path in a.files() if path.endswith(b",S"))))
    there = elsewhere(tmp_path, empty=empty)
    target = b.path(place.replace(b"box", directory))
    if os.path.isdir(target):
        shutil.rmtree(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    source = there / os.path.basename(place).decode() if b"/" in place else there
    os.symlink(source, target)
    before = snapshot(there)
    for _ in range(3):
        try:
            sync(a, b)
        except MailkeepError:
            pass
        assert snapshot(there) == before
    assert "somebody else's" not in a.texts()
    os.unlink(target)  # the way back: nothing was lost meanwhile
    settle(a, b)
    for side in (a, b):
        side.scan()
    settle(b, a)
    wanted = ["more"] if when == "it was there" else ["mail for the box"]
    assert set(wanted) <= set(a.texts())
    assert a.texts() == b.texts()


@LAYOUTS
def test_a_mailbox_renamed_or_deleted_elsewhere_takes_nothing_behind_a_link(
    tmp_path: Path, layout: str
) -> None:
    kind = Layout("fs", "utf-7") if layout == "fs" else Layout()
    a, b = Side(tmp_path, "a", kind), Side(tmp_path, "b", kind)
    one, two = (b".One", b".Two") if layout == "maildir++" else (b"One", b"Deep/Two")
    if layout == "fs":
        a.mailbox(b"INBOX")
        b.mailbox(b"INBOX")
    a.mailbox(one)
    a.deliver(one, b"in one", "S")
    a.create()
    b.create()
    settle(a, b)
    there = elsewhere(tmp_path, empty=True)
    before = snapshot(there)
    if layout == "fs":
        os.symlink(there, b.path(b"Deep"))
        os.makedirs(os.path.dirname(a.path(two)), exist_ok=True)
    else:
        os.symlink(there, b.path(two))
    os.rename(a.path(one), a.path(two))
    for _ in range(3):
        try:
            sync(a, b)
        except MailkeepError:
            pass
        assert snapshot(there) == before
    assert "in one" in a.texts()


def test_a_root_that_is_a_link_is_the_users_own_and_is_followed_once(tmp_path: Path) -> None:
    side = Side(tmp_path, "real")
    side.deliver(b"", b"hello", "S")
    os.symlink(side.root, os.fsencode(tmp_path / "link"))
    side.root = os.fsencode(tmp_path / "link")
    side.create()
    assert side.texts() == ["hello"]
    side.at_rest()
