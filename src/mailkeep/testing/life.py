"""What mail programs do to two Maildirs, drawn from a seed, and which messages there should be after all of it.

Between two meetings no message is changed on both sides, so that what is expected needs no rules for conflicts;
all else happens on both sides at once, also while mailkeep runs.
"""

from __future__ import annotations

import collections
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from mailkeep.domain.names import MailboxName
from mailkeep.testing import spool
from mailkeep.wire.layouts import Unmappable
from mailkeep.wire.maildirname import flags_of, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from mailkeep.wire.layouts import Layout

    Flags = frozenset[str]
    Shown = dict[str, collections.Counter[tuple[bytes, Flags]]]

NEW_BOXES = ("Work", "Job", "Lists/One", "Lists/Two", "Spare", "Über & unter", "Old/2023")
BOXES_MAX = 16
SEEN: Flags = frozenset("O")
FLAGS = ("", "S", "F", "FS", "RS", "T", "DFS")


class File:
    """A message's file, as it is now."""

    __slots__ = ("box", "content", "flags", "name", "size", "sub")

    def __init__(self, box: str, sub: bytes, name: bytes, content: bytes, size: int, flags: Flags) -> None:
        self.box, self.sub, self.name, self.content, self.size, self.flags = (
            box,
            sub,
            name,
            content,
            size,
            flags,
        )


