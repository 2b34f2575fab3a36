"""The power is cut at any step: of what was not synced nothing, names without bytes or some of it is there.

On both sides at once; each has a disk of its own, and its syncs cover that one.
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from crash.kit import Crash, Steps, sync
from crash.test_crash_points import STORIES, recovers, undisturbed
from mailkeep.testing.powercut import NO_BYTES, SOME, SYNCED, Unsynced

if TYPE_CHECKING:
    from pathlib import Path

SHARES = 6


def cut_at(name: str, base: Path, step: int, *, after: bool, view: str) -> None:
    end = undisturbed(name, base / "undisturbed")
    here = base / f"{step}{after}"
    here.mkdir()
    pair = STORIES[name](here)
    (here / "aside").mkdir()
    base_bytes = os.fsencode(here)

    def disk_of(path: bytes) -> str:
        return os.path.relpath(path, base_bytes).split(b"/")[0].partition(b".")[0].decode()

    unsynced = Unsynced(os.fsencode(here / "aside"), disk_of)
    steps = Steps(step, Crash(), after=after)
    with unsynced.installed(), steps.installed():
        try:
            sync(*pair)
        except Crash:
            pass
        finally:
            steps.stop()
    unsynced.cut(view, Random(f"{name}/{step}/{view}"))
    where = f"{name}: power cut {'after' if after else 'before'} step {step} ({steps.hit}); there is {view}"
    try:
        recovers(pair, end)
    except BaseException as err:
        raise AssertionError(where) from err


@pytest.mark.crash
@pytest.mark.parametrize("view", [SYNCED, NO_BYTES, SOME])
@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_at_any_step_costs_a_repeat_and_nothing_else(
    name: str, view: str, tmp_path: Path, every: bool
) -> None:
    end = undisturbed(name, tmp_path / "undisturbed")
    number = Random(f"{name}{view}").randrange(end.steps)
    for step in range(end.steps) if every else [number]:
        cut_at(name, tmp_path, step, after=bool(step % 2), view=view)
