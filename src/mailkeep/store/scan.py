"""The scan: what did other programs do to the Maildir since last time?

What is *there* is believed when it is seen and read. What is *not* there is believed to be removed only
when every known mailbox was seen, the listing was quiet, a second one later lacks it too, and no other
name of the same file explains it. Everything else is unknown and waits for the next scan.

    survey -> compare each changed directory -> identify new files -> vault, made durable
           -> one transaction: records, flags, moves -> removals: second look, guard, tombstones or hold
"""

from __future__ import annotations

import os

from msgpack import packb, unpackb

from mailkeep.domain.errors import printable
from mailkeep.domain.flags import OLD
from mailkeep.domain.record import SIZE_MAX
from mailkeep.rules.listing import Comparison
from mailkeep.store.history import FOUND
from mailkeep.store.ledger import IN_CUR, IN_NEW, NO_FILE, REPLACE
from mailkeep.store.maildir import SUBS, stamp_of
from mailkeep.system import clock, fs
from mailkeep.system.fs import bounded
from mailkeep.wire.layouts import Unmappable
from mailkeep.wire.maildirname import INFO, flags_of, inexpressible, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.domain.progress import Watch
    from mailkeep.rules.guard import Limits
    from mailkeep.store.holds import Reaper
    from mailkeep.store.ledger import Ledger, Mailbox, Record
    from mailkeep.store.maildir import Maildir, Stamp
    from mailkeep.store.vault import Vault
    from mailkeep.system.parallel import Share

BATCH = 4000
"""Files taken in by one transaction: large enough that its syncs do not count, small in memory."""
YOUNG_NS = 2_000_000_000
"""A file changed less than this long ago may still be written to: it is looked at again next time."""
SECOND_LOOK_SECONDS = 0.02
"""At least this long after the first listing; more where the file system's clock is coarse."""
QUIET_TRIES = 3
UNEXPLAINED_SECONDS = 600
"""A file that is gone from its mailbox while some other link to it exists is believed removed after this."""
GOES_ON, REWRITTEN, REPLACED = range(3)
"""What became of the mail that a file was: it is the same, or more of it; it was edited, to judge by its Message-ID; or the
file is another mail by now, or none."""
SLICE = 48
"""Files checked by stat at each scan, whatever the directories say."""

WRITTEN_IN_PLACE = (
    "was written in place, and so was the vault's copy, being the same file: what it said before is lost here,"
    " a peer's vault may have it"
)


class Report:
    """What a scan found. Counts are of messages."""

    __slots__ = ("added", "expunged", "flagged", "held", "listed", "mailboxes", "moved", "problems", "put_back", "read",
                 "unknown")  # fmt: skip

    def __init__(self) -> None:
        self.added = self.expunged = self.flagged = self.moved = self.held = self.put_back = self.unknown = 0
        self.listed = self.mailboxes = self.read = 0
        self.problems: list[tuple[str, str]] = []

    @property
    def changed(self) -> bool:
        """Whether anything differed from the index; what a later scan has to settle ('unknown') does not count."""
        return bool(
            self.added
            or self.expunged
            or self.flagged
            or self.moved
            or self.held
            or self.mailboxes
            or self.put_back
        )


class Stat:
    """What a reader saw of a file: the part of os.stat_result that is needed."""

    __slots__ = ("st_ctime_ns", "st_dev", "st_ino", "st_mtime_ns", "st_nlink", "st_size")

    def __init__(self, dev: int, ino: int, size: int, mtime_ns: int, ctime_ns: int, nlink: int) -> None:
        self.st_dev, self.st_ino, self.st_size = dev, ino, size
        self.st_mtime_ns, self.st_ctime_ns, self.st_nlink = mtime_ns, ctime_ns, nlink


class Found:
    """A file whose content is known, waiting for its transaction."""

    __slots__ = (
        "base",
        "box",
        "content",
        "content_id",
        "fate",
        "info",
        "linked",
        "record",
        "size",
        "st",
        "sub",
        "young",
    )

    def __init__(
        self, box: Mailbox, sub: int, base: bytes, info: bytes, st: os.stat_result | Stat, record: int | None
    ) -> None:
        self.box, self.sub, self.base, self.info, self.st, self.record = box, sub, base, info, st, record
        self.content: int | None = None
        self.content_id = b""
        self.size = st.st_size
        self.linked: os.stat_result | Stat | None = None
        self.young = 0
        self.fate = GOES_ON
        """What became of the mail that a known file was."""


