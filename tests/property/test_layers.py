"""Layers and readings against masks combined pixel by pixel."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, LabelMap, Region
from wsiprep.annotations.layers import apply_corrections, combine_readings
from wsiprep.geometry import Box, PixelGrid, Size

LABELS = ("tumour", "stroma")
SIZE = Size(14, 12)
GRID = PixelGrid(Box(0, 0, 14, 12), 14, 12)
STATES = st.sampled_from(("exhaustive", "partial"))
KINDS = ("tumour", "stroma", "background", "ignore")

half = st.integers(-2, 30).map(lambda k: k / 2)
eighth = st.integers(-8, 120).map(lambda k: k / 8)


def boxes() -> st.SearchStrategy[shapely.Geometry]:
    return (
        st.tuples(half, half, half, half)
        .filter(lambda b: b[0] != b[2] and b[1] != b[3])
        .map(lambda b: shapely.box(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))
    )


@st.composite
def outlines(draw: st.DrawFn) -> shapely.Geometry:
    """A polygon through points on whole, half ... eighth pixels, sorted by their angle about the middle."""
    value = draw(st.sampled_from((half, eighth)))
    points = np.array(draw(st.lists(st.tuples(value, value), min_size=3, max_size=8, unique=True)))
    middle = points.mean(axis=0)
    angle = np.arctan2(points[:, 1] - middle[1], points[:, 0] - middle[0])
    area = shapely.Polygon(points[np.argsort(angle, kind="stable")])
    return area if area.is_valid and area.area > 0 else draw(boxes())


def layers(shapes: st.SearchStrategy[shapely.Geometry], kinds: tuple[str, ...]) -> st.SearchStrategy[AnnotationSet]:
    regions = st.builds(Region, st.sampled_from(kinds), shapes)
    return st.lists(regions, max_size=4).map(lambda found: AnnotationSet(tuple(found), {"annotations": len(found)}))


def mask(found: AnnotationSet, state: str) -> np.ndarray:
    return LabelMap(found.regions, LABELS, state, SIZE).mask(GRID)


def speaks(found: AnnotationSet) -> np.ndarray:
    """Centres in any region of the layer, those of interest left aside."""
    drawn = [Region("tumour", r.geometry) for r in found.regions if r.label != "roi"]
    return LabelMap(drawn, LABELS, "exhaustive", SIZE).mask(GRID) == 1


def painted(base: AnnotationSet, corrections: list[AnnotationSet], state: str) -> np.ndarray:
    """What the masks of the layers alone say, the last that speaks on top."""
    result = np.full((SIZE.height_px, SIZE.width_px), 0 if state == "exhaustive" else 255, np.uint8)
    rois: list[Region] = []
    for layer in (base, *corrections):
        plain = AnnotationSet(tuple(r for r in layer.regions if r.label != "roi"))
        result = np.where(speaks(layer), mask(plain, state), result)
        rois = [r for r in layer.regions if r.label == "roi"] or rois
    inside = np.ones_like(result, bool)
    if rois:
        inside = LabelMap([Region("tumour", r.geometry) for r in rois], LABELS, "exhaustive", SIZE).mask(GRID) == 1
    return np.where(inside, result, 255)


def named(corrections: list[AnnotationSet]) -> list[tuple[str, AnnotationSet]]:
    return [(f"c{k}", layer) for k, layer in enumerate(corrections)]


straight = layers(boxes(), (*KINDS, "roi"))
crooked = layers(outlines(), KINDS)


@given(straight, st.lists(straight, max_size=3), STATES)
def test_the_last_layer_that_speaks_decides_every_pixel(base, corrections, state):
    found = apply_corrections(base, named(corrections), LABELS)
    assert (mask(found, state) == painted(base, corrections, state)).all()


@given(crooked, st.lists(crooked, max_size=3), STATES)
def test_and_of_crooked_outlines_too_centres_on_their_lines_included(base, corrections, state):
    found = apply_corrections(base, named(corrections), LABELS)
    assert (mask(found, state) == painted(base, corrections, state)).all()


@given(crooked, crooked)
def test_between_an_outline_and_what_it_cuts_no_pixel_is_lost(base, correction):
    """The pixels that any layer speaks of are those that the result speaks of, on every line too."""
    whole = AnnotationSet((Region("tumour", shapely.box(-2, -2, 20, 20)), *base.regions))
    found = apply_corrections(whole, [("c", correction)], LABELS)
    assert speaks(found).all()


@given(crooked, crooked, STATES)
def test_areas_are_those_of_the_overlay(base, correction, state):
    found = LabelMap(apply_corrections(base, [("c", correction)], LABELS).regions, LABELS, state, SIZE)
    said = shapely.union_all([r.geometry for r in correction.regions])
    below = LabelMap(base.regions, LABELS, state, SIZE).geometries
    above = LabelMap(correction.regions, LABELS, state, SIZE).geometries
    slide = shapely.box(0, 0, SIZE.width_px, SIZE.height_px)
    for label in LABELS:
        expected = below[label].difference(said).union(above[label]).intersection(slide).area
        assert abs(found.areas_px[label] - expected) < 1e-4


def combined(masks: np.ndarray, ignored: np.ndarray, rule: str) -> np.ndarray:
    """One pixel at a time."""
    result = np.empty(masks.shape[1:], np.uint8)
    for place in np.ndindex(result.shape):
        said = [int(v) for v in masks[(slice(None), *place)]]
        voters = [v for v in said if v != 255]
        labels = [v for v in voters if v != 0]
        if rule == "union":
            vetoed = bool(ignored[(slice(None), *place)].any())
            result[place] = min(labels) if labels else 255 if vetoed or not voters else 0
        else:
            winners = [v for v in set(voters) if 2 * voters.count(v) > len(voters)]
            result[place] = winners[0] if winners else 255
    return result


def ignored_in(found: AnnotationSet) -> np.ndarray:
    drawn = [Region("tumour", r.geometry) for r in found.regions if r.label == "ignore"]
    return LabelMap(drawn, LABELS, "exhaustive", SIZE).mask(GRID) == 1


@given(st.lists(straight, min_size=2, max_size=5), st.sampled_from(("union", "majority")), STATES)
def test_readings_are_combined_pixel_by_pixel(readings, rule, state):
    found = combine_readings({f"r{k}": r for k, r in enumerate(readings)}, rule, None, LABELS, state)
    masks = np.stack([mask(reading, state) for reading in readings])
    ignored = np.stack([ignored_in(reading) for reading in readings])
    assert (mask(found, state) == combined(masks, ignored, rule)).all()


@settings(max_examples=60)
@given(st.lists(crooked, min_size=2, max_size=4), st.sampled_from(("union", "majority")), STATES)
def test_crooked_readings_too(readings, rule, state):
    found = combine_readings({f"r{k}": r for k, r in enumerate(readings)}, rule, None, LABELS, state)
    masks = np.stack([mask(reading, state) for reading in readings])
    ignored = np.stack([ignored_in(reading) for reading in readings])
    assert (mask(found, state) == combined(masks, ignored, rule)).all()
