"""Verbs that find what is missing and bring it back: missing, restore."""

from __future__ import annotations

from mailkeep.cli.grammar.core import TIME, duration, moment, natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder, Parser

KINDS = ("maildir", "mbox", "ids", "log", "notmuch", "store", "peer")
SOURCES = (
    "a Maildir tree, an mbox (plain, .gz, .zst), a list of Message-IDs, a mail log (Postfix, Exim, sendmail, Dovecot, or the\n"
    "journal), a notmuch dump, a Maildir that has a mailkeep store, or a peer; - reads standard input"
)


def missing(build: Builder) -> None:
    """Describe missing."""
    p = build.verb(
        "missing",
        "which messages of a backup, an archive or a mail log are not here?",
        "Compare the store with something else that knows of mail: " + SOURCES + ".\n"
        "Says which of its messages are missing here, which were removed here on purpose (and in which run), which\n"
        "only wait for an answer to a hold, and of which nobody has more than the Message-ID. Nothing is changed in\n"
        "either; the Maildir is scanned first, as by sync.",
        "mailkeep.cli.missing:missing",
        (
            ("mailkeep missing --against /media/backup/Maildir", "compare with last night's backup"),
            (
                "mailkeep missing --against /var/log/mail.log --since yesterday",
                "with what was delivered since",
            ),
            ("mailkeep missing --against archive.mbox.gz --ids", "only the Message-IDs, for another program"),
        ),
        (0, 3, 4, 5, 6, 64, 65, 66, 69, 74, 77, 78),
    )
    p.add_argument("--against", metavar="X", dest="source", required=True, help="what to compare with")
    _source_options(p)
    p.add_argument(
        "--ids",
        action="store_true",
        help="print the Message-IDs of what is missing, one a line, and nothing else",
    )


def restore(build: Builder) -> None:
    """Describe restore, both of its kinds."""
    p = build.verb(
        "restore",
        "bring back what is missing here, from a backup, an archive or the store's past",
        "Bring back the messages that mailkeep missing --against X calls missing, and no other: into their mailboxes,\n"
        "with flags and dates, in the order of their dates. Says what it would do; does it with --yes. Nothing is\n"
        "overwritten or removed, and what is here already is not doubled; cut off at any moment, the same command\n"
        "goes on. X is " + SOURCES + ".\n"
        "Where X knows Message-IDs only, contents come from the vault.\n"
        "With --at, from this store's own past: what mailboxes had at a time and have no more comes back, and nothing is\n"
        "removed; with --to they are written out as they were, as a Maildir or mbox files, and the store is only read.",
        "mailkeep.cli.restore:restore",
        (
            ("mailkeep restore --from /media/backup/Maildir", "what would be brought back"),
            ("mailkeep restore --from /media/backup/Maildir --yes", "bring it back"),
            (
                "mailkeep restore --from archive.mbox.gz --only lost.txt --yes",
                "only what is in a list of Message-IDs",
            ),
            ('mailkeep restore --at "2 days ago" INBOX', "what INBOX had then and has no more"),
            (
                'mailkeep restore --at "before run 17" --to ~/rescue',
                "everything as it was then, in a directory of its own",
            ),
        ),
        (0, 3, 5, 6, 64, 65, 66, 69, 74, 77, 78),
    )
    p.add_argument("--from", metavar="X", dest="source", help="where to take messages from")
    _source_options(p)
    p.add_argument(
        "--into", metavar="MAILBOX", help="put all of them there (default: as in X; for an mbox, INBOX)"
    )
    p.add_argument("--deleted-too", action="store_true", help="also what was removed here on purpose")
    p.add_argument("--yes", action="store_true", help="do it")
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would be done; as without --yes")
    p.add_argument("mailbox", metavar="MAILBOX", nargs="?", help="with --at: only this one, by its name then")
    p.add_argument(
        "--at", metavar="TIME", type=moment, help=f'mailboxes as they were: {TIME}, "run 17", "before run 17"'
    )
    p.add_argument(
        "--to",
        metavar="DIR",
        help="with --at: write them out there, exactly as they were; DIR must not be there yet",
    )
    p.add_argument(
        "--format",
        choices=("maildir", "mbox"),
        help="with --to: as a Maildir or as mbox files (default: maildir)",
    )
    p.add_argument(
        "--last",
        metavar="COUNT",
        type=natural,
        default=50,
        help="with --at: list so many messages (default: 50; 0: all)",
    )


def _source_options(p: Parser) -> None:
    p.add_argument("--kind", choices=KINDS, help="what X is (default: found out)")
    p.add_argument(
        "--since",
        metavar="TIME",
        help="only what was delivered since then: yesterday, 2026-11-20, 3 days ago",
    )
    p.add_argument(
        "--for", metavar="ADDRESS", dest="recipients", action="append", default=[],
        help="of a log, only what was delivered to this address, or to this name before the @; may be repeated",
    )  # fmt: skip
    p.add_argument(
        "--only", metavar="FILE", help="only messages whose Message-ID is in this file, one a line"
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
