"""The end that starts a session: it merges first and tells the other the result."""

from __future__ import annotations

from mailkeep.domain.errors import (
    EXIT_BUSY,
    EXIT_CODES,
    ConfigError,
    DataError,
    InternalError,
    MailkeepError,
    NoInput,
    PeerUnavailable,
    PermissionDenied,
    RemoteProtocolError,
    StorageError,
    StoreBusy,
    TryAgain,
    UsageError,
    printable,
)
from mailkeep.domain.record import NAME, NOT_ANNOTATIONS, VALIDITY
from mailkeep.replicate import bounds
from mailkeep.replicate.endpoint import Endpoint, take_root
from mailkeep.replicate.view import APPEND, ARCHIVE, BOTH, FULL, PULL, PUSH, READ, ROLES, View
from mailkeep.rules.identity import FIRST, Stale
from mailkeep.system import clock
from mailkeep.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from mailkeep.domain.record import Registers, Vector
    from mailkeep.replicate.compare import Asker
    from mailkeep.store.apply import Applied
    from mailkeep.store.merge import Outcome
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store

GREETED, HELLO, NEWS, WHOLE, CONTENTS, COMMITTED, APPLIED, DONE = range(8)
TOKENS_MAX = 100
REPORTED = ("added", "changed", "expunged", "held", "revived", "refused")
"""What a responder counts of its side."""
SUSPICIOUS_ABOVE, SUSPICIOUS_SHARE = 20, 0.5
"""A one-way run whose source has less than half of the target's messages is refused above this many."""

FEW_SHARE = 0.1
"""A peer with so few messages, beside those it is told of, lacks about all of them: so it is known what remains."""


