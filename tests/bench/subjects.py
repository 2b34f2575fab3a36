"""What the bench asks of a program under measurement, and mailkeep as one of them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from bench.census import Ruler
from bench.measure import BARE_PYTHON, HERE, Command, Meter


class Subject(ABC):
    """Two ends, `a` with mail and `b` without, and the commands that keep them the same.

    All of its files lie under `base`; both ends have a HOME of their own there.
    """

    name = ""
    programs: Sequence[str] = ()
    # One-way programs are the floor, not competitors; all changes are made at `a`.
    two_way = True
    # What is on the disk when the command returns, as its documentation or strace tells.
    durable = "no"
    ruler = Ruler()
    # Refuses to run as root.
    unprivileged = False

    def __init__(self, base: Path, *, timeout_seconds: float) -> None:
        self.base = base
        self.a, self.b = base / "a", base / "b"
        self.homes = base / "home-a", base / "home-b"
        self.meter = Meter(base, self.unprivileged and os.geteuid() == 0, timeout_seconds)

    def missing(self) -> list[str]:
        """Return the programs that are not installed."""
        return [program for program in self.programs if shutil.which(program, path=search_path()) is None]

    def setup(self, corpus: Path) -> None:
        """Copy the corpus to `a`, make the two homes, write the configuration."""
        self.base.mkdir(parents=True)
        for home in self.homes:
            home.mkdir()
        # Real copies: a hard-linked corpus would show one program what another did to it.
        subprocess.run(["cp", "-a", "--reflink=never", str(corpus), str(self.a)], check=True)
        self.configure()

    @abstractmethod
    def configure(self) -> None:
        """Write whatever a user has to set up once; it is not timed."""

    @abstractmethod
    def first(self) -> Sequence[Command]:
        """Return the commands of the first sync, from one indexless tree to two equal ones."""

    @abstractmethod
    def again(self) -> Sequence[Command]:
        """Return the commands of each later sync."""

    def command(self, label: str, *argv: str, end: int = 0, **env: str) -> Command:
        """Return a command that runs at one end, with nothing of the caller's environment but PATH."""
        return Command(f"{self.name}: {label}", argv, self.environment(end) | env)

    def environment(self, end: int) -> dict[str, str]:
        """Return the environment of an end."""
        return {
            "PATH": os.defpath + ":/usr/sbin" if end else search_path(),
            "HOME": str(self.homes[end]),
            "LANG": "C.UTF-8",
            "USER": "me",
        }

    def tunnel(self, *argv: str, **env: str) -> str:
        """Return a shell command that reaches the program of the far end through the counting relay."""
        far = self.environment(1) | env
        pairs = [f"{name}={value}" for name, value in far.items()]
        tunnel = [*BARE_PYTHON, str(HERE / "tunnel.py"), str(self.meter.tunnel_report), "--"]
        return shlex.join([*tunnel, "env", *pairs, *argv])

    def write(self, name: str, text: str, *, mode: int = 0o600) -> Path:
        """Write a configuration file under `base`."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


def search_path() -> str:
    """Return the PATH that programs under measurement get."""
    return os.environ.get("PATH", os.defpath)


class Mailkeep(Subject):
    """mailkeep through its command line, as a user runs it."""

    name = "mailkeep"
    durable = "yes, syncfs"

    def __init__(self, base: Path, *, timeout_seconds: float, executable: str) -> None:
        super().__init__(base, timeout_seconds=timeout_seconds)
        self.executable = executable

    def missing(self) -> list[str]:
        """Return the executable if it is not there."""
        return [] if shutil.which(self.executable) else [self.executable]

    def configure(self) -> None:
        """Make the far end's empty Maildir; the rest is part of the first sync."""
        for part in ("cur", "new", "tmp"):
            (self.b / part).mkdir(mode=0o700, parents=True)

    def first(self) -> Sequence[Command]:
        """Index both ends, name the peer, sync."""
        serve = self.tunnel(self.executable, "serve", "--store", "mail")
        init = (self.executable, "init", "--store", "mail")
        return (
            self.command("init a", *init, str(self.a)),
            self.command("init b", *init, str(self.b), end=1),
            self.command("peer add", self.executable, "peer", "add", "server", "--command", serve),
            *self.again(),
        )

    def again(self) -> Sequence[Command]:
        """Sync with the one peer."""
        return (self.command("sync", self.executable, "sync"),)
