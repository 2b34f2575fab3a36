"""Man pages and shell completion, from the command line's own definition (mailkeep.cli.parser).

    python tools/build_docs.py            write them
    python tools/build_docs.py --check    say which are behind; exit status 1 if any is

docs/man/*.1 and src/mailkeep/data/completion/* are checked in, so that an installation needs no tool for
them; a test runs --check.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Help is wrapped to the terminal's width: the pages are not to depend on who builds them.
os.environ["COLUMNS"] = "100"

import shtab

from mailkeep.cli.completion import FILES
from mailkeep.cli.grammar.core import Parser
from mailkeep.cli.parser import FIRST_STEPS, parser
from mailkeep.domain.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parents[1]
MAN = ROOT / "docs" / "man"
COMPLETION = ROOT / "src" / "mailkeep" / "data" / "completion"
DIRECTORIES = frozenset(("MAILDIR", "DIR"))
STORES = {"bash": "_mailkeep_stores", "zsh": "_mailkeep_stores", "fish": "(_mailkeep_stores)"}
PEERS = {"bash": "_mailkeep_peers", "zsh": "_mailkeep_peers", "fish": "(_mailkeep_peers)"}
PREAMBLE = {
    "bash": """
_mailkeep_stores() {
  compgen -W "$(mailkeep config names stores 2>/dev/null)" -- "$1"
}

_mailkeep_peers() {
  local at store=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ "${COMP_WORDS[at]}" == --store ]] && store=(--store "${COMP_WORDS[at + 1]}")
  done
  compgen -W "$(mailkeep config names peers "${store[@]}" 2>/dev/null)" -- "$1"
}
""",
    "zsh": """
_mailkeep_stores() {
  compadd -- ${(f)"$(mailkeep config names stores 2>/dev/null)"}
}

_mailkeep_peers() {
  local -a store
  local at=${words[(I)--store]}
  (( at > 0 && at < CURRENT - 1 )) && store=(--store ${words[at + 1]})
  compadd -- ${(f)"$(mailkeep config names peers $store 2>/dev/null)"} || _files
}
""",
    "fish": """
function _mailkeep_stores
    mailkeep config names stores 2>/dev/null
end

function _mailkeep_peers
    set -l words (commandline -opc)
    set -l store
    if set -l at (contains -i -- --store $words); and test $at -lt (count $words)
        set store --store $words[(math $at + 1)]
    end
    mailkeep config names peers $store 2>/dev/null
end
""",
}
"""Shell functions that print the names of the configuration; the peers are those of the store that was named."""
INSTALL = {
    "bash": 'eval "$(mailkeep completion bash)" in ~/.bashrc',
    "zsh": "mailkeep completion zsh > a file _mailkeep in a directory of $fpath",
    "fish": "mailkeep completion fish > ~/.config/fish/completions/mailkeep.fish",
}


def children(of: argparse.ArgumentParser) -> dict[str, Parser]:
    """Verbs below a parser, in their order."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def summary(of: argparse.ArgumentParser, name: str) -> str:
    """The line that the list of verbs has."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return next(str(choice.help) for choice in action._choices_actions if choice.dest == name)
    raise KeyError(name)


# --- man pages


def roff(text: str) -> str:
    """Text as roff shows it unchanged."""
    text = (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("'", "\\(aq")
        .replace("^", "\\(ha")
        .replace("~", "\\(ti")
    )
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(text: str) -> Iterator[str]:
    """Lines of a description; an empty line begins a paragraph."""
    for line in text.strip().split("\n"):
        yield roff(line.strip()) if line.strip() else ".PP"


def invocation(action: argparse.Action) -> str:
    """An option or argument as it is written: -n, --wait DURATION."""
    name = (
        "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest).upper()
    )
    if not action.option_strings:
        return rf"\fI{roff(str(action.metavar or name))}\fR"
    words = ", ".join(rf"\fB{roff(option)}\fR" for option in action.option_strings)
    return words if action.nargs == 0 else rf"{words} \fI{roff(name)}\fR"


def options(of: argparse.ArgumentParser) -> Iterator[str]:
    """The options and arguments of one command."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        yield ".TP"
        yield invocation(action)
        yield roff((action.help or "").replace("%%", "%"))


def usage(of: Parser) -> str:
    """The synopsis in one line."""
    words = [rf"\fB{roff(of.prog)}\fR", r"[\fIOPTION\fR...]"]
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            words.append(r"\fIACTION\fR ...")
        elif not action.option_strings:
            name = invocation(action)
            words.append({"?": f"[{name}]", "*": f"[{name}...]"}.get(str(action.nargs), name))
    return " ".join(words)


def lesson(of: Parser, section: str = ".SH") -> Iterator[str]:
    """Examples and exit statuses."""
    if of.examples:
        yield f"{section} EXAMPLES"
        for command, meaning in of.examples:
            yield from (".TP", rf"\fB{roff(command)}\fR", roff(meaning[0].upper() + meaning[1:] + "."))
    if of.statuses:
        yield f"{section} EXIT STATUS"
        for status in of.statuses:
            yield from (".TP", rf"\fB{status}\fR", roff(EXIT_CODES[status][1]))


