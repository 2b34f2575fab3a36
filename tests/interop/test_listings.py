"""Listings that lie: an error half-way, a client that renames without pause, a clock that stands still.

What a listing lacks is not deleted. Each trouble is a real one: the kernel is made to fail a system call (strace), a
process renames files as fast as it can, a file system counts whole seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.kit import Side, settle, sync
from interop.machines import Machine, contents, deliver, make_mailbox, message, program
from mailkeep.store.vault import COPY

pytestmark = [pytest.mark.interop, pytest.mark.slow]


# --- EIO


@pytest.mark.parametrize("block", [1, 2])
def test_a_listing_that_fails_at_its_first_or_second_block_deletes_nothing(
    block: int, laptop: Machine, server: Machine, tmp_path: Path
) -> None:
    """Another synchroniser expunged 700 of 700 on the other side after this, and called it a success."""
    count = 900  # names of more than one block of 32 KiB
    for number in range(count):
        deliver(laptop.mail, "", message(number, 60), number, "S")
    make_mailbox(server.mail, "")
    for machine in (laptop, server):
        machine.mailkeep("init", "--store", "mail", machine.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    laptop.sync()
    before = contents(server.mail)
    assert len(before) == count
    deliver(laptop.mail, "", message(count, 60), count, "S")  # so that the mailbox is listed again
    laptop.settle()
    cur = str(laptop.mail / "cur")
    inject = f"inject=getdents64:error=EIO:when={block}"
    strace = [
        program("strace"),
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-P",
        cur,
        "-e",
        "trace=getdents64",
        "-e",
        inject,
    ]
    done = laptop.run([*strace, laptop.bin / "mailkeep", "sync"], status=3)
    assert (tmp_path / "trace").read_text().count("EIO (Input/output error) (INJECTED)") == 1
    assert "cur: cannot be listed (Input/output error): what it holds is unknown" in done.stderr
    assert contents(server.mail) == before
    assert laptop.sync()["there"] == {"added": 1}
    assert contents(server.mail) == contents(laptop.mail)
    assert len(contents(server.mail)) == count + 1


# --- renames without pause

RENAMER = """
import itertools, os, sys
os.chdir(sys.argv[1])
names = sorted(os.listdir("."))
bases = [name.partition(":")[0] for name in names]
for flags, other in itertools.cycle([("S", "FS"), ("FS", "S")]):
    for base in bases:
        try:
            os.rename(f"{base}:2,{flags}", f"{base}:2,{other}")
        except FileNotFoundError:
            pass  # somebody else gave it other flags, or removed it
    print(flush=True)
"""


@contextlib.contextmanager
def busy_client(directory: bytes) -> Iterator[None]:
    """A mail client that flags and unflags every message of a mailbox, again and again."""
    process = subprocess.Popen(
        [sys.executable, "-c", RENAMER, os.fsdecode(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        os.set_blocking(process.stdout.fileno(), False)
        yield
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_client_that_renames_without_pause_hides_nothing_and_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = Side(tmp_path, "a"), Side(tmp_path, "b")
    count = 2000
    for n in range(count):
        a.deliver(b"", b"message %d" % n, "S")
    with monkeypatch.context() as m:
        # Without hard links: nothing but the listings themselves says whether a file is still there.
        m.setattr("mailkeep.store.vault.probe", lambda *args: COPY)
        a.create()
    b.create()
    settle(a, b)
    bases = {os.path.basename(path).partition(b":")[0] for path in a.files()}
    cur = a.path(b"cur")
    with busy_client(cur):
        lacking = 0
        end = time.monotonic() + 60
        while not lacking and time.monotonic() < end:
            lacking = len(bases - {name.partition(b":")[0] for name in os.listdir(cur)})
        assert lacking, "a single listing never lacked a message: the race did not happen"
        for _ in range(4):  # each of them ends, though nothing ever rests
            report = a.scan()
            assert (report.expunged, report.held) == (0, 0)
        # And sessions, which bring new mail, flags and deletions into this very mailbox.
        for n in range(20):
            b.deliver(b"", b"from there %d" % n, "S")
        for path in b.files()[:10]:
            os.rename(b.path(path), b.path(path).partition(b":")[0] + b":2,RS")
        gone = b.files()[20:25]
        doomed = {Path(os.fsdecode(b.path(path))).read_text() for path in gone}
        for path in gone:
            os.unlink(b.path(path))
        for _ in range(3):
            sync(a, b)
    settle(a, b)
    every = {f"message {n}" for n in range(count)} | {f"from there {n}" for n in range(20)}
    assert every - doomed <= set(a.texts()) <= every, (
        "a client that renames what is deleted elsewhere brings it back at most"
    )
    assert len(a.texts()) == len(set(a.texts()))
    assert a.shown() == b.shown()
    a.at_rest()
    b.at_rest()


# --- a clock of whole seconds


@contextlib.contextmanager
def coarse(directory: Path) -> Iterator[Path]:
    """A file system with time stamps of whole seconds, as ext3, many network servers and old kernels have them."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    image, place = directory / "image", directory / "mnt"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    place.mkdir()
    made = subprocess.run(
        [program("mkfs.ext2"), "-q", "-I", "128", image], capture_output=True, text=True, check=False
    )
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if made.returncode or done.returncode:
        pytest.skip(f"cannot mount an image here: {made.stderr}{done.stderr}")
    try:
        assert (place.stat().st_mtime_ns % 1_000_000_000, place.stat().st_ctime_ns % 1_000_000_000) == (0, 0)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.soak  # each run waits for some ticks
def test_changes_within_one_tick_of_a_coarse_clock_are_seen(tmp_path: Path) -> None:
    """Written, scanned, written again: the directory's time does not move, and the next run must look all the same."""
    with coarse(tmp_path) as place:
        a, b = Side(place, "a"), Side(place, "b")
        a.create()
        b.create()
        for n in range(4):
            a.deliver(b"", b"first %d" % n, None)
            a.scan()
            path = a.deliver(b"", b"second %d" % n, None)
            a.scan()
            os.rename(path, a.path(b"cur", os.path.basename(path) + b":2,F"))
            a.scan()
        removed = a.deliver(b"", b"soon gone", None)
        a.scan()
        os.unlink(removed)
        settle(a, b)
        settle(a, b)
        assert (
            a.texts()
            == b.texts()
            == sorted(f"{which} {n}" for n in range(4) for which in ("first", "second"))
        )
        assert sum(flags == "F" for _, flags, _ in b.shown()) == 4
        a.at_rest()
        b.at_rest()
