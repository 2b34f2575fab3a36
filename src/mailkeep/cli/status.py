"""`mailkeep status`: what there is, what waits and why, when peers were met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look, ago, met, run_line, runs
from mailkeep.cli.run import Options, Output, Place, error_table, find, places
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_HELD,
    EXIT_SKIPPED,
    MailkeepError,
    exit_code_of,
    printable,
    worst_exit_code,
)
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from mailkeep.store.holds import Hold

RUNS_SHOWN = 5


def status(options: Options) -> int:
    """Show stores; the exit status is 0 when nothing waits for a person."""
    from mailkeep.system.configfile import load_settings

    output = Output(options)
    where = places()
    settings = load_settings(where)
    names = [options.store] if options.store is not None else list(settings.stores)
    if not names:
        settings.store(None)  # says that there is none, and what to do
    tables = []
    for name in names:
        place = find(name, None, where)
        table = _store(place, output)
        tables.append(table)
    code = worst_exit_code([table["exit"] for table in tables])
    output.result({"exit": code, "stores": tables})
    return code


def _store(place: Place, output: Output) -> dict[str, Any]:
    base: dict[str, Any] = {
        "store": place.name,
        "path": printable(place.root),
        "state": printable(place.state),
    }
    try:
        look = Look(place)
    except MailkeepError as err:
        output.say(f"store {place.name}: {printable(place.root)}")
        output.error(err)
        return {**base, "exit": exit_code_of(err), "error": error_table(err)}
    with look:
        return _open(look, output, base)


def _open(look: Look, output: Output, base: dict[str, Any]) -> dict[str, Any]:
    from mailkeep.cli.holds import hold_table
    from mailkeep.store.annotations import pending
    from mailkeep.store.expire import waiting as expire_waiting
    from mailkeep.store.holds import holds

    place, meta = look.place, look.index.meta
    codes = [EXIT_DONE]
    held = holds(look.ledger)
    alarms = [hold for hold in held if not hold.archive]
    waiting = look.waiting_mailboxes()
    alive = look.ledger.alive()
    settings = place.settings
    peers = [look.peer(peer) for peer in settings.peers.values()] if settings is not None else []
    if look.trouble is not None:
        codes.append(look.trouble.exit_code)
    stopped, unusual, would_free = expire_waiting(look.index)
    if alarms or stopped or unusual:
        codes.append(EXIT_HELD)
    if waiting:
        codes.append(EXIT_SKIPPED)
    table: dict[str, Any] = {
        **base,
        "exit": worst_exit_code(codes),
        "replica": look.index.ids[look.index.me].hex(),
        "layout": meta["layout"],
        "vault": meta["vault"],
        "busy": look.busy or None,
        "error": error_table(look.trouble) if look.trouble is not None else None,
        "distrust": look.distrust or None,
        "mailboxes": len(alive),
        "messages": look.messages,
        "messages_waiting": look.waiting_messages(),
        "mailboxes_waiting": waiting,
        "holds": [hold_table(look, hold) for hold in held],
        "expire_waiting": {"stopped": stopped or None, "unusual": unusual or None, "would_free": would_free},
        "annotations_pending": len(pending(look.ledger)),
        "peers": peers,
        "runs": runs(look, RUNS_SHOWN),
    }
    _say(look, output, table, alarms, len(held) - len(alarms))
    return table


def _say(look: Look, output: Output, table: dict[str, Any], alarms: list[Hold], archived: int) -> None:
    place = look.place
    output.say(f"store {place.name}: {printable(place.root)}")
    messages, mailboxes = (
        format_count(table["messages"], "message"),
        format_count(table["mailboxes"], "mailbox", "mailboxes"),
    )
    output.say(f"  {messages} in {mailboxes} ({table['layout'].split()[0]} layout)")
    output.detail(
        f"  state and vault in {table['state']}, contents kept by {table['vault']}; replica {table['replica']}"
    )
    if look.busy:
        output.say(f"  a run is going on ({look.busy}); this is the state before it")
    if look.trouble is not None:
        output.error(look.trouble)
    if look.distrust:
        output.warn(
            f"{place.name}: {look.distrust}: the next run believes no absence and puts back what is missing"
        )
    if alarms:
        total = sum(hold.count for hold in alarms)
        output.warn(
            f"{place.name}: {format_count(total, 'deletion')} held in {format_count(len(alarms), 'hold')}:"
            " mailkeep holds shows them, mailkeep approve or mailkeep reject decides"
        )
    if archived:
        output.say("  messages deleted elsewhere are kept here, as in an archive: mailkeep holds shows them")
    expire = table["expire_waiting"]
    if expire["stopped"]:
        output.warn(
            f"{place.name}: the last expire did nothing: {expire['stopped']}; to do: mailkeep expire says what"
        )
    if expire["unusual"]:
        output.warn(
            f"{place.name}: the last expire freed nothing: {expire['unusual']}: mailkeep expire --plan shows them,"
            f" mailkeep expire --free {expire['would_free']} lets them go"
        )
    if table["annotations_pending"]:
        output.warn(
            f"{place.name}: {format_count(table['annotations_pending'], 'rule')} that peers laid down wait for an answer, without"
            " effect until then: mailkeep annotations shows them, mailkeep annotate accepts or refuses"
        )
    for row in table["mailboxes_waiting"]:
        output.warn(f"{place.name}: the mailbox {row['mailbox']} waits: it {row['why']}")
    if table["messages_waiting"]:
        output.say(
            f"  {format_count(table['messages_waiting'], 'message')} to be put in place by the next run"
        )
    for peer in table["peers"]:
        output.say(f"  peer {peer['name']} ({peer['direction']}): {peer['address']}")
        output.say(f"    last met {ago(met(place.state, peer['name']))}; {waiting_words(peer)}")
    if not table["peers"]:
        output.say("  no peer yet: mailkeep peer add server ssh://me@server/")
    if table["runs"]:
        output.say("  last runs:")
        for run in table["runs"]:
            output.say("  " + run_line(run))


def waiting_words(peer: dict[str, Any]) -> str:
    """What waits for a peer, in words."""
    number = peer["waiting_messages"]
    if not number:
        return "nothing waits for it"
    changed = f"{format_count(number, 'message')} changed here"
    if peer["direction"] == "pull":
        return f"{changed} and not there (this peer is only pulled from)"
    return f"{changed} and not yet there"
