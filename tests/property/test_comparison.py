"""Two replicas whose vectors say that nothing is new, and whose mail differs: what the comparison costs, and mends.

A replica's books are damaged behind its back (a row of the index is lost or altered), so that its vector claims what it
does not hold. Each such lie must be found, mended on both sides, and heard of by a third that believed it.

`LIES_RUNS=5000 LIES_SEED=7 pytest tests/property/test_comparison.py` goes deeper, `-m soak` much more.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from typing import TYPE_CHECKING, Any, cast

import pytest

from mailkeep.domain.errors import RemoteProtocolError
from mailkeep.replicate import compare
from mailkeep.replicate.channel import connect
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.rules.digest import FANOUT, MODULUS, Buckets, contribution, differing
from mailkeep.store import news
from mailkeep.store.ledger import digest_of
from mailkeep.wire import frames
from model.books import NEVER_HELD, Books

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.monkeypatch import MonkeyPatch

    from mailkeep.store.rows import Mailbox, Record
    from mailkeep.store.store import Store

MANY = 20_000
RUNS, SOAK_RUNS = int(os.environ.get("LIES_RUNS", "25")), int(os.environ.get("LIES_RUNS", "5000"))
SEED = int(os.environ.get("LIES_SEED", "1"))


class Replica(Books):
    """Books with a name, that can be written to and damaged."""

    def __init__(self, name: str) -> None:
        super().__init__(hashlib.sha256(name.encode()).digest()[:8], NEVER_HELD)
        self.name = name

    def add(self, box: str, texts: list[str]) -> None:
        with self.index.transaction():
            for text in texts:
                content_id = hashlib.sha256(text.encode()).digest()
                mailbox = self.ledger.named(box) or self.ledger.create(box, 1)
                self.ledger.add(mailbox, self.number(text), content_id, frozenset("S"), 1000)

    def number(self, text: str) -> int:
        return self.ledger.content(hashlib.sha256(text.encode()).digest(), 1000, kept=True)

    def box(self, name: str = "INBOX") -> Mailbox:
        found = self.ledger.named(name)
        assert found is not None
        return found

    def knows(self, other: Replica) -> None:
        """Have every content that the other has, so that no session asks for any."""
        theirs, ours = ({i for (i,) in r.index.execute("SELECT id FROM content")} for r in (other, self))
        with self.index.transaction():
            for content_id in theirs - ours:
                self.ledger.content(content_id, 1000, kept=True)

    # --- damage

    def forget_row(self, record: Record) -> None:
        box, content_id = self.ledger.boxes[record.mailbox], self.ledger.content_id(record.content)
        with self.index.transaction():
            if record.live:
                box.sum = (
                    box.sum - contribution(content_id, record.copy, record.uid, record.flags)
                ) % MODULUS
                box.count -= 1
                box.dirty = True
            self.index.execute("DELETE FROM record WHERE no = ?", (record.no,))

    def lose(self, text: str) -> None:
        """A row is gone, and nobody noticed."""
        self.forget_row(self.find(text))

    def alter_flags(self, text: str) -> None:
        """A register is gone: what it said is as if it had never been."""
        record = self.find(text)
        with self.index.transaction():
            self.ledger.take(record, {name: r for name, r in record.regs.items() if name != "S"})

    def find(self, text: str) -> Record:
        (record,) = self.ledger.records("mailbox = ? AND content = ?", (self.box().no, self.number(text)))
        return record

    def texts(self, box: str = "INBOX") -> set[bytes]:
        records = list(self.ledger.records("mailbox = ? AND live", (self.box(box).no,)))
        return {self.ledger.content_id(record.content) for record in records}

    def digests(self) -> dict[bytes, bytes]:
        return {box.id: digest_of(box) for box in self.ledger.alive()}


class Met:
    """What one session cost."""

    def __init__(self, initiator: Initiator, responder: Responder) -> None:
        self.initiator, self.responder = initiator, responder
        self.bytes = initiator.wire.sent_bytes + responder.wire.sent_bytes
        self.same = initiator.same


def meet(a: Replica, b: Replica) -> Met:
    a.knows(b)
    b.knows(a)
    initiator = Initiator(cast("Store", a), b.name)
    responder = Responder(cast("Store", b))
    initiator.wire.greet()
    initiator.start()
    connect(initiator, responder)
    return Met(initiator, responder)


def numbered(count: int) -> list[str]:
    return [f"m{n}" for n in range(count)]


@pytest.fixture
def trio() -> Iterator[tuple[Replica, Replica, Replica]]:
    """Three that hold the same 300 messages and have met each other."""
    replicas = Replica("a"), Replica("b"), Replica("c")
    a, b, c = replicas
    a.add("INBOX", numbered(300))
    for one, other in ((a, b), (b, c), (a, c)):
        one.add("Diary", [f"{one.name} meets {other.name}"])
        meet(one, other)
    for one, other in ((a, b), (b, c), (a, b)):
        meet(one, other)
    assert a.digests() == b.digests() == c.digests()
    assert meet(a, b).same
    assert meet(a, c).same
    yield replicas
    for replica in replicas:
        replica.index.close()


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[Replica, Replica]]:
    a, b = Replica("a"), Replica("b")
    a.add("INBOX", numbered(MANY))
    meet(a, b)
    assert a.digests() == b.digests()
    yield a, b
    a.index.close()
    b.index.close()


@pytest.mark.parametrize("who", ["initiator", "responder"])
@pytest.mark.parametrize("damage", [Replica.lose, Replica.alter_flags])
def test_one_record_of_20000_costs_a_few_kilobytes(
    large: tuple[Replica, Replica], who: str, damage: Callable[[Replica, str], None]
) -> None:
    a, b = large
    damage(a if who == "initiator" else b, "m777")
    assert a.digests() != b.digests()
    met = meet(a, b)
    assert a.digests() == b.digests()
    assert met.bytes < 6_000, met.bytes
    assert met.initiator.turns <= 5
    assert meet(a, b).same


def test_the_cost_follows_the_differences(large: tuple[Replica, Replica]) -> None:
    a, b = large
    for n in range(0, MANY, 200):
        (a if n % 400 else b).lose(f"m{n}")
    met = meet(a, b)
    assert a.digests() == b.digests()
    assert len(a.texts()) == MANY
    assert met.bytes < 150_000, met.bytes
    assert meet(a, b).same


def test_the_bytes_of_a_comparison_do_not_grow_with_the_mailbox(trio: tuple[Replica, ...]) -> None:
    a, b, _ = trio
    b.lose("m7")
    met = meet(a, b)
    assert met.bytes < 6_000
    assert met.initiator.turns == 3, "so few are sent at once"
    assert a.digests() == b.digests()


@pytest.mark.parametrize("liar", ["first", "second"])
def test_a_third_that_believed_a_lie_hears_of_what_was_mended(trio: tuple[Replica, ...], liar: str) -> None:
    a, b, c = trio
    (a if liar == "first" else b).lose("m7")
    c.lose("m7")  # it took in the liar's vector, and not the record
    meet(a, b)
    assert a.digests() == b.digests()
    session = meet(b, c)
    assert not session.initiator.compared
    assert b.digests() == c.digests()
    assert meet(a, c).initiator.asker is None, "the news were enough"
    assert a.digests() == c.digests()


def test_a_mailbox_that_one_side_lost_whole_comes_back(trio: tuple[Replica, ...]) -> None:
    a, b, _ = trio
    for loser, other in ((a, b), (b, a)):
        for n in range(300):
            loser.lose(f"m{n}")
        meet(loser, other)
        assert a.digests() == b.digests()
        assert len(a.texts()) == len(b.texts()) == 300
        for n in range(300):
            loser.lose(f"m{n}")
        meet(other, loser)
        assert a.digests() == b.digests()
        assert len(a.texts()) == len(b.texts()) == 300


def test_what_a_vector_claims_of_a_mailbox_with_news_is_found_by_the_next_session(
    trio: tuple[Replica, ...],
) -> None:
    a, b, _ = trio
    b.lose("m7")
    a.add("INBOX", ["new"])
    meet(a, b)
    assert a.digests() != b.digests(), "no session compares a mailbox with news, but"
    a.add("INBOX", ["newer"])
    met = meet(a, b)
    assert met.initiator.compared, "both have taken in the same and hold other mail: the next one does"
    assert a.digests() == b.digests()
    assert met.bytes < 8_000
    a.add("INBOX", ["newest"])
    assert not meet(a, b).initiator.compared, "that is over now"
    assert meet(a, b).same


def test_local_news_of_the_responder_are_no_disagreement(trio: tuple[Replica, ...]) -> None:
    a, b, _ = trio
    a.add("INBOX", ["one"])
    b.add("INBOX", ["two"])  # both take the same UID: the responder may have to write, too
    met = meet(a, b)
    assert not a.index.meta.get("doubted")
    assert not b.index.meta.get("doubted")
    assert not met.initiator.refused


def test_two_that_never_met_do_not_believe_each_other_on_mailboxes_with_news() -> None:
    a, b, c = (Replica(name) for name in "abc")
    a.add("INBOX", numbered(40))
    meet(a, b)
    meet(b, c)
    c.lose("m3")
    a.add("INBOX", ["news"])
    met = meet(a, c)
    assert met.initiator.compared
    assert a.digests() == c.digests()
    for replica in (a, b, c):
        replica.index.close()


def test_two_that_share_no_past_compare_nothing() -> None:
    a, b = Replica("a"), Replica("b")
    for replica in (a, b):
        replica.add("INBOX", numbered(100))
    met = meet(a, b)
    assert met.initiator.asker is None
    assert a.texts() == b.texts()


def test_what_no_comparison_mends_is_reported_once_a_session_and_ends(
    trio: tuple[Replica, ...], monkeypatch: MonkeyPatch
) -> None:
    a, b, _ = trio
    monkeypatch.setattr(Responder, "shared_root", lambda self: bytes(32))
    for n in range(3):
        a.add("INBOX", [f"new {n}"])
        problems = meet(a, b).initiator.refused
        assert len(problems) == (1 if n else 0), "the first only doubts"
    monkeypatch.undo()
    a.add("INBOX", ["last"])
    assert not meet(a, b).initiator.refused
    assert meet(a, b).same


def test_a_comparison_reads_each_mailbox_a_few_times_only(
    trio: tuple[Replica, ...], monkeypatch: MonkeyPatch
) -> None:
    a, b, _ = trio
    for n in range(0, 300, 3):
        b.lose(f"m{n}")
    passes: list[str] = []
    buckets_of = news.buckets_of

    def counted(ledger: Any, box: Any) -> Buckets:
        passes.append(box.name)
        return buckets_of(ledger, box)

    monkeypatch.setattr(news, "buckets_of", counted)
    meet(a, b)
    assert a.digests() == b.digests()
    assert len(passes) <= 3


# --- histories


class History:
    """Random writes, sessions and damage, on two to four replicas. Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.replicas = [Replica(name) for name in "abcd"[: rng.choice((2, 3, 3, 4))]]
        self.log: list[object] = []
        self.removed: set[bytes] = set()
        self.serial = 0

    def step(self) -> None:
        replica, kind = self.rng.choice(self.replicas), self.rng.random()
        if kind < 0.3:
            self.serial += 1
            replica.add(self.rng.choice(("INBOX", "Work")), [f"t{self.serial}"])
            self.log.append((replica.name, "add", self.serial))
        elif kind < 0.45:
            self.write(replica)
        elif kind < 0.55:
            self.damage(replica)
        else:
            one, other = self.rng.sample(self.replicas, 2)
            self.log.append((one.name, other.name, "same" if meet(one, other).same else "met"))

    def write(self, replica: Replica) -> None:
        live, ledger = list(replica.ledger.records("live")), replica.ledger
        if not live:
            return
        record, what = self.rng.choice(live), self.rng.choice(("remove", "flag", "move"))
        content_id = ledger.content_id(record.content)
        self.log.append((replica.name, what, content_id[:4].hex()))
        with replica.index.transaction():
            if what == "remove":
                self.removed.add(content_id)
                ledger.remove(record)
            elif what == "flag":
                on, off = ([], ["F"]) if "F" in record.flags else (["F"], [])
                ledger.flag(record, on, off)
            else:
                to = self.rng.choice(("INBOX", "Work"))
                box = ledger.named(to) or ledger.create(to, 1)
                ledger.add(box, record.content, content_id, frozenset(), 1000)
                ledger.remove(record)

    def damage(self, replica: Replica) -> None:
        """Any row of the index is lost, a message's or a tombstone's.

        Of a message that was moved only the removal from its old place is left then. Where nobody else has heard of the
        new one, that is as if it had been removed (its content is in the vault still).
        """
        rows = list(replica.ledger.records("true"))
        if rows:
            record = self.rng.choice(rows)
            if any(not each.live for each in rows if each.content == record.content):
                self.removed.add(replica.ledger.content_id(record.content))
            replica.forget_row(record)
            self.log.append((replica.name, "lost", record.content, record.live))

    def live(self) -> set[bytes]:
        return {r.ledger.content_id(each.content) for r in self.replicas for each in r.ledger.records("live")}

    def run(self) -> None:
        for _ in range(self.rng.randint(10, 40)):
            self.step()
        before = self.live()
        for _ in range(8):
            sessions = [meet(*pair) for pair in itertools.permutations(self.replicas, 2)]
            if all(session.same for session in sessions):
                break
        else:
            raise AssertionError("they do not come to rest")
        assert all(replica.digests() == self.replicas[0].digests() for replica in self.replicas)
        assert before - self.removed <= self.live(), "nobody deleted these"


