"""What becomes of the words is nothing to the mail: full, closed and abandoned streams change neither work nor status."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli.machine import Machine, contents, files, mailbox, message

pytestmark = pytest.mark.slow


def run(here: Machine, line: str) -> subprocess.CompletedProcess[str]:
    """A shell's line, in which $M is mailkeep."""
    return subprocess.run(
        ["/bin/bash", "-c", line], env={**here.environment(), "M": f"{sys.executable} -bb -m mailkeep"},
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL, cwd=here.home,
    )  # fmt: skip


@pytest.mark.parametrize(
    "where", ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-"]
)
@pytest.mark.parametrize("words", ["sync nobody --json", "sync nobody"])
def test_an_error_keeps_its_status_whatever_happens_to_its_words(
    here: Machine, words: str, where: str
) -> None:
    done = run(here, f"$M {words} {where}")
    assert done.returncode == 78
    assert "Traceback" not in done.stderr + done.stdout


def test_a_result_that_cannot_be_written_is_an_error(here: Machine) -> None:
    done = run(here, "$M config path > /dev/full")
    assert done.returncode == 74
    assert done.stderr == "mailkeep: the result could not be written: No space left on device\n"


def test_a_result_that_nobody_reads_to_its_end_is_none(here: Machine) -> None:
    done = run(here, "$M --help | head -1; echo ${PIPESTATUS[0]}")
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_session_goes_on_though_nobody_hears_its_warnings(pair: Machine) -> None:
    """A warning into a pipe that nobody reads ended the run before its session, with status 0."""
    root, other = pair.home / "Maildir", pair.home / "Other"
    mailbox(root, message(77))
    os.mkfifo(root / "cur" / "strange:2,S")
    done = run(pair, "{ $M sync; echo $? > status; } 2>&1 | true")
    assert done.returncode == 0
    assert (pair.home / "status").read_text() == "3\n", "something was passed over"
    assert message(77) in contents(other)
    assert len(files(other)) >= 1
