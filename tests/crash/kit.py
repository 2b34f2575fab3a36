"""Small stores in a directory, sessions between them in one process, and a crash or an error at any step."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from mailkeep.replicate.channel import connect
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.rules.identity import Stale
from mailkeep.store.store import Store
from mailkeep.testing.steps import Crash, Steps
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailkeep.rules.guard import Limits
    from mailkeep.store.findings import Report

OLD = 1_700_000_000
"""When the messages of these tests were delivered: long ago, so that no file counts as young."""


class Side:
    """One Maildir and its state directory; the store is opened for each run, as the command line does it."""

    def __init__(
        self, base: Path, name: str, layout: Layout | None = None, limits: Limits | None = None
    ) -> None:
        self.name = name
        self.root = os.fsencode(base / name)
        self.state = os.fsencode(base / f"{name}.state")
        self.layout = layout or Layout()
        self.limits = limits
        self.count = 0
        if self.layout.inbox_at_root:
            self.mailbox(b"")
        else:
            os.makedirs(self.root)

    def create(self) -> Side:
        store = Store.create(self.root, self.state, self.layout, self.limits)
        store.scan()
        store.end_run("init", None, 0, {})
        store.close()
        return self

    def open(self, **more: Any) -> Store:
        return Store.open(self.root, self.state, self.limits, **more)

    def scan(self) -> Report:
        store = self.open()
        try:
            report = store.scan()
            store.end_run("sync", None, 0, {})
        finally:
            store.close()
        return report

    # --- what a mail program does

    def path(self, *parts: bytes) -> bytes:
        return os.path.join(self.root, *parts)

    def mailbox(self, directory: bytes) -> None:
        for sub in (b"tmp", b"new", b"cur"):
            os.makedirs(self.path(directory, sub), exist_ok=True)

    def deliver(
        self, directory: bytes, text: bytes, flags: str | None = None, *, name: bytes | None = None
    ) -> bytes:
        """Put a message there; its path. Without flags it lies in new/."""
        self.count += 1
        base = name or b"%d.M%dP1.%b" % (OLD + self.count, self.count, self.name.encode())
        where = (b"new", base) if flags is None else (b"cur", base + b":2," + flags.encode())
        path = self.path(directory, *where)
        with open(path, "xb") as file:
            file.write(text)
        os.utime(path, (OLD + self.count, OLD + self.count))
        return path

    # --- what is there

    def files(self) -> list[bytes]:
        """Paths of all messages, below the root."""
        out = []
        for at, _, names in os.walk(self.root):
            if os.path.basename(at) in (b"cur", b"new"):
                out += [
                    os.path.relpath(os.path.join(at, n), self.root) for n in names if not n.startswith(b".")
                ]
        return sorted(out)

    def path_of(self, text: str) -> bytes:
        """Where the message of this text lies."""
        for path in self.files():
            with open(self.path(path), "rb") as file:
                if file.read() == text.encode():
                    return self.path(path)
        raise AssertionError(f"{self.name} does not have {text}")

    def shown(self) -> list[tuple[str, str, str]]:
        """(directory, flags, content) of every message that a mail program shows."""
        out = []
        for path in self.files():
            directory, sub, name = (b"/" + path).rsplit(b"/", 2)
            flags = name.partition(b":2,")[2].decode() if sub == b"cur" else "new"
            with open(self.path(path), "rb") as file:
                out.append((directory[1:].decode(), flags, file.read().decode()))
        return sorted(out)

    def texts(self) -> list[str]:
        return sorted(text for _, _, text in self.shown())

    def kept(self) -> set[str]:
        """Every content in Maildir, vault, trash and lost+found."""
        out = {text for _, _, text in self.shown()}
        for at, _, names in os.walk(self.state):
            for name in names:
                if os.path.basename(os.path.dirname(at)) == b"objects" or os.path.basename(at) in (
                    b"trash",
                    b"lost+found",
                ):
                    with open(os.path.join(at, name), "rb") as file:
                        out.add(file.read().decode(errors="replace"))
        return out

    def at_rest(self) -> None:
        """Nothing half done: journal, trash and the found are empty, digests are what the records say."""
        from mailkeep.rules.digest import MODULUS, contribution

        store = self.open()
        try:
            assert not store.journal(), f"{self.name}: the journal is not empty"
            for directory in (b"trash", b"lost+found"):
                path = os.path.join(self.state, directory)
                assert not os.path.isdir(path) or not os.listdir(path), (
                    self.name,
                    directory,
                    os.listdir(path),
                )
            for at, _, names in os.walk(self.root):
                left = [name for name in names if name.startswith(b"mailkeep.")]
                assert os.path.basename(at) != b"tmp" or not left, f"{self.name}: {left} in tmp"
            for box in store.ledger.boxes.values():
                rows = list(store.ledger.records("mailbox = ? AND live", (box.no,)))
                assert box.count == len(rows)
                total = sum(
                    contribution(store.ledger.content_id(r.content), r.copy, r.uid, r.flags) for r in rows
                )
                assert box.sum == total % MODULUS
            live = store.index.value("SELECT count(*) FROM record WHERE live")
            assert live == len(self.files()), f"{self.name}: {live} live records, {len(self.files())} files"
            for (content_id,) in list(store.index.execute("SELECT id FROM content WHERE kept")):
                assert hashlib.sha256(store.vault.read(bytes(content_id))).digest() == content_id
        finally:
            store.close()


class Session:
    """What one session did, on both sides."""

    def __init__(self, initiator: Initiator, responder: Responder, scans: tuple[Report, Report]) -> None:
        self.initiator, self.responder, self.scans = initiator, responder, scans


def sync(a: Side, b: Side, between: Callable[[], None] | None = None) -> Session:
    """One session; `between` is called after both scans. A stale side begins again, as the command line does."""
    for _ in range(3):
        try:
            return _session(a, b, between)
        except Stale:
            store = a.open()
            with store.index.transaction():
                store.become_new()
            store.bump()
            store.end_run("sync", None, 0, {})
            store.close()
    raise AssertionError("always stale")


def _session(a: Side, b: Side, between: Callable[[], None] | None) -> Session:
    first = a.open()
    try:
        second = b.open()
        try:
            scans = (first.scan(), second.scan())
            if between is not None:
                between()
            initiator, responder = Initiator(first, b.name), Responder(second)
            initiator.wire.greet()
            responder.wire.greet()
            initiator.start()
            try:
                connect(initiator, responder)
            except Exception:
                initiator.abandon()
                responder.abandon()
                raise
            first.end_run("sync", b.name, 0, {})
            second.end_run("serve", a.name, 0, {})
            return Session(initiator, responder, scans)
        finally:
            second.close()
    finally:
        first.close()


def settle(a: Side, b: Side, most: int = 8) -> None:
    """Sync until there is nothing to do."""
    for _ in range(most):
        session = sync(a, b)
        if session.initiator.same and not any(report.changed or report.unknown for report in session.scans):
            return
    raise AssertionError("no rest after several sessions")


__all__ = ["OLD", "Crash", "Session", "Side", "Steps", "settle", "sync"]