def run(seed: int) -> None:
    history = History(seed)
    try:
        history.run()
    except BaseException as err:
        err.add_note(f"history {seed}:\n" + "\n".join(map(str, history.log)))
        raise
    finally:
        for replica in history.replicas:
            replica.index.close()


@pytest.mark.slow
def test_whatever_rows_are_lost_all_come_to_rest_and_lose_nothing() -> None:
    for seed in range(SEED, SEED + RUNS):
        run(seed)


@pytest.mark.soak
def test_many_histories_of_lost_rows() -> None:
    for seed in range(SEED + 1_000_000, SEED + 1_000_000 + SOAK_RUNS):
        run(seed)


# --- a peer that does not keep to it


MARKS = bytes(compare.MARKS_BYTES)


@pytest.mark.parametrize(
    "said",
    [
        [(frames.COMPARE, [["BOX", None]]), (frames.COMPARE, [["BOX", None]])],
        [(frames.COMPARE, [["BOX", None], ["BOX", MARKS]])],
        [(frames.COMPARE, [["BOX", MARKS[1:]]])],
        [(frames.COMPARE, [["BOX", "text"]])],
        [(frames.COMPARE, [[b"short", None]])],
        [(frames.COMPARE, [[bytes(16), None]] * 40_000)] * 3,
        [(frames.FETCH, ["BOX", [b"ab"]])],
        [(frames.END_NEWS, None), (frames.FETCH, ["BOX", [b"ab"]])],
        [(frames.COMPARE, [["BOX", MARKS]]), (frames.END_NEWS, None), (frames.FETCH, ["BOX", [b"abc"]])],
        [(frames.COMPARE, [["BOX", MARKS]]), (frames.END_NEWS, None), (frames.FETCH, ["BOX", [b"a", b"a"]])],
        [(frames.COMPARE, [["BOX", MARKS]]), (frames.END_NEWS, None), (frames.FETCH, ["BOX", [1]])],
        [(frames.COMPARE, [["BOX", MARKS]]), (frames.END_NEWS, None)] + [(frames.FETCH, ["BOX", [b"a"]])] * 2,
        [
            (frames.COMPARE, [["BOX", None]]),
            (frames.END_NEWS, None),
            (frames.END_WHOLE, None),
            (frames.END_WHOLE, None),
        ],
        [(frames.COMPARE, [["BOX", None]]), (frames.END_NEWS, None), (frames.COMPARE, [["BOX", None]])],
    ],
)
def test_an_initiator_that_asks_for_too_much_is_refused(
    monkeypatch: MonkeyPatch, said: list[tuple[int, Any]]
) -> None:
    monkeypatch.setattr(compare, "LEAF_RECORDS", 0)
    a, b = Replica("a"), Replica("b")
    a.add("INBOX", numbered(500))
    meet(a, b)
    a.add("INBOX", ["new"])

    class Hostile(Initiator):
        def on_end_news(self, message: object) -> None:
            super().on_end_news(message)
            self.sending.clear()
            for kind, words in said:
                self.say(kind, _with_id(words, a.box().id))

        def on_buckets(self, message: Any) -> None:
            """Whatever."""

    initiator, responder = Hostile(cast("Store", a), "b"), Responder(cast("Store", b))
    initiator.wire.greet()
    initiator.start()
    with pytest.raises(RemoteProtocolError):
        one_way(initiator, responder)
    for replica in (a, b):
        replica.index.close()


