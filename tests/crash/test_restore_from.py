"""restore --from: cut off, or failing, at any step it costs a repetition: nothing lost, nothing doubled, the source untouched."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import Crash, Side, Steps
from mailkeep.domain.errors import MailkeepError, StorageError
from mailkeep.store import restore as restore_module
from mailkeep.store.foreign import open_source
from mailkeep.store.foreignmaildir import MaildirSource
from mailkeep.store.hashes import HashCache
from mailkeep.store.headers import HeaderCache
from mailkeep.store.ledger import Ledger
from mailkeep.store.missing import Comparison
from mailkeep.store.restore import Plan, Restore
from mailkeep.store.vault import Vault
from mailkeep.system.fs import Syncer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailkeep.store.store import Store

NOW = 1_800_000_000


def bring(side: Side, path: bytes, *, deleted_too: bool = False, into: str | None = None) -> Restore:
    """As the command line does it."""
    source = open_source(os.fsdecode(path), None, NOW, (), lambda _: None)
    caches: list[HeaderCache] = []
    try:
        store = side.open()
        try:
            store.scan()
            if isinstance(source, MaildirSource):
                source.hashes = HashCache(store.state, store.id, NOW)
            work = Comparison(store, source, lambda: _cache(store, caches))
            try:
                work.run()
                doing = Restore(Plan(work, into=into, deleted_too=deleted_too))
                doing.run()
                store.end_run("restore", None, 0, {"restored": doing.restored})
                return doing
            finally:
                work.close()
        finally:
            for cache in caches:
                cache.close()
            store.close()
    finally:
        source.close()


def _cache(store: Store, caches: list[HeaderCache]) -> HeaderCache:
    caches.append(HeaderCache(store.state, store.ledger, store.vault))
    return caches[-1]


def text(number: int, more: str = "") -> bytes:
    return f"Message-ID: <{number}@x>\nSubject: {number}\n\nbody {number}{more}\n".encode()


def picture(path: bytes) -> list[tuple[bytes, int, int, bytes]]:
    """Everything below a directory: path, mode, links and bytes."""
    out = []
    for at, _, names in os.walk(path):
        for name in names:
            file = os.path.join(at, name)
            st = os.lstat(file)
            with open(file, "rb") as opened:
                out.append((os.path.relpath(file, path), st.st_mode, st.st_nlink, opened.read()))
    return sorted(out)


def mail(side: Side) -> list[tuple[str, str, int, bytes]]:
    """(mailbox, flags, INTERNALDATE, content) by the index, in the order of UIDs within a mailbox."""
    store = side.open()
    try:
        return [
            (box.name, record.flags, record.date, store.vault.read(store.ledger.content_id(record.content)))
            for box in sorted(store.ledger.alive(), key=lambda box: box.name)
            for record in sorted(store.ledger.shown(box), key=lambda record: record.uid)
        ]
    finally:
        store.close()


class World:
    """A store that lost most of its mail before mailkeep saw it, and the backup of the night."""

    def __init__(self, base: Path, *, large: bool = False) -> None:
        self.base = base
        self.side = side = Side(base, "one")
        side.mailbox(b".Work")
        side.mailbox(b".Lost.Deep")
        for number in range(4):
            side.deliver(b"", text(number), (None, "S", "FS", "")[number])
            side.deliver(b".Work", text(10 + number), ("S", None, "RS", "F")[number])
        side.deliver(b".Lost.Deep", text(20), "S")
        side.deliver(b".Lost.Deep", text(10), "F")  # the same as in Work
        side.deliver(b".Work", text(30), "S")
        side.deliver(b".Work", text(30), "F")  # twice in one mailbox
        if large:
            side.deliver(b".Work", text(40, "x" * (3 << 20)), "S")
        self.whole = side.shown()
        self.backup = os.fsencode(base / "backup")
        subprocess.run(["cp", "-a", side.root, self.backup], check=True)
        shutil.rmtree(side.path(b".Lost.Deep"))
        for sub in (b"cur", b"new"):
            for name in os.listdir(side.path(b".Work", sub)):
                os.unlink(side.path(b".Work", sub, name))
        side.create()
        self.before = picture(self.backup)
        self.kept = base / "kept"
        self._copy(base, self.kept)

    def _copy(self, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", source / "one", source / "one.state", target], check=True)

    def again(self) -> Side:
        for name in ("one", "one.state"):
            shutil.rmtree(self.base / name)
        self._copy(self.kept, self.base)
        return self.side

    def check(self) -> None:
        """All is as it was, once, and the backup too."""
        assert sorted(self.side.shown()) == sorted(self.whole)
        self.side.at_rest()
        assert picture(self.backup) == self.before


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_brings_back_what_was_there_in_the_order_of_dates(world: World) -> None:
    done = bring(world.side, world.backup)
    assert (done.restored, done.failed, done.problems) == (8, 0, [])
    world.check()
    rows = mail(world.side)
    assert [row[2] for row in rows if row[0] == "Work"] == sorted(row[2] for row in rows if row[0] == "Work")
    assert bring(world.side, world.backup).restored == 0
    world.check()


def faults(every: bool, count: int) -> Iterator[tuple[int, BaseException, bool]]:
    for at in range(count) if every else range(0, count, 5):
        yield at, Crash(), False
        yield at, Crash(), True
        if every or at % 2:
            yield at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False
            yield at, OSError(errno.EIO, os.strerror(errno.EIO)), False


@pytest.mark.slow
@pytest.mark.crash
def test_cut_off_or_failing_at_any_step(tmp_path: Path, every: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_module, "BATCH", 3)
    (tmp_path / "w").mkdir()
    world = World(tmp_path / "w")
    with Steps().installed() as steps:
        bring(world.side, world.backup)
    world.check()
    assert steps.names.count("commit") > 3
    for at, fault, after in faults(every, len(steps.names)):
        side = world.again()
        hit = Steps(at, fault, after=after)
        with hit.installed():
            try:
                bring(side, world.backup)
            except Crash:
                pass
            except (MailkeepError, OSError) as err:
                assert isinstance(err, StorageError) or isinstance(fault, OSError), (hit.hit, err)
        hit.stop()
        words = f"step {at} ({hit.hit}), {fault!r}, after={after}"
        for content in side.kept():
            assert content.encode() in {row[3] for row in world.before} | _partial(side), words
        bring(side, world.backup)
        try:
            world.check()
        except AssertionError as err:
            raise AssertionError(f"{words}: {err}") from err


def _partial(side: Side) -> set[bytes]:
    """What lies in the vault and is not relied on: half of an object that was being written."""
    out = set()
    for at, _, names in os.walk(os.path.join(side.state, b"objects")):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                data = file.read()
            if hashlib.sha256(data).hexdigest().encode() != name:
                out.add(data)
    return out


@pytest.mark.slow
@pytest.mark.crash
def test_cut_off_between_any_two_batches_copies_in_several_mailboxes_stay_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A content that is here in one mailbox is no longer missing from another: so both come in one transaction."""
    monkeypatch.setattr(restore_module, "BATCH", 1)
    real = Restore._take
    for batches in range(1, 6):
        side, count = world.again(), [0]

        def take(self: Restore, groups: Any, count: list[int] = count, batches: int = batches) -> None:
            if count[0] == batches:
                raise Crash
            count[0] += 1
            real(self, groups)

        monkeypatch.setattr(Restore, "_take", take)
        with Steps().installed() as steps, pytest.raises(Crash):
            bring(side, world.backup)
        steps.stop()
        monkeypatch.setattr(Restore, "_take", real)
        assert bring(side, world.backup).restored > 0
        world.check()


