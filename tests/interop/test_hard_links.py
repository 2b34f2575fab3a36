"""The limits of hard links: what programs do to a message, to the vault's object behind it, and what follows.

docs/explanation/hard-links.md says it in a table; here each row is done with the real program, as a user who has to
obey permissions, and the table must say what happened.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from docs.pages import read, rows
from interop.machines import Machine, deliver, mails, make_mailbox, message, program
from interop.programs import Notmuch, dovecot, imap, mutt

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PAGE = "docs/explanation/hard-links.md"
VIM = "vim -N -u NONE -i NONE -n -es --cmd 'set backupskip='"
"""Nobody's settings, and no exception for what lies in /tmp, where the tests' mail does."""


class Spool:
    """A laptop's store with its peer, and a message for each thing that is done."""

    def __init__(self, laptop: Machine, server: Machine) -> None:
        self.laptop, self.server = laptop, server
        self.vault = laptop.home / ".local/state/mailkeep/mail/objects"
        self.path: dict[int, Path] = {}

    def begin(self, count: int) -> None:
        for number in range(count):
            self.path[number] = deliver(self.laptop.mail, "", message(number), number, "S")
        make_mailbox(self.laptop.mail, ".Archive")
        self.laptop.mailkeep("init", "--store", "mail", self.laptop.mail)
        self.server.mailkeep("init", "--store", "mail", "--create", self.server.mail)
        self.laptop.mailkeep(
            "peer", "add", "server", "--command", f"{self.server.bin}/mailkeep serve --store mail"
        )
        self.sync()

    def sync(self) -> None:
        self.laptop.settle()
        assert self.laptop.sync()["exit"] == 0

    def object_of(self, number: int) -> Path:
        name = hashlib.sha256(message(number)).hexdigest()
        return self.vault / name[:2] / name

    def shell(self, number: int, line: str) -> None:
        """Type a line in the mailbox's directory; FILE is the message, NEW another text of it that lies elsewhere."""
        fresh = self.laptop.home / "fresh" / self.path[number].name
        fresh.parent.mkdir(exist_ok=True)
        fresh.write_bytes(message(number).replace(b"number", b"edited"))
        words = {
            "FILE": str(self.path[number]),
            "NEW": str(fresh),
            "ARCHIVE": str(self.laptop.mail / ".Archive/cur"),
        }
        for name, value in words.items():
            line = line.replace(name, shlex.quote(value))
        self.laptop.run(["bash", "-c", line], status=None)


Act = Callable[[Spool, int], None]


def typed(line: str) -> Act:
    return lambda spool, number: spool.shell(number, line)


def by_notmuch(spool: Spool, number: int) -> None:
    notmuch = Notmuch(spool.laptop)
    notmuch("new")
    notmuch("tag", "+flagged", "--", f"id:m.{number}@post.example")


def by_imap(*command: str) -> Act:
    """UID command on one message: STORE, COPY, MOVE, and EXPUNGE after it."""

    def act(spool: Spool, number: int) -> None:
        with dovecot(spool.laptop) as client:
            imap(client, "select", "INBOX")
            (uid,) = imap(client, "uid", "SEARCH", "SUBJECT", f'"m number {number}"')
            assert len(uid.split()) == 1
            imap(client, "uid", command[0], uid.decode(), *command[1:])
            if "(\\Deleted)" in command:
                imap(client, "expunge")

    return act


def by_mutt(keys: str) -> Act:
    def act(spool: Spool, number: int) -> None:
        editor = spool.laptop.home / "editor"
        editor.write_text('#!/bin/sh\nsed -i s/number/edited/ "$1"\n')
        editor.chmod(0o700)
        find = f"<search>~s 'm number {number}$'<enter>"
        mutt(
            spool.laptop,
            f"<enter-command>set editor={editor}<enter><last-entry>{find}{keys}<sync-mailbox><exit>",
        )

    return act


