"""What a peer that lies may say at each state of a session: named lies, each refused, nothing of it applied."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any

import pytest
from msgpack import packb

from crash.kit import Side, settle, sync
from hostile.liar import ME, Attack, Liar, box_id, content_id
from mailkeep.domain.errors import InternalError, MailkeepError, PermissionDenied, RemoteProtocolError
from mailkeep.domain.record import LAMPORT_MAX, SIZE_MAX, UID_HIGH, UID_MAX, UID_RESET
from mailkeep.replicate import bounds, endpoint
from mailkeep.replicate.initiator import Initiator
from mailkeep.system import clock
from mailkeep.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

SIDES = pytest.mark.parametrize("initiates", [False, True], ids=["client lies", "server lies"])


@pytest.fixture
def side(tmp_path: Path) -> Side:
    side = Side(tmp_path, "a")
    side.deliver(b"", b"hello", "S")
    return side.create()


def state_of(side: Side) -> tuple[Any, ...]:
    """What a peer could have changed: messages, mailboxes and vector."""
    store = side.open()
    try:
        boxes = sorted((box.id, box.name, box.validity, box.uidnext) for box in store.ledger.boxes.values())
        records = list(store.index.execute("SELECT mailbox, live, uid, flags, regs FROM record ORDER BY no"))
        vector = {store.index.ids[no]: v for no, v in store.index.vector.items()}
        return side.shown(), boxes, records, vector, store.index.me, store.index.lamport
    finally:
        store.close()


def refused(attack: Attack, kind: type[MailkeepError] = RemoteProtocolError) -> None:
    assert isinstance(attack.error, kind), attack.error
    assert not isinstance(attack.error, InternalError)


FAR = 1 << 48
HELLO_LIES: dict[str, dict[str, Any]] = {
    "no id of its own": {"me": 0},
    "an id it did not list": {"me": 2},
    "a long id": {"ids": [b"x" * 9]},
    "an id that is text": {"ids": ["12345678"]},
    "one id twice": {"ids": [ME, ME], "vector": [1, 1]},
    "no ids": {"ids": [], "vector": []},
    "ids without end": {"ids": [b"%08d" % i for i in range(bounds.REPLICAS_MAX + 1)], "vector": [0] * (bounds.REPLICAS_MAX + 1)},
    "more replicas than a store keeps": {
        "ids": [b"%08d" % i for i in range(bounds.REPLICAS_MAX)], "vector": [0] * bounds.REPLICAS_MAX,
    },
    "a vector of another length": {"vector": [1, 2]},
    "a vector that is bytes": {"vector": b"\x01"},
    "a negative lamport": {"vector": [-1]},
    "a lamport that is true": {"lamport": True},
    "a vector beyond its own lamport": {"vector": [9], "lamport": 3},
    "writes from the future": {"vector": [FAR], "lamport": FAR},
    "a lamport at the limit": {"vector": [LAMPORT_MAX], "lamport": LAMPORT_MAX},
    "a lamport of 64 bits": {"vector": [(1 << 64) - 1], "lamport": (1 << 64) - 1},
    "members that there are not": {"members": [7]},
    "a digest that is text": {"root": "x"},
    "a digest of a megabyte": {"root": b"x" * 900_000},
    "a store that is a number": {"store": 7},
    "an infinite number of messages": {"count": float("inf")},
}  # fmt: skip


@SIDES
@pytest.mark.parametrize("lie", HELLO_LIES.values(), ids=HELLO_LIES)
def test_a_lie_in_hello_is_refused(side: Side, initiates: bool, lie: dict[str, Any]) -> None:
    before = state_of(side)
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        liar.begin(**lie)
    refused(attack)
    assert state_of(side) == before


@pytest.mark.parametrize(
    "tokens",
    [
        [0, 1 << 40],
        [1 << 63, b"x"],
        [1.5, b"x"],
        ["9" * 5000, b"x"],
        [float("inf"), b"x"],
        [1, b"x" * 100],
        [1],
        5,
    ],
    ids=["a terabyte", "64 bits", "half a session", "text", "infinite", "long", "short", "a number"],
)
@SIDES
def test_a_token_is_a_number_and_bytes_and_nothing_is_made_of_it(
    side: Side, initiates: bool, tokens: Any
) -> None:
    before = state_of(side)
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        me = attack.store.index.ids[attack.store.index.me]
        liar.begin(**({"token": tokens} if initiates else {"tokens": [[me, [tokens]]]}))
    refused(attack)
    assert state_of(side) == before


# --- frames


@SIDES
def test_frames_have_a_length_and_a_type_that_there_are(side: Side, initiates: bool) -> None:
    for data in (
        (frames.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\x01",
        b"\xff\xff\xff\xff\x0a",
        b"\0\0\0\0\x63",
        b"\0\0\0\0\0",
    ):
        attack = Attack(side, initiates=initiates)
        with attack as liar:
            liar.raw(data)
        refused(attack)


def states(initiates: bool) -> dict[str, Callable[[Liar], None]]:
    def hello(liar: Liar) -> None:
        liar.begin()

    def news(liar: Liar) -> None:
        hello(liar)
        if initiates:
            liar.say(frames.DIGESTS, [[box_id("INBOX"), b"x" * 32, 9]])
        else:
            liar.say(frames.CLAIM, liar.claim())
        liar.say(frames.BOX, liar.box("INBOX", 9))
        liar.say(frames.RECORDS, [box_id("INBOX"), [liar.record(b"new", 8)]])

    def contents(liar: Liar) -> None:
        news(liar)
        liar.say(frames.END_NEWS, None)

    def committed(liar: Liar) -> None:
        contents(liar)
        liar.say(frames.CONTENT, liar.content(b"new"))

    return {"at first": lambda liar: None, "news": news, "contents": contents, "committed": committed}


ALLOWED = {
    (False, "at first"): {"HELLO", "PROVE"}, (False, "news"): {"BOX", "RECORDS", "COMPARE", "END_NEWS", "WANT", "CLAIM"},
    (False, "contents"): {"WANT", "CONTENT", "BIG", "PIECE", "LACK", "BOX", "RECORDS", "DIGESTS", "COMMIT", "CLAIM"},
    (False, "committed"): {"WANT", "CONTENT", "BIG", "PIECE", "LACK", "BOX", "RECORDS", "DIGESTS", "COMMIT", "CLAIM"},
    (True, "at first"): {"HELLO"}, (True, "news"): {"DIGESTS", "BOX", "RECORDS", "END_NEWS"},
    (True, "contents"): {"WANT", "CONTENT", "BIG", "PIECE", "LACK"},
    (True, "committed"): {"WANT", "CONTENT", "BIG", "PIECE", "LACK", "DONE"},
}  # fmt: skip
"""What the protocol has a place for, by who lies and where; ERROR always."""


@SIDES
def test_in_each_state_every_other_frame_is_refused(tmp_path: Path, initiates: bool) -> None:
    for state, reach in states(initiates).items():
        wrong = [
            kind for kind, name in frames.NAMES.items() if name not in ALLOWED[initiates, state] | {"ERROR"}
        ]
        side = None
        for kind in wrong:
            if side is None or state == "committed":  # there the content is kept by the first
                side = Side(tmp_path, f"{state}{kind}")
                side.deliver(b"", b"hello", "S")
                side.create()
            attack = Attack(side, initiates=initiates)
            with attack as liar:
                reach(liar)
                liar.say(kind, b"x" * 50 if kind in (frames.CONTENT, frames.PIECE) else None)
            refused(attack)
            assert "has no place for it" in str(attack.error), (state, kind)


@SIDES
def test_a_peer_that_goes_at_any_state_is_an_error_and_nothing_is_applied(
    tmp_path: Path, initiates: bool
) -> None:
    for number, (state, reach) in enumerate(states(initiates).items()):
        side = Side(tmp_path, f"s{number}")
        side.deliver(b"", b"hello", "S")
        side.create()
        attack = Attack(side, initiates=initiates)
        with attack as liar:
            reach(liar)
            liar.victim.receive(b"")
        if (state, initiates) == ("at first", False):
            assert attack.error is None  # it only asked whether somebody is there
        else:
            assert attack.error is not None
        assert side.texts() == ["hello"] or (initiates and state == "committed")
        side.at_rest()


# --- mailboxes and records

BAD_NAMES = {
    "up": "../outside", "up within": "Work/../../outside", "dot": "Work/./x", "absolute": "/etc/cron.d", "empty part": "a//b",
    "nothing": "", "nul": "a\0b", "newline": "a\nb", "300 bytes": "x" * 300, "300 bytes of two": "\u00e9" * 150, "deep": "x/" * 60 + "x",
    "long": "/".join(["x" * 200] * 6),
}  # fmt: skip


@SIDES
@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(
    side: Side, tmp_path: Path, initiates: bool, name: str
) -> None:
    before, there = state_of(side), sorted(os.listdir(tmp_path))
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        liar.begin()
        if not initiates:
            liar.say(frames.CLAIM, liar.claim())
        liar.say(frames.BOX, [box_id("x"), liar.registers(name), 1, 0])
    refused(attack)
    assert state_of(side)[:3] == before[:3]
    assert sorted(os.listdir(tmp_path)) == there


def beyond(liar: Liar) -> dict[str, tuple[int, Any]]:
    """Messages with one thing out of bounds."""
    rank, at = 1 << 51, [1, 1, 1, 1]
    box, record = liar.box("INBOX", 9), liar.record
    inbox = box_id("INBOX")
    return {
        "uidnext 0": (frames.BOX, [inbox, liar.registers("INBOX"), 0, 0]),
        "uidnext beyond 32 bits": (frames.BOX, [inbox, liar.registers("INBOX"), UID_MAX + 2, 0]),
        "a mailbox id of 15 bytes": (frames.BOX, [inbox[:15], liar.registers("INBOX"), 1, 0]),
        "a mailbox id that leads elsewhere": (frames.BOX, ["../../../../etcx", liar.registers("INBOX"), 1, 0]),
        "a validity in the next century": (frames.BOX, liar.box("INBOX", 9, **{"(validity)": [UID_MAX, UID_MAX, 1, 1, 1]})),
        "a validity that outranks all": (frames.BOX, liar.box("INBOX", 9, **{"(validity)": [5, rank, 1, 1, 1]})),
        "a name that outranks all": (frames.BOX, liar.box("INBOX", 9, **{"(name)": ["INBOX", rank, 1, 1, 1]})),
        "a register of the future": (frames.BOX, liar.box("INBOX", 9, **{"(live)": [True, 1, 1, 2, 1]})),
        "a register of nobody": (frames.BOX, liar.box("INBOX", 9, **{"(live)": [True, 1, 7, 1, 1]})),
        "a register too many": (frames.BOX, [inbox, liar.registers("INBOX", evil=[True, *at]), 1, 0]),
        "records of a name": (frames.RECORDS, ["../x", [record(b"x")]]),
        "no records": (frames.RECORDS, [inbox, []]),
        "uid 0": (frames.RECORDS, [inbox, [record(b"x", 0)]]),
        "a uid beyond 32 bits": (frames.RECORDS, [inbox, [record(b"x", UID_MAX + 1)]]),
        "a date beyond all years": (frames.RECORDS, [inbox, [record(b"x", 1, date=endpoint.DATE_MAX + 1)]]),
        "a date of 64 bits": (frames.RECORDS, [inbox, [record(b"x", 1, date=(1 << 64) - 1)]]),
        "a message of 4 GiB": (frames.RECORDS, [inbox, [record(b"x", 1, size=SIZE_MAX)]]),
        "copy 100,000": (frames.RECORDS, [inbox, [record(b"x", 1, copy=100_000)]]),
        "a content id with a slash": (frames.RECORDS, [inbox, [record(b"x", 1, content="../" * 10 + "xx")]]),
        "a content id of 31 bytes": (frames.RECORDS, [inbox, [record(b"x", 1, content=b"x" * 31)]]),
        "a rank that outranks all": (frames.RECORDS, [inbox, [record(b"x", 1, regs=liar.blob(rank=rank))]]),
        "a stamp of the future": (frames.RECORDS, [inbox, [record(b"x", 1, regs=liar.blob(lamport=2))]]),
        "a replica of nobody": (frames.RECORDS, [inbox, [record(b"x", 1, regs=liar.blob(writer=3))]]),
        "no uid": (frames.RECORDS, [inbox, [record(b"x", 1, regs=liar.blob(mask=1))]]),
        "a flag with a newline": (frames.RECORDS, [inbox, [record(b"x", 1, regs=packb([[3, 1, 1, 1, 1, " a\nb"]]))]]),
        "a flag that is no flag": (frames.RECORDS, [inbox, [record(b"x", 1, regs=packb([[3, 1, 1, 1, 1, "/"]]))]]),
        "a thousand groups": (frames.RECORDS, [inbox, [record(b"x", 1, regs=packb([[3, 1, 1, 1, 1]] * 1000))]]),
        "registers that are deep": (frames.RECORDS, [inbox, [record(b"x", 1, regs=b"\x91" * 5000)]]),
        "a name that is a message": (frames.BOX, [box[0], box[1] | {"(name)": [["INBOX"], *at]}, 1, 0]),
    }  # fmt: skip


@SIDES
def test_whatever_is_out_of_bounds_is_refused_and_nothing_of_it_applied(
    tmp_path: Path, initiates: bool
) -> None:
    side = Side(tmp_path, "a")
    side.deliver(b"", b"hello", "S")
    side.create()
    with Attack(side) as liar:
        names = list(beyond(liar))
    before = state_of(side)
    for name in names:
        attack = Attack(side, initiates=initiates)
        with attack as liar:
            liar.begin()
            if not initiates:
                liar.say(frames.CLAIM, liar.claim())
            if "records" in name or beyond(liar)[name][0] == frames.RECORDS:
                liar.say(frames.BOX, liar.box("INBOX", 9))
            liar.say(*beyond(liar)[name])
        assert isinstance(attack.error, RemoteProtocolError), name
        assert state_of(side)[:3] == before[:3], name
    side.at_rest()


@pytest.mark.parametrize(
    "date", [-endpoint.DATE_MAX, -1, 0, endpoint.DATE_MAX], ids=["past", "before", "epoch", "future"]
)
def test_a_message_of_any_year_arrives_and_the_store_stays_whole(side: Side, date: int) -> None:
    attack = Attack(side)
    with attack as liar:
        states(False)["at first"](liar)
        liar.begin()
        liar.say(frames.CLAIM, liar.claim())
        liar.say(frames.BOX, liar.box("INBOX", 9))
        liar.say(frames.RECORDS, [box_id("INBOX"), [liar.record(b"dated", 8, date=date)]])
        liar.say(frames.END_NEWS, None)
        liar.say(frames.CONTENT, liar.content(b"dated"))
        liar.say(frames.COMMIT, None)
    assert attack.error is None
    assert side.texts() == ["dated", "hello"]
    side.scan()
    side.at_rest()


# --- contents


def at_contents(liar: Liar, *records: list[Any]) -> None:
    liar.begin()
    liar.say(frames.CLAIM, liar.claim())
    liar.say(frames.BOX, liar.box("INBOX", 9))
    liar.say(frames.RECORDS, [box_id("INBOX"), list(records)])
    liar.say(frames.END_NEWS, None)


def objects(side: Side) -> set[bytes]:
    return {os.path.basename(path) for path in _files(os.path.join(side.state, b"objects"))}


def _files(top: bytes) -> list[bytes]:
    return [os.path.join(at, name) for at, _, names in os.walk(top) for name in names]


@pytest.mark.parametrize(
    "how", ["other bytes", "unasked", "unasked large", "longer", "shorter", "pieces of nothing", "no end"]
)
def test_a_content_that_is_not_what_was_asked_for_is_not_kept(side: Side, how: str) -> None:
    before, shown = objects(side), side.shown()
    large = b"y" * (frames.PIECE_BYTES + 10)
    attack = Attack(side)
    with attack as liar:
        at_contents(liar, liar.record(b"new", 8), liar.record(large, 9))
        match how:
            case "other bytes":
                liar.say(frames.CONTENT, liar.content(b"evil", name=content_id(b"new")))
            case "unasked":
                liar.say(frames.CONTENT, liar.content(b"nobody asked"))
            case "unasked large":
                liar.say(frames.BIG, [content_id(b"nobody"), 1, 9_000_000])
            case "longer":
                liar.say(frames.BIG, [content_id(large), 1, len(large)])
                liar.say(frames.PIECE, large[: frames.PIECE_BYTES])
                liar.say(frames.PIECE, b"y" * 11)
            case "shorter":
                liar.say(frames.BIG, [content_id(large), 1, 5])
                liar.say(frames.PIECE, b"yyyyy")
            case "pieces of nothing":
                liar.say(frames.PIECE, b"y")
            case _:
                liar.say(frames.BIG, [content_id(large), 1, len(large)])
                liar.say(frames.PIECE, b"")
    refused(attack)
    assert objects(side) == before
    assert side.shown() == shown
    side.at_rest()


@pytest.mark.parametrize("initiates", [False, True], ids=["client asks", "server asks"])
def test_only_what_a_live_record_refers_to_is_given(tmp_path: Path, initiates: bool) -> None:
    side = Side(tmp_path, "a")
    gone = side.deliver(b"", b"deleted", "S")
    side.deliver(b"", b"hello", "S")
    side.mailbox(b".Secret")
    side.deliver(b".Secret", b"secret", "S")
    side.create()
    os.unlink(gone)
    side.scan()
    side.scan()
    from mailkeep.replicate.view import View
    from mailkeep.wire.patterns import Patterns

    view = View(Patterns.parse(["!Secret"]))
    with Attack(side, initiates=initiates, view=view) as liar:
        liar.begin()
        if initiates:
            liar.say(frames.END_NEWS, None)
            if liar.of(frames.COMPARE):
                liar.say(frames.END_WHOLE, None)
        liar.say(frames.WANT, [content_id(data) for data in (b"hello", b"deleted", b"secret", b"never")])
        assert {payload[40:] for payload in liar.of(frames.CONTENT)} == {b"hello"}
        assert [found for found, _ in liar.of(frames.LACK)] == [
            content_id(d) for d in (b"deleted", b"secret", b"never")
        ]


def test_contents_are_not_asked_for_without_end(side: Side) -> None:
    attack = Attack(side)
    with attack as liar:
        liar.begin()
        for _ in range(1000):
            liar.say(frames.WANT, [content_id(b"hello")] * 500)
    refused(attack)
    assert "again and again" in str(attack.error)
    assert len(liar.of(frames.CONTENT)) <= 1000


# --- roles


@pytest.mark.parametrize("role", ["read"])
def test_a_peer_that_may_read_sends_nothing_that_is_kept(side: Side, role: str) -> None:
    before, there = state_of(side), objects(side)
    for kind in (frames.BOX, frames.RECORDS):
        attack = Attack(side, role)
        with attack as liar:
            liar.begin()
            liar.say(frames.CLAIM, liar.claim())
            if kind == frames.BOX:
                liar.say(frames.BOX, liar.box("INBOX", 9))
            else:
                liar.say(frames.RECORDS, [box_id("INBOX"), [liar.record(b"new", 8)]])
        refused(attack, PermissionDenied)
    assert state_of(side)[:3] == before[:3]
    assert objects(side) == there


@pytest.mark.parametrize("lie", ["vector", "token"])
def test_a_peer_with_a_small_role_cannot_make_a_store_take_a_new_id(side: Side, lie: str) -> None:
    before = state_of(side)
    attack = Attack(side, "read")
    with attack as liar:
        me = attack.store.index.ids[attack.store.index.me]
        if lie == "vector":
            liar.begin(ids=[ME, me], vector=[1, 100_000], lamport=100_000)
        else:
            liar.begin(tokens=[[me, [[1_000_000, b"12345678"]]]])
    refused(attack, PermissionDenied)
    assert state_of(side) == before


# --- what lasts: lies that would spoil a store for everybody


def poison(side: Side, **boxes: Any) -> None:
    """A whole session whose only news is a mailbox as the liar likes it."""
    attack = Attack(side)
    with attack as liar:
        liar.lamport = attack.store.index.lamport + 1
        liar.begin()
        liar.say(frames.CLAIM, liar.claim())
        validity = attack.store.ledger.by_id[box_id("INBOX")].validity
        at = [1, liar.lamport, 1]
        liar.say(
            frames.BOX,
            [
                box_id("INBOX"),
                liar.registers("INBOX", **{"(validity)": [validity, validity, *at]}),
                boxes["uidnext"],
                0,
            ],
        )
        if "uid" in boxes:
            liar.say(frames.RECORDS, [box_id("INBOX"), [liar.record(b"evil", boxes["uid"])]])
        liar.say(frames.END_NEWS, None)
        if "uid" in boxes:
            liar.say(frames.CONTENT, liar.content(b"evil"))
        liar.say(frames.CLAIM, liar.claim())
        liar.say(frames.COMMIT, None)
    assert attack.error is None, attack.error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uidnext", "uid"),
    [
        (UID_MAX + 1, None),
        (UID_RESET - 1, UID_HIGH),
        pytest.param(UID_HIGH + 5, UID_MAX, marks=pytest.mark.soak),
        pytest.param(UID_HIGH - 1, UID_MAX, marks=pytest.mark.soak),
    ],
)
def test_uids_that_a_peer_used_up_are_begun_anew_everywhere(
    tmp_path: Path, uidnext: int, uid: int | None
) -> None:
    a, b, c = (Side(tmp_path, name) for name in "abc")
    for at, one in enumerate((a, b, c)):
        one.deliver(b"", b"from %d" % at, "S")
        one.create()
    for first, second in ((a, b), (b, c), (a, b)):
        settle(first, second)
    poison(b, uidnext=uidnext, **({} if uid is None else {"uid": uid}))
    for round_ in range(4):
        for one in (a, b, c):
            one.deliver(b"", b"round %d" % round_ + one.name.encode(), "S")
        for first, second in ((a, b), (b, c), (c, a)):
            settle(first, second)
    for first, second in ((a, b), (b, c), (c, a)):
        settle(first, second)
    uids = []
    for one in (a, b, c):
        store = one.open()
        box = store.ledger.by_id[box_id("INBOX")]
        assert box.uidnext <= UID_RESET
        found = sorted(record.uid for record in store.ledger.records("mailbox = ? AND live", (box.no,)))
        assert len(found) == len(set(found)) == len(one.texts())
        assert found[-1] < box.uidnext
        uids.append((box.validity, found))
        store.close()
        one.at_rest()
    assert uids[0] == uids[1] == uids[2]


def test_lamports_that_a_peer_used_up_do_not_part_honest_stores(tmp_path: Path) -> None:
    a, b, c = (Side(tmp_path, name) for name in "abc")
    a.deliver(b"", b"hello", "S")
    for one in (a, b, c):
        one.create()
    settle(a, b)
    for _ in range(5):
        attack = Attack(b)
        with attack as liar:
            top = bounds.lamport_ceiling(clock.now())
            liar.begin(vector=[top], lamport=top)
            liar.lamport = top
            liar.say(frames.CLAIM, liar.claim())
            liar.say(frames.END_NEWS, None)
            liar.say(frames.CLAIM, liar.claim())
            liar.say(frames.COMMIT, None)
        assert attack.error is None
    b.deliver(b"", b"after", "S")
    clock_now = clock.now
    try:
        clock.now = lambda: clock_now() + 60  # the others' clocks have gone on by then
        settle(b, a)
        settle(c, b)  # a store that never saw a high lamport
        settle(c, a)
    finally:
        clock.now = clock_now
    assert a.texts() == b.texts() == c.texts() == ["after", "hello"]


def _id(side: Side) -> bytes:
    store = side.open()
    try:
        return store.index.ids[store.index.me]
    finally:
        store.close()


def test_no_peer_gives_up_a_third_one(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    a, b, c = (Side(tmp_path, name) for name in "abc")
    a.deliver(b"", b"hello", "S")
    for one in (a, b, c):
        one.create()
    settle(a, b)
    settle(c, b)
    claim = Initiator._claim
    with monkeypatch.context() as m:
        m.setattr(
            Initiator,
            "_claim",
            lambda self: {**claim(self), "forgotten": list(range(1, len(self.index.ids)))},
        )
        c.deliver(b"", b"news", "S")
        sync(c, b)
    store = b.open()
    assert not store.index.forgotten
    store.close()
    settle(a, b)
    assert a.texts() == ["hello", "news"]
    store = b.open()  # a person says so there: c, which never met a, hears of it
    gone = store.index.ids[store.index.numbers[_id(a)]]
    store.give_up(store.index.numbers[gone])
    store.close()
    b.deliver(b"", b"more", "S")
    sync(b, c)
    store = c.open()
    assert store.index.forgotten == {store.index.numbers[gone]}
    store.close()


def test_a_name_made_of_a_long_one_fits_a_directory(tmp_path: Path) -> None:
    from mailkeep.domain.names import MailboxName
    from mailkeep.store.ledger import own_name

    for name in (
        "x" * 255,
        "\u00e9" * 127,
        "/".join(["x" * 199] * 5),
        "a/" * 49 + "b",
        "/".join(["y" * 248] * 4) + "/z",
        "Work",
    ):
        once = own_name(name, b"12345678" * 2)
        twice = own_name(once, b"12345678" * 2)
        assert len({name, once, twice}) == 3
        assert str(MailboxName.parse(once)) == once
    assert own_name("Work", bytes(16)) == "Work~00000000"


# --- without end


def grows(limit: int, work: Callable[[], None]) -> None:
    """Memory of this process: the peak may rise by so many bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < limit


