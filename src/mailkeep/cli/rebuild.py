"""`mailkeep rebuild`: a new index in place of one that is lost or damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import ago
from mailkeep.cli.run import Options, Output, Place, find, limits_of
from mailkeep.domain.errors import EXIT_DONE, EXIT_HELD, EXIT_SKIPPED, UsageError, printable, worst_exit_code
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from mailkeep.store.rebuild import Examined
    from mailkeep.store.store import Store
    from mailkeep.wire.layouts import Layout


def rebuild(options: Options) -> int:
    """Examine the state of a store, and put a new index in place where that is needed."""
    from mailkeep.store.rebuild import Rebuild, examine

    output, args = Output(options), options.args
    place = find(options.store, None)
    source = os.fsencode(os.path.abspath(os.path.expanduser(args.source))) if args.source else None
    if options.dry:
        found = examine(place.root, place.state, source=source, from_mail=args.from_mail)
        needed = bool(found.index) or args.force
        _say_found(found, needed, output)
        output.result({"exit": EXIT_DONE, "store": place.name, "dry_run": True, **_table(found, needed)})
        return EXIT_DONE
    if args.recover is not None:
        _check_name(args.recover)
    limits = limits_of(place.settings.guard) if place.settings is not None else None
    work = Rebuild(
        place.root, place.state, limits, lambda: _layout(place), source=source, from_mail=args.from_mail,
        force=args.force, wait_seconds=options.wait,
    )  # fmt: skip
    _say_found(work.found, work.needed, output)
    if not work.needed:
        return _only_recover(work, place, args.recover, output)
    work.progress = shown = output.progress()
    store = work.run(args.recover)
    try:
        if shown is not None:
            shown.end()
        status, counts = _done(work, store, output)
    finally:
        store.close()
    output.result(
        {
            "exit": status, "store": place.name, "dry_run": False, **_table(work.found, True), **counts,
            "aside": [printable(path) for path in work.aside.moved],
        }
    )  # fmt: skip
    return status


def _only_recover(work: Any, place: Place, name: str | None, output: Output) -> int:
    """The index is sound: nothing but the contents that no mailbox has may be wanted."""
    from mailkeep.store.store import Store

    if name is None:
        work.lock.release()
    else:
        store = Store.open(place.root, place.state, work.limits, lock=work.lock)
        try:
            work.recover(store, name)
            if work.recovered:
                store.bump()
            store.end_run("rebuild", None, EXIT_DONE, {"recovered": work.recovered})
        finally:
            store.close()
        output.say(f"{format_count(work.recovered, 'message')} put into {name}")
    output.result(
        {
            "exit": EXIT_DONE, "store": place.name, "dry_run": False, **_table(work.found, False),
            "recovered": work.recovered,
        }
    )  # fmt: skip
    return EXIT_DONE


def _done(work: Any, store: Store, output: Output) -> tuple[int, dict[str, Any]]:
    report = work.report
    assert report is not None
    messages = sum(box.count for box in store.ledger.boxes.values())
    codes = [EXIT_DONE]
    for where, why in report.problems:
        output.warn(f"{where}: {why}")
        codes.append(EXIT_SKIPPED)
    for path in work.aside.moved:
        output.say(f"put aside: {printable(path)}")
    for name in work.damaged_objects:
        output.warn(
            f"the vault's object {name} is damaged, and no file of the Maildir has its content; it was put aside"
        )
    boxes = format_count(len(store.ledger.alive()), "mailbox", "mailboxes")
    output.say(
        f"the new index has {format_count(messages, 'message')} in {boxes}: {report.added:,} found,"
        f" {report.put_back:,} put back from the vault"
    )
    if report.held:
        codes.append(EXIT_HELD)
        output.warn(
            f"{format_count(report.held, 'message')} of the backup that the Maildir does not have are held: mailkeep holds"
            " shows them; mailkeep reject puts them back, mailkeep approve removes them everywhere"
        )
    if work.recovered:
        output.say(f"{format_count(work.recovered, 'message')} put into the mailbox asked for")
    if work.spare:
        output.say(
            f"the vault keeps {format_count(work.spare, 'content')} more that no mailbox has: removed mail, most likely;"
            " mailkeep rebuild --recover MAILBOX makes messages of them"
        )
    output.say("peers see a new replica; the next session with each compares everything")
    counts = {
        "messages": messages, "added": report.added, "put_back": report.put_back, "held": report.held,
        "recovered": work.recovered, "spare": work.spare, "damaged_objects": work.damaged_objects,
        "problems": [{"where": where, "why": why} for where, why in report.problems],
    }  # fmt: skip
    return worst_exit_code(codes), counts


def _say_found(found: Examined, needed: bool, output: Output) -> None:
    output.say("the index is sound" if not found.index else f"the index: {found.index}")
    for path, why in found.refused:
        output.say(f"not used: {path}: {why}")
    if not needed:
        output.say("there is nothing to rebuild; --force does it all the same")
    elif found.backup is not None:
        output.say(f"from the backup {printable(found.backup.path)}, {ago(found.backup.at)}")
    else:
        output.say("from Maildir and vault: UIDs, holds, approvals and history are not in them")


def _table(found: Examined, needed: bool) -> dict[str, Any]:
    way = "none" if not needed else "backup" if found.backup is not None else "mail"
    return {
        "index": found.index or None,
        "way": way,
        "backup": printable(found.backup.path) if needed and found.backup is not None else None,
        "refused": [{"where": path, "why": why} for path, why in found.refused],
    }


def _check_name(text: str) -> None:
    from mailkeep.domain.names import BadMailboxName, MailboxName

    try:
        MailboxName.parse(text)
    except BadMailboxName as err:
        raise UsageError(
            f"--recover: {err}", untouched="anything", hint="mailkeep rebuild --recover Recovered"
        ) from err


def _layout(place: Place) -> Layout:
    """How mailboxes lie in the tree: as configured, else as it looks."""
    from mailkeep.cli.init import _detect

    settings = place.settings
    layout = settings.layout if settings is not None else "auto"
    encoding = settings.encoding if settings is not None else "auto"
    found: Layout = _detect(place.root, layout, encoding).layout
    return found
