"""Mail programs as the tests run them: notmuch, mutt on a terminal, Dovecot's imap over a pipe."""

from __future__ import annotations

import functools
import imaplib
import os
import pty
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interop.machines import Machine, ordinary, program

DOVECOT_IMAP = Path("/usr/lib/dovecot/imap")


class Notmuch:
    """notmuch with a database in one machine's Maildir."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.program = program("notmuch")
        config = machine.home / "notmuch-config"
        config.write_text(
            f"[database]\npath={machine.mail}\n[user]\nname=Me\nprimary_email=me@home.example\n"
            "[new]\ntags=unread;inbox\nignore=dovecot-uidlist\n[maildir]\nsynchronize_flags=true\n"
        )
        self.environment = {"NOTMUCH_CONFIG": str(config)}

    def __call__(self, *words: str) -> str:
        return self.machine.run([self.program, *words], environment=self.environment).stdout


def mutt(machine: Machine, keys: str, mailbox: str = "") -> None:
    """Open a mailbox in mutt on a terminal, type keys, and leave."""
    rc = machine.home / "muttrc"
    rc.write_text(
        f'set folder="{machine.mail}"\nset spoolfile="{machine.mail}"\nset mbox_type=Maildir\nset sort=date\n'
        "set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset move=no\nset quit=yes\nset sleep_time=0\n"
        'set wait_key=no\nset mark_old=no\nset resolve=no\nunset record\nset sendmail="/bin/false"\n'
    )
    master, slave = pty.openpty()
    argv = [
        *ordinary(),
        program("mutt"),
        "-n",
        "-F",
        str(rc),
        "-f",
        str(machine.mail / mailbox),
        "-e",
        f'push "{keys}"',
    ]
    process = subprocess.Popen(
        argv,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**machine.environment, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    end = time.monotonic() + 30
    try:
        while process.poll() is None and time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    shown += os.read(master, 65536)
                except OSError:  # the terminal closes with its last program
                    break
        assert process.wait(5) == 0, shown[-2000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
    assert b"rror" not in shown, shown[-2000:]


# --- Dovecot


@functools.cache
def not_root() -> list[str]:
    """What to put before Dovecot, which serves nobody as root: the same user under another number."""
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("no user namespaces here: Dovecot cannot be run as root", pytrace=False)
        pytest.skip("no user namespaces here: Dovecot cannot be run as root")
    return prefix


def dovecot_command(machine: Machine) -> list[str]:
    """How to start Dovecot's own imap process on a machine's Maildir, logged in; no server, no password."""
    if not DOVECOT_IMAP.exists():
        program("no-dovecot-imapd")
    base = machine.home / "dovecot"
    base.mkdir(exist_ok=True)
    lines = {
        "mail_location": f"maildir:{machine.mail}",
        "base_dir": str(base),
        "mail_fsync": "never",
    }
    config = base / "dovecot.conf"
    config.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    words = ["env", *(f"{k}={v}" for k, v in machine.environment.items()), "USER=me"]
    return [*words, *not_root(), str(DOVECOT_IMAP), "-c", str(config)]


@contextmanager
def dovecot(machine: Machine) -> Iterator[imaplib.IMAP4]:
    """A client of it."""
    command = shlex.join(dovecot_command(machine))
    client = imaplib.IMAP4_stream(f"{command} 2>>{shlex.quote(str(machine.home / 'dovecot/log'))}")
    try:
        assert client.state == "AUTH"
        yield client
    finally:
        client.logout()


def imap(client: imaplib.IMAP4, command: str, *words: str) -> list[bytes]:
    """One command that has to be answered with OK."""
    status, data = getattr(client, command)(*words)
    assert status == "OK", (command, words, data)
    return [item for item in data if isinstance(item, bytes)]
