"""Otsu's threshold against scikit-image, and where scikit-image has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from wsiprep.tissue.otsu import otsu, otsu_with_contrast


@pytest.mark.parametrize("seed", range(6))
def test_equals_scikit_image(seed):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.1, 0.03, 4000), rng.normal(0.5, 0.1, int(rng.integers(100, 4000)))
    values = np.concatenate([low, high]).astype(np.float32)
    assert otsu(values).value == pytest.approx(threshold_otsu(values), abs=1e-6)


def test_contrast_is_the_difference_of_the_means():
    cut = otsu(np.array([0.0] * 50 + [1.0] * 50))
    assert cut.contrast == pytest.approx(1.0, abs=1 / 128)
    assert 0 < cut.value < 1


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((3, 4)), np.full(7, 0.3)])
def test_nothing_is_above_the_threshold_of_a_constant(values):
    cut = otsu(values)
    assert cut.contrast == 0
    assert not (values > cut.value).any()


def test_a_second_cut_finds_what_noise_hid():
    noise = np.random.default_rng(0).uniform(0, 0.03, 100_000)
    values = np.concatenate([noise, np.full(20, 0.3)])
    assert otsu(values).contrast < 0.04
    cut = otsu_with_contrast(values, 0.04)
    assert cut.contrast >= 0.04
    # The cut is the middle of a bin, as in scikit-image: what shares the bin of the cut may lie above it.
    assert (values[-20:] > cut.value).all()
    assert np.count_nonzero(noise > cut.value) < 0.02 * noise.size
    alone = otsu_with_contrast(noise, 0.04)
    assert not (noise > alone.value).any()
