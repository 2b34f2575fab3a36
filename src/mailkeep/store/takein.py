"""Taking a copy in: `mailkeep import`. It only adds.

A message of the copy is added to its mailbox unless that has as many of this content already; so a repeated
import adds nothing, and one that was cut off goes on. What is there already keeps its flags: they are newer.
What was expunged here since the copy was made stays expunged, unless it is asked for.

The way is that of every message: content hashed and durable in the vault, then one transaction for a batch, whose
records carry the journal's mark, then the files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mailkeep.domain.annotation import NOEXPIRE, name_of
from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.flags import unpack
from mailkeep.domain.record import COPY_MAX, LIVE, UID_MAX
from mailkeep.store.annotations import adopt
from mailkeep.store.copyread import other_bytes
from mailkeep.system import clock, fs
from mailkeep.wire import copies

if TYPE_CHECKING:
    from mailkeep.store.copyread import Copy
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store
    from mailkeep.wire.copies import Annotation, Box, Message

BATCH = 2000
BATCH_BYTES = 64 << 20
"""Messages, and bytes of them, between two commits."""
WHOLE_BYTES = 1 << 20
PROBLEMS_MAX = 1000


class Taken:
    """What came of an import.

    Attributes:
        added: Messages.
        there: That were there already, in this mailbox or, once expunged from it, in another.
        expunged_here: That were expunged here since, and stay so.
        expunged: Expunged messages of the copy that can now be given back here.
        annotations: That were laid down here as in the copy;
        pending: how many of these wait for a person, since mail would go by them that is kept without them.
        refused: Annotations of the copy for which there is no room here.
        damaged: Messages of the copy that are not as they were copied, and were left out.
        problems: (path in the copy, or mailbox; why), at most PROBLEMS_MAX.
    """

    __slots__ = (
        "added", "annotations", "bytes", "damaged", "expunged", "expunged_here", "mailboxes", "pending", "problems", "refused", "there",
    )  # fmt: skip

    def __init__(self) -> None:
        self.added = self.bytes = self.there = self.expunged_here = self.expunged = 0
        self.damaged = self.mailboxes = self.annotations = self.pending = self.refused = 0
        self.problems: list[tuple[str, str]] = []


class TakeIn:
    """One import into a store that was scanned, under its lock.

    Attributes:
        contents: Numbers of the contents of what was added.
    """

    def __init__(self, store: Store, copy: Copy, *, removed: bool = False, expunged: bool = False) -> None:
        """Prepare.

        Args:
            removed: What was expunged here since is brought back too, where no other mailbox has it.
            expunged: The copy's expunged messages as such, so that they can be given back here.
        """
        self.store, self.ledger, self.index, self.copy = store, store.ledger, store.index, copy
        self.removed, self.expunged = removed, expunged
        self.contents: list[int] = []
        self.taken = Taken()
        self._same_store = copy.head.store == store.id
        # In a store that met nobody a copy is what it begins with: what others did since wins over it, as over
        # what a first scan finds.
        self._weak = len(self.index.ids) == 2
        self._names: dict[str, Mailbox] = {}
        self._line: Box | None = None
        self._boxes: list[Box] = []
        self._pending: list[tuple[Message, Box | None]] = []
        self._pending_bytes = 0
        # Of this batch, not committed yet: how many messages of a content a mailbox gets, and contents in the vault.
        self._added: dict[tuple[str, bytes, bool], int] = {}
        self._written: set[bytes] = set()

    def run(self) -> Taken:
        """Take everything in. Durable on return, all but the files; `Store.apply` puts them in place.

        Raises:
            DataError: The manifest was changed meanwhile; what came before stays, and is whole.
            StorageError: The disk is full, or fails; the same command goes on where it stopped.
        """
        try:
            return self._run()
        except OSError as err:
            raise fs.explain(err, "the copy could not be taken in") from err

    def _run(self) -> Taken:
        done = 0
        if self.store.progress is not None:
            self.store.progress.expect("read", self.copy.end.messages, self.copy.end.bytes)
        self._lay_down()
        for line in self.copy.lines():
            if isinstance(line, copies.Box):
                self._line = line
                if self._find(line.name, line.id) is None:
                    self._boxes.append(line)
            elif isinstance(line, copies.Message):
                done += 1
                if line.gone is None:
                    self._take(line, self._line)
                elif self.expunged:
                    self._take(line, None)
                if self.store.progress is not None:
                    self.store.progress("read", done, self.taken.bytes)
        self._commit()
        return self.taken

    # --- annotations

    def _lay_down(self) -> None:
        """What was laid down there, where nothing ever was here; before any mail, which it may protect. Durable on return."""
        lines = self._annotations()
        if not lines:
            return
        boxes = {line.name for line in self.copy.lines() if isinstance(line, copies.Box)}
        with self.index.transaction():
            wanted = [
                (box, line.key, line.text)
                for line in lines
                for box in self._bearers(line, line.mailbox in boxes)
            ]
            done = adopt(self.ledger, wanted, clock.now(), weak=self._weak)
        self.taken.annotations, self.taken.pending = done[:2]
        self.taken.refused += len(done[2])
        for box, key, why in done[2]:
            self._problem(box.name or "the whole store", f"{key} is not laid down: {why}")

    def _annotations(self) -> list[Annotation]:
        out: list[Annotation] = []
        chars = 0
        for line in self.copy.lines():
            if isinstance(line, copies.Annotation):
                chars += len(line.key) + len(line.text)
                if chars > copies.ANNOTATIONS_CHARS_MAX:
                    self.taken.refused += 1
                    self._problem(
                        "annotations",
                        f"more than {copies.ANNOTATIONS_CHARS_MAX:,} characters: the rest is left out",
                    )
                    break
                out.append(line)
            elif not isinstance(line, copies.Head):
                break
        return out

    def _bearers(self, line: Annotation, is_copied: bool) -> list[Mailbox]:
        """The mailbox or level here that one of the copy is; of a legal hold also the one that has its name. In a transaction."""
        if not line.mailbox:
            return [self.ledger.whole_row()]
        box = self._find(line.mailbox, line.id)
        if box is None and is_copied:
            box = self._made(line.mailbox, line.id)
        if box is None and len(self.ledger.boxes) < copies.COPIED_BOXES_MAX:
            box = self._names[line.mailbox] = self.ledger.make_level(line.mailbox, clock.now())
        if box is None:
            self.taken.refused += 1
            self._problem(
                line.mailbox, "there is no room for another mailbox to bear what was laid down for it"
            )
            return []
        named = self._named(line.mailbox)
        return [box, named] if name_of(line.key) == NOEXPIRE and named not in (None, box) else [box]

    # --- which mailbox

    def _find(self, name: str, box_id: bytes) -> Mailbox | None:
        """The mailbox here that one of the copy is; a deleted one too.

        Of this very store's own copy by its id, which a rename keeps; of another's by its name.
        """
        if self._same_store and box_id in self.ledger.by_id:
            return self.ledger.by_id[box_id]
        return self._named(name)

    def _named(self, name: str) -> Mailbox | None:
        if not self._names:
            boxes = sorted(self.ledger.boxes.values(), key=lambda box: (box.alive, box.id), reverse=True)
            self._names = {box.name: box for box in reversed(boxes)}
        return self._names.get(name)

    def _made(self, name: str, box_id: bytes) -> Mailbox:
        """The same, made if it is not there. In a transaction."""
        box = self._find(name, box_id)
        if box is None:
            box = self.ledger.create(name, clock.now(), self._weak)
            if box_id:  # another store that has a copy of this mailbox takes it for the same one
                self.ledger.reidentify(box, box_id, int(self.index.meta.get("given", 0)))
            self._names[box.name] = box
            self.taken.mailboxes += 1
        return box

    # --- which messages

    def _take(self, message: Message, line: Box | None) -> None:
        name, box_id = (message.mailbox, b"") if line is None else (line.name, line.id)
        box = self._find(name, box_id)
        shown, dead = self._known(box, message.content_id)
        key = (name, message.content_id, line is None)
        mine = self._added.get(key, 0)
        if line is None:
            if shown + dead + mine > message.copy:
                return
        elif shown + mine > message.copy:
            self.taken.there += 1
            return
        elif dead and not (self.removed and not self._lives(message.content_id)):
            if self._lives(message.content_id):
                self.taken.there += 1
            else:
                self.taken.expunged_here += 1
            return
        if not self._content(message):
            return
        self._added[key] = mine + 1
        self._pending.append((message, line))
        self._pending_bytes += message.size
        if len(self._pending) >= BATCH or self._pending_bytes >= BATCH_BYTES:
            self._commit()

    def _known(self, box: Mailbox | None, content_id: bytes) -> tuple[int, int]:
        """How many messages of a content a mailbox shows, and how many of its were expunged."""
        row = self.index.execute("SELECT no FROM content WHERE id = ?", (content_id,)).fetchone()
        if box is None or row is None:
            return 0, 0
        counts = dict(
            self.index.execute(
                "SELECT live OR hold IS NOT NULL, count(*) FROM record WHERE content = ? AND mailbox = ? GROUP BY 1",
                (row[0], box.no),
            )
        )
        return counts.get(1, 0), counts.get(0, 0)

    def _lives(self, content_id: bytes) -> bool:
        row = self.index.execute("SELECT no FROM content WHERE id = ?", (content_id,)).fetchone()
        return row is not None and self.ledger.is_live(row[0])

    # --- contents

    def _content(self, message: Message) -> bool:
        """Let the vault have the content; False: the copy has not what it says."""
        row = self.index.execute("SELECT kept FROM content WHERE id = ?", (message.content_id,)).fetchone()
        if (row is not None and row[0]) or message.content_id in self._written:
            return True
        try:
            if self.store.dry:
                os.close(self.copy.open(message))
            elif message.size <= WHOLE_BYTES:
                data = self.copy.read(message)
                self.store.vault.write(message.content_id, message.date, data)
            else:
                self._large(message)
        except DataError as err:
            self.taken.damaged += 1
            self._problem(printable(message.path), err.what)
            return False
        self._written.add(message.content_id)
        return True

    def _large(self, message: Message) -> None:
        source = self.copy.open(message)
        try:
            writer = self.store.vault.writer(message.content_id, message.date, message.size)
            try:
                while chunk := _chunk(source):
                    writer.write(chunk)
                try:
                    writer.finish()
                except DataError as err:
                    raise other_bytes() from err
            finally:
                writer.abandon()
        finally:
            os.close(source)

    def _problem(self, where: str, why: str) -> None:
        if len(self.taken.problems) < PROBLEMS_MAX:
            self.taken.problems.append((where, why))

    # --- the index

    def _commit(self) -> None:
        """Enter what was read: durable on return."""
        if not self._pending and not self._boxes:
            return
        if not self.store.dry:
            self.store.vault.syncer.sync()
        with self.index.transaction():
            for line in self._boxes:
                self._made(line.name, line.id)
            for message, at in self._pending:
                content = self.ledger.content(message.content_id, message.size, kept=True)
                if at is None:
                    self._bury(message, content)
                    continue
                box = self._made(at.name, at.id)
                record = self.ledger.add(
                    box, content, message.content_id, unpack(message.flags), message.date, self._weak
                )
                record.todo = 1
                self.ledger.set_file(record)
                self.contents.append(content)
                self.taken.added += 1
                self.taken.bytes += message.size
        self._pending, self._pending_bytes, self._boxes = [], 0, []
        self._added.clear()
        self._written.clear()

    def _bury(self, message: Message, content: int) -> None:
        """A tombstone that anything wins over: what lives here or at a peer lives on.

        Only weak values may say so (rank 0): among them live wins, and so does every write that somebody made.
        """
        box = self._made(message.mailbox, b"")
        copy = self.index.value(
            "SELECT coalesce(max(copy) + 1, 0) FROM record WHERE content = ? AND mailbox = ?",
            (content, box.no),
        )
        if copy > COPY_MAX or box.uidnext > UID_MAX:
            return
        uid, box.uidnext = box.uidnext, box.uidnext + 1
        record = self.ledger.insert(
            box, content, message.content_id, copy, uid, unpack(message.flags), message.date, weak=True
        )
        self.ledger.take(
            record, {**record.regs, LIVE: self.ledger.register(False, weak=True)}, message.content_id
        )
        record.todo = 0
        self.ledger.set_file(record)
        self.taken.expunged += 1


def _chunk(fd: int) -> bytes:
    try:
        return os.read(fd, fs.READ_BYTES)
    except OSError as err:
        raise DataError(f"it cannot be read: {os.strerror(err.errno or 5)}", scope="message") from err
