"""Giving back what was expunged: which messages can come back, which not and why, and bringing them back.

A message comes back as a new live write of its record, under a new UID, with the flags and the date that it had;
so it comes back on every replica. Bringing back goes on in transactions of BATCH messages, and the journal puts the
files in place; cut off anywhere, it is begun again: what lives is not brought back a second time.
"""

from __future__ import annotations

from mailkeep.domain.flags import unpack
from mailkeep.domain.record import LIVE
from mailkeep.store.index import json_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailkeep.rules.guard import Limits
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox

BATCH = 5000
"""Messages brought back by one transaction: its sync does not count any more, and its memory is small."""
TRASHED = "T"
r"""The flag \Deleted. A message that comes back with it would be removed again by the next program that expunges."""
PURGED, LIVES, ELSEWHERE, OTHER_PLACE = "purged", "lives", "elsewhere", "other-place"
"""Why one does not come back: its content is gone; it is there already; it lives in another mailbox (it was moved); it comes
back in another mailbox, from which it was removed too."""


class Lost:
    """A tombstone.

    Attributes:
        record, mailbox, content, copy: Numbers.
        flags: That it had, or that it is to come back with; packed.
        date: INTERNALDATE.
        gone: When it was expunged here; 0: not known.
        keep: Until when its content is needed; None: no longer.
        size: Bytes.
        kept: Whether the vault has its content.
        why: '' if it comes back, else one of the words above.
        living: For `elsewhere`: the number of a mailbox in which it lives.
    """

    __slots__ = (
        "content",
        "copy",
        "date",
        "flags",
        "gone",
        "keep",
        "kept",
        "living",
        "mailbox",
        "record",
        "size",
        "why",
    )

    def __init__(self, row: tuple) -> None:  # type: ignore[type-arg]
        (
            self.record,
            self.mailbox,
            self.content,
            self.copy,
            self.flags,
            self.date,
            gone,
            self.keep,
            self.size,
            kept,
        ) = row
        self.gone, self.kept = gone or 0, bool(kept)
        self.why, self.living = "", 0


_COLUMNS = "r.no, r.mailbox, r.content, r.copy, r.flags, r.date, r.gone, r.keep, c.size, c.kept"
_FROM = " FROM record r JOIN content c ON c.no = r.content WHERE NOT r.live AND r.hold IS NULL"


def expunged(ledger: Ledger, since: int | None = None, until: int | None = None) -> Iterator[Lost]:
    """Every tombstone that nobody holds, of those expunged from `since` on and before `until`.

    Do not write records while it runs.
    """
    times = (-(1 << 62) if since is None else since, 1 << 62 if until is None else until)
    for index in ("r.keep IS NOT NULL", "r.gone IS NOT NULL AND r.keep IS NULL"):  # an index each
        rows = ledger.execute(f"SELECT {_COLUMNS}{_FROM} AND {index} AND r.gone >= ? AND r.gone < ?", times)
        for row in rows:
            yield Lost(row)


def expunged_of(ledger: Ledger, records: Iterable[int]) -> Iterator[Lost]:
    """Those of some records that are tombstones which nobody holds."""
    numbers = list(records)
    for at in range(0, len(numbers), BATCH):
        page = json_list(numbers[at : at + BATCH])
        rows = ledger.execute(
            f"SELECT {_COLUMNS}{_FROM} AND r.no IN (SELECT value FROM json_each(?)) ORDER BY r.no", (page,)
        )
        for row in list(rows):
            yield Lost(row)


def choose(
    ledger: Ledger,
    found: list[Lost],
    limits: Limits,
    *,
    into: Mailbox | None = None,
    new: bool = False,
    everywhere: bool = False,
) -> None:
    """Say of each tombstone whether it comes back (`why`).

    A content that lives nowhere comes back once: in the mailbox from which it was removed last, one that is meant to
    be emptied (Trash) left aside while there is another. What lives was moved, and stays where it is.

    Args:
        into: Where all of them are to come back, instead of in their own mailboxes.
        new: They are to come back in a mailbox that is not there yet.
        everywhere: In each mailbox from which it was removed, and though it lives in another.
    """
    groups: dict[int, list[Lost]] = {}
    for lost in found:
        groups.setdefault(lost.content, []).append(lost)
    names = {no: box.name for no, box in ledger.boxes.items()}
    lives = _living(ledger, list(groups))
    for content, group in groups.items():
        living = lives.get(content, [])
        group.sort(key=lambda lost: (limits.is_exempt(names[lost.mailbox]), -lost.gone, -lost.record))
        taken: set[int] = set()
        for lost in group:
            home = 0 if new else _home(ledger, lost.mailbox).no if into is None else into.no
            if not lost.kept:
                lost.why = PURGED
            elif home in living:
                lost.why = LIVES
            elif living and not everywhere:
                lost.why, lost.living = ELSEWHERE, living[0]
            elif home in taken or (taken and not everywhere):
                lost.why = OTHER_PLACE
            else:
                taken.add(home)


def _living(ledger: Ledger, contents: list[int]) -> dict[int, list[int]]:
    """The mailboxes in which contents live."""
    out: dict[int, list[int]] = {}
    for at in range(0, len(contents), BATCH):
        page = json_list(contents[at : at + BATCH])
        for content, mailbox in ledger.execute(
            "SELECT content, mailbox FROM record WHERE live AND content IN (SELECT value FROM json_each(?))",
            (page,),
        ):
            out.setdefault(content, []).append(mailbox)
    return out


def _home(ledger: Ledger, mailbox: int) -> Mailbox:
    """Where messages of a mailbox come back: there, or in the mailbox that has its name by now."""
    box = ledger.boxes[mailbox]
    if not box.alive:
        return ledger.named(box.name) or box
    return box


def bring_back(
    ledger: Ledger,
    wanted: list[Lost],
    *,
    into: Mailbox | None = None,
    flags_exact: bool = False,
    done: Callable[[int], None] | None = None,
) -> int:
    """Make messages live again, in the order in which they lay in their mailboxes; durable on return.

    Their files are the journal's to put in place: `Store.apply`. A message that lives by now is passed over.

    Args:
        into: As for `choose`; alive.
        flags_exact: With `flags` of each, whatever they are; else without TRASHED.
        done: Is told how many came back, after each transaction.

    Returns:
        How many came back.
    """
    order = sorted(wanted, key=lambda lost: (ledger.boxes[lost.mailbox].name, lost.record))
    count = 0
    for at in range(0, len(order), BATCH):
        with ledger.index.transaction():
            count += _bring_back(ledger, order[at : at + BATCH], into, flags_exact)
            ledger.settle_names()
        if done is not None:
            done(count)
    return count


def _bring_back(ledger: Ledger, page: list[Lost], into: Mailbox | None, flags_exact: bool) -> int:
    revived: dict[int, frozenset[str] | None] = {}
    count = 0
    for lost in page:
        flags = unpack(lost.flags)
        if not flags_exact:
            flags -= {TRASHED}
        home = _home(ledger, lost.mailbox) if into is None else into
        if home.no == lost.mailbox:
            if not home.alive:
                ledger.set_mailbox(home, LIVE, True)
            revived[lost.record] = flags
            continue
        record = ledger.record(lost.record)
        if not record.live and record.hold is None:
            made = ledger.add(home, lost.content, ledger.content_id(lost.content), flags, record.date)
            made.todo = 1  # its file is still to be put in place
            ledger.set_file(made)
            count += 1
    return count + ledger.revive_many(revived)
