from __future__ import annotations

import pytest

from mailkeep.domain.names import MailboxName
from mailkeep.wire.layouts import FS, MAILDIRPP, UTF7, UTF8, Layout, Unmappable

PLUS, PLUS8 = Layout(), Layout(MAILDIRPP, UTF8)
NEST, NEST7 = Layout(FS, UTF8), Layout(FS, UTF7)


@pytest.mark.parametrize(
    ("layout", "name", "directory"),
    [
        (PLUS, "INBOX", b""),
        (PLUS, "INBOX/Sub", b".INBOX.Sub"),
        (PLUS, "Work/Client A", b".Work.Client A"),
        (PLUS, "Entw\u00fcrfe", b".Entw&APw-rfe"),
        (PLUS, "Q&A/B", b".Q&-A.B"),
        (PLUS, "cur", b".cur"),
        (PLUS8, "Entw\u00fcrfe/Q&A", ".Entw\u00fcrfe.Q&A".encode()),
        (PLUS8, "a&-b", b".a&--b"),
        (PLUS8, "&APw-", b".&-APw-"),
        (PLUS, "mailkeeper", b".mailkeeper"),
        (NEST, "mailkeep", b"mailkeep"),
        (NEST, "INBOX", b""),
        (NEST, "INBOX/Sub", b"INBOX/Sub"),
        (NEST, "Work/Client A.B", b"Work/Client A.B"),
        (NEST, "Entw\u00fcrfe/B", "Entw\u00fcrfe/B".encode()),
        (NEST7, "Entw\u00fcrfe/Q&A", b"Entw&APw-rfe/Q&-A"),
        (NEST7, "\u53f0\u5317", b"&U,BTFw-"),
        (NEST, "New", b"New"),
        (Layout(FS, UTF8, inbox_at_root=False), "INBOX", b"INBOX"),
        (Layout(MAILDIRPP, UTF7, inbox_at_root=False), "INBOX", b".INBOX"),
    ],
)
def test_there_and_back(layout: Layout, name: str, directory: bytes) -> None:
    assert layout.directory(MailboxName.parse(name)) == directory
    assert layout.name(directory) == MailboxName.parse(name)


@pytest.mark.parametrize(
    ("layout", "name", "reason"),
    [
        (PLUS, "A.B", "a dot in 'A.B'"),
        (PLUS, "mailkeep", "'.mailkeep', where mailkeep marks"),
        (PLUS, "mailkeep/A", "marks its own roots"),
        (PLUS, "Work/.hidden", "a dot in"),
        (PLUS, "/".join(["x" * 100] * 3), "303 bytes"),
        (PLUS, "\u00fc" * 127, "bytes as one directory name"),
        (NEST, "A/cur", "'cur'"),
        (NEST, "tmp/A", "'tmp'"),
        (NEST, "new", "'new'"),
        (NEST, "A/.hidden", "hidden"),
        (NEST, "dovecot-uidlist", "Dovecot"),
        (NEST, "A/dovecot.index.cache", "Dovecot"),
        (NEST, "subscriptions", "Dovecot"),
        (NEST7, "\u00fc" * 127, "bytes as a directory name"),
    ],
)
def test_names_without_a_place(layout: Layout, name: str, reason: str) -> None:
    with pytest.raises(Unmappable) as caught:
        layout.directory(MailboxName.parse(name))
    assert reason in str(caught.value)
    assert caught.value.subject == MailboxName.parse(name)


@pytest.mark.parametrize(
    ("layout", "directory", "reason"),
    [
        (PLUS, b"Work", "dot before"),
        (PLUS, b".Work/Sub", "directly below"),
        (PLUS, b".", "empty component"),
        (PLUS, b"..", "empty component"),
        (PLUS, b"..a", "empty component"),
        (PLUS, b".a.", "empty component"),
        (PLUS, b".a..b", "empty component"),
        (PLUS, b".INBOX", "second INBOX"),
        (PLUS, b".inbox", "second INBOX"),
        (PLUS, b".l\xfcck", "neither"),
        (PLUS, b".a\nb", "control character"),
        (PLUS, b".&AAA-", "control character"),
        (NEST, b".hidden", "hidden"),
        (NEST, b"A/.hidden", "hidden"),
        (NEST, b"../A", "hidden"),
        (NEST, b"A/cur", "part of a Maildir"),
        (NEST, b"/etc", "empty component"),
        (NEST, b"A//B", "empty component"),
        (NEST, b"Inbox", "second INBOX"),
        (NEST, b"l\xfcck", "neither"),
        (Layout(FS, UTF8, inbox_at_root=False), b"", "the root"),
        (Layout(MAILDIRPP, UTF7, inbox_at_root=False), b"", "the root"),
    ],
)
def test_directories_without_a_name(layout: Layout, directory: bytes, reason: str) -> None:
    with pytest.raises(Unmappable) as caught:
        layout.name(directory)
    assert reason in str(caught.value)
    assert caught.value.subject == directory
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("layout", [PLUS, PLUS8])
@pytest.mark.parametrize(
    ("directory", "name"),
    [
        (b".Q&A", "Q&A"),
        (b".R&amp;D", "R&amp;D"),
        (b".A&AC8-B", "A&AC8-B"),  # no legal way to write A/B
        (b".Entw&APw-rfe", "Entw\u00fcrfe"),
        (".Entw\u00fcrfe".encode(), "Entw\u00fcrfe"),
        (".Entwu\u0308rfe".encode(), "Entw\u00fcrfe"),
        (".\u00fc&APw-".encode(), "\u00fc&APw-"),
        (".\u00fc.&APw-".encode(), "\u00fc/\u00fc"),
    ],
)
def test_names_are_read_by_what_they_are(layout: Layout, directory: bytes, name: str) -> None:
    assert layout.name(directory) == MailboxName.parse(name)


def test_values() -> None:
    assert Layout() == Layout(MAILDIRPP, UTF7, inbox_at_root=True)
    assert len({PLUS, PLUS8, NEST, NEST7, Layout()}) == 4
    for layout in (PLUS, PLUS8, NEST, NEST7, Layout(FS, UTF8, inbox_at_root=False)):
        assert Layout.parse(str(layout)) == layout
    assert str(PLUS) == "maildir++ utf-7 inbox-at-root"
    assert (PLUS.separator, NEST.separator) == (b".", b"/")
    assert PLUS != "maildir++"
    for text in ("", "maildir++", "mbox utf-7 inbox-at-root", "fs utf-8 inbox-at-root "):
        with pytest.raises(ValueError, match="not a layout"):
            Layout.parse(text)
    with pytest.raises(ValueError, match="maildir"):
        Layout("mbox")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="encoding"):
        Layout(FS, "latin-1")  # type: ignore[arg-type]
