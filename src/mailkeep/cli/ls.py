"""`mailkeep ls`: mailboxes and messages, as they are or as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.giving import Facts, Heads, local, mailboxes_named, point_of, query_of
from mailkeep.cli.look import Look, when
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE, NoInput, printable
from mailkeep.store import past
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from mailkeep.store.past import Point


def ls(options: Options) -> int:
    """List mailboxes, or the messages of one."""
    output = Output(options)
    place = find(options.store, None)
    args = options.args
    with Look(place) as look:
        if args.at is None:
            point, seconds = past.Point(past.last_run(look.ledger), past.FOR_EVER, past.FOR_EVER), None
        else:
            point, seconds = point_of(look.ledger, args.at)
        table: dict[str, Any] = {
            "exit": EXIT_DONE,
            "store": place.name,
            "at": when(seconds),
            "run": None if point.run is None else point.run.no,
            "run_ended": None if point.run is None else when(point.run.over),
        }
        if args.at is not None and point.run is not None:
            output.say(f"as run {point.run.no} left it, {local(point.run.over)}")
        elif args.at is not None:
            output.say("before the first run")
        if args.mailbox is None:
            table["mailboxes"] = _mailboxes(look, point, output)
        else:
            table.update(_messages(look, point, output, args.mailbox, args.query, args.last))
    output.result(table)
    return EXIT_DONE


def _mailboxes(look: Look, point: Point, output: Output) -> list[dict[str, Any]]:
    counts = past.counts_at(look.ledger, point)
    rows = []
    for no, box in past.box_states(look.ledger, point).items():
        if box.live or (box.name and counts.get(no)):
            rows.append({"mailbox": box.name, "messages": counts.get(no, 0), "now": look.ledger.boxes[no]})
    rows.sort(key=lambda row: str(row["mailbox"]))
    out = []
    for row in rows:
        now: Any = row.pop("now")
        row["now"] = now.name if now.alive else None
        since = "" if row["now"] == row["mailbox"] else "  (deleted since)"
        if row["now"] not in (None, row["mailbox"]):
            since = f"  (now {row['now']})"
        output.say(f"{row['messages']:>9,}  {row['mailbox']}{since}")
        out.append(row)
    output.say(
        f"{sum(int(str(row['messages'])) for row in out):>9,}  in {format_count(len(out), 'mailbox', 'mailboxes')}"
    )
    return out


def _box_at(look: Look, point: Point, text: str) -> tuple[int, str]:
    """The mailbox of a name as it was then."""
    from mailkeep.domain.names import MailboxName

    numbers = mailboxes_named(look.ledger, [text]) or set()  # checks the name, too
    name = str(MailboxName.parse(text))
    for no, box in past.box_states(look.ledger, point).items():
        if box.name == name and (box.live or past.counts_at(look.ledger, point).get(no)):
            return no, box.name
    others = sorted({look.ledger.boxes[no].name for no in numbers} - {name})
    raise NoInput(
        f"there was no mailbox {printable(name)} then",
        untouched="anything",
        hint="its name may have been another one: "
        + (f"now {', '.join(others)}; " if others else "")
        + "mailkeep ls --at TIME lists mailboxes as they were",
    )


def _messages(
    look: Look, point: Point, output: Output, mailbox: str, words: list[str], last: int
) -> dict[str, Any]:
    query = query_of(words)
    no, name = _box_at(look, point, mailbox)
    with Heads(look.place.state, look.ledger) as heads:
        rows = past.messages_at(look.ledger, point, no)
        total = len(rows)
        live_now = {row[0] for row in rows if row[5]}
        first = -last if last and not query.terms else 0
        facts = (Facts(heads, r[0], r[1], name, r[2], r[3], r[4], r[6]) for r in rows[first:])
        chosen = list(heads.matching(facts, query))
        matched = len(chosen) if query.terms else total
        shown = chosen[-last if last else 0 :]
        out = []
        for one in heads.read(shown):
            live = one.record in live_now
            if output.as_json:
                out.append({**one.table(), "live": live})
            elif not output.quiet:
                output.say(one.line() + ("" if live else "  (removed since)"))
    size = sum(row[4] for row in rows)
    what = f"{format_count(total, 'message')} in {name}, {format_size(size)}"
    if query.terms:
        what = f"{matched:,} of {what} match"
    if len(shown) < matched:
        what += f"; the last {len(shown):,} are listed: --last COUNT lists more, --last 0 all"
    output.say(what)
    return {
        "mailbox": name,
        "messages": total,
        "removed_since": total - len(live_now),
        "matching": matched,
        "list": out,
    }
