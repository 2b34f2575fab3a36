"""Mending what `mailkeep.store.verify` found. Nothing is deleted: what is displaced goes to `damaged/`.

    object damaged or missing   from a file of the Maildir that has the right bytes; else marked as lacking, and
                                the next session asks the peers
    file damaged                from the vault, or from a peer once that has sent it: only if it is damage, below
    file missing                put back from the vault, if its directory did not change since it was seen there
    row without a file          its file is put in place
    file of a tombstone         forgotten, so that the next scan takes it in as mail
    counts, digests, UIDNEXT    counted anew; of several messages with one UID the later ones get new ones
    SQLite's own indexes        made anew, when nothing but them is wrong

Is a file whose bytes are not those that were indexed damaged, or did somebody edit it? Whoever writes to a
file moves its ctime, which no program can set. So it is damage when inode, size, mtime *and* ctime are those
of the time when it was hashed; anything else is left to the scan, which takes it in as another message and
keeps the old one in the vault.

Each step is made sure of again before it is done, and undone by nothing: cut off anywhere, the next repair,
or the journal, goes on. No file leaves the Maildir before the index says that it is to be replaced.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgpack import unpackb

from mailkeep.domain.errors import printable
from mailkeep.store.aside import Aside
from mailkeep.store.maildir import SUBS
from mailkeep.store.rows import NO_FILE, REPLACE
from mailkeep.store.vault import hash_of
from mailkeep.system import fs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.rows import Record
    from mailkeep.store.store import Store
    from mailkeep.store.verify import Verification

BATCH = 1000


class Repair:
    """One repair of an open store.

    Attributes:
        healed: (kind, where, what) of what is mended, or will be once a peer has sent a content.
        left: Likewise of what is not, with the reason.
        aside: What was displaced.
        asked: Contents that the next session asks the peers for.
    """

    def __init__(self, store: Store, found: Verification) -> None:
        self.store, self.found = store, found
        self.ledger, self.index, self.maildir, self.vault = (
            store.ledger,
            store.index,
            store.maildir,
            store.vault,
        )
        self.healed: list[tuple[str, str, str]] = []
        self.left: list[tuple[str, str, str]] = []
        self.aside = Aside(store.state)
        self.asked = 0

    def run(self) -> None:
        """Mend. Durable on return."""
        os.makedirs(self.vault.root, 0o700, exist_ok=True)
        self._contents()
        with self.index.transaction():
            self._files()
            self._rows()
            self._counts()
        self.aside.close()
        if self.healed or self.asked:
            self.store.bump()
        report = self.store.apply()
        self.left += [("file", where, why) for where, why in report.problems]
        with self.index.transaction():
            self.ledger.note_lacking()

    # --- contents

    def _contents(self) -> None:
        lacking = [
            bytes(row[0])
            for row in self.index.execute(
                "SELECT DISTINCT c.id FROM content c JOIN record r ON r.content = c.no WHERE r.live AND NOT c.kept"
            )
        ]
        wanted = list(dict.fromkeys([*self.found.bad_contents, *lacking]))
        for start in range(0, len(wanted), BATCH):
            kept: list[tuple[int, int | None, int]] = []
            for content_id in wanted[start : start + BATCH]:
                self._content(content_id, kept)
            self.vault.syncer.sync()
            with self.index.transaction():
                self.index.executemany("UPDATE content SET kept = 1, size = ?, ino = ? WHERE no = ?", kept)

    def _content(self, content_id: bytes, kept: list[tuple[int, int | None, int]]) -> None:
        """Make sure that the vault has a content: as it is, from a file, or not at all."""
        row = self.index.execute("SELECT no, size, kept FROM content WHERE id = ?", (content_id,)).fetchone()
        if row is None:
            return
        no, size, was_kept = row
        name, path = content_id.hex(), self.vault.path(content_id)
        st = _whole(path, None, content_id)
        if st is not None:
            if not was_kept:
                kept.append((st.st_size, st.st_ino, no))
                self.healed.append(("content", name, "the vault has it after all"))
            return
        there = self.vault.stat(content_id)
        records = list(self.ledger.records("content = ? AND sub != 0", (no,)))
        for record in records:
            source = self._adopt(record, content_id, size)
            if source is not None:
                kept.append((*source, no))
                self.healed.append(("content", name, f"put back into the vault from {self._where(record)}"))
                return
        there = self.vault.stat(content_id)
        if there is not None:
            edited = [r for r in records if there.st_ino == r.ino and not self._is_untouched(r, size)]
            if edited:
                self.left.append(
                    (
                        "content",
                        name,
                        f"{self._where(edited[0])} was written to, and shares its bytes: the next scan sees to it",
                    )
                )
                return
        with (
            self.index.transaction()
        ):  # first: the scan must not take what is damaged for what somebody wrote
            self._ask_for(no)
        if there is not None:
            self._displace(path, name, there, records)
        if was_kept or there is not None:
            live = any(True for _ in self.ledger.records("content = ? AND live LIMIT 1", (no,)))
            if live:
                self.healed.append(
                    ("content", name, "no file here has it: the next session asks the peers for it")
                )
            else:
                self.left.append(
                    ("content", name, "is lost: no file has it, and no message that a peer would send it for")
                )

    def _displace(self, path: bytes, name: str, there: os.stat_result, records: list[Record]) -> None:
        """Put a damaged object aside. Its files are one with it, perhaps: then their ctime moves as well."""
        where = self.aside.take(path, b"object." + name.encode(), fs.AT_FDCWD)
        now = fs.bounded(os.lstat(where).st_ctime_ns)
        with self.index.transaction():
            self.index.executemany(
                "UPDATE record SET ctime = ? WHERE no = ?",
                [(now, record.no) for record in records if record.ino == there.st_ino],
            )

    def _adopt(self, record: Record, content_id: bytes, size: int) -> tuple[int, int | None] | None:
        """Take a file that has the content into the vault: (size, inode of the object where they are one file)."""
        box = self.ledger.boxes[record.mailbox]
        if box.dir is None or record.base is None:
            return None
        name = record.base + (record.info or b"")
        try:
            directory = self.maildir.open(box.dir, SUBS[record.sub])
            fd = os.open(name, fs.O_READ, dir_fd=directory)
        except OSError:
            return None
        try:
            st = os.fstat(fd)
            if not fs.is_regular(st) or st.st_size != size or hash_of(fd) != content_id:
                return None
            if self.vault.stat(content_id) is not None:
                label = b"object." + content_id.hex().encode()
                self.aside.take(self.vault.path(content_id), label, fs.AT_FDCWD)
            linked = self.vault.adopt(content_id, fd, name, directory, st, kept=False)
            if linked is not None:  # its ctime has moved
                with self.index.transaction():
                    self.index.execute("UPDATE record SET ctime = NULL WHERE no = ?", (record.no,))
            return st.st_size, None if linked is None else linked.st_ino
        except OSError:
            return None
        finally:
            os.close(fd)

    def _ask_for(self, no: int) -> None:
        """Note that the vault lacks a content, and mark its messages so that the next session asks for it."""
        self.index.execute("UPDATE content SET kept = 0, ino = NULL WHERE no = ?", (no,))
        asked = False
        for record in list(self.ledger.records("content = ? AND live", (no,))):
            asked = True
            todo = REPLACE if record.sub != NO_FILE else 1
            if record.todo != todo and record.hold is None:
                record.todo = todo
                self.ledger.set_file(record)
        self.asked += asked

    # --- files

    def _where(self, record: Record) -> str:
        box = self.ledger.boxes[record.mailbox]
        name = (record.base or b"") + (record.info or b"")
        return printable(os.path.join(box.dir or b"", SUBS[record.sub], name))

    def _stat(self, record: Record) -> os.stat_result | None:
        box = self.ledger.boxes[record.mailbox]
        if box.dir is None or record.base is None:
            return None
        try:
            directory = self.maildir.open(box.dir, SUBS[record.sub])
            return os.stat(record.base + (record.info or b""), dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None

    def _is_untouched(self, record: Record, size: int) -> bool:
        """Whether nobody wrote to a record's file since it was hashed: even its ctime is what it was."""
        st = self._stat(record)
        return (
            st is not None
            and record.ctime is not None
            and (st.st_ino, st.st_size) == (record.ino, size)
            and (fs.bounded(st.st_mtime_ns), fs.bounded(st.st_ctime_ns)) == (record.mtime, record.ctime)
        )

    def _files(self) -> None:
        for record in self._records(self.found.bad_files):
            content_id = self.ledger.content_id(record.content)
            size = self.index.value("SELECT size FROM content WHERE no = ?", (record.content,))
            if not record.live or record.sub == NO_FILE or record.hold is not None or record.todo:
                continue
            if not self._is_untouched(record, size):
                self.left.append(
                    (
                        "file",
                        self._where(record),
                        "has other bytes than were indexed, and its times do not show that nobody wrote to it; if you did not:"
                        f" the vault has the message as {content_id.hex()}",
                    )
                )
                continue
            record.todo = REPLACE
            self.ledger.set_file(record)
            self.healed.append(
                ("file", self._where(record), "was damaged, and is replaced by what the vault has")
            )
        for record in self._records(self.found.missing_files):
            box = self.ledger.boxes[record.mailbox]
            if record.sub == NO_FILE or not record.live or record.hold is not None or box.dir is None:
                continue
            try:
                stamps = list(self.maildir.stamps(box.dir))
            except OSError:
                continue
            if self._stat(record) is not None or not box.stamps or unpackb(box.stamps) != stamps:
                continue
            self.healed.append(("file", self._where(record), "was missing, and is put back from the vault"))
            record.sub, record.base, record.info, record.ino, record.todo = NO_FILE, None, None, None, 1
            self.ledger.set_file(record)

    def _records(self, numbers: list[int]) -> Iterator[Record]:
        for no in numbers:
            yield from list(self.ledger.records("no = ?", (no,)))

    def _rows(self) -> None:
        for no in self.found.homeless:
            box = self.ledger.boxes[no]
            if box.dir is None and box.count and not box.problem and box.hold is None:
                box.todo = box.dirty = True
                self.healed.append(("mailbox", box.name, "gets its directory back"))
                self.found.fileless += [
                    row[0]
                    for row in self.index.execute(
                        "SELECT no FROM record WHERE mailbox = ? AND live AND hold IS NULL AND NOT todo",
                        (no,),
                    )
                ]
        for record in self._records(self.found.fileless):
            if not record.live or record.todo or record.hold is not None:
                continue
            if self.ledger.boxes[record.mailbox].dir is None:
                record.sub = NO_FILE
            if record.sub != NO_FILE:
                continue
            record.base, record.info, record.ino, record.todo = None, None, None, 1
            self.ledger.set_file(record)
            name = self.ledger.content_id(record.content).hex()
            self.healed.append(
                ("file", self.ledger.boxes[record.mailbox].name, f"gets the file of the message {name} back")
            )
        for record in self._records(self.found.dead_files):
            if record.live or record.sub == NO_FILE or record.hold is not None or record.todo:
                continue
            where, box = self._where(record), self.ledger.boxes[record.mailbox]
            record.sub, record.base, record.info, record.ino = NO_FILE, None, None, None
            self.ledger.set_file(record)
            box.stamps, box.dirty = None, True
            self.healed.append(
                ("file", where, "is there though its message was deleted: the next scan takes it in again")
            )

    # --- what can be counted

    def _counts(self) -> None:
        from mailkeep.store.verify import count_anew

        if not (self.found.miscounted or self.found.doubles or self.found.root_wrong):
            return
        right = count_anew(self.index)
        for box in self.ledger.boxes.values():
            count, total, top = right.get(box.no, (0, 0, 0))
            if (box.count, box.sum) != (count, total):
                box.count, box.sum = count, total
                self.healed.append(("digest", box.name, "count and digest are those of its messages again"))
            if top >= box.uidnext:
                box.uidnext = top + 1
                self.healed.append(("uid", box.name, f"UIDNEXT is {box.uidnext} now"))
            box.dirty = True  # the store's digest is made anew from all of them
        for mailbox, uid in self.found.doubles:
            records = list(
                self.ledger.records(
                    "mailbox = ? AND uid = ? AND (live OR hold IS NOT NULL) ORDER BY no", (mailbox, uid)
                )
            )
            for record in records[1:]:
                if record.live:
                    self.ledger.new_uid(record)
                    name = self.ledger.boxes[mailbox].name
                    self.healed.append(("uid", name, f"a message that shared UID {uid} has {record.uid} now"))
        if self.found.root_wrong and not self.found.miscounted:
            self.healed.append(("digest", "store", "is that of its mailboxes again"))


def mend_indexes(state: bytes) -> bool:
    """Make SQLite's own indexes anew; whether nothing is wrong with the database after that.

    They follow from the tables, so nothing can be lost; a fault of a table is not mended by this, and then
    nothing is written.
    """
    import apsw

    from mailkeep.store.gate import INDEX

    db = apsw.Connection(os.fsdecode(os.path.join(state, INDEX)), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("REINDEX")
        sound = [row[0] for row in db.execute("PRAGMA integrity_check(1)")] == ["ok"]
        db.execute("COMMIT" if sound else "ROLLBACK")
        return sound
    except apsw.Error:
        return False
    finally:
        db.close()


def _whole(path: bytes, directory: int | None, content_id: bytes) -> os.stat_result | None:
    """The stat of a file that has this content, or None."""
    try:
        fd = os.open(path, fs.O_READ, dir_fd=directory)
    except OSError:
        return None
    try:
        st = os.fstat(fd)
        return st if fs.is_regular(st) and hash_of(fd) == content_id else None
    except OSError:
        return None
    finally:
        os.close(fd)
