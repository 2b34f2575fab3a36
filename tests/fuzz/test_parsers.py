"""Every parser on mutated and on any bytes: nothing but the documented error, and what was read is written again."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.targets import ALLOWED, SEEDS, TARGETS, run


def mutated(name: str) -> st.SearchStrategy[bytes]:
    """A seed with pieces of it or of others put in, taken out or doubled; or any bytes."""
    seeds = SEEDS[name]
    pieces = st.sampled_from(
        [*seeds, b"\0", b"\xff", b"..", b"/", b"-", b" ", b"\n", b"\xc0", b"9" * 400, b"&", b"*" * 50]
    )

    def spliced(base: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, piece in edits:
            at %= len(base) + 1
            base = base[:at] + piece + base[at + length :]
        return base

    edits = st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 20), pieces | st.binary(max_size=4)), max_size=4
    )
    return st.builds(spliced, st.sampled_from(seeds), edits) | st.binary(max_size=200)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused(name: str) -> None:
    @given(mutated(name))
    @example(b"")
    def check(data: bytes) -> None:
        run(name, data)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_reach_behind_the_first_check(name: str) -> None:
    """At least one seed is accepted: mutation begins at something that is one."""
    accepted = 0
    for seed in SEEDS[name]:
        try:
            TARGETS[name](seed)
            accepted += 1
        except ALLOWED:
            pass
    assert accepted


@pytest.mark.parametrize("name", TARGETS)
def test_work_grows_with_length_and_not_with_its_square(name: str) -> None:
    """Fifty kilobytes of the worst that we know takes seconds at most; processor time, since a machine may be busy."""
    for unit in (
        b"*",
        b"%a",
        b"/a",
        b"&-",
        b"\n0 x",
        b"1h",
        b"\x91",
        b"[",
        b"a,",
        b" x",
        b"\0",
        b"[a]\n",
        b'a="b"\n',
    ):
        before = time.process_time()
        run(name, (unit * (50_000 // len(unit)))[:50_000])
        assert time.process_time() - before < 10
