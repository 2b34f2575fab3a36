"""`mailkeep expire` on one store: two passes, always both, in this order.

1. Expire (`mailkeep.store.due`): what the rule of its mailbox says is due becomes a tombstone, and its file goes.
2. Clean-up (`mailkeep.store.cleanup`): contents whose retention has passed are freed, tombstones that everybody has had
   for long enough are forgotten, and so is old history.

Both go in batches, each complete in itself, so a run may end after any of them: by its limits, or because it was killed.
What is held waits for a person; a clock that jumped stops both passes before anything is done.
"""

from __future__ import annotations

from itertools import pairwise

from msgpack import packb, unpackb

from mailkeep.rules.expiry import awaited, clock_trouble
from mailkeep.rules.guard import Tally
from mailkeep.store.annotations import tell_guard
from mailkeep.store.cleanup import BATCH as FREE_BATCH
from mailkeep.store.cleanup import CleanUp, Free
from mailkeep.store.due import BATCH, DATE_INDEX, Due, Expiring, Finder
from mailkeep.store.history import trim
from mailkeep.system import clock, fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeVar

    from mailkeep.store.cleanup import Decided, Shown
    from mailkeep.store.index import Index
    from mailkeep.store.policy import Policy
    from mailkeep.store.store import Store

    Thing = TypeVar("Thing")

CLOCK = "expire_clock"
"""In meta: msgpack [seconds since 1970, id of the machine's start, seconds since that] of the last run."""
FREED = "freed"
"""In meta: msgpack [[seconds since 1970, contents]]: what was freed lately, for the guard's window."""
WAITS = "expire_waits"
"""In meta: msgpack [stopped, unusual, would_free] of the last run's report, if a person has to look at it."""


class Bounds:
    """How much one run may do.

    Attributes:
        seconds: It begins no new batch after so long; the first pass has half of it. 0: no limit.
        messages: At most so many messages expire, contents are freed and tombstones forgotten, each. 0: no limit.
        rate: At most so many of them a second. 0: no limit.
        clock_is_right: A person says so.
        free: A person lets so many contents be freed, though it is more than is usual.
    """

    def __init__(
        self,
        seconds: float = 0,
        messages: int = 0,
        rate: int = 0,
        *,
        clock_is_right: bool = False,
        free: int = 0,
    ) -> None:
        self.seconds, self.messages, self.rate = seconds, messages, rate
        self.clock_is_right, self.free = clock_is_right, free


class Report:
    """What a run did, or would do.

    Attributes:
        stopped: Why nothing was done at all, or ''.
        expired, held: Messages of the first pass.
        freed, freed_bytes, shared, forgotten, trimmed: Of the second; see `CleanUp`. `trimmed` counts entries of history.
        unusual: Why the clean-up freed nothing, or '': it would have been more than is usual.
        would_free: How many contents, then.
        stays: Contents whose retention has passed, and that stay, by reason.
        ended: 'time' or 'messages' when a limit ended a pass with more to do, else ''.
        problems: (where, why) of files that could not be removed yet.
    """

    def __init__(self) -> None:
        self.stopped = self.unusual = self.ended = ""
        self.expired = self.held = self.freed = self.freed_bytes = self.shared = self.forgotten = (
            self.trimmed
        ) = 0
        self.would_free = 0
        self.stays: dict[str, int] = {}
        self.problems: list[tuple[str, str]] = []

    @property
    def changed(self) -> bool:
        """Whether the store is another than before."""
        return bool(self.expired or self.held or self.freed or self.forgotten)


class Watcher:
    """Is told of each thing that a run is about to do; this one does not care."""

    def due(self, batch: Sequence[Due], reasons: dict[int, str], lost: set[int]) -> None:
        """These messages expire; those of a mailbox with a reason, if they would vanish, are held."""

    def free(self, batch: Sequence[Free]) -> None:
        """These contents are freed."""

    def forget(self, records: Sequence[int]) -> None:
        """These tombstones are forgotten."""


