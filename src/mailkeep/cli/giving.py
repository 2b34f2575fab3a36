"""What the verbs that look back and give back share: times, messages as people know them, who did what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.domain.errors import NoInput, UsageError, printable
from mailkeep.domain.flags import OLD, unpack
from mailkeep.store import past
from mailkeep.store.history import FOUND, MERGED
from mailkeep.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from mailkeep.cli.run import Output, Place
    from mailkeep.store.headers import HeaderCache
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.past import Point, Run
    from mailkeep.store.store import Store
    from mailkeep.wire.headers import Headers
    from mailkeep.wire.query import Query

SHOWN_FROM, SHOWN_SUBJECT = 30, 60
"""Characters of a line for people."""
PAGE = 20_000
"""Messages whose heads are in memory at a time: some 10 MB."""


# --- times and runs


def seconds_of(text: str, option: str) -> int:
    """A time that an option says, in seconds.

    Raises:
        UsageError: It says none, or a run.
    """
    from datetime import datetime

    from mailkeep.wire.moments import parse_moment

    now = clock.now()
    try:
        moment = parse_moment(text, datetime.fromtimestamp(now).astimezone().date())
    except ValueError as err:
        raise UsageError(f"{option}: {err}", untouched="anything") from err
    if moment.run is not None:
        raise UsageError(
            f'{option}: "{printable(text)}" names a run',
            untouched="anything",
            hint=f'say a time, such as {option} yesterday; what one run did, --run says, and "ls --at" shows',
        )
    return moment.seconds(now)


def point_of(ledger: Ledger, text: str) -> tuple[Point, int | None]:
    """The point in the store's history that a person means, and the time that was said; None: a run was.

    Raises:
        UsageError: It is no time.
        NoInput: There is no such run, or history does not go back so far.
    """
    from datetime import datetime

    from mailkeep.wire.moments import parse_moment

    now = clock.now()
    try:
        moment = parse_moment(text, datetime.fromtimestamp(now).astimezone().date())
    except ValueError as err:
        raise UsageError(f"--at: {err}", untouched="anything") from err
    if moment.run is not None:
        run = run_of(ledger, str(moment.run))
        point = past.beginning_of(ledger, run) if moment.before else past.end_of(ledger, run)
        seconds = None
    else:
        seconds = moment.seconds(now)
        before = past.last_before(ledger, seconds)
        point = past.end_of(ledger, before) if before is not None else past.Point(None, 0, 0)
    first = past.first_kept(ledger)
    if point.change < past.FOR_EVER and (first is None or point.change < (first.first_change or 0)):
        raise NoInput(
            f'what the store was like at "{printable(text)}" is not known',
            untouched="anything",
            hint=f"history begins with run {first.no}, {local(first.began)}: mailkeep log; the mail that was there"
            " and was removed since, mailkeep undelete finds for as long as it is remembered"
            if first is not None
            else "no run has noted what it changed yet; mailkeep log lists runs",
        )
    return point, seconds


def run_of(ledger: Ledger, text: str) -> Run:
    """A run by the number that a person typed.

    Raises:
        NoInput: There is none.
    """
    word = text.strip()
    run = None
    if word.isascii() and word.isdigit() and len(word) < 18:
        run = past.run_numbered(ledger, int(word))
    if run is None:
        last = past.last_run(ledger)
        raise NoInput(
            f'there is no run "{printable(word[:50])}"',
            untouched="anything",
            hint="mailkeep log lists runs" + (f"; the last one is {last.no}" if last is not None else ""),
        )
    return run


def local(seconds: int | None) -> str:
    """A time for people, to the minute."""
    if seconds is None:
        return "at a time not known"
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def query_of(words: list[str]) -> Query:
    """The query that the arguments of a command are; none: every message."""
    from mailkeep.wire import query

    if not words:
        return query.EVERYTHING
    return query.parse_words(words, now=clock.now())


# --- who did it


class Names:
    """Replicas and peers by the names that they have here."""

    def __init__(self, ledger: Ledger) -> None:
        self.index = ledger.index
        rows = self.index.execute("SELECT name, replica FROM peer ORDER BY name")
        self.of: dict[int, str] = {no: name for name, no in rows if no < len(self.index.ids)}
        self.by_id = {self.index.ids[no].hex(): name for no, name in self.of.items()}

    def replica(self, no: int) -> str:
        """A replica as people know it."""
        if no == self.index.me:
            return "here"
        if no in self.of:
            return self.of[no]
        return "replica " + self.index.ids[no].hex() if 0 < no < len(self.index.ids) else "a replica"

    def peer(self, run: Run) -> str | None:
        """The peer of a run."""
        return None if run.peer is None else printable(self.by_id.get(run.peer, run.peer))

    def cause(self, cause: int | None, writer: int | None, run: Run | None) -> str:
        """Who did it, in words."""
        if cause is None or writer is None:
            return ""
        if cause == FOUND:
            return "found by a scan: another program here did it"
        if cause == MERGED:
            peer = self.peer(run) if run is not None else None
            by = self.replica(writer)
            if by == "here":
                return "settled with " + (peer or "a peer")
            return f"brought by {peer or 'a peer'}" + ("" if by == peer else f", written by {by}")
        return f"by mailkeep {run.verb}" if run is not None else "by a command"

    def table(self, cause: int | None, writer: int | None) -> dict[str, Any]:
        """The same for --json."""
        words = {None: None, FOUND: "scan", MERGED: "peer"}
        return {
            "cause": words.get(cause, "command"),
            "writer": None if writer is None else self.replica(writer),
        }


# --- messages


class Facts:
    """One message for a query and for a line: a record's columns, and its head when that is asked for."""

    __slots__ = ("_flags", "_heads", "content", "date", "mailbox", "packed", "record", "size", "uid")

    def __init__(
        self,
        heads: Heads,
        record: int,
        content: int,
        mailbox: str,
        uid: int,
        date: int,
        size: int,
        packed: str,
    ) -> None:
        self._heads, self.record, self.content, self.mailbox = heads, record, content, mailbox
        self.uid, self.date, self.size, self.packed = uid, date, size, packed

    @property
    def flags(self) -> frozenset[str]:
        """Letters and keywords."""
        return unpack(self.packed)

    @property
    def headers(self) -> Headers:
        """What its head says; empty fields where it cannot be read."""
        return self._heads.of(self.content)

    @property
    def message_id(self) -> str:
        """As `wire.headers.message_key` makes it."""
        return self.headers.message_id

    @property
    def sender(self) -> str:
        """From, decoded."""
        return self.headers.sender

    @property
    def recipients(self) -> str:
        """To and Cc, decoded."""
        return self.headers.recipients

    @property
    def subject(self) -> str:
        """Decoded."""
        return self.headers.subject

    def table(self) -> dict[str, Any]:
        """For --json."""
        from mailkeep.cli.look import when

        headers = self.headers
        return {
            "mailbox": self.mailbox,
            "uid": self.uid,
            "date": when(self.date),
            "flags": self.packed,
            "size": self.size,
            "content": self._heads.content_id(self.content).hex(),
            "message_id": printable(headers.message_id),
            "from": printable(headers.sender),
            "subject": printable(headers.subject),
        }

    def line(self) -> str:
        """For people: when it was delivered, its flags, from whom, and its subject."""
        from datetime import UTC, datetime

        headers = self.headers
        day = datetime.fromtimestamp(self.date, UTC).date().isoformat()
        return _line(day, self.packed, printable(headers.sender), printable(headers.subject))


