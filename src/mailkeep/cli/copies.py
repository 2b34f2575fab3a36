"""`mailkeep snapshot`, `export`, `import` and `verify-copy`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.cli.undelete import note_scan
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_FAULTS,
    EXIT_SKIPPED,
    UsageError,
    printable,
    worst_exit_code,
)
from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.store.snapshot import Made, Wanted
    from mailkeep.store.store import Store
    from mailkeep.store.takein import Taken


def snapshot(options: Options) -> int:
    """Copy a whole store."""
    from mailkeep.store.snapshot import Wanted

    return _make(options, Wanted("snapshot", expunged=options.args.expunged))


def export(options: Options) -> int:
    """Copy what was chosen of a store."""
    from mailkeep.store.snapshot import Wanted

    return _make(options, Wanted("export", tuple(options.args.what), expunged=options.args.expunged))


def _make(options: Options, wanted: Wanted) -> int:
    from mailkeep.store.copyfiles import Source
    from mailkeep.store.gate import require
    from mailkeep.store.snapshot import Snapshot

    output = Output(options)
    place = find(options.store, None)
    require(place.root, place.state)
    target = _path(options.args.directory)
    with Snapshot(target, place.root, place.state, wanted) as work:
        problems: list[tuple[str, str]] = []
        again = work.planned
        store = open_store(place, wait=options.wait, verb=wanted.kind)
        work.progress = shown = store.progress = output.progress()
        try:
            if not again:
                problems += note_scan(store).problems
                work.plan(store, _chosen(store, wanted))
            source = Source(store)
        finally:
            store.close()
        made = work.run(source, link=options.args.link)
        if shown is not None:
            shown.end()
    if store.noted:  # by the scan
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    status = _say_made(made, target, problems, output, again=again)
    output.result(
        {
            "exit": status, "store": place.name, "directory": printable(target), "as_of": when(made.at), "resumed": again,
            "mailboxes": made.mailboxes, "messages": made.messages, "expunged": made.expunged, "bytes": made.bytes,
            "linked": made.linked, "lacking": made.damaged + made.waiting,
            "problems": _rows([*problems, *made.lacking]),
        }
    )  # fmt: skip
    return status


def _say_made(
    made: Made, target: bytes, problems: list[tuple[str, str]], output: Output, *, again: bool
) -> int:
    codes = [EXIT_DONE]
    for where, why in (*problems, *made.lacking):
        output.warn(f"{where}: {why}")
    if problems or made.waiting:
        codes.append(EXIT_SKIPPED)
    if made.damaged:
        codes.append(EXIT_FAULTS)
        output.warn(
            f"{format_count(made.damaged, 'message')} are not in the copy: mailkeep verify --repair mends what can be mended"
        )
    if again:
        output.say(f"went on with the copy that was begun earlier: the mail is as of {when(made.at)}")
    more = f", {made.expunged:,} expunged ones" if made.expunged else ""
    output.say(
        f"{printable(target)}: {format_count(made.messages, 'message')}{more} of"
        f" {format_count(made.mailboxes, 'mailbox', 'mailboxes')}, {format_size(made.bytes)}"
    )
    if made.linked:
        output.say(
            f"{made.linked:,} of them are hard links to the vault: what damages the one damages the other"
        )
    return worst_exit_code(codes)


def _chosen(store: Store, wanted: Wanted) -> Iterator[int] | None:
    """Numbers of the records that were asked for; None: all."""
    if wanted.kind == "snapshot":
        return None
    boxes = store.ledger.boxes
    names = {box.name for box in boxes.values()}
    if names.issuperset(wanted.chosen):  # with those below them
        numbers = {
            box.no
            for box in boxes.values()
            for name in wanted.chosen
            if (box.name + "/").startswith(name + "/")
        }
        return (
            no
            for box in sorted(numbers)
            for (no,) in store.index.execute("SELECT no FROM record WHERE mailbox = ?", (box,))
        )
    from mailkeep.store.chosen import chosen
    from mailkeep.wire.query import parse_words

    for word in wanted.chosen:
        if word in names:
            raise UsageError(
                f"{word} is a mailbox, and {next(w for w in wanted.chosen if w not in names)} is none:"
                " what is chosen is either mailboxes or one query",
                untouched="anything",
                hint=f"mailkeep export mailbox:{word} ... for the messages of one query in that mailbox",
            )
    return chosen(store, parse_words(wanted.chosen, now=clock.now()), expunged=wanted.expunged)


def take_in(options: Options) -> int:
    """Add the messages of a copy to a store."""
    from mailkeep.store.copyread import Copy
    from mailkeep.store.takein import TakeIn

    output, args = Output(options), options.args
    place = find(options.store, None)
    problems: list[tuple[str, str]] = []
    with Copy(_path(args.directory)) as copy:
        store = open_store(place, wait=options.wait, dry=options.dry, verb="import")
        store.progress = shown = output.progress()
        try:
            problems += note_scan(store).problems
            work = TakeIn(store, copy, removed=args.deleted_too, expunged=args.expunged)
            taken = work.run()
            if not options.dry:
                applied = store.apply()
                problems += applied.problems
                if taken.added or taken.mailboxes or taken.expunged or taken.annotations:
                    store.bump()
            if shown is not None:
                shown.end()
            status = _say_taken(taken, problems, output, dry=options.dry)
            store.end_run("import", None, status, {"added": taken.added, "expunged": taken.expunged})
            noted = store.noted
            if (
                work.contents
                and place.settings is not None
                and place.settings.notmuch.dump
                and not options.dry
            ):
                from mailkeep.cli.notmuch import came_back

                came_back(place, store, work.contents)
        finally:
            store.close()
        lacking, damaged = copy.end.lacking, taken.damaged
    if lacking:
        output.say(f"{format_count(lacking, 'message')} of that store could not be copied into it, then")
    if noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    output.result(
        {
            "exit": status, "store": place.name, "dry_run": options.dry, "directory": printable(_path(args.directory)),
            "added": taken.added, "bytes": taken.bytes, "mailboxes": taken.mailboxes, "there": taken.there,
            "expunged_here": taken.expunged_here, "expunged": taken.expunged, "damaged": damaged, "lacking": lacking,
            "annotations": taken.annotations, "annotations_pending": taken.pending,
            "problems": _rows([*problems, *taken.problems]),
        }
    )  # fmt: skip
    return status


def _say_taken(taken: Taken, problems: list[tuple[str, str]], output: Output, *, dry: bool) -> int:
    codes = [EXIT_DONE]
    for where, why in (*problems, *taken.problems):
        output.warn(f"{where}: {why}")
    if problems or taken.refused:
        codes.append(EXIT_SKIPPED)
    if taken.damaged:
        codes.append(EXIT_FAULTS)
        output.warn(f"{format_count(taken.damaged, 'message')} of the copy are damaged and were left out")
    would = "would be " if dry else ""
    made = f", {format_count(taken.mailboxes, 'mailbox', 'mailboxes')} {would}made" if taken.mailboxes else ""
    output.say(
        f"{format_count(taken.added, 'message')} {would}added{made}; {taken.there:,} were there already"
    )
    if taken.expunged:
        output.say(f"{taken.expunged:,} expunged ones {would}taken in as such")
    if taken.annotations:
        output.say(f"{format_count(taken.annotations, 'annotation')} {would}laid down as in the copy")
    if taken.pending:
        output.warn(
            f"{taken.pending:,} of them {'would wait' if dry else 'waits' if taken.pending == 1 else 'wait'} for an answer, since mail would go by them that is kept now:"
            " mailkeep annotations shows them, mailkeep annotate accepts or refuses"
        )
    if taken.expunged_here:
        codes.append(EXIT_SKIPPED)
        output.warn(
            f"{format_count(taken.expunged_here, 'message')} of the copy were expunged here since, and stay so:"
            " mailkeep import --deleted-too brings them back"
        )
    return worst_exit_code(codes)


def verify_copy(options: Options) -> int:
    """Read a copy through; exit status 4 when it is not as it was written."""
    from mailkeep.store.copyread import Check, Copy

    output = Output(options)
    path = _path(options.args.directory)
    with Copy(path) as copy:
        work = Check(copy, output.progress())
        try:
            work.run()
        finally:
            if work.progress is not None:
                work.progress.end()  # type: ignore[attr-defined]
        head, end = copy.head, copy.end
    for where, what in work.faults:
        output.warn(f"fault: {where}: {what}")
    if work.fault_count > len(work.faults):
        output.warn(f"and {work.fault_count - len(work.faults):,} faults more")
    for where, what in work.notes:
        output.say(f"note: {where}: {what}")
    if end.lacking:
        output.say(f"note: {format_count(end.lacking, 'message')} could not be copied when it was made")
    output.say(
        f"{printable(path)}: {head.kind} of {when(head.made)}, {format_count(end.messages, 'message')}"
        + (f", {end.expunged:,} expunged ones," if end.expunged else "")
        + f" of {format_count(end.mailboxes, 'mailbox', 'mailboxes')}, {format_size(end.bytes)}"
    )
    output.say(
        f"{format_count(work.fault_count, 'fault')}" if work.fault_count else "every byte is what was copied"
    )
    status = EXIT_FAULTS if work.fault_count else EXIT_DONE
    output.result(
        {
            "exit": status, "directory": printable(path), "kind": head.kind, "as_of": when(head.made), "layout": head.layout,
            "from": head.store.hex(), "chosen": list(head.chosen), "mailboxes": end.mailboxes, "messages": end.messages,
            "expunged": end.expunged, "bytes": end.bytes, "lacking": end.lacking, "fault_count": work.fault_count,
            "faults": _rows(work.faults), "notes": _rows(work.notes),
        }
    )  # fmt: skip
    return status


def _path(text: str) -> bytes:
    return os.fsencode(os.path.abspath(os.path.expanduser(text)))


def _rows(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"where": where, "why": why} for where, why in pairs]
