"""Label rasters over a slide: scales, values, states, borders, instances."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from collection_files import nuclei

from wsiprep.annotations.instance_maps import combine_channels, connected_parts
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.raster import ArrayPlane, RasterLabels
from wsiprep.annotations.raster_scale import raster_scale
from wsiprep.annotations.raster_values import ChannelValues, ClassValues, InstanceValues, integers
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import Box, PixelGrid, Size, Spacing

LABELS = ("tumour", "stroma")
SPEC = LabelSpec(LABELS, "exhaustive")
VALUES = {0: "ignore", 1: "tumour", 2: "stroma", 7: "background"}
CODES = np.array([255, 1, 2, 255, 255, 255, 255, 0], np.uint8)


def labels_of(values, size=None, scale=(Fraction(1), Fraction(1)), rule=None, spec=SPEC):
    plane = ArrayPlane(np.asarray(values))
    rule = rule or ClassValues.of(VALUES, spec)
    return RasterLabels(plane, rule, spec, size or plane.size, scale, file="mask.tif")


def grid(x, y, width, height, columns=None, rows=None):
    return PixelGrid(Box(x, y, width, height), columns or width, rows or height)


def some(width, height, seed=0):
    return np.random.default_rng(seed).choice([0, 1, 2, 7], (height, width)).astype(np.uint8)


# --- masks and shares ---------------------------------------------------------------------------------


def test_at_the_slide_s_own_scale_the_mask_is_the_raster():
    values = some(50, 40)
    found = labels_of(values)
    assert np.array_equal(found.mask(grid(0, 0, 50, 40)), CODES[values])
    assert np.array_equal(found.mask(grid(7, 5, 11, 13)), CODES[values][5:18, 7:18])
    over = found.mask(grid(-3, -2, 60, 50))
    assert np.array_equal(over[2:42, 3:53], CODES[values])
    over[2:42, 3:53] = 255
    assert (over == 255).all()


def test_centres_choose_the_raster_s_pixel_half_open():
    values = np.array([[1, 2]], np.uint8)
    found = labels_of(values, Size(6, 3), (Fraction(3), Fraction(3)))
    # One pixel of the grid: its centre at 3 lies on the edge and belongs to the right.
    assert found.mask(grid(0, 0, 6, 3, 1, 1)).tolist() == [[2]]
    assert found.mask(grid(0, 0, 5, 3, 1, 1)).tolist() == [[1]]
    assert found.mask(grid(0, 0, 6, 2, 4, 1)).tolist() == [[1, 1, 2, 2]]


def test_a_pixel_that_the_border_cuts_shows_its_part_on_the_slide():
    values = np.array([[1, 2]], np.uint8)
    found = labels_of(values, Size(9, 8), (Fraction(8), Fraction(8)))
    # The second pixel of the grid has its centre at 12, beyond the slide's 9.
    assert found.mask(grid(0, 0, 16, 8, 2, 1)).tolist() == [[1, 2]]
    assert found.mask(grid(16, 0, 8, 8, 1, 1)).tolist() == [[255]]
    fine = labels_of(np.array([[1, 2, 7]], np.uint8))
    assert fine.mask(grid(0, 0, 4, 4, 1, 1)).tolist() == [[0]]


def test_off_the_pixels_of_a_plane_the_centre_decides_what_is_on_the_slide():
    """As in the image, where such a pixel is padding."""
    found = labels_of(np.array([[1, 2]], np.uint8), Size(9, 8), (Fraction(8), Fraction(8)))
    assert found.mask(grid(-6, -6, 8, 8, 1, 1)).tolist() == [[255]]
    assert found.mask(grid(-3, -4, 8, 8, 1, 1)).tolist() == [[1]]
    fine = labels_of(np.array([[1, 2, 7]], np.uint8))
    assert fine.mask(grid(0, 0, 8, 1, 2, 1)).tolist() == [[0, 255]]
    assert fine.mask(grid(2, 0, 4, 4, 1, 1)).tolist() == [[255]]
    assert fine.mask(grid(-3, 0, 4, 1, 1, 1)).tolist() == [[255]]
    assert fine.mask(grid(-2, 0, 6, 1, 1, 1)).tolist() == [[2]]


def test_what_no_pixel_of_the_raster_covers_is_not_annotated():
    found = labels_of(np.full((2, 2), 1, np.uint8), Size(10, 8), (Fraction(4), Fraction(4)))
    mask = found.mask(grid(0, 0, 10, 8))
    assert (mask[:, :8] == 1).all()
    assert (mask[:, 8:] == 255).all()
    shares = found.fractions(np.array([0]), np.array([0]), 10, 8)
    assert (shares.annotated[0], shares.per_label["tumour"][0]) == (0.8, 0.8)
    assert found.areas_px == {"tumour": 64.0, "stroma": 0.0}


def test_shares_of_cells_that_cut_pixels_of_the_raster():
    values = np.array([[1, 2, 0], [7, 1, 1]], np.uint8)
    found = labels_of(values, Size(12, 8), (Fraction(4), Fraction(4)))
    shares = found.fractions(np.array([3, -5, 100]), np.array([2, 0, 0]), np.array([6, 9, 5]), np.array([4, 4, 5]))
    # x 3..9, y 2..6: rows 2 and 2, columns 1, 4, 1 of 24.
    assert shares.per_label["tumour"].tolist() == [(2 * 1 + 2 * 4 + 2 * 1) / 24, 1.0, 0.0]
    assert shares.per_label["stroma"].tolist() == [2 * 4 / 24, 0.0, 0.0]
    assert shares.annotated.tolist() == [1 - 2 * 1 / 24, 1.0, 0.0]


def test_bands_change_nothing(monkeypatch):
    values = some(90, 70, seed=3)
    whole = labels_of(values, Size(270, 210), (Fraction(3), Fraction(3)))
    at_once = whole.mask(grid(1, 2, 250, 200, 77, 61)), whole.areas_px
    monkeypatch.setattr("wsiprep.annotations.raster.BAND_PX", 200)
    monkeypatch.setattr(ArrayPlane, "block", Size(13, 7))
    banded = labels_of(values, Size(270, 210), (Fraction(3), Fraction(3)))
    assert np.array_equal(banded.mask(grid(1, 2, 250, 200, 77, 61)), at_once[0])
    assert banded.areas_px == at_once[1]
    assert at_once[1] == {"tumour": 9.0 * (values == 1).sum(), "stroma": 9.0 * (values == 2).sum()}


def test_bad_arguments():
    found = labels_of(some(5, 5))
    with pytest.raises(UsageError, match="positive size"):
        found.fractions(np.array([0]), np.array([0]), 0, 5)
    with pytest.raises(UsageError, match="one length"):
        found.fractions(np.array([0]), np.array([0, 1]), 5, 5)
    with pytest.raises(UsageError, match="has no label raster"):
        labels_of(some(5, 5), spec=LabelSpec(LABELS, "normal"))
    with pytest.raises(UsageError, match="scale"):
        labels_of(some(5, 5), scale=(Fraction(0), Fraction(1)))
    with pytest.raises(AnnotationError, match="plane"):
        labels_of(np.zeros((2, 2, 2), np.uint8))


# --- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.float64])
def test_an_unlisted_value_stops_with_its_count_and_place(dtype):
    values = some(30, 20).astype(dtype)
    assert np.array_equal(labels_of(values).mask(grid(0, 0, 30, 20)), CODES[values.astype(int)])
    values[4, 9:12] = 5
    values[17, 3] = 9
    found = labels_of(values)
    with pytest.raises(AnnotationError, match="does not list") as caught:
        found.mask(grid(0, 0, 30, 20))
    assert caught.value.got == "5 (3 pixels), 9 (1 pixels), the first at x 9, y 4 of the raster"
    assert caught.value.expected == "0, 1, 2, 7"
    assert caught.value.file == "mask.tif"
    with pytest.raises(AnnotationError, match="does not list"):
        _ = found.areas_px
    with pytest.raises(AnnotationError, match="does not list"):
        found.fractions(np.array([0]), np.array([0]), 30, 20)
    assert (found.mask(grid(0, 0, 30, 4)) != 5).all()


def test_zero_is_a_value_like_any_other():
    with pytest.raises(AnnotationError, match="does not list") as caught:
        labels_of(np.zeros((3, 4), np.uint8), rule=ClassValues.of({1: "tumour"}, SPEC)).mask(grid(0, 0, 4, 3))
    assert caught.value.got.startswith("0 (12 pixels)")


def test_many_unlisted_values_are_summed_up():
    with pytest.raises(AnnotationError) as caught:
        _ = labels_of(np.arange(100, 125, dtype=np.int32).reshape(5, 5)).areas_px
    assert "and 15 more" in caught.value.got


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf])
def test_floats_must_be_whole_numbers(wrong):
    values = np.ones((4, 5))
    values[2, 3] = wrong
    with pytest.raises(AnnotationError, match="whole number") as caught:
        labels_of(values).mask(grid(0, 0, 5, 4))
    assert "x 3, y 2" in caught.value.got
    with pytest.raises(AnnotationError, match="whole number") as caught:
        labels_of(values).mask(grid(2, 1, 3, 3))
    assert "x 3, y 2, 1 such" in caught.value.got


def test_types_that_are_no_labels():
    assert integers(np.array([[True, False]])).tolist() == [[1, 0]]
    with pytest.raises(AnnotationError, match="whole numbers"):
        integers(np.zeros((2, 2), np.complex64))
    with pytest.raises(AnnotationError, match="no id reaches"):
        integers(np.full((2, 2), 2**63, np.uint64))


def test_rules_name_known_labels():
    with pytest.raises(UsageError, match="unknown label"):
        ClassValues.of({1: "gland"}, SPEC)
    with pytest.raises(AnnotationError, match="does not say"):
        ClassValues.of({}, SPEC)


@pytest.mark.parametrize(("state", "outside"), [("exhaustive", 0), ("partial", 255)])
def test_no_object_means_what_the_annotation_state_says(state, outside):
    spec = LabelSpec(LABELS, state)
    rule = InstanceValues(2, spec.outside, {65535: 255})
    values = np.array([[0, 3, 65535], [4, 0, 3]], np.uint16)
    found = labels_of(values, rule=rule, spec=spec)
    assert found.mask(grid(0, 0, 3, 2)).tolist() == [[outside, 2, 255], [2, outside, 2]]
    assert found.instances(grid(0, 0, 3, 2)).tolist() == [[0, 1, 0], [2, 0, 3]]
    classes = labels_of(np.array([[7]], np.uint8), spec=spec)
    assert classes.mask(grid(0, 0, 1, 1)).tolist() == [[0]]


def test_negative_ids_are_errors():
    rule = InstanceValues(1, 0, {})
    with pytest.raises(AnnotationError, match="does not list"):
        labels_of(np.array([[1, -1]], np.int32), rule=rule).mask(grid(0, 0, 2, 1))


# --- instances ----------------------------------------------------------------------------------------


def test_ids_are_numbered_by_their_first_pixel_and_cut_pieces_are_objects():
    horseshoe = np.array([[9, 9, 9, 0], [9, 0, 9, 4], [9, 0, 9, 4]])
    found = labels_of(horseshoe, rule=InstanceValues(1, 0, {}))
    assert found.instances(grid(0, 0, 4, 3)).tolist() == [[1, 1, 1, 0], [1, 0, 1, 2], [1, 0, 1, 2]]
    # Below the bend the two legs no longer hang together, and the right one touches the other object.
    assert found.instances(grid(0, 1, 4, 2)).tolist() == [[1, 0, 2, 3], [1, 0, 2, 3]]
    assert found.instances(grid(3, 0, 4, 3)).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert found.instances(grid(0, 0, 4, 3)).dtype == np.int32


def test_diagonal_neighbours_are_two_objects():
    assert connected_parts(np.array([[5, 0], [0, 5]])).tolist() == [[1, 0], [0, 2]]
    assert connected_parts(np.zeros((2, 3), np.int64)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_classes_have_connected_parts_for_objects():
    found = labels_of(np.array([[1, 1, 2], [0, 7, 2], [1, 0, 0]], np.uint8))
    assert found.instances(grid(0, 0, 3, 3)).tolist() == [[1, 1, 2], [0, 0, 2], [3, 0, 0]]


def test_parts_of_many_objects_equal_scipy_s():
    ndimage = pytest.importorskip("scipy.ndimage")
    ids = nuclei(200, seed=4, count=80)
    found = connected_parts(ids)
    expected = np.zeros(ids.shape, np.int64)
    for number in range(1, 81):
        labels, count = ndimage.label(ids == number)
        expected[labels > 0] = labels[labels > 0] + expected.max()
        assert len(np.unique(found[ids == number])) == count
    # The same partition, whatever the numbers.
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))
    firsts = [int(np.argmax(found.ravel() == k)) for k in range(1, found.max() + 1)]
    assert firsts == sorted(firsts)


# --- channels -----------------------------------------------------------------------------------------

CHANNELS = ("tumour", "stroma", "background")


def stack_of(*places, side=3):
    stack = np.zeros((side, side, 3))
    for y, x, channel, number in places:
        stack[y, x, channel] = number
    return stack


@pytest.mark.parametrize(("overlap", "code"), [("first", 1), ("last", 2)])
def test_overlaps_of_channels_go_to_the_declared_one_and_are_counted(overlap, code):
    stack = stack_of((0, 0, 0, 4), (0, 0, 1, 4), (1, 1, 1, 4), (2, 2, 2, 1))
    values, counts = combine_channels(stack, CHANNELS, overlap)
    assert counts == {"channel_overlap_px": 1, "channel_unset_px": 6}
    rule = ChannelValues((1, 2, 0), 255)
    found = labels_of(values, rule=rule, spec=LabelSpec(LABELS, "partial"))
    assert found.mask(grid(0, 0, 3, 3)).tolist() == [[code, 255, 255], [255, 2, 255], [255, 255, 0]]
    assert found.instances(grid(0, 0, 3, 3)).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]


@pytest.mark.parametrize("overlap", ["first", "last"])
@pytest.mark.parametrize("channels", [CHANNELS, ("background", "tumour", "stroma")])
def test_the_background_channel_never_wins(overlap, channels):
    """PanNuke's sixth channel is what is left; where it is set under a nucleus, the nucleus counts."""
    place = {name: k for k, name in enumerate(channels)}
    stack = stack_of((0, 0, place["stroma"], 7), (0, 0, place["background"], 1), (0, 1, place["background"], 1))
    values, counts = combine_channels(stack, channels, overlap)
    assert counts == {"channel_overlap_px": 1, "channel_unset_px": 7}
    rule = ChannelValues(tuple({"tumour": 1, "stroma": 2, "background": 0}[name] for name in channels), 255)
    found = labels_of(values, rule=rule, spec=LabelSpec(LABELS, "partial"))
    assert found.mask(grid(0, 0, 2, 1)).tolist() == [[2, 0]]


