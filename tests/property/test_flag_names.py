"""Flags: what we write, we read, and nothing that another program wrote into a file name gets lost."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from mailkeep.domain.flags import LETTERS, OLD, BadFlags, canonical, is_atom, pack, unpack, valid
from mailkeep.wire.dovecotkeywords import add, parse, render
from mailkeep.wire.maildirname import flags_of, inexpressible, info_for, split, travelling_base

KEYWORDS = st.one_of(
    st.sampled_from(["$Forwarded", "work", "$junk", "ToDo", "a1"]),
    st.text(st.characters(codec="ascii"), min_size=2, max_size=6),
).map(canonical)
FLAGS = st.frozensets(st.one_of(st.sampled_from(sorted(LETTERS)), KEYWORDS.filter(valid)), max_size=8)
TABLES = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from("abcdxyz"),
        st.sampled_from(["$Forwarded", "WORK", "work", "todo", "l\u00fcck", "x", "Junk"]),
    ),
)
INFOS = st.one_of(st.just(b""), st.text("DFPRSTOXabxz,:2-", max_size=8).map(lambda t: b":2," + t.encode()))


@given(FLAGS)
def test_packed_flags(flags: frozenset[str]) -> None:
    text = pack(flags)
    assert unpack(text) == flags
    assert text.isascii()


@given(st.one_of(st.text(), st.text("FSOab $workF", max_size=10)))
def test_unpack_takes_only_what_pack_writes(text: str) -> None:
    with contextlib.suppress(BadFlags):
        flags = unpack(text)
        assert pack(flags) == text
        assert all(map(valid, flags))


@given(KEYWORDS)
def test_canonical_is_stable(keyword: str) -> None:
    assert canonical(canonical(keyword)) == canonical(keyword.upper()) == canonical(keyword)
    assert is_atom(keyword) == is_atom(canonical(keyword))


@given(FLAGS, TABLES, INFOS)
def test_flags_through_a_file_name(flags: frozenset[str], table: dict[str, str] | None, info: bytes) -> None:
    had, foreign = flags_of(info, table)
    assert all(map(valid, had))
    assert OLD not in had
    new = info_for(flags, table, foreign)
    read, kept = flags_of(new, table)
    assert read == flags - inexpressible(flags, table) - {OLD}
    assert sorted(kept.partition(b",")[0]) == sorted(foreign.partition(b",")[0])
    assert kept.partition(b",")[1:] == foreign.partition(b",")[1:]
    assert info_for(flags, table, kept) == new
    assert b"/" not in new


@given(TABLES, INFOS)
def test_a_name_that_nobody_changes_says_the_same(table: dict[str, str] | None, info: bytes) -> None:
    flags, foreign = flags_of(info, table)
    assert flags_of(info_for(flags, table, foreign), table)[0] == flags
    assert inexpressible(flags, table) == frozenset()


@given(st.binary(min_size=1, max_size=40), INFOS)
def test_split_loses_nothing(base: bytes, info: bytes) -> None:
    first, rest = split(base + info)
    assert first + rest == base + info
    assert split(first) == (first, b"")
    assert travelling_base(travelling_base(first)) == travelling_base(first)


@given(st.binary(), st.lists(KEYWORDS))
def test_dovecot_keywords(data: bytes, keywords: list[str]) -> None:
    table, _ = parse(data)
    assert parse(render(table)) == (table, ())
    new = add(table, keywords)
    assert table.items() <= new.items()
    assert parse(render(new)) == (new, ())
    shown = frozenset(keyword for keyword in keywords if valid(keyword) and len(keyword) > 1)
    assert len(new) == 26 or "z" in new or not inexpressible(shown, new)
