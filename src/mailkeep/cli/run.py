"""What the verbs share: options, finding a store, opening it, and saying what happened."""

from __future__ import annotations

import os
import sys

from mailkeep.domain.errors import (
    EXIT_CODES,
    ConfigError,
    MailkeepError,
    NoInput,
    describe,
    exit_code_of,
    printable,
)
from mailkeep.system.configfile import Places, load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailkeep.cli.progress import Progress
    from mailkeep.store.store import Store
    from mailkeep.system.lock import Lock
    from mailkeep.wire.config import GuardSettings, Settings, StoreSettings


class Options:
    """Options of one command. Verbs of their own kind add theirs by name."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.quiet = False
        self.verbose = 0
        self.json = False
        self.store: str | None = None
        self.path: str | None = None
        self.peers: list[str] = []
        self.dry = False
        self.wait: float = 0
        self.role = "full"
        self.force = False
        self.remote: str | None = None
        self.args: Any = None


class Output:
    """Where words go: results to standard output, everything else to standard error."""

    def __init__(self, options: Options) -> None:
        self.quiet, self.verbose, self.as_json = options.quiet, options.verbose, options.json

    def say(self, text: str) -> None:
        """A result, for people."""
        if not self.quiet and not self.as_json:
            print(text)

    def detail(self, text: str) -> None:
        """More, with -v."""
        if self.verbose and not self.as_json:
            print(text)

    def warn(self, text: str) -> None:
        """Something is not as it should be; said with -q too."""
        print("mailkeep: " + printable(text), file=sys.stderr)

    def error(self, err: MailkeepError) -> None:
        """An error that does not end the command; said with -q too."""
        print(describe(err), file=sys.stderr)

    def progress(self) -> Progress | None:
        """A line of progress, where somebody sits at a terminal and wants to see it; end it."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            return None
        from mailkeep.cli.progress import Progress

        return Progress()

    def result(self, value: dict[str, Any]) -> None:
        """The whole result, with --json."""
        if self.as_json:
            import json

            print(json.dumps(value, indent=None, sort_keys=True, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return printable(value)
    raise TypeError(type(value).__name__)


def error_table(err: BaseException) -> dict[str, Any]:
    """An error for --json; the shape is in docs/reference/json.md."""
    code = exit_code_of(err)
    if not isinstance(err, MailkeepError):
        err = MailkeepError(describe(err).partition("\n")[0].removeprefix("mailkeep: "))
    return {
        "name": EXIT_CODES[code][0],
        "what": printable(err.what),
        "where": printable(err.where),
        "untouched": printable(err.untouched),
        "hint": printable(err.hint),
        "temporary": err.temporary,
    }


class Place:
    """A store that was found: where it is and what is configured for it.

    Attributes:
        settings: Its table of the configuration, or None for a path that is not configured.
        scratch: A directory that is removed by `close`: the state that a dry run makes of a Maildir without one.
        back: Message-IDs of what a run brought back, whose tags `after_run` brings back (mailkeep.cli.notmuch).
    """

    __slots__ = ("back", "name", "root", "scratch", "settings", "state")

    def __init__(self, name: str, root: bytes, state: bytes, settings: StoreSettings | None) -> None:
        self.name, self.root, self.state, self.settings = name, root, state, settings
        self.scratch: bytes | None = None
        self.back: list[str] = []

    def close(self) -> None:
        """Remove the state that a dry run made for itself."""
        if self.scratch is not None:
            from mailkeep.system import fs

            fs.remove_tree(self.scratch)
            self.scratch = None


def places() -> Places:
    """Where this process's environment puts configuration, state and cache."""
    return Places(os.environ)


def default_state(where: Places, name: str, root: bytes) -> bytes:
    """Where a store's state goes when nothing is said.

    The XDG state directory when that is on the same file system as the Maildir, so that the vault can hold
    hard links, else a hidden directory beside the root.
    """
    beside = os.path.join(
        os.path.dirname(os.path.realpath(root)), b".mailkeep-" + os.path.basename(os.path.realpath(root))
    )
    if os.path.exists(os.path.join(beside, b"index.db")):
        return beside
    state = os.fsencode(os.path.join(where.state_dir, name))
    if os.path.exists(os.path.join(state, b"index.db")):
        return state
    there = state
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    try:
        same = os.stat(there).st_dev == os.stat(root).st_dev
    except OSError:
        same = True
    return state if same else beside


def find(name: str | None, path: str | None, where: Places | None = None) -> Place:
    """The store that a command means: by its name, by a path, or the default one.

    Raises:
        ConfigError: There is no such store in the configuration.
    """
    where = where or places()
    settings = load_settings(where)
    if path is not None:
        return _by_path(path, settings, where)
    store = settings.store(name)
    root = os.fsencode(store.path)
    state = os.fsencode(store.state) if store.state is not None else default_state(where, store.name, root)
    return Place(store.name, root, state, store)


def _by_path(path: str, settings: Settings, where: Places) -> Place:
    root = os.fsencode(os.path.abspath(os.path.expanduser(path)))
    for store in settings.stores.values():
        if os.path.realpath(os.fsencode(store.path)) == os.path.realpath(root):
            state = (
                os.fsencode(store.state)
                if store.state is not None
                else default_state(where, store.name, root)
            )
            return Place(store.name, root, state, store)
    from hashlib import sha256

    name = "at-" + sha256(os.path.realpath(root)).hexdigest()[:16]
    return Place(printable(root), root, default_state(where, name, root), None)


def limits_of(guard: GuardSettings) -> Any:
    """The guard's limits as configured."""
    from mailkeep.rules.guard import Limits

    return Limits(guard.count, guard.share, guard.store_share, guard.minimum, guard.window, guard.exempt)


def open_store(
    place: Place,
    *,
    wait: float = 0,
    dry: bool = False,
    lock: Lock | None = None,
    create: bool = False,
    verb: str = "run",
) -> Store:
    """Open the store at a place.

    Args:
        create: Make it if it is none yet (one-off runs; see `make_ready`).
        verb: What the run is called in the history, should it be cut off.
    """
    # SQLite reads this when it is first loaded: what is staged for a merge spills into the state directory, not into
    # a /tmp that others share.
    os.environ["SQLITE_TMPDIR"] = os.fsdecode(place.state)
    from mailkeep.rules.keeping import Keeping
    from mailkeep.store.store import Store

    if create:
        make_ready(place, dry=dry)
    limits = limits_of(place.settings.guard) if place.settings is not None else None
    before_removal = None
    if place.settings is not None and place.settings.notmuch.dump and not dry:

        def before_removal(count: int) -> None:
            from mailkeep.cli.notmuch import keep_tags

            keep_tags(place, count)

    store = Store.open(
        place.root, place.state, limits, wait, dry=dry, lock=lock, before_removal=before_removal
    )
    store.ledger.history.verb = verb
    if place.settings is not None:
        kept = place.settings.retention
        store.ledger.keeping = Keeping(kept.expunged, kept.tombstones, kept.history, kept.history_changes)
    error = other_layout(place, store.index.meta["layout"])
    if error is not None:
        store.close()
        raise error
    return store


def make_ready(place: Place, *, dry: bool) -> None:
    """Make a store of a Maildir that is none yet, for a one-off run.

    A dry run gets one in a temporary directory that `Place.close` removes; the Maildir is read, and stays as it is.
    """
    if os.path.exists(os.path.join(place.state, b"index.db")):
        return
    from mailkeep.cli.init import make, rehearse

    if dry:
        rehearse(place)
    else:
        make(place, Output(Options("init")), quiet=True)


def other_layout(place: Place, noted: str) -> ConfigError | None:
    """The error for a store that is configured with another layout than the one it was made with, or None.

    Args:
        noted: What the index has: kind, encoding, and where INBOX is, as `wire.layouts.Layout` writes it.
    """
    settings = place.settings
    if settings is None:
        return None
    kind, encoding = noted.split()[:2]
    for key, configured, made in (
        ("layout", settings.layout, kind),
        ("encoding", settings.encoding, encoding),
    ):
        if configured not in ("auto", made):
            return ConfigError(
                f'the store {place.name} is configured with {key} = "{configured}", and it was made with "{made}"',
                where=settings.source(key),
                untouched="anything: a store keeps the layout that it was made with",
                hint=f'write {key} = "{made}" or "auto"; for the other layout make a second store with mailkeep init --store NAME'
                f" --create --{key} {configured} MAILDIR, and sync the two",
            )
    return None


def no_peers(name: str) -> NoInput:
    """The error of a sync without anybody to sync with."""
    return NoInput(
        f"the store {name} has no peer yet",
        untouched="anything",
        hint="mailkeep peer add server ssh://me@server/, then mailkeep sync; without peers, mailkeep scan notes what"
        " other programs did",
    )
