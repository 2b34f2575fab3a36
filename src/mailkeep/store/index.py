"""The index: one SQLite file with everything mailkeep knows about a store.

Only this package writes it, under the store's lock, in explicit transactions. `synchronous=FULL`: when
`transaction()` ends, what it wrote survives a power cut. One lamport is drawn for each transaction that
writes registers, inside it: every write of the transaction carries the same stamp.
"""

from __future__ import annotations

import os

import apsw
from msgpack import packb, unpackb

from mailkeep.domain.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Any

    from mailkeep.domain.record import Vector

SCHEMA_VERSION = 2
SQLITE_OLDEST = 3_051_003
"""3.7.0 to 3.51.2 can corrupt a WAL database when one connection commits while another checkpoints
(sqlite.org/wal.html, the WAL-reset bug). apsw from PyPI carries its own, newer library."""
CACHE_KIB = 8192
"""Page cache: enough for the upper levels of each index; memory must not grow with the store."""


class Index:
    """An open index. Not thread-safe.

    Attributes:
        ids: Replica ids by number; ids[0] is a filler, numbers start at 1.
        me: This replica's number.
        vector: {replica number: lamport}, every write taken in.
        lamport: The highest lamport seen or drawn.
        seq: The last change number given.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.db = connection
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.meta: dict[str, Any] = {}
        self.ids: list[bytes] = []
        self.numbers: dict[bytes, int] = {}
        self.vector: Vector = {}
        self.members: set[int] = set()
        self.waived: set[int] = set()
        self.forgotten: set[int] = set()
        self.me = self.lamport = self.seq = self._stamped = 0
        self._depth = 0
        self._kept_meta: dict[str, Any] = {}
        self._kept_vector: Vector = {}
        self.flushers: list[Any] = []
        self.dry = False
        self._load()

    # --- opening

    @classmethod
    def create(cls, path: str, store_id: bytes, replica_id: bytes, **meta: object) -> Index:
        """Make a new index at `path` (or ':memory:'). Durable on return."""
        connection = _connect(path)
        with connection:
            for version in range(SCHEMA_VERSION):
                _step(connection, version)
            connection.execute("INSERT INTO replica VALUES (1, ?, 0, 1, 0, 0)", (replica_id,))
            rows = {
                "store": store_id,
                "me": 1,
                "lamport": 0,
                "seq": 0,
                "floor": 0,
                "generation": 0,
                "validity": 0,
                **meta,
            }
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())
        return cls(connection)

    @classmethod
    def open(cls, path: str, *, doubt: bool = False, migrate: bool = False) -> Index:
        """Open an existing index.

        A file that is empty, cut short or no index at all is refused before anything is written to it; SQLite
        would make a new, empty index of an empty file.

        Args:
            doubt: If the last run did not end cleanly (there is a WAL to be replayed), read every page first. A
                WAL that belongs to another index is replayed like the right one.
            migrate: Bring one of an older schema version up to this one. Belongs under the store's lock.

        Raises:
            StorageError: It is missing, damaged, or of another version.
        """
        _check_head(path)
        opened_last[:] = [path, *(other for other in opened_last[:1] if other != path)]
        try:
            replayed = doubt and _size(path + "-wal") > 0
            connection = _connect(path, apsw.SQLITE_OPEN_READWRITE)
            version = connection.pragma("user_version")
            if migrate and 0 < version < SCHEMA_VERSION:
                version = _migrate(connection, version)
            if version != SCHEMA_VERSION:
                older = version < SCHEMA_VERSION
                raise StorageError(
                    f"the index {path} has schema version {version}; this mailkeep reads version {SCHEMA_VERSION}",
                    hint="the next mailkeep sync brings it up to date"
                    if older
                    else "install the mailkeep version that wrote it, or a newer one",
                )
            if replayed:
                _check_pages(connection, path)
            return cls(connection)
        except (
            apsw.CantOpenError,
            apsw.ReadOnlyError,
            apsw.PermissionsError,
            apsw.IOError,
            apsw.FullError,
        ) as err:
            raise StorageError(
                f"the index {path} cannot be opened: {err}",
                untouched="everything",
                hint="look whether its file system is mounted read-only, full, or not readable by this user",
            ) from err
        except (apsw.Error, *_NONSENSE) as err:
            raise damaged(path, str(err)) from err

    def value(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first column of the one row that a query has."""
        row = self.execute(sql, values).fetchone()
        assert row is not None, "a query that always has a row"
        return row[0]

    def close(self) -> None:
        """Close; the WAL is folded in when this was the last connection."""
        self.db.close()

    def _load(self) -> None:
        self.meta = dict(self.execute("SELECT key, value FROM meta"))
        self.me, self.lamport, self.seq = self.meta["me"], self.meta["lamport"], self.meta["seq"]
        self.ids, self.numbers, self.vector = [b""], {}, {}
        self.members, self.waived, self.forgotten = set(), set(), set()
        for no, rid, seen, member, waived, forgotten in self.execute("SELECT * FROM replica ORDER BY no"):
            assert no == len(self.ids), "replica numbers have no gaps"
            self.ids.append(rid)
            self.numbers[rid] = no
            if seen:
                self.vector[no] = seen
            for value, into in (member, self.members), (waived, self.waived), (forgotten, self.forgotten):
                if value:
                    into.add(no)
        self._kept_vector = dict(self.vector)
        self._kept_meta = dict(self.meta)

    # --- transactions

    def transaction(self) -> Transaction:
        """`with index.transaction():` all or nothing; durable when the block ends without an error."""
        return Transaction(self)

    def stamp(self) -> int:
        """The lamport of this transaction's writes, drawn at its first write."""
        assert self._depth, "writes belong in a transaction"
        if not self._stamped:
            self.lamport += 1
            self._stamped = self.vector[self.me] = self.lamport
        return self._stamped

    @property
    def wrote(self) -> bool:
        """Whether this transaction made a write of its own."""
        return bool(self._stamped)

    def vector_set(self) -> Vector:
        """A copy of the vector without zeros: what compares with another."""
        return {no: lamport for no, lamport in self.vector.items() if lamport}

    def next_seq(self) -> int:
        """A change number: each changed record or mailbox gets one, in order."""
        self.seq += 1
        return self.seq

    def fresh_validity(self, now: int) -> int:
        """A UIDVALIDITY that this store never gave before (RFC 9051 §2.3.1.1: it must only grow)."""
        value: int = max(now, self.meta["validity"] + 1)
        self.meta["validity"] = value
        return value

    def begin_dry(self) -> None:
        """From here on everything is written and nothing kept: one transaction, never committed."""
        self.execute("BEGIN IMMEDIATE")
        self.dry = True

    def _begin(self) -> None:
        if self._depth == 0:
            if not self.dry:
                self.execute("BEGIN IMMEDIATE")
            self._stamped = 0
        self._depth += 1

    def _end(self, failed: bool) -> None:
        self._depth -= 1
        if self._depth:
            return
        if failed:
            if not self.dry:
                self._undo()
            return
        try:
            self._commit()
        except BaseException:
            self._undo()  # a COMMIT that failed (disk full) may leave its transaction open
            raise

    def _undo(self) -> None:
        if self.db.in_transaction:  # SQLite ends it by itself after some errors
            self.execute("ROLLBACK")
        self._load()
        for flusher in self.flushers:
            flusher.forget()

    def _commit(self) -> None:
        for flusher in self.flushers:
            flusher.flush()
        self.meta["me"], self.meta["lamport"], self.meta["seq"] = self.me, self.lamport, self.seq
        changed = [
            (k, v) for k, v in self.meta.items() if k not in self._kept_meta or self._kept_meta[k] != v
        ]
        if changed:
            self.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", changed)
            self._kept_meta = dict(self.meta)
        if self.vector != self._kept_vector:
            self.executemany(
                "UPDATE replica SET seen = ? WHERE no = ?", [(v, no) for no, v in self.vector.items()]
            )
            self._kept_vector = dict(self.vector)
        if not self.dry:
            self.execute("COMMIT")
        for flusher in self.flushers:
            flusher.committed()

    # --- replicas

    def number(self, replica_id: bytes) -> int:
        """The number of a replica; a new one is noted (in a transaction)."""
        no = self.numbers.get(replica_id)
        if no is None:
            no = len(self.ids)
            self.execute("INSERT INTO replica VALUES (?, ?, 0, 0, 0, 0)", (no, replica_id))
            self.ids.append(replica_id)
            self.numbers[replica_id] = no
        return no

    def mark(self, column: str, replicas: Iterable[int]) -> None:
        """Put replicas among the members, the waived or the forgotten."""
        have = {"member": self.members, "waived": self.waived, "forgotten": self.forgotten}[column]
        new = [no for no in replicas if no not in have]
        if new:
            have.update(new)
            self.executemany(f"UPDATE replica SET {column} = 1 WHERE no = ?", [(no,) for no in new])

    def acks(self) -> dict[int, Vector]:
        """What each replica has durably taken in, as far as heard."""
        out: dict[int, Vector] = {}
        for holder, writer, lamport in self.execute("SELECT holder, writer, lamport FROM ack"):
            out.setdefault(holder, {})[writer] = lamport
        return out

    def acknowledge(self, holder: int, vector: Mapping[int, int]) -> None:
        """Note that a replica has durably taken in what `vector` covers."""
        self.executemany(
            "INSERT INTO ack VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET lamport = ?3 WHERE lamport < ?3",
            [(holder, writer, lamport) for writer, lamport in vector.items()],
        )

    def acknowledged(self, holder: int, vector: Mapping[int, int]) -> bool:
        """Whether `acknowledge` with these would change nothing."""
        have = dict(self.execute("SELECT writer, lamport FROM ack WHERE holder = ?", (holder,)))
        return all(have.get(writer, 0) >= lamport for writer, lamport in vector.items())

    def tokens(self, peer: int) -> dict[str, tuple[int, bytes]]:
        """'confirmed' and 'pending' sessions with a replica: (number, random); see rules.identity."""
        row = self.execute("SELECT confirmed, pending FROM token WHERE peer = ?", (peer,)).fetchone()
        out = {}
        for name, blob in zip(("confirmed", "pending"), row or (None, None), strict=True):
            if blob is not None:
                out[name] = (unpackb(blob)[0], unpackb(blob)[1])
        return out or {"confirmed": (0, b"")}

    def set_tokens(
        self,
        peer: int,
        confirmed: tuple[int, bytes] | None,
        pending: tuple[int, bytes] | None,
        seq: int | None = None,
    ) -> None:
        """Note the last session; with `seq`, that the peer has every change of ours up to it."""
        self.execute(
            "INSERT INTO token VALUES (?1, ?2, ?3, coalesce(?4, 0))"
            " ON CONFLICT DO UPDATE SET confirmed = ?2, pending = ?3, seq = coalesce(?4, seq)",
            (peer, *(None if t is None else packb(list(t)) for t in (confirmed, pending)), seq),
        )

    def has_met(self, replica: int) -> bool:
        """Whether this store itself had a session with a replica."""
        return any(
            self.execute(f"SELECT 1 FROM {table} = ? LIMIT 1", (replica,)).fetchone() is not None
            for table in ("token WHERE peer", "peer WHERE replica")
        )

    def known_seq(self, peer: int, vector: Mapping[int, int]) -> int:
        """Up to which change number a peer with this vector certainly has everything; 0: nothing is certain."""
        row = self.execute("SELECT seq FROM token WHERE peer = ?", (peer,)).fetchone()
        if row is None or not row[0]:
            return 0
        have = self.execute("SELECT writer, lamport FROM ack WHERE holder = ?", (peer,))
        return int(row[0]) if all(vector.get(writer, 0) >= lamport for writer, lamport in have) else 0

    def become(self, replica_id: bytes) -> None:
        """Take a new replica id; the one it replaces is waived, and tokens begin anew."""
        old = self.me
        self.me = self.number(replica_id)
        self.mark("member", [self.me])
        self.mark("waived", [old])
        self.vector[self.me] = self.lamport
        self.execute("DELETE FROM token")


