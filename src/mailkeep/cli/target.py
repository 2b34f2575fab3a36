"""Peers, and how they are reached: the command that starts one, and a session with it."""

from __future__ import annotations

import os
import sys

from mailkeep.domain.errors import PeerUnavailable, UsageError, printable
from mailkeep.system.process import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from mailkeep.replicate.initiator import Initiator
    from mailkeep.replicate.view import View
    from mailkeep.store.store import Store
    from mailkeep.wire.config import PeerSettings
    from mailkeep.wire.peerurl import PeerUrl

    Asking = TypeVar("Asking", bound=Initiator)

TIMEOUT_SECONDS = 300.0


class Target:
    """A peer to be reached: its name, the command that starts it, and what is configured."""

    __slots__ = ("argv", "name", "settings", "shown")

    def __init__(self, name: str, argv: list[str], settings: PeerSettings | None, shown: str) -> None:
        self.name, self.argv, self.settings, self.shown = name, argv, settings, shown

    @property
    def direction(self) -> str:
        """Which way changes go."""
        return "both" if self.settings is None else self.settings.direction

    @property
    def timeout(self) -> float:
        """Seconds of silence after which the peer counts as gone."""
        return TIMEOUT_SECONDS if self.settings is None else self.settings.timeout


def target_of(peer: PeerSettings) -> Target:
    """How to reach a configured peer."""
    store = ["--store", peer.remote_store] if peer.remote_store else []
    if peer.command is not None:
        argv = ["/bin/sh", "-c", peer.command] if isinstance(peer.command, str) else list(peer.command)
        return Target(peer.name, argv, peer, " ".join(argv))
    if peer.path is not None:
        return Target(peer.name, [*this_program(), "serve", "--path", peer.path], peer, peer.path)
    assert peer.url is not None
    words = ["--path", peer.url.path] if peer.url.path else store
    return Target(peer.name, ssh(peer.url, words), peer, str(peer.url))


def one_off(location: str) -> Target:
    """How to reach what the command line of a one-off run names.

    Raises:
        UsageError: It is neither a path nor a machine and a path.
    """
    from mailkeep.wire.peerurl import parse_location

    try:
        url = parse_location(location)
    except ValueError as err:
        raise UsageError(str(err), hint="name a path, or a machine and a path there: server:Maildir") from err
    if url is None:
        path = os.path.abspath(os.path.expanduser(location))
        return Target(location, [*this_program(), "serve", "--path", path], None, path)
    words = ["--path", url.path] if url.path else []
    return Target(location, ssh(url, words), None, str(url))


def ssh(url: PeerUrl, words: list[str]) -> list[str]:
    """The user's own ssh, with his configuration, keys and agents; the far shell sees quoted words."""
    remote = ["mailkeep", "serve", *words]
    argv = ["ssh", "-T"]
    if url.port:
        argv += ["-p", str(url.port)]
    if url.user:
        argv += ["-l", url.user]
    return [*argv, "--", url.host, " ".join(_quoted(word) for word in remote)]


def _quoted(word: str) -> str:
    if word.startswith("~/"):
        return "~/" + _quoted(word[2:])
    if word and all(c.isalnum() or c in "-_./=+,@%" for c in word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def this_program() -> list[str]:
    """How to start this very mailkeep again."""
    return [sys.executable, "-c", "from mailkeep.cli.main import entry; entry()"]


def converse(initiator: Initiator, child: Child, target: Target) -> None:
    """Have the session with a peer that was started.

    Raises:
        MailkeepError: It did not come to its end; what was committed stays.
    """
    from mailkeep.replicate.channel import drive

    drive(
        initiator,
        child.stdout,
        child.stdin,
        timeout_seconds=target.timeout,
        until=lambda: initiator.finished,
    )
    if not initiator.finished:
        initiator.closed()


def spawn(target: Target) -> Child:
    """Start the command of a peer.

    Raises:
        PeerUnavailable: There is no such program.
    """
    try:
        return Child(target.argv)
    except OSError as err:
        raise PeerUnavailable(
            f"the peer {target.name} cannot be reached: {printable(target.argv[0])}: {os.strerror(err.errno or 2)}",
            untouched="anything",
            hint="install it, or correct the peer's address (mailkeep config show)",
        ) from err


def why_ended(err: PeerUnavailable, child: Child, target: Target) -> PeerUnavailable:
    """A connection that ended, explained by how its command ended."""
    status = child.wait(2.0)
    program = target.argv[0]
    if status == 255 and program == "ssh":
        return PeerUnavailable(
            f"ssh could not reach {target.shown}, or was refused (its own words are above)",
            untouched="anything on either side" if "before it said" in err.what else err.untouched,
            hint="try the same by hand: " + " ".join(target.argv[:-1]) + " true",
        )
    if status in (126, 127):
        return PeerUnavailable(
            f"there is no mailkeep at the far end of {target.name} (the command ended with status {status})",
            untouched="anything on either side",
            hint="install it there, in the PATH that non-interactive logins get, or give the peer a command with its full path",
        )
    if status is not None and status < 0:
        return PeerUnavailable(
            f"{err.what}: {printable(program)} was ended by signal {-status}",
            untouched=err.untouched,
            hint=err.hint,
        )
    return err


def view_of(peer: PeerSettings | None) -> View:
    """Which mailboxes a peer gets, under which names."""
    from mailkeep.replicate.view import View

    if peer is None or not (peer.include or peer.exclude or peer.map):
        return View()
    from mailkeep.wire.patterns import NameMap, Patterns

    patterns = None
    if peer.include or peer.exclude:
        patterns = Patterns.parse([*(peer.include or ("*",)), *("!" + text for text in peer.exclude)])
    return View(patterns, NameMap(peer.map.items()) if peer.map else None)


def ask(store: Store, target: Target, kind: type[Asking], end_seconds: float = 10.0) -> Asking:
    """Have a dry session in which a store that was opened dry only hears what a peer has; neither side notes anything.

    Args:
        kind: What takes in what the peer says: Initiator, or a kind of it.
        end_seconds: For so long the peer may take to end.

    Raises:
        PeerUnavailable: It cannot be reached, or did not come to its end.
    """
    from mailkeep.wire.frames import Wire

    wire = Wire()
    wire.greet(dry="1", lock=store.lock.name)
    child = spawn(target)
    try:
        asking = kind(
            store,
            target.name,
            direction="pull",
            dry=True,
            view=view_of(target.settings),
            force=True,
            wire=wire,
        )
        asking.start()
        try:
            converse(asking, child, target)
        except BaseException:
            asking.abandon()
            raise
        return asking
    except PeerUnavailable as err:
        raise why_ended(err, child, target) from err
    finally:
        child.end(end_seconds)
