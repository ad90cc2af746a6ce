"""The decoded tiles that are kept: each is decoded once on a walk, and memory is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from slide_files import Writing, texture, write_pyramid

from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.slides.tiff import TileCache, TiledTiff


class Counting(TiledTiff):
    """Counts the compressed tiles that are fetched from the file."""

    def __init__(self, path: Path, cache_bytes: int) -> None:
        self.fetched: list[int] = []
        super().__init__(path, cache_bytes=cache_bytes)

    def _fetch(self, offset: int, count: int) -> bytes:
        self.fetched.append(offset)
        return super()._fetch(offset, count)


def test_a_walk_in_row_order_decodes_each_tile_once(tmp_path: Path) -> None:
    image = texture(1000, 500)
    path = write_pyramid(tmp_path / "a.tif", [image], Writing(64))
    with Counting(path, 3 * 16 * 64 * 64 * 3) as slide:
        for y in range(0, 400, 90):
            for x in range(0, 900, 90):
                got = slide.read_level(0, Box(x, y, 90, 90))
                assert np.array_equal(got, image[y : y + 90, x : x + 90])
        assert len(slide.fetched) == len(set(slide.fetched))


def test_the_cache_holds_no_more_than_its_limit() -> None:
    cache = TileCache(1000)
    tiles = {(0, i): np.full((10, 10, 3), i, np.uint8) for i in range(5)}
    for key, tile in tiles.items():
        cache.put(key, tile)
        cache.put(key, tile)
        assert cache.held_bytes <= 1000
    assert cache.get((0, 0)) is None
    assert cache.get((0, 2)) is tiles[0, 2]
    cache.put((1, 0), tiles[0, 0])  # pushes out the one used longest ago: 3, not 2
    assert cache.get((0, 3)) is None
    assert cache.get((0, 2)) is tiles[0, 2]
    cache.put((2, 0), np.zeros((100, 100, 3), np.uint8))
    assert cache.get((2, 0)) is None
    cache.clear()
    assert cache.held_bytes == 0


def test_reads_are_fresh_arrays(tmp_path: Path) -> None:
    image = texture(100, 100)
    with open_slide(write_pyramid(tmp_path / "a.tif", [image])) as slide:
        first = slide.read_level(0, Box(0, 0, 64, 64))
        first[...] = 0
        assert np.array_equal(slide.read_level(0, Box(0, 0, 64, 64)), image[:64, :64])
