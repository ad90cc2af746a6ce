"""The colour of the glass, and that glass comes out of every normalisation as it went in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsiprep.config import Tissue
from wsiprep.errors import UsageError
from wsiprep.slides import open_slide, read_overview
from wsiprep.stain import REFERENCE, WHITE, Glass, fit, glass_colour, histogram, normalise
from wsiprep.synthetic import render_cohort
from wsiprep.tissue import find_tissue

METHODS = ("macenko", "vahadane")
REAL = ["slides/granular_20x.tif", "slides/mesothelioma_10x.tif", "slides/celiac_10x.tif"]
REAL += [f"slides_svs/{name}.svs" for name in ("cmu-1-small-region", "tcga-cr-7395-01a-01-ts1")]
SYNTHETIC = ["synthetic_01", "synthetic_02", "synthetic_03", "synthetic_04"]


def viewed(path):
    """A slide at 1000 to 2000 px a side, and its glass as survey finds it at 16 um/px."""
    with open_slide(path) as slide:
        spacing_um = 0.5 if slide.info.spacing is None else slide.info.spacing.mean_um
        overview, downsample = read_overview(slide, max(1, int(16 / spacing_um)))
        tissue = find_tissue(overview, downsample, downsample * spacing_um, Tissue(), "he")
        size = slide.info.size
        rgb, _ = read_overview(slide, max(1, max(size.width_px, size.height_px) // 1024))
        return rgb, glass_colour(overview, tissue.mask)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    render_cohort(folder, n_slides=4, side_px=2048)
    return folder / "slides"


@pytest.fixture(params=REAL + SYNTHETIC, scope="module")
def slide(request):
    if request.param in SYNTHETIC:
        return viewed(request.getfixturevalue("synthetic") / f"{request.param}.tif")
    return viewed(request.getfixturevalue("shared_data") / request.param)


def plain_glass(rgb, white):
    """The middle of wide even areas of about the glass's colour, found without the stain code: bool (h, w)."""
    smooth = cv2.blur(rgb, (9, 9)).astype(int)
    even = cv2.blur(np.abs(rgb.astype(int) - smooth).max(axis=2).astype(np.float32), (9, 9)) < 3
    near = np.abs(smooth - np.array(white)).max(axis=2) <= 5
    return cv2.erode((even & near).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def moved(rgb, source, method):
    return np.abs(normalise(rgb, source, REFERENCE[method]).astype(int) - rgb).max(axis=-1)


@pytest.mark.parametrize("method", METHODS)
def test_the_glass_of_slides_comes_out_as_it_went_in(slide, method):
    rgb, glass = slide
    area = plain_glass(rgb, glass.rgb)
    assert area.mean() > 0.02
    source = fit(histogram(rgb[::3, ::3]), method, 1000, glass.white)
    change = moved(rgb, source, method)[area]
    assert np.mean(change <= 2) > 0.995
    assert change.mean() < 0.1
    close = np.abs(rgb - np.array(glass.rgb)).max(axis=2) <= 4
    assert moved(rgb[close][None], source, method).max() <= 2
    # With the white of staintools the same glass takes the colour of thin stain.
    assert moved(rgb[close][None], fit(histogram(rgb[::3, ::3]), method, 1000), method).mean() > 2


@pytest.mark.parametrize("method", METHODS)
def test_tissue_gets_the_stains_of_the_target(slide, method):
    rgb, glass = slide
    source = fit(histogram(rgb[::3, ::3]), method, 1000, glass.white)
    normal = normalise(rgb, source, REFERENCE[method])
    assert (normal != rgb).any(axis=2).mean() > 0.1
    # The lamp stays the slide's: the result is seen from the same white.
    found = fit(histogram(normal[::3, ::3]), method, 1000, glass.white)
    angles = np.degrees(np.arccos(np.clip((found.matrix * REFERENCE[method].matrix).sum(axis=1), -1, 1)))
    # Macenko's ends are ends again; Vahadane's penalty weighs stretched amounts in another way.
    assert angles.max() < {"macenko": 3, "vahadane": 9}[method]


def picture(glass=(240, 238, 230), side=100):
    """Glass with noise, and a square of tissue in its middle; rgb and mask."""
    rgb = np.clip(np.random.default_rng(0).normal(glass, 1.5, (side, side, 3)).round(), 0, 255).astype(np.uint8)
    tissue = np.zeros((side, side), bool)
    tissue[30:70, 30:70] = True
    rgb[tissue] = (170, 90, 160)
    return rgb, tissue


def test_the_median_of_what_is_bright_and_no_tissue():
    rgb, tissue = picture()
    found = glass_colour(rgb, tissue)
    assert found.rgb == pytest.approx((240, 238, 230), abs=1)
    assert found.share == pytest.approx(0.84)
    assert found.white == found.rgb
    assert found.to_dict() == {"glass_rgb": list(found.rgb), "glass_share": found.share, "glass_reason": ""}


def test_fill_dark_things_and_pale_tissue_do_not_count():
    rgb, tissue = picture()
    clean = glass_colour(rgb, tissue)
    rgb[:, :25] = 255  # more than a quarter filled
    rgb[80:] = 0  # a pen, or black padding
    rgb[30:70, 70:80] = (230, 205, 225)  # tissue that the mask left out
    found = glass_colour(rgb, tissue)
    assert found.rgb == pytest.approx(clean.rgb, abs=1)
    assert found.share < clean.share - 0.3


@pytest.mark.parametrize(
    ("rgb", "reason"),
    [
        (np.full((50, 50, 3), 255, np.uint8), "less than 2%"),
        (np.full((50, 50, 3), 90, np.uint8), "less than 2%"),
        (np.full((50, 50, 3), (232, 212, 228), np.uint8), "tint of pale stain"),
        (np.zeros((0, 0, 3), np.uint8), "empty"),
    ],
)
def test_without_glass_the_white_is_the_default_and_the_reason_is_told(rgb, reason):
    found = glass_colour(rgb, np.zeros(rgb.shape[:2], bool))
    assert (found.rgb, found.white) == (None, WHITE)
    assert reason in found.reason
    assert found.to_dict()["glass_rgb"] is None


def test_a_yellow_lamp_is_no_stain():
    rgb = np.full((50, 50, 3), (246, 240, 215), np.uint8)
    assert glass_colour(rgb, np.zeros((50, 50), bool)) == Glass((246.0, 240.0, 215.0), 1.0)


def test_the_mask_is_of_the_picture():
    with pytest.raises(UsageError, match="another picture"):
        glass_colour(np.zeros((5, 6, 3), np.uint8), np.zeros((6, 5), bool))
