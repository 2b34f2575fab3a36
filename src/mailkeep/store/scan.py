"""The scan: what did other programs do to the Maildir since last time?

What is *there* is believed when it is seen and read. What is *not* there is believed to be removed only
when every known mailbox was seen, the listing was quiet, a second one later lacks it too, and no other
name of the same file explains it. Everything else is unknown and waits for the next scan.

    survey -> compare each changed directory -> reading: new files -> vault, made durable
           -> one transaction: noting: records, flags, moves -> removals: second look, guard, tombstones or hold

What a scan has found so far is in its `findings`, on which the parts work.
"""

from __future__ import annotations

import os

from msgpack import unpackb

from mailkeep.rules.listing import Comparison
from mailkeep.store.findings import QUIET_TRIES, YOUNG_NS, Findings
from mailkeep.store.history import FOUND
from mailkeep.store.maildir import SUBS
from mailkeep.store.rows import IN_CUR, IN_NEW, REPLACE
from mailkeep.store.survey import Survey, stamp_at
from mailkeep.system import clock, fs
from mailkeep.system.fs import bounded
from mailkeep.wire.maildirname import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Report
    from mailkeep.store.maildir import Stamp
    from mailkeep.store.noting import Noting
    from mailkeep.store.reading import Reading
    from mailkeep.store.removals import Removals
    from mailkeep.store.rows import Mailbox

BATCH = 4000
"""Files taken in by one transaction: large enough that its syncs do not count, small in memory."""
SLICE = 48
"""Files checked by stat at each scan, whatever the directories say."""

WRITTEN_IN_PLACE = (
    "was written in place, and so was the vault's copy, being the same file: what it said before is lost here,"
    " a peer's vault may have it"
)


