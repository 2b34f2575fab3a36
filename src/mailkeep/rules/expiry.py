"""What is due, what may be freed, what may be forgotten: decisions of `mailkeep expire`, without effects.

**Expire** turns messages into tombstones, by a rule of their mailbox. **Clean-up** frees contents that nothing needs any
longer, and forgets tombstones that everybody has had for long enough. A legal hold wins over all of them. Times are
seconds since 1970, ages and retentions seconds, sizes bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mailkeep.domain.annotation import Expire

AGE, COUNT, SIZE = "age", "count", "size"
"""Why a message is due."""

LIVE = "a live message has it"
LEGAL = "a legal hold keeps it"
HELD = "a deletion that waits for an answer has it"
WAITS = "its file is not gone yet"
KEPT = "its retention has not passed"
COPIES = "too few peers have shown that they hold it"
"""Why a content is not freed; the first that is true, in this order."""

DAY_SECONDS = 86_400
AGAIN_SECONDS = 7 * DAY_SECONDS
"""How long clean-up leaves alone what only a legal hold keeps, before it looks again."""
GAP_SECONDS = 35 * DAY_SECONDS
"""A clock that says that no run has been for so long may have jumped."""
DRIFT_SECONDS = 3600
"""What wall clock and running time may differ by since the last run."""


class Message:
    """A live message as a rule sees it.

    Attributes:
        no: Its record's number.
        at: What its age counts from: delivery, last flag change or the sender's Date, as the rule says.
        flagged, seen: Its flags.
        size: Of its content.
        legal: A legal hold covers it.
    """

    __slots__ = ("at", "flagged", "legal", "no", "seen", "size")

    def __init__(self, no: int, at: int, flagged: bool, seen: bool, size: int, legal: bool = False) -> None:
        self.no, self.at, self.flagged, self.seen, self.size, self.legal = no, at, flagged, seen, size, legal


def stays(rule: Expire, message: Message) -> bool:
    """Whether a message stays however old it is. It then does not count against the maxima either."""
    return message.legal or (rule.keep_flagged and message.flagged) or (rule.keep_unread and not message.seen)


def due(rule: Expire, messages: Iterable[Message], now: int) -> list[tuple[Message, str]]:
    """Which messages of a mailbox are due, oldest first, each with its reason.

    By a maximum the oldest go until the rest fits; the newest message never goes by one, however large it is.

    Args:
        messages: All of the mailbox; of a rule without maxima, those that are old enough will do.
    """
    rest = sorted((m for m in messages if not stays(rule, m)), key=lambda m: (m.at, m.no))
    out: list[tuple[Message, str]] = []
    first = 0
    if rule.age is not None:
        while first < len(rest) and now - rest[first].at > rule.age:
            out.append((rest[first], AGE))
            first += 1
    if rule.count is not None:
        while len(rest) - first > max(rule.count, 1):
            out.append((rest[first], COUNT))
            first += 1
    if rule.size is not None:
        total = sum(m.size for m in rest[first:])
        while total > rule.size and len(rest) - first > 1:
            out.append((rest[first], SIZE))
            total -= rest[first].size
            first += 1
    return out


class Claim:
    """What one record has to do with its content.

    Attributes:
        live: The message is there.
        held: Its deletion waits for an answer.
        waits: It is a tombstone whose file is not gone yet.
        until: Until when its retention needs the content; None: not, or no longer.
        legal: A legal hold covers it.
    """

    __slots__ = ("held", "legal", "live", "until", "waits")

    def __init__(self, live: bool, held: bool, waits: bool, until: int | None, legal: bool) -> None:
        self.live, self.held, self.waits, self.until, self.legal = live, held, waits, until, legal


def needed(claims: Sequence[Claim], now: int, copies: int = 0, shown: int = 0) -> str | None:
    """Why a content has to stay; None: it may be freed.

    Args:
        claims: Of every record of this content.
        copies: So many peers must have shown that they hold it; 0: none need to.
        shown: So many have.
    """
    live = legal = held = waits = kept = False
    for c in claims:
        live, legal, held, waits = live or c.live, legal or c.legal, held or c.held, waits or c.waits
        kept = kept or (c.until is not None and c.until > now)
    for is_true, why in (live, LIVE), (legal, LEGAL), (held, HELD), (waits, WAITS), (kept, KEPT):
        if is_true:
            return why
    return COPIES if shown < copies else None


def kept_until(gone: int, keep: int, retention: int) -> int:
    """Until when a tombstone's content is kept: a retention that is longer now counts, a shorter one does not."""
    return max(keep, gone + retention)


def clock_trouble(
    now: int, last: int | None, *, running: int | None = None, gap_seconds: int = GAP_SECONDS
) -> str:
    """What is wrong with the clock, in words; '': nothing that shows.

    Args:
        last: What it said at the last run; None: there was none.
        running: For how many seconds the machine has been running since then; None: it was started anew.
    """
    if last is None:
        return ""
    ahead = now - last
    if ahead < -DRIFT_SECONDS:
        return f"the clock went back by {_about(-ahead)} since the last run"
    if running is not None:
        jump = ahead - running
        if abs(jump) > DRIFT_SECONDS:
            way = "ahead" if jump > 0 else "back"
            return f"the clock jumped {way} by {_about(abs(jump))} since the last run, while the machine was running"
        return ""
    if ahead > gap_seconds:
        return (
            f"by the clock the last run was {_about(ahead)} ago: that is long, and the clock may have jumped"
        )
    return ""


def _about(seconds: int) -> str:
    if seconds >= 2 * DAY_SECONDS:
        return f"{seconds // DAY_SECONDS:,} days"
    return f"{seconds // 3600} hours"


def awaited(members: Iterable[int], me: int, waived: Iterable[int], forgotten: Iterable[int]) -> set[int]:
    """Replicas that must have acknowledged a tombstone before it is forgotten."""
    return set(members) - set(waived) - set(forgotten) - {me}


def everybody(
    acks: Mapping[int, Mapping[int, int]], who: Iterable[int], writers: Iterable[int]
) -> dict[int, int]:
    """For each writer, up to which lamport all of `who` are known to have taken its writes in.

    A tombstone all of whose stamps are covered by this has been acknowledged by everybody; with nobody to wait for,
    every one has.
    """
    return {w: min((acks.get(holder, {}).get(w, 0) for holder in who), default=1 << 62) for w in writers}