class Transaction:
    """Context of one transaction; nested ones join the outermost."""

    __slots__ = ("index",)

    def __init__(self, index: Index) -> None:
        self.index = index

    def __enter__(self) -> Index:
        try:
            self.index._begin()
        except _TROUBLE as err:
            raise _not_written(err) from err
        return self.index

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.index._end(kind is not None)
        except _TROUBLE as err:
            raise _not_written(err) from err
        if isinstance(error, _TROUBLE):
            raise _not_written(error) from error


def _connect(path: str, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) -> apsw.Connection:
    if _sqlite_version() < SQLITE_OLDEST:
        raise StorageError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt an index in WAL mode; mailkeep needs 3.51.3 or newer",
            hint="pip install --upgrade apsw (its wheel carries its own SQLite; a distribution's apsw may not)",
        )
    connection = apsw.Connection(path, flags=flags)
    connection.set_busy_timeout(10_000)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"cache_size=-{CACHE_KIB}",
        "temp_store=FILE",
        "wal_autocheckpoint=4000",
        "trusted_schema=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _sqlite_version() -> int:
    major, minor, patch = map(int, apsw.sqlite_lib_version().split("."))
    return major * 1_000_000 + minor * 1000 + patch


STEPS = ("01-first", "02-history")
"""Each brings an index from the schema version before it to its own."""


