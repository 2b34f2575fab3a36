"""Several runs at once: from both ends, from timers, in rings and meshes, and beside a mail program without pause."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from interop.machines import Machine, contents, deliver, make_mailbox, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.crash]

FINE = (0, 3, 6)
"""Done; done but for what waits; another run has the store."""
ENDS_SECONDS = 120


def start(machine: Machine, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(machine.bin / "mailkeep"), "sync", "-q", *words], env=machine.environment, cwd=machine.home, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> int:
    _, words = process.communicate(timeout=ENDS_SECONDS)
    assert process.returncode in FINE, words
    assert "Traceback" not in words
    return process.returncode


def machines(base: Path, names: str) -> list[Machine]:
    out = []
    for number, name in enumerate(names):
        machine = Machine(base / name)
        make_mailbox(machine.mail, "", ".Work")
        for n in range(6):
            deliver(machine.mail, ".Work" if n % 2 else "", message(n, seed=name), 10 * number + n, "S")
        machine.mailkeep("init", "--store", "mail", machine.mail)
        out.append(machine)
    return out


def introduce(here: Machine, there: Machine) -> None:
    here.mailkeep(
        "peer", "add", there.home.name, "--command", f"exec {there.bin}/mailkeep serve --store mail"
    )


def at_rest(all_of_them: Sequence[Machine], digests: set[str]) -> None:
    """Syncs one after another, until each says that there is nothing to do; then all have every message once."""
    for _ in range(8):
        for machine in all_of_them:
            machine.settle()
        statuses = [
            machine.run(["mailkeep", "sync", "--json"], status=(0, 3)).stdout for machine in all_of_them
        ]
        if all('"same": false' not in text and '"unknown"' not in text for text in statuses):
            break
    else:
        raise AssertionError("no rest")
    for machine in all_of_them:
        assert contents(machine.mail) == sorted(digests), machine.home.name
        machine.mailkeep("verify")


def texts(all_of_them: Sequence[Machine]) -> set[str]:
    return {digest for machine in all_of_them for digest in contents(machine.mail)}


@pytest.mark.parametrize("sides", ["both", pytest.param("same", marks=pytest.mark.soak)])
def test_two_runs_started_at_any_moment(tmp_path: Path, sides: str, every: bool) -> None:
    """The second starts while the first is anywhere between its start and its end."""
    one, two = machines(tmp_path, "ab")
    introduce(one, two)
    introduce(two, one)
    digests = texts([one, two])
    rng = random.Random(sides)
    for number in range(40) if every else (3, 12):
        for machine in (one, two):
            data = message(number, seed="later " + machine.home.name)
            deliver(machine.mail, "", data, 1000 + number)
            digests.add(hashlib.sha256(data).hexdigest())
        first = start(one)
        time.sleep(number * 0.02 + rng.random() * 0.02)
        second = (
            start(one if sides == "same" else two, "--wait", "30s")
            if number % 2
            else start(one if sides == "same" else two)
        )
        assert {end(first), end(second)} <= set(FINE)
    at_rest([one, two], digests)


def test_a_timer_that_starts_a_run_each_50_ms(tmp_path: Path, every: bool) -> None:
    one, two = machines(tmp_path, "ab")
    introduce(one, two)
    introduce(two, one)
    for number in range(1500 if every else 300):
        deliver(one.mail, "", message(number, seed="many"), 1000 + number)
    digests = texts([one, two])
    runs: list[subprocess.Popen[str]] = []
    for number in range(200 if every else 12):
        runs.append(start((one, two)[number % 2]))
        time.sleep(0.05)
    assert {end(run) for run in runs} <= set(FINE)
    at_rest([one, two], digests)


@pytest.mark.parametrize("shape", ["ring", pytest.param("mesh", marks=pytest.mark.soak)])
def test_four_stores_meet_all_at_once(tmp_path: Path, shape: str, every: bool) -> None:
    """Each waits for others that wait for it: all end, and then all have everything."""
    four = machines(tmp_path, "abcd")
    for number, machine in enumerate(four):
        for other in [four[(number + 1) % 4]] if shape == "ring" else four[:number] + four[number + 1 :]:
            introduce(machine, other)
    digests = texts(four)
    for number in range(8 if every else 1):
        for machine in four:
            data = message(number, seed="later " + machine.home.name)
            deliver(machine.mail, ".Work", data, 1000 + number)
            digests.add(hashlib.sha256(data).hexdigest())
        processes = [start(machine, "--wait", "20s") for machine in four]
        assert {end(process) for process in processes} <= set(FINE)
    at_rest(four, digests)


CLIENT = textwrap.dedent("""
    import itertools, os, signal, sys
    root, number = sys.argv[1], int(sys.argv[2])
    going = [True]
    signal.signal(signal.SIGTERM, lambda *a: going.clear())
    done = 0
    def files(box):
        return [(box, name) for name in sorted(os.listdir(os.path.join(root, box, "cur"))) if ".busy" in name]
    for turn in itertools.count():
        for box, name in [*files(""), *files(".Work")]:
            if not going:
                print(done)
                sys.exit()
            base = name.partition(":2,")[0]
            to = ("", ".Work")[turn // 7 % 2]
            if turn % 3 == 0:
                base = base.partition("_")[0] + "_%d" % turn
            new = base + (":2,", ":2,S", ":2,F", ":2,FS", ":2,R")[turn % 5]
            try:
                os.rename(os.path.join(root, box, "cur", name), os.path.join(root, to, "cur", new))
                done += 1
            except FileNotFoundError:
                pass
""")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_mail_program_that_renames_moves_and_flags_without_pause(
    tmp_path: Path, client: list[subprocess.Popen[str]], every: bool
) -> None:
    """Every run ends, nothing is lost or doubled, and once it pauses both sides are the same."""
    one, two = machines(tmp_path, "ab")
    introduce(one, two)
    introduce(two, one)
    for number in range(40):
        file = deliver(one.mail, "", message(number, seed="busy"), 1000 + number, "S")
        file.rename(file.with_name(file.name.replace(":2,", ".busy:2,")))
    digests = texts([one, two])
    one.sync(status=FINE)
    client.append(
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(one.mail), "1"], stdout=subprocess.PIPE, text=True
        )
    )
    ended = []
    for number in range(20 if every else 3):
        data = message(number, seed="meanwhile")
        deliver((one, two)[number % 2].mail, ".Work", data, 2000 + number)
        digests.add(hashlib.sha256(data).hexdigest())
        ended.append(end(start(one)))
        assert set(contents(two.mail)) <= digests
    client[0].terminate()
    out, _ = client[0].communicate(timeout=30)
    assert int(out) > 50, "it was busy"
    at_rest([one, two], digests)
