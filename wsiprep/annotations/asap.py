"""ASAP XML -> shapes: points in their order, rectangles completed, groups with their ancestors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from wsiprep.annotations.asap_xml import AsapFile, AsapShape, parse_asap
from wsiprep.annotations.edges import Floats, Ints
from wsiprep.annotations.regions import AnnotationSet, SlideFrame
from wsiprep.annotations.resolve import resolve
from wsiprep.annotations.shapes import Mark, ParsedFile, Shape, box_ring
from wsiprep.annotations.xml_stream import MAX_DEPTH
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

_AREAS = ("Polygon", "Rectangle", "Spline")
_NO_AREA = {"Dot": "dots", "PointSet": "point_sets", "Measurement": "measurements"}
_CORNERS = 4


def read_asap(path: str | Path, recipe: Recipe, size: Size) -> AnnotationSet:
    """The regions of an ASAP file under a recipe, for a slide of which only the size is known.

    Raises:
        AnnotationError: as :func:`parse_asap_file` and ``resolve``.
    """
    frame = SlideFrame(size)
    path = Path(path)
    return resolve(parse_asap_file(path, frame), path, recipe, frame)


def parse_asap_file(path: Path, frame: SlideFrame) -> ParsedFile:  # noqa: ARG001 - one signature for all readers
    """The shapes of an ASAP file, in level-0 pixels as the file has them.

    Points are taken in their ``Order`` (gaps are counted as ``order_gaps``). A rectangle has its four
    corners, or two opposite ones. A spline is the polygon through its points (counted ``splines``). Dots,
    point sets and measurements have no area. A shape's ancestors are the groups that contain its group.

    Raises:
        AnnotationError: with file and line: everything that is not ASAP, unknown types of annotation.
    """
    content = parse_asap(path)
    ancestors = {name: _ancestors(name, content, path) for name in dict.fromkeys(s.group for s in content.shapes)}
    return ParsedFile(tuple(_shape(found, ancestors[found.group], path) for found in content.shapes))


def _ancestors(group: str, content: AsapFile, path: Path) -> tuple[str, ...]:
    """The groups above ``group``; a circle ends with the first name that comes again."""
    chain = [group]
    while (parent := content.groups.get(chain[-1], (None, 0))[0]) is not None:
        circular = parent in chain
        chain.append(parent)
        if circular:
            break
        if len(chain) > MAX_DEPTH:
            raise AnnotationError(
                "groups are nested too deeply", got=repr(group[:80]), expected=f"at most {MAX_DEPTH} levels", file=path,
                line=content.groups[group][1],
            )  # fmt: skip
    return tuple(chain[1:])


def _shape(found: AsapShape, ancestors: tuple[str, ...], path: Path) -> Shape:
    no_area = _NO_AREA.get(found.kind, "")
    bare = Shape(found.kind, found.group, (), found.line, found.name, ancestors=ancestors, no_area=no_area)
    if no_area:
        return bare
    if found.kind not in _AREAS:
        raise AnnotationError(
            f"an unknown type of annotation: {bare.called}", got=repr(found.kind[:40]),
            expected=", ".join((*_AREAS, *_NO_AREA)), file=path, line=found.line,
        )  # fmt: skip
    marks: tuple[Mark, ...] = (Mark("splines"),) if found.kind == "Spline" else ()
    order, points = _in_order(found)
    twice = order[1:][order[1:] == order[:-1]]
    if len(twice):
        return replace(bare, fault=AnnotationError(
            f"two points of one annotation have the same Order: {bare.called}", got=int(twice[0]), file=path,
            line=found.line, fix="number the points 0, 1, 2, ... along the outline",
        ))  # fmt: skip
    if (order != np.arange(len(order))).any():
        marks += (Mark("order_gaps", f"{bare.called} has gaps in the Order of its points"),)
    if found.kind == "Rectangle" and len(points) == 2:
        points = box_ring(*points.ravel().tolist())
    elif found.kind == "Rectangle" and len(points) != _CORNERS:
        return replace(bare, fault=AnnotationError(
            f"a rectangle has four corners (or two opposite ones): {bare.called}", got=f"{len(points)} points",
            file=path, line=found.line,
        ))  # fmt: skip
    return replace(bare, polygons=((points,),), marks=marks)


def _in_order(found: AsapShape) -> tuple[Ints, Floats]:
    """The numbers of the points, (n,), and the points, (n, 2), as the file orders them."""
    order = np.array(found.order, dtype=np.int64)
    points = np.stack([np.array(found.x, dtype=np.float64), np.array(found.y, dtype=np.float64)], axis=1)
    by_order = np.argsort(order, kind="stable")
    return order[by_order], points[by_order]
