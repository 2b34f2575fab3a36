"""Making the directories of mailboxes as the index says: made, renamed, exchanged, and taken away.

A mailbox whose directory is not where it belongs is marked in the index (`todo`), in the transaction that changed it; what is
to be done follows from that, so doing it twice is doing it once. Two mailboxes never share a directory, nothing is
overwritten, and a directory with mail in it stays.
"""

from __future__ import annotations

import errno
import os

from msgpack import packb, unpackb

from mailkeep.domain.names import MailboxName
from mailkeep.store.maildir import SUBS
from mailkeep.store.vault import copy_bytes
from mailkeep.system import fs
from mailkeep.wire.layouts import MAILDIRPP, Unmappable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.maildir import Maildir
    from mailkeep.store.rows import Mailbox

PARTS = (b"tmp", b"new", b"cur")


class Directories:
    """The directories of one store, under its lock. `problems` gets (mailbox, why) of what has to wait."""

    def __init__(
        self,
        ledger: Ledger,
        maildir: Maildir,
        syncer: fs.Syncer,
        state: bytes,
        problems: list[tuple[str, str]],
    ) -> None:
        self.ledger, self.index, self.maildir, self.syncer = ledger, ledger.index, maildir, syncer
        self.state, self.problems = state, problems
        self._placed: list[tuple[Mailbox, bytes]] = []
        """Mailboxes whose directories are where they belong, and not yet known to be."""

    def _belongs(self, box: Mailbox) -> bytes | None:
        """Where a mailbox's directory belongs; None when it should have none."""
        if (
            not box.alive
            and not self.ledger.execute(
                "SELECT 1 FROM record WHERE mailbox = ? AND hold IS NOT NULL LIMIT 1", (box.no,)
            ).fetchone()
        ):
            return None
        return self.maildir.layout.directory(MailboxName.parse(box.name))

    def place(self) -> None:
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
                    wanted = self._belongs(box)
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
                    if err.errno in fs.NO_ROOM:
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
            wanted = self._belongs(box)
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
        self.syncer.note(os.path.join(self.maildir.root, directory))
        self.syncer.note(os.path.join(self.maildir.root, other_directory))
        self.syncer.sync()
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
                self.syncer.note(os.path.join(self.maildir.root, *names))
        self.syncer.sync()

    def _wait(self, box: Mailbox, why: str) -> None:
        self.problems.append((box.name, why + "; the mailbox waits, its mail is in the vault"))
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
        if not fs.exists(os.path.join(source, b"cur"), at) and fs.exists(os.path.join(target, b"cur"), at):
            return  # done before a crash, or by the rename of a parent
        if self.maildir.layout.kind == MAILDIRPP:
            fs.rename_noreplace(source, target, at, at)
            return
        if fs.exists(os.path.join(target, b"cur"), at):
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

    def remove(self) -> None:
        """Take away the directories of deleted mailboxes, whole, into the state directory, if no mail is in them."""
        gone: list[Mailbox] = []
        for box in [b for b in self.ledger.boxes.values() if b.todo]:
            if box.dir is None or box.dir == b"":
                gone.append(box)
                continue
            if self._belongs(box) is not None:
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
            if fs.exists(os.path.join(path, sub), self.maildir.fd) and any(
                name[:1] != b"." for name in os.listdir(b"/proc/self/fd/%d" % self.maildir.open(path, sub))
            ):
                return "it was deleted elsewhere, and new mail is in it"
        self.maildir.close_directories()
        if self.maildir.layout.kind == MAILDIRPP:
            removed = os.path.join(self.state, b"removed-mailboxes")
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
                self.syncer.note(os.path.join(removed, aside))
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
                if err.errno in fs.NO_ROOM:
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


def _rmdir(path: bytes, at: int) -> None:
    with fs.Parent(path, at) as (fd, name):
        fs.rmdir(name, dir_fd=fd)
