"""Fits that stand, fits that are refused, and what stands in for them."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
import tifffile

from wsiprep.errors import StainError, UsageError
from wsiprep.stain import (
    REASONS,
    REFERENCE,
    ColourHistogram,
    StainFit,
    fit,
    fit_cohort,
    fit_or_fallback,
    histogram,
    merge_cohort,
    normalise,
    seen_on_white,
)
from wsiprep.stain.vahadane import START

METHODS = ("macenko", "vahadane")
SIDE = 200
RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])


def stained(haematoxylin, eosin, seed=0):
    """A picture of two stains with a little sensor noise."""
    density = np.stack([haematoxylin, eosin], axis=-1) @ RUIFROK
    noise = np.random.default_rng(seed).normal(0, 2, density.shape)
    return np.clip(255 * np.exp(-density) + noise, 0, 255).astype(np.uint8)


def he(seed=0, side=SIDE):
    rng = np.random.default_rng(seed)
    return stained(rng.gamma(1, 0.5, (side, side)), rng.gamma(1, 0.4, (side, side)), seed)


def pen(colour):
    glass = np.random.default_rng(0).integers(243, 250, (SIDE, SIDE, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.line(glass, (10, 10), (190, 150), colour, 60), (5, 5), 0)


def odd_images():
    rng = np.random.default_rng(0)
    amount, none = rng.gamma(2, 0.35, (SIDE, SIDE)), np.zeros((SIDE, SIDE))
    shape = (SIDE, SIDE, 3)
    return {
        "white": (np.full(shape, 255, np.uint8), "too_little_tissue"),
        "near-white noise": (rng.integers(240, 256, shape).astype(np.uint8), "too_little_tissue"),
        "black": (np.zeros(shape, np.uint8), "grey_or_black"),
        "grey": (np.full(shape, 128, np.uint8), "grey_or_black"),
        "grey texture": (np.repeat(rng.integers(20, 180, (SIDE, SIDE, 1)), 3, 2).astype(np.uint8), "grey_or_black"),
        "half black": (np.concatenate([np.zeros((SIDE, SIDE, 3), np.uint8), he()[:150]]), "grey_or_black"),
        "haematoxylin alone": (stained(amount, none), "single_stain"),
        "eosin alone": (stained(none, amount), "single_stain"),
        "one colour": (np.full(shape, (220, 150, 190), np.uint8), "single_stain"),
        "green pen": (pen((30, 150, 60)), "ink"),
        "red pen": (pen((210, 30, 40)), "ink"),
        "blue pen": (pen((40, 60, 150)), "single_stain"),
        "nearly all glass": (np.pad(he(side=100), ((0, 1000), (0, 1000), (0, 0)), constant_values=255), "faint"),
        "nothing": (np.zeros((0, 0, 3), np.uint8), "too_little_tissue"),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", list(odd_images()))
def test_what_is_not_two_stains_falls_back_with_its_reason(name, method):
    rgb, reason = odd_images()[name]
    hist = histogram(rgb)
    found = fit_or_fallback(hist, method, 5000, None)
    assert found.status == reason
    assert found.origin == "reference"
    assert np.array_equal(found.matrix, REFERENCE[method].matrix)
    assert all(np.isfinite(v) for v in found.diagnostics.values())
    assert found.diagnostics["total_px"] == rgb.shape[0] * rgb.shape[1]
    with pytest.raises(StainError, match=reason):
        fit(hist, method, 5000)
    before = rgb.copy()
    normal = normalise(rgb, found, REFERENCE[method])
    assert normal.shape == rgb.shape
    assert np.array_equal(rgb, before)
    if name in ("white", "near-white noise"):
        assert normal.min() >= 235  # no tissue is invented on glass


def test_every_reason_is_explained():
    assert {reason for _, reason in odd_images().values()} | {"not_two_stains"} == set(REASONS)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_of_its_own_is_kept(method):
    found = fit_or_fallback(histogram(he()), method, 5000, REFERENCE[method])
    assert (found.status, found.origin, found.method) == ("ok", "slide", method)
    assert found == fit(histogram(he()), method, 5000)
    assert found.matrix[0, 0] > found.matrix[1, 0]
    assert np.allclose(np.linalg.norm(found.matrix, axis=1), 1, atol=1e-7)
    assert found.diagnostics["active_e"] > 0.5


def test_the_cohort_stands_in_before_the_reference():
    cohort = fit_cohort([histogram(he(1)), histogram(he(2))], "macenko", 1000)
    assert (cohort.origin, cohort.status) == ("cohort", "ok")
    found = fit_or_fallback(histogram(np.zeros((90, 90, 3), np.uint8)), "macenko", 5000, cohort)
    assert (found.origin, found.status) == ("cohort", "grey_or_black")
    assert found.digest() == cohort.digest()


def test_few_tissue_pixels_are_not_fitted():
    hist = histogram(he(side=60))
    with pytest.raises(StainError, match="too_little_tissue"):
        fit(hist, "macenko", 5000)
    assert fit(hist, "macenko", 1000).status == "ok"


@pytest.mark.parametrize("method", METHODS)
def test_ink_beside_tissue_does_not_move_the_fit(method):
    clean = he(side=300)
    inked = cv2.line(clean.copy(), (0, 40), (299, 60), (30, 150, 60), 25)
    first, second = (fit(histogram(rgb), method, 5000) for rgb in (clean, inked))
    assert second.diagnostics["ink"] > 0.05
    assert np.degrees(np.arccos(np.clip((first.matrix * second.matrix).sum(axis=1), -1, 1))).max() < 1.0
    assert np.allclose(first.max_concentrations, second.max_concentrations, rtol=0.03)


def test_green_ink_of_a_real_slide_does_not_tilt_haematoxylin(shared_data):
    rgb = tifffile.imread(shared_data / "slides_svs" / "cmu-1-small-region.svs", key=0)
    found = fit(histogram(rgb[::3, ::3]), "vahadane", 20_000)
    # With the ink it is (0.81, 0.51, 0.30): a green-blue that no haematoxylin has.
    assert found.matrix[0, 1] > found.matrix[0, 0]
    assert 0.005 < found.diagnostics["ink"] < 0.03


@pytest.mark.parametrize("name", ["granular_20x", "mesothelioma_10x", "celiac_10x"])
@pytest.mark.parametrize("method", METHODS)
def test_real_slides_are_fitted(shared_data, name, method):
    rgb = tifffile.imread(shared_data / "slides" / f"{name}.tif", key=3)
    found = fit_or_fallback(histogram(rgb), method, 20_000, None)
    assert found.status == "ok"
    assert found.diagnostics["ink"] < 0.02
    haematoxylin, eosin = found.matrix
    assert haematoxylin == pytest.approx([0.53, 0.72, 0.45], abs=0.12)  # blue to violet
    assert eosin.argmax() == 1  # pink: it lets red and blue through
    assert eosin[0] < haematoxylin[0] - 0.1
    assert found.matrix.min() > 0


def test_stains_that_add_light_are_not_two_stains():
    # Red falls where the rest rises: one end of the plane of colours has negative density.
    rng = np.random.default_rng(0)
    amount = rng.uniform(0.4, 1.6, (SIDE, SIDE))
    density = np.stack([0.7 - 0.4 * amount, 0.4 + 0.5 * amount, rng.uniform(0, 1.0, (SIDE, SIDE))], axis=-1)
    rgb = (255 * np.exp(-np.maximum(density, 0))).astype(np.uint8)
    assert fit_or_fallback(histogram(rgb), "macenko", 1000, None).status == "not_two_stains"


def test_slides_of_a_cohort_weigh_the_same():
    small, large = histogram(he(1, 80)), histogram(he(2, 320))
    doubled = ColourHistogram(large.codes, large.counts * 7)
    assert merge_cohort([small, large]) == merge_cohort([large, small, ColourHistogram.empty()])
    assert np.array_equal(merge_cohort([small, large]).counts, merge_cohort([small, doubled]).counts)
    assert fit_cohort([small, large], "macenko", 100) == fit_cohort([doubled, small], "macenko", 100)


WHITES = ((238.0, 240.0, 226.0), (215.0, 205.0, 212.0), (255.0, 255.0, 255.0))


def lit(rgb, white):
    """The picture under a lamp that makes the glass ``white``."""
    return np.rint(rgb * np.array(white) / 255).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("white", WHITES)
def test_the_lamp_is_no_stain(method, white):
    plain = fit(histogram(he()), method, 5000)
    found = fit(histogram(lit(he(), white)), method, 5000, white)
    assert np.degrees(np.arccos(np.clip((plain.matrix * found.matrix).sum(axis=1), -1, 1))).max() < 0.5
    assert found.max_concentrations == pytest.approx(plain.max_concentrations, rel=0.02)
    assert found.white == white
    assert found.digest() == plain.digest() or white != plain.white
    assert StainFit.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_digests_tell_whites_apart():
    reference = REFERENCE["macenko"].to_dict()
    one, other = (StainFit.from_dict({**reference, "white": [level] * 3}) for level in (255, 240))
    assert one == REFERENCE["macenko"]
    assert one.digest() != other.digest()


@pytest.mark.parametrize("method", METHODS)
def test_a_fallback_has_the_white_of_its_own_slide(method):
    black = histogram(np.zeros((90, 90, 3), np.uint8))
    cohort = fit_cohort([histogram(he())], method, 1000)
    for stand_in in (cohort, None):
        found = fit_or_fallback(black, method, 5000, stand_in, WHITES[0])
        assert found.status == "grey_or_black"
        assert found.white == WHITES[0]


def test_colours_seen_on_white():
    rgb = he(side=90)
    assert seen_on_white(histogram(rgb), (255.0, 255.0, 255.0)) == histogram(rgb)
    dim = seen_on_white(histogram(lit(rgb, WHITES[1])), WHITES[1])
    assert dim.total_px == histogram(rgb).total_px
    assert (np.diff(dim.codes.astype(np.int64)) > 0).all()
    glass = histogram(np.full((4, 4, 3), 230, np.uint8))
    assert seen_on_white(glass, (220.0, 220.0, 220.0)).centres().tolist() == [[254.5]] * 3


@pytest.mark.parametrize("method", METHODS)
def test_a_cohort_of_several_lamps_has_the_stains_of_one(method):
    plain = fit_cohort([histogram(he(seed)) for seed in range(3)], method, 1000)
    dim = [seen_on_white(histogram(lit(he(seed), white)), white) for seed, white in enumerate(WHITES)]
    found = fit_cohort(dim, method, 1000)
    assert np.degrees(np.arccos(np.clip((plain.matrix * found.matrix).sum(axis=1), -1, 1))).max() < 0.5
    assert found.max_concentrations == pytest.approx(plain.max_concentrations, rel=0.02)
    assert found.white == (255.0, 255.0, 255.0)


def test_a_cohort_without_tissue_has_no_fit():
    white = histogram(np.full((90, 90, 3), 255, np.uint8))
    for slides in ([], [white, white]):
        with pytest.raises(StainError, match="too_little_tissue"):
            fit_cohort(slides, "vahadane", 100)


def test_slides_with_little_tissue_have_no_vote():
    speck = histogram(pen((30, 150, 60))[:40, :40])
    assert fit_cohort([histogram(he()), speck], "macenko", 5000) == fit_cohort([histogram(he())], "macenko", 5000)


def test_methods_are_checked():
    for call in (fit, lambda *a: fit_or_fallback(*a, None)):
        with pytest.raises(UsageError, match="stain method"):
            call(histogram(he()), "skimage", 100)


@pytest.mark.parametrize("method", METHODS)
def test_records_round_trip_exactly(method):
    found = fit(histogram(he()), method, 100)
    back = StainFit.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back == found
    assert hash(back) == hash(found)
    assert back.digest() == found.digest()
    assert pickle.loads(pickle.dumps(found)) == found
    assert found != REFERENCE[method]
    assert found != 3
    with pytest.raises(ValueError, match="read-only"):
        found.matrix[0, 0] = 1


def test_digest_is_of_what_decides_pixels():
    reference = REFERENCE["macenko"]
    stand_in = fit_or_fallback(ColourHistogram.empty(), "macenko", 1, None)
    assert stand_in != reference
    assert stand_in.digest() == reference.digest()
    assert REFERENCE["vahadane"].digest() != reference.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": [[1, 0, 0]]},
        {"matrix": [[1, 0, 0], [1, 0, 0]]},
        {"matrix": [[2, 0, 0], [0, 1, 0]]},
        {"matrix": [[float("nan"), 0, 0], [0, 1, 0]]},
        {"matrix": "x"},
        {"max_concentrations": [1, 0]},
        {"max_concentrations": [1]},
        {"method": "reinhard"},
        {"origin": "elsewhere"},
        {"white": [255, 255]},
        {"white": [0.5, 255, 255]},
        {"white": [255, 256, 255]},
        {"white": [255, float("nan"), 255]},
        {"white": None},
        {"diagnostics": None},
        {"diagnostics": {"a": "b"}},
    ],
)
def test_damaged_records_are_refused(change):
    with pytest.raises(StainError):
        StainFit.from_dict({**REFERENCE["macenko"].to_dict(), **change})
    incomplete = REFERENCE["macenko"].to_dict()
    del incomplete[next(iter(change))]
    with pytest.raises(StainError):
        StainFit.from_dict(incomplete)


def test_a_stain_that_no_pixel_has_is_no_stain():
    # Eosin of the start's own direction: the other atom is never used, and keeps its 22 degrees.
    amount = np.random.default_rng(0).uniform(0.3, 2, (SIDE, SIDE, 1))
    rgb = (255 * np.exp(-amount * START[1])).astype(np.uint8)
    found = fit_or_fallback(histogram(rgb), "vahadane", 1000, None)
    assert found.status == "single_stain"
    assert found.diagnostics["angle_deg"] > 20
    assert found.diagnostics["max_h"] < 0.05 * found.diagnostics["max_e"]
