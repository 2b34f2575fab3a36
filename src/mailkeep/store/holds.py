"""Deletions before they happen: which of them vanish a message, which a guard stops, which go through."""

from __future__ import annotations

from mailkeep.domain.record import APPROVED, LIVE
from mailkeep.rules.guard import VANISHES, Tally, judge
from mailkeep.store.rows import NO_FILE
from mailkeep.system import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mailkeep.rules.guard import Limits
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox, Record


EXPIRY = "expiry"
"""Where deletions come from that a rule of this store makes."""
ARCHIVE = "archive: "
"""How the reason of a hold begins that an archive keeps: it is meant to last, and no alarm."""
_NO_MAX = (1 << 63) - 1


class Hold:
    """A hold as people see it. Nothing ever joins one, so its number stands for what it was when it was shown.

    What an archive keeps of one peer is shown as one hold, though each session began another: under the newest number,
    which so says up to where it was seen.

    Attributes:
        numbers: All that are shown under `no`, which is the last of them.
        made: When the first of them was.
    """

    __slots__ = ("made", "mailboxes", "numbers", "origin", "reason")

    def __init__(self, no: int, made: int, origin: str, reason: str) -> None:
        self.numbers, self.made, self.origin, self.reason = [no], made, origin, reason
        self.mailboxes: dict[str, int] = {}

    @property
    def no(self) -> int:
        """The number that it is shown under."""
        return self.numbers[-1]

    @property
    def count(self) -> int:
        """How many messages it has."""
        return sum(self.mailboxes.values())

    @property
    def archive(self) -> bool:
        """Whether an archive keeps them: meant to last, and no alarm."""
        return self.reason.startswith(ARCHIVE)


class Reaper:
    """Collects deletions of one scan or session and carries them out, or holds them, together."""

    verb = VANISHES

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        origin: str,
        *,
        hold_all: bool = False,
        accept_approvals: bool = True,
    ) -> None:
        """Prepare.

        Args:
            origin: 'here' for what a scan found missing, EXPIRY for what a rule says is due; else the peer whose
                tombstones were merged.
            hold_all: Carry nothing out (an archive).
            accept_approvals: What a person approved elsewhere is approved here.
        """
        self.ledger, self.limits, self.origin, self.hold_all = ledger, limits, origin, hold_all
        self.accept_approvals = accept_approvals and not hold_all
        self.records: list[Record] = []
        self.gone: list[Mailbox] = []
        self.expunged = self.held = 0
        self._hold: dict[str, int] = {}

    def want(self, record: Record) -> None:
        """This record is, or is to be, a tombstone."""
        self.records.append(record)

    def mailboxes_gone(self, boxes: Iterable[Mailbox]) -> None:
        """These mailboxes' directories disappeared, with everything in them."""
        self.gone = list(boxes)

    def vanishing(self) -> set[int]:
        """Contents of which no live record would be left."""
        wanted = {r.no for r in self.records}
        out = set()
        for content in {r.content for r in self.records}:
            live = self.ledger.execute("SELECT no FROM record WHERE content = ? AND live", (content,))
            if all(no in wanted for (no,) in live):
                out.add(content)
        return out

    def drop_vanishing(self) -> int:
        """Forget about the deletions by which a message would vanish; how many those were."""
        lost = self.vanishing()
        before = len(self.records)
        self.records = [r for r in self.records if r.content not in lost]
        return before - len(self.records)

    def carry_out(self, lost: set[int] | None = None, held: dict[int, str] | None = None) -> None:
        """Tombstones, holds and the log of what vanished (in the caller's transaction).

        Args:
            lost: Contents that vanish, where these deletions are only some of those that belong together,
            held: and what the guard said of all.
        """
        lost = self.vanishing() if lost is None else lost
        held = self.judge(lost) if held is None else held
        gone = {box.no for box in self.gone}
        count: dict[int, int] = {}
        for record in self.records:
            reason = (
                held.get(record.mailbox) if record.content in lost and not self._is_settled(record) else None
            )
            if record.mailbox in gone and record.content in lost:
                reason = f"the mailbox {self.ledger.boxes[record.mailbox].name} disappeared"
            if self.origin == "here":
                record.sub, record.base, record.info, record.ino, record.young = NO_FILE, None, None, None, 0
            if reason is not None:
                self._stop(record, reason)
                continue
            if record.content in lost and not self._is_settled(record):
                count[record.mailbox] = count.get(record.mailbox, 0) + 1
            if self.origin == "here":
                self.ledger.remove(record)
                record.todo = 0
                self.ledger.set_file(record)
            elif (
                record.hold is not None
            ):  # found missing here and held; now it was deleted elsewhere, and that is let go
                self.ledger.release(record)
                self.ledger.set_file(record)
            self.expunged += 1
        self.note_vanished(count)
        for box in self.gone:
            self._without_directory(box)

    def note_vanished(self, count: Mapping[int, int]) -> None:
        """Note how many messages vanished of which mailboxes, for the guard's window."""
        now = clock.now()
        self.ledger.index.executemany(
            "INSERT INTO vanish VALUES (?, ?, ?)", [(now, no, n) for no, n in count.items()]
        )
        self.ledger.execute(
            "DELETE FROM vanish WHERE at < ?", (now - max(self.limits.window_seconds, 7 * 86_400),)
        )

    def _is_settled(self, record: Record) -> bool:
        return self.accept_approvals and is_approved(record)

    def judge(self, lost: set[int]) -> dict[int, str]:
        """In which mailboxes deletions are held, with the reason; `lost` is what `vanishing` found."""
        if self.hold_all:
            return {r.mailbox: f"{ARCHIVE}what {self.origin} deleted is kept here" for r in self.records}
        vanishing: dict[int, set[int]] = {}
        dead: dict[int, int] = {}
        for record in self.records:
            if record.content in lost and not self._is_settled(record):
                vanishing.setdefault(record.mailbox, set()).add(record.content)
            if not record.live:  # merged already: the mailbox's count no longer has it
                dead[record.mailbox] = dead.get(record.mailbox, 0) + 1
        return self.judged({no: len(contents) for no, contents in vanishing.items()}, dead)

    def judged(self, vanishing: Mapping[int, int], dead: Mapping[int, int]) -> dict[int, str]:
        """What the guard says when so many messages of these mailboxes vanish: why they are held, by mailbox.

        Args:
            dead: Messages that the mailbox's count no longer has.
        """
        since = clock.now() - self.limits.window_seconds
        lately = self.lately(since)
        tallies = {
            no: Tally(box.name, box.count + dead.get(no, 0), vanishing.get(no, 0), lately.get(no, 0))
            for no, box in self.ledger.boxes.items()
            if box.count or no in vanishing or no in lately
        }
        return judge(tallies, self.limits, _groups(self.ledger, self.limits, tallies), self.verb)

    def lately(self, since: int) -> dict[int, int]:
        """How many messages of which mailboxes vanished since then."""
        return dict(
            self.ledger.execute(
                "SELECT mailbox, sum(count) FROM vanish WHERE at >= ? GROUP BY mailbox", (since,)
            )
        )

    def _stop(self, record: Record, reason: str) -> None:
        if reason not in self._hold:
            self._hold[reason] = new_hold(self.ledger, self.origin, reason)
        self.ledger.hold(record, self._hold[reason])
        self.ledger.set_file(record)
        self.held += 1

    def _without_directory(self, box: Mailbox) -> None:
        box.dir, box.stamps, box.dirty = None, None, True
        hold = self.ledger.index.value(
            "SELECT max(hold) FROM record WHERE mailbox = ? AND hold IS NOT NULL AND live", (box.no,)
        )
        if hold is not None:
            box.hold = hold
            box.todo = False
        elif box.count == 0:
            self.ledger.set_mailbox(box, LIVE, False)
            box.todo = False
        else:
            box.todo = True  # records that never had a file here: the directory is made again for them


