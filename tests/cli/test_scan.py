"""`mailkeep scan`: what happens on a machine without peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.machine import contents, mailbox, message

if TYPE_CHECKING:
    from cli.machine import Machine


@pytest.fixture
def alone(here: Machine) -> Machine:
    mailbox(here.home / "Maildir", *map(message, range(5)))
    here.ok("init", "--store", "mail", here.home / "Maildir")
    return here


def test_a_machine_without_peers_notes_what_was_removed_and_gives_it_back(alone: Machine) -> None:
    before = contents(alone.home / "Maildir")
    assert alone.ok("scan").out == "mail: nothing new\n"
    victim = next(path for path in sorted((alone.home / "Maildir" / "cur").iterdir()))
    victim.unlink()
    dry = alone.ok("scan", "--dry-run")
    assert dry.out == "mail: would be 1 removed\n"
    assert "scan" not in alone.ok("log").out
    assert alone.ok("scan").out == "mail: 1 removed\n"
    assert alone.ok("scan", "--json").json["scan"] == {}
    assert "scan: done; 1 expunged" in alone.ok("log").out.replace(", 1s", "")
    alone.ok("undelete", "--since", "yesterday")
    assert contents(alone.home / "Maildir") == before


def test_many_removed_messages_are_held_and_the_exit_status_says_so(alone: Machine) -> None:
    cur = alone.home / "Maildir" / "cur"
    for number in range(200):
        (cur / f"{number}.many:2,S").write_text(f"Message-ID: <many{number}@x>\n\n{number}\n")
    alone.ok("scan")
    for path in cur.glob("*many*"):
        path.unlink()
    done = alone.run("scan")
    assert done.code == 5
    assert "200 deletions held" in done.out
    assert "mailkeep holds" in done.out
    assert alone.run("scan", "-q").code == 5
    alone.ok("reject")
    assert alone.ok("scan").code == 0
    assert len(list(cur.glob("*"))) >= 200


def test_a_sync_without_peers_names_it(alone: Machine) -> None:
    assert "mailkeep scan" in alone.run("sync").err
