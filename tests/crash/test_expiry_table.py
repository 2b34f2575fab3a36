"""Every combination of rule, retention and what people did: what each pass leaves behind is on a page, made from this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crash.expiry_table import CASES, FATES, RETENTIONS, RULES, outcomes, page

if TYPE_CHECKING:
    from crash.expiry_table import Case

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/expiry.md"


def expected(case: Case) -> tuple[str, ...]:
    """By the rules, in few words: a message goes if it is due or was removed; its content, once its retention is over."""
    rule, retention, fate = case
    if not (fate in ("by hand", "both") or (fate == "expired" and rule)):
        return ("there",) * 4
    return "expunged", "expunged" if retention else "purged", "purged", "forgotten"


def test_every_combination_leaves_what_the_page_says(tmp_path: Path) -> None:
    assert len(CASES) == len(RULES) * len(RETENTIONS) * len(FATES) == 16
    found = outcomes(tmp_path)
    assert found == {case: expected(case) for case in CASES}
    assert PAGE.read_text() == page(found), "behind: run python tools/expiry_table.py"
