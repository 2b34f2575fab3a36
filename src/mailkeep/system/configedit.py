"""Edits of the configuration file: a store or a peer added, a peer removed.

They keep comments and order, are durable on return, and never leave a file that could not be read
again. A configuration that is a symbolic link stays a link: what it leads to is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import tomlkit
import tomlkit.items
from tomlkit.exceptions import TOMLKitError

from mailkeep.domain.errors import ConfigError, MailkeepError, PermissionDenied, StorageError, TryAgain
from mailkeep.system.configfile import Places, find_lines, parse_toml, read_file, unlink_quietly
from mailkeep.system.fs import write_all
from mailkeep.wire.config import Settings, read_settings
from mailkeep.wire.tables import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Edit = Callable[[MutableMapping[str, Any]], None]

_EDIT_ATTEMPTS_MAX = 5  # Each failure means that somebody else's edit went through.


def add_store(places: Places, name: str, table: Mapping[str, object]) -> Settings:
    """Write ``[stores.NAME]``.

    Durable on return. The first store of a file needs no ``default = true``.

    Args:
        places: Where the file is; it and its directory are made if missing.
        name: Of the store.
        table: Its keys and values, in this order; those that are None are left out.

    Returns:
        The settings of the file as it is then.

    Raises:
        ConfigError: There is such a store, or a value is wrong; nothing was written.
        PermissionDenied: The file may not be written; nothing was written.
        StorageError: Writing failed; the file is the old one.
    """

    def edit(document: MutableMapping[str, Any]) -> None:
        stores = _table_below(document, "stores", places)
        if name in stores:
            raise _edit_refused(places, f'there is a store "{name}" already', "choose another name for it")
        stores[name] = _new_table(table)

    return _edit(places, edit)


def add_peer(places: Places, store: str, name: str, table: Mapping[str, object]) -> Settings:
    """Write ``[stores.STORE.peers.NAME]``. Arguments, result and errors as with ``add_store``."""

    def edit(document: MutableMapping[str, Any]) -> None:
        stores = _table_below(document, "stores", places)
        if store not in stores:
            raise _edit_refused(places, f'there is no store "{store}"', "mailkeep init makes one")
        peers = _table_below(_table_below(stores, store, places), "peers", places)
        if name in peers:
            hint = f"choose another name, or mailkeep peer remove {name} first"
            raise _edit_refused(places, f'store "{store}" has a peer "{name}" already', hint)
        peers[name] = _new_table(table)

    return _edit(places, edit)


def remove_peer(places: Places, store: str, name: str) -> Settings:
    """Take ``[stores.STORE.peers.NAME]`` out. Result and errors as with ``add_store``."""

    def edit(document: MutableMapping[str, Any]) -> None:
        stores = _table_below(document, "stores", places)
        peers = stores.get(store, {}).get("peers", {})
        if name not in peers:
            known = ", ".join(peers) or "none"
            raise _edit_refused(places, f'store "{store}" has no peer "{name}"', f"peers it has: {known}")
        del peers[name]
        if not peers:
            del stores[store]["peers"]

    return _edit(places, edit)


def _edit_refused(places: Places, problem: str, hint: str) -> ConfigError:
    return ConfigError(problem, where=places.config_file, hint=hint, untouched="the configuration")


def _table_below(parent: MutableMapping[str, Any], key: str, places: Places) -> MutableMapping[str, Any]:
    """The table below a key, made if missing."""
    if key not in parent:
        parent[key] = tomlkit.table(is_super_table=True)
    below = parent[key]
    if not isinstance(below, MutableMapping):
        raise _edit_refused(places, f'"{key}" is not a table', "correct the file by hand")
    return below


def _new_table(values: Mapping[str, object]) -> tomlkit.items.Table:
    table = tomlkit.table()
    for key, value in values.items():
        if isinstance(value, dict):
            inline = tomlkit.inline_table()
            inline.update(value)
            table.add(key, inline)
        elif value is not None:
            table.add(key, list(value) if isinstance(value, tuple) else value)
    return table


def _edit(places: Places, edit: Edit) -> Settings:
    path = os.path.realpath(places.config_file)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise _writing_failed(path, err) from err
    try:
        _lock(descriptor)
        for _ in range(_EDIT_ATTEMPTS_MAX):
            opened = read_file(path)
            text, settings = _edited(b"" if opened is None else opened[0], places, edit)
            if _replace(path, descriptor, text, opened):
                return settings
    except OSError as err:
        raise _writing_failed(path, err) from err
    finally:
        os.close(descriptor)
    raise TryAgain("somebody else keeps changing it", where=path, untouched="the configuration")


def _edited(text: bytes, places: Places, edit: Edit) -> tuple[bytes, Settings]:
    path = places.config_file
    expected = parse_toml(text, path)
    read_settings(expected, Origin(path, lines=find_lines(text.decode()), home=places.home))
    edit(expected)
    try:
        document = tomlkit.parse(text.decode())
        edit(document)
        edited = tomlkit.dumps(document)
        if not edited.endswith("\n"):
            edited += "\n"
        after = parse_toml(edited.encode(), path)
    except (ValueError, LookupError, TypeError, TOMLKitError) as err:
        raise _not_editable(path) from err
    # What comes out is read as the next run will read it, and must be what was there with the change
    # and nothing else: an editor that keeps comments does not get every layout right.
    if after != expected:
        raise _not_editable(path)
    try:
        return edited.encode(), read_settings(after, Origin(path, home=places.home))
    except ConfigError as err:
        err.untouched = "the configuration"
        raise


def _not_editable(path: str) -> ConfigError:
    return ConfigError(
        "this file is laid out in a way that cannot be edited by program",
        where=path,
        untouched="the configuration",
        hint="make the change by hand",
    )


def _lock(directory: int) -> None:
    """Keep other edits out until the descriptor is closed, where the file system has locks."""
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
    except OSError as err:
        if err.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL, errno.ENOSYS):
            raise


def _replace(path: str, directory: int, text: bytes, opened: tuple[bytes, os.stat_result] | None) -> bool:
    """Put a new text in place of the one read, durably; False if an editor was quicker."""
    temporary = f"{path}.{os.getpid()}.tmp"
    unlink_quietly(temporary)  # Of a run that was killed and had our number.
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        try:
            write_all(descriptor, text)
            if opened is not None:
                _keep_owner_and_mode(descriptor, opened[1])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        again = read_file(path)
        if (again and again[0]) != (opened and opened[0]):
            unlink_quietly(temporary)
            return False
        os.rename(temporary, path)
    except BaseException:
        unlink_quietly(temporary)
        raise
    os.fsync(directory)
    return True


def _keep_owner_and_mode(descriptor: int, status: os.stat_result) -> None:
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
        # Who may not give files away becomes the owner of this one.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _writing_failed(path: str, err: OSError) -> MailkeepError:
    problem = f"cannot be written: {os.strerror(err.errno or errno.EIO)}"
    kind = PermissionDenied if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else StorageError
    hint = f"make {os.path.dirname(path)} writable, or make the change by hand"
    return kind(problem, where=path, untouched="the configuration", hint=hint)
