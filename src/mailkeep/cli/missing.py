"""`mailkeep missing --against X`: which messages of something else are not here, and why."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import when
from mailkeep.cli.run import Options, Output, Place, _by_path, find, open_store, places
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_FAULTS,
    EXIT_HELD,
    EXIT_SKIPPED,
    DataError,
    NoInput,
    UsageError,
    printable,
    worst_exit_code,
)
from mailkeep.system.configfile import load_settings
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.foreign import Source
    from mailkeep.store.missing import Comparison, Found
    from mailkeep.store.store import Store

SHOWN_MAX = 20
"""Messages named for people, of each kind; -v names all."""
ONLY_MAX = 5_000_000


def missing(options: Options) -> int:
    """Compare; exit status 4 when something is missing, 5 when something is held."""
    output = Output(options)
    with compared(options, output) as (place, store, work):
        if options.args.ids:
            status = _say_ids(work)
        else:
            status = _say(store, work, output, options.verbose > 0)
        if output.as_json:
            output.result({"exit": status, "store": place.name, **table(store, work)})
    return status


# --- opening both sides, for restore too


@contextmanager
def compared(options: Options, output: Output) -> Iterator[tuple[Place, Store, Comparison]]:
    """Open store and source, scan the store, compare; close everything afterwards.

    The scan counts, as that of every command: a message that was delivered a minute ago is here.
    """
    from mailkeep.cli.undelete import note_scan
    from mailkeep.store.headers import HeaderCache
    from mailkeep.store.missing import Comparison
    from mailkeep.system import clock

    args = options.args
    now = clock.now()
    since = _since(args.since, now)
    only = _only(args.only)
    place = find(options.store, None)
    source = _source(options, place, now)
    caches: list[HeaderCache] = []
    shown = output.progress()
    try:
        store = open_store(place, wait=options.wait, verb=options.verb)
        try:
            store.progress = shown
            report = note_scan(store)
            for where, why in report.problems:
                output.warn(f"{where}: {why}")
            _remember(source, store, now)
            if only is not None and hasattr(source, "expunged_too"):
                source.expunged_too = True

            def cache() -> HeaderCache:
                caches.append(HeaderCache(store.state, store.ledger, store.vault))
                return caches[-1]

            work = Comparison(store, source, cache, since=since, only=only, progress=shown)
            try:
                work.run()
                if shown is not None:
                    shown.end()
                yield place, store, work
            finally:
                work.close()
        finally:
            if shown is not None:
                shown.end()
            for opened in caches:
                opened.close()
            store.close()
    finally:
        source.close()


def is_peer(place: Place, name: str, kind: str | None) -> bool:
    """Whether a peer is meant: by the name that the configuration gives it, unless a file is called so."""
    return (
        place.settings is not None
        and name in place.settings.peers
        and (kind == "peer" or (kind is None and not os.path.exists(name)))
    )


def _source(options: Options, place: Place, now: int) -> Source:
    from mailkeep.store.foreign import open_source

    args = options.args
    name: str = args.source
    if args.kind == "peer" or is_peer(place, name, args.kind):
        if not is_peer(place, name, args.kind):
            raise UsageError(
                f"the store {place.name} has no peer {printable(name)}",
                untouched="anything",
                hint="mailkeep status",
            )
        from mailkeep.cli.peersource import open_peer

        return open_peer(place, name)
    if args.kind in (None, "store") and "/" not in name and not os.path.exists(name):
        configured = load_settings(places()).stores
        if name in configured:
            found = _store_at(os.fsencode(configured[name].path), place, name, forced=True)
            if found is not None:
                return found
    return open_source(
        name,
        args.kind,
        now,
        args.recipients,
        lambda path: _store_at(path, place, name, forced=args.kind == "store"),
    )


def _store_at(path: bytes, ours: Place, name: str, *, forced: bool) -> Source | None:
    """The store whose Maildir is there, opened for reading; None: there is none, or its state is not known here.

    A copy of a home directory has Maildir and state side by side, and is no store but a backup, that nobody may lock or
    write to: so, unless a person says that it is one, only what is configured or was used here before counts.
    """
    from mailkeep.store.foreignstore import StoreSource

    if os.path.realpath(path) == os.path.realpath(ours.root):
        raise UsageError(
            f"{printable(name)} is the store {ours.name} itself",
            untouched="anything",
            hint="name a backup or another store",
        )
    other = _by_path(os.fsdecode(path), load_settings(places()), places())
    if not os.path.exists(os.path.join(other.state, b"index.db")):
        return None
    beside = other.settings is None and os.path.dirname(other.state) == os.path.dirname(
        os.path.realpath(path)
    )
    if beside and not forced:
        return None
    found = [_marked(path), _marked(ours.root)]
    if found[0] is None or (found[1] is not None and found[0][0] == found[1][0]):
        return None
    store = open_store(other, dry=True)
    try:
        return StoreSource(name, store)
    except BaseException:
        store.close()
        raise


def _marked(root: bytes) -> tuple[bytes, int] | None:
    """What the marker of a Maildir says; None: it has none that can be read."""
    from mailkeep.store import marker
    from mailkeep.system import fs

    try:
        fd = fs.open_directory(root)
    except OSError:
        return None
    try:
        return marker.read(fd, root)
    except (DataError, OSError):
        return None
    finally:
        os.close(fd)


def _remember(source: Source, store: Store, now: int) -> None:
    """Let a Maildir tree that was read before only be looked at."""
    from mailkeep.store.foreignmaildir import MaildirSource
    from mailkeep.store.hashes import HashCache

    if isinstance(source, MaildirSource):
        source.hashes = HashCache(store.state, store.id, now)


def _since(text: str | None, now: int) -> int | None:
    if text is None:
        return None
    from datetime import datetime

    from mailkeep.wire.moments import parse_moment
    from mailkeep.wire.units import parse_duration

    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = parse_moment(text, datetime.fromtimestamp(now).astimezone().date())
        if moment.run is not None:
            raise ValueError("--since takes a time, not a run")
        return moment.seconds(now)
    except ValueError as err:
        raise UsageError(f"--since: {err}", untouched="anything") from err


def _only(path: str | None) -> set[str] | None:
    """Message-IDs of a list, in lower case."""
    if path is None:
        return None
    from mailkeep.store.foreign import Stream
    from mailkeep.store.foreignfiles import lines
    from mailkeep.wire.messageids import plain

    name = os.path.expanduser(path)
    if path != "-" and not os.path.exists(name):
        raise NoInput(
            f"there is no {printable(path)}",
            untouched="anything",
            hint="name a file with a Message-ID on each line",
        )
    stream = Stream(path, os.fsencode(name))
    try:
        found = {known.lower() for line in lines(stream.chunks()) if (known := plain(line)) is not None}
    finally:
        stream.close()
    if not found:
        raise UsageError(f"{printable(path)} has no Message-ID in it", untouched="anything")
    return found


# --- saying what was found


def _say_ids(work: Comparison) -> int:
    """Message-IDs of what is missing and of what nobody has."""
    from mailkeep.store.missing import LACKING, MISSING, NOBODY, SPARE

    seen: set[str] = set()
    nameless = 0
    for found in work.found(MISSING, LACKING, SPARE, NOBODY):
        key = found.item.message_id
        if not key:
            nameless += 1
        elif key not in seen:
            seen.add(key)
            print(f"<{printable(key)}>")
    if nameless:
        import sys

        print(f"mailkeep: {format_count(nameless, 'message')} more have no Message-ID", file=sys.stderr)
    return _status(work)


def _status(work: Comparison) -> int:
    from mailkeep.store.missing import HELD, LACKING, MISSING, NOBODY, SPARE

    codes = [EXIT_DONE]
    if any(work.counts[state] for state in (MISSING, LACKING, SPARE, NOBODY)):
        codes.append(EXIT_FAULTS)
    if work.counts[HELD]:
        codes.append(EXIT_HELD)
    if work.source.problems.count:
        codes.append(EXIT_SKIPPED)
    return worst_exit_code(codes)


def say_problems(work: Comparison, output: Output, *, everything: bool) -> None:
    """What of the source could not be compared."""
    problems = work.source.problems
    rows = problems.rows if everything else problems.rows[:SHOWN_MAX]
    for where, why in rows:
        output.warn(f"{work.source.name}: {where}: {why}")
    if problems.count > len(rows):
        output.warn(f"and {problems.count - len(rows):,} more that could not be compared")


def _say(store: Store, work: Comparison, output: Output, everything: bool) -> int:
    from mailkeep.store.missing import DELETED, HELD, HERE, LACKING, MISSING, NOBODY, PURGED, SPARE, Deed

    counts = work.counts
    say_problems(work, output, everything=everything)
    output.say(
        f"{printable(work.source.name)} ({work.source.kind}): {format_count(work.total, 'message')} compared,"
        f" {counts[HERE]:,} are here"
    )
    for state, words in (
        (MISSING, "missing here"),
        (LACKING, "known here, and their content is still to come from a peer"),
        (SPARE, "in no mailbox here, though the vault has them"),
        (HELD, "gone from their mailboxes, held until somebody answers (mailkeep reject puts them back)"),
        (DELETED, "removed here on purpose; the vault has them still (mailkeep undelete brings them back)"),
        (PURGED, "removed here on purpose, and no longer in the vault"),
        (NOBODY, "of which nobody has more than the Message-ID"),
    ):
        if not counts[state]:
            continue
        output.say(f"{counts[state]:,} {words}:")
        by_mailbox: dict[str, int] = {}
        for at, found in enumerate(work.found(state)):
            if everything or at < SHOWN_MAX:
                deed = (
                    Deed(store, found.record)
                    if state in (DELETED, PURGED) and found.record is not None
                    else None
                )
                output.say("  " + _line(found) + (f"; {_deed(deed)}" if deed is not None else ""))
            by_mailbox[found.item.mailbox] = by_mailbox.get(found.item.mailbox, 0) + 1
        if counts[state] > SHOWN_MAX and not everything:
            output.say(f"  and {counts[state] - SHOWN_MAX:,} more; -v names all")
            if set(by_mailbox) != {""}:
                rows = sorted(by_mailbox.items(), key=lambda row: (-row[1], row[0]))
                output.say(
                    "  by mailbox: "
                    + ", ".join(f"{name or '?'} {count:,}" for name, count in rows[:SHOWN_MAX])
                )
    if counts[MISSING] or counts[LACKING] or counts[SPARE]:
        if work.source.has_contents or counts[SPARE]:
            output.say(f"mailkeep restore --from {printable(work.source.name)} says what it would bring back")
    elif not (counts[NOBODY] or counts[HELD]):
        output.say("nothing is missing")
    return _status(work)


def _line(found: Found) -> str:
    item = found.item
    words = [f"<{printable(item.message_id)}>" if item.message_id else (item.content or b"").hex()[:16]]
    if item.mailbox:
        words.append(f"in {printable(item.mailbox)}")
    if item.date is not None:
        words.append(f"of {when(item.date)}")
    return " ".join(words)


def _deed(deed: Any) -> str:
    words = "removed"
    if deed.mailbox:
        words += f" from {printable(deed.mailbox)}"
    if deed.run is not None:
        words += f" in run {deed.run} ({deed.verb}{' with ' + printable(deed.peer) if deed.peer else ''})"
        words += {"found": ", by another program", "merged": ", as the peer said", "asked": ""}.get(
            deed.cause, ""
        )
    if deed.at is not None:
        words += f", {when(deed.at)}"
    return words


def table(store: Store, work: Comparison) -> dict[str, Any]:
    """A comparison for --json; see docs/reference/json.md."""
    from mailkeep.store.missing import STATES, Deed

    rows = []
    for found in work.found(*STATES[1:]):
        item = found.item
        row: dict[str, Any] = {
            "state": found.state, "message_id": printable(item.message_id) or None,
            "content": item.content.hex() if item.content is not None else None,
            "mailbox": item.mailbox or None, "date": when(item.date) if item.date is not None else None,
            "size": item.size or None,
        }  # fmt: skip
        if found.record is not None and found.state in ("deleted", "purged"):
            deed = Deed(store, found.record)
            row["removed"] = {
                "mailbox": deed.mailbox, "run": deed.run, "verb": deed.verb or None, "peer": deed.peer or None,
                "cause": deed.cause or None, "at": when(deed.at) if deed.at is not None else None,
                "kept_until": when(deed.keep) if deed.keep is not None else None,
            }  # fmt: skip
        rows.append(row)
    problems = work.source.problems
    return {
        "source": {"name": printable(work.source.name), "kind": work.source.kind},
        "compared": work.total, "left_out": work.scoped, "counts": work.counts, "messages": rows,
        "problem_count": problems.count, "problems": [{"where": where, "why": why} for where, why in problems.rows],
    }  # fmt: skip
