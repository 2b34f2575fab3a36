"""What one scan has found so far: files that were read, names that are missing, mailboxes that could not be seen.

The parts of a scan (`survey`, `reading`, `noting`, `removals`) work on one of these; `scan` has the order of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from mailkeep.domain.progress import Watch
    from mailkeep.rules.guard import Limits
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.maildir import Maildir, Stamp
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.vault import Vault

YOUNG_NS = 2_000_000_000
"""A file changed less than this long ago may still be written to: it is looked at again next time."""
SECOND_LOOK_SECONDS = 0.02
"""At least this long after the first listing; more where the file system's clock is coarse."""
QUIET_TRIES = 3
GOES_ON, REWRITTEN, REPLACED = range(3)
"""What became of the mail that a file was: it is the same, or more of it; it was edited, to judge by its Message-ID; or the
file is another mail by now, or none."""


class Report:
    """What a scan found. Counts are of messages."""

    __slots__ = ("added", "expunged", "flagged", "held", "listed", "mailboxes", "moved", "problems", "put_back", "read",
                 "unknown")  # fmt: skip

    def __init__(self) -> None:
        self.added = self.expunged = self.flagged = self.moved = self.held = self.put_back = self.unknown = 0
        self.listed = self.mailboxes = self.read = 0
        self.problems: list[tuple[str, str]] = []

    @property
    def changed(self) -> bool:
        """Whether anything differed from the index; what a later scan has to settle ('unknown') does not count."""
        return bool(
            self.added
            or self.expunged
            or self.flagged
            or self.moved
            or self.held
            or self.mailboxes
            or self.put_back
        )


class Stat:
    """What a reader saw of a file: the part of os.stat_result that is needed."""

    __slots__ = ("st_ctime_ns", "st_dev", "st_ino", "st_mtime_ns", "st_nlink", "st_size")

    def __init__(self, dev: int, ino: int, size: int, mtime_ns: int, ctime_ns: int, nlink: int) -> None:
        self.st_dev, self.st_ino, self.st_size = dev, ino, size
        self.st_mtime_ns, self.st_ctime_ns, self.st_nlink = mtime_ns, ctime_ns, nlink


class Found:
    """A file whose content is known, waiting for its transaction."""

    __slots__ = (
        "base",
        "box",
        "content",
        "content_id",
        "fate",
        "info",
        "linked",
        "record",
        "size",
        "st",
        "sub",
        "young",
    )

    def __init__(
        self, box: Mailbox, sub: int, base: bytes, info: bytes, st: os.stat_result | Stat, record: int | None
    ) -> None:
        self.box, self.sub, self.base, self.info, self.st, self.record = box, sub, base, info, st, record
        self.content: int | None = None
        self.content_id = b""
        self.size = st.st_size
        self.linked: os.stat_result | Stat | None = None
        self.young = 0
        self.fate = GOES_ON
        """What became of the mail that a known file was."""


class Findings:
    """One scan's knowledge, and what it works on.

    Attributes:
        weak: This is the first scan: what it finds was written by nobody.
        now_ns: What the file system's clock said; 0: it was not asked yet.
    """

    def __init__(
        self,
        ledger: Ledger,
        maildir: Maildir,
        vault: Vault,
        limits: Limits,
        *,
        state: bytes,
        granularity_ns: int,
        believe_absence: bool = True,
        ask: bool = False,
        dry: bool = False,
        progress: Watch | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            state: Where the file system's clock can be asked.
            granularity_ns: Of that clock, as measured.
            believe_absence: False when Maildir or index came from a backup: what is missing is put back.
            ask: With that: what is missing may have been removed since, so where it is much, it is held.
            dry: Look only: the vault takes nothing in.
            progress: Is told now and then how many files were read.
        """
        self.ledger, self.index, self.maildir, self.vault = ledger, ledger.index, maildir, vault
        self.limits, self.state, self.progress = limits, state, progress
        self.believe_absence, self.ask, self.dry = believe_absence, ask, dry
        self.margin_ns = max(2 * granularity_ns, 8_000_000)
        self.report = Report()
        self.weak = not self.index.meta.get("indexed")
        self.missing: dict[int, dict[int, tuple[bytes, int]]] = {}
        """mailbox -> record number -> (base, sub) of files that a listing lacked."""
        self.batch: list[Found] = []
        self.flag_changes: list[tuple[int, int, bytes, bytes, int]] = []
        self.rewritten: list[int] = []
        """Likewise, of files that were rewritten under their own Message-IDs."""
        self.replaced: list[int] = []
        """Records whose files were overwritten with another mail, or with none: the guard has yet to judge."""
        self.grown = False
        """Whether files that were young are so no more: noted even when nothing else is to be written."""
        self.learned: list[tuple[int, int, int]] = []
        """(ctime, young, record number) of files that a second look found unchanged."""
        self.stamps: dict[int, list[Stamp]] = {}
        """Mailboxes that were listed: [new, cur] as they were before the listing."""
        self.trusted: set[int] = set()
        self.unseen: list[str] = []
        """Mailboxes that could not be read: nothing is known of them, and no removal is believed."""
        self.lost_objects: dict[int, bytes] = {}
        """Contents whose object was found to be overwritten, each with the file by which that was done."""
        self.unquiet: set[int] = set()
        """Mailboxes whose listing another program disturbed: what it lacks is unknown."""
        self.now_ns = 0

    def is_recent(self, changed_ns: int, earlier_ns: int, later_ns: int) -> bool:
        """Whether another change between two moments might leave a directory with this very time.

        One from the future is none such: it was dated by a clock that was wrong, and a change now would show.
        """
        return earlier_ns - self.margin_ns < changed_ns <= later_ns + self.margin_ns
