"""`mailkeep peer`: the peers of a store, in the configuration and as they were met."""

from __future__ import annotations

import os
from typing import Any

from mailkeep.cli.look import Look, ago, met, peer_table
from mailkeep.cli.run import Options, Output, Place, error_table, find, places
from mailkeep.cli.status import waiting_words
from mailkeep.domain.errors import EXIT_DONE, MailkeepError, UsageError

ID_DIGITS_MIN = 4
"""So much of a replica's id has to be given at least."""


def add(options: Options) -> int:
    """Enter a peer."""
    from mailkeep.system.configedit import add_peer
    from mailkeep.system.configfile import load_settings

    output = Output(options)
    args = options.args
    where = places()
    store = load_settings(where).store(options.store)
    table: dict[str, object] = dict.fromkeys(("url", "path", "command"))
    table |= _address(args)
    table |= {
        "remote_store": args.remote_store,
        "direction": args.direction,
        "include": args.include,
        "exclude": args.exclude,
    }
    table["map"] = _map(args.map) if args.map else None
    settings = add_peer(where, store.name, args.name, table).store(store.name).peer(args.name)
    output.say(
        f"the store {store.name} has the peer {args.name} now; mailkeep sync --dry-run shows what a session would do"
    )
    output.result({"exit": EXIT_DONE, "store": store.name, "peer": peer_table(settings)})
    return EXIT_DONE


def _address(args: Any) -> dict[str, object]:
    if (args.address is None) == (args.command is None):
        raise UsageError(
            "a peer needs an address or a --command, and not both",
            untouched="the configuration",
            hint="mailkeep peer add server ssh://me@server/",
        )
    if args.command is not None:
        return {"command": args.command}
    from mailkeep.wire.peerurl import parse_location

    try:
        url = parse_location(args.address)
    except ValueError as err:
        raise UsageError(
            str(err),
            untouched="the configuration",
            hint="ssh://me@server/, server:Maildir, or a path such as ./Maildir",
        ) from err
    if url is not None:
        return {"url": str(url)}
    return {"path": os.path.abspath(os.path.expanduser(args.address))}


def _map(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        here, equals, there = text.partition("=")
        if not equals:
            raise UsageError(
                f'"{text}" is not HERE=THERE',
                untouched="the configuration",
                hint='such as --map "Archive=Old/Archive"',
            )
        pairs[here] = there
    return pairs


def list_peers(options: Options) -> int:
    """All peers of a store."""
    output = Output(options)
    place = find(options.store, None)
    assert place.settings is not None
    names = list(place.settings.peers)
    tables, error = _tables(place, names)
    for table in tables:
        output.say(f"{table['name']} ({table['direction']}): {table['address']}")
        output.say(f"    last met {ago(met(place.state, table['name']))}" + _waiting(table))
    if not tables:
        output.say(f"the store {place.name} has no peer yet: mailkeep peer add server ssh://me@server/")
    known = [] if error is not None else _replicas(place)
    for row in known:
        called = f" ({', '.join(row['peers'])})" if row["peers"] else ""
        output.detail(f"replica {row['replica']}{called}: {row['standing']}")
    if error is not None:
        output.error(error)
    output.result(
        {
            "exit": EXIT_DONE,
            "store": place.name,
            "peers": tables,
            "replicas": known,
            "error": error_table(error) if error is not None else None,
        }
    )
    return EXIT_DONE


def show(options: Options) -> int:
    """One peer."""
    output = Output(options)
    place = find(options.store, None)
    assert place.settings is not None
    settings = place.settings.peer(options.args.name)
    (table,), error = _tables(place, [settings.name])
    output.say(f"{table['name']}: {table['address']}")
    output.say(f"  direction: {table['direction']}")
    for key, label in (("remote_store", "store over there"), ("include", "include"), ("exclude", "exclude")):
        if table[key]:
            output.say(f"  {label}: {table[key] if isinstance(table[key], str) else ', '.join(table[key])}")
    for here, there in table["map"].items():
        output.say(f"  name map: {here!r} here is {there!r} there")
    output.say(f"  last met {ago(met(place.state, table['name']))}" + _waiting(table))
    if table.get("replica"):
        output.say(f"  replica {table['replica']}")
    for mailbox, number in table.get("waiting_by_mailbox", {}).items():
        output.say(f"    {number:>7,}  {mailbox}")
    if error is not None:
        output.error(error)
    output.result(
        {
            "exit": EXIT_DONE,
            "store": place.name,
            "peer": table,
            "error": error_table(error) if error is not None else None,
        }
    )
    return EXIT_DONE


def remove(options: Options) -> int:
    """Drop a peer."""
    from mailkeep.system.configedit import remove_peer
    from mailkeep.system.configfile import load_settings

    output = Output(options)
    where = places()
    store = load_settings(where).store(options.store)
    name = options.args.name
    remove_peer(where, store.name, name)
    output.say(f"the store {store.name} has no peer {name} any more; no mail was changed, here or there")
    output.result({"exit": EXIT_DONE, "store": store.name, "removed": name})
    return EXIT_DONE


def forget(options: Options) -> int:
    """Give a replica up."""
    from mailkeep.cli.look import replicas
    from mailkeep.cli.run import open_store

    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        row = _chosen(replicas(look), options.args.replica)
        number = look.index.numbers[bytes.fromhex(row["replica"])]
    if row["standing"] == "member":
        store = open_store(place, wait=options.wait)
        try:
            store.give_up(number)
            store.end_run("forget", row["replica"], EXIT_DONE, {})
        finally:
            store.close()
    who = f"the replica {row['replica']}" + (f" ({', '.join(row['peers'])})" if row["peers"] else "")
    if row["standing"] == "member":
        output.say(f"{who} is given up; it may only come back as a new one, by mailkeep init --adopt there")
    else:
        output.say(f"{who} was {row['standing']} already; nothing was changed")
    output.result({"exit": EXIT_DONE, "store": place.name, "forgotten": row["replica"]})
    return EXIT_DONE


def _chosen(rows: list[dict[str, Any]], word: str) -> dict[str, Any]:
    """The replica that a person means, by a peer's name or by the beginning of its id."""
    found = [row for row in rows if word in row["peers"]]
    if not found and len(word) >= ID_DIGITS_MIN:
        found = [row for row in rows if row["replica"].startswith(word.lower())]
    if len(found) == 1 and found[0]["standing"] != "this store":
        return found[0]
    if found:
        what = f'"{word}" is this store' if len(found) == 1 else f'several replicas begin with "{word}"'
    else:
        what = f'no replica of the name or id "{word}" was ever met'
    raise UsageError(
        what, untouched="anything", hint="mailkeep peer list -v shows all replicas and their ids"
    )


def _tables(place: Place, names: list[str]) -> tuple[list[dict[str, Any]], MailkeepError | None]:
    """Peers with what the index knows of them, if it can be read."""
    assert place.settings is not None
    chosen = [place.settings.peers[name] for name in names]
    try:
        with Look(place) as look:
            return [look.peer(settings) for settings in chosen], None
    except MailkeepError as err:
        return [peer_table(settings) for settings in chosen], err


def _replicas(place: Place) -> list[dict[str, Any]]:
    from mailkeep.cli.look import replicas

    with Look(place) as look:
        return replicas(look)


def _waiting(table: dict[str, Any]) -> str:
    return f"; {waiting_words(table)}" if "waiting_messages" in table else ""
