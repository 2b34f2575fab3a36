"""The settings: from the parsed TOML of ``config.toml`` to typed values, each knowing its source.

Everything a person writes is checked here, by hand and with the field's path in the message::

    config.toml:9: stores.mail.peers.server.direction: "bot" is not one of both, pull, push, archive

An unknown key is an error, since a misspelt limit would otherwise be no limit. Pure: the caller
reads the file and says where the home directory is.

The tables (every key but ``path`` may be left out)::

    [stores.mail]                 path, layout, encoding, state, default
    [stores.mail.guard]           count, share, store_share, minimum, window, exempt
    [stores.mail.peers.server]    url | path | command, remote_store, direction, include, exclude,
                                  map, accept_approvals, timeout
    [stores.mail.hooks]           pre, post
    [stores.mail.retention]       expunged, tombstones, history, history_changes, copies
    [stores.mail.backup]          every, daily, weekly
    [stores.mail.notmuch]         config, new, dump, threshold, keep
"""

from __future__ import annotations

from mailkeep.domain.errors import ConfigError
from mailkeep.wire.peerurl import PeerUrl
from mailkeep.wire.tables import (
    Origin,
    Reader,
    check_backups,
    check_command,
    check_count,
    check_dumps,
    check_duration,
    check_duration_above_zero,
    check_name,
    check_one_of,
    check_one_to_one,
    check_share,
    check_texts,
    check_url,
    check_yes_or_no,
    did_you_mean,
    key_text,
)
from mailkeep.wire.units import format_share, write_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Literal

    from mailkeep.wire.tables import Command, Table

    Layout = Literal["auto", "maildir++", "fs"]
    Encoding = Literal["auto", "utf-7", "utf-8"]
    Direction = Literal["both", "pull", "push", "archive"]

LAYOUTS: tuple[Layout, ...] = ("auto", "maildir++", "fs")
ENCODINGS: tuple[Encoding, ...] = ("auto", "utf-7", "utf-8")
"""How folder names are written on disk; ``utf-7`` is IMAP's modified UTF-7."""
DIRECTIONS: tuple[Direction, ...] = ("both", "pull", "push", "archive")

COMMAND_LINE = "command line"


class Section:
    """Settings of one table. ``sources`` says for each key where its value comes from."""

    __slots__ = ("sources",)

    keys: ClassVar[tuple[str, ...]] = ()
    sources: dict[str, str]

    def source(self, key: str) -> str:
        """Such as "default", "config.toml:12", "command line"."""
        return self.sources[key]

    def override(self, key: str, value: object, source: str = COMMAND_LINE) -> None:
        """Put an already checked value over the configured one, as an option does."""
        if key not in self.keys:
            raise KeyError(key)
        setattr(self, key, value)
        self.sources[key] = source


class GuardSettings(Section):
    """When deletions are held.

    Attributes:
        count: Vanished messages in one window that are still believed.
        share: Of one mailbox, as a fraction, likewise.
        store_share: Of the whole store, likewise.
        minimum: Below so many vanished messages the shares do not count.
        window: Seconds over which vanished messages add up.
        exempt: Mailboxes (and what is below them) whose deletions are never held.
    """

    __slots__ = ("count", "exempt", "minimum", "share", "store_share", "window")
    keys = ("count", "share", "store_share", "minimum", "window", "exempt")

    def __init__(self, reader: Reader) -> None:
        self.sources = reader.sources
        self.count = reader.take("count", check_count, 1000)
        self.share = reader.take("share", check_share, 0.25)
        self.store_share = reader.take("store_share", check_share, 0.10)
        self.minimum = reader.take("minimum", check_count, 50)
        self.window = reader.take("window", check_duration_above_zero, 86400)
        self.exempt: tuple[str, ...] = reader.take("exempt", check_texts, ("Trash", "Junk"))
        reader.finish()


class PeerSettings(Section):
    """One peer of a store. Exactly one of ``url``, ``path`` and ``command`` is set.

    Attributes:
        name: As the table is called.
        url: ``ssh://…``, or None.
        path: Absolute path of a Maildir on this machine, or None.
        command: What to start to talk to it, a shell's line or an argument list; or None.
        remote_store: The store's name over there, or None for its default one.
        direction: "both", "pull", "push" or "archive".
        include: Patterns of the mailboxes that take part; none means all.
        exclude: Patterns of the mailboxes that do not.
        map: Local mailbox name to the peer's.
        accept_approvals: A deletion approved over there is approved here.
        timeout: Seconds without a byte from the peer after which it counts as gone.
    """

    __slots__ = (
        "accept_approvals",
        "command",
        "direction",
        "exclude",
        "include",
        "map",
        "name",
        "path",
        "remote_store",
        "timeout",
        "url",
    )
    keys = (
        "url",
        "path",
        "command",
        "remote_store",
        "direction",
        "include",
        "exclude",
        "map",
        "accept_approvals",
        "timeout",
    )

    def __init__(self, name: str, reader: Reader) -> None:
        self.sources = reader.sources
        self.name = name
        self.url: PeerUrl | None = reader.take("url", check_url, None)
        self.path: str | None = reader.take("path", reader.path, None)
        self.command: Command | None = reader.take("command", check_command, None)
        self.remote_store: str | None = reader.take("remote_store", check_name, None)
        self.direction: Direction = reader.take("direction", check_one_of(DIRECTIONS), "both")
        self.include: tuple[str, ...] = reader.take("include", check_texts, ())
        self.exclude: tuple[str, ...] = reader.take("exclude", check_texts, ())
        self.map: dict[str, str] = reader.take("map", check_one_to_one, {})
        self.accept_approvals = reader.take("accept_approvals", check_yes_or_no, default=True)
        self.timeout = reader.take("timeout", check_duration_above_zero, 300)
        reader.finish()
        ways = [key for key in ("url", "path", "command") if getattr(self, key) is not None]
        if len(ways) != 1:
            found = f"has {' and '.join(ways)}" if ways else "has none"
            raise reader.error((), f"needs exactly one of url, path and command, but {found}")


