"""What one peer sees of a store: which mailboxes, under which names, and in which direction."""

from __future__ import annotations

from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.domain.record import STORE_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.rows import Mailbox
    from mailkeep.wire.patterns import NameMap, Patterns

BOTH, PULL, PUSH, ARCHIVE = "both", "pull", "push", "archive"
DIRECTIONS = (BOTH, PULL, PUSH, ARCHIVE)
READ, APPEND, FULL = "read", "append", "full"
ROLES = (READ, APPEND, FULL)


NAMES_MAX = 10_000
"""Answers that a view remembers."""


class View:
    """A peer's view. The default shows everything under its own name, in both directions.

    Attributes:
        patterns: Which mailboxes take part, in this store's names; None: all.
        names: Local names <-> the peer's; None: the same.
    """

    __slots__ = ("_shown", "names", "patterns")

    def __init__(self, patterns: Patterns | None = None, names: NameMap | None = None) -> None:
        self.patterns, self.names = patterns, names
        self._shown: dict[str, bool] = {}

    @property
    def plain(self) -> bool:
        """Whether the peer sees everything, under its own name."""
        return self.patterns is None and self.names is None

    def shows(self, box: Mailbox) -> bool:
        """Whether a mailbox takes part; the annotations of the whole store do where all mailboxes do."""
        return self.patterns is None if box.id == STORE_ID else self.shows_name(box.name)

    def shows_name(self, name: str) -> bool:
        """Whether a mailbox of this name, a name of this store, takes part."""
        if self.patterns is None:
            return True
        shown = self._shown.get(name)
        if shown is None:  # a peer's patterns may be many, and a session asks for each page of records
            shown = self.patterns.selects(MailboxName.parse(name))
            if len(self._shown) < NAMES_MAX:
                self._shown[name] = shown
        return shown

    def theirs(self, name: str) -> str:
        """A local name as the peer knows it; empty for the whole store."""
        return name if self.names is None or not name else str(self.names.to_peer(MailboxName.parse(name)))

    def ours(self, name: str) -> str:
        """A peer's name as it is here.

        Raises:
            BadMailboxName: It is none.
        """
        parsed = MailboxName.parse(name)
        return str(parsed if self.names is None else self.names.to_local(parsed))


__all__ = [
    "APPEND",
    "ARCHIVE",
    "BOTH",
    "DIRECTIONS",
    "FULL",
    "PULL",
    "PUSH",
    "READ",
    "ROLES",
    "BadMailboxName",
    "View",
]
