"""The picture of a slide, and the glass that survey records and plan hands to the stain fit."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import StainError
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.slides import open_slide, read_overview
from wsiprep.stages.colours import white_of
from wsiprep.stages.overview import Overview, picture_of
from wsiprep.stages.stains import cohort_fit, fit_stains, own_fit
from wsiprep.stages.survey import survey
from wsiprep.stain import WHITE

GLASS = (238, 240, 230)


@pytest.mark.parametrize(("width", "height", "wanted"), [(100, 60, 1), (2047, 300, 1), (2048, 90, 2), (90, 3100, 3)])
@pytest.mark.parametrize("seen_at", [1, 64])
def test_the_picture_has_one_to_two_thousand_pixels(tmp_path, width, height, wanted, seen_at):
    image = texture(width, height)
    with open_slide(write_pyramid(tmp_path / "s.tif", [image], Writing(resolution_um=0.25))) as slide:
        found = picture_of(slide, Overview(*read_overview(slide, seen_at)))
    assert found.downsample == wanted
    assert found.image.shape[:2] == (-(-height // wanted), -(-width // wanted))
    assert found.to_dict() == {
        "downsample": wanted,
        "width_px": found.image.shape[1],
        "height_px": found.image.shape[0],
    }
    inner = (slice(0, height // wanted), slice(0, width // wanted))
    expected = mean_of_blocks(image, wanted)[inner].astype(int)
    assert np.abs(found.image[inner] - expected).max() <= 1


def tissue_on_glass(side=1200):
    """Two stains in a square on dim glass."""
    rng = np.random.default_rng(0)
    amounts = cv2.resize(rng.gamma(1, 0.5, (side // 8, side // 8, 2)), (side, side), interpolation=cv2.INTER_NEAREST)
    amounts[:, : side // 2] = 0
    light = np.exp(-amounts @ np.array([[0.65, 0.70, 0.29], [0.07, 0.95, 0.3]]))
    return np.rint(np.array(GLASS) * light).astype(np.uint8)


def surveyed(folder, image, **stain):
    path = write_pyramid(folder / "s.tif", [image], Writing(resolution_um=1.0))
    row = SlideRow(slide_id="s", raw_id="s", slide=str(path), slide_ref="s.tif")
    recipe = recipe_from_mapping(
        {"name": "r", "downsample": 1, "sampling": {"patch_size_px": 64}, "stain": {"min_tissue_px": 500, **stain}}
    )
    tree = DatasetTree(Path(folder) / "out")
    record = survey(row, recipe, tree, NullReporter())
    return record, recipe, tree


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_the_glass_goes_from_the_overview_into_the_fit(tmp_path, method):
    record, recipe, tree = surveyed(tmp_path, tissue_on_glass(), method=method)
    assert record["glass_rgb"] == pytest.approx(GLASS, abs=1)
    assert record["glass_share"] == pytest.approx(0.5, abs=0.1)
    assert record["glass_reason"] == ""
    assert json.loads(tree.slide("s").record.read_text()) == record
    picture = cv2.imread(str(tree.slide("s").overview))
    assert record["overview"] == {"downsample": 1, "width_px": picture.shape[1], "height_px": picture.shape[0]}
    fits = fit_stains([record], recipe, tree).of("s")
    assert fits["source"]["status"] == "ok"
    assert fits["source"]["white"] == record["glass_rgb"]
    assert fits["target"]["white"] == list(WHITE)
    cohort = cohort_fit({"s": own_fit(record, recipe, tree)}, recipe, tree)
    assert cohort.white == WHITE
    assert np.abs(cohort.matrix - np.array(fits["source"]["matrix"])).max() < 0.02


def test_without_glass_the_reason_is_recorded_and_the_white_is_the_default(tmp_path):
    record, recipe, tree = surveyed(tmp_path, tissue_on_glass()[:, 600:], method="macenko")
    assert record["glass_rgb"] is None
    assert "tint of pale stain" in record["glass_reason"] or "less than 2%" in record["glass_reason"]
    assert white_of(record) == WHITE
    assert fit_stains([record], recipe, tree).of("s")["source"]["white"] == list(WHITE)


def test_a_slide_that_cannot_be_fitted_keeps_its_own_white(tmp_path):
    flat = np.full((600, 600, 3), GLASS, np.uint8)
    flat[:, 300:] = (220, 150, 190)
    record, recipe, tree = surveyed(tmp_path, flat, method="macenko")
    source = fit_stains([record], recipe, tree).of("s")["source"]
    assert (source["origin"], source["status"]) == ("reference", "single_stain")
    assert source["white"] == record["glass_rgb"] == list(GLASS)
    own = {"s": own_fit(record, recipe, tree)}
    assert cohort_fit(own, recipe, tree) is None
    strict = recipe_from_mapping({"name": "r", "downsample": 1, "stain": {"method": "macenko", "target": "cohort"}})
    with pytest.raises(StainError):
        cohort_fit(own, strict, tree)
