"""Which lesions no kept cell touches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.patches.sampling import Cells


@dataclass(frozen=True, slots=True, eq=False)
class Lesions:
    """The annotated regions of one slide.

    Attributes:
        index: int64 (m,), the region's place in regions.geojson.
        label: the recipe's label of each.
        area_px: float64 (m,), level-0 pixels.
        bounds_lv0: float64 (m, 4), bounding boxes x_min, y_min, x_max, y_max in level-0 pixels.
        cells: for each, which candidate cells its area meets; None where that was not worked out, so that its
            bounding box has to do.

    Raises:
        UsageError: the arrays differ in length.
    """

    index: npt.NDArray[np.int64]
    label: tuple[str, ...]
    area_px: npt.NDArray[np.float64]
    bounds_lv0: npt.NDArray[np.float64]
    cells: tuple[npt.NDArray[np.int64] | None, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.label)
        if self.index.shape != (n,) or self.area_px.shape != (n,) or self.bounds_lv0.shape != (n, 4):
            raise UsageError(
                "the arrays of lesions differ in length",
                got=(self.index.shape, n, self.area_px.shape, self.bounds_lv0.shape),
                expected="(m,), m, (m,), (m, 4)",
            )

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True)
class LostLesion:
    """A region that no patch of the dataset shows."""

    slide_id: str
    index: int
    label: str
    area_px: float
    x_lv0: float
    y_lv0: float


def lost_lesions(slide_id: str, lesions: Lesions, cells: Cells, kept: npt.NDArray[np.bool_]) -> tuple[LostLesion, ...]:
    """The lesions that no kept cell meets, in their order.

    Args:
        slide_id: id of the slide.
        lesions: its annotated regions.
        cells: all candidates.
        kept: bool (n,), the cells that are packed.
    """
    hits = lesions_met(lesions, cells, kept)
    return tuple(
        LostLesion(
            slide_id, int(lesions.index[i]), lesions.label[i], float(lesions.area_px[i]),
            float(lesions.bounds_lv0[i, 0]), float(lesions.bounds_lv0[i, 1]),
        )
        for i in np.flatnonzero(~hits).tolist()
    )  # fmt: skip


def lesions_met(lesions: Lesions, cells: Cells, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """bool (m,): lesions whose area meets a kept cell; touching along an edge does not count.

    Where the cells of a lesion were not worked out its bounding box is what is tested: such a lesion is large,
    and one that this calls lost certainly is.
    """
    met: npt.NDArray[np.bool_] = cells_met(lesions.bounds_lv0, cells.take(kept)) > 0
    for i, own in enumerate(lesions.cells or ()):
        if own is not None:
            met[i] = bool(kept[own].any())
    return met


def cells_met(bounds_lv0: npt.NDArray[np.float64], cells: Cells) -> npt.NDArray[np.int64]:
    """int64 (m,): cells whose inside meets each box."""
    met = np.zeros(len(bounds_lv0), dtype=np.int64)
    if len(cells) == 0:
        return met
    sizes, which = np.unique(np.stack([cells.width_lv0, cells.height_lv0]), axis=1, return_inverse=True)
    for index, (width, height) in enumerate(sizes.T.tolist()):
        chosen = which.ravel() == index
        met += _met_by_equal(bounds_lv0, cells.x_lv0[chosen], cells.y_lv0[chosen], width, height)
    return met


def _met_by_equal(
    bounds_lv0: npt.NDArray[np.float64],
    x_lv0: npt.NDArray[np.int64],
    y_lv0: npt.NDArray[np.int64],
    width: int,
    height: int,
) -> npt.NDArray[np.int64]:
    """As ``cells_met`` for cells of one size.

    A summed table over the columns and rows that have a cell makes this one look-up a box, however
    many cells there are.
    """
    xs, column = np.unique(x_lv0, return_inverse=True)
    ys, row = np.unique(y_lv0, return_inverse=True)
    table: npt.NDArray[np.int64] = np.zeros((len(ys) + 1, len(xs) + 1), dtype=np.int64)
    np.add.at(table, (row + 1, column + 1), 1)
    table = table.cumsum(axis=0).cumsum(axis=1)
    x_min, y_min, x_max, y_max = bounds_lv0.T
    left, right = np.searchsorted(xs, x_min - width, side="right"), np.searchsorted(xs, x_max, side="left")
    top, bottom = np.searchsorted(ys, y_min - height, side="right"), np.searchsorted(ys, y_max, side="left")
    met: npt.NDArray[np.int64] = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return met
