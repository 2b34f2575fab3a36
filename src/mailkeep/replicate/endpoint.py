"""What both ends of a session have in common: hello, staging what comes in, contents both ways.

    initiator                                   responder
    greeting, HELLO            ->
                               <-               greeting, HELLO (same: the end)
                               <-               DIGESTS, BOX/RECORDS (its news), END_NEWS
    CLAIM, BOX/RECORDS (its news), COMPARE, END_NEWS ->
                               <-               BOX/BUCKETS/RECORDS of compared mailboxes, END_WHOLE
    WANT, CONTENT ...          <->              WANT, CONTENT ...
    [commits]  CLAIM, BOX/RECORDS (what the merge changed), COMMIT ->
                               <-               [commits]  DONE
    [applies]                                   [applies]
                               <-               REPORT

An endpoint is driven with bytes and asked for bytes; it touches its store, never a pipe or a clock. At
most WINDOW contents are asked for at a time; memory does not grow with the session.
"""

from __future__ import annotations

import os

from msgpack import packb, unpackb

from mailkeep.domain.errors import DataError, InternalError, MailkeepError, RemoteProtocolError, printable
from mailkeep.domain.record import (
    CONTENT_ID_BYTES,
    COPY_MAX,
    LAMPORT_MAX,
    LIVE,
    MAILBOX_ID_BYTES,
    NAME,
    NOT_ANNOTATIONS,
    SIZE_MAX,
    STORE_ID,
    UID_MAX,
    VALIDITY,
    Register,
)
from mailkeep.replicate import bounds
from mailkeep.replicate.view import View
from mailkeep.rules.identity import Side
from mailkeep.system import clock, fs
from mailkeep.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from mailkeep.domain.record import Registers, Vector
    from mailkeep.replicate.received import Received
    from mailkeep.store.merge import Claim, Stage
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store

WINDOW = 2000
"""Contents asked for and not yet received. At 8 KB each this covers 16 MB: 100 Mbit/s at 1.3 s."""
WANT_PAGE = 500
OUT_BYTES = 1 << 19
"""No more is read from the disk while this much waits to be written."""
DATE_MAX = 1 << 33


