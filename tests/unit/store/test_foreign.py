"""What is compared with: told apart, read with bounded memory, remembered while it does not change."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from pathlib import Path

import pytest

from mailkeep.domain.errors import DataError
from mailkeep.store.foreign import Item, Stream, open_source
from mailkeep.store.foreignfiles import LINE_BYTES_MAX, _kind, lines
from mailkeep.store.foreignmaildir import MaildirSource
from mailkeep.store.hashes import HashCache
from mailkeep.wire import zstd

NOW = 1_800_000_000
STORE = bytes(16)


def tree(root: Path, count: int = 5) -> Path:
    for name in ("", ".Work", ".Work.Old"):
        for sub in ("cur", "new", "tmp"):
            (root / name / sub).mkdir(parents=True)
        for number in range(count):
            (root / name / "cur" / f"1.{number}:2,S").write_bytes(f"{name} {number}".encode())
    return root


def items(source: MaildirSource) -> list[Item]:
    found = list(source.items(lambda _: False, lambda _: False, None))
    assert all(isinstance(item, Item) for item in found)
    return [item for item in found if isinstance(item, Item)]


# --- hashes that are remembered


def compared(root: Path, state: Path, now: int, *, here: bool = False) -> tuple[int, int]:
    """(messages, files that were read)."""
    source = MaildirSource(str(root), os.fsencode(root), HashCache(os.fsencode(state), STORE, now))
    try:
        found = list(source.items(lambda _: False, lambda _: here, None))
        return sum(item if isinstance(item, int) else 1 for item in found), source.read
    finally:
        source.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is long after the files were made."""
    monkeypatch.setattr("mailkeep.system.clock.now", lambda: NOW)


@pytest.mark.usefixtures("clock")
def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    root = tree(tmp_path / "backup")
    assert compared(root, tmp_path, NOW) == (15, 15)
    assert compared(root, tmp_path, NOW) == (15, 0)
    assert compared(root, tmp_path, NOW, here=True) == (15, 0)
    (root / "cur/1.0:2,S").rename(root / "cur/1.0:2,FS")  # its ctime is another
    (root / ".Work/cur/1.1:2,S").write_bytes(b"other")
    (root / ".Work/cur/1.2:2,S").unlink()
    (root / "new/1.9").write_bytes(b"more")
    assert compared(root, tmp_path, NOW) == (15, 3)
    assert compared(root, tmp_path, NOW) == (15, 0)


@pytest.mark.usefixtures("clock")
def test_a_file_whose_times_were_set_back_is_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "backup")
    compared(root, tmp_path, NOW)
    path = root / "cur/1.3:2,S"
    st = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (st.st_size, st.st_mtime_ns)
    assert compared(root, tmp_path, NOW) == (15, 1)


def test_what_is_young_is_read_again(tmp_path: Path) -> None:
    root = tree(tmp_path / "backup")
    now = int((root / "cur/1.0:2,S").stat().st_ctime)
    assert compared(root, tmp_path, now) == (15, 15)
    assert compared(root, tmp_path, now) == (15, 15)


@pytest.mark.usefixtures("clock")
def test_another_store_an_old_day_and_damage_cost_a_reading(tmp_path: Path) -> None:
    root = tree(tmp_path / "backup")
    compared(root, tmp_path, NOW)
    other = HashCache(os.fsencode(tmp_path), bytes(15) + b"x", NOW)
    assert other.known(os.stat(root / "cur")) == {}
    other.close()
    compared(root, tmp_path, NOW)
    assert compared(root, tmp_path, NOW) == (15, 0)
    assert compared(root, tmp_path, NOW + 91 * 86400) == (15, 15)
    (tmp_path / "hashes.db").write_bytes(b"no database" * 1000)
    assert compared(root, tmp_path, NOW) == (15, 15)
    assert compared(root, tmp_path, NOW) == (15, 0)
    assert (tmp_path / "hashes.db").stat().st_mode & 0o777 == 0o600


# --- names


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        (["cur", ".A/cur", ".A.B/cur"], {"INBOX", "A", "A/B"}),
        (["INBOX/cur", "A/cur", "A/B/cur"], {"INBOX", "A", "A/B"}),
        (["cur", ".A/cur", "Plain/cur", "Plain/.In.It/cur"], {"INBOX", "A", "Plain", "Plain/In/It"}),
        ([".Entw&APw-rfe/cur", ".Sent/cur", "cur"], {"Entwürfe", "Sent", "INBOX"}),
        (["a/b/c/cur"], {"a/b/c"}),
    ],
)
def test_any_layout_has_names(tmp_path: Path, directories: list[str], names: set[str]) -> None:
    for number, directory in enumerate(directories):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / f"1.{number}").write_bytes(b"%d" % number)
    source = MaildirSource("x", os.fsencode(tmp_path))
    try:
        assert {item.mailbox for item in items(source)} == names
        assert source.problems.count == 0
    finally:
        source.close()


