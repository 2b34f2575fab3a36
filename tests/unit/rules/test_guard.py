from __future__ import annotations

from mailkeep.rules.guard import Limits, Tally, judge

LIMITS = Limits(count=10, mailbox_share=0.5, store_share=0.5, minimum=4)


def tally(name: str, live: int, vanishing: int, group: str = "", exempt: bool | None = None) -> Tally:
    out = Tally(name, live, vanishing)
    out.group, out.exempt = group, exempt
    return out


def held(tallies: list[Tally], groups: dict[str, Limits] | None = None) -> list[str]:
    found = judge(dict(enumerate(tallies)), LIMITS, groups)
    return [tallies[no].name for no in sorted(found)]


def test_a_group_is_judged_together_and_by_itself() -> None:
    groups = {"A": Limits(count=20, mailbox_share=1, minimum=4)}
    tallies = [tally("A", 100, 11, "A"), tally("A/B", 100, 9, "A"), tally("C", 100, 10)]
    assert held(tallies, groups) == []
    tallies[1].vanishing = 10
    assert held(tallies, groups) == ["A", "A/B"]
    tallies[1].vanishing, tallies[2].vanishing = 9, 11
    assert held(tallies, groups) == ["C"], "what vanishes in a group does not count for the store"


def test_a_group_with_a_stricter_limit_holds_what_the_store_would_let_go() -> None:
    groups = {"A": Limits(count=2)}
    assert held([tally("A", 100, 3, "A"), tally("C", 100, 3)], groups) == ["A"]
    assert held([tally("A", 100, 3), tally("C", 100, 3)]) == []


def test_the_share_of_the_store_is_not_that_of_a_group() -> None:
    groups = {"A": Limits(count=20, mailbox_share=1, store_share=0.01, minimum=1)}
    assert held([tally("A", 10, 9, "A"), tally("C", 1000, 0)], groups) == []


def test_limits_of_the_whole_store_stand_for_the_configured_ones() -> None:
    assert held([tally("C", 100, 8)], {"": Limits(count=5)}) == ["C"]
    assert held([tally("C", 100, 11)], {"": Limits(count=50, mailbox_share=1, store_share=1)}) == []


def test_what_is_exempt_by_its_role_or_its_name() -> None:
    assert held([tally("C", 100, 60, exempt=True)]) == []
    assert held([tally("Trash", 100, 60)]) == []
    assert held([tally("Trash", 100, 60, exempt=False)]) == ["Trash"]
