"""`mailkeep holds`, `approve`, `reject`: deletions that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look, ago, when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.domain.errors import EXIT_DONE, EXIT_HELD, EXIT_SKIPPED, NoInput, UsageError, printable
from mailkeep.store import holds as rules
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.store.holds import Hold
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.vault import Vault

HEAD_BYTES = 1 << 16


def hold_table(look: Look, hold: Hold) -> dict[str, Any]:
    """A hold for --json."""
    return {
        "hold": hold.no,
        "made": when(hold.made),
        "origin": look.peer_names().get(hold.origin, hold.origin),
        "reason": hold.reason,
        "archive": hold.reason.startswith(rules.ARCHIVE),
        "messages": hold.count,
        "mailboxes": hold.mailboxes,
    }


def show(options: Options) -> int:
    """All holds, or the messages of one."""
    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        held = rules.holds(look.ledger)
        tables = [hold_table(look, hold) for hold in held]
        if options.args.hold is not None:
            (number,) = _numbers([options.args.hold], held)
            table = next(t for t in tables if t["hold"] == number)
            table["list"] = _messages(look, number, options.args.last)
            tables = [table]
        for table, made in ((t, next(h.made for h in held if h.no == t["hold"])) for t in tables):
            _say(output, table, made)
    status = EXIT_HELD if any(not t["archive"] for t in tables) else EXIT_DONE
    if not held:
        output.say("no deletion is held")
    elif options.args.hold is None:
        output.say(
            "mailkeep holds HOLD lists messages; mailkeep approve HOLD lets them go, mailkeep reject HOLD puts them back"
        )
    output.result({"exit": status, "store": place.name, "holds": tables})
    return status


def _say(output: Output, table: dict[str, Any], made: int) -> None:
    origin = "found here" if table["origin"] == "here" else f"deleted at {table['origin']}"
    output.say(f"hold {table['hold']}: {format_count(table['messages'], 'message')}, {origin}, {ago(made)}")
    output.say(f"  why: {table['reason']}")
    for name, count in sorted(table["mailboxes"].items()):
        output.say(f"  {count:>7,}  {name}")
    rows = table.get("list", [])
    for row in rows:
        output.say(
            f"    {row['mailbox']}  {row['date'][:10]}  {format_size(row['size']):>7}  {row['from'][:30]:30}  {row['subject'][:60]}"
        )
    if rows and len(rows) < table["messages"]:
        output.say(
            f"    and {format_count(table['messages'] - len(rows), 'message')} more: --last COUNT lists more"
        )


def _messages(look: Look, hold: int, last: int) -> list[dict[str, Any]]:
    """Messages of a hold with what a person knows them by, read from the vault."""
    from mailkeep.store.vault import Vault
    from mailkeep.system import fs

    syncer = fs.Syncer(look.place.state)
    vault = Vault(look.place.state, look.index.meta["vault"], syncer)
    out = []
    try:
        rows = look.index.execute(
            "SELECT r.mailbox, r.uid, r.date, r.flags, c.id, c.size FROM record r JOIN content c ON c.no = r.content"
            " WHERE r.hold = ? ORDER BY r.date DESC, r.no LIMIT ?",
            (hold, last),
        )
        for mailbox, uid, date, flags, content_id, size in rows:
            sender, subject = _heads(vault, bytes(content_id))
            out.append(
                {
                    "mailbox": look.ledger.boxes[mailbox].name, "uid": uid, "date": when(date), "flags": flags,
                    "content": bytes(content_id).hex(), "size": size, "from": sender, "subject": subject,
                }
            )  # fmt: skip
    finally:
        syncer.close()
    return out


def _heads(vault: Vault, content_id: bytes) -> tuple[str, str]:
    import os
    from email import policy
    from email.parser import BytesHeaderParser

    try:
        fd = vault.open(content_id)
    except OSError:
        return "(not in the vault)", ""
    try:
        head = os.read(fd, HEAD_BYTES)
    finally:
        os.close(fd)
    try:
        headers = BytesHeaderParser(policy=policy.default).parsebytes(head)
        return printable(str(headers.get("From", ""))), printable(str(headers.get("Subject", "")))
    except Exception:  # noqa: BLE001 - mail is hostile, and the parser raises many things
        return "", "(cannot be shown)"


def approve(options: Options) -> int:
    """Let deletions happen."""
    return _answer(options, rules.approve, "approve", "are deleted now; their contents stay in the vault")


def reject(options: Options) -> int:
    """Put messages back."""
    return _answer(options, rules.reject, "reject", "are back; the next sessions put them back everywhere")


def _answer(options: Options, act: Callable[[Ledger, int], int], verb: str, done: str) -> int:
    output = Output(options)
    place = find(options.store, None)
    store = open_store(place, wait=options.wait, verb=verb)
    try:
        held = rules.holds(store.ledger)
        numbers = _numbers(options.args.hold, held)
        with store.index.transaction():
            answered = [{"hold": number, "messages": act(store.ledger, number)} for number in numbers]
        store.bump()
        applied = store.apply()
        total = sum(row["messages"] for row in answered)
        status = EXIT_SKIPPED if applied.problems else EXIT_DONE
        store.end_run(verb, None, status, {"messages": total})
        left = len(rules.holds(store.ledger))
    finally:
        store.close()
    for where, why in applied.problems:
        output.warn(f"{where}: {why}")
    output.say(f"{format_count(total, 'message')} of {format_count(len(answered), 'hold')} {done}")
    output.result(
        {
            "exit": status, "store": place.name, "answered": answered, "holds_left": left,
            "removed": applied.removed, "put_back": applied.linked,
            "problems": [{"where": where, "why": why} for where, why in applied.problems],
        }
    )  # fmt: skip
    return status


def _numbers(words: list[str], held: list[Hold]) -> list[int]:
    """The holds that a person means: all, those named, or the only one."""
    known = [hold.no for hold in held]
    shown = ", ".join(map(str, known)) or "none"
    if not held:
        raise NoInput("no deletion is held", untouched="anything", hint="mailkeep status shows what waits")
    if words == ["all"]:
        return known
    if not words:
        if len(known) == 1:
            return known
        raise UsageError(
            f"which hold? There are {shown}", untouched="anything", hint='name holds, or say "all"'
        )
    numbers = []
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word) in known):
            raise NoInput(
                f'there is no hold "{word}"',
                untouched="anything",
                hint=f"holds: {shown}; mailkeep holds shows them",
            )
        if int(word) not in numbers:
            numbers.append(int(word))
    return numbers
