"""Damaged JSON annotations end in regions or in an AnnotationError, quickly and without much memory."""

from __future__ import annotations

import base64
import json
import random
import resource
import time

import cv2
import numpy as np
import pytest
import shapely

from wsiprep.annotations import AnnotationSet, Region, write_regions
from wsiprep.annotations.reading import FORMATS
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.resolve import resolve
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, Size

FRAME = SlideFrame(Size(300, 200), None, "slide.png", bounds=Box(10, 20, 200, 150))
GROUPS = {"Tumor": "tumour", "größer": "tumour", "None": "drop", "": "background"}
RECIPE = recipe_from_mapping(
    {"name": "t", "labels": ["tumour"], "downsample": 1, "annotations": {"groups": GROUPS, "unknown_group": "drop"}}
)
SQUARE = [[12.5, 18.25], [112, 18], [110.5, 120], [12, 118]]
CLOSED = [*SQUARE, SQUARE[0]]
HOLE = [[20, 30], [40, 30], [40, 60], [20, 30]]
PNG = base64.b64encode(cv2.imencode(".png", np.eye(5, dtype=np.uint8))[1].tobytes()).decode()


def feature(geometry, **properties):
    about = {"objectType": "annotation"} | properties
    return {"type": "Feature", "id": "7d1f", "geometry": geometry, "properties": about}


def seeds() -> dict[str, bytes]:
    area = {"type": "Polygon", "coordinates": [CLOSED, HOLE]}
    parts = {"type": "MultiPolygon", "coordinates": [[CLOSED, HOLE], [HOLE]]}
    geojson = {
        "type": "FeatureCollection",
        "features": [
            feature(area, classification={"name": "Tumor", "color": [200, 0, 0]}, name="a", metadata={"author": "x"}),
            feature(parts, classification={"names": ["Tumor", "Positive"]}, measurements={"Area": 3e2}, isLocked=True),
            feature({"type": "GeometryCollection", "geometries": [area, {"type": "Point", "coordinates": [1, 2]}]}),
            feature(area | {"isEllipse": True, "plane": {"c": -1, "z": 0, "t": 0}}, childObjects=[feature(area)]),
        ],
    }
    shapes = [
        {"label": "Tumor", "points": SQUARE, "group_id": None, "shape_type": "polygon", "flags": {}},
        {"label": "größer", "points": SQUARE[:2], "shape_type": "rectangle", "description": "d\\n"},
        {"label": "Tumor", "points": SQUARE[1:3], "shape_type": "circle"},
        {"label": "Tumor", "points": [[3, 4], [7, 8]], "shape_type": "mask", "mask": PNG},
        {"label": "None", "points": SQUARE[:1], "shape_type": "point"},
    ]
    labelme = {"version": "5", "shapes": shapes, "imageData": "A" * 99, "imageHeight": 200, "imageWidth": 300}
    flat = [number for point in SQUARE for number in point]
    coco = {
        "images": [{"id": 1, "file_name": "a/slide.png", "width": 300, "height": 200}, {"id": 2, "file_name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [flat, flat[:6]], "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 2, 30.5, 4], "iscrowd": 0},
            {"id": 3, "image_id": 1, "category_id": 1,
             "segmentation": {"size": [200, 300], "counts": [205, 30, 170, 31, 59564]}, "iscrowd": 1},
            {"id": 4, "image_id": 1, "category_id": 1, "segmentation": {"size": [200, 300], "counts": "]6n0Z51RPj1"}},
            {"id": 5, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "Tumor", "supercategory": "x"}, {"id": 2, "name": "None"}],
    }  # fmt: skip
    elements = [
        {"type": "polyline", "closed": True, "points": [[x, y, 0] for x, y in SQUARE], "label": {"value": "Tumor"},
         "holes": [[[x, y, 0] for x, y in HOLE]], "lineColor": "rgb(0,0,0)"},
        {"type": "rectangle", "center": [50, 40, 0], "width": 20.5, "height": 10, "rotation": 0.3, "group": "Tumor"},
        {"type": "ellipse", "center": [50, 40, 0], "width": 20, "height": 10, "rotation": 0, "normal": [0, 0, 1]},
        {"type": "circle", "center": [50, 40, 0], "radius": 7, "label": {"value": "größer"}},
        {"type": "point", "center": [50, 40, 0], "group": "None"},
    ]  # fmt: skip
    dsa = [{"annotation": {"name": "Tumor", "elements": elements}, "created": "2024-01-01"}]
    found = {"geojson": geojson, "labelme": labelme, "coco": coco, "dsa": dsa}
    texts = {name: json.dumps(tree, ensure_ascii=False, indent=1).encode() for name, tree in found.items()}
    area_of_ours = shapely.box(3, 4, 50, 60).difference(shapely.box(5, 6, 20, 30))
    region = Region("tumour", area_of_ours, "Tumor", "a", "Spline", 3, "x", "y")
    return texts | {"own": write_regions(AnnotationSet((region, region)), ["tumour"])}


