"""`mailkeep scan`: note what other programs did, without meeting anybody."""

from __future__ import annotations

from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.cli.sync import Run, has_alarms, run_hook_of
from mailkeep.domain.errors import EXIT_DONE, EXIT_HELD, EXIT_SKIPPED, worst_exit_code
from mailkeep.wire.units import format_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.store.findings import Report

_WORDS = (
    ("added", "new", "new"),
    ("flagged", "with other flags", "with other flags"),
    ("moved", "moved", "moved"),
    ("expunged", "removed", "removed"),
    ("put_back", "put back", "put back"),
    ("held", "deletion held", "deletions held"),
    ("mailboxes", "mailbox made, renamed or removed", "mailboxes made, renamed or removed"),
)


def scan(options: Options) -> int:
    """Scan a store, and say what was found; the exit status as that of a sync."""
    output = Output(options)
    place = find(options.store, None)
    if not options.dry:
        run_hook_of(place, "pre", output, {})
    run = Run(options, place, output)
    try:
        run.store = store = open_store(place, wait=options.wait, dry=options.dry, verb="scan")
        store.progress = run.progress = output.progress()
        report = store.scan()
        run.scanned(report)
        codes = [EXIT_DONE]
        if report.problems or report.unknown:
            codes.append(EXIT_SKIPPED)
        if report.held or has_alarms(store):
            codes.append(EXIT_HELD)
        status = worst_exit_code(codes)
        store.end_run("scan", None, status, run.scan_counts)
    finally:
        run.close()
    result = {
        "store": place.name, "dry_run": options.dry, "exit": status, "scan": run.scan_counts,
        "problems": [{"where": a, "why": b} for a, b in run.problems],
    }  # fmt: skip
    if run.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    words = _words(report)
    would = "would be " if options.dry else ""
    output.say(f"{place.name}: {would}{', '.join(words)}" if words else f"{place.name}: nothing new")
    if status == EXIT_HELD:
        output.say(
            "some deletions are held: mailkeep holds shows them; mailkeep approve or mailkeep reject decides"
        )
    output.result(result)
    if not options.dry:
        run_hook_of(place, "post", output, result)
    return status


def _words(report: Report) -> list[str]:
    return [format_count(count, one, many) for name, one, many in _WORDS if (count := getattr(report, name))]