def disk(directory: bytes) -> int:
    return sum(os.lstat(path).st_blocks * 512 for path in _files(directory))


BOTH_SAY = ["records", "one record", "mailboxes", "excluded mailboxes"]


@pytest.mark.parametrize(
    ("initiates", "what"),
    [(False, what) for what in [*BOTH_SAY, "claims", "compare"]]
    + [(True, what) for what in [*BOTH_SAY, "digests"]],
)
def test_what_goes_on_without_end_is_ended(
    tmp_path: Path, monkeypatch: MonkeyPatch, initiates: bool, what: str
) -> None:
    """The bounds are lowered, so that the test does not take what a real session may."""
    side = Side(tmp_path, "a")
    side.deliver(b"", b"hello", "S")
    side.create()
    before, room = side.shown(), disk(side.state)
    monkeypatch.setattr(bounds, "RECORDS_MAX", 20_000)
    monkeypatch.setattr(bounds, "STAGED_BYTES_MAX", 8 << 20)
    monkeypatch.setattr(bounds, "MAILBOXES_MAX", 500)
    from mailkeep.replicate.view import View
    from mailkeep.wire.patterns import Patterns

    attack = Attack(
        side,
        initiates=initiates,
        view=View(Patterns.parse(["!Secret*"])) if what == "excluded mailboxes" else None,
    )

    def session() -> None:
        with attack as liar:
            liar.begin()
            if not initiates:
                liar.say(frames.CLAIM, liar.claim())
            liar.say(frames.BOX, liar.box("INBOX", 9))
            for at in range(10_000):
                match what:
                    case "records":
                        rows = [liar.record(b"%d %d" % (at, row), 8) for row in range(300)]
                        liar.say(frames.RECORDS, [box_id("INBOX"), rows])
                    case "one record":
                        flags = " " + " ".join(sorted(f"{n:04}" + "x" * 200 for n in range(200)))
                        row = liar.record(b"x", 8, regs=packb([[3, 1, 1, 1, 1, flags]]))
                        liar.say(frames.RECORDS, [box_id("nowhere" if at % 2 else "INBOX"), [row] * 20])
                    case "mailboxes":
                        liar.say(frames.BOX, liar.box(f"box {at}"))
                    case "excluded mailboxes":
                        liar.say(frames.BOX, liar.box(f"Secret {at}" + "x" * 200))
                    case "digests":
                        liar.say(
                            frames.DIGESTS, [[box_id(f"{at} {row}"), b"x" * 32, 9] for row in range(100)]
                        )
                    case "claims":
                        liar.say(frames.CLAIM, liar.claim())
                    case _:
                        liar.say(frames.COMPARE, [[box_id("INBOX"), None]])

    grows(60 << 20, session)
    refused(attack)
    assert side.shown() == before
    assert disk(side.state) - room < 2 << 20


