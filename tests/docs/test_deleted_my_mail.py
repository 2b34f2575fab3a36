"""docs/how-to/deleted-my-mail.md, done for real: every command of the page, in its order, with the trouble that it is for."""

from __future__ import annotations

import contextlib
import json
import mailbox
import re
import time
from pathlib import Path

import pytest

from docs.pages import SPAN, blocks, prose, read
from interop.machines import Machine, deliver, mails, make_mailbox, message

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/deleted-my-mail.md"
COUNT = 60


def boat(number: int) -> bytes:
    return message(number, seed="boat")


class Reader:
    """Somebody who types what the page says, with the numbers that he sees."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run = 0
        self.blocks = [block.strip().splitlines() for block in blocks(read(PAGE))]

    def last_run(self, verb: str) -> int:
        runs = json.loads(self.machine.mailkeep("log", "--json").stdout)["runs"]
        return next(int(run["run"]) for run in runs if run["verb"] == verb)

    def types(self, start: str, *, status: int | tuple[int, ...] = 0) -> list[str]:
        """All of the block that begins so; what each line said."""
        (block,) = [block for block in self.blocks if block[0].startswith(start)]
        self.blocks.remove(block)
        return [self.one(line, status) for line in block]

    def one(self, line: str, status: int | tuple[int, ...] = 0) -> str:
        line = re.sub(r"\b17\b", str(self.run), line).replace("1234@", "boat.3@")
        line = line.replace("2026-11-20 14:00", time.strftime("%Y-%m-%d %H:%M:%S"))
        return self.machine.run(["/bin/sh", "-c", line], status=status).stdout


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    laptop, server = Machine(tmp_path / "laptop"), Machine(tmp_path / "server")
    for number in range(COUNT):
        deliver(laptop.mail, "", message(number), number, "FS" if number % 2 else "S")
    for number in range(6):
        deliver(laptop.mail, ".Work" if number % 2 else "", boat(number), 100 + number, "S")
    make_mailbox(server.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    laptop.sync()
    laptop.settle()
    return laptop, server


def remove(machine: Machine, *subjects: str, mailbox: str = "") -> None:
    """As a mail program does it."""
    for file in list((machine.mail / mailbox / "cur").iterdir()):
        if any(f"Subject: {subject}\n".encode() in file.read_bytes() for subject in subjects):
            file.unlink()
    machine.settle()


def test_the_page_from_beginning_to_end(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    reader = Reader(laptop)
    before = mails(laptop.mail)

    for file in (laptop.mail / "cur").iterdir():
        file.unlink()
    laptop.settle()
    laptop.sync(status=5)
    status, holds = reader.types("mailkeep status", status=5)
    assert "held" in status
    assert "INBOX" in holds
    reader.types("mailkeep reject all")
    assert mails(laptop.mail) == before

    boats = [f"boat number {n}" for n in (0, 2, 4)]
    remove(laptop, "m number 7", *boats)
    laptop.sync()
    assert len(mails(server.mail)["."]) == len(before["."]) - 4
    reader.run = reader.last_run("sync")
    log, shown, removed = reader.types("mailkeep log")
    assert f"{reader.run}  " in log
    assert shown.count("removed ") == removed.count("removed ") == 4
    assert "found by a scan" in removed
    explained, found = reader.types("mailkeep why")
    assert "boat.3@post.example" in explained
    assert found.count("is kept until") == 3

    reader.types("mailkeep undo 17 --dry-run")
    assert mails(laptop.mail) == before
    remove(laptop, "boat number 0")
    reader.run = reader.last_run("undo")
    reader.one("mailkeep undo 17")
    reader.one(f"mailkeep undo {reader.last_run('undo')}")
    assert len(mails(laptop.mail)["."]) == len(before["."]) - 1, "what was removed later stays so"

    remove(laptop, "m number 8")
    remove(laptop, "boat number 1", mailbox=".Work")
    preview, _ = reader.types("mailkeep undelete --dry-run --since yesterday")
    assert "3 messages would come back" in preview
    assert mails(laptop.mail) == before

    remove(laptop, *boats)
    inbox, query, _ = reader.types("mailkeep undelete --dry-run --mailbox")
    assert "3 messages would come back" in inbox
    assert "3 messages would come back" in query
    assert len(mails(laptop.mail)[".Rescued"]) == 3

    reader.run = reader.last_run("scan")
    boxes, listed, would, _ = reader.types("mailkeep ls --at")
    assert f"{len(before['.']):>9,}  INBOX" in boxes
    assert f"{len(before['.']) - 3} messages in INBOX" in listed
    assert "would come back" in would
    now = mails(laptop.mail)
    reader.types('mailkeep restore --at "before run 17" --to')
    assert mails(laptop.home / "as-it-was") == {where: found for where, found in before.items() if found}
    with contextlib.closing(mailbox.mbox(laptop.home / "inbox/INBOX.mbox", create=False)) as box:
        assert len(box) == len(before["."])
    assert mails(laptop.mail) == now

    reader.types("mailkeep sync")
    assert mails(server.mail) == now
    assert not reader.blocks, "every command of the page was typed"
    for span in SPAN.findall(prose(read(PAGE))):
        if span.startswith("mailkeep annotate"):
            reader.one(span)
    assert laptop.sync()["exit"] == 0
