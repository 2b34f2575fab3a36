from __future__ import annotations

import pytest

from mailkeep.domain import flags
from mailkeep.domain.flags import BadFlags, canonical, pack, unpack, valid
from mailkeep.domain.record import NOT_FLAGS


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), ""),
        (("S",), "S"),
        (("S", "F", "O", "a"), "FOSa"),
        (("work", "$Forwarded", "S", "F"), "FS $Forwarded work"),
        (("work",), " work"),
        (("fs", "F", "S"), "FS fs"),
    ],
)
def test_packing(names: tuple[str, ...], text: str) -> None:
    assert pack(frozenset(names)) == text
    assert pack(list(names)) == text
    assert unpack(text) == frozenset(names)
    assert pack(frozenset(names)) == text, "the memo"
    assert unpack(text) == frozenset(names), "the memo"


@pytest.mark.parametrize(
    "text",
    [
        "SF",
        "SS",
        "X",
        "S ",
        " ",
        "S  work",
        "S work $Forwarded",
        "S work work",
        "S a",
        "S\tx",
        "S Work",
        "S w(x",
        "S \u00fcx",
        "0",
    ],
)
def test_only_what_pack_writes_is_unpacked(text: str) -> None:
    with pytest.raises(BadFlags):
        unpack(text)


@pytest.mark.parametrize(
    "name",
    ["", "X", "\\Seen", "a b", "a{", "]x", 'q"q', "p%", "\u00fcber", "x" * 256, "Work", "$forwarded", "1"],
)
def test_invalid(name: str) -> None:
    assert not valid(name)
    with pytest.raises(BadFlags):
        pack(frozenset((name,)))


@pytest.mark.parametrize(
    "name",
    [
        "D",
        "F",
        "P",
        "R",
        "S",
        "T",
        "O",
        "a",
        "z",
        "aa",
        "$Forwarded",
        "x" * 255,
        "[gmail",
        "to-do",
        "NonJunk",
    ],
)
def test_valid(name: str) -> None:
    assert valid(name)


def test_splitbrain_keyword_spelled_differently_on_two_machines_is_one_flag() -> None:
    assert canonical("$FORWARDED") == canonical("$forwarded") == "$Forwarded"
    assert canonical("ToDo") == canonical("TODO") == "todo"


def test_no_keyword_can_stand_in_the_place_of_another_register() -> None:
    assert not any(map(valid, NOT_FLAGS))


def test_limits() -> None:
    most = frozenset(f"key{n}" for n in range(flags.KEYWORDS_MAX))
    assert unpack(pack(most)) == most
    for text in (" " + " ".join(sorted([*most, "zz"])), " " * 100_000):
        with pytest.raises(BadFlags):
            unpack(text)
    with pytest.raises(BadFlags):
        pack(most | {"zz"})


def test_memos_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "_MEMO_ENTRIES_MAX", 10)
    monkeypatch.setattr(flags, "_packed", {})
    monkeypatch.setattr(flags, "_unpacked", {})
    for n in range(100):
        assert unpack(f"S key{n}") == {"S", f"key{n}"}
        unpack(" " + "x" * 200)
    assert len(flags._packed) <= 10
    assert len(flags._unpacked) <= 10
