"""An approval covers what was shown when it was given, and nothing more."""

from __future__ import annotations

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow


def numbers(machine: Machine, *words: str) -> list[tuple[int, int]]:
    """(number, messages) of each hold."""
    return [(h["hold"], h["messages"]) for h in machine.run("holds", "--json", *words).json["holds"]]


@pytest.fixture
def held(pair: Machine) -> Machine:
    """Of 33 messages, 6 were deleted here, and are held."""
    mailbox(pair.home / "Maildir", *(message(number) for number in range(100, 130)))
    pair.ok("sync")
    pair.configure("[stores.mail.guard]\ncount = 4\n")
    lose(pair, 6)
    return pair


def lose(machine: Machine, count: int) -> None:
    """Delete messages here; their deletion is a hold of its own."""
    for file in files(machine.home / "Maildir")[:count]:
        file.unlink()
    assert machine.run("sync").code == 5


def test_approve_all_leaves_what_came_after_the_holds_were_shown(held: Machine) -> None:
    held.run("holds")
    lose(held, 5)
    done = held.run("approve", "all")
    assert done.code == 5, done
    assert "6 messages of 1 hold are deleted now" in done.out
    assert "5 deletions came after mailkeep holds was asked: they still wait" in done.err
    assert numbers(held) == [(2, 5)]
    assert held.run("sync").code == 5
    assert len(contents(held.home / "Other")) == 27
    held.run("holds")
    held.ok("approve", "all")
    held.ok("sync")
    assert len(contents(held.home / "Other")) == 22


@pytest.mark.parametrize("words", [[], ["all"]], ids=["alone", "all"])
def test_what_nobody_saw_is_not_approved(held: Machine, words: list[str]) -> None:
    assert numbers(held) == [(1, 6)]  # a script's --json is no look
    assert held.run("holds", "-q").code == 5
    held.run("status")
    done = held.run("approve", *words)
    assert done.code == 64, done
    assert "was not shown yet" in done.err
    assert numbers(held) == [(1, 6)]
    held.run("holds")
    held.ok("approve", *words)
    assert numbers(held) == []


def test_the_only_hold_is_another_one_than_that_which_was_shown(held: Machine) -> None:
    held.run("holds")
    held.ok("reject", "1")
    lose(held, 7)
    assert numbers(held) == [(2, 7)], "no number is given twice"
    assert held.run("approve", "1").code == 66
    assert held.run("approve").code == 64
    assert held.run("approve", "all").code == 64
    assert numbers(held) == [(2, 7)]
    held.ok("reject", "all")  # seen or not: that removes nothing
    held.ok("sync")
    assert len(contents(held.home / "Maildir")) == len(contents(held.home / "Other")) == 33


def test_a_look_before_the_index_was_lost_covers_nothing_of_the_new_one(held: Machine) -> None:
    held.run("holds")
    held.run("approve", "1")
    for path in held.state().glob("index.db*"):
        path.unlink()
    held.ok("rebuild", "--from-mail")
    assert held.run("sync").code == 5  # what would come back from the peer, though it was removed, perhaps
    assert numbers(held) == [(1, 6)]
    assert held.run("approve", "all").code == 64


def test_a_number_that_is_none_is_refused(held: Machine) -> None:
    for word in ("0", "2", "-1", "x", "9" * 40, "٣", "1 "):
        assert held.run("approve", "--", word).code == 66
        assert held.run("holds", "--", word).code == 66
    assert numbers(held) == [(1, 6)]


@pytest.fixture
def archive(pair: Machine) -> Machine:
    """An archive, of whose 23 messages the peer deleted 3 in one session and then 2 in another."""
    mailbox(pair.home / "Maildir", *(message(number) for number in range(100, 120)))
    pair.ok("sync")
    pair.ok("peer", "remove", "other")
    pair.ok("peer", "add", "other", pair.home / "Other", "--direction", "archive")
    gone(pair, 3)
    gone(pair, 2)
    return pair


def gone(machine: Machine, count: int) -> None:
    for file in files(machine.home / "Other")[:count]:
        file.unlink()
    machine.ok("sync")


def test_an_archive_has_one_hold_under_a_new_number_each_time(archive: Machine) -> None:
    assert numbers(archive) == [(2, 5)]
    gone(archive, 4)
    assert numbers(archive) == [(3, 9)]
    assert numbers(archive, "2") == [(2, 5)], "as it was when it was shown as 2"
    assert len(archive.run("holds", "2", "--json").json["holds"][0]["list"]) == 5
    assert len(archive.run("holds", "3", "--json").json["holds"][0]["list"]) == 9
    assert "hold 3: 9 messages" in archive.ok("holds").out


@pytest.mark.parametrize("word", ["2", "all"])
def test_an_approval_of_an_archives_hold_covers_what_it_had_when_it_was_shown(
    archive: Machine, word: str
) -> None:
    archive.ok("holds")
    gone(archive, 4)
    done = archive.ok("approve", word)
    assert "5 messages of 1 hold are deleted now" in done.out
    assert numbers(archive) == [(3, 4)]
    assert len(contents(archive.home / "Maildir")) == 18
    archive.ok("sync")
    assert len(contents(archive.home / "Other")) == 14
    archive.ok("reject", "all")
    archive.ok("sync")
    assert len(contents(archive.home / "Other")) == 18
    assert numbers(archive) == []
