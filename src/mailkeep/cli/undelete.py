"""`mailkeep undelete`: messages that were removed come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.giving import (
    Facts,
    Heads,
    came_back,
    close_store,
    local,
    mailboxes_named,
    query_of,
    quoted,
    run_of,
    seconds_of,
)
from mailkeep.cli.look import when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.domain.errors import EXIT_DONE, EXIT_SKIPPED, UsageError, printable
from mailkeep.store import past
from mailkeep.store.giveback import (
    ELSEWHERE,
    LIVES,
    OTHER_PLACE,
    PURGED,
    bring_back,
    choose,
    expunged,
    expunged_of,
)
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from mailkeep.cli.run import Place
    from mailkeep.store.findings import Report
    from mailkeep.store.giveback import Lost
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store
    from mailkeep.wire.query import Query

LISTED = 50
"""Lines of a preview, unless --last says otherwise."""


def undelete(options: Options) -> int:
    """Bring back what a person asks for."""
    args = options.args
    query = query_of(args.query)
    if not (args.query or args.mailbox or args.since or args.until or args.run_number or args.all):
        raise UsageError(
            "undelete what?",
            untouched="anything",
            hint="name a mailbox (--mailbox INBOX), a time (--since yesterday), a run (--run 17) or a query (from:ada);"
            " --all brings back everything that can be; with --dry-run you see it first",
        )
    since = None if args.since is None else seconds_of(args.since, "--since")
    until = None if args.until is None else seconds_of(args.until, "--until")
    place = find(options.store, None)
    store = open_store(place, wait=options.wait, dry=options.dry, verb="undelete")
    try:
        note_scan(store)
        ledger = store.ledger
        boxes = mailboxes_named(ledger, args.mailbox)
        with Heads(place.state, ledger) as heads:
            found = _found(ledger, args.run_number, since, until, boxes)
            found = matching(heads, found, query)
            return GiveBack(options, place, store, heads).run(
                found, args.to, everywhere=args.everywhere, last=args.last
            )
    finally:
        close_store(place, store, Output(options))


def note_scan(store: Store) -> Report:
    """Find out what was removed a moment ago; what other programs did is a run of its own, and can be undone by itself."""
    report = store.scan()
    counts = {name: getattr(report, name) for name in ("added", "expunged", "flagged", "moved", "held")}
    verb, store.ledger.history.verb = store.ledger.history.verb, "scan"
    store.end_run("scan", None, EXIT_DONE, counts)
    store.ledger.history.verb = verb
    return report


def _found(
    ledger: Ledger, run: str | None, since: int | None, until: int | None, boxes: set[int] | None
) -> list[Lost]:
    if run is None:
        rows = expunged(ledger, since, until)
    else:
        removed = [
            entry.record
            for entry in past.entries(ledger, run_of(ledger, run))
            if entry.before is not None and entry.before.live and not entry.after.live
        ]
        rows = expunged_of(ledger, removed)
    return [
        lost
        for lost in rows
        if (boxes is None or lost.mailbox in boxes)
        and (run is None or ((since is None or lost.gone >= since) and (until is None or lost.gone < until)))
    ]


def matching(heads: Heads, found: list[Lost], query: Query) -> list[Lost]:
    """Those that a query means."""
    if not query.terms:
        return found
    facts = {lost.record: facts_of(heads, lost) for lost in found}
    meant = {one.record for one in heads.matching(facts.values(), query)}
    return [lost for lost in found if lost.record in meant]


def facts_of(heads: Heads, lost: Lost) -> Facts:
    """A tombstone as people know the message."""
    name = heads.ledger.boxes[lost.mailbox].name
    return Facts(heads, lost.record, lost.content, name, 0, lost.date, lost.size, lost.flags)


class GiveBack:
    """One run that brings messages back, of an open store."""

    def __init__(
        self, options: Options, place: Place, store: Store, heads: Heads, *, then: str = "nothing was changed"
    ) -> None:
        """Prepare; `then` is said after what would come back."""
        self.then = then
        self.output, self.verb, self.dry = Output(options), options.verb, options.dry
        self.place, self.store, self.heads = place, store, heads
        self.ledger = store.ledger

    def run(
        self, found: list[Lost], to: str | None, *, everywhere: bool, last: int, flags_exact: bool = False
    ) -> int:
        """Choose, say, and do it, or only say it; the exit status."""
        into, name = self._target(to)
        choose(
            self.ledger,
            found,
            self.store.limits,
            into=into,
            new=name is not None and into is None,
            everywhere=everywhere,
        )
        wanted = [lost for lost in found if not lost.why]
        rows = self._say(wanted, found, last, name)
        problems: list[tuple[str, str]] = []
        count = len(wanted)
        if wanted and not self.dry:
            if name is not None and into is None:
                from mailkeep.system import clock

                with self.store.index.transaction():
                    into = self.ledger.create(name, clock.now())
            progress = self.output.progress()
            try:
                self.store.progress = progress
                count = bring_back(self.ledger, wanted, into=into, flags_exact=flags_exact)
                self.store.bump()
                problems = self.store.apply().problems
            finally:
                if progress is not None:
                    progress.end()
            came_back(self.place, self.store, [lost.content for lost in wanted])
        skipped = sum(lost.why == PURGED for lost in found) + len(problems)
        status = EXIT_SKIPPED if skipped else EXIT_DONE
        self.store.end_run(self.verb, None, status, {"returned": 0 if self.dry else count})
        return self._end(status, count, found, rows, problems, name)

    def _target(self, to: str | None) -> tuple[Mailbox | None, str | None]:
        """The mailbox of --to if it is there, and its name."""
        if to is None:
            return None, None
        from mailkeep.domain.names import BadMailboxName, MailboxName

        try:
            name = str(MailboxName.parse(to))
        except BadMailboxName as err:
            raise UsageError(
                err.what, untouched="anything", hint="write it as mailkeep ls does: Lists/python"
            ) from err
        return self.ledger.named(name), name

    def _say(self, wanted: list[Lost], found: list[Lost], last: int, to: str | None) -> list[dict[str, Any]]:
        """Show what comes back, by mailbox, and what does not, with the reason."""
        say = self.output.say
        by_box: dict[int, list[Lost]] = {}
        for lost in wanted:
            by_box.setdefault(lost.mailbox, []).append(lost)
        names = {no: self.ledger.boxes[no].name for no in by_box}
        shown = sorted(wanted, key=lambda lost: (names[lost.mailbox], -lost.gone, -lost.record))
        shown = shown[:last] if last else shown
        shown_of: dict[int, list[Lost]] = {}
        for lost in shown:
            shown_of.setdefault(lost.mailbox, []).append(lost)
        rows: list[dict[str, Any]] = []
        for no in sorted(by_box, key=lambda no: names[no]):
            lost_here = by_box[no]
            deleted = "" if self.ledger.boxes[no].alive else " (deleted; it comes back too)"
            where = f", to {to}" if to is not None else deleted
            size = format_size(sum(lost.size for lost in lost_here))
            say(f"{names[no]}{where}: {format_count(len(lost_here), 'message')}, {size}")
            here = shown_of.get(no, [])
            facts = self.heads.read([facts_of(self.heads, lost) for lost in here])
            if self.output.as_json:
                rows += [
                    {**one.table(), "expunged": when(lost.gone)}
                    for one, lost in zip(facts, here, strict=True)
                ]
            elif self.dry or self.output.verbose:
                for one, lost in zip(facts, here, strict=True):
                    say(f"  removed {local(lost.gone)}  {one.line()}")
        if self.dry and len(shown) < len(wanted):
            say(f"  and {len(wanted) - len(shown):,} more: --last COUNT lists more, --last 0 all")
        self._say_rest(found)
        return rows

    def _say_rest(self, found: list[Lost]) -> None:
        say = self.output.say
        living: dict[str, int] = {}
        for lost in found:
            if lost.why == ELSEWHERE:
                name = self.ledger.boxes[lost.living].name
                living[name] = living.get(name, 0) + 1
        for name, count in sorted(living.items()):
            say(
                f"{format_count(count, 'message')} not: moved, or there twice, and alive in {name} (--everywhere makes a second)"
            )
        lives = sum(lost.why == LIVES for lost in found)
        if lives:
            say(f"{format_count(lives, 'message')} not: there again already")
        purged = [lost for lost in found if lost.why == PURGED]
        if purged:
            first, last = min(lost.gone for lost in purged), max(lost.gone for lost in purged)
            span = local(first) if local(first) == local(last) else f"{local(first)} to {local(last)}"
            say(f"{format_count(len(purged), 'message')} cannot come back: expunged {span}, and purged since")
            for lost in purged[:LISTED]:
                if self.output.verbose:
                    say(f"  {facts_of(self.heads, lost).line()}")

    def _end(
        self,
        status: int,
        count: int,
        found: list[Lost],
        rows: list[dict[str, Any]],
        problems: list[tuple[str, str]],
        to: str | None,
    ) -> int:
        for where, why in problems:
            self.output.warn(f"{where}: {why}")
        if not found:
            self.output.say(
                "nothing that was removed is what you ask for: mailkeep log, and mailkeep show RUN, say what was"
            )
        elif self.dry:
            self.output.say(f"{format_count(count, 'message')} would come back; {self.then}")
        else:
            self.output.say(
                f"{format_count(count, 'message')} came back" + (f", in {quoted(to)}" if to else "")
            )
        held = self.store.index.value("SELECT count(*) FROM record WHERE hold IS NOT NULL")
        if held:
            self.output.say(
                f"{format_count(held, 'deletion')} held, not carried out: mailkeep holds shows them, mailkeep reject puts them back"
            )
        skipped = {
            word: sum(lost.why == word for lost in found) for word in (LIVES, ELSEWHERE, OTHER_PLACE, PURGED)
        }
        self.output.result(
            {
                "exit": status, "store": self.place.name, "dry": self.dry, "returned": count, "to": to, "list": rows,
                "skipped": skipped, "held": held,
                "problems": [{"where": printable(where), "why": why_not} for where, why_not in problems],
            }
        )  # fmt: skip
        return status
