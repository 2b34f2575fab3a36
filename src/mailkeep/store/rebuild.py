"""A new index in place of one that is lost: from the newest good backup, else from Maildir and vault.

`examine` only reads, and says what would be done; `Rebuild` does it, under the store's lock. What lay there
goes aside, never away. Cut off anywhere, there is either no index (and every run says so) or the new one.

From a backup: the store went back in time. It takes a new replica id, absences are not believed until a
scan was sure of everything, and messages that the backup has and the Maildir has not are put back, or held
when they are many: they may have been removed since.

From Maildir and vault: everything is found anew, and weak, so any write that a peer knows of wins. Contents
that lie in the vault and in no mailbox were removed, most likely; when a peer brings many of them, they are
held as if a scan had found them missing. UIDs are new (RFC 9051 §2.3.1.1: so is UIDVALIDITY); what was
held, approved or never told to a peer is forgotten.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw
from msgpack import packb, unpackb

from mailkeep.domain.errors import EXIT_DONE, DataError, NoInput, printable
from mailkeep.store import backup as backups
from mailkeep.store import marker
from mailkeep.store.aside import Aside
from mailkeep.store.gate import INDEX, LOCK, missing_root
from mailkeep.store.index import Index, unsound
from mailkeep.store.store import Store, refuse_mail_tree
from mailkeep.store.vault import COPY, hash_of, probe
from mailkeep.system import clock, fs
from mailkeep.system.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.rules.guard import Limits
    from mailkeep.store.backup import Backup
    from mailkeep.store.findings import Report
    from mailkeep.wire.layouts import Layout

BATCH = 5000
NEW = INDEX + b".new"
BESIDE = (b"", b"-wal", b"-shm", b"-journal")
"""The database and what SQLite keeps beside it: they go aside together, or an old WAL would be replayed into the new one."""


class Salvage:
    """What can still be read of an index, damaged or not."""

    __slots__ = ("generation", "lamport", "layout", "replica", "store", "validity")

    def __init__(
        self, store: bytes, replica: bytes, generation: int, lamport: int, validity: int, layout: str
    ) -> None:
        self.store, self.replica, self.layout = store, replica, layout
        self.generation, self.lamport, self.validity = generation, lamport, validity


class Examined:
    """The state of a store, and what a rebuild would do about it.

    Attributes:
        index: What is wrong with the index: 'gone', or what its check says; '' when it is sound.
        marked: (store id, generation) of the Maildir's marker, or None.
        backup: The backup that is to be put in its place, or None: from Maildir and vault.
        refused: Backups that are not used, with the reason.
        salvaged: What could be read of the index and of backups that belong to this store.
    """

    __slots__ = ("backup", "index", "marked", "refused", "root", "salvaged", "state")

    def __init__(self, root: bytes, state: bytes) -> None:
        self.root, self.state = root, state
        self.index = ""
        self.marked: tuple[bytes, int] | None = None
        self.backup: Backup | None = None
        self.refused: list[tuple[str, str]] = []
        self.salvaged: list[Salvage] = []

    @property
    def store(self) -> bytes | None:
        """Whose the Maildir is: what its marker says, else what the newest index or backup says."""
        if self.marked is not None:
            return self.marked[0]
        return self.salvaged[0].store if self.salvaged else None


def examine(root: bytes, state: bytes, *, source: bytes | None = None, from_mail: bool = False) -> Examined:
    """Look at index, marker and backups. Nothing is written; the caller holds the store's lock, or only looks.

    Args:
        source: This file is the backup to be used.
        from_mail: No backup is to be used.

    Raises:
        NoInput: There is no such Maildir, or no such file.
        DataError: `source` is damaged or another store's, or the marker cannot be read.
    """
    if not os.path.isdir(root):
        raise missing_root(root)
    out = Examined(root, state)
    fd = fs.open_directory(root)
    try:
        out.marked = marker.read(fd, root)
    finally:
        os.close(fd)
    path = os.path.join(state, INDEX)
    out.index = unsound(os.fsdecode(path)) if os.path.exists(path) else "gone"
    found = salvage(path)
    have = backups.backups(state)
    if found is not None:
        if out.marked is None or found.store == out.marked[0]:
            out.salvaged.append(found)
        elif not out.index:
            out.index = "another store's"
    for one in have:
        known = salvage(one.path)
        if known is not None and (out.store is None or known.store == out.store):
            out.salvaged.append(known)
        elif known is not None:
            out.refused.append((printable(one.path), "it is another store's"))
            continue
        if out.backup is None and not from_mail and source is None:
            fault = one.fault()
            if fault:
                out.refused.append((printable(one.path), fault))
            else:
                out.backup = one
    if source is not None:
        out.backup = _chosen(source, out)
    return out


def _chosen(source: bytes, out: Examined) -> Backup:
    """A backup that a person names, wherever it is and whatever it is called."""
    try:
        size = os.stat(source).st_size
        digest = backups._digest(source)
    except OSError as err:
        raise NoInput(
            f"{printable(source)} cannot be read: {os.strerror(err.errno or 5)}",
            untouched="anything",
            hint="mailkeep backup --list shows the backups of this store",
        ) from err
    known, fault = salvage(source), unsound(os.fsdecode(source))
    if known is None or fault:
        raise DataError(
            f"{printable(source)} is no sound index: {fault or 'it cannot be read'}",
            untouched="anything",
            hint="mailkeep backup --list --check shows which backups are whole",
        )
    if out.store is not None and known.store != out.store:
        raise DataError(
            f"{printable(source)} is the index of another store",
            untouched="anything",
            hint="mailkeep backup --list shows the backups of this store",
        )
    out.salvaged.append(known)
    return backups.Backup(source, clock.now(), known.generation, digest, size)


def salvage(path: bytes) -> Salvage | None:
    """What an index says of itself, if as much as that can be read of it. Nothing is written."""
    if not os.path.exists(path):
        return None
    try:
        db = apsw.Connection(os.fsdecode(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return None
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        meta = dict(db.execute("SELECT key, value FROM meta"))
        replica = db.execute("SELECT id FROM replica WHERE no = ?", (meta["me"],)).get
        if not (type(meta["store"]) is bytes and len(meta["store"]) == 16 and len(replica) == 8):
            return None
        generation, lamport, validity = (meta[key] for key in ("generation", "lamport", "validity"))
        if not all(type(n) is int and 0 <= n < 1 << 52 for n in (generation, lamport, validity)):
            return None
        return Salvage(meta["store"], bytes(replica), generation, lamport, validity, str(meta["layout"]))
    except (apsw.Error, KeyError, TypeError, ValueError):
        return None
    finally:
        db.close()


class Rebuild:
    """One rebuild, under the store's lock from the start.

    Attributes:
        found: What was found beforehand.
        aside: What was displaced.
        report: The scan's, afterwards.
        spare: Contents that are in the vault and in no mailbox, afterwards.
        recovered: Messages that were made of these, as asked.
    """

    def __init__(
        self,
        root: bytes,
        state: bytes,
        limits: Limits | None,
        layout: Callable[[], Layout],
        *,
        source: bytes | None = None,
        from_mail: bool = False,
        force: bool = False,
        wait_seconds: float = 0,
    ) -> None:
        """Take the lock and look.

        Args:
            layout: Looks at the tree, when no index or backup says how mailboxes lie in it.
            force: Though the index is sound, or the Maildir has lost its marker.

        Raises:
            StoreBusy: Another run has the store.
            UsageError: The state directory would lie inside a mail tree.
            MailkeepError: As for `examine`.
        """
        self.root, self.state, self.limits, self.layout, self.force = root, state, limits, layout, force
        refuse_mail_tree(state)
        try:
            os.makedirs(state, 0o700, exist_ok=True)
            os.makedirs(os.path.join(state, b"objects"), 0o700, exist_ok=True)
            self.lock = Lock(os.path.join(state, LOCK))
            self.lock.acquire(wait_seconds)
        except OSError as err:
            raise fs.explain(err, "the state directory cannot be used") from err
        self.aside = Aside(state)
        self.report: Report | None = None
        self.spare = self.recovered = 0
        self.damaged_objects: list[str] = []
        self.progress: Watch | None = None
        try:
            self.found = examine(root, state, source=source, from_mail=from_mail)
            self._refuse()
        except BaseException:
            self.lock.release()
            raise

    def _refuse(self) -> None:
        if self.found.marked is None and not self.force:
            raise NoInput(
                f"{printable(self.root)} has no marker: it may be the wrong directory, or an empty mount point",
                untouched="anything",
                hint="mount or name the right Maildir; if it is the right one: mailkeep rebuild --force",
            )

    @property
    def needed(self) -> bool:
        """Whether there is anything to be done."""
        return bool(self.found.index) or self.force

    def run(self, recover: str | None = None) -> Store:
        """Do it. Durable on return.

        Args:
            recover: Make messages in the mailbox of this name of the contents that no mailbox has.

        Returns:
            The store, open; its `close` gives the lock back.
        """
        try:
            store = self._from_backup() if self.found.backup is not None else self._from_mail()
        except OSError as err:
            self.lock.release()
            raise fs.explain(err, "the index could not be rebuilt") from err
        except BaseException:
            self.lock.release()
            raise
        try:
            store.progress = self.progress
            self.report = store.scan()
            if self.found.backup is None:
                self._take_spares(store)
            store.bump()
            self.recover(store, recover)
            store.end_run(
                "rebuild", None, EXIT_DONE, {"added": self.report.added, "put_back": self.report.put_back}
            )
        except BaseException:
            store.close()
            raise
        return store

    # --- the index

    def _put_aside(self) -> None:
        stamp = clock.utc(clock.now()).encode()
        fd = fs.open_directory(self.state)
        try:
            for suffix in BESIDE:
                try:
                    self.aside.take(INDEX + suffix, b"%b.%b%b" % (stamp, INDEX, suffix), fd)
                except FileNotFoundError:
                    continue
            self.aside.close()
            fs.fsync(fd)
        finally:
            os.close(fd)

    def _put_in_place(self) -> None:
        fs.rename(os.path.join(self.state, NEW), os.path.join(self.state, INDEX))
        fs.fsync_path(self.state)

    def _clear(self) -> bytes:
        path = os.path.join(self.state, NEW)
        backups._remove(path)
        return path

    def _from_backup(self) -> Store:
        assert self.found.backup is not None
        path = self._clear()
        backups.restore(self.found.backup, path)
        self._put_aside()
        self._put_in_place()
        return Store.restored(self.root, self.state, self.lock, self.limits, self._generation())

    def _generation(self) -> int:
        known = [s.generation for s in self.found.salvaged]
        if self.found.marked is not None:
            known.append(self.found.marked[1])
        return max(known, default=0)

    def _from_mail(self) -> Store:
        path = self._clear()
        salvaged = self.found.salvaged
        root_fd = fs.open_directory(self.root)
        try:
            same = os.stat(self.state).st_dev == os.fstat(root_fd).st_dev
            mode = probe(self.state, root_fd) if same else COPY
            layout = salvaged[0].layout if salvaged else str(self.layout())
            index = Index.create(
                os.fsdecode(path), self.found.store or clock.random_bytes(16), clock.random_bytes(8),
                layout=layout, vault=mode, granularity=fs.measure_granularity(self.state), root_path=self.root,
                generation=self._generation() + 1, marker_pending=1, rebuilt=1,
                validity=max((s.validity for s in salvaged), default=0),
            )  # fmt: skip
            try:
                with index.transaction():
                    index.lamport = max((s.lamport for s in salvaged), default=0)
                    replaced = {s.replica for s in salvaged} - {index.ids[index.me]}
                    index.mark("waived", [index.number(rid) for rid in sorted(replaced)])
                    index.meta["floor"] = index.fresh_validity(clock.now())
                    note_spares(index, self.state, unlinked=True)
            finally:
                index.close()
            self._put_aside()
            self._put_in_place()
            index = Index.open(os.fsdecode(os.path.join(self.state, INDEX)))
            marker.write(root_fd, index.meta["store"], index.meta["generation"])
        finally:
            os.close(root_fd)
        return Store(self.root, self.state, self.lock, index, self.limits_or_default())

    def limits_or_default(self) -> Limits:
        """The guard's limits."""
        from mailkeep.rules.guard import Limits

        return self.limits or Limits()

    # --- contents that no mailbox has

    def _take_spares(self, store: Store) -> None:
        """Read what the vault has and no mailbox: only what is whole counts as kept; the rest goes aside."""
        index = store.index
        with index.transaction():
            note_spares(index, self.state, unlinked=False)
        after, vault = 0, store.vault
        while True:
            rows = list(
                index.execute(
                    "SELECT no, id FROM content WHERE no > ? AND NOT kept ORDER BY no LIMIT ?", (after, BATCH)
                )
            )
            if not rows:
                break
            after = rows[-1][0]
            kept: list[tuple[int, int]] = []
            for no, content_id in rows:
                path = vault.path(content_id)
                try:
                    fd = os.open(path, fs.O_READ)
                except OSError:
                    continue
                try:
                    if hash_of(fd) == content_id:
                        kept.append((os.fstat(fd).st_size, no))
                        continue
                except OSError:
                    pass
                finally:
                    os.close(fd)
                self.damaged_objects.append(content_id.hex())
                self.aside.take(path, b"object." + content_id.hex().encode(), fs.AT_FDCWD)
            vault.syncer.sync()
            with index.transaction():
                index.executemany("UPDATE content SET kept = 1, size = ? WHERE no = ?", kept)
        self.aside.close()
        self.spare = sum(1 for _ in spares(index))

    def recover(self, store: Store, name: str | None) -> None:
        """Make messages of contents that no mailbox has, in the mailbox `name`; none without a name."""
        if name is None:
            return
        from mailkeep.domain.names import MailboxName

        name = str(MailboxName.parse(name))
        rows = list(spares(store.index))
        with store.index.transaction():
            box = store.ledger.named(name)
            if rows and box is None:
                box = store.ledger.create(name, clock.now())
            for no, content_id in rows:
                assert box is not None
                try:
                    date = int(os.stat(store.vault.path(content_id)).st_mtime)
                except OSError:
                    continue
                record = store.ledger.add(box, no, content_id, frozenset(), date)
                record.todo = 1
                store.ledger.set_file(record)
                self.recovered += 1
        self.spare -= self.recovered
        if self.recovered:
            store.apply()


