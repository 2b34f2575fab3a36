"""A configured peer as something to compare with: what it has is learnt in a dry session, for an empty store of no account.

The session is that of a replica which joins, and which nobody will hear of again: the peer tells it of every message, and
neither side notes anything. Contents do not travel; `mailkeep sync` brings them.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from mailkeep.cli.run import Place, open_store
from mailkeep.cli.target import ask, target_of
from mailkeep.domain.errors import UsageError
from mailkeep.replicate.initiator import Initiator
from mailkeep.store.foreign import PEER, Item, Problems
from mailkeep.wire.headers import NOTHING, Headers
from mailkeep.wire.mbox import message_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.store.store import Store


class PeerSource:
    """What a peer told of. Message-IDs and contents are not in a session that transfers nothing."""

    kind, has_contents, in_order = PEER, True, False
    key = staticmethod(message_key)

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.problems = Problems()
        self._store: Store | None = None
        root = os.fsencode(tempfile.mkdtemp(prefix="mailkeep-peer-"))
        for sub in (b"cur", b"new", b"tmp"):
            os.mkdir(os.path.join(root, sub), 0o700)
        self._place = Place(name, root, b"", None)
        self._outside = Place(name, root, b"", None)
        self._outside.scratch = root
        assert place.settings is not None
        try:
            self._meet(place, name)
        except BaseException:
            self.close()
            raise

    def _meet(self, place: Place, name: str) -> None:
        from mailkeep.cli.init import rehearse

        assert place.settings is not None
        target = target_of(place.settings.peer(name))
        rehearse(self._place)
        self._store = store = open_store(self._place, dry=True)
        store.scan()
        asked = ask(store, target, Initiator)
        for where, why in (*asked.refused, *asked.remote_problems):
            self.problems.add(where, why)

    def close(self) -> None:
        """Remove what the session needed."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self._place.close()
        self._outside.close()

    def items(
        self, known: Callable[[bytes], bool], here: Callable[[bytes], bool], progress: Watch | None
    ) -> Iterator[Item | int]:
        """Every message that the peer lets us see."""
        del known, here, progress
        store = self._store
        assert store is not None
        names = {box.no: box.name for box in store.ledger.boxes.values()}
        rows: Any = store.index.execute(
            "SELECT c.id, r.mailbox, r.flags, r.date, c.size FROM record r JOIN content c ON c.no = r.content WHERE r.live"
        )
        for content_id, mailbox, flags, date, size in rows:
            yield Item(bytes(content_id), "", names[mailbox], flags, date, size)

    def look(self, place: bytes) -> tuple[Headers, Callable[[], bytes | None]]:
        """Nothing."""
        del place
        return NOTHING, lambda: None

    def contents(self, wanted: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes | int | None]:
        """Nothing."""
        raise refusal(self.name)


def refusal(name: str) -> UsageError:
    """The error of who wants to restore from a peer."""
    return UsageError(
        f"{name} is a peer: what it has and this store has not comes with a session",
        untouched="anything",
        hint=f"mailkeep sync {name}; what was removed here on purpose is given back by mailkeep undelete",
    )


def open_peer(place: Place, name: str) -> PeerSource:
    """Ask a configured peer what it has.

    Raises:
        PeerUnavailable: It does not answer.
    """
    return PeerSource(place, name)
