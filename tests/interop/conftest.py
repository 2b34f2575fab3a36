"""A server that runs sshd on the loopback for one test, and a laptop that reaches it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.machines import Machine, processes_below
from interop.sshd import Sshd


@pytest.fixture
def laptop(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "laptop")


@pytest.fixture
def server(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "server")


@pytest.fixture
def sshd(tmp_path: Path, server: Machine) -> Iterator[Sshd]:
    daemon = Sshd(tmp_path / "sshd", server)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        left = processes_below(tmp_path)
        for _ in range(250):
            if not left:
                break
            time.sleep(0.02)
            left = processes_below(tmp_path)
        assert not left, f"the test left processes behind: {left}"
