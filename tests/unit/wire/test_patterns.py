from __future__ import annotations

import pytest

from mailkeep.domain.names import COMPONENT_BYTES_MAX, BadMailboxName, MailboxName
from mailkeep.wire.patterns import PATTERN_CHARS_MAX, NameMap, Pattern, Patterns


def names(*texts: str) -> list[MailboxName]:
    return [MailboxName.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["A", "A/B", "INBOX"], []),
        ("%", ["A", "INBOX"], ["A/B"]),
        ("Work", ["Work"], ["work", "Works", "Work/A"]),
        ("Work/*", ["Work/A", "Work/A/B"], ["Work", "Works/A"]),
        ("Work/%", ["Work/A"], ["Work/A/B", "Work"]),
        ("Work*", ["Work", "Works", "Work/A/B"], ["A/Work"]),
        ("%/2024", ["A/2024"], ["2024", "A/B/2024"]),
        ("*/2024", ["A/2024", "A/B/2024"], ["2024", "A/2024/B"]),
        ("*a*b", ["ab", "xaxb", "a/b", "aabb"], ["ba", "abx"]),
        ("a%b*c", ["abc", "axb/yc"], ["a/bc"]),
        ("%*%", ["A", "A/B"], []),
        ("inbox", ["INBOX"], ["INBOX/A"]),
        ("inbox/*", ["INBOX/A"], ["INBOX"]),
        (r"100\%", ["100%"], ["1000"]),
        (r"\*", ["*"], ["A"]),
        (r"a\b", [r"a\b"], ["ab"]),
        ("a\\", ["a\\"], ["a"]),
        ("[a-z]?", ["[a-z]?"], ["b1"]),
        ("Entwu\u0308rfe", ["Entw\u00fcrfe"], ["Entwurfe"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = Pattern(pattern)
    assert [str(n) for n in names(*matching, *others) if compiled.matches(n)] == matching


def test_a_pattern_made_to_blow_up_does_not() -> None:
    assert not Pattern("*a%" * 300 + "b").matches(MailboxName(["a" * (COMPONENT_BYTES_MAX - 1)] * 3))


def test_bad_patterns() -> None:
    for text in ("", "x" * (PATTERN_CHARS_MAX + 1)):
        with pytest.raises(ValueError, match="pattern"):
            Pattern(text)
    with pytest.raises(ValueError, match="pattern"):
        Patterns.parse(["!"])


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        ([], ["INBOX", "Spam", "Work", "Work/A", "!x"]),
        (["*"], ["INBOX", "Spam", "Work", "Work/A", "!x"]),
        (["INBOX"], ["INBOX"]),
        (["!Spam"], ["INBOX", "Work", "Work/A", "!x"]),
        (["*", "!Spam", "!Work*", "Work/A"], ["INBOX", "Work/A", "!x"]),
        (["!*", "INBOX"], ["INBOX"]),
        ([r"\!x"], ["!x"]),
        ([r"!\!x"], ["INBOX", "Spam", "Work", "Work/A"]),
    ],
)
def test_last_match_wins(rules: list[str], chosen: list[str]) -> None:
    patterns = Patterns.parse(rules)
    assert [str(n) for n in names("INBOX", "Spam", "Work", "Work/A", "!x") if patterns.selects(n)] == chosen


def test_deciding_and_unused_rules() -> None:
    patterns = Patterns.parse(["*", "!Spam", "!Sapm"])
    assert patterns.deciding(MailboxName.parse("Spam")) == "!Spam"
    assert patterns.deciding(MailboxName.parse("A")) == "*"
    assert Patterns.parse(["A"]).deciding(MailboxName.parse("B")) is None
    assert patterns.unused(names("A", "Spam")) == ["!Sapm"]


@pytest.mark.parametrize(
    ("pairs", "local", "peer"),
    [
        ([], "A/B", "A/B"),
        ([("Archive", "Old/Archive")], "Archive", "Old/Archive"),
        ([("Archive", "Old/Archive")], "Archive/2024", "Old/Archive/2024"),
        ([("Archive", "Old/Archive")], "Archives", "Archives"),
        ([("A", "B"), ("B", "A")], "A/x", "B/x"),
        ([("A", "B"), ("B", "A")], "B/x", "A/x"),
        ([("A/B", "X"), ("A", "Y")], "A/B/C", "X/C"),
        ([("A/B", "X"), ("A", "Y")], "A/C", "Y/C"),
        ([("", "Laptop")], "INBOX", "Laptop/INBOX"),
        ([("", "Laptop")], "A/B", "Laptop/A/B"),
        ([("INBOX", "Inbox2")], "INBOX", "Inbox2"),
    ],
)
def test_name_map(pairs: list[tuple[str, str]], local: str, peer: str) -> None:
    mapped = NameMap(pairs)
    assert mapped.to_peer(MailboxName.parse(local)) == MailboxName.parse(peer)
    assert mapped.to_local(MailboxName.parse(peer)) == MailboxName.parse(local)
    assert mapped.problems(names(local), names(peer)) == []


def test_two_local_names_to_one_peer_name() -> None:
    found = NameMap([("Archive", "Old")]).problems(names("Archive", "Old"))
    assert found == ["'Archive' and 'Old' here would both be 'Old' at the peer"]


def test_a_name_that_does_not_come_back() -> None:
    found = NameMap([("Archive", "Old")]).problems(names("Old/x"))
    assert found == ["'Old/x' here is 'Old/x' at the peer, which would come back as 'Archive/x'"]


def test_peer_names_are_checked_too() -> None:
    mapped = NameMap([("", "Laptop")])
    found = mapped.problems(names("A"), names("Laptop/A", "Other", "Laptop"))
    assert len(found) == 2
    assert "'Laptop' at the peer is 'Laptop' here, which would come back as 'Laptop/Laptop'" in found
    assert "'Other' at the peer is 'Other' here, which would come back as 'Laptop/Other'" in found


def test_shadowed_pairs() -> None:
    found = NameMap([("A", "X"), ("A/B", "Y")]).problems([])
    assert len(found) == 1
    assert "'A/B' <-> 'Y' is never used for names here: 'A' <-> 'X', which comes before it" in found[0]


def test_names_over_the_limits() -> None:
    mapped = NameMap([("A", "/".join("x" * 50))])
    with pytest.raises(BadMailboxName):
        mapped.to_peer(MailboxName.parse("A/B"))
    assert "cannot be mapped" in mapped.problems(names("A/B"))[0]
    with pytest.raises(BadMailboxName):
        NameMap([("A//B", "C")])
