"""One small story between two real stores, told again and again from the same beginning, with a fault of its own."""

from __future__ import annotations

import collections
import copy
import re
import shutil
import subprocess
from random import Random
from typing import TYPE_CHECKING

from mailkeep.testing import judge, spool
from mailkeep.testing.faults import Fault
from mailkeep.testing.trial import Result, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Story:
    """Two stores that have met, and what happened on both sides since; `again` goes back to that."""

    def __init__(
        self, base: Path, happens: Callable[[Trial], None], *, messages: int = 8, seed: int = 1
    ) -> None:
        base.mkdir()
        (base / "trial").mkdir()
        self.trial = Trial(base / "trial", seed)
        self.trial.begin(lambda root, random: spool.make(root, random, messages))
        assert self.trial.settle(), self.trial.findings
        happens(self.trial)
        self.kept = base / "kept"
        self._copy(base / "trial", self.kept)
        self.life = copy.deepcopy(self.trial.life)

    def _copy(self, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", source / "one", source / "two", target], check=True)

    def again(self) -> Trial:
        for side in self.trial.sides:
            shutil.rmtree(side.home)
        self._copy(self.kept, self.trial.scratch)
        self.trial.life = copy.deepcopy(self.life)
        self.trial.findings = []
        return self.trial

    def run(self, near: int, fault: Fault) -> Result:
        """From the beginning: a run that suffers, and what can be said at once."""
        trial = self.again()
        lacked = judge.lacking(trial.life, trial.vaults)
        result = trial.run(near, fault)
        killed = fault.kills and result.status is not None and result.status < 0
        if not killed:
            trial.findings += judge.ending(result.status, result.err)
        trial.findings += judge.half_done(trial.life, trial.vaults)
        trial.findings += judge.too_much(result.carried, lacked, trial.life)
        return result

    def close(self) -> None:
        self.trial.close()


def changes(trial: Trial) -> None:
    """A little of everything, on both sides.

    No mailbox is renamed: that is known by the directory's inode, which a copy of the store has not.
    """
    life, random = trial.life, Random(4)
    for side in (0, 1):
        for act in (life._deliver, life._deliver, life._flag, life._delete, life._move, life._copy):
            assert act(side, random)
    assert life._make_box(0, random)


def calls(trace: Path) -> list[tuple[str, int]]:
    """The system calls of the first process of a trace, in order: name, and which of that name it was."""
    first, seen, out = "", collections.Counter[str](), []
    for line in trace.read_text(errors="replace").splitlines():
        process, _, text = line.partition(" ")
        first = first or process
        match = re.match(r" *(\w+)\(", text)
        if process == first and match:
            seen[match[1]] += 1
            out.append((match[1], seen[match[1]]))
    return out
