"""The declared option to let the JPEG decoder reduce: what is recorded, what it gives, where it does not apply."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, PixelSource, Plane, open_slide, read_grid, read_overview, sources_of
from wsiprep.slides.damage import TileDamageError
from wsiprep.slides.decode import JPEG, PixelFormat, complete_jpeg, decode_tile
from wsiprep.slides.jpeg_tiles import JpegTiles
from wsiprep.slides.tiff import TiledTiff

TILE, WIDTH, HEIGHT = 64, 500, 370
SLIDES = ["celiac_10x.tif", "granular_20x.tif", "mesothelioma_10x.tif"]


def smooth(width: int, height: int) -> np.ndarray:
    """A picture that survives JPEG: no noise."""
    y, x = np.mgrid[:height, :width]
    return np.stack([128 + 100 * np.sin(x / 17 + c) * np.cos(y / 23 - c) for c in range(3)], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = smooth(WIDTH, HEIGHT)
    stored = mean_of_blocks(image, 4)
    return write_pyramid(tmp_path_factory.mktemp("dct") / "j.tif", [image, stored], Writing(TILE, "jpeg", "ycbcr"))


def by_pillow(slide: TiledTiff, factor: int) -> np.ndarray:
    """Level 0 at 1 / factor, tile by tile, by the draft mode of another library."""
    table = slide._tables[0]
    rows = []
    for row in range(table.rows):
        tiles = []
        for column in range(table.columns):
            index = row * table.columns + column
            data = slide._source.read(int(table.offsets[index]), int(table.counts[index]))
            with Image.open(io.BytesIO(complete_jpeg(data, table.pixels.jpeg_tables, 6))) as image:
                image.draft("RGB", (table.tile.width_px // factor, table.tile.height_px // factor))
                tiles.append(np.asarray(image))
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pixels_are_those_of_the_scaled_decode_of_each_tile(path: Path, factor: int) -> None:
    with TiledTiff(path) as slide:
        expected = by_pillow(slide, factor)
        plane = Plane(slide, factor, "level0", "dct")
        assert plane.dct_factor == factor
        whole = plane.read(Box(0, 0, plane.size.width_px, plane.size.height_px))
        assert np.array_equal(whole, expected[: plane.size.height_px, : plane.size.width_px])
        plane = Plane(slide, 3 * factor, "level0", "dct")
        assert plane.dct_factor == (factor if factor < 8 else 8)
        got = plane.read(Box(1, 2, 12, 10) if factor < 8 else Box(1, 2, 8, 6))
        crop = expected[6 : 6 + 3 * got.shape[0], 3 : 3 + 3 * got.shape[1]]
        assert np.array_equal(got, mean_of_blocks(crop, 3)), "the rest of the reduction is the exact mean"


def test_what_was_done_is_recorded_for_each_patch(path: Path) -> None:
    with TiledTiff(path) as slide:

        def source(box: Box, px: int, pixels: str = "level0") -> PixelSource:
            return sources_of(slide, PixelGrid(box, px, px), pixels=pixels, decode="dct")  # type: ignore[arg-type]

        for n, factor in {1: 1, 2: 2, 3: 1, 4: 4, 5: 1, 6: 2, 8: 8, 12: 4, 16: 8, 24: 8}.items():
            assert source(Box(n, 2 * n, 10 * n, 10 * n), 10) == PixelSource(0, n == 1, factor), n
        assert source(Box(0, 0, 40, 40), 10, "stored") == PixelSource(1, True, 1), "a stored level comes first"
        assert source(Box(0, 0, 20, 20), 10, "stored") == PixelSource(0, False, 2)
        # Grids that cut the reduced pixels: three of these at least make one.
        for length, factor in {11: 1, 59: 1, 60: 2, 61: 2, 119: 2, 121: 4, 239: 4, 241: 8}.items():
            assert source(Box(1, 1, length, length), 10).dct_factor == factor, length
        # 500 x 370 px: the last reduced pixel is cut by the border at 4 along y, at 8 along both.
        assert source(Box(420, 290, 80, 80), 20).dct_factor == 1
        assert source(Box(420, 280, 80, 80), 20).dct_factor == 4
        assert source(Box(424, 200, 80, 80), 10).dct_factor == 1
        assert source(Box(480, 352, 80, 80), 40).dct_factor == 2
        assert source(Box(400, 288, 200, 200), 25).dct_factor == 1


def test_where_it_does_not_apply_the_mean_is_exact(path: Path, tmp_path: Path) -> None:
    image = smooth(WIDTH, HEIGHT)
    lossless = write_pyramid(tmp_path / "z.tif", [image], Writing(TILE))
    odd = write_pyramid(tmp_path / "o.tif", [image], Writing(None, "jpeg", "ycbcr", extra={"rowsperstrip": 24}))
    grid = PixelGrid(Box(32, 16, 160, 160), 10, 10)
    with open_slide(lossless, "tiff") as slide:
        assert sources_of(slide, grid, decode="dct").dct_factor == 1
        assert np.array_equal(read_grid(slide, grid, decode="dct"), mean_of_blocks(image, 16)[1:11, 2:12])
        assert np.array_equal(read_overview(slide, 16, "dct")[0], mean_of_blocks(image, 16))
    with open_slide(path, "openslide") as slide:
        assert sources_of(slide, grid, pixels="level0", decode="dct").dct_factor == 1
    with open_slide(odd, "tiff") as slide:
        assert sources_of(slide, grid, decode="dct").dct_factor == 8
        exact = read_grid(slide, grid)
        assert np.abs(read_grid(slide, grid, decode="dct").astype(int) - exact).max() <= 8
        with pytest.raises(UsageError, match="way of decoding"):
            PatchReader(slide, decode="fast")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="way of decoding"):
            Plane(slide, 2, decode="fast")  # type: ignore[arg-type]


def test_exact_is_the_default_and_unchanged(path: Path) -> None:
    with TiledTiff(path) as slide:
        level_0 = slide.read_level(0, Box(0, 0, WIDTH, HEIGHT))
        grid = PixelGrid(Box(64, 32, 256, 256), 32, 32)
        got = read_grid(slide, grid)
        assert np.array_equal(got, mean_of_blocks(level_0, 8)[4:36, 8:40])
        assert not np.array_equal(got, read_grid(slide, grid, decode="dct"))


@pytest.mark.parametrize("n", [2, 4, 8, 12, 7.3])
def test_neighbours_agree_where_they_overlap_and_tiles_are_decoded_once(path: Path, n: float) -> None:
    length = int(20 * n)
    steps = [round(x * n) if n == int(n) else x * 73 // 10 for x in (0, 10, 20)] if n != 7.3 else [0, 73]
    with TiledTiff(path, cache_bytes=0) as slide:
        grids = [PixelGrid(Box(x, y, length, length), 20, 20) for y in steps[:2] for x in steps]
        reader = PatchReader(slide, "level0", "dct")
        assert {reader.source_of(grid).dct_factor for grid in grids} == {{2: 2, 4: 4, 8: 8, 12: 4, 7.3: 2}[n]}
        reader.plan(grids)
        patches = {(g.box_lv0.x, g.box_lv0.y): reader.read(g) for g in grids}
        for (x, y), patch in patches.items():
            right, below = patches.get((x + steps[1], y)), patches.get((x, y + steps[1]))
            if right is not None:
                assert np.array_equal(patch[:, 10:], right[:, :10])
            if below is not None:
                assert np.array_equal(patch[10:], below[:10])
        assert slide.tile_counts.redecoded == 0
        assert slide.tile_counts.decoded == len(slide.decoded_tiles(0)) > 0


@pytest.mark.parametrize("name", SLIDES)
def test_on_real_slides_it_is_40_db_to_the_exact_mean(shared_data: Path, name: str) -> None:
    with open_slide(shared_data / "slides" / name) as slide:
        exact, reduced = PatchReader(slide, "level0"), PatchReader(slide, "level0", "dct")
        size = slide.info.size
        for scale, factor in ((2, 2), (4, 4), (8, 8), (6, 2), (6.03, 2), (12.3, 4)):
            length = int(128 * scale)
            start = [int(side // 2 // scale * scale) for side in (size.width_px, size.height_px)]
            grid = PixelGrid(Box(*start, length, length), 128, 128)
            assert reduced.source_of(grid).dct_factor == factor
            error = exact.read(grid).astype(float) - reduced.read(grid)
            assert 10 * np.log10(255**2 / np.mean(error**2)) > 40, scale


@pytest.mark.parametrize("name", SLIDES[:1])
def test_an_overview_of_level_0_alone_may_be_reduced_by_the_decoder(shared_data: Path, path: Path, name: str) -> None:
    with TiledTiff(path) as slide:
        expected = by_pillow(slide, 2)
        got, true = read_overview(slide, 2, "dct")
        assert true == 2
        assert np.array_equal(got, expected[: got.shape[0], : got.shape[1]])
        lower = read_overview(slide, 8, "dct")[0]
        assert np.array_equal(lower, read_overview(slide, 8)[0]), "lower levels are decoded in full"
    with open_slide(shared_data / "slides" / name) as slide:
        assert np.array_equal(read_overview(slide, 32, "dct")[0], read_overview(slide, 32)[0])


def test_damage_is_met_at_every_size() -> None:
    image = smooth(TILE, TILE)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    for factor in (1, 2, 4, 8):
        tiles = JpegTiles(PixelFormat(JPEG, 6, 3))
        assert tiles.decode(data, TILE, TILE, dct=factor).shape == (TILE // factor, TILE // factor, 3)
        with pytest.raises(ValueError, match="Premature end"):
            tiles.decode(data[: len(data) * 2 // 3], TILE, TILE, dct=factor)
        with pytest.raises(TileDamageError, match="64 x 64 px, not 64 x 32"):
            tiles.decode(data, TILE, 32, dct=factor)


@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_the_beginning_that_is_remembered_changes_no_pixel(kind: str) -> None:
    """Streams that begin alike and others in turn, against the plain decoder."""
    samples = 1 if kind == "L" else 3
    pixels = PixelFormat(JPEG, 1 if samples == 1 else 6, samples)
    streams = []
    for seed, quality in enumerate((90, 90, 50, 90, 50)):
        image = texture(TILE, TILE, seed, channels=samples)
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if samples == 1 else image).save(buffer, "JPEG", quality=quality)
        streams.append(buffer.getvalue())
    tiles = JpegTiles(pixels)
    out = np.empty((TILE, TILE, 3), np.uint8)
    for stream in (*streams, *reversed(streams)):
        expected = decode_tile(pixels, stream, TILE, TILE)
        assert np.array_equal(tiles.decode(stream, TILE, TILE), expected)
        assert tiles.decode(stream, TILE, TILE, out=out) is out
        assert np.array_equal(out, expected)
    other = PixelFormat(JPEG, 6, 3) if samples == 1 else PixelFormat(JPEG, 1, 1)
    with pytest.raises(TileDamageError, match="where the header says"):
        JpegTiles(other).decode(streams[0], TILE, TILE)
