"""Every frame of an honest session, with one thing in it made wrong: an error of the protocol, or no harm.

Whatever a peer says at whatever moment, the session ends in an error that tells so or goes on; there is no
other exception, nothing outside root and state is made, and the store is whole afterwards.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import packb

from crash.kit import Side
from hostile.liar import ME, Attack, Liar, box_id
from mailkeep.domain.errors import InternalError
from mailkeep.replicate.compare import MARKS_BYTES
from mailkeep.wire import frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 255, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 34, 1 << 52, 1 << 53, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 1, -(1 << 63), 1.5, float("inf"), float("nan"), b"", b"x", b"\0" * 8, b"\0" * 16, b"y" * 32, b"z" * 5000, "",
    ".", "..", "/", "../../etc/passwd", "/etc/passwd", "a//b", "a/../b", "\0", "a\0b", "x" * 300, "x/" * 400, "\u202e", "e\u0301",
    "INBOX", "cur", "read", "full", "append", [], [[]], [None], [0] * 1000, {}, {"a": 1}, {1: 2}, [[[[[]]]]], [b"x" * 16] * 3,
]  # fmt: skip

EVIL_TAILS = [b"", b"\0", b"more", b"\xff" * 40]

MAIL = b"From: a@b.example\n\nnew mail\n"
LARGE = b"x" * 600_000


def conversation(liar: Liar, initiates: bool) -> Iterator[tuple[int, Any]]:
    """What an honest peer says; the second half of a pair of frames follows from what was heard."""
    news: list[tuple[int, Any]] = [
        (frames.BOX, liar.box("INBOX", 4)),
        (frames.BOX, liar.box("Work/Deep", 3)),
        (frames.RECORDS, [box_id("INBOX"), [liar.record(MAIL, 3), liar.record(LARGE, 4), liar.record(b"gone", 2, live=0)]]),
    ]  # fmt: skip
    contents: list[tuple[int, Any]] = [
        (frames.WANT, [liar.record(b"hello")[0]]),
        (frames.CONTENT, liar.content(MAIL)),
        (frames.BIG, [liar.record(LARGE)[0], 1_700_000_000, len(LARGE)]),
        *((frames.PIECE, LARGE[at : at + frames.PIECE_BYTES]) for at in range(0, len(LARGE), frames.PIECE_BYTES)),
    ]  # fmt: skip
    if initiates:
        yield frames.DIGESTS, [[box_id("INBOX"), b"x" * 32, 9], [box_id("Other"), b"y" * 32, 9]]
        yield from news
        yield frames.END_NEWS, None
        if liar.of(frames.COMPARE):
            yield frames.BOX, liar.box("INBOX", 9)
            yield frames.BUCKETS, [box_id("INBOX"), [[b"\0", b"m" * MARKS_BYTES], [b"\1", None]]]
            yield frames.BUCKETS, [box_id("Other"), [[b"", None]]]
            yield frames.BOX, [box_id("Other"), None, 1, 1]
            yield frames.RECORDS, [box_id("INBOX"), [liar.record(b"hello", 1)]]
            yield frames.END_WHOLE, None
            if liar.of(frames.FETCH):
                yield frames.END_WHOLE, None
        yield from contents
        yield frames.DONE, {"vector": [1, 1], "root": b"r" * 32}
        yield frames.REPORT, {"counts": {"added": 1}, "status": 0, "problems": [["a", "b"]], "waiting": 2}
    else:
        yield frames.CLAIM, liar.claim()
        yield from news
        yield frames.COMPARE, [[box_id("INBOX"), b"m" * MARKS_BYTES], [box_id("nowhere"), None]]
        yield frames.END_NEWS, None
        yield frames.END_WHOLE, None
        yield from contents
        yield frames.CLAIM, liar.claim(acks=[[1, [1]]])
        yield frames.BOX, liar.box("Late", 2)
        yield frames.DIGESTS, [[box_id("INBOX"), b"", 9]]
        yield frames.RECORDS, [box_id("INBOX"), [liar.record(b"hello", 1)]]
        yield frames.COMMIT, b"r" * 32


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a message, itself first."""
    out = [at]
    if isinstance(value, dict):
        for key, below in value.items():
            out += places(below, (*at, key))
    elif isinstance(value, list):
        for no, below in enumerate(value[:4]):
            out += places(below, (*at, no))
    return out


