"""`mailkeep sync`: one scan here, then one session with each peer."""

from __future__ import annotations

import os
import sys

from mailkeep.cli.main import explained
from mailkeep.cli.run import Options, Output, Place, error_table, find, make_ready, no_peers, open_store
from mailkeep.cli.target import Target, converse, one_off, spawn, target_of, view_of, why_ended
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_HELD,
    EXIT_SKIPPED,
    ConfigError,
    MailkeepError,
    PeerUnavailable,
    StoreBusy,
    describe,
    exit_code_of,
    worst_exit_code,
)
from mailkeep.rules.identity import Stale
from mailkeep.store.gate import take_lock
from mailkeep.system import clock
from mailkeep.wire.frames import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailkeep.cli.progress import Progress
    from mailkeep.replicate.initiator import Initiator
    from mailkeep.replicate.view import View
    from mailkeep.store.findings import Report
    from mailkeep.store.store import Store
    from mailkeep.system.lock import Lock

PEER_BUSY_SECONDS = 10.0
"""How long a peer that is busy with another run is asked again, when --wait says nothing else."""
BACK_OFF_SECONDS = 0.2
RESTARTS_MAX = 3


def sync(options: Options) -> int:
    """Synchronise a store with its peers; the exit status is the worst of all sessions."""
    place = find(options.store, options.path)
    try:
        return _sync(options, place)
    finally:
        place.close()


def _sync(options: Options, place: Place) -> int:
    targets = _targets(options, place)
    output = Output(options)
    run_hook_of(place, "pre", output, {})
    runs: list[dict[str, Any]] = []
    codes: list[int] = []
    began = clock.monotonic()
    run = Run(options, place, output)
    for target in targets:
        try:
            result = run.session(target)
        except (MailkeepError, OSError) as error:
            err = explained(error)
            result = {"peer": target.name, "exit": exit_code_of(err), "error": error_table(err)}
            print(describe(err), file=sys.stderr)
            if isinstance(err, StoreBusy) and not run.opened:
                codes.append(exit_code_of(err))
                runs.append(result)
                break
        finally:
            run.close()
        codes.append(result["exit"])
        runs.append(result)
    status = worst_exit_code(codes)
    whole = {
        "store": place.name, "dry_run": options.dry, "exit": status, "peers": runs,
        "seconds": round(clock.monotonic() - began, 3), "scan": run.scan_counts,
        "problems": [{"where": a, "why": b} for a, b in run.problems],
    }  # fmt: skip
    if run.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    output.result(whole)
    run_hook_of(place, "post", output, whole)
    return status


