"""Which records of a store a query means: in pages, so that memory does not grow with the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailkeep.domain.flags import unpack
from mailkeep.wire.headers import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mailkeep.store.headers import HeaderCache
    from mailkeep.store.store import Store
    from mailkeep.wire.headers import Headers
    from mailkeep.wire.query import Query

PAGE = 2000


class Candidate:
    """One message as a query asks for it; its headers are looked up when they are asked for."""

    __slots__ = ("_cache", "_found", "content", "date", "flags", "mailbox", "no", "size")

    def __init__(self, row: tuple[Any, ...], mailbox: str, cache: HeaderCache | None) -> None:
        self.no, _, self.content, self.date, packed, self.size = row
        self.flags, self.mailbox = unpack(packed), mailbox
        self._cache, self._found = cache, None if cache is not None else NOTHING

    @property
    def _headers(self) -> Headers:
        if self._found is None:
            assert self._cache is not None
            self._found = self._cache.get(self.content) or NOTHING
        return self._found

    @property
    def message_id(self) -> str:
        """As `wire.headers.message_key` makes it; empty where there is none."""
        return self._headers.message_id

    @property
    def sender(self) -> str:
        """From, decoded."""
        return self._headers.sender

    @property
    def recipients(self) -> str:
        """To and Cc, decoded."""
        return self._headers.recipients

    @property
    def subject(self) -> str:
        """Decoded."""
        return self._headers.subject


def chosen(store: Store, query: Query, *, expunged: bool = False) -> Iterator[int]:
    """Numbers of the records that are there, or are held, and that a query means.

    Args:
        expunged: Those that were expunged too.
    """
    from mailkeep.store.headers import HeaderCache

    shown = "1" if expunged else "(r.live OR r.hold IS NOT NULL)"
    cache: HeaderCache | None = None
    try:
        if query.needs_headers:
            cache = HeaderCache(store.state, store.ledger, store.vault)
            cache.fill(progress=store.progress)
        after = 0
        while True:
            rows: list[Any] = store.index.execute(
                "SELECT r.no, r.mailbox, r.content, r.date, r.flags, c.size FROM record r JOIN content c ON c.no = r.content"
                f" WHERE r.no > ? AND {shown} ORDER BY r.no LIMIT {PAGE}",
                (after,),
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            boxes = store.ledger.boxes
            for row in rows:
                if query.matches(Candidate(row, boxes[row[1]].name, cache)):
                    yield row[0]
    finally:
        if cache is not None:
            cache.close()
