"""Painting patches leaves edges out and sets runs at once: the same pixels as the plain way, wherever the patch is."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from plain_coverage import plain_coverage

from wsiprep.annotations import LabelMap, Region, rasterise
from wsiprep.annotations.edges import EdgeTable, from_geometries
from wsiprep.annotations.rasterise import coverage, covered_rows, paint
from wsiprep.annotations.repair import repair_ring
from wsiprep.geometry import Box, PixelGrid, Size

coordinates = st.one_of(
    st.integers(-40, 80).map(lambda k: k / 2), st.floats(-20, 40, allow_nan=False, width=32).map(float)
)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=10).map(np.array)
tables = st.lists(outlines, min_size=1, max_size=4)
grids = st.builds(
    lambda x, y, width, height, across, down: PixelGrid(Box(x, y, width, height), across, down),
    *[st.integers(-25, 35)] * 2, *[st.integers(1, 30)] * 2, *[st.integers(1, 24)] * 2,
)  # fmt: skip


def table_of(rings: list[np.ndarray]) -> EdgeTable:
    return from_geometries([a for r in rings if (a := repair_ring(r, "even-odd").area) is not None])


@given(tables, grids)
def test_any_patch_is_as_the_plain_way_has_it(rings, grid):
    table = table_of(rings)
    expected = plain_coverage(table, grid)
    assert np.array_equal(coverage(table, grid), expected)
    rows, part = covered_rows(table, grid)
    whole = np.zeros_like(expected)
    whole[rows] = part
    assert np.array_equal(whole, expected)


@given(tables, grids, st.integers(0, 255), st.integers(0, 255))
def test_paint_changes_what_is_inside_and_nothing_else(rings, grid, before, value):
    table = table_of(rings)
    out = np.random.default_rng(before).integers(0, 256, (grid.height_px, grid.width_px), dtype=np.uint8)
    expected = np.where(plain_coverage(table, grid), np.uint8(value), out)
    paint(table, grid, out, value)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("limit", [("MAX_BORDER_ROWS", 0), ("MAX_STRIP_PX", 40), ("MAX_CROSSINGS", 3)], ids=str)
@given(rings=tables, grid=grids)
def test_limits_change_the_way_and_not_the_pixels(limit, rings, grid):
    table = table_of(rings)
    with patch.object(rasterise, *limit):
        assert np.array_equal(coverage(table, grid), plain_coverage(table, grid))


def test_edges_at_the_margin_beside_the_patch() -> None:
    """Verticals one pixel, a bit more and a bit less than that from the outermost centres, on both sides."""
    grid = PixelGrid(Box(0, 0, 8, 8), 8, 8)
    for off in (0.4, 0.5, 1.5 - 2**-40, 1.5, 1.5 + 2**-40, 3.0, 1e6):
        for x0, x1 in ((-off, 4.0), (4.0, 8 + off), (-off, 8 + off), (-off - 1, -off), (8 + off, 9 + off)):
            table = from_geometries([shapely.box(x0, -3, x1, 5.5)])
            assert np.array_equal(coverage(table, grid), plain_coverage(table, grid)), (off, x0, x1)


def test_a_region_around_the_patch_and_one_elsewhere_need_no_crossing(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = shapely.Point(500, 500).buffer(400)
    hole = shapely.Polygon(ring.exterior, [shapely.Point(500, 500).buffer(100).exterior])
    table = from_geometries([hole])
    grid = PixelGrid(Box(0, 0, 32, 32), 32, 32)
    seen: list[int] = []
    crossings = EdgeTable.crossings

    def counted(self: EdgeTable, edges: np.ndarray, y: np.ndarray) -> np.ndarray:
        seen.append(len(edges))
        return crossings(self, edges, y)

    monkeypatch.setattr(EdgeTable, "crossings", counted)
    for x, y, inside in ((300, 480, True), (484, 484, False), (950, 950, False), (2000, 0, False)):
        placed = PixelGrid(Box(x, y, 32, 32), 32, 32)
        assert coverage(table, placed).all() == inside
        assert coverage(table, placed).any() == inside
    assert sum(seen) == 0
    assert not coverage(table, grid).any()


def test_a_mask_with_regions_of_interest_is_255_outside_them() -> None:
    regions = [
        Region("tumour", shapely.box(2, 2, 9, 9)),
        Region("background", shapely.box(4, 4, 6, 6)),
        Region("ignore", shapely.box(7, 7, 12, 12)),
        Region("roi", shapely.box(1, 1, 8, 12)),
    ]
    labels = LabelMap(regions, ("tumour",), "exhaustive", Size(16, 16))
    grid = PixelGrid(Box(-2, -2, 20, 20), 20, 20)
    expected = np.zeros((20, 20), np.uint8)
    y, x = np.mgrid[-2:18, -2:18] + 0.5
    for value, (x0, y0, x1, y1) in ((1, (2, 2, 9, 9)), (0, (4, 4, 6, 6)), (255, (7, 7, 12, 12))):
        expected[(x > x0) & (x < x1) & (y > y0) & (y < y1)] = value
    inside = (x > 1) & (x < 8) & (y > 1) & (y < 12)
    expected[~inside] = 255
    assert np.array_equal(labels.mask(grid), expected)
    found = labels.inside_roi(grid)
    assert found is not None
    assert np.array_equal(found, inside)
