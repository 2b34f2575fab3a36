"""A home directory with its Maildirs, and the real command run in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mailkeep.cli.main import main

SRC = Path(__file__).resolve().parents[2] / "src"


class Result:
    """How one command ended and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}--- err\n{self.err}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Machine:
    """One home. Peers by path are Maildirs of the same home; `mailkeep serve` is started for them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(SRC),
            "LC_ALL": "C.UTF-8",
            **more,
        }

    def run(self, *words: str | Path, prefix: tuple[str, ...] = (), **more: str) -> Result:
        argv = [*prefix, sys.executable, "-m", "mailkeep", *map(str, words)]
        done = subprocess.run(
            argv, env=self.environment(**more), capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
            cwd=self.home, errors="surrogateescape",
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str | Path, **more: str) -> Result:
        """A command that has to end with 0, in this process: the way to a test's point, quicker than a new one.

        What a peer's process says on standard error is not in the result.
        """
        out, err = io.StringIO(), io.StringIO()
        before, cwd, wanted = dict(os.environ), Path.cwd(), self.environment(**more)
        try:
            os.environ.clear()
            os.environ.update(wanted)
            os.chdir(self.home)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = main([str(word) for word in words])
                except SystemExit as done:  # --help
                    code = int(done.code or 0)
        finally:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(before)
        result = Result(code, out.getvalue(), err.getvalue())
        assert code == 0, result
        return result

    def state(self, name: str = "mail") -> Path:
        return self.home / ".local/state/mailkeep" / name

    @property
    def config(self) -> Path:
        return self.home / ".config/mailkeep/config.toml"

    def configure(self, text: str) -> None:
        with self.config.open("a") as file:
            file.write("\n" + text + "\n")


def message(number: int, body: str = "") -> bytes:
    return f"From: sender{number}@example.org\r\nSubject: number {number}\r\n\r\n{body or f'body of {number}'}\r\n".encode()


def mailbox(directory: Path, *messages: bytes, flags: str = "S") -> Path:
    """A Maildir mailbox with messages in cur."""
    for sub in ("cur", "new", "tmp"):
        (directory / sub).mkdir(parents=True, exist_ok=True)
    start = len(list((directory / "cur").iterdir()))
    for at, data in enumerate(messages, start):
        (directory / "cur" / f"{1700000000 + at}.M{at}P1.host:2,{flags}").write_bytes(data)
    return directory


def contents(directory: Path) -> list[bytes]:
    """What is in a mailbox, sorted."""
    files = [*(directory / "cur").iterdir(), *(directory / "new").iterdir()]
    return sorted(file.read_bytes() for file in files)


def files(directory: Path) -> list[Path]:
    return sorted((directory / "cur").iterdir())
