"""The configuration file: found, read, cached, edited.

A run that has nothing to do should cost next to nothing, and loading a TOML parser is a good part of
that. The parsed tables are therefore kept in the user's cache directory, bound to the file's identity
(path, device, inode, size, both times). The cache is a convenience only: whatever is wrong with it, the
file itself is read.

A configuration that is a symbolic link is followed. Editing it is `configedit`'s.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib

from mailkeep.domain.errors import ConfigError, MailkeepError, PermissionDenied, StorageError
from mailkeep.system.fs import write_all
from mailkeep.wire.config import Settings, read_settings
from mailkeep.wire.tables import Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Tables = dict[str, object]

CONFIG_SIZE_BYTES_MAX = 1 << 20
"""A person writes a few kilobytes; more is the wrong file."""

CACHE_AGE_SECONDS_MIN = 2
"""A file changed so recently may change again within one tick of its time stamps (2 s on some
file systems), and would look the same."""

# Raise the number whenever the meaning of what is cached changes.
_CACHE_MAGIC = b"mailkeep config cache 1\n"
_CACHE_NAME = "config.cache"
_CACHE_SIZE_BYTES_MAX = 4 * CONFIG_SIZE_BYTES_MAX
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Places:
    """Where the environment puts configuration, state and cache.

    Attributes:
        home: HOME, or empty if unset or not absolute.
        config_file: Absolute path of ``config.toml``.
        config_source: What decided that, such as "environment XDG_CONFIG_HOME".
    """

    __slots__ = ("_cache", "_config", "_state", "config_source", "home")

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("HOME", "")
        self.home = home if home.startswith("/") else ""
        self._config, self.config_source = self._choose(environment, "XDG_CONFIG_HOME", ".config")
        self._state, _ = self._choose(environment, "XDG_STATE_HOME", ".local/state")
        self._cache, _ = self._choose(environment, "XDG_CACHE_HOME", ".cache")

    def _choose(self, environment: Mapping[str, str], variable: str, below_home: str) -> tuple[str, str]:
        # A relative path is to be ignored, says the XDG base directory specification.
        value = environment.get(variable, "")
        if value.startswith("/"):
            return f"{value.rstrip('/')}/mailkeep", f"environment {variable}"
        if self.home:
            return f"{self.home.rstrip('/')}/{below_home}/mailkeep", "environment HOME"
        return "", ""

    @property
    def config_file(self) -> str:
        """Absolute path of the configuration, there or not.

        Raises:
            ConfigError: Neither HOME nor XDG_CONFIG_HOME says where.
        """
        return self._known(self._config, "the configuration", "XDG_CONFIG_HOME") + "/config.toml"

    @property
    def state_dir(self) -> str:
        """Absolute path of mailkeep's directory for state, there or not.

        Raises:
            ConfigError: Neither HOME nor XDG_STATE_HOME says where.
        """
        return self._known(self._state, "mailkeep's state", "XDG_STATE_HOME")

    @property
    def cache_dir(self) -> str:
        """Absolute path of mailkeep's directory in the cache; empty if the environment names none."""
        return self._cache

    def _known(self, directory: str, what: str, variable: str) -> str:
        if not directory:
            raise ConfigError(
                f"HOME is not set to an absolute path, so it is not known where {what} is",
                hint=f"set HOME or {variable}",
            )
        return directory


def load_settings(places: Places) -> Settings:
    """The settings of the configuration file; settings without any store if there is no file.

    Raises:
        ConfigError: The file is not valid TOML, or a setting is wrong; with file, line and key.
        PermissionDenied: It may not be read.
        StorageError: Reading failed.
    """
    path = places.config_file
    found = _read_tables(path, places.cache_dir)
    if found is None:
        return Settings(path, {})
    try:
        return read_settings(found, Origin(path, home=places.home))
    except ConfigError:
        # Once more, slowly, for the line to be in the message.
        return load_settings_with_lines(places)


def load_settings_with_lines(places: Places) -> Settings:
    """As ``load_settings``, but each value's source has its line, and no cache is used."""
    path = places.config_file
    opened = read_file(path)
    if opened is None:
        return Settings(path, {})
    text, _ = opened
    tables = parse_toml(text, path)
    return read_settings(tables, Origin(path, lines=find_lines(text.decode()), home=places.home))


def parse_toml(text: bytes, path: str) -> Tables:
    """The tables of a TOML file.

    Raises:
        ConfigError: It is none; with the line and what the parser says.
    """
    import tomllib

    try:
        return tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as err:
        line = text.count(b"\n", 0, err.start) + 1
        raise ConfigError(
            "this line is not UTF-8 text", where=f"{path}:{line}", hint="save the file as UTF-8"
        ) from err
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(
            f"not valid TOML: {err}", where=path, hint="correct that line; nothing was run"
        ) from err
    except RecursionError as err:
        raise ConfigError("tables or lists are nested too deep", where=path) from err


