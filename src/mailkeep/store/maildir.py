"""The user's Maildir as a tree of directories: opened without following links, listed, and looked at.

Nothing here decides anything; `mailkeep.store.scan` does, and `mailkeep.store.apply` changes files.
"""

from __future__ import annotations

import errno
import os
import stat

from mailkeep.domain.errors import printable
from mailkeep.store.gate import missing_root
from mailkeep.system import fs
from mailkeep.wire import dovecotkeywords
from mailkeep.wire.layouts import FS, MAILDIR_PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailkeep.wire.layouts import Layout

    Stamp = list[int]
    """[inode, mtime ns, ctime ns] of a directory."""

SUBS = (b"", b"new", b"cur")
"""Directory of a file by the index's `sub` column: none, new, cur."""
DEPTH_MAX = 60
OPEN_MAX = 64
KEYWORDS = b"dovecot-keywords"
KEYWORDS_BYTES_MAX = 1 << 16
KEYWORDS_LOCK_SECONDS = 300
"""A lock on keywords that is older was left by a program that died: Dovecot itself waits two seconds for one, and
takes one away that is a minute old."""


class Maildir:
    """An open Maildir root.

    Attributes:
        problems: What was passed over, as (where, why); messages for people.
        locked: Mailboxes whose keywords another program had locked when they were to be added to.
    """

    def __init__(self, root: bytes, layout: Layout) -> None:
        """Open it.

        Raises:
            NoInput: There is no such directory.
            PermissionDenied, StorageError: It cannot be opened.
        """
        self.root = root
        self.layout = layout
        self.problems: list[tuple[str, str]] = []
        self.locked: set[bytes] = set()
        try:
            self.fd = fs.open_directory(root)
        except (FileNotFoundError, NotADirectoryError) as err:
            raise missing_root(root) from err
        except OSError as err:
            raise fs.explain(err, "the Maildir cannot be opened") from err
        self.device = os.fstat(self.fd).st_dev
        self._open: dict[tuple[bytes, bytes], int] = {}
        self._tables: dict[bytes, dict[str, str] | None] = {}

    def close(self) -> None:
        """Close the root and whatever `open` keeps open below it."""
        self.close_directories()
        os.close(self.fd)

    def close_directories(self) -> None:
        """Close what `open` keeps open: before directories are renamed, and at the end."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._tables.clear()

    def open(self, directory: bytes, sub: bytes = b"") -> int:
        """A descriptor of a mailbox's directory or of its cur or new, kept open for the next call.

        Raises:
            OSError: It is not there, not readable, or reached through a symbolic link.
        """
        key = (directory, sub)
        fd = self._open.pop(key, None)
        if fd is None:
            if len(self._open) >= OPEN_MAX:
                # The one that was asked for longest ago: a caller may still be using the latest few, and a
                # number that is closed under it would soon be another mailbox's.
                os.close(self._open.pop(next(iter(self._open))))
            path = os.path.join(directory, sub) if sub else directory
            fd = fs.open_directory(path or b".", self.fd)
            if os.fstat(fd).st_dev != self.device:
                os.close(fd)
                raise OSError(18, "it lies on another file system", path)
        self._open[key] = fd
        return fd

    def report(self, where: bytes, why: str) -> None:
        """Note what was passed over: a path below the root (b'': the root), and why, for people to read."""
        self.problems.append((printable(where) or ".", why))

    # --- which mailboxes are there

    def survey(self) -> tuple[list[bytes], dict[bytes, Stamp]]:
        """Find every directory that is a mailbox.

        Returns:
            Their paths below the root, sorted, and the stamps of the directories whose change means that
            there may be others.

        Raises:
            OSError: The root cannot be listed. A directory below that cannot be is reported, and what it
                may hold is unknown.
        """
        found: list[bytes] = []
        stamps: dict[bytes, Stamp] = {}
        if self.layout.inbox_at_root and self._is_mailbox(b""):
            found.append(b"")
        pending = [b""]
        while pending:
            parent = pending.pop()
            try:
                fd = self.fd if not parent else self.open(parent)
                stamps[parent] = stamp_of(os.fstat(fd))
                with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
                    listed = [(e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries]
            except OSError as err:
                if not parent:
                    raise
                self.report(
                    parent, f"cannot be read ({os.strerror(err.errno or 5)}): what it holds is unknown"
                )
                continue
            for name, is_directory, is_link in listed:
                path = os.path.join(parent, name) if parent else name
                if not self._may_be_mailbox(name):
                    continue
                if is_link:
                    if os.path.isdir(os.path.join(self.root, path, b"cur")):
                        self.report(
                            path, "is a symbolic link: links are not followed, so this mailbox is left alone"
                        )
                elif is_directory:
                    try:
                        if self._is_mailbox(path):
                            found.append(path)
                        elif (
                            self.layout.kind != FS
                        ):  # it may be in the making: its cur does not move the root's times
                            stamps[path] = stamp_of(os.stat(path, dir_fd=self.fd, follow_symlinks=False))
                        if self.layout.kind == FS:
                            if path.count(b"/") >= DEPTH_MAX:
                                self.report(path, f"lies deeper than {DEPTH_MAX} directories: left alone")
                            else:
                                pending.append(path)
                    except OSError as err:
                        self.report(
                            path, f"cannot be read ({os.strerror(err.errno or 5)}): what it holds is unknown"
                        )
        return sorted(found), stamps

    def _may_be_mailbox(self, name: bytes) -> bool:
        if self.layout.kind == FS:
            return name[:1] != b"." and name not in MAILDIR_PARTS
        return name[:1] == b"." and name not in (b".", b"..")

    def _is_mailbox(self, path: bytes) -> bool:
        try:
            st = os.stat(
                os.path.join(path, b"cur") if path else b"cur", dir_fd=self.fd, follow_symlinks=False
            )
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISDIR(st.st_mode)

    # --- what is in a mailbox

    def stamps(self, directory: bytes) -> tuple[Stamp, Stamp]:
        """Stamps of new and cur.

        Raises:
            OSError: One of them is not there.
        """
        prefix = directory + b"/" if directory else b""
        new = os.stat(prefix + b"new", dir_fd=self.fd, follow_symlinks=False)
        cur = os.stat(prefix + b"cur", dir_fd=self.fd, follow_symlinks=False)
        return stamp_of(new), stamp_of(cur)

    def listing(self, directory: bytes, sub: bytes) -> Any:
        """os.scandir of cur or new, as a context; hidden names are among its entries.

        Raises:
            OSError: The listing failed, at its start or, from the iteration, half-way: what it lacks is unknown.
        """
        return os.scandir(b"/proc/self/fd/%d" % self.open(directory, sub))

    def is_empty(self, directory: bytes, sub: bytes) -> bool:
        """Whether there is no mail in cur or new.

        Raises:
            OSError: It cannot be listed.
        """
        with self.listing(directory, sub) as entries:
            return all(entry.name[:1] == b"." for entry in entries)

    def keywords(self, directory: bytes) -> dict[str, str] | None:
        """The mailbox's table of keyword letters, from dovecot-keywords; None where there is none."""
        if directory not in self._tables:
            try:
                self._tables[directory] = self._read_keywords(directory)
            except OSError:  # unreadable: letters stand for themselves, and the file is left alone
                self._tables[directory] = None
        return self._tables[directory]

    def _read_keywords(self, directory: bytes) -> dict[str, str] | None:
        try:
            fd = os.open(KEYWORDS, fs.O_READ, dir_fd=self.open(directory))
        except FileNotFoundError:
            return None
        try:
            if not fs.is_regular(os.fstat(fd)):
                raise OSError(errno.EINVAL, "it is no regular file", KEYWORDS)
            data = os.read(fd, KEYWORDS_BYTES_MAX + 1)
            if len(data) > KEYWORDS_BYTES_MAX:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), KEYWORDS)
        finally:
            os.close(fd)
        return dovecotkeywords.parse(data)[0]

    def add_keywords(self, directory: bytes, keywords: frozenset[str]) -> dict[str, str] | None:
        """Give keywords a letter in dovecot-keywords, as Dovecot would: by a dot lock that becomes the file.

        A file is made only for named keywords; where the letters are used up, or another program has the
        lock, the keyword stays in the record and is not shown in file names; for the latter, see `locked`.
        """
        try:
            have = self._read_keywords(directory)
        except OSError:
            return None  # what cannot be read is not replaced
        table = dovecotkeywords.add(have or {}, sorted(keywords))
        if table != (have or {}):
            at = self.open(directory)
            lock = KEYWORDS + b".lock"
            fs.drop_stale(lock, at, KEYWORDS_LOCK_SECONDS)
            try:
                fd = os.open(lock, fs.O_CREATE, 0o600, dir_fd=at)
            except FileExistsError:
                self.locked.add(directory)
                return have
            try:
                try:
                    have = self._read_keywords(
                        directory
                    )  # another program may have added some before the lock
                    table = dovecotkeywords.add(have or {}, sorted(keywords))
                    fs.write_all(fd, dovecotkeywords.render(table))
                finally:
                    os.close(fd)
                fs.rename(lock, KEYWORDS, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                fs.unlink(lock, dir_fd=at)
                raise
        self._tables[directory] = table
        return table


def stamp_of(st: os.stat_result) -> Stamp:
    """What differs once an entry was made, renamed or removed in a directory."""
    return [st.st_ino, st.st_mtime_ns, st.st_ctime_ns]
