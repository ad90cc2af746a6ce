"""Rings that touch themselves are taken apart at their own points, with the area that cutting them would give."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, Region, SlideFrame, loops, repair, write_asap
from wsiprep.annotations.asap import parse_asap_file
from wsiprep.annotations.loops import area_of_loops, loops_of
from wsiprep.annotations.repair import _enclosed, repair_ring
from wsiprep.geometry import Size

rings = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=14)


def without_repeats(points) -> np.ndarray:
    kept = [p for k, p in enumerate(points) if p != points[k - 1]]
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


@given(rings)
def test_loops_are_simple_and_have_the_edges_of_the_ring_less_those_there_and_back(points):
    ring = without_repeats(points)
    walk = [tuple(p) for p in ring.tolist()]
    edges = Counter(zip(walk, walk[1:] + walk[:1], strict=True))
    net = Counter({(a, b): edges[a, b] - edges[b, a] for a, b in edges if edges[a, b] > edges[b, a]})
    found = loops_of(ring)
    assert all(len(set(loop)) == len(loop) >= 3 for loop in found)
    assert sum((Counter(zip(loop, loop[1:] + loop[:1], strict=True)) for loop in found), Counter()) == net


@pytest.mark.parametrize("rule", ["even-odd", "non-zero"])
@given(points=rings)
def test_the_area_of_loops_is_that_of_cutting_at_all_crossings(rule, points):
    ring = without_repeats(points)
    if len(set(map(tuple, ring.tolist()))) < 3:
        return
    found = loops_of(ring)
    area = area_of_loops(found, rule)
    cut = _enclosed(ring, rule)
    if not found:
        assert cut is None
    if area is not None:
        assert area.is_valid
        assert shapely.symmetric_difference(area, cut or shapely.Polygon()).area < 1e-9
        assert set(map(tuple, shapely.get_coordinates(area).tolist())) <= set(map(tuple, ring.tolist()))


number = st.floats(0, 1000) | st.integers(0, 4000).map(lambda n: n / 4)
triangles = st.lists(st.lists(st.tuples(number, number), min_size=3, max_size=5, unique=True), min_size=1, max_size=5)


@given(triangles, st.sampled_from(["even-odd", "non-zero"]))
def test_any_valid_area_is_the_same_after_export_and_import(tmp_path_factory, found, rule):
    polygons = [shapely.Polygon(ring) for ring in found]
    area = shapely.Polygon()
    for k, polygon in enumerate(p for p in polygons if p.is_valid and p.area > 0):
        area = shapely.difference(area, polygon) if k % 2 else shapely.union(area, polygon)
    parts = [p for p in shapely.get_parts(area) if isinstance(p, shapely.Polygon) and p.area > 0]
    area = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if not parts or not area.is_valid:
        return
    path = tmp_path_factory.getbasetemp() / "area.xml"
    path.write_bytes(write_asap(AnnotationSet((Region("a", area),))))
    ring = parse_asap_file(path, SlideFrame(Size(9, 9))).shapes[0].polygons[0][0]
    again = repair_ring(ring, rule).area
    assert shapely.to_wkb(shapely.normalize(again)) == shapely.to_wkb(shapely.normalize(area))


def test_rings_beyond_the_limits_are_cut_instead(monkeypatch):
    square = [(0, 0), (8, 0), (8, 8), (0, 8), (0, 0), (2, 2), (2, 4), (4, 4), (4, 2), (2, 2)]
    plain = repair_ring(np.array(square, dtype=np.float64), "even-odd")
    assert plain.area.area == 60
    monkeypatch.setattr(loops, "MAX_LOOPS", 1)
    assert area_of_loops(loops_of(np.array(square, dtype=np.float64)), "even-odd") is None
    cut = repair_ring(np.array(square, dtype=np.float64), "even-odd")
    monkeypatch.setattr(repair, "MAX_POINTS", 3)
    assert repair_ring(np.array(square, dtype=np.float64), "even-odd").area.equals(cut.area)
    assert cut.area.equals(plain.area)
