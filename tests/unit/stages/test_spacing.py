"""Spacing is read, overridden or refused, never guessed."""

from __future__ import annotations

from fractions import Fraction
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


def not_square(folder: Path) -> tuple[SlideRow, Path]:
    how = Writing(extra={"resolution": (20_000.0, 10_000.0), "resolutionunit": "CENTIMETER"})
    path = write_pyramid(folder / "s.tif", [texture(64, 64)], how)
    return SlideRow(slide_id="s", raw_id="s", slide=str(path), slide_ref="s.tif"), path


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    row, path = not_square(tmp_path)
    with open_slide(path) as slide, pytest.raises(SpacingError, match="square"):
        slide_scale(slide.info.spacing, row, recipe_from_mapping({"name": "r", "downsample": 1}))


def test_resampling_makes_square_patches_of_pixels_that_are_not(tmp_path: Path) -> None:
    row, path = not_square(tmp_path)
    recipe = recipe_from_mapping({"name": "r", "spacing_um": 2.0, "resample": "area"})
    with open_slide(path) as slide:
        scale = slide_scale(slide.info.spacing, row, recipe)
    assert (scale.used.x_um, scale.used.y_um) == (pytest.approx(0.5), pytest.approx(1.0))
    assert scale.cells == CellScale(Fraction(4), Fraction(2))
    assert scale.to_dict()["file"] == [pytest.approx(0.5), pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("file_um", "spacing_um", "factor"),
    [(0.243, 1.0, 4.115), (0.226, 1.0, 4.425), (0.243, 0.5, 2.06), (0.226, 0.5, 2.21)],
)
def test_resampling_takes_the_nearest_scale_of_whole_cells(
    tmp_path: Path, file_um: float, spacing_um: float, factor: float
) -> None:
    scale = scale_of(tmp_path, file_um=None, override_um=file_um, spacing_um=spacing_um, resample="area")
    assert scale.cells is not None
    assert float(scale.cells.x) == pytest.approx(factor, abs=0.004)
    assert (scale.cells.x * 512).denominator == 1
    assert scale.patch_um == pytest.approx(spacing_um, rel=5e-4)
    assert scale.patch_um == pytest.approx(file_um * float(scale.cells.x), rel=1e-12)


def test_stride_and_patch_with_little_in_common_are_refused(tmp_path: Path) -> None:
    sampling = {"patch_size_px": 512, "stride_px": 509}
    with pytest.raises(SpacingError, match="too little in common"):
        scale_of(tmp_path, file_um=None, override_um=0.243, spacing_um=1.0, resample="area", sampling=sampling)


def test_crops_have_scales_of_their_own(tmp_path: Path) -> None:
    scale = scale_of(tmp_path, file_um=0.25, sampling={"kind": "box"})
    assert (scale.cells, scale.patch_um) == (None, None)
