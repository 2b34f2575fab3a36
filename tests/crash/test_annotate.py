"""Laying down annotations, cut off at every step: all of one command has effect, or nothing of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crash.kit import Crash, Side, Steps, settle
from mailkeep.domain.errors import MailkeepError
from mailkeep.store.annotations import annotate

pytestmark = pytest.mark.crash

BEFORE = {"expire": "30d", "retention": "90d"}
AFTER = {"expire": "never", "retention": "400d", "noexpire.case-7": "forever"}


def lay_down(side: Side, texts: dict[str, str]) -> None:
    """As `mailkeep annotate` does: one transaction for all that was typed."""
    store = side.open()
    try:
        with store.index.transaction():
            for key, text in texts.items():
                annotate(store.ledger, store.ledger.whole_row(), key, text)
        store.bump()
        store.end_run("annotate", None, 0, {"annotated": len(texts)})
    finally:
        store.close()


def laid_down(side: Side) -> dict[str, str]:
    store = side.open()
    try:
        return dict(store.ledger.whole_row().annotations)
    finally:
        store.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["crash", "full"])
def test_a_command_that_is_cut_off_lays_down_everything_or_nothing(
    tmp_path: Path, after: bool, fault: str
) -> None:
    whole = Side(tmp_path, "whole").create()
    lay_down(whole, BEFORE)
    steps = Steps()
    with steps.installed():
        lay_down(whole, AFTER)
    seen = []
    for at in range(len(steps.names)):
        side, peer = Side(tmp_path, f"{at}").create(), Side(tmp_path, f"{at} peer").create()
        lay_down(side, BEFORE)
        settle(side, peer)
        struck = Steps(
            at, Crash() if fault == "crash" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), after=after
        )
        with struck.installed():
            try:
                lay_down(side, AFTER)
            except (Crash, MailkeepError, OSError):
                pass
        struck.stop()
        found = laid_down(side)
        assert found in (BEFORE, AFTER), f"half of it at step {at}: {struck.hit}"
        seen.append(found == AFTER)
        lay_down(side, AFTER)
        settle(side, peer)
        assert laid_down(side) == laid_down(peer) == AFTER, f"at step {at}: {struck.hit}"
        side.at_rest()
    assert len(seen) > 2
    assert seen == sorted(seen), "once it is there it stays"
    assert seen[0] == after, "the first step is the commit"
    assert seen[-1]