def changed(value: Any, at: tuple[Any, ...], evil: Any) -> Any:
    if not at:
        return evil
    out = copy.copy(value)
    out[at[0]] = changed(value[at[0]], at[1:], evil)
    return out


def send(liar: Liar, kind: int, message: object) -> None:
    if kind in (frames.CONTENT, frames.PIECE) and isinstance(message, bytes):
        liar.say(kind, message)
    else:
        liar.wire.send(kind, packb(message))
        liar._carry()


def store(base: Path) -> Side:
    side = Side(base, "a")
    side.deliver(b"", b"hello", "S")
    side.deliver(b"", b"gone", "S")
    return side.create()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def outside(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()}


def run(base: Path, name: str, initiates: bool, data: st.DataObject) -> None:
    side = Side(base, name)
    side.deliver(b"", b"hello", "S")
    side.deliver(b"", b"gone", "S")
    side.create()
    before, there = side.kept(), outside(base)
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        where = data.draw(st.integers(0, 16), "step")
        for step, (kind, message) in enumerate(script(liar, initiates)):
            if step == where:
                match data.draw(st.integers(0, 3), "how"):
                    case 0:  # another frame in its place
                        send(liar, data.draw(st.sampled_from([*frames.NAMES, 0, 77])), message)
                        continue
                    case 1:  # twice
                        send(liar, kind, message)
                    case _ if not isinstance(message, bytes):
                        path = data.draw(st.sampled_from(places(message)), "place")
                        message = changed(message, path, data.draw(st.sampled_from(EVIL), "evil"))
                    case _:
                        message = message[: data.draw(st.integers(0, len(message)))] + data.draw(
                            st.sampled_from(EVIL_TAILS)
                        )
            send(liar, kind, message)
            if attack.victim.finished:
                break
        liar.victim.closed()
    assert not isinstance(attack.error, InternalError)
    assert outside(base) == there
    assert before <= side.kept()
    opened = side.open()  # replays what was cut off
    opened.scan()
    opened.close()
    side.at_rest()


def script(liar: Liar, initiates: bool) -> Iterator[tuple[int, Any]]:
    index = liar.victim.index
    ours, seen = index.ids[index.me], index.vector[index.me]
    yield frames.HELLO, liar.hello(suspect=1, ids=[ME, ours], vector=[1, seen], lamport=seen)
    if initiates and not liar.victim.finished:
        liar.wire.compress()
    yield from conversation(liar, initiates)


COUNT = [0]


@pytest.mark.slow
@pytest.mark.parametrize("initiates", [True, False], ids=["server lies", "client lies"])
@settings(max_examples=40 if settings().max_examples < 1000 else 5000)
@given(data=st.data())
def test_one_wrong_thing_in_a_session_is_an_error_or_harmless(
    base: Path, initiates: bool, data: st.DataObject
) -> None:
    COUNT[0] += 1
    run(base, f"s{COUNT[0]}", initiates, data)


@pytest.mark.parametrize("initiates", [True, False], ids=["server", "client"])
def test_the_conversation_itself_is_an_honest_one(tmp_path: Path, initiates: bool) -> None:
    side = store(tmp_path)
    with Attack(side, initiates=initiates) as liar:
        for kind, message in script(liar, initiates):
            send(liar, kind, message)
        assert liar.victim.finished
        assert liar.victim.received.count == 2
    assert MAIL.decode() in side.texts()
    assert LARGE.decode() in side.texts()
