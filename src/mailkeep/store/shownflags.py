"""The flags that a message's file shows, by its name and by the directory in which it lies."""

from __future__ import annotations

from mailkeep.domain.flags import OLD
from mailkeep.store.rows import IN_CUR
from mailkeep.wire.maildirname import flags_of


def on_disk(sub: int, info: bytes, table: dict[str, str] | None) -> frozenset[str]:
    """The flags that a file shows by its name and directory."""
    flags, _ = flags_of(info, table)
    return flags | {OLD} if sub == IN_CUR else flags