@SIDES
def test_a_decompression_bomb_costs_neither_memory_nor_much_time(side: Side, initiates: bool) -> None:
    from mailkeep.wire.zstd import FLUSH_BLOCK, compressor

    bomb = compressor(3)
    zeros = bytes(1 << 20)
    data = b"".join(bomb.compress(zeros, FLUSH_BLOCK) for _ in range(300))  # 300 MB
    assert len(data) < 1 << 20
    attack = Attack(side, initiates=initiates)

    def session() -> None:
        with attack as liar:
            liar.begin()
            liar.victim.receive(data)

    grows(40 << 20, session)
    refused(attack)


@SIDES
def test_streams_begun_without_end_are_ended(side: Side, initiates: bool) -> None:
    from mailkeep.wire.zstd import FLUSH_FRAME, compressor

    one = compressor(3).compress(b"", FLUSH_FRAME)
    attack = Attack(side, initiates=initiates)
    with attack as liar:
        liar.begin()
        liar.victim.receive(one * 20_000)
    refused(attack)


def test_what_comes_after_the_end_is_not_kept(side: Side) -> None:
    attack = Attack(side)

    def session() -> None:
        with attack as liar:
            attack.victim.finished = True
            for _ in range(200):
                liar.victim.receive(bytes(1 << 18))

    grows(10 << 20, session)


