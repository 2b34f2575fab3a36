"""mailkeep broken on purpose: the tests that break the machine under it notice. Else they would show nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Crash
from crash.test_crash_points import STORIES, disturbed, recovers, undisturbed
from crash.test_power_cut import cut_at
from mailkeep.store.apply import Apply
from mailkeep.store.directories import Directories
from mailkeep.store.store import Store
from mailkeep.testing.powercut import SYNCED, Unsynced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

pytestmark = pytest.mark.crash


class NoSync:
    """A syncer that says that all is durable."""

    whole, failed = True, False

    def note(self, path: bytes) -> None: ...

    def sync(self) -> None: ...


@contextlib.contextmanager
def unsynced(holder: Any) -> Iterator[None]:
    real = holder.syncer
    holder.syncer = NoSync()
    try:
        yield
    finally:
        holder.syncer = real


def without_sync(method: Callable[..., Any]) -> Callable[..., Any]:
    def broken(self: Any, *args: Any) -> Any:
        with unsynced(self.vault if isinstance(self, Apply) else self):
            return method(self, *args)

    return broken


def cut_everywhere(base: Path, name: str, start: int) -> None:
    """A power cut at each step, from one on."""
    total = undisturbed(name, base / "undisturbed").steps
    for step in [*range(start, total), *range(start)]:
        cut_at(name, base, step, after=True, view=SYNCED)


def crash_everywhere(base: Path, name: str, start: int) -> None:
    end = undisturbed(name, base / "undisturbed")
    for step in [*range(start, end.steps), *range(start)]:
        pair, _, _ = disturbed(STORIES[name], base / str(step), Crash(), step, after=True)
        recovers(pair, end)


def test_a_sync_that_does_nothing_is_noticed(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    undisturbed("meeting", tmp_path / "undisturbed")
    monkeypatch.setattr(Unsynced, "_syncing", lambda self, function: function)
    with pytest.raises(AssertionError, match="power cut"):
        cut_everywhere(tmp_path, "meeting", 50)


def test_a_journal_cleared_before_its_files_are_durable_is_noticed(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    undisturbed("meeting", tmp_path / "undisturbed")
    monkeypatch.setattr(Apply, "_clear", without_sync(Apply._clear))
    with pytest.raises(AssertionError, match="power cut"):
        cut_everywhere(tmp_path, "meeting", 55)


@pytest.mark.parametrize(
    ("story", "method", "start"), [("mailboxes", "_note_placed", 39), ("swap", "_finish_exchange", 17)]
)
def test_mailboxes_noted_before_their_directories_are_durable_are_noticed(
    tmp_path: Path, monkeypatch: MonkeyPatch, story: str, method: str, start: int
) -> None:
    undisturbed(story, tmp_path / "undisturbed")
    monkeypatch.setattr(Directories, method, without_sync(getattr(Directories, method)))
    with pytest.raises(AssertionError, match="power cut"):
        cut_everywhere(tmp_path, story, start)


def test_a_journal_that_is_not_replayed_is_noticed(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    undisturbed("changes", tmp_path / "undisturbed")
    monkeypatch.setattr(Store, "journal", lambda self: False)
    with pytest.raises(AssertionError):
        crash_everywhere(tmp_path, "changes", 40)
