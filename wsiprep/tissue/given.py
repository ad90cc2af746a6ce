"""Tissue masks that somebody else made: a picture that covers the slide, or GeoJSON polygons."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry
import tifffile

from wsiprep.errors import SlideError, TissueError
from wsiprep.geometry import Size
from wsiprep.guards.lzw import check_codes
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.tissue.mask import BoolPlane, TissueMask, at_centres

_LZW = 5
"""Compression tag of TIFF."""

MAX_PX = 1 << 28
"""Largest picture that is decoded (256 MB a channel)."""
MAX_OWN_PX = 1 << 24
"""Largest picture whose own pixels are kept: sums over it take 8 bytes a pixel."""
_TIFF = {".tif", ".tiff"}
_JSON = {".json", ".geojson"}


def read_given(path: str | Path, size_lv0: Size, downsample: int, *, own_scale: bool = False) -> TissueMask:
    """The tissue mask in ``path`` on the plane at ``downsample``, by the rule of the pixel's centre.

    A PNG or TIFF covers the whole slide at any scale, and what is not 0 is tissue; of a pyramidal TIFF the
    coarsest level that is at least as fine as the plane is read. GeoJSON (a FeatureCollection, Feature or
    geometry, Polygon or MultiPolygon) is in level-0 pixels, pixel corners.

    Args:
        path: of the mask.
        size_lv0: of the slide's level 0.
        downsample: of the plane.
        own_scale: keep a finer picture's own pixels, so that shares of tissue are what the picture says, where each
            of its pixels is a whole number of level-0 pixels a side, and there are at most ``MAX_OWN_PX``.

    Raises:
        TissueError: unreadable, of another aspect than the slide, too large, or without polygons.
    """
    place = Path(path)
    if size_lv0.area_px == 0:
        raise TissueError("the slide has no pixels", got=size_lv0, file=place)
    plane = size_lv0.reduced(downsample)
    suffix = place.suffix.lower()
    if suffix in _JSON:
        mask = fill(_polygons(place), plane, downsample)
    else:
        picture = _read_tiff(place, plane) if suffix in _TIFF else _read_picture(place)
        scale_x, scale_y = _scales(picture.shape[1], picture.shape[0], size_lv0, place)
        if own_scale and scale_x == scale_y == int(scale_x) < downsample and picture.size <= MAX_OWN_PX:
            downsample, mask = int(scale_x), picture
        else:
            mask = at_centres(picture, size_lv0, downsample, scale_x, scale_y)
    return TissueMask.of(mask, downsample, "given", {"share": float(mask.mean())})


def _read_picture(path: Path) -> BoolPlane:
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error) as error:
        raise TissueError("the given tissue mask cannot be read", got=error, file=path) from error
    if picture is None:
        raise TissueError("the given tissue mask is not a picture", expected="PNG, TIFF or GeoJSON", file=path)
    return _not_zero(picture)


def _read_tiff(path: Path, plane: Size) -> BoolPlane:
    try:
        with path.open("rb") as stream:
            check_chain(stream, path)
        with tifffile.TiffFile(path) as tiff:
            level = _level_for(tiff, plane, path)
            _check_lzw(tiff, level)
            picture = level.asarray()
    except SlideError as error:
        raise TissueError("the given tissue mask is damaged", got=error.message, file=path) from error
    except (OSError, tifffile.TiffFileError, ValueError, RuntimeError) as error:
        raise TissueError("the given tissue mask cannot be read", got=error, file=path) from error
    if picture.ndim not in (2, 3):
        raise TissueError("the given tissue mask is not a plane", got=picture.shape, file=path)
    return _not_zero(picture)


def _check_lzw(tiff: Any, level: Any) -> None:
    """Refuse LZW tiles with undefined codes, which the decoder does not survive.

    Raises:
        ValueError: where and why.
    """
    for page in level.pages:
        if page is None or int(page.compression) != _LZW:
            continue
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if count:
                tiff.filehandle.seek(offset)
                check_codes(tiff.filehandle.read(count))


def _level_for(tiff: Any, plane: Size, path: Path) -> Any:
    """The coarsest level that is as fine as the plane, else the finest; never above ``MAX_PX``."""
    if not tiff.series:
        raise TissueError("the given tissue mask holds no picture", file=path)
    levels = list(tiff.series[0].levels)
    chosen = levels[0]
    for level in levels:
        if level.shape[0] >= plane.height_px and level.shape[1] >= plane.width_px:
            chosen = level
    if chosen.shape[0] * chosen.shape[1] > MAX_PX:
        raise TissueError(
            "the given tissue mask is too large to be decoded at once",
            got=f"{chosen.shape[1]} x {chosen.shape[0]}",
            expected=f"at most {MAX_PX} pixels, or a pyramid",
            fix="save it smaller: about 16 um/px are enough",
            file=path,
        )
    return chosen


def _not_zero(picture: npt.NDArray[Any]) -> BoolPlane:
    """Any colour channel above 0; an alpha channel (the 2nd of 2, the 4th of 4) does not count."""
    planes = picture.reshape(*picture.shape[:2], -1)
    colours = planes.shape[2] - 1 if planes.shape[2] in (2, 4) else planes.shape[2]
    result: BoolPlane = np.any(planes[..., :colours] != 0, axis=2)
    return result


def _scales(width: int, height: int, size: Size, path: Path) -> tuple[float, float]:
    """Level-0 pixels per pixel of the picture on each axis."""
    factor = round(size.width_px / width)
    if factor >= 1 and Size(width, height) == size.reduced(factor):
        return float(factor), float(factor)
    scale_x, scale_y = size.width_px / width, size.height_px / height
    # One pixel of rounding on the shorter side, and 2 % beside.
    slack = 0.02 + 1.0 / min(width, height)
    if abs(scale_x / scale_y - 1) > slack:
        raise TissueError(
            "the given tissue mask has another aspect than the slide",
            got=f"{width} x {height}",
            expected=f"the aspect of {size.width_px} x {size.height_px}",
            fix="export the mask of the whole slide, not of a part of it",
            file=path,
        )
    return scale_x, scale_y


def _polygons(path: Path) -> list[shapely.Polygon]:
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_number)
    except (OSError, ValueError) as error:
        raise TissueError("the given tissue polygons cannot be read", got=error, file=path) from error
    shapes = [_shape(geometry, path) for geometry in _geometries(document)]
    union = shapely.union_all([shapely.make_valid(shape) for shape in shapes])
    parts = shapely.get_parts(union) if hasattr(union, "geoms") else [union]
    polygons = [part for part in parts if isinstance(part, shapely.Polygon) and not part.is_empty]
    if not polygons and shapes:
        raise TissueError("the given tissue has no area", file=path)
    if not shapes and not _is_collection(document):
        raise TissueError("the file has no polygons", expected="GeoJSON Polygon or MultiPolygon", file=path)
    return polygons


def _no_number(name: str) -> float:
    """JSON has no NaN and no Infinity, though Python reads them."""
    raise ValueError(f"{name} is not a coordinate")


def _is_collection(document: Any) -> bool:
    """A FeatureCollection may be empty: that slide has no tissue."""
    return isinstance(document, dict) and document.get("type") == "FeatureCollection"


def _geometries(document: Any) -> Iterable[Any]:
    if isinstance(document, list):
        items = document
    elif _is_collection(document):
        items = document.get("features") or []
    else:
        items = [document]
    for item in items:
        is_feature = isinstance(item, dict) and item.get("type") == "Feature"
        geometry = item.get("geometry") if is_feature else item
        if isinstance(geometry, dict):
            yield geometry


def _shape(geometry: dict[str, Any], path: Path) -> shapely.Geometry:
    kind = geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise TissueError("tissue is given as polygons", got=kind, expected="Polygon or MultiPolygon", file=path)
    try:
        shape = shapely.geometry.shape(geometry)
    except (ValueError, TypeError, KeyError, IndexError, shapely.errors.ShapelyError) as error:
        raise TissueError("a polygon of the given tissue is malformed", got=error, file=path) from error
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise TissueError("a polygon of the given tissue has a coordinate that is no number", file=path)
    return shape


def fill(polygons: Iterable[shapely.Polygon], plane: Size, downsample: int) -> BoolPlane:
    """Disjoint polygons (level-0 pixels) on the plane: a pixel is in where its centre is.

    Even-odd counting of the edges that cross each row of centres; a centre on an edge belongs to what lies
    to the right of or below the edge.
    """
    crossings = np.zeros((plane.height_px, plane.width_px + 1), dtype=np.int32)
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            _count_crossings(shapely.get_coordinates(ring) / downsample, crossings)
    return (np.cumsum(crossings[:, :-1], axis=1) & 1).astype(np.bool_)


def _count_crossings(ring: npt.NDArray[np.float64], crossings: npt.NDArray[np.int32]) -> None:
    height, width = crossings.shape[0], crossings.shape[1] - 1
    start, end = ring[:-1], ring[1:]
    down = start[:, 1] <= end[:, 1]
    upper, lower = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    # Rows whose centre j + 1/2 lies in [upper y, lower y).
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    count = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(count.size), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    along = (row + 0.5 - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
    x = upper[edge, 0] + along * (lower[edge, 0] - upper[edge, 0])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    np.add.at(crossings, (row, column), 1)
