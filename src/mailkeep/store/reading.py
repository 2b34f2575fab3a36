"""Which content a file has, by proof or by reading it; what is read is taken into the vault.

The first index of a store is read by several processes.
"""

from __future__ import annotations

import os

from mailkeep.domain.record import SIZE_MAX
from mailkeep.store.findings import GOES_ON, REPLACED, REWRITTEN, YOUNG_NS, Found, Stat
from mailkeep.store.maildir import SUBS
from mailkeep.system import fs
from mailkeep.system.fs import bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Findings
    from mailkeep.store.rows import Mailbox
    from mailkeep.system.parallel import Share


class Reading:
    """Reads files for one scan; what they are is in its findings' `batch`."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.index, self.maildir, self.vault = findings.index, findings.maildir, findings.vault
        self.progress = findings.progress
        self.unread: list[tuple[Mailbox, int, bytes, bytes]] = []
        """(mailbox, sub, base, info) of files that nobody has read yet."""
        self.share: Share | None = None

    def identify(self, box: Mailbox, sub: int, base: bytes, info: bytes, record: int | None) -> None:
        """Find out which content a file has, by proof or by reading it, and take it into the vault."""
        assert box.dir is not None
        name = base + info
        try:
            directory = self.maildir.open(box.dir, SUBS[sub])
            fd = os.open(name, fs.O_READ, dir_fd=directory)
        except FileNotFoundError:
            self.findings.trusted.discard(box.no)  # renamed or removed since the listing
            return
        except OSError as err:
            self.findings.trusted.discard(box.no)
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
            if self.findings.now_ns < max(st.st_mtime_ns, st.st_ctime_ns) + YOUNG_NS:
                found.young = 1
            if not self._prove(found):
                self._hash(found, fd, name, directory)
            if record is not None:
                found.fate = self._fate(found, fd)
            self.findings.batch.append(found)
        except _Moving:
            self.findings.trusted.discard(box.no)
        except FileNotFoundError:
            self.findings.trusted.discard(box.no)  # renamed while it was read
        except OSError as err:
            self.findings.trusted.discard(box.no)
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
        if self.progress is not None and len(self.findings.batch) % 500 == 0:
            self.progress("read", self.findings.report.read)

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
        self.findings.report.read += 1
        if self.findings.dry:
            return
        found.linked = self.vault.adopt(found.content_id, fd, name, directory, st, kept=bool(row and row[1]))
        now = found.linked or os.fstat(fd)
        if (now.st_size, now.st_mtime_ns) != (st.st_size, st.st_mtime_ns):
            raise _Moving  # written to since it was read: the object does not count, and is made anew

    @property
    def goes_on(self) -> bool:
        """Whether readers are at work, or have something before them."""
        return bool(self.unread) or self.share is not None

    def abandon(self) -> None:
        """End the readers, if any are still at work."""
        if self.share is not None:
            self.share.abandon()

    def read_ahead(self, count: int) -> bool:
        """Give the next files to the readers, and take what they read before; whether there was such.

        Those of `unread` go to processes of their own, which work on while the caller writes what came.
        """
        before, self.share = self.share, None
        jobs, self.unread = self.unread[:count], self.unread[count:]
        if jobs:
            from mailkeep.system.parallel import Share, workers

            self.vault.make_places()
            self.share = Share(self._read_one, jobs, workers())
        if before is not None:
            for (box, sub, base, info), result in zip(before.jobs, before.results(), strict=True):
                if result is None:
                    self.identify(box, sub, base, info, None)  # a copy of another, or trouble: one at a time
                    continue
                content_id, dev, ino, size, mtime, ctime, nlink, linked_ctime = result
                st = Stat(dev, ino, size, mtime, ctime, nlink)
                found = Found(box, sub, base, info, st, None)
                found.content_id, found.linked = content_id, Stat(dev, ino, size, mtime, linked_ctime, nlink)
                if self.findings.now_ns < max(st.st_mtime_ns, st.st_ctime_ns) + YOUNG_NS:
                    found.young = 1
                self.findings.batch.append(found)
                self.findings.report.read += 1
        return before is not None

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


class _Moving(Exception):
    """A file changed while it was read."""
