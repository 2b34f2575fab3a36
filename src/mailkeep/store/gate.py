"""The gate of a store: its lock, taken before anything else is loaded, opened or started.

Kept apart from `mailkeep.store.store` so that a run can hold the lock and start its peer while the rest of
mailkeep is still being loaded.
"""

from __future__ import annotations

import os

from mailkeep.domain.errors import NoInput, StorageError, printable
from mailkeep.system.lock import Lock

INDEX, LOCK = b"index.db", b"lock"


def take_lock(root: bytes, state: bytes, wait_seconds: float = 0) -> Lock:
    """The store's lock: before any side effect, on this side or on a peer.

    Raises:
        NoInput, StorageError: There is no such root or store.
        StoreBusy: Another run has it.
    """
    require(root, state)
    lock = Lock(os.path.join(state, LOCK))
    try:
        lock.acquire(wait_seconds)
    except OSError as err:
        from mailkeep.system import fs

        raise fs.explain(err, "the store's lock cannot be taken") from err
    return lock


def require(root: bytes, state: bytes) -> None:
    """There are a Maildir and the state of a store.

    Raises:
        NoInput, StorageError: One of them is missing; with what that may mean.
    """
    if not os.path.isdir(root):
        raise missing_root(root)
    if not os.path.exists(os.path.join(state, INDEX)):
        raise _state_lost(root, state)


def _state_lost(root: bytes, state: bytes) -> NoInput | StorageError:
    if os.path.isdir(os.path.join(state, b"objects")):
        return StorageError(
            f"the index of the store at {printable(state)} is gone, its vault is there",
            untouched="the Maildir and the vault",
            hint="mailkeep rebuild puts the newest good backup in its place, or makes a new index from Maildir and vault;"
            " mailkeep rebuild --dry-run says which",
        )
    from mailkeep.store import marker
    from mailkeep.system import fs

    fd = fs.open_directory(root)
    try:
        if marker.read(fd, root) is not None:
            return StorageError(
                f"the state of this store, {printable(state)}, is gone, though {printable(root)} carries its marker",
                untouched="the Maildir",
                hint="mount or restore the state directory; if it is lost: mailkeep rebuild begins anew with what is in the"
                " Maildir",
            )
    finally:
        os.close(fd)
    return NoInput(
        f"{printable(root)} is not a mailkeep store yet",
        untouched="anything",
        hint=f"mailkeep init {printable(root)}",
    )


def missing_root(root: bytes) -> NoInput:
    """The error for a root that is not there, for the caller to raise."""
    return NoInput(
        f"the Maildir {printable(root)} is not there",
        untouched="anything: a root that is missing says nothing about its mail",
        hint="mount it or correct the path in the configuration, then run the same command again",
    )
