"""Making files as their records say: the replay of the journal.

The journal is the mark `todo` on records and mailboxes, written in the transaction that changed them.
What is to be done follows from the row alone, so doing it twice is doing it once: a crash anywhere is
followed by the same calls. Nothing is overwritten, no link is followed, and what is removed goes first to
the state directory, is looked at there, and only then dropped; its content is in the vault.
"""

from __future__ import annotations

import errno
import os
import stat

from msgpack import packb, unpackb

from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.flags import OLD, SYSTEM, unpack
from mailkeep.domain.names import MailboxName
from mailkeep.store.ledger import IN_CUR, IN_NEW, NO_FILE, REPLACE
from mailkeep.store.maildir import SUBS
from mailkeep.store.vault import COPY, LINK, OBJECT_MODE, copy_bytes, hash_of
from mailkeep.system import fs
from mailkeep.system.parallel import Share, workers
from mailkeep.wire.layouts import MAILDIRPP, Unmappable
from mailkeep.wire.maildirname import flags_of, inexpressible, info_for, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.domain.progress import Watch
    from mailkeep.store.ledger import Ledger, Mailbox, Record
    from mailkeep.store.maildir import Maildir
    from mailkeep.store.vault import Vault

BATCH = 2000
"""Files changed between two syncs; the crash test replays at most so many."""
WORKERS_FROM = 500
"""New messages of one mailbox from which on it pays to fork: a fork costs some milliseconds."""
PARTS = (b"tmp", b"new", b"cur")
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO))


class Applied:
    """What was done to files, and what has to wait."""

    __slots__ = ("linked", "problems", "removed", "renamed", "waiting")

    def __init__(self) -> None:
        self.linked = self.renamed = self.removed = self.waiting = 0
        self.problems: list[tuple[str, str]] = []


