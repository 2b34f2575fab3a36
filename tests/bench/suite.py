"""How fast mailkeep is, beside the programs that do the same job.

    python tests/bench/run.py [--messages N] [--only NAME,NAME] [--scratch DIR] [--json FILE]

Each program gets its own copy of one corpus at end A and nothing at end B. Then,
for each: the first sync; the run with nothing to do, repeated and interleaved,
so that a noisy minute hits all alike; a day's changes at both ends; and the last
two once more over a link with a delay, which shows the true round trips. After
each step that changed something both ends are read and compared with what they
should hold: a program that lost mail is reported as failed, not as fast.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import floors, steps
from bench.census import Census, expected_after, judge, take_census
from bench.churn import Churn, churn
from bench.corpus import make_corpus
from bench.measure import BARE_PYTHON, HERE, Command, Meter, Sample, StepError, median
from bench.peers import PEERS, DovecotSubject
from bench.report import CHURN, FIRST, MAILKEEP, NOOP, NOTES, Day, Result, ratios, table, targets
from bench.subjects import Mailkeep, Subject

DEFAULT_SUBJECTS = "mailkeep,rsync,interimap,mbsync,unison"
# Of 100,000 messages, both ends together; other sizes in proportion.
DAY_PER_MESSAGES = 100_000
DAY = {"new": 500, "flag": 1000, "move": 200, "delete": 300}
# Several programs do not see a change made in the same second as their last run.
SETTLE_SECONDS = 1.5
DELAY_MS = 50.0
SETTLING_RUNS = 2

Say = Callable[[str], object]


class Bench:
    """One run of the whole suite."""

    def __init__(self, args: argparse.Namespace, scratch: Path, say: Say) -> None:
        self.args = args
        self.say = say
        self.scratch = scratch
        self.subjects = self._subjects()
        self.results = {s.name: Result(s.name, s.two_way, s.durable) for s in self.subjects}
        self.baseline: dict[str, tuple[Census, Census]] = {}
        self.day = Day(0, 0)
        self.relay = Sample()

    def _subjects(self) -> list[Subject]:
        wanted = self.args.only.split(",")
        root, limit = self.scratch / "ends", self.args.timeout
        chosen: list[Subject] = []
        if MAILKEEP in wanted:
            chosen.append(Mailkeep(root / MAILKEEP, timeout_seconds=limit, executable=self.args.mailkeep))
        for kind in PEERS:
            short = kind.name.split()[0]
            if short in wanted:
                chosen.append(kind(root / short, timeout_seconds=limit))
        DovecotSubject.fsync = self.args.peer_fsync
        return chosen

    def alive(self) -> list[Subject]:
        """Return the programs that have not failed yet."""
        return [subject for subject in self.subjects if not self.results[subject.name].failed]

    def attempt(self, subject: Subject, step: Callable[[Subject, Result], None]) -> None:
        """Do one step; a failure ends this program's part and nobody else's."""
        result = self.results[subject.name]
        try:
            step(subject, result)
        except (StepError, OSError) as error:
            result.failed = str(error)
            self.say(f"{subject.name}: FAILED: {error}")

    def corpus(self) -> Path:
        """Return the corpus, made once for these arguments."""
        args = self.args
        place = self.scratch / f"corpus-{args.messages}-{args.folders}-{args.seed}-{args.mean_size}"
        if not place.exists():
            self.say(f"making a corpus of {args.messages:,} messages")
            draft = place.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            make_corpus(
                draft, messages=args.messages, folders=args.folders, seed=args.seed, mean_size=args.mean_size
            )
            draft.rename(place)
        return place

    def run(self) -> None:
        """All steps, in order."""
        corpus = self.corpus()
        for subject in self.subjects:
            if missing := subject.missing():
                self.results[subject.name].failed = f"not installed: {', '.join(missing)}"
        for subject in self.alive():
            self.attempt(subject, lambda s, r: self._first(s, r, corpus))
        self._nothing_to_do()
        self._churn(seed=1, step=CHURN)
        if self.args.delay:
            self._churn(seed=2, step=CHURN, delay_ms=DELAY_MS)

    def _first(self, subject: Subject, result: Result, corpus: Path) -> None:
        self.say(f"{subject.name}: {FIRST}")
        subject.setup(corpus)
        os.sync()
        commands = subject.first()
        sample = subject.meter.run(commands)
        result.steps[FIRST] = sample
        self.say(f"{subject.name}: {sample.wall_seconds:.2f} s, CPU {sample.cpu_seconds:.2f} s")
        ends = self._census(subject)
        verdict = judge(ends[1], take_census(corpus, subject.ruler))
        result.verdicts[FIRST] = str(verdict)
        self.baseline[subject.name] = ends
        if not verdict.agrees:
            raise StepError(f"after the first sync: {verdict}")

    def _census(self, subject: Subject) -> tuple[Census, Census]:
        return take_census(subject.a, subject.ruler), take_census(subject.b, subject.ruler)

    def _relay_alone(self) -> Sample:
        """Return what the relay adds to each session: it stands where ssh would."""
        place = self.scratch / "relay"
        place.mkdir(exist_ok=True)
        meter = Meter(place, unprivileged=False, timeout_seconds=60)
        argv = (*BARE_PYTHON, str(HERE / "tunnel.py"), str(meter.tunnel_report), "--", "env", "true")
        command = Command("relay", argv, {"PATH": os.defpath})
        return median([meter.run([command]) for _ in range(self.args.repeats)])

    def _nothing_to_do(self) -> None:
        rounds: dict[str, list[Sample]] = {subject.name: [] for subject in self.alive()}
        delayed: dict[str, list[Sample]] = {subject.name: [] for subject in self.alive()}
        self.relay = self._relay_alone()
        time.sleep(SETTLE_SECONDS)
        for number in range(SETTLING_RUNS + self.args.repeats):
            self.say(f"{NOOP}: round {number + 1}")
            for subject in self.alive():
                self.attempt(subject, lambda s, r: rounds[r.name].append(s.meter.run(s.again())))
        for _ in range(3 if self.args.delay else 0):
            for subject in self.alive():
                self.attempt(
                    subject, lambda s, r: delayed[r.name].append(s.meter.run(s.again(), delay_ms=DELAY_MS))
                )
        for subject in self.alive():
            result = self.results[subject.name]
            # A folder that was young at the last run is looked at again: not the steady state.
            result.steps[f"{NOOP}, first time"] = rounds[subject.name][0]
            quiet = median(rounds[subject.name][SETTLING_RUNS:])
            result.steps[NOOP] = quiet
            if delayed[subject.name]:
                extra = median(delayed[subject.name]).wall_seconds - quiet.wall_seconds
                result.round_trips[NOOP] = extra * 1000 / (2 * DELAY_MS)

    def _churn(self, *, seed: int, step: str, delay_ms: float = 0) -> None:
        """Change all ends, wait, sync each. With a delay only the round trips are kept."""
        amounts = {kind: max(2, n * self.args.messages // DAY_PER_MESSAGES) // 2 for kind, n in DAY.items()}
        wanted: dict[str, Census] = {}
        time.sleep(SETTLE_SECONDS)

        def change(subject: Subject, result: Result) -> None:
            days = []
            for index in range(2):
                end = subject.b if subject.two_way and index else subject.a
                days.append(
                    churn(
                        end,
                        **amounts,
                        seed=seed,
                        part=(index, 2),
                        mean_size=self.args.mean_size,
                        key=subject.ruler.size,
                    )
                )
            # The delayed day is another one: the bytes that count are those of the first.
            if not delay_ms and (subject.name == MAILKEEP or not self.day.records):
                self.day = measure_day(
                    days
                )  # what the others get differs a little, as their names and sizes do
            wanted[result.name] = expected_after(self.baseline[result.name], self._census(subject))

        def sync(subject: Subject, result: Result) -> None:
            os.sync()
            sample = subject.meter.run(subject.again(), delay_ms=delay_ms)
            self.say(f"{subject.name}: {step}: {sample.wall_seconds:.3f} s")
            ends = self._census(subject)
            verdicts = [judge(end, wanted[result.name]) for end in ends]
            worst = next((v for v in verdicts if not v.agrees), max(verdicts, key=lambda v: v.flags))
            self.baseline[result.name] = ends
            if not delay_ms:
                result.steps[step] = sample
                result.verdicts[step] = str(worst)
            elif step in result.steps:
                extra = sample.wall_seconds - result.steps[step].wall_seconds
                result.round_trips[step] = extra * 1000 / (2 * delay_ms)
            if not worst.agrees:
                raise StepError(f"after the churn: {worst}")

        for subject in self.alive():
            self.attempt(subject, change)
        time.sleep(SETTLE_SECONDS)
        for subject in self.alive():
            self.attempt(subject, sync)


def measure_day(days: Sequence[Churn]) -> Day:
    """Count records and compressed bytes. A move is two records: one goes, one comes."""
    records = sum(len(day.changes) + day.count("move") for day in days)
    return Day(records, sum(floors.zstd_size(b"".join(day.contents)) for day in days))


def print_report(bench: Bench, say: Say) -> bool:
    """Print tables, ratios and targets; return whether all targets were met."""
    results = list(bench.results.values())
    for step in (FIRST, f"{NOOP}, first time", NOOP, CHURN):
        say("\n" + table(step, results))
        if line := ratios(step, results):
            say(line)
    say("\n" + NOTES)
    say(f"The relay's own start is {bench.relay.wall_seconds * 1000:.0f} ms of each wall time.")
    if not bench.args.peer_fsync:
        say(
            "The IMAP programs ran without fsync, which their users have by default (--peer-fsync gives it back)."
        )
    found = targets(results, bench.day, bench.relay.wall_seconds)
    if found:
        say("\nTARGETS\n" + "\n".join(map(str, found)))
    for result in results:
        if result.failed:
            say(f"FAILED   {result.name}: {result.failed}")
    return all(target.met for target in found)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    beside = Path(sys.executable).parent / "mailkeep"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=60)
    parser.add_argument("--mean-size", type=int, default=8000, help="bytes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=DEFAULT_SUBJECTS, help=f"of {DEFAULT_SUBJECTS},muchsync")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the run with nothing to do")
    parser.add_argument(
        "--scratch", type=Path, help="a directory on a real disk; kept, with the corpus, for next time"
    )
    parser.add_argument(
        "--mailkeep", default=str(beside) if beside.exists() else "mailkeep", help="the executable"
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one command")
    parser.add_argument(
        "--peer-fsync", action="store_true", help="let the IMAP programs call fsync per message"
    )
    parser.add_argument("--no-delay", dest="delay", action="store_false", help="leave out the delayed link")
    parser.add_argument(
        "--no-floors",
        dest="floors",
        action="store_false",
        help="leave out the cost of each step and its floor",
    )
    parser.add_argument("--keep", action="store_true", help="leave the ends for inspection")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def say(text: str) -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the bench. A missed target is reported, not an exit status: a busy machine is no fault."""
    args = parse_args()
    scratch = args.scratch or Path(tempfile.mkdtemp(prefix="mailkeep-bench-", dir="/var/tmp"))
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch / "ends", ignore_errors=True)
    bench = Bench(args, scratch, say)
    try:
        bench.run()
        print_report(bench, say)
        floor = floors.measure(bench.corpus(), scratch / "floors") if args.floors else {}
        ours: dict[str, dict[str, float]] = {}
        if floor:
            ours = steps.measure(bench.corpus(), scratch / "steps")
            say("\n" + steps.table(ours, floor) + "\n\n" + floors.table(floor))
        if args.json:
            figures = {
                "messages": args.messages,
                "folders": args.folders,
                "mean_size": args.mean_size,
                "peer_fsync": args.peer_fsync,
                "relay_seconds": bench.relay.wall_seconds,
                "results": {name: asdict(result) for name, result in bench.results.items()},
                "targets": [
                    target._asdict() | {"met": target.met}
                    for target in targets(bench.results.values(), bench.day, bench.relay.wall_seconds)
                ],
                "day": asdict(bench.day),
                "floors_us": floor,
                "steps_us": ours,
            }
            args.json.write_text(json.dumps(figures, indent=1) + "\n")
    finally:
        if not args.keep:
            shutil.rmtree(scratch / "ends", ignore_errors=True)
        if not args.scratch:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
