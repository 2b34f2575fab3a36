"""A scan, a session and the work on files are cut off, or fail, at each step that changes a disk.

Whatever the step: the next runs end where an undisturbed run ends, nothing is lost, nothing is there
twice, and nothing is left over. `make crash` takes every step; otherwise some of them are taken, spread
over the whole run.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import MailkeepError
from mailkeep.wire.layouts import FS, Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Pair = tuple[Side, Side]
STORIES: dict[str, Callable[[Path], Pair]] = {}
SHARES = 12
"""The steps of a story are dealt out to this many tests."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS)


def story(make: Callable[[Path], Pair]) -> Callable[[Path], Pair]:
    STORIES[make.__name__] = make
    return make


@story
def meeting(base: Path) -> Pair:
    """A first session: some mail is on both sides, some on one."""
    a, b = Side(base, "a"), Side(base, "b", Layout(FS, "utf-8"))
    for side, where in ((a, b".Work.2024"), (b, b"Work/2024")):
        side.mailbox(where)
        side.deliver(b"", b"both", "S", name=b"same.1.host")
        side.deliver(where, b"both, below", None)
    a.deliver(b"", b"only a", "FS")
    a.deliver(b"", b"twice", "S")
    a.deliver(b"", b"twice", "S")
    b.mailbox(b"Lists")
    b.deliver(b"Lists", b"only b", "R")
    b.deliver(b"", b"", None)
    return a.create(), b.create()


@story
def changes(base: Path) -> Pair:
    """Messages come, go, move, are copied and flagged on both sides."""
    a, b = Side(base, "a"), Side(base, "b")
    a.mailbox(b".Work")
    texts = [b"message %d" % i for i in range(9)]
    paths = [a.deliver(b".Work" if i % 3 == 2 else b"", text, "S") for i, text in enumerate(texts)]
    a.create()
    b.create()
    settle(a, b)
    os.unlink(paths[0])
    os.rename(paths[1], paths[1] + b"F")
    os.rename(paths[2], a.path(b"cur", os.path.basename(paths[2])))
    os.link(paths[3], a.path(b".Work", b"cur", b"copied.1:2,S"))
    a.deliver(b"", b"new on a")
    for path in b.files():
        with open(b.path(path), "rb") as file:
            text = file.read()
        if text == texts[4]:
            os.unlink(b.path(path))
        elif text == texts[5]:
            os.rename(b.path(path), b.path(path) + b"T")
        elif text == texts[6]:
            os.rename(b.path(path), b.path(b".Work", b"new", b"moved.1"))
    b.deliver(b"", b"new on b", "R")
    return a, b


@story
def mailboxes(base: Path) -> Pair:
    """Mailboxes are made, renamed and deleted, in the two layouts."""
    a, b = Side(base, "a"), Side(base, "b", Layout(FS, "utf-8"))
    for name in (b".Old", b".Gone", b".Work", b".Work.sub"):
        a.mailbox(name)
        a.deliver(name, b"in " + name, "S")
    a.create()
    b.create()
    settle(a, b)
    os.rename(a.path(b".Old"), a.path(b".New"))
    os.rename(b.path(b"Work"), b.path(b"Job"))
    for path in a.files():
        if path.startswith(b".Gone"):
            os.rename(a.path(path), a.path(b"cur", os.path.basename(path)))
    for sub in (b"tmp", b"new", b"cur", b"maildirfolder", b""):
        at = a.path(b".Gone", sub)
        if os.path.isdir(at):
            os.rmdir(at)
        elif os.path.exists(at):
            os.unlink(at)
    a.mailbox(b".Fresh")
    a.deliver(b".Fresh", b"fresh")
    return a, b


@story
def swap(base: Path) -> Pair:
    """Three mailboxes change names in a ring; each keeps its mail."""
    return _in_a_ring(Side(base, "a"), Side(base, "b"), b".")


@story
def swap_nested(base: Path) -> Pair:
    """The same in the nested layout, where a mailbox moves part by part, and its children stay."""
    nested = Layout(FS, "utf-8")
    return _in_a_ring(Side(base, "a", nested), Side(base, "b", nested), b"")