ACTS: dict[str, Act] = {
    "mutt: flag": by_mutt("<flag-message>"),
    "mutt: delete": by_mutt("<delete-message>"),
    "mutt: edit": by_mutt("<edit>"),
    "mutt: save to another mailbox": by_mutt("<save-message>=.Archive<enter>"),
    "notmuch: tag `flagged`": by_notmuch,
    "Dovecot: STORE a flag": by_imap("STORE", "+FLAGS", "(\\Flagged)"),
    "Dovecot: COPY": by_imap("COPY", "Archive"),
    "Dovecot: MOVE": by_imap("MOVE", "Archive"),
    "Dovecot: EXPUNGE": by_imap("STORE", "+FLAGS", "(\\Deleted)"),
    "`mv FILE ARCHIVE/`": typed("mv FILE ARCHIVE/"),
    "`rm -f FILE`": typed("rm -f FILE"),
    "`cp -a FILE ARCHIVE/`": typed("cp -a FILE ARCHIVE/"),
    "`cp -l FILE ARCHIVE/`": typed("cp -l FILE ARCHIVE/"),
    "`touch FILE`": typed("touch FILE"),
    "`sed -i s/number/edited/ FILE`": typed("sed -i s/number/edited/ FILE"),
    "`perl -pi -e s/number/edited/ FILE`": typed("perl -pi -e s/number/edited/ FILE"),
    "`: > FILE`": typed(": > FILE"),
    "`cp NEW FILE`": typed("cp NEW FILE"),
    "`cp -f NEW FILE`": typed("cp -f NEW FILE"),
    "`rsync -a NEW FILE`": typed("rsync -a NEW FILE"),
    "`rsync -a --inplace NEW FILE`": typed("rsync -a --inplace NEW FILE"),
    "vim: `:w`": typed(f"{VIM} FILE -c '%s/number/edited/' -c w -c qa!"),
    "vim: `:w!`": typed(f"{VIM} FILE -c '%s/number/edited/' -c w! -c qa!"),
    "vim: `:w!` with `backupcopy=no`": typed(
        f"{VIM} FILE -c 'set bkc=no' -c '%s/number/edited/' -c w! -c qa!"
    ),
    "`chmod u+w FILE`, vim: `:w`": typed(f"chmod u+w FILE; {VIM} FILE -c '%s/number/edited/' -c w -c qa!"),
    "`chmod u+w FILE`, vim: `:w` with `backupcopy=no`": typed(
        f"chmod u+w FILE; {VIM} FILE -c 'set bkc=no' -c '%s/number/edited/' -c w -c qa!"
    ),
    "`chmod u+w FILE; : > FILE`": typed("chmod u+w FILE; : > FILE"),
    "`chmod u+w FILE; tee FILE < NEW`": typed("chmod u+w FILE; tee FILE < NEW"),
}


def to_the_file(spool: Spool, number: int, inode: int) -> str:
    """What became of a message's file, by its name, its inode and its bytes."""
    path = spool.path[number]
    if path.exists():
        if path.stat().st_ino != inode:
            return "another file"
        if path.read_bytes() != message(number):
            return "written in place"
    named = [f for f in spool.laptop.mail.rglob("*") if f.is_file() and f.stat().st_ino == inode]
    if path in named:
        return "a second name" if len(named) > 1 else "nothing"
    return "another name" if named else "removed"


def for_mailkeep(before: dict[str, list[str]], after: dict[str, list[str]], number: int) -> str:
    """What the peer has of a message now, beside what it had: by mailbox, its digests with their flags."""
    digest = hashlib.sha256(message(number)).hexdigest()

    def places(state: dict[str, list[str]]) -> list[tuple[str, str]]:
        return sorted(
            (box, row[65:]) for box, found in state.items() for row in found if row.startswith(digest)
        )

    was, now = places(before), places(after)
    if was == now:
        return "nothing"
    if not now:
        return "deleted"
    if len(now) > len(was):
        return "a copy"
    return "moved" if was[0][0] != now[0][0] else "other flags"


