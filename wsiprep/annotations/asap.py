"""ASAP XML -> regions: groups to labels, shapes to valid areas, everything else counted."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

import numpy as np
import shapely

from wsiprep.annotations.asap_xml import AsapFile, Shape, parse_asap
from wsiprep.annotations.edges import Floats
from wsiprep.annotations.regions import AnnotationSet, Area, Region
from wsiprep.annotations.repair import repair_ring
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

_AREAS = ("Polygon", "Rectangle", "Spline")
_NO_AREA = {"Dot": "dots", "PointSet": "point_sets", "Measurement": "measurements"}
_DROP = "drop"


def read_asap(path: str | Path, recipe: Recipe, size: Size) -> AnnotationSet:
    """The regions of an ASAP file under a recipe.

    Points are taken in their ``Order``. A rectangle has its four corners, or two opposite ones. A spline
    is the polygon through its points (counted ``splines``). Dots, point sets and measurements have no
    area and are left out (counted). The group decides the label by ``recipe.group_map``; a group that is
    not mapped takes the mapping of its nearest mapped ancestor.

    Counts (those that fired): ``annotations``, ``splines``, ``dots``, ``point_sets``, ``measurements``,
    ``dropped_groups`` (mapped to drop), ``dropped_unknown_groups``, ``repeated_vertices``,
    ``repaired_rings``, ``dropped_degenerate``, ``order_gaps``, ``outside_slide`` (vertices, kept),
    ``outside_regions`` (regions whose bounds lie off the slide, kept).

    Args:
        path: the XML file.
        recipe: groups, labels and rules (``recipe.for_source`` applied).
        size: of level 0.

    Raises:
        AnnotationError: with file and line: everything that is not ASAP, unknown groups and shapes, two
            points of one Order, invalid rings where the recipe says ``error``.
    """
    path = Path(path)
    return _Reading(path, parse_asap(path), recipe, size).run()


class _Reading:
    """One file on its way to regions: the counters and notes that all steps add to."""

    def __init__(self, path: Path, content: AsapFile, recipe: Recipe, size: Size) -> None:
        self._path = path
        self._content = content
        self._recipe = recipe
        self._map = recipe.group_map
        self._size = size
        self._counts: Counter[str] = Counter()
        self._notes: list[str] = []

    def run(self) -> AnnotationSet:
        regions = [region for shape in self._content.shapes if (region := self._region(shape)) is not None]
        self._counts["annotations"] = len(self._content.shapes)
        counts = {name: self._counts[name] for name in sorted(self._counts) if self._counts[name]}
        counts.setdefault("annotations", 0)
        return AnnotationSet(tuple(regions), counts, tuple(self._notes))

    def _region(self, shape: Shape) -> Region | None:
        if shape.kind in _NO_AREA:
            self._counts[_NO_AREA[shape.kind]] += 1
            return None
        if shape.kind not in _AREAS:
            raise self._error("an unknown type of annotation", shape, got=repr(shape.kind[:40]),
                              expected=", ".join((*_AREAS, *_NO_AREA)))  # fmt: skip
        group = self._deciding_group(shape)
        if group is None or self._map[group] == _DROP:
            self._counts["dropped_unknown_groups" if group is None else "dropped_groups"] += 1
            return None
        points = self._points(shape)
        area = self._area(points, shape)
        if area is None:
            return None
        if shape.kind == "Spline":
            self._counts["splines"] += 1
        self._count_outside(points, area, shape)
        return Region(self._map[group], area, group, shape.name, shape.kind, shape.line)

    def _deciding_group(self, shape: Shape) -> str | None:
        """The shape's group or its nearest mapped ancestor; None for an unknown one that may be dropped."""
        group, passed = shape.group, [shape.group]
        while group not in self._map:
            parent, line = self._content.groups.get(group, (None, 0))
            if parent is None:
                self._unknown_group(shape)
                return None
            if parent in passed:
                raise AnnotationError("groups that are part of each other", got=" -> ".join([*passed, parent]),
                                      file=self._path, line=line)  # fmt: skip
            passed.append(parent)
            group = parent
        return group

    def _unknown_group(self, shape: Shape) -> None:
        if self._recipe.annotations.unknown_group == _DROP:
            self._notes.append(f"line {shape.line}: {_called(shape)} left out, its group {shape.group!r} is not mapped")
            return
        close = difflib.get_close_matches(shape.group, self._map, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise self._error(
            "a group that the recipe does not map", shape, got=repr(shape.group[:80]) + meant,
            expected=", ".join(repr(name) for name in self._map),
            fix="add it to annotations.groups: a label, background, ignore or drop",
        )  # fmt: skip

    def _points(self, shape: Shape) -> Floats:
        """(n, 2) in the order that the file declares, corners of rectangles completed."""
        order = np.array(shape.order, dtype=np.int64)
        points = np.stack([np.array(shape.x, dtype=np.float64), np.array(shape.y, dtype=np.float64)], axis=1)
        by_order = np.argsort(order, kind="stable")
        order, points = order[by_order], points[by_order]
        if (order[1:] == order[:-1]).any():
            twice = int(order[1:][order[1:] == order[:-1]][0])
            raise self._error("two points of one annotation have the same Order", shape, got=twice,
                              fix="number the points 0, 1, 2, ... along the outline")  # fmt: skip
        if len(order) and (order != np.arange(len(order))).any():
            self._counts["order_gaps"] += 1
            self._notes.append(f"line {shape.line}: {_called(shape)} has gaps in the Order of its points")
        if shape.kind == "Rectangle":
            return self._corners(points, shape)
        return points

    def _corners(self, points: Floats, shape: Shape) -> Floats:
        if len(points) == 2:
            (x0, y0), (x1, y1) = points
            return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        if len(points) != 4:
            raise self._error("a rectangle has four corners (or two opposite ones)", shape, got=f"{len(points)} points")
        return points

    def _area(self, points: Floats, shape: Shape) -> Area | None:
        rule = self._recipe.annotations.invalid_rings
        try:
            ring = repair_ring(points, "even-odd" if rule == "error" else rule)
        except shapely.errors.GEOSException as error:
            raise self._error("a ring that crosses itself and cannot be repaired", shape, got=str(error)[:200],
                              fix="redraw it") from error  # fmt: skip
        self._counts["repeated_vertices"] += ring.repeated
        if ring.area is None:
            self._counts["dropped_degenerate"] += 1
            self._notes.append(f"line {shape.line}: {_called(shape)} left out, {len(points)} points enclose no area")
            return None
        if ring.invalid and rule == "error":
            raise self._error("a ring that crosses or touches itself", shape, got=ring.invalid,
                              fix="redraw it, or set annotations.invalid_rings to even-odd or non-zero")  # fmt: skip
        if ring.invalid:
            self._counts["repaired_rings"] += 1
            self._notes.append(f"line {shape.line}: {_called(shape)} repaired by {rule} ({ring.invalid})")
        return ring.area

    def _count_outside(self, points: Floats, area: Area, shape: Shape) -> None:
        limit = (self._size.width_px, self._size.height_px)
        outside = int(((points < 0) | (points > limit)).any(axis=1).sum())
        if outside == 0:
            return
        self._counts["outside_slide"] += outside
        where = f"{outside} of {len(points)} points outside the slide"
        self._notes.append(f"line {shape.line}: {_called(shape)} has {where}")
        left, top, right, bottom = area.bounds
        if right <= 0 or bottom <= 0 or left >= limit[0] or top >= limit[1]:
            self._counts["outside_regions"] += 1

    def _error(self, message: str, shape: Shape, **details: object) -> AnnotationError:
        text = f"{message}: {_called(shape)}"
        return AnnotationError(text, file=self._path, line=shape.line, **details)  # type: ignore[arg-type]


def _called(shape: Shape) -> str:
    return f"annotation {shape.name[:60]!r}" if shape.name else "an annotation without a name"
