"""Bringing back from a source what a comparison found missing: only added, nothing overwritten, each byte hashed.

In batches: contents durable in the vault, then one transaction of records that carry the journal's mark, then, at the end,
the files. All messages of one content are in one transaction: cut off anywhere, what was brought back is *here* to the next
run, which goes on with the rest and doubles nothing.
"""

from __future__ import annotations

import os
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING

from mailkeep.domain.errors import DataError
from mailkeep.domain.flags import unpack
from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.store.foreign import MAILDIR, STORE
from mailkeep.store.missing import DELETED, LACKING, MISSING, PURGED, SPARE
from mailkeep.system import clock, fs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.missing import Comparison, Found
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store

BATCH, BATCH_BYTES = 2000, 64 << 20
"""Messages, and bytes of them, between two commits."""
TRASHED = "T"
"""A message that came back with it would be removed again by the next program that expunges."""


class Plan:
    """What a restore would do.

    Attributes:
        count, size: Messages, and the bytes of their contents as far as known.
        once: A mailbox gets no message twice.
        by_mailbox: How many go where.
        contents: How many only get their content.
    """

    def __init__(self, comparison: Comparison, *, into: str | None = None, deleted_too: bool = False) -> None:
        """Make it.

        Args:
            into: The mailbox for all; None: those of the source, or where a message was removed from.
            deleted_too: Also what was removed on purpose.

        Raises:
            BadMailboxName: `into` is no name.
        """
        self.comparison = comparison
        self.into = str(MailboxName.parse(into)) if into is not None else None
        wanted = [SPARE]
        if comparison.source.has_contents:
            wanted += [MISSING, LACKING]
        if deleted_too:
            wanted += [DELETED, PURGED] if comparison.source.has_contents else [DELETED]
        self.states = tuple(wanted)
        # Only a source with mailboxes can mean two messages by two that are equal.
        self.once = into is not None or comparison.source.kind not in (MAILDIR, STORE)
        self.count = self.size = self.contents = 0
        self.by_mailbox: dict[str, int] = {}
        last: object = None
        targets: set[str] = set()
        for found in self.found():
            if _key(found) != last:
                last, targets = _key(found), set()
                self.size += found.item.size
            name = self.target(found)
            if found.state == LACKING:
                self.contents += 1
            elif name not in targets or not self.once:
                targets.add(name)
                self.count += 1
                self.by_mailbox[name] = self.by_mailbox.get(name, 0) + 1

    def target(self, found: Found) -> str:
        """The name of the mailbox into which a message comes."""
        if self.into is not None:
            return self.into
        if found.item.mailbox:
            return found.item.mailbox
        if found.record is not None:
            store: Store = self.comparison.store
            name: str = store.ledger.boxes[store.ledger.record(found.record).mailbox].name
            return name
        return "INBOX"

    def found(self) -> Iterator[Found]:
        """What it brings back, all of one content together, by date or as it stands in the source."""
        first = "no" if self.comparison.source.in_order else "coalesce(date, 0)"
        key = "coalesce(content, 'k' || known)"
        return self.comparison.found(
            *self.states, order=f"min({first}) OVER (PARTITION BY {key}), {key}, coalesce(date, 0), no"
        )