def find_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, at which each key path of a valid TOML text is given its value.

    Every statement of TOML is a TOML text of its own: lines are added until a parser accepts them, so
    that brackets and texts over several lines need no rules here.
    """
    import tomllib

    lines: dict[tuple[str, ...], int] = {}
    prefix: tuple[str, ...] = ()
    statement, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        statement += line + "\n"
        try:
            tables = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            prefix = _deepest(tables)
            lines.setdefault(prefix, first)
        else:
            _note_lines(tables, prefix, first, lines)
        statement, first = "", 0
    return lines


def _deepest(tables: object) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    while isinstance(tables, dict) and tables:
        ((key, tables),) = tables.items()
        path = (*path, key)
    return path


def _note_lines(
    tables: Tables, prefix: tuple[str, ...], line: int, lines: dict[tuple[str, ...], int]
) -> None:
    for key, value in tables.items():
        path = (*prefix, key)
        lines.setdefault(path, line)
        if isinstance(value, dict):
            _note_lines(value, path, line, lines)


# Reading.


def read_file(path: str) -> tuple[bytes, os.stat_result] | None:
    """The file's bytes and its status just before they were read; None if there is no file.

    Raises:
        ConfigError: It is no regular file, too large, or a link that leads nowhere.
        PermissionDenied: It may not be read.
        StorageError: Reading failed.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        if _is_dangling_link(path):
            raise ConfigError(
                "a symbolic link to a file that is not there",
                where=path,
                hint="restore the file, or the link",
            ) from None
        return None
    except OSError as err:
        raise _reading_failed(path, err) from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("this is not a file", where=path)
        if status.st_size > CONFIG_SIZE_BYTES_MAX:
            raise ConfigError(
                f"{status.st_size:,} bytes are no configuration (at most {CONFIG_SIZE_BYTES_MAX:,})",
                where=path,
            )
        return _read_all(descriptor, CONFIG_SIZE_BYTES_MAX), status
    except OSError as err:
        raise _reading_failed(path, err) from err
    finally:
        os.close(descriptor)


def _is_dangling_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def _read_all(descriptor: int, size_bytes_max: int) -> bytes:
    chunks = []
    left = size_bytes_max + 1
    while left > 0 and (chunk := os.read(descriptor, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _reading_failed(path: str, err: OSError) -> MailkeepError:
    problem = f"cannot be read: {os.strerror(err.errno or errno.EIO)}"
    if err.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(problem, where=path, hint="let the user who runs mailkeep read it")
    if err.errno == errno.ELOOP:
        return ConfigError(problem, where=path, hint="its symbolic links lead back to themselves")
    return StorageError(problem, where=path)


def _read_tables(path: str, cache_dir: str) -> Tables | None:
    try:
        status = os.stat(path)
    except OSError:
        status = None  # read_file says why.
    now_ns = time.time_ns()
    if status is not None and cache_dir and _is_settled(status, now_ns):
        cached = _read_cache(cache_dir, _cache_key(path, status))
        if cached is not None:
            return cached
    opened = read_file(path)
    if opened is None:
        return None
    text, status = opened
    tables = parse_toml(text, path)
    if cache_dir and _is_settled(status, now_ns):
        _write_cache(cache_dir, _cache_key(path, status), tables)
    return tables


# The cache.


def _is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a later change must show in the file's times.

    The change time decides, since nobody can set it back; one in the future says that the clock moved.
    """
    return now_ns - status.st_ctime_ns > CACHE_AGE_SECONDS_MIN * 1_000_000_000


def _cache_key(path: str, status: os.stat_result) -> list[object]:
    return [
        os.fsencode(path),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def _read_cache(cache_dir: str, key: list[object]) -> Tables | None:
    try:
        descriptor = os.open(f"{cache_dir}/{_CACHE_NAME}", _READ_FLAGS | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        # Hooks are commands: nobody else may have put words into the user's configuration.
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & 0o022
            or status.st_size > _CACHE_SIZE_BYTES_MAX
        ):
            return None
        data = _read_all(descriptor, _CACHE_SIZE_BYTES_MAX)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    head = len(_CACHE_MAGIC)
    body = data[head + 4 :]
    if data[:head] != _CACHE_MAGIC or data[head : head + 4] != zlib.crc32(body).to_bytes(4, "big"):
        return None
    import msgpack

    try:
        kept_key, tables = msgpack.unpackb(body, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return None
    return tables if kept_key == key and isinstance(tables, dict) else None


def _write_cache(cache_dir: str, key: list[object], tables: Tables) -> None:
    """Keep the parsed tables for the next run; not durable, and no matter if it fails."""
    import msgpack

    temporary = f"{cache_dir}/{_CACHE_NAME}.{os.getpid()}.tmp"
    try:
        body = msgpack.packb([key, tables])
        os.makedirs(cache_dir, mode=0o700, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            write_all(descriptor, _CACHE_MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{cache_dir}/{_CACHE_NAME}")
    except (OSError, ValueError, TypeError, OverflowError):
        # A date, a huge number, a full disk: then there is no cache.
        unlink_quietly(temporary)


def unlink_quietly(path: str) -> None:
    """Remove a temporary file of ours, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        return
