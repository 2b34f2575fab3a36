"""A Maildir tree that is no store of ours, a backup say: walked and hashed, links not followed, nothing changed.

Reading goes over several processes. What a file's hash was is remembered, so that a tree that did not change is only looked at
(`mailkeep.store.hashes`).
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from typing import TYPE_CHECKING

from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.flags import pack
from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.store.foreign import MAILDIR, TOO_LARGE, WHOLE_BYTES, Item, Problems, head_and_key, too_large
from mailkeep.store.maildir import KEYWORDS, KEYWORDS_BYTES_MAX
from mailkeep.store.shownflags import on_disk
from mailkeep.system import clock, fs
from mailkeep.system.parallel import Share, workers
from mailkeep.wire import dovecotkeywords, layoutdetect, mutf7
from mailkeep.wire.headers import Headers
from mailkeep.wire.layouts import MAILDIR_PARTS, Unmappable
from mailkeep.wire.maildirname import split
from mailkeep.wire.mbox import message_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.store.hashes import HashCache, Known

    Hashed = tuple[int, int, int, bytes]
    """(size, mtime ns, ctime ns, SHA-256)"""

DEPTH_MAX = 60
IN_NEW, IN_CUR = 1, 2
SUBS = (b"", b"new", b"cur")
CHUNK, ROUND = 200, 20_000
"""Files that a reader takes at once, and files between two collections of results."""


class MaildirSource:
    """A Maildir tree, of whatever layout.

    Attributes:
        hashes: Where hashes are remembered; None: nowhere.
        read: How many files were read, not merely looked at.
    """

    kind, has_contents, in_order = MAILDIR, True, False
    key = staticmethod(message_key)

    def __init__(self, name: str, path: bytes, hashes: HashCache | None = None) -> None:
        self.name, self.path, self.hashes = name, path, hashes
        self.problems = Problems()
        self.read = 0
        try:
            self.fd = fs.open_directory(path)
        except OSError as err:
            raise fs.explain(err, f"{printable(name)} cannot be read") from err
        self._fds: dict[bytes, int] = {}
        self.boxes = self._survey()
        if not self.boxes:
            os.close(self.fd)
            raise DataError(
                f"{printable(name)} is no Maildir tree: no directory in it has a directory cur",
                untouched="anything",
                hint="name the directory that holds the mailboxes",
            )

    def close(self) -> None:
        """Close all directories."""
        for fd in self._fds.values():
            os.close(fd)
        os.close(self.fd)
        if self.hashes is not None:
            self.hashes.close()

    # --- which mailboxes

    def _survey(self) -> list[tuple[bytes, str]]:
        """(directory below the root, mailbox name) of everything that has a cur."""
        listed: list[tuple[bytes, bool]] = []
        at_root = False
        pending = [b""]
        while pending:
            parent = pending.pop()
            try:
                fd = fs.open_directory(parent or b".", self.fd)
                try:
                    with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
                        found = sorted(
                            (e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries
                        )
                finally:
                    os.close(fd)
            except OSError as err:
                self.problems.add(parent, f"cannot be read: {os.strerror(err.errno or 5)}")
                continue
            names = {name for name, is_directory, _ in found if is_directory}
            if parent:
                listed.append((parent, b"cur" in names))
            else:
                at_root = b"cur" in names
            for name, is_directory, is_link in found:
                path = os.path.join(parent, name) if parent else name
                if (
                    is_link
                    and name not in MAILDIR_PARTS
                    and os.path.isdir(os.path.join(self.path, path, b"cur"))
                ):
                    self.problems.add(path, "is a symbolic link: links are not followed")
                elif is_directory and name not in MAILDIR_PARTS:
                    if path.count(b"/") < DEPTH_MAX:
                        pending.append(path)
                    else:
                        self.problems.add(path, f"lies deeper than {DEPTH_MAX} directories")
        layout = layoutdetect.detect(at_root, listed).layout
        out = [(b"", "INBOX")] if at_root else []
        for path, has_cur in sorted(listed):
            if has_cur:
                try:
                    out.append((path, str(layout.name(path))))
                except (Unmappable, BadMailboxName):
                    out.append((path, _any_name(path)))
        return out

    def _open(self, directory: bytes) -> int:
        fd = self._fds.get(directory)
        if fd is None:
            while len(self._fds) >= 32:
                os.close(self._fds.pop(next(iter(self._fds))))
            fd = self._fds[directory] = fs.open_directory(directory, self.fd)
        return fd

    def _keywords(self, directory: bytes) -> dict[str, str] | None:
        path = os.path.join(directory, KEYWORDS) if directory else KEYWORDS
        try:
            with fs.Parent(path, self.fd) as (at, name):
                fd = os.open(name, fs.O_READ, dir_fd=at)
        except OSError:
            return None
        try:
            if not fs.is_regular(os.fstat(fd)):
                return None
            return dovecotkeywords.parse(os.read(fd, KEYWORDS_BYTES_MAX))[0]
        except OSError:
            return None
        finally:
            os.close(fd)

    # --- what is in them

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Every message file, hashed."""
        del known
        done = size = 0
        for directory, mailbox in self.boxes:
            table = self._keywords(directory)
            for sub in (IN_NEW, IN_CUR):
                at = os.path.join(directory, SUBS[sub]) if directory else SUBS[sub]
                for files in self._directory(at):
                    rest = [row for row in files if not here(row[1][3])]
                    if len(rest) < len(files):
                        yield len(files) - len(rest)
                    for name, found in sorted(rest):
                        flags = pack(on_disk(sub, split(name)[1], table))
                        date = fs.bounded(found[1]) // 1_000_000_000
                        yield Item(found[3], "", mailbox, flags, date, found[0], os.path.join(at, name))
                    done += len(files)
                    size += sum(found[0] for _, found in files)
                    if progress is not None:
                        progress("compared", done, size)

    def _directory(self, at: bytes) -> Iterator[list[tuple[bytes, Hashed]]]:
        """(name, what it is) of each file of a new or cur, some at a time."""
        try:
            fd = self._open(at)
            here = os.fstat(fd)
            known = self.hashes.known(here) if self.hashes is not None else {}
            same: list[tuple[bytes, Hashed]] = []
            there: Known = {}
            unread: list[bytes] = []
            with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
                for entry in entries:
                    name = entry.name
                    if name[:1] == b".":
                        continue
                    if not entry.is_file(follow_symlinks=False):
                        self.problems.add(os.path.join(at, name), "is no plain file: not opened")
                        continue
                    had = known.get(entry.inode())
                    if had is not None:
                        st = entry.stat(follow_symlinks=False)
                        if had[1] == st.st_mtime_ns and had[2] == st.st_ctime_ns and had[0] == st.st_size:
                            there[st.st_ino] = had
                            same.append((name, had))
                            continue
                    unread.append(name)
        except FileNotFoundError:
            return
        except OSError as err:
            self.problems.add(at, f"cannot be read: {os.strerror(err.errno or 5)}")
            return
        if same:
            yield same
        unread.sort()
        for begin in range(0, len(unread), ROUND):
            files: list[tuple[bytes, Hashed]] = []
            for name, result in self._hash(at, unread[begin : begin + ROUND]):
                if isinstance(result, str):
                    self.problems.add(os.path.join(at, name), result)
                elif result is None:
                    self.problems.add(
                        os.path.join(at, name), "was renamed or removed while it was compared: try again"
                    )
                else:
                    there[result[0]] = result[1:]
                    files.append((name, result[1:]))
            yield files
        if self.hashes is not None and (unread or len(there) != len(known)):
            self.hashes.note(here, there, clock.now())

    def _hash(
        self, at: bytes, names: list[bytes]
    ) -> Iterator[tuple[bytes, tuple[int, int, int, int, bytes] | str | None]]:
        fd = self._open(at)
        self.read += len(names)
        jobs = [names[begin : begin + CHUNK] for begin in range(0, len(names), CHUNK)]

        def work(job: list[bytes]) -> list[tuple[int, int, int, int, bytes] | str | None]:
            return [_hash_file(fd, name) for name in job]

        if len(jobs) >= 4 and workers() > 1:
            results = Share(work, jobs, workers()).results()
        else:
            results = [None] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            yield from zip(job, work(job) if result is None else result, strict=True)

    # --- one message

    def _file(self, place: bytes) -> int:
        """Open a file; one whose flags changed since it was listed goes by another name."""
        directory, _, name = place.rpartition(b"/")
        fd = self._open(directory)
        try:
            return os.open(name, fs.O_READ, dir_fd=fd)
        except FileNotFoundError:
            base = split(name)[0]
            above = directory.rpartition(b"/")[0]
            for sub in (b"cur", b"new"):
                at = self._open(os.path.join(above, sub) if above else sub)
                for other in map(os.fsencode, os.listdir(at)):
                    if split(other)[0] == base:
                        return os.open(other, fs.O_READ, dir_fd=at)
            raise

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """The head of a file, and how to get its key."""
        return head_and_key(lambda: self._file(place))

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """The bytes of files, as they are now."""
        for place, _ in wanted:
            try:
                fd = self._file(place)
                st = os.fstat(fd)
                if not stat.S_ISREG(st.st_mode):
                    os.close(fd)
                    raise FileNotFoundError(2, "it is no plain file any more")
                if st.st_size > WHOLE_BYTES:
                    yield fd
                    continue
                try:
                    data = fs.read_all(fd)
                finally:
                    os.close(fd)
                yield data
            except OSError as err:
                self.problems.add(place, f"cannot be read: {os.strerror(err.errno or 5)}")
                yield None


