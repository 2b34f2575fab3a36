r"""The rules for one replica, and the whole API of the oracle.

    from model.oracle import Replica, session, sync, view, plain_view

    laptop, server = Replica("laptop", b"\x01"), Replica("server", b"\x02")
    laptop.create_mailbox("INBOX")
    with laptop.transaction():  # one scan: all its writes share one stamp
        key = laptop.add("INBOX", b"content id", {"S", "O"})
    sync(laptop, server)
    assert view(server) == {"INBOX": {1: (b"content id", frozenset("SO"))}}

Mailboxes are given by name (`str`) or by id (`bytes`); messages by the `Key` that `add` returned or `find` finds.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping

from .exchange import Doomed, Guard, Offer, Step, Tally, session, sync
from .state import (
    FLAG_PREFIX,
    LIVE,
    NAME,
    OK,
    UID,
    VALIDITY,
    WEAK_RANK,
    WHOLE_STORE,
    Content,
    Key,
    Mailbox,
    MailboxId,
    Record,
    Register,
    ReplicaId,
    Stamp,
    State,
    Value,
    Vector,
    weight,
)

__all__ = [
    "Clock", "Content", "Doomed", "Guard", "Key", "Mailbox", "MailboxId", "Offer", "Record", "Register", "Replica",
    "ReplicaId", "Stamp", "State", "Step", "Tally", "Vector", "mailbox_id", "plain_view", "session", "sync", "view",
]  # fmt: skip

TOMBSTONE_AGE_MIN = 30
"""Ticks of the clock for which a tombstone stays after everybody has it; the product's default is 400 days."""

Place = tuple[MailboxId, Key | None, str]
Observer = Callable[["Replica", Place, Value, bool], None]


class Clock:
    """Wall time for ages and UIDVALIDITY; the order of writes never depends on it. Replicas of a world share one."""

    def __init__(self) -> None:
        """Start at one, since UIDVALIDITY is not zero."""
        self.now = 1

    def fresh_validity(self) -> int:
        """A UIDVALIDITY that nobody was ever given."""
        self.now += 1
        return self.now


def mailbox_id(name: str, number: int) -> MailboxId:
    """The id of the `number`th mailbox made under this name: the same on every machine."""
    return hashlib.sha256(f"{number}:{name}".encode()).digest()[:16]


