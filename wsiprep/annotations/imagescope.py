"""Aperio ImageScope XML -> shapes: layers, text labels, negative areas, rectangles and ellipses.

MoNuSeg and Kumar ship their nuclei in the same XML, without texts.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import Mark, ParsedFile, Polygon, Shape, box_ring, ellipse_ring
from wsiprep.annotations.xml_stream import XmlReader
from wsiprep.errors import AnnotationError

_KINDS = {"0": "freehand", "1": "rectangle", "2": "ellipse", "3": "arrow", "4": "ruler"}
"""Region's Type."""

_NO_AREA = {"arrow": "arrows", "ruler": "measurements"}
_CORNERS = 4


def parse_imagescope(path: Path, frame: SlideFrame) -> ParsedFile:  # noqa: ARG001 - one signature for all readers
    """The shapes of an ImageScope file, in level-0 pixels as the file has them.

    A shape's group is the Text of its Region, without blanks around it; where that is empty, the Name of its
    layer (``Annotation``), else "". Its ancestors are the layer's Name, then the Values and the Names of the
    layer's attributes, as far as they are not empty: a text that is not mapped takes its layer's mapping, and
    a layer without a name that of what its attributes say.

    Type 0 is an outline (a Region without a Type is taken for one, counted ``untyped_regions``). A rectangle
    has four corners or two opposite ones. An ellipse has two opposite corners of its box, or all four, and
    becomes a polygon (:func:`ellipse_ring`, counted ``ellipses``); with more points these are its outline.
    Arrows and rulers have no area. Outlines inside outlines are outlines, never holes. NegativeROA 1 makes a
    shape ``negative`` in its layer.

    Raises:
        AnnotationError: with file and line: everything that is not ImageScope's, unknown types of region.
    """
    reader = _ImageScopeReader(path)
    reader.run()
    shapes = [shape for layer in reader.layers for shape in _shapes(layer, path)]
    return ParsedFile(tuple(shapes))


@dataclass(slots=True)
class _Region:
    text: str
    kind: str
    typed: bool
    negative: bool
    number: str
    line: int
    x: array[float] = field(default_factory=lambda: array("d"))
    y: array[float] = field(default_factory=lambda: array("d"))
    has_vertices: bool = False


@dataclass(slots=True)
class _Layer:
    number: int
    name: str
    values: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    regions: list[_Region] = field(default_factory=list)


class _ImageScopeReader(XmlReader):
    program = "Aperio ImageScope"
    root = "Annotations"
    children: ClassVar = {
        "": ("Annotations",),
        "Annotations": ("Annotation",),
        "Annotation": ("Attributes", "Regions", "Plots"),
        "Attributes": ("Attribute",),
        "Attribute": (),
        "Regions": ("RegionAttributeHeaders", "Region"),
        "Region": ("Attributes", "Vertices"),
        "Vertices": ("Vertex",),
        "Vertex": (),
    }
    # Tables and charts of measurements.
    free = frozenset({"Plots", "RegionAttributeHeaders"})
    vertex = "Vertex"
    annotation = "Region"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.layers: list[_Layer] = []

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Vertex":
            self._vertex(attributes)
        elif tag == "Region":
            self._region(attributes)
        elif tag == "Annotation":
            self.layers.append(_Layer(len(self.layers), attributes.get("Name", "").strip()))
        elif tag == "Attribute" and "Region" not in self.stack:
            self.layers[-1].values.append(attributes.get("Value", "").strip())
            self.layers[-1].names.append(attributes.get("Name", "").strip())
        elif tag == "Vertices":
            region = self.layers[-1].regions[-1]
            if region.has_vertices:
                raise self.error("a second <Vertices> in one region", got=region.number)
            region.has_vertices = True

    def _region(self, attributes: dict[str, str]) -> None:
        self.count_annotation()
        kind = attributes.get("Type", "0")
        if kind not in _KINDS:
            known = ", ".join(f"{number} ({name})" for number, name in _KINDS.items())
            raise self.error("an unknown type of region", got=repr(kind[:40]), expected=known)
        negative = attributes.get("NegativeROA", "0")
        if negative not in ("0", "1"):
            raise self.error("NegativeROA is neither 0 nor 1", got=repr(negative[:40]))
        self.layers[-1].regions.append(
            _Region(attributes.get("Text", "").strip(), _KINDS[kind], "Type" in attributes, negative == "1",
                    attributes.get("Id", ""), self.line)
        )  # fmt: skip

    def _vertex(self, attributes: dict[str, str]) -> None:
        self.count_vertices()
        region = self.layers[-1].regions[-1]
        region.x.append(self.number(self.attribute(attributes, "X", "Vertex"), "X"))
        region.y.append(self.number(self.attribute(attributes, "Y", "Vertex"), "Y"))
        if region.kind == "ellipse" and len(region.x) == 2:
            # What its outline will have at most, so that a small file cannot become a mass of points.
            self.count_vertices(len(_ellipse(_points(region))[0]))


def _shapes(layer: _Layer, path: Path) -> list[Shape]:
    above = dict.fromkeys(name for name in (layer.name, *layer.values, *layer.names) if name)
    found = []
    for region in layer.regions:
        group = region.text or layer.name
        ancestors = tuple(name for name in above if name != group)
        shape = Shape(
            region.kind, group, (), region.line, f"region {region.number}" if region.number else "",
            ancestors=ancestors, negative=region.negative, layer=str(layer.number),
            no_area=_NO_AREA.get(region.kind, ""),
        )  # fmt: skip
        found.append(shape if shape.no_area else _outlined(shape, region, path))
    return found


def _outlined(shape: Shape, region: _Region, path: Path) -> Shape:
    """The shape with its outline, or with the fault that keeps it from having one."""
    points = _points(region)
    marks: tuple[Mark, ...] = () if region.typed else (Mark("untyped_regions"),)
    polygon: Polygon = (points,)
    if region.kind == "ellipse":
        if len(points) < 2 or len(points) == 3:
            return _faulty(shape, "an ellipse has two opposite corners of its box, or its outline", points, path)
        if len(points) == 2 or _is_upright_box(points):
            polygon = _ellipse(points)
        marks += (Mark("ellipses"),)
    elif region.kind == "rectangle" and len(points) == 2:
        polygon = (box_ring(*points.ravel().tolist()),)
    elif region.kind == "rectangle" and len(_open(points)) != _CORNERS:
        return _faulty(shape, "a rectangle has four corners (or two opposite ones)", points, path)
    return replace(shape, polygons=(polygon,), marks=marks)


def _faulty(shape: Shape, message: str, points: Floats, path: Path) -> Shape:
    got = f"{len(points)} points"
    return replace(shape, fault=AnnotationError(f"{message}: {shape.called}", got=got, file=path, line=shape.line))


def _points(region: _Region) -> Floats:
    return np.stack([np.array(region.x, dtype=np.float64), np.array(region.y, dtype=np.float64)], axis=1)


def _open(points: Floats) -> Floats:
    """Without the first point where it is repeated at the end."""
    return points[:-1] if len(points) > 1 and (points[0] == points[-1]).all() else points


def _is_upright_box(points: Floats) -> bool:
    corners = _open(points)
    if len(corners) != _CORNERS:
        return False
    low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return set(map(tuple, corners.tolist())) == {(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])}


def _ellipse(points: Floats) -> Polygon:
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (ellipse_ring((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2),)
