"""`mailkeep show RUN`: each change that a run made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.giving import Heads, Names, line_of, mailboxes_named, query_of, run_of
from mailkeep.cli.look import Look, run_line, run_table
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE
from mailkeep.domain.flags import OLD, pack
from mailkeep.store import past
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailkeep.cli.giving import Facts
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.past import BoxEntry, Entry, Run
    from mailkeep.wire.query import Query

KINDS = ("added", "removed", "moved", "returned", "flagged", "mailbox")
"""What a change of a run is: `moved` is a message that was removed from one mailbox and came into another."""


def kind_of(entry: Entry) -> str:
    """What a run did to a message of one mailbox, moves left aside."""
    if entry.before is None or (not entry.before.live and entry.after.live):
        return "added" if entry.before is None else "returned"
    if entry.before.live and not entry.after.live:
        return "removed"
    return "flagged"


class Selection:
    """Which of a run's changes somebody means.

    Attributes:
        kinds: Some of KINDS, or None for all.
        boxes: Numbers of mailboxes, or None for all.
        query: About the message as it was before the run, or, where there was none, after it.
    """

    def __init__(self, kinds: list[str] | None, boxes: set[int] | None, query: Query) -> None:
        self.kinds = set(kinds) if kinds else None
        self.boxes, self.query = boxes, query

    @property
    def everything(self) -> bool:
        """Whether no change is left out."""
        return self.kinds is None and self.boxes is None and not self.query.terms

    def entries(self, heads: Heads, run: Run) -> list[tuple[Entry, str]]:
        """(change, its kind) of each that is meant."""
        every = list(past.entries(heads.ledger, run))
        moved = _moved(every)
        found = []
        for entry in every:
            kind = "moved" if entry.record in moved else kind_of(entry)
            if (self.kinds is None or kind in self.kinds) and (
                self.boxes is None or entry.mailbox in self.boxes
            ):
                found.append((entry, kind))
        if not self.query.terms:
            return found
        facts = [facts_of(heads, entry) for entry, _ in found]
        meant = {one.record for one in heads.matching(facts, self.query)}
        return [row for row in found if row[0].record in meant]

    def mailboxes(self, entries: Iterable[BoxEntry]) -> list[BoxEntry]:
        """Those of a run's changes of mailboxes that are meant; a query means messages only."""
        if self.query.terms or (self.kinds is not None and "mailbox" not in self.kinds):
            return []
        return [e for e in entries if self.boxes is None or e.mailbox in self.boxes]


def _moved(entries: list[Entry]) -> set[int]:
    """Records of contents that left one mailbox and came into another."""
    came: dict[int, list[int]] = {}
    went: dict[int, list[int]] = {}
    for entry in entries:
        kind = kind_of(entry)
        if kind != "flagged":
            (went if kind == "removed" else came).setdefault(entry.content, []).append(entry.record)
    out = set[int]()
    for content in came.keys() & went.keys():
        pairs = min(len(came[content]), len(went[content]))
        out.update(came[content][:pairs] + went[content][:pairs])
    return out


def facts_of(heads: Heads, entry: Entry) -> Facts:
    """A message as people know it, with the flags that it had before a run, or got by it."""
    state = entry.after if entry.before is None or not entry.before.live else entry.before
    return heads.facts(entry.record, pack(state.flags))


def selection_of(ledger: Ledger, args: Any) -> Selection:
    """What the options of a command select."""
    return Selection(args.kind, mailboxes_named(ledger, args.mailbox), query_of(args.query))


