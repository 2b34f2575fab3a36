"""Annotations: where a mailbox has its values from, and which change of a value is a safer one.

A value comes from the mailbox itself, else from the next one up the tree that has one, else from the whole store, else
from the configuration. Legal holds add up instead: no mailbox can lift what lies on one above it.

What a peer lays down takes force at once where it is *safer*: nothing is removed by it that was kept before. What is
not, waits until a person accepts it here. Two values that keep each something else are not safer than one another.
"""

from __future__ import annotations

from mailkeep.domain.annotation import (
    EXPIRE,
    GUARD,
    NEVER,
    NO_ROLE,
    NOEXPIRE,
    RETENTION,
    ROLE,
    Expire,
    GuardRule,
    LegalHold,
    name_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Parsed = Expire | LegalHold | GuardRule | int | str | None


def upward(name: str) -> Iterator[str]:
    """A mailbox's name and those of all above it, nearest first: A/B/C, A/B, A."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def is_safer(key: str, old: Parsed, new: Parsed, now: int) -> bool:
    """Whether nothing that the old value keeps, or holds, is let go by the new one.

    Args:
        key: Of the annotation; of one that is not known here no change is safer.
        old, new: What has effect before and after, inherited or configured where the mailbox itself has none. None: no
            limit on expiry, no legal hold, no guard rule of its own.
        now: Seconds since 1970: a legal hold that is over may go.
    """
    if old == new:
        return True
    name = name_of(key)
    if name == EXPIRE:
        return _expires_less(
            old if isinstance(old, Expire) else NEVER, new if isinstance(new, Expire) else NEVER
        )
    if name == RETENTION:
        return isinstance(old, int) and isinstance(new, int) and new >= old
    if name == NOEXPIRE:
        return _holds_more(
            old if isinstance(old, LegalHold) else None, new if isinstance(new, LegalHold) else None, now
        )
    if name == GUARD:
        return _guards_more(
            old if isinstance(old, GuardRule) else None, new if isinstance(new, GuardRule) else None
        )
    return name == ROLE and (new == NO_ROLE or old != NO_ROLE)


def _expires_less(old: Expire, new: Expire) -> bool:
    if new.is_never:
        return True
    if old.by != new.by or old.keep_flagged > new.keep_flagged or old.keep_unread > new.keep_unread:
        return False
    limits = (
        (old.age, new.age),
        (old.count, new.count),
        (old.size, new.size),
    )
    return all(n is None or (o is not None and n >= o) for o, n in limits)


def _holds_more(old: LegalHold | None, new: LegalHold | None, now: int) -> bool:
    if old is None or old.is_over(now):
        return True
    if new is None or new.query not in ("", old.query):
        return False
    return new.until is None or (old.until is not None and new.until >= old.until)


def _guards_more(old: GuardRule | None, new: GuardRule | None) -> bool:
    # A mailbox with a rule of its own no longer counts in the store's sum, so even a strict one lets something go.
    if old is not None and old.off:
        return True
    if old is None or new is None or new.off:
        return False
    limits = ((old.count_max, new.count_max), (old.share_max, new.share_max), (old.minimum, new.minimum))
    return all(o == n or (o is not None and n is not None and n <= o) for o, n in limits)
