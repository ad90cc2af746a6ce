"""Where the cells of a slide lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.config import Sampling
from wsiprep.errors import UsageError
from wsiprep.geometry import Size, cell_origins

MAX_CELLS = 50_000_000
"""More cells than any slide has at a sensible stride; refused before anything is allocated."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of one slide, in row order (y, x).

    Attributes:
        col: int32 (n,), column in the grid.
        row: int32 (n,), row in the grid.
        x_lv0: int64 (n,), left edge in level-0 pixels.
        y_lv0: int64 (n,), upper edge in level-0 pixels.
        patch_size_px: side of a cell in pixels of its plane.
        downsample: level-0 pixels per pixel of that plane.

    Raises:
        UsageError: the arrays differ in shape, or a size is below 1.
    """

    col: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    x_lv0: npt.NDArray[np.int64]
    y_lv0: npt.NDArray[np.int64]
    patch_size_px: int
    downsample: int

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.col, self.row, self.x_lv0, self.y_lv0)}
        if len(shapes) != 1 or self.x_lv0.ndim != 1:
            raise UsageError("the arrays of cells must be (n,) alike", got=sorted(shapes))
        if self.patch_size_px < 1 or self.downsample < 1:
            raise UsageError("a cell has at least 1 px", got=(self.patch_size_px, self.downsample))

    def __len__(self) -> int:
        return len(self.x_lv0)

    @property
    def side_lv0(self) -> int:
        """Side of a cell in level-0 pixels."""
        return self.patch_size_px * self.downsample

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Cells:
        """The cells that a mask or an array of indices picks."""
        return Cells(
            self.col[chosen], self.row[chosen], self.x_lv0[chosen], self.y_lv0[chosen],
            self.patch_size_px, self.downsample,
        )  # fmt: skip


def grid_cells(size_lv0: Size, downsample: int, sampling: Sampling) -> Cells:
    """The regular grid of cells over a slide.

    With ``edge: drop`` the grid is of full cells over the plane's fully covered pixels (floor); with
    ``edge: pad`` it reaches over the border of the plane with its partial pixels (ceil), so that every
    pixel of the slide is in a cell (where the stride is not larger than the cell).

    Args:
        size_lv0: the slide at level 0.
        downsample: N of the plane that the cells are cut from.
        sampling: patch size, stride and edge rule of the recipe.

    Raises:
        UsageError: the downsample is below 1, or there would be more than ``MAX_CELLS`` cells.
    """
    if downsample < 1:
        raise UsageError("a downsample must be at least 1", got=downsample)
    pad = sampling.edge == "pad"
    plane = size_lv0.reduced(downsample) if pad else size_lv0.whole(downsample)
    if plane.area_px == 0:
        columns = rows = range(0)
    else:
        columns = cell_origins(plane.width_px, sampling.patch_size_px, sampling.stride, pad=pad)
        rows = cell_origins(plane.height_px, sampling.patch_size_px, sampling.stride, pad=pad)
    count = len(columns) * len(rows)
    if count > MAX_CELLS:
        raise UsageError(
            "the grid has too many cells", got=f"{len(columns)} x {len(rows)} = {count}",
            expected=f"at most {MAX_CELLS}", fix="ask for a larger sampling.stride_px or a coarser downsample",
        )  # fmt: skip
    col = np.tile(np.arange(len(columns), dtype=np.int32), len(rows))
    row = np.repeat(np.arange(len(rows), dtype=np.int32), len(columns))
    step_lv0 = sampling.stride * downsample
    return Cells(
        col, row, col.astype(np.int64) * step_lv0, row.astype(np.int64) * step_lv0, sampling.patch_size_px, downsample
    )
