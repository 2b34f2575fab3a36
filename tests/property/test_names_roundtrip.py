"""Names, their encodings and layouts: what we write, we read, and no two names share a place."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.wire import mutf7
from mailkeep.wire.layoutdetect import detect
from mailkeep.wire.layouts import FS, MAILDIRPP, UTF7, UTF8, Layout, Unmappable
from mailkeep.wire.patterns import NameMap, Pattern

LAYOUTS = [
    Layout(kind, encoding, inbox_at_root=at_root)
    for kind in (MAILDIRPP, FS)
    for encoding in (UTF7, UTF8)
    for at_root in (True, False)
]
# Dense in what is special somewhere: escapes, separators, umlauts in two forms, the parts of a Maildir.
TRICKY = st.sampled_from([*"&-.,+~ a=\\", "&-", "AOQ", "APw", "\u00fc", "u\u0308", "\u212b", "\U0001f4e7"])
COMPONENTS = st.one_of(
    st.lists(TRICKY, min_size=1, max_size=8).map("".join),
    st.sampled_from(
        ["cur", "new", "tmp", "INBOX", "inbox", "&APw-", "x" * 200, "\u53f0" * 60, "subscriptions"]
    ),
    st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/"),
        min_size=1,
        max_size=12,
    ),
)


@st.composite
def mailbox_names(draw: st.DrawFn) -> MailboxName:
    parts = draw(st.lists(COMPONENTS, min_size=1, max_size=4))
    try:
        return MailboxName(parts)
    except BadMailboxName:
        assume(False)
        raise


@given(st.text())
def test_text_form(text: str) -> None:
    with contextlib.suppress(BadMailboxName):
        name = MailboxName.parse(text)
        assert MailboxName.parse(str(name)) == name
        assert MailboxName(name.parts) == name
        assert len(str(name).encode()) <= 1000
        assert not {"", ".", ".."} & set(name.parts)


@given(st.text())
@example("&APw-")
def test_mutf7_text(text: str) -> None:
    try:
        data = mutf7.encode(text)
    except ValueError:
        assert any("\ud800" <= char <= "\udfff" for char in text)
        return
    assert data.isascii()
    assert data.decode("ascii").isprintable()
    assert mutf7.decode(data) == text


@given(st.one_of(st.binary(), st.text("&-,/AOPQw+ =\u00fc", max_size=12).map(str.encode)))
@example(b"&AOQ-&AOQ-")
def test_mutf7_bytes(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert mutf7.encode(mutf7.decode(data)) == data


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@given(name=mailbox_names())
def test_every_name_that_has_a_directory_comes_back(layout: Layout, name: MailboxName) -> None:
    try:
        directory = layout.directory(name)
    except Unmappable:
        return
    assert layout.name(directory) == name
    assert not directory.startswith(b"/")
    entries = directory.split(b"/")
    assert (entries == [b""]) == (layout.inbox_at_root and name.is_inbox)
    assert not {b".", b"..", b"cur", b"new", b"tmp"} & set(entries)
    assert all(len(entry) <= 255 and b"\0" not in entry for entry in entries)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@given(names=st.lists(mailbox_names(), min_size=2, max_size=2, unique=True))
@example(names=[MailboxName.parse("a&-b"), MailboxName.parse("a&b")])
@example(names=[MailboxName.parse("&APw-"), MailboxName.parse("\u00fc")])
def test_two_names_never_share_a_directory(layout: Layout, names: list[MailboxName]) -> None:
    with contextlib.suppress(Unmappable):
        assert layout.directory(names[0]) != layout.directory(names[1])


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@given(
    directory=st.one_of(
        st.binary(max_size=30), st.lists(TRICKY, max_size=8).map(lambda t: "".join(t).encode())
    )
)
def test_any_directory_has_a_name_or_a_reason(layout: Layout, directory: bytes) -> None:
    for path in (directory, b"." + directory):
        with contextlib.suppress(Unmappable):
            name = layout.name(path)
            assert MailboxName(name.parts) == name


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@given(names=st.lists(mailbox_names(), min_size=1, max_size=6))
def test_a_tree_of_ours_is_detected_as_one_that_reads_the_same_names(
    layout: Layout, names: list[MailboxName]
) -> None:
    inbox = MailboxName.parse("INBOX")
    directories = {}
    for name in [inbox, *names]:
        with contextlib.suppress(Unmappable):
            directories[layout.directory(name)] = name
    if set(directories.values()) == {inbox}:
        return  # one mailbox in the root says nothing about the rest
    found = detect(b"" in directories, [(path, True) for path in directories if path])
    assert found.layout.kind == layout.kind
    assert found.layout.inbox_at_root == layout.inbox_at_root
    assert {path: found.layout.name(path) for path in directories} == directories


@given(
    pattern=st.lists(st.sampled_from(["*", "%", "a", "b", "/", "\\*", "."]), min_size=1, max_size=10).map(
        "".join
    ),
    name=st.lists(st.text("ab*.", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_patterns_agree_with_regular_expressions(pattern: str, name: list[str]) -> None:
    assume(not {".", ".."} & set(name))
    tokens = re.findall(r"\\\*|.", pattern)
    wild = {"*": ".*", "%": "[^/]*", "\\*": r"\*"}
    expression = "".join(wild.get(token) or re.escape(token) for token in tokens)
    expected = re.fullmatch(expression, "/".join(name)) is not None
    assert Pattern(pattern).matches(MailboxName(name)) == expected


PREFIXES = st.sampled_from(["", "A", "A/B", "B", "C", "B/A"])


@given(
    pairs=st.lists(st.tuples(PREFIXES, PREFIXES), max_size=3),
    local=st.lists(
        st.lists(st.sampled_from("ABC"), min_size=1, max_size=3).map(MailboxName), max_size=8, unique=True
    ),
)
def test_a_map_without_problems_is_a_bijection_and_one_with_some_is_not(
    pairs: list[tuple[str, str]], local: list[MailboxName]
) -> None:
    mapped = NameMap(pairs)
    shadowed = len(mapped.problems([]))
    there = [mapped.to_peer(name) for name in local]
    good = len(set(there)) == len(there) and [mapped.to_local(name) for name in there] == local
    assert good == (len(mapped.problems(local)) == shadowed)
