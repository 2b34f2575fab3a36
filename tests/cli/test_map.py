"""Name maps: mailboxes made on both sides under names that the map joins are one mailbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow


def dirs(root: Path) -> set[str]:
    return {str(path.parent.relative_to(root)) for path in root.glob("**/cur")}


@pytest.fixture
def mapped(here: Machine) -> Machine:
    """Archive here is Old over there, Lists/x is Lists/y; each has one message of its own and one in common."""
    mailbox(here.home / "Maildir", message(1))
    mailbox(here.home / "Maildir/.Archive", message(2), message(3))
    mailbox(here.home / "Maildir/.Lists.x", message(5))
    mailbox(here.home / "Other", message(1))
    mailbox(here.home / "Other/Old", message(3), message(4))
    here.ok("init", here.home / "Maildir")
    here.ok("init", "--store", "other", "--layout", "fs", here.home / "Other")
    here.configure(
        "[stores.mail.peers.other]\npath = '~/Other'\nmap = { Archive = 'Old', 'Lists/x' = 'Lists/y' }"
    )
    here.config.write_text(
        here.config.read_text().replace("[stores.mail]\n", "[stores.mail]\ndefault = true\n")
    )
    return here


def test_mailboxes_made_on_both_sides_under_mapped_names_become_one(mapped: Machine) -> None:
    mapped.ok("sync", "--dry-run")
    mapped.ok("sync")
    mine, theirs = mapped.home / "Maildir", mapped.home / "Other"
    assert dirs(mine) == {".", ".Archive", ".Lists.x"}
    assert dirs(theirs) == {".", "Old", "Lists/y"}
    assert contents(mine / ".Archive") == contents(theirs / "Old") == sorted(map(message, (2, 3, 4)))
    assert contents(theirs / "Lists/y") == [message(5)]
    again = mapped.ok("sync", "--json").json["peers"][0]
    assert again["same"]
    # Later changes, both ways, stay within the one mailbox.
    mailbox(mine / ".Archive", message(7))
    mailbox(theirs / "Old", message(8))
    files(theirs / "Lists/y")[0].unlink()
    mapped.ok("sync")
    assert contents(mine / ".Archive") == contents(theirs / "Old") == sorted(map(message, (2, 3, 4, 7, 8)))
    assert contents(mine / ".Lists.x") == []
    assert dirs(mine) == {".", ".Archive", ".Lists.x"}
    assert dirs(theirs) == {".", "Old", "Lists/y"}
    mapped.ok("verify")
    mapped.ok("verify", "--store", "other")


def test_a_mailbox_made_later_on_both_sides_becomes_one_too(mapped: Machine) -> None:
    mapped.ok("sync")
    mailbox(mapped.home / "Maildir/.Archive.2026", message(11))
    mailbox(mapped.home / "Other/Old/2026", message(12))
    mapped.ok("sync")
    assert contents(mapped.home / "Maildir/.Archive.2026") == sorted(map(message, (11, 12)))
    assert contents(mapped.home / "Other/Old/2026") == sorted(map(message, (11, 12)))
    assert dirs(mapped.home / "Maildir") == {".", ".Archive", ".Archive.2026", ".Lists.x"}
    assert mapped.ok("sync", "--json").json["peers"][0]["same"]


def test_two_mailboxes_that_others_know_already_are_named_and_lose_nothing(mapped: Machine) -> None:
    # A third store takes `Archive` under its own name first: its id can no longer change.
    mapped.ok("init", "--store", "third", "--create", mapped.home / "Third")
    mapped.configure("[stores.mail.peers.third]\npath = '~/Third'")
    mapped.ok("sync", "third")
    done = mapped.run("sync", "other")
    assert done.code == 3, done
    assert "was made here and at other separately" in done.err
    assert "no mail is lost" in done.err
    everything = [c for d in (mapped.home / "Maildir").glob("**/cur") for c in contents(d.parent)]
    assert set(everything) == set(map(message, (1, 2, 3, 4, 5)))


def test_a_map_without_a_way_back_stops_the_session_and_check_says_why(mapped: Machine) -> None:
    mapped.config.write_text(
        mapped.config.read_text().replace("'Lists/x' = 'Lists/y'", "'Lists/x' = 'INBOX'")
    )
    done = mapped.run("sync")
    assert done.code == 78, done
    assert "has no way back" in done.err
    assert "not touched: anything on either side" in done.err
    checked = mapped.run("check")
    assert checked.code == 4, checked
    assert "name map" in checked.err


def test_check_tries_the_map_on_the_peers_own_mailboxes(mapped: Machine) -> None:
    mailbox(
        mapped.home / "Other/Archive", message(9)
    )  # Archive here is Old there: what is Archive there, here?
    done = mapped.run("check", "--json")
    assert done.code == 4, done
    problems = [row["what"] for row in done.json["findings"] if row["level"] == "fault"]
    assert any("'Archive' at the peer" in what for what in problems), problems
    assert mapped.run("check", "--offline").code == 0
