"""Stands between mailkeep and ssh: counts the bytes of both directions, and kills ssh where it is told to.

    relay.py COUNTS LIMIT_IN LIMIT_OUT COMMAND...

COUNTS gets "sent received" when it ends; a limit is a number of bytes after which COMMAND is killed (SIGKILL,
as when a laptop's lid is closed on it), 0 for none: LIMIT_IN of what comes from the peer, LIMIT_OUT of what goes there.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys

BLOCK_BYTES = 1 << 16


def main() -> int:
    counts, limit_in, limit_out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    child = subprocess.Popen(sys.argv[4:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None
    assert child.stdout is not None
    to_peer, from_peer = child.stdin.fileno(), child.stdout.fileno()
    passed = {0: 0, from_peer: 0}
    open_ends = {0, from_peer}
    while from_peer in open_ends:
        for fd in select.select(sorted(open_ends), [], [])[0]:
            data = os.read(fd, BLOCK_BYTES)
            passed[fd] += len(data)
            if not data:
                open_ends.discard(fd)
                if fd == 0:
                    os.close(to_peer)
                continue
            if (limit_in and passed[from_peer] >= limit_in) or (limit_out and passed[0] >= limit_out):
                child.kill()
                open_ends.clear()
                break
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(to_peer if fd == 0 else 1, view) :]
                except BrokenPipeError:
                    open_ends.discard(fd)
                    break
    with open(counts, "w", encoding="ascii") as file:
        file.write(f"{passed[0]} {passed[from_peer]}\n")
    child.stdout.close()
    return child.wait()


if __name__ == "__main__":
    sys.exit(max(0, main()))
