"""Every step that changes a disk, counted; at one of them something strikes: a crash, an error, a signal.

The steps are the calls through which mailkeep changes files (`mailkeep.system.fs`, a few of `os`) and the
commits of its index. What SQLite does within a commit is not seen here; strace sees it (`mailkeep.testing.faults`).
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw

from mailkeep.store import index as index_module
from mailkeep.system import fs, lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SQLITE_SAYS = {
    errno.ENOSPC: apsw.FullError,
    errno.EDQUOT: apsw.FullError,
    errno.EIO: apsw.IOError,
    errno.EMFILE: apsw.CantOpenError,
    errno.EROFS: apsw.ReadOnlyError,
}
"""What a COMMIT says of the kernel's errors."""
CALLS = ("link", "unlink", "rename", "rename_noreplace", "rmdir", "fsync", "exchange", "write_all")
OS_CALLS = ("mkdir", "utime", "fchmod")
HARMLESS = (b".clock", b"lock")
"""Files that are made before anything is done, and mean nothing."""


class Crash(BaseException):
    """The machine stops here. Nothing of ours may catch it."""


class Steps:
    """Counts steps, and strikes at one.

    Forked workers count for themselves, from 0.

    Attributes:
        names: What each step was, of this process.
        hit: The step that was struck, or ''.
    """

    def __init__(
        self,
        at: int = -1,
        fault: BaseException | Callable[[], None] | None = None,
        *,
        after: bool = False,
        worker: bool = False,
        fatal: bool | None = None,
        log: int = -1,
    ) -> None:
        """Prepare.

        Args:
            at: The number of the step, from 0.
            fault: An exception to be raised there, or what to call.
            after: Just after the step instead of just before it.
            worker: In forked workers instead of the process that was begun with.
            fatal: The step does not happen any more after the fault, so that of what it writes half may get there;
                by default when the fault is an exception.
            log: A descriptor to which the name of each step is written, a line each.
        """
        self.at, self.fault, self.after, self.worker, self.log = at, fault, after, worker, log
        self.fatal = isinstance(fault, BaseException) if fatal is None else fatal
        self.names: list[str] = []
        self.hit = ""
        self.connections: list[Any] = []
        self.locks: list[lock.Lock] = []
        self._main = self._process = os.getpid()

    @property
    def _here(self) -> bool:
        return (self._process != self._main) == self.worker

    def wrap(
        self, name: str, function: Callable[..., Any], counts: Callable[..., bool] | None = None
    ) -> Callable[..., Any]:
        """The function as a step; `counts` says of a call whether it is one."""

        def step(*args: Any, **kwargs: Any) -> Any:
            if counts is not None and not counts(*args, **kwargs):
                return function(*args, **kwargs)
            if self.hit and isinstance(self.fault, Crash):
                raise self.fault  # the machine has stopped: clean-up code does not run
            if os.getpid() != self._process:
                self._process, self.names = os.getpid(), []
            struck = len(self.names) == self.at and self.fault is not None and self._here
            self.names.append(name)
            if self.log >= 0:
                os.write(self.log, f"{'worker' if self._process != self._main else 'main'} {name}\n".encode())
            if struck and not self.after:
                self.hit = name
                return self._instead(name, function, args, kwargs)
            value = function(*args, **kwargs)
            if struck:
                self.hit = name
                self._strike(name)
            return value

        return step

    def _strike(self, name: str) -> None:
        fault = self.fault
        if not isinstance(fault, BaseException):
            assert fault is not None
            fault()
            return
        if name == "commit" and isinstance(fault, OSError):
            raise SQLITE_SAYS[fault.errno or 0](str(fault))
        raise fault

    def _instead(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Strike before the step; an exception takes its place. Of what is written, half gets there."""
        if name == "write_all" and self.fatal:
            os.write(args[0], args[1][: len(args[1]) // 2])
        if not isinstance(self.fault, OSError):
            self._strike(name)
            return function(*args, **kwargs)
        if name == "sync":
            args[0].failed = True  # what a failed sync says is the Syncer's affair
            return function(*args, **kwargs)
        if name == "commit":  # the COMMIT itself fails, with its transaction open
            index = args[0]
            index._commit = lambda: self._strike(name)
            try:
                return function(*args, **kwargs)
            finally:
                del index._commit
        raise self.fault

    def stop(self) -> None:
        """Let go of everything that the dead process had open."""
        for connection in self.connections:
            connection.close(True)
        for held in self.locks:
            held.release()

    @contextmanager
    def installed(self) -> Iterator[Steps]:
        """Count and strike meanwhile, in this process and in what it forks."""
        places: list[tuple[Any, str, Any]] = []

        def put(owner: Any, name: str, value: Any) -> None:
            places.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)

        for name in CALLS:
            put(fs, name, self.wrap(name, getattr(fs, name)))
        put(fs.Syncer, "sync", self.wrap("sync", fs.Syncer.sync))
        for name in OS_CALLS:
            put(os, name, self.wrap(name, getattr(os, name)))
        put(os, "open", self.wrap("create", os.open, _creates))
        end = index_module.Index._end
        put(index_module.Index, "_end", self.wrap("commit", end, lambda i, bad: i._depth == 1 and not bad))
        put(index_module, "_connect", self._noted(index_module._connect, self.connections))
        acquire = lock.Lock.acquire

        def tracked(this: lock.Lock, wait_seconds: float = 0) -> None:
            acquire(this, wait_seconds)
            self.locks.append(this)

        put(lock.Lock, "acquire", tracked)
        try:
            yield self
        finally:
            for owner, name, value in reversed(places):
                setattr(owner, name, value)

    def _noted(self, function: Callable[..., Any], into: list[Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            into.append(value := function(*args, **kwargs))
            return value

        return noting


def _creates(path: Any, flags: int, *rest: Any, **more: Any) -> bool:
    name = os.path.basename(path) if isinstance(path, bytes) else b""
    return bool(flags & os.O_CREAT) and name not in HARMLESS
