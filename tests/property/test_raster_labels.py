"""Label rasters against plain array indexing and counting, at any scale."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations.instance_maps import connected_parts
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.raster import ArrayPlane, RasterLabels
from wsiprep.annotations.raster_values import ClassValues, InstanceValues
from wsiprep.geometry import Box, PixelGrid, Size

SPEC = LabelSpec(("tumour", "stroma"), "exhaustive")
RULE = ClassValues.of({0: "background", 1: "tumour", 2: "stroma", 3: "ignore"}, SPEC)
CODES = np.array([0, 1, 2, 255], np.uint8)

sides = st.integers(1, 9)
scales = st.builds(Fraction, st.integers(1, 7), st.integers(1, 4))


@st.composite
def rasters(draw, top=4):
    width, height = draw(sides), draw(sides)
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, top, (height, width)).astype(np.uint8)


boxes = st.builds(Box, st.integers(-5, 30), st.integers(-5, 30), st.integers(1, 25), st.integers(1, 25))


def labels_of(values, size, scale, rule=RULE):
    return RasterLabels(ArrayPlane(values), rule, SPEC, size, scale)


@given(rasters(), st.integers(1, 6), boxes)
def test_at_integer_scales_the_mask_is_the_repeated_raster(values, factor, box):
    size = Size(values.shape[1] * factor, values.shape[0] * factor)
    found = labels_of(values, size, (Fraction(factor), Fraction(factor))).mask(PixelGrid.of_plane(box, 1))
    plane = np.full((70, 90), 255, np.uint8)
    plane[10 : 10 + size.height_px, 10 : 10 + size.width_px] = np.kron(
        CODES[values], np.ones((factor, factor), np.uint8)
    )
    assert np.array_equal(found, plane[10 + box.y : 10 + box.y_end, 10 + box.x : 10 + box.x_end])


@given(rasters(), scales, scales, boxes, st.integers(1, 12), st.integers(1, 12))
def test_every_pixel_holds_the_value_under_its_centre(values, sx, sy, box, columns, rows):
    height, width = values.shape
    size = Size(max(1, int(width * sx)), max(1, int(height * sy)))
    found = labels_of(values, size, (sx, sy)).mask(PixelGrid(box, columns, rows))
    for j in range(rows):
        for i in range(columns):
            x = box.x + Fraction((2 * i + 1) * box.width_px, 2 * columns)
            y = box.y + Fraction((2 * j + 1) * box.height_px, 2 * rows)
            if 0 <= x < size.width_px and 0 <= y < size.height_px:
                column, row = int(x / sx), int(y / sy)
                inside = column < width and row < height
                assert found[j, i] == (CODES[values[row, column]] if inside else 255)


@given(rasters(), scales, scales, boxes)
def test_shares_are_exact_areas(values, sx, sy, box):
    height, width = values.shape
    size = Size(max(1, int(width * sx)), max(1, int(height * sy)))
    found = labels_of(values, size, (sx, sy))
    part = box.intersection(Box(0, 0, size.width_px, size.height_px))
    area = {code: Fraction(0) for code in (0, 1, 2, 255)}
    for j in range(height):
        for i in range(width):
            across = max(0, min((i + 1) * sx, part.x_end) - max(i * sx, part.x))
            down = max(0, min((j + 1) * sy, part.y_end) - max(j * sy, part.y))
            area[int(CODES[values[j, i]])] += across * down
    shares = found.fractions(np.array([box.x]), np.array([box.y]), box.width_px, box.height_px)
    whole = part.area_px or 1
    assert shares.per_label["tumour"][0] == float(area[1] / whole)
    assert shares.per_label["stroma"][0] == float(area[2] / whole)
    assert shares.annotated[0] == float((area[0] + area[1] + area[2]) / whole)


@given(rasters(), st.integers(1, 5))
def test_cells_that_tile_the_slide_sum_to_its_areas(values, factor):
    size = Size(values.shape[1] * factor, values.shape[0] * factor)
    found = labels_of(values, size, (Fraction(factor), Fraction(factor)))
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, size.width_px, 7), np.arange(0, size.height_px, 7)))
    shares = found.fractions(x, y, 7, 7)
    area = np.minimum(7, size.width_px - x) * np.minimum(7, size.height_px - y)
    assert np.isclose((shares.per_label["tumour"] * area).sum(), found.areas_px["tumour"], rtol=0, atol=1e-9)
    assert found.areas_px["tumour"] == factor**2 * np.count_nonzero(values == 1)


def flood(ids):
    """Objects by flood fill, one pixel at a time, in reading order."""
    out = np.zeros(ids.shape, np.int32)
    number = 0
    for start in np.ndindex(*ids.shape):
        if not ids[start] or out[start]:
            continue
        number += 1
        todo = [start]
        while todo:
            y, x = todo.pop()
            if 0 <= y < ids.shape[0] and 0 <= x < ids.shape[1] and ids[y, x] == ids[start] and not out[y, x]:
                out[y, x] = number
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return out


@given(rasters(top=3), boxes)
def test_objects_of_a_cut_are_those_of_a_flood_fill_of_the_cut(values, box):
    size = Size(values.shape[1], values.shape[0])
    found = labels_of(values, size, (Fraction(1), Fraction(1)), InstanceValues(1, 0, {}))
    cut = np.zeros((box.height_px, box.width_px), np.uint8)
    part = box.intersection(Box(0, 0, size.width_px, size.height_px))
    if part.area_px:
        cut[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x] = values[
            part.y : part.y_end, part.x : part.x_end
        ]
    assert np.array_equal(found.instances(PixelGrid.of_plane(box, 1)), flood(cut))
    assert np.array_equal(connected_parts(values.astype(np.int64)), flood(values))
