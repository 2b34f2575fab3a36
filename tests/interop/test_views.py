"""A peer that gets some mailboxes only, or under other names, through real sessions of two processes."""

from __future__ import annotations

import pytest

from interop.machines import Machine, by_name, deliver, mails, make_mailbox, message

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.fixture
def pair(laptop: Machine, server: Machine) -> tuple[Machine, Machine]:
    for number, mailbox in enumerate(["", ".Work", ".Work.Old", ".Junk", ".Lists.sailing"]):
        deliver(laptop.mail, mailbox, message(number), number, "S")
    make_mailbox(server.mail, "", "Attic")
    deliver(server.mail, "", message(20), 20, "S")
    deliver(server.mail, "Attic", message(21), 21, "S")
    laptop.mailkeep("init", "--store", "mail", laptop.mail)
    server.mailkeep("init", "--store", "mail", server.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    return laptop, server


def configure(machine: Machine, text: str) -> None:
    path = machine.home / ".config/mailkeep/config.toml"
    path.write_text(path.read_text() + text)


def test_exclude_keeps_mailboxes_apart_both_ways(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    configure(laptop, 'exclude = ["Junk", "Attic*"]\n')
    assert laptop.sync()["exit"] in (0, 3)
    assert set(by_name(laptop.mail, "maildir++")) == {"INBOX", "Work", "Work/Old", "Junk", "Lists/sailing"}
    assert set(by_name(server.mail, "fs")) == {"INBOX", "Work", "Work/Old", "Attic", "Lists/sailing"}
    laptop.settle()
    deliver(laptop.mail, ".Junk", message(30), 30)
    deliver(laptop.mail, ".Work", message(31), 31)
    assert laptop.sync()["exit"] in (0, 3)
    assert len(by_name(server.mail, "fs")["Work"]) == 2
    assert "Junk" not in by_name(server.mail, "fs")
    assert laptop.sync()["there"].get("added", 0) == 0


def test_include_takes_part_only(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    configure(laptop, 'include = ["INBOX", "Work*"]\n')
    assert laptop.sync()["exit"] in (0, 3)
    assert set(by_name(server.mail, "fs")) == {"INBOX", "Work", "Work/Old", "Attic"}
    assert set(by_name(laptop.mail, "maildir++")) == {"INBOX", "Work", "Work/Old", "Junk", "Lists/sailing"}
    assert len(mails(laptop.mail)["."]) == 2


def test_map_gives_other_names(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    configure(laptop, 'map = { "Work" = "Office" }\n')
    assert laptop.sync()["exit"] == 0
    assert set(by_name(server.mail, "fs")) == {
        "INBOX",
        "Office",
        "Office/Old",
        "Junk",
        "Lists/sailing",
        "Attic",
    }
    laptop.settle()
    deliver(server.mail, "Office", message(40), 40)
    assert laptop.sync()["exit"] == 0
    assert len(by_name(laptop.mail, "maildir++")["Work"]) == 2
    assert set(by_name(laptop.mail, "maildir++")) == {
        "INBOX",
        "Work",
        "Work/Old",
        "Junk",
        "Lists/sailing",
        "Attic",
    }
