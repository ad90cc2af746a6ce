"""Digital Slide Archive: documents, elements, rotation, groups."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import shapely

from wsiprep.annotations.dsa import parse_dsa
from wsiprep.annotations.regions import SlideFrame
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, Size

FRAME = SlideFrame(Size(200, 100), None, "slide.svs")
SQUARE = [[2, 2, 0], [8, 2, 0], [8, 8, 0], [2, 8, 0]]
HOLE = [[4, 4, 0], [6, 4, 0], [6, 6, 0]]


def polyline(points=SQUARE, **more):
    return {"type": "polyline", "points": points, "closed": True} | more


def rectangle(kind="rectangle", **more):
    return {"type": kind, "center": [50, 40, 0], "width": 20, "height": 10, "rotation": 0} | more


@pytest.fixture
def parse(tmp_path):
    def run(content, frame=FRAME):
        path = tmp_path / "a.anot"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return parse_dsa(path, frame)

    return run


def one(found):
    (shape,) = found.shapes
    return shape


def area_of(found) -> shapely.Polygon:
    ((shell, *holes),) = one(found).polygons
    return shapely.Polygon(shell, holes)


@pytest.mark.parametrize("layout", ["bare", "server", "list", "list of server's"])
def test_all_layouts_give_the_same_shape(parse, layout):
    inner = {"name": "reading 1", "elements": [polyline(holes=[HOLE], label={"value": "Tumor"})]}
    outer = {
        "_id": "x",
        "creatorId": "5f0",
        "created": "2024-01-01",
        "updated": "2024-05-01T10:00",
        "annotation": inner,
    }
    content = {"bare": inner, "server": outer, "list": [inner], "list of server's": [outer]}[layout]
    found = parse(content)
    assert area_of(found).equals(shapely.box(2, 2, 8, 8).difference(shapely.Polygon([p[:2] for p in HOLE])))
    shape = one(found)
    assert (shape.kind, shape.group, shape.name) == ("polyline", "Tumor", "reading 1")
    assert (shape.author, shape.date) == (("5f0", "2024-05-01T10:00") if "server" in layout else ("", ""))
    lines = json.dumps(content, indent=1).splitlines()
    assert lines[shape.line].strip() == '"type": "polyline",'


def test_several_documents_keep_their_order_and_names(parse):
    found = parse([{"name": name, "elements": [polyline()] * count} for name, count in (("a", 2), ("b", 0), ("c", 1))])
    assert [shape.name for shape in found.shapes] == ["a", "a", "c"]


@pytest.mark.parametrize(
    ("more", "group", "ancestors"),
    [
        ({"label": {"value": "Tumor"}, "group": "default"}, "Tumor", ("default",)),
        ({"label": {"value": "Tumor"}, "group": "Tumor"}, "Tumor", ()),
        ({"label": {"value": ""}, "group": "Stroma"}, "Stroma", ()),
        ({"group": "Stroma"}, "Stroma", ()),
        ({"label": {}}, "reading 1", ()),
        ({}, "reading 1", ()),
    ],
)
def test_the_group_is_the_label_then_the_group_then_the_name(parse, more, group, ancestors):
    shape = one(parse({"name": "reading 1", "elements": [polyline(**more)]}))
    assert (shape.group, shape.ancestors) == (group, ancestors)


def test_open_lines_have_no_area(parse):
    open_line = polyline()
    del open_line["closed"]
    found = parse({"elements": [open_line, polyline(closed=False)]})
    assert [(shape.no_area, shape.polygons) for shape in found.shapes] == [("lines", ())] * 2


@pytest.mark.parametrize(
    ("kind", "counter"),
    [("point", "dots"), ("arrow", "arrows"), ("heatmap", "overlays"), ("griddata", "overlays"), ("image", "overlays")],
)
def test_other_elements_without_an_area(parse, kind, counter):
    assert one(parse({"elements": [{"type": kind}]})).no_area == counter


def test_rectangles_have_a_centre_and_whole_sides(parse):
    for element in (rectangle(), rectangle(normal=[0, 0, 1.0])):
        assert area_of(parse({"elements": [element]})).equals(shapely.box(40, 35, 60, 45))
    without = rectangle()
    del without["rotation"]
    assert area_of(parse({"elements": [without]})).equals(shapely.box(40, 35, 60, 45))


def test_rotation_is_in_radians_and_turns_x_towards_y(parse):
    """A quarter turn swaps the sides; a small one moves the right end down, which is a larger y."""
    assert area_of(parse({"elements": [rectangle(rotation=math.pi / 2)]})).equals(shapely.box(45, 30, 55, 50))
    ((ring,),) = one(parse({"elements": [rectangle(rotation=0.5)]})).polygons
    right = ring[ring[:, 0] > 50].mean(axis=0)
    wanted = [50 + 10 * math.cos(0.5), 40 + 10 * math.sin(0.5)]
    assert np.abs(right - wanted).max() < 1 / 64
    assert (ring * 64 == np.round(ring * 64)).all()


@pytest.mark.parametrize("rotation", [0, 0.7])
def test_circles_and_ellipses(parse, rotation):
    circle = {"type": "circle", "center": [50, 40, 0], "radius": 6}
    found = parse({"elements": [circle]})
    assert area_of(found).area == pytest.approx(math.pi * 36, rel=0.01)
    assert [mark.counter for mark in one(found).marks] == ["circles"]
    ring = np.array(area_of(parse({"elements": [rectangle("ellipse", rotation=rotation)]})).exterior.coords) - [50, 40]
    along = ring @ [math.cos(rotation), math.sin(rotation)]
    across = ring @ [-math.sin(rotation), math.cos(rotation)]
    assert np.abs(np.hypot(along / 10, across / 5) - 1).max() < 0.01


def test_the_scanned_bounds_do_not_move_it(parse):
    frame = SlideFrame(FRAME.size, None, "s.mrxs", bounds=Box(10, 10, 50, 50))
    content = {"elements": [polyline()]}
    assert (one(parse(content, frame)).polygons[0][0] == one(parse(content)).polygons[0][0]).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (3, "no annotation of the Digital Slide Archive"),
        ({"name": "x"}, "no annotation of the Digital Slide Archive"),
        ({"annotation": 3}, "no annotation of the Digital Slide Archive"),
        ([{"elements": []}, 3], "no annotation of the Digital Slide Archive"),
        ({"elements": [3]}, "an element is no object"),
        ({"elements": [{"type": "pixelmap"}]}, "unknown type of element"),
        ({"elements": [{"type": "blob"}]}, "unknown type of element"),
        ({"elements": [{"type": ["point"]}]}, "unknown type of element"),
        ({"elements": [polyline([[1, 2, 3]])]}, "third coordinate"),
        ({"elements": [polyline(None)]}, "points is no array"),
        ({"elements": [polyline(holes=3)]}, "holes is no array"),
        ({"elements": [polyline(holes=[3])]}, "holes is no array"),
        ({"elements": [polyline(label=3)]}, "label is no object"),
        ({"elements": [polyline(label={"value": 3})]}, "label.value is no text"),
        ({"elements": [polyline(group=3)]}, "group is no text"),
        ({"elements": [rectangle(width=-1)]}, "width is no number"),
        ({"elements": [rectangle(height="5")]}, "height is no number"),
        ({"elements": [rectangle(rotation=None)]}, "rotation is no number"),
        ({"elements": [rectangle(center=None)]}, "pair of numbers"),
        ({"elements": [rectangle(center=[1])]}, "two coordinates"),
        ({"elements": [rectangle(normal=[0, 0, -1])]}, "does not lie in the plane"),
        ({"elements": [rectangle(normal=[1, 0, 0])]}, "does not lie in the plane"),
        ({"elements": [rectangle(normal="z")]}, "does not lie in the plane"),
        ({"elements": [{"type": "circle", "center": [1, 2, 0]}]}, "radius is no number"),
        ({"name": 3, "elements": []}, "name is no text"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(parse, content, match):
    with pytest.raises(AnnotationError, match=match) as caught:
        parse(content)
    assert caught.value.line is not None
