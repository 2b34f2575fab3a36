"""Reading the history: runs, what each changed, how a mailbox was, and who removed a message. Writes nothing.

`mailkeep.store.history` says how it is written. A point in the past is the end of a run: what other programs did
between two runs was found by the second, and when exactly they did it nobody noted.
"""

from __future__ import annotations

from msgpack import unpackb

from mailkeep.domain.flags import unpack
from mailkeep.rules.inverse import BoxState, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.ledger import Ledger

FOR_EVER = 1 << 62
"""Above every number of a change or a record."""
_RUN = "no, began, ended, verb, peer, status, counts, first_change, first_record"
_PAGE = 5000


class Run:
    """One run as the history has it; see schema/02-history.sql for the columns."""

    __slots__ = ("began", "counts", "ended", "first_change", "first_record", "no", "peer", "status", "verb")

    def __init__(self, row: tuple) -> None:  # type: ignore[type-arg]
        self.no: int = row[0]
        self.began: int = row[1]
        self.ended: int | None = row[2]
        self.verb: str = row[3]
        self.peer: str | None = row[4]
        self.status: int | None = row[5]
        self.counts: dict[str, int] = unpackb(row[6])
        self.first_change: int | None = row[7]
        self.first_record: int | None = row[8]

    @property
    def over(self) -> int:
        """When it was over, as far as that is known."""
        return self.began if self.ended is None else self.ended


class Point:
    """A moment between two runs.

    Attributes:
        run: The run that ended then; None: before the first that is known.
        change: What has this number, or a higher one, was changed later.
        record: Likewise made later.
    """

    __slots__ = ("change", "record", "run")

    def __init__(self, run: Run | None, change: int, record: int) -> None:
        self.run, self.change, self.record = run, change, record


class Entry:
    """What one run did to one message.

    Attributes:
        record, mailbox, content: Numbers.
        before: None: the run made it.
        cause: As in `history`; None where the run made it, which leaves no note of that.
        writer: Number of the replica whose write it was, likewise.
    """

    __slots__ = ("after", "before", "cause", "content", "mailbox", "record", "writer")

    def __init__(
        self,
        record: int,
        mailbox: int,
        content: int,
        before: State | None,
        after: State,
        cause: int | None,
        writer: int | None,
    ) -> None:
        self.record, self.mailbox, self.content = record, mailbox, content
        self.before, self.after, self.cause, self.writer = before, after, cause, writer


class BoxEntry:
    """What one run did to one mailbox; attributes as `Entry`'s."""

    __slots__ = ("after", "before", "cause", "mailbox", "writer")

    def __init__(self, mailbox: int, before: BoxState, after: BoxState, cause: int, writer: int) -> None:
        self.mailbox, self.before, self.after, self.cause, self.writer = mailbox, before, after, cause, writer


class Event:
    """One change of one message: from `before` to `after` in run `run`; `before` None: it was made."""

    __slots__ = ("after", "before", "cause", "run", "writer")

    def __init__(
        self, run: Run | None, before: State | None, after: State, cause: int | None, writer: int | None
    ) -> None:
        self.run, self.before, self.after, self.cause, self.writer = run, before, after, cause, writer


# --- runs


def run_numbered(ledger: Ledger, number: int) -> Run | None:
    """A run by its number."""
    row = ledger.execute(f"SELECT {_RUN} FROM run WHERE no = ?", (number,)).fetchone()
    return None if row is None else Run(row)


def runs_between(ledger: Ledger, since: int | None, peers: str | None, last: int) -> list[Run]:
    """Runs, the newest first.

    Args:
        since: Only those that were over at this time, in seconds, or later.
        peers: Only those with one of these, by replica id or name: a JSON list.
        last: At most so many; 0: all.
    """
    rows = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE (?1 IS NULL OR coalesce(ended, began) >= ?1)"
        " AND (?2 IS NULL OR peer IN (SELECT value FROM json_each(?2))) ORDER BY no DESC LIMIT ?3",
        (since, peers, last or -1),
    )
    return [Run(row) for row in rows]


def last_run(ledger: Ledger) -> Run | None:
    """The run noted last."""
    row = ledger.execute(f"SELECT {_RUN} FROM run ORDER BY no DESC LIMIT 1").fetchone()
    return None if row is None else Run(row)


def first_kept(ledger: Ledger) -> Run | None:
    """The oldest run whose changes are kept: before its beginning, nothing is known."""
    row = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE first_change IS NOT NULL ORDER BY no LIMIT 1"
    ).fetchone()
    return None if row is None else Run(row)