class Expire:
    """One run on an open store, after a scan. A dry one does all but touch files; nothing of it stays."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        bounds: Bounds | None = None,
        *,
        copies: int = 0,
        shown: Shown | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """Prepare.

        Args:
            policy: As of now.
            copies, shown: See `CleanUp.decide`.
        """
        self.store, self.policy, self.bounds = store, policy, bounds or Bounds()
        self.copies, self.shown = copies, shown
        self.watcher = watcher or Watcher()
        self.report = Report()
        self.began = clock.monotonic()
        self.done = 0
        self._counted: dict[int, bool] = {}

    def run(self) -> Report:
        """Both passes. Durable on return.

        Raises:
            StorageError: The disk failed, or is full; the next run goes on.
        """
        try:
            return self._run()
        except OSError as err:
            raise fs.explain(err, "contents could not be freed") from err

    def _run(self) -> Report:
        store, report = self.store, self.report
        clean = CleanUp(store.ledger, store.vault, self.policy, clock.now(), dry=store.dry)
        clean.finish()
        report.stopped = self._stopped()
        if not report.stopped:
            self._expire()
            clean.now = clock.now()
            self._clean_up(clean)
        with store.index.transaction():
            if not report.stopped:
                self.policy.note()
                store.index.meta[CLOCK] = packb([clock.now(), *clock.running()])
            waits = report.stopped or report.unusual
            store.index.meta[WAITS] = (
                packb([report.stopped, report.unusual, report.would_free]) if waits else None
            )
        return report

    def _stopped(self) -> str:
        if self.store.distrust:
            return f"{self.store.distrust}: mail that is missing is not put back yet"
        if self.bounds.clock_is_right:
            return ""
        blob = self.store.index.meta.get(CLOCK)
        last, boot, at = unpackb(blob) if blob else (None, "", 0)
        if (
            last is None
        ):  # any run tells the time, but for those that went by a clock that had jumped before them
            times = [
                at for (at,) in self.store.index.execute("SELECT coalesce(ended, began) FROM run ORDER BY no")
            ]
            last = times[-1] if times else None
            gaps = (clock_trouble(after, before) for before, after in pairwise(times) if after > before)
            trouble = next((words for words in gaps if words), "")
            if trouble:
                return trouble
        boot_now, now = clock.running()
        running = now - at if boot and boot == boot_now else None
        return clock_trouble(clock.now(), last, running=running)

    # --- limits

    def _batches(self, things: Sequence[Thing], size: int, seconds: float) -> Iterator[Sequence[Thing]]:
        """In batches, as far and as fast as the limits let."""
        bounds, report = self.bounds, self.report
        if bounds.rate:
            size = max(1, min(size, bounds.rate))
        most = bounds.messages or len(things)
        if len(things) > most:
            report.ended = "messages"
        for start in range(0, min(most, len(things)), size):
            if self._is_over(seconds):
                report.ended = "time"
                return
            if bounds.rate and not self.store.dry:
                ahead = self.done / bounds.rate - (clock.monotonic() - self.began)
                if ahead > 0:
                    clock.sleep(ahead)
            batch = things[start : min(start + size, most)]
            self.done += len(batch)
            yield batch

    def _is_over(self, seconds: float) -> bool:
        return bool(seconds) and not self.store.dry and clock.monotonic() - self.began >= seconds

    # --- the first pass

    def _expire(self) -> None:
        store, report = self.store, self.report
        finder = Finder(store.ledger, self.policy, clock.now())
        boxes = finder.mailboxes()
        if not boxes:
            return
        with store.index.transaction():
            store.index.execute(DATE_INDEX)
        found = [one for box, rule in boxes for one in finder.find(box, rule)]
        if not found:
            return
        expiring = Expiring(store.ledger, store.limits)
        reasons = expiring.judge(found)
        start = 0
        for batch in self._batches(found, BATCH, self.bounds.seconds / 2):
            self.watcher.due(batch, reasons, expiring.lost)
            with store.index.transaction():
                expiring.batch(start, start + len(batch))
            start += len(batch)
            report.expired, report.held = expiring.expired, expiring.held
            store.bump()
            self._apply()

    def _apply(self) -> None:
        if self.store.dry:
            self.store.index.execute(
                "UPDATE record SET todo = 0, sub = 0 WHERE todo AND NOT live AND hold IS NULL"
            )
            return
        for problem in self.store.apply().problems:
            if problem not in self.report.problems:
                self.report.problems.append(problem)

    # --- the second pass

    def _clean_up(self, clean: CleanUp) -> None:
        store, report = self.store, self.report
        decided = clean.decide(self.copies, self.shown)
        report.stays = decided.stays
        clean.sweep()
        with store.index.transaction():
            decided.free += clean.orphans(store.ledger.keeping.expunged)
        report.unusual = self._unusual(decided)
        if report.unusual:
            report.would_free = len(decided.free)
            decided.free = []
        clean.note(decided)
        for batch in self._batches(decided.free, FREE_BATCH, self.bounds.seconds):
            self.watcher.free(batch)
            store.bump()
            clean.free(list(batch))
            self._note_freed(sum(self._counts(content) for content in batch))
        self._forget(clean)
        report.freed, report.freed_bytes, report.shared = clean.freed, clean.freed_bytes, clean.shared
        report.forgotten = clean.forgotten
        while not self._is_over(self.bounds.seconds) and (trimmed := trim(store.ledger, clock.now())):
            report.trimmed += trimmed

    def _unusual(self, decided: Decided) -> str:
        """Whether a clean-up frees so much that a person has to look at it first: as the guard judges deletions."""
        store = self.store
        total = sum(self._counts(content) for content in decided.free)
        lately = sum(n for _, n in self._freed())
        if not total or len(decided.free) <= self.bounds.free or total + lately <= store.limits.count:
            return ""
        return (
            f"the contents of {total + lately:,} expunged messages would be freed for good within"
            f" {store.limits.window_seconds // 3600} hours, more than {store.limits.count:,}"
        )

    def _counts(self, content: Free) -> bool:
        """Whether the guard counts it: not what was expunged in a mailbox that is meant to be emptied."""
        if content.box not in self._counted:
            self._counted[content.box] = True
            if (box := self.store.ledger.boxes.get(content.box)) is not None:
                tally = Tally(box.name, box.count, 0)
                tell_guard(self.store.ledger, self.store.limits, {box.no: tally})
                self._counted[content.box] = not tally.exempt
        return self._counted[content.box]

    def _freed(self) -> list[list[int]]:
        since = clock.now() - self.store.limits.window_seconds
        blob = self.store.index.meta.get(FREED)
        return [row for row in (unpackb(blob) if blob else []) if row[0] >= since]

    def _note_freed(self, count: int) -> None:
        if not count:
            return
        with self.store.index.transaction():
            self.store.index.meta[FREED] = packb([*self._freed()[-100:], [clock.now(), count]])

    def _forget(self, clean: CleanUp) -> None:
        store = self.store
        most = self.bounds.messages or 1 << 62
        for page in clean.forgettable(store.ledger.keeping.tombstones):
            for batch in self._batches(page[: most - clean.forgotten], FREE_BATCH, self.bounds.seconds):
                self.watcher.forget(batch)
                store.bump()
                with store.index.transaction():
                    clean.forget(list(batch))
            if self.report.ended or clean.forgotten >= most:
                return
        with store.index.transaction():
            clean.note_looked()


def waiting(index: Index) -> tuple[str, str, int]:
    """(stopped, unusual, would_free) of the last run's report: what waits for a person, if one is not ''."""
    blob = index.meta.get(WAITS)
    stopped, unusual, would_free = unpackb(blob) if blob else ("", "", 0)
    return stopped, unusual, would_free


def waits_for(store: Store) -> set[int]:
    """Replicas whose acknowledgement tombstones wait for."""
    index = store.index
    return awaited(index.members, index.me, index.waived, index.forgotten)


__all__ = ["Bounds", "Expire", "Report", "Watcher", "waiting", "waits_for"]
