"""After a session that only took: which of our values does the peer have already?

When two stores first meet, most messages are the same on both sides, each found by its own scan. Of two such
weak values either may win. In a session that sends nothing the peer never hears that ours won, and would be
thought to wait for it for ever. So where both hold the same value, the peer's writing of it is taken over.
"""

from __future__ import annotations

from mailkeep.domain.record import UID, WEAK
from mailkeep.store.rows import COLUMNS, Record
from mailkeep.wire.registers import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.ledger import Ledger

PAGE = 1000
_FROM = (
    "FROM temp.in_record s JOIN temp.in_mailbox b ON b.no = s.box JOIN mailbox m ON m.id = b.id"
    " JOIN content c ON c.id = s.content"
    " JOIN record r ON r.content = c.no AND r.mailbox = m.no AND r.copy = s.copy"
    " WHERE s.no > ? ORDER BY s.no LIMIT ?"
)


def take_equal(ledger: Ledger) -> int:
    """Take over the peer's writing of weak values that are the same on both sides; in how many records.

    Belongs in the transaction that merged what is staged, after that: its vector is joined by then.
    """
    columns = ", ".join("r." + c.strip() for c in COLUMNS.split(","))
    sql = f"SELECT s.no, s.live, s.uid, s.regs, {columns} {_FROM}"
    after, taken = 0, 0
    while True:
        page = list(ledger.execute(sql, (after, PAGE)))
        if not page:
            return taken
        after = page[-1][0]
        for row in page:
            record = Record(row[4:])
            theirs, ours = decode(row[3], bool(row[1]), row[2]), record.regs
            same = {
                name: r
                for name, r in theirs.items()
                if name != UID and r.rank == WEAK and name in ours and ours[name].rank == WEAK
                and ours[name].value == r.value and ours[name] != r
            }  # fmt: skip
            if same:
                ledger.take(record, {**ours, **same})
                taken += 1