def one_way(initiator: Initiator, responder: Responder) -> None:
    """Until one of them complains, or both have nothing to say."""
    moved = True
    while moved:
        moved = False
        for source, target in ((initiator, responder), (responder, initiator)):
            source.produce()
            out = source.wire.output(flush=not source.has_more)
            if out:
                data = bytes(out)
                del out[:]
                moved = True
                if source is initiator or initiator.state <= 2:
                    target.receive(data)


def _with_id(words: Any, box_id: bytes) -> Any:
    if isinstance(words, list):
        return [_with_id(word, box_id) for word in words]
    return box_id if isinstance(words, str) and words == "BOX" else words


@pytest.mark.parametrize(
    "said",
    [
        [["BOX", [[b"", None]]], ["BOX", [[b"", None]]]],
        [["OTHER", [[b"", None]]]],
        [["BOX", [[b"abc", None]]]],
        [["BOX", [[b"a", None], [b"a", None]]]],
        [["BOX", [[b"ab", MARKS]]]],
        [["BOX", [[b"a", MARKS[1:]]]]],
        [["BOX", [["text", None]]]],
    ],
)
def test_a_responder_that_answers_what_was_not_asked_is_refused(
    trio: tuple[Replica, ...], monkeypatch: MonkeyPatch, said: list[Any]
) -> None:
    a, b, _ = trio
    b.lose("m7")

    def hostile(self: compare.Answerer, box: Mailbox, marks: bytes | None) -> Iterator[None]:
        self.endpoint.send_box(box, whole=True)
        for words in said:
            (box_id, rows) = words
            self.endpoint.say(frames.BUCKETS, [box.id if box_id == "BOX" else bytes(16), rows])
        yield

    monkeypatch.setattr(compare.Answerer, "_compare", hostile)
    with pytest.raises(RemoteProtocolError):
        meet(a, b)


def test_buckets_tell_apart_what_differs() -> None:
    rng = random.Random(7)
    records = [(rng.randbytes(32), 0, n, "S") for n in range(3000)]
    ours, theirs = Buckets(records), Buckets(records[:-1])
    (n,) = differing(ours.marks(b""), theirs.marks(b""))
    assert n == records[-1][0][0]
    assert differing(ours.marks(bytes([n])), theirs.marks(bytes([n]))) == [records[-1][0][1]]
    assert sum(ours.counts()) == 3000
    assert len(ours.counts()) == FANOUT
    assert not any(Buckets([]).marks(b""))
