"""Two machines on one: homes with a Maildir each, mailkeep run in them, and mail to put there."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_SECONDS = 60


def program(name: str) -> str:
    """The path of somebody else's program; without it there is no such test, and in CI that is an error."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":" + SYSTEM_PATH)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(
                f"{name} is not installed, and in CI no test may be left out (make packages)", pytrace=False
            )
        pytest.skip(f"{name} is not installed (make packages)")
    return found


@functools.cache
def ordinary() -> list[str]:
    """What to put before a command so that it obeys permission bits, as every user but root does."""
    if os.geteuid() != 0:
        return []
    caps = "-dac_override,-dac_read_search"
    prefix = ["setpriv", "--bounding-set", caps, "--inh-caps", caps, "--"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        return []
    return prefix


class Machine:
    """A home directory with a Maildir, and mailkeep in its PATH."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mail = home / "Maildir"
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        wrapper = self.bin / "mailkeep"
        wrapper.write_text(
            "#!/bin/sh\n# As the installed command, but from this source tree, and in this home whoever logs in.\n"
            f"export HOME={home} PYTHONPATH={SOURCES}\nunset XDG_CONFIG_HOME XDG_STATE_HOME XDG_CACHE_HOME\n"
            f'exec {sys.executable} -bb -m mailkeep "$@"\n'
        )
        wrapper.chmod(0o700)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": f"{self.bin}:{os.environ.get('PATH', SYSTEM_PATH)}",
            "LC_ALL": "C.UTF-8",
        }

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        status: int | Iterable[int] | None = 0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as an ordinary user of this machine; it must end with one of these statuses."""
        done = subprocess.run(
            [*ordinary(), *map(str, argv)],
            env={**self.environment, **(environment or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        wanted = (status,) if isinstance(status, int) else tuple(status or ())
        if wanted and done.returncode not in wanted:
            raise AssertionError(
                f"{argv} ended with {done.returncode}, not {wanted}\n{done.stdout}{done.stderr}"
            )
        return done

    def mailkeep(
        self, *words: str | Path, status: int | Iterable[int] | None = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.run(["mailkeep", *words], status=status)

    def sync(self, *words: str, status: int | Iterable[int] | None = 0) -> dict[str, Any]:
        """Run sync and return what it did, for its only peer."""
        done = self.mailkeep("sync", "--json", *words, status=status)
        whole = json.loads(done.stdout)
        peer: dict[str, Any] = whole["peers"][0]
        peer["stderr"], peer["problems_of_scan"] = done.stderr, whole["problems"]
        return peer

    def settle(self) -> None:
        """Let the file system's clock tick past the last change, as it does between a person's doings."""
        time.sleep(0.03)


def make_mailbox(root: Path, *names: str) -> None:
    """Make the directories of Maildirs; '' is the root."""
    for name in names:
        for part in ("cur", "new", "tmp"):
            (root / name / part).mkdir(mode=0o700, parents=True, exist_ok=True)


def message(number: int, size: int = 300, seed: str = "m") -> bytes:
    """A small message whose text compresses badly: what travels can be told by counting."""
    rng = random.Random(f"{seed} {number}")
    text = b"\n".join(rng.randbytes(30).hex().encode() for _ in range(max(1, size // 61)))
    return (
        (
            f"From: Ada Holm <ada@post.example>\nTo: me@home.example\nSubject: {seed} number {number}\n"
            f"Date: Mon, 03 Jun 2024 10:{number // 60 % 60:02}:{number % 60:02} +0000\nMessage-ID: <{seed}.{number}@post.example>\n\n"
        ).encode()
        + text
        + b"\n"
    )


def deliver(
    root: Path, mailbox: str, data: bytes, number: int, flags: str | None = None, host: str = "mx"
) -> Path:
    """Deliver as an agent does: written in tmp/, renamed into new/, or into cur/ with flags."""
    make_mailbox(root, mailbox)
    name = f"{1_717_400_000 + number}.M{number}P9.{host}"
    draft = root / mailbox / "tmp" / name
    draft.write_bytes(data)
    os.utime(draft, (1_717_400_000 + number, 1_717_400_000 + number))
    final = root / mailbox / "new" / name if flags is None else root / mailbox / "cur" / f"{name}:2,{flags}"
    draft.rename(final)
    return final


def mails(root: Path) -> dict[str, list[tuple[str, str]]]:
    """mailbox directory -> sorted (sha256 of each message's bytes, its flags; '-' for one in new/)."""
    out: dict[str, list[tuple[str, str]]] = {}
    for part in sorted([*root.rglob("cur"), *root.rglob("new")]):
        found = out.setdefault(str(part.parent.relative_to(root)), [])
        for file in part.iterdir():
            flags = file.name.partition(":2,")[2] if part.name == "cur" else "-"
            found.append((hashlib.sha256(file.read_bytes()).hexdigest(), flags))
        found.sort()
    return out


def by_name(root: Path, layout: str) -> dict[str, list[tuple[str, str]]]:
    """As `mails`, by mailbox name, so that two layouts can be compared."""
    out = {}
    for directory, found in mails(root).items():
        if directory == ".":
            out["INBOX"] = found
        else:
            out[directory.lstrip(".").replace(".", "/") if layout == "maildir++" else directory] = found
    return out


def contents(root: Path) -> list[str]:
    """sha256 of every message, sorted; a message that lies there twice is there twice."""
    return sorted(digest for found in mails(root).values() for digest, _ in found)


def processes_below(directory: Path) -> list[int]:
    """Processes whose command line or working directory names this directory: what a test may have left."""
    needle = os.fsencode(directory)
    out = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if needle in (entry / "cmdline").read_bytes():
                    out.append(int(entry.name))
            except OSError:
                continue
    return out