SEEDS = seeds()
PIECES = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\x00", b"\xff", b"\\u0000", b"\\ud800", b"\n", b"null"),
    *(b"true", b"NaN", b"1e400", b"-", b"9" * 400, b"9" * 5000, b"[" * 2000, b'{"a":' * 70, b"1," * 3000, b'""'),
    *(b"1e7", b"-1e7", b"[[]]", b"[1,2],[3,4]", b'"12,5"', b"0x1", b"// x\n"),
)
NUMBERS = (
    *(b"0", b"-1", b"1e7", b"9999999", b"-0.0", b"1e-300", b"1e308", b"NaN", b"null", b'"1"'),
    *(b"3.5", b"17", b"99.75", b"41.125", b"200", b"300"),
)


def mutated(rng: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        if not data:
            break
        place = rng.randrange(len(data))
        kind = rng.randrange(12)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[place : place + rng.randrange(1, 60)]
        elif kind == 3:
            data[place:place] = rng.choice(PIECES)
        elif kind == 4:
            other = rng.randrange(len(data))
            data[place:place] = data[other : other + rng.randrange(1, 200)]
        elif kind == 5:
            del data[max(1, place) :]
        else:
            # A number becomes another one: most of these files stay JSON.
            start = next((k for k in range(place, len(data)) if chr(data[k]).isdigit()), None)
            if start is not None:
                end = next((k for k in range(start, len(data)) if data[k] not in b"0123456789.eE+-"), len(data))
                data[start:end] = rng.choice(NUMBERS)
    return bytes(data)


def most_memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(folder, name: str, count: int, seed: int) -> dict[str, int]:
    """How often each end was reached."""
    rng = random.Random(seed)
    path = folder / "slide.json"
    reader = FORMATS["geojson" if name == "own" else name].parse
    ends = {"read": 0, "refused": 0}
    before = most_memory_kib()
    for _ in range(count):
        path.write_bytes(mutated(rng, SEEDS[name]))
        start = time.process_time()
        found: AnnotationSet | AnnotationError
        try:
            found = resolve(reader(path, FRAME), path, RECIPE, FRAME)
        except AnnotationError as error:
            found = error
        assert time.process_time() - start < 2
        if isinstance(found, AnnotationSet):
            # What was read can be written: no name or number slipped through that a file cannot hold.
            write_regions(found, RECIPE.labels)
            ends["read"] += 1
        else:
            assert (found.file, found.line is None) == (str(path), False)
            ends["refused"] += 1
    assert most_memory_kib() - before < 500_000
    return ends


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_themselves_are_read(tmp_path, name):
    path = tmp_path / "slide.json"
    path.write_bytes(SEEDS[name])
    reader = FORMATS["geojson" if name == "own" else name].parse
    found = resolve(reader(path, FRAME), path, RECIPE, FRAME)
    assert len(found.regions) >= 2
    assert "dropped_degenerate" not in found.counts


@pytest.mark.parametrize("name", SEEDS)
def test_mutations_end_in_regions_or_annotation_errors(tmp_path, name):
    ends = run(tmp_path, name, 100, seed=1)
    assert min(ends.values()) > 5


@pytest.mark.long
@pytest.mark.parametrize("name", SEEDS)
def test_many_mutations_end_in_regions_or_annotation_errors(tmp_path, name):
    ends = run(tmp_path, name, 2000, seed=2)
    assert min(ends.values()) > 150
