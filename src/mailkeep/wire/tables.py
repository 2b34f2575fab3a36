"""Tables of a parsed TOML file, read key by key into checked values.

Whatever is wrong becomes a ``ConfigError`` that names file, line, key path and value.
"""

from __future__ import annotations

from mailkeep.domain.errors import ConfigError, printable
from mailkeep.wire.peerurl import PeerUrl, parse_peer_url
from mailkeep.wire.units import parse_duration, parse_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    Table = Mapping[str, object]
    Lines = Mapping[tuple[str, ...], int]
    Command = str | tuple[str, ...]
    T = TypeVar("T")
    W = TypeVar("W", bound=str)

NAME_LENGTH_MAX = 64
"""Of a store or a peer: part of directory names and of remote command lines."""
TEXT_LENGTH_MAX = 4096
"""Of any single text: what a path can be on Linux (PATH_MAX)."""
GUARD_COUNT_MAX = 2**31 - 1
BACKUPS_MAX = 100
"""Backups of the index that may be asked for, daily and weekly ones each."""

DUMPS_MAX = 1000
"""Dumps of notmuch's tags that may be asked for; one takes some 20 bytes a message."""

DEFAULT = "default"
"""The source of a value that nobody set."""

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class Origin:
    """Where a tree of values comes from, to name it in messages and in ``config show``.

    Attributes:
        label: The file's name as messages show it, or "command line".
        lines: Line numbers by key path; empty where nobody looked them up.
        home: The absolute home directory that ``~`` stands for, or empty if unknown.
    """

    __slots__ = ("home", "label", "lines")

    def __init__(self, label: str, *, lines: Lines | None = None, home: str = "") -> None:
        self.label = label
        self.lines: Lines = lines or {}
        self.home = home

    def place(self, path: tuple[str, ...]) -> str:
        """``config.toml:12``, or without the line where it is not known."""
        line = self.lines.get(path, 0)
        return f"{self.label}:{line}" if line else self.label

    def error(self, path: tuple[str, ...], problem: str, *, hint: str = "") -> ConfigError:
        """The error for one key: place, key path, what is wrong with it."""
        key = ".".join(key_text(part) for part in path)
        where = f"{self.place(path)}: {key}" if key else self.place(path)
        return ConfigError(problem, where=where, hint=hint)


class Reader:
    """One table being read: hands out checked values, remembers sources, refuses unknown keys."""

    __slots__ = ("_known", "_origin", "_path", "_table", "sources")

    def __init__(self, table: object, path: tuple[str, ...], origin: Origin) -> None:
        self._path = path
        self._origin = origin
        self._known: list[str] = []
        self.sources: dict[str, str] = {}
        if not isinstance(table, dict):
            raise self.error((), f"{_show(table)} is not a table")
        self._table: Table = table

    def error(self, below: tuple[str, ...], problem: str, *, hint: str = "") -> ConfigError:
        """An error about this table or a key below it."""
        return self._origin.error(self._path + below, problem, hint=hint)

    def take(self, key: str, check: Callable[[object], T], default: T) -> T:
        """The checked value of a key, or its default.

        Args:
            key: In this table.
            check: Turns what TOML gave into the value, or raises ``ValueError`` with a sentence.
            default: If the key is absent.

        Raises:
            ConfigError: The value is not what the key needs.
        """
        self._known.append(key)
        if key not in self._table:
            self.sources[key] = DEFAULT
            return default
        self.sources[key] = self._origin.place((*self._path, key))
        try:
            return check(self._table[key])
        except ValueError as err:
            raise self.error((key,), str(err)) from None

    def section(self, key: str) -> Reader:
        """The table below a key; an empty one if it is absent."""
        self._known.append(key)
        return Reader(self._table.get(key, {}), (*self._path, key), self._origin)

    def named_sections(self) -> Iterable[tuple[str, Reader]]:
        """All tables below, with the names that the user gave them."""
        for name, table in self._table.items():
            path = (*self._path, name)
            try:
                check_name(name)
            except ValueError as err:
                raise self._origin.error(path, str(err)) from None
            yield name, Reader(table, path, self._origin)

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self._table:
            if key not in self._known:
                known = ", ".join(self._known)
                raise self.error(
                    (key,),
                    f"there is no such setting{did_you_mean(key, self._known)}",
                    hint=f"known here: {known}",
                )

    def path(self, raw: object) -> str:
        """An absolute path, ``~`` replaced by the home directory."""
        text = check_text(raw)
        if text == "~" or text.startswith("~/"):
            if not self._origin.home:
                raise ValueError(f"{_show(raw)} needs a home directory, but HOME is not set")
            text = self._origin.home.rstrip("/") + text[1:]
        if not text.startswith("/"):
            raise ValueError(f"{_show(raw)} is neither an absolute path nor one that starts with ~/")
        return text.rstrip("/") or "/"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "share"?`` if something known is near, else nothing."""
    import difflib  # It needs 10 ms to load, and only a slip needs it.

    near = difflib.get_close_matches(word[:NAME_LENGTH_MAX], list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


# Checks turn what TOML gave into the value, or raise a ValueError whose text ends the message.


def _show(raw: object) -> str:
    """A value as TOML has it, cut where it is too long to read."""
    if isinstance(raw, str):
        return f'"{printable(raw)}"' if len(raw) <= 80 else f'"{printable(raw[:77])}…"'
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return printable(str(raw))


def key_text(key: str) -> str:
    """A key as TOML writes it: bare where that is possible, else in quotes."""
    return key if key and _NAME_CHARACTERS.issuperset(key) and "." not in key else _show(key)


def check_text(raw: object) -> str:
    """Any text that is neither empty nor absurd."""
    if not isinstance(raw, str):
        raise ValueError(f"{_show(raw)} is not a text in quotes")
    if not raw:
        raise ValueError("an empty text means nothing here")
    if len(raw) > TEXT_LENGTH_MAX:
        raise ValueError(f"{_show(raw)} has more than {TEXT_LENGTH_MAX} characters")
    if "\0" in raw:
        raise ValueError(f"{_show(raw)} contains a NUL character")
    return raw


def check_texts(raw: object) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(raw, list):
        raise ValueError(f'{_show(raw)} is not a list such as ["one", "two"]')
    return tuple(check_text(item) for item in raw)


def check_command(raw: object) -> Command:
    """A shell's line, or an argument list whose first item is the program."""
    if not isinstance(raw, list):
        command = check_text(raw)
        if not command.strip():
            raise ValueError("an empty command does nothing")
        return command
    if not raw:
        raise ValueError("an empty list names no program")
    # Arguments may be empty; the program may not.
    return (check_text(raw[0]), *(check_text(item) if item != "" else "" for item in raw[1:]))


