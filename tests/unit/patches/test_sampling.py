"""Grids of cells: counts that were checked by hand, edges, limits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from wsiprep.config import Sampling
from wsiprep.errors import UsageError
from wsiprep.geometry import Size, scale_for
from wsiprep.patches import Cells, CellScale, anchored_cells, box_cells, grid_cells, roi_cells


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
    cells = grid_cells(size, CellScale.square(downsample), sampling)
    assert len(cells) == columns * rows
    if len(cells):
        assert (cells.col.max() + 1, cells.row.max() + 1) == (columns, rows)


def test_order_types_and_places() -> None:
    cells = grid_cells(Size(200, 130), CellScale.square(2), Sampling(patch_size_px=32, stride_px=16))
    assert (cells.col.dtype, cells.row.dtype) == (np.int32, np.int32)
    assert (cells.x_lv0.dtype, cells.y_lv0.dtype) == (np.int64, np.int64)
    assert set(cells.width_lv0.tolist()) == set(cells.height_lv0.tolist()) == {64}
    assert cells.x_lv0.tolist() == [0, 32, 64, 96, 128] * 3
    assert cells.y_lv0.tolist() == [y for y in (0, 32, 64) for _ in range(5)]
    assert cells.col.tolist() == [0, 1, 2, 3, 4] * 3


def test_take_by_mask_and_by_index() -> None:
    cells = grid_cells(Size(64, 64), CellScale.square(1), Sampling(patch_size_px=32))
    assert cells.take(cells.x_lv0 == 32).y_lv0.tolist() == [0, 32]
    assert cells.take(np.array([3, 0], dtype=np.intp)).x_lv0.tolist() == [32, 0]
    assert cells.take(np.array([3], dtype=np.intp)).patch_size_px == 32


def test_a_grid_too_large_is_refused_before_it_is_made() -> None:
    with pytest.raises(UsageError, match="too many cells") as caught:
        grid_cells(Size(2_000_000, 2_000_000), CellScale.square(1), Sampling(stride_px=1))
    assert caught.value.exit_code == 64


def test_a_scale_that_makes_no_whole_cells_is_refused() -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        grid_cells(Size(10, 10), CellScale.square(0), Sampling())
    with pytest.raises(UsageError, match="whole numbers"):
        grid_cells(Size(10, 10), CellScale.square(Fraction(2107, 512)), Sampling(stride_px=100))


def test_cells_check_their_arrays() -> None:
    cells = grid_cells(Size(64, 64), CellScale.square(1), Sampling(patch_size_px=32))
    with pytest.raises(UsageError, match="alike"):
        Cells.of_columns(cells.columns | {"x_lv0": cells.x_lv0[:2]}, 32)
    with pytest.raises(UsageError, match="at least 1 px"):
        Cells.of_columns(cells.columns | {"width_lv0": cells.width_lv0 * 0}, 32)
    with pytest.raises(UsageError, match="at least 1 px"):
        Cells.of_columns(cells.columns, 0)


def test_fractional_cells_are_whole_boxes_side_by_side() -> None:
    scale = scale_for(0.243, spacing_um=1.0, common_px=512, resample=True)
    cells = grid_cells(Size(20_000, 9_000), CellScale.square(scale), Sampling())
    assert scale == Fraction(2107, 512)
    assert cells.x_lv0[:3].tolist() == [0, 2107, 4214]
    assert set(cells.width_lv0.tolist()) == {2107}
    assert (cells.x_lv0 + cells.width_lv0).max() <= 20_000


def test_pixels_that_are_not_square_make_cells_that_are_not() -> None:
    cells = grid_cells(Size(4000, 4000), CellScale(Fraction(2), Fraction(5, 2)), Sampling())
    assert (cells.width_lv0[0], cells.height_lv0[0]) == (1024, 1280)
    assert len(cells) == 3 * 3


def test_a_grid_in_each_region_of_interest() -> None:
    sampling = Sampling(kind="roi", patch_size_px=32, edge="pad")
    cells = roi_cells([(101.5, 40.0, 165.0, 72.0), (300.0, 300.0, 310.0, 310.0)], CellScale.square(2), sampling)
    # The first begins at 100 (a whole pixel of the plane) and is 65 px wide, so it needs two cells of 64.
    assert list(zip(cells.x_lv0.tolist(), cells.y_lv0.tolist(), strict=True)) == [(100, 40), (164, 40), (300, 300)]


def test_cells_in_two_regions_come_once() -> None:
    sampling = Sampling(kind="roi", patch_size_px=16)
    cells = roi_cells([(0, 0, 32, 16), (16, 0, 48, 16)], CellScale.square(1), sampling)
    assert cells.x_lv0.tolist() == [0, 16, 32]


@pytest.mark.parametrize(("aspect", "box"), [("expand", (10, -20, 100, 100)), ("stretch", (10, 20, 100, 20))])
def test_a_crop_for_each_box(aspect: str, box: tuple[int, int, int, int]) -> None:
    cells = box_cells([(10.2, 20.0, 109.5, 39.9)], Sampling(kind="box", aspect=aspect))
    assert (cells.x_lv0[0], cells.y_lv0[0], cells.width_lv0[0], cells.height_lv0[0]) == box


def test_small_lesions_are_in_the_middle_of_a_cell_of_their_own() -> None:
    sampling = Sampling(patch_size_px=16, anchor="lesion")
    bounds = [(100.0, 200.0, 110.0, 206.0), (0.0, 0.0, 4.0, 4.0), (50.0, 50.0, 150.0, 60.0)]
    cells = anchored_cells(bounds, [0, 1, 2], Size(1000, 1000), CellScale.square(4), sampling)
    assert cells.anchor.tolist() == [0, 1]  # the third is larger than a cell
    assert list(zip(cells.x_lv0.tolist(), cells.y_lv0.tolist(), strict=True)) == [(72, 172), (0, 0)]


def test_joined_cells_are_in_row_order_and_the_grid_wins_over_an_anchor() -> None:
    sampling = Sampling(patch_size_px=16, anchor="lesion")
    grid = grid_cells(Size(32, 32), CellScale.square(1), sampling)
    anchored = anchored_cells([(20.0, 4.0, 28.0, 12.0), (12.0, 12.0, 20.0, 20.0)], [7, 8], Size(32, 32),
                              CellScale.square(1), sampling)  # fmt: skip
    cells = Cells.joined([grid, anchored], 16)
    places = list(zip(cells.y_lv0.tolist(), cells.x_lv0.tolist(), cells.anchor.tolist(), strict=True))
    assert places == [(0, 0, -1), (0, 16, -1), (8, 8, 8), (16, 0, -1), (16, 16, -1)]
