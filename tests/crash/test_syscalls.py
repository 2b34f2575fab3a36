"""Each system call through which the real processes of a small sync change a disk kills its process, or fails.

SQLite's own calls are among them. strace does it; `make crash` takes every call, on both ends; otherwise some of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crash.story import Story, calls, changes
from interop.machines import program
from mailkeep.testing.faults import ERRORS, FAR, NEAR, SYNCS, WRITES, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.interop]

SHARES = 8


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    program("strace")
    here = Story(tmp_path_factory.mktemp("syscalls") / "story", changes)
    yield here
    here.close()


@pytest.fixture(scope="module")
def made(story: Story, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, int]]]:
    """The calls that each end makes when nothing goes wrong."""
    out = {}
    for end in (NEAR, FAR):
        trace = tmp_path_factory.mktemp("trace") / "calls"
        fault = Fault("undisturbed", end)
        fault.strace = ["-o", str(trace), "-e", f"trace={WRITES}"]
        assert story.run(0, fault).status == 0
        assert story.trial.findings == []
        out[end] = calls(trace)
        assert len(out[end]) > 100
    return out


def goes_on(story: Story, where: str) -> None:
    assert story.trial.findings == [], where
    assert story.trial.settle(), (where, story.trial.findings)


def killed_at(story: Story, made: dict[str, list[tuple[str, int]]], end: str, at: int) -> None:
    call, number = made[end][at]
    fault = Fault(f"kill of the {end}", end)
    fault.strace = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
    result = story.run(0, fault)
    where = f"{end} killed at {call} {number}, of all calls the {at}th"
    assert result.status != 0 or at > len(made[end]) * 3 // 4, where
    goes_on(story, where)


def failing_at(
    story: Story, made: dict[str, list[tuple[str, int]]], end: str, at: int, lasting: str, code: str
) -> None:
    call, number = made[end][at]
    fault = Fault(code, end)
    fault.strace = ["-e", f"trace={call}", "-e", f"inject={call}:error={code}:when={number}{lasting}"]
    result = story.run(0, fault)
    goes_on(
        story,
        f"{end}: {code} of {call} {number}{lasting}, the {at}th of all: status {result.status}, {result.err}",
    )


def failing_sync(story: Story, end: str, code: str, number: int) -> int:
    """Whichever sync fails, once: the run does not go on as if it had worked. The run's status."""
    fault = Fault("failed sync", end)
    fault.strace = ["-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error={code}:when={number}"]
    result = story.run(0, fault)
    where = f"{end}: {code} at sync {number}: status {result.status}, {result.err}"
    assert result.status in (0, 69, 74), where
    assert result.status or number > 2, where
    goes_on(story, where)
    return result.status or 0


# --- a few of them


@pytest.mark.parametrize(("end", "share"), [(NEAR, 0.4), (FAR, 0.6)])
def test_a_few_kills(story: Story, made: dict[str, list[tuple[str, int]]], end: str, share: float) -> None:
    killed_at(story, made, end, int(len(made[end]) * share))


@pytest.mark.parametrize(("end", "share", "code"), [(NEAR, 0.5, "ENOSPC"), (FAR, 0.3, "EIO")])
def test_a_few_errors(
    story: Story, made: dict[str, list[tuple[str, int]]], end: str, share: float, code: str
) -> None:
    failing_at(story, made, end, int(len(made[end]) * share), "+", code)


@pytest.mark.parametrize("end", [NEAR, FAR])
def test_a_failed_sync_is_not_taken_for_a_good_one(story: Story, end: str) -> None:
    assert failing_sync(story, end, "EIO", 1)


# --- all of them


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("end", [NEAR, FAR])
def test_killed_at_every_system_call(
    story: Story, made: dict[str, list[tuple[str, int]]], end: str, share: int
) -> None:
    for at in range(share, len(made[end]), SHARES):
        killed_at(story, made, end, at)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("end", [NEAR, FAR])
def test_an_error_of_every_system_call(
    story: Story, made: dict[str, list[tuple[str, int]]], end: str, share: int
) -> None:
    """That one call fails, or all such calls from there on, as on a disk that is full or gone."""
    for at in range(share, len(made[end]), SHARES):
        failing_at(story, made, end, at, "+" if at % 3 else "", ERRORS[(at // SHARES + share) % len(ERRORS)])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("end", [NEAR, FAR])
def test_no_failed_sync_is_taken_for_a_good_one(story: Story, end: str, code: str) -> None:
    for number in range(1, 30):
        if not failing_sync(story, end, code, number) and number > 20:
            break  # there are not so many syncs
