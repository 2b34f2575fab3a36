"""The lock of a store: flock(2) on a file that is never unlinked.

The kernel frees it with the process that holds it, however that ends: there is no stale lock and nothing
to remove by hand. It is taken before any side effect and held for a whole session.
"""

from __future__ import annotations

import fcntl
import os
import time

from mailkeep.domain.errors import StoreBusy

POLL_SECONDS = 0.05


class Lock:
    """An exclusive lock, held from `acquire` until `release` or the end of the process."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.fd = -1

    def acquire(self, wait_seconds: float = 0) -> None:
        """Take the lock, waiting at most this long.

        Raises:
            StoreBusy: Another process has it. Nothing was done.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        end = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
                    st = os.fstat(fd)
                    os.close(fd)
                    raise StoreBusy(
                        "another mailkeep run has this store" + (f" ({holder})" if holder else ""),
                        untouched="anything: the lock comes before the first step",
                        hint="wait for it to end, or use --wait 5m; the lock ends with its process, there is nothing to remove",
                        holder=_name(st, holder.rpartition(" ")[2]),
                    ) from None
                time.sleep(POLL_SECONDS)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"process %d" % os.getpid(), 0)
        self.fd = fd

    @property
    def name(self) -> str:
        """Tells this lock, held by this process, from every other; without spaces."""
        return _name(os.fstat(self.fd), str(os.getpid()))

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self.fd >= 0

    def release(self) -> None:
        """Let others have the lock; its file stays. Without the lock, nothing happens."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _name(st: os.stat_result, holder: str) -> str:
    return f"{st.st_dev}.{st.st_ino}.{holder}"
