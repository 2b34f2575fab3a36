"""The process that writes what is received: the same result as without it, whatever becomes of it."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.domain.errors import MailkeepError, RemoteProtocolError, StorageError
from mailkeep.replicate import received
from mailkeep.store.keeper import WRONG, Keeper
from mailkeep.store.vault import Vault
from mailkeep.wire.frames import HEAD_BYTES, pack_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MESSAGES = 60


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> list[Keeper]:
    """Fork for the first content on, in small batches; the keepers that were started."""
    started: list[Keeper] = []

    class Watched(Keeper):
        def __init__(self, vault: Vault) -> None:
            super().__init__(vault)
            started.append(self)

    monkeypatch.setattr(received, "KEEPER_FROM", 3)
    monkeypatch.setattr(received, "BATCH_FILES", 7)
    monkeypatch.setattr(received, "workers", lambda: 2)
    monkeypatch.setattr(received, "Keeper", Watched)
    return started


def pair(base: Path) -> tuple[Side, Side]:
    a, b = Side(base, "a"), Side(base, "b")
    for number in range(MESSAGES):
        a.deliver(b"", b"message %d" % number, "S")
    return a.create(), b.create()


def test_what_a_keeper_writes_is_what_was_sent(tmp_path: Path, two_processors: list[Keeper]) -> None:
    a, b = pair(tmp_path)
    settle(a, b)
    assert len(two_processors) == 1
    assert b.texts() == a.texts()
    assert len(b.texts()) == MESSAGES
    for side in (a, b):
        side.at_rest()
    dates = [sorted(os.stat(side.path(name)).st_mtime for name in side.files()) for side in (a, b)]
    assert dates[0] == dates[1]


def at_content(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Keeper, bytes], bytes]) -> None:
    """When so many contents are handed over, let another payload be handed over: what `act` returns."""
    take = Keeper.take
    given = 0

    def acting(self: Keeper, payload: bytes, date: int) -> None:
        nonlocal given
        given += 1
        take(self, act(self, payload) if given == number else payload, date)

    monkeypatch.setattr(Keeper, "take", acting)


def test_a_keeper_that_is_killed_costs_a_repeat_and_no_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_processors: list[Keeper]
) -> None:
    a, b = pair(tmp_path)

    def shot(keeper: Keeper, payload: bytes) -> bytes:
        os.kill(keeper.pid, signal.SIGKILL)
        return payload

    at_content(monkeypatch, 30, shot)
    with pytest.raises(StorageError, match="has died"):
        sync(a, b)
    store = b.open()
    kept = store.index.value("SELECT count(*) FROM content WHERE kept")
    store.close()
    assert 0 < kept < MESSAGES, "batches that were settled stay, what was under way does not count"
    settle(a, b)
    assert b.texts() == a.texts()
    b.at_rest()


def test_other_bytes_than_announced_are_not_kept_and_the_rest_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair(tmp_path)
    with monkeypatch.context() as patch:
        at_content(patch, 12, lambda keeper, payload: payload + b"?")
        with pytest.raises(RemoteProtocolError, match="other bytes"):
            sync(a, b)
    settle(a, b)
    assert b.texts() == a.texts()
    b.at_rest()


def test_a_full_disk_in_the_keeper_is_the_sessions_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair(tmp_path)
    write = Vault.write
    written = 0

    def full(self: Vault, content_id: bytes, date: int, data: bytes | memoryview) -> os.stat_result:
        nonlocal written
        written += 1
        if written > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, content_id, date, data)

    monkeypatch.setattr(Vault, "write", full)
    with pytest.raises(MailkeepError, match="No space left"):
        sync(a, b)
    monkeypatch.setattr(Vault, "write", write)
    store = b.open()
    assert store.index.value("SELECT count(*) FROM content WHERE kept") >= 10
    store.close()
    settle(a, b)
    assert b.texts() == a.texts()
    b.at_rest()


def test_a_keeper_ends_with_the_session_that_is_killed(tmp_path: Path) -> None:
    side = Side(tmp_path, "a").create()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the session
        keeper = Keeper(side.open().vault)
        os.write(writing, keeper.pid.to_bytes(8, "big"))
        time.sleep(60)
        os._exit(0)
    keeper_pid = int.from_bytes(os.read(reading, 8), "big")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for _ in range(500):
        if not os.path.exists(f"/proc/{keeper_pid}"):
            break
        with open(f"/proc/{keeper_pid}/stat") as stat:
            if stat.read().split()[2] == "Z":
                break
        time.sleep(0.01)
    else:
        pytest.fail("the keeper outlives its session")
    side.open().close()  # its lock is free


def test_results_come_in_the_order_of_the_contents(tmp_path: Path) -> None:
    from hashlib import sha256

    store = Side(tmp_path, "a").create().open()
    keeper = Keeper(store.vault)
    texts = [b"", b"x" * 300_000, b"short"]
    for text in texts:
        keeper.take(pack_head(sha256(text).digest(), 0) + text, 1234)
    keeper.take(pack_head(bytes(32), 0) + b"lie", 1234)
    keeper.end_batch()
    *inodes, wrong = keeper.results()
    keeper.close()
    assert wrong == WRONG
    assert len(pack_head(bytes(32), -1)) == HEAD_BYTES
    for text, inode in zip(texts, inodes, strict=True):
        st = store.vault.stat(sha256(text).digest())
        assert st is not None
        assert (st.st_ino, st.st_size, st.st_mtime) == (inode, len(text), 1234)
    assert store.vault.stat(bytes(32)) is None
    store.close()


def test_a_damaged_object_is_not_sent_and_the_rest_is(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    store = a.open()
    store.scan()
    victim = a.path(a.files()[0])
    store.end_run("sync", None, 0, {})
    store.close()
    st = os.stat(victim)
    os.chmod(victim, 0o600)
    with open(victim, "r+b") as file:
        file.write(b"MESSAGE")
    os.chmod(victim, 0o400)
    os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns))
    first = a.open()
    second = b.open()
    try:
        from mailkeep.replicate.channel import connect
        from mailkeep.replicate.initiator import Initiator
        from mailkeep.replicate.responder import Responder

        second.scan()  # the first is not scanned: the bytes change under the session
        initiator, responder = Initiator(first, "b"), Responder(second, dry=False)
        initiator.wire.greet()
        responder.wire.greet()
        initiator.start()
        connect(initiator, responder)
        assert any("damaged" in why for _, why in initiator.refused)
    finally:
        first.close()
        second.close()
    assert len(b.texts()) == MESSAGES - 1
    assert not any("MESSAGE" in text for text in b.texts())
