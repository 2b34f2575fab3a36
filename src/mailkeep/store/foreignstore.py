"""Another mailkeep store on this machine as a source: its index says what it has, its vault gives it. It is only read.

It is opened as by a dry run: under its lock, scanned, and nothing of that kept.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mailkeep.domain.errors import printable
from mailkeep.store.foreign import STORE, WHOLE_BYTES, Item, Problems, head_and_key
from mailkeep.store.maildir import SUBS
from mailkeep.system import fs
from mailkeep.wire.headers import Headers
from mailkeep.wire.mbox import message_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from mailkeep.domain.progress import Watch
    from mailkeep.store.store import Store

_SHOWN = "(r.live AND r.hold IS NULL OR NOT r.live AND r.hold IS NOT NULL)"


class StoreSource:
    """An open store of somebody else's.

    Attributes:
        expunged_too: Also what was expunged there, as long as its vault has it.
    """

    kind, has_contents, in_order = STORE, True, False
    key = staticmethod(message_key)

    def __init__(self, name: str, store: Store) -> None:
        self.name, self.store = name, store
        self.problems = Problems()
        self.expunged_too = False
        report = store.scan()
        for where, why in report.problems:
            self.problems.add(where, why)

    def close(self) -> None:
        """Close the store; nothing was changed."""
        self.store.close()

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Every message there."""
        del known, here
        names = {box.no: box.name for box in self.store.ledger.boxes.values()}
        which = "r.live OR c.kept" if self.expunged_too else _SHOWN
        rows: Any = self.store.index.execute(
            "SELECT r.no, c.id, r.mailbox, r.flags, r.date, c.size FROM record r JOIN content c ON c.no = r.content"
            f" WHERE {which} ORDER BY r.mailbox, r.uid"
        )
        for count, (no, content_id, mailbox, flags, date, size) in enumerate(rows, 1):
            yield Item(bytes(content_id), "", names[mailbox], flags, date, size, no.to_bytes(8, "big"))
            if progress is not None and count % 500 == 0:
                progress("compared", count)

    def _open(self, place: bytes) -> int:
        """A content from the vault, or, of a message that came since the last run, from its file."""
        record = self.store.ledger.record(int.from_bytes(place, "big"))
        try:
            return self.store.vault.open(self.store.ledger.content_id(record.content))
        except FileNotFoundError:
            box = self.store.ledger.boxes[record.mailbox]
            if box.dir is None or not record.sub or record.base is None:
                raise
            at = self.store.maildir.open(box.dir, SUBS[record.sub])
            return os.open(record.base + (record.info or b""), fs.O_READ, dir_fd=at)

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """The head of a message, and how to get its key."""
        return head_and_key(lambda: self._open(place))

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """The bytes of messages."""
        for place, content_id in wanted:
            try:
                fd = self._open(place)
                if os.fstat(fd).st_size > WHOLE_BYTES:
                    yield fd
                    continue
                try:
                    data = fs.read_all(fd)
                finally:
                    os.close(fd)
                yield data
            except OSError as err:
                self.problems.add(
                    printable(content_id.hex()), f"cannot be read: {os.strerror(err.errno or 5)}"
                )
                yield None
