"""QuPath's GeoJSON, and wsiprep's own export: features with a class, in pixels of the image as QuPath shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.json_source import Convert, JsonFile, read_json, shown
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import Mark, ParsedFile, Polygon, Shape
from wsiprep.errors import AnnotationError

_NO_AREA = {
    "Point": "dots",
    "MultiPoint": "point_sets",
    "LineString": "lines",
    "MultiLineString": "lines",
}
_AREAS = ("Polygon", "MultiPolygon")
_GEOMETRIES = (*_AREAS, *_NO_AREA, "GeometryCollection")
_CORES = ("tmaCore", "tma_core", "TMACoreObject")
# What QuPath 0.2 wrote stands beside what it writes since 0.3.
_OBJECTS = (
    *("annotation", "detection", "cell", "tile", "root", *_CORES, "unknown"),
    *("PathAnnotationObject", "PathDetectionObject", "PathCellObject", "PathTileObject", "PathRootObject"),
)
_OWN = "wsiprep"
_MAX_BEYOND_PX = 1.0


def parse_qupath(path: Path, frame: SlideFrame) -> ParsedFile:
    """The shapes of a GeoJSON file: a FeatureCollection, an array of features, one feature or one geometry.

    The group is the name of the feature's class, "" without one; of a derived class ("Tumor: Positive") the
    classes that it is derived from are its ancestors ("Tumor"). ``metadata`` gives author and date.
    Annotations, detections, cells and tiles are read alike, children (``childObjects``) too; a cell is its
    outer outline.

    QuPath shows a slide cropped to its scanned bounds (MIRAX, Leica, Ventana) and counts pixels from the
    corner of what it shows. Where ``frame.bounds`` begins elsewhere than at 0, 0, all points are therefore
    moved by that corner; files that do not fit into the bounds are refused. A frame without bounds says that
    the file is in pixels of the full plane.

    wsiprep's own export (with its member ``wsiprep`` before the features) always is. There the group is the
    label and its ancestor the group that the label once came from; kind, author and date are as they were.

    Counts: ``shifted_by_bounds`` (shapes that were moved), ``own_export`` (1 for wsiprep's own file),
    ``nuclei`` (nucleus outlines of cells, not read), ``tma_cores`` (without a class, left out), ``roots``,
    ``child_objects``, ``open_rings`` (features with a ring that is not closed), ``ellipses`` (polygons through
    the ellipse, as QuPath wrote them), ``empty_geometries``, ``without_geometry``, ``other_planes``
    (objects of another z or t, read as if on the only one), ``mixed_parts`` (points and lines in a collection
    with areas).

    Raises:
        AnnotationError: with file and line: no GeoJSON, an unknown geometry or type of object, a number that
            is none, a file that contradicts the bounds.
    """
    counts: Counter[str] = Counter()

    def features(file: JsonFile) -> Convert:
        return _Features(file, counts).feature

    file = read_json(path, {(): features, ("features",): features})
    found = _shapes(file, counts)
    own = isinstance(file.value, dict) and isinstance(file.value.get(_OWN), dict)
    notes: list[str] = []
    if own:
        counts["own_export"] = 1
    elif frame.bounds is not None and (frame.bounds.x or frame.bounds.y) and found:
        _check_within(file, found, frame)
        origin = np.array([frame.bounds.x, frame.bounds.y], dtype=np.float64)
        found = [_moved(shape, origin) for shape in found]
        counts["shifted_by_bounds"] = len(found)
        notes.append(
            f"all points were moved by ({frame.bounds.x}, {frame.bounds.y}): QuPath counts pixels from the corner "
            "of the slide's scanned bounds"
        )
    return ParsedFile(tuple(found), {name: counts[name] for name in sorted(counts) if counts[name]}, tuple(notes))


def _shapes(file: JsonFile, counts: Counter[str]) -> list[Shape]:
    value = file.value
    if isinstance(value, list):
        return [shape for part in value for shape in part]
    if not isinstance(value, dict):
        raise _not_geojson(file)
    kind = value.get("type")
    if kind == "FeatureCollection" or (kind is None and "features" in value):
        if not isinstance(value.get("features"), list):
            raise file.error("a FeatureCollection has an array of features", file.lines.get(("features",), 1),
                             got=shown(value.get("features")), expected="[...]")  # fmt: skip
        return [shape for part in value["features"] for shape in part]
    if kind == "Feature":
        return _Features(file, counts).feature(value, 1)
    if kind in _GEOMETRIES:
        return _Features(file, counts).feature({"type": "Feature", "geometry": value}, 1)
    raise _not_geojson(file)


def _not_geojson(file: JsonFile) -> AnnotationError:
    return file.error("this JSON is no GeoJSON", 1, got=shown(file.value),
                     expected="a FeatureCollection, an array of Features, a Feature or a geometry",
                     fix="export from QuPath with File > Object data > Export as GeoJSON")  # fmt: skip


def _moved(shape: Shape, origin: Floats) -> Shape:
    return replace(shape, polygons=tuple(tuple(ring + origin for ring in rings) for rings in shape.polygons))


def _check_within(file: JsonFile, shapes: list[Shape], frame: SlideFrame) -> None:
    """Refuse outlines that reach over the scanned bounds: they were not counted from its corner."""
    assert frame.bounds is not None
    limit = np.array([frame.bounds.width_px, frame.bounds.height_px]) + _MAX_BEYOND_PX
    for shape in shapes:
        for ring in (ring for rings in shape.polygons for ring in rings):
            if len(ring) and (ring > limit).any():
                x, y = ring[(ring > limit).any(axis=1)][0]
                raise file.error(
                    "a point beyond the slide's scanned bounds, although QuPath counts from their corner", shape.line,
                    got=f"({x:g}, {y:g})", expected=f"at most ({frame.bounds.width_px}, {frame.bounds.height_px})",
                    fix="if the file counts from the corner of the full plane (QuPath's --no-crop), set "
                    "annotations.origin: slide; else check that it belongs to this slide",
                )  # fmt: skip


class _Features:
    """Features of one file on their way to shapes."""

    def __init__(self, file: JsonFile, counts: Counter[str]) -> None:
        self._file = file
        self._counts = counts
        self._open = 0

    def feature(self, value: Any, line: int) -> list[Shape]:
        """The shape of a feature, and those of its children."""
        if not isinstance(value, dict) or value.get("type") != "Feature":
            got = f"type {shown(value.get('type'))}" if isinstance(value, dict) else shown(value)
            raise self._file.error("not a feature of GeoJSON", line, got=got, expected='{"type": "Feature", ...}')
        properties = self._file.object(value.get("properties"), "properties", line)
        kind = self._object_type(value, properties, line)
        found = [] if self._is_left_out(kind, properties) else [self._shape(value, properties, line)]
        if value.get("nucleusGeometry") is not None:
            self._counts["nuclei"] += 1
        for name in ("childObjects", "children"):
            for child in self._file.array(properties.get(name) or [], name, line):
                self._counts["child_objects"] += 1
                found += self.feature(child, line)
        return found

    def _object_type(self, value: dict[str, Any], properties: dict[str, Any], line: int) -> str:
        kind = properties.get("objectType", properties.get("object_type"))
        if kind is None:
            kind = value["id"] if value.get("id") in _OBJECTS else "annotation"
        if kind not in _OBJECTS:
            raise self._file.error("an unknown type of object", line, got=shown(kind), expected=", ".join(_OBJECTS))
        return str(kind)

    def _is_left_out(self, kind: str, properties: dict[str, Any]) -> bool:
        if kind in ("root", "PathRootObject"):
            self._counts["roots"] += 1
            return True
        if kind in _CORES and properties.get("classification") is None:
            self._counts["tma_cores"] += 1
            return True
        return False

    def _shape(self, value: dict[str, Any], properties: dict[str, Any], line: int) -> Shape:
        geometry = value.get("geometry")
        name = self._file.text(properties.get("name"), "properties.name", line)
        group, ancestors = self._class(properties.get("classification"), line)
        metadata = self._file.object(properties.get("metadata"), "properties.metadata", line)
        about = {key.lower(): text for key, text in metadata.items() if isinstance(text, str)}
        own = (_OWN,) in self._file.lines
        if own:
            about |= {key: text for key, text in properties.items() if isinstance(text, str)}
        for key in ("author", "date", "group", "kind"):
            self._file.text(about.get(key), key, line)
        if own:
            ancestors += (about["group"],) if about.get("group", group) != group else ()
        author, date = about.get("author", ""), about.get("date", "")
        if geometry is None:
            return Shape("null", group, (), line, name, author, date, ancestors, no_area="without_geometry")
        geometry = self._file.object(geometry, "geometry", line)
        self._open = 0
        kind, polygons, no_area = self._geometry(geometry, line)
        if polygons and no_area:
            self._counts["mixed_parts"] += 1
        return Shape(
            kind=(own and about.get("kind")) or kind,
            group=group,
            polygons=tuple(polygons),
            line=line,
            name=name,
            author=author,
            date=date,
            ancestors=ancestors,
            no_area="" if polygons else no_area,
            marks=tuple(self._marks(geometry, line)),
        )

    def _marks(self, geometry: dict[str, Any], line: int) -> list[Mark]:
        marks = [Mark("ellipses")] if geometry.get("isEllipse") is True else []
        plane = self._file.object(geometry.get("plane"), "plane", line)
        if plane.get("z", 0) not in (0, None) or plane.get("t", 0) not in (0, None):
            marks.append(Mark("other_planes", f"was drawn on plane z {plane.get('z')}, t {plane.get('t')}"))
        if self._open:
            marks.append(Mark("open_rings", f"has {self._open} rings whose last point is not the first"))
        return marks

    def _class(self, value: Any, line: int) -> tuple[str, tuple[str, ...]]:
        """The class's full name and the names of those that it is derived from, nearest first."""
        if isinstance(value, dict):
            names = value.get("names")
            if names is not None and "name" not in value:
                parts = self._file.array(names, "classification.names", line)
                value = ": ".join(self._file.text(part, "classification.names", line) for part in parts)
            else:
                value = value.get("name")
        group = self._file.text(value, "classification", line)
        parts = group.split(": ")
        return group, tuple(": ".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))

    def _geometry(self, geometry: dict[str, Any], line: int) -> tuple[str, list[Polygon], str]:
        """Its type, its polygons, and the counter of a part without an area."""
        kind = geometry.get("type")
        if kind == "GeometryCollection":
            return self._collection(geometry, line)
        if not isinstance(kind, str) or kind not in _GEOMETRIES:
            raise self._file.error("an unknown geometry", line, got=shown(kind), expected=", ".join(_GEOMETRIES))
        if kind in _NO_AREA:
            return kind, [], _NO_AREA[kind]
        coordinates = self._file.array(geometry.get("coordinates"), "coordinates", line)
        parts = [coordinates] if kind == "Polygon" else coordinates
        polygons = [self._polygon(part, line) for part in parts if part != []]
        return kind, polygons, "" if polygons else "empty_geometries"

    def _collection(self, geometry: dict[str, Any], line: int) -> tuple[str, list[Polygon], str]:
        polygons: list[Polygon] = []
        without = ""
        for part in self._file.array(geometry.get("geometries"), "geometries", line):
            _, found, no_area = self._geometry(self._file.object(part, "geometries", line), line)
            polygons += found
            without = without or no_area
        return "GeometryCollection", polygons, without if polygons or without else "empty_geometries"

    def _polygon(self, rings: Any, line: int) -> Polygon:
        return tuple(self._ring(ring, line) for ring in self._file.array(rings, "coordinates", line))

    def _ring(self, ring: Any, line: int) -> Floats:
        """A ring without the closing point, with which GeoJSON ends it."""
        points = self._file.points(ring, "coordinates", line)
        if len(points) > 1 and (points[0] == points[-1]).all():
            return points[:-1]
        self._open += 1
        return points
