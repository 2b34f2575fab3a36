"""What must be true of every history: the judges of `histories`.

They know more than any replica may: each write together with all the writes that its author had taken in, each
content whose last copy somebody removed, and what mail readers remember. Where a fault destroys the evidence that a
judge relies on, the exemption is written beside it, with its reason.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import collections
from typing import TYPE_CHECKING, NamedTuple

from .oracle import Content, Key, MailboxId, Replica
from .state import LIVE, UID, VALIDITY, WEAK_RANK, Mailbox, Value, fingerprint

if TYPE_CHECKING:
    from .histories import World

REWRITES_HISTORY = frozenset({"rollback", "clone"})


class Broken(AssertionError):
    """A history broke an invariant. The text begins with the name of the judge and a colon."""


def require(holds: bool, text: str, *facts: object) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(" ".join([text, *map(str, facts)]))


class Write(NamedTuple):
    """One write with its causes."""

    box: MailboxId
    key: Key | None
    register: str
    value: Value
    is_weak: bool
    lore: frozenset[int]


class MailReader:
    """The IMAP clients of one machine, who never forget what they were shown (RFC 9051 §2.3.1.1).

    Attributes:
        looking_away: The history's fault number and the replica's id, while a rollback that somebody can tell has
            not been told: until then no rule can keep UIDs from being given out twice.
    """

    def __init__(self) -> None:
        """Begin without memories."""
        self.meaning: dict[tuple[MailboxId, int], dict[int, Content]] = collections.defaultdict(dict)
        self.validity: dict[MailboxId, int] = {}
        self.looking_away: tuple[int, bytes] | None = None

    def look(self, replica: Replica) -> None:
        """Compare all mailboxes with what was seen before."""
        for i, box in replica.state.boxes.items():
            shown = box.shown()
            require(
                len(set(shown.values())) == len(shown), "uids: two messages share one", replica.name, box.name
            )
            if self.looking_away or not (shown or box.is_alive):
                continue
            require(box.validity >= self.validity.get(i, 0), "uids: UIDVALIDITY fell", replica.name, box.name)
            self.validity[i] = box.validity
            known = self.meaning[i, box.validity]
            newest = max(known, default=0)
            for key, uid in shown.items():
                require(uid < box.uidnext, "uids: UIDNEXT is not above all", replica.name, box.name, uid)
                require(
                    uid in known or uid > newest, "uids: one came up in the past", replica.name, box.name, uid
                )
                if uid in known:
                    require(
                        known[uid] == key.content,
                        "uids: one changed its meaning",
                        replica.name,
                        box.name,
                        uid,
                    )
            known.update({uid: key.content for key, uid in shown.items()})


Mail = dict[str, tuple[int, dict[int, tuple[Key, frozenset[str]]]]]


def mail_of(replica: Replica) -> Mail:
    """All that replicas must agree on in the end."""
    alive = [box for box in replica.state.boxes.values() if box.is_alive]
    return {
        box.name: (box.validity, {r.uid: (key, r.flags()) for key, r in box.live().items()}) for box in alive
    }


def check_mailboxes(replica: Replica) -> None:
    """No two living mailboxes have one name, and no living message lies in a dead one."""
    for box in replica.state.boxes.values():
        require(
            box.is_alive or not box.live(), "mailboxes: mail is hidden in a dead one", replica.name, box.name
        )
    names = [box.name for box in replica.state.boxes.values() if box.is_alive]
    require(len(set(names)) == len(names), "names: two mailboxes share one", replica.name)


def fingerprints(replica: Replica) -> dict[MailboxId, object]:
    """The digests of all mailboxes that have one."""
    return {i: digest for i, box in replica.state.boxes.items() if (digest := fingerprint(box)) is not None}


def check_holds(world: World, replica: Replica, *, by_session: bool) -> None:
    """A hold outlasts everything but a person's word, and an approval frees what it names and nothing else."""
    held = set(replica.held())
    for i, key in held:
        record = replica.state.boxes[i].records[key]
        require(not record.is_live, "holds: a live message is held", replica.name, key)
        require(not record.is_approved, "holds: an approved deletion is held", replica.name, key)
    for i, key in world.held[replica.name] - held if by_session else ():
        record = replica.state.boxes[i].records[key]
        place = (i, key, record.registers[LIVE].rank)
        # Lamports are used twice after a rollback, so there an approval may name a tombstone that it did not mean.
        is_meant = record.is_approved and (place in world.approvals or world.faults & REWRITES_HISTORY)
        require(bool(record.is_live or is_meant), "holds: one ended without a person", replica.name, key)
    world.held[replica.name] = held


