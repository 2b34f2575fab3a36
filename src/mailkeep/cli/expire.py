"""`mailkeep expire`: messages that are due are expunged, contents that nothing needs any longer are freed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.copyholders import Copies
from mailkeep.cli.look import when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.domain.errors import EXIT_DONE, EXIT_HELD, EXIT_SKIPPED, worst_exit_code
from mailkeep.rules.expiry import AGE, COUNT
from mailkeep.store.annotations import effective
from mailkeep.store.expire import Bounds, Expire, Report, Watcher
from mailkeep.store.headers import HeaderCache
from mailkeep.store.holds import alarms
from mailkeep.store.policy import Policy
from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_size, write_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailkeep.store.cleanup import Free
    from mailkeep.store.due import Due
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.store import Store

BY_WORDS = {
    "delivery": "since delivery",
    "flag": "since the last change of flags",
    "date": "by the sender's date",
}


class Plan(Watcher):
    """Everything that a run would do, in its order.

    Attributes:
        expire, hold: A row for each message.
        free: A row for each content.
        forget: How many tombstones, by mailbox.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.expire: list[dict[str, Any]] = []
        self.hold: list[dict[str, Any]] = []
        self.free_rows: list[dict[str, Any]] = []
        self.forget_rows: dict[str, int] = {}

    def due(self, batch: Sequence[Due], reasons: dict[int, str], lost: set[int]) -> None:
        """Note messages that expire, or are held."""
        for one in batch:
            record = self.ledger.record(one.no)
            box = self.ledger.boxes[one.box]
            row = {
                "mailbox": box.name, "uid": record.uid, "date": when(record.date), "size": one.size,
                "content": self.ledger.content_id(record.content).hex(), "why": self._why(one), "rule_of": self._source(one),
            }  # fmt: skip
            if record.content in lost and one.box in reasons:
                self.hold.append({**row, "held": reasons[one.box]})
            else:
                self.expire.append(row)

    def _why(self, one: Due) -> str:
        rule = effective(self.ledger, self.ledger.boxes[one.box]).expire
        if one.why == AGE:
            assert rule.age is not None
            return f"older than {write_duration(rule.age)} {BY_WORDS[rule.by]}"
        if one.why == COUNT:
            assert rule.count is not None
            return f"more than {rule.count:,} messages"
        assert rule.size is not None
        return f"more than {format_size(rule.size)}"

    def _source(self, one: Due) -> str:
        return effective(self.ledger, self.ledger.boxes[one.box]).sources.get("expire", "")

    def free(self, batch: Sequence[Free]) -> None:
        """Note contents that are freed."""
        for one in batch:
            box = self.ledger.boxes.get(one.box)
            self.free_rows.append(
                {
                    "mailbox": None if box is None else box.name, "content": one.content_id.hex(), "size": one.size,
                    "since": when(one.gone),
                    "why": "no message has it" if box is None else "its retention has passed, and nothing else needs it",
                }
            )  # fmt: skip

    def forget(self, records: Sequence[int]) -> None:
        """Note tombstones that are forgotten."""
        for no in records:
            name = self.ledger.boxes[self.ledger.record(no).mailbox].name
            self.forget_rows[name] = self.forget_rows.get(name, 0) + 1


def expire(options: Options) -> int:
    """Both passes on one store, or what they would do."""
    output, args = Output(options), options.args
    place = find(options.store, None)
    store = open_store(place, wait=options.wait, dry=args.plan, verb="expire")
    store.progress = progress = output.progress()
    policy = Policy(store.ledger, clock.now(), lambda: HeaderCache(store.state, store.ledger, store.vault))
    plan = Plan(store.ledger)
    try:
        scanned = store.scan()
        bounds = Bounds(
            args.time or 0,
            args.messages or 0,
            args.rate or 0,
            clock_is_right=args.clock_is_right,
            free=args.free or 0,
        )
        with Copies(store, place, output) as copies:
            report = Expire(
                store,
                policy,
                bounds,
                copies=copies.wanted,
                shown=copies.shown,
                watcher=plan if args.plan else None,
            ).run()
        problems = [*scanned.problems, *report.problems]
        status = _status(store, report, bool(problems))
        store.end_run("expire", None, status, _counts(report))
    finally:
        if progress is not None:
            progress.end()
        policy.close()
        store.close()
    for where, why in problems:
        output.warn(f"{where}: {why}")
    _say(output, report, plan if args.plan else None)
    table = _table(report)
    if args.plan:
        table["plan"] = {
            "expire": plan.expire, "hold": plan.hold, "free": plan.free_rows, "forget": plan.forget_rows,
        }  # fmt: skip
    output.result(
        {
            "exit": status, "store": place.name, "dry_run": args.plan, **table,
            "problems": [{"where": where, "why": why} for where, why in problems],
        }
    )  # fmt: skip
    if store.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    return status