def new_hold(ledger: Ledger, origin: str, reason: str) -> int:
    """Begin a hold; its number, which no other hold had before: somebody may still answer that one."""
    meta = ledger.index.meta
    highest: int = ledger.index.value("SELECT coalesce(max(no), 0) FROM hold")
    number = 1 + max(highest, int(meta.get("hold", 0)))
    meta["hold"] = number
    ledger.execute("INSERT INTO hold VALUES (?, ?, ?, ?)", (number, clock.now(), origin, reason))
    return number


def hold_returning(ledger: Ledger, limits: Limits, records: list[Record], why: str) -> int:
    """Hold live records without a file that would come back though they were removed, perhaps, when they are many.

    What is to be judged is the same as for so many deletions. To approve such a hold is to remove them
    everywhere, to reject it puts them back. Belongs in a transaction.

    Args:
        records: Live, with the journal's mark that their file is to be put in place.
        why: Said after how many there are.

    Returns:
        How many are held; the others come back.
    """
    wanted: dict[int, set[int]] = {}
    for record in records:
        if not ledger.execute(
            "SELECT 1 FROM record WHERE content = ? AND live AND sub != 0 LIMIT 1", (record.content,)
        ).fetchone():
            wanted.setdefault(record.mailbox, set()).add(record.content)
    tallies = {
        no: Tally(box.name, box.count, len(wanted.get(no, ())))
        for no, box in ledger.boxes.items()
        if box.count
    }
    held = judge(tallies, limits, _groups(ledger, limits, tallies))
    count = sum(record.mailbox in held and record.content in wanted[record.mailbox] for record in records)
    if not count:
        return 0
    reason = f"{count:,} messages would come back: {why}"
    number = new_hold(ledger, "here", reason)
    for record in records:
        if record.mailbox in held and record.content in wanted[record.mailbox]:
            record.hold, record.todo = number, 0
            ledger.set_file(record)
    return count


