"""The entry of `make bench`: see `suite` for what it does, --help for the arguments."""

from __future__ import annotations

import sys
from pathlib import Path

# The suite is the package `bench` of the directory above, for the tests and the demo too.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> None:
    """Run the suite."""
    from bench.suite import main as run_suite

    run_suite()


if __name__ == "__main__":
    main()
