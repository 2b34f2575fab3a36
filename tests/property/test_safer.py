"""A change that takes force without a person lets nothing go: judged by what the rules then do."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from mailkeep.domain.annotation import DATE, DELIVERY, FLAG, NEVER, Expire, GuardRule, LegalHold
from mailkeep.rules.annotations import is_safer
from mailkeep.rules.expiry import Message, due

Parsed = Expire | LegalHold | GuardRule | int | str | None
NOW = 1_000_000
SMALL = st.none() | st.integers(1, 6)
RULES = st.builds(
    Expire,
    SMALL,
    st.sampled_from((DELIVERY, FLAG, DATE)),
    keep_flagged=st.booleans(),
    keep_unread=st.booleans(),
    count=SMALL,
    size=SMALL,
)
MESSAGES = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)),
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=8,
)
HOLDS = st.none() | st.builds(
    LegalHold,
    st.just("x"),
    st.none() | st.integers(NOW - 2, NOW + 2),
    st.sampled_from(("", "from:a", "from:b")),
)
GUARDS = (
    st.none()
    | st.builds(GuardRule, SMALL, SMALL.map(lambda n: n and n / 6), SMALL, st.just(False))
    | st.just(GuardRule(off=True))
)


def expired(rule: Expire, messages: list[tuple[tuple[int, int, int], bool, bool, int]]) -> set[int]:
    clock = (DELIVERY, FLAG, DATE).index(rule.by)
    rows = [
        Message(no, NOW - ages[clock], flagged, seen, size)
        for no, (ages, flagged, seen, size) in enumerate(messages)
    ]
    return {message.no for message, _ in due(rule, rows, NOW)}


@given(RULES, RULES, st.tuples(*[st.booleans()] * 6), MESSAGES)
@example(Expire(3), Expire(3, FLAG), (False,) * 6, [((1, 5, 0), False, False, 1)])
@example(Expire(3, keep_flagged=True), Expire(3), (False,) * 6, [((5, 0, 0), True, False, 1)])
@example(Expire(3, keep_unread=True), Expire(4), (False,) * 6, [((5, 0, 0), False, False, 1)])
def test_a_safer_rule_of_expiry_expires_nothing_that_the_old_one_kept(
    old: Expire,
    other: Expire,
    same: tuple[bool, ...],
    messages: list[tuple[tuple[int, int, int], bool, bool, int]],
) -> None:
    new = Expire(
        old.age if same[0] else other.age,
        old.by if same[1] else other.by,
        keep_flagged=old.keep_flagged if same[2] else other.keep_flagged,
        keep_unread=old.keep_unread if same[3] else other.keep_unread,
        count=old.count if same[4] else other.count,
        size=old.size if same[5] else other.size,
    )
    if is_safer("expire", old, new, NOW):
        assert expired(new, messages) <= expired(old, messages)


@given(RULES)
def test_never_is_always_safer_and_a_rule_where_there_was_none_never_is(rule: Expire) -> None:
    assert is_safer("expire", rule, NEVER, NOW)
    assert is_safer("expire", rule, None, NOW)
    assert is_safer("expire", None, rule, NOW) == rule.is_never
    assert is_safer("expire", NEVER, rule, NOW) == rule.is_never


def holds(hold: LegalHold | None, sender: str, now: int) -> bool:
    return hold is not None and not hold.is_over(now) and hold.query in ("", f"from:{sender}")


@given(HOLDS, HOLDS, st.sampled_from("abc"), st.integers(NOW, NOW + 3))
def test_a_safer_legal_hold_lets_nothing_go(
    old: LegalHold | None, new: LegalHold | None, sender: str, later: int
) -> None:
    if is_safer("noexpire.x", old, new, NOW):
        assert holds(old, sender, later) <= holds(new, sender, later)


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_longer_retention_is_safer(old: int, new: int) -> None:
    assert is_safer("retention", old, new, NOW) == (new >= old)


def test_only_to_be_no_trash_any_more_is_safer() -> None:
    assert is_safer("role", "trash", "none", NOW)
    assert is_safer("role", "trash", "junk", NOW)
    assert not is_safer("role", "none", "trash", NOW)


@given(GUARDS, GUARDS)
def test_a_safer_guard_rule_has_no_higher_limit_than_the_old_one(
    old: GuardRule | None, new: GuardRule | None
) -> None:
    if old == new or (old is not None and old.off):
        assert is_safer("guard", old, new, NOW)
    elif is_safer("guard", old, new, NOW):
        assert old is not None
        assert new is not None
        assert not new.off
        for before, after in (
            (old.count_max, new.count_max),
            (old.share_max, new.share_max),
            (old.minimum, new.minimum),
        ):
            assert before == after or (before is not None and after is not None and after <= before)


VALUES = (
    st.tuples(st.just("expire"), RULES, RULES, RULES)
    | st.tuples(st.just("noexpire.x"), HOLDS, HOLDS, HOLDS)
    | st.tuples(st.just("guard"), GUARDS, GUARDS, GUARDS)
)


@given(VALUES)
def test_what_is_safer_step_by_step_is_safer_in_all(case: tuple[str, Parsed, Parsed, Parsed]) -> None:
    key, one, two, three = case
    assert is_safer(key, one, one, NOW)
    if (
        is_safer(key, one, two, NOW)
        and is_safer(key, two, three, NOW)
        and not is_over(one)
        and not is_over(two)
    ):
        assert is_safer(key, one, three, NOW)


def is_over(value: Parsed) -> bool:
    return isinstance(value, LegalHold) and value.is_over(NOW)
