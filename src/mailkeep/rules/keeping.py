"""How long what was removed can be given back: the store's settings, as plain values."""

from __future__ import annotations

DAY = 86_400


class Keeping:
    """What [stores.NAME.retention] says.

    Attributes:
        expunged: Seconds for which the content of an expunged message is kept, where no annotation says otherwise.
        tombstones: Seconds for which, at least, it is remembered that it was expunged.
        history: Seconds for which runs, and what each changed, are remembered.
        history_changes: At most about so many changes are remembered; the last run's are, however many.
    """

    __slots__ = ("expunged", "history", "history_changes", "tombstones")

    def __init__(
        self,
        expunged: int = 90 * DAY,
        tombstones: int = 400 * DAY,
        history: int = 400 * DAY,
        history_changes: int = 1_000_000,
    ) -> None:
        self.expunged = expunged
        self.tombstones = tombstones
        self.history = history
        self.history_changes = history_changes
