"""What a power cut leaves of what was not made durable: everything, nothing, names without their bytes, some of each.

Beside `mailkeep.testing.steps`: every change of a directory since the last sync is noted with how to take it back. After
the crash a view is made. What SQLite committed is durable, by its own syncs; what it had not, it rolls back by itself.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mailkeep.system import fs
from mailkeep.testing.steps import HARMLESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

EVERYTHING, SYNCED, NO_BYTES, SOME = "everything", "only what was synced", "names without bytes", "some of it"
VIEWS = (EVERYTHING, SYNCED, NO_BYTES, SOME)

_link, _unlink, _rename, _rmdir, _mkdir = os.link, os.unlink, os.rename, os.rmdir, os.mkdir
_open, _truncate = os.open, os.truncate


class Unsynced:
    """Changes that no sync has covered yet.

    Attributes:
        counted: How many changes were noted in all.
    """

    def __init__(self, aside: bytes, disk_of: Callable[[bytes], str] | None = None) -> None:
        """Begin.

        Args:
            aside: An empty directory on the same file system, for what is removed or replaced meanwhile.
            disk_of: On which of several disks a path is thought to lie; a sync covers one.
        """
        self.aside = aside
        self.disk_of = disk_of or (lambda path: "")
        self.changes: list[tuple[str, Callable[[], None]]] = []
        self.created: list[bytes] = []
        self.counted = 0

    def _note(self, path: bytes, undo: Callable[[], None]) -> None:
        self.counted += 1
        self.changes.append((self.disk_of(path), undo))

    def _keep(self, path: bytes) -> bytes | None:
        """A second name for what is about to lose its own."""
        kept = os.path.join(self.aside, b"%d" % self.counted)
        try:
            _link(path, kept, follow_symlinks=False)
        except OSError:
            return None
        return kept

    @contextmanager
    def installed(self) -> Iterator[Unsynced]:
        """Note changes meanwhile."""
        places: list[tuple[Any, str, Any]] = []

        def put(owner: Any, name: str, value: Any) -> None:
            places.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)

        put(fs, "link", self._linking(fs.link))
        put(fs, "unlink", self._unlinking(fs.unlink))
        put(fs, "rename", self._renaming(fs.rename))
        put(fs, "rename_noreplace", self._renaming_noreplace(fs.rename_noreplace))
        put(fs, "exchange", self._exchanging(fs.exchange))
        put(fs, "rmdir", self._removing(fs.rmdir))
        put(fs, "fsync", self._syncing_file(fs.fsync))
        put(fs.Syncer, "sync", self._syncing(fs.Syncer.sync))
        put(os, "mkdir", self._making(os.mkdir))
        put(os, "open", self._opening(os.open))
        try:
            yield self
        finally:
            for owner, name, value in reversed(places):
                setattr(owner, name, value)

    # --- what is noted

    def _linking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def link(source: bytes, target: bytes, **where: Any) -> None:
            function(source, target, **where)
            path = _absolute(target, where.get("dst_dir_fd"))
            self._note(path, lambda: _unlink(path))

        return link

    def _unlinking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def unlink(path: bytes, *, dir_fd: int | None = None) -> None:
            whole = _absolute(path, dir_fd)
            kept = self._keep(whole)
            function(path, dir_fd=dir_fd)
            if kept is not None:
                self._note(whole, lambda: _link(kept, whole, follow_symlinks=False))

        return unlink

    def _renaming(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def rename(source: bytes, target: bytes, **where: Any) -> None:
            a, b = _absolute(source, where.get("src_dir_fd")), _absolute(target, where.get("dst_dir_fd"))
            kept = self._keep(b)
            function(source, target, **where)

            def undo() -> None:
                _rename(b, a)
                if kept is not None:
                    _link(kept, b, follow_symlinks=False)

            self._moved(a, b)
            self._note(b, undo)

        return rename

    def _renaming_noreplace(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def rename_noreplace(source: bytes, target: bytes, source_fd: int, target_fd: int) -> None:
            a, b = _absolute(source, source_fd), _absolute(target, target_fd)
            function(source, target, source_fd, target_fd)
            self._moved(a, b)
            self._note(b, lambda: _rename(b, a))

        return rename_noreplace

    def _exchanging(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def exchange(a: bytes, b: bytes, at: int) -> None:
            function(a, b, at)
            root = _absolute(b"", at)
            one, other = os.path.join(root, a), os.path.join(root, b)

            def undo() -> None:
                _rename(one, one + b"~")
                _rename(other, one)
                _rename(one + b"~", other)

            self._note(one, undo)

        return exchange

    def _removing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def rmdir(path: bytes, *, dir_fd: int | None = None) -> None:
            whole = _absolute(path, dir_fd)
            function(path, dir_fd=dir_fd)
            self._note(whole, lambda: _mkdir(whole, 0o700))

        return rmdir

    def _making(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            function(path, mode, dir_fd=dir_fd)
            whole = _absolute(os.fsencode(path), dir_fd)
            self._note(whole, lambda: _rmdir(whole))

        return mkdir

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            whole = _absolute(path, dir_fd) if isinstance(path, bytes) and flags & os.O_CREAT else b""
            fresh = bool(whole) and os.path.basename(whole) not in HARMLESS and not os.path.lexists(whole)
            fd: int = function(path, flags, mode, dir_fd=dir_fd)
            if fresh:
                self.created.append(whole)
                self._note(whole, lambda: _unlink(whole))
            return fd

        return open_

    def _moved(self, a: bytes, b: bytes) -> None:
        self.created = [b if path == a else path for path in self.created]

    def _syncing_file(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fsync(fd: int) -> None:
            function(fd)
            path = os.readlink(b"/proc/self/fd/%d" % fd)
            self.created = [p for p in self.created if p != path]  # its bytes; its name may still go

        return fsync

    def _syncing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def sync(syncer: fs.Syncer) -> None:
            function(syncer)
            disk = self.disk_of(syncer.directory)
            self.changes = [change for change in self.changes if change[0] != disk]
            self.created = [path for path in self.created if self.disk_of(path) != disk]

        return sync

    # --- after the crash

    def cut(self, view: str, random: Random) -> None:
        """Make the disk what it may be after the power was cut."""
        if view == NO_BYTES:
            for path in self.created:
                try:
                    os.chmod(path, 0o600)
                    _truncate(path, 0)
                except OSError:
                    continue
            return
        for _, undo in reversed(self.changes):
            if view == SYNCED or (view == SOME and random.random() < 0.5):
                try:
                    undo()
                except OSError:
                    continue  # what it stood on is gone, or stands in its way


def _absolute(path: bytes, at: int | None) -> bytes:
    """A path that means the same whatever happens to descriptors."""
    if path.startswith(b"/"):
        return path
    base = os.getcwdb() if at is None or at < 0 else os.readlink(b"/proc/self/fd/%d" % at)
    return os.path.join(base, path) if path else base
