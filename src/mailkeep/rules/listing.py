"""What a listing of a mailbox says, compared with what the index knows of it.

Pure: names and inodes in, findings out. A listing that lacks a file says only that: whether the file was
removed is decided elsewhere, after a second look.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Known = dict[bytes, tuple[int, int, bytes, int | None]]
    """base -> (record number, sub, info, inode)"""
    Found = tuple[int, bytes, bytes, int]
    """(sub, base, info, inode)"""


class Comparison:
    """Findings of one mailbox.

    Attributes:
        moved: (record number, sub, base, info, inode): same file, other flags or the other directory.
        replaced: (record number, sub, base, info): same name, other inode: look again.
        appeared: Names that the index does not know.
        strange: Names of what is no regular file.
        missing: base -> what is known of it, for names that were not listed.
    """

    __slots__ = ("appeared", "missing", "moved", "replaced", "strange")

    def __init__(self, known: Known) -> None:
        self.missing = known
        self.moved: list[tuple[int, int, bytes, bytes, int]] = []
        self.replaced: list[tuple[int, int, bytes, bytes]] = []
        self.appeared: list[Found] = []
        self.strange: list[tuple[int, bytes]] = []

    def take(self, sub: int, entries: Iterable[tuple[bytes, bytes, int, bool]]) -> None:
        """Compare the entries of new (1) or cur (2)."""
        pop = self.missing.pop
        for base, info, inode, regular in entries:
            known = pop(base, None)
            if known is None:
                if regular:
                    self.appeared.append((sub, base, info, inode))
                else:
                    self.strange.append((sub, base + info))
            elif not regular:
                self.strange.append((sub, base + info))
                self.missing[base] = known
            elif known[3] != inode:
                self.replaced.append((known[0], sub, base, info))
            elif known[1] != sub or known[2] != info:
                self.moved.append((known[0], sub, base, info, inode))