class Restore:
    """Carries a plan out, on a store that is open for writing.

    Attributes:
        restored: Messages that were brought back.
        contents: Contents that messages here had been waiting for.
        back: Numbers of the contents of what was brought back.
        failed: Messages that the source could not give after all; its problems say why.
        problems: (where, why) of others.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.comparison = plan.comparison
        self.store = plan.comparison.store
        self.restored = self.contents = self.failed = 0
        self.back: list[int] = []
        self.problems: list[tuple[str, str]] = []
        self._boxes: dict[str, Mailbox | None] = {}
        self._bytes = 0
        # One pass over the source for all batches: an mbox is read from its beginning to its end.
        self._asked: deque[tuple[bytes, bytes]] = deque()
        self._given = self.comparison.source.contents(iter(self._asked.popleft, None))

    def run(self) -> None:
        """Do it. Durable on return, with the files in their places.

        Raises:
            StorageError: The disk is full, or fails. What was committed stays; the same command goes on.
        """
        try:
            self._run()
        except OSError as err:
            raise fs.explain(err, "messages could not be brought back") from err
        with self.store.index.transaction():
            self.store.ledger.note_lacking()
        if self.restored or self.contents:
            self.store.bump()
            self.store.apply()

    def _run(self) -> None:
        groups = self._groups()
        pending: list[list[Found]] = []
        messages = 0
        progress = self.comparison.progress
        if progress is not None:
            progress.expect("brought back", self.plan.count + self.plan.contents, self.plan.size)
        for group in groups:
            pending.append(group)
            self._bytes += group[0].item.size
            messages += len(group)
            if messages >= BATCH or self._bytes >= BATCH_BYTES:
                self._take(pending)
                pending, messages = [], 0
                if progress is not None:
                    progress("brought back", self.restored + self.contents + self.failed)
        self._take(pending)

    def _groups(self) -> Iterator[list[Found]]:
        group: list[Found] = []
        for found in self.plan.found():
            if group and _key(group[0]) != _key(found):
                yield group
                group = []
            group.append(found)
        if group:
            yield group

    def _take(self, groups: list[list[Found]]) -> None:
        """One batch: contents first, durable; then the records."""
        ready: list[tuple[list[Found], bytes, int]] = []
        needed: list[list[Found]] = []
        for group in groups:
            kept = self._kept(group[0])
            if kept is not None:
                ready.append((group, *kept))
            elif group[0].item.content is None:
                self._fail(group)
            else:
                needed.append(group)
        for group in needed:
            content_id = group[0].item.content or b""
            self._asked.append((group[0].item.place, content_id))
            data = next(self._given)
            size = None if data is None else self._write(content_id, group[0].item.date or 0, data)
            if size is None:
                self._fail(group)
            else:
                ready.append((group, content_id, size))
        self._bytes = 0
        if not ready:
            return
        self.store.vault.syncer.sync()
        order = {id(group): at for at, group in enumerate(groups)}
        ready.sort(key=lambda entry: order[id(entry[0])])
        with self.store.index.transaction():
            for group, content_id, size in ready:
                self._enter(group, content_id, size)
            self.store.ledger.settle_names()

    def _fail(self, group: list[Found]) -> None:
        self.failed += len(group)

    def _kept(self, found: Found) -> tuple[bytes, int] | None:
        """Id and size of the content, if the vault has it."""
        index, row = self.store.index, None
        if found.known is not None:
            row = index.execute("SELECT id, size, kept FROM content WHERE no = ?", (found.known,)).fetchone()
        else:
            row = index.execute(
                "SELECT id, size, kept FROM content WHERE id = ?", (found.item.content,)
            ).fetchone()
        return (bytes(row[0]), int(row[1])) if row is not None and row[2] else None

    def _write(self, content_id: bytes, date: int, data: bytes | int) -> int | None:
        """Put a content into the vault; None: it is not what it was when it was compared."""
        vault = self.store.vault
        if isinstance(data, bytes):
            if sha256(data).digest() != content_id:
                self._changed(content_id)
                return None
            vault.write(content_id, date, data)
            return len(data)
        try:
            size = os.fstat(data).st_size
            writer = vault.writer(content_id, date, size)
            try:
                while chunk := os.read(data, fs.READ_BYTES):
                    writer.write(chunk)
                writer.finish()
            except DataError:
                self._changed(content_id)
                return None
            finally:
                writer.abandon()
            return size
        finally:
            os.close(data)

    def _changed(self, content_id: bytes) -> None:
        self.problems.append((content_id.hex(), "the source has other bytes now than when it was compared"))

    def _enter(self, group: list[Found], content_id: bytes, size: int) -> None:
        ledger = self.store.ledger
        content = ledger.content(content_id, size, kept=True)
        targets: set[str] = set()
        for found in group:
            if found.state == LACKING:
                self.contents += 1
                continue
            name = self.plan.target(found)
            if name in targets and self.plan.once:
                continue
            targets.add(name)
            box = self._box(name)
            if box is None:
                self.failed += 1
                continue
            flags, date = found.item.flags, found.item.date
            if found.record is not None and not self.comparison.source.has_contents:
                before = ledger.record(found.record)
                flags, date = before.flags, before.date
            record = ledger.add(
                box, content, content_id, unpack(flags) - {TRASHED}, clock.now() if date is None else date
            )
            record.todo = 1
            ledger.set_file(record)
            self.back.append(content)
            self.restored += 1

    def _box(self, name: str) -> Mailbox | None:
        """The mailbox of this name, made if it is not there; None: there cannot be one."""
        if name not in self._boxes:
            try:
                text = str(MailboxName.parse(name))
                self._boxes[name] = self.store.ledger.named(text) or self.store.ledger.create(
                    text, clock.now()
                )
            except BadMailboxName as err:
                self.problems.append((name, str(err)))
                self._boxes[name] = None
        return self._boxes[name]


def _key(found: Found) -> object:
    return found.item.content if found.item.content is not None else found.known
