"""Two real stores on a real disk, a Maildir++ and a tree of directories, under everything that mail programs do.

A model says which messages there should be. After each round of sessions both Maildirs show just those: nothing
vanished that nobody deleted, nothing is there twice, nothing is left in tmp/, and one more session has nothing to say.

Between two rounds no message is changed on both sides, so that the model needs no rules for conflicts: those are
compared with the oracle (test_merge_agrees_with_oracle.py). All else happens on both sides at once.
"""

from __future__ import annotations

import collections
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from mailkeep.domain.names import MailboxName
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.rules.guard import Limits
from mailkeep.store import holds
from mailkeep.store.findings import Report
from mailkeep.store.ledger import digest_of
from mailkeep.store.scan import WRITTEN_IN_PLACE
from mailkeep.store.store import Store
from mailkeep.wire.layouts import FS, MAILDIRPP, Layout
from mailkeep.wire.maildirname import flags_of, split

Flags = frozenset[str]
Shown = dict[str, collections.Counter[tuple[bytes, Flags]]]

NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)
ROUNDS_MAX = 8
EXAMPLES, EXAMPLES_DEEP = 15, 300
BOXES = ("INBOX", "Work", "Lists", "Work/Sub", "Lists/Über & unter")
A, B = 0, 1


class Message:
    """What the model knows of one message."""

    def __init__(self, box: str, content: bytes, flags: Flags, seen: set[int]) -> None:
        self.box, self.content, self.flags = box, content, flags
        self.seen = seen
        """On which sides it is so far."""

    def __repr__(self) -> str:
        return f"Message({self.box!r}, {self.content[:20]!r}, {sorted(self.flags)})"


class Side:
    """One Maildir and its store, which is open only while it is used."""

    def __init__(self, path: Path, name: str, layout: Layout) -> None:
        self.layout = layout
        self.root, self.state = os.fsencode(path / name), os.fsencode(path / f"{name}-state")
        for sub in ("tmp", "new", "cur"):
            os.makedirs(path / name / sub)
        store = Store.create(self.root, self.state, layout)
        store.scan()
        store.end_run("init", None, 0, {})
        store.close()

    def open(self, limits: Limits = NEVER_HELD) -> Store:
        return Store.open(self.root, self.state, limits)

    def directory(self, box: str, sub: str = "") -> bytes:
        return os.path.join(self.root, self.layout.directory(MailboxName.parse(box)), sub.encode())

    def boxes(self) -> dict[str, bytes]:
        """The mailboxes as any mail program would find them, without asking mailkeep."""
        found = {}
        for path, directories, _ in os.walk(self.root):
            if "cur" in map(os.fsdecode, directories):
                relative = os.path.relpath(path, self.root)
                found[str(self.layout.name(b"" if relative == b"." else relative))] = path
            directories[:] = [d for d in directories if d not in (b"cur", b"new", b"tmp")]
        return found

    def files(self, box: str) -> Iterator[tuple[bytes, bytes, Flags]]:
        """(path, content, flags) of a mailbox's files."""
        for sub, extra in (("new", frozenset[str]()), ("cur", frozenset("O"))):
            directory = self.directory(box, sub)
            for name in sorted(os.listdir(directory)):
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    yield path, file.read(), flags_of(split(name)[1])[0] | extra

    def shown(self) -> Shown:
        boxes = self.boxes()
        for path in boxes.values():
            assert os.listdir(os.path.join(path, b"tmp")) == [], "nothing is left in tmp/"
        return {box: collections.Counter((c, f) for _, c, f in self.files(box)) for box in boxes}

    def path(self, message: Message) -> bytes:
        """A file of this message; of two that look the same, one."""
        return next(p for p, c, f in self.files(message.box) if (c, f) == (message.content, message.flags))


