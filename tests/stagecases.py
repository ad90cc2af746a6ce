"""The stages from survey to a sealed dataset in this process, for tests of the whole pipeline on tiny files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from pipelinecases import write_rows

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages.pack import pack
from wsiprep.stages.plan import plan
from wsiprep.stages.rows import rows_of
from wsiprep.stages.seal import seal
from wsiprep.stages.survey import survey
from wsiprep.store import Dataset

Image = npt.NDArray[np.uint8]

BASE: dict[str, Any] = {
    "name": "case",
    "labels": ["tumour"],
    "annotations": {"groups": {"Tumor": "tumour"}},
    "keep": {"min_tissue": 0.0},
    "tissue": {"method": "s", "min_hole_um2": 0, "min_speck_um2": 0, "median_px": 0},
    "split": {"kind": "none"},
    "store": {"patches_per_shard_file": 4},
}
"""Keeps every annotated cell, so that a test decides what is left out."""


class Listener(NullReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, message: str, *, level: str = "info", **fields: Any) -> None:
        self.said.append((level, message))


@dataclass
class Case:
    """A recipe, a manifest and a folder to work in."""

    tree: DatasetTree
    recipe: Recipe
    rows: tuple[SlideRow, ...]
    reporter: Listener = field(default_factory=Listener)

    def survey(self) -> dict[str, dict[str, Any]]:
        """slide id -> its record."""
        return {row.slide_id: survey(row.located(), self.recipe, self.tree, self.reporter) for row in self.rows}

    def plan(self) -> dict[str, Any]:
        return plan(self.rows, self.recipe, self.tree, self.reporter)

    def pack(self, threads: int = 1) -> None:
        kept = read_json(self.tree.plan_record)["kept_slides"]
        for row in self.rows:
            if row.slide_id in kept:
                pack(row.located(), self.recipe, self.tree, self.reporter, threads=threads)

    def seal(self) -> Dataset:
        seal(self.rows, self.recipe, self.tree, self.reporter)
        return Dataset(self.tree.root)

    def build(self, threads: int = 1) -> Dataset:
        self.survey()
        self.plan()
        self.pack(threads)
        return self.seal()

    def record(self, slide_id: str) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.tree.slide(slide_id).record)
        return record

    def receipt(self, slide_id: str) -> dict[str, Any]:
        receipt: dict[str, Any] = read_json(self.tree.receipt(slide_id))
        return receipt


def case(folder: Path, rows: Sequence[Mapping[str, object]], *, out: str = "out", **recipe: Any) -> Case:
    """A case whose manifest lies in ``folder``; ``recipe`` replaces sections of ``BASE``, None removes one."""
    manifest = write_rows(folder / "manifest.csv", rows) if rows else None
    made = recipe_from_mapping({k: v for k, v in (BASE | recipe).items() if v is not None})
    return Case(DatasetTree(folder / out), made, rows_of(made, folder / "recipe.yaml", manifest))


def write_slide(path: Path, image: Image, um: float | tuple[float, float], **options: Any) -> Path:
    """A lossless slide of one level, tiles of 64 px."""
    x_um, y_um = um if isinstance(um, tuple) else (um, um)
    how: dict[str, Any] = {"photometric": "rgb", "compression": "zlib", "tile": (64, 64), "metadata": None} | options
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, resolution=(10_000 / x_um, 10_000 / y_um), resolutionunit="CENTIMETER", **how)
    return path


def asap(path: Path, shapes: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Path:
    """An ASAP file of polygons: (group, corners)."""
    groups = list(dict.fromkeys(group for group, _ in shapes))
    parts = []
    for number, (group, corners) in enumerate(shapes):
        points = "".join(f'<Coordinate Order="{i}" X="{x!r}" Y="{y!r}"/>' for i, (x, y) in enumerate(corners))
        parts.append(
            f'<Annotation Name="a{number}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
            f"<Coordinates>{points}</Coordinates></Annotation>"
        )
    named = "".join(f'<Group Name="{g}" PartOfGroup="None" Color="#0"><Attributes/></Group>' for g in groups)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<ASAP_Annotations><Annotations>{''.join(parts)}</Annotations>"
        f"<AnnotationGroups>{named}</AnnotationGroups></ASAP_Annotations>"
    )
    return path


def box(x: float, y: float, x_end: float, y_end: float) -> list[tuple[float, float]]:
    """Corners of a rectangle."""
    return [(x, y), (x_end, y), (x_end, y_end), (x, y_end)]


def twice_centres(start: int, length: int, count: int) -> npt.NDArray[np.int64]:
    """int64 (count,): centres of the pixels of a box, in 1 / (2 count) of a level-0 pixel: whole numbers."""
    return 2 * count * start + (2 * np.arange(count, dtype=np.int64) + 1) * length


def polygon_mask(corners: Sequence[tuple[float, float]], cell: Mapping[str, int], side: int) -> npt.NDArray[np.bool_]:
    """bool (side, side): the polygon in one cell by the centre rule, even-odd, in whole numbers.

    A centre on an edge belongs to what lies on its right or below. Corners are multiples of 1/8.
    """
    unit = 8
    x = twice_centres(cell["x_lv0"], cell["width_lv0"], side)[None, :] * unit
    y = twice_centres(cell["y_lv0"], cell["height_lv0"], side)[:, None] * unit
    points = [(round(a * unit) * 2 * side, round(b * unit) * 2 * side) for a, b in corners]
    assert all(a * unit == round(a * unit) for corner in corners for a in corner)
    odd = np.zeros((side, side), np.bool_)
    for edge in zip(points, [*points[1:], points[0]], strict=True):
        (x1, y1), (x2, y2) = sorted(edge, key=lambda point: point[1])
        odd ^= (y1 <= y) & (y < y2) & (x1 * (y2 - y1) + (y - y1) * (x2 - x1) <= x * (y2 - y1))
    return odd


def off_slide(cell: Mapping[str, int], side: int, width: int, height: int) -> npt.NDArray[np.bool_]:
    """bool (side, side): pixels of a cell whose centre lies beyond the slide."""
    x = twice_centres(cell["x_lv0"], cell["width_lv0"], side)[None, :]
    y = twice_centres(cell["y_lv0"], cell["height_lv0"], side)[:, None]
    off: npt.NDArray[np.bool_] = (x < 0) | (x >= 2 * side * width) | (y < 0) | (y >= 2 * side * height)
    return off


def area_mean_oracle(image: Image, cell: Mapping[str, int], side: int, fill: int = 255) -> Image:
    """Exact area means of a cell's pixels, rounded half up; ``fill`` where the centre is off the slide."""
    height, width = image.shape[:2]
    x, y = cell["x_lv0"], cell["y_lv0"]
    left, right = max(0, x), min(width, x + cell["width_lv0"])
    top, bottom = max(0, y), min(height, y + cell["height_lv0"])
    across = _weights(x, cell["width_lv0"], side, left, right)
    down = _weights(y, cell["height_lv0"], side, top, bottom)
    window = image[top:bottom, left:right].astype(np.float64)
    # Sums of whole numbers below 2^53 are exact in doubles, whatever the order.
    rows = np.tensordot(down.astype(np.float64), window, axes=(1, 0))
    sums = np.rint(np.tensordot(across.astype(np.float64), rows, axes=(1, 1))).astype(np.int64).transpose(1, 0, 2)
    totals = (down.sum(axis=1)[:, None] * across.sum(axis=1)[None, :])[..., None]
    mean = (2 * sums + totals) // np.maximum(1, 2 * totals)
    mean[off_slide(cell, side, width, height)] = fill
    return mean.astype(np.uint8)


def _weights(start: int, length: int, count: int, first: int, last: int) -> npt.NDArray[np.int64]:
    """int64 (count, last - first): how much of each source pixel each pixel holds, in 1 / count of a pixel."""
    low = start * count + np.arange(count, dtype=np.int64)[:, None] * length
    k = np.arange(first, last, dtype=np.int64)[None, :] * count
    return np.clip(np.minimum(low + length, k + count) - np.maximum(low, k), 0, None)


def patches(dataset: Dataset) -> Iterator[tuple[Image, Image, dict[str, Any]]]:
    """Every patch with its row of the index."""
    for i in range(len(dataset)):
        yield dataset.read(i)


@contextlib.contextmanager
def altered(path: Path, data: bytes) -> Iterator[None]:
    """Other bytes in a file for a while."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)
