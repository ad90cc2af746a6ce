"""Spacings that are no multiple of the file's, end to end: true scale, exact pixels, label on the marker."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from slide_files import texture
from stagecases import area_mean_oracle, asap, box, case, off_slide, patches, polygon_mask, write_slide

from wsiprep.errors import SpacingError

SIDE = 64
FACTORS = {(0.243, 1.0): 4.115, (0.226, 1.0): 4.425, (0.243, 0.5): 2.06, (0.226, 0.5): 2.21}


def marked(width: int, height: int, marker: tuple[int, int, int, int]) -> np.ndarray:
    """Bright texture with one black rectangle."""
    image = (texture(width, height, seed=3) // 4 + 180).astype(np.uint8)
    x, y, x_end, y_end = marker
    image[y:y_end, x:x_end] = 0
    return image


@pytest.mark.parametrize(("file_um", "wanted_um"), FACTORS)
def test_true_spacing_pixels_and_labels(tmp_path: Path, file_um: float, wanted_um: float) -> None:
    width, height = 907, 613
    marker = (width - 130, height - 95, width - 31, height - 22)
    image = marked(width, height, marker)
    write_slide(tmp_path / "s.tif", image, file_um)
    outline = box(*marker)
    asap(tmp_path / "s.xml", [("Tumor", outline)])
    made = case(
        tmp_path, [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}],
        spacing_um=wanted_um, resample="area", sampling={"patch_size_px": SIDE, "edge": "pad"},
    )  # fmt: skip
    dataset = made.build()
    assert abs(wanted_um / file_um - FACTORS[file_um, wanted_um]) < 0.01
    scale = Fraction(round(wanted_um / file_um * SIDE), SIDE)
    stored_um = made.record("s")["spacing_um"]["file"]
    assert stored_um == pytest.approx(file_um, rel=1e-5)
    true_um = stored_um * float(scale)
    assert abs(true_um - wanted_um) < 0.005 * wanted_um
    assert made.record("s")["spacing_um"]["patch"] == pytest.approx(true_um, rel=1e-12)
    assert made.record("s")["scale"] == [float(scale), float(scale)]
    assert made.receipt("s")["attributes"]["scale"] == [float(scale), float(scale)]
    assert made.receipt("s")["attributes"]["spacing_um"]["patch"] == pytest.approx(true_um, rel=1e-12)
    side_lv0 = int(scale * SIDE)
    assert len(dataset) == -(-width // side_lv0) * -(-height // side_lv0)
    found = 0
    for pixels, mask, row in patches(dataset):
        assert (row["width_lv0"], row["height_lv0"]) == (side_lv0, side_lv0)
        assert (row["scale"], row["scale_y"]) == (float(scale), float(scale))
        assert row["spacing_um"] == pytest.approx(true_um, rel=1e-12)
        assert (row["source_level"], row["from_stored"]) == (0, False)
        np.testing.assert_array_equal(pixels, area_mean_oracle(image, row, SIDE))
        expected = polygon_mask(outline, row, SIDE).astype(np.uint8)
        # Off the slide by the centre, as the image is white there.
        np.testing.assert_array_equal(mask, np.where(off_slide(row, SIDE, width, height), 255, expected))
        # A pixel that is wholly black lies inside; one without any black lies outside: marker and label coincide.
        assert (mask[(pixels == 0).all(axis=2)] == 1).all()
        assert (mask[(pixels >= 180).all(axis=2)] != 1).all()
        found += row["tumour_px"]
        area = _overlap(marker, row) / ((min(width, row["x_lv0"] + side_lv0) - row["x_lv0"])
                                        * (min(height, row["y_lv0"] + side_lv0) - row["y_lv0"]))  # fmt: skip
        assert row["tumour_fraction"] == pytest.approx(area, abs=1e-12)
    assert found > 0


def _overlap(marker: tuple[int, int, int, int], row: dict[str, int]) -> int:
    across = min(marker[2], row["x_lv0"] + row["width_lv0"]) - max(marker[0], row["x_lv0"])
    down = min(marker[3], row["y_lv0"] + row["height_lv0"]) - max(marker[1], row["y_lv0"])
    return max(0, across) * max(0, down)


@pytest.mark.parametrize(("file_um", "wanted_um"), FACTORS)
def test_refused_without_resample(tmp_path: Path, file_um: float, wanted_um: float) -> None:
    write_slide(tmp_path / "s.tif", texture(200, 200), file_um)
    made = case(tmp_path, [{"slide_id": "s", "slide": "s.tif"}], spacing_um=wanted_um, sampling={"patch_size_px": SIDE})
    with pytest.raises(SpacingError, match="not an integer multiple"):
        made.survey()


def test_enlarging_a_slide_is_refused_whatever_resample_says(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.tif", texture(200, 200), 0.5)
    for resample in ("area", "zoom"):
        made = case(
            tmp_path, [{"slide_id": "s", "slide": "s.tif"}],
            spacing_um=0.25, resample=resample, sampling={"patch_size_px": SIDE},
        )  # fmt: skip
        with pytest.raises(SpacingError, match="coarser"):
            made.survey()


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """0.25 x 0.40 um/px to 1.0: four pixels across, two and a half down; both spacings and scales on record."""
    width, height = 700, 450
    marker = (width - 150, height - 100, width - 30, height - 20)
    image = marked(width, height, marker)
    write_slide(tmp_path / "s.tif", image, (0.25, 0.4))
    outline = box(*marker)
    asap(tmp_path / "s.xml", [("Tumor", outline)])
    rows = [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}]
    sampling = {"patch_size_px": SIDE, "edge": "pad"}
    with pytest.raises(SpacingError, match="not square"):
        case(tmp_path, rows, spacing_um=1.0, sampling=sampling).survey()
    made = case(tmp_path, rows, spacing_um=1.0, resample="area", sampling=sampling)
    dataset = made.build()
    known = made.record("s")["spacing_um"]
    assert known["used"] == pytest.approx(0.25, rel=1e-5)
    assert known["used_y"] == pytest.approx(0.4, rel=1e-5)
    assert known["patch"] == pytest.approx(1.0, rel=1e-5)
    assert known["patch_y"] == pytest.approx(1.0, rel=1e-5)
    assert made.record("s")["scale"] == [4.0, 2.5]
    total = 0
    for pixels, mask, row in patches(dataset):
        assert (row["width_lv0"], row["height_lv0"], row["scale"], row["scale_y"]) == (256, 160, 4.0, 2.5)
        np.testing.assert_array_equal(pixels, area_mean_oracle(image, row, SIDE))
        np.testing.assert_array_equal(mask == 1, polygon_mask(outline, row, SIDE) & (mask != 255))
        total += row["tumour_px"]
    assert total == 30 * 32


def test_a_step_that_does_not_fit_the_scale_is_refused(tmp_path: Path) -> None:
    """Patch size and stride whose only common divisor is small cannot follow 4.115 within half a per cent."""
    write_slide(tmp_path / "s.tif", texture(700, 700), 0.243)
    made = case(
        tmp_path, [{"slide_id": "s", "slide": "s.tif"}],
        spacing_um=1.0, resample="area", sampling={"patch_size_px": 64, "stride_px": 61},
    )  # fmt: skip
    with pytest.raises(SpacingError, match="too little in common"):
        made.survey()


def test_an_overlapping_stride_keeps_whole_corners(tmp_path: Path) -> None:
    image = texture(700, 500)
    write_slide(tmp_path / "s.tif", image, 0.243)
    made = case(
        tmp_path, [{"slide_id": "s", "slide": "s.tif"}],
        spacing_um=1.0, resample="area", sampling={"patch_size_px": 64, "stride_px": 32},
    )  # fmt: skip
    dataset = made.build()
    scale = Fraction(round(1.0 / 0.243 * 32), 32)
    step = int(scale * 32)
    assert {row["x_lv0"] % step for _, _, row in patches(dataset)} == {0}
    for pixels, mask, row in patches(dataset):
        assert row["width_lv0"] == 2 * step
        np.testing.assert_array_equal(pixels, area_mean_oracle(image, row, 64))
        assert (mask == 255).all()
    assert len(dataset) == ((700 - 2 * step) // step + 1) * ((500 - 2 * step) // step + 1)
