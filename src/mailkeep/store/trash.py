"""Where files go that are taken out of the Maildir, to be looked at before they are dropped.

    trash/NUMBER.CONTENT    in the state directory: a file of the record of this number, thought to be of this content
    lost+found/             what a crash left there that is neither in the vault nor can be put back

A file that is in the trash when a run begins was left by a crash between 'moved aside' and 'dropped'.
"""

from __future__ import annotations

import os
import stat

from mailkeep.domain.errors import printable
from mailkeep.store.maildir import SUBS
from mailkeep.store.vault import COPY, hash_of
from mailkeep.system import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.maildir import Maildir
    from mailkeep.store.rows import Mailbox, Record
    from mailkeep.store.vault import Vault


class Trash:
    """The trash of one store, under its lock. `problems` gets (where, why) of what a person has to look at."""

    def __init__(
        self, state: bytes, ledger: Ledger, maildir: Maildir, vault: Vault, problems: list[tuple[str, str]]
    ) -> None:
        self.path = os.path.join(state, b"trash")
        self.found = os.path.join(state, b"lost+found")
        self.ledger, self.maildir, self.vault, self.problems = ledger, maildir, vault, problems
        self._fd: int | None = None

    def aside(self, record: Record, box: Mailbox, content_id: bytes) -> tuple[int, bytes]:
        """(directory, name) under which a file is looked at before it is dropped.

        In the state directory; where the vault holds copies, that may be on another file system: then in the mailbox's
        tmp/, which no program reads as mail.
        """
        assert box.dir is not None
        name = b"%d.%b" % (record.no, content_id.hex().encode())
        if self.vault.mode == COPY:
            return self.maildir.open(box.dir, b"tmp"), b"mailkeep." + name
        return self._directory(), name

    def _directory(self) -> int:
        if self._fd is None:
            os.makedirs(self.path, 0o700, exist_ok=True)
            self._fd = fs.open_directory(self.path)
        return self._fd

    def empty(self) -> None:
        """What a crash left between 'moved aside' and 'dropped': drop what the vault has, keep anything else."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in names:
            if self._is_spare(name):
                fs.unlink(os.path.join(self.path, name))
            elif not self._put_back(name):
                os.makedirs(self.found, 0o700, exist_ok=True)
                fs.rename_noreplace(name, name, self._directory(), fs.open_directory(self.found))
                self.problems.append(
                    (printable(self.found), "holds a file that a crash left half removed; look at it")
                )

    def _is_spare(self, name: bytes) -> bool:
        """Whether a file in the trash has the bytes of the message that was to go, and the vault has them too.

        Both are read: this happens after a crash only, and the file may be a copy, or rewritten meanwhile.
        """
        if not _is_aside(name):
            return False
        content_id = bytes.fromhex(name.partition(b".")[2].decode())
        if not stat.S_ISREG(os.lstat(os.path.join(self.path, name)).st_mode):
            return False
        try:
            for path in (os.path.join(self.path, name), self.vault.path(content_id)):
                fd = os.open(path, fs.O_READ)
                try:
                    if hash_of(fd) != content_id:
                        return False
                finally:
                    os.close(fd)
        except OSError:
            return False
        return True

    def _put_back(self, name: bytes) -> bool:
        """A file that is not what was to be removed belongs where it was: the next scan takes it in."""
        row = None
        if _is_aside(name):
            row = self.ledger.execute(
                "SELECT mailbox, sub, base, info FROM record WHERE no = ? AND sub != 0",
                (int(name.partition(b".")[0]),),
            ).fetchone()
        if row is None or self.ledger.boxes[row[0]].dir is None:
            return False
        try:
            directory = self.maildir.open(self.ledger.boxes[row[0]].dir or b"", SUBS[row[1]])
            fs.rename_noreplace(name, row[2] + (row[3] or b""), self._directory(), directory)
        except OSError:
            return False
        return True


def _is_aside(name: bytes) -> bool:
    number, _, rest = name.partition(b".")
    return number.isdigit() and len(rest) == 64 and all(c in b"0123456789abcdef" for c in rest)
