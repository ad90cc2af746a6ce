"""Rasterising by the centre rule: a pixel is inside if and only if its centre is.

A centre exactly on an edge belongs to the region on the edge's right, or below it where the edge is
horizontal: edges are half-open in y (the upper end counts, the lower one does not) and a crossing at
x <= centre counts. Polygons are never clipped to the box, so tiles sum to the whole exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import EdgeTable, Floats, Ints
from wsiprep.geometry import Box

MAX_STRIP_PX = 1 << 22
"""Pixels rasterised at once; larger boxes are done in strips of rows."""

MAX_CROSSINGS = 1 << 22
"""Edge-row pairs handled at once; denser strips are halved."""


def first_centre(value: Floats, downsample: int) -> Ints:
    """The lowest index k with (k + 1/2) N >= value, exactly."""
    index = np.ceil(value / downsample - 0.5)
    # The division rounds where N is no power of two; one step either way makes up for it.
    index = np.where((index - 0.5) * downsample >= value, index - 1, index)
    index = np.where((index + 0.5) * downsample < value, index + 1, index)
    return index.astype(np.int64)


def coverage(edges: EdgeTable, box: Box, downsample: int) -> npt.NDArray[np.bool_]:
    """Pixels of ``box`` whose centre lies in any of the table's geometries.

    Args:
        edges: of valid polygons (even-odd within a geometry, union over geometries).
        box: in pixels of the plane at ``downsample``; may reach anywhere.
        downsample: N; pixel (i, j) has its centre at level-0 ((i + 1/2) N, (j + 1/2) N).

    Returns:
        bool (height, width).
    """
    covered = np.zeros((box.height_px, box.width_px), dtype=bool)
    rows = max(1, MAX_STRIP_PX // (box.width_px + 1))
    for top in range(0, box.height_px, rows):
        strip = Box(box.x, box.y + top, box.width_px, min(rows, box.height_px - top))
        _cover_strip(edges, strip, downsample, covered[top : top + strip.height_px])
    return covered


def _cover_strip(edges: EdgeTable, strip: Box, downsample: int, out: npt.NDArray[np.bool_]) -> None:
    chosen = edges.between((strip.y + 0.5) * downsample, (strip.y_end - 0.5) * downsample)
    # A geometry left of all centres, or right of them, fills nothing.
    chosen = edges.of_regions_between(chosen, (strip.x + 0.5) * downsample, (strip.x_end - 0.5) * downsample)
    if len(chosen) == 0 or out.size == 0:
        return
    first = np.clip(first_centre(edges.y_top[chosen], downsample), strip.y, strip.y_end)
    last = np.clip(first_centre(edges.y_bottom[chosen], downsample), strip.y, strip.y_end)
    heights = last - first
    if heights.sum() > MAX_CROSSINGS and strip.height_px > 1:
        half = strip.height_px // 2
        _cover_strip(edges, Box(strip.x, strip.y, strip.width_px, half), downsample, out[:half])
        rest = Box(strip.x, strip.y + half, strip.width_px, strip.height_px - half)
        _cover_strip(edges, rest, downsample, out[half:])
        return
    pair_edge = np.repeat(chosen, heights)
    pair_row = np.arange(len(pair_edge)) - np.repeat(np.cumsum(heights) - heights, heights) + np.repeat(first, heights)
    x = edges.crossings(pair_edge, (pair_row + 0.5) * downsample)
    column = np.clip(first_centre(x, downsample), strip.x, strip.x_end) - strip.x
    _fill(edges.region[pair_edge], pair_row - strip.y, column, out)


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