class Run:
    """The local side of one command: lock, scan and session for each peer in turn."""

    def __init__(self, options: Options, place: Place, output: Output) -> None:
        self.options, self.place, self.output = options, place, output
        self.store: Store | None = None
        self.opened = self.noted = False
        self.problems: list[tuple[str, str]] = []
        self.scan_counts: dict[str, int] = {}
        self.progress: Progress | None = None

    def session(self, target: Target) -> dict[str, Any]:
        """One session, begun again when the peer is busy or this store has to take a new id."""
        wait = self.options.wait or PEER_BUSY_SECONDS
        end = clock.monotonic() + wait
        pause = BACK_OFF_SECONDS
        restarts = 0
        first: dict[str, Any] | None = None
        while True:
            try:
                result = self._once(target)
                if not result.pop("again") or first is not None:  # once: a peer could ask for it without end
                    return result if first is None else _both(first, result)
                first = result
                self.output.say(
                    f"{target.name}: it did not take over all that was done here; once more, to have that back"
                    if result["there"].get("refused")
                    else f"{target.name}: its index was rebuilt and has taken in what is here; once more, both ways"
                )
                self.close()
            except Stale:
                restarts += 1
                if restarts > RESTARTS_MAX or self.store is None:
                    raise
                with self.store.index.transaction():
                    self.store.become_new()
                self.store.bump()
                self.store.end_run("renew", target.name, EXIT_DONE, {})
                self.output.warn(
                    "this store went back in time, or is a copy of another: it takes a new replica id and compares everything"
                )
                self.close()
            except StoreBusy:
                ours = self.store is not None
                self.close()  # never hold our lock while waiting for another: three stores in a ring would never finish
                if not ours or clock.monotonic() >= end:
                    raise
                clock.sleep(pause * (0.5 + clock.random_bytes(1)[0] / 255))
                pause = min(2 * pause, 2.0)

    def close(self) -> None:
        """Give lock and store back."""
        if self.progress is not None:
            self.progress.end()
        if self.store is not None:
            self.noted = self.noted or self.store.noted
            self.store.close()
            self.store = None

    def _once(self, target: Target) -> dict[str, Any]:
        lock: Lock | None = None
        place, options = self.place, self.options
        if place.settings is None:
            make_ready(place, dry=options.dry)
        lock = take_lock(place.root, place.state, options.wait)
        wire = Wire()
        wire.greet(dry=str(int(options.dry)), lock=lock.name)
        try:
            child = spawn(target)
        except BaseException:
            lock.release()
            raise
        patience = 10.0
        out = wire.output(flush=True)
        try:
            os.write(child.stdin, bytes(out))
        except OSError:
            pass  # it is gone already; what it said, and its exit status, tell why
        out.clear()
        from mailkeep.replicate.initiator import Initiator  # loaded while the peer starts

        try:
            self.store = store = open_store(place, dry=options.dry, lock=lock, verb="sync")
            self.opened = True
            store.progress = self.progress = self.output.progress()
            began = clock.monotonic()
            report = store.scan()
            self.scanned(report)
            view = view_of(target.settings)
            _check_map(store, view, target)
            initiator = Initiator(
                store, target.name, direction=target.direction, dry=options.dry, view=view, force=options.force, wire=wire,
                accept_approvals=target.settings is None or target.settings.accept_approvals,
            )  # fmt: skip
            initiator.start()
            try:
                converse(initiator, child, target)
            except BaseException:
                initiator.abandon()
                if initiator.outcome is not None and not options.dry:
                    store.bump()
                    store.apply()
                raise
            return self._done(target, initiator, report, clock.monotonic() - began)
        except PeerUnavailable as err:
            patience = 1.0
            raise why_ended(err, child, target) from err
        finally:
            child.end(patience)

    def scanned(self, report: Report) -> None:
        """Count what a scan found, and say what it could not make out."""
        for name in ("added", "flagged", "expunged", "held", "put_back", "unknown"):
            if count := getattr(report, name):
                self.scan_counts[name] = self.scan_counts.get(name, 0) + count
        if report.unknown and not report.problems:
            self.output.warn(
                f"{report.unknown:,} messages or mailboxes are not where they were, and may be somewhere else, or on the move:"
                " nothing was concluded from that; later runs look again"
            )
        for problem in report.problems:
            if problem not in self.problems:
                self.problems.append(problem)
                self.output.warn(f"{problem[0]}: {problem[1]}")

    def _done(self, target: Target, initiator: Initiator, report: Report, seconds: float) -> dict[str, Any]:
        store = self.store
        assert store is not None
        here: dict[str, int] = {}
        if initiator.outcome is not None:
            o = initiator.outcome
            here = {
                name: getattr(o, name)
                for name in ("added", "changed", "expunged", "held", "revived", "renumbered", "mailboxes")
                if getattr(o, name)
            }
        there = {k: v for k, v in initiator.remote.items() if v and k != "status"}
        problems = list(initiator.refused)
        if initiator.applied is not None:
            problems += initiator.applied.problems
        codes = [EXIT_DONE, initiator.remote.get("status", EXIT_DONE)]
        if problems or report.problems or report.unknown:
            codes.append(EXIT_SKIPPED)
        archive = target.direction == "archive"
        held = bool((here.get("held") and not archive) or report.held or has_alarms(store))
        if held or initiator.waiting:
            codes.append(EXIT_HELD)
        status = worst_exit_code(codes)
        store.end_run("sync", target.name, status, {**{"here " + k: v for k, v in here.items()}, **there})
        if not self.options.dry:
            _touch(store.state, target.name)
        if self.progress is not None:
            self.progress.end()
        from mailkeep.cli.words import session_words

        for line in session_words(
            target, initiator, here, there, self.options.dry, seconds, store, held=held
        ):
            self.output.say(line)
        for where, why in (*problems, *((f"{target.name}: {a}", b) for a, b in initiator.remote_problems)):
            self.output.warn(f"{where}: {why}")
        return {
            "peer": target.name, "exit": status, "same": initiator.same, "again": initiator.again, "direction": target.direction,
            "here": here, "there": there, "held_there": initiator.waiting, "messages_here": initiator.counts[0], "messages_there": initiator.counts[1],
            "sent_bytes": initiator.wire.sent_bytes, "received_bytes": initiator.wire.received_bytes,
            "round_trips": initiator.turns, "seconds": round(seconds, 3),
            "problems": [{"where": a, "why": b} for a, b in (*problems, *initiator.remote_problems)],
        }  # fmt: skip


