"""Two people change the same mail or the same mailbox before their replicas meet: on real stores, in all combinations.

Each combination is a *case* with a mailbox and a message of its own, so that one set of stores, synchronised once in a
given order, tells of all cases. `tools/conflicts.py` writes what comes of each into docs/reference/conflicts.md.
"""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING

from crash.kit import Side, settle, sync
from mailkeep.rules.guard import Limits
from mailkeep.store.holds import approve, holds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Case = tuple[str, ...]
    """What is done on each replica; '' for nothing."""
    Outcomes = dict[Case, str]

NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)
HEAD_START = 6
"""Writes by which a replica is ahead when its changes count as the later ones: more than a case takes."""
OTHER, THIRD = b".Other", b".Third"


class Actor:
    """One replica's user and mail program, for one case."""

    def __init__(self, side: Side, case: int) -> None:
        self.side, self.case = side, case
        self.box, self.new, self.another = (b".%b-%03d" % (n, case) for n in (b"Box", b"New", b"Else"))
        self.mail = b"mail %03d" % case

    def find(self, directory: bytes = b"") -> bytes:
        """The file of this case's message in a mailbox."""
        at = self.side.path(directory or self.box, b"cur")
        for name in os.listdir(at):
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                if file.read() == self.mail:
                    return path
        raise AssertionError(f"{self.mail!r} is not in {directory!r}")

    def put(self, directory: bytes, text: bytes) -> None:
        self.side.deliver(directory, text, "")

    def rename(self, source: bytes, directory: bytes) -> None:
        os.rename(source, self.side.path(directory, b"cur", os.path.basename(source)))

    def set_flags(self, flags: bytes) -> None:
        path = self.find()
        os.rename(path, path.partition(b":2,")[0] + b":2," + flags)

    # --- what is done: one step, or two with a scan between them

    def add(self) -> None:
        self.put(self.box, b"added %03d" % self.case)

    def delete(self) -> None:
        os.unlink(self.find())

    def flag(self) -> None:
        self.set_flags(b"F")

    def unflag(self) -> None:
        self.set_flags(b"")

    def move(self) -> None:
        self.rename(self.find(), OTHER)

    def move_elsewhere(self) -> None:
        self.rename(self.find(), THIRD)

    def copy(self) -> None:
        shutil.copy2(self.find(), self.side.path(OTHER, b"cur", b"copy%03d:2," % self.case))

    def move_back(self) -> None:
        self.rename(self.find(OTHER), self.box)

    def rename_mailbox(self) -> None:
        os.rename(self.side.path(self.box), self.side.path(self.new))

    def rename_otherwise(self) -> None:
        os.rename(self.side.path(self.box), self.side.path(self.another))

    def delete_mailbox(self) -> None:
        shutil.rmtree(self.side.path(self.box))

    def create(self) -> None:
        self.side.mailbox(self.new)
        self.put(self.new, b"first %03d" % self.case)


DEEDS: dict[str, tuple[Callable[[Actor], None], ...]] = {
    "add": (Actor.add,),
    "delete": (Actor.delete,),
    "flag": (Actor.flag,),
    "unflag": (Actor.flag, Actor.unflag),
    "move": (Actor.move,),
    "move elsewhere": (Actor.move_elsewhere,),
    "copy": (Actor.copy,),
    "move back": (Actor.move, Actor.move_back),
    "rename mailbox": (Actor.rename_mailbox,),
    "rename otherwise": (Actor.rename_otherwise,),
    "delete mailbox": (Actor.delete_mailbox,),
    "create mailbox": (Actor.create,),
}
"""What each deed consists of; between two steps the store is scanned."""

PAIRS: list[Case] = list(itertools.product(DEEDS, repeat=2))


class World:
    """Replicas that hold one message for each case, and nothing else."""

    def __init__(self, base: Path, cases: Sequence[Case]) -> None:
        os.makedirs(base, exist_ok=True)
        self.cases = list(cases)
        self.sides = [Side(base, f"r{n}", limits=NEVER_HELD) for n in range(len(cases[0]))]
        first, *others = self.sides
        for directory in (OTHER, THIRD, b".Box-start"):
            first.mailbox(directory)
        first.deliver(b".Box-start", b"for a head start", "")
        for number in range(len(self.cases)):
            actor = Actor(first, number)
            first.mailbox(actor.box)
            actor.put(actor.box, actor.mail)
        first.create()
        for other in others:
            other.create()
            settle(first, other)

    def run(self, order: Sequence[tuple[int, int]], ahead: Sequence[int]) -> Outcomes:
        """Do everything everywhere, then meet.

        Args:
            order: Sessions, as (initiator, responder), before all meet until nothing is left to say.
            ahead: How many writes each replica is ahead of the first when it begins.
        """
        for number, side in enumerate(self.sides):
            for turn in range(ahead[number]):
                (name,) = os.listdir(side.path(b".Box-start", b"cur"))
                path = side.path(b".Box-start", b"cur", name)
                os.rename(path, path.partition(b":2,")[0] + (b":2,S", b":2,")[turn % 2])
                side.scan()
            actors = [(Actor(side, n), DEEDS.get(case[number], ())) for n, case in enumerate(self.cases)]
            for step in range(2):
                for actor, deeds in actors:
                    if step < len(deeds):
                        deeds[step](actor)
                side.scan()
                answer(side)
        for a, b in order:
            sync(self.sides[a], self.sides[b])
        self.come_to_rest()
        return self.outcomes()

    def come_to_rest(self) -> None:
        for _ in range(6):
            sessions = [sync(a, b) for a, b in itertools.permutations(self.sides, 2)]
            if all(session.initiator.same for session in sessions):
                return
        raise AssertionError("they do not come to rest")

    def outcomes(self) -> Outcomes:
        """What all replicas show for each case."""
        found = [shown_by(side, len(self.cases)) for side in self.sides]
        for other in found[1:]:
            for number, case in enumerate(self.cases):
                assert other[number] == found[0][number], (case, "differs between replicas")
        assert len({root(side) for side in self.sides}) == 1, "the digests differ"
        for side in self.sides:
            side.at_rest()
        return {case: found[0][number] for number, case in enumerate(self.cases)}


