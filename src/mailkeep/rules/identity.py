"""Was one of two replicas restored from a backup, or copied?

Each pair keeps the token of its last session: a number and random bytes, noted by the responder before it
answers and confirmed by both at commit. A side whose token is older than the other's, or of which the
other knows stamps that it does not know itself, went back in time, or is a second copy. It takes a new id.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Token = tuple[int, bytes]


class Stale(Exception):
    """This store must take a new id and begin the session again."""


class Side:
    """What one side says: its id, its own lamport, the tokens it keeps for the other, and of the other."""

    __slots__ = ("id", "lamport", "others_lamport", "tokens", "waives_other")

    def __init__(
        self,
        replica_id: bytes,
        lamport: int,
        others_lamport: int,
        tokens: Iterable[Token],
        waives_other: bool,
    ) -> None:
        """Set.

        Args:
            lamport: Highest stamp of this side that it knows itself.
            others_lamport: Highest stamp of the other side that it has taken in.
            waives_other: It knows that another id replaced the other's.
        """
        self.id = replica_id
        self.lamport = lamport
        self.others_lamport = others_lamport
        self.tokens = frozenset(tokens)
        self.waives_other = waives_other


def stale(initiator: Side, responder: Side) -> tuple[bool, bool]:
    """Whether the initiator, and whether the responder, must take a new id."""
    out = []
    for who, other in ((initiator, responder), (responder, initiator)):
        out.append(
            other.others_lamport > who.lamport
            or other.waives_other
            or (initiator.id == responder.id and who is initiator)
            or (not who.tokens & other.tokens and max(who.tokens)[0] <= max(other.tokens)[0])
        )
    return out[0], out[1]


FIRST: Token = (0, b"")
"""The token of two replicas that never met."""
