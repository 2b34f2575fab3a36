"""The reference says what the code says: commands, settings, statuses, frames, tables, limits, JSON."""

from __future__ import annotations

import argparse
import configparser
import importlib
import importlib.util
import itertools
import json
import pkgutil
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mailkeep
from docs.pages import ROOT, SPAN, blocks, code, pages, read, rows, shown
from interop.machines import Machine, deliver, make_mailbox, message
from mailkeep.cli.parser import parser
from mailkeep.domain import errors
from mailkeep.replicate import endpoint
from mailkeep.store import index as store_index
from mailkeep.wire import frames
from mailkeep.wire.config import read_settings, settings_rows
from mailkeep.wire.tables import Origin


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- commands


def verbs(at: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in at._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_commands_page_is_what_the_parser_says() -> None:
    text = tool("reference").text()
    assert read("docs/reference/commands.md") == text, "run .venv/bin/python tools/reference.py"


def assert_is_command(line: str, where: str) -> None:
    """`mailkeep VERB --option ...` must be something that the parser knows."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    at: argparse.ArgumentParser = parser()
    top = at
    for word in words[1:]:
        below = verbs(at)
        if word.startswith("-"):
            option = word.partition("=")[0]
            if not option.strip("-") or option == "--":
                continue
            known = {o for p in (at, top) for action in p._actions for o in action.option_strings}
            assert option in known, f"{where}: {line!r} has the option {option}, which there is not"
        elif below and re.fullmatch(r"[a-z]+", word):
            assert word in below, f"{where}: {line!r} has the verb {word!r}, which there is not"
            at = below[word]
        elif below:
            return  # VERB, `...`


def commands_in(text: str) -> list[str]:
    """What begins with `mailkeep VERB` in a line of code, up to what a shell would end it with."""
    return [
        re.split(r"[;&|>)\"']", found)[0]
        for found in re.findall(r"(?:^|[ $\"'(/])(mailkeep (?:[a-z]|--)[^`\n]*)", text)
    ]


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_commands_in_documents_exist(page: Path) -> None:
    for line in code(page.read_text()):
        for command in commands_in(line):
            if command.startswith("mailkeep store marker"):
                continue  # the first line of that file
            assert_is_command(command.rstrip(" ."), shown(page))


def test_commands_in_hints_exist() -> None:
    """What a message tells a person to type must be there."""
    known, seen = verbs(parser()), 0
    for file in sorted((ROOT / "src").rglob("*.py")):
        text = re.sub(r"\"\s*\n\s*f?\"", "", file.read_text())  # texts that go on in the next line
        for verb, action, options in re.findall(r"mailkeep ([a-z]+)( [a-z]+)?((?: --[a-z-]+)*)", text):
            if verb in known:
                actions = verbs(known[verb])
                words = [
                    "mailkeep",
                    verb,
                    *([action.strip()] if actions and action.strip() in actions else []),
                    *options.split(),
                ]
                assert_is_command(" ".join(words), str(file))
                seen += 1
            assert verb != "repair", f"{file}: mailkeep {verb}"
    assert seen > 50


def test_the_timers_units_run_what_there_is() -> None:
    service = configparser.RawConfigParser(strict=False)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(ROOT / "docs/how-to/systemd/mailkeep.service")
    command = service["Service"]["ExecStart"]
    assert_is_command(command.partition("/bin/")[2], "mailkeep.service")
    for status in service["Service"]["SuccessExitStatus"].split():
        assert int(status) in errors.EXIT_CODES


# --- settings


def documented_settings() -> dict[str, list[str]]:
    out = {}
    text = read("docs/reference/configuration.md")
    for heading in re.findall(r"^## `(\[stores.*\])`$", text, re.MULTILINE):
        section = heading.strip("[]").removeprefix("stores.NAME").lstrip(".").replace("peers.PEER", "peers.p")
        for key, default, _ in rows(text, f"## `{heading}`"):
            out[".".join(filter(None, ("stores.s", section, key.strip("`"))))] = [default]
    return out


def test_every_setting_is_documented_with_its_default() -> None:
    table = {"stores": {"s": {"path": "/m", "peers": {"p": {"path": "/n"}}}}}
    known = {
        key: value for key, value, _ in settings_rows(read_settings(table, Origin("test", home="/home/me")))
    }
    documented = documented_settings()
    assert set(documented) == set(known)
    for key, value in known.items():
        (default,) = documented[key]
        if key in ("stores.s.path", "stores.s.peers.p.path", "stores.s.state"):
            continue
        assert default == ("none" if value is None else f"`{json.dumps(value)}`"), key


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_toml_in_documents_is_valid(page: Path) -> None:
    for block in blocks(page.read_text(), "toml"):
        text = (
            block
            if block.startswith("[")
            else f'[stores.mail.peers.server]\nurl = "ssh://me@server/"\n{block}'
        )
        settings = read_settings(
            tomllib.loads('[stores.mail]\npath = "/m"\n' + text), Origin(shown(page), home="/home/me")
        )
        assert settings.stores


def test_environment_of_hooks_is_documented() -> None:
    used = set(re.findall(r"MAILKEEP_[A-Z]+", read("src/mailkeep/cli/hooks.py"))) - {"MAILKEEP_"}
    used |= {"MAILKEEP_" + name for name in ("ADDED", "CHANGED", "EXPUNGED", "HELD")}
    assert used <= set(re.findall(r"MAILKEEP_[A-Z]+", read("docs/how-to/timer.md")))


# --- exit statuses, errors


def test_every_exit_status_is_documented_in_order() -> None:
    found = [(int(row[0]), row[1], row[2]) for row in rows(read("docs/reference/exit-status.md"))]
    assert {status: (name, meaning) for status, name, meaning in found} == errors.EXIT_CODES
    order = [status for status, _, _ in found]
    for harmless, worse in itertools.pairwise(order):
        assert errors.worst_exit_code([harmless, worse]) == worse, (harmless, worse)


# --- wire and disk


def test_every_frame_is_documented() -> None:
    found = {
        int(row[0]): row[1]
        for row in rows(read("docs/reference/protocol.md"), "## Frames")
        if row[0].isdigit()
    }
    assert found == frames.NAMES


def test_the_session_is_drawn_as_the_code_has_it() -> None:
    drawing = re.search(r"^    initiator .*?REPORT$", endpoint.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert drawing is not None
    lines = [line.strip() for line in drawing[0].splitlines()]
    page = [block for block in blocks(read("docs/reference/protocol.md")) if block.startswith("initiator")]
    assert [line.strip() for line in page[0].splitlines()] == lines
    assert (
        lines[-6:]
        == [line.strip() for line in read("ARCHITECTURE.md").splitlines() if line.startswith("    ")][-6:]
    )


def test_every_key_of_hello_and_claim_is_documented() -> None:
    text = read("docs/reference/protocol.md")
    spans = set(SPAN.findall(text))
    for module, name in (("endpoint", "hello"), ("initiator", "_claim")):
        source = (
            read(f"src/mailkeep/replicate/{module}.py").split(f"def {name}(", 1)[1].split("\n    def ", 1)[0]
        )
        assert set(re.findall(r'^ +"(\w+)":', source, re.MULTILINE)) <= spans
    assert {"tokens", "direction", "lacks", "only", "token", "role", "root_path", "same", "stale"} <= spans


def test_every_table_and_column_is_documented() -> None:
    db = store_index.Index.create(":memory:", bytes(16), bytes(8)).db
    schema = {
        table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    text = read("docs/reference/formats.md")
    documented = {row[0].strip("`"): SPAN.findall(row[1]) for row in rows(text, "## The index")}
    assert documented == schema


def test_every_key_of_meta_is_documented() -> None:
    used: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        used |= set(re.findall(r"meta(?:\.get\(|\[)\"(\w+)\"", file.read_text()))
    assert len(used) > 10
    assert used <= set(SPAN.findall(read("docs/reference/formats.md")))


def test_limits_are_those_of_the_source() -> None:
    constants: dict[str, list[Any]] = {}
    for found in pkgutil.walk_packages(mailkeep.__path__, "mailkeep."):
        if found.name != "mailkeep.__main__":
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if name.isupper() and isinstance(value, int):
                    constants.setdefault(name, []).append(value)
    for name, value, _ in rows(read("docs/reference/limits.md")):
        number = int(re.sub(r"[^\d]", "", value))
        assert number in constants[name.strip("`")], (name, number)


# --- JSON


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    return set()


FREE = {"counts", "totals", "mailboxes", "waiting_by_mailbox", "map"}
"""Tables whose keys are names of mailboxes, or of counts that the log keeps in its own words."""


def without_free(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: None if k in FREE and isinstance(v, dict) else without_free(v) for k, v in value.items()}
    return [without_free(v) for v in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_every_key_of_json_is_documented(tmp_path: Path) -> None:
    documented = set(SPAN.findall(read("docs/reference/json.md")))
    laptop, server = Machine(tmp_path / "laptop"), Machine(tmp_path / "server")
    for number in range(120):
        deliver(laptop.mail, "", message(number), number, "S")
    make_mailbox(server.mail, "")

    def check(*words: str | Path, status: int = 0) -> None:
        value = json.loads(laptop.mailkeep(*words, "--json", status=status).stdout)
        assert value["exit"] == status
        undocumented = keys_of(without_free(value)) - documented
        assert not undocumented, f"{words[0]}: {undocumented}"

    server.mailkeep("init", "--store", "mail", server.mail)
    check("init", "--store", "mail", laptop.mail)
    check("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    check("sync", "--dry-run")
    check("sync")
    laptop.settle()
    for file in (laptop.mail / "cur").iterdir():
        file.unlink()
    check("sync", status=5)
    check("status", status=5)
    check("holds", status=5)
    check("holds", "1", status=5)
    check("reject", "all")
    check("log")
    check("show", "1")
    check("ls")
    check("ls", "INBOX", "--at", "run 1")
    check("why", "<m.3@post.example>")
    check("undelete", "--all", "--dry-run")
    check("restore", "--at", "run 1")
    check("restore", "--at", "run 1", "--to", tmp_path / "out")
    check("undo", "1", "--dry-run", status=5)
    check("annotate", "INBOX", "expire", "30d")
    check("annotations")
    check("annotations", "--effective", "INBOX")
    check("peer", "list")
    check("peer", "show", "server")
    check("check")
    check("verify")
    check("config", "show")
    check("config", "path")
    check("completion", "bash")
    check("peer", "remove", "server")
    check("sync", status=66)
    check("sync", "--store", "no-such", status=78)
