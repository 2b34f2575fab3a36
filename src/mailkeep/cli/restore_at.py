"""`mailkeep restore --at TIME`: mailboxes as they were, put back into the store or written out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mailkeep.cli.giving import Heads, close_store, local, mailboxes_named, point_of
from mailkeep.cli.look import Look, when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.cli.undelete import GiveBack, note_scan
from mailkeep.domain.errors import EXIT_DONE, EXIT_SKIPPED, NoInput, UsageError, printable
from mailkeep.store import past
from mailkeep.store.giveback import expunged_of
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from mailkeep.cli.run import Place
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.past import Point


def restore(options: Options) -> int:
    """Put back what mailboxes had at a time and have no more; with --to, write them out as they were."""
    args = options.args
    place = find(options.store, None)
    if args.to is not None:
        return _write_out(options, place)
    options.dry = options.dry or not args.yes
    store = open_store(place, wait=options.wait, dry=options.dry, verb="restore")
    try:
        ledger = store.ledger
        _chosen(ledger, point_of(ledger, args.at)[0], args.mailbox)  # what makes no sense ends here
        note_scan(store)
        point, _ = point_of(ledger, args.at)  # by now, what was removed a moment ago is in a run of its own
        chosen = _chosen(ledger, point, args.mailbox)
        Output(options).say(_as_of(point))
        flags = {row[0]: row[6] for no in chosen for row in past.messages_at(ledger, point, no) if not row[5]}
        found = list(expunged_of(ledger, sorted(flags)))
        for lost in found:
            lost.flags = flags[lost.record]
        with Heads(place.state, ledger) as heads:
            work = GiveBack(options, place, store, heads, then="nothing was changed: --yes does it")
            return work.run(found, None, everywhere=False, last=args.last, flags_exact=True)
    finally:
        close_store(place, store, Output(options))


def _as_of(point: Point) -> str:
    if point.run is None:
        return "as it was before the first run"
    return f"as run {point.run.no} left it, {local(point.run.over)}"


def _chosen(ledger: Ledger, point: Point, mailbox: str | None) -> dict[int, str]:
    """The mailboxes that are meant: number to the name that each had then."""
    states = past.box_states(ledger, point)
    counts = past.counts_at(ledger, point)
    there = {no: box.name for no, box in states.items() if box.live or (box.name and counts.get(no))}
    if mailbox is None:
        return there
    from mailkeep.domain.names import MailboxName

    mailboxes_named(ledger, [mailbox])  # checks the name
    name = str(MailboxName.parse(mailbox))
    found = {no: known for no, known in there.items() if known == name}
    if not found:
        raise NoInput(
            f"there was no mailbox {printable(name)} then",
            untouched="anything",
            hint="mailkeep ls --at TIME lists mailboxes as they were",
        )
    return found


def _write_out(options: Options, place: Place) -> int:
    """Write mailboxes as they were to a directory that is not there yet. The store is only read."""
    from mailkeep.store.vault import Vault
    from mailkeep.store.writeout import MAILDIR, Item, Writer
    from mailkeep.system import fs
    from mailkeep.wire.layouts import Layout

    output, args = Output(options), options.args
    target = os.fsencode(os.path.abspath(os.path.expanduser(args.to)))
    _refuse_mail_tree(target, place)
    with Look(place) as look:
        ledger = look.ledger
        point, seconds = point_of(ledger, args.at)
        chosen = _chosen(ledger, point, args.mailbox)
        output.say(_as_of(point))
        purged = total = 0
        form = args.format or MAILDIR
        syncer = fs.Syncer(place.state)
        progress = output.progress()
        table = []
        try:
            vault = Vault(place.state, look.index.meta["vault"], syncer)
            layout = Layout.parse(look.index.meta["layout"])
            writer = Writer(target, vault, form, layout, single=args.mailbox is not None)
            plan = []
            for no, name in sorted(chosen.items(), key=lambda row: row[1]):
                items, gone = _items(ledger, point, no)
                plan.append((name, items))
                purged += gone
                total += len(items)
                table.append({"mailbox": name, "messages": len(items), "purged": gone})
                output.say(f"{len(items):>9,}  {name}" + (f"  ({gone:,} more are purged)" if gone else ""))
            problems: list[tuple[str, str]] = []
            written = 0
            if not options.dry:
                with writer:
                    if progress is not None:
                        progress.expect("written", total)
                    for name, items in plan:
                        writer.mailbox(
                            name, (Item(*item) for item in items), None if progress is None else progress
                        )
                    writer.finish()
                problems, written = writer.problems, writer.written
        finally:
            if progress is not None:
                progress.end()
            syncer.close()
    for where, why in problems:
        output.warn(f"{where}: {why}")
    status = EXIT_SKIPPED if purged or problems else EXIT_DONE
    if purged:
        output.say(
            f"{format_count(purged, 'message')} that were there then are purged: they cannot be written"
        )
    what = f"{format_count(total if options.dry else written, 'message')}"
    output.say(
        f"{what} would be written; nothing was" if options.dry else f"{what} written to {printable(target)}"
    )
    output.result(
        {
            "exit": status, "store": place.name, "dry": options.dry, "at": when(seconds),
            "run": None if point.run is None else point.run.no, "to": printable(target), "format": form,
            "mailboxes": table, "written": written, "purged": purged,
            "problems": [{"where": printable(where), "why": why} for where, why in problems],
        }
    )  # fmt: skip
    return status


def _items(ledger: Ledger, point: Point, mailbox: int) -> tuple[list[tuple[bytes, int, int, str]], int]:
    """(content id, bytes, date, flags) of each message of a mailbox as it was, and how many more are purged."""
    out, purged = [], 0
    for _, content, _, date, _, _, flags in past.messages_at(ledger, point, mailbox):
        content_id, size, kept = ledger.content_row(content)
        if kept:
            out.append((content_id, size, date, flags))
        else:
            purged += 1
    return out, purged


def _refuse_mail_tree(target: bytes, place: Place) -> None:
    """What is written out does not go where it would count as new mail, or into mailkeep's own directory."""
    real = os.path.realpath(target)
    for tree in (os.path.realpath(place.root), os.path.realpath(place.state)):
        if real == tree or real.startswith(tree + b"/"):
            raise UsageError(
                f"{printable(target)} lies within {printable(tree)}",
                untouched="anything",
                hint="name a directory outside the Maildir and the state directory;"
                " without --to, lost messages are put back into the store",
            )