class Tree:
    """One Maildir, looked at without asking mailkeep."""

    def __init__(self, root: bytes, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self._known: dict[tuple[int, int, int, int], bytes] = {}

    def boxes(self) -> dict[str, bytes]:
        """Mailboxes, and where they lie below the root."""
        found: dict[str, bytes] = {}
        for path in spool.mailboxes(self.root):
            try:
                found.setdefault(str(self.layout.name(path)), path)
            except Unmappable:
                continue
        return found

    def path(self, box: str, sub: bytes = b"", name: bytes = b"") -> bytes:
        """Where something of a mailbox lies, or would."""
        directory = self.boxes().get(box)
        if directory is None:
            directory = self.layout.directory(MailboxName.parse(box))
        return os.path.join(self.root, directory, sub, name)

    def files(self) -> Iterator[File]:
        """Every message that a mail program would show. What goes away meanwhile is left out."""
        for box, directory in sorted(self.boxes().items()):
            for sub in spool.SUBS:
                here = os.path.join(self.root, directory, sub)
                try:
                    names = sorted(os.listdir(here))
                except FileNotFoundError:
                    continue
                for name in names:
                    if name[:1] == b".":
                        continue
                    try:
                        content, size = self._content(os.path.join(here, name))
                    except FileNotFoundError:
                        continue
                    flags = flags_of(split(name)[1])[0] | (SEEN if sub == b"cur" else frozenset())
                    yield File(box, sub, name, content, size, flags)

    def _content(self, path: bytes) -> tuple[bytes, int]:
        st = os.lstat(path)
        key = (st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
        if key not in self._known:
            with open(path, "rb") as file:
                self._known[key] = hashlib.sha256(file.read()).digest()
        return self._known[key], st.st_size

    def shown(self) -> Shown:
        """By mailbox, how often each (content id, flags) is there."""
        out: Shown = {box: collections.Counter() for box in self.boxes()}
        for file in self.files():
            out[file.box][file.content, file.flags] += 1
        return out


class Message:
    """What is expected of one message."""

    __slots__ = ("box", "content", "flags", "seen")

    def __init__(self, box: str, content: bytes, flags: Flags, seen: set[int]) -> None:
        self.box, self.content, self.flags, self.seen = box, content, flags, seen


class Life:
    """Both trees, what is done to them, and what should come of it.

    Attributes:
        sizes: Of every content that there ever was, by its id.
        deleted: Contents of which somebody deleted a message.
        renamed: New names of mailboxes since both met. One by one no message goes from there: a mailbox that is renamed and
            emptied in one go is taken for another one, and a person is asked.
        gone: Mailboxes that somebody removed with all that was in them, and the messages of each: mailkeep asks a person
            before it believes that. Until the answer, nothing is expected of them but that they are kept.
    """

    def __init__(self, trees: tuple[Tree, Tree]) -> None:
        self.trees = trees
        self.messages: list[Message] = []
        self.sizes: dict[bytes, int] = {}
        self.deleted: set[bytes] = set()
        self.gone: dict[str, list[Message]] = {}
        self.renamed: set[str] = set()
        self.touched: tuple[set[object], set[object]] = (set(), set())
        self.done: collections.Counter[str] = collections.Counter()
        self.serial = 0

    def take_in(self, side: int) -> None:
        """What lies on one side is what is expected, from here on."""
        for file in self.trees[side].files():
            self.messages.append(Message(file.box, file.content, file.flags, {side}))
            self.sizes[file.content] = file.size

    def agreed(self) -> None:
        """Both sides have met and are the same: either may change anything again."""
        for touched in self.touched:
            touched.clear()
        self.renamed.clear()
        for message in self.messages:
            message.seen = {0, 1}

    def expected(self) -> dict[str, collections.Counter[tuple[bytes, Flags]]]:
        """By mailbox, how often each (content id, flags) should be there; empty mailboxes, and `gone`, are left out."""
        out: Shown = {}
        for message in self.messages:
            if message.box in self.gone:
                continue
            out.setdefault(message.box, collections.Counter())[message.content, message.flags] += 1
        return out

    def kept(self) -> set[bytes]:
        """Contents that have to be somewhere."""
        return {message.content for message in self.messages}

    def answered(self, box: str, *, approved: bool) -> None:
        """A person said whether the removal of a mailbox was meant."""
        messages = self.gone.pop(box)
        if approved:
            self.messages = [m for m in self.messages if m not in messages]
            self.deleted |= {m.content for m in messages}

    # --- one act

    def act(self, side: int, random: Random) -> None:
        """One thing that a mail program does on one side."""
        acts = (
            (self._deliver, 6), (self._flag, 5), (self._delete, 3), (self._move, 4), (self._copy, 2),
            (self._make_box, 1), (self._rename_box, 1),
        )  # fmt: skip
        self._do(random.choices([a for a, _ in acts], [weight for _, weight in acts])[0], side, random)

    def remove_box(self, side: int, random: Random) -> None:
        """A mailbox is removed with all its mail, if there is one that nobody has touched."""
        self._do(self._remove_box, side, random)

    def _do(self, act: Callable[[int, Random], bool], side: int, random: Random) -> None:
        try:
            done = act(side, random)
        except FileNotFoundError:
            done = False  # mailkeep was quicker: nothing was done
        if done:
            self.done[act.__name__.lstrip("_").replace("_", " ")] += 1

    def _touch(self, side: int, *what: object) -> None:
        self.touched[side].update(what)

    def _one(self, side: int, random: Random) -> tuple[Message, bytes] | None:
        """A message that only this side has changed since they met, and its file."""
        busy = self.touched[1 - side]
        mine = [
            m
            for m in self.messages
            if side in m.seen and m.content not in busy and ("box", m.box) not in busy
        ]
        if not mine:
            return None
        message = random.choice(mine)
        wanted = (message.box, message.content, message.flags)
        for file in self.trees[side].files():
            if (file.box, file.content, file.flags) == wanted:
                return message, self.trees[side].path(file.box, file.sub, file.name)
        return None

    def _box(self, side: int, random: Random) -> str:
        busy = self.touched[1 - side]
        boxes = [box for box in sorted(self.trees[side].boxes()) if ("box", box) not in busy]
        return random.choice(boxes or ["INBOX"])

    def _name(self, random: Random) -> bytes:
        self.serial += 1
        return b"%d.M%dP%d.life" % (1_720_000_000 + self.serial, self.serial, random.getrandbits(16))

    def _deliver(self, side: int, random: Random) -> bool:
        box, name = self._box(side, random), self._name(random)
        data = spool.text(random, self.serial, spool.size_of(random))
        tree = self.trees[side]
        tmp = tree.path(box, b"tmp", name)
        with open(tmp, "xb") as file:
            file.write(data)
        os.rename(tmp, tree.path(box, b"new", name))
        content = hashlib.sha256(data).digest()
        self.sizes[content] = len(data)
        self.messages.append(Message(box, content, frozenset(), {side}))
        self._touch(side, ("in", box))
        return True

    def _flag(self, side: int, random: Random) -> bool:
        found = self._one(side, random)
        if found is None:
            return False
        message, path = found
        flags = random.choice(FLAGS)
        base = split(os.path.basename(path))[0]
        os.rename(path, self.trees[side].path(message.box, b"cur", base + b":2," + flags.encode()))
        message.flags = frozenset(flags) | SEEN
        self._touch(side, message.content, ("in", message.box))
        return True

    def _delete(self, side: int, random: Random) -> bool:
        found = self._one(side, random)
        if found is None:
            return False
        message, path = found
        if message.box in self.renamed:
            return False
        os.unlink(path)
        self.messages.remove(message)
        self.deleted.add(message.content)
        self._touch(side, message.content, ("in", message.box))
        return True

    def _move(self, side: int, random: Random) -> bool:
        found = self._one(side, random)
        if found is None:
            return False
        message, path = found
        if message.box in self.renamed:
            return False
        box = self._box(side, random)
        base, info = split(os.path.basename(path))
        if box == message.box or random.random() < 0.5:
            base = self._name(random)
        sub = os.path.basename(os.path.dirname(path))
        os.rename(path, self.trees[side].path(box, sub, base + info))
        self._touch(side, message.content, ("in", message.box), ("in", box))
        message.box, message.seen = box, {side}
        return True

    def _copy(self, side: int, random: Random) -> bool:
        found = self._one(side, random)
        if found is None:
            return False
        message, path = found
        box = self._box(side, random)
        info = split(os.path.basename(path))[1]
        sub = os.path.basename(os.path.dirname(path))
        target = self.trees[side].path(box, sub, self._name(random) + info)
        if random.random() < 0.5:
            os.link(path, target)
        else:
            tmp = self.trees[side].path(box, b"tmp", os.path.basename(target))
            with open(path, "rb") as source, open(tmp, "xb") as file:
                file.write(source.read())
            os.rename(tmp, target)
        self.messages.append(Message(box, message.content, message.flags, {side}))
        self._touch(side, message.content, ("in", box))
        return True

    def _free(self, random: Random) -> str:
        """A name that no mailbox has, or had since they met."""
        taken = {*self.trees[0].boxes(), *self.trees[1].boxes(), *(m.box for m in self.messages)}
        taken |= {what[1] for side in self.touched for what in side if isinstance(what, tuple)}
        names = [
            name
            for name in NEW_BOXES
            if name not in taken and not any(box.startswith(name + "/") for box in taken)
        ]
        self.serial += 1
        return random.choice(names) if names else f"Box {self.serial}"

    def _make_box(self, side: int, random: Random) -> bool:
        if len(self.trees[side].boxes()) >= BOXES_MAX:
            return False
        name = self._free(random)
        spool.make_mailbox(self.trees[side].path(name))
        self._touch(side, ("box", name))
        return True

    def _rename_box(self, side: int, random: Random) -> bool:
        box, name = self._box(side, random), self._free(random)
        boxes = {*self.trees[0].boxes(), *self.trees[1].boxes()}
        if (
            box == "INBOX"
            or ("in", box) in self.touched[1 - side]
            or any(other.startswith(box + "/") for other in boxes)
            or box not in self.trees[1 - side].boxes()
            or (("in", box) in self.touched[side] and not self._has_old_mail(side, box))
        ):
            return False
        target = self.trees[side].path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(self.trees[side].path(box), target)
        for message in self.messages:
            if message.box == box:
                message.box = name
        self.renamed.add(name)
        self._touch(side, ("box", box), ("box", name))
        return True

    def _has_old_mail(self, side: int, box: str) -> bool:
        """Whether there is mail in it that both sides had when they met, and that is as it was: the mailbox is known by that."""
        return any(
            m.box == box and len(m.seen) == 2 and m.content not in self.touched[side] for m in self.messages
        )

    def _remove_box(self, side: int, random: Random) -> bool:
        """A mailbox goes with all its mail: one that nobody has touched since both met, whose mail is nowhere else."""
        touched = self.touched[0] | self.touched[1]
        boxes = {*self.trees[0].boxes(), *self.trees[1].boxes()}
        fit = []
        for box in sorted(boxes - {"INBOX"}):
            contents = {m.content for m in self.messages if m.box == box}
            if not (
                touched & {("in", box), ("box", box), *contents}
                or any(other.startswith(box + "/") for other in boxes)
                or any(m.content in contents for m in self.messages if m.box != box)
                or not all(box in tree.boxes() for tree in self.trees)
            ):
                fit.append(box)
        if not fit:
            return False
        box = random.choice(fit)
        messages = [m for m in self.messages if m.box == box]
        aside = os.path.join(os.path.dirname(self.trees[side].root), b"removed.%d" % self.done.total())
        os.rename(self.trees[side].path(box), aside)  # in one step, as a mail program's rename into its trash
        self.gone[box] = messages
        self._touch(side, ("box", box), *(m.content for m in messages))
        shutil.rmtree(aside, ignore_errors=True)  # what is left of a run that was killed may still work in it
        return True
