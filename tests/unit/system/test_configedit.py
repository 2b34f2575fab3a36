from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mailkeep.domain.errors import ConfigError, PermissionDenied, StorageError
from mailkeep.system import fs
from mailkeep.system.configedit import add_peer, add_store, remove_peer
from mailkeep.system.configfile import Places, load_settings

MINE = """\
# What I keep.

[stores.mail]   # my mail
path = "~/Maildir"

[stores.mail.guard]
count = 7 # seven

# The end.
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places({"HOME": str(tmp_path)})


@pytest.fixture
def mine(places: Places) -> Path:
    path = Path(places.config_file)
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    return path


def test_the_first_store_makes_the_file(places: Places) -> None:
    settings = add_store(places, "mail", {"path": "~/Maildir", "state": None})
    path = Path(places.config_file)
    assert path.read_text() == '[stores.mail]\npath = "~/Maildir"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert settings.store().path == load_settings(places).store().path


def test_peers_come_and_go(places: Places) -> None:
    add_store(places, "mail", {"path": "~/Maildir"})
    before = Path(places.config_file).read_text()
    add_peer(places, "mail", "server", {"url": "ssh://me@server/", "direction": "pull"})
    add_peer(
        places, "mail", "odd", {"command": 'say "hi" \\ there', "include": ("A", "B"), "map": {"x y": "z"}}
    )
    store = load_settings(places).store()
    assert store.peer("server").direction == "pull"
    assert store.peer("odd").command == 'say "hi" \\ there'
    assert store.peer("odd").include == ("A", "B")
    assert store.peer("odd").map == {"x y": "z"}
    assert "[stores.mail.peers.server]" in Path(places.config_file).read_text()
    remove_peer(places, "mail", "server")
    assert list(remove_peer(places, "mail", "odd").store().peers) == []
    assert Path(places.config_file).read_text().strip() == before.strip()


def test_comments_and_order_stay(places: Places, mine: Path) -> None:
    add_peer(places, "mail", "server", {"url": "ssh://server/"})
    add_store(places, "other", {"path": "/other"})
    lines = mine.read_text().splitlines()
    kept = iter(lines)
    assert all(line in kept for line in MINE.splitlines() if line)
    assert set(load_settings(places).stores) == {"mail", "other"}
    assert load_settings(places).store("mail").guard.count == 7


@pytest.mark.parametrize(
    "text",
    [
        'stores.mail.path = "/m"\n',
        'stores = { mail = { path = "/m" } }\n',
        '[stores]\nmail = { path = "/m" }\n',
        '[stores.mail]\npath = "/m"\n[stores.mail.peers]\n[stores.mail.peers.a]\npath = "/a"\n',
        '[stores.mail.peers.a]\npath = "/a"\n[stores.z]\npath = "/z"\n[stores.mail]\npath = "/m"\n',
        '[stores.mail]\r\npath = "/m"\r\n',
        '[stores.mail]\npath = "/m"',
    ],
)
def test_every_layout_is_edited_right_or_left_alone(places: Places, mine: Path, text: str) -> None:
    mine.write_bytes(text.encode())
    known = set(load_settings(places).store("mail").peers)
    try:
        add_peer(places, "mail", "new", {"path": "/n"})
        known.add("new")
    except ConfigError as err:
        assert err.untouched == "the configuration"
        assert mine.read_bytes() == text.encode()
    assert set(load_settings(places).store("mail").peers) == known


def test_refusals_write_nothing(places: Places, mine: Path) -> None:
    add_peer(places, "mail", "server", {"path": "/n"})
    before, identity = mine.read_bytes(), mine.stat().st_ino
    with pytest.raises(ConfigError, match='there is a store "mail" already'):
        add_store(places, "mail", {"path": "/m"})
    with pytest.raises(ConfigError, match='has a peer "server" already'):
        add_peer(places, "mail", "server", {"path": "/m"})
    with pytest.raises(ConfigError, match='there is no store "nix"'):
        add_peer(places, "nix", "server", {"path": "/m"})
    with pytest.raises(ConfigError, match='has no peer "nix"'):
        remove_peer(places, "mail", "nix")
    with pytest.raises(ConfigError, match='has no peer "server"'):
        remove_peer(places, "nix", "server")
    with pytest.raises(ConfigError, match="is not one of both") as caught:
        add_peer(places, "mail", "wrong", {"path": "/m", "direction": "up"})
    assert caught.value.untouched == "the configuration"
    with pytest.raises(ConfigError, match="is not a name"):
        add_store(places, "a b", {"path": "/m"})
    assert (mine.read_bytes(), mine.stat().st_ino) == (before, identity)
    assert [entry.name for entry in mine.parent.iterdir()] == ["config.toml"]


def test_a_broken_file_is_not_touched(places: Places, mine: Path) -> None:
    mine.write_text("[stores.mail\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        add_store(places, "new", {"path": "/m"})
    mine.write_text("stores = 1\n")
    with pytest.raises(ConfigError, match="not a table"):
        add_store(places, "new", {"path": "/m"})
    assert mine.read_text() == "stores = 1\n"


def test_a_link_stays_a_link_and_modes_stay(places: Places, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "mailkeep.toml"
    mine.rename(real)
    real.chmod(0o640)
    mine.symlink_to(os.path.relpath(real, mine.parent))
    add_store(places, "new", {"path": "/new"})
    assert mine.is_symlink()
    assert "new" in load_settings(places).stores
    assert "[stores.new]" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_the_old_file_stays_when_writing_fails(
    places: Places, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left") as caught:
        add_store(places, "new", {"path": "/new"})
    assert caught.value.untouched == "the configuration"
    assert mine.read_text() == MINE
    assert [entry.name for entry in mine.parent.iterdir()] == ["config.toml"]


def test_a_read_only_place_says_what_to_do(
    places: Places, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(source: str, target: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", read_only)
    with pytest.raises(PermissionDenied, match="Read-only file system") as caught:
        add_store(places, "new", {"path": "/new"})
    assert "by hand" in caught.value.hint


def test_another_editors_change_is_not_lost(
    places: Places, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    write_all = fs.write_all

    def and_meanwhile(descriptor: int, data: bytes) -> None:
        write_all(descriptor, data)
        calls.append(1)
        if len(calls) == 1:
            mine.write_text(MINE + '[stores.meanwhile]\npath = "/x"\n')

    monkeypatch.setattr("mailkeep.system.configedit.write_all", and_meanwhile)
    settings = add_store(places, "new", {"path": "/new"})
    assert set(settings.stores) == set(load_settings(places).stores) == {"mail", "meanwhile", "new"}


def test_edits_at_the_same_time_all_count(places: Places) -> None:
    threads = [
        threading.Thread(target=add_store, args=(places, f"s{number}", {"path": f"/{number}"}))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_settings(places).stores) == 6
