"""What holds for the fits of every method, whatever the pixels, their order and the processes that counted them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stain_images import he

from wsiprep.errors import StainError
from wsiprep.stain import ColourHistogram, ColourSample, fit_from_dict, fit_or_fallback, fit_patch, histogram
from wsiprep.stain.histogram import merge, summed
from wsiprep.stain.lasso import concentrations

METHODS = ("macenko", "vahadane", "ramakrishnan", "hematoxylin", "reinhard")
images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))
methods = st.sampled_from(METHODS)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6, unique=True), methods, st.randoms())
@settings(max_examples=25, deadline=None)
def test_fits_do_not_depend_on_the_order_of_regions(seeds, method, random):
    regions = [histogram(he(seed, 40)) for seed in seeds]
    shuffled = random.sample(regions, len(regions))
    first, second = (fit_or_fallback(ColourSample(tuple(r)), method, 500, None) for r in (regions, shuffled))
    assert first == second
    assert first.digest() == second.digest()


@given(st.integers(0, 40), methods, st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_fits_do_not_depend_on_who_counted(seed, method, threads):
    parts = np.split(he(seed, 80), 8)
    with ThreadPoolExecutor(threads) as pool:
        counted = list(pool.map(histogram, parts))
    alone = histogram(np.concatenate(parts))
    assert merge(counted) == summed(counted) == alone
    assert fit_or_fallback(merge(counted), method, 500, None) == fit_or_fallback(alone, method, 500, None)


@given(images, methods, st.integers(1, 50))
def test_every_picture_has_a_finite_fit_that_is_recorded(rgb, method, min_tissue_px):
    found = fit_or_fallback(histogram(rgb), method, min_tissue_px, None)
    assert (found.status == "ok") == (found.origin == "slide")
    assert all(np.isfinite(value) for value in found.diagnostics.values())
    assert fit_from_dict(found.to_dict()) == found


@given(images, methods, images)
@settings(deadline=None)
def test_a_patch_is_its_own_or_its_slide_s(rgb, method, slide_rgb):
    before = rgb.copy()
    slide = fit_or_fallback(histogram(slide_rgb), method, 20, None)
    found = fit_patch(rgb, method, slide, 20)
    assert np.array_equal(rgb, before)
    assert found.white == slide.white
    if found.origin == "patch":
        assert found.status == "ok"
    else:
        assert found.status != "ok"
        assert (found.origin, found.digest()) == (slide.origin, slide.digest())
    assert found == fit_patch(rgb, method, slide, 20)


@given(st.lists(images, max_size=5), st.randoms())
def test_samples_are_stored_whole(parts, random):
    sample = ColourSample(tuple(histogram(part) for part in parts))
    back = ColourSample.load(sample.save())
    assert back.regions == sample.regions
    assert back.save() == sample.save()
    whole = merge(sample.regions)
    assert sample.total == whole
    assert ColourSample.load(whole.save()).regions == (whole,)


@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_samples_are_refused_or_whole(noise, place, value):
    data = bytearray(ColourSample((histogram(he(0, 12)), histogram(he(1, 12)))).save())
    data[place % len(data)] = value
    for damaged in (noise, bytes(data), bytes(data[: place % len(data)])):
        try:
            found = ColourSample.load(damaged)
        except StainError:
            continue
        assert isinstance(found.total, ColourHistogram)


@pytest.mark.parametrize("lengths", [[1], [-1, 3], [[2]], [1.0, 1.0]])
def test_regions_that_do_not_add_up_are_refused(lengths):
    import io

    buffer = io.BytesIO()
    hist = histogram(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    np.savez_compressed(buffer, codes=hist.codes, counts=hist.counts, lengths=np.array(lengths))
    with pytest.raises(StainError):
        ColourSample.load(buffer.getvalue())


@given(
    hnp.arrays(np.float64, (2, 3), elements=st.floats(0, 1)),
    hnp.arrays(np.float64, (3, 20), elements=st.floats(-0.5, 4)),
    st.sampled_from([0.0, 0.01, 0.1]),
)
def test_the_code_step_satisfies_its_conditions(atoms, density, penalty):
    """Karush, Kuhn and Tucker: no gradient where a stain is present, none below zero where it is absent."""
    atoms = atoms + 0.05
    gram = atoms @ atoms.T
    if np.linalg.det(gram) < 1e-3:
        return
    amounts = concentrations(density, atoms, penalty)
    gradient = gram @ amounts - (atoms @ density - penalty)
    scale = 1e-8 * (1 + np.abs(amounts).max()) / np.linalg.det(gram)
    assert (amounts >= 0).all()
    assert (np.abs(gradient[amounts > 0]) < scale).all()
    assert (gradient[amounts == 0] > -scale).all()
