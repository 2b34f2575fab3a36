"""What a replica remembers: registers, records, mailboxes, vectors. Data and questions about it, no writes.

A *register* holds a value together with the write that set it. Two numbers belong to a write and must not be
confused: its **rank** decides which of two writes wins, its **stamp** decides whether a peer has heard of it.
Repair work changes stamps only, so that it never beats what a person did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

Content = bytes
MailboxId = bytes
ReplicaId = bytes
Value = bool | int | str
Vector = dict[ReplicaId, int]

WEAK_RANK = 0
"""Rank of everything found when a store is indexed for the first time: nobody is known to have written it."""

LIVE, UID, OK, NAME, VALIDITY = "live", "uid", "ok", "name", "validity"
FLAG_PREFIX = "+"
"""Register names: `live`, `uid`, `ok` and `+F` for each flag F of a record; `live`, `name`, `validity` of a mailbox, and
its annotations under their own names."""
WHOLE_STORE = bytes(16)
"""In the place of a mailbox's id: the annotations of the whole store."""


class Stamp(NamedTuple):
    """The transaction that made a write travel: its lamport time at one replica."""

    lamport: int
    replica: ReplicaId


class Register(NamedTuple):
    """One value and the write behind it."""

    value: Value
    rank: int
    writer: ReplicaId
    stamp: Stamp


class Key(NamedTuple):
    """Names a record within its mailbox; `copy` tells equal messages in one mailbox apart."""

    content: Content
    copy: int


class Token(NamedTuple):
    """What two replicas agree on about their last session; higher serials are later."""

    serial: int
    secret: int


NEVER = Token(0, 0)
"""Stands for the last session of replicas that never had one."""


class Pact(NamedTuple):
    """Tokens towards one peer: of the last session known to be complete, and of one whose end is unknown."""

    agreed: Token = NEVER
    offered: Token | None = None

    def tokens(self) -> set[Token]:
        """Every session that the peer may remember as its last one."""
        return {self.agreed, self.offered or self.agreed}


def weight(register: Register) -> tuple[object, ...]:
    """Sort key of writes to one register; the heaviest wins, in whatever order they arrive.

    Between weak values the greater value comes first (live beats gone, a set flag beats a clear one), because no
    writer deserves to win. Between real writes rank and then writer decide; value and stamp only matter for copies of
    one store that made different writes under one name.
    """
    if register.rank == WEAK_RANK:
        return (register.rank, register.value, register.writer, register.stamp)
    return (register.rank, register.writer, register.value, register.stamp)


def heavier(one: Register | None, other: Register | None) -> Register | None:
    """The winner of two registers, either of which may be missing."""
    if one and other:
        return max(one, other, key=weight)
    return one or other


def covers(vector: Vector, stamp: Stamp) -> bool:
    """Whether a replica with this vector says that it took in what the stamp carries."""
    return stamp.lamport <= vector.get(stamp.replica, 0)


def widen(vector: Vector, by: Vector) -> None:
    """Make `vector` claim also what `by` claims."""
    for replica, lamport in by.items():
        if vector.get(replica, 0) < lamport:
            vector[replica] = lamport


@dataclass
class Cell:
    """Anything made of registers."""

    registers: dict[str, Register] = field(default_factory=dict)

    def known_to(self, vector: Vector) -> bool:
        """Whether a replica with this vector has nothing to learn from this cell."""
        return all(covers(vector, register.stamp) for register in self.registers.values())


