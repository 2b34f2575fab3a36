"""The ledger: mailboxes and records of one store, and every write to them.

What is here is replicated state and its bookkeeping; no file is touched. A write that makes a file or a
directory differ from its record sets `todo`: that mark, written in the same transaction, is the journal,
and `mailkeep.store.apply` carries it out. `mailkeep.store.merge` brings in what peers wrote.
"""

from __future__ import annotations

from mailkeep.domain.flags import pack, unpack
from mailkeep.domain.record import (
    APPROVED,
    LIVE,
    NAME,
    NOT_FLAGS,
    STORE_ID,
    UID,
    VALIDITY,
    WEAK,
    Register,
    flags_set,
    order,
)
from mailkeep.rules.keeping import Keeping
from mailkeep.store.history import History
from mailkeep.store.index import json_list
from mailkeep.store.rows import COLUMNS, NO_FILE, REPLACE, SUM_BYTES, Mailbox, Record
from mailkeep.system import clock
from mailkeep.wire.registers import decode, encode, encode_one, memoised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mailkeep.domain.record import Registers
    from mailkeep.store.annotations import Book
    from mailkeep.store.index import Index


class Ledger:
    """Mailboxes and records over an index. Writes belong in `index.transaction()`.

    Attributes:
        boxes: All mailboxes by number, dead ones too.
        by_id: The same by mailbox id.
        whole: The row that bears the annotations of the whole store; it is none of the mailboxes. None: there are none.
        book: What `mailkeep.store.annotations` has read of all annotations; None: nothing since they last changed.
        keeping: How long what is removed can be given back.
        history: What the run that goes on has changed.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.execute = index.execute
        self.keeping = Keeping()
        self.history = History(index)
        self.boxes: dict[int, Mailbox] = {}
        self.by_id: dict[bytes, Mailbox] = {}
        self.whole: Mailbox | None = None
        self.book: Book | None = None
        self._annotated: bool | None = None
        self._last_run: int | None = None
        self.forget()
        self._read()
        index.flushers.append(self)

    def forget(self) -> None:
        """Read the mailboxes again, after a roll back."""
        self.history.forget()
        self._read()

    def committed(self) -> None:
        """What was flushed is durable."""
        self.history.committed()

    def _read(self) -> None:
        self.boxes = {row[0]: Mailbox(row) for row in self.execute("SELECT * FROM mailbox")}
        self.by_id = {box.id: box for box in self.boxes.values()}
        self.whole = self.by_id.pop(STORE_ID, None)
        if self.whole is not None:
            del self.boxes[self.whole.no]
        self.book = self._annotated = None

    def rows(self) -> list[Mailbox]:
        """All mailboxes, and the row of the whole store behind them."""
        return [*self.boxes.values(), *([] if self.whole is None else [self.whole])]

    def flush(self) -> None:
        """Write changed mailboxes and the history, just before the commit."""
        self.history.flush()
        rows = []
        for box in self.rows():
            if box.dirty:
                rows.append(box.row())
                box.dirty = False
        if rows:
            self.index.executemany(
                "UPDATE mailbox SET regs=?, name=?, live=?, validity=?, uidnext=?, count=?, digest=?, seq=?, dir=?, todo=?,"
                " stamps=?, hold=?, problem=? WHERE no=?",
                rows,
            )
            self.index.meta["root"] = self.root()

    def root(self) -> bytes:
        """The digest of the whole store, from the sums that are kept up."""
        from mailkeep.rules.digest import root_digest

        return root_digest((box.id, digest) for box in self.rows() if (digest := digest_of(box)))

    # --- registers of mailboxes

    def register(self, value: bool | int | str, weak: bool = False, rank: int | None = None) -> Register:
        """A write of this replica, stamped by the transaction."""
        lamport, me = self.index.stamp(), self.index.me
        return Register(value, WEAK if weak else lamport if rank is None else rank, me, lamport, me)

    def set_mailbox(self, box: Mailbox, name: str, value: bool | int | str, weak: bool = False) -> None:
        """Write one register of a mailbox."""
        rank = int(value) if name == VALIDITY else None
        self.take_mailbox(box, {**box.regs, name: self.register(value, weak and rank is None, rank)})

    def take_mailbox(self, box: Mailbox, registers: Registers) -> None:
        """Let a mailbox have these registers; the directory follows by the journal."""
        box._regs = registers
        self.book = self._annotated = None
        if box is self.whole:
            box.seq = self.index.next_seq()
            box.dirty = True
            return
        name, live = str(registers[NAME].value), bool(registers[LIVE].value)
        if name != box.name or live != box.live:
            by = registers[NAME] if name != box.name else registers[LIVE]
            self.history.mailbox(box.no, box.name, box.live, by.writer)
        if name != box.name or live != box.live or box.dir is None:
            box.todo = True
        box.name, box.live, box.validity = name, live, int(registers[VALIDITY].value)
        box.seq = self.index.next_seq()
        box.dirty = True

    # --- mailboxes

    def row(self, box_id: bytes) -> Mailbox | None:
        """A mailbox by its id, or the row of the whole store."""
        return self.whole if box_id == STORE_ID else self.by_id.get(box_id)

    def alive(self) -> list[Mailbox]:
        """Mailboxes that are not deleted, in the sense of `Mailbox.alive`."""
        return [box for box in self.boxes.values() if box.alive]

    def named(self, name: str) -> Mailbox | None:
        """The alive mailbox of this name."""
        return next((box for box in self.boxes.values() if box.name == name and box.alive), None)

    def create(self, name: str, now: int, weak: bool = False) -> Mailbox:
        """Make a mailbox, or bring back the deleted one of that name: its UIDs go on.

        The id comes from the name and a number, so that one name made on two machines is one mailbox.
        """
        assert self.named(name) is None, "a name belongs to one mailbox"
        dead = sorted((box for box in self.boxes.values() if box.name == name), key=lambda box: box.id)
        if dead:
            self.set_mailbox(dead[0], LIVE, True)
            return dead[0]
        return self._make(name, now, live=True, weak=weak)

    def level(self, name: str, now: int) -> Mailbox:
        """The row of a level of the tree that is no mailbox, to bear annotations: as of a deleted mailbox.

        Nobody deleted it, so it is written weak: a mailbox of this name that a peer has lives.
        """
        dead = sorted((box for box in self.boxes.values() if box.name == name), key=lambda box: box.id)
        if dead:
            return dead[0]
        return self.make_level(name, now)

    def make_level(self, name: str, now: int) -> Mailbox:
        """As `level`, of a name that no mailbox ever had here."""
        box = self._make(name, now, live=False, weak=True)
        box.todo = False
        return box

    def _make(self, name: str, now: int, *, live: bool, weak: bool = False) -> Mailbox:
        number = 0
        while (box_id := mailbox_id(name, number)) in self.by_id:
            number += 1
        box = self.insert_mailbox(box_id)
        validity = self.index.fresh_validity(now)
        regs = {
            NAME: self.register(name, weak),
            LIVE: self.register(live, weak),
            VALIDITY: self.register(validity, rank=validity),
        }
        self.take_mailbox(box, regs)
        return box

    def insert_mailbox(self, box_id: bytes) -> Mailbox:
        """An empty row, to be filled by `take_mailbox`."""
        self.execute(
            "INSERT INTO mailbox VALUES (NULL, ?, x'80', '', 0, 0, 1, 0, zeroblob(32), 0, NULL, 0, NULL, NULL, NULL)",
            (box_id,),
        )
        no = self.index.db.last_insert_rowid()
        box = Mailbox((no, box_id, b"\x80", "", 0, 0, 1, 0, bytes(SUM_BYTES), 0, None, 0, None, None, None))
        self.boxes[no] = self.by_id[box_id] = box
        return box

    def whole_row(self) -> Mailbox:
        """The row that bears the annotations of the whole store; made when there is none."""
        if self.whole is None:
            self.whole = self.insert_mailbox(STORE_ID)
            del self.boxes[self.whole.no], self.by_id[STORE_ID]
        return self.whole

    def is_private(self, box: Mailbox, given: int) -> bool:
        """Whether no other replica was ever told of a mailbox.

        Args:
            given: The highest own stamp that any peer was ever offered.
        """
        me = self.index.me
        return not self.index.meta.get("suspect", 0) and all(
            r.replica == me and r.lamport > given for r in box.regs.values()
        )

    def reidentify(self, box: Mailbox, box_id: bytes, given: int, *, displace: bool = False) -> bool:
        """Give a mailbox that no other replica was told of the id of its other name, so that both become one.

        Ids come from names; a mailbox made on both sides under names that a name map joins got two.

        Args:
            given: As for `is_private`.
            displace: Another private mailbox that has this id gets a new one. So a rebuilt index learns which
                mailboxes were renamed in the life of the one that was lost.
        """
        if box_id == box.id:
            return True
        if not self.is_private(box, given):
            return False
        other = self.by_id.get(box_id)
        if other is not None:
            if not displace or not self.is_private(other, given):
                return False
            number = 1
            while (spare := mailbox_id(other.name, number)) in self.by_id:
                number += 1
            self._set_id(other, spare)
        self._set_id(box, box_id)
        return True

    def _set_id(self, box: Mailbox, box_id: bytes) -> None:
        self.execute("UPDATE mailbox SET id = ? WHERE no = ?", (box_id, box.no))
        del self.by_id[box.id]
        box.id, box.dirty = box_id, True
        self.by_id[box_id] = box

    def rename(self, box: Mailbox, name: str) -> None:
        """Give a mailbox another name; its id stays and no message is touched."""
        assert self.named(name) is None, "a name belongs to one mailbox"
        self.set_mailbox(box, NAME, name)

    def delete(self, box: Mailbox) -> None:
        """Delete a mailbox with everything in it."""
        for record in self.shown(box):
            self.remove(record)
        self.set_mailbox(box, LIVE, False)

    def settle_names(self) -> None:
        """Of two alive mailboxes with one name, the one named later gets a name of its own."""
        while True:
            by_name: dict[str, list[Mailbox]] = {}
            for box in self.boxes.values():
                if box.alive:
                    by_name.setdefault(box.name, []).append(box)
            twins = [boxes for boxes in by_name.values() if len(boxes) > 1]
            if not twins:
                return
            for boxes in twins:
                first = min(boxes, key=lambda box: (order(box.regs[NAME], self.index.ids), box.id))
                for later in boxes:
                    if later is not first:
                        self.set_mailbox(later, NAME, own_name(later.name, later.id))

    # --- reading records

    def record(self, no: int) -> Record:
        """One record, by a number that this index gave."""
        row = self.execute(f"SELECT {COLUMNS} FROM record WHERE no = ?", (no,)).fetchone()
        assert row is not None, "a record number of this index"
        return Record(row)

    def records(self, where: str, values: tuple[object, ...] = ()) -> Iterator[Record]:
        """Records that satisfy an SQL condition; do not write records while it runs."""
        for row in self.execute(f"SELECT {COLUMNS} FROM record WHERE {where}", values):
            yield Record(row)

    def shown(self, box: Mailbox) -> list[Record]:
        """Records of a mailbox that its clients see: the live ones, and the dead ones whose file is held."""
        return list(self.records("mailbox = ? AND (live OR hold IS NOT NULL)", (box.no,)))

    def content_id(self, content: int) -> bytes:
        """The id (SHA-256, 32 bytes) of a content, by a number that this index gave."""
        return bytes(self.index.value("SELECT id FROM content WHERE no = ?", (content,)))

    def content_row(self, content: int) -> tuple[bytes, int, bool]:
        """(id, bytes, whether the vault has it) of a content, by a number that this index gave."""
        row = self.execute("SELECT id, size, kept FROM content WHERE no = ?", (content,)).fetchone()
        assert row is not None, "a content number of this index"
        return bytes(row[0]), int(row[1]), bool(row[2])

    def is_live(self, content: int) -> bool:
        """Whether any mailbox has a live record of this content."""
        return (
            self.execute("SELECT 1 FROM record WHERE content = ? AND live LIMIT 1", (content,)).fetchone()
            is not None
        )

    def note_lacking(self) -> None:
        """Note how many messages wait for a content, so that the next session asks for them."""
        self.index.meta["lacking"] = self.index.value(
            "SELECT count(*) FROM record r JOIN content c ON c.no = r.content WHERE r.live AND NOT c.kept AND r.todo"
        )

    # --- writing records

    def content(self, content_id: bytes, size: int, kept: bool, ino: int | None = None) -> int:
        """The number of a content; a new one is noted. `kept` only after it is durable in the vault."""
        row = self.execute("SELECT no, kept FROM content WHERE id = ?", (content_id,)).fetchone()
        if row is None:
            self.execute("INSERT INTO content VALUES (NULL, ?, ?, ?, ?)", (content_id, size, kept, ino))
            return self.index.db.last_insert_rowid()
        if kept and not row[1]:
            self.execute("UPDATE content SET kept = 1, size = ?, ino = ? WHERE no = ?", (size, ino, row[0]))
        return int(row[0])

    def add(
        self,
        box: Mailbox,
        content: int,
        content_id: bytes,
        flags: frozenset[str],
        date: int,
        weak: bool = False,
    ) -> Record:
        """A message appears in a mailbox: under the first copy number that no shown record has.

        A tombstone of that key lives again, with a new UID.
        """
        if not box.alive:
            self.set_mailbox(box, LIVE, True)
        copy, old = 0, None
        for record in list(self.records("content = ? AND mailbox = ? ORDER BY copy", (content, box.no))):
            if record.copy != copy:
                break
            if not record.shown:
                old = record
                break
            copy += 1
        uid, box.uidnext = box.uidnext, box.uidnext + 1
        if old is None:
            return self.insert(box, content, content_id, copy, uid, flags, date, weak)
        was = set(old.regs) - NOT_FLAGS
        regs = {**old.regs, **{name: self.register(name in flags) for name in was | flags}}
        regs[LIVE], regs[UID] = self.register(True), self.register(uid)
        old.date = date
        self.take(old, regs, content_id)
        return old

    def insert(
        self,
        box: Mailbox,
        content: int,
        content_id: bytes,
        copy: int,
        uid: int,
        flags: frozenset[str],
        date: int,
        weak: bool,
    ) -> Record:
        """A record whose key was never seen here, all of its registers written by this transaction."""
        from mailkeep.rules.digest import MODULUS, contribution

        lamport, me = self.index.stamp(), self.index.me
        packed = pack(flags)
        blob = encode_one(WEAK if weak else lamport, me, lamport, me, packed)
        seq = self.index.next_seq()
        self.execute(
            "INSERT INTO record VALUES (NULL, ?, ?, ?, 1, ?, ?, ?, ?, ?, NULL, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL,"
            " NULL)",
            (box.no, content, copy, uid, packed, blob, seq, date),
        )
        box.count += 1
        box.sum = (box.sum + contribution(content_id, copy, uid, packed)) % MODULUS
        box.dirty = True
        no = self.index.db.last_insert_rowid()
        return Record(
            (
                no,
                box.no,
                content,
                copy,
                1,
                uid,
                packed,
                blob,
                seq,
                date,
                None,
                0,
                None,
                None,
                None,
                None,
                None,
                0,
                0,
                None,
                None,
            )
        )

    def insert_files(self, rows: list[tuple], weak: bool) -> None:  # type: ignore[type-arg]
        """Messages of contents never seen before, with their files, in bulk: content rows and records.

        Args:
            rows: (mailbox, content id, size, inode of the vault's object or None, flags, mtime ns, ctime ns,
                sub, base, info, inode, young), each content id once. The contents are durable in the vault.
        """
        from mailkeep.rules.digest import MODULUS, contribution

        if not rows:
            return
        content = self.index.value("SELECT coalesce(max(no), 0) FROM content")
        no = self.index.value("SELECT coalesce(max(no), 0) FROM record")
        for box in {row[0].no: row[0] for row in rows}.values():
            if not box.alive:
                self.set_mailbox(box, LIVE, True)
            box.dirty = True
        lamport, me = self.index.stamp(), self.index.me
        rank = WEAK if weak else lamport
        forms: dict[frozenset[str], tuple[str, bytes]] = {}
        seq = self.index.seq
        contents, records = [], []
        for box, content_id, size, object_ino, flags, mtime, ctime, sub, base, info, ino, young in rows:
            form = forms.get(flags)
            if form is None:
                packed = pack(flags)
                form = forms[flags] = (packed, encode_one(rank, me, lamport, me, packed))
            content += 1
            no += 1
            seq += 1
            uid, box.uidnext = box.uidnext, box.uidnext + 1
            box.count += 1
            box.sum += contribution(content_id, 0, uid, form[0])
            contents.append((content, content_id, size, object_ino))
            records.append((no, box.no, content, uid, form[0], form[1], seq, mtime // 1_000_000_000, sub, base, info, ino,
                            mtime, ctime, young))  # fmt: skip
            box.sum %= MODULUS
        self.index.seq = seq
        self.index.executemany("INSERT INTO content VALUES (?, ?, ?, 1, ?)", contents)
        self.index.executemany(
            "INSERT INTO record VALUES (?, ?, ?, 0, 1, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, 0, NULL, NULL)",
            records,
        )

    def take(self, record: Record, registers: Registers, content_id: bytes | None = None) -> None:
        """Let a record have these registers, and keep digest, counts and journal in step."""
        from mailkeep.rules.digest import MODULUS, contribution

        box = self.boxes[record.mailbox]
        live, uid = bool(registers[LIVE].value), int(registers[UID].value)
        flags = pack(flags_set(registers))
        if (live, uid, flags) != (record.live, record.uid, record.flags):
            content_id = content_id or self.content_id(record.content)
            total = box.sum
            if record.live:
                total -= contribution(content_id, record.copy, record.uid, record.flags)
            if live:
                total += contribution(content_id, record.copy, uid, flags)
            box.sum = total % MODULUS
            box.count += live - record.live
            box.dirty = True
        if live != record.live or flags != record.flags:
            self.history.record(
                record.no, record.live, record.flags, _writer(registers, record, live=live, flags=flags)
            )
            record.todo = REPLACE if live and record.todo == REPLACE else 1
            if live and not record.live:
                record.hold = record.gone = record.keep = None
                if not box.live and box.dir is None:
                    box.todo = box.dirty = True
            elif record.live and not live:
                self._begin_retention(record)
            if not live and not box.alive and box.dir is not None:
                box.todo = box.dirty = True  # deleted elsewhere, and this was the last message that kept it
        record.live, record.uid, record.flags, record.regs = live, uid, flags, registers
        record.seq = self.index.next_seq()
        self.execute(
            "UPDATE record SET live=?, uid=?, flags=?, regs=?, seq=?, date=?, hold=?, todo=?, gone=?, keep=? WHERE no=?",
            (
                live,
                uid,
                flags,
                encode(registers),
                record.seq,
                record.date,
                record.hold,
                record.todo,
                record.gone,
                record.keep,
                record.no,
            ),
        )

    def set_file(self, record: Record) -> None:
        """Write the local columns: what is known of the file, hold and journal mark."""
        self.execute(
            "UPDATE record SET hold=?, sub=?, base=?, info=?, ino=?, mtime=?, ctime=?, young=?, todo=?, gone=?, keep=?"
            " WHERE no=?",
            (record.hold, record.sub, record.base, record.info, record.ino, record.mtime, record.ctime, record.young,
             record.todo, record.gone, record.keep, record.no),
        )  # fmt: skip

    def remove(self, record: Record, approved: bool = False) -> None:
        """Expunge: the record becomes a tombstone; its content stays in the vault.

        Removing a held file by hand approves its removal.
        """
        if record.live:
            regs = {**record.regs, LIVE: self.register(False)}
            if approved:
                regs[APPROVED] = self.register(regs[LIVE].rank)
            record.hold = None
            self.take(record, regs)
        elif record.hold is not None:
            self.approve(record)

    def remove_many(self, records: Sequence[tuple[int, int, int, int, str, bytes, bytes]]) -> None:
        """As `remove`, of many live records: (no, mailbox, copy, uid, flags, registers as stored, content id)."""
        from mailkeep.rules.digest import MODULUS, contribution

        if not records:
            return
        dead, me = self.register(False), self.index.me
        buried = memoised(lambda blob: encode({**decode(blob, True, 1), LIVE: dead}))
        now, keeps = self.moment(), {no: self.retention(box) for no, box in self.boxes.items()}
        rows = []
        for no, mailbox, copy, uid, flags, regs, content_id in records:
            box = self.boxes[mailbox]
            box.sum = (box.sum - contribution(content_id, copy, uid, flags)) % MODULUS
            box.count -= 1
            box.dirty = True
            self.history.record(no, True, flags, me)
            rows.append((buried(regs), self.index.next_seq(), now, now + keeps[mailbox], no))
            if not box.alive and box.dir is not None:
                box.todo = True
        self.index.executemany(
            "UPDATE record SET live = 0, regs = ?, seq = ?, hold = NULL, todo = 1, gone = ?, keep = ? WHERE no = ?",
            rows,
        )

    def revive_many(self, wanted: Mapping[int, frozenset[str] | None]) -> int:
        """Let tombstones live again, under new UIDs, each with these flags (None: those that it has); how many did.

        What lives by now, or is held, is passed over. Their mailboxes are alive, or get their life from them.
        """
        from mailkeep.rules.digest import MODULUS, contribution

        if not wanted:
            return 0
        live, uid_now, me = self.register(True), self.register(1), self.index.me
        raised = memoised(lambda blob: encode({**decode(blob, False, 1), LIVE: live, UID: uid_now}))
        rows = []
        for no, mailbox, copy, flags, blob, content_id in list(
            self.execute(
                "SELECT r.no, r.mailbox, r.copy, r.flags, r.regs, c.id FROM json_each(?) j JOIN record r ON r.no = j.value"
                " JOIN content c ON c.no = r.content WHERE NOT r.live AND r.hold IS NULL ORDER BY j.key",
                (json_list(wanted),),
            )
        ):
            box = self.boxes[mailbox]
            target = wanted[no]
            have = unpack(flags)
            if target is None or target == have:
                packed, regs = flags, raised(blob)
            else:
                registers = {**decode(blob, False, 1), LIVE: live, UID: uid_now}
                registers.update({name: self.register(name in target) for name in have ^ target})
                packed, regs = pack(target), encode(registers)
            uid, box.uidnext = box.uidnext, box.uidnext + 1
            box.sum = (box.sum + contribution(content_id, copy, uid, packed)) % MODULUS
            box.count += 1
            box.dirty = True
            if not box.live and box.dir is None:
                box.todo = True
            self.history.record(no, False, flags, me)
            rows.append((uid, packed, regs, self.index.next_seq(), no))
        self.index.executemany(
            "UPDATE record SET live = 1, uid = ?, flags = ?, regs = ?, seq = ?, hold = NULL, gone = NULL, keep = NULL,"
            " todo = CASE todo WHEN 2 THEN 2 ELSE 1 END WHERE no = ?",
            rows,
        )
        return len(rows)

    def flag(self, record: Record, on: Iterable[str], off: Iterable[str]) -> None:
        """Turn flags on and off; only those that differ are written. Flagging a held message rejects."""
        if not record.live or (record.hold is not None and record.sub != NO_FILE):
            self.reject(record)
        have = unpack(record.flags)
        regs = dict(record.regs)
        for names, value in (on, True), (off, False):
            for name in names:
                if (name in have) != value:
                    regs[name] = self.register(value)
        if len(regs) != len(record.regs) or any(regs[name] is not record.regs[name] for name in regs):
            self.take(record, regs)

    def new_uid(self, record: Record) -> None:
        """Give a record the mailbox's next UID."""
        box = self.boxes[record.mailbox]
        uid, box.uidnext = box.uidnext, box.uidnext + 1
        box.dirty = True
        self.take(record, {**record.regs, UID: self.register(uid)})

    # --- retention and holds

    def retention(self, box: Mailbox) -> int:
        """For how many seconds contents are kept that are expunged in a mailbox now: as annotated, else as configured."""
        if not self.annotated:
            return self.keeping.expunged
        from mailkeep.store.annotations import effective

        laid_down = effective(self, box).retention
        return self.keeping.expunged if laid_down is None else laid_down

    @property
    def annotated(self) -> bool:
        """Whether the store has any annotation."""
        if self._annotated is None:
            self._annotated = any(box.annotations for box in self.rows())
        return self._annotated

    def moment(self) -> int:
        """From when a retention counts, in seconds: now, but not before the last run that is known.

        A machine without a clock of its own may start in 1970: what is removed before it has the time would else be
        free to go a minute later. By a clock that was ahead contents are kept longer; that loses nothing.
        """
        if self._last_run is None:
            times = "SELECT coalesce(max(max(began, coalesce(ended, began))), 0) FROM run"
            self._last_run = int(self.index.value(times))
        return max(clock.now(), self._last_run)

    def _begin_retention(self, record: Record) -> None:
        record.gone = self.moment()
        record.keep = record.gone + self.retention(self.boxes[record.mailbox])

    def hold(self, record: Record, hold: int) -> None:
        """Keep a record's file, though it is, or is to be, deleted; of a tombstone the retention begins later."""
        record.hold, record.todo, record.gone, record.keep = hold, 0, None, None

    def release(self, record: Record) -> None:
        """End a record's hold; of a tombstone the retention begins now. The caller writes the record."""
        record.hold = None
        if not record.live:
            self._begin_retention(record)

    def approve(self, record: Record) -> None:
        """Carry a held deletion out: tell the others too, so that no guard asks again."""
        if record.live:
            self.remove(record, approved=True)
            return
        regs = {**record.regs, APPROVED: self.register(record.rank)}
        record.todo = 1
        self.release(record)
        self.take(record, regs)

    def reject(self, record: Record) -> None:
        """Put a held message back everywhere: a new live write, under a new UID."""
        if (
            record.live
        ):  # missing here, or due to expire, and never written as a tombstone: its file is to be there
            record.hold, record.todo = None, 1
            self.set_file(record)
            return
        box = self.boxes[record.mailbox]
        uid, box.uidnext = box.uidnext, box.uidnext + 1
        self.take(record, {**record.regs, LIVE: self.register(True), UID: self.register(uid)})
        self.settle_names()


