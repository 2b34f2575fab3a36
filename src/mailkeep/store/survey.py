"""Which mailboxes are there: new ones, renamed ones, and those whose directories are gone."""

from __future__ import annotations

import os

from msgpack import packb, unpackb

from mailkeep.domain.errors import printable
from mailkeep.store.findings import QUIET_TRIES, SECOND_LOOK_SECONDS
from mailkeep.store.maildir import SUBS, stamp_of
from mailkeep.system import clock, fs
from mailkeep.wire.layouts import Unmappable
from mailkeep.wire.maildirname import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Findings
    from mailkeep.store.maildir import Maildir, Stamp
    from mailkeep.store.rows import Mailbox


class Survey:
    """The first look of a scan."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.ledger, self.index, self.maildir = findings.ledger, findings.index, findings.maildir
        self.state, self.margin_ns = findings.state, findings.margin_ns

    def mailboxes(self) -> list[int]:
        """Find mailboxes that are new, renamed or gone; the numbers of those that are gone."""
        known = {box.dir: box for box in self.ledger.boxes.values() if box.dir is not None}
        kept = self.index.meta.get("structure")
        if kept is not None and not self.findings.weak:
            stamps = unpackb(kept)
            if all(stamp_at(self.maildir, path) == stamp for path, stamp in stamps.items()):
                return []
        now_ns = fs.now_of(self.state)
        found, stamps = self.maildir.survey()
        if not known.keys() <= set(found):
            found, stamps = self._survey_again(stamps)
        later_ns = fs.now_of(self.state)
        self.findings.unseen += [where for where, why in self.maildir.problems if "unknown" in why]
        here = set(found)
        new = [path for path in found if path not in known]
        gone = {box.no: box for path, box in known.items() if path not in here}
        with self.index.transaction():
            for path in new:
                self._new_mailbox(path, gone)
            young = any(self.findings.is_recent(s[1], now_ns, later_ns) for s in stamps.values())
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
            if stamps == before and all(
                stamp_at(self.maildir, path) == stamp for path, stamp in stamps.items()
            ):
                return found, stamps
        self.maildir.report(b"", "changed without pause: which mailboxes are there is unknown")
        return found, stamps

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
            if not self.findings.unseen:
                return False
        except OSError:
            pass
        self.findings.unseen.append(box.name)
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
            self.findings.report.mailboxes += 1
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
        self.findings.report.mailboxes += 1
        if renamed is not None and box is None:
            del gone[renamed.no]
            self.ledger.rename(renamed, name)
            renamed.dir, renamed.todo = path, False
            return
        if box is not None:  # its own directory is gone, and this one has its name
            gone.pop(box.no, None)
        else:
            box = self.ledger.create(name, clock.now(), self.findings.weak)
        box.dir, box.todo, box.stamps, box.problem, box.dirty = path, False, None, None, True

    def _renamed_to(self, path: bytes, stamps: list[Stamp], gone: dict[int, Mailbox]) -> Mailbox | None:
        """The gone mailbox whose directory this is: the same cur, unchanged, or with a file we know in it."""
        for box in gone.values():
            before = unpackb(box.stamps)[1] if box.stamps else None
            if before is None or before[0] != stamps[1][0]:
                if not self.findings.believe_absence and self._has_files_of(path, box):
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


def stamp_at(maildir: Maildir, path: bytes) -> Stamp | None:
    """How a directory is now; None: it cannot be seen."""
    try:
        return stamp_of(os.stat(path or b".", dir_fd=maildir.fd, follow_symlinks=False))
    except OSError:
        return None
