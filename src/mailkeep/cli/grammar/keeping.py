"""Verbs about what is kept and for how long: annotate, annotations."""

from __future__ import annotations

from mailkeep.cli.grammar.core import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def annotate(build: Builder) -> None:
    """Describe annotate and annotations."""
    p = build.verb(
        "annotate",
        "lay down what is to be kept: expiry, retention, legal holds",
        "Set annotations of a mailbox or, with --all, of the whole store. A mailbox inherits what it does not say itself\n"
        "from the ones above it, then from the whole store. Annotations replicate to all peers. What is set here has\n"
        "effect here at once; what a peer sets has, where by it more is kept, and else waits until somebody says --accept.\n"
        "\n"
        "  expire    30d by=flag keep=flagged,unread count=5000 size=2GB    when messages expire\n"
        "            by=delivery (default), by=flag (last change of flags) or by=date (the sender's); or: never\n"
        "  retention 90d                     how long what was expunged can be given back\n"
        "  noexpire  forever [QUERY]         a legal hold: neither expires nor is cleaned up\n"
        "            until=2027-01-31 [QUERY]    noexpire.NAME lets there be several\n"
        "  guard     count=5000 share=50% minimum=100    when deletions are held; or: off\n"
        "  role      trash, junk or none     trash and junk are meant to be emptied: no guard holds that",
        "mailkeep.cli.annotate:annotate",
        (
            ("mailkeep annotate Lists expire 90d keep=flagged", "what is older expires there and below"),
            (
                "mailkeep annotate --all retention 180d",
                "everywhere, what was expunged can be given back for 180 days",
            ),
            ("mailkeep annotate Lists/board expire never retention 365d", "several at once"),
            (
                "mailkeep annotate --all noexpire.case7 'until=2027-12-31 from:bank.example'",
                "a legal hold on a query",
            ),
            ("mailkeep annotate Lists --remove expire", "what is inherited has effect again"),
            ("mailkeep annotate Lists --accept expire", "let have effect what a peer laid down"),
        ),
        (0, 6, 64, 65, 66, 74, 78),
    )
    p.add_argument(
        "words",
        metavar="WORD",
        nargs="*",
        help="MAILBOX (Lists/python; none with --all), then NAME VALUE, as often as wished",
    )
    p.add_argument("--all", action="store_true", help="the whole store instead of a mailbox")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--remove", metavar="NAME", nargs="+", help="remove these annotations")
    what.add_argument(
        "--accept",
        metavar="NAME",
        nargs="*",
        help="let have effect what peers laid down: all that waits there, or NAME, or NAME VALUE if it still is that",
    )
    what.add_argument(
        "--refuse",
        metavar="NAME",
        nargs="*",
        help="lay down anew what has effect here, for all; otherwise as --accept",
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
    p = build.verb(
        "annotations",
        "what is laid down, and what has effect where",
        "List all annotations, and what peers laid down and nobody has accepted here. With --effective, what has\n"
        "effect for one mailbox, each value with where it comes from: the mailbox, one above it, the whole store, a\n"
        "line of the configuration, or the default. Takes no lock and changes nothing.",
        "mailkeep.cli.annotate:show",
        (
            ("mailkeep annotations", "all of them"),
            ("mailkeep annotations --effective Lists/python", "what has effect there, and why"),
        ),
        (0, 64, 65, 66, 74, 78),
    )
    p.add_argument("--effective", metavar="MAILBOX", help="what has effect for this mailbox")