def show(options: Options) -> int:
    """List the changes of a run."""
    output = Output(options)
    place = find(options.store, None)
    args = options.args
    with Look(place) as look, Heads(place.state, look.ledger) as heads:
        run = run_of(look.ledger, args.run_number)
        table = run_table(look.index, run)
        output.say(run_line(table))
        names = Names(look.ledger)
        chosen = selection_of(look.ledger, args)
        boxes = chosen.mailboxes(past.box_entries(look.ledger, run))
        changes = chosen.entries(heads, run)
        counts: dict[str, int] = {"mailbox": len(boxes)} if boxes else {}
        for _, kind in changes:
            counts[kind] = counts.get(kind, 0) + 1
        box_rows = [_say_box(output, box_row(look.ledger, e, names, run)) for e in boxes]
        shown = changes[: args.last] if args.last else changes
        heads.fill({entry.content for entry, _ in shown})
        rows = []
        for entry, kind in shown:
            row = change_row(entry, kind, facts_of(heads, entry), names, run)
            _say(output, row)
            rows.append(row)
        forgotten = past.forgotten_in(look.ledger, run) if chosen.everything else 0
    if run.first_change is None:
        output.say("what this run changed is not known any more: history goes back to a later one")
    elif not rows and not box_rows:
        output.say(
            "it changed nothing of what you ask for" if not chosen.everything else "it changed no message"
        )
    if len(rows) < len(changes):
        output.say(
            f"and {format_count(len(changes) - len(rows), 'change')} more: --last COUNT lists more, --last 0 all"
        )
    if forgotten:
        output.say(f"and {format_count(forgotten, 'message')} that it changed are forgotten by now")
    if rows or box_rows:
        output.say("in all: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())))
        output.say(f"mailkeep undo --dry-run {run.no} shows what undoing it would do")
    output.result(
        {
            "exit": EXIT_DONE, "store": place.name, "run": table, "known": run.first_change is not None, "totals": counts,
            "mailboxes": box_rows, "changes": rows, "forgotten": forgotten,
        }
    )  # fmt: skip
    return EXIT_DONE


def change_row(entry: Entry, kind: str, facts: Facts, names: Names, run: Run) -> dict[str, Any]:
    """A change of a message for --json."""
    return {
        "kind": kind,
        "record": entry.record,
        "before": None if entry.before is None else _state(entry.before.live, pack(entry.before.flags)),
        "after": _state(entry.after.live, pack(entry.after.flags)),
        **names.table(entry.cause, entry.writer),
        "who": names.cause(entry.cause, entry.writer, run),
        "message": facts.table(),
    }


def _state(live: bool, flags: str) -> dict[str, Any]:
    return {"live": live, "flags": flags}


def box_row(ledger: Ledger, entry: BoxEntry, names: Names, run: Run) -> dict[str, Any]:
    """A change of a mailbox for --json."""
    kind = "renamed"
    if entry.before.live != entry.after.live:
        kind = "made" if entry.after.live else "deleted"
    return {
        "kind": kind,
        "mailbox": entry.after.name,
        "before": entry.before.name or None,
        "now": ledger.boxes[entry.mailbox].name if ledger.boxes[entry.mailbox].alive else None,
        **names.table(entry.cause, entry.writer),
        "who": names.cause(entry.cause, entry.writer, run),
    }


def _say_box(output: Output, row: dict[str, Any]) -> dict[str, Any]:
    renamed = f" (was {row['before']})" if row["kind"] == "renamed" else ""
    output.say(
        f"{row['kind']:9} mailbox {row['mailbox']}{renamed}" + (f": {row['who']}" if row["who"] else "")
    )
    return row


def _say(output: Output, row: dict[str, Any]) -> None:
    message = row["message"]
    output.say(f"{row['kind']:9} {message['mailbox']}  {line_of(message)}")
    if row["kind"] == "flagged":
        output.say(f"{'':10}flags: {_flags(row['before'])} -> {_flags(row['after'])}")
    if output.verbose:
        output.say(f"{'':10}{message['message_id'] or 'no Message-ID'}, content {message['content'][:16]}")
        if row["who"]:
            output.say(f"{'':10}{row['who']}")


def _flags(state: dict[str, Any]) -> str:
    return state["flags"].replace(OLD, "") or "none"
