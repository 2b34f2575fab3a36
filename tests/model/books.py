"""The books of a store without its files: what a session needs of `Store`, in memory."""

from __future__ import annotations

from mailkeep.rules.guard import Limits
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger

NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)


class Nothing:
    """What `Books.apply` reports: no file was touched, none is a problem."""

    problems: tuple[()] = ()
    linked = removed = renamed = waiting = 0


class Books:
    """A store of which only the books are kept: what a session needs of `Store`."""

    root = b"nowhere"
    progress = None

    def __init__(self, replica_id: bytes, limits: Limits) -> None:
        self.index = Index.create(":memory:", replica_id * 2, replica_id)
        self.ledger = Ledger(self.index)
        self.limits = limits
        # No mailbox may take another id: somebody may know it.
        self.index.meta["given"] = 1 << 60

    def bump(self) -> None:
        """There is no marker."""

    def apply(self) -> Nothing:
        """Every file is in place at once."""
        with self.index.transaction():
            self.index.execute("UPDATE record SET todo = 0, sub = 0 WHERE todo")
            for box in self.ledger.boxes.values():
                if box.todo:
                    box.todo, box.dirty, box.dir = False, True, box.id if box.alive else None
        return Nothing()
