"""missing and restore: what is not here is named and brought back, and nothing else, from whatever has it."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.machine import Machine, contents, mailbox
from mailkeep.wire import zstd


def mail(number: int, more: str = "") -> bytes:
    return (
        f"From: sender{number}@example.org\nTo: me@example.net\nSubject: number {number}\n"
        f"Message-ID: <m{number}@example.org>\nDate: Mon, 12 Jan 2026 10:11:12 +0100\n{more}\nbody of {number}\n"
    ).encode()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A store of 12 messages in three mailboxes."""
    machine = Machine(tmp_path / "home")
    root = machine.home / "Maildir"
    mailbox(root, *map(mail, range(4)))
    mailbox(root / ".Work", *map(mail, range(4, 8)), flags="FS")
    mailbox(root / ".Lists.Debian", *map(mail, range(8, 12)), flags="")
    for at, file in enumerate(sorted(root.rglob("cur/*"))):
        os.utime(file, (1_700_000_000 + at, 1_700_000_000 + at))
    return machine


def backup_and_destroy(machine: Machine, *gone: str) -> Path:
    """A backup, and then files removed before mailkeep ever saw them."""
    root, backup = machine.home / "Maildir", machine.home / "backup"
    shutil.copytree(root, backup, copy_function=shutil.copy2)
    for name in gone:
        for file in (root / name / "cur").iterdir():
            file.unlink()
    machine.ok("init", "--store", "mail", root)
    return backup


def counts(machine: Machine, source: str | Path, *more: str) -> dict[str, int]:
    result = machine.run("missing", "--against", source, "--json", *more)
    assert result.code in (0, 3, 4, 5), result
    found: dict[str, int] = result.json["counts"]
    return {state: count for state, count in found.items() if count}


def test_nothing_is_missing(machine: Machine) -> None:
    backup = backup_and_destroy(machine)
    result = machine.ok("missing", "--against", backup)
    assert "12 messages compared, 12 are here" in result.out
    assert "nothing is missing" in result.out
    result = machine.ok("restore", "--from", backup, "--yes")
    assert "nothing was brought back" in result.out
    assert machine.ok("log", "--json").json["runs"][0]["verb"] == "init"


def test_what_was_destroyed_comes_back_as_it_was(machine: Machine) -> None:
    backup = backup_and_destroy(machine, ".Work", ".Lists.Debian")
    root = machine.home / "Maildir"
    assert counts(machine, backup) == {"here": 4, "missing": 8}
    result = machine.run("missing", "--against", backup)
    assert result.code == 4
    assert "8 missing here" in result.out
    assert "<m5@example.org> in Work of 2023-11-" in result.out
    result = machine.run("missing", "--against", backup, "--ids")
    assert sorted(result.out.split()) == sorted(f"<m{n}@example.org>" for n in range(4, 12))
    result = machine.ok("restore", "--from", backup)
    assert "would bring back 8" in result.out
    assert "nothing was changed" in result.out
    assert contents(root / ".Work") == []
    result = machine.ok("restore", "--from", backup, "--yes")
    assert "8 messages brought back" in result.out
    for name in ("", ".Work", ".Lists.Debian"):
        assert contents(root / name) == contents(backup / name)
    by_bytes = {file.read_bytes(): file for file in backup.rglob("cur/*")}
    for file in root.rglob("cur/*"):
        before = by_bytes[file.read_bytes()]
        assert file.stat().st_mtime == before.stat().st_mtime
        assert file.name.rpartition(",")[2] == before.name.rpartition(",")[2]
    assert counts(machine, backup) == {"here": 12}
    assert machine.ok("restore", "--from", backup, "--json").json["plan"]["messages"] == 0
    assert machine.ok("verify").code == 0
    run = machine.ok("log", "--json").json["runs"][0]
    assert (run["verb"], run["counts"]["restored"]) == ("restore", 8)


def test_what_was_moved_since_is_not_missing(machine: Machine) -> None:
    backup = backup_and_destroy(machine)
    root = machine.home / "Maildir"
    for file in list((root / ".Work/cur").iterdir()):
        file.rename(root / "cur" / file.name)
    assert counts(machine, backup) == {"here": 12}
    assert machine.ok("restore", "--from", backup, "--yes", "--deleted-too", "--json").json["restored"] == 0


