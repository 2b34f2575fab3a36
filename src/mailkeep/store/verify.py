"""Reading everything back: does the vault hold what the index says, and the Maildir what both say?

Nothing is written and no journal is replayed; `mailkeep.store.repair` mends what is found. Other programs go on working on the Maildir: what differs in a
directory that changed since the last scan is not yet known to be wrong, and is counted as unscanned.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw
from msgpack import unpackb

from mailkeep.domain.errors import DataError, printable
from mailkeep.rules.digest import MODULUS, contribution
from mailkeep.store import marker
from mailkeep.store.gate import INDEX
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger
from mailkeep.store.maildir import SUBS, Maildir
from mailkeep.store.rows import NO_FILE, REPLACE
from mailkeep.store.vault import LINK, hash_of
from mailkeep.system import fs
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from mailkeep.domain.progress import Watch
    from mailkeep.store.rows import Mailbox

FAULTS_MAX = 1000
"""Faults that are named; beyond this they are only counted."""


class Verification:
    """One pass over a store whose lock the caller holds.

    Attributes:
        faults: (kind, where, what) of what is wrong.
        notes: Likewise of what is unusual and harmless.
        counted: How much was looked at.
        bad_contents: Ids of contents whose object is damaged or missing.
        bad_files: Numbers of records whose file has other bytes, though size and time are those indexed.
        missing_files: Likewise, whose file is not there, though its directory did not change.
        fileless: Live records that have no file, and nothing says why.
        dead_files: Tombstones that have a file, and nothing says why.
        homeless: Numbers of mailboxes with messages and no directory.
        miscounted: Mailboxes whose count, digest or UIDNEXT is wrong: number -> (count, sum, highest UID).
        doubles: (mailbox, UID) that several messages have.
        root_wrong: The store's digest is not that of its mailboxes.
        index_faults: What SQLite says of the index.
        lacking: Live messages that have no content here yet.
    """

    def __init__(
        self,
        root: bytes,
        state: bytes,
        *,
        quick: bool = False,
        progress: Watch | None = None,
    ) -> None:
        self.root, self.state, self.quick = root, state, quick
        self.progress = progress
        self.index = Index.open(os.fsdecode(os.path.join(state, INDEX)))
        self.ledger = Ledger(self.index)
        self.maildir = Maildir(root, Layout.parse(self.index.meta["layout"]))
        self.objects = os.path.join(state, b"objects")
        self.faults: list[tuple[str, str, str]] = []
        self.notes: list[tuple[str, str, str]] = []
        self.fault_count = self.lacking = 0
        self.bad_contents: list[bytes] = []
        self.bad_files: list[int] = []
        self.missing_files: list[int] = []
        self.fileless: list[int] = []
        self.dead_files: list[int] = []
        self.homeless: list[int] = []
        self.miscounted: dict[int, tuple[int, int, int]] = {}
        self.doubles: list[tuple[int, int]] = []
        self.root_wrong = False
        self.index_faults: list[str] = []
        self.counted = {"contents": 0, "bytes": 0, "files": 0, "records": 0, "mailboxes": 0, "unscanned": 0}

    def close(self) -> None:
        """Close what was opened; the lock is the caller's."""
        self.maildir.close()
        self.index.close()

    def totals(self) -> dict[str, int]:
        """How much there is to be looked at, by the words that progress is told in."""
        return {
            "checked in the vault": int(self.index.execute("SELECT count(*) FROM content WHERE kept").get),
            "compared": int(self.index.execute("SELECT count(*) FROM record WHERE sub != 0").get),
        }

    def run(self) -> None:
        """Look at everything."""
        if not self._index():
            return
        self._marker()
        self._journal()
        self._contents()
        self._digests()
        self._files()

    def _fault(self, kind: str, where: str, what: str) -> None:
        self.fault_count += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append((kind, where, what))

    def _note(self, kind: str, where: str, what: str) -> None:
        self.notes.append((kind, where, what))

    # --- parts

    def _index(self) -> bool:
        try:
            rows = [
                row[0]
                for row in self.index.execute(
                    "PRAGMA quick_check(20)" if self.quick else "PRAGMA integrity_check(20)"
                )
            ]
        except apsw.Error as err:
            rows = [str(err)]
        if rows == ["ok"]:
            return True
        self.index_faults = [str(row) for row in rows]
        for row in rows:
            self._fault("index", "index.db", f"SQLite says: {row}")
        return False

    def _marker(self) -> None:
        try:
            found = marker.read(self.maildir.fd, self.root)
        except DataError as err:
            self._fault("marker", printable(marker.NAME), err.what)
            return
        generation = self.index.meta["generation"]
        if found is None:
            self._fault("marker", printable(self.root), "has no marker")
        elif found[0] != self.index.meta["store"]:
            self._fault("marker", printable(self.root), "has another store's marker")
        elif found[1] != generation:
            self._fault(
                "marker", printable(self.root), f"its generation is {found[1]}, the index has {generation}"
            )

    def _journal(self) -> None:
        todo = self.index.execute(
            "SELECT count(*) FROM record r JOIN content c ON c.no = r.content WHERE r.todo AND (c.kept OR NOT r.live)"
        ).get
        boxes = [box.name for box in self.ledger.boxes.values() if box.todo]
        if todo or boxes:
            self._fault(
                "journal", "index.db", f"{todo:,} messages and {len(boxes):,} mailboxes are not yet as the index says: a run was cut"
                " off; the next one goes on with it"
            )  # fmt: skip
        for name in (b"trash", b"lost+found"):
            try:
                left = len(os.listdir(os.path.join(self.state, name)))
            except FileNotFoundError:
                continue
            if left:
                tell = self._fault if name == b"trash" else self._note
                tell("journal", name.decode(), f"{left:,} files are in it")

    def _path(self, content_id: bytes) -> bytes:
        name = content_id.hex().encode()
        return b"%b/%b/%b" % (self.objects, name[:2], name)

    def _contents(self) -> None:
        known = 0
        rows = self.index.execute("SELECT id, size FROM content WHERE kept ORDER BY id")
        for content_id, size in rows:
            known += 1
            self.counted["contents"] += 1
            self._content(bytes(content_id), size)
            if self.progress is not None:
                self.progress("checked in the vault", self.counted["contents"])
        self.lacking = self.index.value(
            "SELECT count(*) FROM record r JOIN content c ON c.no = r.content WHERE r.live AND NOT c.kept"
        )
        if self.lacking:
            self._fault(
                "lacking",
                "vault",
                f"{self.lacking:,} messages have no content here yet; the next session asks the peers for it",
            )
        there = sum(len(_names(os.path.join(self.objects, name))) for name in _names(self.objects))
        if there > known:
            self._note(
                "orphan",
                "vault",
                f"{there - known:,} objects are not in the index, the rest of runs that were cut off",
            )

    def _content(self, content_id: bytes, size: int) -> None:
        name = content_id.hex()
        try:
            fd = os.open(self._path(content_id), fs.O_READ)
        except OSError as err:
            self.bad_contents.append(content_id)
            self._fault("content", name, f"the vault cannot read it: {os.strerror(err.errno or 5)}")
            return
        try:
            st = os.fstat(fd)
            if not fs.is_regular(st) or st.st_size != size:
                self.bad_contents.append(content_id)
                self._fault("content", name, f"the vault's object has {st.st_size:,} bytes, not {size:,}")
            elif not self.quick and hash_of(fd) != content_id:
                self.bad_contents.append(content_id)
                self._fault(
                    "content",
                    name,
                    "the vault's object is damaged: its bytes are not those that its name says",
                )
            self.counted["bytes"] += st.st_size
        except OSError as err:
            self.bad_contents.append(content_id)
            self._fault("content", name, f"the vault cannot read it: {os.strerror(err.errno or 5)}")
        finally:
            os.close(fd)

    def _digests(self) -> None:
        counted = count_anew(self.index, self.counted)
        for box in self.ledger.boxes.values():
            self.counted["mailboxes"] += 1
            count, total, top = right = counted.get(box.no, (0, 0, 0))
            if (box.count, box.sum) != (count, total) or top >= box.uidnext:
                self.miscounted[box.no] = right
            if box.count != count:
                self._fault("digest", box.name, f"has {count:,} messages, and {box.count:,} are counted")
            if box.sum != total:
                self._fault("digest", box.name, "its digest is not that of its messages")
            if top >= box.uidnext:
                self._fault("uid", box.name, f"UIDNEXT is {box.uidnext}, and a message has UID {top}")
        root = self.ledger.root()
        if self.index.meta.get("root", root) != root:
            self.root_wrong = True
            self._fault("digest", "store", "its digest is not that of its mailboxes")
        doubles = self.index.execute(
            "SELECT mailbox, uid, count(*) FROM record WHERE live OR hold IS NOT NULL GROUP BY mailbox, uid HAVING count(*) > 1"
        )
        for mailbox, uid, count in doubles:
            self.doubles.append((mailbox, uid))
            self._fault("uid", self.ledger.boxes[mailbox].name, f"{count} messages have UID {uid}")

    # --- files

    def _files(self) -> None:
        for box in sorted(self.ledger.boxes.values(), key=lambda box: box.name):
            if box.dir is None:
                if box.count and not box.problem and not box.todo and box.hold is None:
                    self.homeless.append(box.no)
                    self._fault("mailbox", box.name, "has messages and no directory, and nothing says why")
                continue
            self._mailbox(box)

    def _mailbox(self, box: Mailbox) -> None:
        assert box.dir is not None
        try:
            settled = bool(box.stamps) and unpackb(box.stamps) == list(self.maildir.stamps(box.dir))
        except OSError as err:
            self._fault("mailbox", box.name, f"its directory cannot be read: {os.strerror(err.errno or 5)}")
            return
        rows = self.index.execute(
            "SELECT r.no, r.sub, r.base, r.info, r.ino, r.mtime, r.live, r.hold, r.todo, c.id, c.size"
            " FROM record r JOIN content c ON c.no = r.content WHERE r.mailbox = ? AND (r.live OR r.sub != 0)",
            (box.no,),
        )
        for no, sub, base, info, ino, mtime, live, hold, todo, content_id, size in rows:
            if sub == NO_FILE:
                if not todo and hold is None:
                    self.fileless.append(no)
                    self._fault(
                        "file",
                        box.name,
                        f"the message {bytes(content_id).hex()} has no file, and nothing says why",
                    )
                continue
            if not live and hold is None and not todo:
                self.dead_files.append(no)
                self._fault("file", box.name, f"{printable(base)} is of a message that was deleted")
            self.counted["files"] += 1
            if todo == REPLACE:
                continue  # it is known to be damaged; what it waits for is counted as lacking
            self._file(
                no,
                box,
                SUBS[sub],
                base + (info or b""),
                ino,
                mtime,
                bytes(content_id),
                size,
                settled and not todo,
            )
            if self.progress is not None:
                self.progress("compared", self.counted["files"])

    def _file(
        self,
        no: int,
        box: Mailbox,
        sub: bytes,
        name: bytes,
        ino: int,
        mtime: int,
        content_id: bytes,
        size: int,
        settled: bool,
    ) -> None:
        assert box.dir is not None
        where = printable(os.path.join(box.dir, sub, name))
        try:
            fd = os.open(name, fs.O_READ, dir_fd=self.maildir.open(box.dir, sub))
        except FileNotFoundError:
            if settled:
                self.missing_files.append(no)
                self._fault(
                    "file",
                    where,
                    "is not there, though its directory did not change since it was last listed",
                )
            else:
                self.counted["unscanned"] += 1
            return
        except OSError as err:
            self._fault("file", where, f"cannot be read: {os.strerror(err.errno or 5)}")
            return
        try:
            st = os.fstat(fd)
            try:
                there: os.stat_result | None = os.lstat(self._path(content_id))
            except OSError:
                there = None
            if there is not None and fs.is_same(st, there):
                return  # one file with the vault's object, which was hashed
            if (st.st_ino, st.st_size, st.st_mtime_ns) != (ino, size, mtime):
                self.counted["unscanned"] += 1  # written to, or replaced: the next scan sees to it
            elif not self.quick and hash_of(fd) != content_id:
                self.bad_files.append(no)
                self._fault(
                    "file", where, "its bytes are not those that were indexed, though size and time say so"
                )
            elif self.index.meta["vault"] == LINK and there is None:
                self._fault("file", where, "the vault does not have it")
        except OSError as err:
            self._fault("file", where, f"cannot be read: {os.strerror(err.errno or 5)}")
        finally:
            os.close(fd)


def count_anew(index: Index, counted: dict[str, int] | None = None) -> dict[int, tuple[int, int, int]]:
    """Live messages, digest sum and highest UID of each mailbox that has any, from its records."""
    out: dict[int, tuple[int, int, int]] = {}
    rows = index.execute(
        "SELECT r.mailbox, c.id, r.copy, r.live, r.uid, r.flags FROM record r JOIN content c ON c.no = r.content"
    )
    for mailbox, content_id, copy, live, uid, flags in rows:
        if counted is not None:
            counted["records"] += 1
        if live:
            count, total, top = out.get(mailbox, (0, 0, 0))
            total = (total + contribution(bytes(content_id), copy, uid, flags)) % MODULUS
            out[mailbox] = (count + 1, total, max(top, uid))
    return out


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
