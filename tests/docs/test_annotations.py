"""The pages on annotations: every name is there, every value that they show is one, every command runs."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from docs.pages import SPAN, blocks, read, rows
from interop.machines import Machine, deliver, make_mailbox, message
from mailkeep.domain.annotation import NAMES
from mailkeep.wire.annotations import parse

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = read("docs/reference/annotations.md")
HOW_TO = read("docs/how-to/annotations.md")


def test_every_name_is_there_and_every_value_is_one() -> None:
    table = rows(REFERENCE, "## Names and values")
    assert [row[0].strip("`") for row in table] == list(NAMES)
    for name, values, _ in table:
        found = SPAN.findall(values)
        assert found
        for text in found:
            assert parse(name.strip("`"), text) is not None


@pytest.mark.slow
def test_every_command_of_the_how_to_runs(tmp_path: Path) -> None:
    laptop, server = Machine(tmp_path / "laptop"), Machine(tmp_path / "server")
    for number, name in enumerate((".Lists", ".Lists.python", ".Lists.board", ".Scripts", ".Papierkorb")):
        make_mailbox(laptop.mail, name)
        deliver(laptop.mail, name, message(number), number, "S")
    make_mailbox(server.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    commands = [shlex.split(line)[1:] for block in blocks(HOW_TO) for line in block.splitlines()]
    assert len(commands) > 10
    for words in commands:
        if "--accept" in words or "--refuse" in words:
            continue
        laptop.mailkeep(*words)
        laptop.mailkeep("sync")
    # What the other machine did is answered on this one.
    server.mailkeep("annotate", "Lists", "expire", "90d")
    server.mailkeep("annotate", "--all", "expire", "10d")
    laptop.mailkeep("sync")
    answers = [words for words in commands if "--accept" in words or "--refuse" in words]
    assert len(answers) == 2
    for words in answers:
        laptop.mailkeep(*words)
    assert "pending" not in laptop.mailkeep("annotations").stdout
    assert re.search(r"expire +90d", laptop.mailkeep("annotations", "--effective", "Lists/python").stdout)
