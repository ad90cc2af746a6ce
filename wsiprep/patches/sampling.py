"""Where the cells of a slide or tile lie: whole boxes of level 0, whatever the sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.config import Sampling
from wsiprep.errors import UsageError
from wsiprep.geometry import Box, Size, cell_origins

MAX_CELLS = 50_000_000
"""More cells than any slide has at a sensible stride; refused before anything is allocated."""


CELL_COLUMNS = ("tile", "col", "row", "x_lv0", "y_lv0", "width_lv0", "height_lv0", "anchor")


@dataclass(frozen=True, slots=True)
class CellScale:
    """Level-0 pixels per pixel of a patch, along both axes; equal where the file's pixels are square."""

    x: Fraction
    y: Fraction

    @classmethod
    def square(cls, scale: int | Fraction) -> CellScale:
        return cls(Fraction(scale), Fraction(scale))

    @property
    def downsample(self) -> int | None:
        """N where both are the integer N, else None."""
        return int(self.x) if self.x == self.y and self.x.denominator == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of one slide or collection: boxes of level 0, each resampled to one square patch.

    Attributes:
        tile: int32 (n,), place of the tile in its collection; 0 for slides.
        col, row: int32 (n,), place in the grid (of its region of interest).
        x_lv0, y_lv0: int64 (n,), upper left corner in level-0 pixels.
        width_lv0, height_lv0: int64 (n,), in level-0 pixels.
        anchor: int64 (n,), index of the region that the cell is centred on, -1 for cells of a grid.
        patch_size_px: side of the patches.

    Raises:
        UsageError: the arrays differ in shape, or a size is below 1.
    """

    tile: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    x_lv0: npt.NDArray[np.int64]
    y_lv0: npt.NDArray[np.int64]
    width_lv0: npt.NDArray[np.int64]
    height_lv0: npt.NDArray[np.int64]
    anchor: npt.NDArray[np.int64]
    patch_size_px: int

    def __post_init__(self) -> None:
        shapes = {array.shape for array in self.columns.values()}
        if len(shapes) != 1 or self.x_lv0.ndim != 1:
            raise UsageError("the arrays of cells must be (n,) alike", got=sorted(shapes))
        if self.patch_size_px < 1 or min(self.width_lv0.min(initial=1), self.height_lv0.min(initial=1)) < 1:
            raise UsageError("a cell has at least 1 px", got=self.patch_size_px)

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in CELL_COLUMNS}

    @classmethod
    def of_columns(cls, columns: Mapping[str, npt.NDArray[Any]], patch_size_px: int) -> Cells:
        """Cells from arrays by name; others are left alone."""
        return cls(**{name: columns[name] for name in CELL_COLUMNS}, patch_size_px=patch_size_px)

    def __len__(self) -> int:
        return len(self.x_lv0)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Cells:
        """The cells that a mask or an array of indices picks."""
        return Cells.of_columns({name: array[chosen] for name, array in self.columns.items()}, self.patch_size_px)

    @classmethod
    def of_boxes(
        cls, boxes: Sequence[Box], patch_size_px: int, *, tile: int = 0, anchor: Sequence[int] | None = None
    ) -> Cells:
        """Cells that lie in no grid, in the given order."""
        n = len(boxes)
        table = np.array([(b.x, b.y, b.width_px, b.height_px) for b in boxes], dtype=np.int64).reshape(n, 4)
        numbers = np.arange(n, dtype=np.int32)
        of = np.full(n, -1, np.int64) if anchor is None else np.array(anchor, dtype=np.int64)
        return cls(
            np.full(n, tile, np.int32), numbers, np.zeros(n, np.int32),
            table[:, 0], table[:, 1], table[:, 2], table[:, 3], of, patch_size_px,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Cells], patch_size_px: int) -> Cells:
        """All cells of the parts in row order (tile, y, x), the same box of the same tile once: the first one stays."""
        if not parts:
            return cls.of_boxes((), patch_size_px)
        together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in CELL_COLUMNS}
        cells = cls.of_columns(together, patch_size_px)
        keys = (cells.width_lv0, cells.height_lv0, cells.x_lv0, cells.y_lv0, cells.tile)
        order = np.lexsort(keys)  # stable, so that of equal boxes the first part's comes first
        ordered = np.stack([key[order].astype(np.int64) for key in keys])
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
        return cells.take(order[fresh])


def grid_cells(
    size_lv0: Size, scale: CellScale, sampling: Sampling, *, origin: tuple[int, int] = (0, 0), tile: int = 0
) -> Cells:
    """The regular grid of cells over a slide, or over a box of it.

    With ``edge: drop`` the grid is of full cells; with ``edge: pad`` it reaches over the border, so that every
    pixel is in a cell (where the stride is not larger than the cell).

    Args:
        size_lv0: what is to be covered.
        scale: level-0 pixels per pixel; patch size and stride times it must be whole numbers.
        sampling: patch size, stride and edge rule of the recipe.
        origin: upper left corner in level-0 pixels.
        tile: number of the tile.

    Raises:
        UsageError: the scale does not fit, or there would be more than ``MAX_CELLS`` cells.
    """
    pad = sampling.edge == "pad"
    side_x, step_x = (_whole(scale.x, length) for length in (sampling.patch_size_px, sampling.stride))
    side_y, step_y = (_whole(scale.y, length) for length in (sampling.patch_size_px, sampling.stride))
    if size_lv0.area_px == 0:
        columns = rows = range(0)
    else:
        columns = cell_origins(size_lv0.width_px, side_x, step_x, pad=pad)
        rows = cell_origins(size_lv0.height_px, side_y, step_y, pad=pad)
    count = len(columns) * len(rows)
    if count > MAX_CELLS:
        raise UsageError(
            "the grid has too many cells", got=f"{len(columns)} x {len(rows)} = {count}",
            expected=f"at most {MAX_CELLS}", fix="ask for a larger sampling.stride_px or a coarser downsample",
        )  # fmt: skip
    col = np.tile(np.arange(len(columns), dtype=np.int32), len(rows))
    row = np.repeat(np.arange(len(rows), dtype=np.int32), len(columns))
    return Cells(
        np.full(count, tile, np.int32), col, row,
        origin[0] + col.astype(np.int64) * step_x, origin[1] + row.astype(np.int64) * step_y,
        np.full(count, side_x, np.int64), np.full(count, side_y, np.int64),
        np.full(count, -1, np.int64), sampling.patch_size_px,
    )  # fmt: skip


def roi_cells(bounds: Sequence[Bounds], scale: CellScale, sampling: Sampling, *, tile: int = 0) -> Cells:
    """A grid of its own in the bounding box of each region of interest (TIGER), cells in two of them once.

    The grid begins at the box's corner, rounded down to a whole pixel of the plane where the scale is an
    integer, so that stored levels can be read; the mask outside the region is 255 whatever the grid covers.

    Args:
        bounds: x_min, y_min, x_max, y_max of each region, level-0 pixels.
        scale, sampling, tile: see ``grid_cells``.
    """
    n = scale.downsample or 1
    parts = []
    for x_min, y_min, x_max, y_max in bounds:
        x, y = math.floor(x_min / n) * n, math.floor(y_min / n) * n
        size = Size(max(0, math.ceil(x_max) - x), max(0, math.ceil(y_max) - y))
        parts.append(grid_cells(size, scale, sampling, origin=(x, y), tile=tile))
    return Cells.joined(parts, sampling.patch_size_px)


def box_cells(bounds: Sequence[Bounds], sampling: Sampling, *, tile: int = 0) -> Cells:
    """One cell for each box, to be scaled to the patch (SCLC: annotated boxes to 1024 px).

    ``aspect: expand`` widens the shorter side about the centre to a square; ``stretch`` leaves the box as it is.
    """
    boxes = []
    for x_min, y_min, x_max, y_max in bounds:
        x, y = math.floor(x_min), math.floor(y_min)
        width, height = max(1, math.ceil(x_max) - x), max(1, math.ceil(y_max) - y)
        if sampling.aspect == "expand":
            side = max(width, height)
            x, y, width, height = x - (side - width) // 2, y - (side - height) // 2, side, side
        boxes.append(Box(x, y, width, height))
    return Cells.joined([Cells.of_boxes(boxes, sampling.patch_size_px, tile=tile)], sampling.patch_size_px)


def anchored_cells(
    bounds: Sequence[Bounds], regions: Sequence[int], size_lv0: Size, scale: CellScale, sampling: Sampling
) -> Cells:
    """One cell centred on each region that fits into a cell, moved back onto the slide where it reaches over.

    The corner is rounded to a whole pixel of the plane where the scale is an integer. A region larger than a
    cell gets none: a cell centred on it would show but a part, and the grid has such parts already.

    Args:
        bounds: of the regions.
        regions: their indices, which the cells remember as ``anchor``.
        size_lv0: of the slide.
        scale, sampling: see ``grid_cells``.
    """
    n = scale.downsample or 1
    side_x, side_y = (_whole(s, sampling.patch_size_px) for s in (scale.x, scale.y))
    boxes, anchors = [], []
    for index, (x_min, y_min, x_max, y_max) in zip(regions, bounds, strict=True):
        if x_max - x_min > side_x or y_max - y_min > side_y:
            continue
        x = _centred((x_min + x_max) / 2, side_x, size_lv0.width_px, n)
        y = _centred((y_min + y_max) / 2, side_y, size_lv0.height_px, n)
        boxes.append(Box(x, y, side_x, side_y))
        anchors.append(index)
    return Cells.of_boxes(boxes, sampling.patch_size_px, anchor=anchors)


Bounds = tuple[float, float, float, float]


def _centred(centre: float, side: int, limit: int, step: int) -> int:
    start = math.floor((centre - side / 2) / step + 0.5) * step
    return max(0, min(start, (limit - side) // step * step)) if limit >= side else 0


def _whole(scale: Fraction, length_px: int) -> int:
    length = scale * length_px
    if length.denominator != 1 or length < 1:
        raise UsageError(
            "patch size and stride must be whole numbers of level-0 pixels", got=f"{length_px} px x {float(scale):g}",
            fix="geometry.scale_for gives a scale that fits",
        )  # fmt: skip
    return int(length)
