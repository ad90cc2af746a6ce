"""Hamamatsu NDPA -> shapes: nanometres from the slide's centre become level-0 pixels."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import Mark, ParsedFile, Shape, ellipse_ring
from wsiprep.annotations.xml_stream import MAX_COORDINATE_PX, XmlReader, plain_number
from wsiprep.errors import AnnotationError

X_OFFSET = "hamamatsu.XOffsetFromSlideCentre"
Y_OFFSET = "hamamatsu.YOffsetFromSlideCentre"
"""Where the image's centre lies, in nanometres from the slide's."""

_NM = {"nanometers": 1.0, "nanometres": 1.0, "micrometers": 1000.0, "micrometres": 1000.0}
"""Nanometres in a unit of coordformat."""

_NO_AREA = {"pin": "pins", "pointer": "pointers", "linearmeasure": "measurements"}
_KNOWN = ("freehand", "circle", *_NO_AREA)
_MAX_COORDINATE = 1e13
"""In the file's units; the limit in pixels holds after the conversion."""


def parse_ndpa(path: Path, frame: SlideFrame) -> ParsedFile:
    """The shapes of an NDP.view file in level-0 pixels.

    px = W / 2 + (x_nm - XOffsetFromSlideCentre) / (1000 um_x), with W the width of level 0 and um_x its
    um/px along x; y alike with its own offset and um/px. Nothing of this is ever assumed.

    Freehand outlines count where their ``closed`` is 1 (rectangles are such outlines); open lines, pins,
    pointers and measures have no area. Circles become polygons (:func:`ellipse_ring`, counted ``circles``).
    The group is the view's title, its ancestor the colour of the annotation ("#rrggbb", lower case), which is
    all that there is to map where a lab codes classes by colour. Elements that are not known and hold no
    others are passed over (counted ``unknown_elements``).

    Raises:
        AnnotationError: with file and line: everything that is not NDPA, an unknown coordformat or type of
            annotation, a slide without um/px or without its ``hamamatsu`` offsets.
    """
    reader = _NdpaReader(path)
    reader.run()
    if not reader.found:
        return ParsedFile((), _counts(reader))
    scale = _Scale.of(frame, path) if any(_has_area(found) for found in reader.found) else None
    shapes = []
    for found in reader.found:
        shapes.append(_shape(found, scale, path))
        if found.kind == "circle":
            # A small file of large circles cannot become a mass of points.
            reader.count_vertices(sum(len(ring) for polygon in shapes[-1].polygons for ring in polygon), found.line)
    return ParsedFile(tuple(shapes), _counts(reader))


def _counts(reader: _NdpaReader) -> dict[str, int]:
    return {"unknown_elements": reader.unknown_elements} if reader.unknown_elements else {}


@dataclass(slots=True)
class _Found:
    """One <annotation>, coordinates in the file's units."""

    kind: str
    colour: str
    line: int
    title: str = ""
    unit_nm: float = 0.0
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    has_points: bool = False
    x: array[float] = field(default_factory=lambda: array("d"))
    y: array[float] = field(default_factory=lambda: array("d"))


