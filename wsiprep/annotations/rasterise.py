"""Rasterising by the centre rule: a pixel is inside if and only if its centre is.

A centre exactly on an edge belongs to the region on the edge's right, or below it where the edge is
horizontal: edges are half-open in y (the upper end counts, the lower one does not) and a crossing at
x <= centre counts. Polygons are never clipped to the box, so tiles sum to the whole exactly.

What is far from a patch costs it little: geometries whose bounds do not meet it are left out, edges to the right of it
too, edges to the left only tell in which rows its first pixel is inside, and whole runs of pixels are set at once.
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

MAX_BORDER_ROWS = 1 << 16
"""Rows, counted once for each geometry, up to which edges beside a strip are told from those that cross it."""

Bytes = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]

MARGIN_PX = 1.0
"""How far an edge must lie beside the outermost centre: far more than a crossing can be off by rounding."""


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

    def centre(self, k: int) -> float:
        """As ``centres`` for one of them."""
        return (2 * self.den * self.start + (2 * k + 1) * self.num) / (2 * self.den)

    def first(self, value: Floats) -> Ints:
        """The lowest k in [0, count] whose centre is at or beyond each value (``count`` where none is)."""
        # In units of half a step: centre k lies at ``origin + 2 k num``.
        scaled, origin = value * (2 * self.den), 2 * self.den * self.start + self.num
        index: Floats = np.ceil((scaled - origin) / (2 * self.num))
        # The division rounds; one step either way makes up for it.
        index -= origin + (2 * index - 2) * self.num >= scaled
        index += origin + 2 * index * self.num < scaled
        np.minimum(np.maximum(index, 0, out=index), self.count, out=index)
        return index.astype(np.int64)


def coverage(edges: EdgeTable, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Pixels of ``grid`` whose centre lies in any of the table's geometries.

    Args:
        edges: of valid polygons (even-odd within a geometry, union over geometries).
        grid: may reach anywhere.

    Returns:
        bool (height, width).
    """
    covered = np.zeros((grid.height_px, grid.width_px), dtype=np.bool_)
    paint(edges, grid, covered, True)
    return covered


def covered_rows(edges: EdgeTable, grid: PixelGrid) -> tuple[slice, npt.NDArray[np.bool_]]:
    """As ``coverage``, but only the rows that the table's geometries reach: (which rows, bool (rows, width))."""
    across, down = _axes(grid)
    first, last = _reached(edges, down)
    covered = np.zeros((last - first, grid.width_px), dtype=np.bool_)
    _paint_rows(edges, across, down, first, covered, True)
    return slice(first, last), covered


def paint(edges: EdgeTable, grid: PixelGrid, out: Bytes, value: int) -> None:
    """Set the pixels of ``out`` whose centre lies in any of the table's geometries.

    Args:
        edges: as ``coverage``.
        grid: of ``out``.
        out: uint8 or bool (height, width) in C order, changed in place.
        value: what to set.
    """
    across, down = _axes(grid)
    _paint_rows(edges, across, down, 0, out, value)


def _axes(grid: PixelGrid) -> tuple[Axis, Axis]:
    box = grid.box_lv0
    return Axis.of(box.x, box.width_px, grid.width_px), Axis.of(box.y, box.height_px, grid.height_px)


def _reached(edges: EdgeTable, down: Axis) -> tuple[int, int]:
    """The rows that the table's geometries reach."""
    if len(edges.y_top) == 0:
        return 0, 0
    first, last = down.first(np.array([edges.y_top[0], edges.reach[-1]])).tolist()
    return first, last


