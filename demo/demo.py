#!/usr/bin/env python3
"""The main job on real-looking mail: two machines, a few thousand messages, a day's changes, and an accident.

Everything happens in one temporary directory, which is removed at the end (--keep leaves it). What stands
after a prompt was really run, and what follows it is its real output. The two machines are two home
directories; `at-server` stands where you would type `ssh server`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from bench import corpus  # noqa: E402 - it needs the path above, and no package

LAPTOP_MESSAGES, SERVER_MESSAGES, COPIED_MESSAGES_MAX = 2200, 1400, 600
EXIT_HELD = 5


class DemoFailed(Exception):
    """Something is not as it was promised."""


class Machine:
    """A home directory that a shell is started in."""

    def __init__(self, name: str, base: Path, layout: str) -> None:
        self.name, self.layout = name, layout
        self.home = base / name
        self.mail = self.home / "Maildir"
        self.mail.mkdir(parents=True, mode=0o700)
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{base / 'bin'}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C.UTF-8",
        }

    def type(self, command: str, status: int = 0) -> str:
        """Show a command as a person types it, run it, and show what it says."""
        print(
            f"\n\033[1m{self.name}$ {command}\033[0m" if sys.stdout.isatty() else f"\n{self.name}$ {command}"
        )
        sys.stdout.flush()
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            print("  " + line)
        if done.returncode:
            print(f"  [exit status {done.returncode}]")
        if done.returncode != status:
            raise DemoFailed(f"{command} ended with status {done.returncode}, not {status}")
        return done.stdout

    def directory(self, mailbox: str) -> Path:
        """Where a mailbox lies in this machine's layout; '' is the INBOX."""
        if not mailbox:
            return self.mail
        return self.mail / (mailbox if self.layout == "fs" else "." + mailbox.replace("/", "."))

    def files(self, mailbox: str) -> list[Path]:
        """The messages of a mailbox that were read or seen by a mail program, in a stable order."""
        return sorted((self.directory(mailbox) / "cur").iterdir())

    def census(self) -> dict[str, list[tuple[str, str]]]:
        """Mailbox -> (sha256, flags) of each message: by reading every file, without mailkeep."""
        out: dict[str, list[tuple[str, str]]] = {}
        for cur in self.mail.rglob("cur"):
            place = str(cur.parent.relative_to(self.mail))
            name = (
                "INBOX"
                if place == "."
                else place.lstrip(".").replace(".", "/")
                if self.layout != "fs"
                else place
            )
            found = out.setdefault(readable(name), [])
            for part in ("new", "cur"):
                for file in (cur.parent / part).iterdir():
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    found.append((digest, file.name.partition(":2,")[2] if part == "cur" else "new"))
            found.sort()
        return out


def readable(place: str) -> str:
    """A directory's name with IMAP's modified UTF-7 (RFC 3501 §5.1.3) decoded: the two ends may write names differently."""
    return re.sub(
        "&([A-Za-z0-9+,]*)-",
        lambda m: base64.b64decode(m[1].replace(",", "/") + "===").decode("utf-16-be") if m[1] else "&",
        place,
    )


def say(text: str) -> None:
    """A line of the story."""
    print()
    for line in text.splitlines():
        print(f"# {line}")
    sys.stdout.flush()


def count(census: dict[str, list[tuple[str, str]]]) -> int:
    return sum(map(len, census.values()))


def compare(laptop: Machine, server: Machine) -> dict[str, list[tuple[str, str]]]:
    """Both ends must have the same mailboxes with the same messages and flags."""
    ours, theirs = laptop.census(), server.census()
    if ours != theirs:
        names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        raise DemoFailed(f"the two ends differ in {', '.join(names)}")
    say(
        f"checked without mailkeep, by sha256 of every file: both ends have the same {len(ours)} mailboxes\n"
        f"with the same {count(ours):,} messages and flags"
    )
    return ours


# --- mail


def make_mail(laptop: Machine, server: Machine) -> int:
    """A laptop in Maildir++ and a server with nested folders, which share some mail since somebody copied it once.

    Returns:
        How many messages both have.
    """
    laptop.mail.rmdir()
    # A second copy in another mailbox may be deleted without asking; the story of the accident is simpler without.
    corpus.DUPLICATE_SHARE = 0.0
    corpus.make_corpus(laptop.mail, messages=LAPTOP_MESSAGES, folders=14, seed=1)
    draft = server.home / "draft"
    corpus.make_corpus(draft, messages=SERVER_MESSAGES, folders=9, seed=2)
    for folder in sorted(draft.iterdir()):
        if folder.name.startswith("."):
            target = server.mail / folder.name[1:].replace(".", "/")
            target.mkdir(parents=True, exist_ok=True)
            for part in ("cur", "new", "tmp"):
                (folder / part).rename(target / part)
    for part in ("cur", "new", "tmp"):
        (draft / part).rename(server.mail / part)
    shutil.rmtree(draft)
    copied = laptop.files("")[:COPIED_MESSAGES_MAX]
    for file in copied:  # the same message under another name and with other flags
        shutil.copy2(file, server.mail / "cur" / (file.name.partition(":2,")[0] + ".copy:2,"))
    return len(copied)


def deliver(machine: Machine, number: int, seed: str) -> None:
    """New mail in INBOX, as a delivery agent brings it."""
    maker = corpus.MessageMaker(seed, 5000, label="today")
    for n in range(number):
        data, _ = maker.make("", int(time.time()) - 60 * n)
        draft = machine.mail / "tmp" / f"{int(time.time())}.M{n}P1.{machine.name}"
        draft.write_bytes(data)
        draft.rename(machine.mail / "new" / draft.name)