class Scan:
    """One scan of one store, under its lock."""

    def __init__(
        self,
        ledger: Ledger,
        maildir: Maildir,
        vault: Vault,
        limits: Limits,
        *,
        state: bytes,
        granularity_ns: int,
        believe_absence: bool = True,
        ask: bool = False,
        dry: bool = False,
        progress: Watch | None = None,
    ) -> None:
        """Prepare.

        Args:
            state: Where the file system's clock can be asked.
            granularity_ns: Of that clock, as measured.
            believe_absence: False when Maildir or index came from a backup: what is missing is put back.
            ask: With that: what is missing may have been removed since, so where it is much, it is held.
            dry: Look only: the vault takes nothing in.
            progress: Is told now and then how many files were read.
        """
        self.ledger, self.index, self.maildir, self.vault, self.limits = (
            ledger,
            ledger.index,
            maildir,
            vault,
            limits,
        )
        self.state, self.believe_absence, self.ask, self.dry = state, believe_absence, ask, dry
        self.margin_ns = max(2 * granularity_ns, 8_000_000)
        self.progress = progress
        self.report = Report()
        self.weak = not self.index.meta.get("indexed")
        self.missing: dict[int, dict[int, tuple[bytes, int]]] = {}
        """mailbox -> record number -> (base, sub) of files that a listing lacked."""
        self.batch: list[Found] = []
        self.flag_changes: list[tuple[int, int, bytes, bytes, int]] = []
        self.unread: list[tuple[Mailbox, int, bytes, bytes]] = []
        self.share: Share | None = None
        self.rewritten: list[int] = []
        """Likewise, of files that were rewritten under their own Message-IDs."""
        self.replaced: list[int] = []
        """Records whose files were overwritten with another mail, or with none: the guard has yet to judge."""
        self.grown = False
        """Whether files that were young are so no more: noted even when nothing else is to be written."""
        self.learned: list[tuple[int, int, int]] = []
        """(ctime, young, record number) of files that a second look found unchanged."""
        self.stamps: dict[int, list[Stamp]] = {}
        """Mailboxes that were listed: [new, cur] as they were before the listing."""
        self.trusted: set[int] = set()
        self.unseen: list[str] = []
        """Mailboxes that could not be read: nothing is known of them, and no removal is believed."""
        self.lost_objects: dict[int, bytes] = {}
        """Contents whose object was found to be overwritten, each with the file by which that was done."""
        self.unquiet: set[int] = set()
        """Mailboxes whose listing another program disturbed: what it lacks is unknown."""
        self._now_ns = 0

    @property
    def sure(self) -> bool:
        """Whether every mailbox was seen, whole and undisturbed: nothing missing is left to be found out."""
        return not self.unseen and not self.unquiet

    # --- the whole

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
            if self.share is not None:
                self.share.abandon()

    def _run(self) -> Report:
        gone = self._mailboxes()
        wanted = self._changed(gone)
        if wanted:
            self._let_settle()
        if self.weak and self.progress is not None:
            self.progress.expect("read", self._to_read(wanted))
        for box, stamps in wanted:
            self._list(box, stamps)
            if len(self.batch) + len(self.flag_changes) >= BATCH:
                self._write_batch()
        while self.unread or self.share is not None:
            self._read_ahead(BATCH)
        self._look_again()
        for no in gone:
            self.missing[no] = {
                r[0]: (r[1], r[2])
                for r in self.index.execute(
                    "SELECT no, base, sub FROM record WHERE mailbox = ? AND sub != 0", (no,)
                )
            }
        if (
            self.batch
            or self.flag_changes
            or self.missing
            or gone
            or self.stamps
            or self.weak
            or self.unseen
            or self.grown
        ):
            self._finish(gone)
        if self.lost_objects:
            self._read_again()
        self.report.problems += self.maildir.problems
        self.maildir.problems = []
        return self.report

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

    def _is_recent(self, changed_ns: int, earlier_ns: int, later_ns: int) -> bool:
        """Whether another change between two moments might leave a directory with this very time.

        One from the future is none such: it was dated by a clock that was wrong, and a change now would show.
        """
        return earlier_ns - self.margin_ns < changed_ns <= later_ns + self.margin_ns

    def _let_settle(self) -> None:
        """Wait, once and briefly, until what changed is older than a tick of the file system's clock."""
        self._now_ns = fs.now_of(self.state)
        newest = max((s[1] for _, stamps in self._wanted for s in stamps), default=0)
        # Its clock may be coarser than ours, and still a tick behind after the wait.
        for _ in range(QUIET_TRIES):
            wait = newest + self.margin_ns - self._now_ns
            if not 0 < wait <= self.margin_ns:
                return
            clock.sleep(wait / 1e9)
            self._now_ns = fs.now_of(self.state)

    # --- mailboxes

    def _mailboxes(self) -> list[int]:
        """Find mailboxes that are new, renamed or gone; the numbers of those that are gone."""
        known = {box.dir: box for box in self.ledger.boxes.values() if box.dir is not None}
        kept = self.index.meta.get("structure")
        if kept is not None and not self.weak:
            stamps = unpackb(kept)
            if all(self._stamp(path) == stamp for path, stamp in stamps.items()):
                return []
        now_ns = fs.now_of(self.state)
        found, stamps = self.maildir.survey()
        if not known.keys() <= set(found):
            found, stamps = self._survey_again(stamps)
        later_ns = fs.now_of(self.state)
        self.unseen += [where for where, why in self.maildir.problems if "unknown" in why]
        here = set(found)
        new = [path for path in found if path not in known]
        gone = {box.no: box for path, box in known.items() if path not in here}
        with self.index.transaction():
            for path in new:
                self._new_mailbox(path, gone)
            young = any(self._is_recent(s[1], now_ns, later_ns) for s in stamps.values())
            self.index.meta["structure"] = None if young or gone or self.maildir.problems else packb(stamps)
        return [no for no, box in gone.items() if not self._is_unreadable(box)]

    def _survey_again(self, stamps: dict[bytes, Stamp]) -> tuple[list[bytes], dict[bytes, Stamp]]:
        """A mailbox that a listing lacks may have been renamed while it was listed: look until nothing moves."""
        found: list[bytes] = []
        for _ in range(QUIET_TRIES):
            before = stamps
            clock.sleep(max(SECOND_LOOK_SECONDS, self.margin_ns / 1e9))
            self.maildir.problems = []
            found, stamps = self.maildir.survey()
            if stamps == before and all(self._stamp(path) == stamp for path, stamp in stamps.items()):
                return found, stamps
        self.maildir.report(b"", "changed without pause: which mailboxes are there is unknown")
        return found, stamps

    def _stamp(self, path: bytes) -> Stamp | None:
        try:
            return stamp_of(os.stat(path or b".", dir_fd=self.maildir.fd, follow_symlinks=False))
        except OSError:
            return None

    def _is_unreadable(self, box: Mailbox) -> bool:
        """A mailbox that the survey did not list: is it really not there?"""
        assert box.dir is not None
        try:
            os.stat(
                os.path.join(box.dir, b"cur") if box.dir else b"cur",
                dir_fd=self.maildir.fd,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            if not self.unseen:
                return False
        except OSError:
            pass
        self.unseen.append(box.name)
        return True

    def _new_mailbox(self, path: bytes, gone: dict[int, Mailbox]) -> None:
        try:
            name = str(self.maildir.layout.name(path))
            stamps = list(self.maildir.stamps(path))
        except Unmappable as err:
            self.maildir.report(path, f"is no mailbox for mailkeep: it {err.reason}")
            return
        except OSError as err:
            self.maildir.report(
                path, f"is no whole mailbox (new or cur: {os.strerror(err.errno or 5)}); it waits"
            )
            return
        box = self.ledger.named(name)
        if box is not None and box.dir is None:
            box.dir, box.hold, box.dirty, box.problem = path, None, True, None
            self.report.mailboxes += 1
            return
        renamed = self._renamed_to(path, stamps, gone)
        if box is not None and renamed is not box:
            other = box.dir if box.no not in gone else None
            if other is not None:
                self.maildir.report(
                    path,
                    f"has the same name as {printable(other) or 'the root'} ({name}); it waits for another",
                )
                return
        self.report.mailboxes += 1
        if renamed is not None and box is None:
            del gone[renamed.no]
            self.ledger.rename(renamed, name)
            renamed.dir, renamed.todo = path, False
            return
        if box is not None:  # its own directory is gone, and this one has its name
            gone.pop(box.no, None)
        else:
            box = self.ledger.create(name, clock.now(), self.weak)
        box.dir, box.todo, box.stamps, box.problem, box.dirty = path, False, None, None, True

    def _renamed_to(self, path: bytes, stamps: list[Stamp], gone: dict[int, Mailbox]) -> Mailbox | None:
        """The gone mailbox whose directory this is: the same cur, unchanged, or with a file we know in it."""
        for box in gone.values():
            before = unpackb(box.stamps)[1] if box.stamps else None
            if before is None or before[0] != stamps[1][0]:
                if not self.believe_absence and self._has_files_of(path, box):
                    return box
                continue
            if before == stamps[1] or not box.count:
                return box
            files = dict(
                self.index.execute("SELECT base, ino FROM record WHERE mailbox = ? AND sub != 0", (box.no,))
            )
            for sub in SUBS[1:]:
                with self.maildir.listing(path, sub) as entries:
                    if any(files.get(split(entry.name)[0]) == entry.inode() for entry in entries):
                        return box
        return None

    def _has_files_of(self, path: bytes, box: Mailbox) -> bool:
        """After a backup inodes say nothing: whether most files of a gone mailbox are here, by their names."""
        bases = {
            row[0]
            for row in self.index.execute("SELECT base FROM record WHERE mailbox = ? AND sub != 0", (box.no,))
        }
        found = 0
        for sub in SUBS[1:]:
            with self.maildir.listing(path, sub) as entries:
                found += sum(split(entry.name)[0] in bases for entry in entries)
        return 2 * found > len(bases)

    # --- changed directories

    def _changed(self, gone: list[int]) -> list[tuple[Mailbox, list[Stamp]]]:
        self._wanted: list[tuple[Mailbox, list[Stamp]]] = []
        for box in self.ledger.boxes.values():
            if box.dir is None or box.no in gone:
                continue
            try:
                stamps = list(self.maildir.stamps(box.dir))
            except OSError as err:
                if os.path.join(box.dir, b"cur") and self._stamp(
                    os.path.join(box.dir, b"cur") if box.dir else b"cur"
                ):
                    self.maildir.report(
                        box.dir, f"cannot be read ({os.strerror(err.errno or 5)}): what it holds is unknown"
                    )
                self.unseen.append(box.name)
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
            self.unseen.append(box.name)
            return
        self.report.listed += 1
        self.stamps[box.no] = stamps
        quiet = after == stamps and not any(self._is_recent(s[1], self._now_ns, self._now_ns) for s in stamps)
        if quiet:
            self.trusted.add(box.no)
        else:
            self.unquiet.add(box.no)
        for sub, name in comparison.strange:
            self.maildir.report(
                os.path.join(box.dir, SUBS[sub], name),
                "is no regular file (a link, a FIFO, a directory): it was not opened",
            )
        if comparison.missing:
            self.missing[box.no] = {no: (base, sub) for _, no, base, sub, _, _ in comparison.missing}
        self.flag_changes += comparison.moved
        for no, sub, base, info in comparison.replaced:
            self._identify(box, sub, base, info, no)
        if self.weak and not self.dry:
            self.unread += [(box, sub, base, info) for sub, base, info in comparison.appeared]
            while len(self.unread) >= BATCH:
                self._read_ahead(BATCH)
            return
        for sub, base, info in comparison.appeared:
            self._identify(box, sub, base, info, None)
            if len(self.batch) >= BATCH and not self.missing.get(box.no):
                self._write_batch()

    def _look_again(self) -> None:
        """Stat what was young last time, and a slice of all files."""
        if not self._now_ns:
            young = self.index.execute("SELECT 1 FROM record WHERE young AND young = 1 LIMIT 1").fetchone()
            if young:
                self._now_ns = fs.now_of(self.state)
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
        busy = {change[0] for change in self.flag_changes} | {f.record for f in self.batch}
        learned = []
        for no, mailbox, sub, base, info, ino, mtime, ctime, todo, size in rows:
            box = self.ledger.boxes[mailbox]
            if box.dir is None or no in busy or no in self.missing.get(mailbox, ()):
                continue
            try:
                st = os.stat(base + info, dir_fd=self.maildir.open(box.dir, SUBS[sub]), follow_symlinks=False)
            except OSError:
                continue  # a change since the listing: the next scan sees it
            if (st.st_ino, st.st_size, bounded(st.st_mtime_ns)) != (ino, size, mtime):
                self._identify(box, sub, base, info, no)
            elif ctime is None or bounded(st.st_ctime_ns) == ctime:
                if ctime is None or (self._now_ns and st.st_ctime_ns + YOUNG_NS < self._now_ns):
                    learned.append((bounded(st.st_ctime_ns), 0, no))
            elif todo != REPLACE:  # one that is known to be damaged is no message that somebody rewrote
                self._identify(box, sub, base, info, no)
        self.learned = [row for row in learned if row[1] == 0]
        self.grown = any(row[2] in young_ones for row in self.learned)

    # --- files

    def _identify(self, box: Mailbox, sub: int, base: bytes, info: bytes, record: int | None) -> None:
        """Find out which content a file has, by proof or by reading it, and take it into the vault."""
        assert box.dir is not None
        name = base + info
        try:
            directory = self.maildir.open(box.dir, SUBS[sub])
            fd = os.open(name, fs.O_READ, dir_fd=directory)
        except FileNotFoundError:
            self.trusted.discard(box.no)  # renamed or removed since the listing
            return
        except OSError as err:
            self.trusted.discard(box.no)
            self.maildir.report(
                os.path.join(box.dir, SUBS[sub], name),
                f"cannot be read: {os.strerror(err.errno or 5)}; it waits",
            )
            return
        try:
            st = os.fstat(fd)
            if not fs.is_regular(st):
                self.maildir.report(
                    os.path.join(box.dir, SUBS[sub], name), "is no regular file: it was left alone"
                )
                return
            if st.st_size >= SIZE_MAX:
                self.maildir.report(
                    os.path.join(box.dir, SUBS[sub], name),
                    "is 4 GiB or larger: it was not taken in, and stays here alone",
                )
                return
            found = Found(box, sub, base, info, st, record)
            if self._now_ns < max(st.st_mtime_ns, st.st_ctime_ns) + YOUNG_NS:
                found.young = 1
            if not self._prove(found):
                self._hash(found, fd, name, directory)
            if record is not None:
                found.fate = self._fate(found, fd)
            self.batch.append(found)
        except _Moving:
            self.trusted.discard(box.no)
        except FileNotFoundError:
            self.trusted.discard(box.no)  # renamed while it was read
        except OSError as err:
            self.trusted.discard(box.no)
            self.maildir.report(
                os.path.join(box.dir, SUBS[sub], name), f"cannot be taken in: {os.strerror(err.errno or 5)}"
            )
            if err.errno in (
                28,
                122,
                30,
                24,
            ):  # ENOSPC, EDQUOT, EROFS, EMFILE: no other file will fare better
                raise fs.explain(err, "the vault cannot take in a message") from err
        finally:
            os.close(fd)
        if self.progress is not None and len(self.batch) % 500 == 0:
            self.progress("read", self.report.read)

    def _prove(self, found: Found) -> bool:
        """Whether a known object *is* this file, now: the same device, inode and size, and unchanged since it was hashed.

        An inode alone proves nothing: a freed one is given to the next file (measured: 200 times of 200).
        """
        row = self.index.execute(
            "SELECT no, id FROM content WHERE ino = ? AND kept", (found.st.st_ino,)
        ).fetchone()
        if row is None:
            return False
        there = self.vault.stat(row[1])
        if there is None or not fs.is_same(there, found.st):
            return False
        # File and object are one inode: that they are equal says nothing about what both were when hashed.
        # The times of then do, and where no record has them any more, or its inode changed, it is read again.
        hashed = self.index.execute(
            "SELECT mtime, ctime, no FROM record WHERE content = ? AND ino = ? ORDER BY no != ? LIMIT 1",
            (row[0], found.st.st_ino, found.record or 0),
        ).fetchone()
        if hashed is None or hashed[0] != bounded(found.st.st_mtime_ns):
            return False
        if hashed[2] == found.record and hashed[1] is not None and hashed[1] != bounded(found.st.st_ctime_ns):
            return False
        found.content, found.content_id, found.linked = row[0], row[1], found.st
        return True

    def _fate(self, found: Found, fd: int) -> int:
        """Whether a known file still is the mail that it was: unchanged, or with more at its end; or with its Message-ID."""
        from hashlib import sha256

        from mailkeep.rules.rewriting import HEAD_BYTES, is_same_mail

        row = self.index.execute(
            "SELECT c.id, c.size FROM record r JOIN content c ON c.no = r.content WHERE r.no = ?",
            (found.record,),
        ).fetchone()
        assert row is not None, "a record number of this index"
        before, size = row
        if before == found.content_id or not size:
            return GOES_ON
        if size < found.size:  # it was still being written when it was first seen
            hashed, at = sha256(), 0
            while at < size and (data := os.pread(fd, min(fs.READ_BYTES, size - at), at)):
                hashed.update(data)
                at += len(data)
            if hashed.digest() == before:
                return GOES_ON
        try:
            old = self.vault.open(before)
        except OSError:
            return REPLACED
        try:
            st = os.fstat(old)
            if (st.st_dev, st.st_ino) == (found.st.st_dev, found.st.st_ino):
                return REPLACED  # overwritten in place, and the vault's object with it
            same = is_same_mail(os.pread(old, HEAD_BYTES, 0), os.pread(fd, HEAD_BYTES, 0))
            return REWRITTEN if same else REPLACED
        finally:
            os.close(old)

    def _hash(self, found: Found, fd: int, name: bytes, directory: int) -> None:
        from hashlib import sha256

        # One byte more than its size: a short read shows the end without a second call.
        want = min(found.st.st_size + 1, fs.READ_BYTES)
        data = os.read(fd, want)
        hashed = sha256(data)
        while len(data) == want:
            data = os.read(fd, want)
            hashed.update(data)
        st = os.fstat(fd)
        if (st.st_size, st.st_mtime_ns, st.st_ctime_ns) != (
            found.st.st_size,
            found.st.st_mtime_ns,
            found.st.st_ctime_ns,
        ):
            raise _Moving
        found.content_id = hashed.digest()
        row = self.index.execute("SELECT no, kept FROM content WHERE id = ?", (found.content_id,)).fetchone()
        if row is not None:
            found.content = row[0]
        self.report.read += 1
        if self.dry:
            return
        found.linked = self.vault.adopt(found.content_id, fd, name, directory, st, kept=bool(row and row[1]))
        now = found.linked or os.fstat(fd)
        if (now.st_size, now.st_mtime_ns) != (st.st_size, st.st_mtime_ns):
            raise _Moving  # written to since it was read: the object does not count, and is made anew

    # --- the first index: several processes read

    def _read_ahead(self, count: int) -> None:
        """Give the next files to the readers, and meanwhile write what they read before."""
        before, self.share = self.share, None
        jobs, self.unread = self.unread[:count], self.unread[count:]
        if jobs:
            from mailkeep.system.parallel import Share, workers

            self.vault.make_places()
            self.share = Share(self._read_one, jobs, workers())
        if before is not None:
            for (box, sub, base, info), result in zip(before.jobs, before.results(), strict=True):
                if result is None:
                    self._identify(box, sub, base, info, None)  # a copy of another, or trouble: one at a time
                    continue
                content_id, dev, ino, size, mtime, ctime, nlink, linked_ctime = result
                st = Stat(dev, ino, size, mtime, ctime, nlink)
                found = Found(box, sub, base, info, st, None)
                found.content_id, found.linked = content_id, Stat(dev, ino, size, mtime, linked_ctime, nlink)
                if self._now_ns < max(st.st_mtime_ns, st.st_ctime_ns) + YOUNG_NS:
                    found.young = 1
                self.batch.append(found)
                self.report.read += 1
            if self.batch:
                self._write_batch()
            if self.progress is not None:
                self.progress("read", self.report.read)

    def _read_one(self, job: tuple[Mailbox, int, bytes, bytes]) -> tuple[object, ...] | None:
        """In a reader: hash a file and link it into the vault; None when anything is out of the ordinary."""
        from hashlib import sha256

        box, sub, base, info = job
        assert box.dir is not None
        name = base + info
        try:
            directory = self.maildir.open(box.dir, SUBS[sub])
            fd = os.open(name, fs.O_READ, dir_fd=directory)
        except OSError:
            return None
        try:
            st = os.fstat(fd)
            if not fs.is_regular(st) or st.st_size >= fs.READ_BYTES:
                return None
            data = os.read(fd, st.st_size + 1)
            if len(data) != st.st_size:
                return None
            content_id = sha256(data).digest()
            now = self.vault.adopt_new(content_id, fd, name, directory, st)
            if now is None or (now.st_size, now.st_mtime_ns) != (st.st_size, st.st_mtime_ns):
                return None
            return (
                content_id,
                st.st_dev,
                st.st_ino,
                st.st_size,
                st.st_mtime_ns,
                st.st_ctime_ns,
                st.st_nlink,
                now.st_ctime_ns,
            )
        except OSError:
            return None
        finally:
            os.close(fd)

    # --- writing

    def _write_batch(self) -> None:
        """One transaction for what was collected; the vault's part is durable before it."""
        if self.batch and not self.dry:
            self.vault.syncer.sync()
        with self.index.transaction():
            self._write()
            self.ledger.settle_names()
        self.batch, self.flag_changes = [], []

    def _write(self) -> None:
        for change in self.flag_changes:
            self._write_flags(*change)
        for found in self.batch:
            if found.linked is not found.st and not self.weak and not self.dry:
                self._forget_damaged(found)
        for found in self._write_fresh(self.batch):
            if found.content is None:
                ino = found.linked.st_ino if found.linked is not None else None
                found.content = self.ledger.content(found.content_id, found.size, kept=True, ino=ino)
            elif found.linked is None or found.linked is not found.st:
                self.index.execute(
                    "UPDATE content SET kept = 1, size = ?, ino = coalesce(?, ino) WHERE no = ?",
                    (found.size, found.linked.st_ino if found.linked else None, found.content),
                )
            self._write_found(found)
        self.index.executemany("UPDATE record SET ctime = ?, young = ? WHERE no = ?", self.learned)
        self.learned = []

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
        self.ledger.insert_files(rows, self.weak)
        self.report.added += len(rows)
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
        if not self.believe_absence:
            off = frozenset()
            record.todo = 1
        if on or off:
            self.report.flagged += 1
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
            if found.fate == GOES_ON and self.believe_absence:
                ledger.set_file(record)
                ledger.remove(record)
            else:  # it will be put back, unless `_removals` says otherwise
                record.todo = int(record.live and record.hold is None)
                ledger.set_file(record)
                (self.rewritten if found.fate == REWRITTEN else self.replaced).append(record.no)
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
            self.weak,
        )
        record.todo = 0
        self._set_file(record, found, st)
        self.report.added += 1

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
            self.lost_objects[no] = os.path.join(
                found.box.dir or b"", SUBS[found.sub], found.base + found.info
            )

    def _read_again(self) -> None:
        """Find what the vault lost in other files that have it."""
        for content in self.lost_objects:
            rows = self.index.execute(
                "SELECT no, mailbox, sub, base, info FROM record WHERE content = ? AND sub != 0", (content,)
            )
            for no, mailbox, sub, base, info in list(rows):
                box = self.ledger.boxes[mailbox]
                if box.dir is not None:
                    self._identify(box, sub, base, info, no)
        self._write_batch()
        for content, where in self.lost_objects.items():
            if not self.index.value("SELECT kept FROM content WHERE no = ?", (content,)):
                self.maildir.report(where, WRITTEN_IN_PLACE)
        self.lost_objects = {}
        if self.replaced or self.rewritten:
            from mailkeep.store.holds import Reaper

            with self.index.transaction():
                reaper = Reaper(self.ledger, self.limits, "here")
                self._want_replaced(reaper)
                self._carry_out(reaper)

    def _fileless(self, found: Found) -> Record | None:
        """A live record of this content here whose own file is not there: this file is it, under another name."""
        gone = self.missing.get(found.box.no, {})
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

    # --- removals, and the end

    def _finish(self, gone: list[int]) -> None:
        """The last transaction: what was collected, removals, and the stamps of what was listed."""
        if self.batch and not self.dry:
            self.vault.syncer.sync()
        missing_now = {}
        if any(self.missing.values()):
            missing_now = self._second_look(set(gone))
        with self.index.transaction():
            self._write()
            self.batch, self.flag_changes = [], []
            for no in list(missing_now):  # some were found again under another name
                missing_now[no] = {
                    r: at for r, at in missing_now[no].items() if r in self.missing.get(no, ())
                }
            waiting = self._removals(missing_now, set(gone))
            self._keep_stamps(waiting)
            if self.unseen or waiting.intersection(gone):
                self.index.meta["structure"] = None  # look for them again next time
            self.ledger.settle_names()
            if self.weak and not self.unseen:
                self.index.meta["indexed"] = 1

    def _second_look(self, gone: set[int]) -> dict[int, dict[int, tuple[bytes, int]]]:
        """List again, a margin later: only what is missing from a quiet second listing too stays missing."""
        clock.sleep(max(SECOND_LOOK_SECONDS, self.margin_ns / 1e9))
        still = {}
        for no, files in self.missing.items():
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
                self.unseen.append(box.name)
                continue
            quiet = before == after == self.stamps.get(no)
            if not quiet or no not in self.trusted:
                self.report.unknown += len(files)
                self.trusted.discard(no)
                self.unquiet.add(no)
                continue
            still[no] = {r: at for r, at in files.items() if at[0] in bases}
            if len(still[no]) != len(files):
                self.trusted.discard(no)
        return still

    def _names_of_others(self, box: Mailbox, missing: dict[int, tuple[bytes, int]]) -> set[tuple[int, bytes]]:
        """(sub, name) of files that are known to be other messages' than the missing ones."""
        rows = self.index.execute(
            "SELECT no, sub, CAST(base || info AS BLOB) FROM record WHERE mailbox = ? AND sub != 0", (box.no,)
        )
        out = {(sub, name) for no, sub, name in rows if no not in missing}
        out |= {(sub, base + info) for no, sub, base, info, _ in self.flag_changes if no not in missing}
        out |= {(found.sub, found.base + found.info) for found in self.batch if found.box is box}
        return out

    def _removals(self, missing: dict[int, dict[int, tuple[bytes, int]]], gone: set[int]) -> set[int]:
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
        if self.ask and back:
            from mailkeep.store.holds import hold_returning

            self.report.held += hold_returning(
                self.ledger,
                self.limits,
                back,
                "the index came from a backup, and the Maildir does not have them",
            )
        self.report.put_back += sum(record.hold is None for record in back)
        self._want_replaced(reaper)
        self.report.unknown += len(waiting)
        if self.unseen and reaper.records:
            kept = reaper.drop_vanishing()
            self.report.unknown += kept
            waiting.update(self.missing)
        boxes = [self.ledger.boxes[no] for no in gone]
        if not self.believe_absence:
            for box in boxes:
                box.dir, box.todo, box.dirty = None, True, True
        elif self.unseen:  # something else cannot be read: whether a mailbox is gone, a later scan says
            lost = {box.no for box in boxes}
            reaper.records = [record for record in reaper.records if record.mailbox not in lost]
        else:  # what still has a link somewhere may be about to turn up: its mailbox waits with it
            reaper.mailboxes_gone([box for box in boxes if box.no not in waiting])
        self._carry_out(reaper)
        return waiting

    def _want_replaced(self, reaper: Reaper) -> None:
        """What overwritten files had been is removed, if the guard lets it."""
        for no in self.replaced:
            record = self.ledger.record(no)
            if not self.believe_absence:
                self.report.put_back += record.todo
            elif record.sub == NO_FILE:  # else another file of this scan has it
                reaper.want(record)
        self.replaced = []
        if not self.rewritten:
            return
        if self.believe_absence:
            from mailkeep.store.rewritten import Rewritten

            edited = Rewritten(self.ledger, self.limits, "here")
            for record in map(self.ledger.record, self.rewritten):
                if record.sub == NO_FILE:
                    edited.want(record)
            self._carry_out(edited)
        else:
            self.report.put_back += sum(self.ledger.record(no).todo for no in self.rewritten)
        self.rewritten = []

    def _carry_out(self, reaper: Reaper) -> None:
        from mailkeep.store.holds import forget_answered

        reaper.carry_out()
        forget_answered(self.ledger)
        if self.lost_objects or reaper.records:
            self.ledger.note_lacking()
        self.report.expunged += reaper.expunged
        self.report.held += reaper.held

    def _explained(self, record: Record, waiting: set[int]) -> bool:
        """Whether no other name of this very file exists that the index does not know of."""
        there = self.vault.stat(self.ledger.content_id(record.content)) if record.ino else None
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

    def _keep_stamps(self, waiting: set[int]) -> None:
        """Remember how directories were at a listing that can be relied on; others are listed again."""
        for no, stamps in self.stamps.items():
            box = self.ledger.boxes[no]
            if no not in self.trusted or no in waiting:
                stamps = [[inode, 0, 0] for inode, *_ in stamps]  # enough to recognise a rename
            value = packb(stamps)
            if value != box.stamps:
                box.stamps, box.dirty = value, True


class _Moving(Exception):
    """A file changed while it was read."""


def on_disk(sub: int, info: bytes, table: dict[str, str] | None) -> frozenset[str]:
    """The flags that a file shows by its name and directory."""
    flags, _ = flags_of(info, table)
    return flags | {OLD} if sub == IN_CUR else flags


def shown_difference(record: Record, table: dict[str, str] | None) -> bool:
    """Whether a record's file does not show the flags that the record has, and could."""
    from mailkeep.domain.flags import unpack

    want = unpack(record.flags)
    return want - inexpressible(want, table) != on_disk(record.sub, record.info or b"", table)
