"""Every kind of sampling end to end: where the cells lie, what they hold, and how many were left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from slide_files import mean_of_blocks, texture
from stagecases import Case, area_mean_oracle, asap, box, case, off_slide, patches, polygon_mask, write_slide
from vendor_slides import scn

from wsiprep.errors import PlanError, SpacingError

SIDE = 32
ROW = [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}]


def build(
    folder: Path, image: npt.NDArray[np.uint8], shapes: Sequence[tuple[str, Any]], um: float = 0.5, **recipe: Any
) -> Case:
    write_slide(folder / "s.tif", image, um)
    asap(folder / "s.xml", shapes)
    return case(folder, ROW, **recipe)


def counts(made: Case) -> dict[str, int]:
    """Decision -> cells, zeros left out."""
    (slide,) = made.plan()["plan"]["slides"]
    return {k: v for k, v in slide["counts"].items() if v}


def bright(width: int, height: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Texture without a black or white pixel, so that padding is told from pixels."""
    return (texture(width, height, seed) // 2 + 50).astype(np.uint8)


# --- regions of interest --------------------------------------------------------------------------------

TIGER: dict[str, Any] = {
    "labels": ["tumour", "stroma"],
    "annotations": {"groups": {"roi": "roi", "Tumor": "tumour", "Stroma": "stroma", "Unsure": "ignore"}},
    "downsample": 2,
    "sampling": {"kind": "roi", "patch_size_px": SIDE, "edge": "pad", "pad": "black", "outside_roi": "pad"},
    "keep": {"min_annotated": 0.0, "min_tissue": 0.0},
}


def test_regions_of_interest_are_cut_padded_black_and_masked(tmp_path: Path) -> None:
    """TIGER: a grid in each region of interest, zeros around it, what nobody labelled inside it is ignored."""
    image = bright(600, 400)
    roi = box(101, 60, 101 + 150, 60 + 90)
    tumour, unsure = box(101, 60, 180, 150), box(180, 60, 251, 100)
    made = build(
        tmp_path,
        image,
        [("roi", roi), ("Tumor", tumour), ("Unsure", unsure), ("Tumor", box(300, 300, 400, 350))],
        **TIGER,
    )
    dataset = made.build()
    plane = mean_of_blocks(image, 2)
    seen = np.zeros(plane.shape[:2], int)
    assert {(r["x_lv0"], r["y_lv0"]) for _, _, r in patches(dataset)} == {
        (x, y) for x in (100, 164, 228) for y in (60, 124)
    }
    for pixels, mask, row in patches(dataset):
        inside = polygon_mask(roi, row, SIDE)
        x, y = row["x_lv0"] // 2, row["y_lv0"] // 2
        np.testing.assert_array_equal(pixels[inside], plane[y : y + SIDE, x : x + SIDE][inside])
        assert (pixels[~inside] == 0).all()
        expected = np.where(polygon_mask(tumour, row, SIDE), 1, 0)
        expected[polygon_mask(unsure, row, SIDE)] = 255
        expected[~inside] = 255
        np.testing.assert_array_equal(mask, expected)
        seen[y : y + SIDE, x : x + SIDE] += inside[: seen.shape[0] - y, : seen.shape[1] - x]
    # Every pixel whose centre lies in the region is in exactly one patch.
    xs, ys = np.arange(plane.shape[1]) * 2 + 1, np.arange(plane.shape[0]) * 2 + 1
    np.testing.assert_array_equal(seen, ((xs >= 101) & (xs < 251))[None, :] & ((ys >= 60) & (ys < 150))[:, None])
    # The tumour outside every region of interest is no tumour of the dataset.
    assert made.record("s")["annotation"]["area_px"]["tumour"] == 79 * 90


def test_a_rotated_region_of_interest_drops_its_empty_cells_and_counts_them(tmp_path: Path) -> None:
    image = bright(700, 700)
    diamond = [(350.0, 50.0), (650.0, 350.0), (350.0, 650.0), (50.0, 350.0)]
    made = build(tmp_path, image, [("roi", diamond), ("Tumor", box(0, 0, 700, 350))], **TIGER)
    dataset = made.build()
    kept = {(r["x_lv0"], r["y_lv0"]): (p, m, r) for p, m, r in patches(dataset)}
    expected_kept, dropped = 0, 0
    for y in range(50, 650, 64):
        for x in range(50, 650, 64):
            cell = {"x_lv0": x, "y_lv0": y, "width_lv0": 64, "height_lv0": 64}
            if not _meets_diamond(x, y):
                dropped += 1
                assert (x, y) not in kept
                continue
            expected_kept += 1
            pixels, mask, row = kept[x, y]
            inside = polygon_mask(diamond, cell, SIDE)
            wanted = np.where(polygon_mask(box(0, 0, 700, 350), cell, SIDE), 1, 0)
            np.testing.assert_array_equal(mask, np.where(inside, wanted, 255))
            assert (pixels[~inside] == 0).all()
            assert (pixels[inside] > 0).all()
            assert row["annotated_fraction"] > 0
    assert len(kept) == expected_kept
    assert counts(made) == {"kept": expected_kept, "not_annotated": dropped}
    assert dropped > 0


def _meets_diamond(x: int, y: int) -> bool:
    """Whether a cell of 64 px shares area with |x - 350| + |y - 350| <= 300."""
    dx = max(x - 350, 350 - (x + 64), 0)
    dy = max(y - 350, 350 - (y + 64), 0)
    return dx + dy < 300


def test_pixels_outside_a_region_of_interest_may_stay(tmp_path: Path) -> None:
    image = bright(300, 200)
    sampling = TIGER["sampling"] | {"outside_roi": "keep"}
    made = build(tmp_path, image, [("roi", box(40, 40, 90, 90))], **(TIGER | {"sampling": sampling}))
    ((pixels, mask, row),) = list(patches(made.build()))
    np.testing.assert_array_equal(pixels, mean_of_blocks(image[40:104, 40:104], 2))
    np.testing.assert_array_equal(mask, np.where(polygon_mask(box(40, 40, 90, 90), row, SIDE), 0, 255))


def test_a_region_of_interest_over_the_border_is_padded(tmp_path: Path) -> None:
    image = bright(300, 200)
    roi = box(250, 150, 340, 260)
    made = build(tmp_path, image, [("roi", roi), ("Tumor", roi)], **TIGER)
    for pixels, mask, row in patches(made.build()):
        off = off_slide(row, SIDE, 300, 200)
        assert (pixels[off] == 0).all()
        assert (mask[off] == 255).all()
        assert (mask[~off & polygon_mask(roi, row, SIDE)] == 1).all()


def test_no_region_of_interest_is_an_error(tmp_path: Path) -> None:
    made = build(tmp_path, bright(200, 200), [("Tumor", box(10, 10, 80, 80))], **TIGER)
    with pytest.raises(PlanError, match="needs regions"):
        made.survey()


# --- one crop for each annotation ------------------------------------------------------------------------

BOXES: dict[str, Any] = {
    "annotations": {"groups": {"box": "roi", "Tumor": "tumour"}},
    "downsample": None,
    "keep": {"min_annotated": 0.0, "min_tissue": 0.0},
}


@pytest.mark.parametrize("aspect", ["expand", "stretch"])
def test_each_box_becomes_one_crop(tmp_path: Path, aspect: str) -> None:
    """SCLC: annotated boxes scaled to the patch; expanded to a square, or stretched."""
    image = bright(500, 420)
    boxes = [(40, 50, 130, 110), (200, 20, 260, 120), (380, 300, 498, 418), (300, 100, 332, 132)]
    tumour = [(60.0, 40.0), (420.0, 330.0), (240.0, 400.0)]
    made = build(
        tmp_path, image, [*(("box", box(*b)) for b in boxes), ("Tumor", tumour)],
        sampling={"kind": "box", "patch_size_px": SIDE, "aspect": aspect, "outside_roi": "keep"}, **BOXES,
    )  # fmt: skip
    dataset = made.build()
    wanted = []
    for x, y, x_end, y_end in boxes:
        width, height = x_end - x, y_end - y
        side = max(width, height)
        wanted.append(
            (y - (side - height) // 2, x - (side - width) // 2, side, side)
            if aspect == "expand"
            else (y, x, height, width)
        )
    assert [(r["y_lv0"], r["x_lv0"], r["height_lv0"], r["width_lv0"]) for _, _, r in patches(dataset)] == sorted(wanted)
    for pixels, mask, row in patches(dataset):
        np.testing.assert_array_equal(pixels, area_mean_oracle(image, row, SIDE))
        in_box = np.any([polygon_mask(box(*b), row, SIDE) for b in boxes], axis=0)
        label = polygon_mask(tumour, row, SIDE).astype(np.uint8)
        np.testing.assert_array_equal(mask, np.where(in_box & ~off_slide(row, SIDE, 500, 420), label, 255))
        assert row["scale"] == row["width_lv0"] / SIDE
        assert row["scale_y"] == row["height_lv0"] / SIDE
        assert row["spacing_um"] == pytest.approx(0.5 * row["scale"], rel=1e-4)
    assert made.record("s")["scale"] is None
    assert made.record("s")["spacing_um"]["patch"] is None


def test_boxes_without_a_region_of_interest_are_those_of_the_labels(tmp_path: Path) -> None:
    """Two annotated cells whose corners are no whole pixels: each crop reaches to the next whole one."""
    image = bright(400, 300)
    made = build(
        tmp_path, image, [("Tumor", box(20.5, 30.25, 60.5, 80.5)), ("Tumor", box(200, 100, 264, 164))],
        sampling={"kind": "box", "patch_size_px": SIDE, "aspect": "stretch"}, **BOXES,
    )  # fmt: skip
    rows = [row for _, _, row in patches(made.build())]
    assert [(r["x_lv0"], r["y_lv0"], r["width_lv0"], r["height_lv0"]) for r in rows] == [
        (20, 30, 41, 51), (200, 100, 64, 64),
    ]  # fmt: skip


def test_enlarging_a_box_is_refused_unless_asked_for(tmp_path: Path) -> None:
    image = bright(300, 300)
    shapes = [("box", box(50, 60, 70, 90))]
    sampling = {"kind": "box", "patch_size_px": SIDE}
    with pytest.raises(SpacingError, match="smaller than the patch"):
        build(tmp_path, image, shapes, sampling=sampling, **BOXES).survey()
    made = build(tmp_path, image, shapes, sampling=sampling, resample="zoom", **BOXES)
    ((pixels, mask, row),) = list(patches(made.build()))
    assert (row["width_lv0"], row["height_lv0"]) == (30, 30)
    np.testing.assert_array_equal(mask, np.where(polygon_mask(box(50, 60, 70, 90), row, SIDE), 0, 255))
    np.testing.assert_array_equal(pixels, _linear(image, row))


def _linear(image: npt.NDArray[np.uint8], row: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Linear interpolation between the centres of pixels, in whole numbers, rounded half up."""
    height, width = image.shape[:2]
    n = 2 * SIDE

    def taps(start: int, length: int, limit: int) -> npt.NDArray[np.int64]:
        table = np.zeros((SIDE, limit), np.int64)
        for i in range(SIDE):
            place = n * start + (2 * i + 1) * length - SIDE  # of the centre, from the first pixel's centre, in 1/n
            k, rest = divmod(place, n)
            table[i, min(max(k, 0), limit - 1)] += n - rest
            table[i, min(max(k + 1, 0), limit - 1)] += rest
        return table

    down, across = taps(row["y_lv0"], row["height_lv0"], height), taps(row["x_lv0"], row["width_lv0"], width)
    sums = np.einsum("jy,yxc,ix->jic", down, image.astype(np.int64), across, optimize=True)
    return ((2 * sums + n * n) // (2 * n * n)).astype(np.uint8)


def test_a_box_of_exactly_the_patch_is_read_as_it_is(tmp_path: Path) -> None:
    image = bright(300, 300)
    made = build(
        tmp_path, image, [("box", box(51, 60, 51 + SIDE, 60 + SIDE))],
        sampling={"kind": "box", "patch_size_px": SIDE}, **BOXES,
    )  # fmt: skip
    ((pixels, _, row),) = list(patches(made.build()))
    np.testing.assert_array_equal(pixels, image[60 : 60 + SIDE, 51 : 51 + SIDE])
    assert (row["scale"], row["spacing_um"]) == (1.0, pytest.approx(0.5))


@pytest.mark.parametrize("aspect", ["expand", "stretch"])
def test_a_whole_slide_is_one_patch(tmp_path: Path, aspect: str) -> None:
    image = bright(210, 150)
    shape = box(100, 20, 180, 90)
    made = build(
        tmp_path,
        image,
        [("Tumor", shape)],
        sampling={"kind": "whole", "patch_size_px": SIDE, "aspect": aspect},
        **BOXES,
    )
    ((pixels, mask, row),) = list(patches(made.build()))
    assert (row["width_lv0"], row["height_lv0"]) == ((210, 210) if aspect == "expand" else (210, 150))
    np.testing.assert_array_equal(pixels, area_mean_oracle(image, row, SIDE))
    expected = polygon_mask(shape, row, SIDE).astype(np.uint8)
    np.testing.assert_array_equal(mask, np.where(off_slide(row, SIDE, 210, 150), 255, expected))


# --- stride, bounds, quota --------------------------------------------------------------------------------


def test_overlapping_cells_and_every_decision_is_counted(tmp_path: Path) -> None:
    image = bright(300, 200)
    shape = box(64, 64, 128, 128)
    made = build(
        tmp_path, image, [("Tumor", shape)], downsample=1,
        sampling={"patch_size_px": SIDE, "stride_px": 16, "tumour_free_per_slide": 3},
        keep={"rules": [{"labels": ["tumour"], "min": 0.3, "max": 0.75}], "min_tissue": 0.0},
    )  # fmt: skip
    dataset = made.build()
    cells = [(x, y) for y in range(0, 200 - SIDE + 1, 16) for x in range(0, 300 - SIDE + 1, 16)]
    share = {
        (x, y): max(0, min(128, x + SIDE) - max(64, x)) * max(0, min(128, y + SIDE) - max(64, y)) / SIDE**2
        for x, y in cells
    }
    inside = {place for place, value in share.items() if 0.3 <= value <= 0.75}
    rows = {(r["x_lv0"], r["y_lv0"]): r for _, _, r in patches(dataset)}
    assert {place for place in rows if share[place] > 0} == inside
    assert {place: rows[place]["tumour_fraction"] for place in inside} == {place: share[place] for place in inside}
    assert counts(made) == {
        "kept": len(inside) + 3,
        "under_min": sum(0 < v < 0.3 for v in share.values()),
        "over_max": sum(v > 0.75 for v in share.values()),
        "tumour_free_not_sampled": sum(v == 0 for v in share.values()) - 3,
    }


def test_a_larger_quota_keeps_what_a_smaller_one_kept(tmp_path: Path) -> None:
    image = bright(300, 200)
    kept = []
    for quota in (3, 7, 1000):
        made = build(
            tmp_path, image, [("Tumor", box(0, 0, 300, 200))], downsample=1, out=f"out{quota}",
            sampling={"patch_size_px": SIDE, "max_per_slide": quota},
        )  # fmt: skip
        kept.append({(r["x_lv0"], r["y_lv0"]) for _, _, r in patches(made.build())})
        over = counts(made).get("over_quota", 0)
        assert over == 9 * 6 - len(kept[-1])
    assert [len(k) for k in kept] == [3, 7, 54]
    assert kept[0] < kept[1] < kept[2]


def test_rules_of_several_classes(tmp_path: Path) -> None:
    """Two labels with a rule each: a cell has to satisfy both; one without either is tumour-free."""
    image = bright(256, 64)
    # Quarters of the cells 0..7 (32 px each): tumour from the left, stroma from the top.
    shapes = [("Tumor", box(0, 0, 80, 64)), ("Stroma", box(64, 0, 176, 16))]
    made = build(
        tmp_path, image, shapes, downsample=1, labels=["tumour", "stroma"],
        annotations={"groups": {"Tumor": "tumour", "Stroma": "stroma"}},
        sampling={"patch_size_px": SIDE, "tumour_free_per_slide": "all"},
        keep={"rules": [{"labels": ["tumour"], "min": 0.1, "max": 0.9}, {"labels": ["stroma"], "min": 0.2, "max": 1.0}],
              "min_tissue": 0.0},
    )  # fmt: skip
    dataset = made.build()
    # Tumour is first in the recipe and wins where they overlap: cell 2 of row 0 has 1/2 tumour, 1/4 stroma.
    expected = {(64, 0), *((x, 0) for x in (192, 224)), *((x, 32) for x in (96, 128, 160, 192, 224))}
    rows = {(r["x_lv0"], r["y_lv0"]): r for _, _, r in patches(dataset)}
    assert set(rows) == expected
    assert (rows[64, 0]["tumour_fraction"], rows[64, 0]["stroma_fraction"]) == (0.5, 0.25)
    assert (rows[64, 0]["tumour_px"], rows[64, 0]["stroma_px"]) == (512, 256)


# --- small lesions -----------------------------------------------------------------------------------------

LESION_RULE = {"rules": [{"labels": ["tumour"], "min": 0.05, "max": 0.995}], "min_tissue": 0.0}


def test_small_lesions_that_the_grid_misses_get_cells_of_their_own(tmp_path: Path) -> None:
    """Micrometastases under the rule's min in every cell of the grid: each is in one cell, centred on it."""
    image = bright(640, 480)
    lesions = [(60, 60, 68, 68), (300, 200, 306, 206), (330, 204, 336, 210), (630, 470, 638, 478), (500, 100, 600, 200)]
    shapes = [("Tumor", box(*b)) for b in lesions]
    recipe: dict[str, Any] = {"downsample": 2, "keep": LESION_RULE}
    grid = build(tmp_path, image, shapes, sampling={"patch_size_px": SIDE}, out="grid", **recipe)
    grid.survey()
    lost = {item["index"] for item in grid.plan()["plan"]["lost_lesions"]}
    assert lost == {0, 1, 2, 3}, "a grid keeps nothing of the small ones"
    made = build(
        tmp_path, image, shapes, sampling={"patch_size_px": SIDE, "anchor": "lesion", "anchor_min": 0.005}, **recipe
    )
    dataset = made.build()
    rows = [r for _, _, r in patches(dataset)]
    shown = [
        sum(1 for r in rows if r["x_lv0"] <= x and r["y_lv0"] <= y and r["x_lv0"] + 64 >= e and r["y_lv0"] + 64 >= f)
        for x, y, e, f in lesions[:4]
    ]
    assert shown == [1, 1, 1, 1], "each once: the second cell shows the third lesion as well"
    assert made.plan()["plan"]["lost_lesions"] == []
    corners = {(r["x_lv0"], r["y_lv0"]) for r in rows}
    # Centred, rounded to whole pixels of the plane; at the border moved back onto the slide.
    assert {(32, 32), (272, 172), (576, 416)} <= corners
    assert counts(made)["anchor_not_needed"] == 1
    for pixels, mask, row in patches(dataset):
        x, y = row["x_lv0"], row["y_lv0"]
        np.testing.assert_array_equal(pixels, mean_of_blocks(image[y : y + 64, x : x + 64], 2))
        expected = np.any([polygon_mask(box(*b), row, SIDE) for b in lesions], axis=0)
        np.testing.assert_array_equal(mask, expected.astype(np.uint8))


def test_a_lesion_in_a_kept_cell_gets_no_second_one(tmp_path: Path) -> None:
    image = bright(256, 256)
    shapes = [("Tumor", box(64, 64, 84, 84))]
    made = build(
        tmp_path, image, shapes, downsample=2, keep=LESION_RULE, sampling={"patch_size_px": SIDE, "anchor": "lesion"}
    )
    assert [(r["x_lv0"], r["y_lv0"]) for _, _, r in patches(made.build())] == [(64, 64)]
    assert counts(made)["anchor_not_needed"] == 1


def test_an_anchored_cell_under_its_least_share_is_counted(tmp_path: Path) -> None:
    image = bright(256, 256)
    made = build(
        tmp_path, image, [("Tumor", box(64, 64, 68, 68)), ("Tumor", box(128, 128, 160, 160))], downsample=2,
        keep=LESION_RULE, sampling={"patch_size_px": SIDE, "anchor": "lesion", "anchor_min": 0.01},
    )  # fmt: skip
    assert [(r["x_lv0"], r["y_lv0"]) for _, _, r in patches(made.build())] == [(128, 128)]
    lost = made.plan()["plan"]["lost_lesions"]
    assert [item["index"] for item in lost] == [0]


@pytest.mark.parametrize("downsample", [1, 4])
def test_a_grid_begins_at_the_scanned_part(tmp_path: Path, downsample: int) -> None:
    """Leica, MIRAX: the file says where tissue was scanned; a grid from the slide's corner lies elsewhere."""
    scanned = scn.write(tmp_path, "s.scn", corner=(130, 99))
    x, y, width, height = scanned.bounds or (0, 0, 0, 0)
    assert (x, y) == (130, 99)
    corners = {}
    for origin in ("slide", "bounds"):
        made = case(
            tmp_path, [{"slide_id": "s", "slide": "s.scn"}], out=f"{origin}{downsample}", backend="openslide",
            downsample=downsample, pixels="level0", sampling={"patch_size_px": SIDE, "origin": origin},
        )  # fmt: skip
        dataset = made.build()
        corners[origin] = [(r["x_lv0"], r["y_lv0"]) for _, _, r in patches(dataset)]
        side = SIDE * downsample
        x0, y0 = (x // downsample * downsample, y // downsample * downsample) if origin == "bounds" else (0, 0)
        covered = (x + width - x0, y + height - y0) if origin == "bounds" else scanned.planes[0].shape[1::-1]
        assert corners[origin] == [
            (x0 + i * side, y0 + j * side) for j in range(covered[1] // side) for i in range(covered[0] // side)
        ]
        for pixels, _, row in patches(dataset):
            u, v = row["x_lv0"], row["y_lv0"]
            exact = mean_of_blocks(scanned.planes[0][v : v + side, u : u + side], downsample)
            np.testing.assert_array_equal(pixels, exact)
    assert corners["slide"] != corners["bounds"]
