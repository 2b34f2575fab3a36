"""What a repair displaces: it goes aside, into `damaged/` of the state directory, under a name that says what it was.

Nothing here is ever removed by mailkeep; it may be the last that is left of a message.
"""

from __future__ import annotations

import os

from mailkeep.system import fs

DIRECTORY = b"damaged"


class Aside:
    """The directory for displaced files, made when the first one comes.

    Attributes:
        moved: Paths of what was put there.
    """

    def __init__(self, state: bytes) -> None:
        self.path = os.path.join(state, DIRECTORY)
        self.moved: list[bytes] = []
        self._fd = -1

    def take(self, name: bytes, label: bytes, at: int) -> bytes:
        """Move a file aside; where it is then.

        Args:
            name: In the directory `at`, or an absolute path.
            label: What to call it; a number is added where that name is taken.
            at: Descriptor of its directory.

        Raises:
            FileNotFoundError: It is not there.
        """
        if self._fd < 0:
            os.makedirs(self.path, 0o700, exist_ok=True)
            self._fd = fs.open_directory(self.path)
        number = 0
        while True:
            target = label if not number else b"%b.%d" % (label, number)
            try:
                fs.rename_noreplace(name, target, at, self._fd)
                break
            except FileExistsError:
                number += 1
        where = os.path.join(self.path, target)
        self.moved.append(where)
        return where

    def has(self, label: bytes) -> bool:
        """Whether something was put there under this very name."""
        return os.path.lexists(os.path.join(self.path, label))

    def close(self) -> None:
        """Make the moves durable, and give the descriptor back."""
        if self._fd >= 0:
            fs.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
