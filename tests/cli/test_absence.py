"""Looks deleted, is not: a disk that is not mounted, a directory that is not there, a state that is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow


@pytest.fixture
def kept(pair: Machine) -> Machine:
    """The pair with a mailbox Work of two messages, in step."""
    mailbox(pair.home / "Maildir/.Work", message(10), message(11))
    pair.ok("sync")
    return pair


def everything_there(pair: Machine) -> tuple[list[bytes], ...]:
    return contents(pair.home / "Other"), contents(pair.home / "Other/Work")


def everything(pair: Machine) -> tuple[list[bytes], ...]:
    return tuple(contents(pair.home / name) for name in ("Maildir", "Maildir/.Work", "Other", "Other/Work"))


def hold_and_return(pair: Machine, missing: Path, mailboxes: dict[str, int]) -> None:
    """A directory goes away for a while: its messages are held at most, and when it is back all is as it was."""
    before, away = everything(pair), pair.home / "away"
    # Moved to somewhere else: its files have names still, which nobody can explain.
    missing.rename(away)
    done = pair.run("sync")
    assert done.code == 3, done
    assert "are not where they were" in done.err
    assert "nothing was concluded" in done.err
    assert everything_there(pair) == before[2:]
    # Copied to somewhere else, and removed.
    shutil.copytree(away, pair.home / "copy")
    shutil.rmtree(away)
    away = pair.home / "copy"
    for _ in range(3):
        done = pair.run("sync")
        assert done.code == 5, done
        assert "mailkeep holds" in done.out
        assert contents(pair.home / "Other") == before[2]
        assert contents(pair.home / "Other/Work") == before[3]
    held = pair.run("holds", "--json").json["holds"]
    assert [hold["mailboxes"] for hold in held] == [mailboxes]
    if missing.exists():
        shutil.rmtree(missing)
    away.rename(missing)
    assert pair.run("sync").code == 0
    assert everything(pair) == before
    assert pair.ok("holds", "--json").json["holds"] == []
    assert pair.ok("sync", "--json").json["peers"][0]["same"]
    pair.ok("verify")


@pytest.mark.parametrize("what", [".Work", ".Work/cur"])
def test_a_mailbox_directory_or_its_cur_is_missing(kept: Machine, what: str) -> None:
    hold_and_return(kept, kept.home / "Maildir" / what, {"Work": 2})


def test_the_inboxs_own_cur_is_missing(kept: Machine) -> None:
    hold_and_return(kept, kept.home / "Maildir/cur", {"INBOX": 3})


def test_a_new_that_is_missing_makes_the_mailbox_unknown(kept: Machine) -> None:
    before = everything(kept)
    shutil.rmtree(kept.home / "Maildir/.Work/new")
    files(kept.home / "Maildir/.Work")[0].unlink()
    mailbox(kept.home / "Other", message(60))
    done = kept.run("sync")
    assert done.code == 3, done
    assert ".Work" in done.err
    assert contents(kept.home / "Other/Work") == before[3], "what is unknown is not deleted"
    assert message(60) in contents(kept.home / "Maildir"), "the others flow"
    (kept.home / "Maildir/.Work/new").mkdir()
    kept.ok("sync")
    assert len(contents(kept.home / "Other/Work")) == 1, "now it is known"


@pytest.mark.parametrize("where", ["Maildir", "."])
def test_a_disk_that_is_not_mounted(here: Machine, where: str) -> None:
    """The Maildir itself is the mount point, or lies below one; without the disk there is an empty directory."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    point, disk = here.home / "mnt" / where, here.home / "disk"
    root = here.home / "mnt/Maildir"
    for directory in (point, disk):
        directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "--bind", str(disk), str(point)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr}")
    try:
        mailbox(root, *map(message, range(4)))
        here.ok("init", "--store", "mail", root)
        here.ok("peer", "add", "--store", "mail", "other", here.home / "Other")
        here.ok("init", "--store", "other", "--create", here.home / "Other")
        here.ok("sync", "--store", "mail")
        subprocess.run(["umount", str(point)], check=True)
        mailbox(here.home / "Other", message(20))
        for make in (False, True):
            if make:  # somebody delivers into the directory below the mount point
                mailbox(root, message(30))
            refused = here.run("sync", "--store", "mail")
            assert refused.code == 66, refused
            assert "not touched: anything" in refused.err
            assert len(contents(here.home / "Other")) == 5
        subprocess.run(mount, check=True)
        here.ok("sync", "--store", "mail")
        assert contents(root) == contents(here.home / "Other") == sorted(map(message, (*range(4), 20)))
    finally:
        subprocess.run(["umount", str(point)], check=False, capture_output=True)


@pytest.mark.parametrize("lost", [("mail",), ("other",), ("mail", "other")])
def test_the_state_is_lost_on_one_side_or_on_both(kept: Machine, lost: tuple[str, ...]) -> None:
    """Nothing vanishes, nothing comes twice, flags are united, whoever begins anew."""
    (kept.home / "Maildir/cur" / files(kept.home / "Maildir")[0].name).rename(
        kept.home / "Maildir/cur" / (files(kept.home / "Maildir")[0].name + "T")
    )
    kept.ok("sync")
    before = everything(kept)
    for name in lost:
        shutil.rmtree(kept.state(name))
    done = kept.run("sync")
    assert done.code in (64, 74), done
    assert "marker" in done.err
    assert "mailkeep rebuild" in done.err or "init --adopt" in done.err
    assert everything(kept) == before
    mailbox(kept.home / "Maildir", message(80))  # mail goes on coming
    mailbox(kept.home / "Other/Work", message(81))
    for name in lost:
        kept.ok("rebuild", "--store", name)
    kept.ok("sync")
    kept.ok("sync")
    mine = everything(kept)
    assert mine[0] == mine[2] == sorted([*before[0], message(80)])
    assert mine[1] == mine[3] == sorted([*before[1], message(81)])
    for name in ("Maildir", "Other"):
        assert [file.name[-2:] for file in files(kept.home / name)].count("ST") == 1
    assert kept.ok("sync", "--json").json["peers"][0]["same"]
    for name in ("mail", "other"):
        kept.ok("verify", "--store", name)
