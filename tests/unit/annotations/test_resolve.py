"""From shapes to regions, whatever the format: holes, parts, negative shapes, faults, islands that are lost."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import ParsedFile, Shape, SlideFrame, resolve
from wsiprep.annotations.negatives import cut_negatives
from wsiprep.annotations.repair import repair_area
from wsiprep.annotations.shapes import Mark, box_ring, ellipse_ring
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

FRAME = SlideFrame(Size(100, 100))
OUTER, HOLE, ISLAND = box_ring(10, 10, 90, 90), box_ring(20, 20, 60, 60), box_ring(30, 30, 50, 50)


def polygon(*rings) -> tuple[np.ndarray, ...]:
    return tuple(np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in rings)


def shape(*polygons, group="a", **more) -> Shape:
    return Shape("polygon", group, polygons, more.pop("line", 7), **more)


def settle(*shapes, groups=None, counts=None, notes=(), **rules):
    recipe = recipe_from_mapping(
        {"name": "t", "labels": ["a", "b"], "downsample": 1, "annotations": {"groups": groups or {}, **rules}}
    )
    return resolve(ParsedFile(tuple(shapes), counts or {}, notes), "file.x", recipe, FRAME)


def test_a_valid_polygon_with_holes_keeps_every_point():
    found = settle(shape(polygon(OUTER, HOLE), polygon(ISLAND)))
    area = found.regions[0].geometry
    assert isinstance(area, shapely.MultiPolygon)
    assert shapely.get_coordinates(area.geoms[0].exterior)[:-1].tolist() == OUTER.tolist()
    assert shapely.get_coordinates(area.geoms[0].interiors[0])[:-1].tolist() == HOLE.tolist()
    assert area.area == 80 * 80 - 40 * 40 + 20 * 20
    assert dict(found.counts) == {"annotations": 1}
    assert found.notes == ()


OVERLAPPING = polygon(OUTER, HOLE, box_ring(50, 50, 70, 70))
SHARED_EDGE = polygon(OUTER, HOLE, box_ring(60, 20, 70, 60))
LEAVING = polygon(OUTER, box_ring(0, 40, 30, 50))
OUTSIDE = polygon(OUTER, box_ring(95, 95, 99, 99))
ISLAND_AS_HOLE = polygon(OUTER, HOLE, ISLAND)
BOW = polygon(OUTER, ((20, 20), (40, 40), (40, 20), (20, 40)))


@pytest.mark.parametrize(
    ("rings", "area", "fired"),
    [
        (OVERLAPPING, 6400 - 1600 - 400 + 100, {"repaired_holes": 1}),
        (SHARED_EDGE, 6400 - 1600 - 400, {"repaired_holes": 1}),
        (LEAVING, 6400 - 200, {"repaired_holes": 1}),
        (OUTSIDE, 6400, {"repaired_holes": 1}),
        # Holes are united before they are cut, so a ring in a hole is no island.
        (ISLAND_AS_HOLE, 6400 - 1600, {"repaired_holes": 1}),
        (BOW, 6400 - 200, {"repaired_rings": 1, "repaired_holes": 1}),
        (polygon(OUTER, ((20, 20), (30, 30), (40, 40))), 6400, {"dropped_holes": 1}),
        (polygon(OUTER, ()), 6400, {"dropped_holes": 1}),
    ],
)
def test_holes_that_are_no_plain_holes_are_cut_and_counted(rings, area, fired):
    found = settle(shape(rings, name="x"))
    assert found.regions[0].geometry.area == pytest.approx(area, rel=1e-12)
    assert found.regions[0].geometry.is_valid
    assert {k: v for k, v in found.counts.items() if k not in ("annotations", "repeated_vertices")} == fired
    assert all(note.startswith("line 7: annotation 'x' ") for note in found.notes)
    assert len(found.notes) == len(fired)
    if "dropped_holes" not in fired:
        with pytest.raises(AnnotationError, match="crosses or touches") as caught:
            settle(shape(rings), invalid_rings="error")
        assert (caught.value.file, caught.value.line) == ("file.x", 7)


def test_parts_that_overlap_or_share_an_edge_are_united_and_counted():
    found = settle(shape(polygon(OUTER), polygon(box_ring(80, 80, 95, 95))))
    assert found.regions[0].geometry.area == 6400 + 225 - 100
    assert found.counts["merged_parts"] == 1
    with pytest.raises(AnnotationError, match="crosses or touches"):
        settle(shape(polygon(OUTER), polygon(box_ring(80, 80, 95, 95))), invalid_rings="error")


def test_parts_without_area_are_counted_where_others_are_left():
    flat = polygon(((1, 1), (2, 2), (3, 3)))
    found = settle(shape(flat, polygon(OUTER)))
    assert found.counts["dropped_parts"] == 1
    assert "dropped_degenerate" not in found.counts
    gone = settle(shape(polygon(HOLE, OUTER)), shape(flat), shape())
    assert gone.regions == ()
    assert gone.counts["dropped_degenerate"] == 3
    assert gone.notes[0] == "line 7: an annotation without a name left out, 8 points enclose no area"


@given(st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6), min_size=1, max_size=4),
       st.sampled_from(["even-odd", "non-zero"]))  # fmt: skip
def test_the_area_of_rings_is_the_shell_less_all_holes(rings, rule):
    arrays = polygon(*rings)
    found = repair_area([arrays], rule)
    alone = [repair_area([(ring,)], rule).area or shapely.Polygon() for ring in arrays]
    wanted = shapely.difference(alone[0], shapely.union_all(alone[1:]))
    area = found.area or shapely.Polygon()
    assert area.is_valid
    assert shapely.symmetric_difference(area, wanted).area < 1e-9


def test_groups_go_up_to_the_nearest_mapped_ancestor():
    found = settle(shape(polygon(OUTER), group="x", ancestors=("y", "z", "q")), groups={"z": "b", "q": "a"})
    assert (found.regions[0].label, found.regions[0].group) == ("b", "z")
    with pytest.raises(AnnotationError, match="does not map") as caught:
        settle(shape(polygon(OUTER), group="x", ancestors=("lef", "z")), groups={"left": "b"})
    assert caught.value.got == "'x' (in 'lef', 'z') (did you mean 'left'?)"
    assert "roi" in caught.value.fix


def test_author_and_date_reach_the_region():
    found = settle(shape(polygon(OUTER), author="Dr. B", date="2020-01-02", name="n"))
    assert (found.regions[0].author, found.regions[0].date, found.regions[0].name) == ("Dr. B", "2020-01-02", "n")


def test_faults_and_marks_count_only_where_the_shape_is_used():
    fault = AnnotationError("broken", line=3)
    broken = shape(group="b", fault=fault)
    with pytest.raises(AnnotationError, match="broken"):
        settle(broken)
    assert settle(broken, groups={"b": "drop"}).counts["dropped_groups"] == 1
    marked = shape(polygon(OUTER), group="b", marks=(Mark("splines"), Mark("odd", "is odd")))
    assert "splines" not in settle(marked, groups={"b": "drop"}).counts
    found = settle(marked)
    assert found.counts["splines"] == found.counts["odd"] == 1
    assert found.notes == ("line 7: is odd",)


def test_what_the_reader_counted_and_noted_stays_and_lines_may_be_missing():
    dot = Shape("dot", "any", (), None, no_area="dots")
    flat = shape(polygon(((1, 1), (2, 2), (3, 3))), line=None)
    found = settle(dot, flat, counts={"dots": 2, "nothing": 0}, notes=("first",))
    assert dict(found.counts) == {"annotations": 2, "dots": 3, "dropped_degenerate": 1}
    assert found.notes == ("first", "an annotation without a name left out, 3 points enclose no area")


def test_labelled_regions_inside_background_are_counted_because_nothing_of_them_shows():
    inside = shape(polygon(ISLAND), name="island")
    ground = shape(polygon(HOLE), group="bg")
    across = shape(polygon(box_ring(50, 50, 70, 70)))
    ring = shape(polygon(OUTER, HOLE))
    blur = shape(polygon(ISLAND), group="blur")
    found = settle(ring, ground, inside, across, blur, groups={"bg": "background", "blur": "ignore"})
    assert found.counts["islands_in_background"] == 1
    assert found.notes == ("line 7: annotation 'island' lies inside a background region and is cut away",)
    assert len(found.regions) == 5


SIDE = 24
boxes = st.tuples(*[st.integers(0, SIDE - 1)] * 4).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]) + 1, max(v[1], v[3]) + 1)
)


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, max_size=4))
def test_negative_boxes_cut_what_they_meet_but_not_their_islands(positives, negatives):
    def pixels(box):
        grid = np.zeros((SIDE, SIDE), dtype=bool)
        grid[box[1] : box[3], box[0] : box[2]] = True
        return grid

    result = cut_negatives([shapely.box(*b) for b in positives], [shapely.box(*b) for b in negatives])
    busy = set()
    for k, positive in enumerate(positives):
        wanted = pixels(positive)
        for n, negative in enumerate(negatives):
            cutter = pixels(negative)
            island = not (pixels(positive) & ~cutter).any() and positive != negative
            if (pixels(positive) & cutter).any() and not island:
                wanted &= ~cutter
                busy.add(n)
        left = result.changed.get(k, shapely.box(*positive))
        assert (left.area if left else 0) == wanted.sum()
        if left:
            centres = shapely.points(*(v.ravel() + 0.5 for v in np.meshgrid(np.arange(SIDE), np.arange(SIDE))))
            np.testing.assert_array_equal(shapely.contains(left, centres), wanted.ravel())
    assert set(result.idle) == set(range(len(negatives))) - busy


@pytest.mark.parametrize("radius", [0, 0.01, 3, 800, 100_000])
def test_ellipses_are_within_a_sixteenth_of_a_pixel(radius):
    ring = ellipse_ring(1000, 2000, radius, radius / 2)
    closed = np.concatenate([ring, ring[:1]])
    middles = (closed[1:] + closed[:-1]) / 2
    assert len(ring) % 4 == 0
    assert 64 <= len(ring) <= 4096
    if radius >= 3:
        for points in (ring, middles):
            off = (np.hypot((points[:, 0] - 1000) / radius, (points[:, 1] - 2000) / (radius / 2)) - 1) * radius
            assert np.abs(off).max() < 1 / 16
        assert ring.min(axis=0).tolist() == [1000 - radius, 2000 - radius / 2]
        assert ring.max(axis=0).tolist() == [1000 + radius, 2000 + radius / 2]
