"""The header cache: by what people look for a message, read from the vault when a command first needs it.

    headers.db    in the state directory: Message-ID, From, To, Subject and Date of each content

A cache and nothing else: it is filled by the commands that search, never by a session; made anew where it is damaged, of
another version or of another store; in no backup. Each row carries the beginning of its content's id, so a row of an index
that was replaced since is never believed. Several processes may use it at once, with or without the store's lock.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw

from mailkeep.store.cachefile import CacheFile
from mailkeep.store.index import json_list
from mailkeep.system.parallel import Share, workers
from mailkeep.wire.headers import HEAD_BYTES, Headers, message_key, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    from mailkeep.domain.progress import Watch
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.vault import Vault

    T = TypeVar("T")

NAME = b"headers.db"
VERSION = 1
CHECK_BYTES = 8
"""Of a content id, with each row: enough that no other content has them by accident."""
CHUNK, BATCH = 500, 20_000
"""Contents that a worker reads in one go, and how many are committed together: some 10 MB."""
JOBS_MIN = 4
"""With fewer, starting workers costs more than it saves."""
DOING = "looked into"
"""The word for progress."""
READ_FIRST = 8192
"""Most heads end before; of the others more is read."""
_SCHEMA = (
    "CREATE TABLE header (no INTEGER PRIMARY KEY, content BLOB NOT NULL, message_id TEXT NOT NULL COLLATE NOCASE,"
    " sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL, date INTEGER) STRICT",
    "CREATE INDEX header_message_id ON header (message_id) WHERE message_id != ''",
)
_AMONG = "WHERE no IN (SELECT value FROM json_each(?))"
_COLUMNS = "content, message_id, sender, recipients, subject, date"


class HeaderCache:
    """An open cache of one store. Where it cannot be written, it lives in memory for as long as the command.

    Attributes:
        file: Its file: damaged, of another store or not to be written, it is replaced.
        unreadable: Contents that the last `fill` could not read; they are tried again by the next.
    """

    def __init__(self, state: bytes, ledger: Ledger, vault: Vault) -> None:
        self.ledger, self.vault = ledger, vault
        self.unreadable = 0
        path, store = os.path.join(state, NAME), bytes(ledger.index.meta["store"])
        self.file = CacheFile(path, _SCHEMA, VERSION, store)

    @property
    def db(self) -> apsw.Connection:
        """The connection of the moment."""
        return self.file.db

    def __enter__(self) -> HeaderCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; nothing waits to be written."""
        self.file.close()

    # --- filling

    def fill(self, contents: Iterable[int] | None = None, progress: Watch | None = None) -> int:
        """Read the heads of contents that the vault has and the cache has not; returns how many were read.

        Without `contents`, of all that the vault has; rows of contents that are gone from the index go then.
        """
        if contents is not None:
            contents = list(contents)
        try:
            return self._fill(contents, progress)
        except apsw.Error as err:
            self.file.begin_anew(err)
            return self._fill(contents, progress)

    def _fill(self, contents: list[int] | None, progress: Watch | None) -> int:
        self.unreadable = done = 0
        batches = self._missing() if contents is None else self._lacking(contents)
        if progress is not None:
            kept = "SELECT count(*) FROM content WHERE kept"
            progress.expect(DOING, self.ledger.index.value(kept) if contents is None else len(contents))
        looked = 0
        for seen, wanted, gone in batches:
            rows = self._read(wanted)
            self._write(rows, gone)
            done += len(rows)
            looked += seen
            if progress is not None:
                progress(DOING, looked)
        return done

    def _missing(self) -> Iterator[tuple[int, list[tuple[int, bytes]], list[int]]]:
        """In pages of content numbers: how many contents it has, which are to be read, and which rows are of none."""
        last = 0
        while True:
            page: list[Any] = self.ledger.execute(
                "SELECT no, id, kept FROM content WHERE no > ? ORDER BY no LIMIT ?", (last, BATCH)
            ).fetchall()
            upto: int = page[-1][0] if page else 1 << 62
            have = dict(
                self.db.execute("SELECT no, content FROM header WHERE no > ? AND no <= ?", (last, upto))
            )
            wanted, kept = [], 0
            for no, content_id, is_kept in page:
                known = have.pop(no, None) == content_id[:CHECK_BYTES]
                kept += is_kept
                if is_kept and not known:
                    wanted.append((no, bytes(content_id)))
            yield kept, wanted, list(have)
            if not page:
                return
            last = upto

    def _lacking(self, contents: list[int]) -> Iterator[tuple[int, list[tuple[int, bytes]], list[int]]]:
        """As `_missing`, of these contents alone."""
        numbers = sorted(set(contents))
        for at in range(0, len(numbers), BATCH):
            page, wanted = numbers[at : at + BATCH], []
            text = (json_list(page),)
            have = dict(self.db.execute(f"SELECT no, content FROM header {_AMONG}", text))
            for no, content_id in self.ledger.execute(f"SELECT no, id FROM content {_AMONG} AND kept", text):
                if have.get(no) != content_id[:CHECK_BYTES]:
                    wanted.append((no, bytes(content_id)))
            yield len(page), wanted, []

    def _read(self, wanted: list[tuple[int, bytes]]) -> list[tuple[Any, ...]]:
        jobs = [wanted[at : at + CHUNK] for at in range(0, len(wanted), CHUNK)]
        vault = self.vault

        def work(job: list[tuple[int, bytes]]) -> list[tuple[Any, ...]]:
            return list(_heads(vault, job))

        results: list[list[tuple[Any, ...]] | None] = [None] * len(jobs)
        if len(jobs) >= JOBS_MIN and workers() > 1:
            results = Share(work, jobs, workers()).results()
        # What is small, and the share of a worker that died, is read here.
        results = [work(job) if result is None else result for job, result in zip(jobs, results, strict=True)]
        rows = [row for result in results for row in result or ()]
        self.unreadable += len(wanted) - len(rows)
        return rows

    def _write(self, rows: list[tuple[Any, ...]], gone: list[int]) -> None:
        if not rows and not gone:
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.db.executemany("DELETE FROM header WHERE no = ?", [(no,) for no in gone])
            self.db.executemany("INSERT OR REPLACE INTO header VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    # --- asking

    def get(self, content: int) -> Headers | None:
        """What the head of a content says; None: it was not read yet, or there is no such content."""
        return self.get_many([content]).get(content)

    def get_many(self, contents: Iterable[int]) -> dict[int, Headers]:
        """`get` of many, all of them in memory: of those that were read."""
        rows = self._rows(f"SELECT no, {_COLUMNS} FROM header {_AMONG}", (json_list(contents),))
        return {row[0]: Headers(*row[2:]) for row in self._believed(rows)}

    def by_message_id(self, text: str) -> list[int]:
        """Numbers of the contents whose Message-ID is this one, upper and lower case the same; only what was filled."""
        key = message_key(text)
        if not key:
            return []
        rows = self._rows(
            "SELECT no, content FROM header WHERE message_id = ? AND message_id != '' ORDER BY no", (key,)
        )
        return [no for no, _ in self._believed(rows)]

    def message_ids(self) -> Iterator[tuple[int, str]]:
        """(content, Message-ID) of all that was filled and has one, in the order of contents. Not checked: see `get`."""
        yield from self._rows("SELECT no, message_id FROM header WHERE message_id != '' ORDER BY no")

    def _believed(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Of rows that begin with the number and the check of a content those that are of the content of this number now."""
        numbers = (json_list(row[0] for row in rows),)
        ids: dict[int, bytes] = dict(self.ledger.execute(f"SELECT no, id FROM content {_AMONG}", numbers))
        return [row for row in rows if row[0] in ids and row[1] == ids[row[0]][:CHECK_BYTES]]

    # --- a file that may be damaged at any time

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._attempt(lambda: self.db.execute(sql, values).fetchall())

    def _attempt(self, ask: Callable[[], T]) -> T:
        """Ask; of a cache that proves damaged everything is read again first, so that the answer is no wrong one."""
        try:
            return ask()
        except apsw.Error as err:
            self.file.begin_anew(err)
            self._fill(None, None)
            return ask()


def _heads(vault: Vault, job: list[tuple[int, bytes]]) -> Iterator[tuple[Any, ...]]:
    for no, content_id in job:
        try:
            head = _head(vault, content_id)
        except OSError:
            continue
        yield no, content_id[:CHECK_BYTES], *parse(head).astuple()


def _head(vault: Vault, content_id: bytes) -> bytes:
    """The beginning of an object, as much of it as its header needs, at most HEAD_BYTES."""
    fd = vault.open(content_id)
    try:
        head = os.read(fd, READ_FIRST)
        if len(head) == READ_FIRST and b"\n\n" not in head and b"\n\r\n" not in head:
            while len(head) < HEAD_BYTES and (more := os.read(fd, HEAD_BYTES - len(head))):
                head += more
        return head
    finally:
        os.close(fd)
