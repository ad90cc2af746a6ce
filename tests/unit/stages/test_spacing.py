"""Spacing is read, overridden or refused, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from slide_files import Writing, texture, write_pyramid

from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import SpacingError
from wsiprep.manifest import SlideRow
from wsiprep.patches import CellScale
from wsiprep.slides import open_slide
from wsiprep.stages.scale import SlideScale, slide_scale


def scale_of(folder: Path, *, file_um: float | None, override_um: float | None = None, **recipe: object) -> SlideScale:
    path = write_pyramid(folder / "s.tif", [texture(64, 64)], Writing(resolution_um=file_um))
    row = SlideRow(slide_id="s", raw_id="s", slide=str(path), slide_ref="s.tif", spacing_um=override_um)
    made: Recipe = recipe_from_mapping({"name": "r", **recipe})
    with open_slide(path) as slide:
        return slide_scale(slide.info.spacing, row, made)


def test_downsample_is_a_multiple_of_the_file(tmp_path: Path) -> None:
    scale = scale_of(tmp_path, file_um=0.25, downsample=4)
    assert scale.cells is not None
    assert (scale.cells.downsample, scale.used.x_um, scale.override) == (4, pytest.approx(0.25), None)
    assert scale.patch_um == pytest.approx(1.0)


def test_spacing_within_two_per_cent_of_an_integer_records_the_true_one(tmp_path: Path) -> None:
    scale = scale_of(tmp_path, file_um=0.2525, spacing_um=1.0)
    assert scale.cells == CellScale.square(4)
    assert scale.patch_um == pytest.approx(1.01, rel=1e-4)


@pytest.mark.parametrize(("file_um", "spacing_um"), [(0.243, 1.0), (0.226, 1.0), (0.226, 0.5), (1.0, 0.5)])
def test_no_integer_step_is_refused(tmp_path: Path, file_um: float, spacing_um: float) -> None:
    with pytest.raises(SpacingError):
        scale_of(tmp_path, file_um=file_um, spacing_um=spacing_um)


def test_missing_spacing_is_refused_and_the_manifest_overrides(tmp_path: Path) -> None:
    with pytest.raises(SpacingError, match="does not say") as caught:
        scale_of(tmp_path, file_um=None, downsample=1)
    assert "manifest" in str(caught.value)
    scale = scale_of(tmp_path, file_um=None, override_um=0.5, downsample=2)
    assert scale.to_dict() == {
        "file": None, "override": 0.5, "used": 0.5, "used_y": 0.5, "patch": 1.0, "patch_y": 1.0,
    }  # fmt: skip


def test_unexpected_spacing_is_refused_unless_overridden(tmp_path: Path) -> None:
    expect = {"downsample": 1, "expect_um": [0.25, 0.5]}
    assert scale_of(tmp_path, file_um=0.2549, **expect).used.x_um == pytest.approx(0.2549, rel=1e-4)
    with pytest.raises(SpacingError, match="expects") as caught:
        scale_of(tmp_path, file_um=0.256, **expect)
    assert "0.25 or 0.5" in str(caught.value)
    assert scale_of(tmp_path, file_um=0.256, override_um=0.256, **expect).used.x_um == 0.256


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    how = Writing(extra={"resolution": (20_000.0, 10_000.0), "resolutionunit": "CENTIMETER"})
    path = write_pyramid(tmp_path / "s.tif", [texture(64, 64)], how)
    row = SlideRow(slide_id="s", raw_id="s", slide=str(path), slide_ref="s.tif")
    with open_slide(path) as slide, pytest.raises(SpacingError, match="square"):
        slide_scale(slide, row, recipe_from_mapping({"name": "r", "downsample": 1}))
