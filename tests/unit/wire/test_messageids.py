"""Lists of Message-IDs and dumps of tags."""

from __future__ import annotations

import pytest

from mailkeep.wire.messageids import notmuch, plain


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("<a@b>", "a@b"), ("a@b", "a@b"), ("  <a@b> ,", "a@b"), ("id:a@b", "a@b"), ("Message-ID: <a@b>", "a@b"), ("MESSAGE-id:a@b", "a@b"),
        ('"a@b"', "a@b"), ("<no-at-sign>", "no-at-sign"), ("", None), ("# comment", None), ("two words@x", None), ("plain", None),
        ("<a b@c>", None), ("<a@b> more", None), ("<>", None), ("<\x1c>", None), ("< >", None),
    ],
)  # fmt: skip
def test_lists(line: str, found: str | None) -> None:
    assert plain(line) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("+inbox +a%20b -- id:a@b", ("a@b", ["inbox", "a b"])),
        ("-- id:a@b", ("a@b", [])),
        ('+x -- id:"a(b)@c"', ("a(b)@c", ["x"])),
        ("+%c3%bc -- id:per%41cent@c", ("per%41cent@c", ["ü"])),
        ("+-- -- id:a@b", ("a@b", ["--"])),
        ("a@b (inbox unread)", ("a@b", ["inbox", "unread"])),
        ("a@b ()", ("a@b", [])),
        ("#notmuch-dump batch-tag:3 config,properties,tags", None),
        ("#@ search.exclude_tags deleted", None),
        ("#= a@b x=y", None),
        ("", None),
        ("+x -- id:", None),
        ("nothing at all", None),
    ],
)
def test_dumps(line: str, found: tuple[str, list[str]] | None) -> None:
    assert notmuch(line) == found
