"""An end that is stopped in mid-session, as by a closed lid, and goes on later, or too late."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from crash.story import Story, changes
from mailkeep.testing.faults import FAR, NEAR, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.crash]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    here = Story(tmp_path_factory.mktemp("suspended") / "story", changes)
    yield here
    here.close()


def stopped_in(group: int) -> bool:
    """Whether a process of this group is stopped."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] == b"T":
                return True
    return False


def woken(story: Story, fault: Fault, after_seconds: float) -> tuple[int | None, bool]:
    """Run with an end that stops itself, and let it go on later; the status, and whether it had stopped."""
    seen = []

    def wake() -> None:
        for _ in range(2000):
            if story.trial.groups and stopped_in(story.trial.groups[-1]):
                seen.append(True)
                time.sleep(after_seconds)
                break
            time.sleep(0.01)
        for group in story.trial.groups:
            os.killpg(group, signal.SIGCONT)

    thread = threading.Thread(target=wake)
    thread.start()
    result = story.run(0, fault)
    thread.join()
    return result.status, bool(seen)


@pytest.mark.parametrize("end", [NEAR, FAR])
def test_an_end_that_sleeps_and_wakes_goes_on(story: Story, end: str) -> None:
    fault = Fault("suspended", end)
    fault.plan = "stop@20"
    assert woken(story, fault, 1.0) == (0, True)
    assert story.trial.findings == []
    assert story.trial.settle(), story.trial.findings


def test_an_end_that_sleeps_too_long_is_given_up_and_wakes_to_nobody(story: Story) -> None:
    """It finds the connection closed, ends, and gives its lock back; the next run has the whole session."""
    fault = Fault("suspended", FAR)
    fault.plan = "stop@20"
    config = story.kept / "one/.config/mailkeep/config.toml"
    text = config.read_text()
    try:
        config.write_text(text.replace('"60s"', '"1s"'))
        status, stopped = woken(story, fault, 3.0)
    finally:
        config.write_text(text)
    assert (status, stopped) == (69, True)
    assert story.trial.findings == []
    assert story.trial.settle(), story.trial.findings
