"""A peer that may only add: it cannot delete, unflag or rename, and nobody is out of step for that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crash.kit import Side
from hostile.liar import Attack, box_id, content_id
from mailkeep.domain.errors import PermissionDenied
from mailkeep.replicate.channel import connect
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.replicate.view import APPEND, FULL
from mailkeep.rules.identity import Stale
from mailkeep.wire import frames

if TYPE_CHECKING:
    from pathlib import Path


def meet(a: Side, b: Side, role: str) -> tuple[Initiator, Responder]:
    """One session: `a` comes to `b` with a key of this role."""
    for _ in range(3):
        first, second = a.open(), b.open()
        try:
            first.scan()
            second.scan()
            initiator, responder = Initiator(first, b.name), Responder(second, role=role)
            initiator.wire.greet()
            responder.wire.greet()
            initiator.start()
            connect(initiator, responder)
            first.end_run("sync", b.name, 0, {})
            second.end_run("serve", a.name, 0, {})
            return initiator, responder
        except Stale:
            with first.index.transaction():
                first.become_new()
            first.bump()
            first.end_run("sync", None, 0, {})
        finally:
            first.close()
            second.close()
    raise AssertionError("always stale")


def quiet(a: Side, b: Side, role: str, most: int = 8) -> int:
    """Sessions until both say that there is nothing to do; how many writes were refused."""
    refused = 0
    for _ in range(most):
        initiator, responder = meet(a, b, role)
        if initiator.same:
            return refused
        if responder.outcome is not None:
            refused += sum(responder.outcome.refused.values())
    raise AssertionError("no rest after several sessions")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    laptop, server = Side(tmp_path, "laptop"), Side(tmp_path, "server")
    for number in range(4):
        server.deliver(b"", b"message %d" % number, "FS")
    server.mailbox(b".Work")
    server.deliver(b".Work", b"work", "S")
    laptop.create()
    server.create()
    quiet(laptop, server, APPEND)
    assert laptop.shown() == server.shown()
    return laptop, server


def file_of(side: Side, text: bytes) -> bytes:
    for path in side.files():
        with open(side.path(path), "rb") as file:
            if file.read() == text:
                return side.path(path)
    raise AssertionError(text)


def test_what_is_added_is_taken_and_what_is_taken_away_comes_back(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    before = server.shown()
    laptop.deliver(b"", b"new", "S")
    laptop.mailbox(b".Mine")
    laptop.deliver(b".Mine", b"mine", "S")
    os.unlink(file_of(laptop, b"message 0"))
    unflagged = file_of(laptop, b"message 1")
    os.rename(unflagged, unflagged.replace(b":2,FS", b":2,S"))
    flagged = file_of(laptop, b"message 2")
    os.rename(flagged, flagged.replace(b":2,FS", b":2,FRST"))
    _, responder = meet(laptop, server, APPEND)
    assert responder.outcome is not None
    assert responder.outcome.refused == {"deleted messages": 1, "changed flags": 2}
    assert responder.final is not None
    assert responder.final["counts"]["refused"] == 3
    assert any("1 deleted messages were not taken over" in why for _, why in responder.final["problems"])
    assert not responder.outcome.expunged
    assert not responder.outcome.held
    changed = [(at, "FRS" if text == "message 2" else flags, text) for at, flags, text in before]
    assert server.shown() == sorted([*changed, ("", "S", "new"), (".Mine", "S", "mine")])
    assert quiet(laptop, server, APPEND) == 0
    assert laptop.shown() == server.shown()
    laptop.at_rest()
    server.at_rest()


def test_a_move_leaves_the_message_in_both_mailboxes(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    path = file_of(laptop, b"message 3")
    os.rename(path, laptop.path(b".Work", b"cur", os.path.basename(path)))
    quiet(laptop, server, APPEND)
    assert laptop.shown() == server.shown()
    assert [at for at, _, text in server.shown() if text == "message 3"] == ["", ".Work"]


def test_no_mailbox_is_renamed_or_deleted(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    before = server.shown()
    os.rename(laptop.path(b".Work"), laptop.path(b".Play"))
    quiet(laptop, server, APPEND)
    assert {at for at, _, _ in before} <= {at for at, _, _ in server.shown()}
    assert laptop.shown() == server.shown()
    assert os.path.isdir(server.path(b".Work"))


def test_a_mailbox_deleted_there_comes_back(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    before = server.shown()
    store = laptop.open()
    with store.index.transaction():
        box = store.ledger.named("Work")
        assert box is not None
        store.ledger.delete(box)
    store.apply()
    store.end_run("sync", None, 0, {})
    store.close()
    assert quiet(laptop, server, APPEND) == 2  # the mailbox and its message
    assert laptop.shown() == server.shown() == before


def test_no_approval_is_taken_over(tmp_path: Path) -> None:
    from mailkeep.rules.guard import Limits

    server = Side(tmp_path, "server", limits=Limits(count=1, minimum=0))
    laptop, third = (
        Side(tmp_path, "laptop"),
        Side(tmp_path, "third", limits=Limits(count=100, mailbox_share=1, store_share=1)),
    )
    for number in range(8):
        third.deliver(b"", b"message %d" % number, "S")
    for one in (server, laptop, third):
        one.create()
    quiet(third, server, FULL)
    quiet(laptop, server, APPEND)
    for path in third.files()[:4]:
        os.unlink(third.path(path))
    meet(third, server, FULL)
    assert len(server.files()) == 8  # held
    meet(laptop, server, APPEND)
    store = laptop.open()  # the laptop has the tombstones, and approves them
    with store.index.transaction():
        for record in list(store.ledger.records("NOT live")):
            store.ledger.approve(record)
    store.close()
    _, responder = meet(laptop, server, APPEND)
    assert responder.outcome is not None
    assert responder.outcome.refused == {"approvals": 4}
    assert len(server.files()) == 8
    store = server.open()
    assert store.index.value("SELECT count(*) FROM record WHERE hold IS NOT NULL") == 4
    store.close()
    quiet(laptop, server, APPEND)
    quiet(third, server, FULL)
    assert len(server.files()) == 8


def test_a_third_replica_is_right(tmp_path: Path) -> None:
    laptop, server, third = (Side(tmp_path, name) for name in ("laptop", "server", "third"))
    for number in range(5):
        server.deliver(b"", b"message %d" % number, "S")
    for one in (laptop, server, third):
        one.create()
    quiet(laptop, server, APPEND)
    quiet(third, server, FULL)
    for number in range(3):
        os.unlink(file_of(laptop, b"message %d" % number))
    os.unlink(file_of(third, b"message 4"))
    third.deliver(b"", b"from third", "S")
    laptop.deliver(b"", b"from laptop", "S")
    for _ in range(3):  # one after another, as timers do
        meet(laptop, server, APPEND)
        meet(third, server, FULL)
    assert quiet(laptop, server, APPEND) == 0
    quiet(third, server, FULL)
    quiet(laptop, server, APPEND)
    assert laptop.shown() == server.shown() == third.shown()
    assert server.texts() == ["from laptop", "from third", *(f"message {n}" for n in range(4))]


def test_what_the_laptop_has_of_another_is_taken_once(tmp_path: Path) -> None:
    laptop, server, third = (Side(tmp_path, name) for name in ("laptop", "server", "third"))
    third.deliver(b"", b"from third", "S")
    for one in (laptop, server, third):
        one.create()
    quiet(laptop, third, FULL)  # the server never met it
    quiet(laptop, server, APPEND)
    assert server.texts() == ["from third"]
    initiator, _ = meet(laptop, server, APPEND)
    assert initiator.same
    os.unlink(third.path(third.files()[0]))
    quiet(laptop, third, FULL)
    assert laptop.texts() == []
    quiet(laptop, server, APPEND)
    assert laptop.texts() == server.texts() == ["from third"]
    quiet(laptop, third, FULL)
    assert third.texts() == ["from third"]


# --- lies under this role


def lies(server: Side, *records: list[Any], box: list[Any] | None = None, **claim: Any) -> Attack:
    attack = Attack(server, APPEND)
    with attack as liar:
        liar.lamport = attack.store.index.lamport + 5
        liar.begin()
        liar.say(frames.CLAIM, liar.claim(**claim))
        name = liar.registers("INBOX")["(name)"]
        validity = attack.store.ledger.by_id[box_id("INBOX")].validity
        at = [1, liar.lamport, 1]
        liar.say(
            frames.BOX,
            box
            or [box_id("INBOX"), liar.registers(name[0], **{"(validity)": [validity, validity, *at]}), 1, 0],
        )
        rows = [[*row[:6], liar.blob(), *row[7:]] for row in records]
        if rows:
            liar.say(frames.RECORDS, [box[0] if box else box_id("INBOX"), rows])
        liar.say(frames.END_NEWS, None)
        liar.say(frames.CLAIM, liar.claim(**claim))
        liar.say(frames.COMMIT, None)
    return attack


def test_a_tombstone_of_what_was_never_here_deletes_nobodys_mail(
    pair: tuple[Side, Side], tmp_path: Path
) -> None:
    _, server = pair
    text = b"not here yet"
    attack = lies(server, [content_id(text), 0, 0, 1, 1_700_000_000, len(text), b"", 0])
    assert attack.error is None
    third = Side(tmp_path, "third")
    third.deliver(b"", text, "S")
    third.create()
    quiet(third, server, FULL)
    assert text.decode() in third.texts()
    assert text.decode() in server.texts()


def test_a_new_mailbox_takes_nobodys_name(pair: tuple[Side, Side]) -> None:
    _, server = pair
    before = server.shown()
    store = server.open()
    validity = 1_700_000_000
    store.close()
    at = [1, 1, 1, 1]
    twin = [b"another mailbox!", {"(name)": ["Work", 0, *at[1:]], "(live)": [True, 0, *at[1:]],
                                  "(validity)": [validity, validity, *at[1:]]}, 1, 0]  # fmt: skip
    assert lies(server, box=twin).error is None
    assert [row for row in server.shown() if row in before] == before
    assert os.path.isdir(server.path(b".Work~" + b"another mailbox!".hex()[:8].encode()))


def test_what_it_says_of_others_is_not_believed(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    store, other = server.open(), laptop.open()
    laptop_id = other.index.ids[other.index.me]
    number = store.index.numbers[laptop_id]
    vector, acks = dict(store.index.vector), store.index.acks()[number]
    top = store.index.lamport + 5
    store.close()
    other.close()
    ids = [b"liarliar", laptop_id]
    attack = lies(
        server, ids=ids, vector=[top, top], acks=[[2, [top, top]]], members=[1, 2], waived=[2], forgotten=[2]
    )
    assert attack.error is None
    store = server.open()
    assert store.index.vector[number] == vector[number]
    assert store.index.acks()[number] == acks
    assert not store.index.waived & {number}
    assert not store.index.forgotten
    store.close()
    laptop.deliver(b"", b"still heard", "S")
    quiet(laptop, server, APPEND)
    assert "still heard" in server.texts()


def test_it_makes_no_room_for_itself_among_the_replicas(pair: tuple[Side, Side]) -> None:
    from mailkeep.replicate import bounds

    _, server = pair
    ids = [b"liarliar", *(b"%08d" % n for n in range(bounds.REPLICAS_OF_RESTRICTED_MAX))]
    attack = Attack(server, APPEND)
    with attack as liar:
        liar.begin(ids=ids, vector=[1] + [0] * (len(ids) - 1))
    assert attack.error is not None
    attack = Attack(server, APPEND)
    with attack as liar:
        me = attack.store.index.ids[attack.store.index.me]
        liar.begin(ids=[b"liarliar", me], vector=[1, 1 << 30], lamport=1 << 30)
    assert isinstance(attack.error, PermissionDenied)


# --- whatever it does


TEXTS = [b"message %d" % number for number in range(6)]
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["laptop", "server", "third"]), st.sampled_from(["add", "delete", "flag", "unflag", "move", "sync"]),
        st.sampled_from(TEXTS),
    ),
    min_size=4, max_size=14,
)  # fmt: skip


def act(side: Side, deed: str, text: bytes) -> None:
    found = [path for path in side.files() if _text(side, path) == text]
    if deed == "add" and not found:
        side.deliver(b"", text, "S")
    elif found and deed == "delete":
        os.unlink(side.path(found[0]))
    elif found and deed in ("flag", "unflag"):
        base, _, flags = side.path(found[0]).partition(b":2,")
        wanted = (
            b"".join(sorted({chr(c).encode() for c in flags} | {b"F"}))
            if deed == "flag"
            else flags.replace(b"F", b"")
        )
        os.rename(side.path(found[0]), base + b":2," + wanted)
    elif found and deed == "move":
        target = side.path(b".Work", b"cur", os.path.basename(found[0]))
        if not os.path.exists(target):
            os.rename(side.path(found[0]), target)


def _text(side: Side, path: bytes) -> bytes:
    with open(side.path(path), "rb") as file:
        return file.read()


@pytest.mark.slow
@settings(max_examples=8 if settings().max_examples < 1000 else 300)
@given(deeds=DEEDS)
def test_whatever_the_laptop_does_nothing_of_the_others_is_lost_and_all_agree(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, str, bytes]]
) -> None:
    base = tmp_path_factory.mktemp("append")
    sides = {name: Side(base, name) for name in ("laptop", "server", "third")}
    for side in sides.values():
        side.mailbox(b".Work")
    for text in TEXTS[:4]:
        sides["server"].deliver(b"", text, "FS")
    for side in sides.values():
        side.create()
    laptop, server, third = sides.values()
    quiet(laptop, server, APPEND)
    quiet(third, server, FULL)
    for who, deed, text in deeds:
        if deed != "sync":
            act(sides[who], deed, text)
            continue
        server.scan()
        before = {(at, text): set(flags) - {"n", "e", "w"} for at, flags, text in server.shown()}
        if who == "third":
            meet(third, server, FULL)
            continue
        meet(laptop, server, APPEND)
        after = {(at, text): set(flags) for at, flags, text in server.shown()}
        assert before.keys() <= after.keys()
        assert all(flags <= after[key] for key, flags in before.items())
    for _ in range(3):
        quiet(laptop, server, APPEND)
        quiet(third, server, FULL)
    quiet(laptop, server, APPEND)
    assert laptop.shown() == server.shown() == third.shown()
    for side in sides.values():
        side.at_rest()