def test_equal_ids_in_two_channels_are_two_objects():
    values, _ = combine_channels(stack_of((0, 0, 0, 1), (0, 1, 1, 1)), CHANNELS, "error")
    assert labels_of(values, rule=ChannelValues((1, 2, 0), 0)).instances(grid(0, 0, 2, 1)).tolist() == [[1, 2]]


def test_overlap_error_names_the_channels():
    with pytest.raises(AnnotationError, match="in tile 3") as caught:
        combine_channels(stack_of((1, 2, 0, 4), (1, 2, 2, 1)), CHANNELS, "error", where=" in tile 3")
    assert caught.value.got == "1 pixels, the first at x 2, y 1: tumour, background"


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (np.zeros((3, 3, 2)), "other channels"),
        (np.zeros((3, 3)), "other channels"),
        (np.full((3, 3, 3), 0.5), "whole number"),
        (np.full((3, 3, 3), -1), "negative"),
    ],
)
def test_stacks_that_do_not_fit(stack, message):
    with pytest.raises(AnnotationError, match=message):
        combine_channels(stack, CHANNELS, "first")


# --- scales -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raster", "slide", "expected"),
    [
        ((100, 80), (100, 80), 1),
        ((100, 80), (400, 320), 4),
        ((101, 80), (403, 317), 4),  # border pixels kept
        ((100, 79), (403, 317), 4),  # border pixels cut
        ((200, 160), (100, 80), Fraction(1, 2)),
        ((10, 10), (1000, 1000), 100),
    ],
)
def test_sizes_that_leave_no_doubt(raster, slide, expected):
    assert raster_scale(Size(*raster), Size(*slide)) == (expected, expected)