# --- peers


def _targets(options: Options, place: Place) -> list[Target]:
    remote = options.remote
    if remote is not None:
        return [one_off(remote)]
    assert place.settings is not None
    names = options.peers or list(place.settings.peers)
    if not names:
        raise no_peers(place.name)
    return [target_of(place.settings.peer(name)) for name in names]


def has_alarms(store: Store) -> bool:
    """Whether deletions are held that a person has to look at."""
    if store.index.execute("SELECT 1 FROM hold LIMIT 1").fetchone() is None:
        return False
    from mailkeep.store.holds import alarms

    return alarms(store.ledger)


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two sessions with one peer as one result."""
    counts = {
        side: {
            name: first[side].get(name, 0) + second[side].get(name, 0)
            for name in {**first[side], **second[side]}
        }
        for side in ("here", "there")
    }
    sums = {
        key: first[key] + second[key]
        for key in ("sent_bytes", "received_bytes", "round_trips", "seconds", "problems")
    }
    codes = (first["exit"], second["exit"])
    return {**second, **counts, **sums, "same": False, "exit": worst_exit_code(codes)}


def _check_map(store: Store, view: View, target: Target) -> None:
    """A name map without a way back would make one mailbox of two: no session begins with it."""
    if view.names is None:
        return
    from mailkeep.domain.names import MailboxName

    names = [MailboxName.parse(box.name) for box in store.ledger.alive() if view.shows(box)]
    problems = view.names.problems(names)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(
            f"the name map of the peer {target.name} has no way back: {problems[0]}{more}",
            untouched="anything on either side",
            hint="correct the map of that peer in the configuration; mailkeep check shows all of it",
        )


def _touch(state: bytes, peer: str) -> None:
    """When a peer was last met without an error: a file's time, so that a run with nothing to do writes no index."""
    directory = os.path.join(state, b"met")
    try:
        fd = os.open(
            os.path.join(directory, os.fsencode(peer.replace("/", "_"))),
            os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
    except FileNotFoundError:
        os.mkdir(directory, 0o700)
        return _touch(state, peer)
    except OSError:
        return None  # a name that no file can have: status then says less
    os.utime(fd)
    os.close(fd)
    return None


def run_hook_of(place: Place, kind: str, output: Output, result: dict[str, Any]) -> None:
    """Run a hook of the configuration, if there is one."""
    command = getattr(place.settings.hooks, kind, None) if place.settings is not None else None
    if command is not None:
        from mailkeep.cli.hooks import run_hook

        run_hook(kind, command, place, output, result)
