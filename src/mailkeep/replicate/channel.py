"""Driving an endpoint over file descriptors: both sides read while they write, so neither can block the other."""

from __future__ import annotations

import os
import select
import time

from mailkeep.domain.errors import PeerUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.replicate.endpoint import Endpoint
    from mailkeep.replicate.prove import Asker

READ_BYTES = 1 << 18
SLOWEST_BYTES_A_SECOND = 1024
"""A peer that we wait for is to move as much as this on the average, once our patience is used up:"""
PATIENCE = 12
"""so many times the time-out, for all waiting of one session together. Else a byte now and then would hold the lock."""
KEEPS_UP_BYTES = 1 << 20


def drive(
    endpoint: Endpoint | Asker, source: int, target: int, *, timeout_seconds: float, until: Callable[[], bool]
) -> None:
    """Move bytes until `until()` holds and everything is written.

    Args:
        source: Non-blocking descriptor to read from.
        target: Non-blocking descriptor to write to.
        timeout_seconds: How long the peer may be silent while we wait for it; see PATIENCE for one that is hardly not.

    Raises:
        PeerUnavailable: It was silent for longer, or went away.
        MailkeepError: What the endpoint raises.
    """
    poll = select.poll()
    wire = endpoint.wire
    writing = False
    poll.register(source, select.POLLIN)
    stalled = fluent = 0
    patience, before = PATIENCE * timeout_seconds, wire.sent_bytes + wire.received_bytes
    while True:
        endpoint.produce()
        out = wire.output(flush=not endpoint.has_more)
        if out:
            try:
                with memoryview(out) as view, view[:READ_BYTES] as part:
                    written = os.write(target, part)
                del out[:written]
                fluent += written
            except BlockingIOError:
                stalled += 1
                written = -1
            except BrokenPipeError:
                _drain(endpoint, source)
                endpoint.closed()
                raise PeerUnavailable(
                    "the connection to the peer broke",
                    untouched="what was committed is whole on both sides; contents that arrived stay",
                    hint="run the same command again: it goes on where this one stopped",
                ) from None
            wire.keeps_up = fluent > KEEPS_UP_BYTES and stalled * 4 * READ_BYTES < fluent
            wire.sent_bytes += max(written, 0)
        if not out and not endpoint.has_more and until():
            return
        want = select.POLLOUT if out or endpoint.has_more else 0
        if bool(want) != writing:
            writing = bool(want)
            if writing:
                poll.register(target, select.POLLOUT)
            else:
                poll.unregister(target)
        moved = wire.sent_bytes + wire.received_bytes
        since = time.monotonic()
        events = poll.poll(timeout_seconds * 1000)
        patience = min(
            patience - (time.monotonic() - since) + (moved - before) / SLOWEST_BYTES_A_SECOND,
            PATIENCE * timeout_seconds,
        )
        before = moved
        if patience < 0:
            raise PeerUnavailable(
                f"the peer says so little that this session would never end (under {SLOWEST_BYTES_A_SECOND:,} bytes a second)",
                untouched="what was committed is whole on both sides; contents that arrived stay",
                hint="look at the network and at the other machine, then run the same command again",
            )
        if not events:
            raise PeerUnavailable(
                f"the peer said nothing for {timeout_seconds:.0f} seconds",
                untouched="what was committed is whole on both sides; contents that arrived stay",
                hint="look at the network and at the other machine, then run the same command again",
            )
        for fd, event in events:
            if fd == source and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                try:
                    data = os.read(source, READ_BYTES)
                except BlockingIOError:
                    continue
                endpoint.receive(data)
                if not data:
                    return


def _drain(endpoint: Endpoint | Asker, source: int) -> None:
    """Read what the peer said before it went: it may say why."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        ready, _, _ = select.select([source], [], [], 0.2)
        if not ready:
            return
        try:
            data = os.read(source, READ_BYTES)
        except BlockingIOError:
            continue
        if not data:
            return
        endpoint.receive(data)


def connect(a: Endpoint, b: Endpoint, *, steps_max: int = 10_000_000) -> None:
    """Drive two endpoints of one process against each other, for tests and for two local stores."""
    for _ in range(steps_max):
        moved = False
        for source, target in ((a, b), (b, a)):
            source.produce()
            out = source.wire.output(flush=not source.has_more)
            if out:
                data = bytes(out)
                del out[:]
                source.wire.sent_bytes += len(data)
                target.receive(data)
                moved = True
        if a.finished and b.finished and not moved:
            return
        if not moved and not a.has_more and not b.has_more:
            raise AssertionError("both ends wait for each other")