class Initiator(Endpoint):
    """Drives one session.

    Attributes:
        same: Nothing was to be done.
        again: Another session has to follow: the peer's index was rebuilt, and only took in this time; or it did not take
            over all that was done here, and what it put back is to be fetched.
        outcome: What the merge did here, or None.
        remote: What the responder reports of its side.
        waiting: Deletions that are held there, in mailboxes that both share, until somebody there answers.
    """

    def __init__(
        self,
        store: Store,
        peer_name: str,
        *,
        direction: str = BOTH,
        dry: bool = False,
        view: View | None = None,
        accept_approvals: bool = True,
        force: bool = False,
        wire: frames.Wire | None = None,
    ) -> None:
        super().__init__(store, dry=dry, view=view, wire=wire)
        self.force = force
        self.counts = (0, 0)
        self.peer_name, self.direction, self.accept_approvals = peer_name, direction, accept_approvals
        self.state = GREETED
        self.same = self.again = False
        self.waiting = 0
        self.role = FULL
        self.outcome: Outcome | None = None
        self.remote: dict[str, Any] = {}
        self.remote_problems: list[tuple[str, str]] = []
        self.token: tuple[int, bytes] = FIRST
        self.digests: dict[bytes, tuple[bytes, int]] = {}
        self.hello_seq = 0
        self.given = 0
        self.with_records: set[bytes] = set()
        self.twins: list[tuple[bytes, bytes, str]] = []
        self.applied: Applied | None = None
        self.thorough = False
        """Whether vectors are in doubt: mailboxes that differ are compared even if one side has news of them."""
        self.compared = False
        """Whether every mailbox that differed was compared."""
        self.asker: Asker | None = None
        self.vector_then: Vector = {}
        self.root: bytes | None = None
        """Vector and root digest right after the commit."""
        self.before_apply: Callable[[], None] | None = None

    def handlers(self) -> dict[int, Any]:
        """Frames that the responder may send in the present state."""
        table: dict[int, Any] = {frames.ERROR: self.on_error}
        if self.state == HELLO:
            table[frames.HELLO] = self.on_hello
        elif self.state == NEWS:
            table |= {
                frames.DIGESTS: self.on_digests,
                frames.BOX: self.on_box,
                frames.RECORDS: self.on_records,
            }
            table[frames.END_NEWS] = self.on_end_news
        elif self.state == WHOLE:
            table |= {
                frames.BOX: self.on_box,
                frames.RECORDS: self.on_records,
                frames.BUCKETS: self.on_buckets,
                frames.END_WHOLE: self.on_end_whole,
            }
            table |= {frames.WANT: self.on_want}
        elif self.state in (CONTENTS, COMMITTED):
            table |= {frames.WANT: self.on_want, frames.CONTENT: self.on_content, frames.BIG: self.on_big}
            table |= {frames.PIECE: self.on_piece, frames.LACK: self.on_lack}
            if self.state == COMMITTED:
                table[frames.DONE] = self.on_done
        elif self.state == APPLIED:
            table[frames.REPORT] = self.on_report
        return table

    # --- the conversation

    def start(self) -> None:
        """Send HELLO, when the scan is done."""
        self.state = HELLO
        tokens: list[list[object]] = []
        for no in self.index.members - {self.index.me}:
            if len(tokens) < TOKENS_MAX:
                known = self.index.tokens(no)
                tokens.append([self.index.ids[no], [list(t) for t in known.values()]])
        patterns = self.view.patterns
        message = self.hello(tokens=tokens, direction=self.direction, lacks=int(self._lacks_contents()))
        if patterns is not None and self.view.names is None:
            message["only"] = patterns.texts
        self.hello_seq = self.snapshot_seq
        self.say(frames.HELLO, message)

    def on_hello(self, message: dict[str, Any]) -> None:
        """Take the answer: the end, since both sides agree, or the beginning of its news.

        When its news are to come, its replicas are noted in the index, and it as a member: durable on return
        unless this is a dry run.

        Raises:
            UsageError: The peer is this very store.
            PermissionDenied: One of the two was given up by the other.
            Stale: This store must take a new id and begin again.
            DataError: A one-way run would go from what looks like the wrong side.
            RemoteProtocolError: It says that both sides agree, and they do not.
        """
        self.take_hello(message)
        if (
            message["store"] == self.index.meta["store"]
            and message["ids"][message["me"] - 1] == self.index.ids[self.index.me]
            and message.get("root_path") == self.store.root
        ):
            raise UsageError(
                f"the peer {self.peer_name} is this very store",
                untouched="anything",
                hint="correct the peer's address (mailkeep peer list)",
            )
        self._check_given_up(message)
        if message.get("stale"):
            raise Stale
        self.role = message.get("role", FULL)
        if type(self.role) is not str or self.role not in ROLES:
            raise ValueError("a role that there is not")
        if message.get("same"):
            if not self.is_same(message):
                raise RemoteProtocolError("the peer says that both sides agree, and they do not")
            self.waiting = bounds.number(message.get("held", 0), 0, bounds.RECORDS_MAX, "what is held there")
            self.same = self.finished = True
            return
        token = bounds.token(message["token"])
        self._check_direction(message["count"])
        if message.get("first") == PUSH and self._sends:
            self.direction, self.again = PUSH, True
        self.wire.compress()
        with self.index.transaction():
            self.number_replicas(message)
            if self.peer not in self.index.members:
                self.index.mark("member", [self.peer])
            self._take_ids()
            if not self.dry:
                self.index.execute("INSERT OR REPLACE INTO peer VALUES (?, ?)", (self.peer_name, self.peer))
        self.thorough = bool(
            message["suspect"]
            or message["doubts"]
            or self.index.meta.get("suspect", 0)
            or self.peer in self._doubted()
        )
        self.token = token
        self.state = NEWS

    def _check_given_up(self, message: dict[str, Any]) -> None:
        """A replica that was given up may only come back as a new one: its acknowledgements were waived."""
        if message.get("given_up"):
            raise PermissionDenied(
                f"the peer {self.peer_name} has given this replica up (peer forget): it may only come back as a new one",
                untouched="anything on either side",
                hint=f"mailkeep init --adopt {printable(self.store.root)}: this store, with all its mail, is then a new replica",
            )
        if self.index.numbers.get(message["ids"][message["me"] - 1], 0) in self.index.forgotten:
            raise PermissionDenied(
                f"the replica of the peer {self.peer_name} was given up here (peer forget): it may only come back as a new one",
                untouched="anything on either side",
                hint="there: mailkeep init --adopt MAILDIR makes that store, with all its mail, a new replica",
            )

    def _take_ids(self) -> None:
        """Mailboxes with another name at the peer, and known to nobody yet, get the id of that name."""
        from mailkeep.store.ledger import mailbox_id

        self.given = int(self.index.meta.get("given", 0))
        if self.view.names is not None:
            for box in self.ledger.alive():
                if self.view.shows(box) and (name := self.view.theirs(box.name)) != box.name:
                    self.ledger.reidentify(box, mailbox_id(name, 0), self.given)
        self.note_given()

    def _met(self, box_id: bytes, ours: str, live: bool) -> None:
        """A mailbox of the peer's that has our name and another id: one of the two has to give way."""
        rebuilt = bool(self.index.meta.get("rebuilt"))
        if self.state != NEWS or not live or (box_id in self.ledger.by_id and not rebuilt):
            return
        twin = self.ledger.named(ours)
        if twin is None or (twin.id in self.digests and not rebuilt) or twin.id == box_id:
            return
        with self.index.transaction():
            if not self.ledger.reidentify(twin, box_id, self.given, displace=rebuilt):
                self.twins.append((twin.id, box_id, ours))

    def _report_twins(self) -> None:
        for mine, theirs, name in self.twins:
            boxes = [self.ledger.by_id.get(box_id) for box_id in (mine, theirs)]
            other = next((box.name for box in boxes if box is not None and box.name != name), None)
            if other is not None:
                self.refused.append(
                    (name, f"was made here and at {self.peer_name} separately, and others know both: one of the two is called"
                     f" {other} from now on; no mail is lost; to make them one, move the mail and delete the other")
                )  # fmt: skip

    def _check_direction(self, theirs: int) -> None:
        """A one-way run names source and target, and refuses a source that looks like the wrong one."""
        ours = sum(box.count for box in self.ledger.boxes.values())
        self.counts = (ours, theirs)
        if self.direction == BOTH or self.force:
            return
        source, target = (ours, theirs) if self.direction == PUSH else (theirs, ours)
        if target > SUSPICIOUS_ABOVE and source < target * SUSPICIOUS_SHARE:
            names = (f"this store ({ours:,} messages)", f"{self.peer_name} ({theirs:,} messages)")
            if self.direction != PUSH:
                names = (names[1], names[0])
            raise DataError(
                f"{self.direction} would go from {names[0]} to {names[1]}: the source looks like the wrong one",
                untouched="anything on either side",
                hint="if this is what you mean, say --force; else correct the peer's direction",
            )

    def on_digests(self, message: list[Any]) -> None:
        """Digest and UIDNEXT of each mailbox that the peer shows."""
        bounds.listed(message, bounds.MAILBOXES_MAX, "digests")
        if len(self.digests) + len(message) > bounds.MAILBOXES_MAX:
            raise ValueError(f"more than {bounds.MAILBOXES_MAX:,} mailboxes")
        for box_id, digest, uidnext in message:
            if type(digest) is not bytes or len(digest) > bounds.DIGEST_BYTES:
                raise ValueError("a digest")
            self._stage_box(box_id, None, uidnext, False)
            self.digests[box_id] = (digest, uidnext)

    def on_end_news(self, message: object) -> None:
        """The peer's news are all here: queue ours, and what is to be compared; go on to contents or compare first."""
        bounds.nothing(message)
        compare = self._to_compare()
        self.say(frames.CLAIM, self._claim())
        if self._sends:
            self.sending.append(self.send_news())
        self.sending.append(self._end_news(compare))
        if compare:
            self.state = WHOLE
        else:
            self._contents()

    def _end_news(self, compare: list[bytes]) -> Iterator[None]:
        if compare:
            from mailkeep.replicate.compare import Asker

            self.asker = Asker(self)
            yield from self.asker.ask(compare)
        self.say(frames.END_NEWS, None)
        if self.store.progress is not None and self.counts[1] < self.offered[0] * FEW_SHARE:
            self.store.progress.expect("sent", *self.offered)
        yield

    def _to_compare(self) -> list[bytes]:
        """Mailboxes in which neither side has news must agree; those that do not are compared.

        In a thorough session those with news are compared, too: their vectors may claim what their writer lost.
        """
        from mailkeep.store.ledger import digest_of
        from mailkeep.store.news import boxes_with_news

        if self.direction == PUSH:
            return []
        assert self.claim is not None
        mine = {box.id: box for box in self.ledger.rows() if self.view.shows(box) and digest_of(box)}
        thorough = self.thorough and any(self.index.vector.get(no) for no in self.claim.vector)
        self.compared = thorough
        busy: set[bytes] = set()
        if not thorough:
            having = boxes_with_news(self.ledger, self.claim.vector, self.since)
            busy = {box.id for box in self.ledger.rows() if box.no in having}
            busy |= {box_id for _, box_id, regs, _, _ in self.ready_stage().boxes() if regs is not None}
            busy |= self.with_records
        staged = (
            {box_id: (no, regs) for no, box_id, regs, _, _ in self.ready_stage().boxes()} if thorough else {}
        )
        out = []
        for box_id in set(mine) | set(self.digests):
            if box_id in busy:
                continue
            box = mine.get(box_id)
            theirs = self.digests.get(box_id, (b"", 0))[0]
            ours = digest_of(box, self.view.theirs(box.name)) if box is not None else b""
            if ours != theirs and not (
                thorough and self._same_mail(box, theirs, *staged.get(box_id, (0, None)))
            ):
                out.append(box_id)
        return sorted(out)

    def _same_mail(self, box: Mailbox | None, theirs: bytes, staged: int, regs: Registers | None) -> bool:
        """Whether a mailbox differs in name, UIDVALIDITY or annotations only, of which the peer told us.

        Of one that we have not, whether the peer has told us of all its records.
        """
        from mailkeep.rules.digest import mailbox_digest

        if regs is None or not theirs or NAME not in regs:
            return False
        total = box.sum if box is not None else self.ready_stage().sum(staged)
        name = self.view.theirs(str(regs[NAME].value))
        annotations = {key: str(r.value) for key, r in regs.items() if r.value and key not in NOT_ANNOTATIONS}
        return mailbox_digest(total, name, int(regs[VALIDITY].value), annotations) == theirs

    def on_records(self, message: list[Any]) -> None:
        """As in `Endpoint`; a mailbox with news of the peer's need not be compared."""
        super().on_records(message)
        if self.state == NEWS and message[0] in self.staged_boxes:
            self.with_records.add(message[0])

    def on_buckets(self, message: list[Any]) -> None:
        """Where the peer's part of a compared mailbox differs from ours: what lies there is fetched, or comes."""
        assert self.asker is not None
        self.asker.on_buckets(message)

    def on_end_whole(self, message: object) -> None:
        """All that was asked for of the compared mailboxes is here: fetch what was found to differ, or go on."""
        bounds.nothing(message)
        assert self.asker is not None
        if self.asker.fetching:
            self.asker.fetching = False
            self.sending.append(self.say_later(frames.END_WHOLE, None))
        else:
            self._contents()

    def _contents(self) -> None:
        self.state = CONTENTS
        self.begin_wanting()
        if not self.want_contents():
            self.contents_complete()

    @property
    def shares_all(self) -> bool:
        """As in `Endpoint`: patterns are told to the responder, a map of names is not."""
        return self.direction == BOTH and self.role == FULL and self.view.names is None

    @property
    def _sends(self) -> bool:
        return self.direction in (BOTH, PUSH, ARCHIVE) and self.role != READ

    def contents_complete(self) -> None:
        """Everything that we lacked is durable in the vault: merge, and tell the result."""
        if self.state == CONTENTS:
            self.state = COMMITTED
            self.sending.append(self._result())  # behind our news, which speak of the state before the merge

    def commit(self) -> None:
        """Merge what was staged, unless only pushing, and note the session's token, in one transaction.

        Durable on return unless this is a dry run. No file is touched; the stage is empty afterwards.
        """
        from mailkeep.store.merge import Merge

        assert self.claim is not None
        with self.index.transaction():
            if self.direction != PUSH:
                merge = Merge(
                    self.ledger,
                    self.ready_stage(),
                    self.claim,
                    self.store.limits,
                    origin=self.peer_name,
                    hold_all=self.direction == ARCHIVE,
                    accept_approvals=self.accept_approvals,
                    now=clock.now(),
                )
                self.outcome = merge.commit()
                if self.direction == PULL:
                    from mailkeep.store.onesided import take_equal

                    take_equal(self.ledger)
                self.ledger.note_lacking()
            self.note_given()
            self.index.set_tokens(self.peer, self.token, None)
        self._report_twins()
        self.ready_stage().clear()
        self.staged_boxes.clear()

    def _result(self) -> Iterator[None]:
        """What the merge changed here and the responder does not know, then the claim."""
        from mailkeep.domain.record import known_to
        from mailkeep.store import news

        assert self.claim is not None
        self.commit()
        self.committed_seq = self.index.seq
        self.vector_then, self.root = self.index.vector_set(), self.shared_root()
        self.say(frames.CLAIM, self._claim())
        if self._sends:
            seen = self.claim.vector
            for box in self.ledger.rows():
                if not self.view.shows(box):
                    continue
                if box.seq > self.hello_seq and not known_to(box.regs, seen):
                    self.send_box(box)
            self.say(
                frames.DIGESTS,
                [[box.id, b"", box.uidnext] for box in self.ledger.boxes.values() if self.view.shows(box)],
            )
            for box, page in news.news(self.ledger, seen, max(self.since, self.hello_seq)):
                if self.view.shows(box):
                    self.say(frames.RECORDS, [box.id, page])
                    yield
        self.say(frames.COMMIT, self.root)
        yield

    def _claim(self) -> dict[str, Any]:
        index = self.index
        room = bounds.ACKS_BYTES_MAX // (9 * len(index.ids) + 16)
        return {
            "lamport": index.lamport,
            "ids": index.ids[1:],
            "vector": [index.vector.get(no, 0) for no in range(1, len(index.ids))],
            "acks": [
                [who, [v.get(no, 0) for no in range(1, len(index.ids))]]
                for who, v in list(index.acks().items())[:room]
            ],
            "members": sorted(index.members),
            "waived": sorted(index.waived),
            "forgotten": sorted(index.forgotten),
            "merges": int(self._sends),
        }

    def on_done(self, message: dict[str, Any]) -> None:
        """The responder has committed too: note what it has taken in, durably, then put files in place."""
        vector = self._their_vector(message["vector"])
        acks = message.get("acks", [])
        if type(acks) is not list or len(acks) >= len(self.index.ids):
            raise ValueError("acknowledgements out of bounds")
        heard = [
            (
                bounds.number(who, 1, len(self.index.ids) - 1, "the number of a replica"),
                self._their_vector(lamports),
            )
            for who, lamports in acks
        ]
        with self.index.transaction():
            self.index.acknowledge(self.peer, vector)
            for who, has in heard:  # no more than it has itself
                self.index.acknowledge(who, {no: min(v, vector[no]) for no, v in has.items() if no in vector})
            differs = self.note_agreement(vector == self.vector_then, self.root, take_root(message["root"]))
            if self._sends and self.direction != PUSH and self.view.plain:
                self.index.set_tokens(self.peer, self.token, None, self.committed_seq)
            if self.direction != PUSH:
                self.index.meta["suspect"] = 0
        if differs and self.compared:
            self.refused.append(
                (self.peer_name, "has taken in the same changes as this store, and yet other mail: a comparison did not mend"
                 " it; every session tries again; look with mailkeep verify, here and there")
            )  # fmt: skip
        if self.before_apply is not None:
            self.before_apply()
        self.state = APPLIED
        if not self.dry:
            if self.outcome is not None:
                self.store.bump()
            self.applied = self.store.apply()

    def _their_vector(self, lamports: object) -> Vector:
        """Lamports by our numbers, as we listed the replicas in CLAIM; those that are zero left out."""
        if type(lamports) is not list or len(lamports) >= len(self.index.ids):
            raise ValueError("a vector out of bounds")
        ceiling = bounds.lamport_ceiling(clock.now())
        return {
            no: v
            for no, v in enumerate(lamports, 1)
            if bounds.number(v, 0, ceiling, "a lamport of the vector")
        }

    def on_report(self, message: dict[str, Any]) -> None:
        """Counts, problems (at most 200 are kept) and exit status of the responder's side: the session is over."""
        status = message["status"]
        if type(status) is not int or status not in EXIT_CODES:
            raise ValueError("an exit status that there is not")
        self.remote = {
            name: bounds.number(message["counts"].get(name, 0), 0, bounds.RECORDS_MAX, f"the count {name}")
            for name in REPORTED
        }
        self.remote_problems = [
            (bounds.text(a, 300), bounds.text(b, 500)) for a, b in message["problems"][:200]
        ]
        self.remote["status"] = status
        self.waiting = bounds.number(message["waiting"], 0, bounds.RECORDS_MAX, "what is held there")
        # What a peer did not take over it put back: fetched at once, that is no surprise of a later day.
        if self.remote["refused"] and self.direction == BOTH and not self.dry:
            self.again = True
        self.finished = True

    def covers_all(self, ours: dict[bytes, int], theirs: dict[bytes, int], peer_id: bytes) -> bool:
        """As in `Endpoint`."""
        both = (self.index.ids[self.index.me], peer_id)
        return (
            self.role == APPEND
            and all(ours.get(rid, 0) >= v for rid, v in theirs.items())
            and all(theirs.get(rid, 0) == ours.get(rid, 0) for rid in both)
        )

    # --- ends

    def on_error(self, message: list[Any]) -> None:
        """The peer gave up: raise its error as one of ours, with its words.

        Raises:
            StoreBusy: Another run has the peer's store.
            MailkeepError: Of the kind that has the peer's exit status; PeerUnavailable where none has it.
        """
        bounds.number(message[0], 0, 255, "an exit status")
        code, (what, untouched, hint) = message[0], (bounds.text(text, 2000) for text in message[1:])
        if code == EXIT_BUSY:
            raise StoreBusy(
                f"the peer {self.peer_name} is busy: {what}",
                untouched="anything",
                hint="wait for the other run to end, or use --wait 5m",
            )
        kinds: dict[int, type[MailkeepError]] = {
            kind.exit_code: kind
            for kind in (
                UsageError,
                DataError,
                NoInput,
                InternalError,
                StorageError,
                TryAgain,
                PermissionDenied,
                ConfigError,
            )
        }
        kind = kinds.get(code, PeerUnavailable)
        raise kind(
            f"the peer {self.peer_name} says: {what}",
            untouched=untouched,
            hint=hint and f"there: {hint}",
        )

    def closed(self) -> None:
        """The responder has closed the connection; that is in order once the session is over.

        Raises:
            PeerUnavailable: It was not. What was committed stays.
        """
        if self.finished:
            return
        if self.state in (GREETED, HELLO) and not self.wire.received_bytes:
            raise PeerUnavailable(
                f"the peer {self.peer_name} closed the connection before it said anything",
                untouched="anything on either side",
                hint="its own words are above, if it had any; check that mailkeep is installed there and in the PATH of a"
                " non-interactive shell: ssh HOST mailkeep --version",
            )
        raise PeerUnavailable(
            f"the connection to {self.peer_name} was cut in mid-session",
            untouched="what was committed is whole on both sides; contents that arrived stay",
            hint="run the same command again: it goes on where this one stopped",
        )
