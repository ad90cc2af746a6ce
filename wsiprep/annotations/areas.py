"""Exact areas of polygons within many rectangles, from their edges alone.

By Green's theorem the part of a polygon between the verticals x = 0 and x = w has, in a band of
rows, the area of the sum over its edges of the integral of clamp(x(y), 0, w) dy, signed by the
edge's direction. x(y) is linear, so each integral is a trapezoid and a rectangle; there is no
clipping, no sampling and no difference of large numbers.
"""

from __future__ import annotations

import numpy as np

from wsiprep.annotations.edges import EdgeTable, Floats, Ints

NOISE = 1e-11
"""Share of a rectangle below which an area is rounding, so that cells apart from a polygon get exactly 0."""

MAX_PAIRS = 1 << 21


def areas_within(edges: EdgeTable, x_start: Floats, y_start: Floats, x_end: Floats, y_end: Floats) -> Floats:
    """Area in px^2 of the table's geometries within each rectangle.

    Args:
        edges: of geometries that do not overlap each other (a union).
        x_start, y_start, x_end, y_end: float64 (n,), level-0 pixels.

    Returns:
        float64 (n,), exact to about 1e-12 of each rectangle, exactly 0 or the whole where nothing or
        everything is covered.
    """
    area = np.zeros(len(x_start))
    bands, band_of = np.unique(np.stack([y_start, y_end], axis=1), axis=0, return_inverse=True)
    order = np.argsort(band_of.ravel(), kind="stable")
    limits = np.searchsorted(band_of.ravel()[order], np.arange(len(bands) + 1))
    for index, (top, bottom) in enumerate(bands):
        cells = order[limits[index] : limits[index + 1]]
        if bottom > top:
            area[cells] = _band(edges, float(top), float(bottom), x_start[cells], x_end[cells])
    whole = np.maximum(x_end - x_start, 0) * np.maximum(y_end - y_start, 0)
    area[area < NOISE * whole] = 0.0
    full = area > (1 - NOISE) * whole
    area[full] = whole[full]
    return area


def _band(edges: EdgeTable, top: float, bottom: float, x_start: Floats, x_end: Floats) -> Floats:
    """Areas within the rectangles [x_start, x_end) of one band of rows."""
    chosen = edges.between(top, bottom)
    if len(chosen) == 0:
        return np.zeros(len(x_start))
    cut = _cut(edges, chosen, top, bottom)
    # Edges wholly to the right of a rectangle count with its full width, those to the left with 0.
    rise_after = np.append(np.cumsum(cut.rise[::-1])[::-1], 0.0)
    stop = np.searchsorted(cut.low, x_end, side="left")
    start = np.minimum(np.searchsorted(cut.reach, x_start, side="right"), stop)
    total = rise_after[stop] * (x_end - x_start)
    counts = stop - start
    for first, last in _chunks(counts):
        some = slice(first, last)
        cell = np.repeat(np.arange(first, last), counts[some])
        ends = np.cumsum(counts[some])
        edge = np.arange(len(cell)) + np.repeat(start[some] - (ends - counts[some]), counts[some])
        part = _integral(cut, edge, x_start[cell], x_end[cell])
        total[some] += np.bincount(cell - first, part, minlength=last - first)
    return total


def _chunks(counts: Ints) -> list[tuple[int, int]]:
    """Consecutive ranges of cells with about MAX_PAIRS pairs each."""
    before = np.cumsum(counts) - counts
    group = before // MAX_PAIRS
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    return list(zip(starts, [*starts[1:], len(counts)], strict=True))


class _Cut:
    """The edges of a band, cut at its top and bottom and sorted by their lowest x.

    The two ends are kept as offsets from ``x`` so that an integer cell's origin subtracts exactly.
    """

    __slots__ = ("low", "offset_bottom", "offset_top", "reach", "rise", "x")

    def __init__(self, x: Floats, offset_top: Floats, offset_bottom: Floats, rise: Floats) -> None:
        low = x + np.minimum(offset_top, offset_bottom)
        order = np.argsort(low, kind="stable")
        self.low = low[order]
        self.x, self.offset_top, self.offset_bottom = x[order], offset_top[order], offset_bottom[order]
        self.rise = rise[order]
        self.reach = np.maximum.accumulate(self.x + np.maximum(self.offset_top, self.offset_bottom))


def _cut(edges: EdgeTable, chosen: Ints, top: float, bottom: float) -> _Cut:
    x, y_top, y_bottom = edges.x_top[chosen], edges.y_top[chosen], edges.y_bottom[chosen]
    run, height = edges.x_bottom[chosen] - x, y_bottom - y_top
    upper, lower = np.maximum(y_top, top), np.minimum(y_bottom, bottom)
    offset_bottom = np.where(lower == y_bottom, run, (lower - y_top) * run / height)
    rise = (lower - upper) * edges.direction[chosen]
    return _Cut(x, (upper - y_top) * run / height, offset_bottom, rise)


def _integral(cut: _Cut, edge: Ints, x_start: Floats, x_end: Floats) -> Floats:
    """Signed integral of clamp(x(y) - x_start, 0, width) dy over each cut edge."""
    width = x_end - x_start
    origin = cut.x[edge] - x_start
    a, b = origin + cut.offset_top[edge], origin + cut.offset_bottom[edge]
    a_in, b_in = np.clip(a, 0, width), np.clip(b, 0, width)
    run = b - a
    steep = run == 0
    safe = np.where(steep, 1.0, run)
    sloped = ((b_in - a_in) * (a_in + b_in) / 2 + (np.maximum(b, width) - np.maximum(a, width)) * width) / safe
    result: Floats = np.where(steep, a_in, sloped) * cut.rise[edge]
    return result
