"""Shares per cell against counting level-0 pixels; no tissue in constant images; fills against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.config import Tissue
from wsiprep.geometry import Size
from wsiprep.tissue import TissueMask, cell_fractions, find_tissue, read_mask, write_mask
from wsiprep.tissue.given import fill
from wsiprep.tissue.otsu import otsu


@st.composite
def masks(draw):
    downsample = draw(st.integers(1, 7))
    size = Size(draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    plane = size.reduced(downsample)
    pixels = draw(hnp.arrays(bool, (plane.height_px, plane.width_px)))
    return TissueMask.of(pixels, downsample, "s", {}), size


@given(masks(), st.integers(1, 50), st.integers(1, 50), st.data())
def test_fractions_equal_counted_pixels(case, width, height, data):
    mask, size = case
    cells = data.draw(st.lists(st.tuples(st.integers(-30, 60), st.integers(-30, 60)), min_size=1, max_size=8))
    x, y = np.array(cells, np.int64).T
    t = mask.downsample
    fine = np.kron(mask.mask, np.ones((t, t)))[: size.height_px, : size.width_px]
    found = cell_fractions(mask, size, x, y, width, height)
    for share, (left, top) in zip(found, cells, strict=True):
        part = fine[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        assert share == pytest.approx(part.mean() if part.size else 0.0, abs=1e-12)


@given(masks())
def test_cells_that_tile_the_slide_sum_to_the_mask(case):
    mask, size = case
    step = 5
    x, y = (g.ravel() for g in np.meshgrid(np.arange(0, size.width_px, step), np.arange(0, size.height_px, step)))
    areas = np.minimum(step, size.width_px - x) * np.minimum(step, size.height_px - y)
    t = mask.downsample
    total = np.kron(mask.mask, np.ones((t, t)))[: size.height_px, : size.width_px].sum()
    assert (cell_fractions(mask, size, x, y, step, step) * areas).sum() == pytest.approx(total)


@given(masks())
def test_png_restores_the_mask(case):
    mask, _ = case
    back = read_mask(write_mask(mask))
    assert np.array_equal(back.mask, mask.mask)
    assert back.downsample == mask.downsample


@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from(["hsv", "s", "od"]), st.sampled_from(["he", "ihc"]))
def test_constant_images_have_no_tissue(colour, method, stain):
    found = find_tissue(np.full((24, 20, 3), colour, np.uint8), 16, 16.0, Tissue(method=method), stain)
    assert found.empty


@settings(max_examples=30)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3))),
    st.sampled_from(["hsv", "s", "od"]),
)
def test_any_image_has_a_mask_of_its_shape(rgb, method):
    found = find_tissue(rgb, 16, 16.0, Tissue(method=method))
    assert found.mask.shape == rgb.shape[:2]
    assert found.empty == (found.share == 0)
    assert all(np.isfinite(v) for v in found.thresholds.values())


points = st.tuples(st.floats(-10, 50, width=32), st.floats(-10, 50, width=32))


@given(st.lists(points, min_size=3, max_size=9), st.integers(1, 4))
def test_fill_follows_the_centre_rule(ring, downsample):
    valid = shapely.make_valid(shapely.Polygon(ring))
    polygons = [p for p in shapely.get_parts(valid) if isinstance(p, shapely.Polygon)]
    plane = Size(40, 40).reduced(downsample)
    found = fill(polygons, plane, downsample)
    x, y = np.meshgrid(*((np.arange(n) + 0.5) * downsample for n in (plane.width_px, plane.height_px)))
    area = shapely.union_all(polygons)
    clear = (
        shapely.distance(shapely.MultiLineString([p.exterior for p in polygons]), shapely.points(x, y)) > 1e-6
        if polygons
        else np.ones(x.shape, bool)
    )
    holes = [r for p in polygons for r in p.interiors]
    if holes:
        clear &= shapely.distance(shapely.MultiLineString(holes), shapely.points(x, y)) > 1e-6
    assert np.array_equal(found[clear], shapely.contains_xy(area, x, y)[clear])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1e-6, 0.123, 202.123, 5e8])
def test_values_apart_by_their_last_bits_have_no_threshold(dtype: type, value: float) -> None:
    values = np.full(100, value, dtype)
    for _ in range(3):
        values[3] = np.nextafter(values[3], dtype(np.inf))
    assert not (values > otsu(values).value).any()
