"""Looking at a store without its lock: one snapshot of the index, whatever a session beside us does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import apsw

from mailkeep.cli.run import other_layout
from mailkeep.domain.errors import (
    DataError,
    MailkeepError,
    StorageError,
    printable,
)
from mailkeep.store import marker
from mailkeep.store.gate import INDEX, LOCK, require
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger
from mailkeep.system import clock, fs

if TYPE_CHECKING:
    from mailkeep.cli.run import Place
    from mailkeep.store.past import Run
    from mailkeep.wire.config import PeerSettings


class Look:
    """A store as its index has it now. Read only; close it.

    Attributes:
        trouble: Why the next run would stop at once (root or marker missing, another store's, another layout), or None.
        distrust: Why absences will not be believed in the next run, or ''.
        busy: Who has the store's lock at the moment, or ''.
    """

    def __init__(self, place: Place) -> None:
        """Open it.

        Raises:
            NoInput, StorageError: There is no such store.
        """
        self.place = place
        self.trouble: MailkeepError | None = None
        self.distrust = ""
        if not os.path.exists(os.path.join(place.state, INDEX)):
            require(place.root, place.state)  # says what is missing: the root, the state or both
        self.busy = _busy(place.state)
        try:
            self.index = Index.open(os.fsdecode(os.path.join(place.state, INDEX)))
            self.index.execute("BEGIN")
            self.index._load()
        except apsw.Error as err:
            raise StorageError(
                f"the index in {printable(place.state)} cannot be read: {err}", untouched="anything"
            ) from err
        self.ledger = Ledger(self.index)
        self._look_at_root()

    def _look_at_root(self) -> None:
        root = self.place.root
        self.trouble = other_layout(self.place, self.index.meta["layout"])
        if self.trouble is not None:
            return
        try:
            require(root, self.place.state)
            fd = fs.open_directory(root)
        except (MailkeepError, OSError) as err:
            self.trouble = (
                err if isinstance(err, MailkeepError) else fs.explain(err, "the Maildir cannot be opened")
            )
            return
        try:
            found = marker.read(fd, root)
        except (DataError, OSError) as err:
            self.trouble = err if isinstance(err, DataError) else fs.explain(err, "the marker cannot be read")
            return
        finally:
            os.close(fd)
        if found is None:
            self.trouble = marker.missing(root)
        elif found[0] != self.index.meta["store"]:
            self.trouble = marker.foreign(root)
        elif not self.busy and found[1] != self.index.meta["generation"]:
            ours = self.index.meta["generation"]
            if not (found[1] == ours - 1 and self.index.meta.get("marker_pending")):
                older = "the Maildir" if found[1] < ours else "the index"
                self.distrust = f"{older} came from a backup (generations {found[1]} and {ours})"

    def close(self) -> None:
        """Let the snapshot go."""
        self.index.close()

    def __enter__(self) -> Look:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- counts

    @property
    def messages(self) -> int:
        """Live messages of the store."""
        return sum(box.count for box in self.ledger.boxes.values())

    def waiting_mailboxes(self) -> list[dict[str, str]]:
        """Mailboxes that have no place here, with the reason."""
        boxes = sorted(self.ledger.alive(), key=lambda box: box.name)
        return [{"mailbox": box.name, "why": box.problem} for box in boxes if box.problem]

    def waiting_messages(self) -> int:
        """Messages whose file is not yet as the index says."""
        return int(self.index.execute("SELECT count(*) FROM record WHERE todo AND live").get)

    # --- peers

    def replica_of(self, peer: str) -> int | None:
        """The number of the replica that last answered under a peer's name."""
        row = self.index.execute("SELECT replica FROM peer WHERE name = ?", (peer,)).fetchone()
        return None if row is None else int(row[0])

    def peer_names(self) -> dict[str, str]:
        """Hex replica id -> the peer's name here."""
        return peer_names(self.index)

    def peer(self, settings: PeerSettings) -> dict[str, Any]:
        """A peer for --json."""
        no = self.replica_of(settings.name)
        waiting = self._waiting_for(no, settings)
        return {
            **peer_table(settings),
            "last_met": when(met(self.place.state, settings.name)),
            "replica": self.index.ids[no].hex() if no is not None else None,
            "waiting_messages": sum(waiting.values()),
            "waiting_by_mailbox": dict(sorted(waiting.items())),
        }

    def _waiting_for(self, no: int | None, settings: PeerSettings) -> dict[str, int]:
        """Messages that were changed here in a way the peer has not taken in, by mailbox."""
        from mailkeep.cli.target import view_of
        from mailkeep.store.news import waiting

        view = view_of(settings)
        seen = {} if no is None else self.index.acks().get(no, {})
        since = 0 if no is None else self.index.known_seq(no, seen)
        out: dict[str, int] = {}
        for mailbox, count in waiting(self.ledger, seen, since).items():
            box = self.ledger.boxes[mailbox]
            if view.shows(box):
                out[box.name] = count
        return out


def peer_names(index: Index) -> dict[str, str]:
    """Hex replica id -> the peer's name here."""
    rows = index.execute("SELECT name, replica FROM peer")
    return {index.ids[no].hex(): name for name, no in rows if no < len(index.ids)}


def replicas(look: Look) -> list[dict[str, Any]]:
    """Every replica that a store has heard of, for --json; `standing` says what it is to the others."""
    index = look.index
    names: dict[int, list[str]] = {}
    for name, no in index.execute("SELECT name, replica FROM peer ORDER BY name"):
        names.setdefault(no, []).append(name)
    out = []
    for no, rid in enumerate(index.ids[1:], 1):
        standing = "member"
        if no == index.me:
            standing = "this store"
        elif no in index.waived:
            standing = "replaced"
        elif no in index.forgotten:
            standing = "given up"
        out.append({"replica": rid.hex(), "peers": names.get(no, []), "standing": standing})
    return out


def peer_table(settings: PeerSettings) -> dict[str, Any]:
    """What is configured of a peer."""
    kind = next(key for key in ("url", "path", "command") if getattr(settings, key) is not None)
    value = getattr(settings, kind)
    return {
        "name": settings.name,
        "kind": kind,
        "address": " ".join(value) if isinstance(value, tuple) else str(value),
        "remote_store": settings.remote_store,
        "direction": settings.direction,
        "include": list(settings.include),
        "exclude": list(settings.exclude),
        "map": dict(settings.map),
    }


def met(state: bytes, peer: str) -> int | None:
    """When a session with a peer last went well, in seconds."""
    try:
        return int(os.stat(os.path.join(state, b"met", os.fsencode(peer.replace("/", "_")))).st_mtime)
    except OSError:
        return None


def when(seconds: int | None) -> str | None:
    """A time for --json: UTC, RFC 3339."""
    if seconds is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: int | None) -> str:
    """A time for people."""
    if seconds is None:
        return "never"
    from datetime import datetime

    from mailkeep.wire.units import format_duration

    local = datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{local} ({format_duration(max(clock.now() - seconds, 1))} ago)"


