"""A stand-in for ssh that counts: bytes each way, and turns.

    python -I -S tunnel.py REPORT -- CMD...

Runs CMD with its stdin and stdout passed on, and writes JSON to REPORT when it
has ended: `up` (bytes towards CMD), `down`, `turns`, the `exit` status, and the
processor seconds and peak memory of CMD.

A turn is counted when the client speaks for the first time, or after CMD has
spoken. Traffic that flows both ways at once is counted as many turns, so the
count is an upper bound of the round trips. For the number that a distant link
would show, set TUNNEL_DELAY_MS: each byte is then held for that long, each way.

Start-up counts in every figure, so this file imports only built-in modules
before CMD runs.
"""

from __future__ import annotations

import _thread
import os
import select
import sys
import time

CHUNK_BYTES = 1 << 18
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Note = Callable[[int], None]


class Counter:
    """Bytes and turns seen so far. Each field has one writing thread; turns are approximate by nature."""

    __slots__ = ("answered", "down", "turns", "up")

    def __init__(self) -> None:
        self.up = self.down = self.turns = 0
        self.answered = True

    def client_spoke(self, size: int) -> None:
        """Note bytes from the client."""
        self.up += size
        if self.answered:
            self.answered = False
            self.turns += 1

    def server_spoke(self, size: int) -> None:
        """Note bytes that are about to reach the client."""
        self.down += size
        self.answered = self.answered or size > 0


def _read(source: int) -> bytes:
    """Return what is there, or nothing at the end."""
    while True:
        try:
            return os.read(source, CHUNK_BYTES)
        except BlockingIOError:  # the client made this end non-blocking
            select.select([source], [], [])
        except ConnectionResetError:
            return b""


def _write_all(target: int, data: bytes) -> bool:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])
        except (BrokenPipeError, ConnectionResetError):
            return False
    return True


def _pass_on(source: int, target: int, on_read: Note, on_write: Note) -> None:
    """Pass bytes on until the source ends or the target is gone.

    Not with splice: it holds the lock of the pipe while it waits for the other
    side, and a client that polls is stopped in the middle of a write.
    """
    while data := _read(source):
        on_read(len(data))
        # Noted before it is written: the client's answer can be here before we are back.
        on_write(len(data))
        if not _write_all(target, data):
            return


def _pass_on_late(source: int, target: int, on_read: Note, on_write: Note, seconds: float) -> None:
    """Pass bytes on, each `seconds` after it came; the link itself holds any amount."""
    from _queue import SimpleQueue

    line: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def read() -> None:
        while data := _read(source):
            on_read(len(data))
            line.put((time.monotonic() + seconds, data))
        line.put((time.monotonic() + seconds, b""))

    _thread.start_new_thread(read, ())
    while True:
        due, data = line.get()
        time.sleep(max(0.0, due - time.monotonic()))
        on_write(len(data))
        if not data or not _write_all(target, data):
            return


def _ignore(size: int) -> None:
    """Count nothing."""


def relay(command: list[str], delay_seconds: float) -> tuple[Counter, int, float, int]:
    """Run the command to its end.

    Returns:
        The counts, the exit status, processor seconds and peak memory (bytes) of the command.
    """
    to_child, from_client = os.pipe()
    to_client, from_child = os.pipe()
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, to_child, 0), (os.POSIX_SPAWN_DUP2, from_child, 1)],
    )
    os.close(to_child)
    os.close(from_child)
    counter = Counter()

    def pump(source: int, target: int, on_read: Note, on_write: Note) -> None:
        if delay_seconds:
            _pass_on_late(source, target, on_read, on_write, delay_seconds)
        else:
            _pass_on(source, target, on_read, on_write)

    def upwards() -> None:
        pump(0, from_client, counter.client_spoke, _ignore)
        os.close(from_client)

    _thread.start_new_thread(upwards, ())
    pump(to_client, 1, _ignore, counter.server_spoke)
    os.close(to_client)
    # The client learns of the end at once, not when the report is written.
    os.close(1)
    _, status, usage = os.wait4(pid, 0)
    return counter, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main() -> None:
    """Relay, write the report, and exit as the command did."""
    report, dashes, *command = sys.argv[1:]
    if dashes != "--" or not command:
        sys.exit("usage: tunnel.py REPORT -- CMD...")
    delay_seconds = float(os.environ.get("TUNNEL_DELAY_MS", "0")) / 1000
    counter, status, cpu_seconds, peak = relay(command, delay_seconds)
    with open(report, "w") as file:
        # Written by hand: importing json takes as long as the whole of a quick session.
        file.write(
            f'{{"up": {counter.up}, "down": {counter.down}, "turns": {counter.turns}, "exit": {status}, '
            f'"server_cpu_seconds": {cpu_seconds:.6f}, "server_peak_bytes": {peak}, '
            f'"own_cpu_seconds": {time.process_time():.6f}}}\n'
        )
    # A thread may still wait for the client to close its end.
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