def test_what_was_removed_on_purpose_is_said_with_its_run_and_stays(machine: Machine) -> None:
    backup = backup_and_destroy(machine)
    root = machine.home / "Maildir"
    gone = sorted((root / ".Work/cur").iterdir())[0]
    data = gone.read_bytes()
    gone.unlink()
    machine.ok("missing", "--against", backup)
    result = machine.ok("missing", "--against", backup)
    assert "1 removed here on purpose" in result.out
    assert "removed from Work in run 2 (scan), by another program" in result.out
    table = machine.ok("missing", "--against", backup, "--json").json
    assert table["counts"]["deleted"] == 1
    (message,) = table["messages"]
    assert message["removed"]["mailbox"] == "Work"
    assert message["removed"]["cause"] == "found"
    assert message["removed"]["run"] == 2
    result = machine.ok("restore", "--from", backup, "--yes")
    assert "1 were removed here on purpose and stay so" in result.out
    assert data not in contents(root / ".Work")
    machine.ok("restore", "--from", backup, "--yes", "--deleted-too")
    assert data in contents(root / ".Work")


def test_a_held_disappearance_is_neither_missing_nor_deleted(machine: Machine) -> None:
    backup = backup_and_destroy(machine)
    shutil.rmtree(machine.home / "Maildir/.Work")
    result = machine.run("missing", "--against", backup)
    assert result.code == 5
    assert "held until somebody answers" in result.out
    assert counts(machine, backup) == {"here": 8, "held": 4}
    assert machine.run("restore", "--from", backup, "--yes", "--json").json["restored"] == 0


def test_duplicates_in_a_mailbox_and_copies_in_two_are_brought_back_as_they_were(machine: Machine) -> None:
    root = machine.home / "Maildir"
    data = mail(99)
    (root / ".Work/cur/1.a:2,S").write_bytes(data)
    (root / ".Work/cur/1.b:2,S").write_bytes(data)
    (root / ".Lists.Debian/new/1.c").write_bytes(data)
    backup = backup_and_destroy(machine, ".Work")
    (root / ".Lists.Debian/new/1.c").unlink()
    shutil.rmtree(machine.state())
    (root / "..mailkeep").unlink()
    machine.config.unlink()
    machine.ok("init", "--store", "mail", root)
    machine.ok("restore", "--from", backup, "--yes")
    assert contents(root / ".Work").count(data) == 2
    assert contents(root / ".Lists.Debian").count(data) == 1
    assert [file.read_bytes() for file in (root / ".Lists.Debian/new").iterdir()] == [data]


# --- an mbox


def as_mbox(*messages: bytes, quote: str = "rd", status: bool = False) -> bytes:
    out = b""
    for number, data in enumerate(messages):
        head, _, body = data.partition(b"\n\n")
        lines = []
        for line in body.split(b"\n"):
            if line.startswith(b"From ") or (quote == "rd" and line.lstrip(b">").startswith(b"From ")):
                line = b">" + line
            lines.append(line)
        if status:
            head += b"\nStatus: RO\nX-Status: F\nContent-Length: %d" % len(body)
        out += b"From sender@example.org Mon Jan 12 10:11:%02d 2026\n" % (number % 60)
        out += head + b"\n\n" + b"\n".join(lines) + b"\n"
    return out


QUOTED = mail(50) + b"\nFrom the beginning\n>From a reply\n\nFrom here: not a separator\n\n"
EMPTY_END = mail(51) + b"\n\n"


@pytest.mark.parametrize("pack", ["plain", "gz", "zst"])
@pytest.mark.parametrize(("quote", "status"), [("rd", False), ("o", False), ("rd", True)])
def test_an_mbox_is_the_same_mail(machine: Machine, pack: str, quote: str, status: bool) -> None:
    root = machine.home / "Maildir"
    (root / ".Work/cur/1.q:2,S").write_bytes(QUOTED)
    (root / ".Work/cur/1.e:2,S").write_bytes(EMPTY_END)
    machine.ok("init", "--store", "mail", root)
    data = as_mbox(*map(mail, range(12)), QUOTED, EMPTY_END, mail(77), quote=quote, status=status)
    if pack == "gz":
        data = gzip.compress(data[:3000]) + gzip.compress(data[3000:])
    elif pack == "zst":
        packed = zstd.compressor(3)
        data = packed.compress(data, zstd.FLUSH_FRAME)
    file = machine.home / "archive"
    file.write_bytes(data)
    assert counts(machine, file) == {"here": 14, "missing": 1}
    machine.ok("restore", "--from", file, "--yes", "--into", "Back")
    assert contents(root / ".Back") == [mail(77)]
    (name,) = [path.name for path in (root / ".Back/cur").iterdir()]
    assert name.endswith(":2,FS" if status else ":2,")
    assert counts(machine, file) == {"here": 15}


