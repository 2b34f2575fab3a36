"""A second process that checks received contents and writes them into the vault.

Hashing and making files is most of what receiving costs; done beside the session it takes another processor
while the session decodes, stages and asks on. The keeper is forked when many contents come, inherits the
open vault, never touches the index, and ends when its pipe does: a session that is killed leaves nobody.
What it wrote counts only after the session has synced the file system and noted it in the index.

    to the keeper      length (4 bytes) | content id (32) | INTERNALDATE (8) | bytes ...    length 0: the end of a batch
    from the keeper    for each batch: count (4 bytes), then 8 bytes for each content: its inode, WRONG, or -errno
"""

from __future__ import annotations

import os
from array import array

from mailkeep.domain.errors import StorageError
from mailkeep.domain.record import CONTENT_ID_BYTES
from mailkeep.system import fs
from mailkeep.system.process import PIPE_BYTES, widen
from mailkeep.wire.frames import HEAD_BYTES, pack_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.vault import Vault

WRONG = 0
"""Its bytes do not hash to its id; no inode has this number."""
HANDED_BYTES = 1 << 18


def keep(vault: Vault, payload: bytes, date: int) -> int:
    """Check a content (head and bytes) and write it into the vault: its inode, or WRONG when it was not kept.

    Durable after the next sync.

    Raises:
        OSError: It could not be written.
    """
    from hashlib import sha256

    content_id = payload[:CONTENT_ID_BYTES]
    data = memoryview(payload)[HEAD_BYTES:]
    if sha256(data).digest() != content_id:
        return WRONG
    return vault.write(content_id, date, data).st_ino


class Keeper:
    """The other process, as the session sees it. Forks at once; the process that forks has one thread."""

    def __init__(self, vault: Vault) -> None:
        assert vault.syncer.whole, "what another process wrote cannot be synced file by file"
        vault.make_places()
        reading, self._to = os.pipe2(os.O_CLOEXEC)
        self._from, writing = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._to)
                os.close(self._from)
                _work(vault, reading, writing)
                status = 0
            finally:
                os._exit(status)
        os.close(reading)
        os.close(writing)
        widen(self._to)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def take(self, payload: bytes, date: int) -> None:
        """Hand over a content, to be dated as it was asked for, whatever the peer says.

        Raises:
            StorageError: The process died.
        """
        self._waiting += (len(payload).to_bytes(4, "big"), pack_head(payload[:CONTENT_ID_BYTES], date))
        self._waiting.append(payload[HEAD_BYTES:])
        self._waiting_bytes += len(payload)
        if self._waiting_bytes >= HANDED_BYTES:
            self._hand_over()

    def end_batch(self) -> None:
        """Ask for what became of everything since the last call: `results` tells."""
        self._waiting.append(bytes(4))
        self._hand_over()

    def results(self) -> array[int]:
        """Of the oldest batch that was ended: inode, WRONG or -errno of each content, in order. Waits for it.

        Raises:
            StorageError: The process died.
        """
        count = int.from_bytes(self._read(4), "big")
        out = array("q")
        out.frombytes(self._read(8 * count))
        return out

    def close(self) -> None:
        """Let it end, and wait for it; batches that were not ended are forgotten."""
        if self._to >= 0:
            os.close(self._to)
            os.close(self._from)
            os.waitpid(self.pid, 0)
            self._to = -1

    def _hand_over(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            fs.write_all(self._to, data)
        except BrokenPipeError:
            raise _died() from None

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._from, size)
            if not part:
                raise _died()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _died() -> StorageError:
    return StorageError(
        "the process that writes contents into the vault has died",
        untouched="everything that was acknowledged before; contents that were noted stay",
        hint="look whether memory ran out (dmesg), then run the same command again: it goes on where it stopped",
    )


def _work(vault: Vault, reading: int, writing: int) -> None:
    """Take contents until the pipe ends."""
    have, at = b"", 0
    results = array("q")
    failed = 0
    while True:
        size = int.from_bytes(have[at : at + 4], "big") if len(have) - at >= 4 else -1
        if size == 0:
            at += 4
            fs.write_all(writing, len(results).to_bytes(4, "big") + results.tobytes())
            results = array("q")
        elif size > 0 and len(have) - at >= 4 + size:
            payload = have[at + 4 : at + 4 + size]
            at += 4 + size
            if not failed:
                try:
                    results.append(
                        keep(
                            vault,
                            payload,
                            int.from_bytes(payload[CONTENT_ID_BYTES:HEAD_BYTES], "big", signed=True),
                        )
                    )
                    continue
                except OSError as err:
                    failed = err.errno or 5
            results.append(-failed)  # after one that could not be written, no other is
        else:
            chunk = os.read(reading, PIPE_BYTES)
            if not chunk:
                return
            have, at = have[at:] + chunk, 0
