"""Verbs for held deletions: holds, approve, reject."""

from __future__ import annotations

from mailkeep.cli.grammar.core import count, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def holds(build: Builder) -> None:
    """Describe holds, approve and reject."""
    p = build.verb(
        "holds",
        "deletions that wait for an answer",
        "Show deletions that a guard stopped, because more messages would have vanished than is usual.\n"
        "Nothing happens to them until you approve or reject; the mail stays where it is.",
        "mailkeep.cli.holds:show",
        (
            ("mailkeep holds", "all of them, by mailbox"),
            ("mailkeep holds 3", "the messages of hold 3"),
        ),
        (0, 5, 64, 66, 78),
    )
    p.add_argument("hold", metavar="HOLD", nargs="?", help="number of a hold: list its messages")
    p.add_argument(
        "--last", metavar="COUNT", type=count, default=50, help="list so many messages (default: 50)"
    )
    for verb, run, summary, text, everything in (
        (
            "approve",
            "mailkeep.cli.holds:approve",
            "let held deletions happen",
            "Carry out the deletions of a hold. The approval travels to the peers and covers these deletions only;\n"
            "contents stay in the vault for as long as the store's retention says. Nothing joins a hold once it has its\n"
            'number, and "all" (or no number) covers what mailkeep holds last showed: what came since waits.',
            "all that mailkeep holds showed",
        ),
        (
            "reject",
            "mailkeep.cli.holds:reject",
            "put held messages back",
            "Put the messages of a hold back, here and, with the next sessions, everywhere.",
            "all that wait",
        ),
    ):
        p = build.verb(
            verb,
            summary,
            text,
            run,
            (
                (f"mailkeep {verb} 3", f"{verb} hold 3 of mailkeep holds"),
                (f"mailkeep {verb} all", everything),
            ),
            (0, 3, 5, 6, 64, 66, 78),
        )
        p.add_argument(
            "hold", metavar="HOLD", nargs="*", help='numbers of holds, or "all" (default: the only one)'
        )
        p.add_argument(
            "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
        )
