"""What the tests of this directory share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def every(request: pytest.FixtureRequest) -> bool:
    """Whether all steps are taken: in `make crash` and with `-m crash`."""
    return os.environ.get("HYPOTHESIS_PROFILE") == "deep" or request.config.getoption("-m") == "crash"
