"""What a round may suffer, drawn from a seed, and how a command is started so that it suffers it.

Where strace can be used, system calls of the real process fail or kill it, those of SQLite too; else, and in turn with
that, the steps of `mailkeep.testing.steps` do.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

NEAR, FAR, TUNNEL, TREE = "near end", "far end", "tunnel", "whole tree"
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE")
WRITES = (
    "write,pwrite64,link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync,syncfs,"
    "ftruncate,utimensat,fchmod,fallocate"
)
"""System calls through which anything changes a disk."""
SYNCS = "fsync,fdatasync,syncfs"
READS = "read,pread64,getdents64,newfstatat,openat"
DESCRIPTORS = (8, 60)
"""Limits of open files between which a process gets far enough to notice."""


class Fault:
    """What one run suffers.

    Attributes:
        kind: What is counted, in words.
        end: NEAR, FAR, TUNNEL or TREE.
        plan: For `mailkeep.testing.launch`, or ''.
        strace: Options of strace, or none.
        descriptors: Limit of open files, or 0.
        limit: Bytes after which the tunnel dies, or 0.
        after: Share of the usual time of a run, after which a signal is sent; below 0: none is.
        signal: Which one: 'KILL', or 'STOP', continued a moment later.
        second: A second run is started meanwhile.
        busy: A mail program goes on meanwhile.
    """

    def __init__(self, kind: str, end: str = NEAR) -> None:
        self.kind, self.end = kind, end
        self.plan = ""
        self.strace: list[str] = []
        self.descriptors = self.limit = 0
        self.after = -1.0
        self.signal = "KILL"
        self.second = self.busy = False

    def __str__(self) -> str:
        how = [
            self.plan,
            " ".join(self.strace),
            f"{self.descriptors} descriptors" if self.descriptors else "",
        ]
        how += [f"after {self.limit:,} bytes" if self.limit else ""]
        how += [f"SIG{self.signal} after {self.after:.2f} of a run" if self.after >= 0 else ""]
        how += ["beside a second run" if self.second else "", "beside a mail program" if self.busy else ""]
        return f"{self.kind}: " + (", ".join(text for text in how if text) or "undisturbed")

    @property
    def reads(self) -> bool:
        """Whether reading fails, and with it, maybe, the reading of Python's own files: no error of ours then."""
        return any(READS in word for word in self.strace)

    @property
    def kills(self) -> bool:
        """Whether somebody is killed by it, if it strikes."""
        return self.kind.startswith("kill")

    def wrap(self, end: str, words: list[str]) -> list[str]:
        """The command for one end: mailkeep with these words."""
        argv = [sys.executable, "-m", "mailkeep", *words]
        if end == self.end or (end == NEAR and self.end == TREE):
            if self.plan:
                argv = [sys.executable, "-m", "mailkeep.testing.launch", self.plan, "--", *words]
            if self.strace:
                argv = ["strace", "-f", "-qq", "-b", "execve", "-o", "/dev/null", *self.strace, *argv]
            if self.descriptors:
                argv = ["/bin/sh", "-c", f'ulimit -n {self.descriptors}; exec "$@"', "sh", *argv]
        return argv


@functools.cache
def has_strace() -> bool:
    """Whether strace is there and may look into processes of ours."""
    if shutil.which("strace") is None:
        return False
    words = ["strace", "-f", "-b", "execve", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _calls(random: Random, calls: str) -> str:
    """All of these calls, or one of them: strace counts each by itself."""
    return calls if random.random() < 0.3 else random.choice(calls.split(","))


def _number(random: Random, digits: float) -> int:
    """From 1 on, small ones oftener: early steps are few and late ones many."""
    return int(10 ** (random.random() * digits))


def draw(random: Random, *, strace: bool, volume: int) -> Fault:
    """What the next run suffers.

    Args:
        strace: Whether strace can be used.
        volume: About how many bytes a whole run carries.
    """
    way = random.choices((_kill, _error, _sync_fails, _other), (10, 8, 3, 4))[0]
    fault = way(random, strace, volume)
    if not fault.second and random.random() < 0.25:
        fault.busy = True
    return fault


def draw_alone(random: Random, *, strace: bool) -> Fault:
    """What a command suffers that has no peer: it is killed at a step or a call, or one of these fails."""
    while True:
        fault = random.choice((_kill, _error, _sync_fails))(random, strace, 1)
        if fault.end == NEAR and fault.after < 0:
            return fault


def _kill(random: Random, strace: bool, volume: int) -> Fault:
    end = random.choice((NEAR, NEAR, FAR, FAR, TUNNEL, TREE))
    fault = Fault(f"kill of the {end}", end)
    how = random.choice(("moment", "step", "call", "worker"))
    if end == TUNNEL and how != "moment":
        fault.limit = random.randint(1, max(2, volume))
    elif how == "moment":
        fault.after = random.random()
    elif how == "call" and strace and end != TREE:
        calls = _calls(random, WRITES)
        fault.strace = [
            "-e",
            f"trace={calls}",
            "-e",
            f"inject={calls}:signal=KILL:when={_number(random, 1.8)}",
        ]
    else:
        worker = "worker:" if how == "worker" and random.random() < 0.5 else ""
        action = "tree" if end == TREE else "kill"
        fault.plan = f"{worker}{action}@{_number(random, 2.1) - 1}{random.choice(('', '+'))}"
    return fault


def _error(random: Random, strace: bool, volume: int) -> Fault:
    code = random.choice(ERRORS)
    fault = Fault(code, random.choice((NEAR, FAR)))
    if code == "EMFILE" and random.random() < 0.7:
        fault.descriptors = random.randint(*DESCRIPTORS)
    elif strace and random.random() < 0.6:
        if code == "EIO" and random.random() < 0.3:
            calls, first = READS, 100 + _number(random, 2.5)  # starting takes a hundred of them
        else:
            calls, first = _calls(random, WRITES), _number(random, 1.8)
        once = random.choice(("", "+"))  # one call fails, or all from there on
        fault.strace = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={code}:when={first}{once}"]
    else:
        fault.plan = f"{code}@{_number(random, 2.1) - 1}"
    return fault


def _sync_fails(random: Random, strace: bool, volume: int) -> Fault:
    fault = Fault("failed fsync or syncfs", random.choice((NEAR, FAR)))
    code = random.choice(("EIO", "ENOSPC", "EDQUOT"))
    if strace:
        fault.strace = [
            "-e",
            f"trace={SYNCS}",
            "-e",
            f"inject={SYNCS}:error={code}:when={_number(random, 1.5)}",
        ]
    else:
        fault.plan = f"{code}@{_number(random, 1.8) - 1}"
    return fault


def _other(random: Random, strace: bool, volume: int) -> Fault:
    which = random.choice(("suspend", "second", "none"))
    if which == "suspend":
        fault = Fault("suspended in mid-session", random.choice((NEAR, FAR)))
        fault.after, fault.signal = random.random(), "STOP"
        return fault
    if which == "second":
        fault = Fault("two runs at once")
        fault.second = True
        return fault
    fault = Fault("undisturbed")
    fault.busy = True
    return fault