def check_name(raw: object) -> str:
    """The name of a store or a peer: fit for a directory and for a remote command line."""
    text = check_text(raw)
    if len(text) > NAME_LENGTH_MAX:
        raise ValueError(f"{_show(text)} has more than {NAME_LENGTH_MAX} characters")
    if not _NAME_CHARACTERS.issuperset(text) or text[0] in ".-":
        raise ValueError(
            f"{_show(text)} is not a name of letters, digits, dots, dashes and underscores "
            "that starts with neither dot nor dash"
        )
    return text


def check_url(raw: object) -> PeerUrl:
    """An address that ssh can reach."""
    return parse_peer_url(check_text(raw))


def check_one_of(words: Sequence[W]) -> Callable[[object], W]:
    """A check for one of these words."""

    def check(raw: object) -> W:
        for word in words:
            if word == raw:
                return word
        raise ValueError(f"{_show(raw)} is not one of {', '.join(words)}")

    return check


def check_one_to_one(raw: object) -> dict[str, str]:
    """A table of texts in which no two keys have the same value, so that it works both ways."""
    if not isinstance(raw, dict):
        raise ValueError(f'{_show(raw)} is not a table such as {{ "Work" = "Archive/Work" }}')
    local_of: dict[str, str] = {}
    for local, remote in raw.items():
        first = local_of.setdefault(check_text(remote), check_text(local))
        if first != local:
            raise ValueError(f"{_show(first)} and {_show(local)} would both be {_show(remote)} over there")
    return {local: remote for remote, local in local_of.items()}


def check_yes_or_no(raw: object) -> bool:
    """``true`` or ``false``, no number."""
    if not isinstance(raw, bool):
        raise ValueError(f"{_show(raw)} is neither true nor false")
    return raw


def check_count(raw: object) -> int:
    """A whole number that is not negative."""
    # A bool is an int to Python, not to a person.
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw <= GUARD_COUNT_MAX:
        raise ValueError(f"{_show(raw)} is not a whole number from 0 to {GUARD_COUNT_MAX}")
    return raw


def check_backups(raw: object) -> int:
    """How many backups of a kind; each takes as much room as the index."""
    count = check_count(raw)
    if count > BACKUPS_MAX:
        raise ValueError(f"{_show(raw)} is more than {BACKUPS_MAX}: each takes as much room as the index")
    return count


def check_dumps(raw: object) -> int:
    """How many dumps of notmuch's tags are kept: the one that was just made at least."""
    count = check_count(raw)
    if not 1 <= count <= DUMPS_MAX:
        raise ValueError(f"{_show(raw)} is not a number of dumps from 1 to {DUMPS_MAX}")
    return count


def check_share(raw: object) -> float:
    """A percentage in quotes, as a fraction."""
    if not isinstance(raw, str):
        raise ValueError(f'{_show(raw)} is not a share such as "25%", in quotes')
    return parse_share(check_text(raw))


def check_duration(raw: object) -> int:
    """A duration in quotes, as seconds."""
    if not isinstance(raw, str):
        raise ValueError(f'{_show(raw)} is not a duration such as "90s" or "7d", in quotes')
    return parse_duration(check_text(raw))


def check_duration_above_zero(raw: object) -> int:
    """A duration in quotes that lasts, as seconds."""
    seconds = check_duration(raw)
    if not seconds:
        raise ValueError(f"{_show(raw)} must be longer than nothing")
    return seconds
