"""A disk that is really full, of bytes or of inodes, on either end: a clear error, nothing half there, and then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interop.machines import SOURCES, program

pytestmark = [pytest.mark.slow, pytest.mark.crash]

DRIVER = Path(__file__).with_name("full_disk.py")
CASES = [
    ("two", "bytes", 40),
    ("two", "bytes", 4),
    ("two", "inodes", 0),
    ("two", "inodes", 10),
    ("two", "inodes", 34),
    ("one", "bytes", 0),
    ("one", "bytes", 40),
    ("one", "bytes", 120),
    ("one", "inodes", 4),
    ("one", "inodes", 20),
]


def may_mount() -> bool:
    words = [program("unshare"), "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("end", "what", "left"),
    [
        ("one", "bytes", 200),
        ("one", "inodes", 30),
        *(pytest.param(*case, marks=pytest.mark.soak) for case in CASES),
    ],
)
def test_a_disk_that_is_full(tmp_path: Path, end: str, what: str, left: int) -> None:
    if not may_mount():
        if os.environ.get("CI"):
            pytest.fail("this machine allows no file system of one's own (unshare -Urm, mount -t tmpfs)")
        pytest.skip("this machine allows no file system of one's own (unshare -Urm, mount -t tmpfs)")
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-bb", str(DRIVER), str(tmp_path), end, what, str(left)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["statuses"] == [74, 74], "a full disk is no success, however often it is tried"
    assert told["findings"] == [], "nothing was half there, and with room again all went on"
    for words in told["words"][:2]:
        assert "not touched: everything" in words
        assert "to do: " in words
