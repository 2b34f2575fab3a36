"""A disk that is really full: one of two stores lies on a small tmpfs of a mount namespace of its own.

    unshare -Urm python full_disk.py SCRATCH END WHAT LEFT

END (one, two) is the side whose disk it is; `sync` is always started on `one`. WHAT is `bytes` or `inodes`, of which LEFT
thousand, or LEFT, are left free once both stores agree; then there is new mail for both. Prints what was wrong, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

from mailkeep.testing import judge, spool, trial
from mailkeep.testing.faults import Fault

ROOMY = "size=128m,nr_inodes=100000"


def mount(where: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", where], check=True)


def remount(where: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)


class OnTmpfs(trial.Side):
    """A side whose home is a file system of its own."""

    full = "two"

    def __init__(self, scratch: Path, name: str) -> None:
        super().__init__(scratch, name)
        if name == self.full:
            mount(self.home, ROOMY)


def main() -> int:
    scratch, end, what, left = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    OnTmpfs.full = end
    trial.Side = OnTmpfs  # type: ignore[misc]
    here = trial.Trial(scratch, 9, strace=False)
    here.begin(lambda root, random: spool.make(root, random, 12))
    if not here.settle():
        raise AssertionError(here.findings)
    random = Random(3)
    for side in (0, 1):
        for _ in range(12):
            here.life._deliver(side, random)
        here.life._flag(side, random)
    lacked = judge.lacking(here.life, here.vaults)
    tight = here.scratch / end
    there = os.statvfs(tight)
    used_bytes = (there.f_blocks - there.f_bfree) * there.f_frsize
    used_inodes = there.f_files - there.f_ffree
    remount(
        tight, f"size={used_bytes + left * 1000}" if what == "bytes" else f"nr_inodes={used_inodes + left}"
    )
    statuses, words = [], []
    for _ in range(2):
        result = here.run(0, Fault("a full disk"))
        statuses.append(result.status)
        words.append(result.err)
        here.findings += judge.ending(result.status, result.err)
        here.findings += judge.half_done(here.life, here.vaults)
    for verb in ("status", "verify", "holds", "log"):  # a full disk is when people look
        done = here._run(here.sides[end == "two"], [verb])
        here.findings += [f"{verb}: {text}" for text in judge.ending(done.returncode, done.stderr)]
        words.append(done.stderr)
    remount(tight, ROOMY)
    after = judge.lacking(here.life, here.vaults)
    here.settle()
    out = {"statuses": statuses, "words": words, "findings": here.findings, "lacked": lacked, "after": after}
    here.close()
    print(json.dumps(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
