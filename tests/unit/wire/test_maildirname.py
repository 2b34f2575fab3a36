from __future__ import annotations

import pytest

from mailkeep.wire.maildirname import flags_of, inexpressible, info_for, is_creatable, split, travelling_base

TABLE = {"a": "$Forwarded", "b": "Work", "c": "l\u00fcck", "d": "x"}


@pytest.mark.parametrize(
    ("filename", "base", "info"),
    [
        (b"1.M1P2.host", b"1.M1P2.host", b""),
        (b"1.host:2,", b"1.host", b":2,"),
        (b"1.host,S=10,W=11:2,FS", b"1.host,S=10,W=11", b":2,FS"),
        (b"1.host:1,xyz", b"1.host:1,xyz", b""),
        (b"1.host:8080:2,S", b"1.host:8080", b":2,S"),
        (b"1.host:2,S:2,F", b"1.host", b":2,S:2,F"),
        (b"1.host!2,S", b"1.host!2,S", b""),
        (b"1.host;2,S", b"1.host;2,S", b""),
        (b"1.host:", b"1.host:", b""),
        (b"msg \xff", b"msg \xff", b""),
        (b":2,S", b"", b":2,S"),
    ],
)
def test_split(filename: bytes, base: bytes, info: bytes) -> None:
    assert split(filename) == (base, info)
    assert base + info == filename


def test_two_files_of_one_directory_keep_two_bases() -> None:
    names = [b"host:8080.x:2,S", b"host:8081.x:2,", b"1:1,a", b"1:1,b"]
    assert len({split(name)[0] for name in names}) == len(names)


@pytest.mark.parametrize(
    ("info", "flags", "foreign"),
    [
        (b"", "", b""),
        (b":2,", "", b""),
        (b":2,DFPRST", "DFPRST", b""),
        (b":2,TSSF", "FST", b""),
        (b":2,Sab", "Sab", b""),
        (b":2,OSX", "S", b"OX"),  # an O in a name is not ours: the directory says what is old
        (b":2,S,more=1,F", "S", b",more=1,F"),
        (b":2,S\xff", "S", b"\xff"),
    ],
)
def test_flags_without_a_table(info: bytes, flags: str, foreign: bytes) -> None:
    assert flags_of(info) == (frozenset(flags), foreign)


def test_flags_with_a_table() -> None:
    assert flags_of(b":2,FSab", TABLE) == (frozenset(("F", "S", "$Forwarded", "work")), b"")
    assert flags_of(b":2,Scdz", TABLE) == (frozenset("S"), b"cdz"), (
        "letters without a usable meaning stay here"
    )
    assert flags_of(b":2,Sa", {}) == (frozenset("S"), b"a")


@pytest.mark.parametrize(
    ("flags", "foreign", "info"),
    [
        (frozenset(), b"", b""),
        (frozenset("O"), b"", b":2,"),
        (frozenset("S"), b"", b":2,S"),
        (frozenset("OTSFbaD"), b"", b":2,DFSTab"),
        (frozenset("OS"), b"XE", b":2,ESX"),
        (frozenset("OS"), b"a,more", b":2,Sa,more"),
        (frozenset(), b",more", b":2,,more"),
        (frozenset("Oa"), b"a", b":2,a"),
        (frozenset(("O", "S", "work")), b"", b":2,S"),
    ],
)
def test_info_without_a_table(flags: frozenset[str], foreign: bytes, info: bytes) -> None:
    assert info_for(flags, None, foreign) == info


def test_info_with_a_table() -> None:
    assert info_for(frozenset(("O", "S", "work", "$Forwarded", "other", "z")), TABLE, b"c") == b":2,Sabc"
    assert info_for(frozenset(("O", "work")), {"q": "WORK", "e": "work"}) == b":2,e", (
        "the lowest of two letters"
    )


def test_inexpressible() -> None:
    assert inexpressible(frozenset("OSab")) == frozenset()
    assert inexpressible(frozenset(("S", "work"))) == {"work"}
    assert inexpressible(frozenset("OSD"), TABLE) == frozenset()
    assert inexpressible(frozenset(("O", "S", "a", "work", "other")), TABLE) == {"a", "other"}


def test_raw_letter_of_one_machine_is_no_keyword_of_another() -> None:
    there, _ = flags_of(b":2,Sb")
    assert info_for(there | {"O"}, TABLE) == b":2,S"
    assert inexpressible(there, TABLE) == {"b"}


@pytest.mark.parametrize(
    ("base", "travelling"),
    [
        (b"1.host", b"1.host"),
        (b"1.host,U=12", b"1.host"),
        (b"1_0.9.host,U=12,FMD5=7e33429f656f1e6e9d79b29c3f82c57e", b"1_0.9.host"),
        (b"1.host,S=10,U=3,W=11", b"1.host,S=10,W=11"),
        (b"1.host,U=", b"1.host,U="),
        (b"1.host,U=x", b"1.host,U=x"),
        (b"1.host,FMD5=", b"1.host,FMD5="),
        (b"1.host,FMD5=hello", b"1.host,FMD5=hello"),
        (b"1.host,URL=1", b"1.host,URL=1"),
        (b",U=1", b""),
    ],
)
def test_travelling_base(base: bytes, travelling: bytes) -> None:
    assert travelling_base(base) == travelling


def test_creatable() -> None:
    assert is_creatable(b"1700000000.M1P2Q3.host,S=10")
    assert is_creatable(b"x" * 200)
    for base in (b"", b".", b"..", b".x", b"a/b", b"a\0", b"a:2,S", b"a\n", b"a b", b"\xff", b"x" * 201):
        assert not is_creatable(base)
