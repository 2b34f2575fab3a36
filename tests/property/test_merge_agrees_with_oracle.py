"""The product's ledger, merge and session do what the oracle does, register by register.

Random histories of two to four replicas: people write, sessions run through the real endpoints (in pieces of any
size) and are cut off, deletions are held and answered. Each thing is done to the product first and to the oracle then;
after each the two are compared in full: every register with rank, writer and stamp, UIDNEXT, holds, vector and
lamport. So both draw the same lamports, one for each transaction that writes.

Not compared is the UID under which a held file is shown: the oracle keeps the one it had here, the product has only
the register, which a later merge may change.

Tombstones are forgotten by the product's own rule, and in the oracle the same ones are. That rule may know less than the
oracle's of what others have taken in (a session that is cut tells less), never more than is true: whenever one is
forgotten, every member has really taken it in.

There are no files: contents are marked as kept, so that none is asked for, and `Books.apply` only clears the journal.
One more deliberate difference is left out: a mailbox that nobody was told of takes the id that one of the same name has
at the peer (`Books` says that all were told of). The oracle knows only the rule for names: the later one gets another.

`MERGE_RUNS=20000 MERGE_SEED=7 pytest tests/property/test_merge_agrees_with_oracle.py` goes deeper, `-m soak` much more.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from mailkeep.domain import record as domain
from mailkeep.replicate.endpoint import Endpoint
from mailkeep.replicate.initiator import APPLIED, Initiator
from mailkeep.replicate.responder import NEWS, Responder
from mailkeep.rules.digest import MODULUS, contribution
from mailkeep.rules.guard import Limits
from mailkeep.store.annotations import annotate
from mailkeep.store.cleanup import WAITING, CleanUp
from mailkeep.store.ledger import Ledger, digest_of, mailbox_id
from mailkeep.store.policy import Policy
from mailkeep.store.rows import Mailbox, Record
from mailkeep.store.store import Store
from mailkeep.store.vault import Vault
from mailkeep.system import clock
from model import exchange
from model.books import NEVER_HELD, Books
from model.exchange import Commit, Doomed, Step, session
from model.invariants import MailReader
from model.oracle import Clock, Key, Replica
from model.state import FLAG_PREFIX, LIVE, NAME, OK, UID, VALIDITY, WHOLE_STORE, covers, fingerprint

RUNS = int(os.environ.get("MERGE_RUNS", "140"))
SEED = int(os.environ.get("MERGE_SEED", "1"))
SOAK_RUNS = int(os.environ.get("MERGE_RUNS", "20000"))

KINDS = ("", "cut", "hold", "cut,hold", "purge", "cut,hold,purge")
SOON_HELD = Limits(count=2, mailbox_share=0.3, store_share=0.3, minimum=1, exempt=())
NAMES = {
    domain.LIVE: LIVE,
    domain.UID: UID,
    domain.APPROVED: OK,
    domain.NAME: NAME,
    domain.VALIDITY: VALIDITY,
}
ANNOTATIONS = {
    "expire": ("30d", "never"), "noexpire.case": ("forever", "until=2030-01-01"), "guard": ("count=1", "off"),
    "retention": ("1d", "90d"), "role": ("trash", "none"), "later": ("something",),
}  # fmt: skip
ROUNDS_MAX = 6


class Peer(Replica):
    """The oracle's replica, which can ask in which order its twin's index numbered records.

    Attributes:
        compared: Mailboxes that its twin compared in the session that it started last.
    """

    row: Callable[[bytes, Key], int]
    compared: frozenset[bytes] = frozenset()


class AsTheProduct(Commit):
    """The oracle, but for two deliberate differences in who gets which new UID.

    Order: of messages with one UID the oracle begins with the lesser content id, the product with the one that was
    here before. Which messages get a new UID is the same, and so is the set of UIDs given out.

    Knowledge: the oracle sees all UIDs that the peer shows. The product is not told them. It knows that the peer shows
    a UID when the peer's vector covers the write of it, or when the peer sends the record, as news or for a comparison. It remains that both gave
    one message the same UID by two writes, long ago: then the product gives a third, above both UIDNEXTs.
    """

    def settle_uids(self, i: bytes) -> None:
        box, old, offer = self.now.boxes[i], self.before.boxes.get(i), self.offer
        shown_here, free_here = (old.shown(), old.uidnext) if old else ({}, 1)
        sent = offer.boxes[i].records if i in offer.boxes else {}
        free_there = offer.uidnext.get(i, 1)
        box.uidnext = max(box.uidnext, free_there)
        taken = {record.held_uid for record in box.records.values() if record.held_uid is not None}
        misplaced = []
        row = cast("Peer", self.replica).row
        compared = not self.is_responder and i in cast("Peer", self.replica).compared
        for key, record in sorted(box.live().items(), key=lambda item: (item[1].uid, row(i, item[0]))):
            uid, there = record.uid, sent.get(key)
            is_told = (
                there is not None
                and (compared or not there.known_to(self.before.seen))
                and there.is_live
                and there.uid == uid
            )
            fits_there = uid >= free_there or is_told or covers(offer.vector, record.registers[UID].stamp)
            fits_here = uid >= free_here or shown_here.get(key) == uid
            if fits_here and fits_there and uid not in taken:
                taken.add(uid)
                box.uidnext = max(box.uidnext, uid + 1)
            else:
                misplaced.append(key)
        for key in misplaced:
            self.replica.new_uid(i, key)


class Asking(Initiator):
    """An initiator that remembers which mailboxes it compared."""

    were_compared: frozenset[bytes] = frozenset()

    def _to_compare(self) -> list[bytes]:
        out = super()._to_compare()
        self.were_compared = frozenset(out)
        return out


class Twin:
    """One replica, twice: as the product keeps it and as the oracle does."""

    def __init__(self, n: int, clock: Clock, limits: Limits) -> None:
        replica_id = b"%d-%d-%d-%d" % ((9 - n,) * 4) + b"%d" % n
        self.books = Books(replica_id, limits)
        self.ledger, self.index = self.books.ledger, self.books.index
        self.oracle = Peer(f"r{n}", replica_id, clock=clock, mailbox_ids=mailbox_id)
        self.oracle.row = self.row
        self.reader = MailReader()
        self.untold: set[bytes] = set()

    # --- the product's state, in the oracle's words

    def number(self, content_id: bytes) -> int:
        number: int = self.ledger.content(content_id, 1000, kept=True)
        return number

    def find(self, i: bytes, key: Key) -> Record:
        box = self.ledger.by_id[i]
        where = "mailbox = ? AND copy = ? AND content = (SELECT no FROM content WHERE id = ?)"
        (found,) = self.ledger.records(where, (box.no, key.copy, key.content))
        return found

    def row(self, i: bytes, key: Key) -> int:
        number: int = self.find(i, key).no
        return number

    def registers(
        self, registers: dict[str, domain.Register], is_mailbox: bool = False
    ) -> dict[str, tuple[object, ...]]:
        ids = self.index.ids
        return {
            NAMES.get(name, name if is_mailbox else FLAG_PREFIX + name): (
                r.value,
                r.rank,
                ids[r.writer],
                r.lamport,
                ids[r.replica],
            )
            for name, r in registers.items()
        }

    def kept(self) -> Iterator[tuple[Mailbox, bytes, Record]]:
        ids = dict(self.index.execute("SELECT no, id FROM content"))
        for record in list(self.ledger.records("true")):
            yield self.ledger.boxes[record.mailbox], ids[record.content], record

    def product_state(self) -> dict[str, Any]:
        boxes: dict[bytes, Any] = {
            box.id: (self.registers(box.regs, True), box.uidnext, {}) for box in self.ledger.rows()
        }
        for box, content_id, record in self.kept():
            held = record.hold is not None
            boxes[box.id][2][Key(content_id, record.copy)] = (self.registers(record.regs), held)
        vector = {self.index.ids[no]: lamport for no, lamport in self.index.vector.items() if lamport}
        return {"boxes": boxes, "vector": vector, "lamport": self.index.lamport}

    def oracle_state(self) -> dict[str, Any]:
        def flat(registers: dict[str, Any]) -> dict[str, tuple[object, ...]]:
            return {name: (r.value, r.rank, r.writer, *r.stamp) for name, r in registers.items()}

        state = self.oracle.state
        boxes = {
            i: (
                flat(b.registers),
                b.uidnext,
                {k: (flat(r.registers), r.held_uid is not None) for k, r in b.records.items()},
            )
            for i, b in state.boxes.items()
        }
        vector = {replica: lamport for replica, lamport in state.seen.items() if lamport}
        return {"boxes": boxes, "vector": vector, "lamport": state.lamport}

    def check(self) -> None:
        """Product and oracle hold the same, and the product's running sums are right."""
        product, oracle = self.product_state(), self.oracle_state()
        for i in product["boxes"].keys() | oracle["boxes"].keys():
            mine, theirs = product["boxes"].get(i), oracle["boxes"].get(i)
            assert mine is not None, (self.oracle.name, i, "only the oracle has it")
            assert theirs is not None, (self.oracle.name, i, "only the product has it")
            assert mine[0] == theirs[0], (self.oracle.name, i)
            for key in mine[2].keys() | theirs[2].keys():
                assert mine[2].get(key) == theirs[2].get(key), (self.oracle.name, i, key)
            assert mine[1] == theirs[1], (self.oracle.name, i, "UIDNEXT")
        assert product == oracle, self.oracle.name
        # The initiator, too, notes the other as a member before it is given anything; the oracle when it commits.
        assert self.members() | self.untold >= self.oracle.state.members
        self.check_sums()
        self.reader.look(self.oracle)

    def members(self) -> set[bytes]:
        return {self.index.ids[no] for no in self.index.members}

    def check_sums(self) -> None:
        sums = dict.fromkeys(self.ledger.boxes, 0)
        counts = dict.fromkeys(self.ledger.boxes, 0)
        for box, content_id, record in self.kept():
            assert (record.live, record.uid) == (
                record.regs[domain.LIVE].value,
                record.regs[domain.UID].value,
            )
            if record.live:
                sums[box.no] += contribution(content_id, record.copy, record.uid, record.flags)
                counts[box.no] += 1
        for box in self.ledger.boxes.values():
            assert (box.sum, box.count) == (sums[box.no] % MODULUS, counts[box.no]), (
                self.oracle.name,
                box.name,
            )

    def looks(self) -> dict[bytes, object]:
        """What digests speak of."""
        looks = {i: fingerprint(box) for i, box in self.oracle.state.boxes.items()}
        return {i: look for i, look in looks.items() if look is not None}


