"""The threat model's numbers are those of the source, its roles those that there are."""

from __future__ import annotations

import importlib
import pkgutil
import re

import mailkeep
from docs.pages import read, rows
from mailkeep.replicate import channel
from mailkeep.replicate.view import ROLES

PAGE = "docs/explanation/threat-model.md"


def constants() -> dict[str, set[float]]:
    found: dict[str, set[float]] = {}
    for module in pkgutil.walk_packages(mailkeep.__path__, "mailkeep."):
        if module.name != "mailkeep.__main__":
            for name, value in vars(importlib.import_module(module.name)).items():
                if name.isupper() and isinstance(value, int | float):
                    found.setdefault(name, set()).add(value)
    return found


def test_bounds_are_those_of_the_source() -> None:
    known = constants()
    section = read(PAGE).partition("## What is bounded, and by what")[2].partition("\n## ")[0]
    table = rows(section)
    assert len(table) >= 14
    for what, bound, name in table:
        number = float(re.findall(r"[\d,]+", bound)[-1].replace(",", ""))
        assert number in known[name.strip("`")], (what, bound, name)
    assert channel.PATIENCE == 12


def test_roles_are_those_that_there_are() -> None:
    header = re.search(r"^\| \| (.*) \|$", read(PAGE), re.MULTILINE)
    assert header is not None
    assert tuple(word.strip(" `") for word in header[1].split("|")) == ROLES
