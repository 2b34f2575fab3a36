"""Annotations: what a person laid down for a mailbox, or for the whole store, about keeping its mail.

An annotation is a register of a mailbox, so it replicates and merges like the mailbox's name. Its key is one of NAMES,
of a legal hold followed by "." and the hold's own name: `expire`, `noexpire`, `noexpire.case-4711`. Its value is a
text (`mailkeep.wire.annotations` reads and writes it); the empty text says that there is none. A key that this version
does not know is kept and passed on, and has no effect here.
"""

from __future__ import annotations

from typing import NamedTuple

EXPIRE, RETENTION, NOEXPIRE, GUARD, ROLE = "expire", "retention", "noexpire", "guard", "role"
NAMES = (EXPIRE, RETENTION, NOEXPIRE, GUARD, ROLE)

TEXT_CHARS_MAX = 500
"""Characters of a value: a query of a legal hold is the longest."""
KEY_CHARS_MAX = 64
HOLDS_SET_MAX = 16
"""Of so many legal holds on one mailbox on, no new one can be set: what several replicas set at the same time has room."""

DELIVERY, FLAG, DATE = "delivery", "flag", "date"
BY = (DELIVERY, FLAG, DATE)
TRASH, JUNK, NO_ROLE = "trash", "junk", "none"
ROLES = (TRASH, JUNK, NO_ROLE)

_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def is_key(key: str) -> bool:
    """Whether a text can be the key of an annotation, be it one of a later version; it may be a peer's."""
    if not key or len(key) > KEY_CHARS_MAX:
        return False
    name, dot, hold = key.partition(".")
    return (
        name[:1].isalpha() and _WORD.issuperset(name) and (bool(hold) == bool(dot)) and _WORD.issuperset(hold)
    )


def is_text(text: str) -> bool:
    """Whether a text can be the value of an annotation: one line that a terminal shows as it is."""
    return len(text) <= TEXT_CHARS_MAX and text.isprintable()


def name_of(key: str) -> str:
    """Of which name a key is: `noexpire` of `noexpire.case-4711`."""
    return key.partition(".")[0]


class Expire:
    r"""When messages of a mailbox expire: those that any of the limits is exceeded by, but for what is to be kept.

    Attributes:
        age: Seconds; a message that is older expires. None: no limit.
        by: Age counts from delivery (INTERNALDATE), from the last change of flags, or from the sender's Date. Which of two
            messages is the older one, for the limits below, follows from the same.
        keep_flagged: A message flagged \Flagged never expires, nor does it count against the limits below.
        keep_unread: Likewise one that is not \Seen.
        count: Of more messages than this in the mailbox, the oldest expire. None: no limit.
        size: Likewise of messages that together have more bytes. None: no limit.
    """

    __slots__ = ("age", "by", "count", "keep_flagged", "keep_unread", "size")

    def __init__(
        self,
        age: int | None = None,
        by: str = DELIVERY,
        *,
        keep_flagged: bool = False,
        keep_unread: bool = False,
        count: int | None = None,
        size: int | None = None,
    ) -> None:
        self.age, self.by, self.count, self.size = age, by, count, size
        self.keep_flagged, self.keep_unread = keep_flagged, keep_unread

    def astuple(self) -> tuple[int | None, str, bool, bool, int | None, int | None]:
        """All of it, in the order of its text."""
        return (self.age, self.by, self.keep_flagged, self.keep_unread, self.count, self.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expire) and self.astuple() == other.astuple()

    def __hash__(self) -> int:
        return hash(self.astuple())

    def __repr__(self) -> str:
        return f"Expire{self.astuple()}"

    @property
    def is_never(self) -> bool:
        """Whether nothing expires by it."""
        return self.age is None and self.count is None and self.size is None


NEVER = Expire()
"""Nothing expires; it overrides what a mailbox would inherit."""


class LegalHold(NamedTuple):
    """Mail that neither expires nor is cleaned up, whatever else is laid down.

    Attributes:
        name: Which one of several; empty for the one without a name.
        until: Seconds since 1970 from which on it holds no more; None: for ever.
        query: Which messages, in the query language; empty: all of the mailbox and below it. One that cannot be read
            here holds all.
    """

    name: str
    until: int | None = None
    query: str = ""

    def is_over(self, now: int) -> bool:
        """Whether its date has passed."""
        return self.until is not None and now >= self.until


class GuardRule(NamedTuple):
    """Limits of the guard for a mailbox and what is below it, which is then judged by itself.

    Attributes:
        count_max: More vanishing messages than this are held; None: as configured.
        share_max: A larger share of one mailbox than this is; None: as configured.
        minimum: Shares are looked at only above this many messages; None: as configured.
        off: Nothing is held.
    """

    count_max: int | None = None
    share_max: float | None = None
    minimum: int | None = None
    off: bool = False
