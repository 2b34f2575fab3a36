"""`mailkeep verify`: everything is read back and compared; with --repair, mended as far as that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import ago, when
from mailkeep.cli.run import Options, Output, Place, find, limits_of
from mailkeep.domain.errors import EXIT_DONE, EXIT_FAULTS, EXIT_SKIPPED, printable
from mailkeep.wire.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from mailkeep.store.repair import Repair
    from mailkeep.store.verify import Verification
    from mailkeep.system.lock import Lock


def verify(options: Options) -> int:
    """Verify one store; exit status 4 when anything is wrong, 3 when a peer is to send what is lacking."""
    from mailkeep.store import backup as backups
    from mailkeep.store.gate import take_lock
    from mailkeep.system import clock

    output = Output(options)
    place = find(options.store, None)
    began = clock.monotonic()
    lock = take_lock(place.root, place.state, options.wait)
    mended: Repair | None = None
    reindexed = False
    try:
        work = first = _look(place, output, quick=options.args.quick)
        if options.args.repair and work.fault_count:
            reindexed = bool(work.index_faults) and _reindex(place)
            if reindexed:
                work = _look(place, output, quick=options.args.quick)
            if not work.index_faults:
                mended = _repair(place, lock, work)
                work = _look(place, output, quick=True)
    finally:
        lock.release()
    _say_faults(first, output)
    if reindexed:
        output.say("mended (index): index.db: SQLite's own indexes were made anew")
    left = [] if mended is None else mended.left
    if mended is not None:
        _say_mended(mended, output)
        for kind, where, what in work.faults:
            output.warn(f"left ({kind}): {where}: {what}")
    for kind, where, what in first.notes:
        output.say(f"note ({kind}): {where}: {what}")
    _say_counts(first, clock.monotonic() - began, options.args.quick, output)
    newest = max((backup.at for backup in backups.backups(place.state)), default=None)
    output.say(f"newest backup of the index: {ago(newest)}")
    if first.index_faults and not reindexed:
        output.warn(
            "the index is damaged: mailkeep rebuild puts another in its place; mailkeep rebuild --dry-run says which"
        )
    elif first.fault_count and not options.args.repair:
        output.say("mailkeep verify --repair mends what can be mended, and deletes nothing")
    lacking = all(kind == "lacking" for kind, _, _ in work.faults)
    status = (
        EXIT_DONE
        if not (work.fault_count or left)
        else EXIT_SKIPPED
        if lacking and not left and mended
        else EXIT_FAULTS
    )
    output.result(
        {
            "exit": status, "store": place.name, "quick": options.args.quick, "checked": first.counted,
            "fault_count": first.fault_count, "seconds": round(clock.monotonic() - began, 3),
            "faults": _rows(first.faults), "notes": _rows(first.notes), "newest_backup": when(newest),
            "repair": None if mended is None else {
                "healed": _rows(mended.healed), "left": _rows([*left, *work.faults]), "asked": mended.asked,
                "aside": [printable(path) for path in mended.aside.moved],
            },
        }
    )  # fmt: skip
    return status


def _look(place: Place, output: Output, *, quick: bool) -> Verification:
    """Read everything back, under the lock."""
    from mailkeep.store.verify import Verification

    shown = output.progress()
    work = Verification(place.root, place.state, quick=quick, progress=shown)
    try:
        if shown is not None and not quick:
            for what, count in work.totals().items():
                shown.expect(what, count)
        work.run()
    finally:
        if shown is not None:
            shown.end()
        work.close()
    return work


def _reindex(place: Place) -> bool:
    from mailkeep.store.repair import mend_indexes

    return mend_indexes(place.state)


def _repair(place: Place, lock: Lock, found: Verification) -> Repair:
    """Mend, under the lock, which is kept."""
    from mailkeep.store.repair import Repair
    from mailkeep.store.store import Store

    limits = limits_of(place.settings.guard) if place.settings is not None else None
    store = Store.open(place.root, place.state, limits, lock=lock)
    try:
        work = Repair(store, found)
        work.run()
        status = EXIT_FAULTS if work.left else EXIT_SKIPPED if work.asked else EXIT_DONE
        store.end_run("repair", None, status, {"healed": len(work.healed), "asked": work.asked})
    finally:
        store.close(keep_lock=True)
    return work


def _say_faults(work: Verification, output: Output) -> None:
    for kind, where, what in work.faults:
        output.warn(f"fault ({kind}): {where}: {what}")
    if work.fault_count > len(work.faults):
        output.warn(f"and {work.fault_count - len(work.faults):,} faults more")


def _say_mended(work: Repair, output: Output) -> None:
    for kind, where, what in work.healed:
        output.say(f"mended ({kind}): {where}: {what}")
    for path in work.aside.moved:
        output.say(f"put aside: {printable(path)}")
    for kind, where, what in work.left:
        output.warn(f"not mended ({kind}): {where}: {what}")
    if work.asked:
        output.say(f"{format_count(work.asked, 'content')} will be asked for: run mailkeep sync")


def _say_counts(work: Verification, seconds: float, quick: bool, output: Output) -> None:
    counted = work.counted
    output.say(
        f"{format_count(counted['contents'], 'content')} ({format_size(counted['bytes'])}) {'named and sized' if quick else 'hashed'},"
        f" {format_count(counted['files'], 'file')} in {format_count(counted['mailboxes'], 'mailbox', 'mailboxes')} compared,"
        f" in {format_duration(seconds)}: {format_count(work.fault_count, 'fault')}"
    )
    if counted["unscanned"]:
        output.say(
            f"{format_count(counted['unscanned'], 'file')} changed since the last scan: the next run looks at them"
        )


def _rows(rows: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [{"kind": kind, "where": where, "what": what} for kind, where, what in rows]
