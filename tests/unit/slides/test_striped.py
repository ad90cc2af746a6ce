"""Striped TIFFs: each strip is decoded once for all patches above it, in the order in which patches are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tifffile
from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader
from wsiprep.slides.tiff import TiledTiff

WIDTH_PX, HEIGHT_PX, ROWS_PER_STRIP = 600, 403, 16
STRIPS = -(-HEIGHT_PX // ROWS_PER_STRIP)
PATCH_PX = 96
STRIP_BYTES = WIDTH_PX * ROWS_PER_STRIP * 3

KINDS: dict[str, dict[str, Any]] = {
    "deflate": {"compression": "zlib", "extra": {"predictor": True}},
    "lzw": {"compression": "lzw", "extra": {"predictor": True}},
    "jpeg": {"compression": "jpeg", "photometric": "ycbcr", "extra": {"subsampling": (1, 1)}},
    "none": {"compression": None},
}


@pytest.fixture(params=list(KINDS))
def striped(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A file of strips, and the image that they decode to."""
    how = dict(KINDS[request.param])
    extra = how.pop("extra", {}) | {"rowsperstrip": ROWS_PER_STRIP}
    path = write_pyramid(tmp_path / "a.tif", [texture(WIDTH_PX, HEIGHT_PX)], Writing(None, extra=extra, **how))
    return path, decoded(path)


def decoded(path: Path) -> np.ndarray:
    """The whole image by tifffile alone; JPEG strip by strip with libjpeg-turbo, whose decode is the exact one."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        assert (page.is_tiled, len(page.dataoffsets)) == (False, STRIPS)
        if page.compression != 7:
            return page.asarray()
        data = path.read_bytes()
        strips = [data[o : o + n] for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        tables = page.jpegtables
        whole = [strip if tables is None else tables[:-2] + strip[2:] for strip in strips]
        return np.concatenate([simplejpeg.decode_jpeg(strip, "RGB") for strip in whole])


def patches(stride_px: int = PATCH_PX) -> list[PixelGrid]:
    """Patches row by row, as ``pack`` reads them."""

    def corners(side_px: int) -> Iterator[int]:
        return iter(range(0, side_px - PATCH_PX + 1, stride_px))

    return [
        PixelGrid(Box(x, y, PATCH_PX, PATCH_PX), PATCH_PX, PATCH_PX)
        for y in corners(HEIGHT_PX)
        for x in corners(WIDTH_PX)
    ]


@pytest.mark.parametrize("planned", [False, True])
def test_each_strip_is_decoded_once(striped: tuple[Path, np.ndarray], planned: bool) -> None:
    path, image = striped
    grids = patches()
    with TiledTiff(path) as slide:
        reader = PatchReader(slide)
        if planned:
            reader.plan(grids)
        for grid in grids:
            box = grid.box_lv0
            assert np.array_equal(reader.read(grid), image[box.y : box.y_end, box.x : box.x_end])
        touched = -(-max(grid.box_lv0.y_end for grid in grids) // ROWS_PER_STRIP)
        assert slide.decoded_tiles(0).tolist() == list(range(touched))
        assert (slide.tile_counts.decoded, slide.tile_counts.redecoded) == (touched, 0)


@pytest.mark.parametrize("stride_px", [PATCH_PX, 40])
def test_a_plan_needs_no_more_than_the_strips_under_a_row_of_patches(
    striped: tuple[Path, np.ndarray], stride_px: int
) -> None:
    """Also where patches overlap and rows of patches end within a strip, and with no cache beside the plan."""
    path, image = striped
    grids = patches(stride_px)
    rows = -(-(PATCH_PX + stride_px) // ROWS_PER_STRIP) + 1
    with TiledTiff(path, cache_bytes=0, plan_bytes=rows * STRIP_BYTES) as slide:
        reader = PatchReader(slide)
        reader.plan(grids)
        for grid in grids:
            box = grid.box_lv0
            assert np.array_equal(reader.read(grid), image[box.y : box.y_end, box.x : box.x_end])
        assert slide.tile_counts.redecoded == 0


def test_means_are_of_whole_strips(striped: tuple[Path, np.ndarray]) -> None:
    path, image = striped
    with TiledTiff(path) as slide:
        reader = PatchReader(slide, "level0")
        grids = [PixelGrid(Box(x, y, 128, 128), 64, 64) for y in (0, 128, 256) for x in (0, 128, 256, 384)]
        reader.plan(grids)
        expected = mean_of_blocks(image, 2)
        for grid in grids:
            x, y = grid.box_lv0.x // 2, grid.box_lv0.y // 2
            assert np.array_equal(reader.read(grid), expected[y : y + 64, x : x + 64])
        assert (slide.tile_counts.decoded, slide.tile_counts.redecoded) == (384 // ROWS_PER_STRIP, 0)
