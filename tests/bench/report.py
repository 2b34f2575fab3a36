"""Tables of what was measured, and the targets: met or NOT met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.measure import Sample

MAILKEEP = "mailkeep"
FIRST, NOOP, CHURN = "first sync", "nothing to do", "daily churn"

FIRST_SHARE_OF_PEER = 0.6
FIRST_SHARE_OF_RSYNC = 2.0
NOOP_SHARE_OF_PEER = 0.15
NOOP_WIRE_BYTES = 1024
NOOP_ROUND_TRIPS = 1
CHURN_SHARE_OF_PEER = 0.3
CHURN_ROUND_TRIPS = 4
CHURN_SHARE_OF_ZSTD = 1.1
CHURN_BYTES_A_RECORD = 60
PEAK_BYTES = 64 << 20


@dataclass
class Result:
    """All that was learned of one program."""

    name: str
    two_way: bool
    durable: str
    steps: dict[str, Sample] = field(default_factory=dict)
    # Round trips as a delayed link shows them: (wall with delay - wall without) / round-trip time.
    round_trips: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    failed: str = ""


class Target(NamedTuple):
    """One aim: what was measured against what was promised."""

    text: str
    measured: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """The measured value is within the limit."""
        return self.measured <= self.limit

    def __str__(self) -> str:
        form = ",.0f" if self.unit in {"bytes", "trips"} else ".3f"
        amounts = f"{format(self.measured, form)} of at most {format(self.limit, form)} {self.unit}".rstrip()
        return f"{'met    ' if self.met else 'NOT met'}  {self.text}: {amounts}"


@dataclass(frozen=True)
class Day:
    """How much the churn changed, both ends together."""

    records: int
    zstd_bytes: int

    @property
    def bytes_allowed(self) -> float:
        """The wire target of the churn."""
        return CHURN_SHARE_OF_ZSTD * self.zstd_bytes + CHURN_BYTES_A_RECORD * self.records


def targets(results: Iterable[Result], day: Day, relay_seconds: float = 0.0) -> list[Target]:
    """Compare mailkeep with its rivals of the same run; a step that somebody did not finish is left out.

    Args:
        relay_seconds: What the relay adds to each session. A run with nothing to do is so short that
            it is also compared without.
    """
    by_name = {result.name: result for result in results}
    ours = by_name.get(MAILKEEP)
    if ours is None or ours.failed:
        return []
    found = []

    def against(step: str, rivals: Iterable[Result], share: float) -> None:
        done = [(rival.steps[step].wall_seconds, rival.name) for rival in rivals if step in rival.steps]
        if done and step in ours.steps:
            seconds, name = min(done)
            limit = f"{share} x {name} ({seconds:.2f} s)"
            found.append(
                Target(f"{step}, wall, {limit}", ours.steps[step].wall_seconds / seconds, share, "x")
            )

    two_way = [r for r in by_name.values() if r.two_way and r is not ours and not r.failed]
    one_way = [r for r in by_name.values() if not r.two_way and not r.failed]
    against(FIRST, two_way, FIRST_SHARE_OF_PEER)
    against(FIRST, one_way, FIRST_SHARE_OF_RSYNC)
    against(NOOP, two_way, NOOP_SHARE_OF_PEER)
    if (
        relay_seconds
        and NOOP in ours.steps
        and (done := [r.steps[NOOP].wall_seconds for r in two_way if NOOP in r.steps])
    ):
        share = (ours.steps[NOOP].wall_seconds - relay_seconds) / (min(done) - relay_seconds)
        found.append(Target(f"{NOOP}, wall, the relay's own start left out", share, NOOP_SHARE_OF_PEER, "x"))
    against(CHURN, two_way, CHURN_SHARE_OF_PEER)
    if quiet := ours.steps.get(NOOP):
        found.append(Target(f"{NOOP}, wire", quiet.wire_bytes, NOOP_WIRE_BYTES, "bytes"))
        found.append(Target(f"{NOOP}, round trips", _trips(ours, NOOP), NOOP_ROUND_TRIPS, "trips"))
    if busy := ours.steps.get(CHURN):
        found.append(Target(f"{CHURN}, wire", busy.wire_bytes, day.bytes_allowed, "bytes"))
        found.append(Target(f"{CHURN}, round trips", _trips(ours, CHURN), CHURN_ROUND_TRIPS, "trips"))
    if ours.steps:
        peak = max(sample.peak_bytes for sample in ours.steps.values())
        found.append(Target("peak memory of one process", peak, PEAK_BYTES, "bytes"))
    return found


def _trips(result: Result, step: str) -> float:
    """Return the turns, or what the delayed link showed if that is less: turns are an upper bound."""
    turns = result.steps[step].turns
    return min(turns, round(result.round_trips.get(step, turns)))


def table(step: str, results: Iterable[Result]) -> str:
    """Return the figures of one step, a line a program."""
    head = f"{'':10} {'wall s':>8} {'CPU s':>8} {'RSS MB':>7} {'up bytes':>12} {'down bytes':>12}"
    lines = [step.upper(), f"{head} {'turns':>6} {'trips':>6} {'drain s':>8}  outcome"]
    for result in results:
        if result.failed and step not in result.steps:
            lines.append(f"{result.name:10} FAILED: {result.failed}")
        elif sample := result.steps.get(step):
            trips = f"{result.round_trips[step]:6.1f}" if step in result.round_trips else f"{'':6}"
            lines.append(
                f"{result.name:10} {sample.wall_seconds:8.3f} {sample.cpu_seconds:8.3f} "
                f"{sample.peak_bytes / 1e6:7.0f} {sample.up_bytes:12,} {sample.down_bytes:12,} "
                f"{sample.turns:6} {trips} {sample.drain_seconds:8.2f}  {result.verdicts.get(step, '')}"
            )
    return "\n".join(lines)


NOTES = """\
CPU: user + system of all processes at both ends, without the relay. RSS: the largest
process, MB of 1,000,000 bytes; 10 is the relay itself. turns: an upper bound of the round
trips. trips: what a delayed link adds, in round trips. drain: how long a sync(1) took afterwards,
that is, what the program had not written to the disk itself."""


def ratios(step: str, results: Iterable[Result]) -> str:
    """Return how many times mailkeep's wall time each rival took."""
    by_name = {result.name: result for result in results if step in result.steps}
    ours = by_name.pop(MAILKEEP, None)
    if ours is None or not by_name:
        return ""
    wall = ours.steps[step].wall_seconds
    shares = (f"{name} {result.steps[step].wall_seconds / wall:.1f}" for name, result in by_name.items())
    return f"times mailkeep's wall time: {', '.join(shares)}"
