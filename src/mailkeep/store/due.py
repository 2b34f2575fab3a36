"""The first pass of `mailkeep expire`: messages that the rule of their mailbox says are due become tombstones.

They go as any other deletion goes: the guard judges all of them together, and holds what would be unusually much; what
is let go becomes tombstones in batches, and the files follow by the journal. Cut off anywhere, the next run finds the
rest due.
"""

from __future__ import annotations

from mailkeep.domain.annotation import DATE, FLAG
from mailkeep.rules.expiry import Message, due
from mailkeep.store.holds import EXPIRY, Reaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailkeep.domain.annotation import Expire
    from mailkeep.rules.guard import Limits
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.policy import Policy
    from mailkeep.store.rows import Mailbox

BATCH = 2000
"""Messages of one transaction and one sync."""

DATE_INDEX = "CREATE INDEX IF NOT EXISTS record_date ON record (mailbox, date) WHERE live"
"""Finds the oldest messages of a mailbox. Made by the first run that has a rule: without one nobody pays for it."""
_LIVE = "FROM record r JOIN content c ON c.no = r.content WHERE r.mailbox = ? AND r.live AND r.hold IS NULL"


class Due:
    """A message that is due, and why.

    Attributes:
        no: Its record's number.
        box, content: The numbers of its mailbox and of its content.
        why: mailkeep.rules.expiry.AGE, COUNT or SIZE.
        size: Bytes.
        at: What its age counts from, seconds since 1970.
    """

    __slots__ = ("at", "box", "content", "no", "size", "why")

    def __init__(self, no: int, box: int, content: int, why: str, size: int, at: int) -> None:
        self.no, self.box, self.content, self.why, self.size, self.at = no, box, content, why, size, at


class Finder:
    """Finds what is due, at one moment."""

    def __init__(self, ledger: Ledger, policy: Policy, now: int) -> None:
        self.ledger, self.policy, self.now = ledger, policy, now
        self.execute = ledger.execute

    def mailboxes(self) -> list[tuple[Mailbox, Expire]]:
        """Those with a rule, and messages; by name."""
        out = []
        for box in sorted(self.ledger.alive(), key=lambda box: (box.name, box.no)):
            rule = self.policy.rule(box)
            if not rule.is_never and box.count:
                out.append((box, rule))
        return out

    def find(self, box: Mailbox, rule: Expire) -> list[Due]:
        """What is due in a mailbox, oldest first. Held messages are none: they wait for an answer already."""
        if any(hold.query == "" for hold in self.policy.legal(box)):
            return []
        rows = self._rows(box, rule)
        messages = {m.no: m for m in self._messages(rule, rows)}
        found = [(m, why) for m, why in due(rule, messages.values(), self.now)]
        if self.policy.legal(box) and found:  # of these only it is asked what their text says
            covered = self.policy.covered(box, [m.no for m, _ in found])
            if covered:
                for no in covered:
                    messages[no].legal = True
                again = due(rule, messages.values(), self.now)
                more = [m.no for m, _ in again if m.no not in {f.no for f, _ in found}]
                covered = self.policy.covered(box, more)
                found = [(m, why) for m, why in again if m.no not in covered]
        contents = {row[0]: row[1] for row in rows}
        return [Due(m.no, box.no, contents[m.no], why, m.size, m.at) for m, why in found]

    def _rows(self, box: Mailbox, rule: Expire) -> list[tuple[int, int, int, str, int]]:
        """(number, content, date, flags, size) of a mailbox; only what is old enough where no more is needed."""
        wanted, values = "", [box.no]
        over = rule.count is not None and box.count > rule.count
        if not over and rule.size is not None:
            over = self._size(box) > rule.size
        if not over:
            if rule.age is None:
                return []
            if rule.by != DATE:  # no flag was changed before the message was there
                wanted, values = " AND r.date < ?", [box.no, self.now - rule.age]
        return list(
            self.execute(f"SELECT r.no, r.content, r.date, r.flags, c.size {_LIVE}{wanted}", tuple(values))
        )

    def _messages(self, rule: Expire, rows: list[tuple[int, int, int, str, int]]) -> Iterator[Message]:
        """What the rule is asked about."""
        changed = self._changed(rule) if rule.by == FLAG and rows else None
        sent = self.policy.sent([row[1] for row in rows]) if rule.by == DATE else {}
        for no, content, date, flags, size in rows:
            letters = flags.partition(" ")[0]
            at = date
            if changed is not None:
                at = max(date, changed(no))
            elif rule.by == DATE:
                at = sent.get(content, date)
            yield Message(no, at, "F" in letters, "S" in letters, size)

    def _size(self, box: Mailbox) -> int:
        """Bytes of all messages of a mailbox; counted anew only when its messages changed."""
        known: dict[str, list[object]] = self.policy.sizes
        stamp = box.sum.to_bytes(32, "big")
        have = known.get(str(box.no))
        if have is None or have[0] != stamp:
            size = self.ledger.index.value(
                "SELECT coalesce(sum(c.size), 0) FROM record r JOIN content c ON c.no = r.content"
                " WHERE r.mailbox = ? AND r.live",
                (box.no,),
            )
            have = known[str(box.no)] = [stamp, size]
        assert isinstance(have[1], int)
        return have[1]

    def _changed(self, rule: Expire) -> Callable[[int], int]:
        """When a record's flags last changed, as far as that is younger than the age: else 0.

        A record that was made since counts from then; of what was before the first run that is known, nothing else is
        known than that.
        """
        since = 0 if rule.age is None else self.now - rule.age
        runs = list(
            self.execute(
                "SELECT began, first_change, first_record FROM run WHERE first_change IS NOT NULL ORDER BY no"
            )
        )
        if not runs:
            return lambda no: self.now
        begin = int(runs[0][0]) if runs[0][0] > since else 0
        young = [(began, change, record) for began, change, record in runs if began > since]
        if not young:
            return lambda no: begin
        births: list[tuple[int, int]] = [(record, began) for began, _, record in young]
        times: dict[int, int] = {}
        bounds = [*(change for _, change, _ in young[1:]), 1 << 62]
        for (began, change, _), end in zip(young, bounds, strict=True):
            for (no,) in self.execute("SELECT record FROM change WHERE no >= ? AND no < ?", (change, end)):
                times[no] = began

        from bisect import bisect_right

        firsts = [record for record, _ in births]

        def changed(no: int) -> int:
            at = times.get(no, begin)
            made = bisect_right(firsts, no)
            return max(at, births[made - 1][1]) if made else at

        return changed


