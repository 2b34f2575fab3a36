"""docs/how-to/restore-a-destroyed-spool.md, typed as it stands: every message comes back, and every tag.

Small by default; `make soak` has the real one: 300,000 messages, 220,000 of them destroyed on both machines.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import shlex
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from docs.pages import FENCE, read
from interop.machines import Machine, message, program

pytestmark = [pytest.mark.slow, pytest.mark.interop]

PAGE = "docs/how-to/restore-a-destroyed-spool.md"
MARK = re.compile(r"<!-- run: destroyed spool -->\n")
SINCE_BACKUP = 71
NIGHT = 12 * 3600
"""How long ago the backup was made, in seconds."""


def commands() -> list[tuple[str, str]]:
    """(machine, command) of everything that the page tells to type, in order."""
    text, out = read(PAGE), []
    for mark in MARK.finditer(text):
        block = FENCE.match(text, mark.end())
        assert block is not None, "a mark without a block"
        for line in block[3].splitlines():
            machine, _, command = line.partition("$ ")
            out.append((machine, command))
    return out


def test_nothing_on_the_page_is_left_untyped() -> None:
    assert len(commands()) == sum(
        line.count("$ ") for line in read(PAGE).splitlines() if re.match(r"\w+\$ ", line)
    )
    assert len(commands()) >= 15


class Spool:
    """Two machines with the same mail, a backup of it, and what came since."""

    def __init__(self, base: Path, count: int, folders: int) -> None:
        self.now = int(time.time())
        self.laptop, self.server = Machine(base / "laptop"), Machine(base / "server")
        self.random = random.Random(count)
        self.everything: dict[str, tuple[str, str, int]] = {}
        """hash of each content -> (mailbox directory, flags, date)"""
        names = ["", *(f".Lists.List{n}" for n in range(folders - 2)), ".Sent"]
        for name in names:
            for sub in ("cur", "new", "tmp"):
                (self.laptop.mail / name / sub).mkdir(parents=True)
        for number in range(count):
            name = names[min(int(self.random.expovariate(3 / folders)), folders - 1)]
            self._put(
                self.laptop.mail,
                name,
                message(number),
                number,
                self.random.choice(["S", "S", "RS", "FS", "", None]),
            )
        self.backup = self.laptop.home / "backup/Maildir"
        self.copy(self.laptop.mail, self.backup)
        self._tags()
        self._deliveries(count)
        shutil.rmtree(self.server.mail, ignore_errors=True)
        self.copy(self.laptop.mail, self.server.mail)

    def run(self, argv: list[str]) -> None:
        """On the laptop, for as long as it takes."""
        subprocess.run(
            argv,
            env=self.laptop.environment,
            cwd=self.laptop.home,
            check=True,
            capture_output=True,
            timeout=3600,
        )

    def copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", source, target], check=True)

    def _put(
        self, root: Path, name: str, data: bytes, number: int, flags: str | None, date: int | None = None
    ) -> None:
        date = 1_600_000_000 + number * 37 if date is None else date
        base = f"{date}.M{number}P9.mx"
        path = (
            root
            / name
            / ("new" if flags is None else "cur")
            / (base if flags is None else f"{base}:2,{flags}")
        )
        path.write_bytes(data)
        os.utime(path, (date, date))
        self.everything[hashlib.sha256(data).hexdigest()] = (name, "-" if flags is None else flags, date)

    def _tags(self) -> None:
        """notmuch, as the user had it: configured, everything indexed and tagged, and a dump of that."""
        (self.laptop.home / ".notmuch-config").write_text(
            f"[database]\npath={self.laptop.mail}\n[user]\nname=Me\nprimary_email=me@home.example\n"
            "[new]\ntags=new\n[maildir]\nsynchronize_flags=false\n"
        )
        program("notmuch")
        run = self.run
        run(["notmuch", "new"])
        for digit in range(10):
            run(["notmuch", "tag", f"+digit-{digit}", "+kept", "-new", "--", f"subject:{digit}"])
        run(["notmuch", "tag", "+ümlaut tag", "--", "folder:.Sent or folder:''"])
        run(["notmuch", "dump", f"--output={self.laptop.home}/tags.dump"])
        self.dump = (self.laptop.home / "tags.dump").read_text()
        shutil.rmtree(self.laptop.mail / ".notmuch")

    def _deliveries(self, first: int) -> None:
        """71 messages since the backup: in the log of the mail server, and in the archive that it keeps."""
        log, archive = [], []

        def line(at: int, text: str) -> None:
            log.append(time.strftime("%b %e %H:%M:%S mx ", time.localtime(at)) + text)

        for number in range(first - 5, first + SINCE_BACKUP):
            at = self.now - NIGHT + (number - first) * 60 - (3 * 86400 if number < first else 0)
            data, queue = message(number), f"3{number:08X}"
            line(at, f"postfix/smtpd[1]: {queue}: client=x[192.0.2.1]")
            line(at, f"postfix/cleanup[2]: {queue}: message-id=<m.{number}@post.example>")
            line(
                at,
                f"postfix/local[3]: {queue}: to=<me@home.example>, relay=local, delay=1, dsn=2.0.0, status=sent (delivered to maildir)",
            )
            line(at, f"postfix/qmgr[4]: {queue}: removed")
            line(at, f"postfix/cleanup[2]: {queue}x: message-id=<other.{number}@post.example>")
            line(
                at,
                f"postfix/local[3]: {queue}x: to=<her@home.example>, relay=local, dsn=2.0.0, status=sent (delivered to maildir)",
            )
            if number >= first:
                self._put(self.laptop.mail, "", data, number, "S" if number % 2 else None, at)
            quoted = re.sub(rb"^(>*From )", rb">\1", data, flags=re.MULTILINE)
            stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))
            archive.append(f"From ada@post.example {stamp}\n".encode() + quoted + b"\n")
            archive.append(f"From x@post.example {stamp}\nMessage-ID: <spam.{number}@x>\n\nspam\n\n".encode())
        (self.laptop.home / "log").mkdir()
        (self.laptop.home / "log/mail.log").write_text("\n".join(log) + "\n")
        (self.laptop.home / "archive.mbox.gz").write_bytes(gzip.compress(b"".join(archive), 1))

    def destroy(self, share: float) -> None:
        """Most messages go, the same on both machines, but for a few of the last night, which one or the other still has."""
        gone = lonely = 0
        for path in sorted(self.laptop.mail.rglob("*:2,*")) + sorted(self.laptop.mail.rglob("new/*")):
            if self.random.random() < share:
                gone += 1
                other = self.server.mail / path.relative_to(self.laptop.mail)
                if gone % 20 == 0:
                    lonely += 1
                    (path if gone % 40 else other).unlink()
                else:
                    path.unlink()
                    other.unlink()
        assert gone
        self.gone, self.lonely = gone, lonely

    def there(self, root: Path) -> Counter[tuple[str, str, str, int]]:
        """(hash, mailbox directory, flags, date) of each message."""
        out: Counter[tuple[str, str, str, int]] = Counter()
        for sub in ("cur", "new"):
            for directory in root.rglob(sub):
                if ".notmuch" in directory.parts:
                    continue
                name = str(directory.parent.relative_to(root))
                for file in directory.iterdir():
                    flags = file.name.partition(":2,")[2] if sub == "cur" else "-"
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    out[digest, "" if name == "." else name, flags, int(file.stat().st_mtime)] += 1
        return out

    def type(self, machine: str, command: str) -> str:
        """Type a command of the page on one of the machines, where /media and /var/log are this test's."""
        who = {"laptop": self.laptop, "server": self.server}[machine]
        for place, here in (("/media/backup", "backup"), ("/var/log", "log")):
            command = command.replace(place, shlex.quote(str(self.laptop.home / here)))
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=who.environment, cwd=who.home, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=3600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def fake_ssh(self) -> None:
        fake = self.laptop.bin / "ssh"
        fake.write_text(
            f"#!/bin/sh\nfor command; do :; done\nHOME={self.server.home} PATH={self.server.bin}:$PATH\n"
            'export HOME PATH\ncd && exec /bin/sh -c "$command"\n'
        )
        fake.chmod(0o700)


