"""Progress: one line, for a terminal, for what takes more than a second."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from cli.machine import Machine, mailbox, message
from mailkeep.cli.progress import Progress
from mailkeep.system import clock


def test_nothing_is_shown_in_the_first_second_then_rate_and_what_remains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    progress = Progress()
    progress.totals = {"compared": 3000}
    progress("compared", 1)
    now = 100.9
    progress("compared", 900)
    assert capsys.readouterr().err == ""
    now = 102.0
    progress("compared", 1000)
    assert capsys.readouterr().err == "\r1,000 messages compared, 500 messages/s, 4s left"
    now = 102.1
    progress("compared", 1050)
    assert capsys.readouterr().err == ""
    progress.end()
    assert capsys.readouterr().err.strip("\r ") == ""


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