def line_of(table: dict[str, Any]) -> str:
    """`Facts.line` of what `Facts.table` made."""
    return _line(table["date"][:10], table["flags"], table["from"], table["subject"])


def _line(day: str, packed: str, sender: str, subject: str) -> str:
    return f"{day}  {packed.replace(OLD, '')[:6]:6}  {sender[:SHOWN_FROM]:{SHOWN_FROM}}  {subject[:SHOWN_SUBJECT]}"


class Heads:
    """The heads of messages, from the cache beside the index; opened when first asked for."""

    def __init__(self, state: bytes, ledger: Ledger) -> None:
        self.state, self.ledger = state, ledger
        self._cache: HeaderCache | None = None
        self._syncer: Any = None
        self._page: dict[int, Headers] = {}
        """What `fill` found last."""

    def __enter__(self) -> Heads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None
        if self._syncer is not None:
            self._syncer.close()
            self._syncer = None

    @property
    def cache(self) -> HeaderCache:
        """The cache itself."""
        if self._cache is None:
            from mailkeep.store.headers import HeaderCache
            from mailkeep.store.vault import Vault
            from mailkeep.system import fs

            self._syncer = fs.Syncer(self.state)
            vault = Vault(self.state, self.ledger.index.meta["vault"], self._syncer)
            self._cache = HeaderCache(self.state, self.ledger, vault)
        return self._cache

    def fill(self, contents: Iterable[int]) -> None:
        """Read the heads of these contents, together: at most some ten thousand, which are kept until the next call."""
        contents = list(contents)
        self.cache.fill(contents)
        self._page = self.cache.get_many(contents)

    def read(self, facts: Sequence[Facts]) -> Iterator[Facts]:
        """These, with their heads read together, page by page."""
        for start in range(0, len(facts), PAGE):
            page = facts[start : start + PAGE]
            self.fill({one.content for one in page})
            yield from page

    def of(self, content: int) -> Headers:
        """What a head says."""
        from mailkeep.wire.headers import NOTHING

        found = self._page.get(content) or self.cache.get(content)
        if found is None:
            self.cache.fill([content])
            found = self.cache.get(content)
        return NOTHING if found is None else found

    def content_id(self, content: int) -> bytes:
        """The id of a content."""
        return self.ledger.content_id(content)

    def facts(self, record: int, packed: str | None = None) -> Facts:
        """One message by the number of its record, with other flags than today's if that is asked for."""
        found = self.ledger.record(record)
        size = self.ledger.index.value("SELECT size FROM content WHERE no = ?", (found.content,))
        return Facts(
            self, record, found.content, self.ledger.boxes[found.mailbox].name, found.uid, found.date, size,
            found.flags if packed is None else packed,
        )  # fmt: skip

    def matching(self, facts: Iterable[Facts], query: Query) -> Iterator[Facts]:
        """Those that a query means."""
        if query.needs_headers:
            facts = self.read(list(facts))
        yield from (one for one in facts if query.matches(one))


