"""Rasterising by the centre rule: a pixel is inside if and only if its centre is.

A centre exactly on an edge belongs to the region on the edge's right, or below it where the edge is
horizontal: edges are half-open in y (the upper end counts, the lower one does not) and a crossing at
x <= centre counts. Polygons are never clipped to the box, so tiles sum to the whole exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import EdgeTable, Floats, Ints
from wsiprep.geometry import PixelGrid

MAX_STRIP_PX = 1 << 22
"""Pixels rasterised at once; larger grids are done in strips of rows."""

MAX_CROSSINGS = 1 << 22
"""Edge-row pairs handled at once; denser strips are halved."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The pixel centres of a grid along one axis: centre k lies at start + (2 k + 1) num / (2 den), num / den reduced.

    Centres are compared as whole numbers, ``2 den centre``, so that a centre is the same number in every grid of
    one scale that has it, wherever the grid begins.
    """

    start: int
    num: int
    den: int
    count: int

    @classmethod
    def of(cls, start_lv0: int, length_lv0: int, count_px: int) -> Axis:
        common = math.gcd(length_lv0, count_px)
        return cls(start_lv0, length_lv0 // common, count_px // common, count_px)

    def centres(self, k: Ints | int) -> Floats:
        """Level-0 coordinates of the centres ``k``, correctly rounded."""
        return (2 * self.den * self.start + (2 * np.asarray(k, np.int64) + 1) * self.num) / np.float64(2 * self.den)

    def first(self, value: Floats) -> Ints:
        """The lowest k in [0, count] whose centre is at or beyond each value (``count`` where none is)."""
        scaled, origin = value * (2 * self.den), 2 * self.den * self.start
        index = np.ceil((scaled - origin) / (2 * self.num) - 0.5)
        # The division rounds; one step either way makes up for it.
        index = np.where(origin + (2 * index - 1) * self.num >= scaled, index - 1, index)
        index = np.where(origin + (2 * index + 1) * self.num < scaled, index + 1, index)
        return np.clip(index, 0, self.count).astype(np.int64)


def coverage(edges: EdgeTable, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Pixels of ``grid`` whose centre lies in any of the table's geometries.

    Args:
        edges: of valid polygons (even-odd within a geometry, union over geometries).
        grid: may reach anywhere.

    Returns:
        bool (height, width).
    """
    covered = np.zeros((grid.height_px, grid.width_px), dtype=bool)
    rows, part = covered_rows(edges, grid)
    covered[rows] = part
    return covered


def covered_rows(edges: EdgeTable, grid: PixelGrid) -> tuple[slice, npt.NDArray[np.bool_]]:
    """As ``coverage``, but only the rows that the table's geometries reach: (which rows, bool (rows, width))."""
    box = grid.box_lv0
    across = Axis.of(box.x, box.width_px, grid.width_px)
    down = Axis.of(box.y, box.height_px, grid.height_px)
    if len(edges.y_top) == 0:
        return slice(0, 0), np.zeros((0, grid.width_px), dtype=bool)
    first, last = down.first(np.array([edges.y_top[0], edges.reach[-1]])).tolist()
    covered = np.zeros((last - first, grid.width_px), dtype=bool)
    step = max(1, MAX_STRIP_PX // (grid.width_px + 1))
    for top in range(0, len(covered), step):
        _cover_strip(edges, across, down, first + top, covered[top : top + step])
    return slice(first, last), covered


def _cover_strip(edges: EdgeTable, across: Axis, down: Axis, top: int, out: npt.NDArray[np.bool_]) -> None:
    """Cover the rows [top, top + len(out)) of a grid."""
    bottom = top + len(out)
    chosen = edges.between(float(down.centres(top)), float(down.centres(bottom - 1)))
    # A geometry left of all centres, or right of them, fills nothing.
    chosen = edges.of_regions_between(chosen, float(across.centres(0)), float(across.centres(across.count - 1)))
    if len(chosen) == 0 or out.size == 0:
        return
    first = np.clip(down.first(edges.y_top[chosen]), top, bottom)
    last = np.clip(down.first(edges.y_bottom[chosen]), top, bottom)
    heights = last - first
    if heights.sum() > MAX_CROSSINGS and bottom - top > 1:
        half = (bottom - top) // 2
        _cover_strip(edges, across, down, top, out[:half])
        _cover_strip(edges, across, down, top + half, out[half:])
        return
    pair_edge = np.repeat(chosen, heights)
    pair_row = np.arange(len(pair_edge)) - np.repeat(np.cumsum(heights) - heights, heights) + np.repeat(first, heights)
    x = edges.crossings(pair_edge, down.centres(pair_row))
    _fill(edges.region[pair_edge], pair_row - top, across.first(x), out)


def _fill(region: Ints, row: Ints, column: Ints, out: npt.NDArray[np.bool_]) -> None:
    """Fill between each region's 1st and 2nd, 3rd and 4th ... crossing of each row."""
    height, width = out.shape
    stride = width + 1
    # A ring crosses a row an even number of times, so sorting by (region, row, column) puts every span's
    # start at an even place and its end at the next one.
    keys = np.sort((region * height + row) * stride + column)
    cells = height * stride
    starts, ends = keys[0::2] % cells, keys[1::2] % cells
    seen = starts != ends
    if not seen.any():
        return
    depth = np.zeros(cells, dtype=np.int32)
    # A scalar of the array's own type takes numpy's fast path, some forty times faster.
    one = np.int32(1)
    np.add.at(depth, starts[seen], one)
    np.subtract.at(depth, ends[seen], one)
    np.greater(np.cumsum(depth.reshape(height, stride)[:, :width], axis=1, dtype=np.int32), 0, out=out)
