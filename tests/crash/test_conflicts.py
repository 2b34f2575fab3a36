"""Every pair of changes, on two and on three replicas, in every order of meeting: the same comes of it everywhere.

The page that tells users what comes of it is made from these outcomes. `make crash` tries every order of meeting, and
all triples of changes, in orders drawn from CONFLICTS_SEED.
"""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.conflicts import DEEDS, HEAD_START, PAIRS, World, page

if TYPE_CHECKING:
    from crash.conflicts import Case

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/conflicts.md"
Order = list[tuple[int, int]]
ORDERS_OF_TWO: list[Order] = [[(0, 1)], [(1, 0)]]
ORDERS_OF_THREE: list[Order] = [
    [(a, b) if straight else (b, a) for (a, b), straight in zip(pairs, ways, strict=True)]
    for pairs in itertools.permutations([(0, 1), (1, 2), (0, 2)])
    for ways in itertools.product((True, False), repeat=3)
]
DELETERS, MOVERS = {"delete", "delete mailbox"}, {"move", "move elsewhere", "move back"}
IDLE = ""
Ahead = tuple[int, int, int]
FIRST_LATER, SECOND_LATER, NONE_LATER = (HEAD_START, 0, 0), (0, HEAD_START, 0), (0, 0, 0)
SEED = int(os.environ.get("CONFLICTS_SEED", "1"))


def swapped(case: Case) -> Case:
    return (case[1], case[0], *case[2:])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, str]:
    """What comes of each pair when the first is later."""
    return World(tmp_path_factory.mktemp("two"), PAIRS).run([(0, 1)], FIRST_LATER)


@pytest.fixture
def deep(request: pytest.FixtureRequest) -> bool:
    return os.environ.get("HYPOTHESIS_PROFILE") == "deep" or request.config.getoption("-m") == "crash"


@pytest.mark.slow
def test_the_page_says_what_comes_of_each_pair(outcomes: dict[Case, str]) -> None:
    assert PAGE.read_text() == page(outcomes), "behind: run python tools/conflicts.py"


@pytest.mark.slow
@pytest.mark.crash
def test_on_two_replicas_it_does_not_matter_who_is_where_and_who_begins(
    tmp_path: Path, outcomes: dict[Case, str], deep: bool
) -> None:
    runs: list[tuple[Order, Ahead]] = [([(1, 0)], SECOND_LATER)]
    if deep:
        runs += itertools.product(ORDERS_OF_TWO, (FIRST_LATER, SECOND_LATER, NONE_LATER))
    for number, (order, ahead) in enumerate(runs):
        met = World(tmp_path / str(number), PAIRS).run(order, ahead)
        for case, what in met.items():
            first, second = outcomes[case], outcomes[swapped(case)]
            allowed = {FIRST_LATER: {first}, SECOND_LATER: {second}, NONE_LATER: {first, second}}
            assert what in allowed[ahead], (case, order, ahead)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_on_three_replicas_the_order_of_meeting_does_not_matter(
    tmp_path: Path, outcomes: dict[Case, str], deep: bool
) -> None:
    cases = [(*case, IDLE) for case in (PAIRS if deep else PAIRS[::5])]
    for number, order in enumerate(ORDERS_OF_THREE if deep else [[(0, 2), (2, 1), (1, 0)]]):
        met = World(tmp_path / str(number), cases).run(order, FIRST_LATER)
        for case, what in met.items():
            assert what == outcomes[case[:2]], (case, order)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_three_who_change_the_same_come_to_the_same(tmp_path: Path, deep: bool) -> None:
    """On every replica, that is (`World.outcomes` checks it), and with the exceptions that the page names in any order."""
    rng = random.Random(SEED)
    triples = list(itertools.product(DEEDS, repeat=3))
    rng.shuffle(triples)
    size = 216 if deep else 12
    for start in range(0, len(triples) if deep else size, size):
        some, orders = triples[start : start + size], rng.sample(ORDERS_OF_THREE, 2)
        ahead = (0, HEAD_START, 2 * HEAD_START)
        found = [World(tmp_path / f"{start} {n}", some).run(order, ahead) for n, order in enumerate(orders)]
        for case in some:
            first, second = (outcomes[case].replace("~…", "") for outcomes in found)
            moved_and_deleted = DELETERS & set(case) and MOVERS & set(case)
            assert first == second or moved_and_deleted, (case, orders, f"CONFLICTS_SEED={SEED}")
