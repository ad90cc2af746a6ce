"""What holds for every image, every pair of fits and every method, whichever way the transform goes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.stain import ReinhardFit, StainFit, normalise, normaliser

WAYS = ("plain", "fused")
images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))
whites = st.just((255.0, 255.0, 255.0)) | st.tuples(*[st.floats(180, 255)] * 3)
two_stains = st.sampled_from(["macenko", "vahadane", "ramakrishnan", "hematoxylin"])


@st.composite
def fits(draw):
    rows = []
    for low, high in (((0.4, 0.6, 0.2), (0.7, 0.8, 0.5)), ((0.05, 0.85, 0.05), (0.3, 0.99, 0.5))):
        row = np.array([draw(st.floats(a, b)) for a, b in zip(low, high, strict=True)])
        rows.append(row / np.linalg.norm(row))
    amounts = [draw(st.floats(0.2, 4)) for _ in range(2)]
    return StainFit("macenko", np.array(rows), np.array(amounts), white=draw(whites))


@st.composite
def lab_fits(draw):
    means = [draw(st.floats(0, 255)) for _ in range(3)]
    deviations = [draw(st.floats(0.5, 90)) for _ in range(3)]
    return ReinhardFit(np.array(means), np.array(deviations), white=draw(whites))


@given(images, fits(), fits(), two_stains)
def test_ways_agree_with_the_definition(rgb, source, target, method):
    before = rgb.copy()
    expected = normalise(rgb, source, target, method).astype(int)
    found = [normaliser(source, target, method=method, way=way)(rgb) for way in WAYS]
    assert np.abs(found[0] - expected).max() <= 1
    assert np.array_equal(*found)
    assert found[0].dtype == np.uint8
    assert found[0].shape == rgb.shape
    assert np.array_equal(rgb, before)


@given(images, fits(), fits(), two_stains, st.sampled_from(WAYS), st.data())
def test_pixels_do_not_depend_on_their_place(rgb, source, target, method, way, data):
    y, x = (data.draw(st.integers(0, n - 1)) for n in rgb.shape[:2])
    mapped = normaliser(source, target, method=method, way=way)
    whole = mapped(np.tile(rgb, (31, 23, 1)))
    assert np.array_equal(mapped(rgb[y : y + 1, x : x + 1])[0, 0], whole[y - rgb.shape[0], x - rgb.shape[1]])


@given(images, lab_fits(), lab_fits(), st.data())
def test_reinhards_pixels_do_not_depend_on_their_place(rgb, source, target, data):
    y, x = (data.draw(st.integers(0, n - 1)) for n in rgb.shape[:2])
    mapped = normaliser(source, target, method="reinhard")
    whole = mapped(np.tile(rgb, (31, 23, 1)))
    assert np.array_equal(mapped(rgb[y : y + 1, x : x + 1])[0, 0], whole[y - rgb.shape[0], x - rgb.shape[1]])


@given(fits() | lab_fits(), st.data())
def test_glass_stays_glass(source, data):
    kind = fits() if isinstance(source, StainFit) else lab_fits()
    method = data.draw(two_stains) if isinstance(source, StainFit) else "reinhard"
    low = [int(np.ceil(value)) for value in source.white]
    glass = np.array([[[data.draw(st.integers(value, 255)) for value in low] for _ in range(8)]], np.uint8)
    assert np.array_equal(normaliser(source, data.draw(kind), method=method)(glass), glass)
