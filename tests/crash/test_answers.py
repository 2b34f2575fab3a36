"""`approve` and `reject`, cut off or failing at each of their steps: the answer is given once, whole, and everywhere."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import MailkeepError
from mailkeep.rules.guard import Limits
from mailkeep.store import holds

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.crash

TEXTS = [f"message {number}" for number in range(6)]
KEPT = "message 5"


def held(base: Path) -> tuple[Side, Side]:
    """Five of six messages were deleted on one side; that is held on both."""
    base.mkdir()
    a, b = Side(base, "a"), Side(base, "b")
    for text in TEXTS:
        a.deliver(b"", text.encode(), "S")
    a.create()
    b.create()
    settle(a, b)
    a.limits = b.limits = Limits(count=2, exempt=())
    for path in a.files():
        with open(a.path(path), "rb") as file:
            text = file.read().decode()
        if text != KEPT:
            os.unlink(a.path(path))
    sync(a, b)
    assert a.texts() == [KEPT]
    assert b.texts() == TEXTS
    return a, b


def answer(side: Side, how: Any) -> None:
    """As the command does it."""
    store = side.open()
    try:
        with store.index.transaction():
            for hold in holds.holds(store.ledger):
                how(store.ledger, hold.no)
        store.bump()
        store.apply()
        store.end_run("answer", None, 0, {})
    finally:
        store.close()


@pytest.mark.parametrize("fault", ["crash", "crash after", "ENOSPC", "EIO"])
@pytest.mark.parametrize("how", [holds.approve, holds.reject])
def test_an_answer_that_is_cut_off(tmp_path: Path, how: Any, fault: str, every: bool) -> None:
    a, _ = held(tmp_path / "count")
    steps = Steps()
    with steps.installed():
        answer(a, how)
    total = len(steps.names)
    assert total > 3
    for step in range(total) if every else [total // 2]:
        a, b = held(tmp_path / str(step))
        what: BaseException = Crash()
        if not fault.startswith("crash"):
            what = OSError(getattr(errno, fault), fault)
        steps = Steps(step, what, after=fault == "crash after")
        where = f"{fault} at step {step}"
        try:
            with steps.installed():
                answer(a, how)
        except (Crash, MailkeepError):
            pass
        finally:
            steps.stop()
        where += f" ({steps.hit})"
        assert a.kept() >= set(TEXTS), where
        answer(a, how)  # a person would give it again, and it is given already or not at all
        settle(a, b)
        settle(b, a)
        wanted = [KEPT] if how is holds.approve else TEXTS
        assert a.texts() == wanted, where
        assert b.texts() == wanted, where
        a.at_rest()
        b.at_rest()
