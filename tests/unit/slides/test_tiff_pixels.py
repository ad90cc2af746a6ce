"""The plain TIFF reader gives the pixels that the file holds, codec by codec."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from slide_files import Writing, mean_of_blocks, padded, texture, tiles_of, write_encoded, write_pyramid

from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide
from wsiprep.slides.decode import (
    DECODER_ERRORS,
    HORIZONTAL,
    JPEG,
    Alpha,
    PixelFormat,
    TileDamageError,
    complete_jpeg,
    decode_tile,
)
from wsiprep.slides.protocol import composite_on_white

APERIO = "Aperio Image Library v1\r\n150x100 (64x64) J2K/YUV|AppMag = 40|MPP = 0.25"


def whole(slide: Any, level: int = 0) -> np.ndarray:
    size = slide.info.levels[level].size
    return slide.read_level(level, Box(0, 0, size.width_px, size.height_px))


@pytest.mark.parametrize("tile", [64, None], ids=["tiles", "strips"])
@pytest.mark.parametrize(
    ("compression", "extra"),
    [
        (None, {}),
        ("zlib", {}),
        ("zlib", {"predictor": True}),
        ("lzw", {}),
        ("lzw", {"predictor": True}),
        ("packbits", {}),
        ("zstd", {}),
        ("webp", {"compressionargs": {"lossless": True}}),
    ],
)
def test_a_lossless_codec_gives_back_what_was_written(
    tmp_path: Path, tile: int | None, compression: str | None, extra: dict[str, Any]
) -> None:
    image = texture(150, 101)
    strips = {} if tile else {"rowsperstrip": 16}
    path = write_pyramid(tmp_path / "a.tif", [image], Writing(tile, compression, extra=extra | strips))
    with open_slide(path, "tiff") as slide:
        assert np.array_equal(whole(slide), image)
        assert slide.info.compression == {None: "none", "zlib": "deflate"}.get(compression, compression)
        assert (slide.info.levels[0].tile is None) == (tile is None)
        assert np.array_equal(slide.read_level(0, Box(61, 14, 70, 80)), image[14:94, 61:131])


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
@pytest.mark.parametrize("tile", [64, None], ids=["tiles", "strips"])
def test_jpeg_follows_the_photometric_tag(tmp_path: Path, photometric: str, tile: int | None) -> None:
    image = texture(150, 101)
    arguments = {"level": 90} | ({"outcolorspace": "rgb"} if photometric == "rgb" else {})
    extra: dict[str, Any] = {"compressionargs": arguments} | ({} if tile else {"rowsperstrip": 16})
    path = write_pyramid(tmp_path / "a.tif", [image], Writing(tile, "jpeg", photometric, extra=extra))
    with tifffile.TiffFile(path) as tif:
        expected = tif.pages[0].asarray()
        assert tif.pages[0].photometric.name.lower() == photometric
    with open_slide(path, "tiff") as slide:
        assert np.array_equal(whole(slide), expected)


def test_rgb_jpeg_with_a_misleading_jfif_marker_is_still_rgb() -> None:
    image = texture(64, 64)
    rgb = imagecodecs.jpeg8_encode(image, level=95, colorspace="rgb", outcolorspace="rgb")
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    stream = rgb[:2] + jfif + rgb[2:]
    got = decode_tile(PixelFormat(JPEG, 2, 3), stream, 64, 64)
    assert np.array_equal(got, imagecodecs.jpeg8_decode(rgb, colorspace="rgb", outcolorspace="rgb"))


def test_ycbcr_jpeg_with_a_misleading_adobe_marker_is_still_ycbcr() -> None:
    image = texture(64, 64)
    ycbcr = imagecodecs.jpeg8_encode(image, level=95, colorspace="rgb", outcolorspace="ycbcr")
    expected = imagecodecs.jpeg8_decode(ycbcr)
    adobe_rgb = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    without_jfif = ycbcr[:2] + ycbcr[20:] if ycbcr[2:4] == b"\xff\xe0" else ycbcr
    stream = without_jfif[:2] + adobe_rgb + without_jfif[2:]
    assert np.array_equal(decode_tile(PixelFormat(JPEG, 6, 3), stream, 64, 64), expected)


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    image = texture(150, 101, channels=1)
    lossless = write_pyramid(tmp_path / "a.tif", [image[..., 0]], Writing(photometric="minisblack"))
    lossy = write_pyramid(tmp_path / "b.tif", [image[..., 0]], Writing(64, "jpeg", "minisblack"))
    with open_slide(lossless, "tiff") as slide:
        assert np.array_equal(whole(slide), np.repeat(image, 3, axis=2))
    with open_slide(lossy, "tiff") as slide, tifffile.TiffFile(lossy) as tif:
        assert np.array_equal(whole(slide), np.repeat(tif.pages[0].asarray()[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("meaning", ["unassalpha", "assocalpha"])
def test_transparency_shows_white(tmp_path: Path, meaning: str) -> None:
    rgba = texture(150, 101, channels=4)
    rgba[:40, :40, 3] = 0
    rgba[50:80, :40, 3] = 255
    alpha = rgba[..., 3:].astype(int)
    if meaning == "assocalpha":
        rgba[..., :3] = rgba[..., :3].astype(int) * alpha // 255
        expected = rgba[..., :3].astype(int) + 255 - alpha
    else:
        expected = np.floor((rgba[..., :3] * alpha + 255 * (255 - alpha)) / 255 + 0.5)
    path = write_pyramid(tmp_path / "a.tif", [rgba], Writing(extra={"extrasamples": [meaning]}))
    with open_slide(path, "tiff") as slide:
        assert np.array_equal(whole(slide), expected.astype(np.uint8))
    assert (expected[:40, :40] == 255).all()


def test_a_fourth_sample_of_no_stated_meaning_is_refused(tmp_path: Path) -> None:
    how = Writing(extra={"extrasamples": ["unspecified"]})
    path = write_pyramid(tmp_path / "a.tif", [texture(150, 101, channels=4)], how)
    with open_slide(path) as slide:
        assert slide.info.backend != "tiff"
        assert "samples per pixel" in slide.info.backend_note


def test_tiles_that_were_never_written_are_white(tmp_path: Path) -> None:
    image = texture(150, 101)
    tiles = [None if i in (1, 4) else t for i, t in enumerate(tiles_of(image, 64))]
    path = write_encoded(tmp_path / "a.tif", image.shape, tiles, 64, photometric="rgb", compression="zlib")
    expected = image.copy()
    expected[:64, 64:128] = expected[64:, 64:128] = 255
    with open_slide(path, "tiff") as slide:
        assert np.array_equal(whole(slide), expected)
        assert np.array_equal(slide.read_level(0, Box(10, 10, 100, 80)), expected[10:90, 10:110])


def encode_jp2k(tile: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=0, reversible=True, **options))


@pytest.mark.parametrize("kind", ["APERIO_JP2000_RGB", "APERIO_JP2000_YCBC"])
def test_aperio_jpeg_2000_equals_openslide(tmp_path: Path, kind: str) -> None:
    image = texture(150, 101)
    tiles = [encode_jp2k(t, mct=kind.endswith("RGB")) for t in tiles_of(image, 64)]
    tags = {"photometric": "rgb", "compression": kind, "description": APERIO}
    path = write_encoded(tmp_path / "a.svs", image.shape, tiles, 64, **tags)
    with open_slide(path, "tiff") as slide, openslide.OpenSlide(path) as oracle:
        got = whole(slide)
        assert np.array_equal(got, np.asarray(oracle.read_region((0, 0), 0, (150, 101)).convert("RGB")))
    assert np.array_equal(got, image) == kind.endswith("RGB")


def test_every_chroma_pair_of_ycbcr_jpeg_2000_equals_openslide(tmp_path: Path) -> None:
    blue, red = np.meshgrid(np.arange(256), np.arange(256))
    for luma in (0, 90, 255):
        image = np.stack([np.full_like(blue, luma), blue, red], axis=-1).astype(np.uint8)
        tags = {"photometric": "ycbcr", "compression": "APERIO_JP2000_YCBC", "description": APERIO}
        tile = encode_jp2k(image, mct=False)
        path = write_encoded(tmp_path / f"{luma}.svs", image.shape, [tile], 256, **tags)
        with open_slide(path, "tiff") as slide, openslide.OpenSlide(path) as oracle:
            expected = np.asarray(oracle.read_region((0, 0), 0, (256, 256)).convert("RGB"))
            assert np.array_equal(whole(slide), expected)


def test_jpeg_tiles_equal_openslide_at_level_0(tmp_path: Path) -> None:
    image = texture(500, 300)
    how = Writing(64, "jpeg", extra={"compressionargs": {"level": 80}, "subsampling": (2, 2)})
    path = write_pyramid(tmp_path / "a.tif", [image], how)
    with open_slide(path, "tiff") as slide, openslide.OpenSlide(path) as oracle:
        assert np.array_equal(whole(slide), np.asarray(oracle.read_region((0, 0), 0, (500, 300)).convert("RGB")))


@pytest.mark.parametrize("subifds", [True, False])
def test_every_level_is_read_as_stored(tmp_path: Path, subifds: bool) -> None:
    image = texture(330, 270)
    levels = [image, mean_of_blocks(image, 2), mean_of_blocks(image, 4)]
    path = write_pyramid(tmp_path / "a.tif", levels, Writing(subifds=subifds))
    with open_slide(path, "tiff") as slide:
        assert [level.factor for level in slide.info.levels] == [1, 2, 4]
        for index, expected in enumerate(levels):
            assert np.array_equal(whole(slide, index), expected)


def test_padding_of_a_level_is_cropped(tmp_path: Path) -> None:
    image = texture(700, 500)
    levels = [image, padded(mean_of_blocks(image, 4), 64)]
    with open_slide(write_pyramid(tmp_path / "a.tif", levels), "tiff") as slide:
        level = slide.info.levels[1]
        assert (level.factor, level.size, level.stored_size) == (4, Size(175, 125), Size(192, 128))
        assert np.array_equal(whole(slide, 1), mean_of_blocks(image, 4))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "no SOI"),
        (b"\x00\x01", "no SOI"),
    ],
)
def test_bytes_that_are_no_jpeg(data: bytes, fault: str) -> None:
    with pytest.raises(TileDamageError, match=fault):
        complete_jpeg(data, None, 6)


def test_broken_jpeg_tables_are_named() -> None:
    with pytest.raises(TileDamageError, match="JPEG tables"):
        complete_jpeg(b"\xff\xd8\xff\xe0", b"\xff\xd8 no end", 6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 333, 3), (64, 64, 1), (40, 40, 4)])
def test_the_predictor_is_a_running_sum_modulo_256(shape: tuple[int, int, int]) -> None:
    steps = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    data = zlib.compress(steps.tobytes())
    alpha = Alpha.NONE if shape[2] < 4 else Alpha.STRAIGHT
    got = decode_tile(PixelFormat(8, 2 if shape[2] > 1 else 1, shape[2], HORIZONTAL, alpha), data, shape[1], shape[0])
    sums = np.cumsum(steps, axis=1, dtype=np.uint8)
    expected = composite_on_white(sums) if shape[2] == 4 else np.broadcast_to(sums, (*shape[:2], 3))
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("fault", ["cut", "checksum", "flip", "short", "long"])
def test_deflate_tiles_are_what_zlib_takes(fault: str) -> None:
    pixels = texture(64, 64).tobytes()
    data = zlib.compress(pixels)
    bad = {
        "cut": data[:-1],
        "checksum": data[:-1] + bytes([data[-1] ^ 1]),
        "flip": data[:500] + bytes([data[500] ^ 4]) + data[501:],
        "short": zlib.compress(pixels[:-3]),
        "long": zlib.compress(pixels + b"abc"),
    }
    form = PixelFormat(8, 2, 3)
    for good in (data, data + b"\0"):
        assert decode_tile(form, good, 64, 64).tobytes() == pixels
    with pytest.raises(DECODER_ERRORS):
        decode_tile(form, bad[fault], 64, 64)


def test_a_stream_of_another_size_is_not_decoded() -> None:
    image = texture(64, 48)
    jpeg = imagecodecs.jpeg8_encode(image)
    with pytest.raises(TileDamageError, match="64 x 48 px, not 64 x 64"):
        decode_tile(PixelFormat(JPEG, 6, 3), jpeg, 64, 64)
    with pytest.raises(TileDamageError, match="samples"):
        decode_tile(PixelFormat(JPEG, 1, 1), jpeg, 64, 48)
    with pytest.raises(TileDamageError, match="64 x 48 px, not 64 x 64"):
        decode_tile(PixelFormat(33005, 2, 3), encode_jp2k(image), 64, 64)
    with pytest.raises(TileDamageError, match="no JPEG 2000"):
        decode_tile(PixelFormat(33005, 2, 3), b"nothing", 64, 64)
    with pytest.raises(ValueError, match="shape"):
        decode_tile(PixelFormat(50001, 2, 3), imagecodecs.webp_encode(image), 64, 64)
    with pytest.raises(TileDamageError, match="bytes of pixels"):
        decode_tile(PixelFormat(8, 2, 3), imagecodecs.zlib_encode(image.tobytes()), 64, 64)
