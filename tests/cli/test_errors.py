"""What goes wrong for people, one test each: the message says what, where, what was not touched, what to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.machine import Machine, Result, contents, files, mailbox, message

pytestmark = pytest.mark.slow


def says(result: Result, code: int, *parts: str) -> None:
    """The exit status, and each part in what was said; an error also says what was not touched and what to do."""
    assert result.code == code, result
    for part in (*parts, "mailkeep: ", "not touched: ", "to do: "):
        assert part in result.err, (part, result)
    assert "Traceback" not in result.err, result


@contextlib.contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    """A file system mounted for a while; the test is skipped where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    done = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        for _ in range(50):  # another program may just be looking around in it
            if subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def unprivileged() -> tuple[str, ...]:
    """What to put before a command so that file permissions count for it, root or not."""
    if os.geteuid() != 0:
        return ()
    prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    probe = subprocess.run([*prefix, "cat", "/proc/self/status"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"root's privileges cannot be dropped here: {probe.stderr.strip()}")
    return prefix


# --- peers


def test_a_peer_that_is_not_configured(pair: Machine) -> None:
    done = pair.run("sync", "sever")
    assert done.code == 78, done
    assert 'has no peer "sever"' in done.err
    assert "to do: peers it has: other" in done.err


def test_a_peer_whose_maildir_is_not_there(pair: Machine) -> None:
    shutil.rmtree(pair.home / "Other")
    says(
        pair.run("sync"),
        66,
        "the peer other says",
        str(pair.home / "Other"),
        "is not there",
        "there: mount it",
    )
    assert len(contents(pair.home / "Maildir")) == 3


def test_no_peer_at_all(here: Machine) -> None:
    mailbox(here.home / "Maildir", message(1))
    here.ok("init", here.home / "Maildir")
    says(here.run("sync"), 66, "has no peer yet", "mailkeep peer add")


def test_the_peer_is_not_running_any_mailkeep(pair: Machine) -> None:
    for name, command in (("lacks", "exec /nonexistent/mailkeep serve"), ("lacks2", "sh -c 'exit 127'")):
        pair.ok("peer", "add", name, "--command", command)
        says(pair.run("sync", name), 69, "no mailkeep at the far end", name, "install it there")


def test_the_far_end_is_another_program(pair: Machine) -> None:
    pair.ok("peer", "add", "chatty", "--command", "echo Welcome to this machine; cat > /dev/null")
    says(
        pair.run("sync", "chatty"),
        76,
        "the far end is not mailkeep; it said: 'Welcome to this machine'",
        "start-up files",
    )


def test_the_far_end_speaks_another_version(pair: Machine) -> None:
    pair.ok("peer", "add", "newer", "--command", "echo mailkeep/9; cat > /dev/null")
    says(
        pair.run("sync", "newer"),
        76,
        "the far end speaks mailkeep/9",
        "this one mailkeep/2",
        "has the older one",
    )


def test_this_end_is_of_another_version(pair: Machine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mailkeep", "serve", "--store", "other"], env=pair.environment(), input=b"mailkeep/9 dry=0\n",
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 76, done
    assert b"speaks mailkeep/9" in done.stdout


def test_ssh_is_refused(pair: Machine) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here")
    pair.ok("peer", "add", "far", "ssh://nobody@127.0.0.1:1/")
    says(
        pair.run("sync", "far"),
        69,
        "ssh could not reach ssh://nobody@127.0.0.1:1/",
        "refused",
        "ssh -T -p 1 -l nobody",
    )


def test_a_peer_that_goes_away_at_once(pair: Machine) -> None:
    pair.ok("peer", "add", "mute", "--command", "true")
    says(pair.run("sync", "mute"), 69, "mute", "before it said anything", "ssh HOST mailkeep --version")


def test_a_peer_that_says_nothing(pair: Machine) -> None:
    pair.ok("peer", "add", "still", "--command", "exec sleep 30")
    pair.config.write_text(
        pair.config.read_text().replace(
            'command = "exec sleep 30"', 'command = "exec sleep 30"\ntimeout = "1s"'
        )
    )
    began = time.monotonic()
    says(pair.run("sync", "still"), 69, "said nothing for 1 second")
    assert time.monotonic() - began < 10


def test_one_store_on_both_ends(pair: Machine) -> None:
    pair.ok("peer", "add", "me", pair.home / "Maildir")
    began = time.monotonic()
    says(pair.run("sync", "me"), 64, "both ends of this session are one store", str(pair.home / "Maildir"))
    assert time.monotonic() - began < 8
    says(
        pair.run("sync", pair.home / "Maildir", pair.home / "Maildir"),
        64,
        "both ends of this session are one store",
    )


def test_a_store_that_another_run_has(pair: Machine) -> None:
    with (pair.state() / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        says(pair.run("sync"), 6, "another mailkeep run has this store", "--wait 5m")
        says(pair.run("verify"), 6, "another mailkeep run has this store")
        assert "a run is going on" in pair.ok("status").out
        assert pair.ok("status", "--json").json["stores"][0]["busy"]
    with (pair.state("other") / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        says(
            pair.run("sync", "--wait", "1s"),
            6,
            "the peer other is busy",
            "another mailkeep run has this store",
        )


# --- the store


def test_the_root_is_missing(pair: Machine) -> None:
    (pair.home / "Maildir").rename(pair.home / "elsewhere")
    for verb in ("sync", "verify"):
        says(
            pair.run(verb),
            66,
            f"the Maildir {pair.home}/Maildir is not there",
            "says nothing about its mail",
            "mount it",
        )
    says(pair.run("status"), 66, "is not there")
    (pair.home / "elsewhere").rename(pair.home / "Maildir")
    pair.ok("sync")


def test_an_empty_directory_in_place_of_the_root_deletes_nothing(pair: Machine) -> None:
    pair.ok("sync")
    (pair.home / "Maildir").rename(pair.home / "elsewhere")
    mailbox(pair.home / "Maildir")
    says(
        pair.run("sync"),
        66,
        "its marker ..mailkeep is missing",
        "an empty or foreign directory",
        "init --adopt",
    )
    assert len(contents(pair.home / "Other")) == 3
    says(pair.run("init", "--adopt", pair.home / "Maildir"), 66, "holds no mail", "3 messages", "--force")
    pair.ok("init", "--adopt", "--force", pair.home / "Maildir")
    assert len(contents(pair.home / "Maildir")) == 3
    pair.ok("sync")
    assert len(contents(pair.home / "Other")) == 3


def test_the_marker_is_missing_and_the_maildir_adopted(pair: Machine) -> None:
    pair.ok("sync")
    (pair.home / "Maildir/..mailkeep").unlink()
    says(pair.run("sync"), 66, "its marker ..mailkeep is missing")
    says(pair.run("status"), 66, "its marker ..mailkeep is missing")
    says(pair.run("init", pair.home / "Maildir"), 66, "its marker ..mailkeep is missing")
    files(pair.home / "Maildir")[0].unlink()  # nobody knows when: it is put back
    done = pair.ok("init", "--adopt", pair.home / "Maildir")
    assert "1 put back" in done.out
    pair.ok("sync")
    assert len(contents(pair.home / "Maildir")) == len(contents(pair.home / "Other")) == 3
    assert pair.ok("sync", "--json").json["peers"][0]["same"]


def test_the_marker_is_another_stores(pair: Machine) -> None:
    shutil.copy(pair.home / "Other/..mailkeep", pair.home / "Maildir/..mailkeep")
    says(
        pair.run("sync"), 65, f"{pair.home}/Maildir belongs to another mailkeep store", "mailkeep config show"
    )
    says(pair.run("init", "--adopt", pair.home / "Maildir"), 65, "belongs to another mailkeep store")
    assert pair.run("status").code == 65


def test_a_marker_that_cannot_be_read(pair: Machine) -> None:
    (pair.home / "Maildir/..mailkeep").write_bytes(b"something else\n")
    says(pair.run("sync"), 65, "the marker", "cannot be read")


def test_the_state_is_lost(pair: Machine) -> None:
    pair.ok("sync")
    shutil.rmtree(pair.state())
    says(
        pair.run("sync"),
        74,
        str(pair.state()),
        "is gone, though",
        "carries its marker",
        "mailkeep rebuild",
    )
    says(pair.run("status"), 74, "is gone, though")
    pair.ok("init", "--adopt", pair.home / "Maildir")
    pair.ok("sync")
    assert len(contents(pair.home / "Maildir")) == len(contents(pair.home / "Other")) == 3


def test_the_index_is_lost_and_the_vault_is_there(pair: Machine) -> None:
    pair.ok("sync")
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (pair.state() / name).unlink(missing_ok=True)
    says(pair.run("sync"), 74, "the index of the store", "is gone, its vault is there", "mailkeep rebuild")
    pair.ok("init", "--adopt", pair.home / "Maildir")
    pair.ok("sync")
    assert len(contents(pair.home / "Other")) == 3


def test_the_index_is_damaged(pair: Machine) -> None:
    index = pair.state() / "index.db"
    index.write_bytes(b"this is no database" * 1000)
    says(pair.run("sync"), 74, "the index", "is damaged", "no database", "mailkeep rebuild")
    says(pair.run("status"), 74, "the index")


def test_not_a_store_yet(here: Machine) -> None:
    mailbox(here.home / "Maildir")
    says(here.run("init", here.home / "Maildi"), 66, "is not there", "--create")
    here.ok("init", here.home / "Maildir")
    here.configure(f'[stores.new]\npath = "{here.home}/New"\npeers.x.path = "/nowhere"')
    mailbox(here.home / "New")
    says(
        here.run("sync", "--store", "new"),
        66,
        f"{here.home}/New is not a mailkeep store yet",
        "mailkeep init",
    )


def test_state_inside_a_maildir_is_refused(here: Machine) -> None:
    mailbox(here.home / "Maildir", message(1))
    done = here.run("init", here.home / "Maildir", "--state", here.home / "Maildir/.state")
    says(done, 64, "would lie inside the Maildir", "--state")
    assert not (here.home / "Maildir/.state").exists()


def test_no_configuration_and_a_broken_one(here: Machine) -> None:
    done = here.run("sync")
    assert done.code == 78, done
    assert "no store is configured" in done.err
    assert "to do: mailkeep init --store mail ~/Maildir" in done.err
    here.config.parent.mkdir(parents=True)
    here.config.write_text("[stores.mail]\npath = '~/Maildir'\nstat = 'x'\n")
    done = here.run("status")
    assert done.code == 78, done
    assert "config.toml:3" in done.err
    assert "state" in done.err
    here.config.write_text("[stores.mail\n")
    assert "not valid TOML" in here.run("sync").err


@pytest.mark.parametrize(
    ("key", "value", "made"), [("layout", "fs", "maildir++"), ("encoding", "utf-8", "utf-7")]
)
def test_another_layout_than_the_store_was_made_with(pair: Machine, key: str, value: str, made: str) -> None:
    mailbox(pair.home / "Maildir/.Work", message(8))
    pair.ok("sync")
    text = pair.config.read_text()
    pair.config.write_text(text.replace("[stores.mail]\n", f'[stores.mail]\n{key} = "{value}"\n'))
    for words in (("sync",), ("sync", "--dry-run"), ("check", "--offline"), ("status",)):
        done = pair.run(*words)
        assert done.code == (4 if "check" in words else 78), done
        assert f'is configured with {key} = "{value}", and it was made with "{made}"' in done.err
        assert f'write {key} = "{made}" or "auto"' in done.err
    pair.config.write_text(text.replace("[stores.mail]\n", f'[stores.mail]\n{key} = "{made}"\n'))
    pair.ok("sync")
    assert contents(pair.home / "Other/Work") == [message(8)]


def test_init_takes_the_layout_that_is_configured(here: Machine) -> None:
    here.config.parent.mkdir(parents=True)
    here.config.write_text(f"[stores.mail]\npath = '{here.home}/Mail'\nlayout = 'fs'\nencoding = 'utf-8'\n")
    here.ok("init", "--create", here.home / "Mail")
    assert here.ok("status", "--json").json["stores"][0]["layout"].split()[:2] == ["fs", "utf-8"]


# --- file systems


def test_a_read_only_file_system(pair: Machine) -> None:
    pair.ok("sync")
    mailbox(pair.home / "Other", message(9))
    with mounted(pair.home, "--bind", str(pair.home)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(pair.home)], check=True)
        says(pair.run("sync"), 74, "Read-only file system", "dmesg")
        assert pair.run("status").code in (0, 74)
    pair.ok("sync")
    assert len(contents(pair.home / "Maildir")) == 4


def test_a_read_only_maildir_with_writable_state(pair: Machine) -> None:
    pair.ok("sync")
    mailbox(pair.home / "Other", message(9))
    with mounted(pair.home / "Maildir", "--bind", str(pair.home / "Maildir")):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(pair.home / "Maildir")], check=True)
        says(pair.run("sync"), 74, "Read-only file system", "read-write")
    pair.ok("sync")
    assert len(contents(pair.home / "Maildir")) == 4
    pair.ok("verify")


def test_no_hard_links_between_state_and_maildir(here: Machine) -> None:
    mailbox(here.home / "Maildir", *map(message, range(3)))
    state = here.home / "state"
    state.mkdir()
    with mounted(state, "-t", "tmpfs", "none"):
        done = here.ok("init", here.home / "Maildir", "--state", state / "mail")
        assert "by copy" in done.out
        assert "twice its size" in done.out
        here.ok("peer", "add", "other", here.home / "Other")
        here.ok("init", "--store", "o", "--create", here.home / "Other")
        here.config.write_text(
            here.config.read_text().replace("[stores.mail]\n", "[stores.mail]\ndefault = true\n")
        )
        here.ok("sync")
        files(here.home / "Other")[0].unlink()
        mailbox(here.home / "Other", message(7))
        here.ok("sync")
        assert len(contents(here.home / "Maildir")) == 3
        assert contents(here.home / "Maildir") == contents(here.home / "Other")
        assert not list((here.home / "Maildir/tmp").iterdir())
        assert all(file.stat().st_nlink == 1 for file in files(here.home / "Maildir"))
        assert "the vault copies" in here.ok("check").out
        here.ok("verify")


def test_a_folder_that_cannot_be_read_is_unknown_and_not_empty(pair: Machine) -> None:
    mailbox(pair.home / "Maildir/.Secret", message(50), message(51))
    pair.ok("sync")
    (pair.home / "Maildir/.Secret/cur").chmod(0)
    mailbox(pair.home / "Maildir", message(60))
    user = unprivileged()
    done = pair.run("sync", prefix=user)
    assert done.code == 3, done
    assert ".Secret/cur" in done.err
    assert "Permission denied" in done.err
    assert "unknown" in done.err
    assert len(contents(pair.home / "Other/Secret")) == 2
    assert len(contents(pair.home / "Other")) == 4
    (pair.home / "Maildir/.Secret/cur").chmod(0o700)
    assert pair.run("sync", prefix=user).code == 0


def test_a_message_that_cannot_be_read_waits(pair: Machine) -> None:
    file = pair.home / "Maildir/cur/1700000099.x.host:2,"
    file.write_bytes(message(9))
    file.chmod(0)
    user = unprivileged()
    done = pair.run("sync", prefix=user)
    assert done.code == 3, done
    assert "cannot be read: Permission denied; it waits" in done.err
    assert file.name in done.err
    file.chmod(0o600)
    assert pair.run("sync", prefix=user).code == 0
    assert len(contents(pair.home / "Other")) == 4


def test_a_root_that_this_user_may_not_enter(pair: Machine) -> None:
    user = unprivileged()
    (pair.home / "Maildir").chmod(0)
    done = pair.run("sync", prefix=user)
    says(done, 77, "Maildir", "Permission denied")
    done = pair.run("check", "--offline", prefix=user)
    assert done.code == 4, done


# --- strange things in a Maildir


def test_a_link_and_a_fifo_in_cur_are_left_alone_and_named(pair: Machine) -> None:
    cur = pair.home / "Maildir/cur"
    target = pair.home / "private"
    target.write_bytes(b"not mail")
    (cur / "1700000100.link.host:2,").symlink_to(target)
    os.mkfifo(cur / "1700000101.fifo.host:2,")
    (cur / "1700000102.dir.host:2,").mkdir()
    done = pair.run("sync")
    assert done.code == 3, done
    for name in ("1700000100.link.host:2,", "1700000101.fifo.host:2,", "1700000102.dir.host:2,"):
        assert f"cur/{name}: is no regular file" in done.err
    assert "is no regular file (a link, a FIFO, a directory): it was not opened" in done.err
    assert contents(pair.home / "Other") == sorted(map(message, range(3)))
    assert (cur / "1700000100.link.host:2,").is_symlink()


def test_a_mailbox_that_is_a_symbolic_link_is_left_alone_and_named(pair: Machine) -> None:
    mailbox(pair.home / "outside", message(70))
    (pair.home / "Maildir/.Linked").symlink_to(pair.home / "outside")
    done = pair.run("sync")
    assert done.code == 3, done
    assert ".Linked: is a symbolic link" in done.err
    assert not (pair.home / "Other/Linked").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"Subject: nul\n\nbefore\0after\n",
        b"no header, no newline",
        b"\n",
        b"\xff\xfe: \x80\r\rx\n\r",
        b"From x\n\n",
    ],
    ids=["zero-bytes", "only-nul", "nul-in-body", "no-header", "one-newline", "eight-bit", "mbox-line"],
)
def test_odd_messages_arrive_to_the_last_byte(pair: Machine, data: bytes) -> None:
    mailbox(pair.home / "Maildir", data)
    mailbox(pair.home / "Other/Odd", data)
    pair.ok("sync")
    assert data in contents(pair.home / "Other")
    assert contents(pair.home / "Maildir/.Odd") == [data]
    pair.ok("verify")
    assert pair.ok("sync", "--json").json["peers"][0]["same"]


