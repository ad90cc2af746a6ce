"""The decoded tiles that are kept: each is decoded once on a walk, and memory is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from slide_files import Writing, texture, write_pyramid

from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.slides.byte_source import LocalBytes
from wsiprep.slides.tiff import TiledTiff


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the compressed tiles that are fetched from files."""
    places: list[int] = []

    class Counting(LocalBytes):
        def read(self, offset: int, count: int) -> bytes:
            places.append(offset)
            return super().read(offset, count)

    monkeypatch.setattr("wsiprep.slides.byte_source.LocalBytes", Counting)
    return places


def test_a_walk_in_row_order_decodes_each_tile_once(tmp_path: Path, fetched: list[int]) -> None:
    image = texture(1000, 500)
    path = write_pyramid(tmp_path / "a.tif", [image], Writing(64))
    with TiledTiff(path, cache_bytes=3 * 16 * 64 * 64 * 3) as slide:
        for y in range(0, 400, 90):
            for x in range(0, 900, 90):
                got = slide.read_level(0, Box(x, y, 90, 90))
                assert np.array_equal(got, image[y : y + 90, x : x + 90])
        # One tile was tried when the slide was opened.
        assert len(fetched) == len(set(fetched)) + slide.tile_counts.probed
        assert slide.tile_counts.redecoded == 0


def test_reads_are_fresh_arrays(tmp_path: Path) -> None:
    image = texture(100, 100)
    with open_slide(write_pyramid(tmp_path / "a.tif", [image])) as slide:
        first = slide.read_level(0, Box(0, 0, 64, 64))
        first[...] = 0
        assert np.array_equal(slide.read_level(0, Box(0, 0, 64, 64)), image[:64, :64])
