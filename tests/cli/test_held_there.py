"""Deletions that wait for a person on the far machine are told of on the near one, once and for all runs the same."""

from __future__ import annotations

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow

LIMITS = """
[stores.other.guard]
count = 4
"""
LINE = "other: 6 deletions held there: somebody has to look at them on that machine, with mailkeep holds"


@pytest.fixture
def there(pair: Machine) -> Machine:
    """Both stores have 13 messages; of these, 6 were deleted in Other, whose next scan holds that."""
    mailbox(pair.home / "Maildir", *(message(number) for number in range(100, 110)))
    pair.ok("sync")
    pair.configure(LIMITS)
    for file in files(pair.home / "Other")[:6]:
        file.unlink()
    return pair


def test_what_the_far_scan_held_is_said_here(there: Machine) -> None:
    done = there.run("sync")
    assert done.code == 5, done
    assert LINE in done.out
    assert "some deletions are held" not in done.out, "nothing is held here"
    assert len(contents(there.home / "Maildir")) == 13
    done = there.run("sync", "--json")
    assert done.code == 5, done
    (peer,) = done.json["peers"]
    assert (peer["held_there"], peer["same"], peer["there"].get("held", 0)) == (6, True, 0)
    assert LINE in there.run("sync", "--dry-run").out


def test_it_is_said_with_news_and_without_and_no_longer_than_it_lasts(there: Machine) -> None:
    mailbox(there.home / "Maildir", message(200))
    done = there.run("sync")
    assert (done.code, done.out.count(LINE)) == (5, 1), done
    assert "1 new" in done.out
    done = there.run("sync")
    assert (done.code, done.out.splitlines()) == (5, ["other: nothing to do", LINE]), done
    there.ok("reject", "--store", "other", "1")
    assert "held" not in there.ok("sync").out
    assert "held" not in there.ok("sync").out
    assert len(contents(there.home / "Other")) == 14


def test_a_timer_writes_one_line_into_each_log_while_it_waits_there(there: Machine) -> None:
    there.run("sync")
    before = [there.run("log", "--json", "--store", store).json["runs"] for store in ("mail", "other")]
    for _ in range(3):
        assert there.run("sync", "-q").code == 5
    assert [
        there.run("log", "--json", "--store", store).json["runs"] for store in ("mail", "other")
    ] == before
    assert [runs[0]["exit"] for runs in before] == [5, 5]


def test_a_peer_is_told_of_what_it_may_see_only(there: Machine) -> None:
    there.ok("peer", "remove", "other")
    there.ok("peer", "add", "other", there.home / "Other", "--exclude", "INBOX")
    assert "held" not in there.ok("sync").out
    assert "held" not in there.ok("sync").out


@pytest.mark.parametrize("direction", ["pull", "push", "archive"])
def test_a_one_way_run_tells_it_too(there: Machine, direction: str) -> None:
    there.ok("peer", "remove", "other")
    there.ok("peer", "add", "other", there.home / "Other", "--direction", direction)
    for _ in range(2):
        done = there.run("sync")
        assert (done.code, done.out.count(LINE)) == (5, 1), done
