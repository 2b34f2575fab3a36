"""`mailkeep doctor`: each way in which a set-up breaks is told, with why it matters and what to type, and nothing is changed."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.machine import Machine, files, mailbox, message

pytestmark = pytest.mark.slow


def found(machine: Machine, *words: str, code: int = 4) -> list[dict[str, Any]]:
    done = machine.run("doctor", "--json", *words)
    assert done.code == code, done
    assert "Traceback" not in done.err
    rows: list[dict[str, Any]] = [row for row in done.json["findings"] if row["level"] != "fine"]
    for row in rows:
        assert set(row) == {"level", "subject", "what", "why", "command"}
        assert row["what"], row
        if row["level"] == "fault":
            assert row["why"], row
            assert row["command"], row
    return rows


def tells(rows: list[dict[str, Any]], what: str, command: str = "", level: str = "fault") -> dict[str, Any]:
    for row in rows:
        if what in row["what"] and command in row["command"] and row["level"] == level:
            return row
    raise AssertionError((what, command, level, rows))


def tree(home: Path) -> dict[str, tuple[int, int, int, int]]:
    """Everything in a home, but for what SQLite keeps for readers and what the peer's own run touches."""
    out = {}
    for at, _, names in os.walk(home):
        for name in names:
            st = os.lstat(os.path.join(at, name))
            path = os.path.relpath(os.path.join(at, name), home)
            if not path.endswith(("-shm", "-wal", ".clock", "lock", "config.cache")):
                out[path] = (st.st_ino, st.st_size, st.st_mtime_ns, st.st_mode)
    return out


def test_a_sound_set_up_has_no_finding_and_stays_as_it_is(pair: Machine) -> None:
    pair.ok("sync")
    before = tree(pair.home)
    assert found(pair, code=0) == []
    assert tree(pair.home) == before
    assert "nothing is wrong" in pair.ok("doctor").out
    assert "fine: peer other" in pair.ok("doctor", "-v").out


def test_no_configuration_and_a_broken_one(here: Machine) -> None:
    tells(found(here), "no store is configured", "mailkeep init")
    here.config.parent.mkdir(parents=True)
    here.config.write_text("[stores.mail\n")
    tells(found(here), "at line 1", "correct that line")


def test_maildir_gone_and_marker_missing_or_of_another_store(pair: Machine) -> None:
    pair.ok("sync")
    root = pair.home / "Maildir"
    root.rename(pair.home / "away")
    tells(found(pair, "--offline"), "is not there", "findmnt")
    root.mkdir()
    tells(found(pair, "--offline"), "its marker ..mailkeep is missing", "mailkeep init --adopt")
    shutil.copy(pair.home / "Other/..mailkeep", root / "..mailkeep")
    tells(found(pair, "--offline"), "belongs to another mailkeep store", "mailkeep rebuild")


def test_an_older_marker_is_a_backup(pair: Machine) -> None:
    pair.ok("sync")
    old = (pair.home / "Maildir/..mailkeep").read_bytes()
    for number in (60, 61):
        mailbox(pair.home / "Maildir", message(number))
        pair.ok("sync")
    (pair.home / "Maildir/..mailkeep").write_bytes(old)
    tells(found(pair, "--offline", code=0), "the Maildir came from a backup", "mailkeep sync", "note")


@pytest.mark.parametrize("damage", ["lost", "empty", "cut", "page", "state"])
def test_index_or_state_lost_or_damaged(pair: Machine, damage: str) -> None:
    pair.ok("sync")
    index = pair.state() / "index.db"
    if damage == "state":
        shutil.rmtree(pair.state())
    elif damage == "lost":
        index.unlink()
    elif damage == "page":
        data = bytearray(index.read_bytes())
        data[4096 * 3 : 4096 * 4] = bytes(4096)
        index.write_bytes(data)
    else:
        os.truncate(index, 0 if damage == "empty" else 5000)
    tells(found(pair, "--offline"), "", "mailkeep rebuild")


