"""Writing messages out of the vault as a Maildir or as mbox files, for other programs: with flags and dates.

Everything is written below `TARGET.partial`, made durable, and renamed to TARGET at the end, never over anything that
is there. So TARGET is whole, or it is not there. What a run that was cut off left as TARGET.partial is recognised by the
mark in it, and begun anew. Files are copies: writing to them changes nothing of the store's.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256

from mailkeep.domain.errors import NoInput, UsageError, printable
from mailkeep.domain.flags import OLD, SYSTEM, unpack
from mailkeep.domain.names import MailboxName
from mailkeep.system import fs
from mailkeep.wire import dovecotkeywords
from mailkeep.wire.layouts import Unmappable
from mailkeep.wire.maildirname import info_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from mailkeep.domain.progress import Watch
    from mailkeep.store.vault import Vault
    from mailkeep.wire.layouts import Layout

PARTIAL = b".partial"
MARK = b".mailkeep-restore"
MAILDIR, MBOX = "maildir", "mbox"
FORMATS = (MAILDIR, MBOX)
LINE_BYTES = 1 << 16


class Item:
    """One message to be written: content id, bytes, INTERNALDATE, flags (packed)."""

    __slots__ = ("content_id", "date", "flags", "size")

    def __init__(self, content_id: bytes, size: int, date: int, flags: str) -> None:
        self.content_id, self.size, self.date, self.flags = content_id, size, date, flags


class Writer:
    """Writes one target; use it as a context, and call `finish` at the end of it.

    Attributes:
        written: Messages so far.
        problems: (where, why) of what could not be written.
    """

    def __init__(self, target: bytes, vault: Vault, form: str, layout: Layout, *, single: bool) -> None:
        """Prepare; nothing is made yet.

        Args:
            target: Absolute; must not be there.
            single: One mailbox only: a Maildir's cur, new and tmp lie in `target` itself.

        Raises:
            UsageError: Something is there already.
            NoInput: The directory in which it is to be made is not there.
        """
        assert form in FORMATS
        self.target, self.partial = target, target + PARTIAL
        self.vault, self.form, self.layout, self.single = vault, form, layout, single
        self.written = 0
        self.problems: list[tuple[str, str]] = []
        self._made: set[bytes] = set()
        self.syncer: fs.Syncer | None = None
        if os.path.lexists(target):
            raise UsageError(
                f"{printable(target)} is there already",
                untouched="it, and everything else",
                hint="name a directory that is not there: nothing is ever written over what is",
            )
        if not os.path.isdir(os.path.dirname(target)):
            raise NoInput(
                f"there is no directory {printable(os.path.dirname(target))}",
                untouched="anything",
                hint=f"mkdir -p {printable(os.path.dirname(target))}",
            )

    def __enter__(self) -> Writer:
        try:
            if os.path.lexists(self.partial):
                if not _is_ours(self.partial):
                    raise UsageError(
                        f"{printable(self.partial)} is there, and not by mailkeep",
                        untouched="it, and everything else",
                        hint="name another directory, or move that one away",
                    )
                fs.remove_tree(self.partial)
            os.mkdir(self.partial, 0o700)
            os.close(os.open(os.path.join(self.partial, MARK), fs.O_CREATE, 0o600))
            self.syncer = fs.Syncer(self.partial)
        except OSError as err:
            raise fs.explain(err, f"{printable(self.target)} could not be made") from err
        return self

    def __exit__(self, *error: object) -> None:
        if self.syncer is not None:
            self.syncer.close()
        if os.path.lexists(os.path.join(self.partial, MARK)):
            fs.remove_tree(self.partial)  # it failed: what is half there helps nobody

    def mailbox(self, name: str, items: Iterable[Item], watch: Watch | None = None) -> None:
        """Write the messages of a mailbox.

        Raises:
            StorageError: The disk is full, or fails.
        """
        try:
            if self.form == MAILDIR:
                self._maildir(name, items, watch)
            else:
                self._mbox(name, items, watch)
        except Unmappable as err:
            self.problems.append((name, f"has no place in this layout: it {err.reason}"))
        except OSError as err:
            raise fs.explain(err, f"the mailbox {name} could not be written") from err

    def finish(self) -> None:
        """Give everything its name. Durable on return.

        Raises:
            UsageError: Somebody has made something of that name meanwhile.
            StorageError: The disk fails.
        """
        assert self.syncer is not None
        try:
            self.syncer.sync()
            parent = fs.open_directory(os.path.dirname(self.target))
            try:
                fs.rename_noreplace(
                    os.path.basename(self.partial), os.path.basename(self.target), parent, parent
                )
                fs.unlink(os.path.join(self.target, MARK))
                fs.fsync(parent)
            finally:
                os.close(parent)
        except FileExistsError as err:
            raise UsageError(
                f"{printable(self.target)} was made by somebody else meanwhile",
                untouched="it",
                hint=f"what was written is in {printable(self.partial)}",
            ) from err
        except OSError as err:
            raise fs.explain(err, f"{printable(self.target)} could not be finished") from err

    # --- Maildir

    def _maildir(self, name: str, items: Iterable[Item], watch: Watch | None) -> None:
        directory = b"" if self.single else self.layout.directory(MailboxName.parse(name))
        where = os.path.join(self.partial, directory) if directory else self.partial
        for part in (b"tmp", b"new", b"cur"):
            self._directory(os.path.join(where, part))
        if directory.startswith(b".") and not self.single:
            self._note(_touch(os.path.join(where, b"maildirfolder")))  # Maildir++
        items = list(items)
        keywords = frozenset(flag for item in items for flag in unpack(item.flags) if len(flag) > 1)
        table = dovecotkeywords.add({}, keywords) if keywords else None
        if table is not None:
            fd = os.open(os.path.join(where, b"dovecot-keywords"), fs.O_CREATE, 0o600)
            try:
                fs.write_all(fd, dovecotkeywords.render(table))
            finally:
                os.close(fd)
            self._note(os.path.join(where, b"dovecot-keywords"))
        for number, item in enumerate(items, 1):
            flags = unpack(item.flags)
            in_cur = OLD in flags or bool(flags & SYSTEM) or bool(flags - {OLD})
            base = b"%d.R%d.mailkeep,S=%d" % (item.date, number, item.size)
            info = info_for(flags | {OLD}, table) if in_cur else b""
            path = os.path.join(where, b"cur" if in_cur else b"new", base + info)
            fd = os.open(path, fs.O_CREATE, 0o600)
            try:
                whole = self._content(item, fd)
                os.utime(fd, (item.date, item.date))
            finally:
                os.close(fd)
            if whole:
                self.written += 1
                self._note(path)
            else:
                fs.unlink(path)
            if watch is not None:
                watch("written", self.written)

    def _content(self, item: Item, out: int) -> bool:
        """Copy a content, checked on the way."""
        try:
            source = self.vault.open(item.content_id)
        except FileNotFoundError:
            self.problems.append((item.content_id.hex(), "is not in the vault"))
            return False
        hashed = sha256()
        try:
            while chunk := os.read(source, fs.READ_BYTES):
                hashed.update(chunk)
                fs.write_all(out, chunk)
        finally:
            os.close(source)
        return self._is_whole(item, hashed.digest())

    def _is_whole(self, item: Item, digest: bytes) -> bool:
        if digest == item.content_id:
            return True
        from mailkeep.store.vault import damaged

        self.problems.append((item.content_id.hex(), damaged(item.content_id).what))
        return False

    # --- mbox

    def _mbox(self, name: str, items: Iterable[Item], watch: Watch | None) -> None:
        """An mbox in the form mboxrd: lines that begin with From get a ">" (Library of Congress, fdd000385)."""
        parts = [part.encode() for part in MailboxName.parse(name).parts]
        path = os.path.join(self.partial, *parts) + b".mbox"
        self._directory(os.path.dirname(path))
        fd = os.open(path, fs.O_CREATE, 0o600)
        with open(fd, "wb") as out:
            for item in items:
                begin = out.tell()
                if self._append(item, out):
                    self.written += 1
                else:
                    out.seek(begin)
                    out.truncate()
                if watch is not None:
                    watch("written", self.written)
        self._note(path)

    def _append(self, item: Item, out: BinaryIO) -> bool:
        try:
            source = open(self.vault.open(item.content_id), "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            self.problems.append((item.content_id.hex(), "is not in the vault"))
            return False
        hashed = sha256()
        with source:
            line = source.readline(LINE_BYTES)
            end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
            out.write(b"From MAILER-DAEMON " + asctime(item.date) + b"\n" + status_lines(item.flags, end))
            begins, last = True, b"\n"
            while line:
                hashed.update(line)
                if begins and line.lstrip(b">").startswith(b"From "):
                    out.write(b">")
                out.write(line)
                last = line
                begins = line.endswith(b"\n")
                line = source.readline(LINE_BYTES)
            out.write((b"" if last.endswith(b"\n") else end) + end)
        return self._is_whole(item, hashed.digest())

    # --- both

    def _directory(self, path: bytes) -> None:
        """A directory below the target, with those above it."""
        missing = []
        while path not in self._made and path != self.partial:
            missing.append(path)
            path = os.path.dirname(path)
        for one in reversed(missing):
            os.mkdir(one, 0o700)
            self._made.add(one)
            self._note(one)

    def _note(self, path: bytes) -> None:
        assert self.syncer is not None
        self.syncer.note(path)


def _is_ours(partial: bytes) -> bool:
    """Whether a directory bears our mark; it is made before the mark, and is empty then."""
    try:
        if not stat.S_ISDIR(os.lstat(partial).st_mode):
            return False
        return not os.listdir(partial) or stat.S_ISREG(os.lstat(os.path.join(partial, MARK)).st_mode)
    except OSError:
        return False


def _touch(path: bytes) -> bytes:
    os.close(os.open(path, fs.O_CREATE, 0o600))
    return path


_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def asctime(seconds: int) -> bytes:
    """A time as the From_ line of an mbox has it: asctime, in UTC (RFC 4155, appendix A)."""
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(max(0, min(seconds, 253_402_300_799)), UTC)
    day = _DAYS[(max(0, seconds) // 86_400) % 7]
    return b"%b %b %2d %02d:%02d:%02d %d" % (
        day, _MONTHS[at.month - 1], at.day, at.hour, at.minute, at.second, at.year,
    )  # fmt: skip


def status_lines(packed: str, end: bytes) -> bytes:
    """Flags as header lines of an mbox, as mutt, Dovecot and others read them: Status, X-Status, X-Keywords."""
    flags = unpack(packed)
    status = ("R" if "S" in flags else "") + ("O" if OLD in flags or flags else "")
    x_status = "".join(
        letter for flag, letter in (("R", "A"), ("F", "F"), ("D", "T"), ("T", "D")) if flag in flags
    )
    out = b""
    for name, value in ((b"Status", status), (b"X-Status", x_status)):
        if value:
            out += name + b": " + value.encode() + end
    keywords = sorted(flag for flag in flags if len(flag) > 1)
    if keywords:
        out += b"X-Keywords: " + " ".join(keywords).encode() + end
    return out