def add_flags(file: Path, flags: str) -> None:
    base, _, have = file.name.partition(":2,")
    file.rename(file.with_name(f"{base}:2,{''.join(sorted({*have, *flags}))}"))


def a_day(laptop: Machine, server: Machine) -> None:
    """What mail programs do on both sides in a day, by the renames that they would do."""
    rng = random.Random("a day")
    deliver(laptop, 8, "laptop")
    deliver(server, 25, "server")
    inbox = rng.sample(laptop.files(""), 60)
    for file in inbox[:30]:
        add_flags(file, "S")
    for file in inbox[30:40]:
        file.rename(laptop.directory("Archive/2017") / "cur" / file.name)
    for file in inbox[40:48]:
        file.unlink()
    laptop.directory("Clients/North").rename(laptop.directory("Clients/South"))
    laptop.directory("Clients/North/Invoices").rename(laptop.directory("Clients/South/Invoices"))
    sent = rng.sample(server.files("Sent"), 20)
    for file in sent[:12]:
        add_flags(file, "FR")
    for file in sent[12:]:
        file.unlink()
    for file in rng.sample(server.files("Junk"), 5):
        file.rename(server.directory("Clients") / "cur" / file.name)
    print(
        "  laptop: 8 new, 30 read, 10 moved to Archive/2017, 8 deleted, Clients/North renamed to Clients/South"
    )
    print("  server: 25 new, 12 answered and flagged, 5 moved from Junk to Clients, 8 deleted")


# --- the story


def run(base: Path) -> None:
    (base / "bin").mkdir()
    laptop, server = Machine("laptop", base, "maildir++"), Machine("server", base, "fs")
    at_server = base / "bin" / "at-server"
    at_server.write_text(
        f'#!/bin/sh\n# In place of: ssh server\nexport HOME="{server.home}"\ncd && exec "$@"\n'
    )
    at_server.chmod(0o700)

    say("Two machines with mail of their own, in two layouts, some of it on both. Making it ...")
    both = make_mail(laptop, server)
    laptop.type("ls -A ~/Maildir | head -8")
    server.type("ls -A ~/Maildir | head -8")

    say("Each is made a store once. The mail stays where it is.")
    laptop.type("mailkeep init --store mail ~/Maildir")
    server.type("mailkeep init --store mail ~/Maildir")
    say("The laptop is told of the server. With ssh this is: mailkeep peer add server ssh://me@server/")
    laptop.type('mailkeep peer add server --command "at-server mailkeep serve --store mail"')

    say(f"What would a session do? {both} messages are on both sides already, under other file names.")
    laptop.type("mailkeep sync --dry-run")
    say("The session: both directions at once, in one stream.")
    laptop.type("mailkeep sync")
    first = compare(laptop, server)
    want = LAPTOP_MESSAGES + SERVER_MESSAGES
    if count(first) != want:
        raise DemoFailed(f"{want:,} messages were expected, since {both} were on both sides")

    say("A day passes; both sides change.")
    a_day(laptop, server)
    laptop.type("mailkeep sync")
    compare(laptop, server)
    say("And again: nothing to do is one round trip.")
    laptop.type("time -p mailkeep sync" if shutil.which("time") else "mailkeep sync")

    say("An accident: somebody's script empties the INBOX on the laptop.")
    time.sleep(0.05)
    before = laptop.census()
    laptop.type("find ~/Maildir/cur ~/Maildir/new -type f -delete; ls ~/Maildir/cur | wc -l")
    laptop.type("mailkeep sync", EXIT_HELD)
    if server.census() != before:
        raise DemoFailed("the server was touched")
    say(
        f"The server still has all {count(before):,} messages. The deletions wait for a person, whatever restarts."
    )
    laptop.type("mailkeep holds", EXIT_HELD)
    say("It was no wish of ours: put everything back. (approve would carry it out.)")
    laptop.type("mailkeep reject all")
    laptop.type("mailkeep sync")
    if compare(laptop, server) != before:
        raise DemoFailed("not everything came back")
    laptop.type("mailkeep status")


def main() -> int:
    """Run the demonstration; 0 when everything was as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="leave the directory there, to look around in")
    arguments = parser.parse_args()
    began = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="mailkeep-demo-"))
    status = 0
    try:
        run(base)
    except DemoFailed as err:
        print(f"\ndemo: FAILED: {err}", file=sys.stderr)
        status = 1
    finally:
        if arguments.keep:
            say(f"Everything is still in {base}; remove it with: rm -rf {base}")
        else:
            shutil.rmtree(base)
    if status == 0:
        mailkeep = shutil.which("mailkeep") or f"{Path(sys.executable).parent}/mailkeep"
        say(
            f"Done in {time.monotonic() - began:.0f} s; "
            + (
                ""
                if arguments.keep
                else "the temporary directory is removed; `make demo` leaves .venv here, and nothing elsewhere.\n"
            )
            + "\nFor your own mail (with `pipx install .`, or with the command that this demo ran,\n"
            f"{mailkeep}):\n\n"
            "  laptop$ mailkeep init --store mail ~/Maildir\n"
            "  server$ mailkeep init --store mail ~/Maildir\n"
            "  laptop$ mailkeep peer add server ssh://me@server/\n"
            "  laptop$ mailkeep sync --dry-run\n"
            "  laptop$ mailkeep sync\n\n"
            "docs/tutorial/first-sync.md goes through it step by step."
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
