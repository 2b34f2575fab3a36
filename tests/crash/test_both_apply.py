"""After both have committed, both ends put files in place at once: neither waits for the other's disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side
from mailkeep.replicate.channel import connect, drive
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder

if TYPE_CHECKING:
    from pathlib import Path

    from mailkeep.replicate.endpoint import Endpoint
    from mailkeep.store.apply import Applied
    from mailkeep.store.store import Store

PATIENCE = 60
"""Seconds after which a meeting that does not come about is given up: no test that passes waits so long."""


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    """Two stores that never met, each with mail that the other lacks."""
    here, there = Side(tmp_path, "here"), Side(tmp_path, "there")
    for side in (here, there):
        for number in range(5):
            side.deliver(b"", f"{number} of {side.name}".encode(), "S")
        side.create()
    return here, there


def test_the_initiator_has_done_before_the_responder_applies(sides: tuple[Side, Side]) -> None:
    here, there = (side.open() for side in sides)
    events: list[str] = []
    apply = there.apply

    def applied(*, replay: bool = False) -> Applied:
        events.append("the responder applies")
        return apply(replay=replay)

    try:
        here.scan()
        there.scan()
        there.apply = applied  # type: ignore[method-assign]
        initiator, responder = Initiator(here, "there"), Responder(there)
        initiator.before_apply = lambda: events.append("the initiator has DONE")
        initiator.wire.greet()
        responder.wire.greet()
        initiator.start()
        connect(initiator, responder)
    finally:
        here.close()
        there.close()
    assert events == ["the initiator has DONE", "the responder applies"]


def end(store: Store, endpoint: Endpoint, pipes: tuple[int, int], meet: threading.Barrier) -> None:
    """Drive one end over pipes; it applies only when the other does, too."""
    apply = store.apply

    def together(*, replay: bool = False) -> Applied:
        meet.wait()
        return apply(replay=replay)

    store.apply = together  # type: ignore[method-assign]
    for fd in pipes:
        os.set_blocking(fd, False)
    drive(endpoint, *pipes, timeout_seconds=PATIENCE, until=lambda: endpoint.finished)


def test_both_ends_apply_at_the_same_time_over_real_pipes(sides: tuple[Side, Side]) -> None:
    """Each waits in its apply for the other's to begin: one after the other, they would wait for ever."""
    meet = threading.Barrier(2, timeout=PATIENCE)
    to_there, to_here = os.pipe(), os.pipe()
    broken: list[BaseException] = []

    def respond() -> None:
        store = sides[1].open()
        try:
            store.scan()
            responder = Responder(store)
            responder.wire.greet()
            end(store, responder, (to_there[0], to_here[1]), meet)
        except BaseException as err:  # noqa: BLE001 - told to the test's own thread
            broken.append(err)
            meet.abort()
        finally:
            store.close()

    there = threading.Thread(target=respond)
    there.start()
    store = sides[0].open()
    try:
        store.scan()
        initiator = Initiator(store, "there")
        initiator.wire.greet()
        initiator.start()
        end(store, initiator, (to_here[0], to_there[1]), meet)
    finally:
        there.join()
        store.close()
        for fd in (*to_there, *to_here):
            os.close(fd)
    assert broken == []
    assert sides[0].texts() == sides[1].texts()
    assert len(sides[0].texts()) == 10


def test_an_initiator_that_goes_before_it_is_told_leaves_no_mail_unseen_there(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    """It is cut off between its COMMIT and the responder's DONE: what both committed lies in both Maildirs."""
    here, there = sides
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "home/.config/mailkeep").mkdir(parents=True)
    (tmp_path / "home/.config/mailkeep/config.toml").write_text(
        f'[stores.mail]\npath = "{os.fsdecode(there.root)}"\nstate = "{os.fsdecode(there.state)}"\n'
    )
    serve = subprocess.Popen(
        [sys.executable, "-m", "mailkeep", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    assert serve.stdin is not None
    assert serve.stdout is not None
    store = here.open()
    try:
        store.scan()
        initiator = Initiator(store, "there")
        initiator.wire.greet()
        initiator.start()
        while True:
            initiator.produce()
            out = initiator.wire.output(flush=not initiator.has_more)
            if initiator.outcome is not None:
                break
            if not initiator.has_more:
                serve.stdin.write(bytes(out))
                serve.stdin.flush()
                out.clear()
                initiator.receive(os.read(serve.stdout.fileno(), 1 << 16))
        while initiator.has_more:
            initiator.produce()
        serve.stdout.close()  # first nobody listens any more; then it is told to commit
        serve.stdin.write(bytes(initiator.wire.output(flush=True)))
        serve.stdin.close()
        store.bump()
        store.apply()
        store.end_run("sync", "there", 69, {})
    finally:
        store.close()
    assert serve.wait(PATIENCE) == 69
    assert len(there.texts()) == 10
    assert there.texts() == here.texts()
    there.at_rest()
