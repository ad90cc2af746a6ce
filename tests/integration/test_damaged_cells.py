"""A tile that cannot be decoded costs the cells above it, listed; the others are exact; too many fail the slide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from pipelinecases import run
from slide_files import texture
from stagecases import Case, asap, box, case, patches, write_slide

from wsiprep.artifacts import read_json
from wsiprep.errors import PlanError, SlideError
from wsiprep.stages.pack import pack_or_record

TILE = 64
SIZE = (512, 384)
BAD = (256, 128)
"""Corner of the level-0 tile that is damaged."""


def damaged_slide(
    path: Path, *, compression: str, corners: tuple[tuple[int, int], ...] = (BAD,)
) -> npt.NDArray[np.uint8]:
    """A tiled slide, some of whose tiles hold other bytes; the pixels as they decode."""
    image = (texture(*SIZE, seed=8) // 2 + 60).astype(np.uint8)
    extra = {"compressionargs": {"level": 95}} if compression == "jpeg" else {}
    write_slide(path, image, 0.5, compression=compression, **extra)
    decoded: npt.NDArray[np.uint8] = tifffile.imread(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        across = -(-SIZE[0] // TILE)
        places = [(y // TILE) * across + x // TILE for x, y in corners]
        spans = [(page.dataoffsets[i], page.databytecounts[i]) for i in places]
    data = bytearray(path.read_bytes())
    for offset, count in spans:
        data[offset : offset + count] = bytes(count)
    path.write_bytes(bytes(data))
    return decoded


def dataset_case(folder: Path, compression: str, **recipe: Any) -> tuple[Case, npt.NDArray[np.uint8]]:
    corners = recipe.pop("corners", (BAD,))
    image = damaged_slide(folder / "s.tif", compression=compression, corners=corners)
    asap(folder / "s.xml", [("Tumor", box(0, 0, 300, 300))])
    rows: list[dict[str, object]] = [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}]
    return case(folder, rows, **recipe), image


@pytest.mark.parametrize("compression", ["jpeg", "zlib"])
@pytest.mark.parametrize("threads", [1, 3])
def test_one_bad_tile_costs_the_cells_above_it(tmp_path: Path, compression: str, threads: int) -> None:
    made, image = dataset_case(tmp_path, compression, downsample=1, sampling={"patch_size_px": 32})
    dataset = made.build(threads)
    bad = {(x, y) for x in (256, 288) for y in (128, 160)}
    receipt = made.receipt("s")
    assert {(d["x_lv0"], d["y_lv0"]) for d in receipt["provenance"]["damaged"]} == bad
    assert all(d["reason"] and d["tile"] is None for d in receipt["provenance"]["damaged"])
    everywhere = {(x, y) for x in range(0, SIZE[0], 32) for y in range(0, SIZE[1], 32)}
    rows = [row for _, _, row in patches(dataset)]
    assert [(r["y_lv0"], r["x_lv0"]) for r in rows] == sorted((y, x) for x, y in everywhere - bad)
    assert [r["row"] for r in rows] == list(range(len(rows)))
    for pixels, mask, row in patches(dataset):
        x, y = row["x_lv0"], row["y_lv0"]
        np.testing.assert_array_equal(pixels, image[y : y + 32, x : x + 32])
        inside = (np.arange(x, x + 32) < 300)[None, :] & (np.arange(y, y + 32) < 300)[:, None]
        np.testing.assert_array_equal(mask, inside)
    n = len(everywhere) - len(bad)
    assert receipt["n_patches"] == n == len(dataset)
    assert read_json(made.tree.dataset_record)["counts"]["patches"] == n
    assert any("4 cell(s) cannot be decoded" in text for _, text in made.reporter.said)
    run("verify", made.tree.root, "--deep")


@pytest.mark.parametrize(
    "scale", [{"downsample": 4}, {"spacing_um": 1.25, "resample": "area"}], ids=["integer", "fractional"]
)
def test_a_coarser_cell_over_a_bad_tile_is_left_out_whole(tmp_path: Path, scale: dict[str, Any]) -> None:
    made, _ = dataset_case(tmp_path, "jpeg", sampling={"patch_size_px": 16}, max_damaged=0.5, **scale)
    dataset = made.build()
    side = 64 if "downsample" in scale else 40
    expected = {
        (x, y)
        for x in range(0, SIZE[0] - side + 1, side)
        for y in range(0, SIZE[1] - side + 1, side)
        if x < BAD[0] + TILE and x + side > BAD[0] and y < BAD[1] + TILE and y + side > BAD[1]
    }
    assert {(d["x_lv0"], d["y_lv0"]) for d in made.receipt("s")["provenance"]["damaged"]} == expected
    assert len(dataset) + len(expected) == (SIZE[0] // side) * (SIZE[1] // side)


def test_a_stain_is_fitted_on_what_can_be_decoded(tmp_path: Path) -> None:
    made, _ = dataset_case(
        tmp_path, "jpeg", downsample=1, sampling={"patch_size_px": 32}, stain={"method": "macenko", "sample_cells": 256}
    )
    dataset = made.build()
    assert len(dataset) == 16 * 12 - 4


def test_too_many_bad_cells_fail_the_slide_and_the_others_go_on(tmp_path: Path) -> None:
    corners = tuple((x, 128) for x in range(0, 512, 64))
    made, _ = dataset_case(tmp_path, "jpeg", downsample=1, sampling={"patch_size_px": 32}, corners=corners)
    made.survey()
    made.plan()
    with pytest.raises(SlideError, match="too many cells"):
        made.pack()
    assert not list((made.tree.root / "shards").rglob("*.zarr")), "nothing half is published"
    receipt = pack_or_record(made.rows[0].located(), made.recipe, made.tree, made.reporter)
    assert (receipt.state, receipt.n_patches) == ("failed", 0)
    assert re.search(r"at most 5\.0% of 192", receipt.reason)
    with pytest.raises(PlanError, match="1 of 1 slides failed"):
        made.seal()


def test_a_failed_slide_beside_a_good_one(tmp_path: Path) -> None:
    corners = tuple((x, 128) for x in range(0, 512, 64))
    damaged_slide(tmp_path / "bad.tif", compression="jpeg", corners=corners)
    write_slide(tmp_path / "good.tif", texture(256, 256, seed=9), 0.5)
    rows: list[dict[str, object]] = [{"slide_id": name, "slide": f"{name}.tif"} for name in ("bad", "good")]
    made = case(tmp_path, rows, downsample=1, sampling={"patch_size_px": 32}, max_failed=0.5)
    made.survey()
    made.plan()
    for row in made.rows:
        pack_or_record(row.located(), made.recipe, made.tree, made.reporter)
    dataset = made.seal()
    assert {r["slide_id"] for r in dataset.index.to_pylist()} == {"good"}
    states = {s["slide_id"]: (s["state"], s["reason"]) for s in _slides(made)}
    assert states["good"][0] == "done"
    assert states["bad"][0] == "failed"
    assert "too many cells" in states["bad"][1]
    run("verify", made.tree.root, "--deep")


def _slides(made: Case) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(made.tree.root / "slides.parquet").to_pylist()
    return found


def test_nothing_is_left_of_a_slide_all_of_whose_cells_are_bad(tmp_path: Path) -> None:
    corners = tuple((x, y) for x in range(0, 512, 64) for y in range(0, 384, 64))
    made, _ = dataset_case(
        tmp_path, "jpeg", downsample=1, sampling={"patch_size_px": 32}, corners=corners, max_damaged=1.0,
    )  # fmt: skip
    with pytest.raises(SlideError):
        made.build()
