"""Annotations between two stores, one of which may lie: what takes force, what waits, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from crash.kit import Side, settle, sync
from hostile.liar import Attack, box_id
from hostile.test_append import quiet
from hostile.test_lies import refused
from mailkeep.domain.annotation import NEVER, TEXT_CHARS_MAX, Expire
from mailkeep.domain.record import ANNOTATIONS_MAX, STORE_ID
from mailkeep.replicate.channel import connect
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.replicate.view import APPEND, View
from mailkeep.rules.guard import Limits
from mailkeep.store import annotations as notes
from mailkeep.store.store import Store
from mailkeep.wire import frames
from mailkeep.wire.patterns import NameMap, Patterns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
DAY = 86_400


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Side, Side]:
    laptop, server = Side(tmp_path, "laptop"), Side(tmp_path, "server")
    for side in (laptop, server):
        side.mailbox(b".Lists")
        side.mailbox(b".Lists.python")
    server.deliver(b".Lists", b"one", "S")
    laptop.create()
    server.create()
    settle(laptop, server)
    return laptop, server


def at(side: Side, work: Callable[[Store], T]) -> T:
    store = side.open()
    try:
        with store.index.transaction():
            found = work(store)
        store.bump()
        store.end_run("annotate", None, 0, {})
        return found
    finally:
        store.close()


def put(side: Side, name: str, key: str, text: str) -> None:
    def work(store: Store) -> None:
        box = store.ledger.named(name) if name else store.ledger.whole_row()
        assert box is not None
        notes.annotate(store.ledger, box, key, text)

    at(side, work)


def laid_down(side: Side) -> dict[str, dict[str, str]]:
    """As replicated, by mailbox."""
    return at(
        side, lambda store: {box.name: box.annotations for box in store.ledger.rows() if box.annotations}
    )


def waiting(side: Side) -> list[tuple[str, str, str, str]]:
    def work(store: Store) -> list[tuple[str, str, str, str]]:
        return [(p.box.name, p.key, p.now, p.then) for p in notes.pending(store.ledger)]

    return at(side, work)


def effective(side: Side, name: str) -> notes.Effective:
    def work(store: Store) -> notes.Effective:
        box = store.ledger.named(name)
        assert box is not None
        return notes.effective(store.ledger, box)

    return at(side, work)


# --- two honest stores


def test_what_is_laid_down_here_is_known_there_and_waits_there_unless_it_is_safer(
    pair: tuple[Side, Side],
) -> None:
    laptop, server = pair
    put(laptop, "", "expire", "400d")
    put(laptop, "Lists", "expire", "30d")
    put(laptop, "Lists", "retention", "120d")
    put(laptop, "Lists/python", "noexpire.case", "until=2030-01-01 from:bank")
    settle(laptop, server)
    assert laid_down(laptop) == laid_down(server) == {
        "": {"expire": "400d"},
        "Lists": {"expire": "30d", "retention": "120d"},
        "Lists/python": {"noexpire.case": "until=2030-01-01 from:bank"},
    }  # fmt: skip
    assert waiting(laptop) == []
    assert waiting(server) == [("", "expire", "", "400d"), ("Lists", "expire", "", "30d")]
    there = effective(server, "Lists/python")
    assert (there.expire, there.retention, len(there.legal_holds)) == (NEVER, 120 * DAY, 1)
    assert effective(laptop, "Lists").expire == Expire(30 * DAY)


def test_an_acceptance_is_local_and_a_refusal_travels(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(laptop, "Lists", "expire", "30d")
    put(laptop, "", "role", "junk")
    settle(laptop, server)

    def answer(store: Store) -> None:
        for p in notes.pending(store.ledger):
            if p.key == "expire":
                assert notes.accept(store.ledger, p.box, p.key)
            else:
                assert notes.refuse(store.ledger, p.box, p.key)

    at(server, answer)
    assert sync(laptop, server).initiator.same is False
    settle(laptop, server)
    assert effective(server, "Lists").expire == Expire(30 * DAY)
    assert waiting(server) == waiting(laptop) == []
    assert laid_down(laptop) == laid_down(server) == {"Lists": {"expire": "30d"}}


def test_what_waits_still_waits_after_further_sessions_and_in_a_backup(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(laptop, "Lists", "expire", "30d")
    settle(laptop, server)
    laptop.deliver(b"", b"two", "S")
    settle(laptop, server)
    settle(server, laptop)
    assert waiting(server) == [("Lists", "expire", "", "30d")]
    assert sync(laptop, server).initiator.same, "nothing is left to be said"


def test_a_dry_run_leaves_nothing(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(laptop, "Lists", "expire", "30d")
    first, second = laptop.open(dry=True), server.open(dry=True)
    try:
        initiator, responder = Initiator(first, "server", dry=True), Responder(second, dry=True)
        initiator.wire.greet()
        responder.wire.greet()
        initiator.start()
        connect(initiator, responder)
        assert notes.pending(second.ledger)
    finally:
        first.close()
        second.close()
    assert laid_down(server) == {}
    assert waiting(server) == []


@pytest.mark.parametrize("who", ["laptop", "server"])
@pytest.mark.parametrize("name", ["", "Lists"])
def test_an_annotation_that_one_side_lost_is_found_by_comparison(
    pair: tuple[Side, Side], who: str, name: str
) -> None:
    laptop, server = pair
    put(laptop, "", "expire", "never")
    put(laptop, "Lists", "noexpire", "forever")
    settle(laptop, server)

    def lose(store: Store) -> None:
        box = store.ledger.whole if not name else store.ledger.named(name)
        assert box is not None
        lost = list(box.annotations)
        store.ledger.take_mailbox(box, {k: r for k, r in box.regs.items() if k not in lost})

    at(laptop if who == "laptop" else server, lose)
    settle(laptop, server)
    assert (
        laid_down(laptop) == laid_down(server) == {"": {"expire": "never"}, "Lists": {"noexpire": "forever"}}
    )


def test_a_side_that_has_no_row_for_the_store_at_all_gets_it_by_comparison(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(laptop, "", "expire", "never")
    settle(laptop, server)

    def lose(store: Store) -> None:
        store.index.execute("DELETE FROM mailbox WHERE id = ?", (STORE_ID,))
        store.ledger.whole = None
        store.index.meta["root"] = store.ledger.root()

    at(server, lose)
    settle(laptop, server)
    assert laid_down(server) == {"": {"expire": "never"}}
    at(laptop, lose)
    settle(laptop, server)
    assert laid_down(laptop) == {"": {"expire": "never"}}


def test_what_a_deleted_mailbox_bears_is_compared_too(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(laptop, "Lists/python", "noexpire", "forever")
    at(
        laptop,
        lambda store: store.ledger.delete(next(b for b in store.ledger.alive() if b.name == "Lists/python")),
    )
    at(laptop, lambda store: notes.annotate(store.ledger, store.ledger.level("Level", 1), "expire", "never"))
    settle(laptop, server)
    wanted = {"Lists/python": {"noexpire": "forever"}, "Level": {"expire": "never"}}
    assert laid_down(laptop) == laid_down(server) == wanted

    def lose(store: Store) -> None:
        for box in store.ledger.boxes.values():
            store.ledger.take_mailbox(box, {k: r for k, r in box.regs.items() if k not in box.annotations})
            box.todo = False

    at(server, lose)
    settle(laptop, server)
    assert laid_down(laptop) == laid_down(server) == wanted


# --- views


def meet(a: Side, b: Side, view: View) -> Initiator:
    first, second = a.open(), b.open()
    try:
        initiator, responder = Initiator(first, "server", view=view), Responder(second)
        initiator.wire.greet()
        responder.wire.greet()
        initiator.start()
        connect(initiator, responder)
        first.end_run("sync", b.name, 0, {})
        second.end_run("serve", a.name, 0, {})
        return initiator
    finally:
        first.close()
        second.close()


def test_a_peer_that_sees_some_mailboxes_is_not_told_what_is_laid_down_for_the_others(
    pair: tuple[Side, Side],
) -> None:
    laptop, server = pair
    for side, key in ((laptop, "noexpire.laptop"), (server, "noexpire.server")):
        for name in ("", "INBOX", "Lists"):
            put(side, name, key, "forever")
    view = View(Patterns.parse(["Lists"]))
    sessions = [meet(laptop, server, view) for _ in range(3)]
    assert sessions[-1].same
    assert not any(session.refused for session in sessions)
    both = {"noexpire.laptop": "forever", "noexpire.server": "forever"}
    assert laid_down(laptop) == {
        "": {"noexpire.laptop": "forever"},
        "INBOX": {"noexpire.laptop": "forever"},
        "Lists": both,
    }
    assert laid_down(server) == {
        "": {"noexpire.server": "forever"},
        "INBOX": {"noexpire.server": "forever"},
        "Lists": both,
    }


def test_annotations_follow_a_map_of_names(tmp_path: Path) -> None:
    laptop, server = Side(tmp_path, "laptop"), Side(tmp_path, "server")
    laptop.mailbox(b".Sent")
    server.mailbox(b".Gesendet")
    laptop.create()
    server.create()
    put(laptop, "Sent", "retention", "200d")
    put(server, "", "retention", "100d")
    view = View(None, NameMap([("Sent", "Gesendet")]))
    sessions = [meet(laptop, server, view) for _ in range(3)]
    assert sessions[-1].same
    assert laid_down(laptop) == {"": {"retention": "100d"}, "Sent": {"retention": "200d"}}
    assert laid_down(server) == {"": {"retention": "100d"}, "Gesendet": {"retention": "200d"}}


# --- a peer that may only add


def test_a_peer_that_may_only_add_lays_nothing_down(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    put(server, "Lists", "noexpire", "forever")
    put(server, "", "expire", "never")
    settle(laptop, server)
    put(laptop, "Lists", "noexpire", "")
    put(laptop, "Lists", "retention", "3650d")
    put(laptop, "", "expire", "1d")
    put(laptop, "", "role", "trash")
    refused_writes = quiet(laptop, server, APPEND)
    assert refused_writes == 4
    assert waiting(server) == []
    wanted = {"": {"expire": "never"}, "Lists": {"noexpire": "forever"}}
    assert laid_down(server) == laid_down(laptop) == wanted


def test_nor_does_it_with_a_mailbox_that_it_makes(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    laptop.mailbox(b".Mine")
    laptop.scan()
    put(laptop, "Mine", "expire", "1d")
    assert quiet(laptop, server, APPEND) == 1
    assert laid_down(server) == laid_down(laptop) == {}


def test_nor_with_a_level_of_the_tree_that_is_no_mailbox(pair: tuple[Side, Side]) -> None:
    laptop, server = pair
    at(laptop, lambda store: notes.annotate(store.ledger, store.ledger.level("Level", 1), "expire", "1d"))
    assert quiet(laptop, server, APPEND) == 1
    assert laid_down(server) == laid_down(laptop) == {}


# --- a liar


@pytest.fixture
def side(tmp_path: Path) -> Side:
    side = Side(tmp_path, "a", limits=Limits(count=5, minimum=0))
    for n in range(20):
        side.deliver(b"", b"message %d" % n, "S")
    return side.create()


def attack(
    side: Side, box: Callable[[Any], list[list[Any]]], *, delete: bool = False, role: str = "full"
) -> Attack:
    """A session in which a peer sends these BOXes and, if wished, a tombstone of everything."""
    with (session := Attack(side, role)) as liar:
        liar.lamport = 1000
        liar.begin()
        records = [row for _, rows in liar.of(frames.RECORDS) for row in rows]
        assert len(records) == 20
        liar.say(frames.CLAIM, liar.claim())
        for one in box(liar):
            liar.say(frames.BOX, one)
        if delete:
            gone = [
                [content, copy, 0, uid, date, size, liar.blob(), 0]
                for content, copy, _, uid, date, size, _, _ in records
            ]
            liar.say(frames.RECORDS, [box_id("INBOX"), gone])
        liar.say(frames.END_NEWS, None)
        liar.say(frames.CLAIM, liar.claim())
        liar.say(frames.COMMIT, None)
        assert liar.of(frames.DONE)
    return session


def note(text: object, **lies: Any) -> list[Any]:
    at = {"rank": 1000, "writer": 1, "lamport": 1000, "replica": 1, **lies}
    return [text, *at.values()]


@pytest.mark.parametrize("where", ["mailbox", "store"])
def test_a_deletion_is_held_though_a_peer_says_that_the_mailbox_is_trash(side: Side, where: str) -> None:
    lie = {"role": note("trash"), "guard": note("off")}
    attack(
        side,
        lambda liar: [liar.box("INBOX", **lie) if where == "mailbox" else [STORE_ID, lie, 1, 0]],
        delete=True,
    )
    assert len(side.files()) == 20
    assert len(waiting(side)) == 2
    held = at(side, lambda store: store.index.value("SELECT count(*) FROM record WHERE hold IS NOT NULL"))
    assert held == 20


def test_a_peer_that_deletes_and_says_that_nothing_is_to_be_kept_is_not_believed(side: Side) -> None:
    side.limits = Limits(count=1000, mailbox_share=1, store_share=1)
    attack(side, lambda liar: [liar.box("INBOX", retention=note("0s"))], delete=True)
    assert side.files() == []
    assert waiting(side) == [("INBOX", "retention", "", "0s")]
    kept = at(side, lambda store: store.index.value("SELECT min(keep - gone) FROM record"))
    assert kept == 90 * DAY
    assert len(side.kept()) >= 20


def test_a_peer_removes_no_legal_hold(side: Side) -> None:
    put(side, "INBOX", "noexpire.case", "forever")
    put(side, "", "noexpire", "forever from:bank")
    attack(
        side,
        lambda liar: [
            liar.box("INBOX", **{"noexpire.case": note("")}),
            [STORE_ID, {"noexpire": note("until=2001-01-01")}, 1, 0],
        ],
    )
    holds = effective(side, "INBOX").legal_holds
    assert [(h.name, h.until, h.query) for h in holds] == [("", None, "from:bank"), ("case", None, "")]
    assert waiting(side) == [
        ("", "noexpire", "forever from:bank", "until=2001-01-01"),
        ("INBOX", "noexpire.case", "forever", ""),
    ]


def test_nor_does_it_crowd_one_out(side: Side) -> None:
    put(side, "INBOX", "noexpire.case-4711", "forever")
    crowd = {f"noexpire.{n}": note("forever") for n in range(ANNOTATIONS_MAX)}
    attack(side, lambda liar: [liar.box("INBOX", **crowd)])
    assert "case-4711" in {h.name for h in effective(side, "INBOX").legal_holds}
    assert waiting(side) == [("INBOX", "noexpire.case-4711", "forever", "")]


BAD: dict[str, dict[Any, Any]] = {
    "a key with a space": {"expire x": note("30d")},
    "a key that is bytes": {b"expire": note("30d")},
    "a key of a record": {"(uid)": note(1)},
    "a long key": {"x" * 65: note("30d")},
    "a text of two lines": {"expire": note("30d\nnever")},
    "a text that moves the cursor": {"expire": note("30d\x1b[2J")},
    "a long text": {"noexpire": note("x" * (TEXT_CHARS_MAX + 1))},
    "a number": {"retention": note(30)},
    "no text": {"retention": note(None)},
    "bytes": {"retention": note(b"30d")},
    "a rank that nothing beats": {"expire": note("30d", rank=1 << 50)},
    "a stamp from the future": {"expire": note("30d", lamport=1001)},
    "a writer that was not announced": {"expire": note("30d", writer=7)},
    "too few fields": {"expire": note("30d")[:4]},
    "too many of them": {f"noexpire.{n}": note("forever") for n in range(ANNOTATIONS_MAX + 1)},
}


@pytest.mark.parametrize("where", ["mailbox", "store"])
@pytest.mark.parametrize("lie", BAD)
def test_what_is_no_annotation_ends_the_session_and_changes_nothing(side: Side, lie: str, where: str) -> None:
    with (session := Attack(side)) as liar:
        liar.lamport = 1000
        liar.begin()
        liar.say(frames.CLAIM, liar.claim())
        regs = BAD[lie] if where == "store" else {**liar.registers("INBOX"), **BAD[lie]}
        liar.say(frames.BOX, [STORE_ID if where == "store" else box_id("INBOX"), regs, 1, 0])
    refused(session)
    assert laid_down(side) == {}
    assert waiting(side) == []


@pytest.mark.parametrize("lie", ["a name", "records", "marks"])
def test_the_whole_store_is_no_mailbox(side: Side, lie: str) -> None:
    with (session := Attack(side)) as liar:
        liar.lamport = 1000
        liar.begin()
        liar.say(frames.CLAIM, liar.claim())
        if lie == "a name":
            liar.say(frames.BOX, [STORE_ID, {**liar.registers("INBOX"), "expire": note("30d")}, 1, 0])
        elif lie == "records":
            liar.say(frames.BOX, [STORE_ID, {"expire": note("30d")}, 1, 0])
            liar.say(frames.RECORDS, [STORE_ID, [liar.record(b"x")]])
        else:
            liar.say(frames.COMPARE, [[STORE_ID, None], [STORE_ID, None], [STORE_ID, bytes(2)]])
    refused(session)
    assert laid_down(side) == {}


def test_a_store_whose_annotations_would_fill_the_disk_says_no(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailkeep.replicate import bounds

    monkeypatch.setattr(bounds, "ANNOTATIONS_CHARS_MAX", 5000)
    with (session := Attack(side)) as liar:
        liar.lamport = 1000
        liar.begin()
        liar.say(frames.CLAIM, liar.claim())
        for n in range(100):
            liar.say(frames.BOX, liar.box(f"box{n}", noexpire=note("forever " + "x" * 200)))
    refused(session)
    assert session.error is not None
    assert "characters" in str(session.error)
    assert laid_down(side) == {}


# --- other names


def rename(side: Side, name: str, new: str) -> None:
    def work(store: Store) -> None:
        box = store.ledger.named(name)
        assert box is not None
        store.ledger.rename(box, new)

    at(side, work)
    store = side.open()
    store.apply()
    store.end_run("sync", None, 0, {})
    store.close()


@pytest.mark.parametrize(
    "renames",
    [
        [("Lists/python", "Elsewhere")],
        [("Lists", "Elsewhere")],
        [("Lists", "Elsewhere"), ("Lists/python", "Lists")],
        [("Lists/python", "A"), ("A", "Lists/python"), ("Lists/python", "B")],
    ],
)
def test_no_mailbox_loses_a_legal_hold_by_another_name(
    pair: tuple[Side, Side], renames: list[tuple[str, str]]
) -> None:
    laptop, server = pair
    put(server, "Lists", "noexpire.case", "until=2090-01-01")
    put(server, "Lists", "noexpire", "forever from:bank")
    put(server, "Lists/python", "noexpire.case", "until=2089-01-01 from:a")
    settle(laptop, server)
    ids = at(server, lambda store: {box.name: box.id for box in store.ledger.alive()})
    for name, new in renames:
        rename(laptop, name, new)
    settle(laptop, server)
    for name in ("Lists", "Lists/python"):

        def holds(store: Store, name: str = name) -> set[tuple[int | None, str]]:
            found = notes.effective(store.ledger, store.ledger.by_id[ids[name]]).legal_holds
            return {(hold.until, hold.query) for hold in found}

        assert at(server, holds) >= {(3_786_998_400, ""), (None, "from:bank")}
    lost = [p for p in waiting(server) if not p[3]]
    assert lost or renames[0][0] == "Lists"
    settle(laptop, server)
    assert [p for p in waiting(server) if not p[3]] == lost, "once is enough"

    def let_go(store: Store) -> None:
        for p in notes.pending(store.ledger):
            notes.accept(store.ledger, p.box, p.key)

    at(server, let_go)
    settle(laptop, server)
    assert waiting(server) == []


@pytest.mark.parametrize("later", [0, 5])
def test_nor_by_another_mailbox_that_takes_the_name_of_the_one_that_bears_it(
    pair: tuple[Side, Side], later: int
) -> None:
    laptop, server = pair
    server.mailbox(b".Case.a")
    server.mailbox(b".Case")
    server.scan()
    put(server, "Case", "noexpire", "forever")
    for n in range(later):  # so its name was given by the earlier or by the later write
        put(laptop, "INBOX", "retention", f"{100 + n}d")
    rename(laptop, "Lists", "Case")
    settle(laptop, server)
    names = at(server, lambda store: sorted(box.name for box in store.ledger.alive() if "Case" in box.name))
    assert len(names) == 3
    assert len(effective(server, "Case/a").legal_holds) == 1
