"""What a peer may say: checked before any of it is used, and how much of it may be said.

A peer is somebody who has a key. Nothing that it says is believed before its type and its bounds are; each
check raises ValueError with the reason, which the endpoint makes an error of the protocol. Counts are taken
of everything that could go on for ever, so that a session's memory, disk and time have an end.
"""

from __future__ import annotations

from mailkeep.domain.errors import printable
from mailkeep.domain.record import ANNOTATIONS_MAX, LAMPORT_MAX, REPLICA_ID_BYTES, UID_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from mailkeep.store.ledger import Ledger

REPLICAS_MAX = 1000
"""Replica ids that a store ever knows of: they are kept for good, each with what it acknowledged of each other."""
REPLICAS_OF_RESTRICTED_MAX = REPLICAS_MAX // 2
"""A peer that may not do everything makes no new ids known beyond these: there is room for the others."""
MAILBOXES_MAX = 100_000
"""Mailboxes that a store, with those that a peer announces, may have."""
RECORDS_MAX = 20_000_000
"""Records that a peer may send in one session: four times the largest store that this is made for."""
STAGED_BYTES_MAX = 4 << 30
"""What those may take on the disk of the state directory until they are merged."""
STAGED_ROW_BYTES = 150
"""What a staged record takes besides its registers."""
PATTERNS_MAX = 1000
"""Rules by which a peer may choose mailboxes."""
PROBLEMS_MAX = 1000
"""Problems of one session that are kept; more are counted."""
TOKEN_BYTES_MAX = 64
DIGEST_BYTES = 32
CONTENT_ASKS_MAX = 4
"""A peer asks for a content twice at most, before and after the merge; this is for each that the store has."""
ANNOTATIONS_CHARS_MAX = 8 << 20
"""Keys and texts of all annotations that a store has, with those that a peer sends in one session; eight times what
can be set."""
ACKS_BYTES_MAX = 1 << 18
"""What of the acknowledgements of others is passed on in one claim, so that it always fits into a frame."""

LAMPORTS_A_SECOND = 1000
EPOCH_LEAST = 1_735_689_600
"""2025-01-01: whatever the clock says, it is later than this."""
VALIDITY_AHEAD_SECONDS_MAX = 40 * 365 * 86_400
"""How far in the future a UIDVALIDITY may lie, which begins as the time at which a mailbox was made."""


def number(value: object, low: int, high: int, what: str) -> int:
    """An integer within bounds, both included.

    Raises:
        ValueError: It is none, or out of them.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} is out of bounds")
    return value


def blob(value: object, size: int, what: str) -> bytes:
    """Bytes of this very length.

    Raises:
        ValueError: They are not.
    """
    if type(value) is not bytes or len(value) != size:
        raise ValueError(f"{what} is not of {size} bytes")
    return value


def digest(value: object) -> bytes:
    """A digest, or the empty one of a store that has none yet.

    Raises:
        ValueError: It is longer, or no bytes.
    """
    if type(value) is not bytes or len(value) > DIGEST_BYTES:
        raise ValueError("a digest")
    return value


def nothing(value: object) -> None:
    """What a frame carries that only marks an end.

    Raises:
        ValueError: It carries something.
    """
    if value is not None:
        raise ValueError("nothing was expected in it")


def listed(value: object, most: int, what: str) -> list[Any]:
    """A list with at least one element and at most so many.

    Raises:
        ValueError: It is none.
    """
    if type(value) is not list or not 0 < len(value) <= most:
        raise ValueError(f"{what}: a list of 1 to {most:,} was expected")
    return value


def text(value: object, most: int) -> str:
    """Words of the peer's for people to read: one line, cut, nothing in it that a terminal would obey.

    Raises:
        ValueError: It is no text.
    """
    if type(value) is not str:
        raise ValueError("a text was expected")
    return printable(value[:most])


def annotated(texts: dict[Any, Any]) -> None:
    """Check the annotations of one mailbox, by key: their form, not what they say.

    Raises:
        ValueError: One is none, or there are too many.
    """
    from mailkeep.domain.annotation import is_key, is_text

    if len(texts) > ANNOTATIONS_MAX:
        raise ValueError(f"more than {ANNOTATIONS_MAX} annotations of one mailbox")
    for key, value in texts.items():
        if type(key) is not str or not is_key(key):
            raise ValueError("an annotation with a key that is none")
        if type(value) is not str or not is_text(value):
            raise ValueError(f"the annotation {key} is no text of one line")


def lamport_ceiling(now: int) -> int:
    """No honest store's lamport is above this: that would be more than 1000 transactions a second since 1970.

    Lamports only grow and all replicas share them, so one lie must not use them up. A bound that moves with
    the clock lets honest stores count on from whatever a liar made them believe; a fixed one, or a bound on
    the step, would lock them out from each other.

    Args:
        now: Seconds since 1970; a clock that stands before this was written counts as standing there.
    """
    return min(max(now, EPOCH_LEAST) * LAMPORTS_A_SECOND, LAMPORT_MAX)


def validity_ceiling(now: int) -> int:
    """No honest store's UIDVALIDITY is above this."""
    return min(max(now, EPOCH_LEAST) + VALIDITY_AHEAD_SECONDS_MAX, UID_MAX - (1 << 20))