def check_end(world: World) -> None:
    """Judge a history whose replicas have all met until nothing was left to say."""
    replicas, faults = world.replicas, world.faults
    if "clone" in faults:
        require(len({r.id for r in replicas}) == len(replicas), "identity: two replicas have one id")
    first = replicas[0]
    for replica in replicas[1:]:
        same_mail = mail_of(replica) == mail_of(first)
        require(
            same_mail == (fingerprints(replica) == fingerprints(first)), "digest: disagrees with the mail"
        )
        require(same_mail, "convergence: replicas differ", first.name, replica.name)
    if faults <= {"crash", "hold"}:
        check_registers(replicas)
    if not faults & {"rollback", "clone", "purge", "lies"}:
        require(not world.mismatched, "digest: mailboxes were compared though nothing was wrong")
    if not faults & REWRITES_HISTORY:
        require(not world.renamed, "identity: a replica was suspected though nothing was wrong")
    for replica in replicas:
        away = world.readers[replica.name].looking_away
        # A later fault may have taken the one witness away.
        require(
            away is None or away[0] != world.fault_count, "identity: a rollback went unnoticed", replica.name
        )
    check_causality(world, first)
    check_nothing_lost(world, first)
    check_duplicates(world, first)


def check_registers(replicas: list[Replica]) -> None:
    """Where nothing was ever forgotten, all registers agree, those of tombstones and their approvals too."""

    def writes(box: Mailbox) -> object:
        return {
            key: {name: register[:3] for name, register in cell.registers.items()}
            for key, cell in [(None, box), *box.records.items()]
        }

    first, *others = ({i: writes(box) for i, box in r.state.boxes.items()} for r in replicas)
    require(all(other == first for other in others), "registers: replicas that agree keep different writes")


def check_causality(world: World, replica: Replica) -> None:
    """Every register ends with a write that no other known write had seen: nobody's later word was overruled."""
    by_place: dict[tuple[MailboxId, Key | None, str], list[int]] = collections.defaultdict(list)
    for number in sorted(replica.state.lore):
        write = world.writes[number]
        by_place[write.box, write.key, write.register].append(number)
    for (i, key, name), numbers in by_place.items():
        if name in (UID, VALIDITY):
            continue  # These are settled, not chosen; mail readers judge them.
        real = [n for n in numbers if not world.writes[n].is_weak] or numbers
        seen_by_others = frozenset().union(*(world.writes[n].lore for n in numbers))
        allowed = {world.writes[n].value for n in real if n not in seen_by_others}
        box = replica.state.boxes.get(i)
        cell = box if key is None else box.records.get(key) if box else None
        register = cell.registers.get(name) if cell else None
        value = register.value if register else False
        is_weak = register is not None and register.rank == WEAK_RANK
        if key and name != LIVE and not (box and key in box.live()):
            continue  # Flags of what is gone.
        if "clone" in world.faults and world.fault_count and (cell is None or is_weak):
            continue  # A clone's vector lied, so the lore is too wide, and who had the write forgot it.
        if key and (i, key) in world.purged:
            if name == LIVE and not is_purge_exempt(world, i, key, bool(value), is_weak, allowed):
                require(value in allowed, "causality: purged", key, "ends", value)
            continue  # Nothing orders the flags of a record that was purged and added again.
        if key and not value and (i, key, name) in world.lost_flags:
            continue  # Once the message had died and come back, this is as if it had been purged.
        require(value in allowed, "causality:", key or i.hex()[:8], name, "ends", value)


def is_purge_exempt(
    world: World, i: MailboxId, key: Key, is_back: bool, is_weak: bool, allowed: set[Value]
) -> bool:
    """Whether a purged record may be back although the last word was its removal. If so it must have been reported."""
    if is_weak and (
        (i, key) in world.purged_early or key.content in world.renumbered or "reindex" in world.faults
    ):
        # Found by a replica of which nobody had heard at the purge, or under a new copy number, or indexed again
        # by a user whose file had outlived its acknowledged tombstone.
        return True
    if world.faults & {"rollback", "clone", "forget"}:
        is_undead = is_back and True not in allowed and key.content in world.purged_last
        require(not is_undead or key.content in world.reported, "report: a revival that nobody reported", key)
        return True
    return False


def check_nothing_lost(world: World, replica: Replica) -> None:
    """Every content that was ever added is there, unless a person removed its last copy on some machine."""
    writes = [world.writes[n] for n in replica.state.lore]
    added = {w.key.content for w in writes if w.key and w.register == LIVE and w.value}
    lost = added - world.vanished - world.renumbered - replica.state.contents()
    require(not lost, "lost: nobody removed", sorted(lost))


def check_duplicates(world: World, replica: Replica) -> None:
    """A content is there twice only if somebody copied it, put it back, or moved it while another did."""
    copies = collections.Counter(key.content for box in replica.state.boxes.values() for key in box.live())
    twice = {content for content, n in copies.items() if n > 1} - world.copied - world.renumbered
    require(not twice, "duplicates: nobody copied", sorted(twice))
