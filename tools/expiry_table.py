"""Write docs/reference/expiry.md from what happens on real stores; a test says when it is behind.

.venv/bin/python tools/expiry_table.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/reference/expiry.md"


def main() -> None:
    """Try every combination, and write what came of it."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from crash.expiry_table import outcomes, page

    with tempfile.TemporaryDirectory() as directory:
        TARGET.write_text(page(outcomes(Path(directory))))
    print(f"{TARGET.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