def test_a_message_that_an_mbox_changed_is_matched_and_not_doubled(machine: Machine) -> None:
    """Line ends, a field that a program added, an empty line more: Message-ID and body say that it is the same."""
    root = machine.home / "Maildir"
    machine.ok("init", "--store", "mail", root)
    changed = mail(3, "X-Spam: no\n").replace(b"\n", b"\r\n") + b"\r\n"
    other = mail(3).replace(b"body of 3", b"another body")
    file = machine.home / "archive"
    file.write_bytes(as_mbox(changed, other))
    assert counts(machine, file) == {"here": 1, "missing": 1}
    machine.ok("restore", "--from", file, "--yes")
    assert other in contents(root)
    assert len(contents(root)) == 5
    assert counts(machine, file) == {"here": 2}


def test_doubles_in_an_archive_come_back_once(machine: Machine) -> None:
    root = machine.home / "Maildir"
    machine.ok("init", "--store", "mail", root)
    file = machine.home / "archive"
    file.write_bytes(as_mbox(mail(60), mail(61), mail(60)))
    assert machine.ok("restore", "--from", file, "--yes", "--json").json["restored"] == 2
    assert contents(root).count(mail(60)) == 1


def test_only_a_list_and_only_since(machine: Machine) -> None:
    root = machine.home / "Maildir"
    machine.ok("init", "--store", "mail", root)
    file, wanted = machine.home / "archive", machine.home / "ids"
    file.write_bytes(as_mbox(*map(mail, range(60, 70))))
    wanted.write_text("# wanted\n<M61@example.org>\nid:m62@example.org\n\n")
    assert counts(machine, file, "--only", str(wanted)) == {"missing": 2}
    assert counts(machine, file, "--since", "2026-01-12 10:11:05") == {"missing": 5}
    machine.ok("restore", "--from", file, "--only", wanted, "--yes")
    assert {mail(61), mail(62)} <= set(contents(root))
    assert len(contents(root)) == 6


def test_what_came_directly_and_through_a_list_are_two_messages(machine: Machine) -> None:
    root = machine.home / "Maildir"
    listed = mail(3, "List-Id: <list.example.org>\n")
    (root / ".Lists.Debian/cur/1.l:2,S").write_bytes(listed)
    crlf = mail(5).replace(b"\n", b"\r\n")
    backup = backup_and_destroy(machine, ".Lists.Debian")
    (backup / ".Work/cur/1.c:2,S").write_bytes(crlf)  # the same as one that is here, but for its line ends
    assert counts(machine, backup) == {"here": 9, "missing": 5}
    machine.ok("restore", "--from", backup, "--yes")
    assert listed in contents(root / ".Lists.Debian")
    assert mail(3) in contents(root)
    assert crlf not in contents(root / ".Work")


def test_a_copy_of_a_home_with_its_state_is_a_backup_and_not_a_store(machine: Machine) -> None:
    """Nothing is locked, written or opened in it, though an index lies beside its Maildir."""
    root = machine.home / "Maildir"
    machine.ok("init", "--store", "mail", "--state", machine.home / ".mailkeep-Maildir", root)
    copy = machine.home / "copy"
    copy.mkdir()
    for name in ("Maildir", ".mailkeep-Maildir"):
        subprocess.run(["cp", "-a", machine.home / name, copy], check=True)
    (copy / ".mailkeep-Maildir/lock").unlink()
    for file in list((root / ".Work/cur").iterdir())[:1]:
        file.unlink()
    before = sorted((str(path), path.stat().st_mtime_ns) for path in copy.rglob("*"))
    result = machine.run("missing", "--against", copy / "Maildir", "--json")
    assert (result.code, result.json["source"]["kind"]) == (0, "maildir"), result
    assert result.json["counts"]["deleted"] == 1
    assert sorted((str(path), path.stat().st_mtime_ns) for path in copy.rglob("*")) == before


# --- what knows Message-IDs only


def test_a_list_of_message_ids(machine: Machine) -> None:
    root = machine.home / "Maildir"
    machine.ok("init", "--store", "mail", root)
    sorted((root / ".Work/cur").iterdir())[0].unlink()
    file = machine.home / "ids"
    file.write_text("<m1@example.org>\n<m4@example.org>\n<nobody@example.org>\n<M1@example.org>\n")
    result = machine.run("missing", "--against", file)
    assert result.code == 4
    assert "3 messages compared, 1 are here" in result.out
    assert "1 removed here on purpose; the vault has them still" in result.out
    assert "of which nobody has more than the Message-ID" in result.out
    assert "<nobody@example.org>" in result.out
    result = machine.run("restore", "--from", file, "--yes", "--json")
    assert (result.code, result.json["restored"]) == (3, 0)
    result = machine.run("restore", "--from", file, "--yes", "--deleted-too", "--json")
    assert (result.code, result.json["restored"]) == (3, 1)
    assert mail(4) in contents(root / ".Work")
    (back,) = [f for f in (root / ".Work/cur").iterdir() if f.read_bytes() == mail(4)]
    assert back.name.endswith(":2,FS")


