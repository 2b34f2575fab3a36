"""Progress: one line, for a terminal, for what takes more than a second."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest

from cli.machine import Machine, mailbox, message
from mailkeep.cli.progress import Progress
from mailkeep.domain.progress import seconds_left
from mailkeep.system import clock


class Terminal:
    """A clock that is set by hand, and what was said by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 100.0
        self.capsys = capsys
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)

    @property
    def said(self) -> str:
        return self.capsys.readouterr().err


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


def test_nothing_is_shown_in_the_first_second_then_rate_and_what_remains(terminal: Terminal) -> None:
    progress = Progress()
    progress.expect("compared", 3000)
    terminal.now = 100.9
    progress("compared", 900)
    assert terminal.said == ""
    terminal.now = 102.0
    progress("compared", 1000)
    assert terminal.said == "\r1,000 messages compared, 500 messages/s, 4s left"
    terminal.now = 102.1
    progress("compared", 1050)
    assert terminal.said == ""
    progress.end()
    assert terminal.said.strip("\r ") == ""


def test_what_came_before_it_was_watched_does_not_count_for_the_rate(terminal: Terminal) -> None:
    progress = Progress()
    progress("read", 10_000)
    terminal.now = 102.0
    progress("read", 10_200)
    assert terminal.said == "\r10,200 messages read, 100 messages/s"


def test_both_directions_are_shown_and_what_has_ended_is_not(terminal: Terminal) -> None:
    progress = Progress()
    progress.expect("received", 100, 1000)
    progress("sent", 0)
    terminal.now = 102.0
    progress("received", 50, 500)
    progress("sent", 20, 0)
    terminal.now = 103.0
    progress("received", 60, 600)
    assert terminal.said.split("\r")[-1] == (
        "60 messages received, 20 messages/s, 2s left; 20 messages sent, 6.7 messages/s"
    )
    terminal.now = 107.0
    progress("received", 100, 1000)
    assert terminal.said.split("\r")[-1].strip() == "100 messages received, 14 messages/s"


@pytest.mark.parametrize(
    ("done", "total", "before", "left"),
    [
        ((0, 0), (100, 0), (0, 0), None),
        ((10, 0), (0, 0), (0, 0), None),
        ((25, 0), (100, 0), (0, 0), 30.0),
        ((100, 0), (100, 0), (0, 0), 0.0),
        ((120, 0), (100, 0), (0, 0), 0.0),
        ((50, 100), (100, 1000), (0, 0), 90.0),  # the large ones are still to come
        ((50, 900), (100, 1000), (0, 0), 10.0),  # the many small ones are
        ((30, 0), (100, 0), (20, 0), 70.0),
    ],
)
def test_seconds_left(
    done: tuple[int, int], total: tuple[int, int], before: tuple[int, int], left: float | None
) -> None:
    assert seconds_left(10.0, done, total, before) == left


@pytest.mark.slow
def test_init_and_sync_know_how_much_there_is(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is expected is what is done in the end, in each step of a first run, in both directions."""
    expected: dict[str, tuple[int, int]] = {}
    done: dict[str, tuple[int, int]] = {}

    class Heard(Progress):
        def expect(self, what: str, count: int, size: int = 0) -> None:
            expected[what] = (count, size)

        def __call__(self, what: str, count: int, size: int = 0) -> None:
            done[what] = (count, size)

    monkeypatch.setattr("mailkeep.cli.progress.Progress", Heard)
    monkeypatch.setattr("sys.stderr", Screen())
    mailbox(here.home / "Maildir", *(message(n) for n in range(30)))
    mailbox(here.home / "Other", *(message(n, "x" * n) for n in range(40, 42)))
    with monkeypatch.context() as m:
        m.setattr("contextlib.redirect_stderr", lambda stream: contextlib.nullcontext())
        here.ok("init", "--store", "mail", here.home / "Maildir")
        assert expected.pop("read") == (30, 0)
        assert done.pop("read")[0] == 30
        here.ok("peer", "add", "other", here.home / "Other")
        here.ok("sync")
    sizes = [len(message(n)) for n in range(30)]
    assert expected["sent"] == done["sent"] == (30, sum(sizes))
    assert (
        expected["received"]
        == done["received"]
        == (2, len(message(40, "x" * 40)) + len(message(41, "x" * 41)))
    )
    assert expected["written"] == (2, 0)
    assert done["written"][0] == 2


class Screen(io.StringIO):
    """Something that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_a_terminal_gets_no_escape_sequences_and_a_short_run_no_progress(here: Machine) -> None:
    mailbox(here.home / "Maildir", *map(message, range(5)))
    here.ok("init", here.home / "Maildir")
    fd, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "mailkeep", "verify"],
        env=here.environment(),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""
    try:
        while data := os.read(fd, 4096):
            said += data
    except OSError:
        pass  # Linux: the other side is closed
    os.close(fd)
    assert child.wait(30) == 0
    assert b"\x1b" not in said
    assert said.startswith(b"5 contents")
