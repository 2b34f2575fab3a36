"""Rounds of local life, runs that are struck, and judgement, between two stores in a scratch directory."""

from __future__ import annotations

import collections
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import mailkeep
from mailkeep.domain.errors import EXIT_BUSY, EXIT_DONE, EXIT_HELD, EXIT_SKIPPED
from mailkeep.testing import faults, judge
from mailkeep.testing.faults import FAR, NEAR, TREE, TUNNEL, Fault
from mailkeep.testing.life import Life, Tree
from mailkeep.testing.tunnel import read_counts
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("one", "two")
RUN_SECONDS = 120.0
"""A run that takes longer hangs."""
SETTLE_RUNS = 10
SUSPENDED_SECONDS = 0.3
ROUNDS_OF_ONE_SPOOL = 40
DONE = (EXIT_DONE, EXIT_SKIPPED, EXIT_HELD)


class Side:
    """One machine of the two: a home with a Maildir and a store."""

    def __init__(self, scratch: Path, name: str) -> None:
        self.home = scratch / name
        self.home.mkdir(mode=0o700)
        self.root = self.home / "Maildir"
        self.state = self.home / "state"

    def configure(self, peer: str) -> None:
        """Write the configuration: only removed mailboxes are held, and nothing is kept longer than it is needed."""
        directory = self.home / ".config/mailkeep"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.toml").write_text(
            f"[stores.mail]\npath = {json.dumps(str(self.root))}\nstate = {json.dumps(str(self.state))}\n"
            '[stores.mail.guard]\ncount = 100000000\nshare = "100%"\nstore_share = "100%"\n'
            '[stores.mail.retention]\nexpunged = "0s"\ntombstones = "0s"\nhistory = "1m"\n'
            f"[stores.mail.peers.{peer}]\n"
            'command = \'eval "exec $MAILKEEP_TRIAL_FAR"\'\ntimeout = "60s"\n'
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of every process of this machine."""
        source = str(Path(mailkeep.__file__).parents[1])
        return {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": source + (":" + os.environ["PYTHONPATH"] if os.environ.get("PYTHONPATH") else ""),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }


class Result:
    """How one run ended."""

    def __init__(self, status: int | None, out: str, err: str, carried: int) -> None:
        self.status, self.out, self.err, self.carried = status, out, err, carried

    @property
    def peer(self) -> dict[str, Any]:
        """What --json says of the session."""
        try:
            table: dict[str, Any] = json.loads(self.out)["peers"][0]
        except (ValueError, KeyError, IndexError):
            return {}
        return table


class Trial:
    """Two stores, mistreated.

    Attributes:
        faults: How many runs suffered what.
        findings: What was wrong; the trial ends with the first round that has any.
        rounds: How many were run.
        runs: How many times sync was started.
    """

    def __init__(
        self,
        scratch: Path,
        seed: int,
        *,
        strace: bool | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.scratch, self.seed = scratch, seed
        self.strace = faults.has_strace() if strace is None else strace
        self.tell = tell or (lambda text: None)
        self.faults: collections.Counter[str] = collections.Counter()
        self.struck: collections.Counter[str] = collections.Counter()
        self.acts: collections.Counter[str] = collections.Counter()
        self.findings: list[str] = []
        self.rounds = self.runs = 0
        self.usual_seconds, self.volume = 0.5, 100_000
        self.sides = (Side(scratch, NAMES[0]), Side(scratch, NAMES[1]))
        self.groups: list[int] = []
        self.log = (scratch / "log").open("a")

    # --- the beginning

    def begin(self, fill: Callable[[bytes, Random], object]) -> None:
        """Make both stores; `fill` puts mail into the first Maildir.

        Raises:
            MailkeepError: There is no mail, or no room.
        """
        random = Random(f"{self.seed}/begin")
        one, two = self.sides
        fill(os.fsencode(one.root), Random(f"{self.seed}/spool"))
        words = ["init", "--store", "mail", "--state", str(one.state), str(one.root)]
        table = json.loads(self._must(one, words))
        layouts = [Layout.parse(table["layout"])] * 2
        if random.random() < 0.5:
            layouts[1] = (
                Layout("fs", "utf-8") if layouts[0].kind == "maildir++" else Layout("maildir++", "utf-7")
            )
        two.root.mkdir()
        kind, encoding = layouts[1].kind, layouts[1].encoding
        self._must(
            two,
            [
                "init",
                "--store",
                "mail",
                "--state",
                str(two.state),
                "--layout",
                kind,
                "--encoding",
                encoding,
                str(two.root),
            ],
        )
        layouts[1] = Layout.parse(json.loads(self._must(two, ["status"]))["stores"][0]["layout"])
        for side, other in zip(self.sides, reversed(NAMES), strict=True):
            side.configure(other)
        trees = (Tree(os.fsencode(one.root), layouts[0]), Tree(os.fsencode(two.root), layouts[1]))
        self.life = Life(trees)
        self.life.take_in(0)
        self.vaults = (judge.Vault(os.fsencode(one.state)), judge.Vault(os.fsencode(two.state)))
        for _ in range(random.randint(0, 5)):
            self.life.act(1, random)

    def _must(self, side: Side, words: list[str]) -> str:
        done = self._run(side, words)
        if done.returncode not in DONE:
            raise AssertionError(f"mailkeep {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def _run(self, side: Side, words: list[str]) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "mailkeep", "--json", *words]
        return subprocess.run(
            argv, env=side.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=RUN_SECONDS * 5, check=False, cwd=side.home,
        )  # fmt: skip

    # --- one run

    def run(self, near: int, fault: Fault, random: Random | None = None) -> Result:
        """Start `sync` on one side and let it suffer; on return no process of it is left."""
        here, there = self.sides[near], self.sides[1 - near]
        counts = self.scratch / "counts"
        counts.unlink(missing_ok=True)
        home = there.environment["HOME"]
        far = ["env", f"HOME={home}", *fault.wrap(FAR, ["serve", "--store", "mail"])]
        tunnel = [sys.executable, "-m", "mailkeep.testing.tunnel", str(counts), str(fault.limit), *far]
        environment = {**here.environment, "MAILKEEP_TRIAL_FAR": shlex.join(tunnel)}
        words = ["sync", "--json", NAMES[1 - near]]
        self._note(f"    {NAMES[near]}: {shlex.join(words)}  [{fault}]")
        self.runs += 1
        began = time.monotonic()
        with (self.scratch / "out").open("w+b") as out, (self.scratch / "err").open("w+b") as err:
            process = subprocess.Popen(
                fault.wrap(NEAR, words), env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=here.home, start_new_session=True,
            )  # fmt: skip
            self.groups.append(process.pid)
            second = self._second(near, random) if fault.second and random is not None else None
            self._meanwhile(process, fault, counts, random)
            status = self._end(process)
            if second is not None:
                self._end(second)
            out.seek(0)
            err.seek(0)
            texts = [file.read().decode(errors="replace") for file in (out, err)]
        _, sent, received = read_counts(str(counts))
        self._note(f"        status {status}, {time.monotonic() - began:.2f} s, {sent + received:,} bytes")
        for line in texts[1].splitlines():
            self._note("        | " + line)
        if fault.kind == "undisturbed" and status == 0:
            self.usual_seconds = 0.7 * self.usual_seconds + 0.3 * (time.monotonic() - began)
            self.volume = max(self.volume * 9 // 10, sent + received, 2000)
        return Result(status, texts[0], texts[1], sent + received)

    def _second(self, near: int, random: Random) -> subprocess.Popen[bytes]:
        """Another run, or a clean-up, on either side, at some moment of the first."""
        side = random.choice((near, 1 - near))
        time.sleep(random.random() * self.usual_seconds)
        here, there = self.sides[side], self.sides[1 - side]
        far = ["env", f"HOME={there.home}", sys.executable, "-m", "mailkeep", "serve", "--store", "mail"]
        words = ["sync", "-q", NAMES[1 - side]] if random.random() < 0.7 else ["expire", "-q"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mailkeep", *words],
            env={**here.environment, "MAILKEEP_TRIAL_FAR": shlex.join(far)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=here.home, start_new_session=True,
        )  # fmt: skip
        self.groups.append(process.pid)
        return process

    def _meanwhile(
        self, process: subprocess.Popen[bytes], fault: Fault, counts: Path, random: Random | None
    ) -> None:
        """Send the signal when its moment comes; let a mail program go on."""
        end = time.monotonic() + max(0.0, fault.after) * self.usual_seconds
        while fault.busy and random is not None and process.poll() is None:
            self.life.act(random.randrange(2), random)
            if fault.after >= 0 and time.monotonic() >= end:
                break
        if fault.after < 0:
            return
        time.sleep(max(0.0, end - time.monotonic()))
        if process.poll() is not None:
            return
        number = signal.SIGKILL if fault.signal == "KILL" else signal.SIGSTOP
        far, _, _ = read_counts(str(counts))
        if fault.end == TREE:
            _send(-process.pid, number)
        elif fault.end == NEAR:
            _send(process.pid, number)
        elif fault.end == FAR and far:
            _send(far, number)
        elif fault.end == TUNNEL and far:
            parent = _parent(far)
            if parent not in (0, 1, os.getpid()):
                _send(parent, number)
        if number == signal.SIGSTOP:
            time.sleep(SUSPENDED_SECONDS)
            _send(-process.pid, signal.SIGCONT)

    def _end(self, process: subprocess.Popen[bytes]) -> int | None:
        """Wait until everything that was started for this run has ended; its status, or None when it hangs."""
        limit = time.monotonic() + RUN_SECONDS
        try:
            status = process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        while _send(-process.pid, 0):
            if time.monotonic() >= limit:
                _send(-process.pid, signal.SIGKILL)
                process.wait()
                self.findings.append("a run did not end, or left processes behind: they were killed")
                break
            time.sleep(0.01)
        self.groups.remove(process.pid)
        return status

    # --- rounds

    def round(self) -> bool:
        """One round: life on both sides, a run that suffers, judgement; now and then everything comes to rest.

        Returns:
            Whether all is well; if not, `findings` says what is wrong.
        """
        random = Random(f"{self.seed}/{self.rounds}")
        self._note(f"round {self.rounds} of seed {self.seed}")
        if random.random() < 0.3:  # before the mailboxes are touched again
            self.life.remove_box(random.randrange(2), random)
        for side in (0, 1):
            for _ in range(int(10 ** (random.random() * 1.2)) - 1):
                self.life.act(side, random)
        if random.random() < 0.7:
            time.sleep(0.03)  # else everything is younger than the file system's clock can tell
        near = random.randrange(2)
        if random.random() < 0.3:
            self._alone(random.randrange(2), ["expire"], random)
        if not self.findings:
            fault = faults.draw(random, strace=self.strace, volume=self.volume)
            self.faults[fault.kind] += 1
            self._suffer(near, fault, random)
        if not self.findings and random.random() < 0.5:
            self.settle(random.randrange(2), random)
        self.rounds += 1
        self.acts = self.life.done
        return not self.findings

    def _suffer(self, near: int, fault: Fault, random: Random) -> None:
        lacked = judge.lacking(self.life, self.vaults)
        result = self.run(near, fault, random)
        if result.status != EXIT_DONE:
            self.struck[fault.kind] += 1
        if not (fault.reads or (fault.kills and result.status is not None and result.status < 0)):
            self.findings += judge.ending(result.status, result.err)
        self.findings += judge.half_done(self.life, self.vaults)
        if not fault.busy and not fault.second and not self.life.gone:
            self.findings += judge.too_much(result.carried, lacked, self.life)
            if result.status == EXIT_DONE and not result.peer.get("same"):
                self.findings += [f"it ended with 0, and {text}" for text in judge.at_rest(self.life)]

    def _alone(self, side: int, words: list[str], random: Random) -> None:
        """A command on one store, which a fault may strike; whatever becomes of it, the next one goes on."""
        fault = Fault("undisturbed")
        if random.random() < 0.6:
            fault = faults.draw_alone(random, strace=self.strace)
        kind = f"{words[0]}: {fault.kind}"
        here = self.sides[side]
        self._note(f"    {NAMES[side]}: {shlex.join(words)}  [{fault}]")
        done = subprocess.run(
            fault.wrap(NEAR, [*words, "--json"]), env=here.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=RUN_SECONDS * 5, check=False, cwd=here.home,
        )  # fmt: skip
        self._note(f"        status {done.returncode}")
        for line in done.stderr.splitlines():
            self._note("        | " + line)
        self.faults[kind] += 1
        if done.returncode not in DONE:
            self.struck[kind] += 1
        killed = fault.kills and (done.returncode < 0 or done.returncode > 128)
        if not (fault.reads or killed):
            self.findings += judge.ending(done.returncode, done.stderr)
        if fault.kind == "undisturbed" and done.returncode not in (*DONE, EXIT_BUSY):
            self.findings.append(
                f"{words[0]}, undisturbed, ended with {done.returncode}: {done.stderr.strip()[:500]}"
            )
        self.findings += judge.half_done(self.life, self.vaults)

    def _holds(self, side: int) -> dict[int, list[str]]:
        """The mailboxes of each hold of one side."""
        done = self._run(self.sides[side], ["holds"])
        if done.returncode not in DONE:
            self.findings.append(f"holds ended with {done.returncode}: {done.stderr.strip()[:500]}")
            return {}
        return {hold["hold"]: list(hold["mailboxes"]) for hold in json.loads(done.stdout)["holds"]}

    def _answer(self, random: Random) -> None:
        """Approve or reject the removal of each mailbox that is held; an answer that was cut off is given again."""
        for side in (0, 1):
            for hold, boxes in self._holds(side).items():
                verb = random.choice(("approve", "reject"))
                while not self.findings and hold in self._holds(side):
                    self._alone(side, [verb, str(hold)], random)
                unknown = [box for box in boxes if box not in self.life.gone]
                if unknown:
                    self.findings.append(f"held, though nobody removed it: {', '.join(unknown)}")
                if self.findings:
                    return
                for box in boxes:
                    self.life.answered(box, approved=verb == "approve")
        for box in [box for box, messages in self.life.gone.items() if not messages]:
            self.life.answered(box, approved=True)
        if self.life.gone:
            self.findings.append(
                f"removed with all its mail, and nobody was asked: {', '.join(self.life.gone)}"
            )

    def settle(self, near: int = 0, random: Random | None = None) -> bool:
        """Undisturbed runs until there is nothing to do; then both sides are as they should be.

        If mailboxes were removed, somebody answers then, and all goes on until there is nothing to do once more.

        Args:
            random: Draws the answers, and whether there is a clean-up at the end.
        """
        random = random or Random(f"{self.seed}/{self.rounds}/settle")
        self._rest(near)
        if not self.findings and self.life.gone:
            self._answer(random)
            if not self.findings:
                self._rest(near)
        if not self.findings and random.random() < 0.3:
            for side in (0, 1):
                self._must(self.sides[side], ["expire"])
            self.findings += judge.overdue(self.vaults)
            self.findings += judge.at_rest(self.life)
        if not self.findings:
            self._verify()
        if not self.findings:
            self.life.agreed()
        return not self.findings

    def _rest(self, near: int) -> None:
        waits = bool(self.life.gone)
        for number in range(SETTLE_RUNS):
            time.sleep(0.03)
            lacked = judge.lacking(self.life, self.vaults)
            result = self.run(near, Fault("undisturbed"))
            self.findings += judge.ending(result.status, result.err)
            self.findings += judge.too_much(result.carried, lacked, self.life)
            if result.status not in (EXIT_DONE, EXIT_SKIPPED, EXIT_BUSY, *([EXIT_HELD] if waits else [])):
                self.findings.append(
                    f"undisturbed, it ended with {result.status}: {result.err.strip()[:500]}"
                )
            if self.findings:
                return
            if result.status in (EXIT_DONE, EXIT_HELD) and result.peer.get("same") and number:
                break
        else:
            self.findings.append(f"after {SETTLE_RUNS} runs there was still something to do")
        self.findings += judge.at_rest(self.life)

    def _verify(self) -> None:
        for side in self.sides:
            done = self._run(side, ["verify"])
            if done.returncode != EXIT_DONE:
                self.findings.append(
                    f"verify ended with {done.returncode} ({side.home.name}): {done.stderr.strip()[:500]}"
                )

    def _note(self, text: str) -> None:
        self.log.write(text + "\n")
        self.log.flush()

    def close(self) -> None:
        """End whatever this trial started and still runs."""
        for group in self.groups:
            _send(-group, signal.SIGKILL)
        self.log.close()


def _send(process: int, number: int) -> bool:
    """Send a signal to a process of ours, or to a group; whether it was there."""
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _parent(process: int) -> int:
    """Of a process, by /proc; 0 when it is gone."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