class HookSettings(Section):
    """Commands around a run, each a shell's line or an argument list; None for none.

    Attributes:
        pre: Before the store's lock is taken; if it fails there is no run.
        post: After the run, with its result in the environment.
    """

    __slots__ = ("post", "pre")
    keys = ("pre", "post")

    def __init__(self, reader: Reader) -> None:
        self.sources = reader.sources
        self.pre: Command | None = reader.take("pre", check_command, None)
        self.post: Command | None = reader.take("post", check_command, None)
        reader.finish()


class RetentionSettings(Section):
    """How long things can be given back.

    Attributes:
        expunged: Seconds for which the content of an expunged message is kept.
        tombstones: Seconds for which, at least, it is remembered that it was expunged.
        history: Seconds for which runs and their changes are remembered.
        history_changes: At most so many changes are remembered.
        copies: So many peers must have shown that they hold a content before it is freed.
    """

    __slots__ = ("copies", "expunged", "history", "history_changes", "tombstones")
    keys = ("expunged", "tombstones", "history", "history_changes", "copies")

    def __init__(self, reader: Reader) -> None:
        self.sources = reader.sources
        self.expunged = reader.take("expunged", check_duration, 90 * 86400)
        self.tombstones = reader.take("tombstones", check_duration, 400 * 86400)
        self.history = reader.take("history", check_duration, 400 * 86400)
        self.history_changes = reader.take("history_changes", check_count, 1_000_000)
        self.copies = reader.take("copies", check_count, 0)
        reader.finish()


class BackupSettings(Section):
    """Rolling backups of the index, in the state directory.

    Attributes:
        every: Seconds that the newest must be old before a run that changed something makes another.
        daily: Of so many days the last one is kept.
        weekly: Of so many weeks the last one is kept; with daily 0 too, none is made.
    """

    __slots__ = ("daily", "every", "weekly")
    keys = ("every", "daily", "weekly")

    def __init__(self, reader: Reader) -> None:
        self.sources = reader.sources
        self.every = reader.take("every", check_duration_above_zero, 86400)
        self.daily = reader.take("daily", check_backups, 3)
        self.weekly = reader.take("weekly", check_backups, 2)
        reader.finish()


class NotmuchSettings(Section):
    """What mailkeep does for notmuch; nothing unless it is said.

    Attributes:
        config: Absolute path of notmuch's configuration file, or None for the one that it takes by itself.
        new: Run `notmuch new` after each run that changed something.
        dump: Keep a `notmuch dump` of the time before a run removes messages, to bring their tags back with them.
        threshold: Removals of one run up to which there is no dump.
        keep: So many dumps are kept, the newest.
    """

    __slots__ = ("config", "dump", "keep", "new", "threshold")
    keys = ("config", "new", "dump", "threshold", "keep")

    def __init__(self, reader: Reader) -> None:
        self.sources = reader.sources
        self.config: str | None = reader.take("config", reader.path, None)
        self.new = reader.take("new", check_yes_or_no, default=False)
        self.dump = reader.take("dump", check_yes_or_no, default=False)
        self.threshold = reader.take("threshold", check_count, 10)
        self.keep = reader.take("keep", check_dumps, 10)
        reader.finish()


