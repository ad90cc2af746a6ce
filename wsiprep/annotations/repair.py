"""From the points of a ring to a valid area: repeated points, degenerate rings, self-intersections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from wsiprep.annotations.edges import EdgeTable, Floats, from_ring
from wsiprep.annotations.regions import Area

MIN_POINTS = 3


@dataclass(frozen=True, slots=True)
class RepairedRing:
    """What became of one ring.

    Attributes:
        area: valid Polygon or MultiPolygon, or None where nothing is left.
        repeated: consecutive repeated points that were removed, a closing one included.
        invalid: the reason for which the ring was no valid polygon ("" for a valid one).
    """

    area: Area | None
    repeated: int
    invalid: str


def repair_ring(points: Floats, rule: str) -> RepairedRing:
    """The area that a ring encloses.

    Args:
        points: float64 (n, 2), closed or not.
        rule: ``even-odd`` (inside where a ray crosses the ring an odd number of times) or ``non-zero``
            (inside where the ring winds around); they differ only for rings that cross themselves.

    Raises:
        shapely.errors.GEOSException: coordinates so ill-conditioned that the crossings cannot be found.
    """
    kept = _without_repeats(points)
    repeated = len(points) - len(kept)
    if len(np.unique(kept, axis=0)) < MIN_POINTS:
        return RepairedRing(None, repeated, "")
    polygon = shapely.Polygon(kept)
    if polygon.is_valid:
        return RepairedRing(polygon if polygon.area > 0 else None, repeated, "")
    return RepairedRing(_enclosed(kept, rule), repeated, shapely.is_valid_reason(polygon))


def _without_repeats(points: Floats) -> Floats:
    if len(points) == 0:
        return points
    keep = np.ones(len(points), dtype=bool)
    keep[1:] = (points[1:] != points[:-1]).any(axis=1)
    kept = points[keep]
    while len(kept) > 1 and (kept[0] == kept[-1]).all():
        kept = kept[:-1]
    return kept


def _enclosed(points: Floats, rule: str) -> Area | None:
    """Cut the ring at its own crossings, then keep the faces that the rule calls inside."""
    closed = np.concatenate([points, points[:1]])
    pieces = shapely.unary_union(shapely.LineString(closed))
    faces = shapely.get_parts(shapely.polygonize([pieces]))
    edges = from_ring(closed)
    inside = [face for face in faces if _is_inside(edges, face, rule)]
    area: Area = shapely.union_all(inside)
    return area if area.area > 0 else None


def _is_inside(edges: EdgeTable, face: shapely.Polygon, rule: str) -> bool:
    point = shapely.point_on_surface(face)
    x, y = float(point.x), float(point.y)
    cut = edges.between(y, y)
    left = cut[edges.crossings(cut, np.full(len(cut), y)) <= x]
    if rule == "non-zero":
        return bool(edges.direction[left].sum() != 0)
    return len(left) % 2 == 1
