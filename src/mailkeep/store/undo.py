"""Undoing a run: the inverse of each change as a new write, which replicates as any other.

plan: what each message and mailbox would become, and what stands against it     (mailkeep.rules.inverse)
carry_out: names and mailboxes -> messages that come back, flags -> removals -> mailboxes that go

Removals are deletions like any other: tombstones, retention, and the guard, which holds back those by which more
messages would vanish than its limits allow, unless somebody has approved just that. Everything goes on in
transactions of a bounded number of messages; cut off anywhere, it is begun again, and what is done is found done.
"""

from __future__ import annotations

from mailkeep.domain.flags import unpack
from mailkeep.domain.record import LIVE
from mailkeep.rules.inverse import FILLED, TAKEN, BoxState, State, inverse, inverse_of_box
from mailkeep.store import past
from mailkeep.store.giveback import BATCH
from mailkeep.store.holds import Reaper
from mailkeep.store.index import json_list
from mailkeep.store.ledger import own_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mailkeep.rules.guard import Limits
    from mailkeep.rules.inverse import BoxStep, Step
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.past import BoxEntry, Entry, Run

HELD, PURGED = "its deletion is held: mailkeep reject or approve first", "its content was purged"
INBOX = "INBOX"


class Change:
    """One message, and what undoing does to it; `stands` says why nothing is done, or ''."""

    __slots__ = ("entry", "forced", "stands", "step")

    def __init__(self, entry: Entry, step: Step, stands: str, forced: bool) -> None:
        self.entry, self.step, self.stands, self.forced = entry, step, stands, forced


class BoxChange:
    """Likewise one mailbox."""

    __slots__ = ("entry", "stands", "step")

    def __init__(self, entry: BoxEntry, step: BoxStep, stands: str) -> None:
        self.entry, self.step, self.stands = entry, step, stands


