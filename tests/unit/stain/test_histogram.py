"""Colour histograms: codes, merging, bytes."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from wsiprep.errors import StainError, UsageError
from wsiprep.stain import ColourHistogram, histogram
from wsiprep.stain.histogram import merge


def image(seed=0, side=40):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("side", [40, 300])  # sorted below 2^16 pixels, counted densely above
def test_codes_and_counts_equal_a_plain_count(side):
    rgb = image(side=side) // 32 * 32
    found = histogram(rgb)
    seven = (rgb >> 1).astype(np.uint32).reshape(-1, 3)
    codes, counts = np.unique(seven[:, 0] << 14 | seven[:, 1] << 7 | seven[:, 2], return_counts=True)
    assert np.array_equal(found.codes, codes)
    assert np.array_equal(found.counts, counts)
    assert found.codes.dtype == np.uint32
    assert found.counts.dtype == np.int64
    assert found.total_px == side * side


def test_centres_lie_in_the_middle_of_their_bins():
    centres = histogram(np.array([[[0, 1, 255], [254, 100, 101]]], np.uint8)).centres()
    assert sorted(map(tuple, centres.T)) == [(0.5, 0.5, 254.5), (254.5, 100.5, 100.5)]


def test_a_mask_counts_its_part():
    rgb, mask = image(), np.zeros((40, 40), bool)
    mask[3:9, 5:25] = True
    assert histogram(rgb, mask) == histogram(np.ascontiguousarray(rgb[3:9, 5:25]))
    assert histogram(rgb, np.zeros((40, 40), bool)) == ColourHistogram.empty()


def test_parts_add_up_to_the_whole():
    rgb = image()
    assert histogram(rgb[:11]) + histogram(rgb[11:]) == histogram(rgb)
    assert merge([]) == ColourHistogram.empty()
    assert histogram(rgb) != ColourHistogram.empty()
    assert histogram(rgb) != 3
    with pytest.raises(TypeError):
        histogram(rgb) + 3


def test_bytes_are_equal_for_equal_histograms_at_any_time():
    rgb = image()
    first = histogram(rgb).save()
    time.sleep(2.1)  # zip members are dated to two seconds
    parts = [histogram(rgb[i::3]) for i in (2, 0, 1)]
    assert merge(parts).save() == first
    assert ColourHistogram.load(first) == histogram(rgb)


def test_strided_and_read_only_images_are_counted():
    rgb = image()
    rgb.flags.writeable = False
    assert histogram(rgb[::2, ::-1]) == histogram(rgb[::2].copy())


@pytest.mark.parametrize("rgb", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_other_images_are_refused(rgb):
    with pytest.raises(UsageError):
        histogram(rgb)


@pytest.mark.parametrize("mask", [np.zeros((4, 5), bool), np.zeros((4, 4), np.uint8)])
def test_other_masks_are_refused(mask):
    with pytest.raises(UsageError):
        histogram(np.zeros((4, 4, 3), np.uint8), mask)


def saved(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


CODES, COUNTS = np.array([1, 5], np.uint32), np.array([2, 3], np.int64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 broken",
        histogram(image()).save()[:200],
        saved(codes=CODES),
        saved(codes=CODES.astype(np.int64), counts=COUNTS),
        saved(codes=CODES, counts=COUNTS[:1]),
        saved(codes=CODES[::-1].copy(), counts=COUNTS),
        saved(codes=CODES, counts=np.array([1, 0])),
        saved(codes=np.array([1, 1 << 21], np.uint32), counts=COUNTS),
        saved(codes=np.array([None, "x"], object), counts=COUNTS),
    ],
)
def test_damaged_bytes_are_refused(data):
    with pytest.raises(StainError):
        ColourHistogram.load(data)
