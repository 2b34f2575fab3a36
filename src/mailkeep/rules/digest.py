"""256-bit digests of what a mailbox shows, kept up as records change.

A mailbox's sum is the sum, modulo 2^256, of one hash for each live record: it does not depend on order,
and a change costs one subtraction and one addition. Its digest binds the sum to name, UIDVALIDITY and annotations.
Dead records, holds and purged tombstones do not count: two stores may differ in them and yet agree.
A forged collision gains a peer nothing that it could not have by simply lying.

Where two digests of a mailbox differ, its *buckets* say in which records: a bucket is all live records whose content
id begins with some bytes, and has a sum of its own. Bucket sums are computed when they are needed, never stored.
"""

from __future__ import annotations

from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODULUS = 1 << 256
FANOUT = 256
"""A bucket has a child for each value of the next byte of the content ids in it."""
BUCKET_SUM_BYTES = 8
"""A mark of a bucket's sum, zeros for an empty one. What two equal marks hide shows in the mailbox's digest."""


def contribution(content_id: bytes, copy: int, uid: int, flags: str) -> int:
    """What one live record adds to its mailbox's sum."""
    return int.from_bytes(sha256(b"%b%d.%d.%b" % (content_id, copy, uid, flags.encode())).digest(), "big")


def mailbox_digest(
    total: int, name: str, validity: int, annotations: Mapping[str, str] | None = None
) -> bytes:
    """The digest of an alive mailbox under its name as the other side knows it.

    Args:
        annotations: Those that are set, by key. Neither a name nor a key nor a text holds a NUL.
    """
    whole = sha256(b"%b%d.%b" % (total.to_bytes(32, "big"), validity, name.encode()))
    if annotations:
        for key in sorted(annotations):
            whole.update(f"\0{key}\0{annotations[key]}".encode())
    return whole.digest()


def root_digest(mailboxes: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The digest of a store: of its (mailbox id, mailbox digest) pairs."""
    whole = sha256()
    for pair in sorted(mailboxes):
        whole.update(b"".join(pair))
    return whole.digest()


class Buckets:
    """Sums over the live records of one mailbox, by the first two bytes of the content id: 65,536 at most."""

    __slots__ = ("_counts", "_sums")

    def __init__(self, records: Iterable[tuple[bytes, int, int, str]]) -> None:
        """Take (content id, copy, uid, packed flags) of every live record, in any order."""
        self._sums: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        sums, counts = self._sums, self._counts
        for content_id, copy, uid, flags in records:
            at = content_id[0] * FANOUT + content_id[1]
            sums[at] = (sums.get(at, 0) + contribution(content_id, copy, uid, flags)) % MODULUS
            counts[at] = counts.get(at, 0) + 1

    def counts(self) -> list[int]:
        """How many records the 256 buckets of one byte have."""
        out = [0] * FANOUT
        for at, count in self._counts.items():
            out[at // FANOUT] += count
        return out

    def marks(self, prefix: bytes) -> bytes:
        """Marks of the 256 children of a bucket, b'' or one byte, BUCKET_SUM_BYTES each."""
        sums = [0] * FANOUT
        if prefix:
            first = prefix[0] * FANOUT
            sums = [self._sums.get(at, 0) for at in range(first, first + FANOUT)]
        else:
            for at, total in self._sums.items():
                sums[at // FANOUT] += total
        return b"".join(_mark(total % MODULUS) for total in sums)


def _mark(total: int) -> bytes:
    return sha256(total.to_bytes(32, "big")).digest()[:BUCKET_SUM_BYTES] if total else bytes(BUCKET_SUM_BYTES)


def differing(ours: bytes, theirs: bytes) -> list[int]:
    """Numbers of the children whose marks differ."""
    size = BUCKET_SUM_BYTES
    return [
        n for n in range(FANOUT) if ours[n * size : n * size + size] != theirs[n * size : n * size + size]
    ]