def run_of_change(ledger: Ledger, change: int) -> Run | None:
    """The run that made a change; None: it is no longer known."""
    row = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE first_change <= ? ORDER BY no DESC LIMIT 1", (change,)
    ).fetchone()
    return None if row is None else Run(row)


def run_of_birth(ledger: Ledger, record: int) -> Run | None:
    """The run that made a record; None: it is no longer known."""
    row = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE first_record <= ? ORDER BY no DESC LIMIT 1", (record,)
    ).fetchone()
    return None if row is None else Run(row)


def end_of(ledger: Ledger, run: Run) -> Point:
    """How a run left things."""
    row = ledger.execute(
        "SELECT first_change, first_record FROM run WHERE no > ? ORDER BY no LIMIT 1", (run.no,)
    ).fetchone()
    if row is None:
        return Point(run, FOR_EVER, FOR_EVER)
    return Point(run, *(0 if value is None else value for value in row))


def beginning_of(ledger: Ledger, run: Run) -> Point:
    """How a run found things."""
    row = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE no < ? ORDER BY no DESC LIMIT 1", (run.no,)
    ).fetchone()
    before = None if row is None else Run(row)
    return Point(before, run.first_change or 0, run.first_record or 0)


def last_before(ledger: Ledger, seconds: int) -> Run | None:
    """The last run that was over at a time; None: none was."""
    row = ledger.execute(
        f"SELECT {_RUN} FROM run WHERE coalesce(ended, began) <= ? ORDER BY no DESC LIMIT 1",
        (seconds,),
    ).fetchone()
    return None if row is None else Run(row)


# --- what a run did


def entries(ledger: Ledger, run: Run) -> Iterator[Entry]:
    """What a run changed of each message, by record number; what came to nothing in the end is left out.

    Records that were forgotten since are left out too: see `forgotten_in`. Records may be written between two.
    """
    if run.first_change is None or run.first_record is None:
        return
    begin, end = beginning_of(ledger, run), end_of(ledger, run)
    ledger.execute("CREATE TEMP TABLE IF NOT EXISTS touched (no INTEGER PRIMARY KEY) STRICT")
    ledger.execute("DELETE FROM temp.touched")
    ledger.execute(
        "INSERT OR IGNORE INTO temp.touched SELECT record FROM change WHERE no >= ? AND no < ?",
        (begin.change, end.change),
    )
    ledger.execute(
        "INSERT OR IGNORE INTO temp.touched SELECT no FROM record WHERE no >= ? AND no < ?",
        (begin.record, end.record),
    )
    after = 0
    while True:
        page = list(
            ledger.execute(
                "SELECT r.no, r.mailbox, r.content, r.live, r.flags,"
                " (SELECT c.live || c.flags FROM change c WHERE c.record = r.no AND c.no >= ?1 AND c.no < ?2"
                "  ORDER BY c.no LIMIT 1),"
                " (SELECT c.live || c.flags FROM change c WHERE c.record = r.no AND c.no >= ?2 ORDER BY c.no LIMIT 1),"
                " (SELECT c.cause || ' ' || c.writer FROM change c WHERE c.record = r.no AND c.no >= ?1 AND c.no < ?2"
                "  ORDER BY c.no DESC LIMIT 1)"
                " FROM temp.touched t JOIN record r ON r.no = t.no WHERE t.no > ?3 ORDER BY t.no LIMIT ?4",
                (begin.change, end.change, after, _PAGE),
            )
        )
        for no, mailbox, content, live, flags, first, later, last in page:
            born = no >= begin.record
            before = None if born else _state(first)
            then = State(bool(live), unpack(flags)) if later is None else _state(later)
            if before == then or (born and not then.live):
                continue
            cause, writer = (None, None) if born or last is None else map(int, last.split())
            yield Entry(no, mailbox, content, before, then, cause, writer)
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def forgotten_in(ledger: Ledger, run: Run) -> int:
    """Of how many messages that a run changed nothing but the number is left."""
    if run.first_change is None:
        return 0
    end = end_of(ledger, run)
    return int(
        ledger.index.value(
            "SELECT count(DISTINCT record) FROM change c WHERE no >= ? AND no < ?"
            " AND NOT EXISTS (SELECT 1 FROM record r WHERE r.no = c.record)",
            (run.first_change, end.change),
        )
    )


def box_entries(ledger: Ledger, run: Run) -> list[BoxEntry]:
    """What a run changed of each mailbox; what came to nothing in the end is left out."""
    if run.first_change is None:
        return []
    end = end_of(ledger, run)
    rows = ledger.execute(
        "SELECT mailbox, name, live, cause, writer FROM box_change WHERE no >= ? AND no < ? ORDER BY no",
        (run.first_change, end.change),
    )
    first: dict[int, BoxState] = {}
    last: dict[int, tuple[int, int]] = {}
    for no, name, live, cause, writer in rows:
        first.setdefault(no, BoxState(name, bool(live)))
        last[no] = cause, writer
    after = box_states(ledger, end)
    out = []
    for no, before in first.items():
        then = after.get(no)
        if then is not None and then != before:
            out.append(BoxEntry(no, before, then, *last[no]))
    return out


