"""Export to GeoJSON as QuPath reads and writes it: one annotation object a region, its class the group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import shapely

from wsiprep.annotations.regions import BACKGROUND_REGION, IGNORE_REGION, ROI_REGION, AnnotationSet, Region

_COLOURS = ((200, 0, 0), (0, 120, 220), (0, 160, 80), (230, 150, 0), (150, 60, 200), (0, 170, 170), (160, 110, 60))
_OTHERS = {BACKGROUND_REGION: (255, 255, 255), IGNORE_REGION: (128, 128, 128), ROI_REGION: (0, 0, 0)}
_UNKNOWN = (255, 200, 0)


def write_qupath(annotations: AnnotationSet, labels: Sequence[str], origin_lv0: tuple[int, int] = (0, 0)) -> bytes:
    """A FeatureCollection that QuPath opens and that reads back as the same regions under the same recipe.

    The class is the group that the region came from, or its label where it had none, so that the recipe's
    groups mean the same on the way back. Author and date are ``metadata``; the kind of
    shape stands beside it. Coordinates are float64 in their shortest exact form. Not written: the line of
    the old file.

    Args:
        annotations: regions in level-0 pixels.
        labels: of the recipe, in order; they decide the colours.
        origin_lv0: corner of what QuPath shows of the slide (its scanned bounds); it is subtracted. Reading
            adds it again, which is exact for whole, half, quarter ... pixels.

    Returns:
        UTF-8, deterministic, one feature a line.
    """
    colours = _OTHERS | {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    # Our own mark says that points count from the plane's corner; without it readers add the bounds' corner.
    mark = "" if any(origin_lv0) else '"wsiprep":{"export":1},'
    features = [_compact(_feature(region, colours, origin_lv0)) for region in annotations.regions]
    lines = [f'{{"type":"FeatureCollection",{mark}"features":[', ",\n".join(features), "]}", ""]
    return "\n".join(lines).encode()


def _feature(region: Region, colours: dict[str, tuple[int, int, int]], origin_lv0: tuple[int, int]) -> dict[str, Any]:
    area = region.geometry
    if any(origin_lv0):
        area = shapely.transform(area, lambda points: points - origin_lv0)
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "classification": {
            "name": region.group or region.label,
            "color": list(colours.get(region.label, _UNKNOWN)),
        },
        "kind": region.kind,
    }
    if region.name:
        properties["name"] = region.name
    metadata = {key: value for key, value in (("author", region.author), ("date", region.date)) if value}
    if metadata:
        properties["metadata"] = metadata
    parts = [[shapely.get_coordinates(ring).tolist() for ring in (p.exterior, *p.interiors)] for p in _parts(area)]
    several = isinstance(area, shapely.MultiPolygon)
    geometry = {"type": area.geom_type, "coordinates": parts if several else parts[0]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _parts(area: shapely.Geometry) -> list[shapely.Polygon]:
    return list(shapely.get_parts(area))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
