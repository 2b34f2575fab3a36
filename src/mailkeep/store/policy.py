"""What was laid down for each mailbox about expiry, retention and legal holds, as one run sees it.

Legal holds may name messages by a query: it is asked of the index and of the header cache. What it cannot be asked of,
a content that is gone or unreadable, a query of a later version, counts as held.
"""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.domain.flags import unpack
from mailkeep.store.annotations import effective

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mailkeep.domain.annotation import Expire, LegalHold
    from mailkeep.store.headers import HeaderCache
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox
    from mailkeep.wire.headers import Headers
    from mailkeep.wire.query import Query

SIZES = "sizes"
"""In meta: {mailbox number: [digest sum, bytes]}, msgpack: sizes of mailboxes as they were with this digest."""
_PAGE = 500


class Facts:
    """What a query is asked of."""

    __slots__ = ("date", "flags", "mailbox", "message_id", "recipients", "sender", "size", "subject")

    def __init__(self, box: str, date: int, flags: str, size: int, headers: Headers | None) -> None:
        self.mailbox, self.date, self.flags, self.size = box, date, unpack(flags), size
        self.message_id = self.sender = self.recipients = self.subject = ""
        if headers is not None:
            self.message_id, self.sender = headers.message_id, headers.sender
            self.recipients, self.subject = headers.recipients, headers.subject


class Policy:
    """Rules and legal holds of all mailboxes, at one moment.

    Attributes:
        sizes: How many bytes mailboxes had, to be counted anew only when they changed; see `SIZES`.
    """

    def __init__(
        self, ledger: Ledger, now: int, open_headers: Callable[[], HeaderCache] | None = None
    ) -> None:
        """Read it.

        Args:
            now: Seconds since 1970: legal holds whose date has passed hold no more.
            open_headers: Opens the header cache, when first needed; `close` closes it. None: queries that need it are
                not asked.
        """
        self.ledger, self.now = ledger, now
        self._open = open_headers
        self._headers: HeaderCache | None = None
        self._holds: dict[int, tuple[LegalHold, ...]] = {}
        self._queries: dict[str, Query | None] = {}
        blob = ledger.index.meta.get(SIZES)
        self.sizes: dict[str, list[object]] = unpackb(blob) if blob else {}

    def close(self) -> None:
        """Close what was opened."""
        if self._headers is not None:
            self._headers.close()

    def rule(self, box: Mailbox) -> Expire:
        """When messages of a mailbox expire."""
        return effective(self.ledger, box).expire

    def legal(self, box: Mailbox) -> tuple[LegalHold, ...]:
        """Legal holds on a mailbox, its own and those above it, that are not over."""
        if box.no not in self._holds:
            holds = effective(self.ledger, box).legal_holds
            self._holds[box.no] = tuple(hold for hold in holds if not hold.is_over(self.now))
        return self._holds[box.no]

    def any_legal(self) -> bool:
        """Whether there is a legal hold on any mailbox."""
        return any(self.legal(box) for box in self.ledger.boxes.values())

    def fingerprint(self) -> list[list[object]]:
        """Changes whenever a legal hold does."""
        return [
            [no, *map(repr, self.legal(box))]
            for no, box in sorted(self.ledger.boxes.items())
            if self.legal(box)
        ]

    def retention(self, box: Mailbox) -> int:
        """For how many seconds contents are kept that are expunged in a mailbox."""
        return self.ledger.retention(box)

    def covered(self, box: Mailbox, records: Iterable[int]) -> set[int]:
        """Which of a mailbox's records a legal hold covers."""
        records = list(records)
        out: set[int] = set()
        for hold in self.legal(box):
            query = self._query(hold.query) if hold.query else None
            if query is None:
                return set(records)
            left = [no for no in records if no not in out]
            for start in range(0, len(left), _PAGE):
                out |= self._matching(box, query, left[start : start + _PAGE])
        return out

    def _query(self, text: str) -> Query | None:
        if text not in self._queries:
            from mailkeep.wire.query import parse

            try:
                self._queries[text] = parse(text, now=self.now)
            except ValueError:
                self._queries[text] = None
        return self._queries[text]

    def _matching(self, box: Mailbox, query: Query, records: list[int]) -> set[int]:
        marks = ", ".join("?" * len(records))
        rows = list(
            self.ledger.execute(
                "SELECT r.no, r.content, r.date, r.flags, c.size, c.kept FROM record r JOIN content c ON c.no = r.content"
                f" WHERE r.no IN ({marks})",
                tuple(records),
            )
        )
        headers: dict[int, Headers] = {}
        if query.needs_headers:
            headers = self._heads([row[1] for row in rows if row[5]])
        out = set()
        for no, content, date, flags, size, _ in rows:
            head = headers.get(content)
            unknown = query.needs_headers and head is None
            if unknown or query.matches(Facts(box.name, date, flags, size, head)):
                out.add(no)
        return out

    def _heads(self, contents: list[int]) -> dict[int, Headers]:
        if self._headers is None:
            if self._open is None:
                return {}
            self._headers = self._open()
        self._headers.fill(contents)
        found = ((content, self._headers.get(content)) for content in contents)
        return {content: head for content, head in found if head is not None}

    def sent(self, contents: list[int]) -> dict[int, int]:
        """What the sender dated these contents, as far as that can be read: content number -> seconds since 1970."""
        heads = self._heads(contents)
        return {content: head.date for content, head in heads.items() if head.date is not None}

    def note(self) -> None:
        """Keep the sizes for the next run; belongs in a transaction."""
        there = {key: value for key, value in self.sizes.items() if int(key) in self.ledger.boxes}
        if there or self.ledger.index.meta.get(SIZES):
            self.ledger.index.meta[SIZES] = packb(there)
