"""Taking in what a peer wrote: one transaction against the state of now.

What was received is *staged* first, in temporary tables that live outside the index and vanish with the
process, so memory does not grow with a session. `commit` merges it register by register, revives what
nobody deleted, settles UIDs and names, lets the guard judge deletions, and joins the vectors. The rules
are those of tests/model/oracle.py; histories of both are compared by a test.
"""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.domain.flags import pack
from mailkeep.domain.record import (
    ANNOTATIONS_MAX,
    LIVE,
    NAME,
    NOT_ANNOTATIONS,
    STORE_ID,
    UID,
    UID_HIGH,
    UID_RESET,
    VALIDITY,
    WEAK,
    Register,
    covers,
    flags_set,
    join,
    known_to,
    newer,
    of_former_life,
    order,
)
from mailkeep.store.history import MERGED
from mailkeep.store.holds import Reaper, forget_answered, is_approved
from mailkeep.store.ledger import own_name
from mailkeep.store.rows import COLUMNS, NO_FILE, Record
from mailkeep.wire.registers import decode, encode, memoised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailkeep.domain.record import Registers, Vector
    from mailkeep.rules.guard import Limits
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox

PAGE = 1000
_R_COLUMNS = ", ".join("r." + c.strip() for c in COLUMNS.split(","))


class Claim:
    """What a peer says of itself, in this store's replica numbers.

    It was read in one transaction there: the vector claims nothing that the records lack.
    """

    __slots__ = ("acks", "forgotten", "lamport", "members", "sender", "vector", "waived")

    def __init__(
        self,
        sender: int,
        lamport: int,
        vector: Vector,
        acks: dict[int, Vector] | None = None,
        members: Iterable[int] = (),
        waived: Iterable[int] = (),
        forgotten: Iterable[int] = (),
    ) -> None:
        self.sender, self.lamport, self.vector = sender, lamport, vector
        self.acks = acks or {}
        self.members, self.waived, self.forgotten = tuple(members), tuple(waived), tuple(forgotten)


class Outcome:
    """What a commit did, in records.

    Attributes:
        refused: How many writes of a peer that may only add were answered, by kind.
    """

    __slots__ = (
        "added", "changed", "expunged", "held", "mailboxes", "refused", "removed", "renumbered", "revived",
    )  # fmt: skip

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self.added = self.changed = self.removed = self.expunged = self.held = self.revived = 0
        self.renumbered = self.mailboxes = 0