class Endpoint:
    """One end of a session.

    Attributes:
        wire: Feed it bytes through `receive`, take bytes from `wire.output`.
        finished: Nothing more will be said.
        turns: How often this end had to wait for the other: round trips.
    """

    def __init__(
        self, store: Store, *, dry: bool, view: View | None = None, wire: frames.Wire | None = None
    ) -> None:
        self.store, self.ledger, self.index = store, store.ledger, store.index
        self.dry, self.view = dry, view or View()
        self.wire = wire or frames.Wire()
        self.finished = False
        self.turns = 0
        self.state = 0
        self._table: dict[int, Any] = {}
        self._table_state = -1
        self.numbers: dict[int, int] = {}
        """The peer's replica numbers -> ours."""
        self.claim: Claim | None = None
        self._remap: tuple[Claim, Callable[[bytes], bytes]] | None = None
        """Checks and renumbers registers as one claim allows."""
        self.peer = 0
        self.stage: Stage | None = None
        self.staged_boxes: dict[bytes, int] = {}
        self.refused = bounds.Problems()
        self.staged = bounds.Staged()
        self.asked = 0
        """Contents that the peer asked for in this session."""
        self._asks_max = WANT_PAGE
        """How many it may ask for, as far as counted: the store may have got more since."""
        self.sending: list[Iterator[None]] = []
        """What is to be sent, piece by piece, as there is room."""
        self.said_first = False
        """Set by what is sending, to go on only once all that was queued so far has been written."""
        self.serving: list[tuple[bytes, int | None]] = []
        """Contents that the peer asked for, the next one last, each with its INTERNALDATE if it may see it."""
        self.since = 0
        self.snapshot_seq = self.index.seq
        self._received: Received | None = None
        self.sent_contents = self.sent_size = 0
        self.offered = (0, 0)
        """Live messages, and their bytes, in the news that were sent: counted for somebody who watches."""
        self._wanted_after = 0
        self._outstanding = 0
        self._more_wanted = False
        self._asked_again = False
        self._told = self._new_boxes = 0
        self._again_after = -1
        """Up to which row of the contents lacked since long ago was asked; -1: there are none, or all were."""

    @property
    def received(self) -> Received:
        """What comes in on its way into the vault; made when first asked for."""
        if self._received is None:
            from mailkeep.replicate.received import Received

            self._received = Received(self.store)
        return self._received

    def abandon(self) -> None:
        """The session is cut: keep what arrived whole. Durable on return."""
        if self._received is not None:
            self._received.abandon()

    # --- bytes

    def receive(self, data: bytes) -> None:
        """Bytes from the peer, b'' when it has closed.

        Raises:
            MailkeepError: The session is over; what was committed stays.
        """
        if not data:
            self.closed()
            return
        if not self.finished:  # once the end was said, what else comes is neither read nor kept
            self.wire.feed(data)
        if self.wire.spoke:  # what comes now may be an answer
            self.turns += 1
            self.wire.spoke = False
        try:
            while not self.finished and (frame := self.wire.next_frame()) is not None:
                self._dispatch(*frame)
        except OSError as err:
            raise fs.explain(err, "what the peer sent could not be stored") from err

    def _dispatch(self, kind: int, payload: bytes) -> None:
        if self._table_state != self.state:
            self._table, self._table_state = self.handlers(), self.state
        handler = self._table.get(kind)
        if handler is None:
            name = frames.NAMES.get(kind, str(kind))
            raise RemoteProtocolError(f"the peer sent {name} where the protocol has no place for it")
        if kind in (frames.CONTENT, frames.PIECE):
            handler(payload)
            return
        try:
            message = unpackb(payload, strict_map_key=False)
        except (ValueError, TypeError, OverflowError) as err:
            raise RemoteProtocolError(
                f"the peer sent a {frames.NAMES[kind]} that cannot be decoded: {err}"
            ) from err
        try:
            handler(message)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as err:
            shown = printable(f"{type(err).__name__}: {str(err)[:300]}")
            raise RemoteProtocolError(f"the peer sent a malformed {frames.NAMES[kind]}: {shown}") from err

    def handlers(self) -> dict[int, Any]:
        """Frames that the present state allows."""
        raise NotImplementedError

    def closed(self) -> None:
        """The peer has closed the connection.

        Raises:
            MailkeepError: It did so before the session was over.
        """
        raise NotImplementedError

    def produce(self) -> None:
        """Queue more to be sent, while there is room and anything to say."""
        try:
            self._produce()
        except OSError as err:
            raise fs.explain(err, "the session could not go on") from err

    def _produce(self) -> None:
        if self.said_first:
            if self.wire.output(flush=True):
                return
            self.said_first = False
        while self.wire.queued < OUT_BYTES and not self.said_first:
            if self.sending:
                try:
                    next(self.sending[0])
                except StopIteration:
                    self.sending.pop(0)
            elif self.serving:
                self._serve(*self.serving.pop())
            else:
                return

    @property
    def has_more(self) -> bool:
        """Whether `produce` would have more to queue, given room."""
        return bool(self.sending or self.serving)

    def say(self, kind: int, message: object) -> None:
        """Queue a frame; its payload is the message in msgpack.

        Raises:
            LocalProtocolError: The payload is larger than FRAME_BYTES_MAX.
        """
        self.wire.send(kind, packb(message))

    def say_later(self, kind: int, message: object) -> Iterator[None]:
        """Queue a frame behind all that is still to be sent: for `sending`."""
        self.say(kind, message)
        yield

    def fail(self, error: BaseException) -> None:
        """Tell the peer why this end gives up."""
        shown = (
            error if isinstance(error, MailkeepError) else InternalError(f"{type(error).__name__}: {error}")
        )
        self.sending.clear()
        self.serving.clear()
        self.say(frames.ERROR, [shown.exit_code, str(shown)[:2000], shown.untouched[:500], shown.hint[:500]])

    # --- hello

    def hello(self, **more: object) -> dict[str, object]:
        """What this store is and has taken in, as of now."""
        index = self.index
        self.snapshot_seq = index.seq
        return {
            "store": index.meta["store"],
            "me": index.me,
            "ids": index.ids[1:],
            "vector": [index.vector.get(no, 0) for no in range(1, len(index.ids))],
            "lamport": index.lamport,
            "root": self._root(),
            "members": sorted(index.members),
            "waived": sorted(index.waived),
            "forgotten": sorted(index.forgotten),
            "suspect": int(index.meta.get("suspect", 0)),
            "count": sum(box.count for box in self.ledger.boxes.values()),
            **more,
        }

    def _root(self) -> bytes:
        if self.view.plain:
            return bytes(self.index.meta.get("root", b""))
        from mailkeep.rules.digest import root_digest
        from mailkeep.store.ledger import digest_of

        return root_digest(
            (box.id, digest)
            for box in self.ledger.rows()
            if self.view.shows(box) and (digest := digest_of(box, self.view.theirs(box.name)))
        )

    def take_hello(self, message: dict[str, Any]) -> dict[str, Any]:
        """Check a hello, all of it that both ends send, before anything of it is used."""
        self.check_replicas(message)
        count = len(message["ids"])
        bounds.number(message["me"], 1, count, "its own number")
        bounds.blob(message["store"], 16, "the id of its store")
        bounds.digest(message["root"])
        for key in ("members", "waived", "forgotten"):
            if type(message[key]) is not list:
                raise ValueError(f"{key}: no list")
        for no in (*message["members"], *message["waived"], *message["forgotten"]):
            bounds.number(no, 1, count, "the number of a replica")
        bounds.number(message["suspect"], 0, LAMPORT_MAX, "suspect")
        bounds.number(message["count"], 0, LAMPORT_MAX, "the number of its messages")
        return message

    def check_replicas(self, message: dict[str, Any]) -> None:
        """Check replica ids, vector and lamport before any of them is noted: ids are kept for ever."""
        bounds.replicas(message, self.index.numbers, clock.now(), self.replicas_max)

    replicas_max = bounds.REPLICAS_MAX
    """How many replicas this store may know of with those that the peer names."""

    def number_replicas(self, message: dict[str, Any]) -> None:
        """Give the peer's replicas numbers here. Writes new ones: belongs in a transaction."""
        self.numbers = {their: self.index.number(rid) for their, rid in enumerate(message["ids"], 1)}
        self.peer = self.numbers[message["me"]]
        self.take_claim(message)
        assert self.claim is not None
        self.since = self.index.known_seq(self.peer, self.claim.vector)

    def take_claim(self, message: dict[str, Any]) -> None:
        """Keep what the peer says of itself, in a hello or a claim, in our numbers.

        What it says that others have acknowledged is bounded by what it has itself.
        """
        from mailkeep.store.merge import Claim

        vector = self.vector(message["vector"])
        acks: dict[int, Vector] = {}
        for who, lamports in message.get("acks", ()):
            heard = self.vector(lamports)
            acks[self.replica(who)] = {no: min(v, vector.get(no, 0)) for no, v in heard.items()}
        marks = [[self.replica(no) for no in message[key]] for key in ("members", "waived", "forgotten")]
        self.claim = Claim(self.peer, message["lamport"], vector, acks, *marks)

    def replica(self, no: object) -> int:
        """Our number of a replica that the peer names by its number."""
        return self.numbers[bounds.number(no, 1, len(self.numbers), "the number of a replica")]

    def vector(self, lamports: list[int]) -> Vector:
        """A vector as sent, in our numbers."""
        if type(lamports) is not list or len(lamports) > len(self.numbers):
            raise ValueError("a vector out of bounds")
        for lamport in lamports:
            bounds.number(lamport, 0, LAMPORT_MAX, "a lamport of a vector")
        return {self.numbers[their]: v for their, v in enumerate(lamports, 1) if v}

    def is_same(self, message: dict[str, Any]) -> bool:
        """Whether neither side has anything that the other lacks."""
        theirs = {rid: v for rid, v in zip(message["ids"], message["vector"], strict=True) if v}
        ours = {self.index.ids[no]: v for no, v in self.index.vector.items() if v}
        return bool(
            (theirs == ours or self.covers_all(ours, theirs, message["ids"][message["me"] - 1]))
            and message["root"] == self._root()
            and not message["suspect"]
            and not self.index.meta.get("suspect", 0)
            and not self._lacks_contents()
        )

    def covers_all(self, ours: dict[bytes, int], theirs: dict[bytes, int], peer_id: bytes) -> bool:
        """Whether vectors that differ have nothing to tell, between a store and a peer that may only add there.

        The store does not believe it what it says of others, so theirs is the longer one for good.
        """
        return False

    def note_agreement(self, same_vectors: bool, ours: bytes | None, theirs: bytes | None) -> bool:
        """Both have committed: who has taken in the same must hold the same. If not, the next session compares.

        A root digest and a vector are of one moment, on each side; where the vectors differ, one side had to write more,
        and nothing follows. Belongs in a transaction. Returns whether a difference was found.

        Args:
            ours, theirs: Root digests; None from a side that cannot tell which mailboxes both share, or does not merge.
        """
        differs = same_vectors and None not in (ours, theirs) and ours != theirs
        doubted = self._doubted()
        if differs != (self.peer in doubted):
            self.index.meta["doubted"] = packb(sorted(doubted ^ {self.peer}))
        return differs

    def shared_root(self) -> bytes | None:
        """The digest of what both sides share, as it is now; None where one side cannot tell, or does not merge."""
        return self._root() if self.shares_all else None

    def _doubted(self) -> set[int]:
        """Replicas with which the last session left us with other mail under the same vector."""
        packed = self.index.meta.get("doubted")
        return set(unpackb(packed)) if packed else set()

    @property
    def shares_all(self) -> bool:
        """Whether both sides merge, and this one knows which mailboxes both share."""
        raise NotImplementedError

    def _lacks_contents(self) -> bool:
        return bool(self.index.meta.get("lacking", 0))

    def side(
        self, message: dict[str, Any] | None, tokens: Iterable[tuple[int, bytes]], other_id: bytes
    ) -> Side:
        """A side of the identity check: ours (None) or the one that sent this hello."""
        if message is None:
            no = self.index.numbers.get(other_id, 0)
            return Side(
                self.index.ids[self.index.me],
                self.index.vector.get(self.index.me, 0),
                self.index.vector.get(no, 0),
                tokens,
                no in self.index.waived,
            )
        ids, vector = message["ids"], message["vector"]
        other = ids.index(other_id) if other_id in ids else -1
        return Side(
            ids[message["me"] - 1],
            vector[message["me"] - 1],
            vector[other] if other >= 0 else 0,
            tokens,
            other >= 0 and other + 1 in message["waived"],
        )

    # --- news, both ways

    def send_news(self) -> Iterator[None]:
        """Mailboxes and records that the peer's vector does not cover."""
        from mailkeep.domain.record import known_to
        from mailkeep.store import news

        assert self.claim is not None
        seen = self.claim.vector
        for box in self.ledger.rows():
            if self.view.shows(box) and not known_to(box.regs, seen):
                self.send_box(box)
        for box, page in news.news(self.ledger, seen, self.since):
            if self.view.shows(box):
                self.say(frames.RECORDS, [box.id, page])
                if self.store.progress is not None:
                    sizes = [int(str(row[5])) for row in page if row[2]]
                    self.offered = (self.offered[0] + len(sizes), self.offered[1] + sum(sizes))
                yield

    def send_box(self, box: Mailbox, *, whole: bool = False) -> None:
        """Queue a mailbox's registers; `whole`: it is compared, see `mailkeep.replicate.compare`."""
        regs = {name: list(r.astuple()) for name, r in box.regs.items()}
        if self.view.names is not None and NAME in regs:
            regs[NAME][0] = self.view.theirs(box.name)
        self.say(frames.BOX, [box.id, regs, box.uidnext, int(whole)])

    def ready_stage(self) -> Stage:
        """Where what the peer sends waits for the merge; made, empty, when first asked for."""
        if self.stage is None:
            from mailkeep.store.merge import Stage

            self.stage = Stage(self.ledger)
        return self.stage

    def on_box(self, message: list[Any]) -> None:
        """A mailbox; without registers, its UIDNEXT alone, or (`whole`: compared) that the peer does not have it."""
        box_id, regs, uidnext, whole = message
        bounds.blob(box_id, MAILBOX_ID_BYTES, "a mailbox id")
        self._stage_box(box_id, self._registers(box_id, regs) if regs else None, uidnext, bool(whole))

    def _stage_box(self, box_id: bytes, regs: Registers | None, uidnext: int, whole: bool) -> None:
        bounds.blob(box_id, MAILBOX_ID_BYTES, "a mailbox id")
        bounds.number(uidnext, 1, UID_MAX + 1, "UIDNEXT")
        self._told += 1
        if self._told > 4 * bounds.MAILBOXES_MAX:  # digest, news, comparison, result
            raise ValueError("mailboxes told of again and again")
        if box_id == STORE_ID:
            if self.view.patterns is None and (regs is not None or whole):
                self.staged_boxes[box_id] = self.ready_stage().mailbox(box_id, regs, 1, whole)
            return
        if regs is not None:
            try:
                ours = self.view.ours(str(regs[NAME].value))
            except ValueError as err:
                raise ValueError(f"a mailbox name: {err}") from err
            regs[NAME] = Register(ours, *regs[NAME].astuple()[1:])
            if not self.view.shows_name(ours):
                self.refused.append((ours, "is excluded for this peer: what it sent for it was not taken"))
                return
            self._met(box_id, ours, bool(regs[LIVE].value))
        elif ((known := self.ledger.by_id.get(box_id)) is None or not self.view.shows(known)) and not whole:
            return
        if box_id not in self.staged_boxes and box_id not in self.ledger.by_id:
            self._new_boxes += 1
            if len(self.ledger.by_id) + self._new_boxes > bounds.MAILBOXES_MAX:
                raise ValueError(f"with these there would be more than {bounds.MAILBOXES_MAX:,} mailboxes")
        self.staged_boxes[box_id] = self.ready_stage().mailbox(box_id, regs, uidnext, whole)

    def _met(self, box_id: bytes, ours: str, live: bool) -> None:
        """The peer told of a mailbox, by the name that it has here."""

    def note_given(self) -> None:
        """Before anything is sent: mailboxes of ours that the peer may hear of keep their ids (in a transaction)."""
        me, meta = self.index.me, self.index.meta
        top = max(
            (r.lamport for box in self.ledger.boxes.values() for r in box.regs.values() if r.replica == me),
            default=0,
        )
        if top > meta.get("given", 0):
            meta["given"] = top

    def _registers(self, box_id: bytes, regs: dict[str, list[Any]]) -> Registers:
        out = {}
        assert self.claim is not None
        annotations = regs.keys() - NOT_ANNOTATIONS
        if regs.keys() - annotations != (set() if box_id == STORE_ID else NOT_ANNOTATIONS):
            raise ValueError("a mailbox has name, live and validity, and the whole store has none of them")
        if annotations:
            bounds.annotated({key: regs[key][0] for key in annotations})
            self.staged.annotate(self.ledger, sum(len(key) + len(regs[key][0]) for key in annotations))
        kinds: dict[str, type[bool | int | str]] = {NAME: str, LIVE: bool, VALIDITY: int}
        for name, (value, rank, writer, lamport, replica) in regs.items():
            if type(value) is not kinds.get(name, str):
                raise ValueError(f"the register {name} of a wrong type")
            stamped, no = self.replica(replica), self.replica(writer)
            bounds.number(lamport, 1, self.claim.vector.get(stamped, 0), f"the stamp of {name}")
            # The rank of a write is its lamport, or less when it was stamped anew; a greater one no later write
            # could ever beat.
            if name == VALIDITY:
                bounds.number(value, 1, bounds.validity_ceiling(clock.now()), "UIDVALIDITY")
                bounds.number(rank, int(value), int(value), "the rank of UIDVALIDITY")
            else:
                bounds.number(rank, 0, lamport, f"the rank of {name}")
            out[name] = Register(value, rank, no, lamport, stamped)
        return out

    def on_records(self, message: list[Any]) -> None:
        """A page of one mailbox's records, checked and staged with our replica numbers.

        Raises:
            ValueError: Something in it is out of bounds; no record of the page was staged.
        """
        claim = self.claim
        assert claim is not None
        if self._remap is None or self._remap[0] is not claim:
            from mailkeep.wire.registers import memoised, remap

            numbers, vector = self.numbers, claim.vector
            self._remap = (claim, memoised(lambda blob: remap(blob, numbers, vector)))
        remapped = self._remap[1]
        box_id, records = message
        bounds.blob(box_id, MAILBOX_ID_BYTES, "a mailbox id")
        bounds.listed(records, frames.FRAME_BYTES_MAX, "records")
        if box_id == STORE_ID:
            raise ValueError("the whole store is no mailbox: it has no records")
        self.staged.count(len(records), sum(len(record[6]) for record in records))
        staged = self.staged_boxes.get(box_id)
        if staged is None:
            box = self.ledger.by_id.get(box_id)
            if box is None or not self.view.shows(box):
                return  # of a mailbox that is excluded, or was never announced
            staged = self.staged_boxes[box_id] = self.ready_stage().mailbox(box_id, None, 1, False)
        rows = []
        for content_id, copy, live, uid, date, size, regs, still in records:
            if (
                type(content_id) is not bytes
                or len(content_id) != CONTENT_ID_BYTES
                or type(regs) is not bytes
            ):
                raise ValueError("a content id or registers of a wrong type")
            if not (type(copy) is type(uid) is type(date) is type(size) is int):
                raise ValueError("a number of a wrong type")
            if not (
                0 <= copy < COPY_MAX and 0 < uid <= UID_MAX and abs(date) <= DATE_MAX and 0 <= size < SIZE_MAX
            ):
                raise ValueError("a number out of bounds")
            rows.append((content_id, copy, bool(live), uid, date, size, remapped(regs), bool(still)))
        self.ready_stage().records(staged, rows)

    # --- contents, both ways

    def want_contents(self) -> bool:
        """Ask for contents that we lack, a window at a time; False when there is nothing left to wait for."""
        if self.dry:
            return False
        while self._again_after >= 0 and self._outstanding <= WINDOW - WANT_PAGE:
            self._want(self._again_page())
        if self.stage is None:
            return self._again_after >= 0 or self._outstanding > 0
        while self._more_wanted and self._outstanding <= WINDOW - WANT_PAGE:
            page = self.stage.lacking(self._wanted_after, WANT_PAGE)
            if not page:
                self._more_wanted = False
                break
            self._wanted_after = page[-1][0]
            self._want(page)
        return self._more_wanted or self._again_after >= 0 or self._outstanding > 0

    def _want(self, page: list[tuple[int, bytes, int, int]]) -> None:
        ids = self.received.expect(page)
        self._outstanding += len(ids)
        if ids:
            self.say(frames.WANT, ids)

    def begin_wanting(self) -> None:
        """Look through what is staged, from its start, for contents that are neither here nor asked for.

        Contents of records taken in long ago are asked for once more: the peer could not send them then, or
        the vault has lost them since.
        """
        self.received.settle()
        if self.store.progress is not None and self.stage is not None:
            self.store.progress.expect("received", *self.stage.to_come())
        self._more_wanted, self._wanted_after = True, 0
        if self.dry or self._asked_again:
            return
        self._asked_again = True
        lacks = "FROM record r JOIN content c ON c.no = r.content WHERE r.todo AND r.live AND NOT c.kept"
        if self.index.execute(f"SELECT 1 {lacks} LIMIT 1").fetchone() is not None:
            self.index.execute("DROP TABLE IF EXISTS temp.again")
            self.index.execute(f"CREATE TEMP TABLE again AS SELECT c.id, c.size, r.date, r.mailbox {lacks}")
            self._again_after = 0

    def _again_page(self) -> list[tuple[int, bytes, int, int]]:
        rows = list(
            self.index.execute(
                "SELECT rowid, id, size, date, mailbox FROM temp.again WHERE rowid > ? ORDER BY rowid LIMIT ?",
                (self._again_after, WANT_PAGE),
            )
        )
        self._again_after = rows[-1][0] if rows else -1
        return [row[:4] for row in rows if self.view.shows(self.ledger.boxes[row[4]])]

    def on_want(self, message: list[bytes]) -> None:
        """Content ids that the peer lacks, at most WANT_PAGE; they are served in the order asked for."""
        bounds.listed(message, WANT_PAGE, "contents that are wanted")
        if len(self.serving) > 4 * WINDOW:
            raise ValueError("more contents asked for than a window holds")
        for content_id in message:
            bounds.blob(content_id, CONTENT_ID_BYTES, "a content id")
        self.asked += len(message)
        if self.asked > self._asks_max:  # counting all contents for each page would cost more than the page
            self._asks_max = max(WANT_PAGE, bounds.CONTENT_ASKS_MAX * self._contents_count())
            if self.asked > self._asks_max:
                raise ValueError("contents asked for again and again")
        dates = self._may_see(message)
        self.serving[:0] = [(content_id, dates.get(content_id)) for content_id in reversed(message)]

    def _contents_count(self) -> int:
        """How many contents this store knows of."""
        return int(self.index.value("SELECT count(*) FROM content"))

    def _serve(self, content_id: bytes, date: int | None) -> None:
        """Send one content, hashed on the way; only one that a live record which the peer may see refers to."""
        if date is None:
            self.say(frames.LACK, [content_id, "no message that this peer may see has it"])
            return
        try:
            fd = self.store.vault.open(content_id)
        except OSError as err:
            self.say(frames.LACK, [content_id, f"the vault cannot read it: {os.strerror(err.errno or 5)}"])
            return
        try:
            size = os.fstat(fd).st_size
            if size > frames.PIECE_BYTES:
                keep = os.dup(fd)
                self.sending.insert(0, self._pieces(content_id, keep, size, date))
                return
            data = os.read(fd, size + 1)
        finally:
            os.close(fd)
        from hashlib import sha256

        if sha256(data).digest() != content_id:
            self.refused.append(
                (
                    content_id.hex(),
                    "is damaged in the vault: it was not sent; mailkeep verify names all such",
                )
            )
            self.say(frames.LACK, [content_id, "it is damaged in the vault"])
            return
        self.wire.send(frames.CONTENT, frames.pack_head(content_id, date), data)
        self._sent(size)

    def _pieces(self, content_id: bytes, fd: int, size: int, date: int) -> Iterator[None]:
        """A large content; the reader checks the hash at its end."""
        try:
            self.say(frames.BIG, [content_id, date, size])
            left = size
            while left > 0:
                data = os.read(fd, min(frames.PIECE_BYTES, left))
                if not data:
                    raise DataError(f"the vault's object {content_id.hex()} became shorter while it was sent")
                left -= len(data)
                self.wire.send(frames.PIECE, data)
                yield
        finally:
            os.close(fd)
        self._sent(size)

    def _sent(self, size: int) -> None:
        self.sent_contents += 1
        self.sent_size += size
        if self.store.progress is not None:
            self.store.progress("sent", self.sent_contents, self.sent_size)

    def _may_see(self, content_ids: list[bytes]) -> dict[bytes, int]:
        """INTERNALDATE by content id, for those that a live record in a mailbox shown to the peer refers to."""
        marks = ", ".join("?" * len(content_ids))
        rows = self.index.execute(
            f"SELECT c.id, r.mailbox, r.date FROM content c JOIN record r ON r.content = c.no WHERE c.id IN ({marks}) AND r.live",
            content_ids,
        )
        everything = self.view.patterns is None
        return {
            content_id: date
            for content_id, mailbox, date in rows
            if everything or self.view.shows(self.ledger.boxes[mailbox])
        }

    def on_content(self, payload: bytes) -> None:
        """A whole content: id (32 bytes), INTERNALDATE (8 bytes), then its bytes."""
        self.received.small(payload)
        self._came()

    def on_big(self, message: list[Any]) -> None:
        """Id, INTERNALDATE and size in bytes of a content that follows in pieces."""
        self.received.begin(*message)

    def on_piece(self, payload: bytes) -> None:
        """The next piece of the large content that is under way."""
        if self.received.piece(payload):
            self._came()

    def on_lack(self, message: list[Any]) -> None:
        """The peer cannot send a content, and says why: reported here; its message waits for a later session."""
        content_id, why = message
        said = bounds.text(why, 200)
        self.received.lacking(bounds.blob(content_id, CONTENT_ID_BYTES, "a content id"))
        self.refused.append((content_id.hex(), f"the peer cannot send it ({said}); it waits"))
        self._came()

    def _came(self) -> None:
        self._outstanding -= 1
        if not self.want_contents():
            self.received.finish()
            self.contents_complete()

    def contents_complete(self) -> None:
        """What was asked for has come and is durable, or the peer lacks it: go on."""
        raise NotImplementedError


def take_root(root: object) -> bytes | None:
    """Check a root digest of a peer's; None from one that has none to tell."""
    return None if root is None else bounds.digest(root)