def state_of(machine: Machine) -> dict[str, list[str]]:
    return {
        box: [f"{digest} {flags}" for digest, flags in found] for box, found in mails(machine.mail).items()
    }


def test_the_table_is_what_happens(laptop: Machine, server: Machine) -> None:
    for name in ("vim", "rsync", "notmuch", "mutt"):
        program(name)
    spool = Spool(laptop, server)
    spool.begin(len(ACTS))
    before = state_of(server)
    inodes = {number: path.stat().st_ino for number, path in spool.path.items()}
    happened, lost = {}, set()
    for number, (what, act) in enumerate(ACTS.items()):
        others = {n: (p.exists() and p.read_bytes()) for n, p in spool.path.items() if n > number}
        act(spool, number)
        assert others == {n: (p.exists() and p.read_bytes()) for n, p in spool.path.items() if n > number}, (
            what
        )
        if spool.object_of(number).read_bytes() != message(number):
            lost.add(number)
        happened[what] = to_the_file(spool, number, inodes[number])
    spool.laptop.settle()
    said = [row["where"] for row in laptop.sync(status=3)["problems_of_scan"]]
    spool.sync()
    after = state_of(server)
    assert state_of(laptop) == after
    texts = [
        file.read_bytes() for part in ("cur", "new") for d in server.mail.rglob(part) for file in d.iterdir()
    ]
    table = []
    for number, (what, effect) in enumerate(happened.items()):
        follows = for_mailkeep(before, after, number)
        again = [t for t in texts if f"<m.{number}@post".encode() in t and t != message(number)]
        if follows == "deleted" and (again or effect == "written in place"):
            follows = "another message"
        table.append([what, effect, "lost" if number in lost else "kept", follows])
    assert rows(read(PAGE), "## What programs do") == table, "\n" + as_table(table)
    # Each loss is said, and nothing else.
    assert sorted(said) == [str(spool.path[number].relative_to(laptop.mail)) for number in sorted(lost)]
    # Whatever became of a message here, its content is in a vault: the peer has it where this one lost it.
    for number in range(len(ACTS)):
        vaults = [spool.vault, server.home / ".local/state/mailkeep/mail/objects"]
        name = hashlib.sha256(message(number)).hexdigest()
        found = [vault / name[:2] / name for vault in vaults]
        assert any(path.exists() and path.read_bytes() == message(number) for path in found), number
    assert len(texts) == len(ACTS) + sum(row[3] == "a copy" for row in table) - sum(
        row[3] == "deleted" for row in table
    )
    for machine in (laptop, server):
        machine.mailkeep("verify")
    assert laptop.sync()["same"]