class Verdict:
    """What all trials of one self-test came to.

    Attributes:
        seed: The one that was begun with; a trial of a fresh spool has the next.
        failed: The seed of the trial that found something, or None.
        evidence: Where its directory was left, or None.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.failed: int | None = None
        self.evidence: Path | None = None
        self.trials = self.rounds = self.runs = 0
        self.faults: collections.Counter[str] = collections.Counter()
        self.struck: collections.Counter[str] = collections.Counter()
        self.acts: collections.Counter[str] = collections.Counter()
        self.findings: list[str] = []
        self.seconds = 0.0

    def add(self, trial: Trial) -> None:
        """Count what a trial did."""
        self.trials += 1
        self.rounds += trial.rounds
        self.runs += trial.runs
        self.faults += trial.faults
        self.struck += trial.struck
        self.acts += trial.acts
        self.findings += trial.findings


def selftest(
    parent: Path,
    seed: int,
    seconds: float,
    fill: Callable[[bytes, Random], object],
    *,
    rounds_max: int | None = None,
    strace: bool | None = None,
    tell: Callable[[str], None] | None = None,
) -> Verdict:
    """Trials one after another, each with a spool of its own, until the time is up or one finds something.

    The scratch directory, made below `parent`, is removed at the end, however that comes, unless something was found.

    Args:
        parent: Where the scratch directory is made.
        seed: Draws everything but the moments at which processes run.
        seconds: When no new round is begun any more.
        fill: Puts mail into a Maildir.
        rounds_max: Of one trial; then it ends.
        strace: Whether to use it; None: if it can be used.
        tell: Is told how it goes.
    """
    verdict = Verdict(seed)
    began = time.monotonic()
    number = 0
    while not verdict.findings and (number == 0 or time.monotonic() - began < seconds):
        scratch = Path(tempfile.mkdtemp(prefix="mailkeep-selftest-", dir=parent))
        keep = False
        trial = Trial(scratch, seed + number, strace=strace, tell=tell)
        try:
            trial.begin(fill)
            limit = rounds_max or ROUNDS_OF_ONE_SPOOL
            while trial.round() and trial.rounds < limit and time.monotonic() - began < seconds:
                if tell is not None:
                    tell(
                        f"seed {trial.seed}: {verdict.rounds + trial.rounds} rounds, {verdict.runs + trial.runs} runs"
                    )
            if not trial.findings:
                trial.settle()
            verdict.add(trial)
            if trial.findings:
                keep = True
                verdict.failed, verdict.evidence = trial.seed, scratch
                for text in trial.findings:
                    trial._note("FOUND: " + text)
        finally:
            trial.close()
            if not keep:
                shutil.rmtree(scratch, ignore_errors=True)
        number += 1
    verdict.seconds = time.monotonic() - began
    return verdict
