"""Every method: what it fits, what it refuses, how near the optimum it is, and fits of patches."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
from stain_images import (
    REAL,
    angle_deg,
    clean_tissue,
    he,
    odd_images,
    pen,
    plain_macenko,
    plain_optimum,
    real_crop,
    stained,
)

from wsiprep.errors import StainError, UsageError
from wsiprep.stain import (
    REASONS,
    REFERENCE,
    ColourHistogram,
    ColourSample,
    ReinhardFit,
    StainFit,
    fit,
    fit_cohort,
    fit_from_dict,
    fit_or_fallback,
    fit_patch,
    histogram,
    pixel_moments,
    stain_of,
    tissue_part,
)
from wsiprep.stain.anderson import Anderson
from wsiprep.stain.model import Method
from wsiprep.stain.ramakrishnan import glass_of, median_of, region_matrix
from wsiprep.stain.reinhard import lab_of

METHODS = ("macenko", "vahadane", "ramakrishnan", "hematoxylin", "reinhard")
OTHERS = METHODS[2:]
ODD = odd_images()


def test_every_method_has_a_reference():
    assert set(REFERENCE) == set(METHODS) == set(Method.__args__)
    assert all(found.origin == "reference" and found.method == name for name, found in REFERENCE.items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", list(ODD))
def test_what_is_no_h_and_e_is_refused_by_every_method(name, method):
    rgb, reason = ODD[name]
    found = fit_or_fallback(histogram(rgb), method, 5000, None)
    if (name, method) == ("nearly all glass", "ramakrishnan"):
        reason = "single_stain"  # the noise of so much glass is nearly all of one stain's positive amounts
    assert (found.origin, found.status) == ("reference", reason)
    assert found.digest() == REFERENCE[method].digest()
    assert all(np.isfinite(value) for value in found.diagnostics.values())


def test_every_reason_is_tried():
    assert {reason for _, reason in ODD.values()} | {"not_two_stains"} == set(REASONS)


@pytest.mark.parametrize("method", OTHERS)
def test_records_of_every_kind_round_trip(method):
    found = fit(histogram(he()), method, 1000)
    record = json.loads(json.dumps(found.to_dict()))
    assert fit_from_dict(record) == found
    assert hash(fit_from_dict(record)) == hash(found)
    assert type(found) is (ReinhardFit if method == "reinhard" else StainFit)
    assert (found.method, found.origin, found.status) == (method, "slide", "ok")
    assert pickle.loads(pickle.dumps(found)) == found
    assert found != REFERENCE[method]
    assert found.digest() != REFERENCE[method].digest()
    assert found != 3


@pytest.mark.parametrize(
    "change",
    [
        {"means": [1, 2]}, {"means": [-1, 100, 100]}, {"means": [300, 100, 100]}, {"deviations": [0, 1, 1]},
        {"deviations": [1, float("nan"), 1]}, {"method": "vahadane"}, {"origin": "x"}, {"white": [0, 1, 1]},
        {"diagnostics": None}, {"method": None},
    ],
)  # fmt: skip
def test_damaged_moments_are_refused(change):
    with pytest.raises(StainError):
        fit_from_dict({**REFERENCE["reinhard"].to_dict(), **change})
    incomplete = REFERENCE["reinhard"].to_dict()
    del incomplete[next(iter(change))]
    with pytest.raises(StainError):
        fit_from_dict(incomplete)


def test_the_stain_of_a_shard():
    own, target = fit(histogram(he()), "vahadane", 1000), REFERENCE["vahadane"]
    stain = {"source": own.to_dict(), "target": target.to_dict()}
    assert stain_of({"stain": stain}) == (own, target)
    assert stain_of({"stain": None}) is None
    assert stain_of({}) is None
    # Nobody's stains: those pixels are left alone by every reader.
    assert stain_of({"stain": {**stain, "source": target.to_dict()}}) is None
    for damaged in ({"source": own.to_dict()}, {"source": own.to_dict(), "target": {}}, 3):
        with pytest.raises(StainError):
            stain_of({"stain": damaged})


# Accuracy


@pytest.mark.parametrize("name", REAL)
def test_vectors_are_at_the_optimum_of_all_pixels(shared_data, name):
    rgb = real_crop(shared_data, name)
    density, counts = clean_tissue(rgb)
    best, hist = plain_optimum(density, counts), histogram(rgb)
    assert angle_deg(fit(hist, "vahadane", 1000).matrix, best) < 0.1
    assert angle_deg(fit(hist, "macenko", 1000).matrix, plain_macenko(density, counts)) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_vectors_of_made_pictures_are_at_the_optimum(seed):
    rng = np.random.default_rng(seed)
    vectors = np.array([[0.6, 0.7, 0.35], [0.12, 0.9, 0.3]]) + rng.uniform(-0.06, 0.06, (2, 3))
    rgb = he(seed, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    density, counts = clean_tissue(rgb)
    for method, best in (("vahadane", plain_optimum(density, counts)), ("macenko", plain_macenko(density, counts))):
        assert angle_deg(fit(histogram(rgb), method, 1000).matrix, best) < 0.3


def test_haematoxylin_alone_is_drawn_with_vahadanes_vectors():
    first, second = (fit(histogram(he()), method, 1000) for method in ("vahadane", "hematoxylin"))
    assert np.array_equal(first.matrix, second.matrix)
    assert np.array_equal(first.max_concentrations, second.max_concentrations)
    assert first.digest() != second.digest()


# Ramakrishnan


def regions_of(rgb, n=4):
    return tuple(histogram(part) for row in np.split(rgb, n) for part in np.split(row, n, axis=1))


def test_the_median_of_regions_does_not_follow_an_odd_one():
    clean = regions_of(he(side=400))
    odd = histogram(stained(np.full((100, 100), 0.9), np.full((100, 100), 0.1), vectors=np.eye(3)[[1, 2]] + 0.2))
    first = fit(ColourSample(clean), "ramakrishnan", 1000)
    second = fit(ColourSample((*clean, odd)), "ramakrishnan", 1000)
    assert angle_deg(first.matrix, second.matrix) < 0.5
    assert first.diagnostics["regions"] == 16
    assert angle_deg(first.matrix, fit(ColourSample(clean), "vahadane", 1000).matrix) < 1.5
    by_hand = np.median([region_matrix(region) for region in clean], axis=0)
    assert np.allclose(first.matrix, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), atol=1e-7)


def test_amounts_of_regions_are_projections_and_only_positive_ones_count():
    sample = ColourSample(regions_of(he(side=200), 2))
    found = fit(sample, "ramakrishnan", 1000)
    colours = sample.total.centres()
    amounts = np.maximum(-np.log(np.maximum(colours, 1) / 255).T @ np.linalg.pinv(found.matrix), 0)
    for stain, largest in zip(amounts.T, found.max_concentrations, strict=True):
        repeated = np.repeat(stain, sample.total.counts)
        assert largest == pytest.approx(np.percentile(repeated[repeated > 0], 99), rel=1e-3)


def test_regions_of_glass_do_not_vote():
    tissue = regions_of(he(side=200), 2)
    glassy = np.full((100, 100, 3), 250, np.uint8)
    glassy[:20] = he(5, 100)[:20]
    white = (251.0, 251.0, 251.0)
    with_glass = fit(ColourSample((*tissue, *[histogram(glassy)] * 9)), "ramakrishnan", 1000, white)
    assert with_glass.diagnostics["regions"] == 4
    assert np.array_equal(with_glass.matrix, fit(ColourSample(tissue), "ramakrishnan", 1000, white).matrix)
    alone = fit(ColourSample((histogram(glassy),)), "ramakrishnan", 1000, white)
    assert alone.diagnostics["regions"] == 1


def test_the_glass_of_regions_is_the_bright_pixels_percentile():
    rgb = np.concatenate([he(side=200), np.random.default_rng(0).integers(226, 246, (200, 200, 3)).astype(np.uint8)])
    white = glass_of(histogram(rgb))
    bright = rgb[(rgb > 220).all(axis=2)]
    assert np.abs(np.array(white) - np.percentile(bright, 80, axis=0)).max() <= 1
    assert fit(histogram(rgb), "ramakrishnan", 1000).white == pytest.approx(white)
    assert fit(histogram(rgb), "ramakrishnan", 1000, (240.0, 241.0, 239.0)).white == (240.0, 241.0, 239.0)
    assert glass_of(histogram(he(side=50))) == (255.0, 255.0, 255.0)


def test_a_region_without_two_colours_has_no_vectors():
    assert region_matrix(histogram(np.full((9, 9, 3), 100, np.uint8))) is None
    matrix, spread = median_of([REFERENCE["vahadane"].matrix])
    assert np.allclose(matrix, REFERENCE["vahadane"].matrix)
    assert max(spread) < 0.02  # vectors are rounded to 8 decimals


# Reinhard


@pytest.mark.parametrize("name", ["histo", "instanseg", "tcga"])
def test_moments_of_the_histogram_are_those_of_the_pixels(shared_data, name):
    rgb = real_crop(shared_data, name)
    found, plain = fit(histogram(rgb), "reinhard", 1000), pixel_moments(rgb)
    assert found.means == pytest.approx(plain.means, abs=0.6)
    assert found.deviations == pytest.approx(plain.deviations, abs=0.3)


def test_moments_over_all_pixels_are_staintools_definition(shared_data):
    rgb = real_crop(shared_data, "histo")
    lab = [plane.astype(np.float32) for plane in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))]
    means, deviations = zip(*(cv2.meanStdDev(plane) for plane in lab), strict=True)
    found = pixel_moments(rgb, over="all")
    assert found.means == pytest.approx(np.ravel(means), abs=1e-6)
    assert found.deviations == pytest.approx(np.ravel(deviations), abs=1e-6)
    assert not np.allclose(found.means, pixel_moments(rgb).means, atol=0.1)  # there is glass in it


def test_lab_is_opencv_s_without_rounding():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (4000, 1, 3)).astype(np.uint8)
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0].T.astype(float)
    assert np.abs(lab_of(rgb[:, 0].T.astype(float)) - expected).max() < 1.6


def test_moments_are_of_tissue_alone():
    tissue = he(side=120)
    glass = np.full((120, 500, 3), 250, np.uint8)
    alone, beside = (fit(histogram(rgb), "reinhard", 1000) for rgb in (tissue, np.concatenate([tissue, glass], 1)))
    assert np.allclose(alone.means, beside.means)
    assert np.allclose(alone.deviations, beside.deviations)
    with pytest.raises(StainError, match="no pixel is tissue"):
        pixel_moments(glass)
    with pytest.raises(UsageError):
        pixel_moments(glass[..., :2])


# Cohorts


@pytest.mark.parametrize("method", METHODS)
def test_cohorts_of_every_method_do_not_depend_on_order_or_area(method):
    parts = [histogram(he(seed, side)) for seed, side in ((1, 90), (2, 200), (3, 120))]
    parts = [tissue_part(part, (255.0,) * 3) for part in parts] if method == "reinhard" else parts
    first = fit_cohort(iter(parts), method, 1000)
    assert (first.origin, first.status, first.method) == ("cohort", "ok", method)
    assert fit_cohort(reversed(parts), method, 1000) == first
    more = ColourHistogram(parts[0].codes, parts[0].counts * 5)
    assert fit_cohort([more, *parts[1:]], method, 1000).digest() == first.digest()


# Patches


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["instanseg", "tcga", "granular"])
def test_a_patch_is_fitted_from_its_slide_s_stains(shared_data, name, method):
    rgb = real_crop(shared_data, name)
    slide = fit_or_fallback(histogram(he(3)), method, 1000, None)
    found = fit_patch(rgb, method, slide, 20_000)
    assert (found.origin, found.status, found.white) == ("patch", "ok", slide.white)
    alone = fit(histogram(rgb), method, 1000)
    if method == "reinhard":
        assert found.digest() == alone.digest()
    else:
        assert angle_deg(found.matrix, alone.matrix) < (0.05 if method == "ramakrishnan" else 0.3)
        assert found.max_concentrations == pytest.approx(alone.max_concentrations, rel=0.03)


@pytest.mark.parametrize("name", REAL)
def test_vectors_of_a_patch_are_at_the_optimum_of_all_pixels(shared_data, name):
    rgb = real_crop(shared_data, name)
    density, counts = clean_tissue(rgb)
    for method, best in (("vahadane", plain_optimum(density, counts)), ("macenko", plain_macenko(density, counts))):
        found = fit_patch(rgb, method, REFERENCE[method], 1000)
        assert found.origin == "patch"
        assert angle_deg(found.matrix, best) < 0.3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [name for name in ODD if name not in ("nearly all glass", "nothing")])
def test_a_patch_without_stains_has_its_slide_s(name, method):
    rgb, reason = ODD[name]
    white = (250.0, 251.0, 249.0)
    own = fit_or_fallback(histogram(he()), method, 1000, None, white)
    cohort = fit_or_fallback(
        histogram(np.zeros((90, 90, 3), np.uint8)), method, 1000, fit_cohort([histogram(he(1))], method, 1000)
    )
    reference = fit_or_fallback(ColourHistogram.empty(), method, 1000, None)
    for slide, origin in ((own, "slide"), (cohort, "cohort"), (reference, "reference")):
        found = fit_patch(rgb, method, slide, 5000)
        assert (found.origin, found.status) == (origin, reason)
        assert found.digest() == slide.digest()
        assert found.diagnostics["total_px"] == rgb.shape[0] * rgb.shape[1]


def test_a_tenth_of_a_small_patch_is_enough_tissue():
    slide = fit(histogram(he()), "macenko", 1000)
    patch = np.full((100, 100, 3), 252, np.uint8)
    patch[:20] = he(1, 100)[:20]
    assert fit_patch(patch, "macenko", slide, 20_000).origin == "patch"
    patch[5:20] = 252
    assert fit_patch(patch, "macenko", slide, 20_000).status == "too_little_tissue"
    with pytest.raises(UsageError, match="another method"):
        fit_patch(patch, "vahadane", slide, 20_000)


# Ink


@pytest.mark.parametrize("colour", [(210, 30, 40), (230, 50, 55), (190, 10, 15)])
@pytest.mark.parametrize("method", METHODS[:2])
def test_red_pen_beside_tissue_does_not_move_the_fit(method, colour):
    clean = he(side=300)
    inked = cv2.line(clean.copy(), (0, 40), (299, 60), colour, 25)
    first, second = (fit(histogram(rgb), method, 5000) for rgb in (clean, inked))
    assert second.diagnostics["ink"] > first.diagnostics["ink"] + 0.04
    assert angle_deg(first.matrix, second.matrix) < 1.0


@pytest.mark.parametrize("name", REAL)
def test_the_rule_for_red_ink_spares_real_stains(shared_data, name, monkeypatch):
    hist = histogram(real_crop(shared_data, name))
    with_rule = [fit(hist, method, 1000).matrix for method in METHODS[:2]]
    monkeypatch.setattr("wsiprep.stain.counted.RED_INK_DENSITY", np.inf)
    for method, found in zip(METHODS[:2], with_rule, strict=True):
        assert angle_deg(found, fit(hist, method, 1000).matrix) < 0.3


def test_pens_that_are_coloured_as_stains_are_pass():
    # Declared gap: pink as eosin, blue-black as haematoxylin. Alone they are one stain.
    for colour in ((225, 90, 150), (70, 60, 140)):
        assert fit_or_fallback(histogram(pen(colour)), "vahadane", 1000, None).status == "single_stain"


# The search


def test_acceleration_ends_where_plain_steps_end():
    matrix = np.array([[0.9, 0.05], [0.02, 0.6]])
    point, memory = np.zeros(2), Anderson(3)
    for _ in range(5):
        point = memory.next(point, matrix @ point + 1)
    assert point == pytest.approx(np.linalg.solve(np.eye(2) - matrix, np.ones(2)), rel=1e-6)
