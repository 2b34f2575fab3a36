"""Verbs that look back and give back: why, show, ls, undelete, undo."""

from __future__ import annotations

from mailkeep.cli.grammar.core import TIME, duration, moment, natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder, Parser

KINDS = ("added", "removed", "moved", "returned", "flagged", "mailbox")


def giving(build: Builder) -> None:
    """Describe why, show, ls, undelete and undo."""
    _why(build)
    _show(build)
    _ls(build)
    _undelete(build)
    _undo(build)


def _query(p: Parser, what: str) -> None:
    p.add_argument(
        "query", metavar="QUERY", nargs="*",
        help=f"{what}: from:ada subject:boat id:<x@y> mailbox:Lists/* flag:seen date:2026-11.. larger:1MB, or words",
    )  # fmt: skip
    p.set_defaults(rest="query")


def _last(p: Parser, default: int, what: str) -> None:
    p.add_argument(
        "--last", metavar="COUNT", type=natural, default=default, help=f"{what} (default: {default}; 0: all)"
    )


def _mailboxes(p: Parser, what: str) -> None:
    p.add_argument("--mailbox", metavar="MAILBOX", action="append", help=f"{what} (may be repeated)")


def _wait(p: Parser) -> None:
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )


def _why(build: Builder) -> None:
    p = build.verb(
        "why",
        "where a message is, where it was, and who removed it",
        "Explain messages: in which mailboxes each is and was, since when, who removed it in which run (another program\n"
        "here, a peer, a command), until when its content is kept and by which rule, or that it was purged.\n"
        "MESSAGE is a Message-ID, the path of a file, the beginning of a content id, or a query.\n"
        "Takes no lock and changes nothing; what happened since the last run is not known yet.",
        "mailkeep.cli.why:why",
        (
            ("mailkeep why '<1234@post.example>'", "by Message-ID"),
            ("mailkeep why from:ada subject:boat", "by a query"),
            (
                "mailkeep why ~/Maildir/cur/1717400000.M1P9.mx:2,S",
                "by a file of the Maildir, or a copy of it anywhere",
            ),
            ("mailkeep why 3f9a2b71", "by the beginning of a content id"),
        ),
        (0, 64, 66, 74, 78),
    )
    p.add_argument("message", metavar="MESSAGE", nargs="+", help="which message, or a query")
    p.set_defaults(rest="message")
    _last(p, 10, "explain so many")


def _show(build: Builder) -> None:
    p = build.verb(
        "show",
        "what a run changed",
        "List each change that a run made: what, in which mailbox, the message, its flags before and after; with -v who\n"
        "did it (another program here, a peer, a command). Changes are known for as long as history is kept.",
        "mailkeep.cli.show:show",
        (
            ("mailkeep show 17", "everything that run 17 changed (mailkeep log lists runs)"),
            ("mailkeep show 17 --kind removed --mailbox INBOX", "only what it removed from INBOX"),
            ("mailkeep show 17 from:ada -v", "what it did to messages from Ada, and why"),
        ),
        (0, 64, 66, 74, 78),
    )
    p.add_argument("run_number", metavar="RUN", help="number of a run")
    _query(p, "only messages like these")
    _mailboxes(p, "only changes in this mailbox")
    p.add_argument("--kind", metavar="KIND", action="append", choices=KINDS, help="only: " + ", ".join(KINDS))
    _last(p, 100, "list so many changes")


def _ls(build: Builder) -> None:
    p = build.verb(
        "ls",
        "mailboxes and messages, as they are or as they were",
        "List mailboxes, or the messages of one: delivered, flags, from, subject. With --at as they were at a time, by what\n"
        "the runs noted: what happened between two runs counts from the second. Takes no lock and changes nothing.",
        "mailkeep.cli.ls:ls",
        (
            ("mailkeep ls", "mailboxes, with how many messages each has"),
            ('mailkeep ls --at "2 days ago"', "as they were"),
            ("mailkeep ls INBOX --at yesterday", "the messages of one, as they were when yesterday began"),
            ('mailkeep ls INBOX --at "before run 17" from:ada', "before that run, and only from Ada"),
        ),
        (0, 64, 66, 74, 78),
    )
    p.add_argument("mailbox", metavar="MAILBOX", nargs="?", help="list the messages of this one")
    _query(p, "only messages like these")
    p.add_argument("--at", metavar="TIME", type=moment, help=f'as it was: {TIME}, "run 17"')
    _last(p, 50, "list so many messages, the newest")


def _undelete(build: Builder) -> None:
    p = build.verb(
        "undelete",
        "bring removed messages back",
        "Bring messages back that were removed, by whatever program and on whichever replica: into the mailbox that they\n"
        "were in (it is made again if it is gone), with flags and dates, under new UIDs; the next sessions bring them back\n"
        "everywhere. A message that was only moved is left where it is. Nothing is brought back twice.",
        "mailkeep.cli.undelete:undelete",
        (
            (
                "mailkeep undelete --dry-run --since yesterday",
                "what could come back of all that was removed since then",
            ),
            ("mailkeep undelete --since yesterday --mailbox INBOX", "bring it back, in one mailbox"),
            ("mailkeep undelete --run 17", "what was removed by one run (mailkeep log lists them)"),
            ("mailkeep undelete from:ada subject:boat --to Rescued", "by a query, into another mailbox"),
        ),
        (0, 3, 6, 64, 66, 74, 78),
    )
    _query(p, "messages like these")
    _mailboxes(p, "what was removed from this mailbox")
    p.add_argument("--since", metavar="TIME", type=moment, help=f"what was removed from then on: {TIME}")
    p.add_argument("--until", metavar="TIME", type=moment, help="what was removed before then")
    p.add_argument("--run", metavar="RUN", dest="run_number", help="what this run removed")
    p.add_argument("--all", action="store_true", help="all that can come back")
    p.add_argument("--to", metavar="MAILBOX", help="into this mailbox, which is made if it is not there")
    p.add_argument(
        "--everywhere",
        action="store_true",
        help="in each mailbox from which it was removed, though it lives in another",
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="list what would come back; change nothing")
    _last(p, 50, "list so many messages")
    _wait(p)


def _undo(build: Builder) -> None:
    p = build.verb(
        "undo",
        "undo a run",
        "Do the opposite of what a run changed: removed messages come back, added ones are removed, flags and names of\n"
        "mailboxes are as before; as new changes, which the next sessions bring to every replica. What somebody changed\n"
        "later is not touched, and shown. What undo removes can be brought back like anything that was removed, and\n"
        "the guard holds back what would make too many messages vanish. Undoing an undo is possible.",
        "mailkeep.cli.undo:undo",
        (
            ("mailkeep undo --dry-run 17", "what undoing run 17 would do (mailkeep log lists runs)"),
            ("mailkeep undo 17", "do it"),
            ("mailkeep undo 17 --kind removed --mailbox INBOX", "only what it removed from INBOX"),
        ),
        (0, 3, 5, 6, 64, 66, 74, 78),
    )
    p.add_argument("run_number", metavar="RUN", help="number of a run")
    _query(p, "only messages like these")
    _mailboxes(p, "only changes in this mailbox")
    p.add_argument("--kind", metavar="KIND", action="append", choices=KINDS, help="only: " + ", ".join(KINDS))
    p.add_argument("-n", "--dry-run", action="store_true", help="show what would be done; change nothing")
    p.add_argument("--force", action="store_true", help="take back what was changed later, too")
    p.add_argument(
        "--approve",
        action="store_true",
        help="remove more messages than the guard's limits allow, here and everywhere",
    )
    _last(p, 50, "list so many messages")
    _wait(p)