def _step(connection: apsw.Connection, version: int) -> None:
    """Bring an index from a schema version to the next; belongs in a transaction."""
    from importlib.resources import files

    text = (files("mailkeep.store") / "schema" / f"{STEPS[version]}.sql").read_text()
    lines = [line.split("--")[0].rstrip() for line in text.splitlines()]
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={version + 1}")


def _migrate(connection: apsw.Connection, version: int) -> int:
    """Bring an older index up to date, all or nothing. Durable on return."""
    with connection:
        for step in range(version, SCHEMA_VERSION):
            _step(connection, step)
    return SCHEMA_VERSION


_TROUBLE = (
    *(apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.NoMemError),
    *(apsw.CorruptError, apsw.NotADBError, apsw.BusyError, apsw.LockedError, apsw.PermissionsError),
)
"""What the machine does to us; any other error of SQLite is a bug of ours and shown as one."""


def _not_written(err: Exception) -> StorageError:
    hint = (
        "free some space"
        if isinstance(err, apsw.FullError)
        else "look at the disk and at the state directory (dmesg, df, mount)"
    )
    return StorageError(
        f"the index could not be written: {err}",
        untouched="everything that was acknowledged before; no mail was removed",
        hint=f"{hint}, then run the same command again: it goes on where it stopped",
    )


