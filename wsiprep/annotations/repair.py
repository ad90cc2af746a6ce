"""From the points of rings to a valid area: repeated points, degenerate rings, self-intersections, holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from wsiprep.annotations.edges import EdgeTable, Floats, from_ring
from wsiprep.annotations.loops import MAX_POINTS, area_of_loops, loops_of
from wsiprep.annotations.regions import Area
from wsiprep.annotations.shapes import Polygon

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


@dataclass(frozen=True, slots=True)
class RepairedArea:
    """What became of one annotation, which may have several outlines and holes in them.

    Attributes:
        area: valid Polygon or MultiPolygon, or None where nothing is left.
        repeated: consecutive repeated points that were removed from all rings, closing ones included.
        invalid: (counter, reason) of each fault that the rule repaired: ``repaired_rings`` (a ring that crosses
            or touches itself), ``repaired_holes`` (holes that overlap, touch along a line or leave their
            outline), ``merged_parts`` (outlines of one annotation that overlap or touch along a line).
        lost: (counter, reason) of what encloses nothing: ``dropped_holes``, ``dropped_parts``.
    """

    area: Area | None
    repeated: int
    invalid: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()


def repair_area(polygons: Sequence[Polygon], rule: str) -> RepairedArea:
    """The area of outlines with holes: each outline less the union of its holes, then all of them together.

    Each ring is repaired by :func:`repair_ring`. Polygons that are valid as they are keep their points bit
    for bit.

    Args:
        polygons: shells with their holes; at least one.
        rule: ``even-odd`` or ``non-zero``.

    Raises:
        shapely.errors.GEOSException: coordinates so ill-conditioned that the crossings cannot be found.
    """
    parts: list[Area] = []
    repeated = 0
    invalid: list[tuple[str, str]] = []
    lost: list[tuple[str, str]] = []
    for shell, *holes in polygons:
        outline = repair_ring(shell, rule)
        inner = [repair_ring(hole, rule) for hole in holes]
        repeated += sum(ring.repeated for ring in (outline, *inner))
        invalid += [("repaired_rings", ring.invalid) for ring in (outline, *inner) if ring.invalid and ring.area]
        if outline.area is None:
            lost.append(("dropped_parts", f"an outline of {len(shell)} points encloses no area"))
            continue
        lost += [
            ("dropped_holes", f"a hole of {len(hole)} points encloses no area")
            for hole, ring in zip(holes, inner, strict=True)
            if ring.area is None
        ]
        cut, fault = _without_holes(outline.area, [ring.area for ring in inner if ring.area is not None])
        invalid += [("repaired_holes", fault)] if fault else []
        if cut is None:
            lost.append(("dropped_parts", "its holes leave nothing of an outline"))
        else:
            parts.append(cut)
    area, fault = _together(parts)
    invalid += [("merged_parts", fault)] if fault else []
    if len(polygons) == 1:
        lost = [entry for entry in lost if entry[0] != "dropped_parts"]
    return RepairedArea(area, repeated, tuple(invalid), tuple(lost))


def polygons_of(geometry: shapely.Geometry) -> Area | None:
    """The polygons of a result, without the lines and points where areas only touch; None for no area."""
    parts = [p for p in shapely.get_parts(geometry) if isinstance(p, shapely.Polygon) and p.area > 0]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _without_holes(outline: Area, holes: list[Area]) -> tuple[Area | None, str]:
    """What the holes leave of an outline, and why they were no plain holes ("" where they were)."""
    if not holes:
        return outline, ""
    fault = "holes of a repaired outline, or repaired holes"
    if _is_simple(outline) and all(map(_is_simple, holes)):
        whole = shapely.Polygon(outline.exterior, [hole.exterior for hole in holes])
        if whole.is_valid:
            return whole, ""
        fault = shapely.is_valid_reason(whole)
    return polygons_of(shapely.difference(outline, shapely.union_all(holes))), fault


def _is_simple(area: Area) -> bool:
    return isinstance(area, shapely.Polygon) and not area.interiors


def _together(parts: list[Area]) -> tuple[Area | None, str]:
    """All parts as one area, and why they had to be merged ("" where they did not)."""
    if len(parts) <= 1:
        return (parts[0] if parts else None), ""
    whole = shapely.MultiPolygon([polygon for part in parts for polygon in shapely.get_parts(part)])
    if whole.is_valid:
        return whole, ""
    return polygons_of(shapely.union_all(parts)), shapely.is_valid_reason(whole)


def repair_ring(points: Floats, rule: str) -> RepairedRing:
    """The area that a ring encloses.

    A ring that only touches itself (a hole joined to its outline, loops that meet in a point) becomes an area
    of its own points; one that crosses itself is cut at the crossings.

    Args:
        points: float64 (n, 2), closed or not.
        rule: ``even-odd`` (inside where a ray crosses the ring an odd number of times) or ``non-zero``
            (inside where the ring winds around); they differ only for rings that cross themselves.

    Raises:
        shapely.errors.GEOSException: coordinates so ill-conditioned that the crossings cannot be found.
    """
    kept = _without_repeats(points)
    repeated = len(points) - len(kept)
    if len(set(map(tuple, kept.tolist()))) < MIN_POINTS:
        return RepairedRing(None, repeated, "")
    polygon = shapely.Polygon(kept)
    if polygon.is_valid:
        return RepairedRing(polygon if polygon.area > 0 else None, repeated, "")
    reason = shapely.is_valid_reason(polygon)
    if len(kept) <= MAX_POINTS:
        loops = loops_of(kept)
        if not loops:
            return RepairedRing(None, repeated, reason)
        if len(loops) > 1 or len(loops[0]) < len(kept):
            area = area_of_loops(loops, rule)
            if area is not None:
                return RepairedRing(area, repeated, reason)
    return RepairedRing(_enclosed(kept, rule), repeated, reason)


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
