"""Annotations of the Digital Slide Archive (large_image): elements in pixels of the full plane."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.json_source import Convert, JsonFile, read_json, shown
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import ELLIPSE_GRID_PX, Mark, ParsedFile, Polygon, Shape, box_ring, ellipse_ring

_AREAS = ("polyline", "rectangle", "circle", "ellipse")
_NO_AREA = {
    "point": "dots",
    "arrow": "arrows",
    "heatmap": "overlays",
    "griddata": "overlays",
    "image": "overlays",
}
_DOCUMENTS = ((), ("*",), ("annotation",), ("*", "annotation"))


def parse_dsa(path: Path, frame: SlideFrame) -> ParsedFile:  # noqa: ARG001 - one signature for all readers
    """The shapes of an annotation, of a list of annotations, bare or as the server's ``{"annotation": ...}``.

    The group is the element's ``label.value``, its ancestor the element's ``group``; without a label the
    ``group``; without both the annotation's name. The annotation's name is the name of its shapes, its
    ``creatorId`` their author, ``updated`` or ``created`` their date.

    A closed polyline is a polygon, with its ``holes``; an open one has no area (counted ``lines``). Rectangles
    and ellipses have a centre, a whole width and height, and a rotation in radians which turns x towards y,
    that is clockwise on the screen, where y points down. Rotated corners and points of circles and ellipses
    (counted ``circles`` and ``ellipses``) are rounded to 1/64 px. Points, arrows, heatmaps, grids of data and
    image overlays have no area.

    Raises:
        AnnotationError: with file and line: no DSA annotation, an unknown type of element (a pixelmap, too:
            its labels lie in another image), a number that is none.
    """

    def elements(file: JsonFile) -> Convert:
        return lambda value, line: _element(file, value, line)

    file = read_json(path, {(*spot, "elements"): elements for spot in _DOCUMENTS})
    documents = file.value if isinstance(file.value, list) else [file.value]
    return ParsedFile(tuple(shape for document in documents for shape in _document(file, document)))


def _document(file: JsonFile, value: Any) -> list[Shape]:
    line = next(iter(file.lines.values()), 1)
    inner = value.get("annotation", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("elements"), list):
        raise file.error("this JSON is no annotation of the Digital Slide Archive", line,
                         got=shown(value if inner is value or inner is None else inner),
                         expected='{"annotation": {"elements": [...]}}, {"elements": [...]} or a list')  # fmt: skip
    name = file.text(inner.get("name"), "name", line)
    author = file.text(value.get("creatorId"), "creatorId", line)
    date = file.text(value.get("updated") or value.get("created"), "updated", line)
    return [
        replace(shape, name=name, author=author, date=date, group=shape.group or name) for shape in inner["elements"]
    ]


def _element(file: JsonFile, value: Any, line: int) -> Shape:
    if not isinstance(value, dict):
        raise file.error("an element is no object", line, got=shown(value), expected='{"type": ..., ...}')
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in (*_AREAS, *_NO_AREA):
        fix = "export the labels of the map as an image" if kind == "pixelmap" else None
        raise file.error("an unknown type of element", line, got=shown(kind),
                         expected=", ".join((*_AREAS, *_NO_AREA)), fix=fix)  # fmt: skip
    label = file.object(value.get("label"), "label", line)
    groups = [file.text(label.get("value"), "label.value", line), file.text(value.get("group"), "group", line)]
    group, *above = [*dict.fromkeys(name for name in groups if name), ""][:2]
    ancestors = tuple(name for name in above if name)
    if kind in _NO_AREA:
        return Shape(kind, group, (), line, ancestors=ancestors, no_area=_NO_AREA[kind])
    if kind == "polyline" and value.get("closed", False) is not True:
        return Shape(kind, group, (), line, ancestors=ancestors, no_area="lines")
    polygon = _polyline(file, value, line) if kind == "polyline" else (_figure(file, kind, value, line),)
    marks = (Mark(f"{kind}s"),) if kind in ("circle", "ellipse") else ()
    return Shape(kind, group, (polygon,), line, ancestors=ancestors, marks=marks)


def _polyline(file: JsonFile, value: dict[str, Any], line: int) -> Polygon:
    holes = file.array(value.get("holes") or [], "holes", line)
    return tuple(file.points(ring, name, line)
                 for ring, name in [(value.get("points"), "points"), *((hole, "holes") for hole in holes)])  # fmt: skip


def _figure(file: JsonFile, kind: str, value: dict[str, Any], line: int) -> Floats:
    """A rectangle, circle or ellipse as a ring."""
    center = file.points([value.get("center")], "center", line)[0]
    if kind == "circle":
        radius = file.number(value.get("radius"), "radius", line, least=0)
        return _counted(file, ellipse_ring(float(center[0]), float(center[1]), radius, radius), line)
    width, height = (file.number(value.get(side), side, line, least=0) / 2 for side in ("width", "height"))
    rotation = file.number(value.get("rotation", 0), "rotation", line)
    normal = value.get("normal")
    if normal is not None and (not isinstance(normal, list) or normal[:2] != [0, 0] or not _is_up(normal)):
        raise file.error("a shape that does not lie in the plane", line, got=f"normal {shown(normal)}",
                         expected="[0, 0, 1]")  # fmt: skip
    ring = box_ring(-width, -height, width, height) if kind == "rectangle" else ellipse_ring(0, 0, width, height)
    return _counted(file, _turned(ring, rotation) + center, line)


def _is_up(normal: list[Any]) -> bool:
    return len(normal) == 3 and type(normal[2]) in (int, float) and normal[2] > 0


def _turned(ring: Floats, rotation: float) -> Floats:
    """The ring turned about its origin by an angle in radians, x towards y."""
    if rotation == 0:
        return ring
    cos, sin = math.cos(rotation), math.sin(rotation)
    x, y = ring[:, 0], ring[:, 1]
    turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
    rounded: Floats = np.round(turned / ELLIPSE_GRID_PX) * ELLIPSE_GRID_PX
    return rounded


def _counted(file: JsonFile, ring: Floats, line: int) -> Floats:
    file.take(len(ring), line)
    return ring
