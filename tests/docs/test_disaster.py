"""docs/how-to/disaster.md, done for real: each section's trouble, and what the page tells to type."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from docs.pages import blocks, read
from interop.machines import Machine, contents, deliver, mails, make_mailbox, message

pytestmark = pytest.mark.slow

COUNT = 60


def typed(start: str) -> str:
    """The block of the page that has this in it."""
    (found,) = [block for block in blocks(read("docs/how-to/disaster.md")) if start in block]
    return found


(STATE_LOST,) = [
    block for block in blocks(read("docs/how-to/disaster.md")) if block.strip() == "mailkeep rebuild"
]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    laptop, server = Machine(tmp_path / "laptop"), Machine(tmp_path / "server")
    for number in range(COUNT):
        deliver(
            laptop.mail, ".Work" if number % 3 else "", message(number), number, "FS" if number % 2 else "S"
        )
    make_mailbox(server.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    laptop.sync()
    laptop.settle()
    return laptop, server


def test_maildir_lost_is_put_back_from_the_vault(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    before = mails(laptop.mail)
    laptop.mail.rename(laptop.home / "unmounted")
    assert laptop.mailkeep("sync", status=66).stderr.count("is not there") == 1
    laptop.mail.mkdir()
    assert "marker" in laptop.mailkeep("sync", status=66).stderr
    laptop.mail.rmdir()
    laptop.run(["/bin/sh", "-c", typed("--adopt --force")])
    assert mails(laptop.mail) == before
    assert laptop.sync()["exit"] == 0
    assert mails(server.mail) == before
    assert laptop.sync()["same"]


def test_maildir_from_a_backup_gets_back_what_it_lacks(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    backup = laptop.home / "backup"
    shutil.copytree(laptop.mail, backup, symlinks=True)
    for number in range(100, 110):
        deliver(laptop.mail, ".Work", message(number), number, "S")
    laptop.settle()
    assert laptop.sync()["there"]["added"] == 10
    before = contents(laptop.mail)
    shutil.rmtree(laptop.mail)
    backup.rename(laptop.mail)
    assert laptop.sync()["exit"] == 0
    assert contents(laptop.mail) == before
    assert contents(server.mail) == before


def test_state_from_a_backup_becomes_a_new_replica(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    state = laptop.home / ".local/state/mailkeep/mail"
    backup = laptop.home / "backup.db"
    shutil.copy2(state / "index.db", backup)
    deliver(laptop.mail, "", message(200), 200, "S")
    laptop.settle()
    laptop.sync()
    replica = laptop.mailkeep("status", "--json").stdout.split('"replica": "')[-1][:16]
    for file in state.glob("index.db*"):
        file.unlink()
    shutil.copy2(backup, state / "index.db")
    laptop.sync()
    assert laptop.sync()["exit"] == 0
    assert mails(laptop.mail) == mails(server.mail)
    assert len(contents(laptop.mail)) == COUNT + 1
    assert replica != laptop.mailkeep("status", "--json").stdout.split('"replica": "')[-1][:16]


@pytest.mark.parametrize("backup", [True, False], ids=["backup", "none"])
def test_index_damaged_is_rebuilt(pair: tuple[Machine, Machine], backup: bool) -> None:
    laptop, server = pair
    state = laptop.home / ".local/state/mailkeep/mail"
    if not backup:
        shutil.rmtree(state / "backups")
    deliver(laptop.mail, "", message(300), 300, "S")
    before = contents(laptop.mail)
    with (state / "index.db").open("r+b") as file:
        file.truncate(20_000)
    assert "mailkeep rebuild" in laptop.mailkeep("sync", status=74).stderr
    laptop.run(["/bin/sh", "-c", typed("mailkeep rebuild --dry-run")])
    assert laptop.sync()["exit"] == 0
    assert contents(laptop.mail) == contents(server.mail) == before
    assert laptop.sync()["same"]
    laptop.mailkeep("verify")
    assert len(list((state / "damaged").glob("*.index.db"))) == 1


def test_everything_is_made_messages_again_from_the_vault(pair: tuple[Machine, Machine]) -> None:
    laptop, _ = pair
    before = set(contents(laptop.mail))
    shutil.rmtree(laptop.mail)
    make_mailbox(laptop.mail, "")
    (laptop.home / ".local/state/mailkeep/mail/index.db").unlink()
    shutil.rmtree(laptop.home / ".local/state/mailkeep/mail/backups")
    laptop.run(["/bin/sh", "-c", typed("--recover Recovered")])
    assert set(contents(laptop.mail / ".Recovered")) == before


def test_state_lost_begins_anew(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    before = contents(laptop.mail)
    shutil.rmtree(laptop.home / ".local/state/mailkeep/mail")
    done = laptop.mailkeep("sync", status=74)
    assert "mailkeep rebuild" in done.stderr
    laptop.run(["/bin/sh", "-c", STATE_LOST])
    assert laptop.sync()["exit"] == 0
    assert contents(laptop.mail) == before
    assert contents(server.mail) == before
    assert laptop.sync()["same"]


def test_a_deleted_message_is_found_in_the_vault(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    victim = next((laptop.mail / "cur").iterdir())
    data = victim.read_bytes()
    victim.unlink()
    time.sleep(0.05)
    assert laptop.sync()["there"]["expunged"] == 1
    subject = data.split(b"Subject: ", 1)[1].split(b"\n", 1)[0].decode()
    change, find, copy = typed("grep -rl").strip().splitlines()
    found = laptop.run(
        ["/bin/sh", "-c", f"{change}; {find}".replace("Boat trailer", subject + "$")]
    ).stdout.split()
    assert len(found) == 1
    laptop.run(["/bin/sh", "-c", f"{change}; {copy}".replace("ab/abcd...", found[0])])
    laptop.settle()
    assert laptop.sync()["there"]["added"] == 1
    assert len(contents(server.mail)) == COUNT
    assert contents(laptop.mail) == contents(server.mail)


def test_the_vault_is_audited_without_mailkeep(pair: tuple[Machine, Machine]) -> None:
    laptop, _ = pair
    audit = typed("sha256sum --check")
    laptop.run(["/bin/sh", "-c", audit])
    file = next((laptop.home / ".local/state/mailkeep/mail/objects").glob("*/*"))
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b"x")
    assert laptop.run(["/bin/sh", "-c", audit], status=None).returncode != 0
    laptop.mailkeep("verify", status=4)
