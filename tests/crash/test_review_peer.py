"""What a hostile or broken peer may say: refused with an error, before it reaches the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Side, settle, sync
from mailkeep.domain.errors import MailkeepError, RemoteProtocolError, StorageError
from mailkeep.domain.record import LAMPORT_MAX
from mailkeep.replicate.initiator import Initiator
from mailkeep.store.vault import Vault
from mailkeep.system import fs

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


def pair(base: Path) -> tuple[Side, Side]:
    a, b = Side(base, "a"), Side(base, "b")
    a.deliver(b"", b"hello", "S")
    return a.create(), b.create()


@pytest.mark.parametrize(
    "lie",
    [
        {"lamport": LAMPORT_MAX + 1},
        {"lamport": 1 << 63},
        {"ids": [b"x" * 9]},
        {"ids": ["text"]},
        {"ids": [b"12345678"] * 2},
        {"ids": [b"%08d" % i for i in range(10_001)]},
    ],
    ids=["lamport", "beyond 64 bits", "long id", "text", "twice", "too many"],
)
def test_a_claim_out_of_bounds_is_refused(
    tmp_path: Path, monkeypatch: MonkeyPatch, lie: dict[str, Any]
) -> None:
    a, b = pair(tmp_path)
    claim = Initiator._claim

    def lies(self: Initiator) -> dict[str, Any]:
        return {**claim(self), **lie}

    with monkeypatch.context() as m:
        m.setattr(Initiator, "_claim", lies)
        with pytest.raises(RemoteProtocolError):
            sync(a, b)
    settle(a, b)
    assert b.texts() == ["hello"]
    store = b.open()
    assert all(len(rid) == 8 for rid in store.index.ids[1:])
    store.close()


def test_a_batch_whose_sync_failed_is_not_noted_when_the_session_ends(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    a, b = pair(tmp_path)
    real = fs.libc()
    calls: list[int] = []

    class Failing:
        """syncfs fails once, and says that all is well from then on: so does the kernel."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def syncfs(self, fd: int) -> int:
            calls.append(fd)
            return -1 if len(calls) == 1 else 0

    opened = b.open()
    whole = opened.vault.syncer.whole
    opened.close()
    if not whole:
        pytest.skip("no syncfs on this file system")
    with monkeypatch.context() as m:
        write = Vault.write

        def written(self: Vault, content_id: bytes, date: int, data: bytes) -> Any:
            m.setattr(fs, "libc", Failing)
            return write(self, content_id, date, data)

        m.setattr(Vault, "write", written)
        with pytest.raises((StorageError, MailkeepError)):
            sync(a, b)
    assert calls
    store = b.open()
    assert store.index.value("SELECT count(*) FROM content WHERE kept") == 0
    store.close()
    settle(a, b)
    assert b.texts() == ["hello"]


def test_a_content_that_could_not_come_once_comes_later(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    a, b = pair(tmp_path)

    def fails(self: Vault, content_id: bytes) -> int:
        raise OSError(5, "Input/output error")

    for first, second in ((a, b), (b, a)):
        first.deliver(b"", b"more from " + first.name.encode(), "S")
        with monkeypatch.context() as m:
            m.setattr(Vault, "open", fails)
            sync(first, second)
        settle(first, second)
        assert first.texts() == second.texts()


def test_a_peer_that_claims_to_be_eons_ahead_is_refused(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    settle(a, b)
    liar = a.open()
    with liar.index.transaction():
        liar.index.lamport = LAMPORT_MAX - 1
        liar.index.stamp()
    liar.close()
    a.deliver(b"", b"two", "S")
    with pytest.raises(RemoteProtocolError):
        sync(a, b)
    store = b.open()
    assert store.index.lamport < 1000
    store.close()
    assert b.texts() == ["hello"]


def test_no_peer_can_give_this_store_up(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    settle(a, b)
    store = b.open()
    ours = store.index.ids[store.index.me]
    store.close()
    hostile = a.open()
    with hostile.index.transaction():
        hostile.index.mark("forgotten", [hostile.index.number(ours)])
    hostile.close()
    a.deliver(b"", b"news", "S")
    try:
        sync(a, b)
    except MailkeepError:
        pass  # the one that gave us up may refuse us; we do not give ourselves up
    store = b.open()
    assert store.index.me not in store.index.forgotten | store.index.waived
    store.close()