# --- kinds


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"From a@b Mon Jan 12 10:11:12 2026\nSubject: x\n\n", "mbox"),
        (b"\nFrom a", "mbox"),
        (b"#notmuch-dump batch-tag:3 config,properties,tags\n", "notmuch"),
        (b"+a -- id:b@c\n+d -- id:e@f\n", "notmuch"),
        (b"a@b (inbox unread)\n", "notmuch"),
        (b"<a@b>\nc@d\n", "ids"),
        (b"\xef\xbb\xbf<a@b>\r\n", "ids"),
        (b"# ids\n\na@b\n", "ids"),
        (b"Jan  2 10:11:12 mx postfix/qmgr[1]: x\n", "log"),
        (b"2026-01-12T10:11:12.1+01:00 mx x\n", "log"),
        (b'{"__REALTIME_TIMESTAMP":"1"}\n', "log"),
        (b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\n", "log"),
    ],
)
def test_kinds(head: bytes, kind: str) -> None:
    assert _kind(head, "x") == kind


@pytest.mark.parametrize(
    "head", [b"", b"\n\n", b"\0" * 100, b"Subject: x\n\nbody\n", b"hello\n", b"\xff\xfe\x00"]
)
def test_what_is_of_no_kind(head: bytes) -> None:
    with pytest.raises(DataError):
        _kind(head, "x")


# --- bombs, and what is cut or damaged


def bomb(kind: str, size: int) -> bytes:
    """Zeros behind an mbox's first line, a thousand times smaller or more."""
    start, block = b"From a@b Mon Jan 12 10:11:12 2026\nA: b\n\n", bytes(1 << 20)
    if kind == "gz":
        packed = zlib.compressobj(1, zlib.DEFLATED, 31)
        return b"".join(
            [packed.compress(start), *(packed.compress(block) for _ in range(size)), packed.flush()]
        )
    frame = zstd.compressor(1)
    pieces = [frame.compress(start, zstd.GO_ON), *(frame.compress(block, zstd.GO_ON) for _ in range(size))]
    return b"".join([*pieces, frame.compress(b"", zstd.FLUSH_FRAME)])


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_bomb_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("mailkeep.wire.mbox.MESSAGE_BYTES_MAX", 4 << 20)
    (tmp_path / "bomb").write_bytes(bomb(kind, 60))
    tracemalloc.start()
    try:
        source = open_source(str(tmp_path / "bomb"), None, NOW, (), lambda _: None)
        assert source.kind == "mbox"
        assert list(source.items(lambda _: False, lambda _: False, None)) == []
        source.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.problems.count == 1
    assert "too large" in source.problems.rows[0][1]
    assert peak < 24 << 20


def test_a_window_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    # A frame's header (RFC 8878 §3.1.1): no dictionary, no size, no checksum; a window of 2 to the 31st.
    (tmp_path / "long.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes([0, (31 - 10) << 3]) + b"\x01\0\0" * 3)
    with pytest.raises(DataError, match="cannot be decompressed"):
        open_source(str(tmp_path / "long.zst"), None, NOW, (), lambda _: None)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_several_members_and_what_is_cut_short(tmp_path: Path, kind: str) -> None:
    def pack(data: bytes) -> bytes:
        return gzip.compress(data) if kind == "gz" else zstd.compressor(3).compress(data, zstd.FLUSH_FRAME)

    whole = pack(b"one" * 5000) + pack(b"") + pack(b"two" * 5000)
    for data, good in (
        (whole, True), (whole[:-5], False), (whole + b"rubbish behind", False), (whole[:15], False),
        (whole + bytes(512), kind == "gz"),
    ):  # fmt: skip
        (tmp_path / "packed").write_bytes(data)
        stream = Stream("packed", os.fsencode(tmp_path / "packed"))
        if good:
            for _ in range(2):
                assert b"".join(stream.chunks()) == b"one" * 5000 + b"two" * 5000
        else:
            with pytest.raises(DataError, match="cannot be decompressed"):
                b"".join(stream.chunks())
        stream.close()


def test_lines_without_end_are_cut(tmp_path: Path) -> None:
    pieces = [b"a\nb", b"\r\n", b"x" * LINE_BYTES_MAX, b"y" * 10, b"y" * LINE_BYTES_MAX, b"z\nlast"]
    assert [line[:3] for line in lines(iter(pieces))] == ["a", "b", "xxx", "las"]