class World:
    """Both sides, what people do on either, and what should come of it.

    Attributes:
        wanted: Mailboxes that somebody made and nobody deleted.
        touched: By side, contents and mailboxes that were changed there since the sides last agreed.
    """

    def __init__(self, path: Path) -> None:
        self.sides = (Side(path, "a", Layout(MAILDIRPP)), Side(path, "b", Layout(FS, "utf-8")))
        self.messages: list[Message] = []
        self.wanted = {"INBOX"}
        self.touched: tuple[set[object], set[object]] = (set(), set())
        self.serial = itertools.count(1)

    # --- what may be done without a conflict

    def mine(self, side: int) -> list[Message]:
        """Messages that are on this side and were not touched on the other."""
        busy = self.touched[1 - side]
        return [m for m in self.messages if side in m.seen and m.content not in busy and m.box not in busy]

    def boxes(self, side: int, *, calm: bool = False) -> list[str]:
        """Mailboxes on this side; with `calm`, those in which nothing happened on the other."""
        there = self.sides[side].boxes()
        other = self.touched[1 - side]
        return sorted(b for b in there if b not in other and not (calm and ("in", b) in other))

    def touch(self, side: int, *what: object) -> None:
        self.touched[side].update(what)

    def name(self) -> bytes:
        return b"%d.M%dP1.host" % (1_700_000_000 + next(self.serial), next(self.serial))

    # --- what mail programs do

    def deliver(self, side: int, box: str, text: bytes | None = None) -> Message:
        content = b"Subject: %d\n\n%b\n" % (next(self.serial), text or b"text")
        name = self.name()
        tmp, new = self.sides[side].directory(box, "tmp"), self.sides[side].directory(box, "new")
        with open(os.path.join(tmp, name), "wb") as file:
            file.write(content)
        os.rename(os.path.join(tmp, name), os.path.join(new, name))
        message = Message(box, content, frozenset(), {side})
        self.messages.append(message)
        self.touch(side, ("in", box))
        return message

    def flag(self, side: int, message: Message, flags: Flags) -> None:
        """Also the move from new/ to cur/: nobody moves a message back."""
        path = self.sides[side].path(message)
        base = split(os.path.basename(path))[0]
        info = b":2," + "".join(sorted(flags)).encode()
        os.rename(path, os.path.join(self.sides[side].directory(message.box, "cur"), base + info))
        message.flags = flags | {"O"}
        self.touch(side, message.content, ("in", message.box))

    def delete(self, side: int, message: Message) -> None:
        os.unlink(self.sides[side].path(message))
        self.messages.remove(message)
        self.touch(side, message.content, ("in", message.box))

    def move(self, side: int, message: Message, box: str, *, new_name: bool) -> None:
        path = self.sides[side].path(message)
        base, info = split(os.path.basename(path))
        sub = os.fsdecode(os.path.basename(os.path.dirname(path)))
        if box == message.box:
            new_name = True
        os.rename(
            path,
            os.path.join(self.sides[side].directory(box, sub), (self.name() if new_name else base) + info),
        )
        self.touch(side, message.content, ("in", message.box), ("in", box))
        message.box, message.seen = box, {side}

    def copy(self, side: int, message: Message, box: str, *, link: bool = False) -> Message:
        path = self.sides[side].path(message)
        info = split(os.path.basename(path))[1]
        sub = os.fsdecode(os.path.basename(os.path.dirname(path)))
        target = os.path.join(self.sides[side].directory(box, sub), self.name() + info)
        if link:
            os.link(path, target)
        else:
            shutil.copy(path, target)
        copy = Message(box, message.content, message.flags, {side})
        self.messages.append(copy)
        self.touch(side, message.content, ("in", box))
        return copy

    def rewrite(self, side: int, message: Message, *, in_place: bool) -> None:
        """An editor saves a message: over the same file, or by another one under its name."""
        path = self.sides[side].path(message)
        content = b"Subject: rewritten %d\n\nlonger text than before\n" % next(self.serial)
        if in_place:
            assert os.stat(path).st_nlink <= 2, "the model does not know which messages are one file"
            os.chmod(path, 0o600)
            with open(path, "r+b") as file:
                file.write(content)
                file.truncate()
        else:
            with open(path + b"~", "wb") as file:
                file.write(content)
            os.rename(path + b"~", path)
        self.touch(side, message.content, content, ("in", message.box))
        message.content, message.seen = content, {side}

    def create_box(self, side: int, box: str) -> None:
        for sub in ("tmp", "new", "cur"):
            os.makedirs(self.sides[side].directory(box, sub))
        self.wanted.add(box)
        self.touch(side, box)

    def rename_box(self, side: int, box: str, name: str) -> None:
        target = self.sides[side].directory(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(self.sides[side].directory(box), target)
        for message in self.messages:
            if message.box == box:
                message.box = name
        self.wanted.discard(box)
        self.wanted.add(name)
        self.touch(side, box, name)

    def delete_box(self, side: int, box: str) -> None:
        """Delete a mailbox, and say that it was meant: that is always asked."""
        shutil.rmtree(self.sides[side].directory(box))
        self.messages = [m for m in self.messages if m.box != box]
        self.wanted.discard(box)
        self.touch(side, box)
        store = self.sides[side].open()
        store.scan()
        self.approve_all(store)
        store.end_run("approve", None, 0, {})
        store.close()

    @staticmethod
    def approve_all(store: Store) -> int:
        with store.index.transaction():
            count = sum(holds.approve(store.ledger, hold.no) for hold in holds.holds(store.ledger))
        store.bump()
        store.apply()
        return count

    def is_leaf(self, box: str) -> bool:
        """Whether no mailbox lies below it: on one side it would go along, on the other not."""
        names = {
            *self.wanted,
            *(m.box for m in self.messages),
            *self.sides[A].boxes(),
            *self.sides[B].boxes(),
        }
        return not any(name.startswith(box + "/") for name in names)

    # --- sessions

    def session(
        self, one: int = A, limits: Limits = NEVER_HELD, pieces: int | None = None
    ) -> tuple[bool, list[Report]]:
        """One run as `sync` does it; with `pieces`, cut off after so many. Whether it said `same`, and the scans."""
        stores = [side.open(limits) for side in self.sides]
        try:
            reports = [store.scan() for store in stores]
            initiator, responder = Initiator(stores[one], "peer"), Responder(stores[1 - one])
            initiator.wire.greet()
            initiator.start()
            responder.wire.greet()
            if not talk(initiator, responder, pieces):
                return False, reports
            for store in stores:
                store.end_run("sync", "peer", 0, {})
            problems = [p for report in reports for p in report.problems if p[1] != WRITTEN_IN_PLACE]
            problems += [*initiator.refused, *responder.refused, *initiator.remote_problems]
            problems += initiator.applied.problems if initiator.applied is not None else []
            assert problems == []
            return initiator.same, reports
        finally:
            for store in stores:
                store.close()

    def settle(self, one: int = A) -> None:
        """Sessions until there is nothing to say; then everything is as it should be."""
        for _ in range(ROUNDS_MAX):
            same, reports = self.session(one)
            if same and not any(report.changed or report.unknown for report in reports):
                break
        else:
            raise AssertionError("they do not come to rest")
        self.check()
        for touched in self.touched:
            touched.clear()
        for message in self.messages:
            message.seen = {A, B}

    def expected(self) -> Shown:
        shown: Shown = {box: collections.Counter() for box in self.wanted}
        for message in self.messages:
            shown.setdefault(message.box, collections.Counter())[message.content, message.flags] += 1
        return shown

    def check(self) -> None:
        expected = self.expected()
        for side in self.sides:
            shown = side.shown()
            assert shown.keys() == expected.keys(), side.root
            for box, messages in expected.items():
                assert shown[box] == messages, (side.root, box)
            assert not os.path.isdir(os.path.join(side.state, b"trash")) or not os.listdir(
                side.state + b"/trash"
            )
            assert not os.path.exists(side.state + b"/lost+found")
        stores = [side.open() for side in self.sides]
        digests = [{box.id: digest_of(box) for box in store.ledger.alive()} for store in stores]
        waiting = [
            store.index.execute("SELECT count(*) FROM record WHERE todo").fetchone() for store in stores
        ]
        for store in stores:
            store.close()
        assert digests[0] == digests[1]
        assert waiting == [(0,), (0,)]


def talk(initiator: Initiator, responder: Responder, pieces: int | None) -> bool:
    """Carry bytes to and fro; False when the connection was cut, after so many pieces."""
    sent = 0
    while True:
        moved = False
        for source, target in ((initiator, responder), (responder, initiator)):
            source.produce()
            out = source.wire.output(flush=not source.has_more)
            if out:
                if sent == pieces:
                    return False
                data = bytes(out)
                del out[:]
                target.receive(data)
                moved, sent = True, sent + 1
        if initiator.finished and responder.finished and not moved:
            return True
        assert moved or initiator.has_more or responder.has_more, "both ends wait for each other"


SIDE = st.sampled_from((A, B))
FLAGS = st.frozensets(st.sampled_from("SFRTD"), max_size=3)
PICK = st.integers(0, 1 << 16)


class Maildirs(RuleBasedStateMachine):
    """Random days of two people with one mailbox tree."""

    directory: Path
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.directory / str(next(self.numbers)))

    def message(self, side: int, pick: int) -> Message | None:
        mine = self.world.mine(side)
        return mine[pick % len(mine)] if mine else None

    def box(self, side: int, pick: int, *, calm: bool = False) -> str:
        boxes = self.world.boxes(side, calm=calm) or ["INBOX"]
        return boxes[pick % len(boxes)]

    def free(self, pick: int) -> str | None:
        """A name that is free on both sides, and was since they last agreed."""
        world = self.world
        used = {
            *world.sides[A].boxes(),
            *world.sides[B].boxes(),
            *world.touched[A],
            *world.touched[B],
            *world.wanted,
        }
        names = [
            name for name in BOXES if name not in used and not any(m.box == name for m in world.messages)
        ]
        return names[pick % len(names)] if names else None

    @initialize(count=st.integers(0, 4), side=SIDE)
    def begin(self, count: int, side: int) -> None:
        for _ in range(count):
            self.world.deliver(side, "INBOX")
        if count > 2:
            self.world.create_box(side, "Work")
        self.world.settle()

    @rule(side=SIDE, pick=PICK, count=st.integers(1, 3))
    def deliver(self, side: int, pick: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver(side, self.box(side, pick))

    @rule(side=SIDE, pick=PICK, flags=FLAGS)
    def flag(self, side: int, pick: int, flags: Flags) -> None:
        if message := self.message(side, pick):
            self.world.flag(side, message, flags)

    @rule(side=SIDE, pick=PICK)
    def delete(self, side: int, pick: int) -> None:
        if message := self.message(side, pick):
            self.world.delete(side, message)

    @rule(side=SIDE, pick=PICK, where=PICK, new_name=st.booleans())
    def move(self, side: int, pick: int, where: int, new_name: bool) -> None:
        if message := self.message(side, pick):
            self.world.move(side, message, self.box(side, where), new_name=new_name)

    @rule(side=SIDE, pick=PICK, where=PICK)
    def copy(self, side: int, pick: int, where: int) -> None:
        if message := self.message(side, pick):
            self.world.copy(side, message, self.box(side, where))

    @rule(side=SIDE, pick=PICK, in_place=st.booleans())
    def rewrite(self, side: int, pick: int, in_place: bool) -> None:
        if message := self.message(side, pick):
            # A copy that came from the peer is one file under two names, in place both would change.
            alone = os.stat(self.world.sides[side].path(message)).st_nlink <= 2
            self.world.rewrite(side, message, in_place=in_place and alone)

    @rule(side=SIDE, pick=PICK)
    def create_box(self, side: int, pick: int) -> None:
        if name := self.free(pick):
            self.world.create_box(side, name)

    @rule(side=SIDE, pick=PICK, where=PICK)
    def rename_box(self, side: int, pick: int, where: int) -> None:
        box, name = self.box(side, pick, calm=True), self.free(where)
        if (
            name
            and box != "INBOX"
            and self.world.is_leaf(box)
            and self.world.is_leaf(name)
            and not name.startswith(box + "/")
        ):
            self.world.rename_box(side, box, name)

    @rule(side=SIDE, pick=PICK)
    def delete_box(self, side: int, pick: int) -> None:
        box = self.box(side, pick, calm=True)
        if box != "INBOX" and self.world.is_leaf(box) and ("in", box) not in self.world.touched[1 - side]:
            self.world.delete_box(side, box)

    @rule(side=SIDE)
    def scan(self, side: int) -> None:
        store = self.world.sides[side].open(NEVER_HELD)
        store.scan()
        store.end_run("scan", None, 0, {})
        store.close()

    @rule(one=SIDE)
    def sync(self, one: int) -> None:
        self.world.settle(one)

    @rule(one=SIDE, pieces=st.integers(1, 14))
    def interrupted(self, one: int, pieces: int) -> None:
        """A session is cut off; both stores are opened anew."""
        self.world.session(one, pieces=pieces)

    def teardown(self) -> None:
        try:
            self.world.settle()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()


def run_machine(path: Path, examples: int, steps: int) -> None:
    machine = type("MaildirsHere", (Maildirs,), {"directory": path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_machine(tmp_path: Path) -> None:
    """Each example runs whole sessions on a real disk: a profile's number is one for parsers."""
    run_machine(tmp_path, EXAMPLES_DEEP if settings().max_examples >= 1000 else EXAMPLES, 18)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_machine_for_long(tmp_path: Path) -> None:
    run_machine(tmp_path, 2000, 40)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- what went wrong once


def scan(side: Side, limits: Limits = NEVER_HELD) -> Report:
    """Scan until nothing is unknown; what the last scan of these found."""
    for _ in range(ROUNDS_MAX):
        store = side.open(limits)
        try:
            report = store.scan()
            store.end_run("scan", None, 0, {})
        finally:
            store.close()
        if not report.unknown:
            return report
    raise AssertionError("something stays unknown")


def test_an_old_file_rewritten_in_place_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory changes by that. Each scan checks a slice of all files, the first ones no less than the last."""
    for module in ("scan", "reading"):
        monkeypatch.setattr(f"mailkeep.store.{module}.YOUNG_NS", 0)
    messages = [world.deliver(A, "INBOX") for _ in range(8)]
    world.settle()
    world.settle()
    world.rewrite(A, messages[0], in_place=True)
    world.settle()


@pytest.mark.parametrize("by_move", [False, True])
def test_a_file_rewritten_in_place_and_moved(world: World, by_move: bool) -> None:
    """The vault's object is that very file: it no longer has what its name says, and explains no removal."""
    world.create_box(A, "Work")
    message = world.deliver(A, "INBOX")
    world.settle()
    if by_move:
        world.move(A, message, "Work", new_name=False)
    world.rewrite(A, message, in_place=True)
    if not by_move:
        world.move(A, message, "Work", new_name=False)
    world.settle()


def test_a_copy_outlives_the_object_that_was_overwritten(world: World) -> None:
    """The vault loses its object of a content; another file has it, and the peer gets it at once."""
    message = world.deliver(A, "INBOX")
    scan(world.sides[A])
    world.copy(A, message, "INBOX")
    scan(world.sides[A])
    world.rewrite(A, message, in_place=True)
    world.session()
    world.check()


def test_a_file_rewritten_to_what_another_has(world: World) -> None:
    one, other = world.deliver(A, "INBOX"), world.deliver(A, "INBOX")
    world.settle()
    path = world.sides[A].path(one)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(other.content)
        file.truncate()
    one.content = other.content
    world.settle()


def test_a_mailbox_that_disappears_is_held(world: World) -> None:
    """It was taken for one that cannot be read, made again empty, and then its messages were removed one by one."""
    world.create_box(A, "Work")
    messages = [world.deliver(A, "Work") for _ in range(3)]
    world.settle()
    shutil.rmtree(world.sides[A].directory("Work"))
    report = scan(world.sides[A])
    assert (report.held, report.expunged) == (3, 0)
    for _ in range(3):
        world.session()
    assert "Work" not in world.sides[A].boxes()
    assert world.sides[B].shown()["Work"] == collections.Counter((m.content, m.flags) for m in messages)
    answer(world.sides[A], holds.reject)
    world.settle()


def test_a_deleted_mailbox_goes_with_its_last_message(world: World) -> None:
    """Deleted on one side, delivered to on the other: it stays as long as that message, on both sides."""
    world.create_box(A, "Work")
    world.settle()
    world.delete_box(A, "Work")
    message = world.deliver(B, "Work")
    world.settle()
    assert "Work" in world.sides[A].boxes()
    world.delete(A, message)
    world.settle()
    assert "Work" not in world.sides[A].boxes()


# --- holds


SOON_HELD = Limits(count=2, exempt=())


def answer(side: Side, how: Any) -> int:
    """Approve or reject all that is held."""
    store = side.open()
    try:
        with store.index.transaction():
            count: int = sum(how(store.ledger, hold.no) for hold in holds.holds(store.ledger))
        store.bump()
        store.apply()
        store.end_run("answer", None, 0, {})
        return count
    finally:
        store.close()


@pytest.mark.parametrize("how", [holds.approve, holds.reject])
@pytest.mark.parametrize("where", ["here", "there"])
def test_many_deletions_wait_for_an_answer(world: World, where: str, how: Any) -> None:
    """Held where they are found, or at the peer; everything else flows; the answer travels."""
    messages = [world.deliver(A, "INBOX") for _ in range(6)]
    world.settle()
    for message in messages[:5]:
        os.unlink(world.sides[A].path(message))
    if where == "there":
        scan(world.sides[A])  # without limits: they become tombstones
    late = world.deliver(B, "INBOX")
    for _ in range(3):
        world.session(limits=SOON_HELD)
    inbox = [side.shown()["INBOX"] for side in world.sides]
    assert set(inbox[A]) == {(m.content, m.flags) for m in (messages[5], late)}
    assert set(inbox[B]) == {(m.content, m.flags) for m in (*messages, late)}
    assert answer(world.sides[A if where == "here" else B], how) == 5
    if how is holds.approve:
        world.messages = [messages[5], late]
    for _ in range(3):
        world.session(B, limits=SOON_HELD)  # an approval travels with its deletions: they are not held again
    world.settle()


def held_at_the_peer(world: World) -> list[Message]:
    """Four messages that A has deleted, which B holds."""
    messages = [world.deliver(A, "INBOX") for _ in range(4)]
    world.settle()
    for message in messages:
        os.unlink(world.sides[A].path(message))
    scan(world.sides[A])
    world.session(limits=SOON_HELD)
    return messages


def test_a_held_file_that_is_flagged_stays_everywhere(world: World) -> None:
    messages = held_at_the_peer(world)
    world.flag(B, messages[0], frozenset("F"))
    world.session(limits=SOON_HELD)
    answer(world.sides[B], holds.approve)
    world.messages = [messages[0]]
    world.settle()


def test_a_held_file_that_is_removed_by_hand_is_approved(world: World) -> None:
    messages = held_at_the_peer(world)
    os.unlink(world.sides[B].path(messages[0]))
    scan(world.sides[B], SOON_HELD)
    assert answer(world.sides[B], holds.approve) == 3
    world.messages = []
    world.settle()


def test_two_machines_found_the_same_mail(tmp_path: Path) -> None:
    """Each indexed its copy before they met: one message each, and where the UIDs agree they stay."""
    world = World(tmp_path)
    for n in range(5):
        for side in world.sides:
            path = os.path.join(side.directory("INBOX", "cur"), b"%d.M1P1.host:2,S" % n)
            with open(path, "wb") as file:
                file.write(b"Subject: %d\n\n" % n)
            scan(side)
        world.messages.append(Message("INBOX", b"Subject: %d\n\n" % n, frozenset("SO"), {A, B}))
    world.settle()
    for side in world.sides:
        store = side.open()
        assert sorted(r.uid for r in store.ledger.records("live")) == [1, 2, 3, 4, 5]
        store.close()
