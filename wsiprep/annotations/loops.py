"""Rings that touch themselves but never cross: taken apart at their points, so that no new point arises.

Formats without holes carry them as one ring whose parts are joined by lines drawn there and back
(``write_asap`` does so). Cutting such a ring at all its crossings would also cut it where those lines cross
an edge, at points that floating point cannot hold; the export would come back a little bent.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import shapely

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.regions import Area

MAX_POINTS = 200_000
"""Of a ring that is taken apart: its edges are Python objects here, some 500 bytes each."""

MAX_LOOPS = 2000
"""All pairs of them may be compared."""

Point = tuple[float, float]


def loops_of(points: Floats) -> list[list[Point]]:
    """Simple loops that wind around every place as often as the ring does, without edges run there and back.

    Args:
        points: float64 (n, 2), an open ring without repeats in a row.

    Returns:
        loops of at least 3 points, none twice in a loop; their edges may still cross.
    """
    walk: list[Point] = list(map(tuple, points.tolist()))
    edges = Counter(zip(walk, walk[1:] + walk[:1], strict=True))
    for start, end in list(edges):
        both = min(edges[start, end], edges[end, start])
        edges[start, end] -= both
        edges[end, start] -= both
    onward: dict[Point, list[Point]] = defaultdict(list)
    for start, end in reversed(list(edges.elements())):
        onward[start].append(end)
    loops = []
    for start in dict.fromkeys(walk):
        path, place = [start], {start: 0}
        # Every point is left as often as it is reached, so a path only ends where it began.
        while onward[path[-1]]:
            point = onward[path[-1]].pop()
            if point not in place:
                place[point] = len(path)
                path.append(point)
                continue
            loops.append(path[place[point] :])
            for passed in path[place[point] + 1 :]:
                del place[passed]
            del path[place[point] + 1 :]
    return loops


def area_of_loops(loops: list[list[Point]], rule: str) -> Area | None:
    """The area inside loops by ``even-odd`` or ``non-zero``, made of their own points only.

    Returns:
        a valid area, or None where loops cross, or touch along a line, so that they have to be cut first; None
        also for more than MAX_LOOPS.
    """
    polygons = [shapely.Polygon(loop) for loop in loops]
    if not 1 <= len(polygons) <= MAX_LOOPS or not all(polygon.is_valid for polygon in polygons):
        return None
    around: list[list[int]] = [[] for _ in polygons]
    tree = shapely.STRtree(polygons)
    for inner, outer in zip(*tree.query(polygons, predicate="intersects").tolist(), strict=True):
        if inner == outer or not shapely.relate_pattern(polygons[inner], polygons[outer], "T********"):
            continue
        if shapely.covers(polygons[outer], polygons[inner]):
            around[inner].append(outer)
        elif not shapely.covers(polygons[inner], polygons[outer]):
            return None
    turns = np.where([polygon.exterior.is_ccw for polygon in polygons], 1, -1)
    shells: dict[int, list[int]] = {}
    holes = []
    for k, outer in enumerate(around):
        without = [int(turns[n]) for n in outer]
        outside, inside = _is_inside(without, rule), _is_inside([*without, int(turns[k])], rule)
        if inside and not outside:
            shells[k] = []
        elif outside and not inside:
            holes.append(k)
    for hole in holes:
        # The nearest shell around it: the one that most others are around.
        owner = max((n for n in around[hole] if n in shells), key=lambda n: len(around[n]), default=None)
        if owner is None:
            return None
        shells[owner].append(hole)
    parts = [shapely.Polygon(loops[k], [loops[n] for n in inner]) for k, inner in shells.items()]
    area: Area = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return area if parts and area.is_valid else None


def _is_inside(turns: list[int], rule: str) -> bool:
    return sum(turns) != 0 if rule == "non-zero" else len(turns) % 2 == 1
