"""The documents hold together: links lead somewhere, what is marked as runnable runs, no figure without its command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from docs.pages import FENCE, LINK, ROOT, anchors, pages, prose, read, shown
from interop.machines import Machine, contents, deliver, message

EVERY_PAGE = pytest.mark.parametrize("page", pages(), ids=shown)


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{shown(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{shown(page)} links to {target}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = [
            t.partition("#")[0] for t in LINK.findall(prose(page.read_text())) if not t.startswith("https:")
        ]
        pending += [(page.parent / target).resolve() for target in targets if target]
    assert set(pages()) <= seen


MEASURED = re.compile(
    r"\d[\d,.]*\s?(?:×|times) (?:faster|slower|as fast|cheaper|less|more)|\d[\d,.]*\s?(?:ms|µs|MB/s|kB/s|messages/s|messages a second)\b"
)


@EVERY_PAGE
def test_no_figure_without_its_command(page: Path) -> None:
    """A measured speed goes stale; it may only stand in a paragraph that says how to measure it again."""
    for paragraph in prose(page.read_text()).split("\n\n"):
        if MEASURED.search(paragraph):
            assert re.search(r"`(?:make|mailkeep|tests/|\.venv)[^`]*`", paragraph), (
                f"{shown(page)}: {paragraph[:200]}"
            )


WORKSHOP = re.compile(
    r"\b(?:TODO|FIXME|XXX)\b"
    r"|(?<![\w.~<*>:/)$}-])/(?!home/me/|media/|usr/|var/log/|etc/|bin/|dev/|proc/|nowhere)\w+(?:/[\w.-]+)*"
)
"""Notes to oneself, and absolute paths that are neither of any system nor of the reader of these pages."""


@EVERY_PAGE
def test_nothing_of_the_workshop_is_mentioned(page: Path) -> None:
    mentioned = WORKSHOP.findall(page.read_text())
    assert not mentioned, f"{shown(page)} mentions {mentioned}"


# --- what is marked as runnable

RUN = re.compile(r"<!-- run: two machines(, continued)? -->\n")


def runnable(text: str) -> list[list[str]]:
    """Lists of the lines to be typed; a block that continues another belongs to its list."""
    out: list[list[str]] = []
    for mark in RUN.finditer(text):
        block = FENCE.match(text, mark.end())
        assert block is not None, "a mark without a block"
        lines = [line for line in block[3].splitlines() if line.strip()]
        if mark[1]:
            out[-1] += lines
        else:
            out.append(lines)
    return out


def test_there_is_something_to_run() -> None:
    assert len(runnable(read("README.md"))) == 1
    assert len(runnable(read("docs/tutorial/first-sync.md"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-sync.md"])
def test_marked_blocks_run(name: str, tmp_path: Path) -> None:
    """On two homes, with an ssh that only changes the home: as typed, `~` and all."""
    for number, lines in enumerate(runnable(read(name))):
        machines = {who: Machine(tmp_path / f"{number}" / who) for who in ("laptop", "server")}
        laptop, server = machines["laptop"], machines["server"]
        for n in range(10):
            deliver(laptop.mail, ".Work", message(n, seed="here"), n, "S")
            deliver(laptop.mail, "", message(n, seed="both"), n, "S")
            deliver(server.mail, "Work/Old", message(n, seed="there"), n)
            deliver(server.mail, "", message(n, seed="both"), n, "F", host="other")
        fake = laptop.bin / "ssh"
        fake.write_text(
            f"#!/bin/sh\nfor command; do :; done\nHOME={shlex.quote(str(server.home))} PATH={shlex.quote(str(server.bin))}:$PATH\n"
            'export HOME PATH\ncd && exec /bin/sh -c "$command"\n'
        )
        fake.chmod(0o700)
        for line in lines:
            who, _, command = line.partition("$ ")
            machines[who].run(["/bin/sh", "-c", command])
        assert len(contents(laptop.mail)) == 30
        assert contents(laptop.mail) == contents(server.mail)


def test_readme_names_exactly_two_commands_to_set_up() -> None:
    text = read("README.md").split("## Try it", 1)[1].split("##", 1)[0]
    assert re.findall(r"^make \w+", text, re.MULTILINE) == ["make demo", "make test"]
    for target in ("demo", "test"):
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)


def test_architecture_names_tests_that_are_there() -> None:
    for name in set(re.findall(r"`(tests/[\w/.]+)`", read("ARCHITECTURE.md") + read("CONTRIBUTING.md"))):
        assert (ROOT / name).exists(), name


def test_architecture_has_every_package() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", read("ARCHITECTURE.md"), re.MULTILINE))
    there = {path.parent.name for path in (ROOT / "src/mailkeep").glob("*/__init__.py")}
    assert there - named <= {"testing"}
    assert named <= there
