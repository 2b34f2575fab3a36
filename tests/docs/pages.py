"""The documents as the tests see them: pages, tables, code blocks, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")


def pages() -> list[Path]:
    """Every document that a person reads."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str, language: str | None = None) -> list[str]:
    """Fenced code, without the indentation of its fence."""
    found = [match for match in FENCE.finditer(text) if language is None or match[2] == language]
    return [re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE) for match in found]


def prose(text: str) -> str:
    """The page without fenced code."""
    return FENCE.sub("", text)


def code(text: str) -> Iterator[str]:
    """Lines of fenced code, and code spans."""
    for block in blocks(text):
        yield from block.splitlines()
    yield from SPAN.findall(prose(text))


def rows(text: str, heading: str | None = None) -> list[list[str]]:
    """The cells of the tables of a page, or of one section; heads and rules left out."""
    if heading is not None:
        text = text.split(f"\n{heading}\n", 1)[1]
        text = re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0]
    out = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("| ---")
        if line.startswith("| ") and not line.startswith("| ---") and not is_head:
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            out.append([cell.strip().replace("\\|", "|") for cell in cells])
    return out


def anchors(text: str) -> set[str]:
    """The anchors that GitHub and most renderers give to headings."""
    out = set()
    for line in prose(text).splitlines():
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower()
            out.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return out