def digest_of(box: Mailbox, name: str | None = None) -> bytes:
    """The digest that a peer compares; empty where there is neither a mailbox that is alive nor an annotation.

    Args:
        name: The mailbox's name there; by default, the same.
    """
    from mailkeep.rules.digest import mailbox_digest

    annotations = box.annotations
    if not (box.alive or annotations):
        return b""
    return mailbox_digest(box.sum, box.name if name is None else name, box.validity, annotations)


def _writer(registers: Registers, record: Record, *, live: bool, flags: str) -> int:
    """Who wrote what makes a record change: the newest of the registers by which it does."""
    if live != record.live:
        return registers[LIVE].writer
    differ = flags_set(registers) ^ unpack(record.flags)
    return max(
        (registers[name] for name in differ if name in registers),
        key=lambda r: r.rank,
        default=registers[LIVE],
    ).writer


def own_name(name: str, box_id: bytes) -> str:
    """A name that only this mailbox has, made of one that it shares with another; cut where it would be too long."""
    from mailkeep.domain.names import COMPONENT_BYTES_MAX, NAME_BYTES_MAX

    own = f"{name}~{box_id.hex()[:8]}"
    above, _, last = own.rpartition("/")
    if len(own.encode()) <= NAME_BYTES_MAX and len(last.encode()) <= COMPONENT_BYTES_MAX:
        return own
    from hashlib import sha256

    # Of the whole name: a name that was cut before must not come out as the same one again.
    tail = "~" + sha256(name.encode() + box_id).hexdigest()[:8]
    while True:
        above, slash, last = name.rpartition("/")
        room = min(COMPONENT_BYTES_MAX, NAME_BYTES_MAX - len((above + slash).encode())) - len(tail)
        if room >= 0:
            return above + slash + last.encode()[:room].decode(errors="ignore") + tail
        name = above


def mailbox_id(name: str, number: int) -> bytes:
    """The id of the `number`-th mailbox made under a name."""
    from hashlib import sha256

    return sha256(f"{name}#{number}".encode()).digest()[:16]
