"""why, show, log --since, ls, undelete, undo, restore --at: what they say, what they refuse, and hostile mail in their way."""

from __future__ import annotations

import json
import mailbox as standard
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.machine import Machine, contents, files, mailbox

pytestmark = pytest.mark.slow


def mail(number: int, sender: str = "Ada <ada@post.example>", subject: str = "", ident: str = "") -> bytes:
    return (
        f"From: {sender}\nSubject: {subject or f'number {number}'}\nMessage-ID: <{ident or f'm{number}@post.example'}>\n\n"
        f"body {number}\nFrom here on: more\n"
    ).encode()


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "home")
    mailbox(machine.home / "Maildir", *(mail(n) for n in range(6)))
    mailbox(
        machine.home / "Maildir/.Work", *(mail(n, "Bob <bob@post.example>") for n in range(6, 9)), flags="FS"
    )
    for file in (machine.home / "Maildir").rglob("*:2,*"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    return machine


def remove(here: Machine, *numbers: int) -> None:
    for file in [*files(here.home / "Maildir"), *files(here.home / "Maildir/.Work")]:
        if any(f"\nbody {n}\n".encode() in file.read_bytes() for n in numbers):
            file.unlink()


def asked(here: Machine, *words: str | Path) -> Any:
    return here.ok(*words, "--json").json


def refused(here: Machine, *words: str | Path, code: int) -> str:
    done = here.run(*words)
    assert done.code == code, done
    assert "not touched" in done.err
    assert "to do" in done.err
    return done.err


def test_why_by_everything_that_names_a_message(here: Machine) -> None:
    path = next(f for f in files(here.home / "Maildir") if b"body 2\n" in f.read_bytes())
    assert asked(here, "why", path)["messages"][0]["message_id"] == "m2@post.example"
    copy = here.home / "copy"
    copy.write_bytes(path.read_bytes())
    remove(here, 2)
    here.ok("undelete", "--dry-run", "--all")
    (one,) = asked(here, "why", "m2@post.example")["messages"]
    assert one["lives"], "what happened since the last run is not known yet"
    here.ok("undelete", "id:nothing@x")
    content = one["content"]
    for words in (["<m2@post.example>"], ["m2@post.example"], [str(copy)], ["copy"], [content], [content[:8]], ["subject:number 2"],
                  ["from:ada", "id:m2@post.example"]):  # fmt: skip
        answer = asked(here, "why", *words)
        assert answer["matching"] == 1, words
        (one,) = answer["messages"]
        (place,) = one["places"]
        assert (one["content"], one["lives"], one["in_vault"]) == (content, False, True)
        assert (place["mailbox"], place["live"], place["held"]) == ("INBOX", False, None)
        assert [event["what"] for event in place["events"]] == ["arrived", "removed"]
        assert (place["removed"]["cause"], place["removed"]["run"], place["removed"]["writer"]) == (
            "scan",
            2,
            "here",
        )
        assert place["keep_until"]
        assert place["rule"] == "retention 90d (default)"
    said = here.ok("why", "m2@post.example").out
    assert "mailkeep undelete id:m2@post.example" in said
    assert asked(here, "why", "from:bob", "--last", "2")["matching"] == 3
    assert "Work: is here" in here.ok("why", "from:bob").out


def test_why_says_by_which_rule_it_is_kept(here: Machine) -> None:
    here.ok("annotate", "INBOX", "retention", "10d")
    remove(here, 2)
    here.ok("undelete", "id:nothing@x")
    (one,) = asked(here, "why", "m2@post.example")["messages"]
    assert one["places"][0]["rule"] == "retention 10d, as annotated on INBOX"
    here.ok("annotate", "INBOX", "noexpire", "forever")
    (one,) = asked(here, "why", "m2@post.example")["messages"]
    assert "legal hold" in one["places"][0]["rule"]


def test_what_was_purged_is_said_to_be(here: Machine) -> None:
    here.ok("annotate", "INBOX", "retention", "0d")
    here.ok("why", "m2@post.example")
    remove(here, 2)
    here.ok("expire")
    (one,) = asked(here, "why", "m2@post.example")["messages"]
    assert one["in_vault"] is False
    assert "purged" in here.ok("why", one["content"]).out
    done = here.run("undelete", "--mailbox", "INBOX")
    assert done.code == 3
    assert "cannot come back: expunged 20" in done.out
    assert "purged since" in done.out
    done = here.run("undo", str(one["places"][0]["removed"]["run"]), "--json")
    assert done.code == 3
    assert [row["why"] for row in done.json["not_undone"]] == ["its content was purged"]


def test_nothing_is_known_of_what_was_never_there(here: Machine) -> None:
    for word in ("<nobody@x>", "from:nobody", "0123456789abcdef", str(here.home / "no/such/file"), "--", "'"):
        refused(here, "why", *([word] if word != "--" else ["--", "-x"]), code=66)
    refused(here, "why", "flag:", code=64)
    refused(here, "show", "99", code=66)
    refused(here, "show", "x", code=66)
    refused(here, "undo", "9" * 400, code=66)
    refused(here, "undelete", code=64)
    refused(here, "undelete", "--since", "run 1", code=64)
    refused(here, "undelete", "--mailbox", "No/Such", code=66)
    refused(here, "undelete", "--all", "--to", "a//b", code=64)
    refused(here, "ls", "Nowhere", code=66)
    refused(here, "ls", "--at", "the other day", code=64)
    assert "history begins with run 1" in refused(here, "ls", "--at", "2001-01-01", code=66)
    assert "history begins with run 1" in refused(here, "restore", "--at", "2001-01-01", code=66)
    refused(here, "restore", "--at", "run 1", "--to", here.home / "Maildir/new", code=64)
    refused(here, "restore", "--at", "run 1", "--to", here.home / "no/such", code=66)
    refused(here, "restore", "--at", "run 1", "Nowhere", code=66)


EVIL = "\x1b[2J\x1b]0;owned\x07 red\u202eherring"


def test_mail_that_is_hostile_is_shown_harmlessly(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    evil = [
        mail(0, EVIL, EVIL, "evil\x1b[31m@x"), b"\xff\xfe\x00" * 100, b"", b"From: \n" * 1000, b"Subject:" + b"x" * 100_000 + b"\n\n",
        mail(1, "=?utf-8?B?G1szMW0=?=", "=?utf-8?Q?=1B]0;x=07?="), b"Message-ID: <-x --all@y>\n\n",
    ]  # fmt: skip
    mailbox(machine.home / "Maildir", *evil)
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    for file in files(machine.home / "Maildir"):
        file.unlink()
    said = []
    for words in (
        ["undelete", "--dry-run", "--all"], ["undelete", "--all", "-v"], ["show", "1", "-v"], ["show", "2", "-v"], ["ls", "INBOX"],
        ["ls", "INBOX", "--at", "run 1"], ["why", "mailbox:INBOX", "-v"], ["undo", "--dry-run", "2", "-v"], ["log"],
        ["restore", "--at", "run 1", "INBOX"],
    ):  # fmt: skip
        done = machine.ok(*words)
        said.append(done.out + done.err)
        machine.ok(*words, "--json")
    for text in said:
        assert all(char == "\n" or char.isprintable() for char in text), ascii(text)
    assert sorted(contents(machine.home / "Maildir")) == sorted(evil)


def test_what_is_to_be_typed_can_be_typed(tmp_path: Path) -> None:
    """A Message-ID is its sender's choice; the command that is shown for it runs nothing else."""
    machine = Machine(tmp_path / "home")
    evil = "$(touch${IFS}owned);`touch${IFS}owned`&'touch'@x"
    mailbox(machine.home / "Maildir", mail(0, ident=evil))
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    files(machine.home / "Maildir")[0].unlink()
    machine.ok("undelete", "id:nothing@x")
    (line,) = [
        line for line in machine.ok("why", "mailbox:INBOX").out.splitlines() if "brings it back" in line
    ]
    typed = (
        line.strip().removesuffix(" brings it back").replace("mailkeep", f"{sys.executable} -m mailkeep", 1)
    )
    subprocess.run(
        ["/bin/sh", "-c", typed], env=machine.environment(), cwd=machine.home, check=True, timeout=60
    )
    assert not (machine.home / "owned").exists()
    assert len(contents(machine.home / "Maildir")) == 1


def test_log_since_and_show_filtered(here: Machine) -> None:
    remove(here, 1, 2)
    for file in files(here.home / "Maildir/.Work"):
        file.rename(str(file) + "T")
    (here.home / "Maildir/.New/cur").mkdir(parents=True)
    for part in ("new", "tmp"):
        (here.home / "Maildir/.New" / part).mkdir()
    here.ok("undelete", "id:nothing@x")
    assert [run["run"] for run in asked(here, "log", "--since", "1 hour ago")["runs"]] == [2, 1]
    assert asked(here, "log", "--since", "9998-01-01")["runs"] == []
    every = asked(here, "show", "2")
    assert every["totals"] == {"removed": 2, "flagged": 3, "mailbox": 1}
    assert {row["before"]["flags"] for row in every["changes"] if row["kind"] == "flagged"} == {"FOS"}
    assert {row["after"]["flags"] for row in every["changes"] if row["kind"] == "flagged"} == {"FOST"}
    assert [box["mailbox"] for box in every["mailboxes"]] == ["New"]
    for words, count in (
        (["--kind", "removed"], 2), (["--mailbox", "Work"], 3), (["from:bob"], 3), (["--kind", "removed", "from:bob"], 0),
        (["subject:number 1"], 1), (["--last", "2"], 2),
    ):  # fmt: skip
        assert len(asked(here, "show", "2", *words)["changes"]) == count, words
    assert "3 changes more" in here.ok("show", "2", "--last", "2").out


def test_a_run_that_was_cut_off_is_listed_and_can_be_undone(here: Machine) -> None:
    from mailkeep.store.index import Index

    remove(here, 1)
    here.ok("undelete", "id:nothing@x")
    index = Index.open(str(here.state() / "index.db"))
    with index.transaction():
        index.execute("UPDATE run SET ended = NULL, status = NULL WHERE no = 2")
    index.close()
    assert "cut off" in here.ok("log").out
    here.ok("undo", "2")
    assert len(contents(here.home / "Maildir")) == 6


def test_ls_is_what_is_there_and_what_was(here: Machine) -> None:
    remove(here, 1, 7)
    (here.home / "Maildir/.Work").rename(here.home / "Maildir/.Play")
    here.ok("undelete", "id:nothing@x")
    now = asked(here, "ls")["mailboxes"]
    assert {(box["mailbox"], box["messages"]) for box in now} == {("INBOX", 5), ("Play", 2)}
    then = asked(here, "ls", "--at", "run 1")
    assert {(box["mailbox"], box["messages"], box["now"]) for box in then["mailboxes"]} == {
        ("INBOX", 6, "INBOX"), ("Work", 3, "Play"),
    }  # fmt: skip
    assert then["run"] == 1
    work = asked(here, "ls", "Work", "--at", "before run 2")
    assert (work["messages"], work["removed_since"]) == (3, 1)
    assert {(row["subject"], row["live"]) for row in work["list"]} == {
        ("number 6", True), ("number 7", False), ("number 8", True),
    }  # fmt: skip
    assert asked(here, "ls", "INBOX", "--at", "run 1", "subject:number 1")["matching"] == 1
    assert len(asked(here, "ls", "INBOX", "--last", "2")["list"]) == 2
    assert "the last 2 are listed" in here.ok("ls", "INBOX", "--last", "2").out
    assert asked(here, "ls", "--at", "before run 1")["mailboxes"] == []


def test_a_dry_run_changes_nothing(here: Machine) -> None:
    remove(here, 1, 2)

    def state() -> tuple[list[bytes], list[Any]]:
        return contents(here.home / "Maildir"), asked(here, "log")["runs"]

    before = state()
    assert asked(here, "undelete", "--all", "--dry-run")["returned"] == 2
    assert asked(here, "undo", "1", "--dry-run", "--approve")["counts"]["removed"] == 7
    assert asked(here, "restore", "--at", "run 1")["returned"] == 2
    assert asked(here, "restore", "--at", "run 1", "--to", here.home / "out", "--dry-run")["written"] == 0
    assert not (here.home / "out").exists()
    assert state() == before


def test_undo_of_a_part(here: Machine) -> None:
    remove(here, 1, 2, 7)
    here.ok("undelete", "id:nothing@x")
    here.ok("undo", "2", "from:bob")
    assert len(contents(here.home / "Maildir/.Work")) == 3
    assert len(contents(here.home / "Maildir")) == 4
    here.ok("undo", "2", "--kind", "removed", "--mailbox", "INBOX")
    assert len(contents(here.home / "Maildir")) == 6
    assert "undo 2" in here.ok("log").out


def test_conflicts_are_shown_and_say_so_by_the_status(here: Machine) -> None:
    mailbox(here.home / "Maildir", mail(20), mail(21))
    here.ok("undelete", "id:nothing@x")
    file = next(f for f in files(here.home / "Maildir") if b"body 20\n" in f.read_bytes())
    file.rename(str(file).replace(":2,S", ":2,FS"))
    done = here.run("undo", "2")
    assert done.code == 3
    assert "its flags were changed since" in done.out
    assert "number 20" in done.out
    assert len(contents(here.home / "Maildir")) == 7
    here.ok("undo", "2", "--force")
    assert len(contents(here.home / "Maildir")) == 6


def test_the_guard_holds_back_what_undo_would_remove(here: Machine) -> None:
    here.configure("[stores.mail.guard]\ncount = 3\nminimum = 1")
    done = here.run("undo", "1")
    assert done.code == 5
    assert "mailkeep undo --approve 1" in done.out
    assert len(contents(here.home / "Maildir")) == 6
    assert len(contents(here.home / "Maildir/.Work")) == 3


def test_written_out_as_mbox_it_can_be_read_by_others(here: Machine) -> None:
    before = contents(here.home / "Maildir")
    remove(here, 1)
    here.ok("restore", "--at", "run 1", "--to", here.home / "out", "--format", "mbox")
    box = standard.mbox(here.home / "out/INBOX.mbox", create=False)
    try:
        assert len(box) == 6
        assert sorted(str(m.get_payload()) for m in box) == sorted(
            data.decode().partition("\n\n")[2].replace("\nFrom ", "\n>From ") for data in before
        )
        assert {m.get_flags() for m in box} == {"RO"}
        sent = {time.strptime(m.get_from().partition(" ")[2], "%a %b %d %H:%M:%S %Y")[:3] for m in box}
        assert sent == {(2023, 11, 14)}
    finally:
        box.close()
    assert os.stat(here.home / "out").st_mode & 0o777 == 0o700
    box = standard.mbox(here.home / "out/Work.mbox", create=False)
    assert {m.get_flags() for m in box} == {"ROF"}
    box.close()


def test_held_deletions_are_said_and_not_looked_at(here: Machine) -> None:
    here.configure("[stores.mail.guard]\ncount = 1\nminimum = 1")
    remove(here, 1, 2, 3)
    answer = asked(here, "undelete", "--all")
    assert (answer["returned"], answer["held"]) == (0, 3)
    assert "mailkeep reject" in here.ok("undelete", "--all").out
    done = asked(here, "why", "m1@post.example")["messages"][0]["places"][0]
    assert done["held"] == 1
    assert "hold 1" in done["rule"]


def test_busy_is_busy(here: Machine) -> None:
    import fcntl

    with (here.state() / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["undelete", "--all"], ["undo", "1"], ["restore", "--at", "run 1", "--yes"]):
            done = here.run(*words, "--json")
            assert done.code == 6, done
            assert json.loads(done.out)["error"]["name"] == "busy"
        for words in (["ls"], ["log"], ["show", "1"], ["why", "m1@post.example"]):
            here.ok(*words)
