"""What a scan did not find: is it removed, moved, held, or put back?

A removal is believed when a second listing lacks the file too, and no other name of it explains that; then the guard judges.
"""

from __future__ import annotations

from msgpack import packb

from mailkeep.store.findings import SECOND_LOOK_SECONDS
from mailkeep.store.maildir import SUBS
from mailkeep.store.rows import IN_CUR, IN_NEW, NO_FILE
from mailkeep.system import clock
from mailkeep.wire.maildirname import INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Findings
    from mailkeep.store.holds import Reaper
    from mailkeep.store.rows import Mailbox, Record

UNEXPLAINED_SECONDS = 600
"""A file that is gone from its mailbox while some other link to it exists is believed removed after this."""


class Removals:
    """The end of one scan."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.ledger, self.index, self.maildir = findings.ledger, findings.index, findings.maildir
        self.limits, self.believe_absence = findings.limits, findings.believe_absence

    def second_look(self, gone: set[int]) -> dict[int, dict[int, tuple[bytes, int]]]:
        """List again, a margin later: only what is missing from a quiet second listing too stays missing."""
        clock.sleep(max(SECOND_LOOK_SECONDS, self.findings.margin_ns / 1e9))
        still = {}
        for no, files in self.findings.missing.items():
            if not files:
                continue
            box = self.ledger.boxes[no]
            if no in gone:
                still[no] = dict(files)
                continue
            assert box.dir is not None
            try:
                before = list(self.maildir.stamps(box.dir))
                bases = {base for base, _ in files.values()}
                seen = []
                for sub in (IN_NEW, IN_CUR):
                    with self.maildir.listing(box.dir, SUBS[sub]) as entries:
                        seen += [(sub, e.name) for e in entries if e.name.partition(INFO)[0] in bases]
                others = self._names_of_others(box, files) if seen else set()
                bases.difference_update(
                    [name.partition(INFO)[0] for sub, name in seen if (sub, name) not in others]
                )
                after = list(self.maildir.stamps(box.dir))
            except OSError:
                self.findings.unseen.append(box.name)
                continue
            quiet = before == after == self.findings.stamps.get(no)
            if not quiet or no not in self.findings.trusted:
                self.findings.report.unknown += len(files)
                self.findings.trusted.discard(no)
                self.findings.unquiet.add(no)
                continue
            still[no] = {r: at for r, at in files.items() if at[0] in bases}
            if len(still[no]) != len(files):
                self.findings.trusted.discard(no)
        return still

    def _names_of_others(self, box: Mailbox, missing: dict[int, tuple[bytes, int]]) -> set[tuple[int, bytes]]:
        """(sub, name) of files that are known to be other messages' than the missing ones."""
        rows = self.index.execute(
            "SELECT no, sub, CAST(base || info AS BLOB) FROM record WHERE mailbox = ? AND sub != 0", (box.no,)
        )
        out = {(sub, name) for no, sub, name in rows if no not in missing}
        out |= {
            (sub, base + info) for no, sub, base, info, _ in self.findings.flag_changes if no not in missing
        }
        out |= {(found.sub, found.base + found.info) for found in self.findings.batch if found.box is box}
        return out

    def carry_out(self, missing: dict[int, dict[int, tuple[bytes, int]]], gone: set[int]) -> set[int]:
        """Write tombstones, holds, or put back; the mailboxes in which something has to wait."""
        from mailkeep.store.holds import Reaper

        waiting: set[int] = set()
        reaper = Reaper(self.ledger, self.limits, "here")
        back: list[Record] = []
        for files in missing.values():
            for record_no in files:
                record = self.ledger.record(record_no)
                if not self.believe_absence:
                    record.sub, record.base, record.info, record.ino = NO_FILE, None, None, None
                    record.todo = int(record.live and record.hold is None)
                    self.ledger.set_file(record)
                    if record.todo:
                        back.append(record)
                elif self._explained(record, waiting):
                    reaper.want(record)
        if self.findings.ask and back:
            from mailkeep.store.holds import hold_returning

            self.findings.report.held += hold_returning(
                self.ledger,
                self.limits,
                back,
                "the index came from a backup, and the Maildir does not have them",
            )
        self.findings.report.put_back += sum(record.hold is None for record in back)
        self.want_replaced(reaper)
        self.findings.report.unknown += len(waiting)
        if self.findings.unseen and reaper.records:
            kept = reaper.drop_vanishing()
            self.findings.report.unknown += kept
            waiting.update(self.findings.missing)
        boxes = [self.ledger.boxes[no] for no in gone]
        if not self.believe_absence:
            for box in boxes:
                box.dir, box.todo, box.dirty = None, True, True
        elif (
            self.findings.unseen
        ):  # something else cannot be read: whether a mailbox is gone, a later scan says
            lost = {box.no for box in boxes}
            reaper.records = [record for record in reaper.records if record.mailbox not in lost]
        else:  # what still has a link somewhere may be about to turn up: its mailbox waits with it
            reaper.mailboxes_gone([box for box in boxes if box.no not in waiting])
        self.reap(reaper)
        return waiting

    def want_replaced(self, reaper: Reaper) -> None:
        """What overwritten files had been is removed, if the guard lets it."""
        for no in self.findings.replaced:
            record = self.ledger.record(no)
            if not self.believe_absence:
                self.findings.report.put_back += record.todo
            elif record.sub == NO_FILE:  # else another file of this scan has it
                reaper.want(record)
        self.findings.replaced = []
        if not self.findings.rewritten:
            return
        if self.believe_absence:
            from mailkeep.store.rewritten import Rewritten

            edited = Rewritten(self.ledger, self.limits, "here")
            for record in map(self.ledger.record, self.findings.rewritten):
                if record.sub == NO_FILE:
                    edited.want(record)
            self.reap(edited)
        else:
            self.findings.report.put_back += sum(
                self.ledger.record(no).todo for no in self.findings.rewritten
            )
        self.findings.rewritten = []

    def reap(self, reaper: Reaper) -> None:
        """Carry out what the reaper has, as the guard lets it, and count it; belongs in a transaction."""
        from mailkeep.store.holds import forget_answered

        reaper.carry_out()
        forget_answered(self.ledger)
        if self.findings.lost_objects or reaper.records:
            self.ledger.note_lacking()
        self.findings.report.expunged += reaper.expunged
        self.findings.report.held += reaper.held

    def _explained(self, record: Record, waiting: set[int]) -> bool:
        """Whether no other name of this very file exists that the index does not know of."""
        there = self.findings.vault.stat(self.ledger.content_id(record.content)) if record.ino else None
        if there is None or there.st_ino != record.ino:
            return True
        known = self.index.value(
            "SELECT count(*) FROM record WHERE content = ? AND ino = ? AND sub != 0 AND no != ?",
            (record.content, record.ino, record.no),
        )
        if there.st_nlink - 1 <= known:
            return True
        now = clock.now()
        if record.young > 1 and now - record.young >= UNEXPLAINED_SECONDS:
            return True
        if record.young <= 1:
            record.young = now
            self.ledger.set_file(record)
        waiting.add(record.mailbox)
        return False

    def keep_stamps(self, waiting: set[int]) -> None:
        """Remember how directories were at a listing that can be relied on; others are listed again."""
        for no, stamps in self.findings.stamps.items():
            box = self.ledger.boxes[no]
            if no not in self.findings.trusted or no in waiting:
                stamps = [[inode, 0, 0] for inode, *_ in stamps]  # enough to recognise a rename
            value = packb(stamps)
            if value != box.stamps:
                box.stamps, box.dirty = value, True
