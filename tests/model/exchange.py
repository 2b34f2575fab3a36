"""The rules for two replicas: what one tells the other, how that is committed, and a session in steps.

A session is four messages: hello with a vector and digests, the answer with what the initiator lacks, the result with
what the responder lacks, and the responder's acknowledgement. Whatever is said about a replica (its vector, its
digests, the records it sends) is read from one snapshot, taken at hello; whatever is decided about it is decided
when it commits, on its state of then. Mail may come and go between any two steps.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .state import (
    FLAG_PREFIX,
    LIVE,
    NEVER,
    VALIDITY,
    WHOLE_STORE,
    Cell,
    Content,
    Key,
    Mailbox,
    MailboxId,
    Pact,
    Record,
    Register,
    ReplicaId,
    Stamp,
    State,
    Token,
    Vector,
    covers,
    fingerprint,
    heavier,
    weight,
    widen,
)

if TYPE_CHECKING:
    from .oracle import Replica


@dataclass(frozen=True)
class Doomed:
    """A message that a commit is about to take away.

    Attributes:
        uid: The one it had here.
        vanishes: No live record of its content is left here. A move takes a record away, but nothing vanishes.
    """

    box: MailboxId
    key: Key
    uid: int
    vanishes: bool


Guard = Callable[["Replica", Sequence[Doomed]], Sequence[Doomed]]
"""Shown the deletions of one commit, approved ones left out; returns those that are to be held."""


class Step(Enum):
    """What has just happened in a session, when it yields."""

    IDENTIFIED = "identities checked"
    GREETED = "hello sent"
    ANSWERED = "hello answered"
    INITIATOR_COMMITTED = "initiator committed"
    RESPONDER_COMMITTED = "responder committed"
    ACKNOWLEDGED = "acknowledged"


@dataclass
class Tally:
    """What a session had to do; all zero once two replicas agree.

    Attributes:
        sent: Mailboxes in which either side had news.
        mismatched: Mailboxes without news whose digests differed all the same.
        renamed: Replicas that had to take a new id.
        is_first: These two ids had never completed a session before.
    """

    sent: int = 0
    mismatched: int = 0
    renamed: int = 0
    is_first: bool = False


@dataclass(frozen=True)
class Offer:
    """What one side sends, read in one transaction, so that its vector claims nothing it does not have.

    Attributes:
        boxes: Mailboxes with the records that the other lacks.
        shown: All UIDs in use at the sender, and
        uidnext: its next ones, so that the receiver can settle UIDs for both.
        living: Contents of tombstones in `boxes` that live elsewhere at the sender.
        lore: For checkers only.
    """

    sender: ReplicaId
    lamport: int
    vector: Vector
    boxes: dict[MailboxId, Mailbox]
    shown: dict[MailboxId, dict[Key, int]]
    uidnext: dict[MailboxId, int]
    living: frozenset[Content]
    acks: dict[ReplicaId, Vector]
    members: frozenset[ReplicaId]
    replaced: frozenset[ReplicaId]
    forgotten: frozenset[ReplicaId]
    lore: frozenset[int]


def make_offer(state: State, lacks: Vector, whole: set[MailboxId]) -> Offer:
    """Offer what a replica with the vector `lacks` has not taken in, and all of the mailboxes in `whole`.

    A mailbox of `whole` that is not here is offered empty: its absence is one of the differences to be compared.
    """
    frozen = state.twin()
    boxes = frozen.news_for(lacks)
    boxes.update({i: frozen.boxes.get(i) or Mailbox() for i in whole})
    buried = {
        key.content for box in boxes.values() for key, record in box.records.items() if not record.is_live
    }
    return Offer(
        sender=frozen.id,
        lamport=frozen.lamport,
        vector=frozen.seen,
        boxes=boxes,
        shown={i: box.shown() for i, box in frozen.boxes.items()},
        uidnext={i: box.uidnext for i, box in frozen.boxes.items()},
        living=frozenset(buried & frozen.contents()),
        acks=frozen.acks,
        members=frozenset(frozen.members),
        replaced=frozenset(frozen.replaced),
        forgotten=frozenset(frozen.forgotten),
        lore=frozenset(frozen.lore),
    )


def carried_by(register: Register, stamp: Stamp) -> Register:
    """The same write under another stamp, so that it travels once more. Its rank and writer stay."""
    return register._replace(stamp=stamp)


class Commit:
    """One transaction that takes an offer in. It leaves its own store right, whatever else went on meanwhile.

    Args:
        replica: Whose transaction it is.
        offer: What came.
        compared: Mailboxes that were offered whole, because digests or identities gave reason for doubt. The
            initiator compares for both; None for the responder.
        guard: Decides which deletions are held.
    """

    def __init__(
        self,
        replica: Replica,
        offer: Offer,
        compared: set[MailboxId] | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Remember how things are before the first change."""
        self.replica, self.offer, self.guard = replica, offer, guard
        self.compared = compared or set()
        self.is_responder = compared is None
        self.before = replica.state.twin()
        self.now = replica.state

    def run(self) -> None:
        """Carry it out."""
        with self.replica.transaction():
            self.now.lamport = max(self.now.lamport, self.offer.lamport)
            for i in sorted(self.offer.boxes):
                self.merge_mailbox(i, self.offer.boxes[i])
                if i not in self.before.boxes:
                    self.lift_validity(i)
            self.now.lore |= self.offer.lore
            self.revive()
            self.judge()
            for i in sorted(set(self.offer.boxes) | set(self.now.news_for(self.offer.vector))):
                self.settle_uids(i)
            self.replica.settle_names()
            self.learn()
            self.report()

    # --- taking registers in

    def merge_mailbox(self, i: MailboxId, theirs: Mailbox) -> None:
        """Merge a mailbox. A record that is merely missing on either side says nothing."""
        mine = self.now.boxes.setdefault(i, Mailbox())
        self.merge_cell(mine, theirs, i)
        for key, record in theirs.records.items():
            if key not in mine.records:
                if self.was_purged(record):
                    continue
                mine.records[key] = Record()
            theirs_now = record.twin()
            self.bury_former_life(mine.records[key], record, self.offer.vector)
            self.bury_former_life(theirs_now, mine.records[key], self.before.seen)
            self.merge_cell(mine.records[key], theirs_now, i)
        if i in self.compared:
            for key in mine.live().keys() - theirs.records.keys():
                self.merge_cell(mine.records[key], Record(), i)

    def bury_former_life(self, dead: Record, later: Record, vector: Vector) -> None:
        """Take from a tombstone the flags that its key does not have any more where it came to life since.

        Registers go with a purge only. Who lacks one that it has taken in purged the tombstone, and made the message anew.
        """
        if LIVE not in dead.registers or LIVE not in later.registers or dead.is_live:
            return
        if heavier(dead.registers[LIVE], later.registers[LIVE]) == dead.registers[LIVE]:
            return
        for name in dead.registers.keys() - later.registers.keys():
            if name.startswith(FLAG_PREFIX) and covers(vector, dead.registers[name].stamp):
                del dead.registers[name]

    def was_purged(self, missing: Record) -> bool:
        """Whether an offered record that is missing here is a tombstone that was here: it need not come back."""
        return not missing.is_live and missing.known_to(self.before.seen)

    def merge_cell(self, mine: Cell, theirs: Cell, i: MailboxId) -> None:
        """Keep the heavier write of each register.

        While comparing, also mend vectors that lie: where a side claims a write that it does not have, nobody who
        believes its vector would send it that write, and it may have passed the claim on. So the write travels anew.
        """
        for name in sorted(mine.registers.keys() | theirs.registers.keys()):
            a, b = mine.registers.get(name), theirs.registers.get(name)
            won = heavier(a, b)
            assert won is not None
            i_lied = a != won and covers(self.before.seen, won.stamp)
            they_lied = b != won and covers(self.offer.vector, won.stamp)
            if i in self.compared and (i_lied or they_lied):
                won = carried_by(won, self.replica.stamp())
            mine.registers[name] = won

    def lift_validity(self, i: MailboxId) -> None:
        """A mailbox that comes back to a rolled-back or re-indexed store may have given out other UIDs before."""
        if i != WHOLE_STORE and self.now.boxes[i].validity < self.now.validity_floor:
            self.replica.write(i, None, VALIDITY, self.now.validity_floor)

    # --- putting right

    def revive(self) -> None:
        """Bring back what lived on both sides and now lives on neither: two people moved it, nobody removed it."""
        for content in sorted(self.removed_by_nobody()):
            candidates = [
                (weight(record.registers[LIVE]), i, key)
                for boxes in (self.before.boxes, self.offer.boxes)
                for i, box in boxes.items()
                for key, record in box.live().items()
                if key.content == content
            ]
            _, i, key = max(candidates)
            box = self.now.boxes[i]
            box.uidnext = max(box.uidnext, self.offer.uidnext.get(i, 1))
            self.replica.write(i, key, LIVE, True)
            self.replica.new_uid(i, key)

    def removed_by_nobody(self) -> set[Content]:
        """Contents that this commit took away although both sides had them."""
        return (self.before.contents() & self.offer.living) - self.now.contents()

    def judge(self) -> None:
        """Let the guard look at the deletions, and end holds that have lost their reason."""
        for box in self.now.boxes.values():
            for record in box.records.values():
                if record.is_live or self.is_settled_by_approval(record):
                    record.held_uid = None
        living = self.now.contents()
        doomed = [
            Doomed(i, key, record.uid, key.content not in living)
            for i, box in sorted(self.before.boxes.items())
            for key, record in box.live().items()
            if not (after := self.now.boxes[i].records[key]).is_live
            and not self.is_settled_by_approval(after)
        ]
        if self.guard and doomed:
            self.replica.hold(self.guard(self.replica, doomed))

    @staticmethod
    def is_settled_by_approval(record: Record) -> bool:
        """An approval covers the deletion whose rank it names, wherever it was given, and no other."""
        return record.is_approved

    def settle_uids(self, i: MailboxId) -> None:
        """Give a new UID to each message that would show up in the past of either side's mail readers.

        The initiator settles for both. The responder settles again for what it gave out meanwhile.
        """
        box, old = self.now.boxes[i], self.before.boxes.get(i)
        here = (old.shown(), old.uidnext) if old else ({}, 1)
        there = (self.offer.shown.get(i, {}), self.offer.uidnext.get(i, 1))
        box.uidnext = max(box.uidnext, there[1])
        taken = {record.held_uid for record in box.records.values() if record.held_uid is not None}
        misplaced = []
        for key, record in sorted(box.live().items(), key=lambda item: (item[1].uid, item[0])):
            uid = record.uid
            fits = all(shown.get(key) == uid or uid >= uidnext for shown, uidnext in (here, there))
            if fits and uid not in taken:
                taken.add(uid)
                box.uidnext = max(box.uidnext, uid + 1)
            else:
                misplaced.append(key)
        for key in misplaced:
            self.replica.new_uid(i, key)

    # --- remembering

    def learn(self) -> None:
        """Take in the vector, and what the other heard about everybody."""
        offer, now = self.offer, self.now
        widen(now.seen, offer.vector)
        for replica, vector in [*offer.acks.items(), (offer.sender, offer.vector)]:
            widen(now.acks.setdefault(replica, {}), vector)
        now.members |= offer.members
        now.replaced |= offer.replaced
        now.forgotten |= offer.forgotten

    def report(self) -> None:
        """Keep the history of removals, and report those that were undone by this commit."""
        came = self.now.contents() - self.before.contents()
        self.now.revived |= came & self.now.expunged
        self.now.expunged |= (self.before.contents() | self.buried_now()) - self.now.contents()

    def buried_now(self) -> set[Content]:
        """Contents of which the offer brought a tombstone: removed somewhere, though perhaps never seen here."""
        offered = ((key, record) for box in self.offer.boxes.values() for key, record in box.records.items())
        return {key.content for key, record in offered if not record.is_live}


