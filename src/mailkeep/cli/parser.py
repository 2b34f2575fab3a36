"""The whole command line, described once: help, completion and man pages are made from this."""

from __future__ import annotations

from mailkeep import __version__
from mailkeep.cli.grammar import care, copies, expiry, finding, giving, holds, keeping, look, session, setup
from mailkeep.cli.grammar.core import Builder, Parser, common_options
from mailkeep.cli.run import Options
from mailkeep.domain.errors import EXIT_CODES, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

DESCRIPTION = """\
Keeps Maildirs the same on several machines, and loses no mail.

A store is a Maildir with mailkeep's own state beside it: an index of what is there, and a
vault that holds every message for as long as it can be given back. Stores meet in sessions,
over ssh or any other command; each session brings both sides to the same state.
"""

FIRST_STEPS = (
    ("mailkeep init --store mail ~/Maildir", "look at the Maildir and index it"),
    ("mailkeep peer add server ssh://me@server/", "name the other machine (after mailkeep init there)"),
    ("mailkeep sync --dry-run", "see what a session would do, on both sides"),
    ("mailkeep sync", "do it: both directions, all peers"),
    ("mailkeep status", "see what there is, and what waits"),
)


def parser() -> Parser:
    """The parser of the command."""
    top = Parser(prog="mailkeep", description=DESCRIPTION, parents=[common_options(None)])
    top.add_argument("--version", action="version", version=f"mailkeep {__version__}")
    top.teach(FIRST_STEPS, tuple(EXIT_CODES))
    build = Builder(top.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs"))
    setup.init(build)
    setup.peer(build)
    session.sync(build)
    session.serve(build)
    session.scan(build)
    look.look(build)
    holds.holds(build)
    giving.giving(build)
    keeping.annotate(build)
    expiry.expire(build)
    care.check(build)
    care.selftest(build)
    care.recovery(build)
    copies.copies(build)
    finding.missing(build)
    finding.restore(build)
    setup.config(build)
    setup.completion(build)
    return top


def run(argv: Sequence[str]) -> int:
    """Parse and run one command."""
    top = parser()
    args, more = top.parse_known_args(argv)
    if more:
        # argparse gives words behind an option to no argument that had some before it.
        rest = getattr(args, "rest", None)
        if rest is None or any(word.startswith("-") for word in more):
            top.error("unrecognized arguments: " + " ".join(more))
        getattr(args, rest).extend(more)
    options = Options(args.verb)
    options.args = args
    options.quiet, options.verbose, options.json = args.quiet, args.verbose, args.json
    options.store = getattr(args, "store", None)
    options.path = getattr(args, "path", None)
    options.role = getattr(args, "role", "full")
    options.dry = getattr(args, "dry_run", False)
    options.force = getattr(args, "force", False)
    options.wait = getattr(args, "wait", None) or 0
    if args.verb == "sync":
        _places(args.peers, options)
    module, _, name = args.run.partition(":")
    import importlib

    handler: Callable[[Any], int] = getattr(importlib.import_module(module), name)
    return handler(options)


def _places(words: list[str], options: Options) -> None:
    """`sync PATH PATH`: a one-off run without configuration; else names of peers."""
    places = [word for word in words if any(c in word for c in "/:~") or word in (".", "..")]
    if not places:
        options.peers = words
    elif len(words) != 2 or (":" in words[0].split("/")[0]):
        raise UsageError(
            f"{places[0]} is a place and not the name of a peer"
            if len(words) != 2
            else f"{words[0]} is not on this machine: a run starts from a Maildir here",
            untouched="anything",
            hint="mailkeep sync PEER..., or mailkeep sync MAILDIR OTHER, where OTHER is a path or host:path",
        )
    else:
        options.path, options.remote = words[0], words[1]
