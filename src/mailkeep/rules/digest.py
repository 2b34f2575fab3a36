"""256-bit digests of what a mailbox shows, kept up as records change.

A mailbox's sum is the sum, modulo 2^256, of one hash for each live record: it does not depend on order,
and a change costs one subtraction and one addition. Its digest binds the sum to name and UIDVALIDITY.
Dead records, holds and purged tombstones do not count: two stores may differ in them and yet agree.
A forged collision gains a peer nothing that it could not have by simply lying.
"""

from __future__ import annotations

from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MODULUS = 1 << 256


def contribution(content_id: bytes, copy: int, uid: int, flags: str) -> int:
    """What one live record adds to its mailbox's sum."""
    return int.from_bytes(sha256(b"%b%d.%d.%b" % (content_id, copy, uid, flags.encode())).digest(), "big")


def mailbox_digest(total: int, name: str, validity: int) -> bytes:
    """The digest of an alive mailbox under its name as the other side knows it."""
    return sha256(b"%b%d.%b" % (total.to_bytes(32, "big"), validity, name.encode())).digest()


def root_digest(mailboxes: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The digest of a store: of its (mailbox id, mailbox digest) pairs."""
    whole = sha256()
    for pair in sorted(mailboxes):
        whole.update(b"".join(pair))
    return whole.digest()