def test_a_message_of_100_mb_arrives_whole(pair: Machine) -> None:
    data = message(1).replace(b"\r\n\r\n", b"\r\n\r\n" + b"0123456789abcdef" * (100_000_000 // 16), 1)
    assert len(data) > 100_000_000
    mailbox(pair.home / "Maildir", data)
    pair.ok("sync")
    arrived = max(files(pair.home / "Other"), key=lambda file: file.stat().st_size)
    assert arrived.read_bytes() == data


def test_mailboxes_without_a_place_over_there_wait_and_are_named(here: Machine) -> None:
    mailbox(here.home / "Maildir")
    mailbox(here.home / "Maildir/v1.2", message(1))
    mailbox(here.home / "Maildir/Good", message(2))
    here.ok("init", "--layout", "fs", here.home / "Maildir")
    here.ok("init", "--store", "other", "--create", "--layout", "maildir++", here.home / "Other")
    here.configure("[stores.mail.peers.other]\npath = '~/Other'")
    done = here.run("sync", "--store", "mail")
    assert done.code == 3, done
    assert "v1.2" in done.err
    assert "has a dot" in done.err
    assert contents(here.home / "Other/.Good") == [message(2)]
    status = here.run("status", "--store", "other", "--json")
    assert status.code == 3, status
    assert [row["mailbox"] for row in status.json["stores"][0]["mailboxes_waiting"]] == ["v1.2"]
    checked = here.run("check", "--store", "other")
    assert checked.code == 4, checked
    assert "the mailbox v1.2 waits" in checked.err


def test_a_pre_hook_that_fails_stops_the_run(pair: Machine) -> None:
    pair.configure("[stores.mail.hooks]\npre = 'exit 3'")
    says(pair.run("sync"), 78, "the pre hook of the store mail failed", "status 3")
    assert contents(pair.home / "Other") == []


# --- the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sync", "--wait", "5x"), '"5x" is not a duration such as 90s'),
        (("sync", "--wate", "5s"), "--wate"),
        (("snyc",), "snyc"),
        ((), "VERB"),
        (("peer", "add", "x"), "needs an address or a --command"),
        (("peer", "add", "x", "host:-oops", "--command", "y"), "needs an address or a --command"),
        (("peer", "add", "x", "ssh://-oProxyCommand=x/"), "host name that ssh would take"),
        (("sync", "a/b", "c", "d"), "is a place"),
        (("sync", "server:Maildir", "./x"), "is not on this machine"),
        (("init",), "MAILDIR"),
        (("init", "--store", "../x", "Maildir"), "is not a name"),
        (("log", "--last", "0"), "not a number from 1"),
        (("completion", "tcsh"), "tcsh"),
    ],
)
def test_usage_errors_end_with_64(pair: Machine, words: tuple[str, ...], said: str) -> None:
    done = pair.run(*words)
    says(done, 64, said)
    assert done.out == ""


def test_an_error_with_json_is_an_object(pair: Machine) -> None:
    (pair.home / "Maildir").rename(pair.home / "elsewhere")
    done = pair.run("verify", "--json")
    assert done.json["exit"] == done.code == 66
    assert set(done.json["error"]) == {"name", "what", "where", "untouched", "hint", "temporary"}
    assert done.json["error"]["name"] == "no-input"
    done = pair.run("sync", "--json")
    assert done.json["peers"][0]["error"]["name"] == "no-input"
    assert done.json["exit"] == 66


def test_serve_by_hand_says_who_starts_it(pair: Machine) -> None:
    done = pair.run("serve", "--store", "other")
    assert done.code == 69, done
    assert "mailkeep serve is started by mailkeep sync" in done.out + done.err