POSTFIX = """\
Jan 12 10:00:00 mx postfix/smtpd[1]: AAAAA1: client=x[192.0.2.1]
Jan 12 10:00:00 mx postfix/cleanup[2]: AAAAA1: message-id=<m1@example.org>
Jan 12 10:00:00 mx postfix/qmgr[3]: AAAAA1: from=<a@b>, size=100, nrcpt=1 (queue active)
Jan 12 10:00:01 mx postfix/local[4]: AAAAA1: to=<me@example.net>, orig_to=<alias@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (delivered to maildir)
Jan 12 10:00:01 mx postfix/qmgr[3]: AAAAA1: removed
Jan 12 10:00:02 mx postfix/cleanup[2]: AAAAA2: message-id=<lost@example.org>
Jan 12 10:00:03 mx postfix/lmtp[4]: AAAAA2: to=<me@example.net>, relay=mx[private/dovecot-lmtp], dsn=2.0.0, status=sent (250 2.0.0 Saved)
Jan 12 10:00:02 mx postfix/cleanup[2]: AAAAA3: message-id=<sent-away@example.org>
Jan 12 10:00:03 mx postfix/smtp[4]: AAAAA3: to=<you@example.com>, relay=other[192.0.2.2]:25, dsn=2.0.0, status=sent (250 ok)
Jan 12 10:00:02 mx postfix/cleanup[2]: AAAAA4: message-id=<bounced@example.org>
Jan 12 10:00:03 mx postfix/local[4]: AAAAA4: to=<me@example.net>, relay=local, dsn=5.2.2, status=bounced (full)
Jan 12 11:00:02 mx postfix/cleanup[2]: AAAAA1: message-id=<late@example.org>
Jan 12 11:00:03 mx postfix/virtual[4]: AAAAA1: to=<her@example.net>, relay=virtual, dsn=2.0.0, status=sent (delivered to maildir)
"""