def mailboxes_named(ledger: Ledger, names: list[str] | None) -> set[int] | None:
    """Numbers of all mailboxes of these names, deleted ones too; None: no name was said.

    Raises:
        NoInput: There is and was none of that name.
        UsageError: It is no mailbox name.
    """
    if not names:
        return None
    from mailkeep.domain.names import BadMailboxName, MailboxName

    out = set()
    for text in names:
        try:
            name = str(MailboxName.parse(text))
        except BadMailboxName as err:
            raise UsageError(
                err.what, untouched="anything", hint="write it as mailkeep ls does: Lists/python"
            ) from err
        found = {no for no, box in ledger.boxes.items() if box.name == name}
        rows = ledger.execute("SELECT mailbox FROM box_change WHERE name = ?", (name,))
        found |= {no for (no,) in rows if no in ledger.boxes}
        if not found:
            raise NoInput(
                f"there is no mailbox {printable(name)}, and history knows of none",
                untouched="anything",
                hint='mailkeep ls lists mailboxes; mailkeep ls --at "2 days ago" as they were',
            )
        out |= found
    return out


def came_back(place: Place, store: Store, contents: list[int]) -> None:
    """Called once these contents are messages again, on disk, by undelete, undo or restore: notmuch's tags come back too."""
    if place.settings is not None and place.settings.notmuch.dump:
        from mailkeep.cli import notmuch

        notmuch.came_back(place, store, contents)


def close_store(place: Place, store: Store, output: Output) -> None:
    """End a command that changed the store, perhaps: then notmuch sees it, and a backup of the index may be due."""
    store.close()
    if store.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)


def quoted(text: str | bytes) -> str:
    """A word as a shell takes it, for hints that can be typed."""
    import shlex

    return shlex.quote(printable(os.fsdecode(text)))
