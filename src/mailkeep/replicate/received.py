"""Contents as they come in: checked, written to the vault, made durable and noted in batches."""

from __future__ import annotations

import os

from mailkeep.domain.errors import DataError, RemoteProtocolError, StorageError
from mailkeep.domain.record import CONTENT_ID_BYTES, SIZE_MAX
from mailkeep.store.keeper import WRONG, Keeper, keep
from mailkeep.system.parallel import workers
from mailkeep.wire.frames import HEAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.store import Store
    from mailkeep.store.vault import Writer

BATCH_FILES, BATCH_BYTES = 3000, 24 << 20
"""Contents received between two syncs."""
KEEPER_FROM = 300
"""Contents of one session from which on it pays to fork."""


class Received:
    """What one session receives, on its way into the vault.

    Contents that arrived stay, whatever becomes of the session: a batch at a time is synced, then noted in
    the index. While a keeper writes, a batch is settled when the next one is full.

    Attributes:
        count, total_bytes: Contents that came.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.expected: dict[bytes, int] = {}
        """Contents asked for -> INTERNALDATE as the records say."""
        self.unsettled: set[bytes] = set()
        """Contents that are here, though the index does not say so yet."""
        self.count = self.total_bytes = 0
        self._batch: list[tuple[bytes, int, int]] = []
        """(content id, size, inode) of what is written and not yet durable."""
        self._handed: list[tuple[bytes, int]] = []
        """(content id, size) of what the keeper was given, in order, since the last end of a batch."""
        self._ended: list[list[tuple[bytes, int]]] = []
        """The same of batches that were ended."""
        self._failure: Exception | None = None
        """Why contents of a batch that was handed over were not kept."""
        self._bytes = 0
        self._writer: Writer | None = None
        self._keeper: Keeper | None = None

    def expect(self, page: list[tuple[int, bytes, int, int]]) -> list[bytes]:
        """Note what is asked for: (number, content id, size, date); ids not asked for already."""
        out = []
        for _, content_id, _, date in page:
            if content_id not in self.expected and content_id not in self.unsettled:
                self.expected[content_id] = date
                out.append(content_id)
        return out

    def _take(self, content_id: bytes) -> int:
        date = self.expected.pop(content_id, None)
        if date is None:
            raise RemoteProtocolError("the peer sent a content that was not asked for")
        return date

    def small(self, payload: bytes) -> None:
        """Take in a whole content: id, INTERNALDATE, bytes. Durable, and noted in the index, after `settle`.

        Raises:
            RemoteProtocolError: It was not asked for, or its bytes (or those of an earlier one) are others; none
                such was kept.
        """
        content_id, size = payload[:CONTENT_ID_BYTES], len(payload) - HEAD_BYTES
        if size < 0:
            raise RemoteProtocolError("the peer sent a content without its id")
        date = self._take(content_id)
        vault = self.store.vault
        if self._keeper is None and self.count >= KEEPER_FROM and workers() > 1 and vault.syncer.whole:
            self._keeper = Keeper(vault)
        if self._keeper is not None:
            self._keeper.take(payload, date)
            self._handed.append((content_id, size))
        else:
            ino = keep(vault, payload, date)
            if ino == WRONG:
                raise _other_bytes(content_id)
            self._batch.append((content_id, size, ino))
        self._note(content_id, size)

    def begin(self, content_id: bytes, date: int, size: int) -> None:
        """Make ready for a large content of `size` bytes, less than SIZE_MAX; one at a time.

        Raises:
            ValueError: Another one is under way, or a number is out of bounds; an empty content is never large.
            RemoteProtocolError: It was not asked for.
        """
        if (
            self._writer is not None
            or type(size) is not int
            or not 0 < size < SIZE_MAX
            or type(date) is not int
        ):
            raise ValueError("a large content out of place")
        self._writer = self.store.vault.writer(content_id, self._take(content_id), size)

    def piece(self, data: bytes) -> bool:
        """One piece; True when that content is complete."""
        writer = self._writer
        if writer is None or not data:
            raise RemoteProtocolError("the peer sent a piece of nothing")
        try:
            writer.write(data)
            if writer.left:
                if (watch := self.store.progress) is not None:
                    watch("received", self.count, self.total_bytes + writer.size - writer.left)
                return False
            size = os.fstat(writer.fd).st_size
            st = writer.finish()
        except DataError as err:
            raise RemoteProtocolError(err.what) from err
        self._writer = None
        self._batch.append((writer.content_id, size, st.st_ino))
        self._note(writer.content_id, size)
        return True

    def lacking(self, content_id: bytes) -> None:
        """Wait for a content no longer.

        Raises:
            RemoteProtocolError: It was not asked for.
        """
        self._take(content_id)

    def _note(self, content_id: bytes, size: int) -> None:
        self.unsettled.add(content_id)
        self._bytes += size
        self.total_bytes += size
        self.count += 1
        if (watch := self.store.progress) is not None:
            watch("received", self.count, self.total_bytes)
        if len(self._batch) + len(self._handed) >= BATCH_FILES or self._bytes >= BATCH_BYTES:
            self._bytes = 0
            self._end_batch()
            if len(self._ended) > 1:
                self._collect()
            self._make_durable()
            self._raise_failure()

    def settle(self) -> None:
        """Make all that came durable, and note it in the index.

        Raises:
            StorageError, OSError: Something could not be written; what is noted already stays.
            RemoteProtocolError: The bytes of a content are others; that one was not kept.
        """
        self._settle()
        self._raise_failure()

    def finish(self) -> None:
        """As `settle`; nothing more is coming for now: the keeper ends.

        Raises:
            StorageError, OSError, RemoteProtocolError: As `settle`.
        """
        self.settle()
        self._dismiss()

    def abandon(self) -> None:
        """The session is cut: keep what is whole."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        try:
            if not self.store.vault.syncer.failed:
                self._settle()
        finally:
            self._dismiss()

    def _settle(self) -> None:
        self._bytes = 0
        self._end_batch()
        while self._ended:
            self._collect()
        self._make_durable()

    def _end_batch(self) -> None:
        if self._keeper is None or not self._handed:
            return
        handed, self._handed = self._handed, []
        self._ended.append(handed)
        try:
            self._keeper.end_batch()
        except StorageError as err:
            self._give_up(err)

    def _collect(self) -> None:
        """Take the keeper's results for the oldest batch."""
        assert self._keeper is not None
        try:
            results = self._keeper.results()
        except StorageError as err:
            self._give_up(err)
            return
        for (content_id, size), ino in zip(self._ended.pop(0), results, strict=True):
            if ino > 0:
                self._batch.append((content_id, size, ino))
            elif self._failure is None:
                self._failure = _other_bytes(content_id) if ino == WRONG else OSError(-ino, os.strerror(-ino))

    def _give_up(self, err: StorageError) -> None:
        """The keeper died: what it did not answer for is not known to be whole."""
        self._failure = self._failure or err
        self._ended = []

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _dismiss(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _make_durable(self) -> None:
        if not self._batch:
            return
        store, batch = self.store, sorted(self._batch)
        store.vault.syncer.sync()
        with store.index.transaction():
            store.index.executemany(
                "INSERT INTO content VALUES (NULL, ?1, ?2, 1, ?3)"
                " ON CONFLICT (id) DO UPDATE SET kept = 1, size = ?2, ino = ?3",
                batch,
            )
        self._batch = []
        self.unsettled.difference_update([content_id for content_id, _, _ in batch])


def _other_bytes(content_id: bytes) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the peer sent other bytes than content {content_id.hex()} has; they were not kept"
    )