def replicas(message: dict[str, Any], known: Iterable[bytes], now: int, most: int = REPLICAS_MAX) -> None:
    """Check `ids`, `vector` and `lamport` of a hello or a claim.

    Args:
        known: Replica ids that this store knows already.
        most: How many it may know with these.

    Raises:
        ValueError: One of them is malformed, too many, or cannot be true.
    """
    ids, vector = message["ids"], message["vector"]
    listed(ids, REPLICAS_MAX, "replica ids")
    for replica_id in ids:
        blob(replica_id, REPLICA_ID_BYTES, "a replica id")
    if type(vector) is not list or len(set(ids)) != len(ids) or len(vector) != len(ids):
        raise ValueError("replica ids twice, or a vector of another length")
    have = set(known)
    new = set(ids) - have
    if new and len(have) + len(new) > most:
        raise ValueError(f"it makes more than {most:,} replicas known")
    ceiling = lamport_ceiling(now)
    lamport = number(message["lamport"], 0, LAMPORT_MAX, "the lamport")
    for value in vector:
        number(value, 0, lamport, "a lamport of the vector")
    if lamport > ceiling:
        raise ValueError("a lamport further ahead than any number of honest writes")


def tokens(value: object) -> list[tuple[int, bytes]]:
    """Session tokens as sent: [[number, random bytes], ...], two at most.

    Raises:
        ValueError: They are not.
    """
    return [token(one) for one in listed(value, 2, "tokens")]


def token(value: object) -> tuple[int, bytes]:
    """One session token: [number, random bytes].

    Raises:
        ValueError: It is none.
    """
    if type(value) is not list or len(value) != 2:
        raise ValueError("a token is a number and random bytes")
    if type(value[1]) is not bytes or len(value[1]) > TOKEN_BYTES_MAX:
        raise ValueError("a token's random bytes")
    return number(value[0], 0, LAMPORT_MAX, "a token's number"), value[1]


class Staged:
    """How much a peer has sent to be merged in this session."""

    __slots__ = ("annotations", "bytes", "records")

    def __init__(self) -> None:
        self.records = self.bytes = self.annotations = 0

    def count(self, records: int, size: int) -> None:
        """Note records with so many bytes of registers.

        Raises:
            ValueError: There were too many.
        """
        self.records += records
        self.bytes += size + records * STAGED_ROW_BYTES
        if self.records > RECORDS_MAX:
            raise ValueError(f"more than {RECORDS_MAX:,} records in one session")
        if self.bytes > STAGED_BYTES_MAX:
            raise ValueError(f"records of more than {STAGED_BYTES_MAX:,} bytes in one session")

    def annotate(self, ledger: Ledger, size: int) -> None:
        """Note annotations of so many characters, beside those that the store has.

        Raises:
            ValueError: There were too many.
        """
        if not self.annotations:
            self.annotations = sum(
                len(k) + len(t) for box in ledger.rows() for k, t in box.annotations.items()
            )
        self.annotations += size
        if self.annotations > ANNOTATIONS_CHARS_MAX:
            raise ValueError(f"annotations of more than {ANNOTATIONS_CHARS_MAX:,} characters")


class Problems(list[tuple[str, str]]):
    """What a session reports, (where, why) each: as many as a person may read, the rest counted.

    Attributes:
        more: How many were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.more = 0

    def append(self, problem: tuple[str, str]) -> None:
        """Note a problem, unless it was noted just before, or there are PROBLEMS_MAX."""
        if self and self[-1] == problem:
            return
        if len(self) < PROBLEMS_MAX:
            super().append(problem)
            return
        if not self.more:
            super().append(("and more", f"than {PROBLEMS_MAX:,} problems are not shown one by one"))
        self.more += 1
