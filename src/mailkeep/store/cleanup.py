"""The second pass of `mailkeep expire`: contents that nothing needs any longer are freed, and tombstones forgotten.

What is freed is gone for good, so the order of writes is that of `Batch`: the index says first that the contents are no
longer kept, and which objects are to go; then these go; then the index says that they have gone. A content that is believed
kept is never one that is gone. Cut off in between, the next run finishes it, but for what has come back meanwhile.

A tombstone of which the content is freed is remembered until every replica has acknowledged it and its own time has
passed; whoever was given the record is a member, so this waits for all who could bring the message back.
"""

from __future__ import annotations

import os
from hashlib import sha256

from msgpack import packb, unpackb

from mailkeep.domain.record import known_to
from mailkeep.rules import expiry
from mailkeep.rules.expiry import Claim, awaited, everybody, kept_until, needed
from mailkeep.store.rows import NO_FILE
from mailkeep.system import fs
from mailkeep.wire.registers import decode, memoised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from mailkeep.store.ledger import Ledger
    from mailkeep.store.policy import Policy
    from mailkeep.store.vault import Vault

    Shown = Callable[[list[int]], dict[int, int]]

PAGE = 2000
BATCH = 5000
"""Contents of one transaction and one sync."""
FREEING = "freeing"
"""In meta: msgpack list of ids of contents that are no longer kept, and whose objects are about to go, or NULL."""
WAITING = "unforgotten"
"""In meta: msgpack [fingerprint, gone]: tombstones that old were looked at, with what was known then, and none could go."""
SLICE = 20_000
"""Contents that a run looks at for such as no record has."""
SLICE_AT = "orphans_at"
"""In meta: up to which content number that was done."""


SWEEP = 2
"""Of 256 parts of the vault, so many are looked at in each run for objects that the index does not know."""
SWEEP_AT = "sweep_at"
"""In meta: which part is next."""
ORPHANS = "orphans"
"""In meta: msgpack [[first, last, since]]: numbers of contents that no record has, and since when that is known."""
_ORPHANS = "FROM content WHERE no BETWEEN ? AND ? AND kept AND NOT EXISTS (SELECT 1 FROM record WHERE content = content.no)"


class Free:
    """A content that is to be freed.

    Attributes:
        no, content_id: Its number here, and its id.
        box: The number of the mailbox in which it was expunged; 0: no record has it.
        size: Bytes.
        gone: When it was expunged, or found to be nobody's.
    """

    __slots__ = ("box", "content_id", "gone", "no", "size")

    def __init__(self, no: int, content_id: bytes, box: int, size: int, gone: int) -> None:
        self.no, self.content_id, self.box, self.size, self.gone = no, content_id, box, size, gone


class Decided:
    """What the contents whose retention has passed come to.

    Attributes:
        free: To be freed, the longest expunged first.
        done: Numbers of records that need their content no longer.
        later: (until when, record number): looked at again then.
        stays: Contents that are not freed, by reason (mailkeep.rules.expiry).
    """

    def __init__(self) -> None:
        self.free: list[Free] = []
        self.done: list[int] = []
        self.later: list[tuple[int, int]] = []
        self.stays: dict[str, int] = {}


