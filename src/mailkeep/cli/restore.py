"""`mailkeep restore`: from something else that has the mail (--from), or a mailbox as it was (--at)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailkeep.domain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.cli.run import Options

FROM_ONLY = (
    ("--kind", "kind"), ("--since", "since"), ("--for", "recipients"), ("--only", "only"), ("--into", "into"),
    ("--deleted-too", "deleted_too"),
)  # fmt: skip
AT_ONLY = (("MAILBOX", "mailbox"), ("--to", "to"), ("--format", "format"))
"""Options of one kind alone, and what they are called in the parsed command line."""


def restore(options: Options) -> int:
    """Find out which kind of restore is meant, and run it."""
    args = options.args
    at = getattr(args, "at", None)
    if (at is None) == (args.source is None):
        raise UsageError(
            "restore takes from somewhere else (--from X) or from this store's own past (--at TIME)",
            untouched="anything",
            hint="mailkeep restore --help",
        )
    others = AT_ONLY if at is None else FROM_ONLY
    for option, name in others:
        if getattr(args, name, None):
            raise UsageError(
                f"{option} goes with --{'at' if at is None else 'from'}",
                untouched="anything",
                hint="mailkeep restore --help",
            )
    import importlib

    module = "mailkeep.cli.restore_from" if at is None else "mailkeep.cli.restore_at"
    handler: Callable[[Options], int] = importlib.import_module(module).restore
    return handler(options)
