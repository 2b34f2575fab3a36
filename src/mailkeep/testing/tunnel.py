"""Stands where ssh stands: carries bytes both ways, counts them, and is killed after so many.

    python -m mailkeep.testing.tunnel COUNTS LIMIT COMMAND...

COUNTS holds three numbers of 8 bytes: the process started, bytes carried there, bytes carried back; written as
they grow, so that a kill leaves them. After LIMIT bytes of both directions (0: never) this process gets SIGKILL,
as a tunnel does that loses its machine; COMMAND then sees its input end, and is left alone.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys

BLOCK_BYTES = 1 << 16
COUNTS = struct.Struct("<QQQ")


def read_counts(path: str) -> tuple[int, int, int]:
    """(process, bytes there, bytes back) of a tunnel; zeros where it never began."""
    try:
        with open(path, "rb") as file:
            process, there, back = COUNTS.unpack(file.read(COUNTS.size))
            return process, there, back
    except (FileNotFoundError, struct.error):
        return 0, 0, 0


def main() -> int:
    """Carry until COMMAND has ended; its exit status."""
    path, limit = sys.argv[1], int(sys.argv[2])
    counts = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    child = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None
    assert child.stdout is not None
    to_peer, from_peer = child.stdin.fileno(), child.stdout.fileno()
    carried = {0: 0, from_peer: 0}
    open_ends = {0, from_peer}
    while from_peer in open_ends:
        os.pwrite(counts, COUNTS.pack(child.pid, carried[0], carried[from_peer]), 0)
        for fd in select.select(sorted(open_ends), [], [])[0]:
            block = BLOCK_BYTES if not limit else max(1, min(BLOCK_BYTES, limit - sum(carried.values())))
            data = os.read(fd, block)
            carried[fd] += len(data)
            if not data:
                open_ends.discard(fd)
                if fd == 0:
                    os.close(to_peer)
                continue
            try:
                _write(to_peer if fd == 0 else 1, data)
            except BrokenPipeError:
                open_ends.discard(fd)
                if fd == from_peer:
                    child.stdout.close()
            if limit and sum(carried.values()) >= limit:
                os.pwrite(counts, COUNTS.pack(child.pid, carried[0], carried[from_peer]), 0)
                os.kill(os.getpid(), signal.SIGKILL)
    os.pwrite(counts, COUNTS.pack(child.pid, carried[0], carried[from_peer]), 0)
    return max(0, child.wait())


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as err:  # it suffers with the end that started it: too few descriptors are no finding
        sys.exit(f"the tunnel: {err.strerror}")
