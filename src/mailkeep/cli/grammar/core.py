"""What every verb's description is made with: parser, builder, and the types of options."""

from __future__ import annotations

import argparse

from mailkeep.domain.errors import EXIT_CODES, UsageError
from mailkeep.wire.moments import parse_moment
from mailkeep.wire.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Verbs = argparse._SubParsersAction[Any]

TIME = '"2026-11-20 14:00", yesterday, "2 days ago", 2026-11-20T14:00:00Z'
"""Some of the forms that `moment` takes, for help texts."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: exit status 64, and words on what to do."""

    examples: tuple[tuple[str, str], ...] = ()
    statuses: tuple[int, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Turn a fault of the command line into ours."""
        raise UsageError(message, untouched="anything", hint=f"{self.prog} --help")

    def teach(self, examples: tuple[tuple[str, str], ...], statuses: tuple[int, ...]) -> None:
        """Put examples and exit statuses below the options."""
        self.examples, self.statuses = examples, statuses
        lines = ["examples:"]
        for command, meaning in examples:
            lines += [f"  {command}", f"        {meaning}"]
        lines += ["", "exit status:"]
        lines += [f"  {status:<3} {EXIT_CODES[status][1]}" for status in statuses]
        self.epilog = "\n".join(lines)


def duration(text: str) -> int:
    """An option's duration, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def count(text: str) -> int:
    """An option's number of things, from 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 on')
    return int(text)


def natural(text: str) -> int:
    """An option's number, from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 0 on')
    return int(text)


def moment(text: str) -> str:
    """An option's point in time, checked; it is read again when the store's history is there."""
    from datetime import date

    try:
        parse_moment(text, date(2000, 1, 1))
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    return text


def common_options(default: object) -> argparse.ArgumentParser:
    """Options of every command, before the verb and behind it.

    Behind it, what is not said must not undo what was said before.
    """
    common = argparse.ArgumentParser(add_help=False)
    silent = argparse.SUPPRESS if default is argparse.SUPPRESS else None
    common.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=silent or False,
        help="say nothing unless something is wrong",
    )
    common.add_argument("-v", "--verbose", action="count", default=silent or 0, help="say more")
    common.add_argument(
        "--json",
        action="store_true",
        default=silent or False,
        help="print the result as one JSON object (docs/reference/json.md)",
    )
    return common


class Builder:
    """Adds verbs to the command, each with the common options and its lesson."""

    def __init__(self, verbs: Verbs) -> None:
        self.verbs = verbs
        self.common = common_options(argparse.SUPPRESS)
        self.store = argparse.ArgumentParser(add_help=False)
        self.store.add_argument(
            "--store",
            metavar="NAME",
            help="which store of the configuration (default: the only one, or the default one)",
        )

    def verb(
        self,
        name: str,
        summary: str,
        text: str,
        run: str,
        examples: tuple[tuple[str, str], ...],
        statuses: tuple[int, ...] = (0, 64, 78),
        *,
        store: bool = True,
        verbs: Verbs | None = None,
    ) -> Parser:
        """Add a verb: its help, its lesson, and the handler ('module:function') that runs it."""
        parents = [self.common, self.store] if store else [self.common]
        parser = (verbs or self.verbs).add_parser(name, parents=parents, help=summary, description=text)
        assert isinstance(parser, Parser)
        parser.teach(examples, statuses)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str, text: str) -> Verbs:
        """Add a verb that has actions; `verb` adds those."""
        parser = self.verbs.add_parser(name, help=summary, description=text)
        actions: Verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        return actions