def _hash_file(directory: int, name: bytes) -> tuple[int, int, int, int, bytes] | str | None:
    """(inode, size, mtime, ctime, hash) of a file; None: it is gone; else why it is not used."""
    try:
        fd = os.open(name, fs.O_READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as err:
        return f"cannot be read: {os.strerror(err.errno or 5)}"
    try:
        st = os.fstat(fd)
        if not fs.is_regular(st):
            return "is no plain file: not read"
        if too_large(st.st_size):
            return TOO_LARGE
        want = min(st.st_size + 1, fs.READ_BYTES)
        data = os.read(fd, want)
        hashed, size = sha256(data), len(data)
        while len(data) == want and size <= st.st_size:
            data = os.read(fd, want)
            hashed.update(data)
            size += len(data)
        now = os.fstat(fd)
        if size != st.st_size or (now.st_mtime_ns, now.st_ctime_ns) != (st.st_mtime_ns, st.st_ctime_ns):
            return "was written to while it was read: try again"
        return st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns, hashed.digest()
    except OSError as err:
        return f"cannot be read: {os.strerror(err.errno or 5)}"
    finally:
        os.close(fd)


def _any_name(path: bytes) -> str:
    """A mailbox name for a directory that the tree's layout has no name for: mail there is mail, too."""
    parts = []
    for component in path.split(b"/"):
        for piece in component.strip(b".").split(b".") if component[:1] == b"." else [component]:
            try:
                parts.append(mutf7.decode(piece))
            except ValueError:
                parts.append(piece.decode(errors="replace"))
    try:
        return str(MailboxName(part.replace("/", "_") for part in parts if part))
    except BadMailboxName:
        return "INBOX"
