"""Patches at any scale are exact: fractions against the integer code, and neighbours that agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slide_files import Writing, texture, write_pyramid

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, Plane, Slide, open_slide, read_grid, resampled, sources_of

WIDTH, HEIGHT = 47, 39
IMAGE = texture(WIDTH, HEIGHT, seed=8)
STORED = texture(-(-WIDTH // 4), -(-HEIGHT // 4), seed=4)
FILL = 9


@pytest.fixture(scope="module")
def slide() -> Iterator[Slide]:
    with tempfile.TemporaryDirectory() as folder:
        opened = open_slide(write_pyramid(Path(folder) / "s.tif", [IMAGE, STORED], Writing(16)))
        yield opened
        opened.close()


def weights_along(begin: int, length: int, count: int, limit: int, i: int) -> dict[int, Fraction] | None:
    """The share of each source pixel in output pixel i by the definition, None where its centre is outside."""
    scale = Fraction(length, count)
    centre = begin + (i + Fraction(1, 2)) * scale
    if not 0 <= centre < limit:
        return None
    if scale >= 1:
        start, stop = max(Fraction(0), begin + i * scale), min(Fraction(limit), begin + (i + 1) * scale)
        covered = range(int(start), -int(-stop // 1))
        return {k: (min(stop, k + 1) - max(start, k)) / (stop - start) for k in covered}
    below = (centre - Fraction(1, 2)) // 1
    share = centre - Fraction(1, 2) - below
    found: dict[int, Fraction] = {}
    for k, weight in ((below, 1 - share), (below + 1, share)):
        inside = min(max(k, 0), limit - 1)
        found[inside] = found.get(inside, Fraction(0)) + weight
    return found


def by_fractions(image: np.ndarray, grid: PixelGrid) -> np.ndarray:
    box = grid.box_lv0
    out = np.full((grid.height_px, grid.width_px, 3), FILL, np.uint8)
    for j in range(grid.height_px):
        down = weights_along(box.y, box.height_px, grid.height_px, image.shape[0], j)
        for i in range(grid.width_px):
            across = weights_along(box.x, box.width_px, grid.width_px, image.shape[1], i)
            if down is None or across is None:
                continue
            for c in range(3):
                mean = sum(v * h * int(image[y, x, c]) for y, v in down.items() for x, h in across.items())
                out[j, i, c] = int((mean + Fraction(1, 2)) // 1)
    return out


@st.composite
def grids(draw: st.DrawFn, shrink_only: bool = False) -> PixelGrid:
    box = Box(
        draw(st.integers(-20, WIDTH)),
        draw(st.integers(-20, HEIGHT)),
        draw(st.integers(1, 60)),
        draw(st.integers(1, 60)),
    )
    width = draw(st.integers(1, box.width_px if shrink_only else 14))
    height = draw(st.integers(1, box.height_px if shrink_only else 14))
    return PixelGrid(box, width, height)


@given(grids())
def test_any_grid_is_the_mean_of_exact_fractions(slide: Slide, grid: PixelGrid) -> None:
    expected = by_fractions(IMAGE, grid)
    if grid.downsample is None:
        assert np.array_equal(read_grid(slide, grid, fill=FILL), expected)
    else:
        plane = Plane(slide, grid.downsample, "level0")
        n = grid.downsample
        box = Box(grid.box_lv0.x // n, grid.box_lv0.y // n, grid.width_px, grid.height_px)
        got = read_grid(slide, grid, pixels="level0", fill=FILL)
        assert np.array_equal(got, plane.read_padded(box, FILL))
        if grid.box_lv0.within(slide.info.size):
            assert np.array_equal(got, expected)


@given(st.data(), grids())
def test_blocks_and_chunks_leave_no_trace(slide: Slide, data: st.DataObject, grid: PixelGrid) -> None:
    whole = resampled.resampled(slide, grid, FILL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampled, "_CHUNK_PX", data.draw(st.integers(1, 9)))
        patch.setattr(resampled, "_BLOCK_SIDE_PX", data.draw(st.integers(1, 9)))
        assert np.array_equal(resampled.resampled(slide, grid, FILL), whole)


@given(st.data(), st.integers(1, 7), st.integers(1, 7))
def test_a_part_of_a_patch_is_a_patch(slide: Slide, data: st.DataObject, step_lv0: int, step_px: int) -> None:
    """A grid of whole steps may be cut at any of them: every pixel stays the same."""
    columns, rows = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    x, y = data.draw(st.integers(-9, WIDTH)), data.draw(st.integers(-9, HEIGHT))
    grid = PixelGrid(Box(x, y, columns * step_lv0, rows * step_lv0), columns * step_px, rows * step_px)
    left, top = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    part = PixelGrid(Box(x + left * step_lv0, y + top * step_lv0, step_lv0, step_lv0), step_px, step_px)
    got = resampled.resampled(slide, part, FILL)
    whole = resampled.resampled(slide, grid, FILL)
    assert np.array_equal(got, whole[top * step_px : (top + 1) * step_px, left * step_px : (left + 1) * step_px])


@given(st.integers(1, 5), st.integers(0, 20), st.integers(0, 20), st.integers(1, 4), st.integers(1, 4))
def test_an_integer_scale_off_the_grid_is_the_mean_of_its_blocks(
    slide: Slide, n: int, x: int, y: int, width: int, height: int
) -> None:
    grid = PixelGrid(Box(x, y, width * n, height * n), width, height)
    block = IMAGE[y : y + height * n, x : x + width * n].astype(np.int64)
    sums = block.reshape(height, n, width, n, 3).sum(axis=(1, 3))
    assert np.array_equal(read_grid(slide, grid, pixels="level0"), (2 * sums + n * n) // (2 * n * n))
    source = sources_of(slide, grid)
    assert source.from_stored == (n == 1 or (n == 4 and x % 4 == 0 and y % 4 == 0))
    assert source.source_level == (n == 4 and x % 4 == 0 and y % 4 == 0)


@given(st.integers(1, 30), st.integers(1, 30))
def test_enlarging_is_within_a_level_of_opencv(slide: Slide, more_x: int, more_y: int) -> None:
    """From the whole slide, where both repeat the border."""
    grid = PixelGrid(Box(0, 0, WIDTH, HEIGHT), WIDTH + more_x, HEIGHT + more_y)
    theirs = cv2.resize(IMAGE, (grid.width_px, grid.height_px), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.abs(read_grid(slide, grid).astype(int) - theirs).max() <= 1


def test_an_aligned_grid_takes_the_stored_level(slide: Slide) -> None:
    grid = PixelGrid(Box(-8, 4, 60, 44), 15, 11)
    reader = PatchReader(slide, "stored")
    got = reader.read(grid, fill=FILL)
    assert np.array_equal(got, Plane(slide, 4).read_padded(Box(-2, 1, 15, 11), FILL))
    assert np.array_equal(got[:9, 2:14], STORED[1:10, :12])
    assert (got[:, :2] == FILL).all()
    assert (reader.source_of(grid).source_level, reader.source_of(grid).from_stored) == (1, True)
