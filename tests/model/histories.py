"""Random histories of a few replicas, judged by `invariants`.

    python -m tests.model.histories --runs 2000 --seed 0 [--faults crash,purge] [--mutants] [-v]

A history is replicas that do random things, sessions between them that are cut in pieces and may die, and at the end
quiet sessions until nobody has anything to say. Everything follows from the seed and the kinds of fault.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import argparse
import collections
import copy
import itertools
import multiprocessing
import random
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .exchange import Doomed, Step, Tally, rolled_back, session
from .invariants import Broken, MailReader, Write, check_end, check_holds, check_mailboxes, require
from .oracle import Clock, Content, Key, MailboxId, Replica, State
from .state import FLAG_PREFIX, Value

FAULTS = (
    "", "crash", "hold", "purge", "crash,hold", "crash,purge", "hold,purge", "reindex", "crash,reindex",
    "reindex,purge", "forget,purge", "rollback", "rollback,crash", "rollback,purge", "clone", "clone,purge",
    "rollback,clone,crash", "lies", "crash,lies", "crash,forget,purge,reindex,hold",
    "crash,rollback,clone,reindex,purge,hold,forget",
)  # fmt: skip
"""Sets of fault kinds; history number n of a run gets set n modulo their count."""

SETTLING_ROUNDS_MAX = 8
"""Full rounds of sessions within which everybody must agree; two or three are enough when nothing went wrong."""

REPLICAS_MAX = 5
"""Clones stop here: more replicas make histories longer, and were not seen to find anything else."""

can_tell = rolled_back
"""The rule as it is, also while a mutant breaks it: a judge must know what could have been noticed."""


class World:
    """Replicas, and what no replica may know about them.

    Attributes:
        vanished: Contents of which a person removed the last copy on some machine.
        copied: Contents that somebody copied, moved or put back.
        approvals: Deletions that somebody approved: mailbox, key, rank.
        purged: Records of which some replica forgot a tombstone;
        purged_early: those forgotten before it had heard of all replicas;
        purged_last: contents that then lived on no replica any more.
        lost_flags: Flags of a record that a broken index lost: mailbox, key, register.
        renumbered: Contents whose copy numbers a lost index changed: 'copy 1, with copy 0 removed' is found again
            as copy 0, and dies of its old tombstone. The vault still has it.
        reported: Contents that some replica reported as revived.
    """

    def __init__(self, seed: int, faults: Iterable[str]) -> None:
        """Make two to four replicas, which may hold the same old mail before they first meet."""
        self.seed, self.faults = seed, frozenset(faults)
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.replicas: list[Replica] = []
        self.readers: dict[str, MailReader] = {}
        self.held: dict[str, set[tuple[MailboxId, Key]]] = collections.defaultdict(set)
        self.backups: dict[str, tuple[State, MailReader]] = {}
        self.busy: set[str] = set()
        self.writes: list[Write] = []
        self.vanished: set[Content] = set()
        self.copied: set[Content] = set()
        self.approvals: set[tuple[MailboxId, Key, int]] = set()
        self.purged: set[tuple[MailboxId, Key]] = set()
        self.purged_early: set[tuple[MailboxId, Key]] = set()
        self.lost_flags: set[tuple[MailboxId, Key, str]] = set()
        self.purged_last: set[Content] = set()
        self.renumbered: set[Content] = set()
        self.reported: set[Content] = set()
        self.fault_count = self.mismatched = self.renamed = 0
        self.log: list[str] = []
        self.serial = itertools.count()
        for n in range(self.rng.randint(2, 4)):
            self.join(f"r{n}").create_mailbox("INBOX", weak=True, validity=1)
        for n in range(self.rng.randint(0, 4)):
            for replica in self.rng.sample(self.replicas, self.rng.randint(1, len(self.replicas))):
                replica.add("INBOX", b"old%d" % n, self.some_flags(), weak=True)

    def join(self, name: str) -> Replica:
        """Add a machine."""
        rng = random.Random(f"{self.seed} {name}")
        replica = Replica(name, name.encode(), clock=self.clock, rng=rng, observer=self.observe)
        self.replicas.append(replica)
        self.readers[name] = MailReader()
        return replica

    def observe(
        self, replica: Replica, place: tuple[MailboxId, Key | None, str], value: Value, weak: bool
    ) -> None:
        """Note a write and all that its author knew."""
        self.writes.append(Write(*place, value, weak, frozenset(replica.state.lore)))
        replica.state.lore.add(len(self.writes) - 1)

    def say(self, *words: object) -> None:
        """Add a line to the log of this history."""
        self.log.append(" ".join(map(str, words)))

    def some_flags(self) -> list[str]:
        """No, one, two or all of three flags."""
        return self.rng.sample("SFO", self.rng.choice((0, 0, 1, 1, 2, 3)))

    def look(self, replica: Replica, *, by_session: bool = False) -> None:
        """Let everybody who watches a replica look at it."""
        reader = self.readers[replica.name]
        if reader.looking_away and reader.looking_away[1] != replica.id:
            reader.looking_away = None
        reader.look(replica)
        check_mailboxes(replica)
        check_holds(self, replica, by_session=by_session)
        self.reported |= replica.state.revived

    # --- people and their programs

    def local(self, replica: Replica) -> None:
        """One thing, or a few in one transaction, as a scan finds them."""
        with replica.transaction():
            for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
                before = replica.state.contents()
                said = self.one_thing(replica)
                self.vanished |= before - replica.state.contents()
                self.say(replica.name, *said)
        self.clock.now += 10
        self.look(replica)

    def one_thing(self, replica: Replica) -> tuple[object, ...]:
        """Do something that is possible; tell what."""
        rng, boxes = self.rng, replica.state.boxes
        alive = sorted(i for i, box in boxes.items() if box.is_alive)
        here, there = rng.choice(alive), rng.choice(alive)
        name = boxes[here].name
        keys, tombs = (
            sorted(boxes[here].live()),
            sorted(boxes[here].records.keys() - boxes[here].live().keys()),
        )
        free = [n for n in ("Work", "Old", "Lists") if replica.state.named(n) is None]
        held = replica.held()
        chances = {
            "add": 30,
            "remove": 10 * bool(keys), "flag": 10 * bool(keys), "move": 10 * bool(keys), "copy": 6 * bool(keys),
            "put back": 6 * bool(tombs),
            "create": 6 * bool(free), "rename": 5 * bool(free and name != "INBOX"), "delete": 2 * (name != "INBOX"),
            "answer": 10 * bool(held),
        }  # fmt: skip
        what = rng.choices(list(chances), list(chances.values()))[0]
        match what:
            case "add":
                return what, name, replica.add(here, b"m%d" % next(self.serial), self.some_flags())
            case "remove":
                return what, name, self.remove(replica, here, rng.choice(keys), is_sure=rng.random() < 0.2)
            case "flag":
                replica.flag(
                    here, key := rng.choice(keys), flag := rng.choice("SFO"), is_set := rng.random() < 0.7
                )
                return what, name, key, flag, is_set
            case "move" | "copy":
                self.copied.add((key := rng.choice(keys)).content)
                if what == "move":
                    return what, name, key, "to", boxes[there].name, replica.move(here, key, there)
                flags = boxes[here].records[key].flags()
                return what, name, key, "to", boxes[there].name, replica.add(there, key.content, flags)
            case "put back":
                self.copied.add((key := rng.choice(tombs)).content)
                return what, name, replica.add(here, key.content)
            case "create":
                replica.create_mailbox(new := rng.choice(free))
                return what, new
            case "rename":
                replica.rename_mailbox(here, new := rng.choice(free))
                is_whole = boxes[here].name == new and sorted(boxes[here].live()) == keys
                require(is_whole, "rename: it touched messages", name, new)
                return what, name, new
            case "answer":
                return self.answer(replica, *rng.choice(held), rng.choice(alive))
            case _:
                for key in list(boxes[here].shown()):
                    self.remove(replica, here, key)
                replica.delete_mailbox(here)
                return "delete", name

    def remove(self, replica: Replica, box: MailboxId, key: Key, *, is_sure: bool = False) -> Key:
        """Remove a message, held or not, and note whether that approves its deletion."""
        record = replica.state.boxes[box].records[key]
        is_sure = is_sure or not record.is_live
        replica.remove(box, key, approved=is_sure)
        if is_sure:
            self.approvals.add((box, key, record.registers["live"].rank))
        return key

    def answer(self, replica: Replica, box: MailboxId, key: Key, other: MailboxId) -> tuple[object, ...]:
        """A person decides about a held deletion, by word or by deed."""
        how = self.rng.choice(("approve", "approve", "remove", "reject", "flag", "move"))
        if how in ("approve", "remove"):
            if how == "approve":
                replica.approve(box, key)
            else:
                replica.remove(box, key)
            self.approvals.add((box, key, replica.state.boxes[box].records[key].registers["live"].rank))
        else:
            self.copied.add(key.content)
            acts: dict[str, Callable[[], object]] = {
                "reject": lambda: replica.reject(box, key),
                "flag": lambda: replica.flag(box, key, "S"),
                "move": lambda: replica.move(box, key, other),
            }
            acts[how]()
        return "held:", how, key

    # --- faults and administration

    def back_up(self, replica: Replica) -> None:
        """Take a backup of the store."""
        self.backups[replica.name] = (replica.state.twin(), copy.deepcopy(self.readers[replica.name]))

    def restore(self, replica: Replica) -> None:
        """Go back to the backup. The mail readers were not restored.

        If nobody else can tell, they go back as well: no rule could help them.
        """
        state, reader = self.backups[replica.name]
        replica.state = state.twin()
        self.fault_count += 1
        self.held[replica.name] = set(replica.held())
        if any(replica in can_tell(replica, other) for other in self.replicas if other is not replica):
            self.readers[replica.name].looking_away = (self.fault_count, replica.id)
        elif not self.readers[replica.name].looking_away:
            self.readers[replica.name] = copy.deepcopy(reader)

    def clone(self, replica: Replica) -> None:
        """Copy a machine with all its state."""
        twin = self.join(f"c{len(self.replicas)}")
        twin.state = replica.state.twin()

    def lose(self, replica: Replica) -> None:
        """Break the index: rows are gone which the vector still claims. Only what some other replica has, too."""
        for i, box in sorted(replica.state.boxes.items()):
            for key, record in sorted(box.live().items()):
                others = [
                    o.state.boxes[i].records.get(key)
                    for o in self.replicas
                    if o is not replica and i in o.state.boxes
                ]
                has_witness = any(o and o.registers == record.registers for o in others)
                if not has_witness or self.rng.random() > 0.3:
                    continue
                flags = sorted(name for name in record.registers if name[0] == FLAG_PREFIX)
                if flags and self.rng.random() < 0.7:
                    flags = flags[:1]
                    del record.registers[flags[0]]
                else:
                    del box.records[key]
                self.lost_flags |= {(i, key, name) for name in flags}
                self.say(replica.name, "loses", key)

    def reindex(self, replica: Replica, *, keep_uids: bool) -> None:
        """Lose the index, keep the files. Was it restored before, then no UID list can be trusted."""
        for box in replica.state.boxes.values():
            dead = {key.content for key, record in box.records.items() if not record.is_live}
            self.renumbered |= {key.content for key in box.live() if key.copy or key.content in dead}
        self.fault_count += 1
        replica.reindex(keep_uids=keep_uids and not self.readers[replica.name].looking_away)
        self.held[replica.name] = set()

    def purge(self, replica: Replica) -> None:
        """Purge, and note of what."""
        self.clock.now += 100
        before = {(i, key) for i, box in replica.state.boxes.items() for key in box.records}
        replica.purge()
        gone = before - {(i, key) for i, box in replica.state.boxes.items() for key in box.records}
        self.purged |= gone
        if any(other.id not in replica.state.members for other in self.replicas):
            self.purged_early |= gone
        given_up = frozenset().union(*(other.state.forgotten for other in self.replicas))
        kept = [other for other in self.replicas if other is replica or other.id not in given_up]
        self.purged_last |= {key.content for _, key in gone}.difference(
            *(other.state.contents() for other in kept)
        )

    # --- sessions

    def guard(self, replica: Replica, doomed: Sequence[Doomed]) -> Sequence[Doomed]:
        """Hold some or all of the deletions, now and then."""
        if self.rng.random() < 0.6:
            return []
        return self.rng.sample(doomed, self.rng.randint(1, len(doomed)))

    def meet(self, one: Replica, other: Replica, *, is_quiet: bool = False) -> int:
        """One session; return how much there was to do. Unless quiet, others act between its steps, or it dies."""
        rng, tally = self.rng, Tally()
        for me, peer in ((one, other), (other, one)):
            if me.id in peer.state.forgotten:
                self.reindex(me, keep_uids=False)  # Given up: it may only come as a new replica.
                self.say(me.name, "joins as new")
        self.busy |= {one.name, other.name}
        reached: Step | None = None
        for reached in session(one, other, guard=self.guard if "hold" in self.faults else None, tally=tally):
            for replica in {Step.IDENTIFIED: (one, other), Step.INITIATOR_COMMITTED: (one,),
                            Step.RESPONDER_COMMITTED: (other,)}.get(reached, ()):  # fmt: skip
                self.look(replica, by_session=True)
            self.say(
                one.name, "→", other.name, reached.value, tally if reached is Step.INITIATOR_COMMITTED else ""
            )
            if not is_quiet and "crash" in self.faults and rng.random() < 0.06:
                self.say("the session dies")
                break
            while not is_quiet and rng.random() < 0.2:
                idle = [replica for replica in self.replicas if replica.name not in self.busy]
                if len(idle) > 1 and rng.random() < 0.3:
                    self.meet(*rng.sample(idle, 2))
                else:
                    self.local(rng.choice(self.replicas))
        self.busy -= {one.name, other.name}
        self.mismatched += tally.mismatched
        self.renamed += tally.renamed
        self.fault_count += tally.renamed  # A new id has no pacts, so it can no longer bear witness.
        return tally.sent + tally.mismatched + tally.renamed + (reached is not Step.ACKNOWLEDGED)

    def meeting_plan(self) -> list[tuple[Replica, Replica]]:
        """Who calls whom, in the end: all pairs, a ring, a star. Whoever may notice a rollback has to meet."""
        everybody = self.replicas
        plans = [list(itertools.permutations(everybody, 2)), list(itertools.combinations(everybody, 2))]
        if not self.faults & {"rollback", "clone"}:
            hub, *others = everybody
            plans.append(list(zip(everybody, [*others, hub], strict=True)))
            plans.append([(hub, other) for other in others])
            plans.append([(other, hub) for other in others])
        return self.rng.choice(plans)

    def settle(self) -> None:
        """Meet until nobody has anything to say."""
        plan = self.meeting_plan()
        for _ in range(SETTLING_ROUNDS_MAX):
            if not sum(self.meet(*pair, is_quiet=True) for pair in plan):
                return
        raise Broken("convergence: still something to say")

    # --- a history

    def run(self) -> None:
        """Live the history to its end and have it judged.

        Raises:
            Broken: An invariant does not hold.
        """
        for _ in range(self.rng.randint(10, 50)):
            replica = self.rng.choice(self.replicas)
            others = [other for other in self.replicas if other is not replica]
            chances = {
                "local": 50,
                "meet": 30,
                "back up": 4 * ("rollback" in self.faults),
                "restore": 4 * ("rollback" in self.faults and replica.name in self.backups),
                "clone": 2 * ("clone" in self.faults and len(self.replicas) < REPLICAS_MAX),
                "lose": 2 * ("lies" in self.faults),
                "reindex": 3 * ("reindex" in self.faults),
                "forget": 2 * ("forget" in self.faults),
                "purge": 10 * ("purge" in self.faults),
            }
            what = self.rng.choices(list(chances), list(chances.values()))[0]
            if what not in ("local", "meet"):
                self.say(replica.name, what)
            self.act(what, replica, others)
            self.clock.now += 10
            if what not in ("local", "meet"):
                self.look(replica)
        self.settle()
        if "clone" in self.faults:
            for replica in self.replicas:  # Copies that made the very same stamps tell at their next write.
                self.local(replica)
            self.settle()
        check_end(self)

    def act(self, what: str, replica: Replica, others: list[Replica]) -> None:
        """Do one thing of a history."""
        match what:
            case "local":
                self.local(replica)
            case "meet":
                self.meet(replica, self.rng.choice(others))
            case "back up":
                self.back_up(replica)
            case "restore":
                self.restore(replica)
            case "clone":
                self.clone(replica)
            case "lose":
                self.lose(replica)
            case "reindex":
                self.reindex(replica, keep_uids=self.rng.random() < 0.5)
            case "forget":
                replica.forget(self.rng.choice(others).id)
            case _:
                self.purge(replica)


class Failure(NamedTuple):
    """A history that broke an invariant, with what is needed to see it again."""

    seed: int
    faults: str
    text: str
    log: list[str]

    @property
    def kind(self) -> str:
        """The judge that spoke."""
        return self.text.split(":")[0]


def try_history(job: tuple[int, str]) -> Failure | None:
    """Run one history, given its seed and its faults."""
    seed, faults = job
    world = World(seed, filter(None, faults.split(",")))
    try:
        world.run()
    except Broken as broken:
        return Failure(seed, faults, str(broken), world.log)
    except (AssertionError, LookupError, ValueError) as crashed:
        return Failure(seed, faults, f"crashed: {crashed!r}", world.log)
    return None


def jobs(runs: int, seed: int, faults: Sequence[str] = FAULTS) -> list[tuple[int, str]]:
    """Seeds and faults of the histories of one run."""
    return [(seed + n, faults[n % len(faults)]) for n in range(runs)]


def try_histories(work: Sequence[tuple[int, str]], processes: int = 1) -> list[Failure]:
    """Run many histories and return those that failed."""
    if processes == 1:
        return [failure for job in work if (failure := try_history(job))]
    with multiprocessing.get_context("fork").Pool(processes) as pool:  # Forked, so that a mutant comes along.
        return [failure for failure in pool.imap_unordered(try_history, work, 50) if failure]


def try_mutants(work: Sequence[tuple[int, str]], processes: int) -> int:
    """Try each mutant on the same histories; return how many lived."""
    from .mutants import MUTANTS, mutated  # Mutants need histories, so this is the one import that goes back.

    lived = 0
    for name in MUTANTS:
        with mutated(name):
            failures = try_histories(work, processes)
        lived += not failures
        kinds = collections.Counter(failure.kind for failure in failures).most_common(4)
        print(f"{name:42} caught by {len(failures):5} of {len(work)}: {dict(kinds)}", flush=True)
    return lived


def report(failures: Sequence[Failure], runs: int, *, with_logs: bool) -> None:
    """Print the shortest failure of each kind."""
    kinds: dict[str, list[Failure]] = collections.defaultdict(list)
    for failure in failures:
        kinds[re.sub(r"\d+", "N", failure.text)[:40]].append(failure)
    lines = []
    for alike in kinds.values():
        best = min(alike, key=lambda failure: len(failure.log))
        lines.append(f"{len(alike)} like --runs 1 --seed {best.seed} --faults '{best.faults}': {best.text}")
        lines += [f"    {line}" for line in best.log if with_logs]
    print(*lines, f"{runs - len(failures)} of {runs} histories passed", sep="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run histories from the command line; return 1 if any failed or any mutant lived."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model.histories", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--runs", type=int, default=2100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", help="kinds, separated by commas; default: the usual sets in turn")
    parser.add_argument("--mutants", action="store_true", help="break one rule at a time; all must be caught")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("-v", action="store_true", help="print the shortest failing history of each kind")
    options = parser.parse_args(arguments)
    work = jobs(options.runs, options.seed, FAULTS if options.faults is None else [options.faults])
    if options.mutants:
        return int(try_mutants(work, options.jobs) > 0)
    failures = try_histories(work, options.jobs)
    report(failures, len(work), with_logs=options.v)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
