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

from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.flags import OLD, SYSTEM, unpack
from mailkeep.store.maildir import SUBS
from mailkeep.store.rows import IN_CUR, IN_NEW, NO_FILE, REPLACE
from mailkeep.store.trash import Trash
from mailkeep.store.vault import LINK, OBJECT_MODE, copy_bytes, hash_of
from mailkeep.system import fs
from mailkeep.system.parallel import Share, workers
from mailkeep.wire.maildirname import flags_of, inexpressible, info_for, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.domain.progress import Watch
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.maildir import Maildir
    from mailkeep.store.rows import Mailbox, Record
    from mailkeep.store.vault import Vault

BATCH = 2000
"""Files changed between two syncs; the crash test replays at most so many."""
WORKERS_FROM = 500
"""New messages of one mailbox from which on it pays to fork: a fork costs some milliseconds."""


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
        self.state = state
        self.hashed_after, self.replay = hashed_after, replay
        self.damaged: list[tuple[int]] = []
        self._there: dict[int, list[tuple[int, bytes, bytes, int]]] = {}
        self.tag = bytes(self.index.meta["store"])[:4].hex().encode()
        self.progress = progress
        self.report = Applied()
        self.trash = Trash(state, ledger, maildir, vault, self.report.problems)
        self._names: dict[tuple[str, bytes | None, int], tuple[int, bytes]] = {}
        self._later: set[tuple[str, bytes | None, int]] = set()
        """Flags that cannot be shown yet, by the same keys: another program has the keywords locked."""
        self._locked: set[int] = set()

    def run(self) -> Applied:
        """Carry out everything that is marked. Durable on return; what had to wait stays marked."""
        self.trash.empty()
        directories = None
        if any(box.todo or box.problem for box in self.ledger.boxes.values()):
            from mailkeep.store.directories import Directories

            directories = Directories(
                self.ledger, self.maildir, self.vault.syncer, self.state, self.report.problems
            )
            directories.place()
        self._files()
        if directories is not None:
            directories.remove()
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
            if err.errno in fs.NO_ROOM:
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
        aside = Aside(self.state)
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
        trash, aside = self.trash.aside(record, box, content_id)
        directory = self.maildir.open(box.dir, SUBS[record.sub])
        try:
            fs.rename_noreplace(name, aside, directory, trash)
        except FileNotFoundError:
            if not (self.replay and fs.exists(aside, trash)):
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
