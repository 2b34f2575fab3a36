from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.domain.annotation import (
    BY,
    NAMES,
    NEVER,
    ROLES,
    TEXT_CHARS_MAX,
    Expire,
    GuardRule,
    LegalHold,
    is_key,
    is_text,
)
from mailkeep.wire.annotations import check_key, parse, write

DAY = 86_400


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("expire", "30d", Expire(30 * DAY)),
        ("expire", "1w 2d", Expire(9 * DAY)),
        ("expire", "never", NEVER),
        ("expire", "count=5000", Expire(count=5000)),
        (
            "expire",
            "30d by=flag keep=flagged,unread count=5000 size=2GB",
            Expire(30 * DAY, "flag", keep_flagged=True, keep_unread=True, count=5000, size=2 * 10**9),
        ),
        ("retention", "90d", 90 * DAY),
        ("retention", "0s", 0),
        ("noexpire", "forever", LegalHold("")),
        ("noexpire.case-4711", "until=2027-01-31", LegalHold("case-4711", 1_801_440_000)),
        ("noexpire.a", "forever from:bank and more", LegalHold("a", None, "from:bank and more")),
        ("guard", "off", GuardRule(off=True)),
        ("guard", "count=0 share=0.5% minimum=10", GuardRule(0, 0.005, 10)),
        ("role", "trash", "trash"),
        ("role", "", None),
    ],
)
def test_values(key: str, text: str, value: object) -> None:
    assert parse(key, text) == value


def test_the_last_day_of_a_legal_hold_is_still_held() -> None:
    hold = parse("noexpire", "until=2027-01-31")
    assert isinstance(hold, LegalHold)
    assert hold.until == 1_801_440_000  # 2027-02-01 00:00 UTC
    assert not hold.is_over(1_801_440_000 - 1)
    assert hold.is_over(1_801_440_000)
    assert not LegalHold("").is_over(1 << 60)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("expire", "30", "not a duration"),
        ("expire", "59m", "less than an hour"),
        ("expire", "keep=flagged", "has an age"),
        ("expire", "30d keep=starred", "what can be kept"),
        ("expire", "30d by=size", "by=delivery, by=flag, by=date"),
        ("expire", "30d count=0", "from 1"),
        ("expire", "30d size=0", "everything"),
        ("expire", "30d size=2G", "two ways"),
        ("expire", "30d count=1 count=2", "twice"),
        ("expire", "30d max=1", 'no "max="'),
        ("retention", "for ever", "not a duration"),
        ("noexpire", "2027-01-31", "begins with"),
        ("noexpire", "until=2027-02-30", "not a date"),
        ("noexpire", "until=9999-12-31", "not a date"),
        ("noexpire", "until=0001-01-01", "not a date"),
        ("guard", "", None),
        ("guard", "share=101%", "not a share"),
        ("guard", "1000", "a guard rule is"),
        ("role", "Trash", "not one of"),
        ("unknown", "x", "no annotation"),
        ("expire", "30d\n", "one line"),
        ("noexpire", "forever " + "x" * TEXT_CHARS_MAX, "one line"),
    ],
)
def test_what_is_no_value_is_said(key: str, text: str, said: str | None) -> None:
    if said is None:
        assert parse(key, text) is None
        return
    with pytest.raises(ValueError, match=said):
        parse(key, text)


@pytest.mark.parametrize(
    "key", ["", "expire.x", "noexpire.", "noexpire.Case", "noexpire.a b", "foo", "noexpire." + 60 * "x"]
)
def test_what_is_no_key_is_said(key: str) -> None:
    with pytest.raises(ValueError, match=r"annotation|set several times|legal hold"):
        check_key(key)


def test_keys_of_later_versions_are_keys() -> None:
    assert is_key("archive-to")
    assert is_key("noexpire.case_1")
    for bad in ("", "(live)", "Expire", "expire.", ".x", "a b", "a\n", "9x", "x" * 65, "a.b.c"):
        assert not is_key(bad)


COUNTS = st.none() | st.integers(1, 10**9)
RULES = st.builds(
    Expire,
    st.none() | st.integers(3600, 10**9),
    st.sampled_from(BY),
    keep_flagged=st.booleans(),
    keep_unread=st.booleans(),
    count=COUNTS,
    size=st.none() | st.integers(1, 2**63 - 1),
).filter(lambda rule: not rule.is_never)
HOLDS = st.builds(
    LegalHold,
    st.just("name"),
    st.none() | st.integers(400, 400_000).map(lambda days: days * DAY),
    st.text("abc:- ", max_size=20).map(lambda text: " ".join(text.split())),
)
GUARDS = st.builds(
    GuardRule,
    COUNTS,
    st.none() | st.integers(0, 1000).map(lambda n: n / 1000),
    COUNTS,
    st.just(False),
).filter(lambda rule: rule != GuardRule()) | st.just(GuardRule(off=True))


@given(
    st.tuples(st.just("expire"), RULES | st.just(NEVER))
    | st.tuples(st.just("retention"), st.integers(0, 10**9))
    | st.tuples(st.just("noexpire.name"), HOLDS)
    | st.tuples(st.just("guard"), GUARDS)
    | st.tuples(st.just("role"), st.sampled_from(ROLES))
)
def test_what_is_written_reads_as_the_same(
    pair: tuple[str, Expire | LegalHold | GuardRule | int | str],
) -> None:
    key, value = pair
    text = write(value)
    assert is_text(text)
    assert parse(key, text) == value


@given(
    st.sampled_from([*NAMES, "noexpire.x", "later"]),
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "30d",
                "never",
                "by=flag",
                "by=",
                "keep=flagged",
                "count=5",
                "size=1GB",
                "forever",
                "until=2030-01-01",
                "x",
                "off",
            ]
        )
    ).map(" ".join),
)
def test_any_text_is_a_value_with_one_form_or_an_error_in_words(key: str, text: str) -> None:
    try:
        value = parse(key, text)
    except ValueError as err:
        assert str(err)
        return
    assert parse(key, write(value)) == value
    assert write(parse(key, write(value))) == write(value)