def _in_a_ring(a: Side, b: Side, prefix: bytes) -> Pair:
    names = tuple(prefix + name for name in (b"One", b"Two", b"Three"))
    for name in names:
        a.mailbox(name)
        a.deliver(name, b"born in " + name, "S")
    a.create()
    b.create()
    settle(a, b)
    for source, target in zip((*names, prefix + b"Spare"), (prefix + b"Spare", *names), strict=True):
        os.rename(a.path(source), a.path(target))
        a.scan()
    return a, b


@story
def copies(base: Path) -> Pair:
    """The same without hard links: the vault holds copies."""
    from unittest import mock

    with mock.patch("mailkeep.store.vault.probe", return_value="copy"):
        return changes(base)


class End:
    """Where an undisturbed run of a story ends: what each side shows and keeps, how many steps it had, and
    every content that there ever was."""

    def __init__(self, make: Callable[[Path], Pair], base: Path) -> None:
        base.mkdir()
        pair = make(base)
        self.contents = {text for side in pair for text in side.kept()}
        steps = Steps()
        with steps.installed():
            sync(*pair)
        settle(*pair)
        for side in pair:
            side.at_rest()
        self.shown = [side.shown() for side in pair]
        self.kept = [side.kept() & self.contents for side in pair]
        self.steps = len(steps.names)


_ends: dict[str, End] = {}


def undisturbed(name: str, base: Path) -> End:
    if name not in _ends:
        _ends[name] = End(STORIES[name], base)
    return _ends[name]


def disturbed(
    make: Callable[[Path], Pair],
    base: Path,
    fault: BaseException,
    step: int,
    *,
    after: bool,
) -> tuple[Pair, Steps, BaseException | None]:
    base.mkdir()
    pair = make(base)
    steps = Steps(step, fault, after=after)
    raised: BaseException | None = None
    with steps.installed():
        try:
            sync(*pair)
        except (Crash, Exception) as err:  # noqa: BLE001 - what it is, the caller says
            raised = err
        finally:
            steps.stop()
    return pair, steps, raised


def recovers(pair: Pair, end: End) -> None:
    assert pair[0].kept() | pair[1].kept() >= end.contents
    settle(*pair)
    for side, shown, kept in zip(pair, end.shown, end.kept, strict=True):
        assert side.shown() == shown, side.name
        assert side.kept() >= kept
        side.at_rest()


def dealt(share: int, total: int, every: bool) -> list[tuple[int, bool]]:
    """The (step, after) pairs of one share; without `every`, one of them."""
    all_of_them = [(step, after) for step in range(total) for after in (False, True)]
    mine = all_of_them[share::SHARES]
    return mine if every else mine[len(mine) * share // SHARES :][:1]


def crash_everywhere(name: str, share: int, base: Path, every: bool) -> None:
    make = STORIES[name]
    end = undisturbed(name, base / "undisturbed")
    assert end.steps > SHARES
    for step, after in dealt(share, end.steps, every):
        pair, steps, raised = disturbed(make, base / f"{step}{after}", Crash(), step, after=after)
        where = f"{name}: crash {'after' if after else 'before'} step {step} ({steps.hit})"
        if steps.hit:
            assert isinstance(raised, Crash), where
        try:
            recovers(pair, end)
        except BaseException as err:
            raise AssertionError(where) from err


def fail_everywhere(name: str, share: int, base: Path, every: bool) -> None:
    make = STORIES[name]
    end = undisturbed(name, base / "undisturbed")
    for step in sorted({step for step, _ in dealt(share, end.steps, every)}):
        code = ERRORS[(step + share) % len(ERRORS)]
        fault = OSError(code, os.strerror(code))
        pair, steps, raised = disturbed(make, base / str(step), fault, step, after=False)
        where = f"{name}: {errno.errorcode[code]} at step {step} ({steps.hit})"
        if raised is not None:
            assert isinstance(raised, MailkeepError), f"{where}: {raised!r}"
            assert raised.hint, where
        try:
            recovers(pair, end)
        except BaseException as err:
            raise AssertionError(where) from err


@pytest.mark.crash
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_step_costs_a_repeat_and_nothing_else(
    name: str, share: int, tmp_path: Path, every: bool
) -> None:
    crash_everywhere(name, share, tmp_path, every)


@pytest.mark.crash
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", STORIES)
def test_an_error_at_any_step_is_explained_and_the_next_run_completes(
    name: str, share: int, tmp_path: Path, every: bool
) -> None:
    fail_everywhere(name, share, tmp_path, every)
