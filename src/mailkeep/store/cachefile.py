"""Caches beside the index: SQLite files that may be lost at any time, and that several processes may use at once.

A cache is made anew where it is damaged, of another version or of another store; where its file cannot be used or written, it
lives in memory for as long as the command. None is in a backup, and no session touches one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.SchemaChangeError, apsw.MismatchError)
"""SQLError: a table or column is not what it should be."""


class CacheFile:
    """An open cache.

    Attributes:
        db: Its connection; another one after `begin_anew`.
        path: Of the file, or of where it would be.
        in_memory: The file could not be used, or not be written any more.
    """

    def __init__(self, path: bytes, schema: Sequence[str], version: int, store: bytes) -> None:
        self.path = os.fsdecode(path)
        self.schema, self.version, self.store = schema, version, store
        self.in_memory = False
        try:
            self.db = _connect(self.path)
        except (OSError, apsw.Error):
            self.db, self.in_memory = apsw.Connection(":memory:"), True
        try:
            self._prepare()
        except apsw.Error as err:
            self.begin_anew(err)

    def close(self) -> None:
        """Close it; nothing waits to be written."""
        self.db.close()

    def begin_anew(self, err: apsw.Error) -> None:
        """Empty a damaged file in place, which others may have open; where that cannot be done, go on in memory.

        Raises:
            apsw.Error: The one given, where memory fails too.
        """
        if isinstance(err, _DAMAGE) and not self.in_memory:
            try:
                reset(self.db)
                self._prepare()
                return
            except apsw.Error:
                pass
        if self.in_memory:
            raise err
        self.db.close(True)
        self.db, self.in_memory = apsw.Connection(":memory:"), True
        self._prepare()

    def _prepare(self) -> None:
        """Make the tables, unless they are there and of this version and store; another's are thrown away.

        NORMAL: a crash may cost the last rows, which are read again; it leaves no page half written.
        """
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-8192", "trusted_schema=OFF"):
            self.db.execute("PRAGMA " + pragma)
        if self._is_ours():
            return
        if self.db.pragma("user_version") or self.db.execute("SELECT 1 FROM sqlite_master").fetchone():
            reset(self.db)
            self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            if not self._is_ours():  # another process may just have made them
                for statement in (
                    "CREATE TABLE about (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
                    *self.schema,
                ):
                    self.db.execute(statement)
                self.db.execute("INSERT INTO about VALUES ('store', ?)", (self.store,))
                self.db.execute(f"PRAGMA user_version={self.version}")
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def _is_ours(self) -> bool:
        if self.db.pragma("user_version") != self.version:
            return False
        row = self.db.execute("SELECT value FROM about WHERE key = 'store'").fetchone()
        return row is not None and row[0] == self.store


def _connect(path: str) -> apsw.Connection:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.close(fd)
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
    connection.set_busy_timeout(10_000)
    return connection


def reset(connection: apsw.Connection) -> None:
    """Empty a database, however damaged, for all who have it open (sqlite.org/c3ref/c_dbconfig_defensive.html)."""
    connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
    try:
        connection.execute("VACUUM")
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)
