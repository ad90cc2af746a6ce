"""Negative areas: what ImageScope's NegativeROA takes away from the other outlines of its layer."""

from __future__ import annotations

from dataclasses import dataclass

import shapely

from wsiprep.annotations.regions import Area
from wsiprep.annotations.repair import polygons_of

_INTERIORS_MEET = "T********"


@dataclass(frozen=True, slots=True)
class NegativeCuts:
    """What negative areas do to the positive ones of a layer.

    Attributes:
        changed: index of a positive area that was cut -> what is left of it, None for nothing.
        islands: positive areas that lie wholly inside a negative one and were not cut by it.
        idle: indices of negative areas that cut nothing.
    """

    changed: dict[int, Area | None]
    islands: int
    idle: tuple[int, ...]


def cut_negatives(positives: list[Area], negatives: list[Area]) -> NegativeCuts:
    """Cut each negative area from the positive ones that it meets, wherever they stand in the file.

    A positive area that lies wholly inside a negative one is an island in that hole and stays; one that
    equals it is cut away. Areas that only touch leave each other's points alone.

    Raises:
        shapely.errors.GEOSException: the difference cannot be computed.
    """
    if not positives or not negatives:
        return NegativeCuts({}, 0, tuple(range(len(negatives))))
    cutters: dict[int, list[int]] = {}
    islands: set[int] = set()
    pairs = shapely.STRtree(negatives).query(positives, predicate="intersects")
    for k, n in sorted(zip(*pairs.tolist(), strict=True)):
        positive, negative = positives[k], negatives[n]
        if not shapely.relate_pattern(positive, negative, _INTERIORS_MEET):
            continue
        if shapely.covers(negative, positive) and not shapely.equals(negative, positive):
            islands.add(k)
        else:
            cutters.setdefault(k, []).append(n)
    changed = {
        k: polygons_of(shapely.difference(positives[k], shapely.union_all([negatives[n] for n in found])))
        for k, found in cutters.items()
    }
    busy = {n for found in cutters.values() for n in found}
    return NegativeCuts(changed, len(islands), tuple(n for n in range(len(negatives)) if n not in busy))