class _NdpaReader(XmlReader):
    program = "Hamamatsu NDP.view"
    root = "annotations"
    _HERE = ("x", "y", "radius", "x1", "y1", "x2", "y2", "closed", "specialtype", "measuretype")
    children: ClassVar = {
        "": ("annotations",),
        "annotations": ("ndpviewstate",),
        "ndpviewstate": ("title", "details", "coordformat", "lens", "x", "y", "z", "annotation"),
        "annotation": (*_HERE, "pointlist"),
        "pointlist": ("point",),
        "point": ("x", "y"),
    } | dict.fromkeys(("title", "details", "coordformat", "lens", "z", *_HERE), ())
    texts = frozenset({"title", "details", "coordformat", "lens", "z", *_HERE})
    tolerant = frozenset({"ndpviewstate", "annotation"})
    vertex = "point"
    annotation = "annotation"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[_Found] = []
        self._view: dict[str, str] = {}
        self._view_start = 0
        self._view_line = 0
        self._point: dict[str, float] = {}

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "ndpviewstate":
            self._view, self._view_start, self._view_line = {}, len(self.found), self.line
        elif tag == "annotation":
            self.count_annotation()
            kind = self.attribute(attributes, "type", "annotation")
            if kind not in _KNOWN:
                raise self.error("an unknown type of annotation", got=repr(kind[:40]), expected=", ".join(_KNOWN))
            self.found.append(_Found(kind, attributes.get("color", "").strip().lower(), self.line))
        elif tag == "pointlist":
            if self.found[-1].has_points:
                raise self.error("a second <pointlist> in one annotation")
            self.found[-1].has_points = True
        elif tag == "point":
            self.count_vertices()
            self._point = {}

    def ended(self, tag: str, text: str) -> None:
        parent = self.stack[-2] if len(self.stack) > 1 else ""
        if parent == "point":
            if tag in self._point:
                raise self.error(f"a second <{tag}> in one point")
            self._point[tag] = self.number(text, tag, _MAX_COORDINATE, "length units")
        elif tag == "point":
            if len(self._point) != 2:
                raise self.error("a point needs x and y", got=", ".join(self._point) or "neither")
            self.found[-1].x.append(self._point["x"])
            self.found[-1].y.append(self._point["y"])
        elif parent == "annotation" and tag in self.texts:
            self._field(tag, text)
        elif parent == "ndpviewstate" and tag in ("title", "coordformat"):
            if tag in self._view:
                raise self.error(f"a second <{tag}> in one <ndpviewstate>")
            self._view[tag] = text
        elif tag == "ndpviewstate":
            self._close_view()

    def _field(self, tag: str, text: str) -> None:
        found = self.found[-1]
        if tag in found.values:
            raise self.error(f"a second <{tag}> in one annotation")
        found.values[tag] = text
        if found.kind == "circle" and tag in ("x", "y", "radius"):
            found.numbers[tag] = self.number(text, tag, _MAX_COORDINATE, "length units")
            if tag == "radius" and found.numbers[tag] < 0:
                raise self.error("a radius cannot be negative", got=text[:40])
        if tag == "closed" and text not in ("0", "1"):
            raise self.error("closed is neither 0 nor 1", got=repr(text[:40]))

    def _close_view(self) -> None:
        """Title and unit may stand behind the annotations of their view."""
        mine = self.found[self._view_start :]
        unit = self._view.get("coordformat")
        if mine and (unit is None or unit.lower() not in _NM):
            raise self.error(
                "the unit of the coordinates is not known", got="no <coordformat>" if unit is None else repr(unit[:40]),
                expected=", ".join(_NM), line=self._view_line,
            )  # fmt: skip
        for found in mine:
            found.title = self._view.get("title", "")
            found.unit_nm = _NM[(unit or "").lower()]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From nanometres about the slide's centre to level-0 pixels; x and y each."""

    centre_px: tuple[float, float]
    offset_nm: tuple[float, float]
    nm_per_px: tuple[float, float]

    @classmethod
    def of(cls, frame: SlideFrame, path: Path) -> _Scale:
        missing = [name for name in (X_OFFSET, Y_OFFSET) if name not in frame.properties]
        if frame.spacing is None:
            missing.append("um/px")
        if missing or frame.spacing is None:
            raise AnnotationError(
                "NDPA counts from the centre of a Hamamatsu slide, and this slide does not say where that is",
                got=f"{frame.name or 'the slide'} without {', '.join(missing)}",
                expected=f"{X_OFFSET}, {Y_OFFSET} and um/px in the slide's header",
                fix="use the NDPI itself: conversions to TIFF lose these", file=path, line=1,
            )  # fmt: skip
        offsets = []
        for name in (X_OFFSET, Y_OFFSET):
            value = plain_number(frame.properties[name])
            if not math.isfinite(value):
                raise AnnotationError(f"the slide's {name} is no number", got=frame.properties[name][:80], file=path)
            offsets.append(value)
        return cls(
            (frame.size.width_px / 2, frame.size.height_px / 2), (offsets[0], offsets[1]),
            (1000 * frame.spacing.x_um, 1000 * frame.spacing.y_um),
        )  # fmt: skip

    def to_px(self, points_nm: Floats) -> Floats:
        """(n, 2) nanometres -> (n, 2) level-0 pixels."""
        px: Floats = np.array(self.centre_px) + (points_nm - np.array(self.offset_nm)) / np.array(self.nm_per_px)
        return px


def _is_open(found: _Found) -> bool:
    return found.kind == "freehand" and found.values.get("closed") == "0"


def _has_area(found: _Found) -> bool:
    return found.kind not in _NO_AREA and not _is_open(found)


def _shape(found: _Found, scale: _Scale | None, path: Path) -> Shape:
    no_area = _NO_AREA.get(found.kind, "open_lines" if _is_open(found) else "")
    ancestors = (found.colour,) if found.colour and found.colour != found.title else ()
    bare = Shape(found.kind, found.title, (), found.line, found.title, ancestors=ancestors, no_area=no_area)
    if no_area or scale is None:
        return bare
    if found.kind == "circle":
        return _circle(bare, found, scale, path)
    if not found.has_points or "closed" not in found.values:
        lacks = "closed" if found.has_points else "pointlist"
        return replace(bare, fault=AnnotationError(
            f"a freehand annotation needs <pointlist> and <closed>: {bare.called}", got=f"no <{lacks}>", file=path,
            line=found.line,
        ))  # fmt: skip
    points = scale.to_px(np.stack([np.array(found.x), np.array(found.y)], axis=1) * found.unit_nm)
    return _within_limits(replace(bare, polygons=((points,),)), path)


def _circle(bare: Shape, found: _Found, scale: _Scale, path: Path) -> Shape:
    lacking = [name for name in ("x", "y", "radius") if name not in found.numbers]
    if lacking:
        return replace(bare, fault=AnnotationError(
            f"a circle needs x, y and radius: {bare.called}", got=f"no <{lacking[0]}>", file=path, line=found.line,
        ))  # fmt: skip
    centre_nm = np.array([[found.numbers["x"], found.numbers["y"]]]) * found.unit_nm
    x, y = scale.to_px(centre_nm)[0].tolist()
    radius_x, radius_y = (found.numbers["radius"] * found.unit_nm / nm for nm in scale.nm_per_px)
    if max(abs(x), abs(y), radius_x, radius_y) > MAX_COORDINATE_PX:
        return _beyond_limits(bare, max(abs(x), abs(y), radius_x, radius_y), path)
    return replace(bare, polygons=((ellipse_ring(x, y, radius_x, radius_y),),), marks=(Mark("circles"),))


def _within_limits(shape: Shape, path: Path) -> Shape:
    furthest = float(np.abs(shape.polygons[0][0]).max(initial=0.0))
    return shape if furthest <= MAX_COORDINATE_PX else _beyond_limits(shape, furthest, path)


def _beyond_limits(shape: Shape, furthest: float, path: Path) -> Shape:
    return replace(shape, polygons=(), fault=AnnotationError(
        f"a point far from any slide: {shape.called}", got=f"{furthest:g} px", file=path, line=shape.line,
        expected=f"at most {MAX_COORDINATE_PX:g} px", fix="check that the file belongs to this slide",
    ))  # fmt: skip
