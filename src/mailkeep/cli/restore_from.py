"""`mailkeep restore --from X`: bring back exactly what is missing; a dry run unless --yes is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailkeep.cli.giving import came_back
from mailkeep.cli.missing import compared, is_peer, say_problems, table
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE, EXIT_SKIPPED, UsageError, printable
from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from mailkeep.store.missing import Comparison
    from mailkeep.store.restore import Plan

MAILBOXES_MAX = 50
"""Mailboxes named for people; -v names all."""


def restore(options: Options) -> int:
    """Plan, say what, and with --yes do it; exit status 3 when something cannot be brought back."""
    from mailkeep.store.restore import Plan, Restore

    output, args = Output(options), options.args
    dry = options.dry or not args.yes
    if args.into is not None:
        try:
            MailboxName.parse(args.into)
        except BadMailboxName as err:
            raise UsageError(f"--into: {err}", untouched="anything") from err
    if options.dry and args.yes:
        raise UsageError("--dry-run and --yes exclude one another", untouched="anything")
    place = find(options.store, None)
    if is_peer(place, args.source, args.kind):
        from mailkeep.cli.peersource import refusal

        raise refusal(args.source)
    shown = output.progress()
    with compared(options, output) as (place, store, work):
        plan = Plan(work, into=args.into, deleted_too=args.deleted_too)
        say_problems(work, output, everything=options.verbose > 0)
        _say(plan, work, output, dry=dry, everything=options.verbose > 0)
        status = EXIT_SKIPPED if work.counts["nobody"] or work.source.problems.count else EXIT_DONE
        done = {"restored": 0, "contents": 0, "failed": 0}
        if dry:
            if plan.count or plan.contents:
                output.say("nothing was changed; the same command with --yes does this, and nothing else")
        else:
            try:
                doing = Restore(plan)
                work.progress = store.progress = shown
                doing.run()
            finally:
                if shown is not None:
                    shown.end()
            came_back(place, store, doing.back)
            for where, why in doing.problems:
                output.warn(f"{where}: {why}")
            if doing.failed:
                status = EXIT_SKIPPED
                output.warn(
                    f"{format_count(doing.failed, 'message')} could not be brought back; run the same command again"
                )
            done = {"restored": doing.restored, "contents": doing.contents, "failed": doing.failed}
            store.end_run("restore", None, status, done)
            output.say(
                f"{format_count(doing.restored, 'message')} brought back; the next sync takes them to the peers"
                if doing.restored
                else "nothing was brought back"
            )
        output.result(
            {
                "exit": status, "store": place.name, "dry_run": dry, **table(store, work),
                "plan": {
                    "messages": plan.count, "contents": plan.contents, "bytes": plan.size,
                    "mailboxes": dict(sorted(plan.by_mailbox.items())),
                },
                **done,
            }
        )  # fmt: skip
    if store.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    return status


def _say(plan: Plan, work: Comparison, output: Output, *, dry: bool, everything: bool) -> None:
    counts = work.counts
    would = "would bring" if dry else "brings"
    output.say(
        f"{printable(work.source.name)} ({work.source.kind}): {format_count(work.total, 'message')} compared, {counts['here']:,} are"
        f" here; this {would} back {plan.count:,} ({format_size(plan.size)})"
    )
    rows = sorted(plan.by_mailbox.items())
    for name, count in rows if everything else rows[:MAILBOXES_MAX]:
        output.say(f"  {count:>9,}  {printable(name)}")
    if len(rows) > MAILBOXES_MAX and not everything:
        output.say(f"  and {len(rows) - MAILBOXES_MAX:,} mailboxes more; -v names all")
    if plan.contents:
        output.say(f"{format_count(plan.contents, 'content')} that messages here wait for would come, too")
    removed = counts["deleted"] + counts["purged"]
    if removed and "purged" not in plan.states and "deleted" not in plan.states:
        output.say(
            f"{removed:,} were removed here on purpose and stay so (--deleted-too; mailkeep missing says which)"
        )
    if counts["held"]:
        output.say(f"{counts['held']:,} are held: mailkeep reject puts them back")
    if counts["nobody"]:
        output.say(
            f"{counts['nobody']:,} are known by their Message-ID alone: neither the vault nor this source has them"
        )
