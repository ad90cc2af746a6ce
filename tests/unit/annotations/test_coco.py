"""COCO: which image, categories, parts, boxes, run-length masks against a plain decoding."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsiprep.annotations import outlines
from wsiprep.annotations.coco import parse_coco
from wsiprep.annotations.regions import SlideFrame
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

NAME = "TCGA-A1 [34061, 24725].png"
FRAME = SlideFrame(Size(30, 20), None, NAME)
CATEGORIES = [{"id": 1, "name": "tumour", "supercategory": "tissue"}, {"id": 2, "name": "cell"}]


def image(number=7, name=f"cells/images/{NAME}", **more):
    return {"id": number, "file_name": name, "width": 30, "height": 20} | more


def annotation(number=1, image_id=7, category_id=1, **more):
    return {"id": number, "image_id": image_id, "category_id": category_id} | more


def document(*annotations, images=None, categories=CATEGORIES):
    return {
        "info": {},
        "images": [image()] if images is None else images,
        "annotations": list(annotations),
        "categories": categories,
    }


def parse_in(folder, content, frame=FRAME):
    path = folder / "coco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return parse_coco(path, frame)


@pytest.fixture
def parse(tmp_path):
    return lambda content, frame=FRAME: parse_in(tmp_path, content, frame)


def refusal(parse, content, match) -> AnnotationError:
    with pytest.raises(AnnotationError, match=match) as caught:
        parse(content)
    assert caught.value.line is not None
    return caught.value


def rings_of(found):
    return [[[ring.tolist() for ring in rings] for rings in shape.polygons] for shape in found.shapes]


def test_parts_of_a_polygon_category_and_number(parse):
    parts = [[1, 2, 8.5, 2, 8, 9], [20, 2, 22, 2, 22, 4, 20, 4]]
    found = parse(document(annotation(number=33, segmentation=parts, bbox=[1, 2, 21, 7])))
    assert rings_of(found) == [[[[[1, 2], [8.5, 2], [8, 9]]], [[[20, 2], [22, 2], [22, 4], [20, 4]]]]]
    (one,) = found.shapes
    assert (one.kind, one.group, one.ancestors, one.name, one.line) == ("polygon", "tumour", ("tissue",), "33", 1)
    assert found.counts == {}


@pytest.mark.parametrize("segmentation", [None, []])
def test_a_box_stands_for_a_missing_segmentation_only(parse, segmentation):
    found = parse(document(annotation(segmentation=segmentation, bbox=[3, 4, 10.5, 2], category_id=2)))
    assert found.shapes[0].kind == "bbox"
    assert shapely.Polygon(rings_of(found)[0][0][0]).equals(shapely.box(3, 4, 13.5, 6))
    assert found.shapes[0].ancestors == ()


def test_without_segmentation_and_box_it_has_no_area(parse):
    for more in ({}, {"bbox": []}, {"segmentation": [], "bbox": None}):
        assert parse(document(annotation(**more))).shapes[0].no_area == "without_geometry"


def test_the_order_of_the_sections_does_not_matter(parse):
    content = document(annotation(segmentation=[[1, 2, 8, 2, 8, 9]]))
    assert rings_of(parse(dict(reversed(content.items())))) == rings_of(parse(content))


# --- which image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, f"a/{NAME}", f"C:\\x\\{NAME}", NAME.replace(".png", ".jpg")])
def test_the_image_is_found_by_name_then_without_folder_then_without_suffix(parse, name):
    others = [image(8, "x.png", width=1), image(9, NAME.lower() + "2")]
    found = parse(document(annotation(image_id=7), annotation(2, image_id=8), images=[*others, image(7, name)]))
    assert len(found.shapes) == 1
    assert found.counts == {"other_images": 1}


def test_an_exact_name_wins_over_others(parse):
    images = [image(1, NAME.replace(".png", ".jpg")), image(2, f"a/{NAME}"), image(3, NAME)]
    found = parse(document(*(annotation(k, image_id=k, bbox=[k, 0, 1, 1]) for k in (1, 2, 3)), images=images))
    assert [shape.name for shape in found.shapes] == ["3"]


def test_several_images_or_none_are_refused(parse):
    images = [image(1, f"a/{NAME}"), image(2, f"b/{NAME}"), image(3, "x")]
    error = refusal(parse, document(images=images), "several images")
    assert error.got == f"{images[0]['file_name']!r}, {images[1]['file_name']!r}"
    error = refusal(parse, document(images=[image(k, f"{k}.png") for k in range(9)]), "no image")
    assert "'0.png'" in error.got
    assert error.got.endswith("and 4 more")
    assert error.expected == repr(NAME)


@pytest.mark.parametrize("side", ["width", "height"])
def test_an_image_of_another_size_is_refused(parse, side):
    assert side in refusal(parse, document(images=[image(**{side: 19.5})]), "another size").got
    without = image()
    del without[side]
    assert parse(document(images=[without])).shapes == ()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "no COCO file"),
        ({"images": []}, "no COCO file"),
        ({"images": [], "annotations": {}}, "no COCO file"),
        (document(3), "an annotation is no object"),
        (document(images=[3]), "an image is no object"),
        (document(images=[image(), image()]), "two image entries"),
        (document(categories=[CATEGORIES[0], CATEGORIES[0]]), "two category entries"),
        (document(annotation(image_id=8)), "an image that the file does not have"),
        (document(annotation(image_id=True)), "image_id is no number or text"),
        (document({"image_id": 7}), "category_id is no number or text"),
        (document(annotation(category_id=3)), "a category that the file does not have"),
        (document(annotation(segmentation=[[1, 2, 3]])), "pairs of numbers"),
        (document(annotation(segmentation=[1, 2, 3, 4])), "segmentation is no array"),
        (document(annotation(segmentation="x")), "segmentation is no array"),
        (document(annotation(segmentation=[["1", "2"]])), "no number"),
        (document(annotation(bbox=[1, 2, 3])), "four numbers"),
        (document(annotation(bbox=[1, 2, -3, 4])), "four numbers"),
        (document(annotation(bbox=3)), "bbox is no array"),
        (document(annotation(segmentation={"counts": [600]})), "segmentation.size is no array"),
        (document(annotation(segmentation={"size": [20], "counts": [600]})), "a mask has a size"),
        (document(annotation(segmentation={"size": [20, 0], "counts": [600]})), "a mask has a size"),
        (document(annotation(segmentation={"size": [20, True], "counts": [600]})), "a mask has a size"),
        (document(annotation(segmentation={"size": [20, 30]})), "counts is no array"),
        (document(annotation(segmentation={"size": [20, 30], "counts": [-1, 601]})), "lengths of runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": [1.0, 599]})), "lengths of runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": [1, 598]})), "do not add up"),
        (document(annotation(segmentation={"size": [30, 20], "counts": [0, 600]})), "another size than the slide"),
        (document(annotation(segmentation={"size": [20, 30], "counts": "~~"})), "no compressed runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": "o"})), "no compressed runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": "oooooooo0"})), "no compressed runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": "ü"})), "no compressed runs"),
        (document(annotation(segmentation={"size": [20, 30], "counts": ""})), "do not add up"),
        (document(annotation(segmentation={"size": [20, 30], "counts": "O"})), "do not add up"),
    ],
)
def test_what_is_not_understood_is_refused(parse, content, match):
    refusal(parse, content, match)


# --- run-length masks ----------------------------------------------------------------------------


def runs_of(mask: np.ndarray) -> list[int]:
    """Run by run down the columns, beginning with the zeros."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def compressed(runs: list[int]) -> str:
    """COCO's text, written from its description: five bits a character, lowest first, 32 for "more follows"."""
    text = ""
    for k, run in enumerate(runs):
        rest = run - runs[k - 2] if k > 2 else run
        while True:
            bits = rest & 31
            rest >>= 5
            done = rest == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def drawn(found) -> np.ndarray:
    polygons = [shapely.Polygon(shell, holes) for shape in found.shapes for shell, *holes in shape.polygons]
    assert all(polygon.is_valid for polygon in polygons)
    y, x = np.mgrid[:20, :30]
    inside = shapely.contains_xy(shapely.union_all(polygons), x + 0.5, y + 0.5)
    assert sum(polygon.area for polygon in polygons) == inside.sum()
    return inside


