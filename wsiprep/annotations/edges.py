"""Edge tables: the non-horizontal edges of many rings as columns, ready to be cut by rows of pixels.

Every edge is stored from its upper to its lower end (y grows downwards), never in the order of its
ring: two polygons that share an edge, or two tiles that it crosses, then compute the same crossing
to the last bit, and pixels on it are neither lost nor counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """Edges sorted by their upper y. All arrays have one entry an edge.

    Attributes:
        x_top, y_top, x_bottom, y_bottom: float64, level-0 pixels, y_top < y_bottom.
        direction: float64, +1 where the area lies on the left (smaller x), -1 where on the right; for
            single rings (``from_ring``) +1 where the ring runs downwards.
        region: int64, index of the geometry that the edge belongs to.
        reach: float64, running maximum of y_bottom.
        x_low, x_high: float64, lowest and highest x.
        region_x, region_y: float64 (regions, 2), lowest and highest x and y of each geometry's edges (not one an edge).
    """

    x_top: Floats
    y_top: Floats
    x_bottom: Floats
    y_bottom: Floats
    direction: Floats
    region: Ints
    reach: Floats
    x_low: Floats
    x_high: Floats
    region_x: Floats
    region_y: Floats

    def between(self, y_first: float, y_last: float) -> Ints:
        """Indices of the edges with y_top <= y_last and y_bottom > y_first (a band that they cut)."""
        stop = int(np.searchsorted(self.y_top, y_last, side="right"))
        start = int(np.searchsorted(self.reach[:stop], y_first, side="right"))
        return np.flatnonzero(self.y_bottom[start:stop] > y_first) + start

    def regions_meeting(self, x_first: float, x_last: float, y_first: float, y_last: float) -> Ints:
        """The geometries whose edges reach into [x_first, x_last] and [y_first, y_last]."""
        x, y = self.region_x, self.region_y
        return np.flatnonzero((x[:, 0] <= x_last) & (x[:, 1] > x_first) & (y[:, 0] <= y_last) & (y[:, 1] > y_first))

    def crossings(self, edges: Ints, y: Floats) -> Floats:
        """x at which ``edges`` cross the heights ``y`` (one each).

        Exact, as compared with any pixel centre, for coordinates that are multiples of 2^-s px below 2^b px with
        b + s <= 26 (whole, half, quarter ... 1/64 px on a million-pixel plane): numerator and products then fit
        53 bits, so the quotient is rounded once, by less than its distance to a centre that it does not meet.
        """
        x = self.x_top[edges]
        top = self.y_top[edges]
        return x + (y - top) * (self.x_bottom[edges] - x) / (self.y_bottom[edges] - top)


def from_geometries(geometries: Sequence[shapely.Geometry]) -> EdgeTable:
    """The edges of valid polygons and multipolygons; ``region`` is the index into ``geometries``."""
    parts, part_owner = shapely.get_parts(np.asarray(geometries, dtype=object), return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    if len(rings) == 0:
        return _table(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    points, point_ring = shapely.get_coordinates(rings, return_index=True)
    # get_rings lists a polygon's shell first, then its holes; shells shall run one way and holes the other.
    is_shell = np.ones(len(rings), dtype=bool)
    is_shell[1:] = ring_part[1:] != ring_part[:-1]
    direction = np.where(shapely.is_ccw(rings) == is_shell, 1.0, -1.0)
    return _table(points, point_ring, direction, part_owner[ring_part])


def from_ring(points: Floats) -> EdgeTable:
    """The edges of one closed ring, (n, 2) with the first point repeated at the end."""
    return _table(points, np.zeros(len(points), np.int64), np.ones(1), np.zeros(1, np.int64))


def _table(points: Floats, ring: Ints, ring_direction: Floats, ring_region: Ints) -> EdgeTable:
    start, end = points[:-1], points[1:]
    used = (ring[:-1] == ring[1:]) & (start[:, 1] != end[:, 1])
    start, end, of = start[used], end[used], ring[:-1][used]
    down = start[:, 1] < end[:, 1]
    top = np.where(down[:, None], start, end)
    bottom = np.where(down[:, None], end, start)
    order = np.argsort(top[:, 1], kind="stable")
    direction = np.where(down, 1.0, -1.0) * ring_direction[of]
    x_top, x_bottom, y_top, y_bottom = (
        np.ascontiguousarray(v) for v in (top[order, 0], bottom[order, 0], top[order, 1], bottom[order, 1])
    )
    region = ring_region[of][order].astype(np.int64)
    x_low, x_high = np.minimum(x_top, x_bottom), np.maximum(x_top, x_bottom)
    return EdgeTable(
        x_top=x_top,
        y_top=y_top,
        x_bottom=x_bottom,
        y_bottom=y_bottom,
        direction=direction[order],
        region=region,
        reach=np.maximum.accumulate(y_bottom),
        x_low=x_low,
        x_high=x_high,
        region_x=_bounds(region, x_low, x_high),
        region_y=_bounds(region, y_top, y_bottom),
    )


def _bounds(region: Ints, low: Floats, high: Floats) -> Floats:
    """The lowest and the highest of each geometry's edges, (regions, 2)."""
    bounds: Floats = np.tile([np.inf, -np.inf], (int(region.max(initial=-1)) + 1, 1))
    np.minimum.at(bounds[:, 0], region, low)
    np.maximum.at(bounds[:, 1], region, high)
    return bounds
