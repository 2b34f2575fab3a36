"""Reading for a session: what has a replica with this vector not taken in?"""

from __future__ import annotations

from mailkeep.domain.record import known_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from mailkeep.domain.record import Vector
    from mailkeep.rules.digest import Buckets
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox

    WireRecord = list[object]
    """[content id, copy, live, uid, date, size, registers, still live elsewhere here]"""

PAGE = 500
_SELECT = (
    "SELECT r.no, r.mailbox, r.content, r.copy, r.live, r.uid, r.flags, r.regs, r.seq, r.date, c.id, c.size, c.kept"
    " FROM record r JOIN content c ON c.no = r.content"
)


def news(ledger: Ledger, seen: Vector, since: int) -> Iterator[tuple[Mailbox, list[WireRecord]]]:
    """Pages of records, each of one mailbox, that the vector does not cover, oldest change first.

    Args:
        since: Every change up to this number is known to be covered.
    """
    is_known = _known(seen)
    after = since
    while True:
        rows = list(ledger.execute(f"{_SELECT} WHERE r.seq > ? ORDER BY r.seq LIMIT ?", (after, PAGE)))
        if not rows:
            return
        after = rows[-1][8]
        pages: dict[int, list[WireRecord]] = {}
        for row in rows:
            if not is_known(row[7]):
                pages.setdefault(row[1], []).append(wire_record(ledger, row))
        for mailbox, page in pages.items():
            yield ledger.boxes[mailbox], page


def part(
    ledger: Ledger, box: Mailbox, prefixes: Container[bytes] | None = None
) -> Iterator[list[WireRecord]]:
    """Pages of the records of a mailbox, tombstones too.

    Args:
        prefixes: Only records whose content id begins with one of these, of one or two bytes; None: all.
    """
    uid = no = 0
    while True:
        rows = list(
            ledger.execute(
                f"{_SELECT} WHERE r.mailbox = ? AND (r.uid, r.no) > (?, ?) ORDER BY r.uid, r.no LIMIT ?",
                (box.no, uid, no, PAGE),
            )
        )
        if not rows:
            return
        no, uid = rows[-1][0], rows[-1][5]
        if prefixes is not None:
            rows = [row for row in rows if row[10][:1] in prefixes or row[10][:2] in prefixes]
        yield [wire_record(ledger, row) for row in rows]


def buckets_of(ledger: Ledger, box: Mailbox) -> Buckets:
    """Sums of a mailbox's buckets, as it is now: one pass over its records."""
    from mailkeep.rules.digest import Buckets

    return Buckets(
        ledger.execute(
            "SELECT c.id, r.copy, r.uid, r.flags FROM record r JOIN content c ON c.no = r.content"
            " WHERE r.mailbox = ? AND r.live",
            (box.no,),
        )
    )


def boxes_with_news(ledger: Ledger, seen: Vector, since: int) -> set[int]:
    """Numbers of mailboxes of which the vector does not cover a register or a record; also of the whole store's row."""
    out = {box.no for box in ledger.rows() if not known_to(box.regs, seen)}
    is_known = _known(seen)
    after = since
    while True:
        rows = list(
            ledger.execute(
                "SELECT seq, mailbox, regs FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (after, PAGE)
            )
        )
        if not rows:
            return out
        after = rows[-1][0]
        for _, mailbox, regs in rows:
            if mailbox not in out and not is_known(regs):
                out.add(mailbox)


def _known(seen: Vector) -> Callable[[bytes], bool]:
    """Whether the vector covers every register of a blob: its stamps alone decide, not the values beside it."""
    from mailkeep.wire.registers import decode, memoised

    return memoised(lambda blob: known_to(decode(blob, True, 1), seen))


def waiting(ledger: Ledger, seen: Vector, since: int) -> dict[int, int]:
    """Messages with a change that the vector does not cover, by mailbox number: how many wait for that replica.

    Numbering (UIDs) is no change that anybody made, and neither is a tombstone of a message it never had.

    Args:
        since: Every change up to this number is known to be covered.
    """
    from mailkeep.domain.record import UID, covers
    from mailkeep.wire.registers import decode

    if not seen:
        return {box.no: box.count for box in ledger.boxes.values() if box.count}
    out: dict[int, int] = {}
    # What one transaction wrote is equal but for the UIDs: of each sort one is decoded, however many there are.
    rows = "record" if since else "record NOT INDEXED"
    sorts = f"SELECT mailbox, live, regs, count(*) FROM {rows} WHERE seq > ? GROUP BY mailbox, live, regs"
    for mailbox, live, regs, count in ledger.execute(sorts, (since,)):
        registers = decode(regs, bool(live), 1)
        if any(not covers(seen, r) for name, r in registers.items() if name != UID):
            out[mailbox] = out.get(mailbox, 0) + count
    return out


def wire_record(ledger: Ledger, row: tuple) -> WireRecord:  # type: ignore[type-arg]
    """A row as it travels: registers are numbered as this store numbers replicas."""
    _, _, content, copy, live, uid, _, regs, _, date, content_id, size, _ = row
    return [content_id, copy, live, uid, date, size, regs, int(not live and ledger.is_live(content))]