class Replica:
    """A replica: its state, and everything that may be done to it outside a session.

    Args:
        name: The machine, for people. No rule looks at it.
        replica_id: Orders writes of equal rank, as bytes.
        clock: Shared by the replicas of one world.
        rng: Source of new ids and of session secrets.
        mailbox_ids: Makes a mailbox id; give the product's own to compare with it.
        observer: Told of each write: where, which value, and whether it is weak.
    """

    def __init__(
        self,
        name: str,
        replica_id: ReplicaId,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        mailbox_ids: Callable[[str, int], MailboxId] = mailbox_id,
        observer: Observer | None = None,
    ) -> None:
        """Make an empty replica that has met nobody."""
        self.name = name
        self.clock = clock or Clock()
        self.rng = rng or random.Random(replica_id)
        self.mailbox_ids = mailbox_ids
        self.observer = observer
        self.state = State(replica_id, seen={replica_id: 0}, members={replica_id})
        self._depth = 0
        self._stamp: Stamp | None = None

    @property
    def id(self) -> ReplicaId:
        """The id that it writes under; it may change, see `new_id`."""
        return self.state.id

    # --- writing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Give all writes inside one stamp and, if they are not weak, one rank. Inner ones join the outer one.

        The stamp is drawn at the first write, so a transaction that writes nothing leaves no trace.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._stamp = None

    def stamp(self) -> Stamp:
        """The stamp of the open transaction."""
        assert self._depth, "stamps are drawn inside the transaction that commits them"
        if self._stamp is None:
            self.state.lamport += 1
            self.state.seen[self.id] = self.state.lamport
            self._stamp = Stamp(self.state.lamport, self.id)
        return self._stamp

    def write(self, box: MailboxId, key: Key | None, name: str, value: Value, *, weak: bool = False) -> None:
        """Set one register of a record, or of the mailbox itself when `key` is None."""
        with self.transaction():
            stamp = self.stamp()
            # UIDVALIDITY is its own rank: two replicas that raise it agree on the higher, so it never goes down.
            rank = int(value) if name == VALIDITY else WEAK_RANK if weak else stamp.lamport
            cell = self.state.boxes[box].records[key] if key else self.state.boxes[box]
            cell.registers[name] = Register(value, rank, self.id, stamp)
            if self.observer:
                self.observer(self, (box, key, name), value, weak)

    # --- mailboxes

    def resolve(self, mailbox: str | MailboxId) -> MailboxId:
        """The id of a mailbox given by id or by name; a dead one of that name only if it still shows held files.

        Raises:
            KeyError: There is none.
        """
        if isinstance(mailbox, bytes):
            return mailbox
        found = self.state.named(mailbox)
        if found is None:
            holding = [i for i, box in self.state.boxes.items() if box.name == mailbox and box.shown()]
            found = min(holding, default=None)
        if found is None:
            raise KeyError(mailbox)
        return found

    def create_mailbox(self, name: str, *, weak: bool = False, validity: int | None = None) -> MailboxId:
        """Make a mailbox, or bring back the dead one of that name, whose UIDs then go on.

        Args:
            name: Must be free.
            weak: It was found when the store was indexed, not made by somebody.
            validity: Its UIDVALIDITY; by default one that was never used.
        """
        assert self.state.named(name) is None, name
        dead = min((i for i, box in self.state.boxes.items() if box.name == name), default=None)
        if dead is not None:
            self.write(dead, None, LIVE, True)
            return dead
        numbered = (self.mailbox_ids(name, number) for number in range(1000))
        new = next(i for i in numbered if i not in self.state.boxes)
        return self._install(
            new, name, self.clock.fresh_validity() if validity is None else validity, weak=weak
        )

    def _install(self, new: MailboxId, name: str, validity: int, *, weak: bool) -> MailboxId:
        self.state.boxes[new] = Mailbox()
        with self.transaction():
            self.write(new, None, NAME, name, weak=weak)
            self.write(new, None, LIVE, True, weak=weak)
            self.write(new, None, VALIDITY, validity)
        return new

    def annotate(self, box: MailboxId, name: str, value: str) -> None:
        """Set an annotation of a mailbox or, by WHOLE_STORE, of the whole store; the empty one: none."""
        self.state.boxes.setdefault(box, Mailbox())
        self.write(box, None, name, value)

    def rename_mailbox(self, mailbox: str | MailboxId, name: str) -> None:
        """Give a mailbox another name, which must be free. Its id and its messages are not touched."""
        assert self.state.named(name) is None, name
        self.write(self.resolve(mailbox), None, NAME, name)

    def delete_mailbox(self, mailbox: str | MailboxId) -> None:
        """Remove all that the mailbox shows, and then the mailbox."""
        box = self.resolve(mailbox)
        with self.transaction():
            for key in self.state.boxes[box].shown():
                self.remove(box, key)
            self.write(box, None, LIVE, False)

    def settle_names(self) -> None:
        """Among living mailboxes of one name all but the one named first get a name of their own."""
        while True:
            groups: dict[str, list[MailboxId]] = {}
            for i, box in self.state.boxes.items():
                if box.is_alive:
                    groups.setdefault(box.name, []).append(i)
            twins = [group for _, group in sorted(groups.items()) if len(group) > 1]
            if not twins:
                return
            latest = max(twins[0], key=lambda i: (weight(self.state.boxes[i].registers[NAME]), i))
            self.write(latest, None, NAME, self.twin_name(self.state.boxes[latest].name, latest))

    @staticmethod
    def twin_name(name: str, box: MailboxId) -> str:
        """The name that the later of two mailboxes of one name gets."""
        return f"{name}~{box.hex()[:8]}"

    # --- messages

    def find(self, mailbox: str | MailboxId, uid: int) -> Key:
        """The key of the message shown under this UID.

        Raises:
            KeyError: No message is.
        """
        for key, used in self.state.boxes[self.resolve(mailbox)].shown().items():
            if used == uid:
                return key
        raise KeyError(uid)

    def add(
        self, mailbox: str | MailboxId, content: Content, flags: Iterable[str] = (), *, weak: bool = False
    ) -> Key:
        """Put a message into a mailbox under the first copy number that is not shown there, with a new UID.

        A tombstone of that key becomes live again; all its old flags are written, too, set or clear.
        """
        box, wanted = self.resolve(mailbox), set(flags)
        records = self.state.boxes[box].records
        shown = self.state.boxes[box].shown()
        key = next(key for n in range(len(shown) + 1) if (key := Key(content, n)) not in shown)
        weak = weak and key not in records
        with self.transaction():
            if not self.state.boxes[box].is_alive:
                self.write(box, None, LIVE, True)
            record = records.setdefault(key, Record())
            record.settled_at = None
            self.write(box, key, LIVE, True, weak=weak)
            self.new_uid(box, key, weak=weak)
            for name in sorted(
                {FLAG_PREFIX + f for f in wanted} | {n for n in record.registers if n[0] == FLAG_PREFIX}
            ):
                self.write(box, key, name, name[1:] in wanted, weak=weak)
            self.settle_names()
        return key

    def new_uid(self, box: MailboxId, key: Key, *, weak: bool = False) -> None:
        """Give a record the mailbox's next UID."""
        uid = self.state.boxes[box].uidnext
        self.state.boxes[box].uidnext = uid + 1
        self.write(box, key, UID, uid, weak=weak)

    def remove(self, mailbox: str | MailboxId, key: Key, *, approved: bool = False) -> None:
        """Expunge a message. Of a held one: removing the file by hand approves its deletion.

        Args:
            mailbox: Where.
            key: Which message.
            approved: A person confirmed this deletion; no guard elsewhere shall hold it.
        """
        box = self.resolve(mailbox)
        record = self.state.boxes[box].records[key]
        with self.transaction():
            if record.is_live:
                self.bury(box, key)
                if approved:
                    self.write(box, key, OK, record.registers[LIVE].rank)
            elif record.held_uid is not None:
                self.approve(box, key)
        self.state.expunged.add(key.content)

    def flag(self, mailbox: str | MailboxId, key: Key, flag: str, is_set: bool = True) -> None:
        """Set or clear a flag. Flagging a held message rejects its deletion."""
        box = self.resolve(mailbox)
        with self.transaction():
            if self.state.boxes[box].records[key].held_uid is not None:
                self.reject(box, key)
            self.write(box, key, FLAG_PREFIX + flag, is_set)

    def move(self, mailbox: str | MailboxId, key: Key, target: str | MailboxId) -> Key:
        """Move a message, flags and all. Moving a held one keeps it, at its new place, everywhere."""
        box = self.resolve(mailbox)
        record = self.state.boxes[box].records[key]
        with self.transaction():
            moved = self.add(target, key.content, record.flags())
            if record.is_live:
                self.bury(box, key)
            record.held_uid = None
        return moved

    def bury(self, box: MailboxId, key: Key) -> None:
        """Turn a live record into a tombstone."""
        self.write(box, key, LIVE, False)

    # --- holds

    def hold(self, doomed: Iterable[Doomed]) -> None:
        """Keep the files of deletions that a commit just took in. The tombstones travel on; only the files stay."""
        for each in doomed:
            self.state.boxes[each.box].records[each.key].held_uid = each.uid

    def held(self) -> list[tuple[MailboxId, Key]]:
        """Every deletion that waits for a person."""
        found = [
            (i, key)
            for i, b in self.state.boxes.items()
            for key, r in b.records.items()
            if r.held_uid is not None
        ]
        return sorted(found)

    def approve(self, mailbox: str | MailboxId, key: Key) -> None:
        """Let a held deletion happen, here and, by the `ok` that travels, wherever it is held or would be."""
        box = self.resolve(mailbox)
        record = self.state.boxes[box].records[key]
        assert record.held_uid is not None, "nothing is held"
        record.held_uid = None
        self.write(box, key, OK, record.registers[LIVE].rank)

    def reject(self, mailbox: str | MailboxId, key: Key) -> None:
        """Undo a held deletion by a write of its own, which puts the message back on every replica."""
        box = self.resolve(mailbox)
        with self.transaction():
            self.state.boxes[box].records[key].held_uid = None
            self.write(box, key, LIVE, True)
            self.new_uid(box, key)
            self.settle_names()

    # --- identity

    def _rename_self(self, new: ReplicaId | None) -> None:
        self.state.id = new or self.rng.randbytes(16)
        self.state.members.add(self.id)
        self.state.pacts = {}

    def new_id(self, new: ReplicaId | None = None) -> None:
        """Become another replica: this one was rolled back or copied, and its old stamps mean two things.

        UIDs may have been given out twice, too. So every mailbox gets a new UIDVALIDITY, and so does each one that
        is missing at the moment and comes back from a peer.
        """
        self.state.replaced.add(self.id)
        self._rename_self(new)
        self.state.seen[self.id] = self.state.lamport
        self.state.validity_floor = self.clock.fresh_validity()
        with self.transaction():
            for i, box in self.state.boxes.items():
                if i == WHOLE_STORE:
                    continue
                self.write(i, None, VALIDITY, max(box.validity + 1, self.state.validity_floor))

    def reindex(self, *, keep_uids: bool, new: ReplicaId | None = None) -> None:
        """The index is lost, the files are not: all that is shown is found again, weak, and removals are forgotten.

        Args:
            keep_uids: A UID list lay beside the mail; without one every mailbox gets a new UIDVALIDITY.
            new: The id to take; by default a random one.
        """
        old, self.state = self.state, State(self.id)
        self._rename_self(new)
        self.state.seen = {self.id: 0}
        self.state.validity_floor = self.clock.fresh_validity()
        with self.transaction():
            for i, box in sorted(old.boxes.items()):
                shown = box.shown()
                if not box.is_alive and not shown:
                    continue
                self._install(
                    i, box.name, box.validity if keep_uids else self.clock.fresh_validity(), weak=True
                )
                for key, uid in sorted(shown.items(), key=lambda item: item[1]):
                    if keep_uids:
                        self.state.boxes[i].uidnext = uid
                    self.add(i, key.content, box.records[key].flags(), weak=True)
                if keep_uids:
                    self.state.boxes[i].uidnext = box.uidnext
            self.settle_names()

    def forget(self, replica: ReplicaId) -> None:
        """Give a replica up: no purge waits for it, and no session takes it back under this id."""
        self.state.forgotten.add(replica)

    # --- tombstones

    def purge(self) -> None:
        """Forget the tombstones that every member has had for long enough. Those of mailboxes are few and stay."""
        for box in self.state.boxes.values():
            for key, record in list(box.records.items()):
                if record.is_live or record.held_uid is not None or not self.is_acknowledged(record):
                    record.settled_at = None
                    continue
                if record.settled_at is None:
                    record.settled_at = self.clock.now
                if self.clock.now - record.settled_at >= TOMBSTONE_AGE_MIN:
                    del box.records[key]

    def is_acknowledged(self, record: Record) -> bool:
        """Whether all members known here, but for those given up or replaced, have taken the record in."""
        state = self.state
        awaited = state.members - state.replaced - state.forgotten - {self.id}
        return all(record.known_to(state.acks.get(member, {})) for member in awaited)


Shown = tuple[Content, frozenset[str]]


def view(replica: Replica, *, with_held: bool = False) -> dict[str, dict[int, Shown]]:
    """What the replica's mail is: mailbox name → UID → (content, flags).

    Args:
        replica: Whose.
        with_held: Show also files that a guard kept, as a mail reader on this machine sees them. Replicas that
            agree may differ in these; mailboxes deleted elsewhere appear again while they have such files.
    """
    shown: dict[str, dict[int, Shown]] = {}
    for i, box in sorted(replica.state.boxes.items(), key=lambda item: (not item[1].is_alive, item[0])):
        uids = box.shown() if with_held else {key: record.uid for key, record in box.live().items()}
        if box.is_alive or uids:
            name = replica.twin_name(box.name, i) if box.name in shown else box.name
            shown[name] = {uid: (key.content, box.records[key].flags()) for key, uid in uids.items()}
    return shown


def plain_view(replica: Replica, *, with_held: bool = False) -> Mapping[str, list[Shown]]:
    """Like `view`, but without UIDs: mailbox name → (content, flags) of each message, sorted."""
    boxes = view(replica, with_held=with_held)
    return {name: sorted(box.values(), key=lambda m: (m[0], sorted(m[1]))) for name, box in boxes.items()}