@pytest.mark.parametrize(
    ("count", "destroyed", "folders"),
    [
        pytest.param(300, 220, 12, id="300"),
        pytest.param(300_000, 220_000, 300, id="300000", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_every_message_and_every_tag_comes_back(
    tmp_path: Path, count: int, destroyed: int, folders: int
) -> None:
    program("notmuch")
    spool = Spool(tmp_path, count, folders)
    assert len(spool.everything) == count + SINCE_BACKUP
    spool.destroy(destroyed / count)
    assert spool.gone > destroyed * 0.9
    spool.fake_ssh()
    said = {}
    for machine, command in commands():
        began = time.monotonic()
        said[command] = spool.type(machine, command)
        if count > 1000:
            print(f"{time.monotonic() - began:7.1f}s  {command}")
    (missing,) = [
        text for command, text in said.items() if command.startswith("mailkeep missing --against /media")
    ]
    assert "missing here" in missing
    listed = (spool.laptop.home / "lost.txt").read_text().split()
    assert 20 < len(listed) < SINCE_BACKUP
    assert all(re.fullmatch(r"<m\.\d+@post\.example>", line) for line in listed)
    log = [text for command, text in said.items() if "mail.log" in command]
    assert "nobody" in log[0]
    assert "nothing is missing" in log[-1]
    wanted = Counter({(digest, *where): 1 for digest, where in spool.everything.items()})
    there = spool.there(spool.laptop.mail)
    assert {row[0] for row in there} == set(spool.everything)
    assert max(there.values()) == 1
    late = {digest for digest, where in spool.everything.items() if where[2] > spool.now - NIGHT - 60}
    # An archive knows neither flags nor what was read; all else is as it was, to the second.
    assert {row for row in there if row[0] not in late} == {row for row in wanted if row[0] not in late}
    assert {(row[0], row[1], row[3]) for row in there} == {(row[0], row[1], row[3]) for row in wanted}
    assert spool.there(spool.server.mail) == there
    spool.run(["notmuch", "dump", f"--output={spool.laptop.home}/after.dump"])
    after = (spool.laptop.home / "after.dump").read_text()
    tags = {line for line in spool.dump.splitlines() if "-- id:" in line}
    assert tags <= set(after.splitlines())
    assert len(tags) == count