def as_table(table: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


# --- two names of one file


def test_writing_one_of_two_linked_copies_writes_both(laptop: Machine, server: Machine) -> None:
    spool = Spool(laptop, server)
    spool.begin(3)
    copy = laptop.mail / ".Archive/cur" / spool.path[1].name
    os.link(spool.path[1], copy)
    spool.sync()
    changed = message(1).replace(b"number", b"edited")
    spool.shell(1, "chmod u+w FILE; tee FILE < NEW > /dev/null")
    assert copy.read_bytes() == changed
    assert spool.object_of(1).read_bytes() == changed
    laptop.settle()
    done = laptop.sync(status=3)
    assert len(done["problems_of_scan"]) == 1
    assert "was written in place" in done["problems_of_scan"][0]["why"]
    for machine in (laptop, server):
        state = mails(machine.mail)
        assert state["."] == mails(laptop.mail)["."]
        assert hashlib.sha256(changed).hexdigest() in [digest for digest, _ in state["."]]
        assert [digest for digest, _ in state[".Archive"]] == [hashlib.sha256(changed).hexdigest()]
        assert len(state["."]) == 3
    # Nothing is damaged, and what it said before is in the peer's vault.
    for machine in (laptop, server):
        machine.mailkeep("verify")
    name = spool.object_of(1).name
    assert not spool.object_of(1).exists()
    there = server.home / ".local/state/mailkeep/mail/objects" / name[:2] / name
    assert there.read_bytes() == message(1)
    assert laptop.sync()["same"]


# --- backups and their restore

BACKUPS = {
    "tar": ("tar -cf BACKUP.tar -C HOME Maildir .local", "tar -xf BACKUP.tar -C HOME"),
    "cp -a": ("mkdir BACKUP; cp -a HOME/Maildir HOME/.local BACKUP", "cp -a BACKUP/. HOME"),
    "rsync -aH": ("rsync -aH HOME/Maildir HOME/.local BACKUP/", "rsync -aH BACKUP/ HOME/"),
    "rsync -a": ("rsync -a HOME/Maildir HOME/.local BACKUP/", "rsync -a BACKUP/ HOME/"),
}


@pytest.mark.parametrize("how", BACKUPS)
def test_maildir_and_state_on_a_new_disk(how: str, laptop: Machine, server: Machine, tmp_path: Path) -> None:
    """A whole backup that is restored at once: the store goes on, and nothing is there twice or sent again."""
    program("rsync")
    spool = Spool(laptop, server)
    spool.begin(4)
    before = mails(laptop.mail)
    for line in (BACKUPS[how][0], "rm -rf HOME/Maildir HOME/.local", BACKUPS[how][1]):
        line = line.replace("HOME", str(laptop.home)).replace("BACKUP", str(tmp_path / "backup"))
        laptop.run(["sh", "-ec", line])
    assert mails(laptop.mail) == before
    linked = {path.stat().st_nlink for path in spool.path.values()}
    assert linked == ({1} if how == "rsync -a" else {2})
    laptop.settle()
    done = laptop.sync()
    assert done["exit"] == 0
    assert not done["there"].get("added")
    assert mails(laptop.mail) == mails(server.mail) == before
    deliver(laptop.mail, "", message(70), 70, "S")
    spool.path[0].unlink()
    spool.sync()
    assert mails(laptop.mail) == mails(server.mail)
    assert len(mails(server.mail)["."]) == 4
    laptop.mailkeep("verify")
    assert laptop.sync()["same"]


@pytest.mark.parametrize("how", ["tar", "rsync"])
def test_a_maildir_restored_from_a_backup_lacks_nothing(
    how: str, laptop: Machine, server: Machine, tmp_path: Path
) -> None:
    """What came since the backup is put back from the vault; what was deleted since is there again, and said to be."""
    program("rsync")
    spool = Spool(laptop, server)
    spool.begin(4)
    home, backup = laptop.home, tmp_path / "backup"
    save = {
        "tar": f"tar -cf {backup} -C {home} Maildir",
        "rsync": f"rsync -a --delete {home}/Maildir/ {backup}/",
    }
    restore = {
        "tar": f"rm -rf {home}/Maildir; tar -xf {backup} -C {home}",
        "rsync": f"rsync -a --delete {backup}/ {home}/Maildir/",
    }
    laptop.run(["sh", "-ec", save[how]])
    deliver(laptop.mail, "", message(70), 70, "S")
    spool.path[2].unlink()
    spool.path[3].rename(spool.path[3].with_name(spool.path[3].name + "T"))
    spool.sync()
    laptop.run(["sh", "-ec", restore[how]])
    done = laptop.sync(status=(0, 3))
    have = {digest for digest, _ in mails(laptop.mail)["."]}
    assert {hashlib.sha256(message(n)).hexdigest() for n in (0, 1, 2, 3, 70)} == have
    assert done["exit"] == 0
    spool.sync()
    assert mails(laptop.mail) == mails(server.mail)
    laptop.mailkeep("verify")
    assert laptop.sync()["same"]