class CleanUp:
    """Clean-up of one store, under its lock.

    Attributes:
        freed: Contents whose object is gone;
        freed_bytes: what that gave back to the file system: not counting objects whose bytes a file in the Maildir shares.
        shared: Objects of which another name is left.
        forgotten: Tombstones that are gone.
    """

    def __init__(self, ledger: Ledger, vault: Vault, policy: Policy, now: int, *, dry: bool = False) -> None:
        self.ledger, self.index, self.vault, self.policy = ledger, ledger.index, vault, policy
        self.now, self.dry = now, dry
        self.execute = ledger.execute
        self.freed = self.freed_bytes = self.shared = self.forgotten = 0

    # --- contents whose retention has passed

    def decide(self, copies: int = 0, shown: Shown | None = None, most: int = 1 << 62) -> Decided:
        """Look at every tombstone whose retention has passed, at most `most` of them. Nothing is written.

        Args:
            copies: So many peers must have shown that they hold a content before it is freed.
            shown: Says of contents, by number, how many have.
        """
        out = Decided()
        seen: set[int] = set()
        last, looked = (-1, 0), 0
        retention = {no: self.policy.retention(box) for no, box in self.ledger.boxes.items()}
        while looked < most:
            rows = list(
                self.execute(
                    "SELECT r.no, r.mailbox, r.content, r.gone, r.keep, r.todo OR r.sub, c.id, c.size, c.kept,"
                    " (SELECT count(*) FROM record o WHERE o.content = r.content)"
                    " FROM record r JOIN content c ON c.no = r.content"
                    " WHERE r.keep <= ? AND (r.keep, r.no) > (?, ?) ORDER BY r.keep, r.no LIMIT ?",
                    (self.now, *last, min(PAGE, most - looked)),
                )
            )
            if not rows:
                break
            last, looked = (rows[-1][4], rows[-1][0]), looked + len(rows)
            legal = self._legal(rows)
            candidates = []
            for row in rows:
                no, mailbox, content, gone, keep = row[:5]
                until = kept_until(gone, keep, retention[mailbox])
                if until > self.now:
                    out.later.append((until, no))
                elif no in legal:
                    out.later.append((self._again(mailbox), no))
                    self._stays(out, expiry.LEGAL)
                elif content in seen:
                    out.done.append(no)
                else:
                    seen.add(content)
                    candidates.append(row)
            self._weigh(candidates, out, copies, shown)
        return out

    def _legal(self, rows: Iterable[tuple[Any, ...]]) -> set[int]:
        by_box: dict[int, list[int]] = {}
        if self.policy.any_legal():
            for no, mailbox, *_ in rows:
                by_box.setdefault(mailbox, []).append(no)
        out: set[int] = set()
        for mailbox, records in by_box.items():
            out |= self.policy.covered(self.ledger.boxes[mailbox], records)
        return out

    def _again(self, mailbox: int) -> int:
        """When to look again at what a legal hold keeps."""
        ends = [hold.until for hold in self.policy.legal(self.ledger.boxes[mailbox])]
        return min(
            [self.now + expiry.AGAIN_SECONDS, *(end for end in ends if end is not None and end > self.now)]
        )

    def _stays(self, out: Decided, why: str) -> None:
        out.stays[why] = out.stays.get(why, 0) + 1

    def _weigh(
        self, candidates: list[tuple[Any, ...]], out: Decided, copies: int, shown: Shown | None
    ) -> None:
        """Decide on tombstones of contents that were not looked at before."""
        nobodys: list[tuple[int, Free]] = []
        alone = [needed([Claim(False, False, waits, None, False)], self.now) for waits in (False, True)]
        for no, mailbox, content, gone, _, waits, content_id, size, kept, records in candidates:
            why = alone[bool(waits)] if records == 1 else needed(self._claims(content), self.now)
            if not kept and why not in (expiry.WAITS, expiry.LEGAL):
                out.done.append(no)  # it never came, or went with another record
            elif why is None:
                nobodys.append((no, Free(content, bytes(content_id), mailbox, size, gone)))
            elif why in (expiry.LIVE, expiry.HELD, expiry.KEPT):  # that one sees to it from now on
                out.done.append(no)
            else:
                self._stays(out, why)
                if why != expiry.WAITS:
                    out.later.append((self.now + expiry.DAY_SECONDS, no))
        if not copies:
            out.free += [one for _, one in nobodys]
            return
        counts = shown([one.no for _, one in nobodys]) if shown is not None and nobodys else {}
        for no, one in nobodys:
            why = needed((), self.now, copies, counts.get(one.no, 0))
            if why is None:
                out.free.append(one)
            else:
                self._stays(out, why)
                out.later.append((self.now + expiry.DAY_SECONDS, no))

    def _claims(self, content: int) -> list[Claim]:
        out = []
        rows = self.execute(
            "SELECT no, mailbox, live, hold, todo, sub, keep FROM record WHERE content = ?", (content,)
        )
        for no, mailbox, live, hold, todo, sub, keep in rows:
            box = self.ledger.boxes[mailbox]
            legal = bool(self.policy.legal(box)) and bool(self.policy.covered(box, [no]))
            waits = not live and hold is None and bool(todo or sub != NO_FILE)
            out.append(Claim(bool(live), hold is not None, waits, keep, legal))
        return out

    def note(self, decided: Decided) -> None:
        """Write what was decided of records, but for contents that are freed; in batches. Durable on return."""
        done = [(no,) for no in decided.done]
        for start in range(0, max(len(done), len(decided.later)), BATCH):
            with self.index.transaction():
                self.index.executemany(
                    "UPDATE record SET keep = NULL WHERE no = ?", done[start : start + BATCH]
                )
                if done:
                    self.index.meta[WAITING] = None
                self.index.executemany(
                    "UPDATE record SET keep = ? WHERE no = ?", decided.later[start : start + BATCH]
                )

    # --- freeing

    def free(self, batch: list[Free]) -> None:
        """Free at most BATCH contents. Durable on return; cut off anywhere, `finish` goes on."""
        with self.index.transaction():
            self.index.executemany(
                "UPDATE record SET keep = NULL WHERE content = ? AND keep IS NOT NULL",
                [(c.no,) for c in batch],
            )
            self.index.executemany(
                "UPDATE content SET kept = 0, ino = NULL WHERE no = ?", [(c.no,) for c in batch]
            )
            self.index.meta[FREEING], self.index.meta[WAITING] = packb([c.content_id for c in batch]), None
        self._drop([c.content_id for c in batch])

    def finish(self) -> None:
        """Finish what a run that was cut off began to free, but for what has come back since."""
        blob = self.index.meta.get(FREEING)
        if not blob:
            return
        wanted = [bytes(content_id) for content_id in unpackb(blob)]
        self._drop([content_id for content_id in wanted if not self._is_kept(content_id)])

    def _is_kept(self, content_id: bytes) -> bool:
        row = self.execute("SELECT kept FROM content WHERE id = ?", (content_id,)).fetchone()
        return row is not None and bool(row[0])

    def _drop(self, contents: list[bytes]) -> None:
        for content_id in contents:
            path = self.vault.path(content_id)
            try:
                st = os.lstat(path)
            except FileNotFoundError:
                continue
            if not self.dry:
                fs.unlink(path)
            self.freed += 1
            if st.st_nlink == 1:
                self.freed_bytes += st.st_blocks * 512
            else:
                self.shared += 1
        if contents and not self.dry:
            self.vault.syncer.note(self.vault.path(contents[0]))
            self.vault.syncer.sync()
        with self.index.transaction():
            self.index.meta[FREEING] = None

    # --- tombstones

    def forgettable(self, age_seconds: int) -> Iterator[list[int]]:
        """Pages of numbers of tombstones that everybody has had, for long enough; nothing is written."""
        bounds = self._bounds()
        fingerprint = self._fingerprint(bounds)
        before = self.now - age_seconds
        blob = self.index.meta.get(WAITING)
        noted = unpackb(blob) if blob else [b"", 0]
        last = (noted[1] if noted[0] == fingerprint else -1, 1 << 62)
        has = memoised(lambda regs: known_to(decode(regs, False, 1), bounds))
        while True:
            rows = list(
                self.execute(
                    "SELECT no, mailbox, regs, gone FROM record WHERE keep IS NULL AND gone <= ? AND (gone, no) > (?, ?)"
                    " AND NOT live AND hold IS NULL AND todo = 0 AND sub = 0 ORDER BY gone, no LIMIT ?",
                    (before, *last, PAGE),
                )
            )
            if not rows:
                break
            last = (rows[-1][3], rows[-1][0])
            legal = self._legal(rows)
            found = [row[0] for row in rows if row[0] not in legal and has(row[2])]
            if found:
                yield found
        self._looked = packb([fingerprint, last[0]])

    def _bounds(self) -> dict[int, int]:
        index = self.index
        who = awaited(index.members, index.me, index.waived, index.forgotten)
        return everybody(index.acks(), who, range(len(index.ids)))

    def _fingerprint(self, bounds: dict[int, int]) -> bytes:
        return sha256(packb([sorted(bounds.items()), self.policy.fingerprint()])).digest()[:16]

    def forget(self, records: list[int]) -> None:
        """Let tombstones go, and contents that then nobody has; belongs in a transaction.

        The newest record and the newest content stay: numbers are never given twice.
        """
        index = self.index
        newest = index.value("SELECT max(no) FROM record")
        rows = [(no,) for no in records if no != newest]
        contents = {self.index.value("SELECT content FROM record WHERE no = ?", row): None for row in rows}
        index.executemany("DELETE FROM record WHERE no = ?", rows)
        index.executemany(
            "DELETE FROM content WHERE no = ?1 AND NOT kept AND no < (SELECT max(no) FROM content)"
            " AND NOT EXISTS (SELECT 1 FROM record WHERE content = ?1)",
            [(content,) for content in contents],
        )
        self.forgotten += len(rows)

    def note_looked(self) -> None:
        """Note that tombstones that could not be forgotten need no second look; belongs in a transaction."""
        self.index.meta[WAITING] = self._looked

    # --- what no record has

    def orphans(self, retention_seconds: int) -> list[Free]:
        """Contents that no record has had for so long; and look at some more for such. Belongs in a transaction.

        A session that was cut off leaves them, and a rebuild of the index. To which mailbox they belonged nobody
        knows, so while there is a legal hold on any, they stay.
        """
        meta = self.index.meta
        blob = meta.get(ORPHANS)
        ranges: list[list[int]] = unpackb(blob) if blob else []
        at = int(meta.get(SLICE_AT, 0))
        top = self.index.value("SELECT coalesce(max(no), 0) FROM content")
        if at >= top:
            at = 0
        upto = min(top, at + SLICE)
        ranges += self._orphans(at, upto, ranges)
        meta[SLICE_AT] = upto
        out: list[Free] = []
        if not self.policy.any_legal():
            for known in [r for r in ranges if r[2] + retention_seconds <= self.now]:
                rows = list(self.execute(f"SELECT no, id, size {_ORPHANS}", (known[0], known[1])))
                out += [Free(no, bytes(content_id), 0, size, known[2]) for no, content_id, size in rows]
                if not rows:
                    ranges.remove(known)
        meta[ORPHANS] = packb(ranges) if ranges else None
        return out

    def _orphans(self, after: int, upto: int, known: list[list[int]]) -> list[list[int]]:
        """New ranges of them, of numbers above `after`."""
        ranges: list[list[int]] = []
        for (no,) in self.execute(f"SELECT no {_ORPHANS} ORDER BY no", (after + 1, upto)):
            if any(first <= no <= last for first, last, _ in known):
                continue
            if ranges and ranges[-1][1] == no - 1:
                ranges[-1][1] = no
            else:
                ranges.append([no, no, self.now])
        return ranges

    # --- what the index does not know

    def sweep(self) -> None:
        """Look at a part of the vault for objects of which the index knows nothing: a run was cut off, or it is a backup.

        What is whole is entered as kept, and is freed after its time if no message comes of it. Of a content that was
        freed, the object goes. Damaged bytes are left alone: who knows of what they are the last copy.
        """
        at = int(self.index.meta.get(SWEEP_AT, 0))
        with self.index.transaction():
            for prefix in range(at, at + SWEEP):
                for content_id, path in self.vault.objects_of(prefix % 256):
                    self._object(content_id, path)
            self.index.meta[SWEEP_AT] = (at + SWEEP) % 256

    def _object(self, content_id: bytes, path: bytes) -> None:
        row = self.execute("SELECT no, kept FROM content WHERE id = ?", (content_id,)).fetchone()
        if (row is not None and row[1]) or not self.vault.is_whole(content_id):
            return
        claims = [] if row is None else self._claims(row[0])
        if claims and needed(claims, self.now) is None:
            if not self.dry:
                self.vault.drop(content_id)
            return
        self.ledger.content(content_id, os.lstat(path).st_size, kept=True)


def note_gone(ledger: Ledger, vault: Vault) -> int:
    """After an index came from a backup: what was freed since then is not believed kept. Belongs in a transaction.

    Of contents that a live message has nothing is concluded: whoever reads them finds out. How many are gone.
    """
    rows = ledger.execute(
        "SELECT no, id FROM content WHERE kept AND NOT EXISTS"
        " (SELECT 1 FROM record r WHERE r.content = content.no AND (r.live OR r.hold IS NOT NULL))"
    )
    gone = [(no,) for no, content_id in rows if vault.stat(content_id) is None]
    ledger.index.executemany("UPDATE content SET kept = 0, ino = NULL WHERE no = ?", gone)
    return len(gone)


__all__ = ["BATCH", "CleanUp", "Decided", "Free", "note_gone"]
