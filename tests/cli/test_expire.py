"""`mailkeep expire` and `mailkeep du`, as they are typed."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from cli.machine import Machine, files, mailbox, message
from mailkeep.store.annotations import annotate
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path


def lay_down(here: Machine, key: str, value: str, name: str = "") -> None:
    index = Index.open(str(here.state() / "index.db"))
    ledger = Ledger(index)
    with index.transaction():
        box = ledger.named(name) if name else ledger.whole_row()
        assert box is not None
        annotate(ledger, box, key, value)
    index.close()


def store(here: Machine, count: int = 4) -> Path:
    """A store with old mail in INBOX, and with some in Lists that is new."""
    root = here.home / "Maildir"
    mailbox(root, *map(message, range(count)))
    mailbox(root / ".Lists", *(message(n) for n in range(100, 103)))
    for path in files(root):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    here.ok("init", "--store", "mail", root)
    return root


def test_a_plan_says_what_and_why_and_changes_nothing(here: Machine) -> None:
    root = store(here)
    lay_down(here, "expire", "30d keep=flagged")
    before = [(path, path.stat().st_ino) for path in files(root)]
    said = here.ok("expire", "--plan").out
    assert "expire        4" in said
    assert "INBOX: older than 30d since delivery" in said
    assert "4 messages would be expired" in said
    assert [(path, path.stat().st_ino) for path in files(root)] == before
    detail = here.ok("expire", "--plan", "-v").out
    assert detail.count("UID ") == 4
    plan = here.ok("expire", "--plan", "--json").json
    assert plan["dry_run"] is True
    assert len(plan["plan"]["expire"]) == 4
    assert plan["plan"]["hold"] == plan["plan"]["free"] == []
    row = plan["plan"]["expire"][0]
    assert (row["mailbox"], row["why"], row["rule_of"]) == ("INBOX", "older than 30d since delivery", "")
    done = here.ok("expire", "--json").json
    assert {key: done[key] for key in ("expired", "held", "freed")} == {"expired": 4, "held": 0, "freed": 0}
    assert files(root) == []
    assert len(files(root / ".Lists")) == 3
    assert here.ok("expire").out == "nothing is due\n"


def test_du_says_what_retention_costs(here: Machine) -> None:
    root = store(here)
    assert here.ok("du").out == "no expunged message is kept\n"
    lay_down(here, "expire", "30d")
    here.ok("expire")
    said = here.ok("du").out
    assert "< 1 day         4" in said
    assert "INBOX" in said
    table = here.ok("du", "--json").json
    assert table["total"]["messages"] == 4
    assert table["total"]["disk_bytes"] == 4 * 4096
    assert table["mailboxes"][0]["ages"][0]["expunged"] == "< 1 day"
    back = root / "cur" / "1700000000.back:2,S"
    back.write_bytes(message(0))
    here.ok("expire")
    assert here.ok("du", "--json").json["total"]["messages"] == 3, "what lives again costs no retention"


def test_more_than_usual_is_held_and_said(here: Machine) -> None:
    store(here, 100)
    lay_down(here, "expire", "30d")
    plan = here.run("expire", "--plan", "--json")
    assert plan.code == 5
    assert len(plan.json["plan"]["hold"]) == 100
    assert "more than 10%" in plan.json["plan"]["hold"][0]["held"]
    done = here.run("expire")
    assert done.code == 5
    assert "100 messages are held" in done.err
    assert "due by a rule of expiry" in here.run("holds").out
    here.ok("approve")
    assert here.ok("du", "--json").json["total"]["messages"] == 100


def test_a_clock_that_jumped_stops_it_until_somebody_says_that_it_is_right(here: Machine) -> None:
    store(here)
    here.ok("expire")
    lay_down(here, "expire", "30d")
    index = Index.open(str(here.state() / "index.db"))
    with index.transaction():
        from msgpack import packb

        index.meta["expire_clock"] = packb([int(time.time()) + 9 * 86_400, "", 0])
    index.close()
    done = here.run("expire", "--json")
    assert done.code == 5
    assert "went back by 8 days" in done.json["stopped"] or "went back by 9 days" in done.json["stopped"]
    assert "--clock-is-right" in here.run("expire").err
    said = here.run("status")
    assert said.code == 5, "whoever looks later is told, too"
    assert "the last expire did nothing: " in said.err
    assert here.ok("expire", "--clock-is-right", "--json").json["expired"] == 4
    here.ok("status")


def test_a_clean_up_that_waits_for_a_person_is_shown_by_status(here: Machine) -> None:
    root = store(here)
    here.configure("[stores.mail.guard]\ncount = 3")
    lay_down(here, "retention", "0d")
    for path in files(root):
        path.unlink()
    here.run("scan")
    here.run("holds")
    here.ok("approve")
    assert here.run("expire", "--json").json["would_free"] == 4
    said = here.run("status")
    assert said.code == 5
    assert "the last expire freed nothing" in said.err
    assert "mailkeep expire --free 4" in said.err
    assert here.run("status", "--json").json["stores"][0]["expire_waiting"]["would_free"] == 4
    assert here.ok("expire", "--free", "4", "--json").json["freed"] == 4
    here.ok("status")


def test_beside_another_run_it_waits_or_goes_away(here: Machine) -> None:
    store(here)
    lay_down(here, "expire", "30d")
    with (here.state() / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert here.run("expire").code == 6
        assert here.run("expire", "--plan").code == 6
        assert here.ok("du").out == "no expunged message is kept\n"
    assert here.ok("expire", "--wait", "1s", "--json").json["expired"] == 4


def test_the_log_has_what_was_done(here: Machine) -> None:
    store(here)
    lay_down(here, "expire", "30d")
    here.ok("expire")
    line = here.ok("log").out.splitlines()[0]
    assert "expire: done" in line
    assert "4 expired" in line
    runs = len(here.ok("log", "--json").json["runs"])
    here.ok("expire")
    assert len(here.ok("log", "--json").json["runs"]) == runs, (
        "a run that does nothing is not noted each night"
    )


# --- only what others hold, too


def with_peer(pair: Machine) -> Machine:
    """Three messages on both sides, expunged here three months ago, as far as this side's retention goes."""
    pair.ok("sync")
    pair.configure("[stores.mail.retention]\ncopies = 1")
    for path in files(pair.home / "Maildir"):
        path.unlink()
    pair.ok("expire")
    index = Index.open(str(pair.state() / "index.db"))
    with index.transaction():
        index.execute("UPDATE record SET gone = gone - 9000000, keep = keep - 9000000")
    index.close()
    return pair


