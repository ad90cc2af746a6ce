"""Shares of tissue per cell, and masks as PNG."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsiprep.errors import TissueError, UsageError
from wsiprep.geometry import Size
from wsiprep.tissue import TissueMask, cell_fractions, read_mask, write_mask
from wsiprep.tissue.png import _chunk


def mask_of(pixels, downsample=10, **thresholds):
    return TissueMask.of(np.asarray(pixels, bool), downsample, "hsv", thresholds)


def shares(mask, size, cells, width, height):
    x, y = np.array(cells, np.int64).reshape(-1, 2).T
    return cell_fractions(mask, size, x, y, width, height)


def test_cells_cut_mask_pixels():
    mask = mask_of([[1, 0], [0, 0]])
    found = shares(mask, Size(20, 20), [(0, 0), (5, 0), (5, 5), (10, 10), (9, 9)], 10, 10)
    assert found.tolist() == [1.0, 0.5, 0.25, 0.0, 0.01]


def test_last_pixels_end_at_the_border():
    mask = mask_of([[0, 1], [0, 1]])  # the slide is 13 x 12: the second column is 3 px wide
    found = shares(mask, Size(13, 12), [(0, 0), (10, 0), (8, 4)], 10, 10)
    assert found.tolist() == pytest.approx([0.0, 1.0, 3 * 8 / (5 * 8)])


def test_cells_outside_have_no_tissue():
    mask = mask_of([[1]])
    found = shares(mask, Size(10, 10), [(-10, 0), (10, 10), (-5, -5), (100, 0)], 10, 10)
    assert found.tolist() == [0.0, 0.0, 1.0, 0.0]


def test_a_mask_with_a_floored_size_counts_the_sliver_as_empty():
    mask = mask_of([[1]])
    assert shares(mask, Size(15, 10), [(0, 0)], 20, 20).tolist() == [pytest.approx(100 / 150)]


def test_no_cells():
    assert cell_fractions(mask_of([[1]]), Size(10, 10), np.zeros(0, int), np.zeros(0, int), 5, 5).shape == (0,)


@pytest.mark.parametrize(
    ("mask", "x", "y", "width"),
    [
        (mask_of([[1, 1, 1]]), [0], [0], 5),
        (mask_of([[1]]), [0, 1], [0], 5),
        (mask_of([[1]]), [0], [0], 0),
        (mask_of([[1]]), [[0]], [[0]], 5),
    ],
)
def test_wrong_arguments_are_refused(mask, x, y, width):
    with pytest.raises(UsageError):
        cell_fractions(mask, Size(10, 10), np.array(x), np.array(y), width, 5)


@pytest.mark.parametrize(("pixels", "downsample"), [(np.zeros((2, 2), np.uint8), 1), (np.zeros((2, 2), bool), 0)])
def test_masks_are_checked(pixels, downsample):
    with pytest.raises(UsageError):
        TissueMask.of(pixels, downsample, "s", {})


def test_png_round_trip_and_equal_bytes(tmp_path):
    pixels = np.random.default_rng(0).random((37, 53)) > 0.6
    mask = TissueMask.of(pixels, 32, "hsv", {"saturation": 0.1 + 0.2, "share": 1 / 3})
    data = write_mask(mask)
    assert data == write_mask(TissueMask.of(pixels.copy(), 32, "hsv", {"share": 1 / 3, "saturation": 0.1 + 0.2}))
    place = tmp_path / "tissue.png"
    place.write_bytes(data)
    for source in (data, place, str(place)):
        back = read_mask(source)
        assert np.array_equal(back.mask, pixels)
        assert (back.downsample, back.method, back.thresholds) == (32, "hsv", mask.thresholds)
        assert (back.share, back.empty) == (mask.share, False)


def test_other_programs_see_white_tissue():
    pixels = np.eye(9, dtype=bool)
    seen = cv2.imdecode(np.frombuffer(write_mask(mask_of(pixels)), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(seen, np.where(pixels, 255, 0))


def test_damaged_masks_are_refused(tmp_path):
    good = write_mask(mask_of(np.eye(9, dtype=bool)))
    plain = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    head, tail = good.split(b"wsiprep-tissue\0", 1)
    no_json = head[:-8] + _chunk(b"tEXt", b"wsiprep-tissue\0{") + tail
    a_list = head[:-8] + _chunk(b"tEXt", b"wsiprep-tissue\0[]") + tail
    no_record = head[:-8] + _chunk(b"tEXt", b"wsiprep-tissue\0{}") + good[good.index(b"IDAT") - 4 :]
    no_pixels = good[: good.index(b"IDAT") - 4]
    for data in (b"", b"GIF89a", plain, no_json, a_list, no_record, no_pixels):
        with pytest.raises(TissueError):
            read_mask(data)
    with pytest.raises(TissueError) as caught:
        read_mask(tmp_path / "absent.png")
    assert "absent.png" in str(caught.value)