def later_states(ledger: Ledger, record: int, change: int) -> list[State]:
    """Each state that a message was in between a change and now, in order, the present one left out."""
    rows = ledger.execute(
        "SELECT live, flags FROM change WHERE record = ? AND no >= ? ORDER BY no", (record, change)
    )
    return [State(bool(live), unpack(flags)) for live, flags in rows]


def later_box_states(ledger: Ledger, mailbox: int, change: int) -> list[BoxState]:
    """As `later_states`, of a mailbox."""
    rows = ledger.execute(
        "SELECT name, live FROM box_change WHERE mailbox = ? AND no >= ? ORDER BY no", (mailbox, change)
    )
    return [BoxState(name, bool(live)) for name, live in rows]


# --- as it was


def box_states(ledger: Ledger, point: Point) -> dict[int, BoxState]:
    """Every mailbox that the index knows, as it was."""
    out = {no: BoxState(box.name, box.live) for no, box in ledger.boxes.items()}
    rows = ledger.execute(
        "SELECT mailbox, name, live FROM box_change WHERE no >= ? ORDER BY no DESC", (point.change,)
    )
    for no, name, live in rows:
        if no in out:
            out[no] = BoxState(name, bool(live))
    return out


def counts_at(ledger: Ledger, point: Point) -> dict[int, int]:
    """Live messages of each mailbox, as it was. The cost follows what was changed since."""
    out = {no: box.count for no, box in ledger.boxes.items()}
    if point.change >= FOR_EVER:
        return out
    for no, count in ledger.execute(
        "SELECT mailbox, count(*) FROM record WHERE no >= ? AND live GROUP BY mailbox", (point.record,)
    ):
        out[no] -= count
    # Bare columns beside min() are of the row that has it (sqlite.org/lang_select.html#bareagg).
    for no, difference in ledger.execute(
        "SELECT r.mailbox, sum(f.live - r.live) FROM"
        " (SELECT record, live, min(no) FROM change WHERE no >= ? AND record < ? GROUP BY record) f"
        " JOIN record r ON r.no = f.record GROUP BY r.mailbox",
        (point.change, point.record),
    ):
        out[no] += difference
    return out


def messages_at(
    ledger: Ledger, point: Point, mailbox: int
) -> list[tuple[int, int, int, int, int, bool, str]]:
    """Live messages of a mailbox as it was, in the order of today's UIDs.

    Returns:
        (record, content, uid, INTERNALDATE, bytes, whether it is live now, flags then, packed) of each.
    """
    then: dict[int, tuple[int, str]] = {}
    if point.change < FOR_EVER:
        for record, live, flags, _ in ledger.execute(
            "SELECT c.record, c.live, c.flags, min(c.no) FROM change c JOIN record r ON r.no = c.record"
            " WHERE c.no >= ? AND c.record < ? AND r.mailbox = ? GROUP BY c.record",
            (point.change, point.record, mailbox),
        ):
            then[record] = live, flags
    out = []
    for record, content, uid, date, size, live, flags in ledger.execute(
        "SELECT r.no, r.content, r.uid, r.date, c.size, r.live, r.flags FROM record r JOIN content c ON c.no = r.content"
        " WHERE r.mailbox = ? AND r.no < ? ORDER BY r.uid",
        (mailbox, point.record),
    ):
        was = then.get(record)
        if live if was is None else was[0]:
            out.append((record, content, uid, date, size, bool(live), flags if was is None else was[1]))
    return out


# --- one message


def events(ledger: Ledger, record: int) -> list[Event]:
    """What happened to a message of one mailbox, in order, as far as history goes back; first that it was made."""
    rows = list(
        ledger.execute(
            "SELECT no, live, flags, cause, writer FROM change WHERE record = ? ORDER BY no", (record,)
        )
    )
    now = ledger.record(record)
    states = [State(bool(row[1]), unpack(row[2])) for row in rows] + [State(now.live, unpack(now.flags))]
    out = [Event(run_of_birth(ledger, record), None, states[0], None, None)]
    for (no, _, _, cause, writer), before, after in zip(rows, states[:-1], states[1:], strict=True):
        out.append(Event(run_of_change(ledger, no), before, after, cause, writer))
    return out


def _state(packed: str) -> State:
    return State(packed[0] == "1", unpack(packed[1:]))
