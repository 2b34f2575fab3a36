"""What was said has gone out when nothing more comes, however the saying was cut into portions."""

from __future__ import annotations

import random

import pytest

from mailkeep.wire.frames import CONTENT, FILL_BYTES, FRAME_BYTES_MAX, Wire


def pair() -> tuple[Wire, Wire]:
    a, b = Wire(), Wire()
    for one, other in ((a, b), (b, a)):
        one.greet()
        out = one.output(flush=True)
        other.feed(bytes(out))
        out.clear()
        assert other.peek_greeting()
    a.compress()
    b.compress()
    return a, b


@pytest.mark.parametrize("keeps_up", [False, True])
@pytest.mark.parametrize("size", [FILL_BYTES, FILL_BYTES + 1000, min(FRAME_BYTES_MAX, 1 << 18)])
def test_a_last_portion_that_was_not_flushed_goes_out_with_the_next_flush(size: int, keeps_up: bool) -> None:
    """Its end stayed in the compressor when nothing was said after it: both ends waited until the time-out."""
    a, b = pair()
    payload = random.Random(1).randbytes(size)
    a.keeps_up = keeps_up
    a.send(CONTENT, payload)
    got = bytes(a.output(flush=False))  # there may be more, it is thought
    a.output(flush=False).clear()
    got += bytes(a.output(flush=True))  # there was none
    b.feed(got)
    assert b.next_frame() == (CONTENT, payload)
    a.output(flush=True).clear()
    assert not a.output(flush=True), "and nothing is flushed twice"