def test_tiles_of_a_tiff_may_be_padded():
    tile = Size(512, 512)
    assert raster_scale(Size(25600, 21504), Size(25400, 21100), tile=tile) == (1, 1)
    assert raster_scale(Size(6656, 5632), Size(25600, 21504), tile=tile) == (4, 4)
    with pytest.raises(AnnotationError, match="not certain") as caught:
        raster_scale(Size(512, 512), Size(1500, 1500), tile=tile)
    assert "3, 4, 5" in caught.value.expected
    um = {"raster_spacing": Spacing(1.5, 1.5), "slide_spacing": Spacing(0.25, 0.25)}
    assert raster_scale(Size(512, 512), Size(1500, 1500), tile=tile, **um) == (6, 6)


def test_spacings_give_fractional_ratios_that_the_sizes_allow():
    slide, size = Spacing(0.243, 0.243), Size(100_000, 80_000)
    raster = Size(12_150, 9_720)
    sx, sy = raster_scale(raster, size, raster_spacing=Spacing(2.0, 2.0), slide_spacing=slide)
    assert sx == sy
    assert abs(float(sx) - 2 / 0.243) < 1e-6
    # Without spacings each axis has the ratio of its sizes.
    assert raster_scale(raster, size) == (Fraction(100_000, 12_150), Fraction(80_000, 9_720))


def test_non_square_pixels():
    found = raster_scale(Size(50, 50), Size(1001, 997), raster_spacing=Spacing(10, 10), slide_spacing=Spacing(0.5, 0.5))
    assert found == (20, 20)


def test_contradictions():
    with pytest.raises(AnnotationError, match="another aspect"):
        raster_scale(Size(100, 90), Size(400, 320))
    with pytest.raises(AnnotationError, match="contradicts"):
        raster_scale(Size(100, 80), Size(400, 320), raster_spacing=Spacing(0.5, 0.5), slide_spacing=Spacing(0.25, 0.25))
