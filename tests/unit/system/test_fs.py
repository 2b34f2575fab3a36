"""What mailkeep asks of the file system."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from mailkeep.domain.errors import StorageError
from mailkeep.system import fs

if TYPE_CHECKING:
    from pathlib import Path


def test_where_syncfs_tells_no_errors_each_file_and_each_directory_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(fs, "_can_syncfs", lambda directory: False)
    monkeypatch.setattr(os, "fsync", noted)
    syncer = fs.Syncer(os.fsencode(tmp_path))
    for name in ("a/one", "a/two", "b/three"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        syncer.note(os.fsencode(path))
    syncer.sync()
    assert sorted(synced) == sorted(str(tmp_path / name) for name in ("a/one", "a/two", "b/three", "a", "b"))
    synced.clear()
    syncer.sync()
    assert not synced, "what was made durable once is not synced again"
    syncer.close()


def test_after_a_sync_that_failed_none_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    fsync = os.fsync
    monkeypatch.setattr(fs, "_can_syncfs", lambda directory: False)
    monkeypatch.setattr(os, "fsync", broken)
    syncer = fs.Syncer(os.fsencode(tmp_path))
    (tmp_path / "file").write_text("x")
    syncer.note(os.fsencode(tmp_path / "file"))
    with pytest.raises(StorageError, match="could not be made durable"):
        syncer.sync()
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="could not be made durable"):
        syncer.sync()
    syncer.close()


@pytest.mark.parametrize("code", [None, errno.EINVAL, errno.ENOSYS])
def test_a_rename_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """Not where the file system has no RENAME_NOREPLACE either."""
    if code is not None:
        import ctypes

        class Old:
            def renameat2(self, *_: object) -> int:
                ctypes.set_errno(code or 0)
                return -1

        monkeypatch.setattr(fs, "_libc", Old())
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            fs.rename_noreplace(b"a", b"b", fd, fd)
        assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]
        fs.rename_noreplace(b"a", b"c", fd, fd)
        assert (tmp_path / "c").read_text() == "a"
        assert not (tmp_path / "a").exists()
    finally:
        os.close(fd)


def test_nothing_is_opened_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            fs.open_directory(b"link", fd)
        os.close(fs.open_directory(b"real", fd))
    finally:
        os.close(fd)
