"""Run a command and say what it and all its descendants used.

    python -I -S launch.py REPORT -- CMD...

The bench itself is a large process, and a child inherits its parent's memory as
a high-water mark until it runs its own program; so the measuring is done from
here, a small one. Orphans are adopted and waited for: a client that does not
wait for its tunnel would hide the cost of the far end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
# An orphan that outlives the command by more than this is a daemon: its cost is left out.
ORPHAN_TIMEOUT_SECONDS = 20


class _DaemonError(Exception):
    """Something stays behind."""


def _give_up(_signal: int, _frame: object) -> None:
    raise _DaemonError


def launch(command: list[str]) -> dict[str, float]:
    """Run the command and wait for it and for all that it leaves behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGALRM, _give_up)
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    cpu_seconds, peak, status, ended = 0.0, 0, -1, began
    orphans, daemons = 0, False
    try:
        while True:
            reaped, code, usage = os.wait4(-1, 0)
            cpu_seconds += usage.ru_utime + usage.ru_stime
            peak = max(peak, usage.ru_maxrss * 1024)
            if reaped == pid:
                status, ended = os.waitstatus_to_exitcode(code), time.monotonic()
                signal.alarm(ORPHAN_TIMEOUT_SECONDS)
            else:
                orphans += 1
    except (ChildProcessError, _DaemonError) as stop:
        daemons = isinstance(stop, _DaemonError)
    return {
        "exit": status,
        "wall_seconds": ended - began,
        "wall_all_seconds": time.monotonic() - began,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak,
        "orphans": orphans,
        "daemons": daemons,
    }


def main() -> None:
    """Launch the command of the command line and write the report."""
    report, dashes, *command = sys.argv[1:]
    if dashes != "--" or not command:
        sys.exit("usage: launch.py REPORT -- CMD...")
    result = launch(command)
    fields = ", ".join(f'"{name}": {float(value):.6f}' for name, value in result.items())
    with open(report, "w") as file:
        file.write(f"{{{fields}}}\n")


if __name__ == "__main__":
    main()
