"""Masks of real and made-up slides: shares, ink, empty slides, cleaning."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from wsiprep.config import Tissue
from wsiprep.errors import UsageError
from wsiprep.tissue import find_tissue
from wsiprep.tissue.detect import HUE_CENTRE_DEG, HUE_HALF_WIDTH_DEG, MIN_CONTRAST_S, clean

PINK, PURPLE = (225, 150, 200), (120, 70, 150)
GREEN_PEN, BLUE_PEN, BLACK_PEN = (30, 150, 60), (40, 60, 150), (20, 20, 25)
METHODS = ("hsv", "s", "od")


def glass(side=300, seed=0):
    return np.random.default_rng(seed).integers(243, 250, (side, side, 3)).astype(np.uint8)


def disc(image, centre, radius, colour):
    return cv2.circle(image, centre, radius, colour, -1)


@pytest.mark.parametrize(
    ("name", "level", "downsample", "share"),
    [("granular_20x", 5, 32, 0.33), ("mesothelioma_10x", 4, 16, 0.38), ("celiac_10x", 4, 16, 0.32)],
)
@pytest.mark.parametrize("method", ["hsv", "s"])
def test_share_of_real_slides(shared_data, name, level, downsample, share, method):
    rgb = tifffile.imread(shared_data / "slides" / f"{name}.tif", key=level)
    found = find_tissue(rgb, downsample, 16.0, Tissue(method=method))
    assert found.share == pytest.approx(share, abs=0.02)
    assert found.thresholds["share_raw"] == pytest.approx(share, abs=0.02)
    assert found.method == method
    assert not found.empty
    if method == "hsv":
        # Hue takes nothing of H&E away: its share is that of the saturation alone.
        assert found.thresholds["share_raw_hsv"] == pytest.approx(found.thresholds["share_raw_s"], abs=0.002)


def test_optical_density_finds_the_same_tissue(shared_data):
    rgb = tifffile.imread(shared_data / "slides" / "granular_20x.tif", key=5)
    by_colour = find_tissue(rgb, 32, 16.0, Tissue(method="s")).mask
    by_density = find_tissue(rgb, 32, 16.0, Tissue(method="od")).mask
    assert np.count_nonzero(by_colour & by_density) / np.count_nonzero(by_colour | by_density) > 0.9


def test_ink_of_a_real_slide_is_left_out(shared_data):
    rgb = tifffile.imread(shared_data / "slides_svs" / "cmu-1-small-region.svs", key=0)
    small = cv2.resize(rgb, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    found = find_tissue(small, 8, 4.0, Tissue(median_px=0, min_hole_um2=0, min_speck_um2=0))
    plain = find_tissue(small, 8, 4.0, Tissue(method="s", median_px=0, min_hole_um2=0, min_speck_um2=0))
    lost = small[plain.mask & ~found.mask].astype(int)
    assert len(lost) > 100
    # Green and cyan pen: what goes absorbs red at least as much as green.
    assert np.mean(lost[:, 1] > lost[:, 0]) > 0.9
    assert found.thresholds["share_raw_hsv"] < found.thresholds["share_raw_s"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [255, 128, 0])
def test_constant_images_are_empty(method, level):
    found = find_tissue(np.full((120, 90, 3), level, np.uint8), 16, 16.0, Tissue(method=method))
    assert found.empty
    assert found.share == 0
    assert found.mask.shape == (120, 90)


@pytest.mark.parametrize("colour", [PINK, PURPLE, GREEN_PEN])
@pytest.mark.parametrize("method", METHODS)
def test_one_colour_is_no_contrast(method, colour):
    rgb = np.full((60, 60, 3), colour, np.uint8)
    assert find_tissue(rgb, 16, 16.0, Tissue(method=method)).empty


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_empty_glass_is_no_tissue(method):
    rgb = np.random.default_rng(1).integers(240, 256, (200, 200, 3)).astype(np.uint8)
    assert find_tissue(rgb, 16, 16.0, Tissue(method=method)).empty


@pytest.mark.parametrize("method", ["hsv", "s"])
def test_noise_of_black_padding_is_no_tissue(method):
    rgb = np.random.default_rng(1).integers(0, 6, (200, 200, 3)).astype(np.uint8)
    assert find_tissue(rgb, 16, 16.0, Tissue(method=method)).empty


@pytest.mark.parametrize("colour", [GREEN_PEN, BLUE_PEN, BLACK_PEN])
def test_slides_with_ink_only_are_empty(colour):
    rgb = cv2.line(glass(), (20, 20), (260, 200), colour, 25)
    assert find_tissue(rgb, 16, 16.0, Tissue()).empty


def test_strong_ink_does_not_hide_pale_tissue():
    pale = (240, 222, 234)
    rgb = disc(glass(), (90, 150), 60, pale)
    alone = find_tissue(rgb, 16, 16.0, Tissue())
    inked = find_tissue(cv2.line(rgb, (200, 10), (280, 290), GREEN_PEN, 50), 16, 16.0, Tissue())
    assert alone.mask[150, 90]
    assert np.array_equal(alone.mask, inked.mask)
    assert not find_tissue(cv2.line(rgb, (200, 10), (280, 290), GREEN_PEN, 50), 16, 16.0, Tissue(method="s")).mask[
        150, 90
    ]


def test_a_speck_of_tissue_on_a_large_slide_is_found():
    rgb = disc(glass(1200), (600, 600), 11, PINK)
    found = find_tissue(rgb, 16, 16.0, Tissue())
    assert found.mask[600, 600]
    assert np.count_nonzero(found.mask) < 500


def test_ihc_ignores_hue(shared_data):
    rgb = cv2.imread(str(shared_data / "stain" / "ihc.png"))[..., ::-1]
    found = find_tissue(np.ascontiguousarray(rgb), 1, 0.5, Tissue(), stain_type="ihc")
    assert found.method == "s"
    assert found.share > 0.4
    assert np.array_equal(found.mask, find_tissue(rgb, 1, 0.5, Tissue(method="s")).mask)


def test_arc_is_bounded_and_recorded():
    rgb = disc(disc(glass(), (80, 80), 60, PINK), (220, 220), 60, GREEN_PEN)
    found = find_tissue(rgb, 16, 16.0, Tissue())
    half_width = found.thresholds["hue_half_width_deg"]
    assert found.thresholds["hue_centre_deg"] == HUE_CENTRE_DEG
    assert HUE_HALF_WIDTH_DEG[0] <= half_width <= HUE_HALF_WIDTH_DEG[1]
    assert found.mask[80, 80]
    assert not found.mask[220, 220]


def test_red_is_no_seam():
    rgb = disc(disc(glass(), (80, 80), 60, (230, 120, 125)), (220, 220), 60, (230, 125, 120))  # hue 357 and 3
    found = find_tissue(rgb, 16, 16.0, Tissue())
    assert found.mask[80, 80]
    assert found.mask[220, 220]


def test_holes_are_filled_and_specks_dropped_by_area():
    mask = np.zeros((200, 200), bool)
    mask[20:120, 20:120] = True
    mask[40:50, 40:50] = False  # 100 px
    mask[70:90, 70:90] = False  # 400 px
    mask[150:160, 150:160] = True  # 100 px
    mask[130:150, 170:190] = True  # 400 px
    settings = Tissue(median_px=0, min_hole_um2=200 * 4.0, min_speck_um2=200 * 4.0)
    cleaned = clean(mask, 2.0, settings)
    assert cleaned[45, 45]
    assert not cleaned[80, 80]
    assert not cleaned[155, 155]
    assert cleaned[140, 180]
    # The limit itself stays: "smaller than".
    exact = clean(mask, 2.0, Tissue(median_px=0, min_hole_um2=400.0, min_speck_um2=400.0))
    assert np.array_equal(exact, mask)


def test_median_filter_rounds_even_sides_up():
    mask = np.random.default_rng(0).random((50, 50)) > 0.5
    even = clean(mask, 1.0, Tissue(median_px=4, min_hole_um2=0, min_speck_um2=0))
    odd = clean(mask, 1.0, Tissue(median_px=5, min_hole_um2=0, min_speck_um2=0))
    assert np.array_equal(even, odd)
    assert np.array_equal(even, cv2.medianBlur(mask.astype(np.uint8), 5).astype(bool))


def test_low_contrast_is_recorded():
    rgb = np.random.default_rng(1).integers(248, 252, (64, 64, 3)).astype(np.uint8)
    assert find_tissue(rgb, 16, 16.0, Tissue(method="s")).thresholds["contrast"] < MIN_CONTRAST_S


def test_an_image_without_pixels_is_empty():
    assert find_tissue(np.zeros((0, 4, 3), np.uint8), 16, 16.0, Tissue()).empty


@pytest.mark.parametrize(
    ("rgb", "spacing", "settings", "stain"),
    [
        (np.zeros((4, 4, 4), np.uint8), 16.0, Tissue(), "he"),
        (np.zeros((4, 4, 3), np.float32), 16.0, Tissue(), "he"),
        (np.zeros((4, 4), np.uint8), 16.0, Tissue(), "he"),
        (np.zeros((4, 4, 3), np.uint8), 0.0, Tissue(), "he"),
        (np.zeros((4, 4, 3), np.uint8), float("nan"), Tissue(), "he"),
        (np.zeros((4, 4, 3), np.uint8), 16.0, Tissue(method="given"), "he"),
        (np.zeros((4, 4, 3), np.uint8), 16.0, Tissue(), "pas"),
    ],
)
def test_wrong_arguments_are_refused(rgb, spacing, settings, stain):
    with pytest.raises(UsageError):
        find_tissue(rgb, 16, spacing, settings, stain)


def test_the_image_is_not_written_to():
    rgb = disc(glass(), (150, 150), 60, PINK)
    before = rgb.copy()
    rgb.flags.writeable = False
    find_tissue(rgb[::-1, ::2], 16, 16.0, Tissue())
    assert np.array_equal(rgb, before)
