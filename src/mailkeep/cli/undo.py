"""`mailkeep undo RUN`: the inverse of what a run changed, as new changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.giving import Heads, came_back, close_store, line_of, run_of
from mailkeep.cli.look import run_line, run_table
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.cli.show import Selection, selection_of
from mailkeep.cli.undelete import note_scan
from mailkeep.domain.errors import EXIT_DONE, EXIT_HELD, EXIT_SKIPPED, NoInput, printable, worst_exit_code
from mailkeep.store import past
from mailkeep.store.undo import Undone, carry_out, plan
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from mailkeep.cli.run import Place
    from mailkeep.store.past import Run
    from mailkeep.store.store import Store
    from mailkeep.store.undo import BoxChange, Change, Plan


def undo(options: Options) -> int:
    """Undo a run, or what is selected of it."""
    output = Output(options)
    place = find(options.store, None)
    store = open_store(place, wait=options.wait, dry=options.dry, verb="undo")
    try:
        run = run_of(
            store.ledger, options.args.run_number
        )  # before the scan: a slip of the pen changes nothing
        if run.first_change is None:
            first = past.first_kept(store.ledger)
            raise NoInput(
                f"what run {run.no} changed is not known any more",
                untouched="anything",
                hint=(
                    "history goes back to no run" if first is None else f"history goes back to run {first.no}"
                )
                + "; removed mail: mailkeep undelete --dry-run --since TIME",
            )
        note_scan(store)
        with Heads(place.state, store.ledger) as heads:
            chosen = selection_of(store.ledger, options.args)
            return _Undo(output, options, place, store, heads).run(run, chosen)
    finally:
        close_store(place, store, output)


class _Undo:
    def __init__(self, output: Output, options: Options, place: Place, store: Store, heads: Heads) -> None:
        self.output, self.options, self.place, self.store, self.heads = output, options, place, store, heads

    def run(self, run: Run, chosen: Selection) -> int:
        store, args, dry = self.store, self.options.args, self.options.dry
        ledger = store.ledger
        self.output.say("undo " + run_line(run_table(ledger.index, run)).strip())
        entries = [entry for entry, _ in chosen.entries(self.heads, run)]
        boxes = chosen.mailboxes(past.box_entries(ledger, run))
        wanted = plan(ledger, run, entries, boxes, force=args.force)
        forgotten = past.forgotten_in(ledger, run) if chosen.everything else 0
        if dry or self.output.verbose:
            self._preview(wanted, args.last)
        conflicts = self._conflicts(wanted, args.last)
        done = Undone()
        problems: list[tuple[str, str]] = []
        if wanted.changes or wanted.boxes:
            progress = self.output.progress()
            try:
                store.progress = progress
                done = carry_out(ledger, wanted, store.limits, approved=args.approve)
                if not dry:
                    store.bump()
                    problems = store.apply().problems
            finally:
                if progress is not None:
                    progress.end()
        back = [c.entry.content for c in wanted.changes if c.step.live]
        if back and not dry:
            came_back(self.place, store, back)
        for change in done.stands:
            self.output.say(f"not undone: {_box_words(self.heads, change)}: {change.stands}")
        skipped = len(conflicts) + len(wanted.purged) + len(done.stands) + len(problems) + forgotten
        status = worst_exit_code(
            [EXIT_HELD if done.held else EXIT_DONE, EXIT_SKIPPED if skipped else EXIT_DONE]
        )
        counts = {
            "undone": run.no, "returned": done.back, "removed": done.removed, "flagged": done.flagged,
            "mailboxes": done.mailboxes, "held": done.held, "conflicts": len(conflicts) + len(done.stands),
            "purged": len(wanted.purged),
        }  # fmt: skip
        store.end_run("undo", None, status, counts)
        return self._end(status, run, wanted, done, counts, conflicts, problems, forgotten)

    def _preview(self, wanted: Plan, last: int) -> None:
        shown = wanted.changes[:last] if last else wanted.changes
        self.heads.fill({c.entry.content for c in shown})
        for change in wanted.boxes:
            self.output.say(f"  {_box_words(self.heads, change)}")
        for change_ in shown:
            self.output.say(f"  {_words(change_):9} {self._message(change_)}")
        if len(shown) < len(wanted.changes):
            self.output.say(
                f"  and {len(wanted.changes) - len(shown):,} more: --last COUNT lists more, --last 0 all"
            )

    def _message(self, change: Change) -> str:
        facts = self.heads.facts(change.entry.record)
        return f"{facts.mailbox}  {facts.line()}"

    def _conflicts(self, wanted: Plan, last: int) -> list[dict[str, Any]]:
        """Show what is not undone; for --json."""
        out: list[dict[str, Any]] = []
        for change in wanted.box_conflicts:
            self.output.say(f"not undone: {_box_words(self.heads, change)}: {change.stands}")
            out.append({"mailbox": change.entry.after.name, "message": None, "why": change.stands})
        stands = wanted.conflicts + wanted.purged
        shown = stands[:last] if last else stands
        self.heads.fill({c.entry.content for c in shown})
        for number, one in enumerate(stands):
            row = self.heads.facts(one.entry.record).table() if number < len(shown) else None
            if row is not None:
                self.output.say(f"not undone: {row['mailbox']}  {line_of(row)}: {one.stands}")
                out.append({"mailbox": row["mailbox"], "message": row, "why": one.stands})
        if len(shown) < len(stands):
            self.output.say(f"and {len(stands) - len(shown):,} more are not undone: --last COUNT lists more")
        return out

    def _end(
        self,
        status: int,
        run: Run,
        wanted: Plan,
        done: Undone,
        counts: dict[str, int],
        conflicts: list[dict[str, Any]],
        problems: list[tuple[str, str]],
        forgotten: int,
    ) -> int:
        say, dry = self.output.say, self.options.dry
        for where, why in problems:
            self.output.warn(f"{where}: {why}")
        words = [
            f"{format_count(count, 'message')} {text}"
            for count, text in (
                (done.back, "back"), (done.removed, "removed again"), (done.flagged, "with the flags of before"),
            )
            if count
        ]  # fmt: skip
        if done.mailboxes:
            words.append(format_count(done.mailboxes, "mailbox", "mailboxes"))
        if not words:
            words = ["nothing"]
        say(
            f"run {run.no}: "
            + ("would be undone: " if dry else "undone: ")
            + ", ".join(words)
            + ("; nothing was changed" if dry else "")
        )
        if wanted.nothing:
            say(f"{wanted.nothing:,} are as they were before it already")
        if forgotten:
            say(f"{format_count(forgotten, 'message')} that it changed are forgotten by now")
        if wanted.conflicts or wanted.box_conflicts:
            say("somebody changed the rest later; --force takes that back too")
        if done.held:
            say(f"{format_count(done.held, 'removal')} not carried out: {'; '.join(done.reasons)}")
            say(f"if they are meant: mailkeep undo --approve {run.no}")
        self.output.result(
            {
                "exit": status, "store": self.place.name, "dry": dry, "run": run.no, "counts": counts,
                "already": wanted.nothing, "not_undone": conflicts, "forgotten": forgotten, "reasons": done.reasons,
                "mailboxes_not_undone": [
                    {"mailbox": c.entry.after.name, "why": c.stands} for c in done.stands
                ],
                "problems": [{"where": printable(where), "why": why} for where, why in problems],
            }
        )  # fmt: skip
        return status


def _words(change: Change) -> str:
    if change.step.live is None:
        return "flags"
    return "back" if change.step.live else "remove"


def _box_words(heads: Heads, change: BoxChange) -> str:
    name = heads.ledger.boxes[change.entry.mailbox].name
    if change.step.live is not None:
        words = "back" if change.step.live else "remove"
    else:
        words = "rename"
    new = f" to {change.step.name}" if change.step.name not in (None, name) else ""
    return f"{words} mailbox {name}{new}"