def _paint_rows(edges: EdgeTable, across: Axis, down: Axis, first: int, out: Bytes, value: int) -> None:
    """Paint the rows [first, first + len(out)) of a grid, a strip at a time."""
    step = max(1, MAX_STRIP_PX // (across.count + 1))
    for top in range(0, len(out), step):
        _paint_strip(edges, across, down, first + top, out[top : top + step], value)


def _paint_strip(edges: EdgeTable, across: Axis, down: Axis, top: int, out: Bytes, value: int) -> None:
    """Paint the rows [top, top + len(out)) of a grid."""
    rows, bottom = len(out), top + len(out)
    y_ends = down.centre(top), down.centre(bottom - 1)
    x_ends = across.centre(0), across.centre(across.count - 1)
    near = edges.regions_meeting(*x_ends, *y_ends)
    if len(near) == 0:
        return
    chosen = edges.between(*y_ends)
    if len(near) < len(edges.region_x):
        number = np.full(len(edges.region_x), -1)
        number[near] = np.arange(len(near))
        region = number[edges.region[chosen]]
        chosen, region = chosen[region >= 0], region[region >= 0]
    else:
        region = edges.region[chosen]
    beside = len(near) * (rows + 1) <= MAX_BORDER_ROWS
    if beside:
        meets = edges.x_low[chosen] <= x_ends[1] + MARGIN_PX
        chosen, region = chosen[meets], region[meets]
    limits = down.first(np.concatenate([edges.y_top[chosen], edges.y_bottom[chosen]]))
    first, last = (np.minimum(np.maximum(limits, top), bottom) - top).reshape(2, -1)
    crossing = edges.x_high[chosen] >= x_ends[0] - MARGIN_PX if beside else np.ones(len(chosen), np.bool_)
    heights = np.where(crossing, last - first, 0)
    if heights.sum() > MAX_CROSSINGS and rows > 1:
        half = rows // 2
        _paint_strip(edges, across, down, top, out[:half], value)
        _paint_strip(edges, across, down, top + half, out[half:], value)
        return
    pair_edge = np.repeat(chosen, heights)
    pair_row = np.arange(len(pair_edge)) - np.repeat(np.cumsum(heights) - heights - first, heights)
    column = across.first(edges.crossings(pair_edge, down.centres(pair_row + top)))
    # One number for each row of each geometry, then one for each place in it: a row has a place after its last pixel.
    line, stride = np.repeat(region * rows, heights) + pair_row, across.count + 1
    places = [line * stride + column]
    if beside:
        left = _inside_at_left(region[~crossing], first[~crossing], last[~crossing], len(near), rows)
        odd = (np.bincount(line, minlength=len(left)) + left) & 1
        places += [np.flatnonzero(left) * stride, np.flatnonzero(odd) * stride + across.count]
    # A ring crosses a row an even number of times, so in their order places begin and end runs by turns.
    ordered = np.sort(np.concatenate(places))
    _fill(ordered[0::2], ordered[1::2], stride, out, value)


def _inside_at_left(region: Ints, first: Ints, last: Ints, regions: int, rows: int) -> Ints:
    """For each row of each geometry 1 where an odd number of these edges crosses it, else 0."""
    size = regions * (rows + 1)
    steps = np.bincount(region * (rows + 1) + first, minlength=size)
    steps += np.bincount(region * (rows + 1) + last, minlength=size)
    # Edges begin and end an even number of times in a geometry's rows together, the one after the last row included.
    parity: Ints = np.cumsum(steps).reshape(regions, rows + 1)[:, :rows].ravel() & 1
    return parity


def _fill(starts: Ints, ends: Ints, stride: int, out: Bytes, value: int) -> None:
    """Set the runs of pixels between places of one geometry's row; ``stride`` places a row of ``out``."""
    height, width = out.shape
    some = np.flatnonzero(starts != ends)
    if len(some) == 0:
        return
    starts, ends = starts[some], ends[some]
    line = starts // stride
    begin = starts - line - line // height * (height * width)
    begin, end = _united(begin, begin + (ends - starts))
    flat = out.reshape(-1)[begin[0] : end[-1]].view(np.uint8)
    if len(begin) == 1:
        flat[...] = value
        return
    lengths = np.empty(2 * len(begin) - 1, np.int64)
    lengths[0::2], lengths[1::2] = end - begin, begin[1:] - end[:-1]
    bits = np.zeros(len(lengths), np.uint8)
    bits[0::2] = 255
    # Runs as bytes of ones, then two operations on all bits: a tenth of what setting run by run or where takes.
    inside = np.repeat(bits, lengths)
    flat &= ~inside
    inside &= np.uint8(value)
    flat |= inside


def _united(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Runs without those that overlap or touch: rows that are full become one run."""
    if (begin[1:] < end[:-1]).any():
        order = np.argsort(begin, kind="stable")
        begin, end = begin[order], np.maximum.accumulate(end[order])
    apart = np.flatnonzero(begin[1:] > end[:-1])
    return begin[np.concatenate([[0], apart + 1])], end[np.concatenate([apart, [len(end) - 1]])]
