"""Registers, stamps and version vectors: what a replicated message or mailbox is made of.

A *register* is one value with two marks. Its **rank** and **writer** order writes: the greatest wins,
whatever way it came. Its **stamp** (lamport, replica) carries it: a replica whose version vector covers
the stamp has taken the write in. Repair may stamp a write anew so that it travels again; its rank stays,
so repair never beats a newer write.

Replicas are small numbers inside one store (`ReplicaNo`), as the index numbers them; what orders two
writers is their id, 8 random bytes, so that every store decides alike.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    ReplicaNo = int
    Lamport = int
    Value = bool | int | str
    Vector = dict[int, int]
    Registers = dict[str, "Register"]
    OrderKey = tuple[int, Value, Value, int, bytes]

WEAK = 0
"""Rank of what was merely found on disk when a store was first indexed: nobody wrote it."""

LAMPORT_MAX = 1 << 52
"""A peer's lamport above this is refused: it could never be counted beyond."""
UID_MAX = (1 << 32) - 1
SIZE_MAX = 1 << 32
"""A message of this many bytes (4 GiB) or more is refused."""
UID_RESET = 1 << 31
"""A mailbox whose UIDNEXT is above this is numbered anew, from 1, under a new UIDVALIDITY: no mail brings a mailbox there,
but a peer's lie could, and all that the mailbox then gets would soon have no UID left."""
UID_HIGH = 1 << 30
"""From here on a UIDNEXT counts under its own UIDVALIDITY only; else that of another replica would undo the reset."""
COPY_MAX = 100_000
"""Copies of one content in one mailbox; more is an attack or a runaway program."""
REPLICA_ID_BYTES = 8
MAILBOX_ID_BYTES = 16
STORE_ID = bytes(MAILBOX_ID_BYTES)
"""In the place of a mailbox id: the whole store, which has annotations and nothing else."""
CONTENT_ID_BYTES = 32

LIVE, UID, APPROVED = "(live)", "(uid)", "(ok)"
"""Registers of a record that are no flags; a parenthesis, since no IMAP keyword has one. (ok) is on a tombstone: the rank of the deletion that a
person approved. It covers that very deletion and no later one."""
NAME, VALIDITY = "(name)", "(validity)"
"""Registers of a mailbox (with LIVE). The rank of VALIDITY is its value, so that it only rises."""
NOT_FLAGS = frozenset((LIVE, UID, APPROVED))
NOT_ANNOTATIONS = frozenset((LIVE, NAME, VALIDITY))
"""All other registers of a mailbox are annotations (mailkeep.domain.annotation), their values texts."""
ANNOTATIONS_MAX = 64
"""Annotations of one mailbox, removed ones too: of more, the same ones are kept on every replica."""


class Register:
    """One value, the write that set it (rank, writer) and the stamp under which it travels."""

    __slots__ = ("lamport", "rank", "replica", "value", "writer")

    def __init__(
        self, value: Value, rank: int, writer: ReplicaNo, lamport: Lamport, replica: ReplicaNo
    ) -> None:
        self.value = value
        self.rank = rank
        self.writer = writer
        self.lamport = lamport
        self.replica = replica

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Register) and self.astuple() == other.astuple()

    def __hash__(self) -> int:
        return hash(self.astuple())

    def __repr__(self) -> str:
        return "Register({!r}, rank={}, writer={}, stamp=({}, {}))".format(*self.astuple())

    def astuple(self) -> tuple[Value, int, ReplicaNo, Lamport, ReplicaNo]:
        """(value, rank, writer, lamport, replica): what is stored and sent, in this order."""
        return (self.value, self.rank, self.writer, self.lamport, self.replica)

    def restamped(self, lamport: Lamport, replica: ReplicaNo) -> Register:
        """The same write, made to travel again."""
        return Register(self.value, self.rank, self.writer, lamport, replica)


def order(r: Register, ids: Sequence[bytes]) -> OrderKey:
    """Key of the total order on registers; ids[n] is the id of replica n.

    Weak values are ordered by value before writer: a live message and a set flag win over their absence.
    """
    if r.rank == WEAK:
        return (WEAK, r.value, ids[r.writer], r.lamport, ids[r.replica])  # type: ignore[return-value]
    return (r.rank, ids[r.writer], r.value, r.lamport, ids[r.replica])  # type: ignore[return-value]


def newer(a: Register | None, b: Register | None, ids: Sequence[bytes]) -> Register:
    """The register that wins; merging by it is associative, commutative and idempotent."""
    if a is None:
        assert b is not None, "one of two registers must be there"
        return b
    if b is None:
        return a
    if a.rank != b.rank:
        return a if a.rank > b.rank else b
    if a.writer == b.writer and a.value == b.value and a.lamport == b.lamport and a.replica == b.replica:
        return a
    return a if order(a, ids) >= order(b, ids) else b


def covers(vector: Mapping[int, int], r: Register) -> bool:
    """Whether a replica with this vector has taken the write in."""
    return vector.get(r.replica, 0) >= r.lamport


def known_to(registers: Mapping[str, Register], vector: Mapping[int, int]) -> bool:
    """Whether every register of a record or mailbox is covered."""
    return all(vector.get(r.replica, 0) >= r.lamport for r in registers.values())


def of_former_life(
    dead: Registers, later: Registers, vector: Mapping[int, int], ids: Sequence[bytes]
) -> list[str]:
    """Flags of a tombstone that its later life on another replica does not have, and need not get.

    A row never loses a register but with the whole row, as a tombstone that was forgotten. So who has taken a write in and
    lacks it in a record that was made alive after this death has forgotten it, and made the record anew.

    Args:
        vector: Of the replica that has `later`.

    Returns:
        Names; none where `dead` is no tombstone, or the last word.
    """
    death = dead[LIVE]
    if death.value or newer(death, later[LIVE], ids) == death:
        return []
    return [
        name for name, r in dead.items() if name not in later and name not in NOT_FLAGS and covers(vector, r)
    ]


def join(into: Vector, other: Mapping[int, int]) -> bool:
    """Raise `into` to cover what `other` covers; True when that changed it."""
    changed = False
    for replica, lamport in other.items():
        if lamport > into.get(replica, 0):
            into[replica] = lamport
            changed = True
    return changed


def flags_set(registers: Mapping[str, Register]) -> frozenset[str]:
    """The flags and keywords that are on."""
    return frozenset(name for name, r in registers.items() if r.value and name not in NOT_FLAGS)
