"""Work that several processes do: the same result, whatever becomes of a worker."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.store import apply
from mailkeep.system import parallel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

MESSAGES = 40


def pair(base: Path) -> tuple[Side, Side]:
    a, b = Side(base, "a"), Side(base, "b")
    for number in range(MESSAGES):
        a.deliver(b"", b"message %d" % number, "S" if number % 2 else "FS")
    return a.create(), b.create()


def test_workers_put_every_message_in_place(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "WORKERS_FROM", 2)
    a, b = pair(tmp_path)
    settle(a, b)
    assert b.texts() == a.texts()
    assert len(b.texts()) == MESSAGES


def test_a_worker_that_dies_after_its_links_doubles_nothing(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "WORKERS_FROM", 2)

    class Dying(parallel.Share):
        def results(self) -> list[Any]:
            out = super().results()
            return [row if n % 3 else None for n, row in enumerate(out)]

    monkeypatch.setattr(apply, "Share", Dying)
    a, b = pair(tmp_path)
    settle(a, b)
    assert b.texts() == a.texts()
    assert len(b.files()) == MESSAGES


def test_a_worker_that_is_killed_costs_its_share_only(tmp_path: Path) -> None:
    def work(job: int) -> int:
        if job == 3:
            os.kill(os.getpid(), 9)
        return job * 2

    results = parallel.Share(work, list(range(6)), 2).results()
    assert results == [0, None, 4, None, 8, None]


# --- at each step of a reader, and of a worker


def die() -> None:
    os.kill(os.getpid(), 9)


def steps_in_workers(base: Path, act: Any) -> int:
    """How many steps the busiest worker takes when nothing goes wrong."""
    with open(base / "steps", "w+b") as log:
        steps = Steps(log=log.fileno())
        with steps.installed():
            act()
        log.seek(0)
        return log.read().count(b"worker ") // parallel.workers()


def reading(base: Path) -> Side:
    side = Side(base, "a")
    for number in range(12):
        side.deliver(b"", b"message %d" % number, "S")
    side.deliver(b"", b"message 3", "F")
    return side


def whole(side: Side, base: Path) -> None:
    """The store goes on, alone and with another, and has every message once."""
    texts = sorted([f"message {number}" for number in range(12)] + ["message 3"])
    assert side.texts() == texts
    other = Side(base, "z").create()
    settle(side, other)
    assert side.texts() == other.texts() == texts
    side.at_rest()
    other.at_rest()


def some(total: int, every: bool) -> list[int]:
    return list(range(total)) if every else [total // 2]


@contextmanager
def machine_stops_with_workers(monkeypatch: MonkeyPatch, steps: Steps) -> Iterator[None]:
    """Once the workers have ended, the process that waits for them ends too."""
    results = parallel.Share.results

    def stops(self: parallel.Share) -> list[Any]:
        results(self)
        raise Crash

    with monkeypatch.context() as patch, steps.installed():
        patch.setattr(parallel.Share, "results", stops)
        with pytest.raises(Crash):
            yield
    steps.stop()


@pytest.mark.crash
@pytest.mark.parametrize("machine", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_reader_that_is_killed_at_any_step(
    tmp_path: Path, machine: bool, after: bool, every: bool, monkeypatch: MonkeyPatch
) -> None:
    """Alone, or with the whole machine: the first index is whole all the same, at once or in the next run."""
    total = steps_in_workers(tmp_path, reading(tmp_path).create)
    assert total > 8
    for step in some(total, every):
        base = tmp_path / f"{step}"
        base.mkdir()
        side = reading(base)
        steps = Steps(step, die, after=after, worker=True)
        if not machine:
            with steps.installed():
                side.create()
        else:
            with machine_stops_with_workers(monkeypatch, steps):
                side.create()
        side.scan()
        whole(side, base)


@pytest.mark.crash
@pytest.mark.parametrize("machine", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_is_killed_at_any_step(
    tmp_path: Path, machine: bool, after: bool, every: bool, monkeypatch: MonkeyPatch
) -> None:
    """Alone, or with the whole machine: every message gets its file once."""
    monkeypatch.setattr(apply, "WORKERS_FROM", 2)

    def pair_at(base: Path) -> tuple[Side, Side]:
        base.mkdir()
        return reading(base).create(), Side(base, "b").create()

    pair = pair_at(tmp_path / "count")
    total = steps_in_workers(tmp_path, lambda: sync(*pair))
    assert total > 3
    for step in some(total, every):
        base = tmp_path / f"{step}"
        a, b = pair_at(base)
        steps = Steps(step, die, after=after, worker=True)
        if not machine:
            with steps.installed():
                sync(a, b)
        else:
            with machine_stops_with_workers(monkeypatch, steps):
                sync(a, b)
        settle(a, b)
        assert b.texts() == a.texts()
        b.at_rest()
        whole(a, base)


@pytest.mark.crash
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_an_error_in_a_worker_is_met_again_by_the_run_itself(
    tmp_path: Path, code: int, every: bool, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "WORKERS_FROM", 2)
    for step in some(6, every):
        base = tmp_path / f"{step}"
        base.mkdir()
        a, b = reading(base).create(), Side(base, "b").create()
        with Steps(step, OSError(code, os.strerror(code)), worker=True).installed():
            sync(a, b)
        settle(a, b)
        whole(a, base)