class Scan:
    """One scan of one store, under its lock."""

    def __init__(self, findings: Findings) -> None:
        """Prepare; `findings` says of what store, and what may be believed."""
        self.findings = findings
        self.ledger, self.index, self.maildir = findings.ledger, findings.index, findings.maildir
        self.survey = Survey(self.findings)
        self._reading: Reading | None = None
        self._noting: Noting | None = None
        self._removals: Removals | None = None

    # Where nothing changed, none of these is loaded.

    @property
    def reading(self) -> Reading:
        """Reads files."""
        if self._reading is None:
            from mailkeep.store.reading import Reading

            self._reading = Reading(self.findings)
        return self._reading

    @property
    def noting(self) -> Noting:
        """Writes what was found."""
        if self._noting is None:
            from mailkeep.store.noting import Noting

            self._noting = Noting(self.findings)
        return self._noting

    @property
    def removals(self) -> Removals:
        """Decides on what was not found."""
        if self._removals is None:
            from mailkeep.store.removals import Removals

            self._removals = Removals(self.findings)
        return self._removals

    @property
    def sure(self) -> bool:
        """Whether every mailbox was seen, whole and undisturbed: nothing missing is left to be found out."""
        return not self.findings.unseen and not self.findings.unquiet

    def run(self) -> Report:
        """Scan, and write what was found. Durable on return.

        Raises:
            MailkeepError: Nothing was concluded from what could not be read.
        """
        history = self.ledger.history
        cause, history.cause = history.cause, FOUND
        try:
            return self._run()
        finally:
            history.cause = cause
            if self._reading is not None:
                self._reading.abandon()

    def _run(self) -> Report:
        gone = self.survey.mailboxes()
        wanted = self._changed(gone)
        if wanted:
            self._let_settle()
        if self.findings.weak and self.findings.progress is not None:
            self.findings.progress.expect("read", self._to_read(wanted))
        for box, stamps in wanted:
            self._list(box, stamps)
            if len(self.findings.batch) + len(self.findings.flag_changes) >= BATCH:
                self.noting.write_batch()
        while self._reading is not None and self._reading.goes_on:
            self._read_ahead()
        self._look_again()
        for no in gone:
            self.findings.missing[no] = {
                r[0]: (r[1], r[2])
                for r in self.index.execute(
                    "SELECT no, base, sub FROM record WHERE mailbox = ? AND sub != 0", (no,)
                )
            }
        if (
            self.findings.batch
            or self.findings.flag_changes
            or self.findings.missing
            or gone
            or self.findings.stamps
            or self.findings.weak
            or self.findings.unseen
            or self.findings.grown
        ):
            self._finish(gone)
        if self.findings.lost_objects:
            self._read_again()
        self.findings.report.problems += self.maildir.problems
        self.maildir.problems = []
        return self.findings.report

    def _read_ahead(self) -> None:
        """Let the readers go on, and meanwhile write what they read before."""
        if self.reading.read_ahead(BATCH):
            if self.findings.batch:
                self.noting.write_batch()
            if self.findings.progress is not None:
                self.findings.progress("read", self.findings.report.read)

    def _to_read(self, wanted: list[tuple[Mailbox, list[Stamp]]]) -> int:
        """How many files the first index has before it, for somebody who watches; a mistake does no harm."""
        count = 0
        for box, _ in wanted:
            for sub in SUBS[1:]:
                try:
                    with self.maildir.listing(box.dir or b"", sub) as entries:
                        count += sum(1 for _ in entries)
                except OSError:
                    continue  # it is said when it is listed
        return count

    def _let_settle(self) -> None:
        """Wait, once and briefly, until what changed is older than a tick of the file system's clock."""
        self.findings.now_ns = fs.now_of(self.findings.state)
        newest = max((s[1] for _, stamps in self._wanted for s in stamps), default=0)
        # Its clock may be coarser than ours, and still a tick behind after the wait.
        for _ in range(QUIET_TRIES):
            wait = newest + self.findings.margin_ns - self.findings.now_ns
            if not 0 < wait <= self.findings.margin_ns:
                return
            clock.sleep(wait / 1e9)
            self.findings.now_ns = fs.now_of(self.findings.state)

    def _changed(self, gone: list[int]) -> list[tuple[Mailbox, list[Stamp]]]:
        self._wanted: list[tuple[Mailbox, list[Stamp]]] = []
        for box in self.ledger.boxes.values():
            if box.dir is None or box.no in gone:
                continue
            try:
                stamps = list(self.maildir.stamps(box.dir))
            except OSError as err:
                if os.path.join(box.dir, b"cur") and stamp_at(
                    self.maildir, os.path.join(box.dir, b"cur") if box.dir else b"cur"
                ):
                    self.maildir.report(
                        box.dir, f"cannot be read ({os.strerror(err.errno or 5)}): what it holds is unknown"
                    )
                self.findings.unseen.append(box.name)
                continue
            if box.stamps is None or unpackb(box.stamps) != stamps:
                self._wanted.append((box, stamps))
        return self._wanted

    def _list(self, box: Mailbox, stamps: list[Stamp]) -> None:
        """Compare one mailbox's directories with the index."""
        assert box.dir is not None
        comparison = Comparison(
            self.index.execute(
                "SELECT CAST(base || info AS BLOB), no, base, sub, info, ino FROM record WHERE mailbox = ? AND sub != 0",
                (box.no,),
            )
        )
        try:
            for sub in (IN_NEW, IN_CUR):
                with self.maildir.listing(box.dir, SUBS[sub]) as entries:
                    comparison.take(sub, entries)
            comparison.finish(split)
            after = list(self.maildir.stamps(box.dir))
        except OSError as err:
            self.maildir.report(
                os.path.join(box.dir, b"cur"),
                f"cannot be listed ({os.strerror(err.errno or 5)}): what it holds is unknown",
            )
            self.findings.unseen.append(box.name)
            return
        self.findings.report.listed += 1
        self.findings.stamps[box.no] = stamps
        quiet = after == stamps and not any(
            self.findings.is_recent(s[1], self.findings.now_ns, self.findings.now_ns) for s in stamps
        )
        if quiet:
            self.findings.trusted.add(box.no)
        else:
            self.findings.unquiet.add(box.no)
        for sub, name in comparison.strange:
            self.maildir.report(
                os.path.join(box.dir, SUBS[sub], name),
                "is no regular file (a link, a FIFO, a directory): it was not opened",
            )
        if comparison.missing:
            self.findings.missing[box.no] = {no: (base, sub) for _, no, base, sub, _, _ in comparison.missing}
        self.findings.flag_changes += comparison.moved
        for no, sub, base, info in comparison.replaced:
            self.reading.identify(box, sub, base, info, no)
        if self.findings.weak and not self.findings.dry:
            self.reading.unread += [(box, sub, base, info) for sub, base, info in comparison.appeared]
            while len(self.reading.unread) >= BATCH:
                self._read_ahead()
            return
        for sub, base, info in comparison.appeared:
            self.reading.identify(box, sub, base, info, None)
            if len(self.findings.batch) >= BATCH and not self.findings.missing.get(box.no):
                self.noting.write_batch()

    def _look_again(self) -> None:
        """Stat what was young last time, and a slice of all files."""
        if not self.findings.now_ns:
            young = self.index.execute("SELECT 1 FROM record WHERE young AND young = 1 LIMIT 1").fetchone()
            if young:
                self.findings.now_ns = fs.now_of(self.findings.state)
        fields = "SELECT r.no, r.mailbox, r.sub, r.base, r.info, r.ino, r.mtime, r.ctime, r.todo, c.size FROM record r"
        join = "CROSS JOIN content c ON c.no = r.content"  # records first: the few that are asked for
        columns = f"{fields} {join}"
        rows = list(
            self.index.execute(
                f"{fields} INDEXED BY record_young {join} WHERE r.young AND r.young = 1 AND r.sub != 0"
            )
        )
        young_ones = {row[0] for row in rows}
        last = self.index.value("SELECT max(no) FROM record")
        if last:
            start = int.from_bytes(clock.random_bytes(4), "big") % last
            part = "r.sub != 0 AND r.young = 0 ORDER BY r.no LIMIT ?"
            piece = list(self.index.execute(f"{columns} WHERE r.no > ? AND {part}", (start, SLICE)))
            rest = (start, SLICE - len(piece))
            rows += piece + list(self.index.execute(f"{columns} WHERE r.no <= ? AND {part}", rest))
        busy = {change[0] for change in self.findings.flag_changes} | {f.record for f in self.findings.batch}
        learned = []
        for no, mailbox, sub, base, info, ino, mtime, ctime, todo, size in rows:
            box = self.ledger.boxes[mailbox]
            if box.dir is None or no in busy or no in self.findings.missing.get(mailbox, ()):
                continue
            try:
                st = os.stat(base + info, dir_fd=self.maildir.open(box.dir, SUBS[sub]), follow_symlinks=False)
            except OSError:
                continue  # a change since the listing: the next scan sees it
            if (st.st_ino, st.st_size, bounded(st.st_mtime_ns)) != (ino, size, mtime):
                self.reading.identify(box, sub, base, info, no)
            elif ctime is None or bounded(st.st_ctime_ns) == ctime:
                if ctime is None or (
                    self.findings.now_ns and st.st_ctime_ns + YOUNG_NS < self.findings.now_ns
                ):
                    learned.append((bounded(st.st_ctime_ns), 0, no))
            elif todo != REPLACE:  # one that is known to be damaged is no message that somebody rewrote
                self.reading.identify(box, sub, base, info, no)
        self.findings.learned = [row for row in learned if row[1] == 0]
        self.findings.grown = any(row[2] in young_ones for row in self.findings.learned)

    def _read_again(self) -> None:
        """Find what the vault lost in other files that have it."""
        for content in self.findings.lost_objects:
            rows = self.index.execute(
                "SELECT no, mailbox, sub, base, info FROM record WHERE content = ? AND sub != 0", (content,)
            )
            for no, mailbox, sub, base, info in list(rows):
                box = self.ledger.boxes[mailbox]
                if box.dir is not None:
                    self.reading.identify(box, sub, base, info, no)
        self.noting.write_batch()
        for content, where in self.findings.lost_objects.items():
            if not self.index.value("SELECT kept FROM content WHERE no = ?", (content,)):
                self.maildir.report(where, WRITTEN_IN_PLACE)
        self.findings.lost_objects = {}
        if self.findings.replaced or self.findings.rewritten:
            from mailkeep.store.holds import Reaper

            with self.index.transaction():
                reaper = Reaper(self.ledger, self.findings.limits, "here")
                self.removals.want_replaced(reaper)
                self.removals.reap(reaper)

    def _finish(self, gone: list[int]) -> None:
        """The last transaction: what was collected, removals, and the stamps of what was listed."""
        if self.findings.batch and not self.findings.dry:
            self.findings.vault.syncer.sync()
        missing_now = {}
        if any(self.findings.missing.values()):
            missing_now = self.removals.second_look(set(gone))
        with self.index.transaction():
            self.noting.write()
            self.findings.batch, self.findings.flag_changes = [], []
            for no in list(missing_now):  # some were found again under another name
                missing_now[no] = {
                    r: at for r, at in missing_now[no].items() if r in self.findings.missing.get(no, ())
                }
            waiting = self.removals.carry_out(missing_now, set(gone))
            self.removals.keep_stamps(waiting)
            if self.findings.unseen or waiting.intersection(gone):
                self.index.meta["structure"] = None  # look for them again next time
            self.ledger.settle_names()
            if self.findings.weak and not self.findings.unseen:
                self.index.meta["indexed"] = 1