def test_contents_are_durable_before_a_record_relies_on_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "BATCH", 3)
    unsynced: list[bytes] = []
    write, sync, add = Vault.write, Syncer.sync, Ledger.add

    def writes(self: Vault, content_id: bytes, *more: Any) -> Any:
        unsynced.append(content_id)
        return write(self, content_id, *more)

    def syncs(self: Syncer) -> None:
        sync(self)
        unsynced.clear()

    def adds(self: Ledger, *more: Any) -> Any:
        assert not unsynced
        return add(self, *more)

    monkeypatch.setattr(Vault, "write", writes)
    monkeypatch.setattr(Syncer, "sync", syncs)
    monkeypatch.setattr(Ledger, "add", adds)
    assert bring(world.side, world.backup).restored == 8


def test_a_large_message_goes_through_in_pieces(tmp_path: Path) -> None:
    world = World(tmp_path, large=True)
    assert bring(world.side, world.backup).restored == 9
    world.check()


def test_a_backup_that_changes_meanwhile_gives_what_it_still_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed, rewritten, removed between the comparison and the copying: nothing wrong comes in."""
    names = {}
    for at, _, files in os.walk(world.backup):
        for name in files:
            with open(os.path.join(at, name), "rb") as file:
                names[file.read()] = os.path.join(at, name)
    real = Restore.run

    def changed(self: Restore) -> None:
        renamed = names[text(11)]
        os.rename(renamed, renamed.replace(b"/new/", b"/cur/") + b":2,F")
        with open(names[text(12)], "r+b") as file:
            file.write(b"other")
        os.unlink(names[text(20)])
        real(self)

    monkeypatch.setattr(Restore, "run", changed)
    done = bring(world.side, world.backup)
    assert done.failed == 2
    assert len(done.problems) == 1
    there = {content.encode() for _, _, content in world.side.shown()}
    assert text(11) in there
    assert text(12) not in there
    assert not any(content.startswith(b"other") for content in there)
    world.side.at_rest()


def test_what_was_removed_on_purpose_stays_until_it_is_asked_for(world: World) -> None:
    side = world.side
    bring(side, world.backup)
    os.unlink(side.path_of(text(11).decode()))
    side.scan()
    side.scan()
    assert bring(side, world.backup).restored == 0
    done = bring(side, world.backup, deleted_too=True)
    assert done.restored == 1
    world.check()


def test_what_was_held_in_the_vault_for_nobody_comes_back_without_the_source(world: World) -> None:
    """A content whose record was lost with an index, say: the vault has it, and it is not read from the source again."""
    side = world.side
    bring(side, world.backup)
    path = side.path_of(text(20).decode())
    os.unlink(path)
    store = side.open()
    with store.index.transaction():
        number = store.index.value(
            "SELECT no FROM content WHERE id = ?", (hashlib.sha256(text(20)).digest(),)
        )
        store.index.execute("DELETE FROM record WHERE content = ?", (number,))
    store.close()
    with open(world.base / "ids", "wb") as file:
        file.write(b"<20@x>\n")
    done = bring(side, os.fsencode(world.base / "ids"), into="Found")
    assert done.restored == 1
    assert ("Found", "", text(20)) in [
        (name, flags.replace("O", ""), data) for name, flags, _, data in mail(side)
    ]


def test_a_content_that_a_peer_owes_is_taken_from_the_source(world: World) -> None:
    """Merged from a peer, and the session died before the contents came: the record is here and waits."""
    side = world.side
    bring(side, world.backup)
    path = side.path_of(text(20).decode())
    os.unlink(path)
    content_id = hashlib.sha256(text(20)).digest()
    store = side.open()
    with store.index.transaction():
        number = store.index.value("SELECT no FROM content WHERE id = ?", (content_id,))
        store.index.execute("UPDATE content SET kept = 0, ino = NULL WHERE no = ?", (number,))
        store.index.execute(
            "UPDATE record SET todo = 1, sub = 0, base = NULL, info = NULL, ino = NULL, mtime = NULL, ctime = NULL"
            " WHERE content = ?",
            (number,),
        )
    store.vault.drop(content_id)
    store.close()
    done = bring(side, world.backup)
    assert (done.restored, done.contents) == (0, 1)
    world.check()


def test_an_mbox_cut_off_between_any_two_batches_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "BATCH", 2)
    side = Side(tmp_path, "one")
    side.create()
    messages = [text(number) for number in range(9)]
    data = b"".join(b"From x Mon Jan 12 10:11:12 2026\n" + message + b"\n" for message in messages)
    path = os.fsencode(tmp_path / "archive.gz")
    with open(path, "wb") as file:
        file.write(gzip.compress(data))
    for at in range(4):
        real, count = Restore._take, [0]

        def take(
            self: Restore, groups: object, at: int = at, count: list[int] = count, real: object = real
        ) -> None:
            count[0] += 1
            if count[0] > 1:
                raise Crash
            real(self, groups)  # type: ignore[operator]

        monkeypatch.setattr(Restore, "_take", take)
        with Steps().installed() as steps, pytest.raises(Crash):
            bring(side, path)
        steps.stop()
        monkeypatch.setattr(Restore, "_take", real)
        side.scan()
        assert len(side.files()) == 2 * (at + 1)
    bring(side, path)
    assert side.texts() == sorted(message.decode() for message in messages)
    side.at_rest()
