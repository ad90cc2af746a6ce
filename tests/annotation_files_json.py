"""Pictures in the JSON formats; see annotation_files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

Ring = Sequence[tuple[object, object]]
SIZE_PX = (256, 192)


def points(ring: Ring, tail: str = "") -> str:
    """[[x, y], ...] as text; a coordinate that is text stands there as it is."""
    return "[" + ", ".join(f"[{x}, {y}{tail}]" for x, y in ring) + "]"


def closed(ring: Ring) -> Ring:
    return [*ring, ring[0]]


def rows(items: Iterable[str]) -> str:
    return ",\n".join(items)


def feature(polygons: Sequence[Sequence[Ring]], group: str | None, **properties: object) -> str:
    """A feature as QuPath writes it, on one line."""
    parts = ["[" + ", ".join(points(closed(ring)) for ring in rings) + "]" for rings in polygons]
    kind, coordinates = ("Polygon", parts[0]) if len(parts) == 1 else ("MultiPolygon", f"[{', '.join(parts)}]")
    about = {"objectType": "annotation"} | ({"classification": {"name": group, "color": [200, 0, 0]}} if group else {})
    return (
        f'{{"type": "Feature", "id": "e0f8d3a4", "geometry": {{"type": "{kind}", "coordinates": {coordinates}}}, '
        f'"properties": {json.dumps(about | properties)}}}'
    )


def collection(features: Iterable[str]) -> str:
    return f'{{"type": "FeatureCollection", "features": [\n{rows(features)}\n]}}\n'


def write_geojson(picture) -> str:
    return collection(feature(outline.polygons, outline.group) for outline in picture)


def write_labelme(picture, hole: str) -> str:
    """A polygon for each shell, grouped where they are parts of one, and one for each hole."""
    shapes = []
    for number, outline in enumerate(picture):
        for shell, *holes in outline.polygons:
            for label, ring in [(outline.group, shell), *((hole, ring) for ring in holes)]:
                shapes.append(
                    f'{{"label": {json.dumps(label)}, "points": {points(ring)}, "group_id": {number}, '
                    '"description": "", "shape_type": "polygon", "flags": {}, "mask": null}'
                )
    return (
        f'{{"version": "5.5.0", "flags": {{}}, "shapes": [\n{rows(shapes)}\n],\n"imagePath": "slide.png", '
        f'"imageData": null, "imageHeight": {SIZE_PX[1]}, "imageWidth": {SIZE_PX[0]}}}\n'
    )


def write_coco(picture, hole: str, file_name: str) -> str:
    """An annotation for each outline, its shells as parts, and one for each hole."""
    found: list[tuple[str, list[Ring]]] = []
    for outline in picture:
        found.append((outline.group, [shell for shell, *_ in outline.polygons]))
        found += [(hole, [ring]) for _, *holes in outline.polygons for ring in holes]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(group for group, _ in found), start=1)}
    categories = [f'{{"id": {number}, "name": {json.dumps(group)}}}' for group, number in numbers.items()]
    annotations = []
    for number, (group, parts) in enumerate(found, start=1):
        flat = ["[" + ", ".join(f"{x}, {y}" for x, y in ring) + "]" for ring in parts]
        annotations.append(
            f'{{"id": {number}, "image_id": 7, "category_id": {numbers[group]}, "segmentation": [{", ".join(flat)}], '
            '"iscrowd": 0}'
        )
    image = f'{{"id": 7, "file_name": {json.dumps(file_name)}, "width": {SIZE_PX[0]}, "height": {SIZE_PX[1]}}}'
    return (
        f'{{"images": [{image}],\n"annotations": [\n{rows(annotations)}\n],\n"categories": [\n{rows(categories)}\n]}}\n'
    )


def write_dsa(picture) -> str:
    """A closed polyline for each polygon."""
    elements = [
        f'{{"type": "polyline", "closed": true, "points": {points(shell, ", 0")}, '
        f'"holes": [{", ".join(points(ring, ", 0") for ring in holes)}], '
        f'"label": {{"value": {json.dumps(outline.group)}}}, "lineWidth": 2}}'
        for outline in picture
        for shell, *holes in outline.polygons
    ]
    return f'{{"name": "picture", "description": "", "elements": [\n{rows(elements)}\n]}}\n'
