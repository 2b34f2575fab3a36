"""The marker: a small file in the Maildir's root that names its store and carries a generation.

It is how mailkeep knows that the directory it looks at is the one it indexed, and not an empty mount
point, another tree, or last week's backup. The index holds the same generation; each run that changes
something advances both, index first.
"""

from __future__ import annotations

import os

from mailkeep.domain.errors import DataError, NoInput, printable
from mailkeep.system import fs

NAME = b"..mailkeep"
"""No mailbox can have this name, in either layout."""
SIZES = 60
"""Markers of so many generations in a row have sizes of their own. A copying program may look at size and whole
seconds alone (rsync does), and would leave a newer marker in its place when it restores a backup of that second."""
STORE_ID_BYTES = 16
GENERATION_MAX = 1 << 52
"""More than any number of runs; the index has to hold it."""
_HEAD = b"mailkeep store marker 1: do not edit, copy or remove\n"


def parse(data: bytes) -> tuple[bytes, int]:
    """(store id, generation) from a marker's bytes.

    Raises:
        ValueError: They are not what `write` writes.
    """
    head, _, rest = data.partition(b"\n")
    words = rest.split()
    if head + b"\n" != _HEAD or len(words) != 2 or not words[1].isdigit():
        raise ValueError("not a marker")
    store, generation = bytes.fromhex(words[0].decode()), int(words[1])
    if len(store) != STORE_ID_BYTES or generation > GENERATION_MAX:
        raise ValueError("a marker of no store")
    return store, generation


def read(root_fd: int, root: bytes) -> tuple[bytes, int] | None:
    """(store id, generation), or None where there is no marker.

    Raises:
        DataError: There is one that is not ours.
    """
    try:
        fd = os.open(NAME, fs.O_READ, dir_fd=root_fd)
    except FileNotFoundError:
        return None
    try:
        data = os.read(fd, 500)
    finally:
        os.close(fd)
    try:
        return parse(data)
    except ValueError:
        raise DataError(
            f"the marker {printable(os.path.join(root, NAME))} cannot be read",
            untouched="anything: without it nobody knows whether this is the right Maildir",
            hint="look at what happened to the Maildir; if it is whole, run mailkeep init --adopt on it",
        ) from None


def write(root_fd: int, store: bytes, generation: int) -> None:
    """Replace the marker; durable with the next sync of the file system."""
    temporary = (
        NAME + b".new"
    )  # one name, under the store's lock: what a crash leaves is used up by the next run
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root_fd
    )
    try:
        fs.write_all(
            fd, _HEAD + b"%b %d%b\n" % (store.hex().encode(), generation, b" " * (generation % SIZES))
        )
    finally:
        os.close(fd)
    fs.rename(temporary, NAME, src_dir_fd=root_fd, dst_dir_fd=root_fd)


def missing(root: bytes) -> NoInput:
    """The error for a Maildir that has lost its marker, for the caller to raise."""
    return NoInput(
        f"{printable(root)} is not the Maildir that was indexed: its marker {printable(NAME)} is missing",
        untouched="anything: an empty or foreign directory says nothing about your mail",
        hint="mount the right directory there; if it is the right one and only the marker was lost: mailkeep init --adopt",
    )


def foreign(root: bytes) -> DataError:
    """The error for a Maildir with the marker of another store, for the caller to raise."""
    return DataError(
        f"{printable(root)} belongs to another mailkeep store than this configuration says",
        untouched="anything",
        hint="correct path or state in the configuration (mailkeep config show); if both are right and the index is another"
        " store's: mailkeep rebuild",
    )
