"""`mailkeep why MESSAGE`: where it is, where it was, who removed it, and until when it can come back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.giving import Facts, Heads, Names, local, query_of, quoted
from mailkeep.cli.look import Look, when
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE, NoInput, StorageError, printable
from mailkeep.domain.flags import OLD
from mailkeep.store import past
from mailkeep.store.maildir import SUBS
from mailkeep.store.policy import Policy
from mailkeep.store.rows import NO_FILE
from mailkeep.system import clock, fs
from mailkeep.wire.units import format_count, format_size, write_duration

if TYPE_CHECKING:
    from mailkeep.cli.run import Place
    from mailkeep.store.rows import Mailbox, Record

HEX_DIGITS_MIN = 6
"""So many digits of a content id are needed, so that no word of a query is taken for one."""


def why(options: Options) -> int:
    """Explain one message, or several."""
    output = Output(options)
    place = find(options.store, None)
    args = options.args
    with Look(place) as look, Heads(place.state, look.ledger) as heads:
        contents = resolve(heads, place, args.message)
        if not contents:
            raise NoInput(
                f'no message is known by "{printable(" ".join(args.message))[:200]}"',
                untouched="anything",
                hint="give a Message-ID, the path of a file that is there, the beginning of a content id (mailkeep show -v"
                " prints them) or a query such as from:ada subject:boat; a message that is not known was never in this"
                " store, it is forgotten, or nobody asked for it before it was purged: then mailbox: and date: find it",
            )
        shown = contents[: args.last] if args.last else contents
        heads.fill(shown)
        explainer = Explainer(look, heads)
        tables = [explainer.table(content) for content in shown]
    for at, table in enumerate(tables):
        if at:
            output.say("")
        say(output, table)
    if len(shown) < len(contents):
        output.say(
            f"\nand {format_count(len(contents) - len(shown), 'message')} more: --last COUNT explains more"
        )
    output.result({"exit": EXIT_DONE, "store": place.name, "matching": len(contents), "messages": tables})
    return EXIT_DONE


def resolve(heads: Heads, place: Place, words: list[str]) -> list[int]:
    """Numbers of the contents that a person means: a content id, a Message-ID, a path, or a query."""
    ledger = heads.ledger
    if len(words) == 1:
        word = words[0].strip()
        low = word.lower()
        if HEX_DIGITS_MIN <= len(low) <= 64 and all(char in "0123456789abcdef" for char in low):
            found = _by_id(heads, low)
            if found:
                return found
        if word.startswith(("/", "./", "../", "~/")) or os.path.lexists(word):
            return _by_path(heads, place, os.fsencode(os.path.abspath(os.path.expanduser(word))))
        if "@" in word and " " not in word and not _is_query(word):
            heads.cache.fill()
            return heads.cache.by_message_id(word)
    query = query_of(words)
    rows: Any = ledger.execute(
        "SELECT r.no, r.content, r.mailbox, r.uid, r.date, c.size, r.flags FROM record r JOIN content c ON c.no = r.content"
    )
    if query.message_ids:
        heads.cache.fill()
        numbers = set(heads.cache.by_message_id(query.message_ids[0]))
        rows = [row for row in rows if row[1] in numbers]
    facts = [Facts(heads, r[0], r[1], ledger.boxes[r[2]].name, r[3], r[4], r[5], r[6]) for r in rows]
    newest = {one.content: max(one.date, 0) for one in heads.matching(facts, query)}
    return sorted(newest, key=lambda content: (-newest[content], content))


def _is_query(word: str) -> bool:
    head = word.lstrip("-").partition(":")[0].lower()
    return (
        head in ("from", "to", "subject", "id", "mailbox", "flag", "date", "larger", "smaller")
        and ":" in word
    )


def _by_id(heads: Heads, digits: str) -> list[int]:
    low = bytes.fromhex(digits.ljust(64, "0"))
    high = bytes.fromhex(digits.ljust(64, "f"))
    rows = heads.ledger.execute(
        "SELECT no FROM content WHERE id BETWEEN ? AND ? ORDER BY no LIMIT 1000", (low, high)
    )
    return [no for (no,) in rows]


def _by_path(heads: Heads, place: Place, path: bytes) -> list[int]:
    """By the name that the index has; else by what the file holds."""
    directory, name = os.path.split(path)
    sub = os.path.basename(directory)
    ledger = heads.ledger
    if sub in SUBS[1:]:
        where = os.path.relpath(os.path.realpath(os.path.dirname(directory)), os.path.realpath(place.root))
        boxes = [box for box in ledger.boxes.values() if box.dir == (b"" if where == b"." else where)]
        for box in boxes:
            rows: Any = ledger.execute(
                "SELECT content FROM record WHERE mailbox = ? AND base = ?",
                (box.no, name.partition(b":2,")[0]),
            )
            found = [no for (no,) in rows]
            if found:
                return found
    from mailkeep.store.vault import hash_of

    try:
        fd = os.open(path, fs.O_READ)
    except FileNotFoundError:
        return []
    except OSError as err:
        raise StorageError(f"{printable(path)} cannot be read: {err.strerror}", untouched="anything") from err
    try:
        digest = hash_of(fd)
    except OSError as err:
        raise StorageError(f"{printable(path)} cannot be read: {err.strerror}", untouched="anything") from err
    finally:
        os.close(fd)
    return [no for (no,) in ledger.execute("SELECT no FROM content WHERE id = ?", (digest,))]


class Explainer:
    """Tells what is known of a content."""

    def __init__(self, look: Look, heads: Heads) -> None:
        self.look, self.ledger, self.heads = look, look.ledger, heads
        self.names = Names(look.ledger)
        self.policy = Policy(look.ledger, clock.now(), lambda: heads.cache)

    def table(self, content: int) -> dict[str, Any]:
        """Everything, for --json."""
        content_id, size, kept = self.ledger.content_row(content)
        headers = self.heads.of(content)
        places = [
            self._place(record) for record in list(self.ledger.records("content = ? ORDER BY no", (content,)))
        ]
        return {
            "content": content_id.hex(),
            "message_id": printable(headers.message_id),
            "from": printable(headers.sender),
            "subject": printable(headers.subject),
            "size": size,
            "in_vault": bool(kept),
            "lives": any(place["live"] for place in places),
            "places": places,
        }

    def _place(self, record: Record) -> dict[str, Any]:
        box = self.ledger.boxes[record.mailbox]
        out: dict[str, Any] = {
            "mailbox": box.name,
            "mailbox_deleted": not box.alive,
            "live": record.live and record.hold is None,
            "held": record.hold,
            "uid": record.uid,
            "date": when(record.date),
            "flags": record.flags,
            "file": self._file(record, box),
            "events": self._events(record),
            "expunged": when(record.gone),
            "keep_until": when(record.keep),
            "rule": self._rule(record, box),
        }
        removed = [e for e in out["events"] if e["what"] == "removed"]
        out["removed"] = None if record.live or not removed else removed[-1]
        return out

    def _file(self, record: Record, box: Mailbox) -> str | None:
        if record.sub == NO_FILE or box.dir is None:
            return None
        name = (record.base or b"") + (record.info or b"")
        return printable(os.path.join(self.look.place.root, box.dir, SUBS[record.sub], name))

    def _events(self, record: Record) -> list[dict[str, Any]]:
        out = []
        for event in past.events(self.ledger, record.no):
            if event.before is None:
                what = "arrived"
                if not event.after.live:
                    continue  # a tombstone that a peer brought: it was never here
            elif event.before.live != event.after.live:
                what = "came back" if event.after.live else "removed"
            else:
                what = "flagged"
            run = event.run
            out.append(
                {
                    "what": what,
                    "at": None if run is None else when(run.over),
                    "run": None if run is None else run.no,
                    "verb": None if run is None else run.verb,
                    "peer": None if run is None else self.names.peer(run),
                    **self.names.table(event.cause, event.writer),
                    "who": self.names.cause(event.cause, event.writer, run),
                    "flags": "".join(sorted(event.after.flags)) if what == "flagged" else None,
                }
            )
        return out

    def _rule(self, record: Record, box: Mailbox) -> str | None:
        """Why its content is kept, or is not."""
        if record.hold is not None:
            return f"hold {record.hold}: mailkeep approve or mailkeep reject decides"
        if record.live:
            return None
        legal = self._legal(record, box)
        if record.keep is None:
            return legal or "its retention is over"
        return legal or self._retention(box)

    def _legal(self, record: Record, box: Mailbox) -> str | None:
        """The legal hold that covers a message, in words."""
        if not self.policy.covered(box, [record.no]):
            return None
        names = ", ".join(hold.name or "without a name" for hold in self.policy.legal(box))
        return f"legal hold {printable(names)}: mailkeep annotations --effective {quoted(box.name)}"

    def _retention(self, box: Mailbox) -> str:
        """By which rule contents of a mailbox are kept, in words."""
        from mailkeep.store.annotations import WHOLE, effective

        found = effective(self.ledger, box)
        settings = self.look.place.settings
        if found.retention is not None:
            source = found.sources.get("retention", WHOLE)
            where = "the whole store" if source == WHOLE else source
            return f"retention {write_duration(found.retention)}, as annotated on {where}"
        if settings is None:
            return f"retention {write_duration(self.ledger.keeping.expunged)} (default)"
        return f"retention {write_duration(settings.retention.expunged)} ({settings.retention.source('expunged')})"


def say(output: Output, table: dict[str, Any]) -> None:
    """For people."""
    title = table["message_id"] and f"<{table['message_id'].strip('<>')}>"
    output.say(
        f"{title or 'a message without Message-ID'}, content {table['content'][:16]}, {format_size(table['size'])}"
    )
    output.say(f"  from {table['from'] or '-'}: {table['subject'] or '-'}")
    if not table["places"]:
        output.say("  in no mailbox: every record of it is forgotten")
    for place in table["places"]:
        _say_place(output, place, table)
    if not table["in_vault"]:
        output.say(
            "  the vault does not have its content: "
            + ("a peer has to send it" if table["lives"] else "it was purged")
        )


def _say_place(output: Output, place: dict[str, Any], table: dict[str, Any]) -> None:
    name = place["mailbox"] + (" (deleted)" if place["mailbox_deleted"] else "")
    if place["held"] is not None:
        state = f"its deletion is held (hold {place['held']})"
    elif place["live"]:
        state = f"is here, UID {place['uid']}" + (
            f", flags {place['flags'].replace(OLD, '')}" if place["flags"].replace(OLD, "") else ""
        )
    else:
        state = "removed"
    output.say(f"  {name}: {state}")
    if place["file"]:
        output.say(f"    file {place['file']}")
    for event in place["events"]:
        if event["what"] == "flagged" and not output.verbose:
            continue
        at = event["at"]
        run = (
            "before history begins"
            if event["run"] is None
            else f"run {event['run']}, mailkeep {event['verb']}"
            + (f" with {event['peer']}" if event["peer"] else "")
        )
        words = event["what"] + (f" ({event['flags']})" if event["flags"] else "")
        output.say(f"    {_local(at)}  {words}: {run}" + (f"; {event['who']}" if event["who"] else ""))
    if not place["live"] and place["held"] is None:
        if place["expunged"]:
            output.say(f"    expunged {_local(place['expunged'])}")
        if not table["in_vault"]:
            output.say("    its content was purged; it cannot come back from here")
        elif place["keep_until"]:
            output.say(f"    its content is kept until {_local(place['keep_until'])}: {place['rule']}")
            if not table["lives"]:
                # A Message-ID is its sender's choice: what is to be typed is quoted for the shell.
                word = (
                    f"id:{table['message_id']}"
                    if table["message_id"]
                    else f"--mailbox {quoted(place['mailbox'])}"
                )
                output.say(
                    f"    mailkeep undelete {quoted(word) if table['message_id'] else word} brings it back"
                )
        else:
            output.say("    its content may be purged at any time: its retention is over")


def _local(text: str | None) -> str:
    if text is None:
        return " " * 16
    from datetime import datetime

    return local(int(datetime.fromisoformat(text).timestamp()))