def test_problems_have_an_end() -> None:
    problems = bounds.Problems()
    for at in range(100_000):
        problems.append((str(at), "is excluded"))
        problems.append((str(at), "is excluded"))
    assert len(problems) == bounds.PROBLEMS_MAX + 1
    assert problems.more == 200_000 - 2 * bounds.PROBLEMS_MAX


HELD_LIES = [-1, True, "6", None, [6], 1.5, float("inf"), 1 << 40, 1 << 63]


@pytest.mark.parametrize("said", [6, *HELD_LIES], ids=repr)
@pytest.mark.parametrize("moment", ["with nothing to do", "in the report"])
def test_how_much_a_server_says_that_it_holds_is_a_bounded_number(
    side: Side, said: object, moment: str
) -> None:
    attack = Attack(side, initiates=True)
    with attack as liar:
        index = liar.victim.index
        if moment == "with nothing to do":
            known = {
                "ids": [ME, index.ids[index.me]],
                "vector": [0, index.vector[index.me]],
                "lamport": index.lamport,
            }
            liar.say(frames.HELLO, liar.hello(same=1, root=liar.victim._root(), held=said, **known))
        else:
            liar.begin()
            liar.say(frames.DIGESTS, [[box_id("INBOX"), b"", 1]])
            liar.say(frames.END_NEWS, None)
            liar.say(frames.DONE, {"vector": [1, 1], "root": None})
            liar.say(frames.REPORT, {"counts": {}, "status": 0, "problems": [], "waiting": said})
    assert isinstance(liar.victim, Initiator)
    if said == 6:
        assert (attack.error, liar.victim.finished, liar.victim.waiting) == (None, True, 6)
    else:
        refused(attack)
        assert "out of bounds" in str(attack.error)
        assert not liar.victim.finished
