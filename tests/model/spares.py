"""A proposal, not one of the rules: tombstones that say whether a copy was left.

Today a commit revives a content that lived on both sides and now lives on neither. That needs the other side to say
truly what lives there; a row lost from its index makes it say less, and then two people who each removed one of two
copies, each seeing the other copy, remove the message (see README.md). With `spare` the tombstone itself bears witness:
it is the rank of a tombstone whose author still had the content elsewhere. If all tombstones of a content that
this commit took away say so, then nobody ever removed the last copy, and it is revived.
"""

# ruff: noqa: TID252 (pytest knows this package as `model`, its command line as `tests.model`)
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from .exchange import Commit
from .oracle import Replica
from .state import LIVE, Content, Key, MailboxId, Record

SPARE = "spare"

_bury, _removed_by_nobody = Replica.bury, Commit.removed_by_nobody


def _bury_with_spare(self: Replica, box: MailboxId, key: Key) -> None:
    _bury(self, box, key)
    if key.content in self.state.contents():
        self.write(box, key, SPARE, self.state.boxes[box].records[key].registers[LIVE].rank)


def _left_a_copy(tombstone: Record) -> bool:
    spare = tombstone.registers.get(SPARE)
    return spare is not None and spare.value == tombstone.registers[LIVE].rank


def _by_nobody_says_every_tombstone(self: Commit) -> set[Content]:
    offered = {key.content for box in self.offer.boxes.values() for key in box.live()}
    gone = (self.before.contents() | offered) - self.now.contents()
    for box in self.now.boxes.values():
        gone -= {key.content for key, record in box.records.items() if not _left_a_copy(record)}
    return gone | _removed_by_nobody(self)


@contextlib.contextmanager
def spares() -> Iterator[None]:
    """Let tombstones say whether a copy was left, for the length of a block."""
    with (
        mock.patch.object(Replica, "bury", _bury_with_spare),
        mock.patch.object(Commit, "removed_by_nobody", _by_nobody_says_every_tombstone),
    ):
        yield
