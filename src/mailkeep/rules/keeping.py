"""How long what was removed can be given back: the store's settings, as plain values."""

from __future__ import annotations

DAY = 86_400


class Keeping:
    """What [stores.NAME.retention] says.

    Attributes:
        expunged: Seconds for which the content of an expunged message is kept, where no annotation says otherwise.
        tombstones: Seconds for which, at least, it is remembered that it was expunged.
    """

    __slots__ = ("expunged", "tombstones")

    def __init__(self, expunged: int = 90 * DAY, tombstones: int = 400 * DAY) -> None:
        self.expunged = expunged
        self.tombstones = tombstones
