"""Dice, IoU and kappa against numbers worked out by hand and against pixels counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, LabelMap, Region
from wsiprep.annotations.agreement import agreement
from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size

SIZE = Size(10, 10)
LABELS = ("tumour", "stroma")


def layer(*regions):
    return AnnotationSet(tuple(Region(label, shapely.box(*box)) for label, *box in regions))


def test_two_readings_by_hand():
    found = agreement(
        {"anna": layer(("tumour", 0, 0, 4, 10)), "ben": layer(("tumour", 2, 0, 8, 10))}, ("tumour",), "exhaustive", SIZE
    )
    (row,) = found.labels
    assert (row.reader_a, row.reader_b) == ("anna", "ben")
    assert (row.area_a_px, row.area_b_px, row.intersection_px, row.union_px) == pytest.approx((40, 60, 20, 80))
    assert (row.dice, row.iou) == pytest.approx((0.4, 0.25))
    # p_o = 0.2 + 0.2; Cohen: p_e = 0.4 * 0.6 + 0.6 * 0.4; Fleiss: both shares are 0.5.
    assert found.pairs[0].cohen_kappa == pytest.approx((0.4 - 0.48) / 0.52)
    assert found.fleiss_kappa == pytest.approx((0.4 - 0.5) / 0.5)
    assert found.pairs[0].compared_px == found.compared_px == pytest.approx(100)


def test_fleiss_kappa_of_three_readings_by_hand():
    readings = {
        "a": layer(("tumour", 0, 0, 5, 10)), "b": layer(("tumour", 0, 0, 5, 10)), "c": layer(("tumour", 0, 0, 10, 10)),
    }  # fmt: skip
    found = agreement(readings, ("tumour",), "exhaustive", SIZE)
    # Half the slide: 3 of 3 agree; the other half: 1 pair of 3. Shares: tumour (0.5 + 0.5 + 1) / 3.
    observed, expected = 0.5 + 0.5 / 3, (2 / 3) ** 2 + (1 / 3) ** 2
    assert found.fleiss_kappa == pytest.approx((observed - expected) / (1 - expected))
    assert len(found.pairs) == 3
    assert [(r.reader_a, r.reader_b) for r in found.labels] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.labels[0].dice == 1.0


def test_what_a_reader_left_open_is_not_compared():
    one = layer(("tumour", 0, 0, 5, 10), ("ignore", 5, 0, 10, 10))
    other = layer(("tumour", 0, 0, 10, 5))
    found = agreement({"a": one, "b": other}, ("tumour",), "exhaustive", SIZE)
    assert found.compared_px == pytest.approx(50)
    (row,) = found.labels
    assert (row.area_a_px, row.area_b_px, row.intersection_px, row.union_px) == pytest.approx((50, 50, 25, 50))


def test_outlines_beyond_the_slide_do_not_count():
    found = agreement(
        {"a": layer(("tumour", -9, 0, 5, 10)), "b": layer(("tumour", 0, -9, 5, 19))}, ("tumour",), "exhaustive", SIZE
    )
    assert found.labels[0].dice == 1.0
    assert found.fleiss_kappa == pytest.approx(1.0)


def test_what_is_0_by_0_is_none():
    found = agreement({"a": layer(), "b": layer()}, LABELS, "exhaustive", SIZE)
    assert [(r.dice, r.iou) for r in found.labels] == [(None, None)] * 2
    assert (found.fleiss_kappa, found.pairs[0].cohen_kappa) == (None, None)
    nobody = agreement({"a": layer(), "b": layer()}, LABELS, "partial", SIZE)
    assert (nobody.compared_px, nobody.fleiss_kappa) == (0.0, None)


def test_one_reading_agrees_with_nobody():
    with pytest.raises(UsageError, match="two readings"):
        agreement({"a": layer()}, LABELS, "exhaustive", SIZE)


def test_the_table_is_plain_values():
    found = agreement({"a": layer(), "b": layer(("stroma", 0, 0, 1, 1))}, LABELS, "exhaustive", SIZE).to_dict()
    assert found["readers"] == ["a", "b"]
    assert found["labels"][1]["area_b_px"] == pytest.approx(1.0)


side = st.integers(0, 10)
span = st.lists(side, min_size=2, max_size=2, unique=True).map(sorted)
boxes = st.tuples(span, span).map(lambda b: (b[0][0], b[1][0], b[0][1], b[1][1]))
readings = st.lists(st.tuples(st.sampled_from((*LABELS, "background", "ignore", "roi")), boxes), max_size=4).map(
    lambda found: layer(*((label, *box) for label, box in found))
)


@given(st.lists(readings, min_size=2, max_size=4), st.sampled_from(("exhaustive", "partial")))
def test_everything_agrees_with_pixels_counted_one_by_one(found, state):
    table = agreement({str(k): r for k, r in enumerate(found)}, LABELS, state, SIZE)
    masks = [LabelMap(r.regions, LABELS, state, SIZE).mask(PixelGrid(Box(0, 0, 10, 10), 10, 10)).ravel() for r in found]
    for row in table.labels:
        value = LABELS.index(row.label) + 1
        a, b = masks[int(row.reader_a)], masks[int(row.reader_b)]
        both = (a != 255) & (b != 255)
        common, either = int(((a == value) & (b == value)).sum()), int((((a == value) | (b == value)) & both).sum())
        assert row.intersection_px == pytest.approx(common, abs=1e-9)
        assert row.union_px == pytest.approx(either, abs=1e-9)
        assert (row.iou is None) == (either == 0)
        assert row.area_a_px == pytest.approx(int((a == value).sum()), abs=1e-9)
    kept = [place for place in zip(*(m.tolist() for m in masks), strict=True) if 255 not in place]
    assert table.compared_px == pytest.approx(len(kept), abs=1e-9)
    expected = fleiss(kept)
    assert (table.fleiss_kappa is None) == (expected is None)
    if expected is not None:
        assert table.fleiss_kappa == pytest.approx(expected, abs=1e-9)


def fleiss(places):
    """Fleiss 1971, with one subject a pixel."""
    if not places:
        return None
    n, subjects = len(places[0]), len(places)
    counts = np.array([[place.count(value) for value in range(3)] for place in places])
    agreeing = ((counts**2).sum(axis=1) - n) / (n * (n - 1))
    shares = counts.sum(axis=0) / (n * subjects)
    expected = (shares**2).sum()
    return None if abs(1 - expected) < 1e-12 else (agreeing.mean() - expected) / (1 - expected)
