"""The transform against its definition per pixel, and what it must leave alone."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import tifffile

from wsiprep.errors import UsageError
from wsiprep.stain import REFERENCE, StainFit, fit, histogram, normalise
from wsiprep.stain.lasso import concentrations

METHODS = ("macenko", "vahadane")


@pytest.fixture(scope="module")
def histo(shared_data):
    return cv2.imread(str(shared_data / "stain" / "histo.jpg"))[..., ::-1].copy()


def per_pixel(rgb, source, target):
    """Amounts, scale, mixture, truncation: one line each, without blocks or tables."""
    density = np.maximum(-np.log(np.maximum(rgb.reshape(-1, 3).astype(float), 1) / 255), 1e-6)
    amounts = concentrations(density.T, source.matrix).T
    scaled = amounts * target.max_concentrations / source.max_concentrations
    light = 255 * np.exp(-scaled @ target.matrix)
    return np.where((amounts == 0).all(axis=1)[:, None], rgb.reshape(-1, 3), light.astype(np.uint8)).reshape(rgb.shape)


# Eight colours (glass, dim glass, tissue, black, ink) and what the transform made of them when Io was 255 for
# every slide; checked against the definition in plain numpy as well.
COLOURS = [[255, 255, 255], [240, 240, 236], [120, 80, 150], [200, 140, 180]]
COLOURS += [[60, 40, 90], [230, 200, 220], [0, 0, 0], [180, 190, 60]]
ON_WHITE = [[255, 255, 255], [237, 232, 241], [103, 64, 112], [189, 134, 168]]
ON_WHITE += [[43, 22, 63], [225, 196, 215], [0, 0, 1], [130, 103, 151]]
SOURCE_ROWS, SOURCE_AMOUNTS = [[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [1.5, 1.0]
TARGET_ROWS, TARGET_AMOUNTS = [[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]], [1.9705, 1.0308]


def plain_fit(rows, amounts, **more):
    rows = np.array(rows)
    return StainFit("macenko", rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(amounts), **more)


def test_a_white_of_255_is_staintools_definition():
    source, target = plain_fit(SOURCE_ROWS, SOURCE_AMOUNTS), plain_fit(TARGET_ROWS, TARGET_AMOUNTS)
    rgb = np.array([COLOURS], np.uint8)
    assert normalise(rgb, source, target).tolist() == [ON_WHITE]
    assert per_pixel(rgb, source, target).tolist() == [ON_WHITE]
    explicit = plain_fit(SOURCE_ROWS, SOURCE_AMOUNTS, white=(255, 255, 255))
    assert explicit == source
    assert normalise(rgb, explicit, plain_fit(TARGET_ROWS, TARGET_AMOUNTS, white=(230, 231, 232))).tolist() == [
        ON_WHITE
    ]


def test_a_measured_white_scales_the_light_in_and_out():
    white = (200.0, 190.0, 210.0)
    bright = np.random.default_rng(0).integers(20, 236, (40, 40, 3)).astype(np.uint8)
    dim = np.rint(bright * np.array(white) / 255).astype(np.uint8)
    source, target = plain_fit(SOURCE_ROWS, SOURCE_AMOUNTS), plain_fit(TARGET_ROWS, TARGET_AMOUNTS)
    expected = normalise(bright, source, target) * np.array(white) / 255
    found = normalise(dim, plain_fit(SOURCE_ROWS, SOURCE_AMOUNTS, white=white), target)
    tissue = (dim < np.array(white) - 8).all(axis=2)
    assert np.abs(found - expected)[tissue].max() <= 3  # of rounding the dim picture


def test_glass_of_a_measured_white_is_kept_with_its_noise():
    white = (240.0, 241.0, 236.0)
    source, target = plain_fit(SOURCE_ROWS, SOURCE_AMOUNTS, white=white), REFERENCE["macenko"]
    noise = np.random.default_rng(0).integers(-5, 15, (30, 30, 3))
    glass = np.clip(np.array(white) + noise, 0, 255).astype(np.uint8)
    assert np.array_equal(normalise(glass, source, target), glass)
    stain = np.array([[(236, 215, 232)]], np.uint8)
    assert not np.array_equal(normalise(stain, source, target), stain)


@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(histo, method):
    source = fit(histogram(histo), method, 1000)
    found = normalise(histo, source, REFERENCE[method])
    expected = per_pixel(histo, source, REFERENCE[method])
    # Sums in another order turn the truncation of a whole number: one level on very few pixels.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_the_result_has_the_stains_and_amounts_of_the_target(histo, method):
    target = REFERENCE[method]
    found = fit(histogram(normalise(histo, fit(histogram(histo), method, 1000), target)), method, 1000)
    angle = np.degrees(np.arccos(np.clip((found.matrix * target.matrix).sum(axis=1), -1, 1)))
    assert angle.max() < 5  # stretched amounts are sparse in another way: Vahadane moves by 4.4
    assert found.max_concentrations == pytest.approx(target.max_concentrations, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_two_stains_of_one_tissue_come_closer(shared_data, histo, method):
    other = tifffile.imread(shared_data / "stain" / "instanseg_HE_example.tif")[:500, :500]
    images = [histo, other]
    normal = [normalise(rgb, fit(histogram(rgb), method, 1000), REFERENCE[method]) for rgb in images]

    def stains(rgb):
        return fit(histogram(rgb), method, 1000).matrix

    before = np.abs(stains(images[0]) - stains(images[1])).max()
    after = np.abs(stains(normal[0]) - stains(normal[1])).max()
    assert after < before / 2


def test_strided_and_read_only_images_are_fine(histo):
    source = fit(histogram(histo), "macenko", 1000)
    whole = normalise(histo, source, REFERENCE["macenko"])
    frozen = histo.copy()
    frozen.flags.writeable = False
    assert np.array_equal(normalise(frozen, source, REFERENCE["macenko"]), whole)
    assert np.array_equal(normalise(frozen[::2, ::-3], source, REFERENCE["macenko"]), whole[::2, ::-3])
    assert np.array_equal(normalise(frozen.transpose(1, 0, 2), source, REFERENCE["macenko"]), whole.transpose(1, 0, 2))
    bgr = frozen[..., ::-1]
    assert np.array_equal(normalise(bgr[..., ::-1], source, REFERENCE["macenko"]), whole)
    assert np.array_equal(frozen, histo)
    assert whole.flags.writeable


@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_glass(histo, method):
    source = fit(histogram(histo), method, 1000)
    for level in (255, 254):
        glass = np.full((8, 9, 3), level, np.uint8)
        assert np.array_equal(normalise(glass, source, REFERENCE[method]), glass)
    dim = np.random.default_rng(0).integers(246, 256, (50, 50, 3)).astype(np.uint8)
    assert np.abs(normalise(dim, source, REFERENCE[method]).astype(int) - dim).max() <= 8


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4, 3)),
        np.full((4, 4, 3), np.nan, np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.int16),
    ],
)
def test_other_images_are_refused(rgb):
    with pytest.raises(UsageError, match="uint8"):
        normalise(rgb, REFERENCE["macenko"], REFERENCE["macenko"])


def test_no_pixels_are_fine():
    assert normalise(np.zeros((0, 5, 3), np.uint8), REFERENCE["macenko"], REFERENCE["macenko"]).shape == (0, 5, 3)


def test_a_patch_takes_tens_of_milliseconds(histo):
    rgb = np.ascontiguousarray(np.tile(histo, (2, 2, 1))[:512, :512])
    source = fit(histogram(rgb), "vahadane", 1000)
    taken = []
    for _ in range(5):
        start = time.process_time()
        normalise(rgb, source, REFERENCE["vahadane"])
        taken.append(time.process_time() - start)
    assert min(taken) < 0.12  # 16 ms on a quiet core; a slow machine may take several times as long
