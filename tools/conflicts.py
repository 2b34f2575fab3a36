"""Write docs/reference/conflicts.md from what happens on real stores; a test says when it is behind.

.venv/bin/python tools/conflicts.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/reference/conflicts.md"


def main() -> None:
    """Try every pair, and write what came of it."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from crash.conflicts import HEAD_START, PAIRS, World, page

    with tempfile.TemporaryDirectory() as directory:
        outcomes = World(Path(directory), PAIRS).run([(0, 1)], (HEAD_START, 0))
    TARGET.write_text(page(outcomes))
    print(f"{TARGET.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
