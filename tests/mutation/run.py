"""The entry of `make mutants`: see `suite` for what it does, --help for the arguments."""

from __future__ import annotations

import sys
from pathlib import Path

# The suite is the package `mutation` of the directory above, for the tests too.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    """Run the suite."""
    from mutation.suite import main as run_suite

    return run_suite()


if __name__ == "__main__":
    sys.exit(main())
