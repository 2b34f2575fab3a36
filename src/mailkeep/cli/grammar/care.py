"""Verbs that look after a store: check, doctor, backup, rebuild, selftest."""

from __future__ import annotations

from mailkeep.cli.grammar.core import count, duration, natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def check(build: Builder) -> None:
    """Describe check."""
    p = build.verb(
        "check",
        "is everything set up as it should be?",
        "Check configuration, Maildir, marker, state, vault, mailbox names and, for each peer, patterns and\n"
        "name map both ways; peers are asked for their mailboxes. Changes nothing on either side.",
        "mailkeep.cli.check:check",
        (
            ("mailkeep check", "every store and its peers"),
            ("mailkeep check --offline", "without contacting peers"),
        ),
        (0, 4, 69, 78),
    )
    p.add_argument("--offline", action="store_true", help="contact no peer")


def selftest(build: Builder) -> None:
    """Describe selftest."""
    p = build.verb(
        "selftest",
        "break mailkeep on a copy of your mail, and see whether anything is lost",
        "Copy mail into a scratch directory (or make some up), make two stores of it, and then kill and starve\n"
        "real runs between them at random moments, while mail programs go on; judge after each whether a message is\n"
        "lost, doubled, half there or sent again. Mailboxes are removed, too, held, and approved or rejected, and a\n"
        "clean-up with no retention at all frees what it may. Your own mail and stores are only read; nothing is linked\n"
        "to them.\n"
        "The scratch directory is removed at the end, unless something was found: then it is the evidence.",
        "mailkeep.cli.selftest:selftest",
        (
            ("mailkeep selftest", "a minute, with mail made up"),
            ("mailkeep selftest --store mail --time 10m", "with a copy of a store's mail"),
            ("mailkeep selftest --seed 4711 ~/Maildir", "the same choices as the run that told this seed"),
        ),
        (0, 4, 64, 66, 74, 78, 130),
    )
    p.add_argument("maildir", metavar="MAILDIR", nargs="?", help="a Maildir whose mail is copied")
    p.add_argument("--seed", metavar="NUMBER", type=natural, help="draws every choice (default: a new one)")
    p.add_argument(
        "--time", metavar="DURATION", type=duration, default=60, help="how long: 90s, 10m (default: 60s)"
    )
    p.add_argument(
        "--messages",
        metavar="COUNT",
        type=count,
        default=1000,
        help="copy at most so many, the last of each mailbox, and 200 MiB (default: 1000)",
    )
    p.add_argument(
        "--scratch",
        metavar="DIR",
        help="where to make the scratch directory (default: the state directory, or beside the Maildir when that is on"
        " another file system)",
    )


def recovery(build: Builder) -> None:
    """Describe doctor, backup and rebuild."""
    p = build.verb(
        "doctor",
        "what is wrong with the set-up, and what to type",
        "Look at configuration, Maildir, marker, index, state directory, disk, permissions, clock, backups, held\n"
        "deletions and the way to each peer. Every finding says what it is, why it matters, and what to type.\n"
        "Only reads, takes no lock, and begins no session; -v tells what is fine, too.",
        "mailkeep.cli.doctor:doctor",
        (
            ("mailkeep doctor", "every store and its peers"),
            ("mailkeep doctor --offline -v", "without contacting peers, and with all that is fine"),
        ),
        (0, 4),
    )
    p.add_argument("--offline", action="store_true", help="contact no peer")
    p = build.verb(
        "backup",
        "back the index up, or list its backups",
        "Make a backup of the index now, beside those that runs make by themselves once a day, or list them.\n"
        "They lie in the state directory and help against a damaged index; mailkeep rebuild uses them.\n"
        "Takes no lock: a session may go on meanwhile.",
        "mailkeep.cli.backup:backup",
        (
            ("mailkeep backup", "make one now, whatever its turn"),
            ("mailkeep backup --list --check", "list them, each read through"),
        ),
        (0, 4, 6, 66, 74, 77, 78),
    )
    p.add_argument("--list", action="store_true", help="make none: list what there is")
    p.add_argument("--check", action="store_true", help="read each through: is it whole?")
    p = build.verb(
        "rebuild",
        "replace an index that is lost or damaged",
        "Put the newest good backup of the index in place of one that is lost, damaged or another store's; without\n"
        "a backup, make a new index from Maildir and vault. No mail is removed; the old index goes to damaged/ in\n"
        "the state directory. Peers see a new replica. With a sound index nothing is done.",
        "mailkeep.cli.rebuild:rebuild",
        (
            ("mailkeep rebuild --dry-run", "what is wrong, and what would be done"),
            ("mailkeep rebuild", "do it"),
            ("mailkeep rebuild --from ~/index.db", "from this backup"),
            ("mailkeep rebuild --recover Recovered", "and make messages of what only the vault has"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 74, 77, 78),
    )
    p.add_argument(
        "--from", dest="source", metavar="FILE", help="use this backup of the index, wherever it is"
    )
    p.add_argument(
        "--from-mail", action="store_true", help="use no backup: begin with what lies in Maildir and vault"
    )
    p.add_argument(
        "--recover",
        metavar="MAILBOX",
        help="make messages there of contents that lie in the vault and in no mailbox, removed mail among them",
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would be done; change nothing")
    p.add_argument(
        "--force", action="store_true", help="though the index is sound, or the Maildir has lost its marker"
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