def test_a_mail_log(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    file = machine.home / "mail.log"
    file.write_text(POSTFIX)
    assert counts(machine, file) == {"here": 1, "nobody": 2}
    assert counts(machine, file, "--for", "me") == {"here": 1, "nobody": 1}
    assert counts(machine, file, "--for", "alias@example.net") == {"here": 1}
    year = machine.run("missing", "--against", file, "--json").json["messages"][0]["date"][:4]
    assert counts(machine, file, "--since", f"{year}-01-12 10:30") == {"nobody": 1}
    result = machine.run("missing", "--against", file, "--ids")
    assert result.out == "<lost@example.org>\n<late@example.org>\n"


def test_standard_input_is_read_once_and_nothing_is_restored_from_it(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")

    def piped(data: bytes, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mailkeep", *words], env=machine.environment(), cwd=machine.home, input=data,
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).decode()

    code, said = piped(gzip.compress(POSTFIX.encode()), "missing", "--against", "-")
    assert (code, "3 messages compared, 1 are here" in said) == (4, True), said
    code, said = piped(as_mbox(mail(1), mail(99)), "missing", "--against", "-")
    assert (code, "1 missing here" in said) == (4, True), said
    code, said = piped(as_mbox(mail(1), mail(99)), "restore", "--yes", "--from", "-")
    assert (code, "write it to a file first" in said) == (64, True), said
    assert len(contents(machine.home / "Maildir")) == 4


def test_a_dump_of_tags(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    file = machine.home / "tags.gz"
    dump = "#notmuch-dump batch-tag:3 config,properties,tags\n#= x y=z\n+inbox +a%20b -- id:m1@example.org\n+x -- id:gone@example.org\n"
    file.write_bytes(gzip.compress(dump.encode()))
    assert counts(machine, file) == {"here": 1, "nobody": 1}


# --- other stores


def test_another_store_and_its_vault(machine: Machine) -> None:
    root, other = machine.home / "Maildir", machine.home / "Other"
    machine.ok("init", "--store", "mail", root)
    mailbox(other, mail(1), mail(70), mail(71))
    machine.ok("init", "--store", "other", other)
    sorted((other / "cur").iterdir())[2].unlink()
    assert counts(machine, other, "--store", "mail") == {"here": 1, "missing": 1}
    assert counts(machine, "other", "--store", "mail") == {"here": 1, "missing": 1}
    machine.ok("restore", "--from", "other", "--store", "mail", "--yes")
    assert mail(70) in contents(root)
    assert mail(71) not in contents(root)
    wanted = machine.home / "ids"
    wanted.write_text(
        "m71@example.org\n"
    )  # asked for by name: what was removed there too, as long as its vault has it
    machine.ok("restore", "--from", "other", "--store", "mail", "--only", wanted, "--yes")
    assert mail(71) in contents(root)
    assert len(contents(other)) == 2
    assert machine.ok("verify", "--store", "other").code == 0


def test_a_peer_is_asked_in_a_session_that_changes_nothing(machine: Machine) -> None:
    root, other = machine.home / "Maildir", machine.home / "Other"
    machine.ok("init", "--store", "mail", root)
    mailbox(other, mail(1), mail(70))
    machine.ok("init", "--store", "other", other)
    machine.ok("peer", "add", "--store", "mail", "far", other)
    before = machine.ok("status", "--store", "other", "--json").json
    assert counts(machine, "far", "--store", "mail") == {"here": 1, "missing": 1}
    assert machine.ok("status", "--store", "other", "--json").json == before
    result = machine.run("restore", "--from", "far", "--store", "mail")
    assert result.code == 64
    assert "mailkeep sync far" in result.err


def test_a_store_whose_marker_cannot_be_read_is_a_maildir(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    other = mailbox(machine.home / "Other", mail(1), mail(70))
    machine.ok("init", "--store", "other", other)
    (other / "..mailkeep").write_text("nonsense")
    assert counts(machine, other, "--store", "mail") == {"here": 1, "missing": 1}
    shutil.rmtree(machine.home / "Maildir")
    result = machine.run("missing", "--against", other, "--store", "mail")
    assert result.code == 66
    assert "Traceback" not in result.err


# --- what is wrong with X


def test_what_is_nothing_that_is_understood(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    (machine.home / "noise").write_bytes(os.urandom(5000))
    (machine.home / "empty").write_bytes(b"")
    (machine.home / "nothing").mkdir()
    (machine.home / "syslog").write_text("Jan 12 10:00:00 mx kernel: hello\n" * 20)
    (machine.home / "cut.gz").write_bytes(gzip.compress(as_mbox(*map(mail, range(50))))[:-20])
    for name, code, words in (
        ("noise", 65, "nothing that is understood"), ("empty", 65, "is empty"), ("nothing", 65, "no Maildir tree"),
        ("syslog", 65, "no line of a mail server"), ("cut.gz", 65, "cut short"), ("nowhere", 66, "there is no"),
        ("Maildir", 64, "is the store mail itself"),
    ):  # fmt: skip
        for verb in (("missing", "--against"), ("restore", "--yes", "--from")):
            result = machine.run(*verb, name)
            assert result.code == code, result
            assert words in result.err, result
            assert "Traceback" not in result.err


def test_what_is_not_plain_mail_in_a_maildir_is_named_and_left(machine: Machine) -> None:
    backup = backup_and_destroy(machine, ".Work")
    os.mkfifo(backup / "cur/fifo")
    (backup / "cur/link").symlink_to("/etc/passwd")
    (backup / ".Linked").symlink_to(backup / ".Work")
    (backup / "cur/dir").mkdir()
    with (backup / "cur/huge").open("wb") as file:
        file.truncate(1 << 32)
    result = machine.run("missing", "--against", backup)
    assert result.code == 4
    for words in (
        "fifo: is no plain file",
        "link: is no plain file",
        ".Linked: is a symbolic link",
        "dir: is no plain file",
        "huge: 4 GiB or more",
    ):
        assert words in result.err
    result = machine.run("restore", "--from", backup, "--yes")
    assert result.code == 3
    assert contents(machine.home / "Maildir/.Work") == contents(backup / ".Work")


def test_options_of_the_other_kind_of_restore_are_refused(machine: Machine) -> None:
    machine.ok("init", "--store", "mail", machine.home / "Maildir")
    for words in (
        (), ("--from", "x", "--at", "now"), ("--from", "x", "--to", "d"), ("--from", "x", "INBOX"), ("--at", "now", "--only", "f"),
        ("--at", "now", "--deleted-too"), ("--from", "x", "--yes", "--dry-run"), ("--from", "x", "--into", "a//b"),
        ("--from", "x", "--since", "run 5"),
    ):  # fmt: skip
        result = machine.run("restore", *words)
        assert result.code == 64, (words, result)
        assert "not touched: anything" in result.err
