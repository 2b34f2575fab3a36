"""Deliberate breakages of one rule each. Histories that do not catch one of them prove less than they seem to."""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest import mock

from . import exchange, state
from .exchange import Commit, Doomed
from .histories import Failure, jobs, try_history
from .oracle import Replica
from .state import LIVE, OK, WEAK_RANK, Mailbox, Pact, Record, Register, Stamp

Patch = Callable[[], contextlib.AbstractContextManager[object]]


def swap(target: object, name: str, value: object) -> Patch:
    """Replace an attribute while the mutant lives."""
    return lambda: mock.patch.object(target, name, value)


def _rank_follows_stamp(register: Register, stamp: Stamp) -> Register:
    is_choice = register.rank != WEAK_RANK and isinstance(register.value, bool)
    return register._replace(
        stamp=stamp, rank=stamp.lamport if is_choice else register.rank, writer=stamp.replica
    )


def _weight_of_live(register: Register) -> tuple[object, ...]:
    if register.rank == WEAK_RANK:
        return (1 << 62 if register.value is True else 0, register.value, register.writer, register.stamp)
    return (register.rank, register.writer, register.value, register.stamp)


def _weight_of_arrival(register: Register) -> tuple[object, ...]:
    return (register.stamp.lamport, register.stamp.replica, register.value)


def _rename_by_moving(self: Replica, mailbox: str | bytes, name: str) -> None:
    old = self.resolve(mailbox)
    with self.transaction():
        new = self.create_mailbox(name)
        for key in list(self.state.boxes[old].live()):
            self.move(old, key, new)
        self.write(old, None, LIVE, False)


def _hold_unmerged(self: Replica, doomed: list[Doomed]) -> None:
    for each in doomed:
        record = self.state.boxes[each.box].records[each.key]
        record.registers[LIVE] = record.registers[LIVE]._replace(value=True)


def _new_id_only(self: Replica, new: bytes | None = None) -> None:
    self.state.replaced.add(self.id)
    self._rename_self(new)
    self.state.seen[self.id] = self.state.lamport


def _no_validity_floor(self: Commit, i: bytes) -> None:
    """Leave it."""


def _settle_for_initiator_only(self: Commit, i: bytes) -> None:
    if not self.is_responder:
        _settle_uids(self, i)
        return
    box = self.now.boxes[i]
    highest = max((record.uid for record in box.live().values()), default=0)
    box.uidnext = max(box.uidnext, self.offer.uidnext.get(i, 1), highest + 1)


_settle_uids = Commit.settle_uids
_merge_mailbox = Commit.merge_mailbox


def _absence_deletes(self: Commit, i: bytes, theirs: Mailbox) -> None:
    _merge_mailbox(self, i, theirs)
    if i in self.compared:
        for key in self.now.boxes[i].live().keys() - theirs.records.keys():
            self.replica.write(i, key, LIVE, False)


def _approval_of_anything(record: Record) -> bool:
    return not record.is_live and OK in record.registers


def _unseen_stamp(self: Replica) -> Stamp:
    self.state.lamport += 1
    return Stamp(self.state.lamport, self.id)


_learn = Commit.learn


def _learn_no_members(self: Commit) -> None:
    members = set(self.now.members)
    _learn(self)
    self.now.members.intersection_update(members)


class Mutant(NamedTuple):
    """One breakage.

    Attributes:
        patches: What is replaced by what.
        faults: Sets of fault kinds in which it shows soonest.
        witness: Seed and faults of a history that is known to catch it. Any change to `histories` may make it
            useless; then the histories are searched again, see `first_catch`.
        is_caught_by_example: It takes thousands of histories, so `test_oracle` has an example of it.
    """

    patches: tuple[Patch, ...]
    faults: tuple[str, ...] = ("", "crash")
    witness: tuple[int, str] | None = None
    is_caught_by_example: bool = False


EVERYTHING_BUT_LIES = "crash,rollback,clone,reindex,purge,hold,forget"


def _weights(weigh: Callable[[Register], tuple[object, ...]]) -> tuple[Patch, ...]:
    return swap(exchange, "weight", weigh), swap(state, "weight", weigh)


def _always(value: object) -> Callable[..., object]:
    return lambda *arguments: value


