"""A deletion that somebody approved on one machine, as the others take it, through real sessions."""

from __future__ import annotations

import pytest

from interop.machines import Machine, contents, deliver, make_mailbox, message

pytestmark = [pytest.mark.interop, pytest.mark.slow]

COUNT = 120


@pytest.mark.parametrize(
    ("setting", "left"), [("", 0), ("accept_approvals = false\n", COUNT), ('direction = "archive"\n', COUNT)]
)
def test_mass_deletion_approved_there(laptop: Machine, server: Machine, setting: str, left: int) -> None:
    for number in range(COUNT):
        deliver(laptop.mail, ".Work", message(number), number, "S")
    make_mailbox(server.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    laptop.sync()
    config = laptop.home / ".config/mailkeep/config.toml"
    config.write_text(config.read_text() + setting)
    server.settle()
    for file in (server.mail / ".Work/cur").iterdir():
        file.unlink()
    server.settle()
    assert laptop.sync(status=None)["exit"] in (0, 5)
    assert len(contents(laptop.mail)) == COUNT, "held there, and not told here"
    server.mailkeep("holds", status=5)
    server.mailkeep("approve", "all")
    # An archive takes a source that lost most of its mail for the wrong one, until somebody says that it is meant.
    laptop.sync("--force", status=(0, 5))
    laptop.sync("--force", status=(0, 5))
    assert len(contents(laptop.mail)) == left
    assert contents(server.mail) == []
    if left:
        assert f"{COUNT} messages" in laptop.mailkeep("holds", status=(0, 5)).stdout
        laptop.mailkeep("reject", "all")
        laptop.sync("--force", status=(0, 5))
        assert contents(server.mail) == contents(laptop.mail), "a rejection puts them back everywhere"