class Expiring:
    """Carries the first pass out.

    Attributes:
        expired: Messages that became tombstones so far.
    """

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self.ledger = ledger
        self.reaper = Reaper(ledger, limits, EXPIRY)
        self.expired = 0
        self.lost: set[int] = set()
        """Contents of which no live record will be left."""
        self.reasons: dict[int, str] = {}

    @property
    def held(self) -> int:
        """Messages that wait for an answer since this run."""
        return self.reaper.held

    def judge(self, found: list[Due]) -> dict[int, str]:
        """Let the guard look at all that is due, together: why what vanishes of a mailbox is held, by its number."""
        index = self.ledger.index
        for statement in (
            "DROP TABLE IF EXISTS temp.due",
            "CREATE TEMP TABLE due (at INTEGER PRIMARY KEY, no INTEGER UNIQUE, content INTEGER, mailbox INTEGER)",
        ):
            index.execute(statement)
        index.executemany(
            "INSERT INTO temp.due VALUES (?, ?, ?, ?)",
            [(at, d.no, d.content, d.box) for at, d in enumerate(found)],
        )
        vanishing: dict[int, int] = {}
        self.lost = set()
        rows = index.execute(
            "SELECT DISTINCT mailbox, content FROM temp.due d WHERE NOT EXISTS (SELECT 1 FROM record r"
            " WHERE r.content = d.content AND r.live AND r.no NOT IN (SELECT no FROM temp.due))"
        )
        for mailbox, content in rows:
            vanishing[mailbox] = vanishing.get(mailbox, 0) + 1
            self.lost.add(content)
        self.reasons = self.reaper.judged(vanishing, {})
        return self.reasons

    def batch(self, start: int, stop: int) -> None:
        """Write tombstones and holds of those of `judge`, from one to before another; belongs in a transaction."""
        ledger, reaper = self.ledger, self.reaper
        go = []
        count: dict[int, int] = {}
        reaper.records = []
        rows = ledger.execute(
            "SELECT r.no, r.mailbox, r.content, r.copy, r.uid, r.flags, r.regs, c.id FROM temp.due d"
            " JOIN record r ON r.no = d.no JOIN content c ON c.no = r.content WHERE d.at >= ? AND d.at < ?",
            (start, stop),
        )
        for no, mailbox, content, copy, uid, flags, regs, content_id in list(rows):
            if content in self.lost:
                if mailbox in self.reasons:
                    reaper.want(ledger.record(no))
                    continue
                count[mailbox] = count.get(mailbox, 0) + 1
            go.append((no, mailbox, copy, uid, flags, regs, content_id))
        reaper.carry_out(self.lost, self.reasons)
        ledger.remove_many(go)
        reaper.note_vanished(count)
        self.expired += len(go)


__all__ = ["BATCH", "DATE_INDEX", "Due", "Expiring", "Finder"]
