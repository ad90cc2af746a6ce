"""A small synthetic cohort, and helpers that run commands as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_recipe import SMALL_RECIPE

from wsiprep.synthetic import CohortFiles, render_cohort

Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortFiles:
    """Four synthetic slides of 2,048 px, two of them of one patient, one normal, one padded."""
    return render_cohort(tmp_path_factory.mktemp("cohort"), n_slides=4, side_px=2048, jobs=1)


@pytest.fixture
def project(cohort: CohortFiles, tmp_path: Path) -> Path:
    """A folder with recipe.yaml beside a private copy of the cohort's manifest and annotations."""
    place = tmp_path / "project"
    slides = place / "slides"
    slides.mkdir(parents=True)
    for source in cohort.folder.rglob("*"):
        if source.is_file():
            target = slides / source.relative_to(cohort.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".tif":
                os.link(source, target)
            else:
                target.write_bytes(source.read_bytes())
    (place / "recipe.yaml").write_text(SMALL_RECIPE)
    return place


@pytest.fixture(scope="session")
def wsiprep() -> Runner:
    """Run ``wsiprep ...`` in a process of its own."""

    def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsiprep", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return call
