"""`mailkeep annotate`, `annotations`: what is laid down for mailboxes and for the whole store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look
from mailkeep.cli.run import Options, Output, find, open_store, places
from mailkeep.domain.annotation import (
    DELIVERY,
    EXPIRE,
    GUARD,
    NAMES,
    NEVER,
    NOEXPIRE,
    RETENTION,
    ROLE,
    TRASH,
    LegalHold,
    name_of,
)
from mailkeep.domain.errors import EXIT_DONE, NoInput, UsageError, printable
from mailkeep.domain.names import MailboxName
from mailkeep.store import annotations as rules
from mailkeep.system import clock
from mailkeep.wire.annotations import check_key, parse, write
from mailkeep.wire.units import format_count, format_share, write_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailkeep.cli.run import Place
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store
    from mailkeep.wire.config import StoreSettings

WHOLE_STORE = "the whole store"
_BEARING = (EXPIRE, ROLE)
"""What decides whether a Trash expires by delivery."""


# --- annotate


def annotate(options: Options) -> int:
    """Set annotations, remove them, or answer what a peer laid down."""
    args, output = options.args, Output(options)
    words = [*args.words, *(args.remove or args.accept or args.refuse or ())]
    answers = args.accept is not None or args.refuse is not None
    name = _name(words, args.all, answers)
    work = (
        _answers(name, words, args.accept is not None)
        if answers
        else _changes(words, args.remove is not None)
    )
    place = find(options.store, None)
    store = open_store(place, wait=args.wait or 0, verb="annotate")
    try:
        rows = [_row(store, name)] if name is not None else store.ledger.rows()
        with store.index.transaction():
            done = work(store.ledger, rows)
        if any(row["changed"] for row in done):
            store.bump()
        store.end_run("annotate", None, EXIT_DONE, {"annotated": sum(row["changed"] for row in done)})
        left = len(rules.pending(store.ledger))
        hasty = (
            _hasty(store.ledger) if any(row["changed"] and row["name"] in _BEARING for row in done) else []
        )
    finally:
        store.close()
    for row in done:
        where = row["mailbox"] or WHOLE_STORE
        said = row["value"] or "none"
        before = "as before" if not row["changed"] else f"before: {row['before'] or 'none'}"
        output.say(f"{printable(where)}: {row['name']}: {printable(said)} ({printable(before)})")
    if hasty:
        output.say(
            f"{', '.join(hasty)}: by delivery, an old message that is moved there is due at once; by=flag counts from when it came there"
        )
    if left:
        output.say(
            f"{format_count(left, 'change')} by peers {'waits' if left == 1 else 'wait'}: mailkeep annotations shows them"
        )
    output.result({"exit": EXIT_DONE, "store": place.name, "annotations": done, "pending_left": left})
    return EXIT_DONE


def _hasty(ledger: Ledger) -> list[str]:
    """Mailboxes for what was thrown away, of which messages expire by an age that began long before they came there."""
    return [
        box.name
        for box in sorted(ledger.alive(), key=lambda box: box.name)
        if (found := rules.effective(ledger, box)).role == TRASH
        and found.expire.age is not None
        and found.expire.by == DELIVERY
    ]


def _name(words: list[str], whole: bool, answers: bool) -> str | None:
    """The mailbox that is meant; WHOLE for the store, None for all that wait. It is taken from the words."""
    if whole:
        return rules.WHOLE
    if not words:
        if answers:
            return None
        raise UsageError(
            "which mailbox?",
            untouched="anything",
            hint="mailkeep annotate MAILBOX NAME VALUE, or --all NAME VALUE for the whole store",
        )
    return str(MailboxName.parse(words.pop(0)))


def _row(store: Store, name: str) -> Mailbox:
    """The row that bears the annotations of a mailbox, which is looked for in the Maildir if need be."""
    ledger = store.ledger
    if name == rules.WHOLE:
        with store.index.transaction():
            return ledger.whole_row()
    box = _named(ledger, name)
    if box is None:
        store.scan()  # it may be new
        box = _named(ledger, name)
    if box is None:
        if not any(other.name.startswith(name + "/") for other in ledger.alive()):
            raise _no_mailbox(ledger, name)
        with store.index.transaction():  # a level of the tree that is no mailbox: those below inherit from it
            return ledger.level(name, clock.now())
    return box


def _named(ledger: Ledger, name: str) -> Mailbox | None:
    """The mailbox of this name; else a deleted one that still has annotations."""
    gone = (box for box in ledger.boxes.values() if box.name == name and box.annotations)
    return ledger.named(name) or next(gone, None)


def _no_mailbox(ledger: Ledger, name: str) -> NoInput:
    from mailkeep.wire.tables import did_you_mean

    near = did_you_mean(name, [box.name for box in ledger.alive()])
    return NoInput(
        f'there is no mailbox "{name}"{near}',
        untouched="anything",
        hint="names are written with a slash between levels, as in Lists/python; --all is the whole store",
    )


def _changes(words: list[str], remove: bool) -> Callable[[Ledger, list[Mailbox]], list[dict[str, Any]]]:
    """What sets, or removes, the annotations that the words name."""
    groups = list(_groups(words, [] if remove else None))
    if not groups:
        raise UsageError(
            "which annotation?",
            untouched="anything",
            hint=f"the names are {', '.join(NAMES)}; mailkeep annotate --help",
        )
    texts = [(key, "" if remove else _text(key, " ".join(said))) for key, said in groups]

    def work(ledger: Ledger, rows: list[Mailbox]) -> list[dict[str, Any]]:
        (box,) = rows
        out = []
        for key, text in texts:
            before = rules.in_effect(ledger, box).get(key, "")
            if remove and not before and key not in box.annotations:
                raise NoInput(
                    f"{box.name or WHOLE_STORE} has no annotation {key}",
                    untouched="anything",
                    hint="mailkeep annotations lists what there is, and mailkeep annotations --effective MAILBOX where it comes from",
                )
            changed = rules.annotate(ledger, box, key, text)
            out.append(
                {
                    "mailbox": box.name or None,
                    "name": key,
                    "value": text or None,
                    "before": before or None,
                    "changed": changed,
                }
            )
        return out

    return work


def _answers(
    name: str | None, words: list[str], accept: bool
) -> Callable[[Ledger, list[Mailbox]], list[dict[str, Any]]]:
    """What accepts or refuses what waits: of a mailbox all, or what the words name, with the value if it is said."""
    groups = dict(_groups(words, None, values=False))

    def work(ledger: Ledger, rows: list[Mailbox]) -> list[dict[str, Any]]:
        waiting = [p for p in rules.pending(ledger) if p.box in rows]
        if name is None and len(waiting) > 1:
            raise UsageError(
                f"which one? {len(waiting)} changes by peers wait",
                untouched="anything",
                hint="mailkeep annotations shows them; name the mailbox (or --all, for the whole store), and the annotation"
                " if you mean one of several",
            )
        for key, said in groups.items():
            found = [p for p in waiting if p.key == key]
            if not found or (said and found[0].then != _text(key, " ".join(said))):
                what = f"now it is: {found[0].then or 'none'}" if found else "nothing of that name waits"
                raise NoInput(
                    f"{name or WHOLE_STORE}: {' '.join([key, *said])} does not wait for an answer; {what}",
                    untouched="anything",
                    hint="mailkeep annotations shows what waits",
                )
        chosen = [p for p in waiting if not groups or p.key in groups]
        if not chosen:
            raise NoInput(
                "no change by a peer waits for an answer",
                untouched="anything",
                hint="mailkeep annotations shows what there is",
            )
        for p in chosen:
            (rules.accept if accept else rules.refuse)(ledger, p.box, p.key)
        return [
            {
                "mailbox": p.box.name or None, "name": p.key, "value": (p.then if accept else p.now) or None,
                "before": (p.now if accept else p.then) or None, "changed": True,
            }
            for p in chosen
        ]  # fmt: skip

    return work


def _groups(
    words: list[str], empty: list[str] | None, *, values: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """The words, as names each with the words of its value: a word that is a name begins the next one.

    Args:
        empty: What the words of a value are that must have none; None: it may have some.
        values: Each name must have some.
    """
    key, said = "", list[str]()
    for word in [*words, ""]:
        if word and key and name_of(word) not in NAMES:
            said.append(word)
            continue
        if key:
            if empty is not None and said:
                raise UsageError(
                    f'"{said[0]}" is no annotation', untouched="anything", hint="--remove takes names only"
                )
            if empty is None and values and not said:
                raise UsageError(
                    f"{key} has no value",
                    untouched="anything",
                    hint=f"mailkeep annotate MAILBOX {key} VALUE, or mailkeep annotate MAILBOX --remove {key}",
                )
            yield key, said
        if word:
            try:
                key, said = check_key(word), []
            except ValueError as err:
                raise UsageError(str(err), untouched="anything", hint="mailkeep annotate --help") from err


def _text(key: str, said: str) -> str:
    """The text of a value as a person gave it.

    Raises:
        UsageError: It is none.
    """
    try:
        value = parse(key, said)
        if isinstance(value, LegalHold) and value.query:
            from mailkeep.system import clock
            from mailkeep.wire.query import parse as parse_query

            value = value._replace(query=str(parse_query(value.query, now=clock.now())))
        text = write(value)
        parse(key, text)
    except ValueError as err:
        raise UsageError(
            f"{key}: {err}",
            untouched="anything",
            hint="mailkeep annotate --help shows the form of each value",
        ) from err
    return text


# --- annotations


def show(options: Options) -> int:
    """All annotations, or what has effect for one mailbox and where it comes from."""
    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        if options.args.effective is not None:
            name = str(MailboxName.parse(options.args.effective))
            box = _named(look.ledger, name)
            if box is None:
                raise _no_mailbox(look.ledger, name)
            rows = effective_table(look, place, box)
            _say_effective(output, name, rows)
            output.result({"exit": EXIT_DONE, "store": place.name, "mailbox": name, "effective": rows})
            return EXIT_DONE
        tables = annotation_tables(look)
    waiting = [table for table in tables if table["pending"] is not None]
    _say_all(output, tables)
    if waiting:
        output.say(
            "what is pending has no effect here: mailkeep annotate MAILBOX --accept NAME lets it, --refuse lays down anew what"
            " there is"
        )
    output.result({"exit": EXIT_DONE, "store": place.name, "annotations": tables, "pending": len(waiting)})
    return EXIT_DONE


def annotation_tables(look: Look) -> list[dict[str, Any]]:
    """Every annotation for --json: the whole store first (mailbox null), then by mailbox; `value` is what has effect here."""
    ledger = look.ledger
    peers = look.peer_names()
    waiting = {(p.box.no, p.key): p for p in rules.pending(ledger)}
    out = []
    for box in sorted(ledger.rows(), key=lambda box: (box is not ledger.whole, box.name)):
        own = rules.in_effect(ledger, box)
        for key in sorted(own.keys() | {k for no, k in waiting if no == box.no}):
            p = waiting.get((box.no, key))
            by = None
            if key in box.regs:
                replica = ledger.index.ids[box.regs[key].writer].hex()
                by = "here" if box.regs[key].writer == ledger.index.me else peers.get(replica, replica)
            out.append(
                {
                    "mailbox": box.name or None,
                    "deleted": bool(box.name) and not box.alive,
                    "name": key,
                    "value": own.get(key),
                    "by": by,
                    "pending": None if p is None else {"value": p.then or None},
                }
            )
    return out


def _say_all(output: Output, tables: list[dict[str, Any]]) -> None:
    last = object()
    for table in tables:
        if table["mailbox"] != last:
            last = table["mailbox"]
            output.say(printable(f"{last or WHOLE_STORE}{' (deleted)' if table['deleted'] else ''}:"))
        output.say(printable(f"  {table['name']:<12} {table['value'] or 'none'}"))
        if table["pending"] is not None:
            by = (
                "taken in with a copy"
                if table["by"] == "here"
                else f"laid down by {table['by']}"
                if table["by"]
                else "by another name that a peer gave a mailbox"
            )
            output.say(printable(f"    pending, {by}: {table['pending']['value'] or 'none'}"))
        else:
            output.detail(
                printable(f"    laid down {'here' if table['by'] == 'here' else 'by ' + str(table['by'])}")
            )
    if not tables:
        output.say("nothing is laid down: mailkeep annotate MAILBOX NAME VALUE does that")


def effective_table(look: Look, place: Place, box: Mailbox) -> list[dict[str, Any]]:
    """What has effect for a mailbox for --json, each with its source."""
    found = rules.effective(look.ledger, box)
    settings = None
    if place.settings is not None:
        from mailkeep.system.configfile import load_settings_with_lines

        settings = load_settings_with_lines(places()).stores[place.name]

    def row(key: str, value: str, source: str, where: str | None) -> dict[str, Any]:
        return {"name": key, "value": value, "source": source, "where": where}

    def laid_down(key: str, value: str) -> dict[str, Any]:
        where = found.sources[key]
        return row(key, value, "mailbox" if where else "store", where or None)

    out = []
    if EXPIRE in found.sources:
        out.append(laid_down(EXPIRE, write(found.expire)))
    else:
        out.append(row(EXPIRE, write(NEVER), "default", None))
    if found.retention is not None:
        out.append(laid_down(RETENTION, write_duration(found.retention)))
    else:
        seconds = look.ledger.keeping.expunged if settings is None else settings.retention.expunged
        out.append(
            row(
                RETENTION,
                write_duration(seconds),
                *_configured(None if settings is None else settings.retention.source("expunged")),
            )
        )
    for hold in found.legal_holds:
        key = f"{NOEXPIRE}.{hold.name}" if hold.name else NOEXPIRE
        out.append(laid_down(key, write(hold)))
    if found.guard is not None:
        out.append(laid_down(GUARD, write(found.guard)))
    else:
        out.append(row(GUARD, *_guard_of(settings)))
    if ROLE in found.sources:
        out.append(laid_down(ROLE, found.role))
    else:
        out.append(row(ROLE, found.role, "default", None))
    return out


def _configured(source: str | None) -> tuple[str, str | None]:
    """Source and place of a configured value."""
    return ("default", None) if source in (None, "default") else ("config", source)


def _guard_of(settings: StoreSettings | None) -> tuple[str, str, str | None]:
    from mailkeep.rules.guard import Limits

    limits, source = Limits(), "default"
    if settings is not None:
        from mailkeep.cli.run import limits_of

        limits = limits_of(settings.guard)
        sources = [settings.guard.source(key) for key in ("count", "share", "minimum")]
        source = next((s for s in sources if s != "default"), "default")
    text = f"count={limits.count} share={format_share(limits.mailbox_share)} minimum={limits.minimum}"
    return (text, *_configured(source))


def _say_effective(output: Output, name: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        where = {
            "mailbox": f"from {row['where']}" if row["where"] != name else "laid down here",
            "store": f"from {WHOLE_STORE}",
            "config": str(row["where"]),
            "default": "default",
        }[row["source"]]
        output.say(printable(f"{row['name']:<12} {row['value']}  ({where})"))