class Apply:
    """One pass over the journal of one store, under its lock."""

    def __init__(
        self,
        ledger: Ledger,
        maildir: Maildir,
        vault: Vault,
        state: bytes,
        *,
        hashed_after: int,
        replay: bool = False,
        progress: Watch | None = None,
    ) -> None:
        """Prepare.

        Args:
            hashed_after: Contents with a higher number were hashed while this process received them;
                any other object is hashed before it leaves the vault.
            replay: A run was cut off: files may be in place already, and other programs may have used them.
        """
        self.ledger, self.index, self.maildir, self.vault = ledger, ledger.index, maildir, vault
        self.trash = os.path.join(state, b"trash")
        self.found = os.path.join(state, b"lost+found")
        self.hashed_after, self.replay = hashed_after, replay
        self.damaged: list[tuple[int]] = []
        self._there: dict[int, list[tuple[int, bytes, bytes, int]]] = {}
        self.tag = bytes(self.index.meta["store"])[:4].hex().encode()
        self.progress = progress
        self.report = Applied()
        self._names: dict[tuple[str, bytes | None, int], tuple[int, bytes]] = {}
        self._placed: list[tuple[Mailbox, bytes]] = []
        """Mailboxes whose directories are where they belong, and not yet known to be."""
        self._later: set[tuple[str, bytes | None, int]] = set()
        """Flags that cannot be shown yet, by the same keys: another program has the keywords locked."""
        self._locked: set[int] = set()

    def run(self) -> Applied:
        """Carry out everything that is marked. Durable on return; what had to wait stays marked."""
        self.empty_trash()
        directories = any(box.todo or box.problem for box in self.ledger.boxes.values())
        if directories:
            self._directories()
        self._files()
        if directories:
            self._remove_directories()
        return self.report

    # --- files

    def _files(self) -> None:
        boxes = [no for (no,) in self.ledger.execute("SELECT DISTINCT mailbox FROM record WHERE todo")]
        done: list[tuple[object, ...]] = []
        if self.progress is not None and boxes:
            fresh = "SELECT count(*) FROM record WHERE todo AND live AND sub = 0"
            self.progress.expect("written", self.index.value(fresh))
        for no in boxes:
            box = self.ledger.boxes[no]
            if box.dir is None:
                self._clear_dead(box)
                continue
            after = 0
            while True:
                page = list(
                    self.ledger.records(
                        "mailbox = ? AND todo AND no > ? ORDER BY no LIMIT ?", (no, after, BATCH)
                    )
                )
                if not page:
                    break
                after = page[-1].no
                wanted = self._contents(no, page[0].no, after)
                done.extend(self._linked_by_workers(page, box, wanted))
                done.extend(self._one(record, box, *wanted[record.no]) for record in page)
                if len(done) >= BATCH:
                    self._clear(done)
                    done = []
        if done:
            self._clear(done)

    def _linked_by_workers(
        self, page: list[Record], box: Mailbox, wanted: dict[int, tuple[bytes, int, int]]
    ) -> list[tuple[object, ...]]:
        """Let several processes make the files of many new messages; what they did is taken off the page.

        Whatever is out of the ordinary stays on it, and is done one by one: a copy whose date may differ
        from another's of the same content, a link that failed. A link made by a worker that then died is
        recognised, as after a crash.
        """
        if len(page) < WORKERS_FROM or self.replay or self.vault.mode != LINK:
            return []
        assert box.dir is not None
        copies: dict[int, int] = {}
        for record in page:
            copies[record.content] = copies.get(record.content, 0) + 1
        fresh = [
            record
            for record in page
            if record.live
            and record.sub == NO_FILE
            and record.hold is None
            and wanted[record.no][2]
            and copies[record.content] == 1
        ]
        if len(fresh) < WORKERS_FROM:
            return []
        for record in fresh:
            self._name_for(record, box)  # may write dovecot-keywords: once, and here
        fresh = [record for record in fresh if (record.flags, record.info, box.no) not in self._later]
        for sub in SUBS[1:]:
            self.maildir.open(box.dir, sub)

        def work(record: Record) -> tuple[object, ...] | None:
            try:
                self._link(record, box, *wanted[record.no][:2])
            except (OSError, DataError, _Waits):
                return None
            return (
                record.sub,
                record.base,
                record.info,
                record.ino,
                record.mtime,
                record.ctime,
                0,
                record.no,
            )

        results = [row for row in Share(work, fresh, workers()).results() if row is not None]
        numbers = {row[-1] for row in results}
        page[:] = [record for record in page if record.no not in numbers]
        self.report.linked += len(results)
        return results

    def _contents(self, mailbox: int, first: int, last: int) -> dict[int, tuple[bytes, int, int]]:
        return {
            no: (content_id, size, kept)
            for no, content_id, size, kept in self.ledger.execute(
                "SELECT r.no, c.id, c.size, c.kept FROM record r JOIN content c ON c.no = r.content"
                " WHERE r.mailbox = ? AND r.todo AND r.no BETWEEN ? AND ?",
                (mailbox, first, last),
            )
        }

    def _clear_dead(self, box: Mailbox) -> None:
        """Records of a mailbox that has no directory: those without a file need nothing, others wait."""
        with self.index.transaction():
            self.ledger.execute(
                "UPDATE record SET todo = 0 WHERE mailbox = ? AND todo AND NOT live AND sub = 0", (box.no,)
            )
        waiting = self.index.value("SELECT count(*) FROM record WHERE mailbox = ? AND todo", (box.no,))
        self.report.waiting += waiting

    def _clear(self, done: list[tuple[object, ...]]) -> None:
        """Clear the journal of operations once they are durable."""
        self.vault.syncer.sync()
        with self.index.transaction():
            self.index.executemany(
                "UPDATE record SET sub=?, base=?, info=?, ino=?, mtime=?, ctime=?, todo=? WHERE no=?", done
            )
            if self.damaged:  # the next session asks a peer for them
                self.index.executemany("UPDATE content SET kept = 0, ino = NULL WHERE no = ?", self.damaged)
                self.index.meta["lacking"] = len(self.damaged)
                self.damaged = []
        if self.progress is not None:
            self.progress("written", self.report.linked)

    def _one(
        self, record: Record, box: Mailbox, content_id: bytes, size: int, kept: int
    ) -> tuple[object, ...]:
        assert box.dir is not None
        todo = 0
        flags = (record.flags, record.info, box.no)
        try:
            if record.hold is not None and not (record.live and record.sub != NO_FILE):
                pass  # a person decides; what is only due to expire goes on living meanwhile
            elif not record.live:
                if record.sub != NO_FILE:
                    self._remove(record, box, content_id, size)
                    self.report.removed += 1
            elif record.sub == NO_FILE:
                if kept:
                    self._link(record, box, content_id, size)
                    self.report.linked += 1
                else:
                    todo = 1
                    self.report.waiting += 1
            else:
                if record.todo == REPLACE:
                    if not kept:
                        todo = REPLACE
                        self.report.waiting += 1
                    elif self._replace(record, box, content_id, size):
                        self.report.linked += 1
                self._rename(record, box)
            if flags in self._later and not todo:
                todo = 1
        except _Waits as err:
            todo = 1
            self.report.waiting += 1
            self.report.problems.append((printable(box.dir) or ".", str(err)))
        except DataError as err:
            self.damaged.append((record.content,))
            todo = record.todo or 1
            self.report.waiting += 1
            self.report.problems.append((printable(box.dir) or ".", err.what))
        except OSError as err:
            if err.errno in NO_ROOM:
                raise fs.explain(err, f"a message of {box.name} could not be put in place") from err
            todo = 1
            self.report.waiting += 1
            self.report.problems.append(
                (printable(box.dir) or ".", f"a file could not be changed: {os.strerror(err.errno or 5)}")
            )
        return (record.sub, record.base, record.info, record.ino, record.mtime, record.ctime, todo, record.no)

    def _name_for(self, record: Record, box: Mailbox) -> tuple[int, bytes]:
        """(sub, info) that show the record's flags."""
        key = (record.flags, record.info, box.no)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._make_name(record, box)
        return name

    def _make_name(self, record: Record, box: Mailbox) -> tuple[int, bytes]:
        assert box.dir is not None
        flags = unpack(record.flags)
        table = self.maildir.keywords(box.dir)
        foreign = flags_of(record.info or b"", table)[1]
        hidden = inexpressible(flags, table)
        named = frozenset(f for f in hidden if len(f) > 1)
        if named:
            table = self.maildir.add_keywords(box.dir, named)
            if box.dir in self.maildir.locked:
                self._later.add((record.flags, record.info, box.no))
                if box.no not in self._locked:
                    self._locked.add(box.no)
                    why = "another program has dovecot-keywords locked: keywords are not yet shown in file names"
                    self.report.problems.append((printable(box.dir) or ".", why))
        sub = IN_CUR if OLD in flags or flags & SYSTEM or flags - {OLD} else IN_NEW
        return sub, info_for(flags, table, foreign) if sub == IN_CUR or record.info else b""

    def _link(self, record: Record, box: Mailbox, content_id: bytes, size: int) -> None:
        """Give a record its file, under a name that follows from the record: a crash is followed by the same."""
        sub, info = self._name_for(record, box)
        base = b"%d.K%dV%d.%b,S=%d" % (record.date, record.no, record.uid, self.tag, size)
        if self.replay and self._is_there(record, box, sub, base, info, content_id):
            return
        self._put(record, box, content_id, sub, base, info)

    def _replace(self, record: Record, box: Mailbox, content_id: bytes, size: int) -> bool:
        """Put the content in the place of a damaged file, which goes aside; False: it is another file by now."""
        from mailkeep.store.aside import Aside

        assert box.dir is not None
        assert record.base is not None
        name = record.base + (record.info or b"")
        directory = self.maildir.open(box.dir, SUBS[record.sub])
        aside = Aside(os.path.dirname(self.trash))
        label = b"file.%d.%d.%b" % (record.no, record.ino, content_id.hex().encode())
        try:
            try:
                st = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                if not aside.has(label):  # renamed or removed since, and not by us
                    return False
            else:
                if _holds(name, directory, content_id):  # done before a crash
                    record.ino, record.mtime, record.ctime = st.st_ino, fs.bounded(st.st_mtime_ns), None
                    return True
                if (st.st_ino, st.st_size, fs.bounded(st.st_mtime_ns)) != (record.ino, size, record.mtime):
                    return False  # the next scan sees what it is now
                if self.vault.stat(content_id) is None:
                    raise DataError(
                        f"the vault has lost the object {content_id.hex()}; the next session asks for it"
                    )
                self._check(content_id)
                aside.take(name, label, directory)
        finally:
            aside.close()
        self._put(record, box, content_id, record.sub, record.base, record.info or b"")
        return True

    def _put(
        self, record: Record, box: Mailbox, content_id: bytes, sub: int, base: bytes, info: bytes
    ) -> None:
        """Make a file of a record: a hard link to the vault's object, else a copy."""
        assert box.dir is not None
        name = base + info
        directory = self.maildir.open(box.dir, SUBS[sub])
        path = self.vault.path(content_id)
        st = self.vault.stat(content_id)
        if st is None:
            raise DataError(f"the vault has lost the object {content_id.hex()}; the next session asks for it")
        if record.content <= self.hashed_after:
            self._check(content_id)
        if self.vault.mode == LINK and self._datable(path, st, record.date):
            try:
                fs.link(path, name, dst_dir_fd=directory)
                record.mtime = record.date * 1_000_000_000
            except FileExistsError:
                there = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if there.st_ino != st.st_ino and not _holds(name, directory, content_id):
                    raise _Waits(f"a file named {printable(name)} is in the way") from None
                record.mtime, st = fs.bounded(there.st_mtime_ns), there
            except OSError as err:
                if err.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
                    raise
                st = self._copy(content_id, record, box, name, directory)
        else:
            st = self._copy(content_id, record, box, name, directory)
        if not self.vault.syncer.whole:
            self.vault.syncer.note(os.path.join(self.maildir.root, box.dir, SUBS[sub], name))
        record.sub, record.base, record.info, record.ino, record.ctime = sub, base, info, st.st_ino, None

    def _check(self, content_id: bytes) -> None:
        from mailkeep.store.vault import damaged

        fd = self.vault.open(content_id)
        try:
            if hash_of(fd) != content_id:
                raise damaged(content_id)
        except OSError as err:
            raise damaged(content_id) from err  # one unreadable object must not stop the others
        finally:
            os.close(fd)

    def _datable(self, path: bytes, st: os.stat_result, date: int) -> bool:
        """Whether the object's time is the record's INTERNALDATE, or may be set to it."""
        if st.st_mtime_ns == date * 1_000_000_000 or st.st_mtime_ns // 1_000_000_000 == date:
            return st.st_mtime_ns == date * 1_000_000_000 or st.st_nlink > 1 or self._date(path, date)
        return st.st_nlink == 1 and self._date(path, date)

    def _date(self, path: bytes, date: int) -> bool:
        os.utime(path, (date, date), follow_symlinks=False)
        return True

    def _copy(
        self, content_id: bytes, record: Record, box: Mailbox, name: bytes, directory: int
    ) -> os.stat_result:
        """Copy by way of tmp/, as every Maildir delivery does."""
        assert box.dir is not None
        tmp = self.maildir.open(box.dir, b"tmp")
        temporary = name.split(b":")[0]
        try:
            fs.unlink(temporary, dir_fd=tmp)
        except FileNotFoundError:
            pass
        source = self.vault.open(content_id)
        try:
            fd = os.open(temporary, fs.O_CREATE, 0o600, dir_fd=tmp)
            try:
                copy_bytes(source, fd)
                os.utime(fd, (record.date, record.date))
                os.fchmod(fd, 0o600 if self.vault.mode != LINK else OBJECT_MODE)
                fs.fsync(fd)
                st = os.fstat(fd)
            finally:
                os.close(fd)
        finally:
            os.close(source)
        try:
            fs.rename_noreplace(temporary, name, tmp, directory)
        except FileExistsError:
            fs.unlink(temporary, dir_fd=tmp)
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not _holds(name, directory, content_id):
                raise _Waits(f"a file named {printable(name)} is in the way") from None
            st = there
        record.mtime = fs.bounded(st.st_mtime_ns)
        return st

    def _is_there(
        self, record: Record, box: Mailbox, sub: int, base: bytes, info: bytes, content_id: bytes
    ) -> bool:
        """Whether a run that was cut off put the file in place, and a mail program has renamed it since.

        It is noted under the name that it was given; the next scan sees the other one, and takes the flags.
        """
        assert box.dir is not None
        if box.no not in self._there:
            known = {
                row[0]
                for row in self.ledger.execute(
                    "SELECT base FROM record WHERE mailbox = ? AND sub != 0", (box.no,)
                )
            }
            self._there[box.no] = []
            for at in (IN_NEW, IN_CUR):
                with os.scandir(b"/proc/self/fd/%d" % self.maildir.open(box.dir, SUBS[at])) as entries:
                    for entry in entries:
                        name, flags = split(entry.name)
                        if name not in known and entry.name[:1] != b".":
                            self._there[box.no].append((at, name, flags, entry.inode()))
        there = self.vault.stat(content_id)
        for at, name, flags, inode in self._there[box.no]:
            if name != base and (there is None or there.st_ino != inode):
                continue
            directory = self.maildir.open(box.dir, SUBS[at])
            if not _holds(name + flags, directory, content_id):
                continue
            st = os.stat(name + flags, dir_fd=directory, follow_symlinks=False)
            self._there[box.no].remove((at, name, flags, inode))
            record.sub, record.base, record.info, record.ino, record.ctime = sub, name, info, st.st_ino, None
            record.mtime = fs.bounded(st.st_mtime_ns)
            return True
        return False

    def _rename(self, record: Record, box: Mailbox) -> None:
        """Show other flags by another name, or by moving between new and cur."""
        assert box.dir is not None
        assert record.base is not None
        sub, info = self._name_for(record, box)
        old_sub, old = record.sub, record.base + (record.info or b"")
        if record.sub == IN_NEW and sub == IN_NEW:
            info = record.info or b""
        name = record.base + info
        if (sub, name) == (old_sub, old):
            return
        source, target = self.maildir.open(box.dir, SUBS[old_sub]), self.maildir.open(box.dir, SUBS[sub])
        try:
            fs.rename_noreplace(old, name, source, target)
        except FileNotFoundError:
            try:
                st = os.stat(name, dir_fd=target, follow_symlinks=False)
            except FileNotFoundError:
                raise _Waits(
                    "a message was renamed or removed meanwhile; its flags wait for the next scan"
                ) from None
            if st.st_ino != record.ino:
                raise _Waits(
                    "another file has taken a message's name; its flags wait for the next scan"
                ) from None
        except FileExistsError:
            raise _Waits("a message of that name is there already; its flags wait") from None
        self.report.renamed += 1
        self.vault.syncer.note(os.path.join(self.maildir.root, box.dir, SUBS[sub], name))
        record.sub, record.info, record.ctime = sub, info, None

    def _remove(self, record: Record, box: Mailbox, content_id: bytes, size: int) -> None:
        """Take a file out of the Maildir. It is dropped only when it is what we meant and the vault has it."""
        assert box.dir is not None
        assert record.base is not None
        name = record.base + (record.info or b"")
        trash, aside = self._aside(record, box, content_id)
        directory = self.maildir.open(box.dir, SUBS[record.sub])
        try:
            fs.rename_noreplace(name, aside, directory, trash)
        except FileNotFoundError:
            if not (self.replay and _exists(aside, trash)):
                record.sub, record.base, record.info, record.ino = NO_FILE, None, None, None
                return  # gone already: by a crash after this step, or by another program
        except FileExistsError:
            raise _Waits("what a crash left in tmp stands in the way of a removal; it was left") from None
        st = os.stat(aside, dir_fd=trash, follow_symlinks=False)
        there = self.vault.stat(content_id)
        ours = st.st_ino == record.ino and there is not None and there.st_size == size
        if not (
            ours
            and st.st_size == size
            and (there is None or there.st_ino == st.st_ino or fs.bounded(st.st_mtime_ns) == record.mtime)
        ):
            fs.rename_noreplace(aside, name, trash, directory)
            raise _Waits("a message to be removed is another file by now; it was left")
        if not (self.vault.mode == LINK and there is not None and there.st_ino == st.st_ino):
            self._last_copy(content_id, name, aside, directory, trash)
        fs.unlink(aside, dir_fd=trash)
        record.sub, record.base, record.info, record.ino = NO_FILE, None, None, None

    def _last_copy(self, content_id: bytes, name: bytes, aside: bytes, directory: int, trash: int) -> None:
        """Where file and object share no bytes, see to it that the object is whole before the file goes.

        A rotten object is made anew from the file. If neither is whole both stay: a verification names them.
        """
        if self.vault.is_whole(content_id):
            return
        fd = os.open(aside, fs.O_READ, dir_fd=trash)
        try:
            if hash_of(fd) != content_id:
                fs.rename_noreplace(aside, name, trash, directory)
                raise _Waits("a message to be removed is damaged, in the vault too; it was left")
            os.lseek(fd, 0, os.SEEK_SET)
            self.vault.adopt(content_id, fd, aside, trash, os.fstat(fd), kept=True)
            self.vault.syncer.sync()
        finally:
            os.close(fd)

    def _aside(self, record: Record, box: Mailbox, content_id: bytes) -> tuple[int, bytes]:
        """(directory, name) under which a file is looked at before it is dropped.

        In the state directory; where the vault holds copies, that may be on another file system: then in the mailbox's
        tmp/, which no program reads as mail.
        """
        assert box.dir is not None
        name = b"%d.%b" % (record.no, content_id.hex().encode())
        if self.vault.mode == COPY:
            return self.maildir.open(box.dir, b"tmp"), b"mailkeep." + name
        return self._trash_fd(), name

    def _trash_fd(self) -> int:
        if not hasattr(self, "_trash"):
            os.makedirs(self.trash, 0o700, exist_ok=True)
            self._trash = fs.open_directory(self.trash)
        return self._trash

    def empty_trash(self) -> None:
        """What a crash left between 'moved aside' and 'dropped': drop what the vault has, keep anything else."""
        try:
            names = os.listdir(self.trash)
        except FileNotFoundError:
            return
        for name in names:
            if self._is_spare(name):
                fs.unlink(os.path.join(self.trash, name))
            elif not self._put_back(name):
                os.makedirs(self.found, 0o700, exist_ok=True)
                fs.rename_noreplace(name, name, self._trash_fd(), fs.open_directory(self.found))
                self.report.problems.append(
                    (printable(self.found), "holds a file that a crash left half removed; look at it")
                )

    def _is_spare(self, name: bytes) -> bool:
        """Whether a file in the trash has the bytes of the message that was to go, and the vault has them too.

        Both are read: this happens after a crash only, and the file may be a copy, or rewritten meanwhile.
        """
        if not _is_aside(name):
            return False
        content_id = bytes.fromhex(name.partition(b".")[2].decode())
        if not stat.S_ISREG(os.lstat(os.path.join(self.trash, name)).st_mode):
            return False
        try:
            for path in (os.path.join(self.trash, name), self.vault.path(content_id)):
                fd = os.open(path, fs.O_READ)
                try:
                    if hash_of(fd) != content_id:
                        return False
                finally:
                    os.close(fd)
        except OSError:
            return False
        return True

    def _put_back(self, name: bytes) -> bool:
        """A file that is not what was to be removed belongs where it was: the next scan takes it in."""
        row = None
        if _is_aside(name):
            row = self.ledger.execute(
                "SELECT mailbox, sub, base, info FROM record WHERE no = ? AND sub != 0",
                (int(name.partition(b".")[0]),),
            ).fetchone()
        if row is None or self.ledger.boxes[row[0]].dir is None:
            return False
        try:
            directory = self.maildir.open(self.ledger.boxes[row[0]].dir or b"", SUBS[row[1]])
            fs.rename_noreplace(name, row[2] + (row[3] or b""), self._trash_fd(), directory)
        except OSError:
            return False
        return True

    # --- directories

    def _place(self, box: Mailbox) -> bytes | None:
        """Where a mailbox's directory belongs; None when it should have none."""
        if (
            not box.alive
            and not self.ledger.execute(
                "SELECT 1 FROM record WHERE mailbox = ? AND hold IS NOT NULL LIMIT 1", (box.no,)
            ).fetchone()
        ):
            return None
        return self.maildir.layout.directory(MailboxName.parse(box.name))

    def _directories(self) -> None:
        """Make and rename directories. Renames are tried again while others make room."""
        self.maildir.close_directories()
        self._finish_exchange()
        pending = [box for box in self.ledger.boxes.values() if box.todo or (box.problem and box.alive)]
        taken = {box.dir: box for box in self.ledger.boxes.values() if box.dir is not None}
        vacated: set[bytes] = set()
        progress = True
        while pending and progress:
            progress = False
            for box in list(pending):
                try:
                    wanted = self._place(box)
                    if (
                        wanted in vacated
                    ):  # who lay there must be known to lie elsewhere, whatever a power cut leaves
                        self._note_placed()
                        vacated.clear()
                    if wanted is None or wanted == box.dir:
                        pass
                    elif wanted in taken:
                        continue  # another mailbox lies there: two never share a directory
                    elif box.dir is None:
                        self._make(wanted)
                    else:
                        self._move(box.dir, wanted)
                except Unmappable as err:
                    self._wait(box, f"has no place in this layout: it {err.reason}")
                    pending.remove(box)
                    continue
                except FileExistsError:
                    continue
                except OSError as err:
                    if err.errno in NO_ROOM:
                        raise fs.explain(err, f"the mailbox {box.name} could not be made") from err
                    self._wait(box, f"its directory could not be made: {os.strerror(err.errno or 5)}")
                    pending.remove(box)
                    continue
                pending.remove(box)
                progress = True
                if wanted is not None:
                    if box.dir is not None and box.dir != wanted:
                        taken.pop(box.dir, None)
                        vacated.add(box.dir)
                    taken[wanted] = box
                    self._placed.append((box, wanted))
            if not progress:
                self._note_placed()
                vacated.clear()
                progress = self._exchange(pending, taken)
        self._note_placed()
        for box in pending:
            self._wait(box, "another directory is in the way of its name")

    def _exchange(self, pending: list[Mailbox], taken: dict[bytes, Mailbox]) -> bool:
        """Mailboxes that change names in a ring: two directories change places; True when that was done."""
        for box in pending:
            other = self._next(box, pending, taken)
            at, seen = other, {box.no}
            while at is not None and at.no not in seen:
                seen.add(at.no)
                at = self._next(at, pending, taken)
            if at is not box or other is None or box.dir is None or other.dir is None:
                continue
            with self.index.transaction():  # the inodes tell after a crash what was done
                parts = {part: self._inode(os.path.join(box.dir, part)) for part in self._parts}
                self.index.meta["exchange"] = packb([box.no, box.dir, other.no, other.dir, parts])
            self._finish_exchange()
            taken[box.dir], taken[other.dir] = box, other
            return True
        return False

    def _next(self, box: Mailbox, pending: list[Mailbox], taken: dict[bytes, Mailbox]) -> Mailbox | None:
        """The mailbox that lies where this one belongs, if it is to move as well."""
        try:
            wanted = self._place(box)
        except Unmappable:
            return None
        other = None if wanted is None else taken.get(wanted)
        return other if other in pending else None

    @property
    def _parts(self) -> tuple[bytes, ...]:
        """What moves with a mailbox, below its directory: in the nested layout its children stay where they are."""
        return (b"",) if self.maildir.layout.kind == MAILDIRPP else PARTS

    def _inode(self, path: bytes) -> int:
        return os.stat(path.rstrip(b"/"), dir_fd=self.maildir.fd, follow_symlinks=False).st_ino

    def _finish_exchange(self) -> None:
        """Let two mailboxes change places of which that was announced, or what a crash left of it; note where they lie."""
        blob = self.index.meta.get("exchange")
        if not blob:
            return
        no, directory, other_no, other_directory, parts = unpackb(blob)
        done = []
        for part, inode in parts.items():
            here, there = os.path.join(directory, part), os.path.join(other_directory, part)
            if self._inode(here) == inode:
                fs.exchange(here.rstrip(b"/"), there.rstrip(b"/"), self.maildir.fd)
            done.append(self._inode(there) == inode)
        self.vault.syncer.note(os.path.join(self.maildir.root, directory))
        self.vault.syncer.note(os.path.join(self.maildir.root, other_directory))
        self.vault.syncer.sync()
        with self.index.transaction():
            if all(done):
                for box, where in (
                    (self.ledger.boxes[no], other_directory),
                    (self.ledger.boxes[other_no], directory),
                ):
                    box.dir, box.dirty = where, True
            self.index.meta["exchange"] = self.index.meta["structure"] = None

    def _note_placed(self) -> None:
        """Note where mailboxes lie, once that is durable: else a power cut would leave them where nobody looks."""
        if any(box.dir != wanted for box, wanted in self._placed):
            self._sync_directories([path for box, wanted in self._placed for path in (box.dir, wanted)])
        if self._placed:
            with self.index.transaction():
                for box, wanted in self._placed:
                    if box.dir is None:
                        box.stamps = self._inodes(wanted)
                    box.dir, box.todo, box.problem, box.dirty = wanted, False, None, True
                self.index.meta["structure"] = None
            self._placed.clear()

    def _inodes(self, directory: bytes) -> bytes | None:
        """What a mailbox that was never listed is known by when it is renamed."""
        try:
            known: bytes = packb([[stamp[0], 0, 0] for stamp in self.maildir.stamps(directory)])
        except OSError:
            return None  # gone already
        return known

    def _sync_directories(self, paths: list[bytes | None]) -> None:
        """Make durable that these directories are there, or are not."""
        for path in filter(None, paths):
            parts = path.split(b"/")
            for names in (
                *(parts[:depth] for depth in range(1, len(parts) + 1)),
                *([path, s] for s in PARTS),
            ):
                self.vault.syncer.note(os.path.join(self.maildir.root, *names))
        self.vault.syncer.sync()

    def _wait(self, box: Mailbox, why: str) -> None:
        self.report.problems.append((box.name, why + "; the mailbox waits, its mail is in the vault"))
        if box.problem != why or box.todo:
            with self.index.transaction():
                box.problem, box.todo, box.dirty = why, False, True

    def _make(self, path: bytes) -> None:
        """Make a mailbox's directories; those that are there already are taken as they are."""
        at = self.maildir.fd
        parts = path.split(b"/") if path else []
        for depth in range(1, len(parts) + 1):
            fs.make_directory(b"/".join(parts[:depth]), at)
        prefix = path + b"/" if path else b""
        for sub in PARTS:  # cur last: it makes the directory a mailbox
            fs.make_directory(prefix + sub, at)
        if path and self.maildir.layout.kind == MAILDIRPP:
            try:
                with fs.Parent(prefix + b"maildirfolder", at) as (fd, name):
                    os.close(os.open(name, fs.O_CREATE, 0o600, dir_fd=fd))
            except FileExistsError:
                pass

    def _move(self, source: bytes, target: bytes) -> None:
        at = self.maildir.fd
        if not _exists(os.path.join(source, b"cur"), at) and _exists(os.path.join(target, b"cur"), at):
            return  # done before a crash, or by the rename of a parent
        if self.maildir.layout.kind == MAILDIRPP:
            fs.rename_noreplace(source, target, at, at)
            return
        if _exists(os.path.join(target, b"cur"), at):
            raise FileExistsError
        parts = target.split(b"/")
        for depth in range(1, len(parts) + 1):
            fs.make_directory(b"/".join(parts[:depth]), at)
        for sub in PARTS:
            try:
                with (
                    fs.Parent(os.path.join(source, sub), at) as (source_fd, name),
                    fs.Parent(os.path.join(target, sub), at) as (target_fd, _),
                ):
                    fs.rename_noreplace(name, name, source_fd, target_fd)
            except FileNotFoundError:
                fs.make_directory(os.path.join(target, sub), at)
        try:
            _rmdir(source, at)
        except OSError:
            pass  # it holds other mailboxes, or files that are not ours

    def _remove_directories(self) -> None:
        """Take away the directories of deleted mailboxes, whole, into the state directory, if no mail is in them."""
        gone: list[Mailbox] = []
        for box in [b for b in self.ledger.boxes.values() if b.todo]:
            if box.dir is None or box.dir == b"":
                gone.append(box)
                continue
            if self._place(box) is not None:
                continue
            try:
                kept = self._take_away(box.dir, box)
            except FileNotFoundError:
                kept = None
            except OSError as err:
                kept = f"its directory could not be removed: {os.strerror(err.errno or 5)}"
            if kept:
                self._wait(box, kept)
            else:
                gone.append(box)
        if any(box.dir for box in gone):
            self._sync_directories([box.dir for box in gone])
        if gone:
            with self.index.transaction():
                for box in gone:
                    box.dir = None if box.dir else box.dir  # b"": the root stays a mailbox's directory
                    box.stamps, box.todo, box.dirty = None, False, True
                self.index.meta["structure"] = None

    def _take_away(self, path: bytes, box: Mailbox) -> str | None:
        self.maildir.close_directories()
        for sub in SUBS[1:]:
            if _exists(os.path.join(path, sub), self.maildir.fd) and any(
                name[:1] != b"." for name in os.listdir(b"/proc/self/fd/%d" % self.maildir.open(path, sub))
            ):
                return "it was deleted elsewhere, and new mail is in it"
        self.maildir.close_directories()
        if self.maildir.layout.kind == MAILDIRPP:
            removed = os.path.join(os.path.dirname(self.trash), b"removed-mailboxes")
            os.makedirs(removed, 0o700, exist_ok=True)
            aside = b"%b.%d" % (box.id.hex().encode(), self.index.seq)
            fd = fs.open_directory(removed)
            try:
                try:
                    fs.rename_noreplace(path, aside, self.maildir.fd, fd)
                except OSError as err:
                    if err.errno != errno.EXDEV:
                        raise
                    kept = self._remove_parts(path)
                    if not kept:
                        self._carry_over(path, os.path.join(removed, aside))
                    return kept
                self.vault.syncer.note(os.path.join(removed, aside))
                for sub in SUBS[1:]:
                    if os.listdir(os.path.join(removed, aside, sub)):  # delivered between look and rename
                        fs.rename_noreplace(aside, path, fd, self.maildir.fd)
                        return "it was deleted elsewhere, and new mail is in it"
            finally:
                os.close(fd)
            return None
        kept = self._remove_parts(path)
        if not kept:
            try:
                _rmdir(path, self.maildir.fd)
            except OSError:
                pass  # other mailboxes lie below it, or files that are not ours
        return kept

    def _remove_parts(self, path: bytes) -> str | None:
        """Remove tmp, new and cur of a mailbox, which are empty; why they stay, if they are not."""
        removed_here = []
        for sub in PARTS:
            try:
                _rmdir(os.path.join(path, sub), self.maildir.fd)
                removed_here.append(sub)
            except FileNotFoundError:
                pass  # by a run that was cut off
            except OSError as err:
                if err.errno in NO_ROOM:
                    raise
                # Delivered between look and removal: without its parts it would be hidden.
                for gone in removed_here:
                    fs.make_directory(os.path.join(path, gone), self.maildir.fd)
                return "it was deleted elsewhere, and new mail is in it"
        return None

    def _carry_over(self, path: bytes, target: bytes) -> None:
        """Copy what other programs left beside a mailbox's parts to another file system, then remove it here.

        What is no regular file stays, and the directory with it: without its parts it is no mailbox any more.
        """
        source = fs.open_directory(path, self.maildir.fd)
        try:
            names = [
                name
                for name in os.listdir(b"/proc/self/fd/%d" % source)
                if fs.is_regular(os.stat(name, dir_fd=source, follow_symlinks=False))
            ]
            if names:
                os.makedirs(target, 0o700, exist_ok=True)
            for name in names:
                copy = os.path.join(target, name)
                if os.path.lexists(copy):  # by a run that was cut off; what it copied is still there
                    fs.unlink(copy)
                fd, to = os.open(name, fs.O_READ, dir_fd=source), os.open(copy, fs.O_CREATE, 0o600)
                try:
                    copy_bytes(fd, to)
                    fs.fsync(to)
                finally:
                    os.close(fd)
                    os.close(to)
            if names:
                fs.fsync_path(target)
                fs.fsync_path(os.path.dirname(target))
            for name in names:
                fs.unlink(name, dir_fd=source)
        finally:
            os.close(source)
        try:
            _rmdir(path, self.maildir.fd)
        except OSError:
            pass  # what is in it is not ours


class _Waits(Exception):
    """A file is not as the index has it: left alone until a scan has seen it."""


def _holds(name: bytes, directory: int, content_id: bytes) -> bool:
    """Whether a file has these bytes."""
    try:
        fd = os.open(name, fs.O_READ, dir_fd=directory)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and hash_of(fd) == content_id
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_aside(name: bytes) -> bool:
    number, _, rest = name.partition(b".")
    return number.isdigit() and len(rest) == 64 and all(c in b"0123456789abcdef" for c in rest)


def _rmdir(path: bytes, at: int) -> None:
    with fs.Parent(path, at) as (fd, name):
        fs.rmdir(name, dir_fd=fd)


def _exists(path: bytes, at: int) -> bool:
    try:
        with fs.Parent(path, at) as (fd, name):
            os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
