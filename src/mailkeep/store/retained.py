"""What retention costs: contents that only the vault holds, by mailbox and by how long ago they were expunged."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.ledger import Ledger

AGES: tuple[tuple[str, int | None], ...] = (
    ("< 1 day", 1),
    ("< 1 week", 7),
    ("< 30 days", 30),
    ("< 90 days", 90),
    ("< 1 year", 365),
    ("longer", None),
)
"""How long ago, in words and in days."""
DAY_SECONDS = 86_400


class Sum:
    """Messages and bytes.

    Attributes:
        messages: Contents, each counted where it was expunged last.
        bytes: Of the messages.
        disk_bytes: What freeing them gives back: blocks of objects that no other name shares.
        shared: Contents of which another name exists.
    """

    __slots__ = ("bytes", "disk_bytes", "messages", "shared")

    def __init__(self) -> None:
        self.messages = self.bytes = self.disk_bytes = self.shared = 0

    def add(self, size: int, st: os.stat_result | None) -> None:
        """Count one content."""
        self.messages += 1
        self.bytes += size
        if st is not None and st.st_nlink == 1:
            self.disk_bytes += st.st_blocks * 512
        elif st is not None:
            self.shared += 1


class Retained:
    """What `retained` found.

    Attributes:
        boxes: By mailbox number (0: none), a Sum for each of AGES.
        total: All of them.
        vault_bytes: Sizes of all contents in the vault.
        next_free: When the next retention passes, seconds since 1970; None: there is none.
    """

    def __init__(self) -> None:
        self.boxes: dict[int, list[Sum]] = {}
        self.total = Sum()
        self.vault_bytes = 0
        self.next_free: int | None = None


def retained(ledger: Ledger, state: bytes, now: int) -> Retained:
    """Look at every content in the vault that no live message has. Nothing is written.

    Args:
        state: The state directory.
        now: Seconds since 1970.
    """
    out = Retained()
    out.vault_bytes = ledger.index.value("SELECT coalesce(sum(size), 0) FROM content WHERE kept")
    out.next_free = ledger.index.value("SELECT min(keep) FROM record WHERE keep IS NOT NULL")
    objects = os.path.join(state, b"objects")
    rows = ledger.execute(
        "SELECT c.id, c.size, (SELECT r.mailbox FROM record r WHERE r.content = c.no ORDER BY r.gone DESC LIMIT 1),"
        " (SELECT max(r.gone) FROM record r WHERE r.content = c.no) FROM content c WHERE c.kept"
        " AND NOT EXISTS (SELECT 1 FROM record r WHERE r.content = c.no AND (r.live OR r.hold IS NOT NULL))"
    )
    for content_id, size, mailbox, gone in rows:
        name = content_id.hex().encode()
        try:
            st = os.lstat(os.path.join(objects, name[:2], name))
        except OSError:
            st = None
        sums = out.boxes.setdefault(mailbox or 0, [Sum() for _ in AGES])
        days = (now - gone) // DAY_SECONDS if gone is not None else 0
        at = next(i for i, (_, most) in enumerate(AGES) if most is None or days < most)
        sums[at].add(size, st)
        out.total.add(size, st)
    return out
