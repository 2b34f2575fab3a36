"""The order of writes, as the kernel saw it: contents durable, then the index, then file names, in groups.

A power cut keeps what was synced and any part of the rest. So no commit of the index may rely on bytes that no
syncfs covered, no name may appear in the Maildir before the index has the record, and none of it may cost an
fsync a message.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.machines import Machine, contents, deliver, make_mailbox, message, program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

COUNT = 200
CALLS = "fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,openat"
LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)")

WRITE, SYNCFS, COMMIT, NAME, FSYNC, MARKER = "write", "syncfs", "commit", "name", "fsync", "marker"


def events(trace: Path, home: Path) -> Iterator[tuple[str, str]]:
    """(what, path) of all that one machine's process did to vault, index and Maildir, in order."""
    pending: dict[str, str] = {}
    for raw in trace.read_text(errors="replace").splitlines():
        line = raw
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            pending[pid] = line.removesuffix("<unfinished ...>")
            continue
        if " resumed>" in line:
            line = pending.pop(pid) + line.split(" resumed>", 1)[1]
        match = LINE.match(line)
        if not match or match["result"].startswith("-") or str(home) not in line:
            continue
        call, args = match["call"], match["args"]
        if call == "syncfs":
            yield SYNCFS, ""
        elif call in ("fsync", "fdatasync"):
            yield (COMMIT if "index.db" in args else FSYNC), args
        elif call == "openat" and "O_CREAT" in args and "/objects/" in args:
            yield WRITE, args
        elif call.startswith("link") and "/objects/" in args:
            # To the vault when a scan adopts a file; from it when a message is given its file.
            yield (WRITE if args.rindex("/objects/") > args.rindex("/Maildir") else NAME), args
        elif call.startswith("rename") and "..mailkeep" in args:
            yield MARKER, args


def trace(machine: Machine, file: Path, *words: str) -> Path:
    """Run mailkeep under strace; what all of its processes did, in the order of time."""
    prefix = [program("strace"), "-f", "-y", "-s", "500", "-e", f"trace={CALLS}", "-o", str(file)]
    done = subprocess.run(
        [*prefix, str(machine.bin / "mailkeep"), *words],
        env=machine.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return file


def what(file: Path, home: Path) -> list[str]:
    return [event for event, _ in events(file, home)]


def assert_synced_before_commit(seen: list[str]) -> None:
    """Whatever was written or named is covered by a sync before the index commits after it."""
    for before, after in itertools.pairwise(seen):
        assert not (before in (WRITE, NAME) and after == COMMIT), seen


@pytest.fixture
def two(laptop: Machine, server: Machine) -> tuple[Machine, Machine]:
    for number in range(COUNT):
        deliver(
            laptop.mail, "" if number % 3 else ".Work", message(number), number, "S" if number % 2 else None
        )
    make_mailbox(server.mail, "")
    return laptop, server


def test_first_sync_is_durable_in_groups(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    laptop, server = two
    traced = trace(laptop, tmp_path / "init", "init", "--store", "mail", str(laptop.mail))
    seen = what(traced, laptop.home)
    assert seen.count(WRITE) == COUNT
    assert_synced_before_commit(seen)
    assert seen.count(SYNCFS) + seen.count(FSYNC) + seen.count(COMMIT) < COUNT / 4, "no sync per message"
    last_write = len(seen) - 1 - seen[::-1].index(WRITE)
    assert seen.index(SYNCFS, last_write) < seen.index(COMMIT, last_write), "contents, then the index"

    server.mailkeep("init", "--store", "mail", server.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    traced = trace(laptop, tmp_path / "sync", "sync")
    assert len(contents(server.mail)) == COUNT
    seen = what(traced, server.home)
    assert seen.count(WRITE) == COUNT
    assert seen.count(NAME) == COUNT
    assert_synced_before_commit(seen)
    assert seen.count(SYNCFS) + seen.count(FSYNC) + seen.count(COMMIT) < COUNT / 4, "no sync per message"
    # contents -> syncfs -> the index has them and the records -> file names -> syncfs -> journal cleared
    last_write = len(seen) - 1 - seen[::-1].index(WRITE)
    synced = seen.index(SYNCFS, last_write)
    committed = seen.index(COMMIT, synced)
    first_name = seen.index(NAME)
    last_name = len(seen) - 1 - seen[::-1].index(NAME)
    assert last_write < synced < committed < first_name
    assert SYNCFS in seen[last_name:]
    assert COMMIT in seen[seen.index(SYNCFS, last_name) :]
    assert MARKER in seen


def test_nothing_to_do_syncs_nothing(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    """A run that changes nothing makes nothing durable: it costs the disk nothing."""
    laptop, server = two
    for machine in two:
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    for _ in range(3):  # the last of these has looked again at what was young
        laptop.sync()
    laptop.run(["sleep", "2.1"])
    laptop.sync()
    traced = trace(laptop, tmp_path / "noop", "sync")
    for machine in two:
        seen = what(traced, machine.home)
        assert set(seen) <= {COMMIT}, seen
        assert seen.count(COMMIT) == 0, seen
