"""regions.geojson: the resolved regions of one slide, openable in QuPath, exact to the last bit.

A FeatureCollection in level-0 pixels (origin top left, y downwards), one feature a region. The label
is ``properties.classification.name``, as QuPath has it; group, name, kind and line of the source, and
author and date where it names them, stand beside it; labels, counts and notes are in the foreign member
``wsiprep``. Numbers are written with Python's shortest exact form, so reading gives the same float64, and
equal sets give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shapely

from wsiprep.annotations.regions import (
    BACKGROUND_REGION,
    IGNORE_REGION,
    ROI_REGION,
    SPECIAL_LABELS,
    AnnotationSet,
    Area,
    Region,
)
from wsiprep.errors import AnnotationError, UsageError

SCHEMA = 1
_COLOURS = ((200, 0, 0), (0, 120, 220), (0, 160, 80), (230, 150, 0), (150, 60, 200), (0, 170, 170), (160, 110, 60))
_SPECIAL_COLOURS = {BACKGROUND_REGION: (255, 255, 255), IGNORE_REGION: (128, 128, 128), ROI_REGION: (0, 0, 0)}


def write_regions(annotations: AnnotationSet, labels: Sequence[str]) -> bytes:
    """The bytes of ``regions.geojson``: UTF-8, deterministic, one feature a line.

    Args:
        annotations: the regions with their counts and notes.
        labels: of the recipe, in order.

    Raises:
        UsageError: a region's label is neither one of ``labels`` nor background, ignore or roi.
    """
    colours = dict(_SPECIAL_COLOURS)
    colours |= {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    for region in annotations.regions:
        if region.label not in colours:
            raise UsageError("a region of an unknown label", got=region.label, expected=", ".join(colours))
    record = {
        "schema": SCHEMA,
        "labels": list(labels),
        "counts": dict(annotations.counts),
        "notes": list(annotations.notes),
    }
    features = ",\n".join(_compact(_feature(region, colours)) for region in annotations.regions)
    head = f'{{"type":"FeatureCollection","wsiprep":{_compact(record)},"features":['
    return f"{head}\n{features}\n]}}\n".encode()


def read_regions(path: str | Path) -> AnnotationSet:
    """What :func:`write_regions` wrote.

    Raises:
        AnnotationError: missing, damaged, of another schema, or not written by wsiprep.
    """
    path = Path(path)
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise AnnotationError("the slide's regions are missing", got=str(path), fix="survey the slide again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError("the slide's regions are damaged", got=str(error), file=path) from error
    record: Any = tree.get("wsiprep") if isinstance(tree, dict) else None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise AnnotationError(
            "not regions of this version of wsiprep", got=f"schema {schema}", expected=f"schema {SCHEMA}", file=path,
            fix="survey the slide again",
        )  # fmt: skip
    try:
        allowed = (*record["labels"], *SPECIAL_LABELS)
        regions = tuple(_region(feature, allowed) for feature in tree["features"])
        counts = {str(name): int(count) for name, count in record["counts"].items()}
        return AnnotationSet(regions, counts, tuple(str(note) for note in record["notes"]))
    except (LookupError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise AnnotationError(
            "the slide's regions are damaged", got=f"{type(error).__name__}: {error}", file=path,
            fix="survey the slide again",
        ) from error  # fmt: skip


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)


def _feature(region: Region, colours: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    properties = {
        "objectType": "annotation",
        "classification": {"name": region.label, "color": list(colours[region.label])},
        "group": region.group,
        "name": region.name,
        "kind": region.kind,
        "line": region.line,
    }
    properties |= {
        key: value
        for key, value in (("author", region.author), ("date", region.date), ("layer", region.layer))
        if value
    }
    return {"type": "Feature", "geometry": _geometry(region.geometry), "properties": properties}


def _geometry(area: Area) -> dict[str, Any]:
    if isinstance(area, shapely.MultiPolygon):
        return {"type": "MultiPolygon", "coordinates": [_rings(part) for part in area.geoms]}
    return {"type": "Polygon", "coordinates": _rings(area)}


def _rings(polygon: shapely.Polygon) -> list[list[list[float]]]:
    rings = [polygon.exterior, *polygon.interiors]
    return [shapely.get_coordinates(ring).tolist() for ring in rings]


def _region(feature: dict[str, Any], allowed: tuple[str, ...]) -> Region:
    properties = feature["properties"]
    label = properties["classification"]["name"]
    if label not in allowed:
        raise ValueError(f"label {label!r} is none of {', '.join(allowed)}")
    area = _area(feature["geometry"])
    if area.is_empty or not area.is_valid:
        raise ValueError(f"a region is not a valid area ({shapely.is_valid_reason(area)})")
    line = properties["line"]
    return Region(
        label=label,
        geometry=area,
        group=str(properties["group"]),
        name=str(properties["name"]),
        kind=str(properties["kind"]),
        line=None if line is None else int(line),
        author=str(properties.get("author", "")),
        date=str(properties.get("date", "")),
        layer=str(properties.get("layer", "")),
    )


def _area(geometry: dict[str, Any]) -> Area:
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        return shapely.Polygon(coordinates[0], coordinates[1:])
    if geometry["type"] == "MultiPolygon":
        return shapely.MultiPolygon([(rings[0], rings[1:]) for rings in coordinates])
    raise ValueError(f"geometry of type {geometry['type']!r}")
