"""Verbs of a session: sync and serve."""

from __future__ import annotations

from mailkeep.cli.grammar.core import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder

ROLES = ("read", "append", "full")


def sync(build: Builder) -> None:
    """Describe sync."""
    p = build.verb(
        "sync",
        "synchronise with peers",
        "Scan this store, then have one session with each peer (all of them, or those named).\n"
        "Two places instead of peers make a one-off run without configuration: sync HERE THERE,\n"
        "where THERE may be a path or host:path.",
        "mailkeep.cli.sync:sync",
        (
            ("mailkeep sync", "the default store with all its peers"),
            (
                "mailkeep sync --dry-run server",
                "what a session with one peer would do; nothing is changed anywhere",
            ),
            ("mailkeep sync ~/Maildir server:Maildir", "once, without configuration"),
            ("mailkeep sync -q --wait 5m", "for cron: silent, and patient with another run"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 69, 74, 75, 76, 77, 78),
    )
    p.add_argument("peers", nargs="*", metavar="PEER", help="peers of the store; or two places")
    p.add_argument(
        "-n", "--dry-run", action="store_true", help="show what would be done, on both sides; change nothing"
    )
    p.add_argument(
        "--wait",
        metavar="DURATION",
        type=duration,
        help="wait so long for another run to end, here or there: 90s, 5m, 1h30m (default: not, here; 10s, there)",
    )
    p.add_argument(
        "--force",
        action="store_true",
        help="a one-way run goes on though its source looks like the wrong one",
    )


def scan(build: Builder) -> None:
    """Describe scan."""
    p = build.verb(
        "scan",
        "note what other programs did, without meeting anybody",
        "Scan this store: what was delivered, moved, flagged and removed since the last run goes into index, vault and\n"
        "history. Every sync begins with this; on a machine without peers, let a timer do it, so that what is removed\n"
        "can be given back (mailkeep undelete), and a mass deletion is held.",
        "mailkeep.cli.scan:scan",
        (
            ("mailkeep scan", "the default store"),
            ("mailkeep scan --dry-run", "what has happened since the last run; nothing is written"),
        ),
        (0, 3, 5, 6, 65, 66, 74, 77, 78),
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="say what was found; write nothing")
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )


def serve(build: Builder) -> None:
    """Describe serve."""
    p = build.verb(
        "serve",
        "be the far end of a session",
        "Answer one session on standard input and output. mailkeep sync starts this on the other machine;\n"
        "as a forced command in authorized_keys it is all that a key may do there.",
        "mailkeep.cli.serve:serve",
        (
            ("mailkeep serve --store mail", "serve a store of the configuration"),
            (
                'restrict,command="mailkeep serve --store mail" ssh-ed25519 AAAA...',
                "a line of authorized_keys",
            ),
            ('restrict,command="mailkeep serve --store mail --role read" ...', "a key that may only fetch"),
            ('restrict,command="mailkeep serve --store mail --role append" ...', "a key that may only add"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 69, 74, 76, 77, 78),
    )
    p.add_argument("--path", metavar="DIR", help="serve this Maildir instead of a configured store")
    p.add_argument(
        "--role", choices=ROLES, default="full", help="what the other side may do here (default: full)"
    )
