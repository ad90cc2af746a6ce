"""labelme's JSON: shapes, the size of the image, masks pixel by pixel."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import pytest
import shapely

from wsiprep.annotations.labelme import parse_labelme
from wsiprep.annotations.regions import SlideFrame
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

FRAME = SlideFrame(Size(200, 100), None, "slide.png")
TRIANGLE = [[1.5, 2], [8, 2], [8, 9.25]]


def shape(points, kind="polygon", label="Tumor", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


def document(*shapes, width=200, height=100, **more):
    return {"version": "5.5.0", "shapes": list(shapes), "imageWidth": width, "imageHeight": height} | more


@pytest.fixture
def parse(tmp_path):
    def run(content):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return parse_labelme(path, FRAME)

    return run


def ring_of(found):
    ((ring,),) = found.shapes[0].polygons
    return ring


def test_a_polygon_keeps_its_points_label_description_and_line(parse):
    found = parse(document(shape(TRIANGLE, description="a note")))
    assert ring_of(found).tolist() == TRIANGLE
    one = found.shapes[0]
    assert (one.kind, one.group, one.name, one.line) == ("polygon", "Tumor", "a note", 4)


def test_without_a_type_it_is_a_polygon(parse):
    for kind in (None, ""):
        assert ring_of(parse(document(shape(TRIANGLE, kind)))).tolist() == TRIANGLE


@pytest.mark.parametrize(
    "points", [[[2, 3], [8, 9]], [[8, 9], [2, 3]], [[8, 3], [2, 9]], [[2, 3], [8, 3], [8, 9], [2, 9]]]
)
def test_rectangles_have_two_opposite_corners_or_four(parse, points):
    area = shapely.Polygon(ring_of(parse(document(shape(points, "rectangle")))))
    assert area.equals(shapely.box(2, 3, 8, 9))


def test_a_circle_has_a_centre_and_a_point_on_it(parse):
    found = parse(document(shape([[50, 40], [53, 44]], "circle")))
    ring = ring_of(found)
    assert np.abs(np.hypot(*(ring - [50, 40]).T) - 5).max() < 1 / 16
    assert [mark.counter for mark in found.shapes[0].marks] == ["circles"]


@pytest.mark.parametrize(
    ("kind", "counter"), [("point", "dots"), ("points", "point_sets"), ("line", "lines"), ("linestrip", "lines")]
)
def test_points_and_lines_have_no_area(parse, kind, counter):
    (one,) = parse(document(shape([[1, 2]], kind))).shapes
    assert (one.no_area, one.polygons) == (counter, ())


def png(mask) -> str:
    done, data = cv2.imencode(".png", mask)
    assert done
    return base64.b64encode(data.tobytes()).decode()


@pytest.mark.parametrize("set_value", [1, 255])
def test_a_mask_is_taken_pixel_by_pixel(parse, set_value):
    mask = np.random.default_rng(3).random((12, 17)) < 0.5
    points = [[20, 30], [36, 41]]
    found = parse(document(shape(points, "mask", mask=png(mask.astype(np.uint8) * set_value))))
    polygons = [shapely.Polygon(shell, holes) for shell, *holes in found.shapes[0].polygons]
    assert all(polygon.is_valid for polygon in polygons)
    y, x = np.mgrid[:100, :200]
    drawn = shapely.contains_xy(shapely.union_all(polygons), x + 0.5, y + 0.5)
    assert (drawn[30:42, 20:37] == mask).all()
    assert drawn.sum() == mask.sum() == sum(polygon.area for polygon in polygons)


def test_an_empty_mask_has_no_area(parse):
    mask = png(np.zeros((2, 2), np.uint8))
    assert parse(document(shape([[0, 0], [1, 1]], "mask", mask=mask))).shapes[0].no_area == "empty_geometries"


@pytest.mark.parametrize(
    ("points", "mask", "match"),
    [
        ([[0, 0], [1, 1]], "####", "no base64"),
        ([[0, 0], [1, 1]], None, "no PNG"),
        ([[0, 0], [1, 1]], base64.b64encode(b"GIF89a" * 9).decode(), "no PNG"),
        ([[0, 0], [2, 1]], png(np.ones((2, 2), np.uint8)), "another size"),
        ([[0, 0], [9999, 9999]], png(np.ones((2, 2), np.uint8)), "another size"),
        ([[0, 0], [1, 1]], png(np.ones((2, 2), np.uint8))[:40], "cannot be decoded"),
        ([[0, 0], [1, 1]], png(np.ones((2, 2, 3), np.uint8)), "one channel"),
        ([[0, 0.5], [1, 1]], png(np.ones((2, 2), np.uint8)), "whole pixels"),
        ([[1, 1], [0, 0]], png(np.ones((2, 2), np.uint8)), "whole pixels"),
        ([[0, 0]], png(np.ones((2, 2), np.uint8)), "whole pixels"),
    ],
)
def test_bad_masks_are_refused(parse, points, mask, match):
    with pytest.raises(AnnotationError, match=match) as caught:
        parse(document(shape(TRIANGLE), shape(points, "mask", mask=mask)))
    assert caught.value.line > 4


@pytest.mark.parametrize(
    ("points", "kind", "match"),
    [
        (TRIANGLE, "rectangle", "two opposite corners"),
        (TRIANGLE, "circle", "centre and a point"),
        (TRIANGLE, "cuboid", "unknown type of shape"),
        (None, "polygon", "points is no array"),
        ([1, 2], "polygon", "pair of numbers"),
        (TRIANGLE, 3, "shape_type is no text"),
    ],
)
def test_bad_shapes_are_refused(parse, points, kind, match):
    with pytest.raises(AnnotationError, match=match) as caught:
        parse(document(shape(points, kind)))
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("width", "height", "hint"),
    [
        (100, 50, "reduced 2 times"),
        (50, 25, "reduced 4 times"),
        (100, 100, "belongs"),
        (201, 100, "belongs"),
        (400, 200, "belongs"),
    ],
)
def test_an_image_of_another_size_is_refused(parse, width, height, hint):
    with pytest.raises(AnnotationError, match="another size") as caught:
        parse(document(shape(TRIANGLE), width=width, height=height))
    assert hint in caught.value.fix
    assert caught.value.got == f"{width} x {height} px"
    assert caught.value.line > 4


def test_a_file_that_does_not_say_its_size_is_refused(parse):
    for missing in ("imageWidth", "imageHeight"):
        content = document(shape(TRIANGLE))
        del content[missing]
        with pytest.raises(AnnotationError, match="does not say how large"):
            parse(content)
    with pytest.raises(AnnotationError, match="no number"):
        parse(document(shape(TRIANGLE), width="200"))


@pytest.mark.parametrize("content", [[], 3, {"imageWidth": 3}, {"shapes": {}}])
def test_what_is_no_labelme_file_is_refused(parse, content):
    with pytest.raises(AnnotationError, match="no labelme file"):
        parse(content)


def test_a_large_picture_in_the_file_is_not_read(parse):
    assert len(parse(document(shape(TRIANGLE), imageData="A" * 5_000_000)).shapes) == 1
