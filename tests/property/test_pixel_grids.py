"""Masks on any grid of pixels: the centre rule in exact fractions, at scales that are no integer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from wsiprep.annotations import LabelMap, Region
from wsiprep.geometry import Box, PixelGrid, Size

SLIDE = Size(96, 80)
EIGHTHS = st.integers(-64, 8 * 110)
LABELS = ("tumour", "stroma")

Corners = list[tuple[Fraction, Fraction]]


@st.composite
def outlines(draw: st.DrawFn) -> Corners:
    """A simple polygon: corners on eighths of a pixel, halves among them, in angular order about their centre."""
    points = draw(st.lists(st.tuples(EIGHTHS, EIGHTHS), min_size=3, max_size=8, unique=True))
    corners = [(Fraction(x, 8), Fraction(y, 8)) for x, y in points]
    middle = np.mean([(float(x), float(y)) for x, y in corners], axis=0)
    corners.sort(key=lambda c: (np.arctan2(float(c[1]) - middle[1], float(c[0]) - middle[0]), c))
    assume(shapely.Polygon([(float(x), float(y)) for x, y in corners]).is_valid)
    return corners


@st.composite
def grids(draw: st.DrawFn) -> PixelGrid:
    """A box of whole level-0 pixels cut into any number of pixels, both axes for themselves."""
    box = Box(
        draw(st.integers(-20, 90)), draw(st.integers(-20, 70)), draw(st.integers(1, 60)), draw(st.integers(1, 60))
    )
    return PixelGrid(box, draw(st.integers(1, 24)), draw(st.integers(1, 24)))


def centre_of(start: int, length: int, count: int, k: int) -> Fraction:
    return start + Fraction((2 * k + 1) * length, 2 * count)


def holds(corners: Corners, x: Fraction, y: Fraction) -> bool:
    """Even-odd; a centre on an edge belongs to what lies on its right, or below."""
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 <= y) != (y2 <= y):
            inside ^= x1 + (y - y1) * (x2 - x1) / (y2 - y1) <= x
    return inside


def on_slide(start: int, length: int, count: int, k: int, limit: int, *, plane: bool) -> bool:
    """By the centre; on a plane of an integer downsample also where the border cuts the pixel."""
    if plane:
        return (start * count + (k + 1) * length) > 0 and start * count + k * length < limit * count
    return 0 <= centre_of(start, length, count, k) < limit


def expected_mask(layers: list[tuple[int, list[Corners]]], grid: PixelGrid) -> npt.NDArray[np.uint8]:
    """By the rule alone, pixel by pixel; a later layer is painted over an earlier one."""
    box = grid.box_lv0
    result = np.zeros((grid.height_px, grid.width_px), np.uint8)
    n = Fraction(box.width_px, grid.width_px)
    plane = n.denominator == 1 and n == Fraction(box.height_px, grid.height_px) and box.x % n == 0 and box.y % n == 0
    for j in range(grid.height_px):
        for i in range(grid.width_px):
            x = centre_of(box.x, box.width_px, grid.width_px, i)
            y = centre_of(box.y, box.height_px, grid.height_px, j)
            for value, shapes in layers:
                if any(holds(corners, x, y) for corners in shapes):
                    result[j, i] = value
            across = on_slide(box.x, box.width_px, grid.width_px, i, SLIDE.width_px, plane=plane)
            down = on_slide(box.y, box.height_px, grid.height_px, j, SLIDE.height_px, plane=plane)
            if not (across and down):
                result[j, i] = 255
    return result


def region(corners: Corners, label: str) -> Region:
    return Region(label, shapely.Polygon([(float(x), float(y)) for x, y in corners]))


@given(st.lists(outlines(), max_size=2), st.lists(outlines(), max_size=2), grids())
def test_masks_follow_the_centre_rule(tumour: list[Corners], stroma: list[Corners], grid: PixelGrid) -> None:
    found = LabelMap(
        [*(region(c, "tumour") for c in tumour), *(region(c, "stroma") for c in stroma)], LABELS, "exhaustive", SLIDE
    )
    np.testing.assert_array_equal(found.mask(grid), expected_mask([(2, stroma), (1, tumour)], grid))


@given(outlines(), outlines(), grids())
def test_regions_of_interest_and_ignore_by_the_same_rule(roi: Corners, ignored: Corners, grid: PixelGrid) -> None:
    found = LabelMap([region(roi, "roi"), region(ignored, "ignore")], LABELS, "exhaustive", SLIDE)
    inside = expected_mask([(1, [roi])], grid) == 1
    dropped = expected_mask([(1, [ignored])], grid) == 1
    np.testing.assert_array_equal(found.mask(grid), np.where(inside & ~dropped, 0, 255))
    seen = found.inside_roi(grid)
    assert seen is not None
    blank = expected_mask([], grid) == 255
    np.testing.assert_array_equal(seen & ~blank, inside)


@given(outlines(), st.integers(5, 40), st.integers(2, 9), st.integers(1, 8), st.integers(0, 30), st.integers(0, 30))
def test_overlapping_cells_agree_on_centres_that_they_share(
    shape: Corners, step: int, pixels: int, shift: int, x: int, y: int
) -> None:
    """Cells of ``pixels`` strides, a stride apart: each centre of the second is one of the first, moved by a step."""
    assume(shift < pixels)
    found = LabelMap([region(shape, "tumour")], LABELS, "exhaustive", Size(1000, 1000))
    # 4 pixels to a stride of ``step`` level-0 pixels: scale step / 4.
    side, width = pixels * step, 4 * pixels
    one = found.mask(PixelGrid(Box(x, y, side, side), width, width))
    right = found.mask(PixelGrid(Box(x + shift * step, y, side, side), width, width))
    below = found.mask(PixelGrid(Box(x, y + shift * step, side, side), width, width))
    np.testing.assert_array_equal(one[:, 4 * shift :], right[:, : width - 4 * shift])
    np.testing.assert_array_equal(one[4 * shift :], below[: width - 4 * shift])


@given(outlines(), outlines(), st.integers(1, 7), st.integers(1, 12), st.integers(1, 12))
def test_cells_sum_to_the_whole_at_integer_scales(
    shape: Corners, other: Corners, scale: int, width: int, height: int
) -> None:
    """However the plane is cut into cells, put together they are its mask."""
    found = LabelMap([region(shape, "tumour"), region(other, "background")], LABELS, "exhaustive", SLIDE)
    plane = SLIDE.reduced(scale)
    whole = found.mask(PixelGrid.of_plane(Box(0, 0, plane.width_px, plane.height_px), scale))
    assert (whole != 255).all()
    put = np.full_like(whole, 7)
    for y in range(0, plane.height_px, height):
        for x in range(0, plane.width_px, width):
            part = found.mask(PixelGrid.of_plane(Box(x, y, width, height), scale))
            room = put[y : y + height, x : x + width]
            room[...] = part[: room.shape[0], : room.shape[1]]
            beyond = np.ones(part.shape, np.bool_)
            beyond[: room.shape[0], : room.shape[1]] = False
            assert (part[beyond] == 255).all()
    np.testing.assert_array_equal(put, whole)


def flooded(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """4-connected parts of equal ids, numbered in the order of their first pixel, row by row."""
    result = np.zeros(ids.shape, np.int32)
    number = 0
    for j, i in np.argwhere(ids > 0).tolist():
        if result[j, i]:
            continue
        number += 1
        edge = [(j, i)]
        result[j, i] = number
        while edge:
            v, u = edge.pop()
            for b, a in ((v - 1, u), (v + 1, u), (v, u - 1), (v, u + 1)):
                near = 0 <= b < ids.shape[0] and 0 <= a < ids.shape[1]
                if near and not result[b, a] and ids[b, a] == ids[v, u]:
                    result[b, a] = number
                    edge.append((b, a))
    return result


@given(st.lists(st.tuples(outlines(), st.sampled_from([*LABELS, "background", "ignore"])), max_size=4), grids())
def test_instances_are_the_pieces_of_regions_where_the_mask_has_their_label(
    shapes: list[tuple[Corners, str]], grid: PixelGrid
) -> None:
    found = LabelMap([region(c, label) for c, label in shapes], LABELS, "exhaustive", SLIDE)
    values = {"stroma": 2, "tumour": 1, "background": 0, "ignore": 255}
    mask = expected_mask([(v, [c for c, name in shapes if name == label]) for label, v in values.items()], grid)
    np.testing.assert_array_equal(found.mask(grid), mask)
    ids = np.zeros(mask.shape, np.int64)
    # The first region of the file is on top.
    for number, (corners, label) in reversed(list(enumerate(shapes, start=1))):
        if label in LABELS:
            here = expected_mask([(1, [corners])], grid) == 1
            ids[here & (mask == values[label])] = number
    np.testing.assert_array_equal(found.instances(grid), flooded(ids))
