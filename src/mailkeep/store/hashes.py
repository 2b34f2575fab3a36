"""What files of foreign trees were hashed to, so that a backup that did not change need not be read again.

    hashes.db    in the state directory: for each directory that was read, its files with what tells that they are unchanged

A file counts as unchanged while its inode, size, mtime and ctime are what they were (ctime: nobody can set it back), and
those were older, when it was hashed, than the clock's granularity can hide. See `mailkeep.store.cachefile`.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import apsw

from mailkeep.store.cachefile import CacheFile

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = b"hashes.db"
VERSION = 1
UNUSED_DAYS = 90
"""A directory that nobody compared with for so long is forgotten."""
DIRECTORIES_MAX = 50_000
"""The directories that were used last; with 64 bytes a file, a store of five million messages has 320 MB of them."""
SETTLED_SECONDS = 10
"""A file that changed so lately is hashed again next time."""
_ROW = struct.Struct("=QQqq32s")
_SCHEMA = (
    "CREATE TABLE directory (dev INTEGER NOT NULL, ino INTEGER NOT NULL, used INTEGER NOT NULL, files BLOB NOT NULL,"
    " PRIMARY KEY (dev, ino)) STRICT, WITHOUT ROWID",
    "CREATE INDEX directory_used ON directory (used)",
)

Known = dict[int, tuple[int, int, int, bytes]]
"""inode -> (size, mtime ns, ctime ns, SHA-256)"""


class HashCache:
    """An open cache of hashes."""

    def __init__(self, state: bytes, store: bytes, now: int) -> None:
        """Open it, and forget what was not used for long.

        Args:
            state: The store's state directory.
            store: The store's id.
            now: Seconds since 1970.
        """
        self.file = CacheFile(os.path.join(state, NAME), _SCHEMA, VERSION, store)
        self.day = now // 86400
        self._try("DELETE FROM directory WHERE used < ? OR used > ?", (self.day - UNUSED_DAYS, self.day + 1))

    def close(self) -> None:
        """Close it."""
        self._try(
            "DELETE FROM directory WHERE (dev, ino) IN"
            " (SELECT dev, ino FROM directory ORDER BY used DESC LIMIT -1 OFFSET ?)",
            (DIRECTORIES_MAX,),
        )
        self.file.close()

    def known(self, directory: os.stat_result) -> Known:
        """What was hashed in a directory."""
        where = (_signed(directory.st_dev), _signed(directory.st_ino))
        row = self._try("SELECT files, used FROM directory WHERE dev = ? AND ino = ?", where)
        if row is None or len(row[0]) % _ROW.size:
            return {}
        if row[1] < self.day:
            self._try("UPDATE directory SET used = ? WHERE dev = ? AND ino = ?", (self.day, *where))
        return {
            ino: (size, mtime, ctime, found) for ino, size, mtime, ctime, found in _ROW.iter_unpack(row[0])
        }

    def note(
        self, directory: os.stat_result, files: Mapping[int, tuple[int, int, int, bytes]], now: int
    ) -> None:
        """Note what the files of a directory are hashed to, and nothing else of it; those too young are left out."""
        before = (now - SETTLED_SECONDS) * 1_000_000_000
        rows = [
            _ROW.pack(ino, size, mtime, ctime, found)
            for ino, (size, mtime, ctime, found) in files.items()
            if mtime < before and ctime < before and mtime > -(1 << 63)
        ]
        self._try(
            "INSERT OR REPLACE INTO directory VALUES (?, ?, ?, ?)",
            (_signed(directory.st_dev), _signed(directory.st_ino), self.day, b"".join(rows)),
        )

    def _try(self, sql: str, values: tuple[int | bytes, ...]) -> tuple[bytes, int] | None:
        try:
            row = self.file.db.execute(sql, values).fetchone()
        except apsw.Error as err:
            self.file.begin_anew(err)
            return None
        return None if row is None else (bytes(row[0]), int(row[1]))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
