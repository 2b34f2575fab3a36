"""Fixtures: homes in which the real command runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.machine import Machine, mailbox, message


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """An empty home."""
    machine = Machine(tmp_path / "home")
    yield machine
    for directory, _, _ in os.walk(
        tmp_path
    ):  # what a test made unreadable must not keep pytest from removing it
        if not Path(directory).is_symlink():
            os.chmod(directory, 0o700)


@pytest.fixture
def pair(here: Machine) -> Machine:
    """A home with the store `mail` (three messages) in Maildir, and its peer `other`, empty, in Other."""
    mailbox(here.home / "Maildir", *map(message, range(3)))
    here.ok("init", "--store", "mail", here.home / "Maildir")
    here.ok("init", "--store", "other", "--create", "--layout", "fs", here.home / "Other")
    here.ok("peer", "add", "--store", "mail", "other", here.home / "Other")
    here.config.write_text(
        here.config.read_text().replace("[stores.mail]\n", "[stores.mail]\ndefault = true\n")
    )
    return here
