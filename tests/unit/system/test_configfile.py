from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mailkeep
from mailkeep.domain.errors import ConfigError, PermissionDenied
from mailkeep.system import configfile
from mailkeep.system.configfile import Places, find_lines, load_settings, load_settings_with_lines

STORE = '[stores.mail]\npath = "~/Maildir"\n'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places({"HOME": str(tmp_path)})


def write(places: Places, text: str | bytes, *, age_seconds: float = 0) -> Path:
    path = Path(places.config_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if age_seconds:
        os.utime(path, (time.time() - age_seconds,) * 2)
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as old enough for the cache."""
    monkeypatch.setattr(configfile, "CACHE_AGE_SECONDS_MIN", -60)


def count_parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    parses: list[str] = []
    parse = configfile.parse_toml

    def counting(text: bytes, path: str) -> dict[str, object]:
        parses.append(path)
        return parse(text, path)

    monkeypatch.setattr(configfile, "parse_toml", counting)
    return parses


def test_where_things_are() -> None:
    places = Places({"HOME": "/home/me"})
    assert places.config_file == "/home/me/.config/mailkeep/config.toml"
    assert places.state_dir == "/home/me/.local/state/mailkeep"
    assert places.cache_dir == "/home/me/.cache/mailkeep"
    assert places.config_source == "environment HOME"
    places = Places({"XDG_CONFIG_HOME": "/c/", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "relative"})
    assert places.config_file == "/c/mailkeep/config.toml"
    assert places.config_source == "environment XDG_CONFIG_HOME"
    assert (places.state_dir, places.cache_dir) == ("/s/mailkeep", "")


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_home_the_message_says_so(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="HOME is not set") as caught:
        load_settings(Places(home))
    assert caught.value.hint == "set HOME or XDG_CONFIG_HOME"


def test_no_file_is_no_store(places: Places) -> None:
    settings = load_settings(places)
    assert settings.stores == {}
    with pytest.raises(ConfigError, match="no store is configured"):
        settings.store()


def test_settings_are_read(places: Places, tmp_path: Path) -> None:
    write(places, STORE)
    assert load_settings(places).store().path == f"{tmp_path}/Maildir"


def test_with_lines_each_value_knows_its_own(places: Places) -> None:
    path = write(places, "# mine\n" + STORE + "\n[stores.mail.guard]\ncount = 7\n")
    store = load_settings_with_lines(places).store()
    assert store.source("path") == f"{path}:3"
    assert store.guard.source("count") == f"{path}:6"
    assert store.guard.source("share") == "default"


def test_a_wrong_setting_is_named_with_its_line(places: Places) -> None:
    path = write(places, STORE + 'layout = "nested"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(places)
    assert str(caught.value) == f'{path}:3: stores.mail.layout: "nested" is not one of auto, maildir++, fs'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[stores\n", "not valid TOML: .*line 1"),
        (b"a = 1\n\xff = 2\n", ":2: this line is not UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deep|not valid TOML"),
        (b"#" * (configfile.CONFIG_SIZE_BYTES_MAX + 1), "are no configuration"),
    ],
)
def test_no_toml(places: Places, text: bytes, message: str) -> None:
    write(places, text)
    with pytest.raises(ConfigError, match=message):
        load_settings(places)


def test_what_is_no_file_is_refused_without_waiting(places: Places) -> None:
    path = Path(places.config_file)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a file"):
        load_settings(places)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="not a file"):
        load_settings(places)


def test_links_are_followed_and_must_lead_somewhere(places: Places, tmp_path: Path) -> None:
    path = write(places, STORE)
    elsewhere = tmp_path / "dotfiles.toml"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert "mail" in load_settings(places).stores
    elsewhere.unlink()
    with pytest.raises(ConfigError, match="link to a file that is not there"):
        load_settings(places)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ConfigError, match="symbolic links"):
        load_settings(places)


def test_an_unreadable_file_is_not_no_file(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(places, STORE)

    def refuse(name: str, flags: int, *rest: int) -> int:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(os, "open", refuse)  # Root may read everything, so chmod shows nothing.
    with pytest.raises(PermissionDenied, match="cannot be read: Permission denied") as caught:
        load_settings(places)
    assert caught.value.where == str(path)


# The cache.


@pytest.mark.usefixtures("settled")
def test_the_second_run_parses_nothing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    parses = count_parses(monkeypatch)
    write(places, STORE + "[stores.mail.guard]\ncount = 3\nexempt = []\n")
    first = load_settings(places).store()
    second = load_settings(places).store()
    assert len(parses) == 1
    assert (first.path, first.guard.count, first.guard.exempt) == (
        second.path,
        second.guard.count,
        second.guard.exempt,
    )
    cache = Path(places.cache_dir)
    assert [entry.name for entry in cache.iterdir()] == ["config.cache"]
    assert stat.S_IMODE((cache / "config.cache").stat().st_mode) == 0o600


@pytest.mark.usefixtures("settled")
def test_a_changed_file_is_parsed_again(places: Places) -> None:
    write(places, STORE + "[stores.mail.guard]\ncount = 3\n")
    assert load_settings(places).store().guard.count == 3
    path = write(places, STORE + "[stores.mail.guard]\ncount = 4\n")
    assert load_settings(places).store().guard.count == 4
    # Replaced by a file of the same size and time: another inode.
    other = path.with_name("other")
    other.write_text(STORE + "[stores.mail.guard]\ncount = 5\n")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert load_settings(places).store().guard.count == 5


def test_a_fresh_file_is_not_cached_whatever_its_mtime_says(places: Places) -> None:
    write(places, STORE, age_seconds=3600)
    load_settings(places)
    assert not Path(places.cache_dir).exists()


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def damage_zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_mode(path: Path) -> None:
    path.chmod(0o666)


def damage_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damage_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage", [damage_flip, damage_cut, damage_zero, damage_empty, damage_mode, damage_directory, damage_fifo]
)
def test_a_damaged_cache_is_ignored(
    places: Places,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    write(places, STORE)
    load_settings(places)
    damage(Path(places.cache_dir) / "config.cache")
    parses = count_parses(monkeypatch)
    assert "mail" in load_settings(places).stores
    assert len(parses) == 1


@pytest.mark.usefixtures("settled")
def test_what_msgpack_cannot_hold_is_read_without_a_cache(places: Places) -> None:
    write(places, "when = 2026-01-01\nbig = 123456789012345678901234567890\n")
    with pytest.raises(ConfigError, match="no such setting"):
        load_settings(places)
    assert not Path(places.cache_dir).exists()


@pytest.mark.usefixtures("settled")
def test_an_unwritable_cache_does_not_matter(places: Places, tmp_path: Path) -> None:
    write(places, STORE)
    (tmp_path / ".cache").write_text("a file where the directory should be")
    assert "mail" in load_settings(places).stores


def test_reading_the_cache_imports_next_to_nothing(places: Places, tmp_path: Path) -> None:
    write(places, STORE)
    script = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        "from mailkeep.system import configfile\n"
        "configfile.CACHE_AGE_SECONDS_MIN = -60\n"
        "configfile.load_settings(configfile.Places(os.environ)).store()\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(mailkeep.__file__).parent.parent)}

    def modules() -> set[str]:
        command = [sys.executable, "-c", script]
        return set(
            subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout.split()
        )

    assert "tomllib" in modules()
    banned = {
        "tomllib",
        "tomlkit",
        "re",
        "typing",
        "dataclasses",
        "enum",
        "argparse",
        "json",
        "pathlib",
        "tempfile",
    }
    banned |= {"subprocess", "difflib", "hashlib", "ctypes", "contextlib"}
    # msgpack brings datetime and collections itself.
    assert not banned & modules()


# Lines.


def test_lines_of_every_form() -> None:
    text = (
        "# top\n"  # 1
        "a.b = 1\n"  # 2
        '"x y" = """\n[no.table]\nfake = 1\n"""\n'  # 3-6
        "list = [\n  1, # one\n  2,\n]\n"  # 7-10
        "\n"
        "[ t . u ] # comment\n"  # 12
        "inline = { k = { l = 1 } }\n"  # 13
        "\n"
        "[[many]]\n"  # 15
        "v = 1\n"
    )
    lines = find_lines(text)
    assert lines[("a", "b")] == 2
    assert lines[("x y",)] == 3
    assert lines[("list",)] == 7
    assert lines[("t", "u")] == 12
    assert lines[("t", "u", "inline", "k", "l")] == 13
    assert ("no", "table") not in lines
    assert ("fake",) not in lines


@given(st.text(alphabet='[]{}"=.,ab1\n #', max_size=60))
def test_lines_of_any_text(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in find_lines(text).values())
