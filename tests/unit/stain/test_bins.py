"""A patch's colours in bins with means: exact sums, and fits as near to the optimum as those of seven-bit colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.errors import UsageError
from wsiprep.stain import bins
from wsiprep.stain.bins import binned
from wsiprep.stain.density import weighted_percentile

images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def plain(rgb, dark):
    """Lowest colour of a bin to [count, sum of R, G, B], pixel by pixel."""
    found = {}
    for pixel in rgb.reshape(-1, 3).tolist():
        entry = found.setdefault(lowest(pixel, dark), np.zeros(4))
        entry += [1, *pixel]
    return found


def lowest(pixel, dark):
    return tuple(int(value // width * width) for value in pixel for width in [2 if value < dark else 4])


@given(images, st.integers(1, 90), st.sampled_from([0, 10**6]))
def test_counts_and_means_are_those_of_the_pixels(rgb, at_once, few):
    before, dark = rgb.copy(), 256 if few else 16
    expected = plain(rgb, dark)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins, "_AT_ONCE_PX", at_once)
        patch.setattr(bins, "_FEW", few)
        found = binned(rgb)
    assert np.array_equal(rgb, before)
    assert (np.diff(found.places) > 0).all()
    assert len(found.places) == len(expected)
    for colour, count in zip(found.colours().T, found.counts, strict=True):
        entry = expected[lowest(colour, dark)]
        assert entry[0] == count
        assert colour == pytest.approx(entry[1:] / entry[0])


def test_a_large_picture_of_one_colour_fills_no_field():
    rgb = np.full((1024, 1100, 3), 255, np.uint8)
    found = binned(rgb)
    assert found.counts.tolist() == [1024 * 1100]
    assert found.colours().tolist() == [[255.0]] * 3


def test_strides_do_not_matter():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    one, two = binned(rgb), binned(rgb[::-1, ::-1].transpose(1, 0, 2))
    assert np.array_equal(one.places, two.places)
    assert np.array_equal(one.colours(), two.colours())


@pytest.mark.parametrize("rgb", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), np.zeros((3, 3, 3))])
def test_other_arrays_are_refused(rgb):
    with pytest.raises(UsageError):
        binned(rgb)


@given(st.integers(0, 2**32 - 1), st.floats(0, 100), st.sampled_from([1, 3, 50, 4000]), st.integers(0, 9))
def test_percentiles_of_many_values_are_numpys(seed, percent, size, decimals):
    rng = np.random.default_rng(seed)
    values, counts = rng.normal(0, 3, size).round(decimals), rng.integers(1, 9, size)
    expected = np.percentile(np.repeat(values, counts), percent)
    assert weighted_percentile(values, counts, percent) == pytest.approx(expected, abs=1e-12)
