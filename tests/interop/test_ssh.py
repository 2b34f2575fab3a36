"""A laptop and a server over a real sshd, with a key that can do nothing but serve."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from interop.machines import HERE, Machine, by_name, contents, deliver, make_mailbox, message, ordinary
from interop.sshd import Sshd

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def two_stores(laptop: Machine, server: Machine) -> None:
    """Some mail on both sides, in two layouts."""
    make_mailbox(laptop.mail, "", ".Lists.sailing")
    make_mailbox(server.mail, "", "Work/Reports")
    for number in range(20):
        deliver(laptop.mail, "", message(number, seed="laptop"), number, "S" if number % 2 else None)
        deliver(server.mail, "Work/Reports", message(number, seed="server"), number, "FS")
    deliver(laptop.mail, ".Lists.sailing", message(90), 90, "RS")
    laptop.mailkeep("init", "--store", "mail", laptop.mail)
    server.mailkeep("init", "--store", "mail", server.mail)


def assert_equal_stores(laptop: Machine, server: Machine) -> None:
    assert by_name(laptop.mail, "maildir++") == by_name(server.mail, "fs")


def command(sshd: Sshd) -> str:
    return shlex.join([*sshd.ssh("server"), "mailkeep serve --store mail"])


def test_both_directions_through_a_command(laptop: Machine, server: Machine, sshd: Sshd) -> None:
    two_stores(laptop, server)
    laptop.mailkeep("peer", "add", "server", "--command", command(sshd))
    plan = laptop.sync("--dry-run")
    assert plan["here"]["added"] == 20
    assert plan["there"]["added"] == 21
    assert len(contents(laptop.mail)) == 21
    done = laptop.sync()
    assert (done["exit"], done["here"]["added"], done["there"]["added"]) == (0, 20, 21)
    assert_equal_stores(laptop, server)
    # Changes of both sides: a flag, a removal and a new message here; a move and a new message there.
    one = next((laptop.mail / "cur").iterdir())
    one.rename(one.with_name(one.name + "F"))
    next((laptop.mail / ".Lists.sailing" / "cur").iterdir()).unlink()
    deliver(laptop.mail, "", message(200), 200)
    moved = next((server.mail / "Work/Reports/cur").iterdir())
    moved.rename(server.mail / "cur" / moved.name)
    deliver(server.mail, "Work/Reports", message(201), 201)
    laptop.settle()
    done = laptop.sync()
    assert done["exit"] == 0
    assert_equal_stores(laptop, server)
    assert len(contents(server.mail)) == 42
    done = laptop.sync()
    assert done["same"]
    assert done["round_trips"] == 1
    assert done["sent_bytes"] + done["received_bytes"] < 1000


def test_url_and_the_users_own_ssh_configuration(laptop: Machine, server: Machine, sshd: Sshd) -> None:
    two_stores(laptop, server)
    # ssh finds its user's home in the password file, not in HOME: the configuration is given by a wrapper.
    home = laptop.home / ".ssh"
    home.mkdir(mode=0o700)
    (home / "config").write_text(sshd.client.read_text())
    (laptop.bin / "ssh").write_text(f'#!/bin/sh\nexec {sshd.ssh()[0]} -F "$HOME/.ssh/config" "$@"\n')
    (laptop.bin / "ssh").chmod(0o700)
    laptop.mailkeep("peer", "add", "server", "ssh://server/")
    assert laptop.sync("server")["exit"] == 0
    assert_equal_stores(laptop, server)


def test_one_off_by_place(laptop: Machine, server: Machine, sshd: Sshd) -> None:
    """`sync PATH host:PATH` asks for a path; the forced command serves its own store all the same."""
    two_stores(laptop, server)
    (laptop.bin / "ssh").write_text(f'#!/bin/sh\nexec {shlex.join(sshd.ssh())} "$@"\n')
    (laptop.bin / "ssh").chmod(0o700)
    laptop.mailkeep("sync", laptop.mail, "server:Elsewhere")
    assert_equal_stores(laptop, server)
    assert not (server.home / "Elsewhere").exists()


def test_forced_command_cannot_be_escaped(
    laptop: Machine, server: Machine, sshd: Sshd, tmp_path: Path
) -> None:
    two_stores(laptop, server)
    witness = tmp_path / "witness"
    for wish in (f"touch {witness}", f"mailkeep serve --path {tmp_path}; touch {witness}", "sh -i", ""):
        done = subprocess.run(
            sshd.ssh("server", *([wish] if wish else [])),
            input=b"",
            capture_output=True,
            timeout=30,
            check=False,
        )
        # What answers is mailkeep, which got no greeting; its words are for the other end.
        assert done.returncode == 69, (wish, done)
        assert done.stdout.startswith(b"mailkeep/2")
        assert b"nobody spoke" in done.stdout
    assert not witness.exists()
    # A session that asks for another command still gets the store of the key.
    laptop.mailkeep(
        "peer", "add", "server", "--command", shlex.join([*sshd.ssh("server"), f"touch {witness}"])
    )
    assert laptop.sync()["exit"] == 0
    assert_equal_stores(laptop, server)
    assert not witness.exists()


def test_restricted_key_forwards_no_port(server: Machine, sshd: Sshd, laptop: Machine) -> None:
    two_stores(laptop, server)
    done = subprocess.run(
        sshd.ssh("-W", f"127.0.0.1:{sshd.port}", "server"),
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 255
    assert b"SSH-2.0" not in done.stdout
    assert b"forwarding failed" in done.stderr
    done = subprocess.run(
        sshd.ssh("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9", "server"),
        input=b"", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr
    # No terminal either.
    done = subprocess.run(sshd.ssh("-tt", "server"), input=b"", capture_output=True, timeout=30, check=False)
    assert done.returncode == 255
    assert b"PTY allocation request failed" in done.stderr


@pytest.mark.parametrize("direction", ["pull", "push"])
def test_ssh_killed_in_mid_session(
    direction: str, laptop: Machine, server: Machine, sshd: Sshd, tmp_path: Path
) -> None:
    """Half of the contents have passed when ssh dies: what arrived stays, and is not sent again."""
    source, target = (server, laptop) if direction == "pull" else (laptop, server)
    count, size = 120, 30_000
    for number in range(count):
        deliver(source.mail, "", message(number, size), number, "S")
    make_mailbox(target.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    counts = tmp_path / "counts"
    total = count * size * 0.45  # what is left of the hexadecimal text when it is compressed, at least
    half = int(total / 2)
    limits = ["0", "0"]
    relay = [sys.executable, str(HERE / "relay.py"), str(counts)]

    def peer(name: str) -> None:
        laptop.mailkeep(
            "peer", "add", name, "--command", shlex.join([*relay, *limits, *sshd.ssh("server", "x")])
        )

    limits[0 if direction == "pull" else 1] = str(half)
    peer("torn")
    limits[:] = ["0", "0"]
    peer("whole")
    done = laptop.mailkeep("sync", "torn", status=69)
    assert "cut in mid-session" in done.stderr or "broke" in done.stderr
    assert "goes on where" in done.stderr
    assert set(contents(target.mail)) <= set(contents(source.mail))
    assert laptop.sync("whole")["exit"] == 0
    sent, received = map(int, counts.read_text().split())
    again = received if direction == "pull" else sent
    # What was under way when ssh died is lost: no more than the buffers between the two ends hold.
    assert again < 2 * total * 1.2 - half, f"{again:,} bytes after {half:,}"
    assert contents(laptop.mail) == contents(server.mail)
    assert len(contents(target.mail)) == count
    assert laptop.sync("whole")["same"]


def test_wrong_key_and_no_mailkeep(laptop: Machine, server: Machine, sshd: Sshd) -> None:
    two_stores(laptop, server)
    before = contents(laptop.mail)
    (laptop.bin / "ssh").write_text(
        f'#!/bin/sh\nexec {shlex.join(sshd.ssh("-o", f"IdentityFile={sshd.directory}/stranger"))} "$@"\n'
    )
    sshd.client.write_text(sshd.client.read_text().replace(f"  IdentityFile {sshd.key}\n", ""))
    (laptop.bin / "ssh").chmod(0o700)
    laptop.mailkeep("peer", "add", "server", "ssh://server/")
    done = laptop.mailkeep("sync", status=69)
    assert "Permission denied" in done.stderr  # ssh's own words
    assert "ssh could not reach ssh://server/, or was refused" in done.stderr
    assert "not touched: anything on either side" in done.stderr
    assert "to do: try the same by hand: ssh" in done.stderr
    # A far end that has no mailkeep: the shell there says 127.
    forced = sshd.directory / "authorized_keys"
    forced.write_text(
        'restrict,command="no-such-mailkeep serve" ' + (sshd.directory / "stranger.pub").read_text()
    )
    done = laptop.mailkeep("sync", status=69)
    assert "there is no mailkeep at the far end" in done.stderr
    # And one that says something else.
    forced.write_text(
        'restrict,command="echo Welcome, stranger" ' + (sshd.directory / "stranger.pub").read_text()
    )
    done = laptop.mailkeep("sync", status=76)
    assert "the far end is not mailkeep; it said: 'Welcome, stranger'" in done.stderr
    assert contents(laptop.mail) == before


def test_two_runs_at_once_over_ssh(laptop: Machine, server: Machine, sshd: Sshd) -> None:
    """A second laptop that comes while the first is served waits, and nothing is lost or doubled."""
    two_stores(laptop, server)
    laptop.mailkeep("peer", "add", "server", "--command", command(sshd))
    runs = [
        subprocess.Popen([*ordinary(), str(laptop.bin / "mailkeep"), "sync", "--wait", "30s", "-q"],
                         env={**os.environ, **laptop.environment}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]  # fmt: skip
    for run in runs:
        _, words = run.communicate(timeout=60)
        assert run.returncode == 0, words
    assert_equal_stores(laptop, server)
    assert len(contents(laptop.mail)) == 41
