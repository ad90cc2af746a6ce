"""The rasteriser against exact rational arithmetic, tilings, shared edges and areas."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from planes import plane_coverage

from wsiprep.annotations.edges import from_geometries
from wsiprep.annotations.repair import repair_ring
from wsiprep.geometry import Box

GRIDS = (1, 2, 4)


def oracle(rings: list[list[tuple[Fraction, Fraction]]], box: Box, downsample: int) -> np.ndarray:
    """Even-odd at every centre, one at a time, in rational numbers."""
    mask = np.zeros((box.height_px, box.width_px), dtype=bool)
    for j in range(box.height_px):
        cy = (box.y + j + Fraction(1, 2)) * downsample
        for i in range(box.width_px):
            cx = (box.x + i + Fraction(1, 2)) * downsample
            for ring in rings:
                for (xa, ya), (xb, yb) in zip(ring, ring[1:] + ring[:1], strict=True):
                    if (ya <= cy) != (yb <= cy) and xa + (cy - ya) * (xb - xa) / (yb - ya) <= cx:
                        mask[j, i] ^= True
    return mask


def rational(polygon: shapely.Polygon) -> list[list[tuple[Fraction, Fraction]]]:
    rings = [polygon.exterior, *polygon.interiors]
    return [[(Fraction(x), Fraction(y)) for x, y in shapely.get_coordinates(r)[:-1].tolist()] for r in rings]


def rings(step: int, reach: int = 14, most: int = 9) -> st.SearchStrategy[np.ndarray]:
    """Points whose coordinates are whole, half or quarter pixels, in any order."""
    value = st.integers(-2 * step, reach * step).map(lambda k: k / step)
    points = st.lists(st.tuples(value, value), min_size=3, max_size=most, unique=True)
    return points.map(lambda p: np.array(p, dtype=np.float64))


any_ring = st.sampled_from(GRIDS).flatmap(rings)


def star_shaped(points: np.ndarray) -> shapely.Polygon:
    """A simple polygon through the points: sorted by angle about their middle."""
    middle = points.mean(axis=0)
    angle = np.arctan2(points[:, 1] - middle[1], points[:, 0] - middle[0])
    return shapely.Polygon(points[np.argsort(angle, kind="stable")])


@given(any_ring, st.sampled_from((1, 2, 4)), st.integers(-3, 3), st.integers(-3, 3))
def test_every_pixel_agrees_with_rational_arithmetic(points, downsample, x, y):
    polygon = star_shaped(points)
    assume(polygon.is_valid and polygon.area > 0)
    box = Box(x, y, 15, 13)
    assert (
        plane_coverage(from_geometries([polygon]), box, downsample) == oracle(rational(polygon), box, downsample)
    ).all()


@given(any_ring, st.sampled_from((3, 5, 7)))
def test_odd_downsamples_agree_with_rational_arithmetic(points, downsample):
    polygon = star_shaped(points)
    assume(polygon.is_valid and polygon.area > 0)
    box = Box(-1, -1, 8, 8)
    assert (
        plane_coverage(from_geometries([polygon]), box, downsample) == oracle(rational(polygon), box, downsample)
    ).all()


quarters = st.integers(9, 16).map(lambda k: k / 4)


@given(any_ring, st.tuples(*[st.tuples(quarters, quarters)] * 4))
def test_holes_agree_with_rational_arithmetic(inner, margins):
    (a, b), (c, d), (e, f), (g, h) = margins
    shell = shapely.Polygon([(-a, -b), (14 + c, -d), (14 + e, 14 + f), (-g, 14 + h)])
    hole = star_shaped(inner)
    assume(hole.is_valid and hole.area > 0)
    assert shell.contains_properly(hole)
    polygon = shapely.Polygon(shell.exterior, [hole.exterior])
    box = Box(-5, -5, 24, 24)
    assert (plane_coverage(from_geometries([polygon]), box, 1) == oracle(rational(polygon), box, 1)).all()


@given(any_ring)
def test_repaired_rings_are_even_odd_of_the_drawn_ring(points):
    repaired = repair_ring(points, "even-odd")
    assume(repaired.area is not None)
    box = Box(-2, -2, 17, 17)
    drawn = [[(Fraction(x), Fraction(y)) for x, y in points.tolist()]]
    got = plane_coverage(from_geometries([repaired.area]), box, 1)
    # Crossing points are rounded to float64, so only centres that lie on the drawn line may differ.
    differing = np.argwhere(got != oracle(drawn, box, 1))
    line = shapely.LinearRing(points)
    assert all(line.distance(shapely.Point(c - 1.5, r - 1.5)) < 1e-9 for r, c in differing)


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    inner = st.lists(st.integers(1, length - 1), unique=True, max_size=5).map(sorted)
    return inner.map(lambda c: [0, *c, length])


@given(st.lists(any_ring, min_size=1, max_size=4), cuts(24), cuts(20), st.sampled_from((1, 2, 3)))
def test_tiles_sum_to_the_whole(all_points, columns, rows, downsample):
    areas = [ring.area for points in all_points if (ring := repair_ring(points, "even-odd")).area is not None]
    table = from_geometries(areas)
    whole = plane_coverage(table, Box(-4, -4, 24, 20), downsample)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            tile = plane_coverage(table, Box(left - 4, top - 4, right - left, bottom - top), downsample)
            assert (tile == whole[top:bottom, left:right]).all()


@given(any_ring, st.sampled_from((1, 2, 4)))
def test_triangles_that_share_edges_partition_the_pixels(points, downsample):
    triangles = list(shapely.delaunay_triangles(shapely.MultiPoint(points)).geoms)
    assume(triangles)
    box = Box(-3, -3, 20, 20)
    each = [plane_coverage(from_geometries([t]), box, downsample).astype(int) for t in triangles]
    total = np.sum(each, axis=0)
    assert total.max() <= 1
    inside = shapely.union_all(triangles).buffer(-1e-9)
    x, y = np.meshgrid((np.arange(20) - 2.5) * downsample, (np.arange(20) - 2.5) * downsample)
    assert (total[shapely.contains_xy(inside, x, y)] == 1).all()


floats = st.floats(-5, 60, allow_subnormal=False)


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=6, unique_by=lambda p: p[1]), floats, floats)
def test_any_shared_line_divides_without_gap_or_overlap(line, left, right):
    ordered = sorted(line, key=lambda p: p[1])
    top, bottom = ordered[0][1], ordered[-1][1]
    one = shapely.Polygon([(-90, top), *ordered, (-90, bottom)])
    other = shapely.Polygon([(150, top), (150, bottom), *reversed(ordered)])
    assume(one.is_valid and other.is_valid)
    box = Box(-20, -10, 90, 80)
    a, b = (plane_coverage(from_geometries([g]), box, 1) for g in (one, other))
    centres = np.arange(-10, 70) + 0.5
    between = (centres >= top) & (centres < bottom)
    assert not (a & b).any()
    assert ((a | b) == between[:, None]).all()


@given(any_ring)
def test_the_filled_area_is_within_the_outline_of_the_true_one(points):
    polygon = star_shaped(points)
    assume(polygon.is_valid and polygon.area > 0)
    filled = int(plane_coverage(from_geometries([polygon]), Box(-3, -3, 20, 20), 1).sum())
    # A pixel can be wrong only where the outline passes within half its diagonal.
    band = polygon.length * math.sqrt(2) + math.pi / 2
    assert abs(filled - polygon.area) <= band


@given(any_ring, st.tuples(*[st.tuples(quarters, quarters)] * 4), cuts(24), cuts(24), st.sampled_from((1, 2, 3)))
def test_with_a_hole_area_is_within_the_bound_and_tiles_sum_to_the_whole(inner, margins, columns, rows, downsample):
    (a, b), (c, d), (e, f), (g, h) = margins
    hole = star_shaped(inner)
    assume(hole.is_valid and hole.area > 0)
    polygon = shapely.Polygon([(-a, -b), (14 + c, -d), (14 + e, 14 + f), (-g, 14 + h)], [hole.exterior.coords])
    assert polygon.is_valid
    table = from_geometries([polygon])
    whole = plane_coverage(table, Box(-5, -5, 24, 24), downsample)
    # Each ring has a band of half a pixel's diagonal on both sides, and round ends.
    band = polygon.length * downsample * math.sqrt(2) + 2 * downsample**2 * math.pi / 2
    assert abs(int(whole.sum()) * downsample**2 - polygon.area) <= band
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            tile = plane_coverage(table, Box(left - 5, top - 5, right - left, bottom - top), downsample)
            assert (tile == whole[top:bottom, left:right]).all()


@pytest.mark.parametrize("downsample", [1, 2, 4])
def test_a_large_ragged_outline_agrees_with_rational_arithmetic_on_its_edge(downsample):
    state, points = 12345, []
    for k in range(400):
        state = (1103515245 * state + 12345) % 2**31
        radius = 20_000 + state % 9000 / 4
        points.append(
            (
                round(50_000 + radius * math.cos(k * math.pi / 200), 0),
                round(4 * (50_000 + radius * math.sin(k * math.pi / 200))) / 4,
            )
        )
    polygon = shapely.Polygon(points)
    assert polygon.is_valid
    for x, y in points[::80]:
        box = Box(int(x) // downsample - 3, int(y) // downsample - 3, 7, 7)
        got = plane_coverage(from_geometries([polygon]), box, downsample)
        assert (got == oracle(rational(polygon), box, downsample)).all()