# --- the session


def pact_of(replica: Replica, peer: ReplicaId) -> Pact:
    """What a replica remembers of its sessions with a peer."""
    return replica.state.pacts.get(peer, Pact())


def rolled_back(one: Replica, other: Replica) -> list[Replica]:
    """Which of two replicas, if any, show that they were restored from a backup or copied.

    Either other replicas know writes of mine that I do not; or my id was replaced; or both have one id; or our
    tokens have nothing in common, and mine is not the later: then I am not the one who was in that last session.
    """
    tokens = {r: pact_of(r, peer.id).tokens() for r, peer in ((one, other), (other, one))}
    latest = {r: max(tokens[r]).serial for r in tokens}
    suspects = []
    for me, peer in ((one, other), (other, one)):
        unknown_to_me = peer.state.seen.get(me.id, 0) > me.state.seen.get(me.id, 0)
        is_replaced = me.id in peer.state.replaced | me.state.replaced
        is_twin = me is one and me.id == peer.id
        lost_session = not tokens[one] & tokens[other] and latest[me] <= latest[peer]
        if unknown_to_me or is_replaced or is_twin or lost_session:
            suspects.append(me)
    return suspects


def claimed(hello: State, current: State) -> Vector:
    """The vector that goes with an answer: of the snapshot from which its records were read, not of now."""
    return dict(hello.seen)


