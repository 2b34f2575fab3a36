"""Child processes on a byte stream, without the weight of the subprocess module."""

from __future__ import annotations

import fcntl
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

F_SETPIPE_SZ = 1031
SIGKILL, SIGPIPE, SIGTERM = 9, 13, 15
"""By number (signal(7)): the signal module costs a tenth of a run that has nothing to do."""
PIPE_BYTES = 1 << 20
"""As large as an unprivileged pipe may be: fewer switches between the two ends."""


def widen(pipe: int) -> None:
    """Let a pipe hold PIPE_BYTES, if the kernel lets it."""
    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # the default size does as well, only slower


class Child:
    """A process whose standard input and output are our pipes; its standard error is ours.

    Attributes:
        stdin: We write here.
        stdout: We read here.
    """

    def __init__(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start it.

        Raises:
            FileNotFoundError, PermissionError: The program cannot be run.
        """
        their_in, self.stdin = os.pipe2(os.O_CLOEXEC)
        self.stdout, their_out = os.pipe2(os.O_CLOEXEC)
        for fd in (self.stdin, self.stdout):
            widen(fd)
            os.set_blocking(fd, False)
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                list(argv),
                os.environ if environment is None else environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, their_in, 0), (os.POSIX_SPAWN_DUP2, their_out, 1)],
                setsigdef=[SIGPIPE],
            )
        except OSError:
            os.close(self.stdin)
            os.close(self.stdout)
            raise
        finally:
            os.close(their_in)
            os.close(their_out)
        self.status: int | None = None

    def wait(self, timeout_seconds: float) -> int | None:
        """Close our ends and wait; the exit status, negative for a signal, None when it still runs."""
        self.close()
        if self.status is None:
            fd = os.pidfd_open(self.pid)
            try:
                select.select([fd], [], [], timeout_seconds)
            finally:
                os.close(fd)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def end(self, patience_seconds: float = 10.0) -> int | None:
        """Wait a little, then ask it to stop, then make it."""
        for grace, number in (patience_seconds, SIGTERM), (3.0, SIGKILL), (3.0, None):
            if self.wait(grace) is not None or number is None:
                break
            os.kill(self.pid, number)
        return self.status

    def close(self) -> None:
        """Close our ends of both pipes, once: the process sees that nothing more comes."""
        for name in ("stdin", "stdout"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)


def detach() -> bool:
    """Let a copy of this process go on by itself, without our streams; True in that copy.

    It has a session of its own, so that no terminal or connection ends it, and leaves the machine to others.
    It must end with `os._exit`.
    """
    if os.fork():
        return False
    os.setsid()
    os.nice(10)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    return True
