from __future__ import annotations

from mailkeep.wire.dovecotkeywords import KEYWORDS_MAX, add, parse, render


def test_parse_and_render() -> None:
    data = b"0 $Forwarded\n1 work\n25 last\n"
    table, ignored = parse(data)
    assert table == {"a": "$Forwarded", "b": "work", "z": "last"}
    assert ignored == ()
    assert render(table) == data


def test_empty() -> None:
    assert parse(b"") == ({}, ())
    assert render({}) == b""


def test_garbage_is_passed_over_and_named() -> None:
    table, ignored = parse(
        b"0 one\nnonsense\n26 over\n-1 under\n1\n2 \n0 again\n999999999999 far\n\n1 two words"
    )
    assert table == {"a": "one", "b": "two words"}
    assert [sentence.split(":")[0].split()[1] for sentence in ignored] == ["2", "3", "4", "5", "6", "7", "8"]
    assert "second meaning" in ignored[5]


def test_bytes_that_are_no_text_come_back() -> None:
    data = b"0 l\xc3\xbcck\n1 l\xfcck\n"
    assert render(parse(data)[0]) == data


def test_add() -> None:
    table = {"a": "$Forwarded", "c": "Work"}
    new = add(table, ["work", "zeta", "alpha", "S", "a", "$Forwarded", "in valid"])
    assert new == {**table, "d": "alpha", "e": "zeta"}, "b is a gap, not free"
    assert table == {"a": "$Forwarded", "c": "Work"}
    assert add({}, ["work"]) == {"a": "work"}


def test_letters_run_out() -> None:
    table = add({}, [f"key{n:02}" for n in range(40)])
    assert len(table) == KEYWORDS_MAX
    assert table["z"] == "key25"
    assert add(table, ["more"]) == table
    assert parse(render(table)) == (table, ())
