"""Work that several processes do: the same result, whatever becomes of a worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from crash.kit import Side, settle
from mailkeep.store import apply
from mailkeep.system import parallel

if TYPE_CHECKING:
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