def test_what_a_peer_shows_to_hold_is_freed(pair: Machine) -> None:
    with_peer(pair)
    plan = pair.ok("expire", "--plan", "--json").json
    assert plan["freed"] == 3
    assert pair.ok("expire", "--json").json["freed"] == 3


def test_what_a_peer_does_not_have_any_more_stays(pair: Machine) -> None:
    with_peer(pair)
    objects = sorted((pair.state("other") / "objects").rglob("*"))
    gone, damaged, _ = [path for path in objects if path.is_file()]
    gone.unlink()
    os.chmod(damaged, 0o600)
    damaged.write_bytes(b"other bytes")
    done = pair.ok("expire", "--json").json
    assert done["freed"] == 1
    assert done["stays"] == {"too few peers have shown that they hold it": 2}
    assert pair.ok("expire", "--json").json["stays"] == {}, "it is asked again a day later"


def test_a_peer_that_is_away_or_busy_shows_nothing(pair: Machine) -> None:
    with_peer(pair)
    with (pair.state("other") / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = pair.run("expire", "--json")
        assert done.code == 0
        assert (done.json["freed"], sum(done.json["stays"].values())) == (0, 3)
        assert "shows nothing" in done.err


def test_two_names_for_one_store_and_the_store_itself_count_once_and_not_at_all(pair: Machine) -> None:
    with_peer(pair)
    pair.ok("peer", "add", "--store", "mail", "again", pair.home / "Other")
    pair.ok("peer", "add", "--store", "mail", "self", pair.home / "Maildir")
    pair.config.write_text(pair.config.read_text().replace("copies = 1", "copies = 2"))
    done = pair.run("expire", "--json")
    assert done.json["freed"] == 0