def _status(store: Store, report: Report, trouble: bool) -> int:
    codes = [EXIT_DONE]
    if report.held or report.unusual or report.stopped or alarms(store.ledger):
        codes.append(EXIT_HELD)
    if trouble:
        codes.append(EXIT_SKIPPED)
    return worst_exit_code(codes)


def _counts(report: Report) -> dict[str, int]:
    counts = {
        "expired": report.expired,
        "held": report.held,
        "freed": report.freed,
        "forgotten": report.forgotten,
    }
    return {name: count for name, count in counts.items() if count}


def _table(report: Report) -> dict[str, Any]:
    return {
        "expired": report.expired, "held": report.held, "freed": report.freed, "freed_bytes": report.freed_bytes,
        "shared": report.shared, "forgotten": report.forgotten, "stays": report.stays, "stopped": report.stopped or None,
        "unusual": report.unusual or None, "would_free": report.would_free, "ended": report.ended or None,
    }  # fmt: skip


def _say(output: Output, report: Report, plan: Plan | None) -> None:
    if report.stopped:
        output.warn(
            f"nothing was expired and nothing was freed: {report.stopped};"
            + (
                " to do: look at the clock (date); if it is right: mailkeep expire --clock-is-right"
                if "clock" in report.stopped
                else " to do: mailkeep sync, then this again"
            )
        )
        return
    would = "would be " if plan is not None else ""
    if plan is not None:
        _say_plan(output, plan)
    if report.expired:
        output.say(f"{format_count(report.expired, 'message')} {would}expired")
    if report.held:
        output.warn(
            f"{format_count(report.held, 'message')} {would or 'are '}held: more are due than is usual;"
            " to do: mailkeep holds shows them, mailkeep approve lets them expire, mailkeep reject keeps them"
        )
    if report.freed:
        shared = f" ({report.shared:,} of them share their bytes with other files)" if report.shared else ""
        output.say(
            f"{format_count(report.freed, 'content')} {would}freed: {format_size(report.freed_bytes)} of disk{shared}"
        )
    if report.forgotten:
        output.say(f"{format_count(report.forgotten, 'tombstone')} {would}forgotten")
    if report.unusual:
        output.warn(
            f"nothing {would or 'was '}freed: {report.unusual}; to do: look at mailkeep expire --plan; if it is meant:"
            f" mailkeep expire --free {report.would_free}"
        )
    for why, count in sorted(report.stays.items()):
        output.say(f"{format_count(count, 'content')} past retention stay: {why}")
    if report.ended:
        output.say(f"there is more to do: the limit of {report.ended} was reached; the next run goes on")
    if not (report.changed or report.unusual or report.stays):
        output.say("nothing is due")


def _say_plan(output: Output, plan: Plan) -> None:
    for verb, rows in (("expire", plan.expire), ("hold", plan.hold), ("free", plan.free_rows)):
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault((row["mailbox"] or "(no mailbox)", row["why"]), []).append(row)
        for (name, why), group in sorted(groups.items()):
            size = format_size(sum(row["size"] for row in group))
            output.say(f"{verb:7} {len(group):>7,}  {size:>8}  {name}: {why}")
            for row in group:
                at = row.get("date") or row["since"]
                uid = f"UID {row['uid']}" if "uid" in row else row["content"][:16]
                output.detail(f"        {at[:10]}  {format_size(row['size']):>8}  {uid}")
    for name, count in sorted(plan.forget_rows.items()):
        output.say(
            f"forget  {count:>7,}            {name}: everybody has had the tombstones, for long enough"
        )