MUTANTS: dict[str, Mutant] = {
    "re-stamping raises the rank": Mutant(
        (swap(exchange, "carried_by", _rank_follows_stamp),),
        ("lies", "rollback,purge", "clone"),
        (81, "lies"),
    ),
    "comparison stamps nothing anew": Mutant(
        (swap(exchange, "carried_by", lambda register, stamp: register),),
        ("lies", "rollback", "clone"),
        (89, "clone"),
    ),
    "nothing is revived": Mutant((swap(Commit, "revive", _always(None)),)),
    "the vector speaks of commit time": Mutant(
        (swap(exchange, "claimed", lambda hello, current: dict(current.seen)),)
    ),
    "the digest speaks of commit time": Mutant(
        (swap(exchange, "digest_of", lambda hello, current, i: state.fingerprint(current.boxes.get(i))),)
    ),
    "digests are not compared": Mutant((swap(exchange, "digest_of", _always(None)),), ("lies",)),
    "responder does not settle UIDs": Mutant((swap(Commit, "settle_uids", _settle_for_initiator_only),)),
    "UIDs are not settled": Mutant((swap(Commit, "settle_uids", _always(None)),)),
    "purge waits for nobody": Mutant(
        (swap(Replica, "is_acknowledged", _always(True)),), ("purge", "crash,purge"), (70, "purge")
    ),
    "session tokens are ignored": Mutant(
        (swap(exchange, "pact_of", _always(Pact())),),
        ("rollback", "rollback,crash", "clone"),
        (229, "rollback,crash"),
    ),
    "a weak live beats a tombstone": Mutant(_weights(_weight_of_live)),
    "stamps order writes": Mutant(_weights(_weight_of_arrival), ("", "lies", "clone")),
    "renaming makes a new mailbox": Mutant((swap(Replica, "rename_mailbox", _rename_by_moving),)),
    "a held tombstone is not merged": Mutant((swap(Replica, "hold", _hold_unmerged),), ("hold",)),
    "rolled-back mailboxes keep UIDVALIDITY": Mutant((swap(Replica, "new_id", _new_id_only),), ("rollback",)),
    "returning mailboxes keep UIDVALIDITY": Mutant(
        (swap(Commit, "lift_validity", _always(None)),), ("rollback", "reindex")
    ),
    "twin names stay": Mutant((swap(Replica, "settle_names", _always(None)),)),
    "a deleted mailbox hides its mail": Mutant(
        (swap(Mailbox, "is_alive", property(lambda self: bool(self.registers[LIVE].value))),)
    ),
    "absence is evidence": Mutant((swap(Commit, "merge_mailbox", _absence_deletes),)),
    "an approval does not travel": Mutant(
        (swap(Commit, "is_settled_by_approval", staticmethod(_always(False))),), ("hold",)
    ),
    "an approval covers anything": Mutant(
        (swap(Commit, "is_settled_by_approval", staticmethod(_approval_of_anything)),),
        ("hold", "crash,hold"),
        (56, "hold"),
    ),
    "a stamp that the vector lacks": Mutant((swap(Replica, "stamp", _unseen_stamp),)),
    "members are not told of": Mutant(
        (swap(Commit, "learn", _learn_no_members),), ("purge", "crash,purge"), (77, "crash,purge")
    ),
    "doubt ends with the session": Mutant(
        (swap(exchange, "never_agreed", _always(False)),),
        ("rollback,crash", "rollback,clone,crash", EVERYTHING_BUT_LIES),
        (1298, EVERYTHING_BUT_LIES),
        is_caught_by_example=True,
    ),
    "only removals seen here are history": Mutant(
        (swap(Commit, "buried_now", _always(frozenset())),),
        ("rollback,purge", "clone,purge"),
        (1726, "rollback,purge"),
        is_caught_by_example=True,
    ),
}
"""Name → mutant. The last two undo what this oracle adds to the rules; see README.md."""


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """Let a mutant live for the length of a block."""
    with contextlib.ExitStack() as stack:
        for patch in MUTANTS[name].patches:
            stack.enter_context(patch())
        yield


def first_catch(name: str, runs: int, seed: int = 0) -> Failure | None:
    """Look for a history that catches a mutant: its witness first, then `runs` of those most likely to."""
    mutant = MUTANTS[name]
    work = [mutant.witness] if mutant.witness else []
    with mutated(name):
        for job in itertools.chain(work, jobs(runs, seed, mutant.faults)):
            failure = try_history(job)
            if failure:
                return failure
    return None