def _groups(ledger: Ledger, limits: Limits, tallies: dict[int, Tally]) -> dict[str, Limits]:
    """What annotations say of the guard: written into the tallies, and the limits of each group."""
    if not ledger.annotated:
        return {}
    from mailkeep.store.annotations import tell_guard

    return tell_guard(ledger, limits, tallies)


def is_approved(record: Record) -> bool:
    """Whether a person approved this very deletion, here or elsewhere."""
    if record.live:
        return False
    approved = record.regs.get(APPROVED)
    return approved is not None and approved.value == record.regs[LIVE].rank


def forget_answered(ledger: Ledger) -> None:
    """End the holds of which nothing is left: somebody answered elsewhere, or the files came back."""
    empty = [
        no
        for (no,) in ledger.execute(
            "SELECT no FROM hold WHERE NOT EXISTS (SELECT 1 FROM record WHERE record.hold = hold.no)"
        )
    ]
    for no in empty:
        ledger.execute("DELETE FROM hold WHERE no = ?", (no,))
        for box in ledger.boxes.values():
            if box.hold == no:  # an empty mailbox, as the others have it
                box.hold, box.dirty, box.todo = None, True, box.dir is None


def alarms(ledger: Ledger) -> bool:
    """Whether anything is held that a person has to look at; what an archive keeps is no alarm."""
    return bool(ledger.execute(f"SELECT 1 FROM hold WHERE reason NOT LIKE '{ARCHIVE}%' LIMIT 1").fetchone())


def waiting(ledger: Ledger) -> dict[int, int]:
    """How many deletions a person has to look at, by mailbox number."""
    return dict(
        ledger.execute(
            "SELECT r.mailbox, count(*) FROM hold h JOIN record r ON r.hold = h.no"
            f" WHERE h.reason NOT LIKE '{ARCHIVE}%' GROUP BY r.mailbox"
        )
    )


def holds(ledger: Ledger, up_to: int | None = None) -> list[Hold]:
    """What waits for an answer, by number.

    Args:
        up_to: As it was when this was the highest number: later ones are left out.
    """
    out: dict[object, Hold] = {}
    rows = ledger.execute(
        "SELECT * FROM hold WHERE no <= ? ORDER BY no", (_NO_MAX if up_to is None else up_to,)
    )
    for no, made, origin, reason in list(rows):
        counts = list(
            ledger.execute("SELECT mailbox, count(*) FROM record WHERE hold = ? GROUP BY mailbox", (no,))
        )
        if not counts:
            continue
        key = (origin, reason) if reason.startswith(ARCHIVE) else no
        if key in out:
            out[key].numbers.append(no)
        else:
            out[key] = Hold(no, made, origin, reason)
        boxes = out[key].mailboxes
        for box, count in counts:
            name = ledger.boxes[box].name
            boxes[name] = boxes.get(name, 0) + count
    return sorted(out.values(), key=lambda hold: hold.no)


def find_hold(ledger: Ledger, number: int) -> Hold | None:
    """A hold as it was when it was shown under this number; None: there is none."""
    found = holds(ledger, number)
    return next((hold for hold in found if hold.no == number), None)


def approve(ledger: Ledger, hold: int) -> int:
    """Carry out the deletions of a hold; how many. The approval travels with them and covers nothing else.

    Args:
        hold: Its number, or an earlier one of an archive's: then what came later stays held.
    """
    numbers = _numbers(ledger, hold)
    records = [record for no in numbers for record in ledger.records("hold = ?", (no,))]
    for record in records:
        ledger.approve(record)
    for box in ledger.boxes.values():
        if box.hold in numbers:
            box.hold, box.dirty = None, True
            if box.count == 0:
                ledger.set_mailbox(box, LIVE, False)
                box.todo = False
    for box in {ledger.boxes[record.mailbox] for record in records}:
        if not box.alive and box.dir is not None:
            box.todo = box.dirty = True  # deleted elsewhere: its directory stayed for what was held in it
    _delete(ledger, numbers)
    return len(records)


def reject(ledger: Ledger, hold: int) -> int:
    """Put the messages of a hold back, here and everywhere; how many.

    Args:
        hold: As for `approve`.
    """
    numbers = _numbers(ledger, hold)
    records = [record for no in numbers for record in ledger.records("hold = ?", (no,))]
    for box in ledger.boxes.values():
        if box.hold in numbers:
            box.hold, box.dirty, box.todo = None, True, True
    for record in records:
        ledger.reject(record)
    _delete(ledger, numbers)
    ledger.note_lacking()
    return len(records)


def _numbers(ledger: Ledger, hold: int) -> list[int]:
    found = find_hold(ledger, hold)
    return found.numbers if found is not None else [hold]


def _delete(ledger: Ledger, numbers: list[int]) -> None:
    ledger.index.executemany("DELETE FROM hold WHERE no = ?", [(no,) for no in numbers])
