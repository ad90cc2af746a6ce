"""QuPath's GeoJSON: layouts, classes, objects, bounds; wsiprep's own export comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from annotation_files_json import collection, feature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, Region, read_annotations, write_regions
from wsiprep.annotations.qupath import parse_qupath
from wsiprep.annotations.regions import SlideFrame
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, Size

FRAME = SlideFrame(Size(100, 100), None, "slide.mrxs")
SQUARE = ((2, 2), (8, 2), (8, 8), (2, 8))
HOLE = ((4, 4), (6, 4), (6, 6))


@pytest.fixture
def parse(tmp_path):
    def run(content, frame=FRAME):
        path = tmp_path / "a.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return parse_qupath(path, frame)

    return run


def plain(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [[*map(list, ring), list(ring[0])] for ring in rings]}


def rings_of(shape):
    return [[ring.tolist() for ring in rings] for rings in shape.polygons]


def as_lists(*polygons):
    return [[[list(map(float, point)) for point in ring] for ring in rings] for rings in polygons]


@pytest.mark.parametrize("layout", ["collection", "array", "feature", "collection without a type"])
def test_all_layouts_give_the_same_shapes(parse, layout):
    one = plain(polygon(SQUARE, HOLE), classification={"name": "Tumor"})
    content = {
        "collection": {"type": "FeatureCollection", "features": [one]},
        "array": [one],
        "feature": one,
        "collection without a type": {"features": [one]},
    }[layout]
    (shape,) = parse(content).shapes
    assert rings_of(shape) == as_lists((SQUARE, HOLE))
    assert (shape.group, shape.kind, shape.line) == ("Tumor", "Polygon", 1)


def test_a_bare_geometry_has_no_class(parse):
    (shape,) = parse(polygon(SQUARE)).shapes
    assert (shape.group, rings_of(shape)) == ("", as_lists((SQUARE,)))


def test_multi_polygons_and_collections_keep_parts_and_holes(parse):
    far = tuple((x + 50, y) for x, y in SQUARE)
    parts = [polygon(SQUARE, HOLE)["coordinates"], polygon(far)["coordinates"]]
    multi = {"type": "MultiPolygon", "coordinates": parts}
    point = {"type": "Point", "coordinates": [1, 2]}
    mixed = {"type": "GeometryCollection", "geometries": [polygon(SQUARE, HOLE), point, polygon(far)]}
    found = parse([plain(multi), plain(mixed)])
    for shape in found.shapes:
        assert rings_of(shape) == as_lists((SQUARE, HOLE), (far,))
        assert shape.no_area == ""
    assert found.counts == {"mixed_parts": 1}


@pytest.mark.parametrize(
    ("kind", "counter"),
    [("Point", "dots"), ("MultiPoint", "point_sets"), ("LineString", "lines"), ("MultiLineString", "lines")],
)
def test_what_has_no_area_is_told_apart(parse, kind, counter):
    found = parse([plain({"type": kind, "coordinates": [1, 2]}, classification="Tumor"), plain(None)])
    assert [(s.no_area, s.polygons) for s in found.shapes] == [(counter, ()), ("without_geometry", ())]
    nested = {"type": "GeometryCollection", "geometries": [{"type": kind, "coordinates": [1, 2]}]}
    assert parse([plain(nested)]).shapes[0].no_area == counter


def test_empty_geometries_have_no_area(parse):
    for geometry in ({"type": "Polygon", "coordinates": []}, {"type": "MultiPolygon", "coordinates": []}):
        for value in (geometry, {"type": "GeometryCollection", "geometries": [geometry]}):
            shape = parse([plain(value)]).shapes[0]
            assert (shape.no_area, shape.polygons) == ("empty_geometries", ())


@pytest.mark.parametrize(
    ("classification", "group", "ancestors"),
    [
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor", ()),
        ("Stroma", "Stroma", ()),
        (None, "", ()),
        ({}, "", ()),
        ({"name": "Tumor: Positive"}, "Tumor: Positive", ("Tumor",)),
        ({"names": ["Immune", "CD3", "CD8"]}, "Immune: CD3: CD8", ("Immune: CD3", "Immune")),
        ({"name": "a:b"}, "a:b", ()),
    ],
)
def test_classes(parse, classification, group, ancestors):
    shape = parse([plain(polygon(SQUARE), classification=classification)]).shapes[0]
    assert (shape.group, shape.ancestors) == (group, ancestors)


def test_name_author_and_date(parse):
    about = {"name": "lesion 3", "metadata": {"Author": "A. B.", "date": "2024-05-01", "x": "y"}}
    shape = parse([plain(polygon(SQUARE), **about)]).shapes[0]
    assert (shape.name, shape.author, shape.date) == ("lesion 3", "A. B.", "2024-05-01")


def test_objects_children_nuclei_and_cores(parse):
    cell = plain(polygon(SQUARE), objectType="cell", classification="Tumor") | {"nucleusGeometry": polygon(HOLE)}
    legacy = {"type": "Feature", "id": "PathDetectionObject", "geometry": polygon(SQUARE), "properties": {}}
    parent = plain(polygon(SQUARE), objectType="annotation", isLocked=True, childObjects=[cell])
    core = plain(polygon(SQUARE), objectType="tmaCore", isMissing=False)
    named = plain(polygon(SQUARE), objectType="tmaCore", classification="Core")
    root = plain(None, objectType="root", childObjects=[legacy])
    found = parse([parent, core, named, root])
    assert [s.group for s in found.shapes] == ["", "Tumor", "Core", ""]
    assert found.counts == {"child_objects": 2, "nuclei": 1, "roots": 1, "tma_cores": 1}
    assert rings_of(found.shapes[1]) == as_lists((SQUARE,))


def test_ellipses_planes_and_open_rings_are_marked(parse):
    ellipse = polygon(SQUARE) | {"isEllipse": True, "plane": {"c": -1, "z": 2, "t": 0}}
    still = polygon(SQUARE) | {"isEllipse": False, "plane": {"c": -1, "z": 0, "t": 0}}
    unclosed = {"type": "Polygon", "coordinates": [list(map(list, SQUARE))]}
    found = parse([plain(ellipse), plain(still), plain(unclosed)])
    assert [[m.counter for m in s.marks] for s in found.shapes] == [["ellipses", "other_planes"], [], ["open_rings"]]
    assert rings_of(found.shapes[2]) == as_lists((SQUARE,))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"shapes": []}, "no GeoJSON"),
        (3, "no GeoJSON"),
        ({"type": "Topology", "arcs": []}, "no GeoJSON"),
        ({"type": "FeatureCollection"}, "array of features"),
        ({"type": "FeatureCollection", "features": {}}, "array of features"),
        ([3], "not a feature"),
        ([polygon(SQUARE)], "not a feature"),
        ([{"type": "feature"}], "not a feature"),
        ([plain({"type": "Circle", "coordinates": [1, 2]})], "unknown geometry"),
        ([plain({"type": ["Polygon"], "coordinates": []})], "unknown geometry"),
        ([plain({"coordinates": []})], "unknown geometry"),
        ([plain({"type": "Polygon"})], "coordinates is no array"),
        ([plain({"type": "Polygon", "coordinates": [[1, 2]]})], "pair of numbers"),
        ([plain({"type": "GeometryCollection", "geometries": [3]})], "geometries is no object"),
        ([plain(polygon(SQUARE), objectType="lesion")], "unknown type of object"),
        ([plain(polygon(SQUARE), objectType=["cell"])], "unknown type of object"),
        ([plain(polygon(SQUARE), name=3)], "properties.name is no text"),
        ([plain(polygon(SQUARE), classification=3)], "classification is no text"),
        ([plain(polygon(SQUARE), classification={"names": 3})], "classification.names is no array"),
        ([plain(polygon(SQUARE), childObjects=3)], "childObjects is no array"),
        ([{"type": "Feature", "geometry": None, "properties": []}], "properties is no object"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(parse, content, match):
    with pytest.raises(AnnotationError, match=match) as caught:
        parse(content)
    assert caught.value.line == 1


def test_points_move_by_the_corner_of_the_scanned_bounds(parse):
    frame = replace(FRAME, bounds=Box(30, 40, 50, 60))
    text = collection([feature([[SQUARE, HOLE]], "Tumor"), feature([[SQUARE]], "Stroma")])
    found = parse(text, frame)
    moved = [[(x + 30, y + 40) for x, y in ring] for ring in (SQUARE, HOLE)]
    assert rings_of(found.shapes[0]) == as_lists(moved)
    assert found.counts == {"shifted_by_bounds": 2}
    assert "(30, 40)" in found.notes[0]
    assert rings_of(found.shapes[0]) != rings_of(parse(text).shapes[0])


@pytest.mark.parametrize("bounds", [None, Box(0, 0, 5, 5)])
def test_nothing_moves_without_bounds_or_with_bounds_at_the_origin(parse, bounds):
    found = parse(collection([feature([[SQUARE]], "Tumor")]), replace(FRAME, bounds=bounds))
    assert rings_of(found.shapes[0]) == as_lists((SQUARE,))
    assert found.counts == {}
    assert found.notes == ()


def test_a_file_that_reaches_over_the_bounds_is_refused(parse):
    text = collection([feature([[SQUARE]], "Tumor"), feature([[[(9, 9), (9, 62), (20, 20)]]], "Tumor")])
    assert len(parse(text, replace(FRAME, bounds=Box(30, 40, 50, 61))).shapes) == 2
    with pytest.raises(AnnotationError, match="beyond the slide's scanned bounds") as caught:
        parse(text, replace(FRAME, bounds=Box(30, 40, 50, 60)))
    assert (caught.value.line, caught.value.got) == (3, "(9, 62)")


# --- wsiprep's own export ------------------------------------------------------------------------

LABELS = ("tumour", "stroma")
RECIPE = recipe_from_mapping(
    {"name": "t", "labels": list(LABELS), "downsample": 1,
     "annotations": {"groups": {"Tumor": "tumour", "Exclusion": "background", "Blur": "ignore"}}}
)  # fmt: skip
numbers = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)
sides = st.floats(1e-3, 1e3)


@st.composite
def areas(draw):
    x, y = draw(numbers), draw(numbers)
    width, height = draw(sides), draw(sides)
    shell = shapely.box(x, y, x + width, y + height)
    if draw(st.booleans()):
        shell = shell.difference(shapely.box(x + width / 4, y + height / 4, x + width / 2, y + height / 2))
    if draw(st.booleans()):
        shell = shapely.MultiPolygon([shell, shapely.box(x + 2 * width, y, x + 3 * width, y + height)])
    return shell


pairs = st.sampled_from(
    [("tumour", "Tumor"), ("tumour", ""), ("stroma", "x"), ("background", "Exclusion"), ("ignore", "Blur")]
)
texts = st.text(max_size=8)
drawings = st.tuples(
    areas().filter(lambda area: area.is_valid and area.area > 0),
    pairs,
    texts,
    st.sampled_from(["Polygon", "Spline"]),
    st.sampled_from([("", ""), ("A. B.", "2024-05-01")]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(drawings, max_size=5))
def test_our_own_export_comes_back_bit_for_bit(tmp_path, drawn):
    regions = tuple(Region(label, area, group, name, kind, 7, *by) for area, (label, group), name, kind, by in drawn)
    path = tmp_path / "regions.geojson"
    path.write_bytes(write_regions(AnnotationSet(regions), LABELS))
    # The slide's bounds do not move it: it is in pixels of the full plane.
    found = read_annotations(path, RECIPE, replace(FRAME, bounds=Box(10, 10, 20, 20)))
    assert [r.label for r in found.regions] == [r.label for r in regions]
    for field in ("name", "kind", "author", "date"):
        assert [getattr(r, field) for r in found.regions] == [getattr(r, field) for r in regions]
    for mine, theirs in zip(found.regions, regions, strict=True):
        assert shapely.equals_identical(mine.geometry, theirs.geometry)
    assert found.counts["own_export"] == 1
    assert not {"repeated_vertices", "repaired_rings", "open_rings", "shifted_by_bounds"} & set(found.counts)


def test_a_label_corrected_in_our_own_export_is_what_counts(tmp_path):
    region = Region("tumour", shapely.box(0, 0, 9, 9), "Tumor", "a", "Spline", 3)
    text = write_regions(AnnotationSet((region,)), LABELS).decode().replace('"name":"tumour"', '"name":"stroma"')
    path = tmp_path / "regions.geojson"
    path.write_text(text, encoding="utf-8")
    assert read_annotations(path, RECIPE, FRAME).regions[0].label == "stroma"


def test_kind_and_group_of_others_are_not_taken_for_ours(parse):
    (shape,) = parse([plain(polygon(SQUARE), classification="Tumor", kind="Spline", group="x", author="y")]).shapes
    assert (shape.kind, shape.ancestors, shape.author) == ("Polygon", (), "")


def test_rings_are_float64(parse):
    (shape,) = parse([plain(polygon(SQUARE))]).shapes
    assert shape.polygons[0][0].dtype == np.float64