masks = st.one_of(
    st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((20, 30)) < 0.5),
    st.tuples(st.integers(0, 19), st.integers(0, 29), st.integers(1, 20), st.integers(1, 30)).map(
        lambda box: (np.arange(20)[:, None] - box[0] < box[2]) & (np.arange(20)[:, None] >= box[0])
        & (np.arange(30) >= box[1]) & (np.arange(30) - box[1] < box[3])
    ),
    st.booleans().map(lambda value: np.full((20, 30), value)),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks, st.booleans())
def test_a_mask_gives_exactly_its_pixels(tmp_path, mask, as_text):
    runs = runs_of(mask)
    counts = compressed(runs) if as_text else runs
    found = parse_in(tmp_path, document(annotation(segmentation={"size": [20, 30], "counts": counts}, iscrowd=1)))
    if not mask.any():
        assert found.shapes[0].no_area == "empty_geometries"
        return
    assert (drawn(found) == mask).all()
    assert found.shapes[0].kind == "rle"
    assert [mark.counter for mark in found.shapes[0].marks] == ["crowds"]


def test_known_compressed_text(parse):
    """By hand: 20 zeros, 3 ones, 577 zeros: 20 = 0b10100 needs two characters, as its highest bit would be a sign."""
    text = compressed([20, 3, 577])
    assert text == "d0" + "3" + "Qb0"
    wanted = np.zeros((20, 30), bool)
    wanted[0:3, 1] = True
    found = parse(document(annotation(segmentation={"size": [20, 30], "counts": text})))
    assert (drawn(found) == wanted).all()


def test_pieces_that_touch_at_a_corner_and_rings_that_close_at_one(parse):
    mask = np.zeros((20, 30), bool)
    mask[1:3, 1:3] = mask[3:5, 3:5] = True
    mask[10:15, 10:15] = True
    mask[11:14, 11:14] = False
    mask[10, 10] = False
    runs = runs_of(mask)
    found = parse(document(annotation(segmentation={"size": [20, 30], "counts": runs})))
    assert (drawn(found) == mask).all()
    assert len(found.shapes[0].polygons) == 3


def test_a_mask_beyond_the_limit_is_refused(parse, monkeypatch):
    monkeypatch.setattr(outlines, "MAX_MASK_PX", 500)
    content = document(annotation(segmentation={"size": [20, 30], "counts": [0, 600]}))
    assert refusal(parse, content, "too large for an outline").got == "30 x 20 px"
    small = [25, 3, 572]
    assert len(parse(document(annotation(segmentation={"size": [20, 30], "counts": small}))).shapes) == 1
