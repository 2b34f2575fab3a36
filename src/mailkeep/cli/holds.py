"""`mailkeep holds`, `approve`, `reject`: deletions that wait for a person."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look, ago, when
from mailkeep.cli.run import Options, Output, find, open_store
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_HELD,
    EXIT_SKIPPED,
    NoInput,
    UsageError,
    printable,
    worst_exit_code,
)
from mailkeep.store import holds as rules
from mailkeep.system import fs
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.cli.run import Place
    from mailkeep.store.holds import Hold
    from mailkeep.store.index import Index
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.store import Store
    from mailkeep.store.vault import Vault

HEAD_BYTES = 1 << 16
SHOWN = b"holds-shown"
"""In the state directory: the highest number of a hold that was shown, and the replica id of then."""
SHOWN_BYTES_MAX = 100


def hold_table(look: Look, hold: Hold) -> dict[str, Any]:
    """A hold for --json."""
    return {
        "hold": hold.no,
        "made": when(hold.made),
        "origin": look.peer_names().get(hold.origin, hold.origin),
        "reason": hold.reason,
        "archive": hold.archive,
        "messages": hold.count,
        "mailboxes": hold.mailboxes,
    }


def show(options: Options) -> int:
    """All holds, or the messages of one."""
    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        held = rules.holds(look.ledger)
        one = options.args.hold is not None
        chosen = [_named(options.args.hold, look.ledger)] if one else held
        tables = [hold_table(look, hold) for hold in chosen]
        for hold, table in zip(chosen, tables, strict=True):
            if one:
                table["list"] = _messages(look, hold, options.args.last)
            _say(output, table, hold.made)
    if held and not one and not (output.quiet or output.as_json):
        _note_shown(place, _replica(look.index), held[-1].no)
    status = EXIT_HELD if any(not t["archive"] for t in tables) else EXIT_DONE
    if not held:
        output.say("no deletion is held")
    elif not one:
        output.say(
            "mailkeep holds HOLD lists messages; mailkeep approve HOLD lets them go, mailkeep reject HOLD puts them back"
        )
    output.result({"exit": status, "store": place.name, "holds": tables})
    return status


def _say(output: Output, table: dict[str, Any], made: int) -> None:
    words = {"here": "found here", rules.EXPIRY: "due by a rule of expiry"}
    origin = words.get(table["origin"], f"deleted at {table['origin']}")
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


def _messages(look: Look, hold: Hold, last: int) -> list[dict[str, Any]]:
    """Messages of a hold with what a person knows them by, read from the vault."""
    import json

    from mailkeep.store.vault import Vault

    syncer = fs.Syncer(look.place.state)
    vault = Vault(look.place.state, look.index.meta["vault"], syncer)
    out = []
    try:
        rows = look.index.execute(
            "SELECT r.mailbox, r.uid, r.date, r.flags, c.id, c.size FROM record r JOIN content c ON c.no = r.content"
            " WHERE r.hold IN (SELECT value FROM json_each(?)) ORDER BY r.date DESC, r.no LIMIT ?",
            (json.dumps(hold.numbers), last),
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
        # To put back what nobody has seen yet does no harm; to let it go would.
        shown = _shown(place, _replica(store.index)) if verb == "approve" else None
        numbers = _meant(options.args.hold, store.ledger, shown)
        if verb == "reject":
            _note_tagged(place, store, numbers)
        with store.index.transaction():
            answered = [{"hold": number, "messages": act(store.ledger, number)} for number in numbers]
        store.bump()
        applied = store.apply()
        total = sum(row["messages"] for row in answered)
        left = rules.holds(store.ledger)
        codes = [EXIT_SKIPPED if applied.problems else EXIT_DONE]
        if options.args.hold in ([], ["all"]) and not all(hold.archive for hold in left):
            codes.append(EXIT_HELD)
        status = worst_exit_code(codes)
        store.end_run(verb, None, status, {"messages": total})
    finally:
        store.close()
    if store.noted:
        from mailkeep.cli.backup import after_run

        after_run(place, output)
    for where, why in applied.problems:
        output.warn(f"{where}: {why}")
    output.say(f"{format_count(total, 'message')} of {format_count(len(answered), 'hold')} {done}")
    if left and options.args.hold in ([], ["all"]):
        output.warn(
            f"{format_count(sum(hold.count for hold in left), 'deletion')} came after mailkeep holds was asked: they still wait"
        )
    output.result(
        {
            "exit": status, "store": place.name, "answered": answered, "holds_left": len(left),
            "removed": applied.removed, "put_back": applied.linked,
            "problems": [{"where": where, "why": why} for where, why in applied.problems],
        }
    )  # fmt: skip
    return status


def _note_tagged(place: Place, store: Store, numbers: list[int]) -> None:
    """What is put back, notmuch may have forgotten: its tags come back with it, if that is configured."""
    if place.settings is None or not place.settings.notmuch.dump:
        return
    from mailkeep.cli.notmuch import came_back

    held = "SELECT content FROM record WHERE hold = ?"
    came_back(place, store, [row[0] for number in numbers for row in store.index.execute(held, (number,))])


def _named(word: str, ledger: Ledger) -> Hold:
    """The hold of a number that a person typed, as it was when it had that number."""
    hold = (
        rules.find_hold(ledger, int(word)) if word.isascii() and word.isdigit() and len(word) < 19 else None
    )
    if hold is None:
        known = rules.holds(ledger)
        raise NoInput(
            f'there is no hold "{word}"' if known else "no deletion is held",
            untouched="anything",
            hint=f"holds: {', '.join(str(other.no) for other in known)}; mailkeep holds shows them"
            if known
            else "mailkeep status shows what waits",
        )
    return hold


def _meant(words: list[str], ledger: Ledger, shown: int | None) -> list[int]:
    """The holds that a person means: those named; or all, or the only one, that were there when they were shown.

    Args:
        shown: The highest number that was shown; None: what was not counts too.
    """
    if words not in ([], ["all"]):
        return list(dict.fromkeys(_named(word, ledger).no for word in words))
    held = rules.holds(ledger)
    if not held:
        raise NoInput("no deletion is held", untouched="anything", hint="mailkeep status shows what waits")
    if not words and len(held) > 1:
        raise UsageError(
            f"which hold? There are {', '.join(str(hold.no) for hold in held)}",
            untouched="anything",
            hint='name holds, or say "all"',
        )
    seen = rules.holds(ledger, shown)
    if not seen:
        raise UsageError(
            "what is held was not shown yet, and an approval covers what was shown and nothing more",
            untouched="anything",
            hint="mailkeep holds shows it; then say this again, or give numbers",
        )
    return [hold.no for hold in seen]


def _replica(index: Index) -> bytes:
    return index.ids[index.me]


def _shown(place: Place, replica: bytes) -> int:
    """The highest number of a hold when all were last shown to somebody; 0: they never were."""
    try:
        with open(os.path.join(place.state, SHOWN), "rb") as file:
            number, _, whose = file.read(SHOWN_BYTES_MAX).partition(b" ")
    except OSError:
        return 0
    return int(number) if number.isdigit() and whose == replica.hex().encode() else 0


def _note_shown(place: Place, replica: bytes, number: int) -> None:
    """Remember up to which hold all were shown. Where that cannot be written, an approval has to give numbers.

    Args:
        replica: The store's id at present: another index, from a backup, counts anew, and has another.
    """
    path = os.path.join(place.state, SHOWN)
    try:
        fd = os.open(
            path + b".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, b"%d %b" % (number, replica.hex().encode()))
        finally:
            os.close(fd)
        fs.rename(path + b".new", path)
    except OSError:
        pass
