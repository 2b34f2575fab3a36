"""`mailkeep peer`: the peers of a store, in the configuration."""

from __future__ import annotations

import os

from mailkeep.cli.run import Options, Output, places
from mailkeep.domain.errors import EXIT_DONE, UsageError


def add(options: Options) -> int:
    """Enter a peer."""
    from mailkeep.system.configedit import add_peer
    from mailkeep.system.configfile import load_settings

    args = options.args
    where = places()
    store = load_settings(where).store(options.store)
    table: dict[str, object] = {"direction": args.direction}
    if (args.address is None) == (args.command is None):
        raise UsageError("a peer needs an address or a --command, and not both", hint="mailkeep peer add server ssh://me@server/")
    if args.command is not None:
        table["command"] = args.command
    elif "://" in args.address:
        table["url"] = args.address
    else:
        from mailkeep.wire.peerurl import parse_location

        url = parse_location(args.address)
        if url is None:
            table["path"] = os.path.abspath(os.path.expanduser(args.address))
        else:
            table["url"] = str(url)
    add_peer(where, store.name, args.name, table)
    Output(options).say(f"the store {store.name} has the peer {args.name} now; mailkeep sync --dry-run shows what a session would do")
    return EXIT_DONE
