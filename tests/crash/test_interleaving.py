"""Other programs change both Maildirs between any two steps of a session: it ends as if they had done so after it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, Steps, settle, sync
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARES = 8
TEXTS = [f"message {number}" for number in range(10)]


def pair(base: Path) -> tuple[Side, Side]:
    """Two stores that agreed; then there is news on both sides for a session to carry."""
    base.mkdir()
    a, b = Side(base, "a"), Side(base, "b", Layout(FS, "utf-8"))
    a.mailbox(b".Work")
    a.mailbox(b".Other")
    for number, text in enumerate(TEXTS):
        a.deliver(b".Work" if number % 2 else b"", text.encode(), "S")
    a.create()
    b.create()
    settle(a, b)
    a.deliver(b"", b"new on a", "S")
    os.unlink(a.path_of(TEXTS[0]))
    os.rename(b.path_of(TEXTS[1]), b.path_of(TEXTS[1]) + b"F")
    b.deliver(b"Work", b"new on b")
    b.mailbox(b"Made on b")
    b.deliver(b"Made on b", b"in a new mailbox")
    return a, b


def flagged(a: Side, b: Side) -> None:
    path = a.path_of(TEXTS[2])
    os.rename(path, path + b"F")
    path = b.path_of(TEXTS[3])
    os.rename(path, path + b"R")


def deleted(a: Side, b: Side) -> None:
    os.unlink(a.path_of(TEXTS[4]))
    os.unlink(b.path_of(TEXTS[5]))


def moved(a: Side, b: Side) -> None:
    path = a.path_of(TEXTS[6])
    os.rename(path, a.path(b".Other", b"cur", os.path.basename(path)))
    path = b.path_of(TEXTS[7])
    os.rename(path, b.path(b"Other", b"cur", b"renamed:2,S"))


def delivered(a: Side, b: Side) -> None:
    a.deliver(b"", b"meanwhile on a")
    b.deliver(b"Work", b"meanwhile on b", "F")
    os.link(b.path_of(TEXTS[8]), b.path(b"Other", b"cur", b"a copy:2,S"))


def renamed(a: Side, b: Side) -> None:
    """A mailbox, and one that the session makes in the same moment."""
    os.rename(a.path(b".Other"), a.path(b".Another"))
    os.makedirs(b.path(b"Fresh", b"cur"))
    b.mailbox(b"Fresh")


MEANWHILE: dict[str, Callable[[Side, Side], None]] = {
    f.__name__: f for f in (flagged, deleted, moved, delivered, renamed)
}


def named(side: Side) -> list[tuple[str, str, str]]:
    """What is shown, by mailbox name instead of directory."""
    return sorted((box.lstrip(".").replace(".", "/"), flags, text) for box, flags, text in side.shown())


def tell(name: str, base: Path, every: bool, share: int) -> None:
    """One story for each step of the session between a and b at which `name` happens."""
    happens = MEANWHILE[name]
    a, b = pair(base / "after")
    steps = Steps()
    with steps.installed():
        sync(a, b)
    happens(a, b)
    settle(a, b)
    want = named(a)
    assert want == named(b)
    total = len(steps.names)
    assert total > 30
    for step in range(total)[share::SHARES] if every else [total * (share + 1) // (SHARES + 1)]:
        a, b = pair(base / str(step))
        where = f"{name} before step {step} ({steps.names[step]})"
        done: list[int] = []

        def meanwhile(a: Side = a, b: Side = b, done: list[int] = done) -> None:
            if not done:
                done.append(1)
                happens(a, b)

        with Steps(step, meanwhile).installed():
            sync(a, b)
        if not done:
            assert step > total - 8, f"{where}: not reached, and only the last few steps depend on the time"
            continue
        settle(a, b)
        assert named(a) == want, where
        assert named(b) == want, where
        a.at_rest()
        b.at_rest()


@pytest.mark.crash
@pytest.mark.parametrize("name", MEANWHILE)
def test_a_change_between_two_steps(name: str, tmp_path: Path, every: bool) -> None:
    for share in range(SHARES) if every else [len(name) % SHARES]:
        (tmp_path / str(share)).mkdir()
        tell(name, tmp_path / str(share), every, share)
