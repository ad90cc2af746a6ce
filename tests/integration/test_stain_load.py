"""Stains normalised while loading are those that pack would have stored, through the whole pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipelinecases import build
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StainError
from wsiprep.store import Dataset
from wsiprep.synthetic import CohortFiles
from wsiprep.training.data import PatchDataset

SLIDES = tuple(f"synthetic_{i:02d}" for i in range(1, 5))


def built(cohort: CohortFiles, place: Path, method: str, when: str) -> Path:
    place.mkdir()
    recipe = place / "recipe.yaml"
    recipe.write_text(SMALL_RECIPE)
    stain = f"stain={{method: {method}, when: {when}, target: cohort, min_tissue_px: 1000}}"
    return build(DatasetTree(place / "out"), ["-r", recipe, "-m", cohort.manifest, "--set", stain], SLIDES).root


@pytest.mark.parametrize(
    ("method", "fitted", "choice"),
    [
        ("vahadane", "vahadane", "fit"),
        ("macenko", "hematoxylin", "macenko"),
        pytest.param("reinhard", "reinhard", "fit", marks=pytest.mark.long),
        pytest.param("hematoxylin", "macenko", "hematoxylin", marks=pytest.mark.long),
    ],
)
def test_loading_normalises_to_the_pixels_that_pack_stores(
    cohort: CohortFiles, tmp_path: Path, method: str, fitted: str, choice: str
) -> None:
    """Also by another method than the one that the dataset was packed with: nothing is packed again for that."""
    packed = Dataset(built(cohort, tmp_path / "pack", method, "pack"))
    root = built(cohort, tmp_path / "load", fitted, "load")
    raw, stained = PatchDataset(root, "all"), PatchDataset(root, "all", stain=choice)
    places = ("slide_id", "x_lv0", "y_lv0")
    assert [packed.index[name].to_pylist() for name in places] == [raw.dataset.index[n].to_pylist() for n in places]
    assert raw.dataset.index["stain_origin"].null_count == len(raw)
    origins = packed.index["stain_origin"].to_pylist()
    assert any(origins)
    changed = 0
    for row in range(len(raw)):
        item = stained[row]
        assert np.array_equal(item["image"].permute(1, 2, 0).numpy(), packed.read_pixels(row)[0])
        assert item["stain_origin"] == (origins[row] or "none")
        changed += not np.array_equal(item["image"].numpy(), raw[row]["image"].numpy())
    assert changed == sum(origin is not None for origin in origins)
    with pytest.raises(StainError, match="normalised when it was packed"):
        PatchDataset(packed.root, "all", stain="fit")
