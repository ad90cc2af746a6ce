"""Self-intersecting rings under both rules, against areas worked out by hand and against GEOS."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from wsiprep.annotations.repair import repair_ring


def ring(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=np.float64)


PENTAGRAM = ring((50, 0), (79, 90), (2, 35), (98, 35), (21, 90))
TWICE_ROUND = ring((0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (4, 0), (4, 4), (0, 4))
INNER_LOOP_SAME_WAY = ring((0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (6, 3), (6, 6), (3, 6), (3, 3))
INNER_LOOP_OTHER_WAY = ring((0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (3, 6), (6, 6), (6, 3), (3, 3))
OVERLAPPING_LOOPS = ring((0, 0), (6, 0), (6, 6), (4, 6), (4, -2), (10, -2), (10, 4), (0, 4))


@pytest.mark.parametrize(
    ("points", "even_odd", "non_zero"),
    [
        (ring((0, 0), (8, 8), (8, 0), (0, 8)), 32, 32),
        (INNER_LOOP_SAME_WAY, 72, 81),
        (INNER_LOOP_OTHER_WAY, 72, 72),
        (TWICE_ROUND, None, 16),
        (ring((0, 0), (4, 0), (4, 4), (6, 6), (4, 4), (0, 4)), 16, 16),
        (ring((0, 0), (8, 0), (4, 4), (8, 8), (0, 8), (4, 4)), 32, 32),
    ],
)
def test_areas_by_both_rules(points, even_odd, non_zero):
    for rule, area in (("even-odd", even_odd), ("non-zero", non_zero)):
        result = repair_ring(points, rule)
        assert result.invalid
        if area is None:
            assert result.area is None
        else:
            assert result.area.is_valid
            assert result.area.area == area


@pytest.mark.parametrize("points", [PENTAGRAM, OVERLAPPING_LOOPS, INNER_LOOP_SAME_WAY])
def test_even_odd_equals_make_valid(points):
    area = repair_ring(points, "even-odd").area
    expected = shapely.make_valid(shapely.Polygon(points), method="linework")
    assert shapely.symmetric_difference(area, expected).area < 1e-9


def test_non_zero_fills_the_heart_of_a_pentagram():
    star = repair_ring(PENTAGRAM, "even-odd").area
    filled = repair_ring(PENTAGRAM, "non-zero").area
    heart = shapely.Point(50, 50)
    assert not star.contains(heart)
    assert filled.contains(heart)
    assert isinstance(filled, shapely.Polygon)
    assert not filled.interiors


def test_valid_rings_are_left_as_they_are():
    points = ring((0, 0), (5, 0.1), (5, 5))
    result = repair_ring(points, "even-odd")
    assert shapely.get_coordinates(result.area)[:-1].tolist() == points.tolist()
    assert result.invalid == ""


def test_rings_that_run_there_and_back_enclose_nothing():
    result = repair_ring(ring((0, 0), (5, 5), (9, 2), (5, 5)), "non-zero")
    assert result.area is None
