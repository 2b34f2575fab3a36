"""What a scan found becomes rows of the index: new messages, moves, flags, files that were rewritten."""

from __future__ import annotations

import os

from mailkeep.store.findings import GOES_ON, REWRITTEN
from mailkeep.store.maildir import SUBS
from mailkeep.store.rows import NO_FILE
from mailkeep.store.shownflags import on_disk
from mailkeep.system.fs import bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Findings, Found, Stat
    from mailkeep.store.rows import Mailbox, Record


class Noting:
    """Writes the findings of one scan, batch by batch."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.ledger, self.index = findings.ledger, findings.index
        self.maildir, self.vault = findings.maildir, findings.vault

    def write_batch(self) -> None:
        """One transaction for what was collected; the vault's part is durable before it."""
        if self.findings.batch and not self.findings.dry:
            self.vault.syncer.sync()
        with self.index.transaction():
            self.write()
            self.ledger.settle_names()
        self.findings.batch, self.findings.flag_changes = [], []

    def write(self) -> None:
        """Write all that was collected; belongs in a transaction, after the vault's part is durable."""
        for change in self.findings.flag_changes:
            self._write_flags(*change)
        for found in self.findings.batch:
            if found.linked is not found.st and not self.findings.weak and not self.findings.dry:
                self._forget_damaged(found)
        for found in self._write_fresh(self.findings.batch):
            if found.content is None:
                ino = found.linked.st_ino if found.linked is not None else None
                found.content = self.ledger.content(found.content_id, found.size, kept=True, ino=ino)
            elif found.linked is None or found.linked is not found.st:
                self.index.execute(
                    "UPDATE content SET kept = 1, size = ?, ino = coalesce(?, ino) WHERE no = ?",
                    (found.size, found.linked.st_ino if found.linked else None, found.content),
                )
            self._write_found(found)
        self.index.executemany("UPDATE record SET ctime = ?, young = ? WHERE no = ?", self.findings.learned)
        self.findings.learned = []

    def _write_fresh(self, batch: list[Found]) -> list[Found]:
        """Write new files of contents that the index never saw, in bulk; the rest is returned.

        Nothing can be known of such a message: no copy, no tombstone, no record that waits for its file.
        """
        rest: list[Found] = []
        fresh: dict[bytes, Found] = {}
        for found in batch:
            if (
                found.content is None
            ):  # another of this scan may have brought the content since it was looked for
                row = self.index.execute(
                    "SELECT no FROM content WHERE id = ?", (found.content_id,)
                ).fetchone()
                found.content = None if row is None else row[0]
            if found.content is not None or found.record is not None or found.content_id in fresh:
                rest.append(found)
            else:
                fresh[found.content_id] = found
        rows = []
        tables: dict[int, dict[str, str] | None] = {}
        shown: dict[tuple[int, bytes, int], frozenset[str]] = {}
        for found in fresh.values():
            box = found.box
            assert box.dir is not None
            if box.no not in tables:
                tables[box.no] = self.maildir.keywords(box.dir)
            key = (found.sub, found.info, 0 if tables[box.no] is None else box.no)
            flags = shown.get(key)
            if flags is None:
                flags = shown[key] = on_disk(found.sub, found.info, tables[box.no])
            st = found.linked or found.st
            ino = st.st_ino if found.linked is not None else None
            times = bounded(st.st_mtime_ns), bounded(st.st_ctime_ns)
            rows.append((box, found.content_id, found.size, ino, flags, *times, found.sub, found.base,
                         found.info, st.st_ino, found.young))  # fmt: skip
        self.ledger.insert_files(rows, self.findings.weak)
        self.findings.report.added += len(rows)
        return rest

    def _write_flags(self, no: int, sub: int, base: bytes, info: bytes, inode: int) -> None:
        """A file has other flags in its name than it had when we last saw it."""
        record = self.ledger.record(no)
        box = self.ledger.boxes[record.mailbox]
        assert box.dir is not None
        self._take_flags(record, box, sub, info)
        record.sub, record.base, record.info, record.ino, record.ctime = sub, base, info, inode, None
        self.ledger.set_file(record)

    def _take_flags(self, record: Record, box: Mailbox, sub: int, info: bytes) -> None:
        """The difference between the name as it is and as it was is what somebody did."""
        assert box.dir is not None
        table = self.maildir.keywords(box.dir)
        before = on_disk(record.sub, record.info or b"", table)
        after = on_disk(sub, info, table)
        on, off = after - before, before - after
        if not self.findings.believe_absence:
            off = frozenset()
            record.todo = 1
        if on or off:
            self.findings.report.flagged += 1
            self.ledger.flag(record, on, off)

    def _write_found(self, found: Found) -> None:
        box, ledger = found.box, self.ledger
        assert found.content is not None
        assert box.dir is not None
        st = found.linked or found.st
        table = self.maildir.keywords(box.dir)
        if found.record is not None:
            record = ledger.record(found.record)
            if record.content == found.content:
                self._take_flags(record, box, found.sub, found.info)
                self._set_file(record, found, st)
                return
            record.sub, record.base, record.info, record.ino = NO_FILE, None, None, None
            if found.fate == GOES_ON and self.findings.believe_absence:
                ledger.set_file(record)
                ledger.remove(record)
            else:  # it will be put back, unless `_removals` says otherwise
                record.todo = int(record.live and record.hold is None)
                ledger.set_file(record)
                (self.findings.rewritten if found.fate == REWRITTEN else self.findings.replaced).append(
                    record.no
                )
        else:
            adopted = self._fileless(found)
            if adopted is not None:
                self._adopt(adopted, found, table)
                self._set_file(adopted, found, st)
                return
        flags = on_disk(found.sub, found.info, table)
        record = ledger.add(
            box,
            found.content,
            found.content_id,
            flags,
            bounded(found.st.st_mtime_ns) // 1_000_000_000,
            self.findings.weak,
        )
        record.todo = 0
        self._set_file(record, found, st)
        self.findings.report.added += 1

    def _forget_damaged(self, found: Found) -> None:
        """A file rewritten in place through its hard link took the vault's object of what it was with it.

        Messages of that content may have other files, which are read again at the end of this scan.
        """
        rows = self.index.execute(
            "SELECT no, id FROM content WHERE ino = ? AND id != ? AND kept",
            (found.st.st_ino, found.content_id),
        )
        for no, old_id in list(rows):
            there = self.vault.stat(old_id)
            if there is None or (there.st_dev, there.st_ino) != (found.st.st_dev, found.st.st_ino):
                continue
            self.vault.drop(old_id)
            self.index.execute("UPDATE content SET kept = 0, ino = NULL WHERE no = ?", (no,))
            self.findings.lost_objects[no] = os.path.join(
                found.box.dir or b"", SUBS[found.sub], found.base + found.info
            )

    def _fileless(self, found: Found) -> Record | None:
        """A live record of this content here whose own file is not there: this file is it, under another name."""
        gone = self.findings.missing.get(found.box.no, {})
        assert found.content is not None
        for record in list(
            self.ledger.records(
                "content = ? AND mailbox = ? AND (live OR hold IS NOT NULL) ORDER BY copy",
                (found.content, found.box.no),
            )
        ):
            if record.no in gone or record.sub == NO_FILE:
                gone.pop(record.no, None)
                return record
            if record.base == found.base and not self._is_there(record):
                return record  # renamed while we listed: seen under both names
        return None

    def _is_there(self, record: Record) -> bool:
        """Whether there is still a file under the name by which a record's file is known."""
        box = self.ledger.boxes[record.mailbox]
        assert box.dir is not None
        name = (record.base or b"") + (record.info or b"")
        try:
            directory = self.maildir.open(box.dir, SUBS[record.sub])
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _adopt(self, record: Record, found: Found, table: dict[str, str] | None) -> None:
        if record.sub == NO_FILE:  # it waited for its file: what the record says goes, and what the file adds
            self.ledger.flag(record, on_disk(found.sub, found.info, table) - on_disk(NO_FILE, b"", table), ())
            record.todo = int(record.live)
        else:
            self._take_flags(record, found.box, found.sub, found.info)
        if record.live:
            record.hold = None

    def _set_file(self, record: Record, found: Found, st: os.stat_result | Stat) -> None:
        record.sub, record.base, record.info, record.ino = found.sub, found.base, found.info, st.st_ino
        record.mtime, record.ctime, record.young = (
            bounded(st.st_mtime_ns),
            bounded(st.st_ctime_ns),
            found.young,
        )
        self.ledger.set_file(record)