def test_state_that_others_can_enter_and_state_in_a_mail_tree(here: Machine) -> None:
    mailbox(here.home / "Maildir", message(1))
    here.ok("init", "--store", "mail", here.home / "Maildir")
    here.state().chmod(0o755)
    tells(found(here), "other users can enter", "chmod 700")
    here.state().chmod(0o700)
    inside = here.home / "Maildir/.mailkeep"
    here.state().rename(inside)
    here.config.write_text(f'[stores.mail]\npath = "{here.home}/Maildir"\nstate = "{inside}"\n')
    assert "IMAP DELETE" in tells(found(here), "would lie inside the Maildir", "mv ")["why"]
    database = here.home / "all"
    (database / ".notmuch").mkdir(parents=True)
    inside.rename(database / "state")
    here.config.write_text(f'[stores.mail]\npath = "{here.home}/Maildir"\nstate = "{database}/state"\n')
    tells(found(here), "notmuch database", "mv ")


def test_what_is_no_file_and_mail_from_the_future(pair: Machine) -> None:
    cur = pair.home / "Maildir/cur"
    os.mkfifo(cur / "fifo:2,S")
    (cur / "link:2,S").symlink_to("/etc/passwd")
    os.utime(files(pair.home / "Maildir")[0], (4_000_000_000, 4_000_000_000))
    rows = found(pair, "--offline")
    tells(rows, "2 things in cur or new are no files", "ls -l")
    tells(rows, "dated in the future", "timedatectl", "note")


def test_a_name_that_is_no_mailbox(pair: Machine) -> None:
    mailbox(pair.home / "Maildir/.a..b", message(5))
    rows = found(pair, "--offline")
    tells(rows, "is no mailbox", "mv ")


def test_held_deletions(pair: Machine) -> None:
    mailbox(pair.home / "Maildir", *map(message, range(10, 17)))
    pair.configure("[stores.mail.guard]\ncount = 4")
    pair.ok("sync")
    for file in files(pair.home / "Maildir")[:6]:
        file.unlink()
    assert pair.run("sync").code == 5
    tells(found(pair, "--offline"), "deletions wait for you", "mailkeep approve")


def test_another_run_has_the_lock(pair: Machine) -> None:
    fd = os.open(pair.state() / "lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"process 4711", 0)
        tells(
            found(pair, "--offline", code=0),
            "another run has the store (process 4711)",
            "ps -fp 4711",
            "note",
        )
    finally:
        os.close(fd)


def test_peers_that_are_gone_chatty_or_have_no_mailkeep(pair: Machine) -> None:
    for name, command in (
        ("chatty", "echo Welcome; cat >/dev/null"),
        ("none", "exit 127"),
        ("silent", "exit 0"),
        ("lacks", "nonexistent-program serve"),
    ):
        pair.ok("peer", "add", name, "--command", command)
    shutil.rmtree(pair.home / "Other/cur")
    (pair.home / "Other/..mailkeep").unlink()
    rows = found(pair)
    by_peer = {row["subject"]: row["what"] for row in rows}
    assert "another program answers: Welcome" in by_peer["peer chatty"]
    assert "no mailkeep at the far end" in by_peer["peer none"]
    assert "nothing answers" in by_peer["peer silent"]
    assert "no mailkeep at the far end" in by_peer["peer lacks"]
    assert "marker" in by_peer["peer other"]
    shutil.rmtree(pair.home / "Other")
    assert "is not there" in {row["subject"]: row["what"] for row in found(pair)}["peer other"]


def test_no_backup_of_the_index_and_what_a_rebuild_put_aside(pair: Machine) -> None:
    shutil.rmtree(pair.state() / "backups")
    (pair.state() / "damaged").mkdir()
    (pair.state() / "damaged/object.x").write_bytes(b"x")
    rows = found(pair, "--offline", code=0)
    tells(rows, "no backup of the index", "mailkeep backup", "note")
    tells(rows, "1 file in", "ls -l", "note")
