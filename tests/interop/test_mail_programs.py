"""notmuch, mutt, Dovecot and mbsync on Maildirs that mailkeep keeps: before the first sync, between syncs, and on what came by one.

mailkeep makes messages read-only for their owner (0400), since they share their bytes with the vault. Both
programs are run as a user who has to obey that.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from interop.machines import Machine, contents, deliver, mails, make_mailbox, message, ordinary, program
from interop.programs import Notmuch, dovecot, dovecot_command, imap, mutt

pytestmark = [pytest.mark.interop, pytest.mark.slow]

COUNT = 8


@pytest.fixture
def pair(laptop: Machine, server: Machine) -> tuple[Machine, Machine]:
    """A laptop with some mail, whose peer is an empty server of the same layout; both are stores."""
    for number in range(COUNT):
        deliver(laptop.mail, "", message(number), number, "S" if number % 2 else None)
    make_mailbox(laptop.mail, ".Archive")
    laptop.mailkeep("init", "--store", "mail", laptop.mail)
    server.mailkeep("init", "--store", "mail", "--create", server.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    return laptop, server


def sync(laptop: Machine) -> None:
    laptop.settle()
    assert laptop.sync()["exit"] == 0


def digest_of(number: int) -> str:
    return hashlib.sha256(message(number)).hexdigest()


def assert_read_only(machine: Machine) -> None:
    """What the test is about: every message is 0400, and that means something to this user."""
    files = [f for part in ("cur", "new") for d in machine.mail.rglob(part) for f in d.iterdir()]
    assert files
    assert {f.stat().st_mode & 0o777 for f in files} == {0o400}
    assert machine.run(["sh", "-c", f': >> "{files[0]}"'], status=None).returncode != 0


# --- notmuch


def test_notmuch_reads_and_tags(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    mine, theirs = Notmuch(laptop), Notmuch(server)
    assert f"Added {COUNT} new messages" in mine("new")
    sync(laptop)
    assert_read_only(server)
    assert f"Added {COUNT} new messages" in theirs("new")
    assert theirs("count", "tag:unread").strip() == str(COUNT // 2)
    assert "m number 3" in theirs("search", "subject:number", "and", "id:m.3@post.example")
    # Tags on the server become flags in file names there (notmuch renames the files), then flags and tags here.
    theirs("tag", "-unread", "--", "id:m.0@post.example")
    theirs("tag", "+flagged", "+replied", "--", "id:m.1@post.example")
    sync(laptop)
    mine("new")
    assert mine("search", "--output=messages", "tag:flagged", "and", "tag:replied").split() == [
        "id:m.1@post.example"
    ]
    assert "id:m.0@post.example" not in mine("search", "--output=messages", "tag:unread").split()
    assert mails(laptop.mail) == mails(server.mail)
    # What is deleted through notmuch on one side is gone from the other, and notmuch there notices.
    mine("tag", "+trashed", "--", "id:m.5@post.example")
    for file in mine("search", "--output=files", "tag:trashed").split():
        Path(file).unlink()
    mine("new")
    sync(laptop)
    assert "Removed 1 message" in theirs("new")
    assert len(contents(server.mail)) == COUNT - 1
    assert mails(laptop.mail) == mails(server.mail)
    # The database lies in the mail root, the state does not; neither was taken for mail by the other.
    assert sorted(mails(server.mail)) == [".", ".Archive"]
    assert laptop.sync()["same"]


def test_notmuch_insert_into_a_store(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    theirs = Notmuch(server)
    sync(laptop)
    theirs("new")
    done = subprocess.run(
        [*ordinary(), theirs.program, "insert", "--folder=.Archive", "--create-folder", "+work"],
        input=message(50), env={**server.environment, **theirs.environment}, check=True, timeout=30, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0
    sync(laptop)
    assert [digest for digest, _ in mails(laptop.mail)[".Archive"]] == [digest_of(50)]
    assert mails(laptop.mail) == mails(server.mail)


# --- mutt


def test_mutt_flags_deletes_and_moves(pair: tuple[Machine, Machine]) -> None:
    laptop, server = pair
    # Before the first sync, in the store that was indexed.
    assert_read_only(laptop)
    mutt(laptop, "<first-entry><flag-message><last-entry><delete-message><sync-mailbox><exit>")
    sync(laptop)
    left = [n for n in range(COUNT) if n != COUNT - 1]
    assert sorted(contents(server.mail)) == sorted(map(digest_of, left))
    # On the other side, in messages that came by the sync.
    assert_read_only(server)
    assert dict(mails(server.mail)["."])[digest_of(0)] in ("F", "FS")
    mutt(
        server,
        "2<enter><toggle-new>3<enter><display-message><exit>4<enter><save-message>=.Archive<enter>"
        "5<enter><delete-message>6<enter><set-flag>r<sync-mailbox><exit>",
    )
    after = mails(server.mail)
    # mutt writes a moved message anew, with a Content-Length: it is another message for everybody.
    (saved,) = (server.mail / ".Archive/cur").iterdir()
    assert b"Subject: m number 3\n" in saved.read_bytes()
    assert digest_of(3) not in contents(server.mail)
    assert digest_of(4) not in contents(server.mail)
    assert dict(after["."])[digest_of(5)] == "RS"
    assert "S" in dict(after["."])[digest_of(2)]
    sync(laptop)
    assert mails(laptop.mail) == after
    # And back again: what was moved over there is moved on here.
    mutt(laptop, "<first-entry><save-message>=<enter><sync-mailbox><exit>", ".Archive")
    sync(laptop)
    assert mails(server.mail) == mails(laptop.mail)
    assert mails(server.mail)[".Archive"] == []
    assert {digest_of(n) for n in left if n not in (3, 4)} < set(contents(server.mail))
    assert len(contents(server.mail)) == COUNT - 2
    assert laptop.sync()["same"]


def test_mutt_edits_a_message(pair: tuple[Machine, Machine]) -> None:
    """mutt's edit writes a new file and deletes the old: both sides have the new text once, and the vault the old."""
    laptop, server = pair
    sync(laptop)
    editor = server.home / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/number/edited/ "$1"\n')
    editor.chmod(0o700)
    rc_editor = f"<enter-command>set editor={editor}<enter>"
    mutt(server, f"{rc_editor}<first-entry><edit><sync-mailbox><exit>")
    sync(laptop)
    assert mails(laptop.mail) == mails(server.mail)
    assert len(contents(laptop.mail)) == COUNT
    assert digest_of(0) not in contents(laptop.mail)
    vault = laptop.home / ".local/state/mailkeep/mail/objects"
    assert (vault / digest_of(0)[:2] / digest_of(0)).read_bytes() == message(0)


