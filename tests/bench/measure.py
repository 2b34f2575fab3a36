"""Running a measured step: wall time, processor time, peak memory, wire."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Python without its site module: 11 ms to start against 46 ms, in every figure.
BARE_PYTHON = (sys.executable, "-I", "-S")


@dataclass(frozen=True)
class Command:
    """One program to run, with the whole of its environment."""

    label: str
    argv: Sequence[str]
    env: Mapping[str, str]
    exits_good: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Sample:
    """What one step cost, all processes of both ends together, the relay left out.

    `drain_seconds` is what a sync(1) took afterwards: the writing that the step
    left to others. `turns` is an upper bound of the round trips.
    """

    wall_seconds: float = 0.0
    linger_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    turns: int = 0
    drain_seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def wire_bytes(self) -> int:
        """Bytes both ways."""
        return self.up_bytes + self.down_bytes

    def __add__(self, other: Sample) -> Sample:
        """Return the two steps as one."""
        return Sample(
            self.wall_seconds + other.wall_seconds,
            max(self.linger_seconds, other.linger_seconds),
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
            self.up_bytes + other.up_bytes,
            self.down_bytes + other.down_bytes,
            self.turns + other.turns,
            self.drain_seconds + other.drain_seconds,
            self.parts | other.parts,
        )


class StepError(Exception):
    """A program under measurement failed; the text says which and shows its last words."""


@dataclass(frozen=True)
class Meter:
    """Runs commands and reads what the launcher and the tunnel wrote about them."""

    base: Path
    unprivileged: bool
    timeout_seconds: float

    @property
    def tunnel_report(self) -> Path:
        """Where the tunnel of this subject writes its counts."""
        return self.base / "tunnel.json"

    def run(self, commands: Iterable[Command], *, delay_ms: float = 0) -> Sample:
        """Run the commands one after another and add up what they cost.

        Raises:
            StepError: One ended with a status that it should not, or took too long.
        """
        total = Sample()
        for command in commands:
            total += self._run(command, delay_ms)
        began = time.monotonic()
        os.sync()
        return replace(total, drain_seconds=time.monotonic() - began)

    def _run(self, command: Command, delay_ms: float) -> Sample:
        report, log = self.base / "launch.json", self.base / "log.txt"
        for old in (report, self.tunnel_report):
            old.unlink(missing_ok=True)
        argv = [*BARE_PYTHON, str(HERE / "launch.py"), str(report), "--", *command.argv]
        if self.unprivileged:
            # Dovecot's imap refuses to serve root's mail; inside, root's files are those of user 1000.
            argv = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *argv]
        env = dict(command.env) | ({"TUNNEL_DELAY_MS": str(delay_ms)} if delay_ms else {})
        with log.open("ab") as out:
            out.write(f"=== {command.label}\n".encode())
            out.flush()
            start = out.tell()
            process = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self.base,
            )
            try:
                process.wait(self.timeout_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                time.sleep(1)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise StepError(f"{command.label}: not done after {self.timeout_seconds:.0f} s") from None
        words = log.read_bytes()[start:].decode("utf-8", "replace")
        if not report.exists():
            raise StepError(f"{command.label}: the launcher failed: {words[-300:]}")
        used = json.loads(report.read_text())
        if int(used["exit"]) not in command.exits_good:
            raise StepError(f"{command.label}: exit {int(used['exit'])}: {words[-400:].strip()}")
        sample = Sample(
            used["wall_seconds"],
            used["wall_all_seconds"] - used["wall_seconds"],
            used["cpu_seconds"],
            int(used["peak_bytes"]),
            parts={command.label: used["wall_seconds"]},
        )
        if not self.tunnel_report.exists():
            return sample
        wire = json.loads(self.tunnel_report.read_text())
        return replace(
            sample,
            cpu_seconds=max(0.0, sample.cpu_seconds - wire["own_cpu_seconds"]),
            up_bytes=wire["up"],
            down_bytes=wire["down"],
            turns=wire["turns"],
        )


def median(samples: Sequence[Sample]) -> Sample:
    """Return the field-wise median of repeated steps; the worst of the memory."""
    return Sample(
        statistics.median(s.wall_seconds for s in samples),
        statistics.median(s.linger_seconds for s in samples),
        statistics.median(s.cpu_seconds for s in samples),
        max(s.peak_bytes for s in samples),
        int(statistics.median(s.up_bytes for s in samples)),
        int(statistics.median(s.down_bytes for s in samples)),
        int(statistics.median(s.turns for s in samples)),
        statistics.median(s.drain_seconds for s in samples),
        {"spread_seconds": max(s.wall_seconds for s in samples) - min(s.wall_seconds for s in samples)},
    )
