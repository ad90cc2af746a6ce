"""labelme's JSON: shapes with a label, in pixels of the image that they were drawn on."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.json_source import Convert, JsonFile, read_json, shown
from wsiprep.annotations.outlines import MAX_MASK_PX, mask_polygons
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import Mark, ParsedFile, Polygon, Shape, box_ring, ellipse_ring
from wsiprep.guards.png import check_png

_NO_AREA = {"point": "dots", "points": "point_sets", "line": "lines", "linestrip": "lines"}
_AREAS = ("polygon", "rectangle", "circle", "mask")
_CORNERS = 4
_PNG_HEAD = 24
_SAME_SCALE = 0.01


def parse_labelme(path: Path, frame: SlideFrame) -> ParsedFile:
    """The shapes of a labelme file.

    The group is the shape's ``label``, the name its ``description``. A rectangle has two opposite corners
    (or all four), a circle its centre and a point on it (:func:`ellipse_ring`, counted ``circles``), a mask
    is taken pixel by pixel. Points and lines have no area. ``group_id``, ``flags`` and ``imageData`` are not
    read. ``imageWidth`` and ``imageHeight`` have to be the slide's: nothing else says on what the shapes were
    drawn.

    Raises:
        AnnotationError: with file and line: no labelme file, an image of another size, an unknown type of
            shape, a number that is none.
    """

    def shapes(file: JsonFile) -> Convert:
        return lambda value, line: _shape(file, value, line)

    file = read_json(path, {("shapes",): shapes})
    if not isinstance(file.value, dict) or not isinstance(file.value.get("shapes"), list):
        raise file.error("this JSON is no labelme file", 1, got=shown(file.value), expected='{"shapes": [...], ...}')
    _check_size(file, frame)
    return ParsedFile(tuple(file.value["shapes"]))


def _check_size(file: JsonFile, frame: SlideFrame) -> None:
    wanted = (frame.size.width_px, frame.size.height_px)
    keys = ("imageWidth", "imageHeight")
    line = next((file.lines[(key,)] for key in keys if (key,) in file.lines), 1)
    missing = [key for key in keys if file.value.get(key) is None]
    if missing:
        raise file.error("the file does not say how large its image is", line, got=f"no {' and no '.join(missing)}",
                         expected="imageWidth and imageHeight", fix="save it again with a newer labelme")  # fmt: skip
    width, height = (file.number(file.value[key], key, file.lines[(key,)], least=1) for key in keys)
    if width == wanted[0] and height == wanted[1]:
        return
    factor = wanted[0] / width
    fix = "check that the file belongs to this slide"
    if factor > 1 + _SAME_SCALE and math.isclose(wanted[1] / height, factor, rel_tol=_SAME_SCALE):
        fix = f"it was drawn on the slide reduced {factor:.3g} times: scale the points and the size to level 0"
    raise file.error("the shapes were drawn on an image of another size", line, got=f"{width:g} x {height:g} px",
                     expected=f"{wanted[0]} x {wanted[1]} px, the slide's level 0", fix=fix)  # fmt: skip


def _shape(file: JsonFile, value: Any, line: int) -> Shape:
    if not isinstance(value, dict):
        raise file.error("a shape is no object", line, got=shown(value), expected='{"label": ..., "points": ...}')
    kind = file.text(value.get("shape_type"), "shape_type", line) or "polygon"
    group = file.text(value.get("label"), "label", line)
    name = file.text(value.get("description"), "description", line)
    if kind in _NO_AREA:
        return Shape(kind, group, (), line, name, no_area=_NO_AREA[kind])
    if kind not in _AREAS:
        known = ", ".join((*_AREAS, *_NO_AREA))
        raise file.error("an unknown type of shape", line, got=repr(kind[:40]), expected=known)
    points = file.points(value.get("points"), "points", line)
    if kind == "mask":
        polygons = _mask(file, value, points, line)
        return Shape(kind, group, polygons, line, name, no_area="" if polygons else "empty_geometries")
    marks = (Mark("circles"),) if kind == "circle" else ()
    return Shape(kind, group, ((_ring(file, kind, points, line),),), line, name, marks=marks)


def _ring(file: JsonFile, kind: str, points: Floats, line: int) -> Floats:
    if kind == "polygon" or (kind == "rectangle" and len(points) == _CORNERS):
        return points
    if len(points) != 2:
        wanted = "two opposite corners" if kind == "rectangle" else "its centre and a point on it"
        raise file.error(f"a {kind} has {wanted}", line, got=f"{len(points)} points", expected="2 points")
    (x0, y0), (x1, y1) = points.tolist()
    if kind == "rectangle":
        return box_ring(x0, y0, x1, y1)
    radius = math.hypot(x1 - x0, y1 - y0)
    ring = ellipse_ring(x0, y0, radius, radius)
    file.take(len(ring), line)
    return ring


def _mask(file: JsonFile, value: dict[str, Any], points: Floats, line: int) -> tuple[Polygon, ...]:
    """Outlines of a mask, which covers the pixels from its first point to its second, both included."""
    if len(points) != 2 or (points != np.floor(points)).any() or (points[1] < points[0]).any():
        raise file.error("a mask lies between two whole pixels", line, got=shown(points.tolist()), expected="2 points")
    (x0, y0), (x1, y1) = points.astype(np.int64).tolist()
    wanted = (x1 - x0 + 1, y1 - y0 + 1)
    picture = _picture(file, file.text(value.get("mask"), "mask", line), wanted, line)
    polygons = mask_polygons(picture, x0, y0)
    file.take(sum(len(ring) for rings in polygons for ring in rings), line)
    return polygons


def _picture(file: JsonFile, text: str, size: tuple[int, int], line: int) -> npt.NDArray[np.bool_]:
    """The PNG of a mask; its size is compared before it is decoded."""
    import imagecodecs

    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise file.error("a mask is no base64", line, got=shown(text), expected="a PNG as base64") from error
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < _PNG_HEAD:
        raise file.error("a mask is no PNG", line, got=repr(data[:8]), expected="a PNG as base64")
    found = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if found != size or size[0] * size[1] > MAX_MASK_PX:
        most = f"{size[0]} x {size[1]} px, as its points say, and at most {MAX_MASK_PX} pixels"
        raise file.error("a mask of another size", line, got=f"{found[0]} x {found[1]} px", expected=most)
    try:
        check_png(data)
        picture = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError) as error:
        raise file.error("a mask that cannot be decoded", line, got=str(error)[:80], expected="a whole PNG") from error
    if picture.shape != (size[1], size[0]):
        raise file.error("a mask has one channel", line, got=f"an array of {picture.shape}", expected="a grey PNG")
    mask: npt.NDArray[np.bool_] = picture > 0
    return mask
