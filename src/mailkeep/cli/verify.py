"""`mailkeep verify`: everything is read back and compared; nothing is changed."""

from __future__ import annotations

from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE, EXIT_FAULTS
from mailkeep.wire.units import format_count, format_duration, format_size


def verify(options: Options) -> int:
    """Verify one store; exit status 4 when anything is wrong."""
    from mailkeep.store.gate import take_lock
    from mailkeep.store.verify import Verification
    from mailkeep.system import clock

    output = Output(options)
    place = find(options.store, None)
    began = clock.monotonic()
    lock = take_lock(place.root, place.state, options.wait)
    try:
        shown = output.progress()
        work = Verification(place.root, place.state, quick=options.args.quick, progress=shown)
        if shown is not None:
            for what, count in work.totals().items():
                shown.expect(what, count)
        try:
            work.run()
        finally:
            if shown is not None:
                shown.end()
            work.close()
    finally:
        lock.release()
    for kind, where, what in work.faults:
        output.warn(f"fault ({kind}): {where}: {what}")
    if work.fault_count > len(work.faults):
        output.warn(f"and {work.fault_count - len(work.faults):,} faults more")
    for kind, where, what in work.notes:
        output.say(f"note ({kind}): {where}: {what}")
    counted, seconds = work.counted, clock.monotonic() - began
    how = "named and sized" if options.args.quick else "hashed"
    output.say(
        f"{format_count(counted['contents'], 'content')} ({format_size(counted['bytes'])}) {how},"
        f" {format_count(counted['files'], 'file')} in {format_count(counted['mailboxes'], 'mailbox', 'mailboxes')} compared,"
        f" in {format_duration(seconds)}: {format_count(work.fault_count, 'fault')}"
    )
    if counted["unscanned"]:
        output.say(
            f"{format_count(counted['unscanned'], 'file')} changed since the last scan: the next run looks at them"
        )
    status = EXIT_FAULTS if work.fault_count else EXIT_DONE
    output.result(
        {
            "exit": status, "store": place.name, "quick": options.args.quick, "checked": counted,
            "fault_count": work.fault_count, "seconds": round(seconds, 3),
            "faults": [{"kind": k, "where": w, "what": t} for k, w, t in work.faults],
            "notes": [{"kind": k, "where": w, "what": t} for k, w, t in work.notes],
        }
    )  # fmt: skip
    return status
