"""Label rasters end to end: the same shape as outline and as raster gives the same masks, shares and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from collection_files import write_png
from pipelinecases import run
from slide_files import texture
from stagecases import Case, asap, case, patches, polygon_mask, write_slide

from wsiprep.errors import AnnotationError
from wsiprep.store import Dataset

SIZE = (403, 301)
STEP = 4
STAIRS = [(40, 20), (200, 20), (200, 60), (260, 60), (260, 200), (120, 200), (120, 120), (40, 120)]
"""Corners on pixels of a raster of 4 x 4 level-0 pixels, so that outline and raster are one shape."""
HOLE = [(100, 60), (140, 60), (140, 100), (100, 100)]
OFFCUT = [(380, 240), (440, 240), (440, 340), (380, 340)]
"""Reaches over the slide's corner, into the pixels that its border cuts."""
SCALES: dict[str, dict[str, Any]] = {
    "1": {"downsample": 1}, "2": {"downsample": 2}, "4": {"downsample": 4}, "8": {"downsample": 8},
    "2.5": {"spacing_um": 1.25, "resample": "area"}, "3.4": {"spacing_um": 1.7, "resample": "area"},
}  # fmt: skip
RASTER = {"values": {0: "background", 1: "tumour", 2: "ignore"}}
ROW = {"slide_id": "s", "slide": "s.tif"}