class Stage:
    """What was received and not yet merged. Mailboxes and records by key; the last word on a key counts."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.execute = ledger.execute
        self.executemany = ledger.index.executemany
        self.clear()

    def clear(self) -> None:
        """Make it empty. It lives in temporary tables, which end with the connection."""
        for statement in (
            "DROP TABLE IF EXISTS temp.in_mailbox",
            "DROP TABLE IF EXISTS temp.in_record",
            "DROP TABLE IF EXISTS temp.in_bucket",
            "CREATE TEMP TABLE in_mailbox (no INTEGER PRIMARY KEY, id BLOB UNIQUE, regs BLOB, uidnext INTEGER, whole INTEGER)",
            "CREATE TEMP TABLE in_record (no INTEGER PRIMARY KEY, box INTEGER, content BLOB, copy INTEGER, live INTEGER,"
            " uid INTEGER, date INTEGER, size INTEGER, regs BLOB, still INTEGER, UNIQUE (box, content, copy))",
            "CREATE TEMP TABLE in_bucket (box INTEGER, low BLOB, high BLOB, PRIMARY KEY (box, low)) WITHOUT ROWID",
        ):
            self.execute(statement)

    def mailbox(self, box_id: bytes, registers: Registers | None, uidnext: int, whole: bool) -> int:
        """Stage a mailbox; None: only its UIDNEXT is told, or that the peer has no such mailbox.

        Args:
            whole: The mailbox is compared: no vector is believed as to what it holds; see `buckets`.
        """
        blob = None if registers is None else packb({n: list(r.astuple()) for n, r in registers.items()})
        self.execute(
            "INSERT INTO in_mailbox VALUES (NULL, ?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET"
            " regs = coalesce(?2, regs), uidnext = ?3, whole = max(whole, ?4)",
            (box_id, blob, uidnext, whole),
        )
        return int(self.ledger.index.value("SELECT no FROM in_mailbox WHERE id = ?", (box_id,)))

    def buckets(self, box: int, prefixes: Iterable[bytes]) -> None:
        """Note that all records are staged that the peer has in these buckets of a compared mailbox."""
        self.executemany(
            "INSERT OR IGNORE INTO in_bucket VALUES (?, ?, ?)", [(box, p, _after(p)) for p in prefixes]
        )

    def records(self, box: int, rows: Iterable[tuple[bytes, int, bool, int, int, int, bytes, bool]]) -> None:
        """Stage records: (content id, copy, live, uid, date, size, registers, content still live there)."""
        self.executemany(
            "INSERT OR REPLACE INTO in_record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(box, *row) for row in rows],
        )

    def boxes(self) -> list[tuple[int, bytes, Registers | None, int, bool]]:
        """(staged number, mailbox id, registers or None, UIDNEXT, whole) of each staged mailbox, by id."""
        out = []
        for no, box_id, blob, uidnext, whole in self.execute("SELECT * FROM in_mailbox ORDER BY id"):
            regs = None if blob is None else {name: Register(*r) for name, r in unpackb(blob).items()}
            out.append((no, box_id, regs, uidnext, bool(whole)))
        return out

    def lacking(self, after: int, limit: int) -> list[tuple[int, bytes, int, int]]:
        """(staged number, content id, size, date) of live records whose content is not in the vault, in order."""
        return list(
            self.execute(
                "SELECT s.no, s.content, s.size, s.date FROM in_record s LEFT JOIN content c ON c.id = s.content"
                " WHERE s.no > ? AND s.live AND (c.no IS NULL OR NOT c.kept) ORDER BY s.no LIMIT ?",
                (after, limit),
            )
        )

    def to_come(self) -> tuple[int, int]:
        """How many contents `lacking` gives in all, and their bytes; one of several mailboxes counts once."""
        row = self.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT s.content, max(s.size) AS size FROM in_record s"
            " LEFT JOIN content c ON c.id = s.content WHERE s.live AND (c.no IS NULL OR NOT c.kept) GROUP BY s.content)"
        ).fetchone()
        assert row is not None, "a query that always has a row"
        return int(row[0]), int(row[1])

    def sum(self, box: int) -> int:
        """The sum of the staged live records of a mailbox, as in its digest."""
        from mailkeep.rules.digest import MODULUS, contribution

        rows = self.execute("SELECT content, copy, uid, regs FROM in_record WHERE box = ? AND live", (box,))
        return (
            sum(contribution(c, copy, uid, pack(flags_set(decode(r, True, uid)))) for c, copy, uid, r in rows)
            % MODULUS
        )

    def counts(self) -> tuple[int, int]:
        """Staged live records and tombstones."""
        live = int(self.ledger.index.value("SELECT coalesce(sum(live), 0) FROM in_record"))
        return live, int(self.ledger.index.value("SELECT count(*) FROM in_record")) - live


def _after(prefix: bytes) -> bytes:
    """What is above all ids that begin with a prefix."""
    number = int.from_bytes(prefix, "big") + 1
    if number >> 8 * len(prefix):
        return b"\xff" * 33
    return number.to_bytes(len(prefix), "big")


class Merge:
    """One commit."""

    def __init__(
        self,
        ledger: Ledger,
        stage: Stage,
        claim: Claim,
        limits: Limits,
        *,
        origin: str,
        hold_all: bool = False,
        accept_approvals: bool = True,
        additions: bool = False,
        now: int = 0,
    ) -> None:
        """Prepare.

        Args:
            additions: The peer may only add; whatever else it wrote is answered (rules.additions).
        """
        self.ledger, self.index, self.stage, self.claim = ledger, ledger.index, stage, claim
        self.additions = additions
        self.was_seen: Vector = {}
        self.ids = self.index.ids
        self.origin, self.limits, self.hold_all, self.now = origin, limits, hold_all, now
        self.accept_approvals = accept_approvals and not hold_all
        self.outcome = Outcome()
        self.killed: list[Record] = []
        self.places: dict[int, list[tuple[Register, int]]] = {}
        """By content, where it lived before on either side and does not now: (live register of then, record number)."""
        self.changed: list[tuple[Record, bool, int]] = []
        """Records whose live or uid changed, with what was shown before: (record, shown, uid)."""
        self.free: dict[int, int] = {}
        self.their_free: dict[int, int] = {}
        self.staged: dict[int, int] = {}
        self.touched: set[int] = set()
        self.annotated: list[tuple[Mailbox, str, str]] = []
        """Annotations that changed, each with the text of before."""
        self._still: set[int] = set()
        """Contents of tombstones that live elsewhere at the peer."""
        self._back: set[int] = set()
        """Records that were killed and then revived, or whose file is gone already: no guard need look at them."""
        self.spare: list[list[int]] = unpackb(self.index.meta.get("spare") or b"\x90")
        """Ranges of content numbers that a rebuild found in the vault and in no mailbox."""
        self.returning: set[int] = set()
        """Of these, the contents of which a live record comes in."""

    def commit(self) -> Outcome:
        """Merge all that is staged. Belongs in a transaction; durable when that ends."""
        history = self.ledger.history
        cause, history.cause = history.cause, MERGED
        try:
            return self._commit()
        finally:
            history.cause = cause

    def _commit(self) -> Outcome:
        index, claim = self.index, self.claim
        self.was_seen = was_seen = dict(index.vector)
        alive = {box.no for box in self.ledger.alive()} if self.additions else set()
        index.lamport = max(index.lamport, claim.lamport)
        first_new = index.value("SELECT coalesce(max(no), 0) FROM record")
        self.free = {box.no: box.uidnext for box in self.ledger.boxes.values()}
        validity = {box.no: box.validity for box in self.ledger.boxes.values()}
        legal_holds = {}
        if self.ledger.annotated:
            from mailkeep.store.annotations import legal_holds_of_all

            legal_holds = legal_holds_of_all(self.ledger)
        merged: list[tuple[int, Mailbox, bool]] = []
        for staged, box_id, regs, uidnext, whole in self.stage.boxes():
            if box_id == STORE_ID:
                self._whole(regs or {}, whole, was_seen)
                continue
            box = self._mailbox(staged, box_id, regs, whole, was_seen)
            if box is None:
                continue
            self.free.setdefault(box.no, 1)
            self.their_free[box.no] = uidnext
            self._void_numbers(box, regs, validity.get(box.no, box.validity))
            self.staged[box.no] = staged
            self.touched.add(box.no)
            merged.append((staged, box, whole))
        if self.annotated:  # before anything is deleted under the rules that the peer laid down
            from mailkeep.store.annotations import weigh

            weigh(self.ledger, self.annotated, self.now)
        for staged, box, whole in merged:
            self._records(staged, box, whole, was_seen)
            if whole:
                self._restamp_rest(staged, box)
        self._revive()
        self._guard()
        if self.returning:
            self._hold_returning(first_new)
        if self.index.meta.get("rebuilt") and not self.additions:  # of such a peer nothing was learnt
            self.index.meta["rebuilt"] = 0
        self._settle_uids(first_new)
        if self.additions:
            self._give_way(alive)
        self.ledger.settle_names()
        if legal_holds:
            from mailkeep.store.annotations import keep_legal_holds

            keep_legal_holds(self.ledger, legal_holds, self.now)
        if self.additions:  # what it says of others is not believed
            join(index.vector, {claim.sender: claim.vector.get(claim.sender, 0)})
            index.acknowledge(claim.sender, claim.vector)
            index.mark("member", (claim.sender,))
            return self.outcome
        join(index.vector, claim.vector)
        for who, vector in (*claim.acks.items(), (claim.sender, claim.vector)):
            index.acknowledge(who, vector)
        index.mark("member", (*claim.members, claim.sender))
        # Nobody but this store says that it was replaced (rules.identity). Who was given up elsewhere is given up here
        # too, unless this store has met it: else any peer could lock out any other.
        index.mark("waived", [no for no in claim.waived if no != index.me])
        index.mark("forgotten", [no for no in claim.forgotten if no != index.me and not index.has_met(no)])
        return self.outcome

    # --- mailboxes

    def _mailbox(
        self, staged: int, box_id: bytes, theirs: Registers | None, whole: bool, was_seen: Vector
    ) -> Mailbox | None:
        ledger = self.ledger
        box = ledger.by_id.get(box_id)
        if box is None:
            if theirs is None or (self.additions and self._is_nothing(theirs, staged)):
                return None
            box = ledger.insert_mailbox(box_id)
            self._take_mailbox(box, self._merged({}, theirs, whole, was_seen)[0])
            if box.validity < self.index.meta["floor"]:
                ledger.set_mailbox(
                    box, VALIDITY, self.index.fresh_validity(max(self.now, self.index.meta["floor"]))
                )
            self.outcome.mailboxes += 1
        elif theirs is not None or whole:
            regs, changed = self._merged(box.regs, theirs or {}, whole, was_seen)
            if changed:
                self._take_mailbox(box, regs)
                self.outcome.mailboxes += 1
        self.index.meta["validity"] = max(self.index.meta["validity"], box.validity)
        return box

    def _whole(self, theirs: Registers, whole: bool, was_seen: Vector) -> None:
        """The annotations of the whole store."""
        row = self.ledger.whole
        if row is not None or theirs:
            row = self.ledger.whole_row()
            regs, changed = self._merged(row.regs, theirs, whole, was_seen)
            if changed:
                self._take_mailbox(row, regs)

    def _take_mailbox(self, box: Mailbox, registers: Registers) -> None:
        """As in the ledger; which annotations that changed is noted."""
        before = box.annotations
        if len(registers) > ANNOTATIONS_MAX:
            from mailkeep.store.annotations import bounded

            registers = bounded(registers)
        self.ledger.take_mailbox(box, registers)
        after = box.annotations
        self.annotated += [
            (box, key, before.get(key, ""))
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        ]

    def _merged(
        self, mine: Registers, theirs: Registers, compare: bool, was_seen: Vector
    ) -> tuple[Registers, bool]:
        """Merge registers by name; whether anything of mine changed.

        In a comparison, a vector that covers a write which its replica does not have lied: no third replica
        would be sent that write, so it is stamped anew.
        """
        out = dict(mine)
        changed = False
        for name in (*mine, *(n for n in theirs if n not in mine)):
            a, b = mine.get(name), theirs.get(name)
            won = newer(a, b, self.ids)
            if compare and (
                ((a is None or a != won) and covers(was_seen, won))
                or ((b is None or b != won) and covers(self.claim.vector, won))
            ):
                won = won.restamped(self.index.stamp(), self.index.me)
            if a is None or won != a:
                out[name] = won
                changed = True
        if changed and self.additions:
            self._answer(mine, out)
        return out, changed

    # --- a peer that may only add

    def _answer(self, mine: Registers, merged: Registers) -> None:
        """Write anew what the peer may not have written; what others wrote and it brought is stamped by us.

        Its vector is not believed for others, so theirs would else come again with each session.
        """
        from mailkeep.rules.additions import answers, kind_of

        for name, r in merged.items():
            if r.replica not in (self.claim.sender, self.index.me) and not covers(self.was_seen, r):
                merged[name] = r.restamped(self.index.stamp(), self.index.me)
        for name, value in answers(mine, merged).items():
            merged[name] = self.ledger.register(value)
            kind = kind_of(name, UID not in merged)
            self.outcome.refused[kind] = self.outcome.refused.get(kind, 0) + 1

    def _is_nothing(self, theirs: Registers, staged: int) -> bool:
        """Whether a mailbox adds nothing, and has no annotation that is to be answered."""
        if theirs[LIVE].value or any(r.value for name, r in theirs.items() if name not in NOT_ANNOTATIONS):
            return False
        found = self.ledger.execute("SELECT 1 FROM in_record WHERE box = ? AND live LIMIT 1", (staged,))
        return found.fetchone() is None

    def _give_way(self, alive: set[int]) -> None:
        """A mailbox that the peer brought, or brought back, does not take the name of one that was here."""
        ledger = self.ledger
        names = {ledger.boxes[no].name for no in alive}
        for no in sorted(self.touched - alive):
            box = ledger.boxes[no]
            if box.alive and box.name in names:
                ledger.set_mailbox(box, NAME, own_name(box.name, box.id))

    # --- records

    def _pages(self, staged: int, box: Mailbox) -> Iterator[list[tuple]]:  # type: ignore[type-arg]
        after = 0
        while True:
            page = list(
                self.ledger.execute(
                    f"SELECT s.no, s.content, s.copy, s.live, s.uid, s.date, s.size, s.regs, s.still, c.no, c.kept, {_R_COLUMNS}"
                    " FROM in_record s LEFT JOIN content c ON c.id = s.content"
                    " LEFT JOIN record r ON r.content = c.no AND r.mailbox = ? AND r.copy = s.copy"
                    " WHERE s.box = ? AND s.no > ? ORDER BY s.no LIMIT ?",
                    (box.no, staged, after, PAGE),
                )
            )
            if not page:
                return
            yield page
            after = page[-1][0]

    def _records(self, staged: int, box: Mailbox, whole: bool, was_seen: Vector) -> None:
        from mailkeep.rules.digest import MODULUS, contribution

        ledger, index = self.ledger, self.index
        flags_in = memoised(lambda blob: pack(flags_set(decode(blob, True, 1))))
        for page in self._pages(staged, box):
            fresh: list[tuple[object, ...]] = []
            fresh_contents: dict[bytes, int] = {}
            added, count = 0, 0
            for row in page:
                _, content_id, copy, live, uid, date, size, blob, still, content, _, record_no = row[:12]
                if record_no is not None:
                    self._existing(
                        Record(row[11:]),
                        content_id,
                        bool(live),
                        uid,
                        date,
                        blob,
                        bool(still),
                        whole,
                        was_seen,
                    )
                    continue
                if not live and (self.additions or known_to(decode(blob, False, uid), was_seen)):
                    continue  # of what was forgotten here, or was never here and is not this peer's to delete
                if content is None:
                    content = fresh_contents.get(content_id)
                    if content is None:
                        content = fresh_contents[content_id] = ledger.content(content_id, size, kept=False)
                elif live and self.spare and self._is_spare(content):
                    self.returning.add(content)
                flags = flags_in(blob)
                if whole or self.additions:
                    blob = encode(self._merged({}, decode(blob, bool(live), uid), whole, was_seen)[0])
                fresh.append(
                    (
                        box.no,
                        content,
                        copy,
                        live,
                        uid,
                        flags,
                        blob,
                        index.next_seq(),
                        date,
                        int(bool(live)),
                        None if live else self.now,
                    )
                )
                if live:
                    count += 1
                    added += contribution(content_id, copy, uid, flags)
            index.executemany(
                "INSERT INTO record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, NULL, NULL, NULL, NULL, NULL, 0, ?, ?,"
                " NULL)",
                fresh,
            )
            if count:
                box.sum = (box.sum + added) % MODULUS
                box.count += count
                box.dirty = True
                self.outcome.added += count
                if not box.live and box.dir is None:
                    box.todo = True

    def _existing(
        self,
        record: Record,
        content_id: bytes,
        live: bool,
        uid: int,
        date: int,
        blob: bytes,
        still: bool,
        whole: bool,
        was_seen: Vector,
    ) -> None:
        mine, theirs = record.regs, decode(blob, live, uid)
        if not self.additions:  # whose vector is not believed
            mine = _without(mine, of_former_life(mine, theirs, self.claim.vector, self.ids))
        theirs = _without(theirs, of_former_life(theirs, mine, was_seen, self.ids))
        regs, changed = self._merged(mine, theirs, whole, was_seen)
        if (record.live or live) and not regs[LIVE].value:
            self.places.setdefault(record.content, []).append(
                (mine[LIVE] if record.live else theirs[LIVE], record.no)
            )
        if not changed:
            if still and not live:
                self._still.add(record.content)
            return
        was_live, was_shown, was_uid, was_flags = record.live, record.shown, record.uid, record.flags
        won, had = regs[LIVE], mine[LIVE]
        if live and won.value and won.rank != WEAK and (won.rank, won.writer) != (had.rank, had.writer):
            # It was delivered again, there, or put back: it gets no older.
            record.date = max(record.date, date)
        self.ledger.take(record, regs, content_id)
        if record.live != was_live or record.uid != was_uid:
            self.changed.append((record, was_shown, was_uid))
        # Somebody answered elsewhere.
        if record.hold is not None and self.accept_approvals and is_approved(record):
            record.todo = 1
            self.ledger.release(record)
            self.ledger.set_file(record)
        if was_live and not record.live:
            self.killed.append(record)
            if record.hold is not None and record.sub == NO_FILE:
                # Held because its file was missing; that it was removed, somebody else confirms.
                record.todo = 0
                self.ledger.release(record)
                self.ledger.set_file(record)
                self._back.add(record.no)
            if still:
                self._still.add(record.content)
        elif record.live and not was_live:
            self.outcome.added += 1
        elif record.flags != was_flags:
            self.outcome.changed += 1

    def _restamp_rest(self, staged: int, box: Mailbox) -> None:
        """In a comparison: live records of mine that the peer does not have, though its vector claims them.

        In the buckets that it sent, that is: in all others both have the same.
        """
        rest = list(
            self.ledger.records(
                "mailbox = ?1 AND live AND NOT EXISTS (SELECT 1 FROM in_record s JOIN content c ON c.id = s.content"
                " WHERE s.box = ?2 AND c.no = record.content AND s.copy = record.copy)"
                " AND (SELECT b.high > k.id FROM content k JOIN in_bucket b ON b.box = ?2 AND b.low <= k.id"
                " WHERE k.no = record.content ORDER BY b.low DESC LIMIT 1)",
                (box.no, staged),
            )
        )
        for record in rest:
            regs = {
                name: r.restamped(self.index.stamp(), self.index.me) if covers(self.claim.vector, r) else r
                for name, r in record.regs.items()
            }
            if any(regs[name] is not record.regs[name] for name in regs):
                self.ledger.take(record, regs)

    # --- guard, revival, UIDs

    def _is_spare(self, content: int) -> bool:
        """Whether a content was here once, and no record of it is left."""
        return (
            any(first <= content <= last for first, last in self.spare)
            and self.ledger.execute("SELECT 1 FROM record WHERE content = ? LIMIT 1", (content,)).fetchone()
            is None
        )

    def _hold_returning(self, first_new: int) -> None:
        """What was removed here before the index was lost comes back from the peer; where it is much, it is held."""
        from mailkeep.store.holds import hold_returning

        records = [
            record
            for content in sorted(self.returning)
            for record in list(self.ledger.records("content = ? AND no > ? AND live", (content, first_new)))
        ]
        self.outcome.held += hold_returning(
            self.ledger,
            self.limits,
            records,
            "they are in the vault here, and the rebuilt index found them in no mailbox",
        )

    def _guard(self) -> None:
        reaper = Reaper(
            self.ledger,
            self.limits,
            self.origin,
            hold_all=self.hold_all,
            accept_approvals=self.accept_approvals,
        )
        for record in self.killed:
            if record.no not in self._back:
                reaper.want(record)
        self.outcome.removed = len(self.killed)
        reaper.carry_out()
        self.outcome.held, self.outcome.expunged = reaper.held, reaper.expunged
        forget_answered(self.ledger)

    def _revive(self) -> None:
        """Live on both sides before and on neither after: the merge deleted it, and nobody meant that.

        It comes back where it was put last.
        """
        ledger = self.ledger
        for content in sorted({r.content for r in self.killed} & self._still):
            if ledger.is_live(content):
                continue
            content_id = ledger.content_id(content)
            places = [(order(was, self.ids), ledger.record(no)) for was, no in self.places[content]]
            _, best = max(places, key=lambda p: (p[0], ledger.boxes[p[1].mailbox].id, p[1].copy))
            box = ledger.boxes[best.mailbox]
            box.uidnext = max(box.uidnext, self.their_free.get(box.no, 1))
            uid, box.uidnext = box.uidnext, box.uidnext + 1
            box.dirty = True
            ledger.take(
                best, {**best.regs, LIVE: ledger.register(True), UID: ledger.register(uid)}, content_id
            )
            self._back.add(best.no)
            self.outcome.revived += 1

    def _void_numbers(self, box: Mailbox, theirs: Registers | None, before: int) -> None:
        """A UIDNEXT that no mail explains, of a UIDVALIDITY that has been replaced, counts no more."""
        no = box.no
        if theirs is not None:
            same = theirs[VALIDITY].value == box.validity
        else:
            same = covers(self.claim.vector, box.regs[VALIDITY])
        if self.their_free[no] >= UID_HIGH and not same:
            self.their_free[no] = 1
        if self.free[no] >= UID_HIGH and before != box.validity:
            self.free[no] = box.uidnext = 1
            box.dirty = True

    def _number_anew(self, box: Mailbox) -> None:
        """UIDs are used up, as only a lie brings about: a new UIDVALIDITY, and UIDs from 1 (RFC 9051 §2.3.1.1)."""
        ledger = self.ledger
        ledger.set_mailbox(
            box,
            VALIDITY,
            self.index.fresh_validity(max(self.now, box.validity + 1, self.index.meta["floor"])),
        )
        box.uidnext = 1
        for (no,) in list(
            ledger.execute(
                "SELECT no FROM record WHERE mailbox = ? AND (live OR hold IS NOT NULL) ORDER BY uid, no",
                (box.no,),
            )
        ):
            ledger.new_uid(ledger.record(no))

    def _settle_uids(self, first_new: int) -> None:
        """A UID that would appear in either side's past is replaced by one above all that was shown."""
        ledger = self.ledger
        boxes = self.touched | set(self.their_free)
        for no in boxes:
            box = ledger.boxes[no]
            uidnext = max(box.uidnext, self.their_free.get(no, 1))
            top = self.index.value(
                "SELECT coalesce(max(uid), 0) FROM record WHERE mailbox = ? AND live AND (uid < ? OR ?)",
                (no, UID_HIGH, uidnext >= UID_HIGH),
            )
            uidnext = max(uidnext, top + 1)
            if uidnext != box.uidnext:
                box.uidnext, box.dirty = uidnext, True
        again: dict[int, tuple[int, int]] = {}
        for no, mailbox, uid in ledger.execute(
            "SELECT no, mailbox, uid FROM record WHERE no > ? AND live", (first_new,)
        ):
            if uid < self.free.get(mailbox, 1):
                again[no] = (uid, no)
        for record, was_shown, was_uid in self.changed:
            now = ledger.record(record.no)
            if now.live and not self._fits(now, was_shown, was_uid):
                again[now.no] = (now.uid, now.no)
        since = self.index.known_seq(self.claim.sender, self.claim.vector)
        for no, free in self.their_free.items():
            if free > 1:
                for record in ledger.records(
                    "mailbox = ? AND uid < ? AND live AND seq > ?", (no, free, since)
                ):
                    if record.no <= first_new and not self._is_shown_there(record):
                        again[record.no] = (record.uid, record.no)
        for no, uid, mailbox in self._doubles(first_new):
            again.setdefault(no, (uid, no))
            assert mailbox in ledger.boxes
        for mailbox in boxes:
            if ledger.boxes[mailbox].uidnext < UID_HIGH:
                high = ledger.records("mailbox = ? AND live AND uid >= ?", (mailbox, UID_HIGH))
                again.update((record.no, (record.uid, record.no)) for record in high)
        for _, no in sorted(again.values()):
            ledger.new_uid(ledger.record(no))
        for mailbox in boxes:
            if ledger.boxes[mailbox].uidnext > UID_RESET:
                self._number_anew(ledger.boxes[mailbox])
        self.outcome.renumbered = len(again)

    def _fits(self, record: Record, was_shown: bool, was_uid: int) -> bool:
        uid, box = record.uid, record.mailbox
        mine = (was_shown and was_uid == uid) or uid >= self.free.get(box, 1)
        theirs = uid >= self.their_free.get(box, 1) or self._is_shown_there(record)
        if not (mine and theirs):
            return False
        return not self.ledger.execute(
            "SELECT 1 FROM record WHERE mailbox = ? AND uid = ? AND no < ? AND (live OR hold IS NOT NULL)",
            (box, uid, record.no),
        ).fetchone()

    def _is_shown_there(self, record: Record) -> bool:
        """Whether the peer shows a record under the UID that it has here, be it by a write of its own."""
        if covers(self.claim.vector, record.regs[UID]):
            return True
        return bool(
            self.ledger.execute(
                "SELECT 1 FROM content c JOIN in_record s ON s.content = c.id"
                " WHERE c.no = ? AND s.box = ? AND s.copy = ? AND s.live AND s.uid = ?",
                (record.content, self.staged.get(record.mailbox), record.copy, record.uid),
            ).fetchone()
        )

    def _doubles(self, first_new: int) -> list[tuple[int, int, int]]:
        """New records whose UID another shown record has: only a peer's fault brings that about."""
        return list(
            self.ledger.execute(
                "SELECT max(no), uid, mailbox FROM record WHERE no > ? AND live GROUP BY mailbox, uid HAVING count(*) > 1",
                (first_new,),
            )
        )


def _without(registers: Registers, names: list[str]) -> Registers:
    return {name: r for name, r in registers.items() if name not in names} if names else registers
