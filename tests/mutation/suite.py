"""Break the product, and see whether a test notices.

    python tests/mutation/run.py [--only WORDS] [--random N] [--seed S] [--jobs N]

First the breakages of `breakages.py`, each against its named test. With --random, N more that nobody chose: in the
modules that decide about mail (MODULES), one comparison, condition, number or statement is changed at a time, and the
tests of TESTS run until one fails. Prints each verdict, the seed, and the score: the share that was noticed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mutation.breakages import BREAKAGES, Breakage

HERE = Path(__file__).resolve().parents[2]
PRODUCT = Path("src/mailkeep")
MODULES = (
    "rules/guard.py",
    "rules/listing.py",
    "rules/expiry.py",
    "store/merge.py",
    "store/apply.py",
    "store/directories.py",
    "store/trash.py",
    "store/scan.py",
    "store/survey.py",
    "store/noting.py",
    "store/removals.py",
    "store/rewritten.py",
    "store/holds.py",
    "store/due.py",
    "store/cleanup.py",
)
TESTS = (
    "tests/crash/test_disbelief.py",
    "tests/property/test_merge_agrees_with_oracle.py",
    "tests/crash/test_mass_deletion.py",
    "tests/property",
    "tests/crash",
    "tests/cli",
    "tests/hostile",
    "tests/unit",
)
"""The quickest to notice first."""
COPIED = ("src", "tests", "docs", "tools", "demo")
TIMEOUT_SECONDS = 3600


class Verdict(NamedTuple):
    """What became of one breakage."""

    name: str
    noticed: bool
    by: str
    seconds: float


def copy(target: Path) -> None:
    """Copy what the tests need of the repository."""
    for name in COPIED:
        if (HERE / name).exists():
            shutil.copytree(HERE / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in HERE.iterdir():
        if file.is_file():
            shutil.copy2(file, target / file.name)


def judge(name: str, file: str, text: str, tests: tuple[str, ...]) -> Verdict:
    """Run the tests in a copy in which `file` has this text, until one fails."""
    with tempfile.TemporaryDirectory(prefix="mailkeep-mutant-", dir="/var/tmp") as directory:
        root = Path(directory)
        copy(root)
        (root / PRODUCT / file).write_text(text)
        began = time.monotonic()
        argv = [
            sys.executable,
            "-bb",
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-m",
            "not soak",
            *tests,
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(root / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            done = subprocess.run(
                argv,
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # One test that hangs fails by its own limit; of a suite that is only slow nothing is known.
            return Verdict(name, False, "within the time", time.monotonic() - began)
        seconds = time.monotonic() - began
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        by = failed[0].split()[1] if failed else ""
        if done.returncode not in (0, 1):
            by = by or f"pytest ended with {done.returncode}"
        return Verdict(name, done.returncode != 0, by, seconds)


def chosen(breakage: Breakage) -> Verdict:
    """Judge one of the list."""
    text = (HERE / PRODUCT / breakage.file).read_text()
    if text.count(breakage.old) != 1:
        return Verdict(breakage.name, False, "its text is not there once", 0.0)
    return judge(breakage.name, breakage.file, text.replace(breakage.old, breakage.new), (breakage.test,))


FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def mutations(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Each place where something can be changed, and what."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield node, "comparison"
        elif isinstance(node, ast.BoolOp):
            yield node, "and, or"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "not"
        elif isinstance(node, ast.If):
            yield node, "condition"
        elif isinstance(node, ast.Expr | ast.AugAssign) and not isinstance(
            getattr(node, "value", None), ast.Constant
        ):
            yield node, "statement"


def change(tree: ast.Module, number: int) -> tuple[str, int]:
    """Make the change of this number in the tree; what it is, and its line."""
    node, kind = list(mutations(tree))[number]
    line = int(getattr(node, "lineno", 0))
    if isinstance(node, ast.Compare):
        node.ops[0] = FLIPPED[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()  # `+condition`: what it was, without the `not`
    elif isinstance(node, ast.If):
        node.test = ast.Constant(False)
    else:
        for parent in ast.walk(tree):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(parent, field, None)
                if isinstance(block, list) and node in block:
                    block[block.index(node)] = ast.copy_location(ast.Pass(), node)
    return kind, line


def unchosen(file: str, number: int) -> Verdict:
    """Judge one that nobody chose."""
    tree = ast.parse((HERE / PRODUCT / file).read_text())
    kind, line = change(tree, number)
    return judge(
        f"{file}:{line}: {kind} (number {number})", file, ast.unparse(ast.fix_missing_locations(tree)), TESTS
    )


def main() -> int:
    """Run; the status is 1 when a breakage of the list went unnoticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="breakages whose name contains this")
    parser.add_argument("--random", type=int, default=0, help="so many more, drawn with the seed")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    args = parser.parse_args()
    listed = [b for b in BREAKAGES if args.only in b.name] if args.only != "none" else []
    places = [
        (file, number)
        for file in MODULES
        for number in range(len(list(mutations(ast.parse((HERE / PRODUCT / file).read_text())))))
    ]
    drawn = random.Random(args.seed).sample(places, min(args.random, len(places)))
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(chosen, b) for b in listed] + [
            pool.submit(unchosen, *place) for place in drawn
        ]
        verdicts = []
        for future in futures:
            verdict = future.result()
            verdicts.append(verdict)
            word = f"noticed by {verdict.by}" if verdict.noticed else f"NOT noticed {verdict.by}"
            print(f"{verdict.name}: {word} ({verdict.seconds:.0f} s)", flush=True)
    by_hand, others = verdicts[: len(listed)], verdicts[len(listed) :]
    print(f"breakages of the list noticed: {sum(v.noticed for v in by_hand)} of {len(by_hand)}")
    if others:
        score = sum(v.noticed for v in others)
        print(f"drawn with seed {args.seed} from {len(places)}: {score} of {len(others)} noticed")
    return int(not all(v.noticed for v in by_hand))
