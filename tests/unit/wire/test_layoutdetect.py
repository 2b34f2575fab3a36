from __future__ import annotations

import pytest

from mailkeep.wire.layoutdetect import detect

ROOT, BELOW = "inbox-at-root", "inbox-below-root"


@pytest.mark.parametrize(
    ("root_has_cur", "paths", "layout"),
    [
        (True, [], f"maildir++ utf-7 {ROOT}"),
        (False, [], f"maildir++ utf-7 {ROOT}"),
        (True, [b".Sent", b".Work.A"], f"maildir++ utf-7 {ROOT}"),
        (True, [b".Sent", b".Entw&APw-rfe"], f"maildir++ utf-7 {ROOT}"),
        (True, [b".Sent", ".Entw\u00fcrfe".encode()], f"maildir++ utf-8 {ROOT}"),
        (False, [b".Sent", b".INBOX"], f"maildir++ utf-7 {BELOW}"),
        (True, [b"Sent", b"Work/A"], f"fs utf-8 {ROOT}"),
        (False, [b"Inbox", b"Work/A"], f"fs utf-8 {BELOW}"),
        (False, [b"Work/A"], f"fs utf-8 {BELOW}"),
        (True, [b"Entw&APw-rfe"], f"fs utf-7 {ROOT}"),
        (True, [b"Lists/Q&-A"], f"fs utf-7 {ROOT}"),
        (True, [b"Q&A"], f"fs utf-8 {ROOT}"),
        (True, ["Entw\u00fcrfe".encode()], f"fs utf-8 {ROOT}"),
    ],
)
def test_clear_trees(root_has_cur: bool, paths: list[bytes], layout: str) -> None:
    found = detect(root_has_cur, [(path, True) for path in paths])
    assert str(found.layout) == layout
    assert found.certain, found.ambiguities
    assert len(found.reasons) >= 1


def test_directories_without_mail_do_not_count() -> None:
    listing = [
        (b"Work", False),
        (b".git", False),
        (b".Sent", True),
        (b"cur", True),
        (b".Sent/cur", False),
        (b"new/x", True),
    ]
    found = detect(True, listing)
    assert str(found.layout) == f"maildir++ utf-7 {ROOT}"
    assert found.certain


@pytest.mark.parametrize(
    ("root_has_cur", "paths", "layout", "doubt"),
    [
        (True, [b".A", b".B", b"C"], f"maildir++ utf-7 {ROOT}", "'C' would be in no mailbox"),
        (True, [b".A", b"B", b"C"], f"fs utf-8 {ROOT}", "'.A' would be in no mailbox"),
        (False, [b"Work", b"Work/.Sub"], f"fs utf-8 {BELOW}", "'Work/.Sub' would be in no mailbox"),
        (True, [b"Inbox", b"A"], f"fs utf-8 {ROOT}", "'Inbox' would be a second INBOX"),
        (True, [b".INBOX", b".A"], f"maildir++ utf-7 {ROOT}", "second INBOX"),
        (False, [b"INBOX", b"inbox"], f"fs utf-8 {BELOW}", "would all be INBOX"),
        (False, [b".A"], f"maildir++ utf-7 {ROOT}", "the root would become INBOX"),
        (
            True,
            [b".Entw&APw-rfe", ".L\u00fcck".encode()],
            f"maildir++ utf-8 {ROOT}",
            "modified UTF-7, others in UTF-8",
        ),
        (True, [b".l\xfcck"], f"maildir++ utf-7 {ROOT}", "neither"),
    ],
)
def test_ambiguous_trees(root_has_cur: bool, paths: list[bytes], layout: str, doubt: str) -> None:
    found = detect(root_has_cur, [(path, True) for path in paths])
    assert str(found.layout) == layout
    assert any(doubt in sentence for sentence in found.ambiguities), found.ambiguities
    assert not found.certain


def test_long_lists_are_cut() -> None:
    found = detect(True, [(b".box%d" % n, True) for n in range(2000)])
    assert "and 1997 more" in found.reasons[0]