# --- Dovecot


def test_dovecot_shows_what_came_and_its_keywords_travel(pair: tuple[Machine, Machine]) -> None:
    """IMAP clients on both sides: mail, flags and keywords that one sets, the other sees."""
    laptop, server = pair
    sync(laptop)
    assert_read_only(server)
    with dovecot(server) as there:
        assert imap(there, "select", "INBOX") == [str(COUNT).encode()]
        (uid,) = imap(there, "uid", "SEARCH", "SUBJECT", '"m number 3"')
        imap(there, "uid", "STORE", uid.decode(), "+FLAGS", "(\\Answered $Forwarded invoices)")
        there.append("INBOX", "(\\Flagged)", "", message(60))
        imap(there, "create", "Projects")
        imap(
            there,
            "uid",
            "MOVE",
            imap(there, "uid", "SEARCH", "SUBJECT", '"m number 5"')[0].decode(),
            "Projects",
        )
    sync(laptop)
    with dovecot(laptop) as here:
        assert imap(here, "select", "INBOX") == [str(COUNT).encode()]
        (uid,) = imap(here, "uid", "SEARCH", "KEYWORD", "invoices")
        assert len(uid.split()) == 1
        (shown,) = imap(here, "uid", "FETCH", uid.decode(), "(FLAGS)")
        assert {b"\\Answered", b"\\Seen", b"$Forwarded", b"invoices"} <= set(
            shown.split(b"(")[2].rstrip(b")").split()
        )
        assert len(imap(here, "uid", "SEARCH", "FLAGGED")[0].split()) == 1
        imap(here, "uid", "STORE", uid.decode(), "-FLAGS", "(invoices)")
        assert imap(here, "select", "Projects") == [b"1"]
        imap(here, "store", "1", "+FLAGS", "(\\Deleted)")
        imap(here, "expunge")
    sync(laptop)
    with dovecot(server) as there:
        imap(there, "select", "INBOX")
        assert imap(there, "uid", "SEARCH", "KEYWORD", "invoices") == [b""]
        assert len(imap(there, "uid", "SEARCH", "KEYWORD", "$Forwarded")[0].split()) == 1
        assert imap(there, "select", "Projects") == [b"0"]
    assert contents(laptop.mail) == contents(server.mail)
    assert len(contents(laptop.mail)) == COUNT
    for machine in (laptop, server):
        machine.mailkeep("verify")
    assert laptop.sync()["same"]


# --- mbsync


def test_mbsync_on_the_same_maildir(pair: tuple[Machine, Machine]) -> None:
    """Another synchroniser, of an IMAP account, works in the store's Maildir: it notes UIDs in file names."""
    laptop, server = pair
    sync(laptop)
    account = Machine(laptop.home / "account")
    deliver(account.mail, "", message(70), 70, "F")
    near, far = laptop.mail, " ".join(dovecot_command(account))
    config = laptop.home / "mbsyncrc"
    config.write_text(
        f'IMAPStore far\nTunnel "{far}"\n\nMaildirStore near\nInbox {near}\nSubFolders Maildir++\n\n'
        f"Channel mail\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Both\nExpunge Both\n"
        f"SyncState {laptop.home}/mbsync-\n"
    )

    def mbsync() -> None:
        laptop.run([program("mbsync"), "-q", "-c", config, "-a"])

    mbsync()
    assert all(",U=" in file.name for part in ("cur", "new") for file in (near / part).iterdir())
    assert len(contents(account.mail)) == COUNT + 1
    laptop.settle()
    done = laptop.sync()
    assert done["exit"] == 0
    # What it renamed is no new message; what it brought is one, without the UID that is its own affair.
    assert done["there"] == {"added": 1}
    assert not any(",U=" in file.name for file in server.mail.rglob("*"))
    assert len(contents(server.mail)) == COUNT + 1
    (flagged,) = [file for file in (server.mail / "cur").iterdir() if file.name.endswith(":2,F")]
    flagged.rename(flagged.with_name(flagged.name + "S"))
    next(file for file in (server.mail / "new").iterdir()).unlink()
    sync(laptop)
    mbsync()
    assert [flags for _, flags in mails(account.mail)["."]].count("FS") == 1
    assert len(contents(account.mail)) == COUNT
    assert mails(laptop.mail) == mails(server.mail)
    assert laptop.sync()["same"]
    laptop.mailkeep("verify")