def runs(look: Look, last: int, peer: str | None = None, since: int | None = None) -> list[dict[str, Any]]:
    """The last runs for --json, the newest first.

    Args:
        last: At most so many; 0: all.
        since: Only those that were over at this time, in seconds, or later.
    """
    import json

    from mailkeep.store.past import runs_between

    names = look.peer_names()
    wanted = None
    if peer is not None:
        wanted = json.dumps([peer, *(rid for rid, name in names.items() if name == peer)])
    rows = runs_between(look.ledger, since, wanted, last)
    return [run_table(look.index, run, names) for run in rows]


def run_table(index: Index, run: Run, names: dict[str, str] | None = None) -> dict[str, Any]:
    """A run for --json; `names` as `Look.peer_names` gives them."""
    if names is None:
        names = peer_names(index)
    return {
        "run": run.no,
        "began": when(run.began),
        "ended": when(run.ended),
        "seconds": None if run.ended is None else max(run.ended - run.began, 0),
        "verb": run.verb,
        "peer": names.get(run.peer, run.peer) if run.peer else None,
        "exit": run.status,
        "counts": run.counts,
        "changes_known": run.first_change is not None,
    }


def run_line(run: dict[str, Any]) -> str:
    """A run for people, in one line."""
    from datetime import datetime

    from mailkeep.domain.errors import EXIT_CODES
    from mailkeep.wire.units import format_duration

    began = datetime.fromisoformat(run["began"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    counts = dict(run["counts"])
    of = f" {counts.pop('undone')}" if "undone" in counts else ""
    words = [f"{value:,} {key}" for key, value in counts.items() if value and key != "status"]
    ended = "cut off, or it goes on"
    if run["exit"] is not None:
        ended = EXIT_CODES.get(run["exit"], (f"status {run['exit']}", ""))[0]
    peer = f" {run['peer']}" if run["peer"] else ""
    lasted = f", {format_duration(run['seconds'])}" if run["seconds"] else ""
    return f"{run['run']:>6}  {began}  {run['verb']}{of}{peer}: {ended}{lasted}" + (
        f"; {', '.join(words)}" if words else ""
    )


def _busy(state: bytes) -> str:
    """Who has the lock, without waiting and without keeping it."""
    import fcntl

    try:
        fd = os.open(os.path.join(state, LOCK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(fd)
    return ""