class Plan:
    """What undoing a run would do.

    Attributes:
        changes, boxes: What would be done.
        conflicts, box_conflicts: What would not, for something stands against it.
        purged: Messages whose contents are gone, likewise.
        nothing: How many messages and mailboxes are as they were before the run already.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.boxes: list[BoxChange] = []
        self.conflicts: list[Change] = []
        self.box_conflicts: list[BoxChange] = []
        self.purged: list[Change] = []
        self.nothing = 0


class Undone:
    """What was done: messages that came back, were removed, have other flags; mailboxes; and what the guard held back."""

    __slots__ = ("back", "flagged", "held", "mailboxes", "reasons", "removed", "stands")

    def __init__(self) -> None:
        self.back = self.removed = self.flagged = self.mailboxes = self.held = 0
        self.reasons: list[str] = []
        self.stands: list[BoxChange] = []


def plan(
    ledger: Ledger, run: Run, chosen: Iterable[Entry], boxes: Iterable[BoxEntry], *, force: bool = False
) -> Plan:
    """What undoing these changes of a run would do. Changes nothing.

    Args:
        chosen: Of `past.entries(ledger, run)`.
        boxes: Of `past.box_entries(ledger, run)`.
        force: What was changed later is taken back too.
    """
    out = Plan()
    end = past.end_of(ledger, run).change
    for entry in chosen:
        record = ledger.record(entry.record)
        later = past.later_states(ledger, entry.record, end)
        step = inverse(entry.before, entry.after, _state(record.live, record.flags), later)
        if step.nothing and not step.conflict:
            out.nothing += 1
        elif record.hold is not None:
            out.conflicts.append(Change(entry, step, HELD, False))
        elif step.live and not ledger.index.value("SELECT kept FROM content WHERE no = ?", (record.content,)):
            out.purged.append(Change(entry, step, PURGED, False))
        elif step.conflict and (not force or step.nothing):
            out.conflicts.append(Change(entry, step, step.conflict, False))
        else:
            out.changes.append(Change(entry, step, "", bool(step.conflict)))
    for item in boxes:
        box = ledger.boxes[item.mailbox]
        box_step = inverse_of_box(
            item.before,
            item.after,
            BoxState(box.name, box.live),
            past.later_box_states(ledger, item.mailbox, end),
        )
        if box_step.nothing or (box_step.live is False and box.name == INBOX):  # which is always there
            out.nothing += 1
        elif box_step.conflict and not force:
            out.box_conflicts.append(BoxChange(item, box_step, box_step.conflict))
        else:
            out.boxes.append(BoxChange(item, box_step, ""))
    return out


def _state(live: bool, packed: str) -> State:
    return State(live, unpack(packed))


def carry_out(
    ledger: Ledger,
    wanted: Plan,
    limits: Limits,
    *,
    approved: bool = False,
    done: Callable[[int], None] | None = None,
) -> Undone:
    """Do what a plan says. Durable on return; files and directories are the journal's: `Store.apply`.

    Args:
        limits: The guard's.
        approved: A person said that all of the removals may happen, here and everywhere.
        done: Is told how many messages are done, after each transaction.
    """
    out = Undone()
    removals = [change.entry.record for change in wanted.changes if change.step.live is False]
    rest = [change for change in wanted.changes if change.step.live is not False]
    with ledger.index.transaction():
        _restore_boxes(ledger, wanted, rest, out)
    for at in range(0, len(rest), BATCH):
        with ledger.index.transaction():
            _restore(ledger, rest[at : at + BATCH], out)
            ledger.settle_names()
        if done is not None:
            done(out.back + out.flagged)
    for page in _released(ledger, limits, removals, out, approved=approved):
        with ledger.index.transaction():
            out.removed += _remove(ledger, page, approved=approved)
            _note_vanished(ledger, limits, page)
        if done is not None:
            done(out.back + out.flagged + out.removed)
    with ledger.index.transaction():
        _remove_boxes(ledger, wanted, out)
    return out


def _restore_boxes(ledger: Ledger, wanted: Plan, rest: list[Change], out: Undone) -> None:
    """Names first, each as soon as it is free, then mailboxes that come back."""
    waiting = [change for change in wanted.boxes if change.step.name is not None and change.step.live is None]
    while waiting:
        free = [change for change in waiting if ledger.named(str(change.step.name)) is None]
        if free:
            ledger.rename(ledger.boxes[free[0].entry.mailbox], str(free[0].step.name))
            out.mailboxes += 1
            waiting.remove(free[0])
        elif not _make_way(ledger, waiting):
            break
    for change in waiting:
        out.stands.append(BoxChange(change.entry, change.step, TAKEN))
    for change in wanted.boxes:
        if not change.step.live:
            continue
        box = ledger.boxes[change.entry.mailbox]
        name = change.step.name or box.name
        other = ledger.named(name)
        if other is not None and other is not box:
            out.stands.append(BoxChange(change.entry, change.step, TAKEN))
            continue
        if name != box.name:
            ledger.rename(box, name)
        ledger.set_mailbox(box, LIVE, True)
        out.mailboxes += 1
    homes = {change.entry.mailbox for change in rest if change.step.live}
    for no in homes:
        box = ledger.boxes[no]
        if not box.alive:  # it went in another run than its messages did
            ledger.set_mailbox(box, LIVE, True)
    ledger.settle_names()


def _make_way(ledger: Ledger, waiting: list[BoxChange]) -> bool:
    """Of mailboxes that changed names with one another, let one step aside; it goes on from there."""
    mine = {change.entry.mailbox for change in waiting}
    for change in waiting:
        holder = ledger.named(str(change.step.name))
        if holder is not None and holder.no in mine and "~" + holder.id.hex()[:8] not in holder.name:
            ledger.rename(holder, own_name(holder.name, holder.id))
            return True
    return False


def _restore(ledger: Ledger, page: list[Change], out: Undone) -> None:
    revived: dict[int, frozenset[str] | None] = {}
    for change in page:
        record = ledger.record(change.entry.record)
        step = change.step
        if step.live and not record.live:
            revived[record.no] = (unpack(record.flags) | step.on) - step.off
        elif record.live and (step.on or step.off):
            ledger.flag(record, step.on, step.off)
            out.flagged += 1
    out.back += ledger.revive_many(revived)


def _released(
    ledger: Ledger, limits: Limits, removals: list[int], out: Undone, *, approved: bool
) -> list[list[int]]:
    """The removals that may happen, in pages; what the guard holds back is counted."""
    records = [record for record in map(ledger.record, removals) if record.live and record.hold is None]
    if not approved:
        reaper = Reaper(ledger, limits, "here")
        for record in records:
            reaper.want(record)
        lost = reaper.vanishing()
        held = reaper.judge(lost)
        stopped = {r.no for r in records if r.content in lost and r.mailbox in held}
        out.held = len(stopped)
        out.reasons = sorted({held[r.mailbox] for r in records if r.no in stopped})
        records = [record for record in records if record.no not in stopped]
    numbers = [record.no for record in records]
    return [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]


def _remove(ledger: Ledger, page: list[int], *, approved: bool) -> int:
    if not approved:
        rows = list(
            ledger.execute(
                "SELECT r.no, r.mailbox, r.copy, r.uid, r.flags, r.regs, c.id FROM json_each(?) j JOIN record r"
                " ON r.no = j.value JOIN content c ON c.no = r.content WHERE r.live AND r.hold IS NULL",
                (json_list(page),),
            )
        )
        ledger.remove_many(rows)
        return len(rows)
    records = [record for record in map(ledger.record, page) if record.live]
    for record in records:
        ledger.remove(record, approved=True)
    return len(records)


def _note_vanished(ledger: Ledger, limits: Limits, page: list[int]) -> None:
    """Let what vanished count for the guard's window, here as in every other run."""
    count: dict[int, int] = {}
    for record in map(ledger.record, page):
        if not ledger.is_live(record.content):
            count[record.mailbox] = count.get(record.mailbox, 0) + 1
    Reaper(ledger, limits, "here").note_vanished(count)


def _remove_boxes(ledger: Ledger, wanted: Plan, out: Undone) -> None:
    """Mailboxes that the run made, if nothing is left in them."""
    for change in wanted.boxes:
        if change.step.live is not False:
            continue
        box = ledger.boxes[change.entry.mailbox]
        if ledger.shown(box):
            out.stands.append(BoxChange(change.entry, change.step, FILLED))
        elif box.live:
            ledger.set_mailbox(box, LIVE, False)
            out.mailboxes += 1