def head(name: str, line: str) -> Iterator[str]:
    """Title and NAME."""
    yield r".\" Made by tools/build_docs.py from the command line's own definition: do not edit."
    yield f'.TH "{name.upper()}" 1 "" "mailkeep" "mailkeep"'
    yield from (".SH NAME", f"{roff(name)} \\- {roff(line)}")


def page(words: tuple[str, ...], of: Parser, line: str) -> str:
    """One man page: of a verb, or of a group of them."""
    name = "-".join(("mailkeep", *words))
    out = [*head(name, line), ".SH SYNOPSIS", usage(of), ".SH DESCRIPTION", *paragraphs(of.description or "")]
    below = children(of)
    for action, child in below.items():
        out += [f".SH {name.upper().replace('-', ' ')} {action.upper()}", usage(child), ".PP"]
        out += [*paragraphs(child.description or ""), *options(child), *lesson(child, ".SS")]
    if not below:
        out += [".SH OPTIONS", *options(of), *lesson(of)]
    out += [".SH SEE ALSO", ".BR mailkeep (1)"]
    return "\n".join(out) + "\n"


def top_page(of: Parser) -> str:
    """mailkeep(1)."""
    out = [*head("mailkeep", "keeps Maildirs the same on several machines"), ".SH SYNOPSIS"]
    out += [
        r"\fBmailkeep\fR [\fIOPTION\fR...] \fIVERB\fR ...",
        ".SH DESCRIPTION",
        *paragraphs(of.description or ""),
    ]
    out += [".SH FIRST STEPS"]
    for command, meaning in FIRST_STEPS:
        out += [".TP", rf"\fB{roff(command)}\fR", roff(meaning[0].upper() + meaning[1:] + ".")]
    out += [".SH VERBS"]
    for name in children(of):
        out += [".TP", rf"\fBmailkeep\-{name}\fR(1)", roff(summary(of, name))]
    out += [".SH OPTIONS", *options(of), ".SH EXIT STATUS"]
    for status, (word, meaning) in EXIT_CODES.items():
        out += [".TP", rf"\fB{status}\fR ({roff(word)})", roff(meaning)]
    out += [
        *(".SH FILES", ".TP", r"\fI$XDG_CONFIG_HOME/mailkeep/config.toml\fR", "The configuration."),
        *(
            ".TP",
            r"\fI$XDG_STATE_HOME/mailkeep/\fR",
            "State of the stores: index and vault, one directory each,",
        ),
        "where it is on the file system of the Maildir; else beside the Maildir.",
        *(".TP", r"\fI..mailkeep\fR", "In a Maildir's root: the marker that says whose it is."),
        *(
            ".SH ENVIRONMENT",
            r"\fBHOME\fR, \fBXDG_CONFIG_HOME\fR, \fBXDG_STATE_HOME\fR and \fBXDG_CACHE_HOME\fR",
        ),
        "alone say where configuration, state and cache are.",
        *(
            ".SH UNITS",
            "Durations are written 90s, 5m, 12h, 7d, 2w or 1h30m; sizes 500kB, 10MB, 1GiB; shares 25%.",
        ),
    ]
    return "\n".join(out) + "\n"


def man_pages() -> dict[Path, str]:
    """Every page by its file."""
    top = parser()
    pages = {MAN / "mailkeep.1": top_page(top)}
    for name, child in children(top).items():
        pages[MAN / f"mailkeep-{name}.1"] = page((name,), child, summary(top, name))
    return pages


# --- completion


def completions() -> dict[Path, str]:
    """The three shells' scripts."""
    top = parser()
    _prepare(top)
    out = {}
    for shell, file in FILES.items():
        text = shtab.complete(copy.deepcopy(top), shell, preamble=PREAMBLE[shell])
        lines = text.split("\n")
        first = lines[0] if lines[0].startswith("#compdef") else None
        body = [line for line in lines if not line.startswith("#")]
        while body and not body[0].strip():
            body.pop(0)
        note = f"# mailkeep's completion for {shell}, made from its parser. {INSTALL[shell]}"
        out[COMPLETION / file] = (
            "\n".join([*([first] if first else []), note, *(s.rstrip() for s in body)]).rstrip() + "\n"
        )
    return out


def _prepare(of: Parser) -> None:
    """Directories and the names of the configuration are completed as such; descriptions are one line."""
    for action in of._actions:
        if str(action.metavar) in DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif "--store" in action.option_strings:
            action.complete = STORES  # type: ignore[attr-defined]
        elif str(action.metavar) == "PEER":
            action.complete = PEERS  # type: ignore[attr-defined]
    for name, child in children(of).items():
        child.description = summary(of, name)
        _prepare(child)


def main(arguments: list[str]) -> int:
    """Write what differs; with --check only say so."""
    check = "--check" in arguments
    behind = []
    files = man_pages() | completions()
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            behind.append(path)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for directory, pattern in ((MAN, "*.1"), (COMPLETION, "*")):
        for path in directory.glob(pattern):
            if path not in files:
                behind.append(path)
                if not check:
                    path.unlink()
    for path in behind:
        print(("behind: " if check else "wrote ") + str(path.relative_to(ROOT)))
    if not check and (ROOT / "tools" / "reference.py").exists():
        sys.path.insert(0, str(ROOT / "tools"))
        reference = importlib.import_module("reference")
        reference.TARGET.write_text(reference.text(), encoding="utf-8")
    return int(check and bool(behind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
