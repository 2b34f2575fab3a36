"""Write docs/reference/commands.md from the command line's own definition; a test says when it is behind.

.venv/bin/python tools/reference.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mailkeep.cli.parser import parser
from mailkeep.domain.errors import EXIT_CODES

TARGET = Path(__file__).resolve().parents[1] / "docs/reference/commands.md"
HEAD = """\
# Commands

This page is made from the command line's own definition (`tools/reference.py`). `mailkeep VERB --help` says the same.

Every command takes `-q` (`--quiet`: say nothing unless something is wrong), `-v` (`--verbose`: say more) and `--json`
(print the result as one JSON object, see [json.md](json.md)), before or behind the verb. Results go to standard output,
everything else to standard error. Exit statuses are explained in [exit-status.md](exit-status.md).

Where `--store` is not given, the only store of the configuration is meant, or the one with `default = true`.
Durations are written `90s`, `5m`, `12h`, `7d`, `2w`, or several together (`1h30m`).
"""
COMMON = frozenset(("--help", "--quiet", "--verbose", "--json"))


def children(at: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs below a parser."""
    for action in at._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def leaves(
    at: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """(words, parser) of every command that does something."""
    below = children(at)
    if not below:
        yield words, at
    for name, child in below.items():
        yield from leaves(child, (*words, name))


def _shown(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"?": f"[{name}]", "*": f"[{name}...]"}.get(str(action.nargs), name)


def section(words: tuple[str, ...], at: argparse.ArgumentParser) -> str:
    """One command."""
    places = [
        a for a in at._actions if not a.option_strings and not isinstance(a, argparse._SubParsersAction)
    ]
    usage = " ".join(["mailkeep", *words, "[OPTION...]", *(_shown(a) for a in places)])
    out = [f"## mailkeep {' '.join(words)}", "", (at.description or "").strip(), "", "```", usage, "```", ""]
    rows = []
    for action in at._actions:
        if COMMON & set(action.option_strings) or isinstance(action, argparse._SubParsersAction):
            continue
        name = (
            ", ".join(f"`{option}`" for option in action.option_strings)
            or f"`{action.metavar or action.dest}`"
        )
        if action.option_strings and action.nargs != 0:
            name += f" {action.metavar or '|'.join(map(str, action.choices or ()))}"
        rows.append(
            f"| {name.replace('|', chr(92) + '|')} | {(action.help or '').replace('%%', '%').replace('|', chr(92) + '|')} |"
        )
    if rows:
        out += ["| argument | meaning |", "| --- | --- |", *rows, ""]
    for command, meaning in getattr(at, "examples", ()):
        out += [f"- `{command}`: {meaning}"]
    if getattr(at, "examples", ()):
        out.append("")
    statuses = getattr(at, "statuses", ())
    if statuses:
        out += [
            "Exit statuses: " + ", ".join(f"{status} {EXIT_CODES[status][0]}" for status in statuses) + ".",
            "",
        ]
    return "\n".join(out)


def text() -> str:
    """The whole page."""
    return HEAD + "\n" + "\n".join(section(words, at) for words, at in leaves(parser()))


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"{TARGET} written\n")
