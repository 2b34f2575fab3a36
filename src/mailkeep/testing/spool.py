"""Mail to be mistreated: a copy of somebody's own, read only and never linked to, or mail made up from a seed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mailkeep.domain.errors import NoInput, StorageError, printable
from mailkeep.store.vault import copy_bytes
from mailkeep.system import fs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

SUBS = (b"new", b"cur")
ROOM_TIMES, ROOM_BYTES = 5, 64 << 20
"""Two Maildirs, two vaults, which may have to be copies, and what is delivered meanwhile; and indexes."""
BOXES = (b"", b".Work", b".Lists", b".Lists.Long name with spaces", b".Archive.2024")
MADE_BYTES_MAX = 600_000


class Copied:
    """What was copied.

    Attributes:
        left_out: Messages beyond the limits.
        skipped: What is no regular file, could not be read or went away meanwhile.
    """

    def __init__(self) -> None:
        self.messages = self.bytes = self.mailboxes = self.left_out = self.skipped = 0


def mailboxes(root: bytes) -> Iterator[bytes]:
    """Directories below a root that have a cur; links are not followed, other file systems not entered."""
    device = os.stat(root).st_dev
    for path, directories, _ in os.walk(root):
        directories[:] = sorted(
            name
            for name in directories
            if name not in (b"cur", b"new", b"tmp")
            and not os.path.islink(os.path.join(path, name))
            and os.stat(os.path.join(path, name)).st_dev == device
        )
        cur = os.path.join(path, b"cur")
        if os.path.isdir(cur) and not os.path.islink(cur):
            yield b"" if path == root else os.path.relpath(path, root)


def copy(root: bytes, target: bytes, messages_max: int, bytes_max: int) -> Copied:
    """Copy a Maildir tree, with file names and times. What is there is only read.

    Every mailbox comes along; of the messages the last of each, up to the limits.

    Raises:
        NoInput: There is no Maildir.
        StorageError: There is not room enough.
    """
    if not os.path.isdir(root):
        raise NoInput(
            f"{printable(root)} is not there",
            untouched="anything",
            hint="name a Maildir, or a store with --store",
        )
    found: list[list[tuple[bytes, bytes, bytes, int]]] = []
    for box in mailboxes(root):
        rows = []
        for sub in SUBS:
            try:
                with os.scandir(os.path.join(root, box, sub)) as entries:
                    for entry in entries:
                        st = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(st.st_mode) and entry.name[:1] != b".":
                            rows.append((entry.name, box, sub, st.st_size))
            except OSError:
                continue
        found.append(sorted(rows, reverse=True))
    if not found:
        raise NoInput(
            f"{printable(root)} holds no mailbox", untouched="anything", hint="name the root of a Maildir"
        )
    out = Copied()
    chosen = _chosen(found, messages_max, bytes_max, out)
    require_room(os.path.dirname(target), sum(row[3] for row in chosen))
    os.makedirs(target, 0o700, exist_ok=True)
    for box in mailboxes(root):
        out.mailboxes += 1
        make_mailbox(os.path.join(target, box))
        for extra in (b"maildirfolder", b"dovecot-keywords"):
            _copy_file(os.path.join(root, box, extra), os.path.join(target, box, extra))
    for name, box, sub, _ in chosen:
        size = _copy_file(os.path.join(root, box, sub, name), os.path.join(target, box, sub, name))
        if size is None:
            out.skipped += 1
        else:
            out.messages += 1
            out.bytes += size
    return out


def _chosen(
    found: list[list[tuple[bytes, bytes, bytes, int]]], messages_max: int, bytes_max: int, out: Copied
) -> list[tuple[bytes, bytes, bytes, int]]:
    """The last of each mailbox in turn, until a limit is reached."""
    chosen: list[tuple[bytes, bytes, bytes, int]] = []
    size = 0
    for depth in range(max(len(rows) for rows in found)):
        for rows in found:
            if depth < len(rows):
                row = rows[depth]
                if len(chosen) < messages_max and size + row[3] <= bytes_max:
                    chosen.append(row)
                    size += row[3]
                else:
                    out.left_out += 1
    return chosen


def _copy_file(source: bytes, target: bytes) -> int | None:
    """Copy a regular file, sharing blocks where that can be; its size, or None."""
    try:
        fd = os.open(source, fs.O_READ)
    except OSError:
        return None
    try:
        st = os.fstat(fd)
        if not fs.is_regular(st):
            return None
        out = os.open(target, fs.O_CREATE, 0o600)
        try:
            copy_bytes(fd, out)
            os.utime(out, ns=(st.st_mtime_ns, st.st_mtime_ns))
        finally:
            os.close(out)
        return st.st_size
    finally:
        os.close(fd)


def require_room(directory: bytes, size: int) -> None:
    """There is room for a trial with this much mail.

    Raises:
        StorageError: There is not; nothing was written.
    """
    there = os.statvfs(directory)
    free, need = there.f_bavail * there.f_frsize, ROOM_TIMES * size + ROOM_BYTES
    if free < need:
        raise StorageError(
            f"a self-test with {size >> 20:,} MiB of mail needs {need >> 20:,} MiB free in {printable(directory)},"
            f" and there are {free >> 20:,}",
            untouched="anything",
            hint="make room, name another place with --scratch, or take fewer messages with --messages",
        )


def make_mailbox(path: bytes) -> None:
    """Make a Maildir's directories."""
    for sub in (b"tmp", b"new", b"cur"):
        os.makedirs(os.path.join(path, sub), 0o700, exist_ok=True)


def text(random: Random, serial: int, size: int) -> bytes:
    """A message like no other, which hardly compresses: what travels can be told by counting."""
    body = random.randbytes(size * 3 // 4).hex()
    lines = "\r\n".join(body[at : at + 72] for at in range(0, len(body), 72))
    return (
        f"From: Ada Holm <ada@post.example>\r\nTo: me@home.example\r\nSubject: number {serial}\r\n"
        f"Message-ID: <{serial}.{random.getrandbits(40):x}@post.example>\r\n\r\n{lines}\r\n"
    ).encode()


def size_of(random: Random) -> int:
    """Of a message: mostly small, some larger than what is sent in one piece."""
    return min(MADE_BYTES_MAX, int(300 * 10 ** (random.random() ** 3 * 3.3)))


def make(target: bytes, random: Random, messages: int) -> None:
    """Make a spool up: a few mailboxes in Maildir++, and messages in them.

    Raises:
        StorageError: There is not room enough.
    """
    require_room(os.path.dirname(target), messages * 20_000)
    for box in BOXES:
        make_mailbox(os.path.join(target, box))
    for serial in range(messages):
        box = random.choice(BOXES)
        when = 1_700_000_000 + serial * 977
        name = b"%d.M%dP1.mx" % (when, serial)
        sub, info = random.choice(((b"new", b""), (b"cur", b":2,"), (b"cur", b":2,S"), (b"cur", b":2,FS")))
        path = os.path.join(target, box, sub, name + info)
        data = text(random, serial, size_of(random))
        if random.random() < 0.05:
            data = b"Subject: the same in many places\r\n\r\nword for word\r\n"
        with open(path, "xb") as file:
            file.write(data)
        os.utime(path, (when, when))
