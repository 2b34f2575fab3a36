"""`mailkeep restore`: from something else that has the mail (--from), or a mailbox as it was (--at)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailkeep.domain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.cli.run import Options


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
    import importlib

    module = "mailkeep.cli.restore_from" if at is None else "mailkeep.cli.restore_at"
    handler: Callable[[Options], int] = importlib.import_module(module).restore
    return handler(options)
