"""`mailkeep selftest`: it passes on mailkeep as it is, notices what is wrong, and leaves nothing behind."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cli.machine import Machine, mailbox, message
from crash.kit import Side
from mailkeep.domain.errors import StorageError
from mailkeep.testing import faults, judge, spool
from mailkeep.testing.faults import Fault
from mailkeep.testing.launch import steps_of
from mailkeep.testing.life import Life, Tree
from mailkeep.testing.trial import Result, Trial
from mailkeep.wire.layouts import Layout

pytestmark = [pytest.mark.slow, pytest.mark.crash]

SECONDS = float(os.environ.get("SELFTEST_SECONDS", "3"))


def test_it_passes_and_says_what_it_did(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    result = here.run("selftest", "--seed", "11", "--time", f"{SECONDS:.0f}s")
    assert result.code == 0, result
    assert result.out.startswith("seed 11: ")
    assert "verdict: nothing lost" in result.out
    assert re.search(r"\d+ \(\d+\)  ", result.out), "faults are counted by kind"
    assert not list((tmp_path / ".local/state/mailkeep").iterdir()), "the scratch directory is gone"


def test_a_copy_of_a_users_mail_is_mistreated_and_the_mail_itself_is_only_read(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    root = tmp_path / "Maildir"
    mailbox(root, *(message(n) for n in range(6)))
    mailbox(root / ".Work", *(message(n) for n in range(6, 9)), flags="FS")
    (root / "cur" / "fifo").symlink_to("/nowhere")
    assert here.run("init", "--store", "mail", root).code == 3
    state = here.state()
    before = {path: _stat(path) for path in [*root.rglob("*"), *state.rglob("*")]}
    result = here.run("selftest", "--store", "mail", "--time", "1s", "--messages", "7", "--json")
    assert result.code == 0, result
    assert result.json["copied"]["messages"] == 7
    assert result.json["copied"]["left_out"] == 2
    assert result.json["rounds"] >= 1
    after = {
        path: _stat(path) for path in [*root.rglob("*"), *state.rglob("*")] if "selftest" not in str(path)
    }
    assert after == before


def _stat(path: Path) -> tuple[int, ...]:
    st = path.lstat()
    links = st.st_nlink if path.is_file() else 0
    return st.st_ino, st.st_mode, st.st_size, links, st.st_mtime_ns if path.is_file() else 0


def test_the_same_seed_makes_the_same_choices() -> None:
    drawn = [
        [str(faults.draw(Random(f"5/{n}"), strace=True, volume=10_000)) for n in range(60)] for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    kinds = {text.partition(":")[0] for text in drawn[0]}
    assert {"kill of the near end", "kill of the far end", "ENOSPC", "failed fsync or syncfs"} <= kinds


def test_without_strace_everything_is_done_by_the_steps() -> None:
    for number in range(300):
        assert not faults.draw(Random(number), strace=False, volume=10_000).strace


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 10, 4096

    mailbox(tmp_path / "Maildir", message(1))
    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(StorageError, match="MiB free"):
        spool.copy(os.fsencode(tmp_path / "Maildir"), os.fsencode(tmp_path / "copy"), 10, 1 << 20)
    assert not (tmp_path / "copy").exists()


def test_an_interruption_ends_all_processes_and_cleans_up(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "mailkeep", "selftest", "--time", "60s"],
        env=here.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    scratch = tmp_path / ".local/state/mailkeep"
    for _ in range(1000):
        if list(scratch.glob("*/log")) and "round 0" in next(scratch.glob("*/log")).read_text():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not list(scratch.iterdir())
    needle = os.fsencode(tmp_path)
    left = [
        p
        for p in Path("/proc").glob("[0-9]*/environ")
        if int(p.parent.name) != os.getpid() and needle in _read(p)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# --- it can fail


class Begun:
    """Two trees with the same mail, and their vaults, as a trial has them; no mailkeep is needed to judge them."""

    def __init__(self, base: Path) -> None:
        self.states = [base / name for name in ("one.state", "two.state")]
        trees = []
        for name, state in zip(("one", "two"), self.states, strict=True):
            root = os.fsencode(base / name)
            spool.make(root, Random(3), 12)
            tree = Tree(root, Layout())
            trees.append(tree)
            for file in tree.files():
                kept = state / "objects" / file.content.hex()[:2] / file.content.hex()
                kept.parent.mkdir(parents=True, exist_ok=True)
                if not kept.exists():
                    os.link(tree.path(file.box, file.sub, file.name), kept)
        self.life = Life((trees[0], trees[1]))
        self.life.take_in(0)
        self.life.agreed()
        self.vaults = (judge.Vault(os.fsencode(self.states[0])), judge.Vault(os.fsencode(self.states[1])))
        self.tree = trees[1]
        self.file: Any = next(file for file in self.tree.files() if file.size > 100)
        assert judge.half_done(self.life, self.vaults) == []
        assert judge.at_rest(self.life) == []


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return Begun(tmp_path)


def test_a_message_that_is_gone_from_maildir_and_vault_is_found_lost(begun: Begun) -> None:
    tree, file = begun.tree, begun.file
    os.unlink(tree.path(file.box, file.sub, file.name))
    assert judge.half_done(begun.life, begun.vaults) == [], "the vault still has it"
    name = file.content.hex()
    os.unlink(begun.states[1] / "objects" / name[:2] / name)
    (found,) = judge.half_done(begun.life, begun.vaults)
    assert found.startswith("lost: side 1")
    assert any(text.startswith("lost: side 1") for text in judge.at_rest(begun.life))


def test_a_half_written_message_is_found(begun: Begun) -> None:
    Path(os.fsdecode(begun.tree.path("INBOX", b"new", b"1.half"))).write_bytes(b"Subject: ha")
    assert [text.partition(":")[0] for text in judge.half_done(begun.life, begun.vaults)] == ["half visible"]


def test_a_message_that_is_there_twice_is_found(begun: Begun) -> None:
    tree, file = begun.tree, begun.file
    path = tree.path(file.box, file.sub, file.name)
    os.link(path, tree.path(file.box, file.sub, b"again" + file.name))
    assert [text.partition(":")[0] for text in judge.at_rest(begun.life)] == ["too many"]


def test_a_temporary_file_of_ours_that_stays_is_found(begun: Begun) -> None:
    Path(os.fsdecode(begun.tree.root), "..mailkeep.new").touch()
    assert [text.partition(":")[0] for text in judge.at_rest(begun.life)] == ["left over"]


def test_contents_that_are_sent_again_are_found(begun: Begun) -> None:
    volume = sum(begun.life.sizes.values())
    assert judge.too_much(volume + 200_000, 0, begun.life)
    assert judge.too_much(volume, volume, begun.life) == []


def test_a_content_that_nobody_needs_and_that_stays_is_found(tmp_path: Path) -> None:
    side = Side(tmp_path, "a")
    path = side.deliver(b"", b"deleted", "S")
    side.deliver(b"", b"stays", "S")
    side.create()
    vaults = (judge.Vault(side.state), judge.Vault(side.state))
    assert judge.overdue(vaults) == []
    os.unlink(path)
    side.scan()
    found = judge.overdue(vaults)
    assert [text.partition(":")[0] for text in found] == ["not freed"] * 2
    assert hashlib.sha256(b"deleted").hexdigest() in found[0]
    store = side.open()
    store.index.execute("DELETE FROM record WHERE NOT live")  # as a session leaves them that was cut off
    store.close()
    assert judge.overdue(vaults) == [], "the first clean-up notes those of no message, a later one frees them"


def test_of_a_removed_mailbox_nothing_is_expected_until_somebody_answers(begun: Begun) -> None:
    begun.life.remove_box(0, Random(1))
    ((box, messages),) = begun.life.gone.items()
    assert messages
    assert box not in begun.life.trees[0].boxes()
    assert box in begun.life.trees[1].boxes()
    assert judge.half_done(begun.life, begun.vaults) == [], "the vault has what was in it"
    assert judge.at_rest(begun.life) == []
    life = copy.deepcopy(begun.life)
    life.answered(box, approved=True)
    assert any(text.startswith("too many: side 1") for text in judge.at_rest(life))
    begun.life.answered(box, approved=False)
    assert any(text.startswith("lost: side 0") for text in judge.at_rest(begun.life))


def test_bad_endings_are_found() -> None:
    assert judge.ending(74, "mailkeep: the disk is full") == []
    assert judge.ending(-9, "") == []
    assert judge.ending(1, "Traceback (most recent call last):\n  x\nKeyError: 3")
    assert judge.ending(70, "mailkeep: internal error: x")
    assert judge.ending(75, "") == []


def test_what_is_found_is_told_and_its_evidence_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mailkeep that loses one message in each run."""
    run = Trial.run

    def losing(self: Trial, near: int, fault: Fault, random: Random | None = None) -> Result:
        result = run(self, near, fault, random)
        tree = self.life.trees[0]
        for file in tree.files():
            name = file.content.hex()
            os.unlink(tree.path(file.box, file.sub, file.name))
            (self.sides[0].state / "objects" / name[:2] / name).unlink(missing_ok=True)
            break
        return result

    monkeypatch.setattr(Trial, "run", losing)
    monkeypatch.setenv("HOME", str(tmp_path))
    from mailkeep.cli.main import main

    assert main(["selftest", "--seed", "21", "--time", "5s", "--json"]) == 4
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert any("lost" in text for text in told["findings"])
    assert told["failed_seed"] == 21
    assert "again: mailkeep selftest --seed 21" in shown.err
    assert "FOUND: lost" in (Path(told["evidence"]) / "log").read_text()


def test_plans_of_the_launcher() -> None:
    steps = steps_of("worker:kill@12+")
    assert (steps.at, steps.after, steps.worker) == (12, True, True)
    steps = steps_of("ENOSPC@3")
    assert isinstance(steps.fault, OSError)
    with pytest.raises(AttributeError):
        steps_of("ENOSUCH@3")


def test_life_does_not_touch_on_one_side_what_was_touched_on_the_other(tmp_path: Path) -> None:
    spool.make(os.fsencode(tmp_path / "one"), Random(1), 30)
    spool.make(os.fsencode(tmp_path / "two"), Random(1), 30)
    trees = tuple(Tree(os.fsencode(tmp_path / name), Layout()) for name in ("one", "two"))
    life = Life((trees[0], trees[1]))
    life.take_in(0)
    life.agreed()
    random = Random(2)
    for _ in range(80):
        life.act(random.randrange(2), random)
    contents = [{what for what in touched if isinstance(what, bytes)} for touched in life.touched]
    assert contents[0]
    assert contents[1]
    assert not contents[0] & contents[1]
