"""``wsiprep tile --tissue``: the mask decides what is tissue, and nothing else is looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from pipelinecases import run

import wsiprep
from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.cli import main
from wsiprep.synthetic import write_pyramid

SIDE_PX, CELL_PX, DOWN = 1024, 128, 8
N = SIDE_PX // CELL_PX
OPTIONS = ("--patch-size-px", CELL_PX // 2, "--downsample", 2, "--log-format", "none", "--set", "store.codec=blosc-lz4")


@dataclass(frozen=True)
class Place:
    """A white slide, on which no method finds tissue, and the truth of its mask."""

    slide: Path
    mask: Path
    truth: npt.NDArray[np.bool_]
    out: Path

    def tile(self, *words: object, out: Path | None = None) -> list[str]:
        return [str(w) for w in ("tile", self.slide, "-o", out or self.out, *OPTIONS, *words)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_pyramid(tmp_path / "slide.tif", np.full((SIDE_PX, SIDE_PX, 3), 240, np.uint8), spacing_um=0.5,
                  downsamples=(1, 2, 4, 8, 16))  # fmt: skip
    truth = np.zeros((SIDE_PX // DOWN,) * 2, np.bool_)
    # Cells of 16 x 16 mask pixels: from none to all of a cell, on both sides of 10 % (25.6 pixels).
    for number, count in enumerate((0, 1, 25, 26, 27, 128, 255, 256)):
        cell = np.zeros(256, np.bool_)
        cell[:count] = True
        truth[16 : 2 * 16, number * 16 : (number + 1) * 16] = cell.reshape(16, 16)
    save(tmp_path / "mask.png", truth)
    return Place(tmp_path / "slide.tif", tmp_path / "mask.png", truth, tmp_path / "out")


def save(path: Path, mask: npt.NDArray[np.bool_]) -> Path:
    path.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())
    return path


def kept(out: Path) -> set[tuple[int, int]]:
    table = pq.read_table(DatasetTree(out).plan_slice("slide"))
    return {
        (x // CELL_PX, y // CELL_PX) for x, y in zip(*(table[n].to_pylist() for n in ("x_lv0", "y_lv0")), strict=True)
    }


def record(out: Path) -> dict[str, Any]:
    return read_json(DatasetTree(out).slide("slide").record)


def test_exactly_the_cells_that_the_mask_fills_to_a_tenth(place: Place) -> None:
    run(*place.tile("--tissue", place.mask))
    share = place.truth.reshape(N, 16, N, 16).mean(axis=(1, 3))
    assert kept(place.out) == {(x, y) for y, x in np.argwhere(share >= 0.1).tolist()}
    assert len(kept(place.out)) == 5


def test_the_record_says_what_was_used(place: Place) -> None:
    run(*place.tile("--tissue", place.mask))
    found = record(place.out)
    assert found["tissue"]["method"] == "given"
    assert found["row"]["tissue"] == str(place.mask)
    assert read_json(DatasetTree(place.out).recipe)["tissue"]["method"] == "given"


def test_geojson_is_a_mask_too_and_python_takes_it(place: Place) -> None:
    square = {"type": "Polygon", "coordinates": [[[128, 0], [384, 0], [384, 128], [128, 128], [128, 0]]]}
    path = place.mask.with_suffix(".geojson")
    path.write_text(json.dumps(square))
    receipt = wsiprep.tile(place.slide, place.out, patch_size_px=64, downsample=2, tissue=path)
    assert receipt.n_patches == 2
    assert kept(place.out) == {(1, 0), (2, 0)}


def test_without_the_mask_this_slide_has_no_tissue(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.tile()) == 65
    assert "no cell of the slide is kept" in capsys.readouterr().err


def test_a_second_slide_goes_into_the_folder_with_its_own_mask(place: Place) -> None:
    run(*place.tile("--tissue", place.mask))
    other = place.slide.with_name("other.tif")
    other.write_bytes(place.slide.read_bytes())
    mask = save(place.mask.with_name("other.png"), ~place.truth)
    run("tile", other, "-o", place.out, "--tissue", mask, "--log-format", "none")
    table = pq.read_table(DatasetTree(place.out).plan_slice("other"))
    assert table.num_rows == (((~place.truth).reshape(N, 16, N, 16).mean(axis=(1, 3))) >= 0.1).sum()


@pytest.mark.parametrize("kind", ["none", "self-made"])
def test_one_folder_one_way_of_finding_tissue(place: Place, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*place.tile("--tissue", place.mask))
    words = place.tile() if kind == "none" else ["tile", str(place.slide), "-o", str(place.out)]
    assert main(words) == 64
    error = capsys.readouterr().err
    assert ("another recipe" if kind == "none" else "--tissue") in error
    assert "Traceback" not in error


def test_a_method_that_looks_at_the_slide_contradicts_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.tile("--tissue", place.mask, "--set", "tissue.method=od")) == 64
    assert "tissue.method=od" in capsys.readouterr().err
    run(*place.tile("--tissue", place.mask, "--set", "tissue.method=given"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.png", None, "there is no such tissue mask"),
        ("empty.png", b"", "is not a picture"),
        ("text.png", b"no picture", "is not a picture"),
        ("text.geojson", b"{", "cannot be read"),
        ("wide.png", "wide", "another aspect"),
    ],
)
def test_a_bad_mask_is_exit_65_and_names_the_file(
    place: Place, name: str, content: bytes | str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.mask.with_name(name)
    if content == "wide":
        save(path, np.ones((32, 64), np.bool_))
    elif content is not None:
        path.write_bytes(bytes(content))
    assert main(place.tile("--tissue", path)) == 65
    error = capsys.readouterr().err
    assert says in error
    assert name in error
    assert "Traceback" not in error
    assert not place.out.exists() or not list(place.out.rglob("*.json"))


def test_ready_cut_tiles_have_none(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place.slide.parent / "tiles"
    folder.mkdir()
    save(folder / "a.png", np.ones((64, 64), np.bool_))
    words = [str(w) for w in ("tile", folder, "-o", place.out, "--tissue", place.mask, "--slide-spacing-um", 0.5)]
    assert main(words) == 64
    assert "ready-cut tiles" in capsys.readouterr().err


def test_a_method_given_without_a_mask_says_what_to_do(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.tile("--set", "tissue.method=given")) == 64
    assert "--tissue" in capsys.readouterr().err
