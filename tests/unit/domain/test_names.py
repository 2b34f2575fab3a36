from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from mailkeep.domain.names import (
    COMPONENT_BYTES_MAX,
    DEPTH_MAX,
    INBOX,
    NAME_BYTES_MAX,
    BadMailboxName,
    MailboxName,
)


def test_parts_and_text() -> None:
    name = MailboxName.parse("Work/Client A.B/2024")
    assert name.parts == ("Work", "Client A.B", "2024")
    assert str(name) == "Work/Client A.B/2024"
    assert name == MailboxName(("Work", "Client A.B", "2024"))
    assert repr(name) == "MailboxName('Work/Client A.B/2024')"


def test_composed_and_decomposed_spellings_are_one_name() -> None:
    composed, decomposed = MailboxName.parse("Entw\u00fcrfe"), MailboxName.parse("Entwu\u0308rfe")
    assert composed == decomposed
    assert hash(composed) == hash(decomposed)
    assert decomposed.parts == ("Entw\u00fcrfe",)


@pytest.mark.parametrize("text", ["INBOX", "inbox", "InBox"])
def test_inbox_in_any_case(text: str) -> None:
    assert MailboxName.parse(text) == INBOX
    assert MailboxName.parse(text).is_inbox
    assert str(MailboxName.parse(text + "/Sub")) == "INBOX/Sub"
    assert not MailboxName.parse(text + "/Sub").is_inbox


def test_only_the_first_ascii_component_is_inbox() -> None:
    assert str(MailboxName.parse("A/inbox")) == "A/inbox"
    assert not MailboxName.parse("\u0131nbox").is_inbox  # dotless i: upper() makes it an ASCII I
    assert str(MailboxName.parse("Inbox2")) == "Inbox2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty component"),
        ("/", "empty component"),
        ("A//B", "empty component"),
        ("/etc", "empty component"),
        ("A/", "empty component"),
        (".", "elsewhere"),
        ("A/../../B", "elsewhere"),
        ("A\0B", "U+0000"),
        ("A\nB", "U+000A"),
        ("A\x7f", "U+007F"),
        ("A\x85", "U+0085"),
        ("A\u2028B", "U+2028"),
        ("A\ud800", "surrogate"),
        ("x" * (COMPONENT_BYTES_MAX + 1), "256 bytes"),
        ("\u00fc" * 128, "256 bytes"),
        ("/".join("x" * (DEPTH_MAX + 1)), "51 components"),
        ("/".join(["x" * 250] * 4), "longer than 1000"),
        ("/".join(["\u00fc" * 100] * 5), "longer than 1000"),
    ],
)
def test_bad_names(text: str, reason: str) -> None:
    with pytest.raises(BadMailboxName) as caught:
        MailboxName.parse(text)
    assert reason in caught.value.reason
    assert caught.value.text == text
    assert str(caught.value).isprintable()


def test_bad_parts() -> None:
    for parts in ((), ("A/B",), ("",), ("A", "")):
        with pytest.raises(BadMailboxName):
            MailboxName(parts)


def test_limits_are_reached() -> None:
    assert MailboxName.parse("x" * COMPONENT_BYTES_MAX).parts == ("x" * COMPONENT_BYTES_MAX,)
    assert len(MailboxName.parse("/".join("x" * DEPTH_MAX)).parts) == DEPTH_MAX
    assert MailboxName.parse("/".join(["x" * 199] * 5)).parts[4] == "x" * 199
    assert len(str(MailboxName.parse("/".join(["x" * 199] * 5)))) == NAME_BYTES_MAX - 1


def test_a_long_hostile_text_is_cut_in_the_message() -> None:
    with pytest.raises(BadMailboxName) as caught:
        MailboxName.parse("x" * 1_000_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text", [" ", "A B", " lead", "100%", "*", "a\\b", "~root", "\u00a0", "\U0001f4e7", "-rf", "..a"]
)
def test_odd_but_good_names(text: str) -> None:
    assert str(MailboxName.parse(text)) == text


def test_parent_and_below() -> None:
    name = MailboxName.parse("A/B/C")
    assert name.parent == MailboxName.parse("A/B")
    assert MailboxName.parse("A").parent is None
    assert name.is_below(MailboxName.parse("A"))
    assert not name.is_below(name)
    assert not MailboxName.parse("AB").is_below(MailboxName.parse("A"))


def test_order_is_by_component() -> None:
    texts = ["A", "A/B", "A/B/C", "A B", "B"]
    assert [str(n) for n in sorted(map(MailboxName.parse, reversed(texts)))] == texts
    assert MailboxName.parse("A") <= MailboxName.parse("A/B") < MailboxName.parse("B")
    assert MailboxName.parse("B") >= MailboxName.parse("A/B") > MailboxName.parse("A")


def test_immutable_and_no_string() -> None:
    name = MailboxName.parse("A")
    with pytest.raises(AttributeError):
        name.parts = ("B",)
    with pytest.raises(AttributeError):
        del name.parts
    assert name != "A"
    assert copy.deepcopy(name) == name
    assert pickle.loads(pickle.dumps(name)) == name


def test_modules_of_the_hot_path_import_nothing_else() -> None:
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import mailkeep.domain.flags, mailkeep.domain.names, mailkeep.wire.layouts, mailkeep.wire.maildirname\n"
        "import mailkeep.wire.dovecotkeywords, mailkeep.wire.mutf7, mailkeep.wire.patterns\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [module for module in loaded if not module.startswith(("mailkeep", "__"))] == []