def painted(step: int = STEP) -> npt.NDArray[np.uint8]:
    """The shapes as a raster, by corners alone: 1 tumour, 2 ignore, 0 the hole."""
    width, height = -(-SIZE[0] // step), -(-SIZE[1] // step)
    raster = np.zeros((height, width), np.uint8)
    cell = {"x_lv0": 0, "y_lv0": 0, "width_lv0": 512, "height_lv0": 512}
    for corners, value in ((STAIRS, 1), (OFFCUT, 1), (HOLE, 2)):
        inside = polygon_mask(corners, cell, 512 // step)[:height, :width]
        raster[inside] = value
    return raster


def outlined(folder: Path, **recipe: Any) -> Case:
    asap(folder / "s.xml", [("Tumor", STAIRS), ("Tumor", OFFCUT), ("Unsure", HOLE)])
    groups = {"groups": {"Tumor": "tumour", "Unsure": "ignore"}}
    return case(folder, [ROW | {"annotation": "s.xml"}], out="outlines", annotations=groups, **recipe)


def slide(folder: Path) -> npt.NDArray[np.uint8]:
    image = texture(*SIZE, seed=5)
    write_slide(folder / "s.tif", image, 0.5)
    return image


def same(one: Dataset, other: Dataset) -> None:
    assert len(one) == len(other) > 0
    for (image, mask, row), (image_2, mask_2, row_2) in zip(patches(one), patches(other), strict=True):
        np.testing.assert_array_equal(image, image_2)
        np.testing.assert_array_equal(mask, mask_2)
        for name in ("x_lv0", "y_lv0", "tumour_px", "ignore_px"):
            assert row[name] == row_2[name]
        for name in ("tumour_fraction", "annotated_fraction"):
            assert row[name] == pytest.approx(row_2[name], abs=1e-11)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["tiff", "png"])
def test_outline_and_raster_give_the_same_patches(tmp_path: Path, kind: str, scale: str) -> None:
    slide(tmp_path)
    sampling = {"patch_size_px": 40, "edge": "pad"}
    keep = {"min_annotated": 0.0, "min_tissue": 0.0}
    expected = outlined(tmp_path, sampling=sampling, keep=keep, **SCALES[scale]).build()
    if kind == "tiff":
        name = "mask.tif"
        write_slide(
            tmp_path / name, painted(), 0.5 * STEP, photometric="minisblack", tile=(32, 32), compression="deflate"
        )
    else:
        name = "mask.png"
        write_png(tmp_path / name, painted())
    made = case(
        tmp_path, [ROW | {"annotation": name}], annotations={"raster": RASTER}, sampling=sampling, keep=keep,
        **SCALES[scale],
    )  # fmt: skip
    same(made.build(), expected)
    assert made.record("s")["annotation"]["kind"] == "raster"
    assert made.record("s")["annotation"]["area_px"] == {"tumour": pytest.approx(_area(painted()))}
    assert sum(r["tumour_px"] for _, _, r in patches(expected)) > 0


def _area(raster: npt.NDArray[np.uint8]) -> int:
    """Level-0 pixels of tumour on the slide."""
    whole = np.kron(raster == 1, np.ones((STEP, STEP), np.uint8))
    return int(whole[: SIZE[1], : SIZE[0]].sum())


def test_objects_of_outlines_and_of_an_instance_map_are_the_same(tmp_path: Path) -> None:
    """16-bit ids: two objects that touch stay two, one that a cell's edge cuts is one in each cell."""
    slide(tmp_path)
    boxes = [(40, 40, 120, 80), (120, 40, 180, 100), (200, 200, 300, 280)]
    shapes = [("Tumor", [(x, y), (e, y), (e, f), (x, f)]) for x, y, e, f in boxes]
    ids = np.zeros((-(-SIZE[1] // STEP), -(-SIZE[0] // STEP)), np.uint16)
    for number, (x, y, e, f) in zip((300, 7, 65535), boxes, strict=True):
        ids[y // STEP : f // STEP, x // STEP : e // STEP] = number
    write_png(tmp_path / "ids.png", ids)
    asap(tmp_path / "s.xml", shapes)
    common: dict[str, Any] = {"downsample": 2, "sampling": {"patch_size_px": 32, "edge": "pad"}}
    maps = case(
        tmp_path, [ROW | {"annotation": "ids.png"}], out="maps",
        annotations={"instances": True, "raster": {"instances": True, "label": "tumour"}}, **common,
    )  # fmt: skip
    vectors = case(
        tmp_path, [ROW | {"annotation": "s.xml"}], out="vectors",
        annotations={"instances": True, "groups": {"Tumor": "tumour"}}, **common,
    )  # fmt: skip
    one, other = maps.build(), vectors.build()
    same(one, other)
    numbers = set()
    for i in range(len(one)):
        row = one.read(i)[2]
        got = one.read_instance(i)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, other.read_instance(i))
        expected = np.zeros((32, 32), np.int32)
        found = [
            inside for _, corners in shapes if (inside := polygon_mask(corners, row, 32)).any()
        ]  # in the order of their first pixel
        for number, inside in enumerate(sorted(found, key=lambda m: int(np.flatnonzero(m)[0])), start=1):
            expected[inside] = number
        np.testing.assert_array_equal(got, expected)
        numbers |= set(np.unique(got).tolist())
    assert numbers == {0, 1, 2}
    run("verify", maps.tree.root, "--deep")


def test_a_changed_raster_is_refused_by_pack_and_planned_anew(tmp_path: Path) -> None:
    """The pixel that moves stays in its cell, so that no share tells of it."""
    slide(tmp_path)
    write_png(tmp_path / "mask.png", painted())
    made = case(
        tmp_path, [ROW | {"annotation": "mask.png"}], annotations={"raster": RASTER}, downsample=4,
        sampling={"patch_size_px": 32},
    )  # fmt: skip
    made.survey()
    made.plan()
    before = made.tree.plan_slice("s").read_bytes()
    made.pack()
    shard = made.receipt("s")["digest"]
    raster = painted()
    assert (raster[10, 20], raster[3, 12]) == (1, 0)
    raster[10, 20], raster[3, 12] = 0, 1
    write_png(tmp_path / "mask.png", raster)
    with pytest.raises(AnnotationError, match="not the one that was surveyed"):
        made.pack()
    made.survey()
    made.plan()
    assert made.tree.plan_slice("s").read_bytes() != before
    made.pack()
    assert made.receipt("s")["digest"] != shard


def test_another_meaning_of_the_values_is_refused_by_pack(tmp_path: Path) -> None:
    slide(tmp_path)
    write_png(tmp_path / "mask.png", painted())
    rows = [ROW | {"annotation": "mask.png"}]
    recipe: dict[str, Any] = {"downsample": 4, "sampling": {"patch_size_px": 32}, "labels": ["tumour", "other"]}
    made = case(tmp_path, rows, annotations={"raster": RASTER}, **recipe)
    made.survey()
    made.plan()
    values = {"values": {0: "background", 1: "other", 2: "ignore"}}
    other = case(tmp_path, rows, annotations={"raster": values}, **recipe)
    with pytest.raises(AnnotationError, match="not the one that was surveyed"):
        other.pack()


def test_an_unlisted_value_stops_survey_and_names_it(tmp_path: Path) -> None:
    slide(tmp_path)
    raster = painted()
    raster[50, 60] = 9
    write_png(tmp_path / "mask.png", raster)
    made = case(
        tmp_path, [ROW | {"annotation": "mask.png"}], annotations={"raster": RASTER}, downsample=4,
        sampling={"patch_size_px": 32},
    )  # fmt: skip
    with pytest.raises(AnnotationError, match="does not list") as caught:
        made.survey()
    assert "9 (1 pixels)" in str(caught.value)
    assert "x 60, y 50" in str(caught.value)


def test_corrections_over_a_raster_are_refused(tmp_path: Path) -> None:
    slide(tmp_path)
    write_png(tmp_path / "mask.png", painted())
    asap(tmp_path / "fix.xml", [("Tumor", STAIRS)])
    made = case(
        tmp_path, [ROW | {"annotation": "mask.png", "corrections": "fix.xml"}], annotations={"raster": RASTER},
        downsample=4, sampling={"patch_size_px": 32},
    )  # fmt: skip
    with pytest.raises(AnnotationError, match="cannot be laid over"):
        made.survey()


def test_a_raster_beside_outlines_in_one_dataset(tmp_path: Path) -> None:
    """TIGER has both; each row is read by its own content."""
    slide(tmp_path)
    write_slide(tmp_path / "t.tif", texture(*SIZE, seed=6), 0.5)
    asap(tmp_path / "t.xml", [("Tumor", STAIRS)])
    tifffile.imwrite(tmp_path / "mask.tif", painted(), tile=(32, 32), compression="deflate", photometric="minisblack")
    made = case(
        tmp_path, [ROW | {"annotation": "mask.tif"}, {"slide_id": "t", "slide": "t.tif", "annotation": "t.xml"}],
        annotations={"groups": {"Tumor": "tumour"}, "raster": RASTER}, downsample=4, sampling={"patch_size_px": 25},
    )  # fmt: skip
    dataset = made.build()
    assert (made.record("s")["annotation"]["kind"], made.record("t")["annotation"]["kind"]) == ("raster", "vectors")
    for _, mask, row in patches(dataset):
        x, y = row["x_lv0"] // 4, row["y_lv0"] // 4
        if row["slide_id"] == "s":
            raster = painted()[y : y + 25, x : x + 25]
            np.testing.assert_array_equal(mask, np.where(raster == 2, 255, raster))
        else:
            np.testing.assert_array_equal(mask, polygon_mask(STAIRS, row, 25))