def answer(side: Side) -> None:
    """A mailbox that disappeared is asked about: say that it was meant."""
    store = side.open()
    try:
        with store.index.transaction():
            for hold in holds(store.ledger):
                approve(store.ledger, hold.no)
        store.bump()
        store.apply()
        store.end_run("approve", None, 0, {})
    finally:
        store.close()


def root(side: Side) -> bytes:
    store = side.open()
    try:
        return bytes(store.index.meta["root"])
    finally:
        store.close()


WORDS = {"mail": "the message", "added": "the added one", "first": "the one made with it"}


def shown_by(side: Side, count: int) -> list[str]:
    """What a replica shows for each case, in words."""
    boxes: list[dict[str, list[str]]] = [{} for _ in range(count)]
    for path in os.listdir(side.root):
        name, _, number = os.fsdecode(path).removeprefix(".").partition("-")
        if number[:3].isdigit():
            boxes[int(number[:3])][title(name, number)] = []
    for directory, flags, text in side.shown():
        what, _, case = text.partition(" ")
        if not case.isdigit():
            continue
        name, _, number = directory.removeprefix(".").partition("-")
        words = WORDS[what] + (", flagged" if "F" in flags else "")
        boxes[int(case)].setdefault(title(name, number), []).append(words)
    return ["; ".join(line(name, sorted(box[name])) for name in sorted(box)) or "nothing" for box in boxes]


def title(name: str, number: str) -> str:
    """A mailbox's name without its case; one that had to get another name for its twin's sake says so."""
    return f"{name}~…" if "~" in number else name


def line(name: str, messages: list[str]) -> str:
    counted = [m if (n := messages.count(m)) == 1 else f"{n} × {m}" for m in sorted(set(messages))]
    return f"**{name}**: " + (" and ".join(counted) if counted else "empty")


# --- the page


HEAD = """\
# Conflicts

This page is made by the test that tries every combination on real stores (`python tools/conflicts.py`).

Two people change the same message, or the same mailbox, each on their own machine, before the machines have met. What
comes of it is the same on every replica, whichever meets which first; nobody has to resolve anything. Three rules explain
the table:

- **Each thing by itself.** Being there, each flag, a mailbox's name: each is settled alone. A flag put on here and another
  one there are both on; a message added to a mailbox that is renamed elsewhere is in the renamed mailbox.
- **Of two who change one and the same thing, the later wins.** Later is who had seen and made more changes, not whose clock
  says so: clocks may be wrong. Where both had the same number, the replicas' ids decide.
- **What nobody deleted stays.** A message that is moved here and deleted, or moved elsewhere, there is kept at the place that
  it was moved to. It may then be in two places; it is never in none. A mailbox that is deleted while somebody adds a
  message to it comes back with that message.

So it is with three and more replicas. Only two things may then depend on who meets whom first: whether a message that one
deletes while two others move it is brought back, and which of two mailboxes of one name takes another. Also then all
replicas end up with the same.

Deleted messages can be brought back as long as the vault keeps them, whoever won.

## What is done

There is a mailbox *Box* with one message in it, and two others, *Other* and *Third*.

| in the table | done |
| --- | --- |
"""
DONE = {
    "add": "a message is delivered into Box; if both do it, the same one",
    "delete": "the message is deleted",
    "flag": "the message is flagged",
    "unflag": "the message is flagged, and the flag is taken off again",
    "move": "the message is moved to Other",
    "move elsewhere": "the message is moved to Third",
    "copy": "the message is copied to Other",
    "move back": "the message is moved to Other, and then back into Box",
    "rename mailbox": "Box is renamed to New",
    "rename otherwise": "Box is renamed to Else",
    "delete mailbox": "Box is deleted with the message in it, and that is approved",
    "create mailbox": "a mailbox New is made, with a message in it",
}
BETWEEN = """
## What comes of it

A mailbox that is not named is not there, or has nothing of this. `New~…` is a mailbox that had to give its name up to another of
the same name: it is called `New~` and eight letters or digits, until somebody renames it.

| one | the other | on every replica then |
| --- | --- | --- |
"""


def page(outcomes: Outcomes) -> str:
    """docs/reference/conflicts.md, from what comes of each pair of which the first is later."""
    out = [HEAD]
    out += [f"| {deed} | {what} |\n" for deed, what in DONE.items()]
    out.append(BETWEEN)
    for one, other in itertools.combinations_with_replacement(DEEDS, 2):
        first, second = outcomes[one, other], outcomes[other, one]
        what = (
            first if first == second else f"if *{one}* is later: {first}<br>if *{other}* is later: {second}"
        )
        out.append(f"| {one} | {other} | {what} |\n")
    return "".join(out)
