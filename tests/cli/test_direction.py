"""One-way peers: pull, push and archive, as a person uses them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cli.machine import Machine, contents, files, mailbox, message
from mailkeep.store.store import Store

pytestmark = pytest.mark.slow


def direct(here: Machine, direction: str) -> None:
    here.ok("peer", "remove", "other")
    here.ok("peer", "add", "other", here.home / "Other", "--direction", direction)


def test_pull_takes_and_keeps_local_changes_local(pair: Machine) -> None:
    pair.ok("sync")
    direct(pair, "pull")
    mine, theirs = pair.home / "Maildir", pair.home / "Other"
    mailbox(mine, message(10))
    mailbox(theirs, message(20), message(21))
    done = pair.ok("sync")
    assert "pull: here (4 messages) <- other (5 messages)" in done.out
    assert len(contents(mine)) == 6
    assert len(contents(theirs)) == 5
    peer = pair.ok("status", "--json").json["stores"][0]["peers"][0]
    assert (peer["direction"], peer["waiting_messages"], peer["waiting_by_mailbox"]) == (
        "pull",
        1,
        {"INBOX": 1},
    )
    assert "1 message changed here and not there" in pair.ok("status").out
    assert "1 message changed here" in pair.ok("peer", "show", "other").out


@pytest.mark.parametrize("direction", ["both", "push", "pull"])
def test_status_decodes_what_many_messages_share_only_once(
    pair: Machine, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A one-way or filtered peer, and one never met: all records count, and status stays quick."""
    from mailkeep.wire import registers

    pair.ok("peer", "remove", "other")
    pair.ok("peer", "add", "other", pair.home / "Other", "--direction", direction, "--exclude", "Many")
    mailbox(pair.home / "Maildir/.Many", *(message(n, f"many {n}") for n in range(300)))
    pair.ok("sync", "--force")
    mailbox(pair.home / "Maildir", message(400))
    files(pair.home / "Maildir")[0].unlink()
    pair.ok("peer", "add", "--store", "mail", "never", pair.home / "Never")
    calls = []
    decode = registers.decode

    def counted(*args: Any) -> Any:
        calls.append(args)
        return decode(*args)

    store = Store.open(os.fsencode(pair.home / "Maildir"), os.fsencode(pair.state()))
    store.scan()
    store.end_run("scan", None, 0, {})
    store.close()
    monkeypatch.setattr(registers, "decode", counted)
    peers = {
        row["name"]: row for row in pair.ok("status", "--store", "mail", "--json").json["stores"][0]["peers"]
    }
    assert peers["other"]["waiting_by_mailbox"] == {"INBOX": 2 if direction != "pull" else 4}
    assert peers["never"]["waiting_by_mailbox"] == {"INBOX": 3, "Many": 300}
    assert len(calls) < 40


def test_at_a_first_meeting_by_pull_what_both_have_does_not_wait(here: Machine) -> None:
    mailbox(here.home / "Maildir", *map(message, range(6)))
    mailbox(here.home / "Other", *map(message, range(2, 8)))
    here.ok("init", here.home / "Maildir")
    here.ok("peer", "add", "other", here.home / "Other", "--direction", "pull")
    here.ok("sync")
    assert len(contents(here.home / "Maildir")) == 8
    assert len(contents(here.home / "Other")) == 6
    peer = here.ok("status", "--json").json["stores"][0]["peers"][0]
    assert peer["waiting_messages"] == 2  # messages 0 and 1
    file = files(here.home / "Maildir")[3]
    file.rename(file.with_name(file.name + "F"))
    here.ok("sync")
    assert here.ok("status", "--json").json["stores"][0]["peers"][0]["waiting_messages"] == 3


def test_push_sends_and_takes_nothing(pair: Machine) -> None:
    direct(pair, "push")
    mine, theirs = pair.home / "Maildir", pair.home / "Other"
    mailbox(theirs, message(20))
    done = pair.ok("sync")
    assert "push: here (3 messages) -> other (1 message)" in done.out
    assert len(contents(mine)) == 3
    assert len(contents(theirs)) == 4
    files(mine)[0].unlink()
    pair.ok("sync")
    assert len(contents(theirs)) == 3
    assert len(contents(mine)) == 2
    assert pair.ok("status", "--json").json["stores"][0]["peers"][0]["waiting_messages"] == 0


def test_an_archive_takes_everything_and_deletes_nothing_and_shows_what_was_deleted(pair: Machine) -> None:
    pair.ok("sync")
    direct(pair, "archive")
    theirs = pair.home / "Other"
    gone = files(theirs)[0]
    content = gone.read_bytes()
    gone.unlink()
    mailbox(theirs, message(30))
    done = pair.ok("sync")
    assert "kept here, deleted elsewhere: 1 message" in done.out
    assert len(contents(pair.home / "Maildir")) == 4
    assert content in contents(pair.home / "Maildir")
    assert content not in contents(theirs)
    holds = pair.ok("holds", "--json").json["holds"]
    assert [(h["archive"], h["messages"], h["origin"]) for h in holds] == [(True, 1, "other")]
    # The next deletion is shown with it, and still nothing is an alarm.
    files(theirs)[0].unlink()
    pair.ok("sync")
    pair.ok("sync", "-q")
    holds = pair.ok("holds", "--json").json["holds"]
    assert [(h["archive"], h["messages"]) for h in holds] == [(True, 2)]
    assert pair.ok("status").code == 0
    assert len(contents(pair.home / "Maildir")) == 4
    # A person may still let them go.
    pair.ok("approve", str(holds[0]["hold"]))
    assert len(contents(pair.home / "Maildir")) == 2


@pytest.mark.parametrize(("direction", "full"), [("pull", "Maildir"), ("push", "Other")])
def test_a_one_way_run_refuses_a_source_that_looks_wrong(here: Machine, direction: str, full: str) -> None:
    for name in ("Maildir", "Other"):
        count = 30 if name == full else 2
        mailbox(here.home / name, *(message(n, f"{name} {n}") for n in range(count)))
    here.ok("init", here.home / "Maildir")
    here.ok("peer", "add", "other", here.home / "Other", "--direction", direction)
    done = here.run("sync")
    assert done.code == 65, done
    assert "the source looks like the wrong one" in done.err
    assert "(30 messages)" in done.err
    assert "(2 messages)" in done.err
    assert "not touched: anything on either side" in done.err
    assert "--force" in done.err
    assert len(contents(here.home / "Maildir")) == (30 if full == "Maildir" else 2)
    here.ok("sync", "--force")
    target = "Maildir" if direction == "pull" else "Other"
    assert len(contents(here.home / target)) == 32