@dataclass
class Record(Cell):
    """One message in one mailbox, or the tombstone of one.

    Attributes:
        held_uid: Local. The tombstone was taken in, but a guard kept the file, under this UID.
        settled_at: Local. Since when every member is known to have the tombstone.
    """

    held_uid: int | None = None
    settled_at: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether the message is there, as far as replication is concerned."""
        return bool(self.registers[LIVE].value)

    @property
    def uid(self) -> int:
        """The UID that the record has, or had when it died."""
        return int(self.registers[UID].value)

    @property
    def is_approved(self) -> bool:
        """Whether a person approved this very deletion: `ok` names the rank of the tombstone."""
        ok = self.registers.get(OK)
        return not self.is_live and ok is not None and ok.value == self.registers[LIVE].rank

    def flags(self) -> frozenset[str]:
        """The flags that are set."""
        return frozenset(n[1:] for n, r in self.registers.items() if n.startswith(FLAG_PREFIX) and r.value)

    def twin(self) -> Record:
        """A copy that shares nothing that can change."""
        return Record(dict(self.registers), self.held_uid, self.settled_at)


@dataclass
class Mailbox(Cell):
    """A mailbox with its records. Its id is not repeated here; its name is only a register.

    Registers that are neither name, live nor validity are annotations. The whole store is one with annotations only.
    """

    uidnext: int = 1
    records: dict[Key, Record] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name under which it is shown."""
        return str(self.registers[NAME].value) if NAME in self.registers else ""

    @property
    def validity(self) -> int:
        """UIDVALIDITY."""
        return int(self.registers[VALIDITY].value)

    @property
    def is_alive(self) -> bool:
        """A mailbox lives while it is wanted or has a message: who deleted it had not seen that message."""
        wanted = LIVE in self.registers and bool(self.registers[LIVE].value)
        return wanted or any(r.is_live for r in self.records.values())

    def annotations(self) -> dict[str, Value]:
        """Those that are set."""
        own = (LIVE, NAME, VALIDITY)
        return {name: r.value for name, r in self.registers.items() if name not in own and r.value}

    def live(self) -> dict[Key, Record]:
        """The records of messages that are there."""
        return {key: record for key, record in self.records.items() if record.is_live}

    def shown(self) -> dict[Key, int]:
        """UIDs of all that a mail reader of this replica sees: live messages and held files."""
        uids = {
            key: record.uid if record.is_live else record.held_uid for key, record in self.records.items()
        }
        return {key: uid for key, uid in uids.items() if uid is not None}

    def twin(self) -> Mailbox:
        """A copy that shares nothing that can change."""
        return Mailbox(dict(self.registers), self.uidnext, {key: r.twin() for key, r in self.records.items()})


def fingerprint(box: Mailbox | None) -> object:
    """Stands for the digest of a mailbox: equal exactly when replication sees the same live state.

    Tombstones are left out, since replicas purge them at different times; so are holds, which are local.
    """
    if box is None or not (box.is_alive or box.annotations()):
        return None
    mail = frozenset((key, r.uid, r.flags()) for key, r in box.live().items())
    validity = box.validity if VALIDITY in box.registers else 0
    return (box.name, validity, mail, frozenset(box.annotations().items()))


@dataclass
class State:
    """All that a replica keeps durably. A backup is a `twin` of it.

    Attributes:
        seen: Every write taken in, from whomever.
        acks: For each replica id the vector that it is known to have committed.
        members: Ids that must acknowledge a tombstone before it is purged.
        replaced: Ids that another id took the place of; nobody waits for them.
        forgotten: Ids that an operator gave up. They may return only under a new id.
        pacts: Session tokens by peer id.
        validity_floor: Mailboxes that come back from a peer get at least this UIDVALIDITY.
        expunged: History: contents whose removal this replica made or heard of, purged or not.
        revived: Report: expunged contents that a session brought back.
        lore: Numbers of the writes taken in. For checkers only; no rule reads it.
    """

    id: ReplicaId
    lamport: int = 0
    seen: Vector = field(default_factory=dict)
    acks: dict[ReplicaId, Vector] = field(default_factory=dict)
    members: set[ReplicaId] = field(default_factory=set)
    replaced: set[ReplicaId] = field(default_factory=set)
    forgotten: set[ReplicaId] = field(default_factory=set)
    pacts: dict[ReplicaId, Pact] = field(default_factory=dict)
    boxes: dict[MailboxId, Mailbox] = field(default_factory=dict)
    validity_floor: int = 0
    expunged: set[Content] = field(default_factory=set)
    revived: set[Content] = field(default_factory=set)
    lore: set[int] = field(default_factory=set)

    def twin(self) -> State:
        """A copy that shares nothing that can change."""
        return State(
            id=self.id,
            lamport=self.lamport,
            seen=dict(self.seen),
            acks={replica: dict(vector) for replica, vector in self.acks.items()},
            members=set(self.members),
            replaced=set(self.replaced),
            forgotten=set(self.forgotten),
            pacts=dict(self.pacts),
            boxes={box_id: box.twin() for box_id, box in self.boxes.items()},
            validity_floor=self.validity_floor,
            expunged=set(self.expunged),
            revived=set(self.revived),
            lore=set(self.lore),
        )

    def contents(self) -> set[Content]:
        """Every content with a live record somewhere."""
        return {key.content for box in self.boxes.values() for key in box.live()}

    def named(self, name: str) -> MailboxId | None:
        """The living mailbox of that name."""
        return min((i for i, box in self.boxes.items() if box.is_alive and box.name == name), default=None)

    def news_for(self, vector: Vector) -> dict[MailboxId, Mailbox]:
        """Mailboxes that a replica with this vector has to hear of, each with only the records it lacks."""
        news = {}
        for box_id, box in self.boxes.items():
            records = {key: record for key, record in box.records.items() if not record.known_to(vector)}
            if records or not box.known_to(vector):
                news[box_id] = Mailbox(box.registers, box.uidnext, records)
        return news
