"""What a listing of a mailbox says, compared with what the index knows of it.

Pure: names and inodes in, findings out. A listing that lacks a file says only that: whether the file was
removed is decided elsewhere, after a second look. Nearly every name is as it was: for those nothing is
done but to look the name up and to compare its inode.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Entry(Protocol):
        """What os.scandir gives."""

        @property
        def name(self) -> bytes:
            """The file's name."""

        def inode(self) -> int:
            """Its inode, as the directory says."""

        def is_file(self, *, follow_symlinks: bool = True) -> bool:
            """Whether the directory says that it is a regular file."""

    Row = tuple[bytes, int, bytes, int, bytes, int | None]
    """(name, record number, base, sub, info, inode) of a file as it was last seen."""
    Found = tuple[int, bytes, bytes]
    """(sub, base, info)"""

DOT = 0x2E


class Comparison:
    """Findings of one mailbox, complete after `finish`.

    Attributes:
        moved: (record number, sub, base, info, inode): same file, other flags or the other directory.
        replaced: (record number, sub, base, info): same name, other inode: look again.
        appeared: Files that the index does not know.
        strange: (sub, name) of what is no regular file.
        missing: Rows of files that were not listed.
    """

    __slots__ = ("_known", "_rest", "appeared", "missing", "moved", "replaced", "strange")

    def __init__(self, rows: Iterable[Row]) -> None:
        """Take what the index knows: rows with sub 1 (new) or 2 (cur)."""
        known: tuple[dict[bytes, Row], dict[bytes, Row], dict[bytes, Row]] = ({}, {}, {})
        for row in rows:
            known[row[3]][row[0]] = row
        self._known = known
        self._rest: list[tuple[int, bytes, int, bool]] = []
        self.moved: list[tuple[int, int, bytes, bytes, int]] = []
        self.replaced: list[tuple[int, int, bytes, bytes]] = []
        self.appeared: list[Found] = []
        self.strange: list[tuple[int, bytes]] = []
        self.missing: list[Row] = []

    def take(self, sub: int, entries: Iterable[Entry]) -> None:
        """Compare the entries of new (1) or cur (2). Hidden names are nobody's mail."""
        known = self._known[sub]
        get = known.get
        for entry in entries:
            name = entry.name
            row = get(name)
            if row is not None and row[5] == entry.inode():
                del known[name]
            elif name[0] != DOT:
                self._rest.append((sub, name, entry.inode(), entry.is_file(follow_symlinks=False)))

    def finish(self, split: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        """Match what is left, name by name: renamed, replaced, new, strange, missing.

        Args:
            split: A file name into base and flags part.
        """
        left: dict[bytes, list[Row]] = {}
        for rows in self._known[1:]:
            for row in rows.values():
                left.setdefault(row[2], []).append(row)
        for sub, name, inode, regular in self._rest:
            base, info = split(name)
            if not regular:
                self.strange.append((sub, name))
                continue
            rows_of_base = left.get(base)
            if not rows_of_base:
                self.appeared.append((sub, base, info))
                continue
            row = next((r for r in rows_of_base if r[5] == inode), rows_of_base[0])
            rows_of_base.remove(row)
            if row[5] == inode:
                self.moved.append((row[1], sub, base, info, inode))
            else:
                self.replaced.append((row[1], sub, base, info))
        self.missing = [row for rows_of_base in left.values() for row in rows_of_base]
