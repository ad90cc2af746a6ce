"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("WSIPREP_HYPOTHESIS", "quick"))

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data_folder() -> Path | None:
    """The folder of real slides beside the checkout, or None."""
    place = Path(os.environ.get("WSIPREP_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    return place if place.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real slides, annotations and patches; tests that need them skip where they are absent."""
    place = shared_data_folder()
    if place is None:
        pytest.skip("the shared data folder is absent (set WSIPREP_SHARED_DATA to run this test)")
    return place


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
