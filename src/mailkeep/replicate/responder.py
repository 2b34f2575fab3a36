"""The end that answers: it never waits for its lock, sends its news, and commits what the initiator settled."""

from __future__ import annotations

from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_HELD,
    EXIT_SKIPPED,
    PeerUnavailable,
    PermissionDenied,
    RemoteProtocolError,
)
from mailkeep.replicate import bounds
from mailkeep.replicate.endpoint import Endpoint, take_root
from mailkeep.replicate.view import APPEND, ARCHIVE, BOTH, DIRECTIONS, FULL, PULL, PUSH, READ, View
from mailkeep.rules.identity import FIRST, stale
from mailkeep.system import clock
from mailkeep.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mailkeep.replicate.compare import Answerer
    from mailkeep.store.merge import Outcome
    from mailkeep.store.store import Store

WAITS, NEWS, CONTENTS, COMMITTING, DONE = range(5)
CLAIMS_MAX = 2
"""The initiator says before its news, and again before its result, what it has taken in."""


class Responder(Endpoint):
    """Answers one session.

    Attributes:
        role: What the initiator may do here: one of view.ROLES.
        learns: The index was rebuilt, and only takes in this session.
        outcome: What the commit did here, or None.
        applies: Files are being put in place, or are in place.
    """

    def __init__(
        self, store: Store, *, dry: bool = False, role: str = FULL, view: View | None = None
    ) -> None:
        super().__init__(store, dry=dry, view=view)
        self.role = role
        if role != FULL:
            self.replicas_max = bounds.REPLICAS_OF_RESTRICTED_MAX
        self.state = WAITS
        self.direction = "both"
        self.outcome: Outcome | None = None
        self.token: tuple[int, bytes] = FIRST
        self.scan_problems: list[tuple[str, str]] = []
        self.final: dict[str, Any] | None = None
        self.merges = self.learns = self.applies = False
        self.claims = 0
        self.peer_id = b""
        self.answerer: Answerer | None = None
        self.root_there: bytes | None = None
        self.bounded_by_us = not self.view.plain

    def handlers(self) -> dict[int, Any]:
        """Frames that the initiator may send in the present state."""
        table: dict[int, Any] = {frames.ERROR: self.on_error}
        if self.state == WAITS:
            table[frames.HELLO] = self.on_hello
            table[frames.PROVE] = self.on_prove
        elif self.state == NEWS:
            table |= {
                frames.BOX: self.on_box,
                frames.RECORDS: self.on_records,
                frames.COMPARE: self.on_compare,
            }
            table |= {
                frames.END_NEWS: self.on_end_news,
                frames.WANT: self.on_want,
                frames.CLAIM: self.on_claim,
            }
        elif self.state in (CONTENTS, COMMITTING):
            table |= {frames.WANT: self.on_want, frames.CONTENT: self.on_content, frames.BIG: self.on_big}
            table |= {frames.PIECE: self.on_piece, frames.LACK: self.on_lack}
            if self.state == CONTENTS:
                table |= {
                    frames.BOX: self.on_box,
                    frames.RECORDS: self.on_records,
                    frames.DIGESTS: self.on_uidnexts,
                }
                table |= {frames.COMMIT: self.on_commit, frames.CLAIM: self.on_claim}
                if self.answerer is not None:
                    table |= {frames.FETCH: self.answerer.on_fetch, frames.END_WHOLE: self.on_end_whole}
        return table

    @property
    def shares_all(self) -> bool:
        """As in `Endpoint`: the initiator is not told of what this side itself leaves out."""
        return self.merges and self.direction == "both" and self.role == FULL and not self.bounded_by_us

    def covers_all(self, ours: dict[bytes, int], theirs: dict[bytes, int], peer_id: bytes) -> bool:
        """As in `Endpoint`."""
        both = (self.index.ids[self.index.me], peer_id)
        return (
            self.role == APPEND
            and all(theirs.get(rid, 0) >= v for rid, v in ours.items())
            and all(theirs.get(rid, 0) == ours.get(rid, 0) for rid in both)
        )

    def on_prove(self, message: object) -> None:
        """Somebody who is about to free contents wants to be shown that they are here; there is no session."""
        from mailkeep.replicate.prove import answer

        if not self.wire.greeted_out:
            self.wire.greet()
        self.sending.append(answer(self, message))

    def on_hello(self, message: dict[str, Any]) -> None:
        """Answer: the initiator was given up or must take a new id, nothing is to be done, or a session.

        A store that went back in time, as the tokens show, has taken a new id of its own before it answers.
        """
        if not self.wire.greeted_out:
            self.wire.greet()  # only now: one answer, one round trip
        self.take_hello(message)
        index = self.index
        if type(message["direction"]) is not str or message["direction"] not in DIRECTIONS:
            raise ValueError("a direction that there is not")
        self.direction = message["direction"]
        me, peer_id = index.ids[index.me], message["ids"][message["me"] - 1]
        self.peer_id = peer_id
        if "only" in message and self.view.plain:
            from mailkeep.wire.patterns import Patterns

            rules = bounds.listed(message["only"], bounds.PATTERNS_MAX, "rules")
            if not all(type(rule) is str for rule in rules):
                raise ValueError("a rule that is no text")
            self.view = View(Patterns.parse(rules))
        if index.numbers.get(peer_id, 0) in index.forgotten:
            self.say(frames.HELLO, self.hello(given_up=1, token=[0, b""], role=self.role))
            self.finished = True
            return
        sent = [found for rid, found in message["tokens"] if type(rid) is bytes and rid == me]
        theirs = bounds.tokens(sent[0]) if sent else [FIRST]
        no = index.numbers.get(peer_id, 0)
        ours = list(index.tokens(no).values())
        they_stale, we_stale = stale(self.side(message, theirs, me), self.side(None, ours, peer_id))
        if they_stale and not we_stale:
            self.say(frames.HELLO, self.hello(stale=1, token=[0, b""], role=self.role))
            self.finished = True
            return
        if we_stale and self.role != FULL:
            raise not_believed(self.role)
        if we_stale:
            with index.transaction():
                self.store.become_new()
            self.store.bump()
            theirs, ours = [FIRST], [FIRST]
            if they_stale:
                self.say(frames.HELLO, self.hello(stale=1, token=[0, b""], role=self.role))
                self.finished = True
                return
        if self.is_same(message) and not message["lacks"] and self.direction == "both" and not self.dry:
            self.say(frames.HELLO, self.hello(same=1, token=[0, b""], role=self.role, held=self.waiting()))
            self.finished = True
            return
        self._open_session(message, theirs, ours)

    def waiting(self) -> int:
        """Deletions that are held here, in mailboxes that the peer may see, and wait for a person."""
        if self.index.execute("SELECT 1 FROM hold LIMIT 1").fetchone() is None:
            return 0
        from mailkeep.store.holds import waiting

        return sum(
            count for no, count in waiting(self.ledger).items() if self.view.shows(self.ledger.boxes[no])
        )

    def _open_session(
        self, message: dict[str, Any], theirs: list[tuple[int, bytes]], ours: list[tuple[int, bytes]]
    ) -> None:
        """Note token and member before answering: whoever is given a record must acknowledge its tombstone."""
        index = self.index
        both = set(theirs) & set(ours)
        self.token = (1 + max((*theirs, *ours))[0], clock.random_bytes(8))
        first = {}
        if (
            index.meta.get("rebuilt")
            and self.direction in (BOTH, ARCHIVE, PUSH)
            and self.role == FULL
            and not self.dry
        ):
            # Which mailboxes were renamed, and what was removed, only the peer knows: its word comes first.
            self.learns, first = True, {} if self.direction == PUSH else {"first": PUSH}
            self.direction = PUSH
        with index.transaction():
            self.number_replicas(message)
            index.mark("member", [self.peer])
            index.set_tokens(self.peer, max(both, default=self.token), self.token)
            if self.direction != PUSH:
                self.note_given()
        doubts = int(max(both, default=FIRST) == FIRST or self.peer in self._doubted())
        self.say(
            frames.HELLO,
            self.hello(
                token=list(self.token), role=self.role, root_path=self.store.root, doubts=doubts, **first
            ),
        )
        self.wire.compress()
        self.state = NEWS
        self.sending.append(self._news())

    def _met(self, box_id: bytes, ours: str, live: bool) -> None:
        """Of a rebuilt index: a mailbox of ours is the one that the peer knows under its name."""
        if not self.learns or not live or self.ledger.by_id.get(box_id) is (twin := self.ledger.named(ours)):
            return
        if twin is not None:
            with self.index.transaction():
                self.ledger.reidentify(twin, box_id, int(self.index.meta.get("given", 0)), displace=True)

    def _news(self) -> Iterator[None]:
        from mailkeep.store.ledger import digest_of

        rows = [
            [box.id, digest_of(box, self.view.theirs(box.name)), box.uidnext]
            for box in self.ledger.rows()
            if self.view.shows(box)
        ]
        for start in range(0, len(rows), 5000):
            self.say(frames.DIGESTS, rows[start : start + 5000])
        if self.direction != PUSH:
            yield from self.send_news()
        self.say(frames.END_NEWS, None)
        yield

    def on_compare(self, message: list[Any]) -> None:
        """Mailboxes whose digests differ from the initiator's, with marks of their buckets there."""
        if self.answerer is None:
            from mailkeep.replicate.compare import Answerer

            self.answerer = Answerer(self)
        self.answerer.on_compare(message)

    def on_end_whole(self, message: object) -> None:
        """The initiator has fetched all that it wants of the compared mailboxes."""
        assert self.answerer is not None
        bounds.nothing(message)
        self.answerer.end()
        self.sending.append(self.say_later(frames.END_WHOLE, None))

    def on_end_news(self, message: object) -> None:
        """The initiator's news are all here: ask for the contents that are lacking."""
        bounds.nothing(message)
        self.state = CONTENTS
        if self.answerer is not None:
            self.sending.append(self.say_later(frames.END_WHOLE, None))
        self.begin_wanting()
        self.want_contents()

    def on_uidnexts(self, message: list[Any]) -> None:
        """UIDNEXT of each mailbox after the initiator's merge; the digests beside them are empty."""
        self._must_merge()
        for box_id, _, uidnext in bounds.listed(message, bounds.MAILBOXES_MAX, "UIDNEXTs"):
            self._stage_box(box_id, None, uidnext, False)

    def on_box(self, message: list[Any]) -> None:
        """As in `Endpoint`; the initiator never sends a mailbox whole."""
        self._must_merge()
        super().on_box([*message[:3], 0])

    def on_records(self, message: list[Any]) -> None:
        """As in `Endpoint`.

        Raises:
            PermissionDenied: This peer may only read.
        """
        self._must_merge()
        super().on_records(message)

    def _must_merge(self) -> None:
        if not self.merges:
            raise PermissionDenied(
                "the peer sent changes in a session in which it may only read",
                untouched="anything: none of them was taken in",
                hint='let its side fetch only (direction = "pull"), or give its key another role there',
            )

    def on_claim(self, message: dict[str, Any]) -> None:
        """What the initiator has taken in, and how it numbers replicas, for all that follows."""
        if self.claims >= CLAIMS_MAX:
            raise ValueError("claims without end")
        self.claims += 1
        self.check_replicas(message)
        ours = self.index.ids[self.index.me]
        if ours in message["ids"] and message["vector"][message["ids"].index(ours)] > self.index.lamport:
            raise ValueError("writes of this store that it does not know")
        with self.index.transaction():
            self.numbers = {their: self.index.number(rid) for their, rid in enumerate(message["ids"], 1)}
        self.take_claim(message)
        self.merges = bool(message["merges"]) and self.direction != PULL and self.role != READ

    def on_commit(self, message: object) -> None:
        """The initiator has committed, and has this root digest now: take in what it settled, once every content is here."""
        self.root_there = take_root(message)
        self.state = COMMITTING
        self.begin_wanting()
        if not self.want_contents():
            self.contents_complete()

    def contents_complete(self) -> None:
        """Once the initiator has committed: take in what it settled, in one transaction, then queue DONE."""
        if self.state != COMMITTING:
            return
        from mailkeep.store.merge import Merge

        assert self.claim is not None
        index = self.index
        with index.transaction():
            if self.merges:
                merge = Merge(
                    self.ledger,
                    self.ready_stage(),
                    self.claim,
                    self.store.limits,
                    origin=index.ids[self.peer].hex(),
                    additions=self.role == APPEND,
                    now=clock.now(),
                )
                self.outcome = merge.commit()
            else:
                index.acknowledge(self.peer, self.claim.vector)
            complete = self.merges and self.direction != PUSH and self.view.plain
            seq = None if not complete else self.snapshot_seq if index.wrote else index.seq
            index.set_tokens(self.peer, self.token, None, seq)
            if self.direction != PULL:
                index.meta["suspect"] = 0
            agrees = index.vector_set() == {no: v for no, v in self.claim.vector.items() if v}
            self.ledger.note_lacking()
        vector = [index.vector.get(self.numbers[their], 0) for their in sorted(self.numbers)]
        root = self.shared_root()
        with index.transaction():
            self.note_agreement(agrees, root, self.root_there)
        self.say(frames.DONE, {"vector": vector, "acks": self._acks(), "root": root})
        self.state = DONE
        self.sending.append(self._finish())

    def _acks(self) -> list[list[object]]:
        """What replicas that the initiator knows have taken in, as far as heard here, by its numbers.

        A store that all others begin their sessions with would else be the only one that ever forgets a tombstone.
        """
        theirs = {our: their for their, our in self.numbers.items()}
        room = bounds.ACKS_BYTES_MAX // (9 * len(theirs) + 16)
        known = [(theirs[who], vector) for who, vector in self.index.acks().items() if who in theirs]
        return [
            [who, [vector.get(self.numbers[their], 0) for their in sorted(self.numbers)]]
            for who, vector in known[:room]
        ]

    def _finish(self) -> Iterator[None]:
        """After DONE is on its way, so that both ends work at once: put files in place, then report."""
        self.said_first = True
        yield
        self.applies = True
        store = self.store
        problems = list(self.scan_problems) + self.refused
        counts: dict[str, int] = {}
        status = EXIT_DONE
        if self.outcome is not None:
            o = self.outcome
            counts = {
                "added": o.added,
                "changed": o.changed,
                "expunged": o.expunged,
                "held": o.held,
                "revived": o.revived,
                "refused": sum(o.refused.values()),
            }
            problems += [
                (f"role {self.role}", f"{count:,} {kind} were not taken over: they are put back")
                for kind, count in o.refused.items()
            ]
            if not self.dry:
                store.bump()
                applied = store.apply()
                problems += applied.problems
        if problems:
            status = EXIT_SKIPPED
        waiting = self.waiting()
        if counts.get("held") or waiting:
            status = EXIT_HELD
        self.final = {
            "counts": counts,
            "status": status,
            "problems": [list(p) for p in problems[:100]],
            "waiting": waiting,
        }
        self.say(frames.REPORT, self.final)
        self.finished = True

    def on_error(self, message: list[Any]) -> None:
        """The initiator gave up.

        Raises:
            PeerUnavailable: Always, with its words; what was committed stays.
        """
        raise PeerUnavailable(f"the initiator gave up: {bounds.text(message[1], 500)}")

    def closed(self) -> None:
        """The initiator has closed the connection; in order once the session is over, or when none began.

        Raises:
            RemoteProtocolError: Not one byte had come.
            PeerUnavailable: It did so in the middle.
        """
        if self.finished:
            return
        if self.state == WAITS:
            if self.wire.received_bytes:
                self.finished = True  # it saw our error, or nothing was to be done
                return
            raise RemoteProtocolError(
                "the other end said nothing: mailkeep serve is started by mailkeep sync, not by hand"
            )
        raise PeerUnavailable("the initiator closed the connection in mid-session")


def not_believed(role: str) -> PermissionDenied:
    """A peer of this role says that this store went back in time."""
    return PermissionDenied(
        "the peer knows of writes of this store that the store itself does not know: the store came from a backup,"
        f" or the peer lies; of a peer whose role is {role} that is not believed",
        untouched="anything",
        hint="if this store was restored: mailkeep init --adopt makes it a new replica, or sync it with a peer whose role is"
        " full; if it was not: look at the other machine, and at who has its key",
    )


__all__ = ["Responder"]
