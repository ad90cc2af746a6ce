"""Precedence, annotation states, borders and shares of the label map."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from wsiprep.annotations import LabelMap, LabelSpec, Region, areas
from wsiprep.annotations.edges import from_geometries
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import Box, PixelGrid, Size, Spacing

SIZE = Size(40, 30)
WHOLE = Box(0, 0, 40, 30)
LABELS = ("tumour", "stroma")


def region(label, *box):
    return Region(label, shapely.box(*box))


def label_map(*regions, state="exhaustive", size=SIZE, labels=LABELS):
    return LabelMap(regions, labels, state, size)


def shares(found, *cell):
    x, y, width, height = cell
    result = found.fractions(np.array([x]), np.array([y]), width, height)
    return float(result.annotated[0]), {k: float(v[0]) for k, v in result.per_label.items()}


CROWD = (
    region("stroma", 0, 0, 20, 20),
    region("tumour", 10, 10, 30, 20),
    region("background", 12, 0, 16, 30),
    region("ignore", 14, 12, 24, 14),
)


@pytest.mark.parametrize(("state", "outside"), [("exhaustive", 0), ("partial", 255)])
def test_precedence_ignore_background_first_label_second_label(state, outside):
    found = label_map(*CROWD, state=state)
    mask = found.mask(PixelGrid.of_plane(WHOLE, 1))
    expected = np.full((30, 40), outside, dtype=np.uint8)
    expected[0:20, 0:20] = 2
    expected[10:20, 10:30] = 1
    expected[0:30, 12:16] = 0
    expected[12:14, 14:24] = 255
    assert (mask == expected).all()
    annotated, per_label = shares(found, 0, 0, 40, 30)
    assert annotated == pytest.approx((expected != 255).mean(), abs=1e-12)
    assert per_label["tumour"] == pytest.approx((expected == 1).mean(), abs=1e-12)
    assert per_label["stroma"] == pytest.approx((expected == 2).mean(), abs=1e-12)
    assert found.areas_px == pytest.approx({"tumour": (expected == 1).sum(), "stroma": (expected == 2).sum()})
    tumour_um2 = found.areas_um2(Spacing(0.5, 0.25))["tumour"]
    assert tumour_um2 == pytest.approx((expected == 1).sum() / 8)


def test_the_order_of_regions_does_not_matter():
    assert (
        label_map(*CROWD).mask(PixelGrid.of_plane(WHOLE, 1))
        == label_map(*reversed(CROWD)).mask(PixelGrid.of_plane(WHOLE, 1))
    ).all()


def test_the_order_of_labels_does():
    both = (region("tumour", 0, 0, 9, 9), region("stroma", 0, 0, 9, 9))
    assert (label_map(*both).mask(PixelGrid.of_plane(Box(0, 0, 9, 9), 1)) == 1).all()
    swapped = label_map(*both, labels=("stroma", "tumour"))
    assert (swapped.mask(PixelGrid.of_plane(Box(0, 0, 9, 9), 1)) == 1).all()
    assert swapped.areas_px == {"stroma": 81, "tumour": 0}


@pytest.mark.parametrize(
    ("state", "value", "share"), [("normal", 0, 1.0), ("none", 255, 0.0), ("exhaustive", 0, 1.0), ("partial", 255, 0.0)]
)
def test_slides_without_regions(state, value, share):
    found = label_map(state=state)
    assert (found.mask(PixelGrid.of_plane(WHOLE, 1)) == value).all()
    assert shares(found, 0, 0, 8, 8) == (share, {"tumour": 0.0, "stroma": 0.0})
    assert found.spec == LabelSpec(LABELS, state)


def test_beyond_the_slide_is_not_annotated():
    found = label_map(region("tumour", -10, -10, 50, 50), state="exhaustive")
    mask = found.mask(PixelGrid.of_plane(Box(-2, -3, 50, 40), 1))
    inside = np.zeros(mask.shape, dtype=bool)
    inside[3:33, 2:42] = True
    assert (mask[inside] == 1).all()
    assert (mask[~inside] == 255).all()
    assert (found.mask(PixelGrid.of_plane(Box(500, 0, 4, 4), 1)) == 255).all()


def test_partial_border_pixels_of_a_plane_are_part_of_it():
    mask = label_map(state="normal").mask(PixelGrid.of_plane(Box(0, 0, 8, 8), 7))
    assert (mask[:5, :6] == 0).all()
    assert (mask[5:] == 255).all()
    assert (mask[:, 6:] == 255).all()


def test_shares_count_only_the_part_of_a_cell_on_the_slide():
    found = label_map(region("tumour", 35, 0, 60, 30))
    assert shares(found, 30, 0, 20, 30) == (1.0, {"tumour": 0.5, "stroma": 0.0})
    assert shares(found, -10, 0, 20, 30) == (1.0, {"tumour": 0.0, "stroma": 0.0})
    assert shares(found, 90, 0, 20, 30) == (0.0, {"tumour": 0.0, "stroma": 0.0})


def test_cells_apart_from_a_region_have_exactly_no_share_and_covered_ones_exactly_all():
    crooked = shapely.Point(500.123, 500.456).buffer(333.3, 64)
    found = label_map(Region("tumour", crooked), size=Size(1000, 1000))
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, 1000, 10), np.arange(0, 1000, 10)))
    share = found.fractions(x, y, 10, 10).per_label["tumour"]
    cells = shapely.box(x, y, x + 10, y + 10)
    assert (share[~shapely.intersects(crooked, cells)] == 0.0).all()
    assert (share[shapely.contains_properly(crooked, cells)] == 1.0).all()
    assert (share == 0.0).any()
    assert (share == 1.0).any()


def test_areas_come_in_chunks_of_any_size(monkeypatch):
    tables = from_geometries([shapely.Point(50, 50).buffer(40, 64)])
    x = np.repeat(np.arange(0.0, 100, 3), 2)
    arguments = (tables, x, np.zeros_like(x), x + 7, np.full_like(x, 100.0))
    whole = areas.areas_within(*arguments)
    monkeypatch.setattr(areas, "MAX_PAIRS", 5)
    assert np.allclose(areas.areas_within(*arguments), whole, rtol=0, atol=1e-9)
    assert whole.max() > 100


def test_touching_regions_leave_no_lines_behind():
    found = label_map(region("tumour", 0, 0, 5, 5), region("background", 5, 0, 9, 9), region("ignore", 0, 5, 5, 9))
    assert found.areas_px["tumour"] == 25
    split = label_map(region("tumour", 0, 0, 9, 9), region("background", 0, 0, 9, 9))
    assert split.geometries["tumour"].is_empty
    assert split.areas_px["tumour"] == 0


@pytest.mark.parametrize("operation", ["union_all", "difference"])
def test_a_failure_of_the_geometry_engine_is_an_annotation_error(monkeypatch, operation):
    def fail(*_):
        raise shapely.errors.GEOSException("TopologyException: side location conflict")

    found = label_map(*CROWD)
    monkeypatch.setattr(shapely, operation, fail)
    with pytest.raises(AnnotationError, match="cannot be computed"):
        found.fractions(np.zeros(1, int), np.zeros(1, int), 5, 5)


WRONG = {
    "state": lambda: label_map(state="some"),
    "no labels": lambda: label_map(labels=()),
    "double label": lambda: label_map(labels=("a", "a")),
    "reserved label": lambda: label_map(labels=("ignore",)),
    "unknown label": lambda: label_map(region("gland", 0, 0, 1, 1)),
    "normal with regions": lambda: label_map(region("tumour", 0, 0, 1, 1), state="normal"),
    "downsample": lambda: label_map().mask(PixelGrid.of_plane(WHOLE, 0)),
    "cell size": lambda: label_map().fractions(np.zeros(1, int), np.zeros(1, int), 0, 5),
    "cell shapes": lambda: label_map().fractions(np.zeros(1, int), np.zeros(2, int), 5, 5),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_usage_errors(case):
    with pytest.raises(UsageError):
        WRONG[case]()
