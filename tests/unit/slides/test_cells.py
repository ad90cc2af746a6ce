"""Reading patches: memory, limits, and what is recorded of their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slide_files import Writing, texture, write_pyramid

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, PixelSource, open_slide, read_grid, resampled, sources_of
from wsiprep.slides.tiff import TiledTiff


class Watched(TiledTiff):
    """Notes the boxes that are read."""

    def __init__(self, path: Path) -> None:
        self.boxes: list[Box] = []
        super().__init__(path)

    def read_level(self, level: int, box: Box) -> Any:
        self.boxes.append(box)
        return super().read_level(level, box)


@pytest.fixture
def slide(tmp_path: Path) -> Watched:
    return Watched(write_pyramid(tmp_path / "a.tif", [texture(900, 700)], Writing(48)))


@pytest.mark.parametrize(("width", "height"), [(2, 1), (7, 5), (300, 200), (899, 699), (1000, 800)])
def test_large_boxes_are_read_in_blocks_each_once(
    slide: Watched, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    grid = PixelGrid(Box(0, 0, 900, 700), width, height)
    expected = read_grid(slide, grid)
    assert len(slide.boxes) == 1
    slide.boxes.clear()
    monkeypatch.setattr(resampled, "_BLOCK_SIDE_PX", 100)
    assert np.array_equal(read_grid(slide, grid), expected)
    assert max(box.area_px for box in slide.boxes) <= 144 * 144
    assert sum(box.area_px for box in slide.boxes) == 900 * 700
    # Blocks end where tiles end, so that no tile is decoded for two of them.
    assert all(box.x % 48 == 0 and box.y % 48 == 0 for box in slide.boxes)


def test_only_what_a_patch_needs_is_read(slide: Watched) -> None:
    read_grid(slide, PixelGrid(Box(100, 50, 150, 150), 100, 100))
    read_grid(slide, PixelGrid(Box(101, 51, 200, 200), 100, 100))
    read_grid(slide, PixelGrid(Box(-50, -60, 150, 150), 100, 100))
    read_grid(slide, PixelGrid(Box(2000, 2000, 150, 150), 100, 100))
    assert slide.boxes == [Box(100, 50, 150, 150), Box(101, 51, 200, 200), Box(0, 0, 100, 90)]


def test_patches_beside_the_slide_are_fill(slide: Watched) -> None:
    got = read_grid(slide, PixelGrid(Box(-500, 10, 150, 100), 100, 70), fill=7)
    assert got.shape == (70, 100, 3)
    assert (got == 7).all()


def test_what_cannot_be_allocated_or_summed_is_refused(slide: Watched) -> None:
    with pytest.raises(UsageError, match="patch is too large"):
        read_grid(slide, PixelGrid(Box(0, 0, 900, 700), 40_000, 40_000))
    assert slide.boxes == []


def test_a_box_far_larger_than_the_slide_is_exact(slide: Watched) -> None:
    """Partly outside: the weights of what lies on the slide alone."""
    grid = PixelGrid(Box(0, 0, 2**31, 2**31), 3, 3)
    got = read_grid(slide, grid, fill=1)
    assert (got == 1).all(), "the centre of the first pixel lies outside"
    grid = PixelGrid(Box(-(2**30) + 100, -(2**30) + 90, 2**31, 2**31), 1, 1)
    mean = slide.read_level(0, Box(0, 0, 900, 700)).astype(np.int64).sum(axis=(0, 1))
    assert np.array_equal(read_grid(slide, grid)[0, 0], (2 * mean + 630_000) // 1_260_000)


def test_where_the_pixels_come_from(tmp_path: Path) -> None:
    levels = [texture(400, 300), texture(200, 150, seed=2), texture(100, 75, seed=3)]
    with open_slide(write_pyramid(tmp_path / "a.tif", levels)) as slide:
        cases = {
            (0, 0, 100, 100): PixelSource(0, True),
            (3, 5, 100, 100): PixelSource(0, True),
            (2, 4, 200, 100): PixelSource(1, True),
            (3, 4, 200, 100): PixelSource(0, False),
            (8, 4, 400, 100): PixelSource(2, True),
            (6, 6, 300, 100): PixelSource(0, False),
            (0, 0, 150, 100): PixelSource(0, False),
            (0, 0, 50, 100): PixelSource(0, False),
        }
        for (x, y, side, px), expected in cases.items():
            grid = PixelGrid(Box(x, y, side, side), px, px)
            assert sources_of(slide, grid) == expected
            if side > px:
                assert not sources_of(slide, grid, pixels="level0").from_stored
        with pytest.raises(UsageError, match="kind of pixels"):
            PatchReader(slide, "best")  # type: ignore[arg-type]
