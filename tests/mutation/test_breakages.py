"""The list of deliberate breakages is about the product as it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mutation.breakages import BREAKAGES, Breakage
from mutation.suite import HERE, MODULES, PRODUCT, change, mutations


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_what_a_breakage_replaces_is_there_once_and_its_test_exists(breakage: Breakage) -> None:
    text = (HERE / PRODUCT / breakage.file).read_text()
    assert text.count(breakage.old) == 1
    ast.parse(text.replace(breakage.old, breakage.new))
    file, _, name = breakage.test.partition("::")
    tree = ast.parse((HERE / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert set(name.partition("[")[0].split("::")) <= names


@pytest.mark.parametrize("file", MODULES)
def test_each_change_that_could_be_drawn_changes_something_and_can_be_compiled(file: str) -> None:
    text = (HERE / PRODUCT / file).read_text()
    before = ast.unparse(ast.parse(text))
    count = len(list(mutations(ast.parse(text))))
    assert count > 5
    for number in range(0, count, 7):
        tree = ast.parse(text)
        change(tree, number)
        after = ast.unparse(ast.fix_missing_locations(tree))
        assert after != before
        compile(after, str(Path(file)), "exec")
