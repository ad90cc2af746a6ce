"""Grids of cells: counts that were checked by hand, edges, limits."""

from __future__ import annotations

import numpy as np
import pytest

from wsiprep.config import Sampling
from wsiprep.errors import UsageError
from wsiprep.geometry import Size
from wsiprep.patches import Cells, grid_cells


@pytest.mark.parametrize(
    ("size", "downsample", "sampling", "columns", "rows"),
    [
        (Size(20672, 16874), 2, Sampling(), 20, 16),
        (Size(9090, 7526), 1, Sampling(), 17, 14),
        (Size(9090, 7526), 1, Sampling(edge="pad"), 18, 15),
        (Size(1024, 512), 1, Sampling(edge="pad"), 2, 1),
        (Size(1025, 512), 1, Sampling(edge="pad"), 3, 1),
        (Size(1025, 511), 1, Sampling(), 0, 0),
        (Size(1025, 1024), 2, Sampling(), 1, 1),
        (Size(1025, 1023), 2, Sampling(), 0, 0),
        (Size(1025, 1023), 2, Sampling(edge="pad"), 2, 1),
        (Size(0, 0), 1, Sampling(edge="pad"), 0, 0),
        (Size(700, 0), 1, Sampling(edge="pad"), 0, 0),
        (Size(100, 40), 1, Sampling(patch_size_px=16, stride_px=8), 11, 4),
        (Size(105, 20), 1, Sampling(patch_size_px=16, stride_px=40, edge="pad"), 3, 1),
    ],
)
def test_counts(size: Size, downsample: int, sampling: Sampling, columns: int, rows: int) -> None:
    cells = grid_cells(size, downsample, sampling)
    assert len(cells) == columns * rows
    if len(cells):
        assert (cells.col.max() + 1, cells.row.max() + 1) == (columns, rows)


def test_order_types_and_places() -> None:
    cells = grid_cells(Size(200, 130), 2, Sampling(patch_size_px=32, stride_px=16))
    assert (cells.col.dtype, cells.row.dtype) == (np.int32, np.int32)
    assert (cells.x_lv0.dtype, cells.y_lv0.dtype) == (np.int64, np.int64)
    assert cells.side_lv0 == 64
    assert cells.x_lv0.tolist() == [0, 32, 64, 96, 128] * 3
    assert cells.y_lv0.tolist() == [y for y in (0, 32, 64) for _ in range(5)]
    assert cells.col.tolist() == [0, 1, 2, 3, 4] * 3


def test_take_by_mask_and_by_index() -> None:
    cells = grid_cells(Size(64, 64), 1, Sampling(patch_size_px=32))
    assert cells.take(cells.x_lv0 == 32).y_lv0.tolist() == [0, 32]
    assert cells.take(np.array([3, 0], dtype=np.intp)).x_lv0.tolist() == [32, 0]
    assert cells.take(np.array([3], dtype=np.intp)).patch_size_px == 32


def test_a_grid_too_large_is_refused_before_it_is_made() -> None:
    with pytest.raises(UsageError, match="too many cells") as caught:
        grid_cells(Size(2_000_000, 2_000_000), 1, Sampling(stride_px=1))
    assert caught.value.exit_code == 64


def test_a_downsample_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="downsample"):
        grid_cells(Size(10, 10), 0, Sampling())


def test_cells_check_their_arrays() -> None:
    small, large = np.zeros(2, dtype=np.int32), np.zeros(3, dtype=np.int64)
    with pytest.raises(UsageError, match="alike"):
        Cells(small, small, large, large, 16, 1)
    with pytest.raises(UsageError, match="at least 1 px"):
        Cells(small, small, large[:2], large[:2], 16, 0)
