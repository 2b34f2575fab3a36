"""The guard: may this many messages vanish?

A message *vanishes* when no live record of its content is left in any mailbox: a move, a copy or a rename
of a mailbox makes nothing vanish. Nor does a file that is rewritten with the Message-ID that it had, and such are
counted by themselves, against the same limits; one that is truncated, or overwritten with something else, does. What vanished within the window counts together, so a loss that bleeds
over many runs is stopped like one blow.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


VANISHES = "would have vanished"


class Limits:
    """When deletions are held.

    Attributes:
        count: More vanishing messages than this, in the whole store, are held.
        mailbox_share: Likewise a larger share of one mailbox, from 0 to 1,
        store_share: or of the store.
        minimum: Shares are looked at only above this many messages.
        window_seconds: How long what vanished counts.
        exempt: Mailboxes (and those below) that are meant to be emptied.
    """

    __slots__ = ("count", "exempt", "mailbox_share", "minimum", "store_share", "window_seconds")

    def __init__(
        self,
        count: int = 1000,
        mailbox_share: float = 0.25,
        store_share: float = 0.1,
        minimum: int = 50,
        window_seconds: int = 86_400,
        exempt: Iterable[str] = ("Trash", "Junk"),
    ) -> None:
        self.count = count
        self.mailbox_share = mailbox_share
        self.store_share = store_share
        self.minimum = minimum
        self.window_seconds = window_seconds
        self.exempt = tuple(exempt)

    def is_exempt(self, name: str) -> bool:
        """Whether a mailbox is one that is meant to be emptied, or lies below one."""
        return any(name == e or name.startswith(e + "/") for e in self.exempt)


class Tally:
    """What the guard knows of one mailbox.

    Attributes:
        name: Its name.
        live: Live messages before.
        vanishing: Of these, those that would vanish now.
        lately: Those that vanished within the window.
        exempt: Whether it is meant to be emptied; None: the limits say that, by its name.
        group: The mailbox whose limits hold for it, if annotations say so: all those below that one are judged together,
            and by themselves. Empty: the store.
    """

    __slots__ = ("exempt", "group", "lately", "live", "name", "vanishing")

    def __init__(self, name: str, live: int, vanishing: int, lately: int = 0) -> None:
        self.name = name
        self.live = live
        self.vanishing = vanishing
        self.lately = lately
        self.exempt: bool | None = None
        self.group = ""


def judge(
    tallies: Mapping[int, Tally],
    limits: Limits,
    groups: Mapping[str, Limits] | None = None,
    verb: str = VANISHES,
) -> dict[int, str]:
    """Which mailboxes' vanishing messages are held, with the reason in words; empty: let them go.

    Args:
        tallies: By mailbox, all mailboxes with live messages.
        limits: As configured.
        groups: Limits of groups that have their own; under the empty name, of the store.
        verb: What so many messages did, or would have done, for the reason.
    """
    groups = groups or {}
    by_group: dict[str, dict[int, Tally]] = {}
    for no, t in tallies.items():
        if not (limits.is_exempt(t.name) if t.exempt is None else t.exempt):
            by_group.setdefault(t.group, {})[no] = t
    held: dict[int, str] = {}
    for group, counted in sorted(by_group.items()):
        held |= _judge(counted, groups.get(group, limits), group, verb)
    return held


def _judge(counted: Mapping[int, Tally], limits: Limits, group: str, verb: str) -> dict[int, str]:
    concerned = [no for no, t in counted.items() if t.vanishing]
    if not concerned:
        return {}
    now = sum(t.vanishing for t in counted.values())
    gone = now + sum(t.lately for t in counted.values())
    total = sum(t.live + t.lately for t in counted.values())
    if gone > limits.count:
        where = f"{group} and below" if group else "the store"
        why = f"{gone:,} messages of {where} {verb}, more than {limits.count:,}"
        return dict.fromkeys(concerned, why)
    if not group and gone > limits.minimum and gone > limits.store_share * total:
        why = f"{gone:,} of the store's {total:,} messages {verb}, more than {limits.store_share:.0%}"
        return dict.fromkeys(concerned, why)
    held = {}
    for no in concerned:
        t = counted[no]
        lost = t.vanishing + t.lately
        before = t.live + t.lately
        if lost > limits.minimum and lost > limits.mailbox_share * before:
            held[no] = (
                f"{lost:,} of {before:,} messages of {t.name} {verb}, more than {limits.mailbox_share:.0%}"
            )
    return held
