"""Reading by a plan: the tiles under the patches and no others, each decoded once, memory bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from slide_files import Writing, mean_of_blocks, texture, tiles_of, write_encoded, write_pyramid

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import DamagedRegionError, PatchReader, open_slide
from wsiprep.slides.protocol import LevelRead
from wsiprep.slides.tiff import TiledTiff

WIDTH, HEIGHT, TILE = 1000, 600, 64
IMAGE = texture(WIDTH, HEIGHT, seed=5)
STORED = texture(WIDTH // 4, HEIGHT // 4, seed=6)


@pytest.fixture(scope="module")
def tiled() -> Path:
    folder = Path(tempfile.mkdtemp())
    return write_pyramid(folder / "t.tif", [IMAGE, STORED], Writing(TILE))


@pytest.fixture(scope="module")
def striped() -> Path:
    folder = Path(tempfile.mkdtemp())
    return write_pyramid(folder / "s.tif", [IMAGE], Writing(None, extra={"rowsperstrip": 16}))


def rows_of(side_lv0: int, px: int, x: int, y: int, step: int | None = None) -> list[PixelGrid]:
    """All patches that lie on the slide, row by row from a corner on."""
    step = step or side_lv0
    return [
        PixelGrid(Box(left, top, side_lv0, side_lv0), px, px)
        for top in range(y, HEIGHT - side_lv0 + 1, step)
        for left in range(x, WIDTH - side_lv0 + 1, step)
    ]


def under(grids: Sequence[PixelGrid], tile_lv0: int, width: int = WIDTH) -> list[int]:
    """Indices of the tiles under the boxes, by the definition."""
    columns = -(-width // tile_lv0)
    found = {
        y // tile_lv0 * columns + x // tile_lv0
        for grid in grids
        for y in range(grid.box_lv0.y, grid.box_lv0.y_end)
        for x in (grid.box_lv0.x, *range(grid.box_lv0.x, grid.box_lv0.x_end, tile_lv0), grid.box_lv0.x_end - 1)
    }
    return sorted(found)


CASES: dict[str, Callable[[], tuple[list[PixelGrid], int]]] = {
    "aligned": lambda: (rows_of(128, 128, 0, 0), 0),
    "unaligned": lambda: (rows_of(100, 100, 7, 11), 0),
    "overlapping": lambda: (rows_of(100, 100, 0, 0, 50), 0),
    "a stored level": lambda: (rows_of(200, 50, 0, 0), 1),
    "half of level 0": lambda: (rows_of(100, 50, 4, 2), 0),
    "a third of level 0": lambda: (rows_of(99, 33, 3, 6), 0),
    "off the grid": lambda: (rows_of(100, 50, 3, 5), 0),
    "a fraction": lambda: (rows_of(103, 50, 3, 5), 0),
    "enlarged": lambda: (rows_of(50, 70, 3, 5), 0),
    "over the border": lambda: ([PixelGrid(Box(x, -30, 100, 100), 100, 100) for x in range(-50, WIDTH, 100)], 0),
}


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_tiles_decoded_are_those_under_the_patches_once_each(tiled: Path, name: str, threads: int) -> None:
    grids, level = CASES[name]()
    with TiledTiff(tiled) as plain:
        expected = [PatchReader(plain).read(grid) for grid in grids]
    with TiledTiff(tiled, cache_bytes=0) as slide, ThreadPoolExecutor(threads) as pool:
        reader = PatchReader(slide)
        assert {reader.source_of(grid).source_level for grid in grids} == {level}
        reader.plan(grids)
        got = list(pool.map(reader.read, grids))
        counts = slide.tile_counts
        assert counts.redecoded == 0
        assert counts.probed == 1
        inside = [replace(g, box_lv0=g.box_lv0.intersection(Box(0, 0, WIDTH, HEIGHT))) for g in grids]
        tile_lv0 = TILE * slide.info.levels[level].factor
        assert slide.decoded_tiles(level).tolist() == under(inside, tile_lv0)
        assert counts.decoded == len(slide.decoded_tiles(level))
        assert counts.fetched_bytes == sum(slide._tables[level].counts[slide.decoded_tiles(level)])
        assert slide.decoded_tiles(1 - level).size == 0
        assert slide._tiles._cache.held_bytes == 0, "nothing is kept when the plan is done"
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("side", "px"), [(100, 100), (100, 50), (99, 33)])
def test_strips_are_decoded_once_as_well(striped: Path, side: int, px: int, threads: int) -> None:
    grids = rows_of(side, px, 0, 0)
    with TiledTiff(striped, cache_bytes=0) as slide, ThreadPoolExecutor(threads) as pool:
        reader = PatchReader(slide, "level0")
        reader.plan(grids)
        for grid, got in zip(grids, pool.map(reader.read, grids), strict=True):
            box = grid.box_lv0
            assert np.array_equal(got, mean_of_blocks(IMAGE[box.y : box.y_end, box.x : box.x_end], side // px))
        assert slide.tile_counts.redecoded == 0
        assert slide.tile_counts.decoded == -(-max(grid.box_lv0.y_end for grid in grids) // 16)


def test_no_more_is_held_than_a_row_of_tiles(tiled: Path) -> None:
    grids = rows_of(100, 100, 7, 11)
    with TiledTiff(tiled, cache_bytes=0) as slide:
        reader = PatchReader(slide)
        reader.plan(grids)
        held = []
        for grid in grids:
            reader.read(grid)
            held.append(slide._tiles._cache.held_bytes)
    assert 0 < max(held) <= 3 * TILE * TILE * (-(-WIDTH // TILE) + 3)


def test_means_are_held_instead_of_tiles(tiled: Path) -> None:
    """At half the size a quarter of the memory."""
    held = {}
    for pixels in (100, 50):
        with TiledTiff(tiled, cache_bytes=0) as slide:
            reader = PatchReader(slide)
            reader.plan(grids := rows_of(100, pixels, 4, 2))
            held[pixels] = max(reader.read(grid) is not None and slide._tiles._cache.held_bytes for grid in grids)
    assert held[50] == held[100] // 4 > 0


def test_beyond_the_ceiling_pixels_stay_right_and_decoding_again_is_counted(tiled: Path) -> None:
    grids = rows_of(100, 100, 7, 11)
    with TiledTiff(tiled, cache_bytes=0, plan_bytes=5 * 3 * TILE * TILE) as slide:
        reader = PatchReader(slide)
        reader.plan(grids)
        for grid in grids:
            box = grid.box_lv0
            assert np.array_equal(reader.read(grid), IMAGE[box.y : box.y_end, box.x : box.x_end])
            assert slide._tiles._cache.held_bytes <= 5 * 3 * TILE * TILE
        counts = slide.tile_counts
        assert counts.redecoded > 0
        assert counts.decoded == len(slide.decoded_tiles(0)) + counts.redecoded


def test_patches_out_of_order_or_not_announced_are_read_all_the_same(tiled: Path) -> None:
    grids = rows_of(100, 100, 7, 11)
    with TiledTiff(tiled) as slide:
        reader = PatchReader(slide)
        reader.plan(grids)
        for number in np.random.default_rng(3).permutation(len(grids)).tolist():
            box = grids[number].box_lv0
            other = PixelGrid(Box(box.x + 1, box.y + 1, 50, 50), 50, 50)
            assert np.array_equal(reader.read(other), IMAGE[box.y + 1 : box.y + 51, box.x + 1 : box.x + 51])
            assert np.array_equal(reader.read(grids[number]), IMAGE[box.y : box.y_end, box.x : box.x_end])
        assert slide._tiles._cache.held_bytes == 0
        again = reader.read(grids[0])
        assert np.array_equal(again, reader.read(grids[0])), "after the plan tiles are kept as without one"
        assert slide._tiles._cache.held_bytes > 0


def test_a_grid_that_is_announced_twice_is_read_twice(tiled: Path) -> None:
    grids = rows_of(100, 100, 7, 11)[:3]
    with TiledTiff(tiled, cache_bytes=0) as slide:
        reader = PatchReader(slide)
        reader.plan([*grids, *grids])
        for grid in (*grids, *grids):
            reader.read(grid)
        assert slide.tile_counts.redecoded == 0
        assert slide._tiles._cache.held_bytes == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_damaged_tile_spoils_no_plan(tmp_path: Path, threads: int) -> None:
    path = write_pyramid(tmp_path / "d.tif", [IMAGE], Writing(TILE, "jpeg"))
    bad = 3 * -(-WIDTH // TILE) + 5
    with TiledTiff(path) as slide:
        offset, count = int(slide._tables[0].offsets[bad]), int(slide._tables[0].counts[bad])
        grids = rows_of(100, 100, 7, 11)
        whole = {grid: slide.read_level(0, grid.box_lv0) for grid in grids}
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write(b"\xff\xd9" * (count // 4))

    def read(grid: PixelGrid) -> bool:
        try:
            return np.array_equal(reader.read(grid), whole[grid])
        except DamagedRegionError:
            assert bad in under([grid], TILE)
            return True

    with TiledTiff(path, cache_bytes=0) as slide, ThreadPoolExecutor(threads) as pool:
        reader = PatchReader(slide)
        reader.plan(grids)
        assert all(pool.map(read, grids))
        assert bad not in slide.decoded_tiles(0)
        assert slide._tiles._cache.held_bytes == 0
        assert sum(bad in under([grid], TILE) for grid in grids) > 1


def test_slides_of_other_libraries_take_a_plan_and_count_nothing(tiled: Path) -> None:
    grids = rows_of(100, 100, 7, 11)[:2]
    with open_slide(tiled, "openslide") as slide:
        reader = PatchReader(slide)
        reader.plan(grids)
        box = grids[0].box_lv0
        assert np.array_equal(reader.read(grids[0]), IMAGE[box.y : box.y_end, box.x : box.x_end])
        assert reader.tile_counts is None


def test_tiles_never_written_are_white_and_cost_nothing(tmp_path: Path) -> None:
    tiles = [t.tobytes() for t in tiles_of(IMAGE, TILE)]
    columns = -(-WIDTH // TILE)
    kept = [t if i // columns < 3 and i % columns < 4 else b"" for i, t in enumerate(tiles)]
    path = write_encoded(tmp_path / "w.tif", IMAGE.shape, kept, TILE, photometric="rgb")
    expected = np.full_like(IMAGE, 255)
    expected[: 3 * TILE, : 4 * TILE] = IMAGE[: 3 * TILE, : 4 * TILE]
    with TiledTiff(path) as slide:
        for side, px in ((128, 128), (128, 32), (96, 32)):
            reader = PatchReader(slide)
            reader.plan(grids := rows_of(side, px, 0, 0))
            for grid in grids:
                box = grid.box_lv0
                part = expected[box.y : box.y_end, box.x : box.x_end]
                assert np.array_equal(reader.read(grid), mean_of_blocks(part, side // px))
        assert slide.decoded_tiles(0).tolist() == [i for i, t in enumerate(kept) if t]
        assert slide.tile_counts.decoded == 3 * 12


def test_what_is_resampled_is_no_read_though_it_has_its_size(tiled: Path) -> None:
    """19 pixels made of the 18 of a box are interpolated between 19 of level 0."""
    grids = [PixelGrid(Box(5, 7, 1, 18), 1, 19), PixelGrid(Box(5, 7, 40, 40), 41, 41)]
    with TiledTiff(tiled) as slide:
        expected = [PatchReader(slide).read(grid) for grid in grids]
        reader = PatchReader(slide)
        reader.plan(grids)
        assert all(np.array_equal(reader.read(grid), patch) for grid, patch in zip(grids, expected, strict=True))


@pytest.mark.parametrize(("side", "at"), [(56, 48), (17, 0)])
def test_a_planned_patch_at_the_corner_with_as_many_stored_pixels_as_it_has(tmp_path: Path, side: int, at: int) -> None:
    # At 3x tiles of 16 are not reduced one by one, and from the patch on the slide has as many pixels as the patch.
    path = write_pyramid(tmp_path / "corner.tif", [texture(side, side, seed=9)], Writing(16))
    px = side - at
    grid = PixelGrid(Box(at, at, 3 * px, 3 * px), px, px)
    with open_slide(path) as slide:
        reader = PatchReader(slide)
        plain = reader.read(grid)
        reader.plan([grid])
        assert (reader.read(grid) == plain).all()
    assert (plain[-1] == 255).all(), "beside the slide"


@pytest.mark.parametrize("out", [np.empty((64, 63, 3), np.uint8), np.empty((64, 64, 3), np.float32)])
def test_pixels_are_not_written_to_what_does_not_fit(tiled: Path, out: np.ndarray) -> None:
    with TiledTiff(tiled) as slide:
        with pytest.raises(UsageError, match="do not fit"):
            slide.read_reduced(LevelRead(0, Box(0, 0, 64, 64)), out)
        assert slide.tile_counts.decoded == 0


@pytest.mark.parametrize("plan_bytes", [0, 60_000, 2**26])
def test_threads_damage_and_a_plan_replaced_midway_change_no_pixel(tmp_path: Path, plan_bytes: int) -> None:
    path = write_pyramid(tmp_path / "a.tif", [IMAGE], Writing(TILE, "jpeg", "ycbcr"))
    with tifffile.TiffFile(path) as tif:
        offsets, counts = tif.pages[0].dataoffsets, tif.pages[0].databytecounts
    data = bytearray(path.read_bytes())
    for index in (20, 47, 90):
        data[offsets[index] + 2 : offsets[index] + counts[index]] = bytes(counts[index] - 2)
    path.write_bytes(data)
    rng = np.random.default_rng(plan_bytes)
    spans = (1, 5), (-9, 250), (-9, 150), (10, 99)
    each = zip(*(rng.integers(*span, 60).tolist() for span in spans), strict=True)
    grids = [PixelGrid(Box(n * x, n * y, n * px, n * px), px, px) for n, x, y, px in each]

    def read(reader: PatchReader, grid: PixelGrid) -> bytes | str:
        try:
            return reader.read(grid).tobytes()
        except DamagedRegionError:
            return "damaged"

    with TiledTiff(path, cache_bytes=0) as slide:
        plain = PatchReader(slide)
        expected = [read(plain, grid) for grid in grids]
    assert 0 < expected.count("damaged") < len(grids)
    with TiledTiff(path, cache_bytes=0, plan_bytes=plan_bytes) as slide, ThreadPoolExecutor(4) as pool:
        reader = PatchReader(slide)
        reader.plan(grids)
        first = pool.map(lambda grid: read(reader, grid), grids)
        reader.plan(grids[::2])
        assert list(first) == expected
        reader.plan(grids)
        assert list(pool.map(lambda grid: read(reader, grid), grids)) == expected
        assert slide._tiles._cache.held_bytes == 0, "all were read: nothing is kept"
