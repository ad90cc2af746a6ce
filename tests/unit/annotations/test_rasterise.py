"""The centre rule: counts that can be worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shapely
from planes import plane_coverage

from wsiprep.annotations import rasterise
from wsiprep.annotations.edges import from_geometries
from wsiprep.annotations.rasterise import Axis
from wsiprep.geometry import Box

WHOLE = Box(0, 0, 40, 30)


def cover(*geometries, box=WHOLE, downsample=1):
    return plane_coverage(from_geometries(geometries), box, downsample)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (40, 30)])
def test_a_rectangle_of_k_by_m_fills_exactly_k_times_m(width, height):
    mask = cover(shapely.box(0, 0, width, height))
    assert mask.sum() == width * height
    assert mask[:height, :width].all()


def test_a_centre_on_an_edge_belongs_to_the_right_and_below():
    mask = cover(shapely.box(2.5, 3.5, 6.5, 5.5))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (2, 5, 3, 4)
    assert mask.sum() == 8


def test_a_diagonal_through_centres_gives_them_to_its_right():
    below = cover(shapely.Polygon([(0, 0), (8, 8), (0, 8)]), box=Box(0, 0, 8, 8))
    above = cover(shapely.Polygon([(0, 0), (8, 0), (8, 8)]), box=Box(0, 0, 8, 8))
    assert (below ^ above).all()
    assert not below.diagonal().any()
    assert above.diagonal().all()


def test_holes_and_islands_in_holes():
    island = shapely.MultiPolygon(
        [shapely.box(0, 0, 20, 20).difference(shapely.box(4, 4, 16, 16)), shapely.box(8, 8, 12, 12)]
    )
    mask = cover(island)
    assert mask.sum() == 400 - 144 + 16
    assert mask[9, 9]
    assert not mask[5, 5]


def test_overlapping_geometries_are_united():
    mask = cover(shapely.box(0, 0, 6, 6), shapely.box(3, 3, 9, 9), shapely.box(3, 3, 6, 6), shapely.box(3, 3, 6, 6))
    assert mask.sum() == 36 + 36 - 9


@pytest.mark.parametrize("downsample", [1, 2, 3, 4, 7])
def test_downsampling_asks_at_the_coarse_pixels_centre(downsample):
    mask = cover(shapely.box(5, 4, 17, 23), box=Box(0, 0, 40, 40), downsample=downsample)
    centres = (np.arange(40) + 0.5) * downsample
    expected = np.outer((centres >= 4) & (centres < 23), (centres >= 5) & (centres < 17))
    assert (mask == expected).all()


def test_boxes_may_lie_anywhere():
    shape = shapely.box(-5, -5, 5, 5)
    assert cover(shape, box=Box(-10, -10, 20, 20)).sum() == 100
    assert cover(shape, box=Box(100, 100, 4, 4)).sum() == 0
    assert cover(shape, box=Box(-3, -3, 2, 2)).all()
    assert cover(shape, box=Box(0, 0, 0, 7)).shape == (7, 0)


def test_strips_and_halved_strips_change_nothing(monkeypatch):
    shape = shapely.Polygon([(0.3, 0.1), (39.2, 4.5), (22.5, 28.5), (20.5, 10.25), (3, 29)])
    expected = cover(shape)
    monkeypatch.setattr(rasterise, "MAX_STRIP_PX", 41 * 7)
    assert (cover(shape) == expected).all()
    monkeypatch.setattr(rasterise, "MAX_CROSSINGS", 3)
    assert (cover(shape) == expected).all()


def test_no_geometry_covers_nothing():
    assert not plane_coverage(from_geometries([]), WHOLE, 1).any()
    assert not cover(shapely.Polygon()).any()


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (12, 1), (2107, 512), (1133, 256)]
)
@pytest.mark.parametrize("start", [0, -911, 83_000])
def test_the_first_centre_is_exact_next_to_every_centre(length, count, start):
    axis = Axis.of(start, length * 5000, count * 5000)
    index = np.arange(0, 5000 * count, 37 * count)
    scaled = [Fraction(start) + Fraction((2 * int(k) + 1) * axis.num, 2 * axis.den) for k in index]
    below = np.array([np.nextafter(float(c), -np.inf) if Fraction(float(c)) >= c else float(c) for c in scaled])
    above = np.array([np.nextafter(float(c), np.inf) if Fraction(float(c)) <= c else float(c) for c in scaled])
    margin = np.maximum(np.abs(below), 1) * 1e-13
    assert (axis.first(below - margin) == index).all()
    assert (axis.first(above + margin) == np.minimum(index + 1, axis.count)).all()
    exact = [i for i, c in enumerate(scaled) if Fraction(float(c)) == c]
    assert exact
    assert (axis.first(np.array([float(scaled[i]) for i in exact])) == index[exact]).all()
