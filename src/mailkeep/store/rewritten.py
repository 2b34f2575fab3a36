"""Messages whose files were rewritten under their own Message-IDs: what they had said before, and the guard.

One that is edited is no deletion, and a few a day are nobody's concern. A program that rewrites all of them looks the same,
file by file, so they are counted by themselves, against the limits for deletions: above them, what the messages had said stays
live, and is held, beside what they say now.
"""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.store.holds import Reaper
from mailkeep.system import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

KEEP_SECONDS = 7 * 86_400
TOGETHER_SECONDS = 600
"""What was rewritten within so long is one entry of the log, with the time at its end."""
ENTRIES_MAX = 1000
"""More are joined with the next younger one, and so count longer."""


class Rewritten(Reaper):
    """Collects what messages had said that were rewritten here; the log of it is in the index's `meta`."""

    verb = "were rewritten"

    def judge(self, lost: set[int]) -> dict[int, str]:
        """In which mailboxes what was said before is held, with the reason."""
        count: dict[int, int] = {}
        for record in self.records:
            if record.content in lost:
                count[record.mailbox] = count.get(record.mailbox, 0) + 1
        return self.judged(count, {no: -n for no, n in count.items()})  # each counts twice

    def lately(self, since: int) -> dict[int, int]:
        """How many messages of which mailboxes were rewritten since then."""
        out: dict[int, int] = {}
        for at, no, count in self._log():
            if at >= since:
                out[no] = out.get(no, 0) + count
        return out

    def note_vanished(self, count: Mapping[int, int]) -> None:
        """Note how many messages of which mailboxes were rewritten, for the guard's window."""
        if not count:
            return
        now = clock.now()
        at = now + -now % TOGETHER_SECONDS
        oldest = now - max(self.limits.window_seconds, KEEP_SECONDS)
        joined: dict[tuple[int, int], int] = {}
        for then, no, n in (*self._log(), *((at, no, n) for no, n in count.items())):
            if then >= oldest:
                joined[then, no] = joined.get((then, no), 0) + n
        log = sorted([then, no, n] for (then, no), n in joined.items())
        while len(log) > ENTRIES_MAX:
            _, no, n = log.pop(0)
            later = next((entry for entry in log if entry[1] == no), None)
            if later is None:
                log[0][2] += n  # of another mailbox: the store's limits count all of them together
            else:
                later[2] += n
        self.ledger.index.meta["rewritten"] = packb(log)

    def _log(self) -> list[list[int]]:
        """Entries: [when, mailbox number, how many]."""
        packed = self.ledger.index.meta.get("rewritten")
        return unpackb(packed) if packed else []
