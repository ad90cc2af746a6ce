"""The contract of every format of outlines: the same picture gives the same mask, the same faults the same end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
import shapely
from annotation_files import FILE_FORMATS, FRAME, HOLE, SIZE, Outline, Picture, Polygon, read_picture

from wsiprep.annotations import FORMATS, LabelMap, read_annotations, read_regions, write_asap, write_regions
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, PixelGrid

LABELS = ("tumour", "stroma")
GROUPS = {"Tumor cells": "tumour", "Stroma": "stroma", "Blur": "ignore", HOLE: "background"}
SQUARE = ((20, 20), (80, 20), (80, 80), (20, 80))

# Quarters of pixels, edges through pixel centres, holes, two parts, labels that overlap, points off the slide.
PICTURE = (
    Outline("Stroma", [[((60.5, 10.5), (140.5, 30), (120.25, 110.75), (50, 90.5))]]),
    Outline("Tumor cells", [[((10.5, 20.5), (90.5, 20.5), (90.5, 100.5), (10.5, 100.5)),
                             ((30, 40.25), (30, 60), (45.75, 70.5), (40, 40))]]),
    Outline("Tumor cells", [[((150, 100), (180.5, 101), (170.25, 140.75))],
                            [((200, 100), (230, 100.5), (230, 130), (200, 130)),
                             ((210, 110), (210, 120), (220, 120), (220, 110))]]),
    Outline("Blur", [[((100, 60.5), (160.5, 60.5), (130, 120))]]),
    Outline("Stroma", [[((230.5, 150), (300, 170), (220, 250.25), (-10, 180))]]),
)  # fmt: skip
ISLANDS = (
    Outline("Tumor cells", [[((10, 10), (150, 12), (148.5, 150), (11, 149)),
                             ((30, 30), (30, 120.5), (120, 120), (119.5, 31))]]),
    Outline("Stroma", [[((40, 40), (100, 40), (100.25, 100), (40.5, 100)), ((50, 50), (50, 60), (90, 90), (60, 50))]]),
)  # fmt: skip


def covered(polygon: Polygon) -> np.ndarray:
    """Pixels whose centre a polygon contains, row by row in fractions: crossings at or left of the centre are odd."""
    inside = np.zeros((SIZE.height_px, SIZE.width_px), dtype=bool)
    for ring in polygon:
        points = [(Fraction(x), Fraction(y)) for x, y in ring]
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            for row in range(SIZE.height_px):
                y = Fraction(2 * row + 1, 2)
                if (y0 <= y) != (y1 <= y):
                    crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                    inside[row, max(0, math.ceil(crossing - Fraction(1, 2))) :] ^= True
    return inside


def expected(picture: Picture, groups: Mapping[str, str], labels: Sequence[str]) -> np.ndarray:
    """The mask of a picture on exhaustively annotated ground, without any code of wsiprep."""
    mask = np.zeros((SIZE.height_px, SIZE.width_px), dtype=np.uint8)
    values = {label: k for k, label in enumerate(labels, start=1)} | {"ignore": 255}
    for label in (*reversed(labels), "ignore"):
        for outline in picture:
            if groups[outline.group] == label:
                for polygon in outline.polygons:
                    mask[covered(polygon)] = values[label]
    return mask


def mask_of(found) -> np.ndarray:
    labels = LabelMap(found.regions, LABELS, "exhaustive", SIZE)
    return labels.mask(PixelGrid.of_plane(Box(0, 0, SIZE.width_px, SIZE.height_px), 1))


def without_the_holes_of(picture: Picture) -> Picture:
    return [Outline(o.group, [[shell] for shell, *_ in o.polygons]) for o in picture]


def test_every_format_is_under_this_contract():
    assert set(FILE_FORMATS) == set(FORMATS)


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_the_same_picture_gives_the_same_mask(tmp_path, name):
    found = read_picture(tmp_path, name, PICTURE, GROUPS, LABELS)
    wanted = expected(PICTURE, GROUPS, LABELS)
    if not FILE_FORMATS[name].holes:
        # There a hole is background wherever it lies, and background beats the labels below it.
        for outline in PICTURE:
            for _, *holes in outline.polygons:
                for hole in holes:
                    wanted[covered([hole]) & (wanted != 255)] = 0
    assert set(np.unique(wanted).tolist()) == {0, 1, 2, 255}
    np.testing.assert_array_equal(mask_of(found), wanted)
    assert "repaired_rings" not in found.counts


@pytest.mark.parametrize("name", [name for name, form in FILE_FORMATS.items() if form.holes])
def test_islands_in_holes_are_kept(tmp_path, name):
    found = read_picture(tmp_path, name, ISLANDS, GROUPS, LABELS)
    np.testing.assert_array_equal(mask_of(found), expected(ISLANDS, GROUPS, LABELS))
    assert "islands_in_background" not in found.counts


@pytest.mark.parametrize("name", [name for name, form in FILE_FORMATS.items() if not form.holes])
def test_islands_in_background_are_counted(tmp_path, name):
    found = read_picture(tmp_path, name, ISLANDS, GROUPS, LABELS)
    assert found.counts["islands_in_background"] == 1
    assert sum("inside a background region" in note for note in found.notes) == 1


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_points_come_back_exactly_with_group_and_line(tmp_path, name):
    found = read_picture(tmp_path, name, without_the_holes_of(PICTURE[:2]), GROUPS, LABELS)
    assert [(r.label, r.group) for r in found.regions] == [("stroma", "Stroma"), ("tumour", "Tumor cells")]
    for region, outline in zip(found.regions, PICTURE, strict=False):
        assert shapely.get_coordinates(region.geometry)[:-1].tolist() == [list(p) for p in outline.polygons[0][0]]
    assert found.regions[0].line < found.regions[1].line


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_an_unknown_group_names_file_line_value_and_known_groups(tmp_path, name):
    picture = [Outline("Stroma", [[SQUARE]]), Outline("Tumor cell", [[SQUARE]])]
    with pytest.raises(AnnotationError, match="does not map") as caught:
        read_picture(tmp_path, name, picture, GROUPS, LABELS)
    error = caught.value
    assert error.file.startswith(str(tmp_path / "picture"))
    assert "'Tumor cell'" in error.got
    assert "did you mean 'Tumor cells'" in error.got
    assert all(repr(group) in error.expected for group in GROUPS)
    lines = (tmp_path / f"picture{FILE_FORMATS[name].suffix}").read_text().splitlines()
    last = max(k for k, line in enumerate(lines, start=1) if "Tumor cell" in line)
    assert 1 <= error.line <= len(lines)
    assert abs(error.line - last) <= 12


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_unknown_groups_can_be_dropped_and_are_counted(tmp_path, name):
    picture = [Outline("Stroma", [[SQUARE]]), Outline("None", [[SQUARE]])]
    found = read_picture(tmp_path, name, picture, GROUPS, LABELS, unknown_group="drop")
    assert len(found.regions) == 1
    assert found.counts["annotations"] == 2
    assert found.counts["dropped_unknown_groups"] == 1


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_groups_become_labels_background_ignore_roi_and_drop(tmp_path, name):
    groups = {"a": "tumour", "b": "background", "c": "ignore", "d": "roi", "e": "drop"}
    found = read_picture(tmp_path, name, [Outline(group, [[SQUARE]]) for group in groups], groups, LABELS)
    assert [region.label for region in found.regions] == ["tumour", "background", "ignore", "roi"]
    assert found.counts["dropped_groups"] == 1


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_points_outside_the_slide_are_counted_and_kept(tmp_path, name):
    partly = ((-5, 10), (256, 10), (256.5, 20), (0, 192))
    wholly = ((300, 0), (340, 0), (340, 30))
    picture = [Outline("Stroma", [[partly]]), Outline("Stroma", [[wholly]])]
    found = read_picture(tmp_path, name, picture, GROUPS, LABELS)
    assert found.counts["outside_slide"] == 5
    assert found.counts["outside_regions"] == 1
    assert found.regions[0].geometry.bounds == (-5, 10, 256.5, 192)


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_what_encloses_nothing_is_dropped_counted_and_named(tmp_path, name):
    flat = ((10, 10), (20, 20), (40, 40), (30, 30))
    there_and_back = ((0, 0), (5, 5), (9, 2), (5, 5))
    picture = [Outline("Stroma", [[ring]]) for ring in (flat, SQUARE, there_and_back)]
    found = read_picture(tmp_path, name, picture, GROUPS, LABELS)
    assert len(found.regions) == 1
    assert found.counts["dropped_degenerate"] == 2
    assert sum("enclose no area" in note for note in found.notes) == 2


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_self_intersections_follow_the_recipe(tmp_path, name):
    # Twice around the middle: even-odd leaves it out, non-zero fills it.
    twice = ((10, 10), (90, 10), (90, 90), (30, 90), (30, 30), (70, 30), (70, 70), (10, 70))
    picture = [Outline("Stroma", [[twice]])]
    areas = {}
    for rule in ("even-odd", "non-zero"):
        found = read_picture(tmp_path, name, picture, GROUPS, LABELS, invalid_rings=rule)
        areas[rule] = found.regions[0].geometry.area
        assert found.counts["repaired_rings"] == 1
    assert areas["non-zero"] - areas["even-odd"] == 40 * 40
    with pytest.raises(AnnotationError, match="crosses or touches itself") as caught:
        read_picture(tmp_path, name, picture, GROUPS, LABELS, invalid_rings="error")
    assert caught.value.line is not None


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_repeated_points_are_removed_and_counted(tmp_path, name):
    repeated = (SQUARE[0], SQUARE[0], SQUARE[1], SQUARE[2], SQUARE[2], SQUARE[2], SQUARE[3])
    plain = read_picture(tmp_path, name, [Outline("Stroma", [[SQUARE]])], GROUPS, LABELS)
    found = read_picture(tmp_path, name, [Outline("Stroma", [[repeated]])], GROUPS, LABELS)
    assert shapely.to_wkb(found.regions[0].geometry) == shapely.to_wkb(plain.regions[0].geometry)
    assert found.counts["repeated_vertices"] - plain.counts.get("repeated_vertices", 0) == 3


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "1_000", "12,5", "0x10", "１２", "5e22", "--1", "null"])
@pytest.mark.parametrize("name", FILE_FORMATS)
def test_what_is_no_number_is_an_error_with_its_line(tmp_path, name, value):
    picture = [Outline("Stroma", [[SQUARE]]), Outline("Stroma", [[((1, 1), (9, value), (9, 9))]])]
    with pytest.raises(AnnotationError) as caught:
        read_picture(tmp_path, name, picture, GROUPS, LABELS)
    text = (tmp_path / f"picture{FILE_FORMATS[name].suffix}").read_text().splitlines()
    planted = max(k for k, line in enumerate(text, start=1) if value in line)
    assert caught.value.line is not None
    assert abs(caught.value.line - planted) <= 20
    assert caught.value.file.startswith(str(tmp_path / "picture"))


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_a_picture_without_outlines_is_an_empty_set(tmp_path, name):
    found = read_picture(tmp_path, name, [], GROUPS, LABELS)
    assert found.regions == ()
    assert found.counts["annotations"] == 0


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_what_was_read_can_be_exported_to_asap_and_geojson_and_read_again(tmp_path, asap, name):
    found = read_picture(tmp_path, name, PICTURE, GROUPS, LABELS)
    again = tmp_path / "again.xml"
    write_asap(found, again)
    imported = read_annotations(again, asap.recipe(GROUPS, LABELS), FRAME)
    assert [(r.label, r.group, r.name) for r in imported.regions] == [(r.label, r.group, r.name) for r in found.regions]
    for before, after in zip(found.regions, imported.regions, strict=True):
        exact = [shapely.to_wkb(shapely.normalize(region.geometry)) for region in (before, after)]
        assert exact[0] == exact[1]
    np.testing.assert_array_equal(mask_of(imported), mask_of(found))
    stored = tmp_path / "regions.geojson"
    stored.write_bytes(write_regions(found, LABELS))
    assert read_regions(stored) == found