_NONSENSE = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a row raises that nobody wrote. In sound rows it is a bug of ours."""

opened_last: list[str] = []
"""Paths of the indexes that this process opened last, at most two, for `explain`."""

HEAD_BYTES = 100
"""Of an SQLite database (sqlite.org/fileformat.html, the database header)."""


def damaged(path: str, why: str) -> StorageError:
    """The error for an index that cannot be relied on, for the caller to raise."""
    return StorageError(
        f"the index {path} is damaged: {why}",
        untouched="no mail was touched; contents are in the vault beside it",
        hint="mailkeep rebuild puts the newest good backup in its place, or makes a new index from Maildir and vault;"
        " mailkeep rebuild --dry-run says which",
    )


def json_list(numbers: Iterable[int]) -> str:
    """Numbers as `json_each(?)` reads them: so many in one statement as one likes."""
    return f"[{','.join(map(str, numbers))}]"


def explain(err: BaseException) -> StorageError | None:
    """The damage of the index behind an error that came up while working with it; None: the index is sound.

    A flipped bit shows anywhere: as SQLite's error, or as nonsense in a row. So the index is read through.
    """
    if not opened_last or isinstance(err, StorageError):
        return None
    if not isinstance(err, (apsw.Error, *_NONSENSE)):
        return None
    for path in opened_last:
        why = unsound(path)
        if why:
            return damaged(path, why)
    if isinstance(err, apsw.CorruptError | apsw.NotADBError):
        return damaged(opened_last[0], str(err))
    return None


def unsound(path: str) -> str:
    """Read all of an index that nobody writes meanwhile: what is wrong with it, or ''. Nothing is written.

    SQLite's own check of its structure, then every row that a run decodes. Not whether it fits the Maildir.
    """
    from mailkeep.domain.annotation import is_key, is_text
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import COLUMNS, Record
    from mailkeep.wire.layouts import Layout

    try:
        _check_head(path)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # what is there stays as it is
    except StorageError as err:
        return err.what.partition(" is damaged: ")[2] or err.what
    except apsw.Error as err:
        return str(err)
    try:
        for (said,) in connection.execute("PRAGMA integrity_check(1)"):
            if said != "ok":
                return str(said).replace("\n", " ")
        version = connection.pragma("user_version")
        if not 0 < version <= SCHEMA_VERSION:
            return f"its schema version is {version}, not {SCHEMA_VERSION}"
        connection.execute("BEGIN")  # never committed: an older one is looked at as it would become
        for step in range(version, SCHEMA_VERSION):
            _step(connection, step)
        index = Index(connection)
        for key, kind in _MUST_HAVE.items():
            if not isinstance(index.meta.get(key), kind):
                return f"its value {key} is missing, or of a wrong kind"
        Layout.parse(index.meta["layout"])
        if len(index.meta["store"]) != 16 or not 0 < index.me < len(index.ids):
            return "its ids are none"
        ledger = Ledger(index)
        for box in ledger.boxes.values():
            if box.regs["(name)"].value != box.name or len(box.id) != 16:
                return f"the row of the mailbox number {box.no} is none"
        for box in ledger.rows():
            if not all(is_key(key) and is_text(text) for key, text in box.annotations.items()):
                return f"the row of the mailbox number {box.no} has annotations that are none"
        known = len(index.ids)
        for row in connection.execute(f"SELECT {COLUMNS} FROM record"):
            record = Record(row)
            if not all(r.writer < known and r.replica < known for r in record.regs.values()):
                return f"the row of the message number {record.no} names a replica that is not there"
        for no, content_id, size in connection.execute("SELECT no, id, size FROM content"):
            if len(content_id) != 32 or size < 0:
                return f"the row of the content number {no} is none"
        return ""
    except (apsw.Error, *_NONSENSE) as err:
        return f"{type(err).__name__}: {err}"
    finally:
        connection.close()


_MUST_HAVE: dict[str, type] = {
    "store": bytes, "me": int, "lamport": int, "seq": int, "floor": int, "generation": int, "validity": int,
    "layout": str, "vault": str, "granularity": int,
}  # fmt: skip


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _check_head(path: str) -> None:
    """Refuse what is no index before SQLite opens it."""
    if path == ":memory:":
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # opening it says why
    try:
        size, head = os.fstat(fd).st_size, os.pread(fd, HEAD_BYTES, 0)
    finally:
        os.close(fd)
    if not size:
        raise damaged(path, "it is empty")
    if len(head) < HEAD_BYTES or head[:16] != b"SQLite format 3\0":
        raise damaged(path, "it is no database: its first bytes are others")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    # The number of pages counts only where the two change counters agree; and while a WAL is there, pages may
    # still be in it.
    if head[24:28] == head[92:96] and not _size(path + "-wal"):
        pages = int.from_bytes(head[28:32], "big")
        if size < pages * page:
            raise damaged(path, f"it is cut short: {size:,} of {pages * page:,} bytes are there")


def _check_pages(connection: apsw.Connection, path: str) -> None:
    said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    if said != ["ok"]:
        raise damaged(path, said[0].replace("\n", " "))
