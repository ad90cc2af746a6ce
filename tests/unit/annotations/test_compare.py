"""What changed between two states of a slide's annotations."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, LabelMap, Region
from wsiprep.annotations.compare import Reading, changed_areas
from wsiprep.geometry import Box, PixelGrid, Size, Spacing

SIZE = Size(10, 10)
LABELS = ("tumour", "stroma")


def reading(*regions, labels=LABELS, state="exhaustive"):
    found = AnnotationSet(tuple(Region(label, shapely.box(*box)) for label, *box in regions))
    return Reading(found, labels, state)


def moves(found):
    return {(c.before, c.after): c.area_px for c in found.changes}


def test_areas_go_from_each_class_to_each_other():
    old = reading(("tumour", 0, 0, 4, 10), ("stroma", 4, 0, 6, 10))
    new = reading(("tumour", 1, 0, 5, 10), ("ignore", 9, 0, 12, 10))
    found = changed_areas(old, new, SIZE, Spacing(0.5, 0.25))
    assert moves(found) == pytest.approx(
        {("tumour", "background"): 10, ("stroma", "tumour"): 10, ("stroma", "background"): 10,
         ("background", "not annotated"): 10}
    )  # fmt: skip
    assert found.changed_px == pytest.approx(40)
    assert {c.area_um2 for c in found.changes} == {1.25}
    by_name = {c.name: (c.before_px, c.after_px, c.gained_px, c.lost_px) for c in found.classes}
    assert by_name["tumour"] == pytest.approx((40, 40, 10, 10))
    assert by_name["stroma"] == pytest.approx((20, 0, 0, 20))


def test_the_same_outlines_change_nothing_at_all():
    star = shapely.Polygon([(0.1, 0.2), (9.7, 1.3), (3.3, 3.4), (8.1, 9.9), (0.3, 7.7)])
    same = Reading(AnnotationSet((Region("tumour", star), Region("background", star.buffer(-1)))), LABELS, "exhaustive")
    found = changed_areas(same, same, SIZE)
    assert found.changes == ()
    assert found.changed_px == 0


def test_the_largest_change_is_first_and_without_a_spacing_there_is_no_um2():
    found = changed_areas(reading(), reading(("stroma", 0, 0, 1, 1), ("tumour", 0, 0, 5, 5)), SIZE)
    assert [(c.after, c.area_px, c.area_um2) for c in found.changes] == [("tumour", pytest.approx(25), None)]
    found = changed_areas(reading(), reading(("stroma", 6, 6, 7, 7), ("tumour", 0, 0, 5, 5)), SIZE)
    assert [c.after for c in found.changes] == ["tumour", "stroma"]


def test_another_state_changes_what_nobody_drew():
    found = changed_areas(reading(), reading(("tumour", 0, 0, 5, 10), state="partial"), SIZE)
    assert moves(found) == pytest.approx({("background", "not annotated"): 50, ("background", "tumour"): 50})


def test_classes_are_compared_by_name_whatever_the_order_of_labels():
    old = reading(("tumour", 0, 0, 5, 5), labels=("stroma", "tumour"))
    assert changed_areas(old, reading(("tumour", 0, 0, 5, 5)), SIZE).changes == ()
    gone = changed_areas(reading(("fat", 0, 0, 5, 5), labels=("fat",)), reading(), SIZE)
    assert moves(gone) == pytest.approx({("fat", "background"): 25})
    assert [c.name for c in gone.classes] == ["tumour", "stroma", "fat", "background", "not annotated"]


def test_the_table_is_plain_values():
    found = changed_areas(reading(), reading(("tumour", 0, 0, 1, 1)), SIZE, Spacing(0.5, 0.5)).to_dict()
    assert found["changes"] == [
        {"from": "background", "to": "tumour", "area_px": pytest.approx(1.0), "area_um2": pytest.approx(0.25)}
    ]
    assert found["classes_px"]["tumour"]["gained"] == pytest.approx(1.0)


side = st.integers(-1, 11)
span = st.lists(side, min_size=2, max_size=2, unique=True).map(sorted)
boxes = st.tuples(span, span).map(lambda b: (b[0][0], b[1][0], b[0][1], b[1][1]))
kinds = st.sampled_from((*LABELS, "background", "ignore", "roi"))
readings = st.builds(
    lambda found, state: reading(*((label, *box) for label, box in found), state=state),
    st.lists(st.tuples(kinds, boxes), max_size=4),
    st.sampled_from(("exhaustive", "partial")),
)


@given(readings, readings)
def test_areas_are_those_of_pixels_counted_one_by_one(old, new):
    masks = [
        LabelMap(r.annotations.regions, r.labels, r.state, SIZE).mask(PixelGrid(Box(0, 0, 10, 10), 10, 10)).ravel()
        for r in (old, new)
    ]
    names = {0: "background", 1: "tumour", 2: "stroma", 255: "not annotated"}
    pairs, counts = np.unique(np.stack(masks), axis=1, return_counts=True)
    expected = {(names[a], names[b]): n for (a, b), n in zip(pairs.T.tolist(), counts.tolist(), strict=True) if a != b}
    assert moves(changed_areas(old, new, SIZE)) == pytest.approx(expected, abs=1e-9)