class History:
    """A world of twins. Everything follows from the seed and the kinds of fault."""

    def __init__(self, seed: int, kinds: str) -> None:
        self.rng = random.Random(f"{seed} {kinds}")
        self.kinds = kinds.split(",")
        self.clock = Clock()
        self.serial = itertools.count()
        self.log: list[str] = []
        self.forgotten = 0
        limits = SOON_HELD if "hold" in self.kinds else NEVER_HELD
        self.twins = [Twin(n, self.clock, limits) for n in range(self.rng.randint(2, 4))]
        # A session in which there is nothing to say tells of no members either: whoever was given something that these might
        # bring back was given it by a session with news, which does.
        untold: set[bytes] = set()
        for twin in self.twins:
            twin.untold = untold
        for n, twin in enumerate(self.twins):
            with twin.index.transaction(), twin.oracle.transaction():
                self.create(twin, "INBOX", weak=True)
            if self.rng.random() < 0.3:
                with twin.index.transaction(), twin.oracle.transaction():
                    self.create(twin, f"Own{n}", weak=self.rng.random() < 0.5)
        for n in range(self.rng.randint(0, 5)):
            for twin in self.rng.sample(self.twins, self.rng.randint(1, len(self.twins))):
                with twin.index.transaction(), twin.oracle.transaction():
                    i = twin.oracle.resolve("INBOX")
                    self.add(twin, i, content_of(f"old {n}"), frozenset(self.some_flags()), weak=True)

    def purge(self, twin: Twin) -> None:
        """Forget the tombstones that everybody has had, however young they are."""
        now = clock.now() + 1
        with twin.index.transaction():
            twin.index.execute("UPDATE record SET keep = NULL WHERE gone IS NOT NULL")
            twin.index.meta[WAITING] = None
        before = {(box.id, Key(content, record.copy)) for box, content, record in twin.kept()}
        clean = CleanUp(twin.ledger, cast("Vault", None), Policy(twin.ledger, now), now)
        for page in list(clean.forgettable(0)):
            with twin.index.transaction():
                clean.forget(page)
        gone = before - {(box.id, Key(content, record.copy)) for box, content, record in twin.kept()}
        state = twin.oracle.state
        self.forgotten += len(gone)
        for i, key in gone:
            record = state.boxes[i].records.pop(key)
            assert not record.is_live
            for other in self.twins:
                assert (
                    other is twin
                    or other.oracle.id not in state.members
                    or record.known_to(other.oracle.state.seen)
                )
        self.log.append(f"{twin.oracle.name} forgets {len(gone)}")
        twin.check()

    def some_flags(self) -> list[str]:
        return self.rng.sample(["S", "F", "O", "$work"], self.rng.choice((0, 0, 1, 1, 2, 3)))

    # --- one thing, done twice

    def create(self, twin: Twin, name: str, weak: bool = False) -> None:
        self.clock.now += self.rng.randint(0, 3)
        box = twin.ledger.create(name, self.clock.now, weak)
        dead = [b for b in twin.oracle.state.boxes.values() if b.name == name]
        twin.oracle.create_mailbox(name, weak=weak, validity=None if dead else box.validity)

    def add(self, twin: Twin, i: bytes, content: bytes, flags: frozenset[str], weak: bool = False) -> Key:
        for each in self.twins:
            each.number(content)
        twin.ledger.add(twin.ledger.by_id[i], twin.number(content), content, flags, 1000, weak)
        twin.ledger.settle_names()
        return twin.oracle.add(i, content, flags, weak=weak)

    def remove(self, twin: Twin, i: bytes, key: Key) -> None:
        approved = self.rng.random() < 0.2
        twin.ledger.remove(twin.find(i, key), approved)
        twin.oracle.remove(i, key, approved=approved)

    def local(self, twin: Twin) -> None:
        """One thing, or a few in one transaction, as a scan finds them."""
        with twin.index.transaction(), twin.oracle.transaction():
            for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
                self.one_thing(twin)
        self.clock.now += 10
        twin.check()

    def one_thing(self, twin: Twin) -> None:
        rng, boxes, ledger, oracle = self.rng, twin.oracle.state.boxes, twin.ledger, twin.oracle
        alive = sorted(i for i, box in boxes.items() if box.is_alive)
        here, there = rng.choice(alive), rng.choice(alive)
        name, records = boxes[here].name, boxes[here].records
        keys = sorted(boxes[here].live())
        tombs = sorted(records.keys() - set(keys))
        free = [n for n in ("Work", "Old", "Lists") if oracle.state.named(n) is None]
        held = oracle.held()
        chances = {
            "add": 30,
            "remove": 12 * bool(keys), "flag": 10 * bool(keys), "move": 10 * bool(keys), "copy": 6 * bool(keys),
            "undelete": 6 * bool(tombs),
            "create": 6 * bool(free), "rename": 5 * bool(free and name != "INBOX"), "delete": 3 * (name != "INBOX"),
            "answer": 20 * bool(held), "annotate": 6,
        }  # fmt: skip
        what = rng.choices(list(chances), list(chances.values()))[0]
        self.log.append(f"{oracle.name} {what} {name}")
        if what == "add":
            self.add(twin, here, content_of(f"m{next(self.serial)}"), frozenset(self.some_flags()))
        elif what == "remove":
            self.remove(twin, here, rng.choice(keys))
        elif what == "flag":
            key, flag = rng.choice(keys), rng.choice(("S", "F", "O", "$work"))
            value = flag not in records[key].flags()  # the product writes only what differs
            ledger.flag(twin.find(here, key), [flag] if value else [], [] if value else [flag])
            oracle.flag(here, key, flag, value)
        elif what == "move":
            key = rng.choice(keys)
            self.add(twin, there, key.content, records[key].flags())
            ledger.remove(twin.find(here, key))
            oracle.remove(here, key)
        elif what == "copy":
            key = rng.choice(keys)
            self.add(twin, there, key.content, records[key].flags())
        elif what == "undelete":
            self.add(twin, here, rng.choice(tombs).content, frozenset(self.some_flags()))
        elif what == "create":
            self.create(twin, rng.choice(free))
        elif what == "rename":
            new = rng.choice(free)
            ledger.rename(ledger.by_id[here], new)
            oracle.rename_mailbox(here, new)
        elif what == "delete":
            ledger.delete(ledger.by_id[here])
            oracle.delete_mailbox(here)
        elif what == "annotate":
            self.annotate(twin, rng.choice((here, WHOLE_STORE)))
        else:
            self.answer(twin, *rng.choice(held))

    def annotate(self, twin: Twin, i: bytes) -> None:
        """Something is laid down for a mailbox or the whole store, or taken back."""
        key, texts = self.rng.choice(sorted(ANNOTATIONS.items()))
        box = twin.ledger.whole_row() if i == WHOLE_STORE else twin.ledger.by_id[i]
        text = self.rng.choice([t for t in ("", *texts) if t != box.annotations.get(key, "")])
        annotate(twin.ledger, box, key, text)
        twin.oracle.annotate(i, key, text)

    def answer(self, twin: Twin, i: bytes, key: Key) -> None:
        """A person decides about a held deletion, by word or by deed."""
        record = twin.find(i, key)
        how = self.rng.choice(("approve", "approve", "remove", "reject", "flag"))
        self.log.append(f"  {how} {key.content[:4].hex()}")
        if how == "approve":
            twin.ledger.approve(record)
            twin.oracle.approve(i, key)
        elif how == "remove":
            twin.ledger.remove(record)
            twin.oracle.remove(i, key)
        elif how == "reject":
            twin.ledger.reject(record)
            twin.oracle.reject(i, key)
        else:
            value = "F" not in twin.oracle.state.boxes[i].records[key].flags()
            twin.ledger.flag(record, ["F"] if value else [], [] if value else ["F"])
            twin.ledger.settle_names()
            twin.oracle.flag(i, key, "F", value)

    # --- sessions

    def meet(self, one: Twin, other: Twin, *, whole: bool) -> bool:
        """One session; whether it said that there is nothing to say. Unless `whole`, it may be cut off anywhere."""
        initiator = Asking(cast("Store", one.books), other.oracle.name)
        responder = Responder(cast("Store", other.books))
        initiator.wire.greet()
        initiator.start()
        responder.wire.greet()
        same_looks = one.looks() == other.looks()
        assert same_looks == (roots(one.ledger) == roots(other.ledger)), (
            "digests are equal where views are, only"
        )
        cut = 0 if whole or "cut" not in self.kinds or self.rng.random() < 0.5 else self.rng.randint(1, 16)
        ended = talk(initiator, responder, self.rng, cut)
        one.oracle.compared = initiator.were_compared
        steps = 1 + (responder.state >= NEWS or initiator.same) + (initiator.outcome is not None)
        steps += (responder.outcome is not None) + (initiator.state >= APPLIED)
        self.log.append(f"{one.oracle.name} -> {other.oracle.name} {'same' if initiator.same else steps}")

        def guard(replica: Replica, doomed: Any) -> list[Doomed]:
            twin = one if replica is one.oracle else other
            return [d for d in doomed if twin.find(d.box, d.key).hold is not None]

        wanted = list(Step)[steps] if not (ended or initiator.same) else Step.ACKNOWLEDGED
        for step in session(one.oracle, other.oracle, guard=guard):
            if step is wanted:
                break
        if initiator.same:
            one.untold |= one.members() ^ other.members()
        one.check()
        other.check()
        if ended and one.oracle.state.seen == other.oracle.state.seen:  # else the responder had to write, too
            assert one.looks() == other.looks()
            assert roots(one.ledger) == roots(other.ledger)
        return initiator.same

    def run(self) -> None:
        for _ in range(self.rng.randint(5, 30)):
            if "purge" in self.kinds and self.rng.random() < 0.2:
                self.purge(self.rng.choice(self.twins))
            elif self.rng.random() < 0.6:
                self.local(self.rng.choice(self.twins))
            else:
                self.meet(*self.rng.sample(self.twins, 2), whole=False)
        pairs = list(itertools.permutations(self.twins, 2))
        for _ in range(ROUNDS_MAX):
            answers = [self.meet(*pair, whole=True) for pair in pairs]
            if all(answers):
                break
        else:
            raise AssertionError("they do not come to rest")
        if "purge" in self.kinds:  # what is forgotten comes back from nowhere
            for twin in self.twins:
                self.purge(twin)
            assert all(self.meet(*pair, whole=True) for pair in pairs)
        first = self.twins[0]
        for twin in self.twins[1:]:
            assert twin.looks() == first.looks()
            assert twin.index.meta.get("root") == first.index.meta.get("root")


