"""Which messages of a source are not here, and why: removed on purpose, held, never seen, or had by nobody.

A message is here when any mailbox has its content. What a source has under other bytes is the same message when it has the same
Message-ID, and nothing else differs that counts (`Source.key`): an mbox changes line ends and header fields. What is here is only counted; the rest is noted in a temporary database, so that
memory does not grow with the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from mailkeep.domain.errors import DataError
from mailkeep.store.foreign import Item
from mailkeep.wire.mbox import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from typing import Any

    from mailkeep.domain.progress import Watch
    from mailkeep.store.foreign import Source
    from mailkeep.store.headers import HeaderCache
    from mailkeep.store.store import Store

HERE, HELD, DELETED, PURGED, SPARE, MISSING, LACKING, NOBODY = (
    "here", "held", "deleted", "purged", "spare", "missing", "lacking", "nobody",
)  # fmt: skip
STATES = (HERE, HELD, DELETED, PURGED, SPARE, MISSING, LACKING, NOBODY)
"""
| state | of a message of the source |
| --- | --- |
| here | a mailbox here has it |
| held | its deletion was found here and is held: reject puts it back |
| deleted | it was removed here; the vault has it still |
| purged | it was removed here, and its content is gone from the vault |
| spare | no mailbox ever had it, as far as the index goes back, but the vault has it |
| missing | nothing is known of it here; the source has it |
| lacking | it should be here, and only its content is still to come from a peer; the source has it |
| nobody | only its Message-ID is known: neither the source nor the vault has more |
"""
IN_MEMORY_MAX = 1_000_000
"""With more contents than this their ids are asked for one by one."""
PAGE = 2000
_BODIES_MAX = 5000

_TABLE = (
    "CREATE TABLE item (no INTEGER PRIMARY KEY, content BLOB, message_id TEXT NOT NULL, mailbox TEXT NOT NULL,"
    " flags TEXT NOT NULL, date INTEGER, size INTEGER NOT NULL, place BLOB NOT NULL, body BLOB, state TEXT,"
    " known INTEGER, record INTEGER)"
)
_SHOWN = "(live AND hold IS NULL OR NOT live AND hold IS NOT NULL)"
"""Of a record: that its file is in its mailbox, or ought to be."""


class Found:
    """A message of the source that is not here.

    Attributes:
        no: Its number in this comparison.
        state: One of STATES.
        known: Number of its content here, or None.
        record: Of a deleted or held one: the number of the record that was live last, or None.
        item: What the source has of it.
    """

    __slots__ = ("item", "known", "no", "record", "state")

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.no,
            content,
            message_id,
            mailbox,
            flags,
            date,
            size,
            place,
            body,
            self.state,
            self.known,
            self.record,
        ) = row
        self.item = Item(content, message_id, mailbox, flags, date, size, place, body)


class Comparison:
    """One source compared with a store that was scanned, under its lock.

    Attributes:
        total: Messages of the source that were compared.
        counts: How many of each state.
        scoped: Messages of the source that were left out by what a person asked for.
    """

    def __init__(
        self,
        store: Store,
        source: Source,
        cache: Callable[[], HeaderCache],
        *,
        since: int | None = None,
        only: Container[str] | None = None,
        progress: Watch | None = None,
    ) -> None:
        """Prepare.

        Args:
            cache: Opens the store's header cache, if it should be needed.
            since: Only what was delivered from then on; what has no date is compared.
            only: Only these Message-IDs, in lower case.
        """
        self.store, self.source, self.progress = store, source, progress
        self.since, self.only = since, only
        self.total = self.scoped = 0
        self.counts = dict.fromkeys(STATES, 0)
        self._open_cache = cache
        self._cache: HeaderCache | None = None
        self._bodies: dict[int, bytes | None] = {}
        self.db = apsw.Connection("")  # a temporary file that has no name
        self.db.execute("PRAGMA journal_mode=OFF")
        self.db.execute("PRAGMA cache_size=-8192")
        self.db.execute(_TABLE)

    def close(self) -> None:
        """Drop what was noted."""
        self.db.close()

    @property
    def cache(self) -> HeaderCache:
        """The header cache, filled when it is first needed."""
        if self._cache is None:
            self._cache = self._open_cache()
            self._cache.fill(progress=self.progress)
        return self._cache

    def run(self) -> None:
        """Compare."""
        self._collect()
        self._judge()
        self.db.execute("CREATE INDEX item_state ON item (state, content)")

    def found(self, *states: str, order: str = "no") -> Iterator[Found]:
        """What is in these states; `order` is SQL of ours. Do not run anything else on the database meanwhile."""
        marks = ", ".join("?" * len(states))
        rows = self.db.execute(f"SELECT * FROM item WHERE state IN ({marks}) ORDER BY {order}", states)
        for row in rows:
            yield Found(row)

    # --- first, what is plainly here

    def _collect(self) -> None:
        here = self._here()
        rows: list[tuple[Any, ...]] = []
        self.db.execute("BEGIN")
        # With a time that begins, dates are asked for first.
        for item in self.source.items(self._is_known, here if self.since is None else _never, self.progress):
            if isinstance(item, int):
                self.total += item
                self.counts[HERE] += item
                continue
            if self.since is not None and item.date is not None and item.date < self.since:
                self.scoped += 1
                continue
            self.total += 1
            if item.content is not None and here(item.content):
                self.counts[HERE] += 1
                continue
            rows.append(
                (
                    item.content,
                    item.message_id,
                    item.mailbox,
                    item.flags,
                    item.date,
                    item.size,
                    item.place,
                    item.body,
                )
            )
            if len(rows) >= PAGE:
                self._insert(rows)
                rows = []
        self._insert(rows)
        self.db.execute("COMMIT")

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        self.db.executemany("INSERT INTO item VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)", rows)

    def _is_known(self, content_id: bytes) -> bool:
        """Whether the index knows a content id."""
        found = self.store.index.execute("SELECT 1 FROM content WHERE id = ?", (content_id,)).fetchone()
        return found is not None

    def _here(self) -> Callable[[bytes], bool]:
        """Whether a mailbox has a content, and the vault too: what that lacks, the source may have."""
        index = self.store.index
        if index.value("SELECT count(*) FROM content") <= IN_MEMORY_MAX:
            rows = index.execute(
                f"SELECT c.id FROM record r JOIN content c ON c.no = r.content WHERE {_SHOWN} AND c.kept"
            )
            return {content_id for (content_id,) in rows}.__contains__
        sql = (
            "SELECT 1 FROM content c WHERE c.id = ? AND c.kept"
            f" AND EXISTS (SELECT 1 FROM record WHERE content = c.no AND {_SHOWN})"
        )
        return lambda content_id: index.execute(sql, (content_id,)).fetchone() is not None

    # --- then, what became of the rest

    def _judge(self) -> None:
        after = 0
        left = self.db.execute("SELECT count(*) FROM item").get
        done = 0
        if self.progress is not None and left:
            self.progress.expect("looked for", left)
        while True:
            rows: list[Any] = self.db.execute(
                "SELECT * FROM item WHERE no > ? ORDER BY no LIMIT ?", (after, PAGE)
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            judged, out = [], []
            for row in rows:
                found = Found(row)
                self._judge_one(found)
                item = found.item
                if found.state == HERE or (
                    self.only is not None and item.message_id.lower() not in self.only
                ):
                    out.append((found.no,))
                    if found.state == HERE:
                        self.counts[HERE] += 1
                    else:
                        self.scoped += 1
                        self.total -= 1
                else:
                    self.counts[found.state] += 1
                    judged.append(
                        (found.state, found.known, found.record, item.message_id, item.mailbox, found.no)
                    )
            self.db.execute("BEGIN")
            self.db.executemany(
                "UPDATE item SET state = ?, known = ?, record = ?, message_id = ?, mailbox = ? WHERE no = ?",
                judged,
            )
            self.db.executemany("DELETE FROM item WHERE no = ?", out)
            self.db.execute("COMMIT")
            done += len(rows)
            if self.progress is not None:
                self.progress("looked for", done)

    def _judge_one(self, found: Found) -> None:
        item = found.item
        if item.content is None:
            self._best(found, self.cache.by_message_id(item.message_id), NOBODY)
            return
        row: Any = self.store.index.execute("SELECT no FROM content WHERE id = ?", (item.content,)).fetchone()
        body: Callable[[], bytes | None] | None = None
        if not item.message_id:
            head, body = self.source.look(item.place)
            item.message_id = head.message_id
        candidates: list[int] = [] if row is None else [row[0]]
        self._best(found, candidates, MISSING)
        if found.state == MISSING and item.message_id:
            same = [no for no in self.cache.by_message_id(item.message_id) if no not in candidates]
            if same:
                key = item.body if body is None else body()
                same = [no for no in same if key is not None and self._body(no) == key]
            if same:
                self._best(found, same, MISSING)

    def _best(self, found: Found, candidates: list[int], otherwise: str) -> None:
        """The state of the candidate that is nearest to being here."""
        best: tuple[int, str, int | None, int | None] = (len(STATES), otherwise, None, None)
        for no in candidates:
            state, record = self._state(no, otherwise)
            rank = STATES.index(state)
            if rank < best[0]:
                best = (rank, state, no, record)
        _, found.state, found.known, found.record = best

    def _state(self, content: int, otherwise: str) -> tuple[str, int | None]:
        index = self.store.index
        rows: list[Any] = index.execute(
            "SELECT no, live, hold FROM record WHERE content = ? ORDER BY no DESC", (content,)
        ).fetchall()
        kept = bool(index.value("SELECT kept FROM content WHERE no = ?", (content,)))
        shown = [no for no, live, hold in rows if bool(live) == (hold is None)]
        held = [no for no, live, hold in rows if live and hold is not None]
        dead = [no for no, live, hold in rows if not live and hold is None]
        if shown:
            return (HERE, shown[0]) if kept or otherwise == NOBODY else (LACKING, shown[0])
        if held:
            return HELD, held[0]
        if dead:
            last: Any = index.execute(
                "SELECT no FROM record WHERE content = ? AND NOT live ORDER BY gone DESC, no DESC LIMIT 1",
                (content,),
            ).fetchone()
            return (DELETED if kept else PURGED), int(last[0])
        return (SPARE if kept else otherwise), None

    def _body(self, content: int) -> bytes | None:
        """The key of a content of ours; None: the vault cannot give it, or it is too large."""
        if content not in self._bodies:
            if len(self._bodies) >= _BODIES_MAX:
                self._bodies.clear()
            row: Any = self.store.index.execute(
                "SELECT id, size, kept FROM content WHERE no = ?", (content,)
            ).fetchone()
            key = None
            if row is not None and row[2] and row[1] <= MESSAGE_BYTES_MAX:
                try:
                    key = self.source.key(self.store.vault.read(bytes(row[0])))
                except (OSError, DataError):
                    key = None
            self._bodies[content] = key
        return self._bodies[content]


def _never(content_id: bytes) -> bool:
    del content_id
    return False


class Deed:
    """Who removed a message, as far as history goes back.

    Attributes:
        at: When it became a tombstone here, in seconds; None: not known.
        run: Number of the run that noted it; None: history does not go back so far.
        verb, peer: Of that run.
        cause: 'found' (another program removed it), 'merged' (a peer said so), 'asked' (the run's own command), or ''.
        mailbox: From which mailbox.
        keep: Until when its content is kept, in seconds; None: no longer.
    """

    __slots__ = ("at", "cause", "keep", "mailbox", "peer", "run", "verb")

    def __init__(self, store: Store, record: int) -> None:
        index = store.index
        row: Any = index.execute("SELECT mailbox, gone, keep FROM record WHERE no = ?", (record,)).fetchone()
        box = store.ledger.boxes.get(row[0])
        self.mailbox = box.name if box is not None else ""
        self.at: int | None = row[1]
        self.keep: int | None = row[2]
        self.run: int | None = None
        self.verb, self.peer, self.cause = "", "", ""
        change: Any = index.execute(
            "SELECT no, cause FROM change WHERE record = ? AND live ORDER BY no DESC LIMIT 1", (record,)
        ).fetchone()
        if change is None:
            return
        run: Any = index.execute(
            "SELECT no, verb, peer FROM run WHERE first_change <= ? ORDER BY no DESC LIMIT 1", (change[0],)
        ).fetchone()
        self.cause = _CAUSES.get(change[1], "")
        if run is not None:
            self.run, self.verb, self.peer = run[0], run[1], run[2] or ""


_CAUSES = {1: "found", 2: "merged", 3: "asked"}