def digest_of(hello: State, current: State, i: MailboxId) -> object:
    """The digest that goes with a hello: of the same snapshot, so a later write is no mismatch."""
    return fingerprint(hello.boxes.get(i))


def never_agreed(one: Pact, other: Pact) -> bool:
    """Whether these ids never completed a session. Then either vector may claim what its writer lost.

    A replica finds out about its rollback at the first session with somebody who knows more, and that session may
    die before anything was compared. Its new id has no pacts, so the doubt lasts until a session with each peer
    has compared what both have, and not only as long as the session that raised it.
    """
    return max(one.tokens() & other.tokens(), default=NEVER) == NEVER


def session(
    initiator: Replica, responder: Replica, *, guard: Guard | None = None, tally: Tally | None = None
) -> Iterator[Step]:
    """Run one session, stopping after each step. To kill a session, drop the iterator.

    Between steps either store may be written to, but may not be in another session. Two replicas of which one was
    given up by the other have no session at all: nothing is yielded.
    """
    tally = tally or Tally()
    if initiator.id in responder.state.forgotten or responder.id in initiator.state.forgotten:
        return
    suspects = rolled_back(initiator, responder)
    for replica in suspects:
        replica.new_id()
    yield Step.IDENTIFIED

    hello = initiator.state.twin()
    yield Step.GREETED

    ours, theirs = pact_of(initiator, responder.id), pact_of(responder, initiator.id)
    is_first = never_agreed(ours, theirs)
    token = Token(1 + max(ours.tokens() | theirs.tokens()).serial, responder.rng.getrandbits(64))
    # The responder makes both of these durable before it answers. Were the token noted later, a crash would look
    # like a rollback; were the member, a purge might not wait for somebody who was just given the live record.
    responder.state.pacts[initiator.id] = Pact(max(ours.tokens() & theirs.tokens(), default=token), token)
    responder.state.members.add(initiator.id)
    answer = responder.state.twin()
    yield Step.ANSWERED

    known = hello.boxes.keys() | answer.boxes.keys()
    news = hello.news_for(answer.seen).keys() | answer.news_for(hello.seen).keys()
    doubtful = {
        i
        for i in known
        if is_first
        or suspects
        or (i not in news and digest_of(hello, initiator.state, i) != digest_of(answer, responder.state, i))
    }
    tally.sent, tally.renamed, tally.is_first = len(news), len(suspects), is_first
    tally.mismatched = 0 if is_first or suspects else len(doubtful)

    offer = make_offer(answer, hello.seen, doubtful)
    offer.vector.clear()
    offer.vector.update(claimed(answer, responder.state))
    Commit(initiator, offer, doubtful, guard).run()
    initiator.state.pacts[responder.id] = Pact(agreed=token)
    result = make_offer(initiator.state, answer.seen, set())
    yield Step.INITIATOR_COMMITTED

    Commit(responder, result, None, guard).run()
    responder.state.pacts[initiator.id] = Pact(agreed=token)
    acknowledgement = dict(responder.state.seen)
    yield Step.RESPONDER_COMMITTED

    widen(initiator.state.acks.setdefault(responder.id, {}), acknowledgement)
    yield Step.ACKNOWLEDGED


def sync(initiator: Replica, responder: Replica, *, guard: Guard | None = None) -> Tally:
    """Run one session to its end, undisturbed."""
    tally = Tally()
    for _ in session(initiator, responder, guard=guard, tally=tally):
        pass
    return tally
