"""The whole command line, described once: help, completion and man pages are made from this."""

from __future__ import annotations

import argparse

from mailkeep import __version__
from mailkeep.cli.run import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-q", "--quiet", action="store_true", help="say nothing unless something is wrong")
    common.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    common.add_argument("--json", action="store_true", help="print the result as one JSON object")
    one_store = argparse.ArgumentParser(add_help=False)
    one_store.add_argument("--store", metavar="NAME", help="which store of the configuration (default: the only one, or 'mail')")
    top = argparse.ArgumentParser(prog="mailkeep", description="A mail spool that cannot lose mail.")
    top.add_argument("--version", action="version", version=f"mailkeep {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    p = verbs.add_parser("init", parents=[common, one_store], help="make a store of a Maildir")
    p.add_argument("maildir")
    p.add_argument("--state", metavar="DIR")
    p.add_argument("--layout", choices=("auto", "maildir++", "fs"), default="auto")
    p.add_argument("--encoding", choices=("auto", "utf-7", "utf-8"), default="auto")
    p.add_argument("--create", action="store_true")
    p.add_argument("--adopt", action="store_true")
    p.set_defaults(run="mailkeep.cli.init:init")

    p = verbs.add_parser("sync", parents=[common, one_store], help="synchronise with peers")
    p.add_argument("peers", nargs="*", metavar="PEER")
    p.add_argument("-n", "--dry-run", action="store_true")
    p.add_argument("--wait", metavar="DURATION")
    p.add_argument("--force", action="store_true")
    p.set_defaults(run="mailkeep.cli.sync:sync")

    p = verbs.add_parser("serve", parents=[common, one_store], help="the far end of a session")
    p.add_argument("--path", metavar="DIR")
    p.add_argument("--role", choices=("read", "append", "full"), default="full")
    p.set_defaults(run="mailkeep.cli.serve:serve")

    p = verbs.add_parser("peer", parents=[], help="peers of a store")
    actions = p.add_subparsers(dest="action", required=True)
    a = actions.add_parser("add", parents=[common, one_store])
    a.add_argument("name")
    a.add_argument("address", nargs="?")
    a.add_argument("--command")
    a.add_argument("--direction", choices=("both", "pull", "push", "archive"))
    a.set_defaults(run="mailkeep.cli.peer:add")
    return top


def run(argv: Sequence[str]) -> int:
    """Parse and run one command."""
    args = parser().parse_args(argv)
    options = Options(args.verb)
    options.args = args
    options.quiet, options.verbose, options.json = args.quiet, args.verbose, args.json
    options.store = args.store
    options.path = getattr(args, "path", None)
    options.role = getattr(args, "role", "full")
    options.dry = getattr(args, "dry_run", False)
    options.force = getattr(args, "force", False)
    if getattr(args, "wait", None):
        from mailkeep.wire.units import parse_duration

        options.wait = parse_duration(args.wait)
    if args.verb == "sync":
        _places(args.peers, options)
    module, _, name = args.run.partition(":")
    import importlib

    handler: Callable[[Any], int] = getattr(importlib.import_module(module), name)
    return handler(options)


def _places(words: list[str], options: Options) -> None:
    """`sync PATH PATH`: a one-off run without configuration; else names of peers."""
    if len(words) == 2 and any(c in words[0] for c in "/.~"):
        options.path, options.remote = words[0], words[1]
    else:
        options.peers = words
