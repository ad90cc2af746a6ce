"""What holds for every histogram, every image and every pair of fits."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.stain import REFERENCE, ColourHistogram, StainFit, fit_or_fallback, histogram, normalise
from wsiprep.stain.histogram import merge

images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


@st.composite
def fits(draw):
    rows = []
    for low, high in (((0.4, 0.6, 0.2), (0.7, 0.8, 0.5)), ((0.05, 0.85, 0.05), (0.3, 0.99, 0.5))):
        row = np.array([draw(st.floats(a, b)) for a, b in zip(low, high, strict=True)])
        rows.append(row / np.linalg.norm(row))
    amounts = [draw(st.floats(0.2, 4)) for _ in range(2)]
    white = draw(st.just((255.0, 255.0, 255.0)) | st.tuples(*[st.floats(180, 255)] * 3))
    return StainFit("macenko", np.array(rows), np.array(amounts), white=white)


@given(st.lists(images, min_size=1, max_size=5), st.randoms())
def test_histograms_add_in_any_order(parts, random):
    counted = [histogram(part) for part in parts]
    whole = histogram(np.concatenate([part.reshape(-1, 3) for part in parts]))
    shuffled = random.sample(counted, len(counted))
    assert merge(shuffled) == whole
    assert reduce(lambda a, b: a + b, shuffled) == whole
    assert reduce(lambda a, b: b + a, counted, ColourHistogram.empty()) == whole
    assert merge(shuffled).save() == whole.save()
    assert ColourHistogram.load(whole.save()) == whole


@given(images, fits(), fits())
def test_output_is_an_image_and_the_input_is_left_alone(rgb, source, target):
    before = rgb.copy()
    first = normalise(rgb, source, target)
    assert first.dtype == np.uint8
    assert first.shape == rgb.shape
    assert np.array_equal(rgb, before)
    assert not np.shares_memory(first, rgb)
    assert np.array_equal(first, normalise(rgb, source, target))


@given(images, fits(), fits(), st.data())
def test_pixels_do_not_depend_on_their_neighbours(rgb, source, target, data):
    y, x = (data.draw(st.integers(0, n - 1)) for n in rgb.shape[:2])
    whole = normalise(np.tile(rgb, (15, 15, 1)), source, target)
    alone = normalise(rgb[y : y + 1, x : x + 1], source, target)
    assert np.abs(whole[y, x].astype(int) - alone[0, 0]).max() <= 1


@given(fits(), st.lists(st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)), min_size=1, max_size=30))
def test_a_slide_in_its_own_stains_stays_as_it_is(source, amounts):
    density = np.array(amounts) @ source.matrix
    rgb = (np.array(source.white) * np.exp(-density) + 0.5).astype(np.uint8)[None]
    same = normalise(rgb, source, source)
    assert np.abs(same.astype(int) - rgb).max() <= 2


@given(fits(), fits(), st.data())
def test_what_is_as_bright_as_the_glass_stays(source, target, data):
    low = [int(np.ceil(value)) for value in source.white]
    glass = [[[data.draw(st.integers(value, 255)) for value in low] for _ in range(8)]]
    rgb = np.array(glass, np.uint8)
    assert np.array_equal(normalise(rgb, source, target), rgb)


@given(images, st.sampled_from(["macenko", "vahadane"]), st.integers(1, 50))
def test_every_image_has_a_finite_fit(rgb, method, min_tissue_px):
    found = fit_or_fallback(histogram(rgb), method, min_tissue_px, None)
    assert np.isfinite(found.matrix).all()
    assert (found.max_concentrations > 0).all()
    assert all(np.isfinite(value) for value in found.diagnostics.values())
    assert (found.status == "ok") == (found.origin == "slide")
    normalise(rgb, found, REFERENCE[method])
