"""Verbs for copies of mail: snapshot, export, import, verify-copy."""

from __future__ import annotations

from mailkeep.cli.grammar.core import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder, Parser


def copies(build: Builder) -> None:
    """Describe snapshot, export, import and verify-copy."""
    p = build.verb(
        "snapshot",
        "copy a whole store, so that it can be checked and taken in again anywhere",
        "Copy a store into a new directory: the mail as a Maildir tree that any program reads, and a manifest with\n"
        "hash, flags, keywords and date of every message. The copy is of one moment; the store's lock is held only\n"
        "until that is noted. It gets its name when it is complete and durable; until then it is DIR.partial, and the\n"
        "same command goes on with that. Nothing is overwritten.",
        "mailkeep.cli.copies:snapshot",
        (
            ("mailkeep snapshot /media/backup/mail-2026-01-31", "the whole store"),
            (
                "mailkeep snapshot --expunged /media/backup/all",
                "and what was expunged and can still be given back",
            ),
            ("mailkeep verify-copy /media/backup/all", "is it still what was written?"),
        ),
        (0, 3, 4, 6, 64, 65, 66, 74, 77, 78),
    )
    _making(p)
    p.add_argument("directory", metavar="DIR", help="where to make it; nothing is there yet")
    p = build.verb(
        "export",
        "copy mailboxes, or what a query finds, likewise",
        "Copy mailboxes, with those below them, or the messages that a query finds: in the form of a snapshot, with the\n"
        "same manifest, to be checked and taken in with the same commands.",
        "mailkeep.cli.copies:export",
        (
            ("mailkeep export Work /media/backup/work", "the mailbox Work, and those below it"),
            ("mailkeep export from:anna@example.org date:2025.. ~/anna", "what a query finds"),
        ),
        (0, 3, 4, 6, 64, 65, 66, 74, 77, 78),
    )
    _making(p)
    p.add_argument(
        "what", metavar="MAILBOX|QUERY", nargs="+", help="names of mailboxes, or words of one query"
    )
    p.add_argument("directory", metavar="DIR", help="where to make it; nothing is there yet")
    p = build.verb(
        "import",
        "take a copy in",
        "Add the messages of a snapshot or an export to a store: what it has already is neither doubled nor changed;\n"
        "what was expunged here since stays so, unless --deleted-too says otherwise. Each content is hashed on the way in;\n"
        "one that is not what was copied is left out and named. Cut off, the same command goes on.",
        "mailkeep.cli.copies:take_in",
        (
            ("mailkeep import --dry-run /media/backup/all", "what would be added"),
            ("mailkeep import /media/backup/all", "add it"),
            ("mailkeep import --deleted-too /media/backup/all", "and what was expunged here since"),
        ),
        (0, 3, 4, 6, 64, 65, 66, 74, 77, 78),
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would be added; change nothing")
    p.add_argument(
        "--deleted-too",
        action="store_true",
        help="bring back what was expunged here since the copy was made, too",
    )
    p.add_argument(
        "--expunged",
        action="store_true",
        help="take the copy's expunged messages in as such: then they can be given back here",
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
    p.add_argument("directory", metavar="DIR", help="the copy")
    p = build.verb(
        "verify-copy",
        "is a copy still what was written?",
        "Read a snapshot or an export through and compare it with its manifest: every message is hashed. Needs no store\n"
        "and changes nothing. In the copy, sha256sum -c --quiet SHA256SUMS does nearly the same without mailkeep.",
        "mailkeep.cli.copies:verify_copy",
        (("mailkeep verify-copy /media/backup/all", "read it through"),),
        (0, 4, 64, 65, 66, 74),
        store=False,
    )
    p.add_argument("directory", metavar="DIR", help="the copy")


def _making(p: Parser) -> None:
    p.add_argument(
        "--expunged",
        action="store_true",
        help="expunged messages too, as far as the vault still has them",
    )
    p.add_argument(
        "--link",
        action="store_true",
        help="by hard links to the vault, where that can be: quick and small, but no second copy of the bytes",
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