def note_spares(index: Index, state: bytes, *, unlinked: bool) -> None:
    """Enter contents that the vault has and the index does not know, in a transaction, not yet as kept.

    Args:
        unlinked: Only those of which no other name exists: no message shares their bytes.
    """
    first = index.value("SELECT coalesce(max(no), 0) FROM content") + 1
    number = first
    for content_id, size in _objects(state, unlinked=unlinked):
        if index.execute("SELECT 1 FROM content WHERE id = ?", (content_id,)).fetchone() is None:
            index.execute("INSERT INTO content VALUES (?, ?, ?, 0, NULL)", (number, content_id, size))
            number += 1
    if number > first:
        index.meta["spare"] = packb([*_ranges(index), [first, number - 1]])


def _objects(state: bytes, *, unlinked: bool) -> Iterator[tuple[bytes, int]]:
    root = os.path.join(state, b"objects")
    for directory in sorted(os.listdir(root)):
        path = os.path.join(root, directory)
        if len(directory) != 2 or not os.path.isdir(path):
            continue
        for name in sorted(os.listdir(path)):
            try:
                content_id = bytes.fromhex(name.decode())
                st = os.lstat(os.path.join(path, name))
            except (ValueError, OSError):
                continue
            if len(content_id) == 32 and fs.is_regular(st) and (st.st_nlink == 1 or not unlinked):
                yield content_id, st.st_size


def _ranges(index: Index) -> list[list[int]]:
    blob = index.meta.get("spare")
    return unpackb(blob) if blob else []


def spares(index: Index) -> Iterator[tuple[int, bytes]]:
    """(number, id) of the contents that a rebuild found in the vault, that are whole, and that no record has."""
    for first, last in _ranges(index):
        yield from index.execute(
            "SELECT no, id FROM content WHERE no BETWEEN ? AND ? AND kept"
            " AND NOT EXISTS (SELECT 1 FROM record WHERE record.content = content.no)",
            (first, last),
        )
