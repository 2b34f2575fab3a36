"""Verbs that look at a store: status, log, verify."""

from __future__ import annotations

from mailkeep.cli.grammar.core import TIME, count, duration, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def look(build: Builder) -> None:
    """Describe status, log and verify."""
    build.verb(
        "status",
        "what there is, what waits, when peers were met",
        "Show stores: mailboxes, messages, held deletions, mailboxes that wait and why, an expire\n"
        "that waits for you, peers, last runs.\n"
        "Takes no lock and changes nothing; beside a running session it shows the state before it.",
        "mailkeep.cli.status:status",
        (
            ("mailkeep status", "every store of the configuration"),
            ("mailkeep status -q", "only what is wrong; the exit status says it too"),
            ("mailkeep status --json | jq .stores[0].peers", "for programs"),
        ),
        (0, 3, 5, 65, 66, 74, 78),
    )
    p = build.verb(
        "log",
        "runs that changed something or failed",
        "List runs of this store, the last one first: when, which verb, which peer, how it ended, how long it took, what it\n"
        "did. A run that was cut off is listed, too.",
        "mailkeep.cli.log:log",
        (
            ("mailkeep log", "the last 20 runs"),
            ("mailkeep log --since yesterday", "since then (mailkeep show RUN says what a run changed)"),
            ("mailkeep log --last 500 --peer server", "of one peer"),
        ),
        (0, 64, 66, 74, 78),
    )
    p.add_argument("--last", metavar="COUNT", type=count, default=20, help="how many runs (default: 20)")
    p.add_argument("--since", metavar="TIME", type=moment, help=f"only runs since then: {TIME}")
    p.add_argument("--peer", metavar="PEER", help="only runs with this peer")
    p = build.verb(
        "verify",
        "read everything back and compare",
        "Hash every content in the vault, compare index, Maildir and vault, and count digests anew.\n"
        "Changes nothing, unless --repair is said: then contents are taken from where they are still whole (Maildir,\n"
        "vault, or a peer in the next session), and nothing is deleted: what is displaced goes to damaged/ in the\n"
        "state directory. It holds the store's lock meanwhile, so sessions wait.",
        "mailkeep.cli.verify:verify",
        (
            ("mailkeep verify", "everything, at the speed of the disk"),
            ("mailkeep verify --quick", "names and sizes only; no content is read"),
            ("mailkeep verify --repair", "mend what is found, as far as it can be"),
        ),
        (0, 3, 4, 6, 65, 66, 74, 77, 78),
    )
    p.add_argument("--quick", action="store_true", help="do not read contents: names, sizes and counts only")
    p.add_argument("--repair", action="store_true", help="mend what is found; deletes nothing")
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
