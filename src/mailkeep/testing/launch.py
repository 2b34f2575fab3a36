"""Start the real command, struck at a step: `python -m mailkeep.testing.launch PLAN -- WORDS`.

PLAN is `[worker:]ACTION@STEP[+]`, or `log@FILE`, several with commas between:

    kill@12       SIGKILL of this process just before its step 12; kill@12+ just after it
    tree@12       SIGKILL of its whole process group
    stop@12       SIGSTOP: somebody has to let it go on
    ENOSPC@12     that step fails so; any name of an error that `mailkeep.testing.steps` knows
    worker:...    the step is one of each worker that it forks
    log@FILE      a line for each step is appended there
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import sys
from typing import TYPE_CHECKING

from mailkeep.testing.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "tree": lambda: os.killpg(0, signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


def steps_of(plan: str) -> Steps:
    """What a PLAN says.

    Raises:
        ValueError: It says nothing that can be done.
    """
    at, after, worker, log = -1, False, False, -1
    fault: BaseException | Callable[[], None] | None = None
    fatal = True
    for part in plan.split(","):
        action, _, where = part.partition("@")
        if action == "log":
            log = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            continue
        worker, action = action.startswith("worker:"), action.removeprefix("worker:")
        at, after = int(where.removesuffix("+")), where.endswith("+")
        if action in ACTIONS:
            fault, fatal = ACTIONS[action], action != "stop"
        else:
            code = getattr(errno, action)
            fault = OSError(code, os.strerror(code))
    return Steps(at, fault, after=after, worker=worker, fatal=fatal, log=log)


def main() -> None:
    """Never returns: the command ends the process."""
    plan, _, *words = sys.argv[1:]
    sys.argv[1:] = words
    with steps_of(plan).installed():
        runpy.run_module("mailkeep", run_name="__main__")


if __name__ == "__main__":
    main()