def content_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def roots(ledger: Ledger) -> dict[bytes, bytes]:
    return {box.id: digest for box in ledger.rows() if (digest := digest_of(box))}


def talk(a: Endpoint, b: Endpoint, rng: random.Random, cut: int) -> bool:
    """Carry bytes in pieces of any size; False when the connection was cut, after so many pieces."""
    for said in itertools.count(1):
        moved = False
        for source, target in ((a, b), (b, a)):
            source.produce()
            out = source.wire.output(flush=not source.has_more)
            if out:
                size = len(out) if rng.random() < 0.7 else rng.randint(1, len(out))
                data = bytes(out[:size])
                del out[:size]
                target.receive(data)
                moved = True
            if said == cut and rng.random() < 0.5:
                return False
        if said == cut:
            return False
        if a.finished and b.finished and not moved:
            return True
        assert moved or a.has_more or b.has_more, "both ends wait for each other"
    raise AssertionError


def run(seed: int, kinds: str) -> None:
    history = History(seed, kinds)
    try:
        history.run()
    except BaseException as err:
        err.add_note(f"history {seed} {kinds!r}:\n" + "\n".join(history.log[-60:]))
        raise
    finally:
        for twin in history.twins:
            twin.index.close()


@pytest.fixture(autouse=True)
def _as_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "Commit", AsTheProduct)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS)
def test_histories(kinds: str) -> None:
    for seed in range(SEED, SEED + max(1, RUNS // len(KINDS))):
        run(seed, kinds)


@pytest.mark.soak
@pytest.mark.parametrize("kinds", KINDS)
def test_many_histories(kinds: str) -> None:
    for seed in range(SEED + 1_000_000, SEED + 1_000_000 + SOAK_RUNS // len(KINDS)):
        run(seed, kinds)
