"""Profiles of Hypothesis, chosen by HYPOTHESIS_PROFILE: dev (default), ci, deep."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A shared machine may be slow; how long one example takes says nothing about the code.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("dev", _PATIENT, max_examples=50)
settings.register_profile("ci", _PATIENT, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("deep", _PATIENT, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
