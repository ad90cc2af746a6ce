"""regions.geojson: exact, deterministic, checked on the way in."""

from __future__ import annotations

import json

import pytest
import shapely

from wsiprep.annotations import AnnotationSet, Region, read_regions, write_regions
from wsiprep.errors import AnnotationError, UsageError

RING = shapely.Polygon([(0.1, 0.2), (1e-7, 12711.2998), (-1 / 3, 9e6), (-3.5, -0.0)])
HOLED = shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 4, 4))
ISLANDS = shapely.MultiPolygon([HOLED, shapely.box(20, 20, 25, 25)])
SET = AnnotationSet(
    (
        Region("tumour", RING, "Tumor", "größe \"'<&>\n", "Spline", 12),
        Region("background", HOLED),
        Region("ignore", ISLANDS, author="Dr. Ä", date="2026-11-21"),
        Region("roi", HOLED, date="yesterday"),
    ),
    {"annotations": 4, "dots": 1},
    ("line 3: a note",),
)


def stored(tmp_path, data):
    path = tmp_path / "regions.geojson"
    path.write_bytes(data)
    return path


def test_the_round_trip_is_exact(tmp_path):
    data = write_regions(SET, ("tumour",))
    again = read_regions(stored(tmp_path, data))
    assert again == SET
    for before, after in zip(SET.regions, again.regions, strict=True):
        assert shapely.to_wkb(before.geometry) == shapely.to_wkb(after.geometry)
    assert write_regions(again, ("tumour",)) == data


def test_an_empty_set_is_stored_too(tmp_path):
    empty = AnnotationSet((), {"annotations": 0})
    assert read_regions(stored(tmp_path, write_regions(empty, ("tumour",)))) == empty


def test_it_is_what_qupath_reads():
    tree = json.loads(write_regions(SET, ("tumour",)))
    assert tree["type"] == "FeatureCollection"
    first = tree["features"][0]
    assert first["type"] == "Feature"
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["classification"]["name"] == "tumour"
    assert first["properties"]["line"] == 12
    assert first["geometry"]["coordinates"][0][0] == first["geometry"]["coordinates"][0][-1]
    assert tree["features"][2]["geometry"]["type"] == "MultiPolygon"
    assert tree["wsiprep"]["counts"] == {"annotations": 4, "dots": 1}


def test_unknown_labels_are_refused_on_the_way_out():
    with pytest.raises(UsageError, match="unknown label"):
        write_regions(SET, ("stroma",))


def changed(change):
    tree = json.loads(write_regions(SET, ("tumour",)))
    change(tree)
    return json.dumps(tree).encode()


DAMAGES = {
    "not json": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "foreign": b'{"type":"FeatureCollection","features":[]}',
    "other schema": changed(lambda t: t["wsiprep"].update(schema=99)),
    "no labels": changed(lambda t: t["wsiprep"].pop("labels")),
    "other label": changed(lambda t: t["features"][0]["properties"]["classification"].update(name="gland")),
    "line": changed(lambda t: t["features"][0]["geometry"].update(type="LineString")),
    "bow-tie": changed(
        lambda t: t["features"][0]["geometry"].update(coordinates=[[[0, 0], [8, 8], [8, 0], [0, 8], [0, 0]]])
    ),
    "two points": changed(lambda t: t["features"][0]["geometry"].update(coordinates=[[[0, 0], [8, 8]]])),
    "no ring": changed(lambda t: t["features"][0]["geometry"].update(coordinates=[])),
    "text": changed(lambda t: t["features"][0]["geometry"].update(coordinates=[[["a", "b"]]])),
    "empty": changed(lambda t: t["features"][2]["geometry"].update(coordinates=[])),
    "no features": changed(lambda t: t.pop("features")),
    "count": changed(lambda t: t["wsiprep"].update(counts={"a": "many"})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(tmp_path, damage):
    with pytest.raises(AnnotationError) as caught:
        read_regions(stored(tmp_path, DAMAGES[damage]))
    assert caught.value.file.endswith("regions.geojson")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match="missing"):
        read_regions(tmp_path / "regions.geojson")
