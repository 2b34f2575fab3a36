"""Verbs that retire mail on schedule, and say what keeping costs: expire, du."""

from __future__ import annotations

from mailkeep.cli.grammar.core import count, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def expire(build: Builder) -> None:
    """Describe expire and du."""
    p = build.verb(
        "expire",
        "retire old mail by rule, and free what is kept no longer",
        "Two passes, always both. First, messages that the rule of their mailbox says are due are expunged (mailkeep\n"
        "annotate MAILBOX expire 30d makes one). Then contents whose retention has passed, and that nothing else needs,\n"
        "are freed: these cannot be brought back. A legal hold (noexpire) wins over everything. What would be far more\n"
        "than is usual is held, and waits for you; when the clock jumped since the last run, nothing is done at all.",
        "mailkeep.cli.expire:expire",
        (
            ("mailkeep expire --plan", "what a run would do now, and why; -v names each message"),
            ("mailkeep expire", "do exactly that"),
            ("mailkeep expire --time 5m --rate 500", "for five minutes at most, 500 messages a second"),
        ),
        (0, 3, 5, 6, 64, 66, 74, 78),
    )
    p.add_argument("--plan", action="store_true", help="say what a run would do, and why; change nothing")
    p.add_argument(
        "--time", metavar="DURATION", type=duration, help="begin nothing more after so long: 90s, 5m"
    )
    p.add_argument(
        "--messages",
        metavar="COUNT",
        type=count,
        help="expire at most so many messages, and free at most so many",
    )
    p.add_argument("--rate", metavar="COUNT", type=count, help="at most so many a second, to spare the disk")
    p.add_argument(
        "--free",
        metavar="COUNT",
        type=count,
        help="free up to so many contents, though it is more than is usual; --plan says how many there are",
    )
    p.add_argument(
        "--clock-is-right",
        action="store_true",
        help="the clock did not jump, though it looks so: go on, and remember it",
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )
    p = build.verb(
        "du",
        "what it costs to keep expunged mail",
        "Show how many expunged messages are kept, and the bytes that only the vault holds, by mailbox and by how\n"
        "long ago they were expunged. Only reads, and takes no lock.",
        "mailkeep.cli.du:du",
        (
            ("mailkeep du", "by mailbox and by age"),
            ("mailkeep du --json", "the same for scripts"),
        ),
        (0, 64, 66, 74, 78),
    )
