"""`peer forget`: a replica that will not come back; and one that does so all the same, as a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow


@pytest.fixture
def ring(pair: Machine) -> Machine:
    """The stores mail, other and third have met, in a ring; each is a peer of the next one."""
    pair.ok("init", "--store", "third", "--create", pair.home / "Third")
    pair.ok("peer", "add", "--store", "other", "third", pair.home / "Third")
    pair.ok("peer", "add", "--store", "third", "mail", pair.home / "Maildir")
    for name in ("mail", "other", "third"):
        pair.ok("sync", "--store", name)
    return pair


def replicas(machine: Machine, store: str) -> dict[str, dict[str, Any]]:
    rows = machine.ok("peer", "list", "--store", store, "--json").json["replicas"]
    return {row["replica"]: row for row in rows}


def file_of(directory: Path, number: int) -> Path:
    (found,) = [file for file in files(directory) if file.read_bytes() == message(number)]
    return found


def own(machine: Machine, store: str) -> str:
    (row,) = [row for row in replicas(machine, store).values() if row["standing"] == "this store"]
    return str(row["replica"])


def test_a_replica_that_was_given_up_is_refused_and_returns_as_a_new_one_with_all_it_has(
    ring: Machine,
) -> None:
    mine, other, third = (ring.home / name for name in ("Maildir", "Other", "Third"))
    lost = own(ring, "third")
    done = ring.ok("peer", "forget", "--store", "other", "third")
    assert f"the replica {lost} (third) is given up" in done.out
    assert replicas(ring, "other")[lost]["standing"] == "given up"
    ring.ok("sync", "--store", "mail")  # the others hear of it, but this one has met it itself
    assert replicas(ring, "mail")[lost]["standing"] == "member"
    ring.ok("peer", "forget", "--store", "mail", lost)
    # Meanwhile, there: mail comes, is read and is deleted; here as well.
    mailbox(third, message(70))
    file_of(third, 0).unlink()
    read = file_of(third, 1)
    read.rename(read.with_name(read.name.replace(":2,S", ":2,FS")))
    mailbox(mine, message(71))
    file_of(mine, 2).unlink()
    here, there = contents(mine), contents(third)
    # Neither side takes it back under its id, whoever begins.
    refused = ring.run("sync", "--store", "third")
    assert refused.code == 77, refused
    for words in ("has given this replica up", "not touched: anything", f"mailkeep init --adopt {third}"):
        assert words in refused.err
    refused = ring.run("sync", "--store", "other")
    assert refused.code == 77, refused
    assert "was given up here (peer forget)" in refused.err
    assert "there: mailkeep init --adopt" in refused.err
    assert (contents(mine), contents(third)) == (here, there)
    # As a new one it comes with its mail and with what was done to it.
    assert (
        "is a new replica from now on, with all its mail"
        in ring.ok("init", "--store", "third", "--adopt", third).out
    )
    assert own(ring, "third") != lost
    for name in ("third", "other", "mail", "third"):
        ring.ok("sync", "--store", name)
    assert contents(mine) == contents(other) == contents(third) == sorted(map(message, (1, 70, 71)))
    assert [file.name[-2:] for file in files(mine)].count("FS") == 1
    assert file_of(mine, 1).name.endswith(":2,FS")
    assert replicas(ring, "mail")[lost]["standing"] == "replaced"
    ring.ok("sync", "--store", "other")
    assert ring.ok("sync", "--store", "other", "--json").json["peers"][0]["same"]
    for name in ("mail", "other", "third"):
        ring.ok("verify", "--store", name)


def test_a_store_that_never_met_it_hears_of_it_though_nothing_else_is_to_be_said(pair: Machine) -> None:
    pair.ok("init", "--store", "third", "--create", pair.home / "Third")
    pair.ok("peer", "add", "--store", "other", "third", pair.home / "Third")
    for name in ("other", "mail", "other", "mail"):
        pair.ok("sync", "--store", name)
    lost = own(pair, "third")
    assert replicas(pair, "mail")[lost]["standing"] == "member"
    assert pair.ok("sync", "--store", "mail", "--json").json["peers"][0]["same"]
    pair.ok("peer", "forget", "--store", "other", "third")
    pair.ok("sync", "--store", "mail")
    assert replicas(pair, "mail")[lost]["standing"] == "given up"
    assert pair.ok("sync", "--store", "mail", "--json").json["peers"][0]["same"]


def test_a_replica_is_named_by_the_beginning_of_its_id(ring: Machine) -> None:
    lost = own(ring, "third")
    assert f"replica {lost}: member" in ring.ok("peer", "list", "--store", "mail", "-v").out
    assert ring.ok("peer", "forget", "--store", "mail", lost[:6], "--json").json["forgotten"] == lost
    assert "was given up already" in ring.ok("peer", "forget", "--store", "mail", lost).out


def test_nobody_else_is_given_up_by_mistake(ring: Machine) -> None:
    before = replicas(ring, "mail")
    for word, said in (
        (own(ring, "mail"), "is this store"),
        ("nobody", "was ever met"),
        (own(ring, "third")[:3], "was ever met"),
    ):
        done = ring.run("peer", "forget", "--store", "mail", word)
        assert done.code == 64, done
        assert said in done.err
        assert "peer list -v" in done.err
    assert replicas(ring, "mail") == before
