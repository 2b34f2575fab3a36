"""docs/how-to/copies.md, done for real, in the order of the page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from docs.pages import SPAN, blocks, read
from interop.machines import Machine, contents, deliver, mails, make_mailbox, message

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/copies.md"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "laptop")
    make_mailbox(machine.mail, "", ".Work.Old", ".Empty")
    for number in range(40):
        deliver(
            machine.mail,
            (".Work", "", ".Work.Old")[number % 3],
            message(number),
            number,
            ("S", "FS", None)[number % 3],
        )
    deliver(
        machine.mail, "", message(1, seed="anna").replace(b"ada@post.example", b"anna@example.org"), 99, "FRS"
    )
    machine.mailkeep("init", "--store", "mail", machine.mail)
    machine.settle()
    return machine


def typed(machine: Machine, *, status: int | tuple[int, ...] = 0) -> list[list[str]]:
    """The blocks of the page, as they are typed here: the disk that they name is a directory of this home."""
    disk = machine.home / "backup"
    disk.mkdir(exist_ok=True)
    text = read(PAGE).replace("/media/backup", str(disk)).replace("~/", f"{machine.home}/")
    return [block.strip().splitlines() for block in blocks(text)]


def test_the_page_from_beginning_to_end(machine: Machine, tmp_path: Path) -> None:
    snapshot, exports, verify, sums, imports, new = typed(machine)
    before = mails(machine.mail)
    for line in (*snapshot, *exports, *verify):
        machine.run(["/bin/sh", "-c", line])
    copy = machine.home / "backup/mail-2026-01-31"
    done = subprocess.run(["/bin/sh", "-c", sums[0]], cwd=copy, capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
    work = json.loads(machine.mailkeep("verify-copy", "--json", machine.home / "backup/work").stdout)
    anna = json.loads(machine.mailkeep("verify-copy", "--json", machine.home / "anna").stdout)
    assert (work["messages"], work["mailboxes"]) == (27, 2)
    assert (anna["messages"], anna["chosen"]) == (0, ["from:anna@example.org", "date:2025.."])
    machine.run(["/bin/sh", "-c", imports[0]])
    assert "0 messages added; 41 were there already" in machine.run(["/bin/sh", "-c", imports[1]]).stdout
    assert mails(machine.mail) == before

    other = Machine(tmp_path / "other")
    for line in new:
        other.run(["/bin/sh", "-c", line.replace(str(machine.home / "Maildir"), str(other.mail))])
    assert mails(other.mail) == before
    assert (other.mail / ".Empty/cur").is_dir()


def test_every_key_of_json_is_documented(machine: Machine) -> None:
    documented = set(SPAN.findall(read("docs/reference/json.md")))
    copy = machine.home / "copy"
    for words in (
        ("snapshot", "--expunged", copy), ("export", "flag:flagged", machine.home / "some"), ("verify-copy", copy),
        ("import", "--dry-run", copy), ("import", "--expunged", "--deleted-too", copy),
    ):  # fmt: skip
        value = json.loads(machine.mailkeep(words[0], "--json", *words[1:]).stdout)
        assert value["exit"] == 0
        assert set(value) - documented == set(), words[0]


def test_statuses_are_those_of_the_page(machine: Machine) -> None:
    """3 where something stayed expunged, 4 where something is damaged, and words that say what to do."""
    copy = machine.home / "copy"
    machine.mailkeep("snapshot", copy)
    assert "is there already" in machine.mailkeep("snapshot", copy, status=64).stderr
    gone = sorted((machine.mail / "cur").iterdir())[0]
    before = contents(machine.mail)
    gone.unlink()
    machine.settle()
    said = machine.mailkeep("import", copy, status=3).stderr
    assert "1 message of the copy were expunged here since" in said
    (command,) = re.findall(r"mailkeep import --deleted-too", said)
    machine.mailkeep(*command.split()[1:], copy)
    assert contents(machine.mail) == before
    victim = sorted((copy / "Maildir/cur").iterdir())[0]
    victim.chmod(0o600)
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    assert victim.name in machine.mailkeep("verify-copy", copy, status=4).stderr
    other = machine.home / "Other"
    machine.mailkeep("init", "--store", "other", "--create", other)
    assert victim.name in machine.mailkeep("import", "--store", "other", copy, status=4).stderr
    assert len(contents(other)) == 40
    assert (
        "no such"
        not in machine.mailkeep("import", "--store", "mail", machine.home / "nowhere", status=66).stderr
    )
    assert (
        "what is chosen is either"
        in machine.mailkeep(
            "export", "--store", "mail", "Work", "from:x", machine.home / "x", status=64
        ).stderr
    )


def test_a_dry_run_takes_nothing_in(machine: Machine) -> None:
    copy = machine.home / "copy"
    machine.mailkeep("snapshot", copy)
    other = machine.home / "Other"
    machine.mailkeep("init", "--store", "other", "--create", other)
    state = machine.home / ".local/state/mailkeep/other"

    def seen() -> list[tuple[str, int, int]]:
        paths = [p for top in (other, state) for p in top.rglob("*")]
        return sorted(
            (str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths if "index.db" not in p.name
        )

    before = seen()
    value = json.loads(machine.mailkeep("import", "--dry-run", "--json", "--store", "other", copy).stdout)
    assert (value["added"], value["mailboxes"], value["dry_run"]) == (41, 3, True)
    assert [one for one in seen() if "lock" not in one[0]] == [one for one in before if "lock" not in one[0]]
    value = json.loads(machine.mailkeep("import", "--json", "--store", "other", copy).stdout)
    assert (value["added"], value["mailboxes"]) == (41, 3)


def test_an_import_is_a_run_of_its_own_that_can_be_undone(machine: Machine) -> None:
    """What the scan before it found is not undone with it."""
    copy = machine.home / "copy"
    machine.mailkeep("export", "Work", copy)
    before = contents(machine.mail)
    other = Machine(machine.home / "other")
    make_mailbox(other.mail, "")
    other.mailkeep("init", "--store", "mail", other.mail)
    deliver(other.mail, "", message(500), 500)
    other.mailkeep("import", copy)
    assert len(contents(other.mail)) == 28
    runs = json.loads(other.mailkeep("log", "--json").stdout)["runs"]
    assert [run["verb"] for run in runs[:2]] == ["import", "scan"]
    other.mailkeep("undo", str(runs[0]["run"]))
    assert len(contents(other.mail)) == 1
    assert contents(machine.mail) == before
