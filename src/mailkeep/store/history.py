"""History: what each run changed, written in the transactions that changed it.

A record that is changed leaves a row with the state *before*; one that is made leaves none, since its number
tells the run: numbers of records and of changes only grow, and one run at a time has the store. So a message that
arrives and stays costs nothing here. How a record was at the end of run R: its first change after R has the state
before that change; without one it was as it is now; its number at least the next run's `first_record`: not there.
"""

from __future__ import annotations

from msgpack import packb

from mailkeep.system import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailkeep.store.index import Index
    from mailkeep.store.ledger import Ledger

FOUND, MERGED, ASKED = 1, 2, 3
"""Causes of a change: another program did it and a scan found that; a peer's write was merged; the run's own command."""
CUT_OFF = None
"""`run.status` of a run that did not come to its end, or goes on."""
_ROWS = 1000


class History:
    """Notes changes of the run that goes on. One per `Ledger`; rows are written with its transactions.

    Attributes:
        verb: What the run is called until `end` says it.
        cause: FOUND, MERGED or ASKED: what makes the changes of the moment.
        run: The number of the run's row; None: it changed nothing yet.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.verb = "run"
        self.cause = ASKED
        self._rows: list[tuple[int, int, int, str, int, int]] = []
        self._boxes: list[tuple[int, int, str, int, int, int]] = []
        self.begin()

    def begin(self) -> None:
        """From here on another run's changes are noted."""
        self.began = clock.now()
        self.run: int | None = None
        self._committed: int | None = None
        self._first_change = int(self.index.meta.get("changes", 0)) + 1
        self._first_record = int(self.index.value("SELECT coalesce(max(no), 0) FROM record")) + 1
        self._seq = self.index.seq

    def record(self, record: int, live: bool, flags: str, writer: int) -> None:
        """Note that a record was live, or not, with these flags, until now. `writer` wrote what it becomes."""
        self._rows.append((self._next(), record, int(live), flags, self.cause, writer))
        if len(self._rows) >= _ROWS:
            self.flush()

    def mailbox(self, mailbox: int, name: str, live: bool, writer: int) -> None:
        """Note that a mailbox had this name, and was live or not, until now; '': it was not there."""
        self._boxes.append((self._next(), mailbox, name, int(live), self.cause, writer))

    def _next(self) -> int:
        number: int = self.index.meta.get("changes", 0) + 1
        self.index.meta["changes"] = number
        return number

    def flush(self) -> None:
        """Write what was noted: belongs in the transaction, before its end."""
        if self.run is None:
            if not (self._rows or self._boxes or self._made_records()):
                return
            self.run = self._insert(self.verb, None, None, None, {})
        if self._rows:
            self.index.executemany("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)", self._rows)
            self._rows = []
        if self._boxes:
            self.index.executemany("INSERT INTO box_change VALUES (?, ?, ?, ?, ?, ?)", self._boxes)
            self._boxes = []

    def _made_records(self) -> bool:
        if self.index.seq == self._seq:
            return False
        last = self.index.value("SELECT coalesce(max(no), 0) FROM record")
        return bool(last >= self._first_record)

    def _insert(
        self, verb: str, peer: str | None, ended: int | None, status: int | None, counts: Mapping[str, int]
    ) -> int:
        self.index.execute(
            "INSERT INTO run VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.began, ended, verb, peer, status, packb(counts), self._first_change, self._first_record),
        )
        return int(self.index.db.last_insert_rowid())

    def committed(self) -> None:
        """The transaction ended well."""
        self._committed = self.run

    def forget(self) -> None:
        """The transaction was rolled back, with its rows and the numbers that they took."""
        self._rows, self._boxes = [], []
        self.run = self._committed

    def end(self, verb: str, peer: str | None, status: int, counts: Mapping[str, int]) -> None:
        """Note how the run ended; belongs in a transaction, and the next run begins."""
        now = clock.now()
        self.flush()
        if self.run is None:
            self._insert(verb, peer, now, status, counts)
        else:
            self.index.execute(
                "UPDATE run SET ended = ?, verb = ?, peer = ?, status = ?, counts = ? WHERE no = ?",
                (now, verb, peer, status, packb(counts), self.run),
            )


TRIM_ROWS = 50_000
"""Changes that `trim` forgets at once: a transaction of some ten milliseconds."""


def trim(ledger: Ledger, now: int, most: int = TRIM_ROWS) -> int:
    """Forget runs, and changes, that are older or more than `ledger.keeping` says. Durable on return.

    Whole runs are forgotten, the oldest first; of those only that are too many, the run itself is still listed. The
    last run stays, whatever it did. A run that is dated in the past by a clock that was wrong does not take
    younger ones with it.

    Args:
        now: In seconds.
        most: Delete at most so many rows; call it again until it returns 0.

    Returns:
        How many rows of changes were deleted.
    """
    keeping, index = ledger.keeping, ledger.index
    last = index.value("SELECT coalesce(max(no), 0) FROM run")
    kept = "SELECT coalesce(min(no), ?1) FROM run WHERE"
    young = index.value(f"{kept} coalesce(ended, began) >= ?2", (last, now - keeping.history))
    limit = int(index.meta.get("changes", 0)) - keeping.history_changes
    few = index.value(f"{kept} first_change > ?2", (last, limit))
    with index.transaction():
        ledger.execute("DELETE FROM run WHERE no < ?", (young,))
        ledger.execute("UPDATE run SET first_change = NULL WHERE no < ? AND first_change IS NOT NULL", (few,))
        first = ledger.execute("SELECT min(first_change) FROM run WHERE first_change IS NOT NULL").get
        if first is None:
            return 0
        deleted = 0
        for table in ("change", "box_change"):
            low = ledger.execute(f"SELECT min(no) FROM {table}").get
            if low is not None and low < first:
                ledger.execute(f"DELETE FROM {table} WHERE no < ?", (min(first, low + most),))
                deleted += index.db.changes()
        return deleted