class StoreSettings(Section):
    """One store.

    Attributes:
        name: As the table is called.
        path: Absolute path of the Maildir.
        layout: "auto", "maildir++" or "fs".
        encoding: "auto", "utf-7" (IMAP's) or "utf-8".
        state: Absolute path of the directory for mailkeep's own data, or None to let ``init`` choose.
        default: It is meant where no store is named.
        guard, hooks, retention, backup, notmuch: See there.
        peers: By name, in the order of the file.
    """

    __slots__ = (
        "backup",
        "default",
        "encoding",
        "guard",
        "hooks",
        "layout",
        "name",
        "notmuch",
        "path",
        "peers",
        "retention",
        "state",
    )
    keys = ("path", "layout", "encoding", "state", "default")

    def __init__(self, name: str, reader: Reader) -> None:
        self.sources = reader.sources
        self.name = name
        path = reader.take("path", reader.path, None)
        self.layout: Layout = reader.take("layout", check_one_of(LAYOUTS), "auto")
        self.encoding: Encoding = reader.take("encoding", check_one_of(ENCODINGS), "auto")
        self.state: str | None = reader.take("state", reader.path, None)
        self.default = reader.take("default", check_yes_or_no, default=False)
        self.guard = GuardSettings(reader.section("guard"))
        self.hooks = HookSettings(reader.section("hooks"))
        self.retention = RetentionSettings(reader.section("retention"))
        self.backup = BackupSettings(reader.section("backup"))
        self.notmuch = NotmuchSettings(reader.section("notmuch"))
        peers = reader.section("peers")
        self.peers = {peer: PeerSettings(peer, below) for peer, below in peers.named_sections()}
        reader.finish()
        if path is None:
            raise reader.error((), "has no path", hint='say where the Maildir is, such as path = "~/Maildir"')
        self.path: str = path

    def peer(self, name: str) -> PeerSettings:
        """The peer of that name.

        Raises:
            ConfigError: There is none.
        """
        if name not in self.peers:
            known = ", ".join(self.peers) or "none"
            raise ConfigError(
                f'store "{self.name}" has no peer "{name}"{did_you_mean(name, self.peers)}',
                hint=f"peers it has: {known}; mailkeep peer add makes one",
            )
        return self.peers[name]


class Settings:
    """All stores of one configuration.

    Attributes:
        stores: By name, in the order of the file.
        label: What the configuration is called in messages.
    """

    __slots__ = ("label", "stores")

    def __init__(self, label: str, stores: dict[str, StoreSettings]) -> None:
        self.label = label
        self.stores = stores

    def store(self, name: str | None = None) -> StoreSettings:
        """The store of that name; without one the default store, or the only one.

        Raises:
            ConfigError: There is none, or it is not clear which is meant.
        """
        if name is not None:
            if name in self.stores:
                return self.stores[name]
            known = ", ".join(self.stores) or "none"
            raise ConfigError(
                f'there is no store "{name}"{did_you_mean(name, self.stores)}',
                where=self.label,
                hint=f"stores configured: {known}; mailkeep init makes one",
            )
        chosen = [store for store in self.stores.values() if store.default]
        if not chosen and len(self.stores) == 1:
            chosen = list(self.stores.values())
        if chosen:
            return chosen[0]
        if self.stores:
            raise ConfigError(
                "several stores are configured and none of them is the default",
                where=self.label,
                hint=f"name one ({', '.join(self.stores)}), or give one default = true",
            )
        raise ConfigError(
            "no store is configured",
            where=self.label,
            hint="mailkeep init --store mail ~/Maildir makes one",
        )


def read_settings(table: object, origin: Origin) -> Settings:
    """All settings of one parsed configuration.

    Args:
        table: What a TOML parser made of the file.
        origin: Names it in messages and sources.

    Raises:
        ConfigError: The first thing wrong with it, with its place.
    """
    top = Reader(table, (), origin)
    stores = {name: StoreSettings(name, below) for name, below in top.section("stores").named_sections()}
    top.finish()
    defaults = [store.name for store in stores.values() if store.default]
    if len(defaults) > 1:
        raise origin.error(
            ("stores", defaults[1], "default"), f'store "{defaults[0]}" is the default already'
        )
    return Settings(origin.label, stores)


def read_store(name: str, table: Table, origin: Origin) -> StoreSettings:
    """One store's settings from a table made up elsewhere, such as from a command line."""
    ((_, reader),) = Reader({name: table}, ("stores",), origin).named_sections()
    return StoreSettings(name, reader)


def read_peer(name: str, table: Table, origin: Origin) -> PeerSettings:
    """One peer's settings from a table made up elsewhere, such as from a command line."""
    ((_, reader),) = Reader({name: table}, ("peers",), origin).named_sections()
    return PeerSettings(name, reader)


def settings_rows(settings: Settings) -> list[tuple[str, object, str]]:
    """Each setting's key path, its value in plain types (as TOML and JSON have), and its source."""
    rows: list[tuple[str, object, str]] = []
    for store in settings.stores.values():
        prefix = f"stores.{key_text(store.name)}"
        rows += _section_rows(prefix, store)
        for peer in store.peers.values():
            rows += _section_rows(f"{prefix}.peers.{key_text(peer.name)}", peer)
        rows += _section_rows(f"{prefix}.guard", store.guard)
        rows += _section_rows(f"{prefix}.hooks", store.hooks)
        rows += _section_rows(f"{prefix}.retention", store.retention)
        rows += _section_rows(f"{prefix}.backup", store.backup)
        rows += _section_rows(f"{prefix}.notmuch", store.notmuch)
    return rows


def _section_rows(prefix: str, section: Section) -> list[tuple[str, object, str]]:
    return [
        (f"{prefix}.{key}", _plain(key, getattr(section, key)), section.source(key)) for key in section.keys
    ]


def _plain(key: str, value: object) -> object:
    """A value as a person writes it in the file."""
    if isinstance(value, PeerUrl):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if key in ("window", "timeout", "expunged", "tombstones", "history", "every") and isinstance(value, int):
        return write_duration(value)
    if isinstance(value, float):
        return format_share(value)
    return value
