"""The fast ways of reading give what the plain definitions give, for any image, scale, tiling, plan and order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from planes import plain_area_mean, planned_tiles
from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, block_mean, resampled
from wsiprep.slides.area_sums import AreaSums, can_sum
from wsiprep.slides.block_mean import summed_mean
from wsiprep.slides.protocol import LevelRead
from wsiprep.slides.resample import AreaAxis, axis_of
from wsiprep.slides.tiff import TiledTiff

WIDTH, HEIGHT = 203, 157
IMAGE = texture(WIDTH, HEIGHT, seed=11)
STORED = texture(-(-WIDTH // 4), -(-HEIGHT // 4), seed=12)
WRITINGS = {
    "tiles of 16": Writing(16),
    "tiles of 48": Writing(48),
    "one tile": Writing(208),
    "strips": Writing(None, extra={"rowsperstrip": 12}),
    "jpeg": Writing(32, "jpeg", "ycbcr"),
}


@pytest.fixture(scope="module")
def paths() -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {
            name: write_pyramid(Path(folder) / f"{number}.tif", [IMAGE, STORED], how)
            for number, (name, how) in enumerate(WRITINGS.items())
        }


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(2, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([256, 2, 1]),
)
def test_block_mean_is_the_plain_mean(height: int, width: int, factor: int, seed: int, spread: int) -> None:
    """Also of white and of the two values whose means lie halfway most often."""
    rng = np.random.default_rng(seed)
    image = (255 - rng.integers(0, spread, (height, width, 3))).astype(np.uint8)
    expected = mean_of_blocks(image, factor)
    assert np.array_equal(block_mean(image, factor), expected)
    assert np.array_equal(summed_mean(image, factor), expected)
    # Any strides: readers hand over parts of tiles.
    assert np.array_equal(block_mean(image[::-1, ::-1], factor), mean_of_blocks(image[::-1, ::-1], factor))


@given(st.integers(0, 255), st.integers(0, 255))
def test_the_mean_of_four_is_rounded_half_up_for_all_of_them(a: int, b: int) -> None:
    """All pairs below all pairs of a few: OpenCV does this one, with its vector code."""
    below = np.stack(np.meshgrid(np.arange(0, 256, 5), np.arange(256), indexing="ij"), axis=-1).reshape(1, -1)
    above = np.tile(np.array([a, b]), below.shape[1] // 2)[np.newaxis]
    image = np.repeat(np.concatenate([above, below])[..., np.newaxis], 3, axis=2).astype(np.uint8)
    sums = image.astype(int).reshape(2, -1, 2, 3).sum(axis=(0, 2))
    assert np.array_equal(block_mean(image, 2)[0], (sums + 2) >> 2)


@given(st.data())
def test_area_sums_are_the_plain_weighted_sums(data: st.DataObject) -> None:
    """Any scale from 1.5 on, any place, cut by the border, in one block or several."""
    height, width = data.draw(st.integers(4, 60)), data.draw(st.integers(4, 60))
    image = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).integers(0, 256, (height, width, 3))
    image = image.astype(np.uint8)
    axes = []
    for limit in (height, width):
        count = data.draw(st.integers(1, 12))
        length = data.draw(st.integers(-(-3 * count // 2), max(-(-3 * count // 2), 4 * limit)))
        axes.append(axis_of(data.draw(st.integers(-length // 2, limit)), length, count, limit))
    (top, bottom, rows), (left, right, columns) = axes
    assume(top < bottom and left < right and can_sum(rows, columns))
    assert isinstance(rows, AreaAxis)
    assert isinstance(columns, AreaAxis)
    part = Box(0, 0, right - left, bottom - top)
    (y, y_end), (x, x_end) = rows.source(0, bottom - top), columns.source(0, right - left)
    cut_y = sorted({y, y_end, *(data.draw(st.integers(y, y_end)) for _ in range(data.draw(st.integers(0, 3))))})
    cut_x = sorted({x, x_end, *(data.draw(st.integers(x, x_end)) for _ in range(data.draw(st.integers(0, 3))))})
    sums = AreaSums(rows, columns, part)
    for low_y, high_y in pairwise(cut_y):
        for low_x, high_x in pairwise(cut_x):
            sums.add(image[low_y:high_y, low_x:high_x].copy(), Box(low_x, low_y, high_x - low_x, high_y - low_y))
    assert np.array_equal(sums.mean(), plain_area_mean(image, rows, columns))


@st.composite
def grids(draw: st.DrawFn) -> PixelGrid:
    n = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16, None]))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x, y = draw(st.integers(-20, WIDTH)), draw(st.integers(-20, HEIGHT))
    if n is None:
        return PixelGrid(Box(x, y, draw(st.integers(1, 120)), draw(st.integers(1, 120))), width, height)
    return PixelGrid(Box(x // n * n, y // n * n, width * n, height * n), width, height)


@settings(max_examples=60)
@given(
    st.data(),
    st.sampled_from(sorted(WRITINGS)),
    st.sampled_from(["stored", "level0"]),
    st.sampled_from(["exact", "dct"]),
    st.integers(0, 40_000),
    st.sampled_from([1, 3]),
)
def test_a_plan_changes_no_pixel_and_decodes_its_tiles_once(
    paths: dict[str, Path], data: st.DataObject, name: str, pixels: str, decode: str, cache_bytes: int, threads: int
) -> None:
    wanted = data.draw(st.lists(grids(), min_size=1, max_size=8))
    with TiledTiff(paths[name]) as plain:
        reader = PatchReader(plain, pixels, decode)  # type: ignore[arg-type]
        expected = [reader.read(grid) for grid in wanted]
        reads = [read for grid in wanted for read in reader._reads(grid)]
        tiles = planned_tiles(reads, plain._tables)
    with TiledTiff(paths[name], cache_bytes=cache_bytes) as slide, ThreadPoolExecutor(threads) as pool:
        reader = PatchReader(slide, pixels, decode)  # type: ignore[arg-type]
        reader.plan(wanted)
        for got, pixels_of in zip(pool.map(reader.read, wanted), expected, strict=True):
            assert np.array_equal(got, pixels_of)
        for level in range(2):
            assert set(slide.decoded_tiles(level).tolist()) == {index for at, index, _ in tiles if at == level}
        # One tile may be wanted as it is and reduced: each of these is decoded.
        assert slide.tile_counts.decoded == len(tiles)
        assert slide._tiles._cache.held_bytes == 0


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(WRITINGS)), st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 104]))
def test_a_reduced_box_is_the_crop_of_the_reduced_level(
    paths: dict[str, Path], data: st.DataObject, name: str, factor: int
) -> None:
    with TiledTiff(paths[name]) as slide:
        assume(slide.can_reduce(0, factor))
        level_0 = slide.read_level(0, Box(0, 0, WIDTH, HEIGHT))
        whole = mean_of_blocks(level_0, factor)
        x, y = data.draw(st.integers(0, whole.shape[1])), data.draw(st.integers(0, whole.shape[0]))
        box = Box(x, y, data.draw(st.integers(0, whole.shape[1] - x)), data.draw(st.integers(0, whole.shape[0] - y)))
        expected = whole[box.y : box.y_end, box.x : box.x_end]
        read = LevelRead(0, box, factor)
        assert np.array_equal(slide.read_reduced(read), expected)
        around = np.zeros((box.height_px + 2, box.width_px + 2, 3), np.uint8)
        target = around[1:-1, 1:-1]
        assert slide.read_reduced(read, target) is target
        assert np.array_equal(target, expected)
        assert around.sum() == target.sum(), "nothing beside the box is written"


@given(grids())
def test_resampling_in_chunks_and_blocks_is_the_plain_way(paths: dict[str, Path], grid: PixelGrid) -> None:
    with TiledTiff(paths["tiles of 48"]) as slide:
        expected = resampled.resampled(slide, grid, 7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resampled, "can_sum", lambda rows, columns: False)
            assert np.array_equal(resampled.resampled(slide, grid, 7), expected)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resampled, "_CHUNK_PX", 11)
            patch.setattr(resampled, "_BLOCK_SIDE_PX", 13)
            assert np.array_equal(resampled.resampled(slide, grid, 7), expected)
