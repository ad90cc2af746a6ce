"""Exact shares against shapely's intersection, cell by cell."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from wsiprep.annotations import LabelMap, Region
from wsiprep.annotations.repair import repair_ring
from wsiprep.geometry import Box, PixelGrid, Size

SIZE = Size(97, 83)
LABELS = ("tumour", "stroma")
value = st.one_of(
    st.integers(-10, 110), st.integers(-40, 440).map(lambda k: k / 4), st.floats(-10, 110).map(lambda v: round(v, 6))
)
outline = st.lists(st.tuples(value, value), min_size=3, max_size=12)
drawn = st.tuples(st.sampled_from((*LABELS, "background", "ignore")), outline)


def regions_of(items) -> list[Region]:
    found = []
    for label, points in items:
        area = repair_ring(np.array(points, dtype=np.float64), "even-odd").area
        if area is not None and area.area > 1e-6:
            found.append(Region(label, area))
    return found


def expected_shares(regions, state, cells):
    """Resolve by shapely alone, cut with each cell on the slide."""
    unions = {
        k: shapely.union_all([r.geometry for r in regions if r.label == k]) for k in (*LABELS, "background", "ignore")
    }
    slide = shapely.box(0, 0, SIZE.width_px, SIZE.height_px)
    on_slide = shapely.intersection(cells, slide)
    whole = shapely.area(on_slide)
    not_these = shapely.union(unions["background"], unions["ignore"])
    tumour = shapely.difference(unions["tumour"], not_these)
    stroma = shapely.difference(shapely.difference(unions["stroma"], not_these), unions["tumour"])
    ignored = shapely.intersection(on_slide, unions["ignore"])
    seen = shapely.difference(shapely.union_all([unions[k] for k in (*LABELS, "background")]), unions["ignore"])
    annotated = (
        whole - shapely.area(ignored) if state == "exhaustive" else shapely.area(shapely.intersection(on_slide, seen))
    )
    parts = [annotated, *(shapely.area(shapely.intersection(on_slide, g)) for g in (tumour, stroma))]
    return [np.divide(p, whole, out=np.zeros_like(whole), where=whole > 0) for p in parts]


@given(
    st.lists(drawn, max_size=5),
    st.sampled_from(("exhaustive", "partial")),
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(-30, 100), st.integers(-30, 100)), min_size=1, max_size=25),
)
def test_shares_equal_shapelys_for_any_cells(items, state, width, height, corners):
    regions = regions_of(items)
    x, y = np.array(corners, dtype=np.int64).T
    got = LabelMap(regions, LABELS, state, SIZE).fractions(x, y, width, height)
    annotated, tumour, stroma = expected_shares(regions, state, shapely.box(x, y, x + width, y + height))
    assert np.allclose(got.annotated, annotated, rtol=0, atol=1e-9)
    assert np.allclose(got.per_label["tumour"], tumour, rtol=0, atol=1e-9)
    assert np.allclose(got.per_label["stroma"], stroma, rtol=0, atol=1e-9)
    for share in (got.annotated, *got.per_label.values()):
        assert share.min() >= 0
        assert share.max() <= 1


@given(st.lists(drawn, max_size=4), st.integers(7, 40))
def test_cells_sum_to_the_total(items, side):
    found = LabelMap(regions_of(items), LABELS, "exhaustive", SIZE)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, SIZE.width_px, side), np.arange(0, SIZE.height_px, side)))
    whole = (np.minimum(x + side, SIZE.width_px) - x) * (np.minimum(y + side, SIZE.height_px) - y)
    for label, share in found.fractions(x, y, side, side).per_label.items():
        assert abs((share * whole).sum() - found.areas_px[label]) < 1e-6


@given(st.lists(drawn, min_size=1, max_size=4), st.sampled_from(("exhaustive", "partial")))
def test_masks_of_whole_pixel_regions_have_the_exact_areas(items, state):
    boxes = []
    for label, points in items:
        xs, ys = zip(*((round(px), round(py)) for px, py in points), strict=True)
        assume(min(xs) < max(xs) and min(ys) < max(ys))
        boxes.append(Region(label, shapely.box(min(xs), min(ys), max(xs), max(ys))))
    found = LabelMap(boxes, LABELS, state, SIZE)
    mask = found.mask(PixelGrid.of_plane(Box(0, 0, SIZE.width_px, SIZE.height_px), 1))
    shares = found.fractions(np.zeros(1, int), np.zeros(1, int), SIZE.width_px, SIZE.height_px)
    for k, label in enumerate(LABELS, start=1):
        assert abs((mask == k).sum() - found.areas_px[label]) < 1e-6
    assert abs((mask != 255).mean() - shares.annotated[0]) < 1e-9
