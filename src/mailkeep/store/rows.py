"""Rows of the index as objects: mailboxes, and the records of their messages. See schema/01-first.sql for the columns."""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.domain.record import (
    LIVE,
    NOT_ANNOTATIONS,
    STORE_ID,
    Register,
)
from mailkeep.wire.registers import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.domain.record import Registers

NO_FILE, IN_NEW, IN_CUR = 0, 1, 2
REPLACE = 2
"""A record's `todo` when its file is known to be damaged, and is to be replaced once the vault has the content."""
COLUMNS = "no, mailbox, content, copy, live, uid, flags, regs, seq, date, hold, sub, base, info, ino, mtime, ctime, young, todo, gone, keep"
SUM_BYTES = 32
_THREE_REGISTERS = 0x83
"""How a msgpack map of three begins (fixmap): name, live and validity, and no annotation."""


class Mailbox:
    """One mailbox row; see schema/01-first.sql for the columns.

    The row of the whole store (`Ledger.whole`) has annotations only: no name, no directory, no message.
    """

    __slots__ = (
        "_blob", "_regs", "count", "dir", "dirty", "hold", "id", "live", "name", "no", "problem", "seq", "stamps",
        "sum", "todo", "uidnext", "validity",
    )  # fmt: skip

    def __init__(self, row: tuple) -> None:  # type: ignore[type-arg]
        (self.no, self.id, self._blob, self.name, live, self.validity, self.uidnext, self.count, digest, self.seq,
         self.dir, todo, self.stamps, self.hold, self.problem) = row  # fmt: skip
        self.live, self.todo = bool(live), bool(todo)
        self.sum = int.from_bytes(digest, "big")
        self._regs: Registers | None = None
        self.dirty = False

    @property
    def regs(self) -> Registers:
        """Name, live, validity and annotations, decoded when first asked for."""
        if self._regs is None:
            self._regs = {name: Register(*r) for name, r in unpackb(self._blob).items()}
        return self._regs

    @property
    def annotations(self) -> dict[str, str]:
        """The texts of the annotations that are set, by key: as replicated, accepted here or not."""
        if self._regs is None and self._blob[0] <= _THREE_REGISTERS and self.id != STORE_ID:
            return {}
        return {key: str(r.value) for key, r in self.regs.items() if r.value and key not in NOT_ANNOTATIONS}

    @property
    def alive(self) -> bool:
        """A deleted mailbox that holds a live message is live: deleting it had not seen that message."""
        return self.live or self.count > 0

    def row(self) -> tuple[object, ...]:
        """What changes of it in the index, and its number at the end: the values for `Ledger.flush`."""
        if self._regs is not None:
            self._blob = packb({name: list(r.astuple()) for name, r in self._regs.items()})
        return (
            self._blob, self.name, self.live, self.validity, self.uidnext, self.count, self.sum.to_bytes(SUM_BYTES, "big"),
            self.seq, self.dir, self.todo, self.stamps, self.hold, self.problem, self.no,
        )  # fmt: skip


class Record:
    """One record row; `regs` is decoded when first asked for."""

    __slots__ = (
        "_blob", "_regs", "base", "content", "copy", "ctime", "date", "flags", "gone", "hold", "info", "ino", "keep", "live",
        "mailbox", "mtime", "no", "seq", "sub", "todo", "uid", "young",
    )  # fmt: skip

    def __init__(self, row: tuple) -> None:  # type: ignore[type-arg]
        (self.no, self.mailbox, self.content, self.copy, live, self.uid, self.flags, self._blob, self.seq, self.date,
         self.hold, self.sub, self.base, self.info, self.ino, self.mtime, self.ctime, self.young, self.todo,
         self.gone, self.keep) = row  # fmt: skip
        self.live = bool(live)
        self._regs: Registers | None = None

    @property
    def regs(self) -> Registers:
        """Every register by name, decoded when first asked for."""
        if self._regs is None:
            self._regs = decode(self._blob, self.live, self.uid)
        return self._regs

    @regs.setter
    def regs(self, registers: Registers) -> None:
        self._regs = registers

    @property
    def shown(self) -> bool:
        """Whether IMAP clients of this store see it: live, or dead with its file held."""
        return self.live or self.hold is not None

    @property
    def rank(self) -> int:
        """Rank of the write that made it live or dead; an approval names this."""
        return self.regs[LIVE].rank
