"""A peer that says nothing, a byte now and then, or does not listen, over real pipes: the session ends."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from msgpack import packb

from crash.kit import Side
from hostile.liar import Attack
from hostile.test_lies import states
from mailkeep.domain.errors import MailkeepError, PeerUnavailable
from mailkeep.replicate import channel
from mailkeep.replicate.channel import drive

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

SECONDS = 0.2
SIDES = pytest.mark.parametrize("initiates", [False, True], ids=["client", "server"])


class Pipes:
    """The victim's two descriptors, and the liar's ends of them."""

    def __init__(self) -> None:
        self.source, self.says = os.pipe()
        self.hears, self.target = os.pipe()
        for fd in (self.source, self.target):
            os.set_blocking(fd, False)

    def close(self, *fds: int) -> None:
        for fd in fds or (self.source, self.says, self.hears, self.target):
            try:
                os.close(fd)
            except OSError:
                pass


@SIDES
def test_a_peer_that_falls_silent_in_any_state_is_left(tmp_path: Path, initiates: bool) -> None:
    for number, (state, reach) in enumerate(states(initiates).items()):
        side = Side(tmp_path, f"s{number}")
        side.deliver(b"", b"hello", "S")
        side.create()
        pipes = Pipes()
        attack = Attack(side, initiates=initiates)
        with attack as liar:
            reach(liar)
            drive(liar.victim, pipes.source, pipes.target, timeout_seconds=SECONDS, until=lambda: False)
        pipes.close()
        assert isinstance(attack.error, PeerUnavailable), state
        assert "said nothing for" in str(attack.error)
        side.at_rest()


@SIDES
def test_a_byte_now_and_then_does_not_keep_a_session_alive(
    tmp_path: Path, monkeypatch: MonkeyPatch, initiates: bool
) -> None:
    monkeypatch.setattr(channel, "PATIENCE", 2)
    side = Side(tmp_path, "a")
    side.deliver(b"", b"hello", "S")
    side.create()
    pipes, end = Pipes(), threading.Event()

    def drip() -> None:
        while not end.wait(SECONDS / 10):
            try:
                os.write(pipes.says, b"\0")  # of a frame that never becomes whole
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        liar.victim.receive(b"\0\x0f\xff\xff\x01")
        dripping.start()
        drive(liar.victim, pipes.source, pipes.target, timeout_seconds=SECONDS, until=lambda: False)
    end.set()
    dripping.join()
    pipes.close()
    assert isinstance(attack.error, PeerUnavailable)
    assert "would never end" in str(attack.error)


@SIDES
@pytest.mark.parametrize("closed", ["its mouth", "its ears"])
def test_a_pipe_that_is_half_closed_ends_the_session(tmp_path: Path, initiates: bool, closed: str) -> None:
    for number, (state, reach) in enumerate(states(initiates).items()):
        side = Side(tmp_path, f"s{number}")
        side.deliver(b"", b"hello", "S")
        side.create()
        pipes = Pipes()
        attack = Attack(side, initiates=initiates)
        with attack as liar:
            reach(liar)
            pipes.close(pipes.says if closed == "its mouth" else pipes.hears)
            liar.victim.say(2, [69, "x", "", ""])  # there is something to be written
            drive(liar.victim, pipes.source, pipes.target, timeout_seconds=SECONDS, until=lambda: False)
        pipes.close()
        if (state, initiates) != ("at first", False):  # it only asked whether somebody is there
            assert isinstance(attack.error, MailkeepError), state
        side.at_rest()


def test_a_peer_that_does_not_listen_holds_nobody_for_ever(tmp_path: Path) -> None:
    side = Side(tmp_path, "a")
    for _ in range(3):
        side.deliver(b"", os.urandom(150_000).hex().encode(), "S")
    side.create()
    pipes = Pipes()
    attack = Attack(side)
    with attack as liar:
        liar.begin()
        contents = [row[0] for _, rows in liar.of(4) for row in rows]
        liar.wire.send(9, packb(contents))
        data = bytes(liar.wire.output(flush=True))
        liar.victim.receive(data)
        drive(liar.victim, pipes.source, pipes.target, timeout_seconds=SECONDS, until=lambda: False)
    pipes.close()
    assert isinstance(attack.error, PeerUnavailable)
    assert liar.victim.wire.queued < 4 << 20
