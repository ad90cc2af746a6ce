"""JPEG 2000 tiles of Aperio slides: the same pixels as OpenSlide, in every layout of chroma that is read at all."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import openslide
import pytest
from jpeg2000_streams import encode_subsampled
from vendor_slides import tiff

from wsiprep.errors import SlideError
from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.slides.damage import DECODER_ERRORS, TileDamageError
from wsiprep.slides.jpeg2000 import decode_jpeg2000, ycbcr_to_rgb

SIDE_PX = 64
YCBCR, RGB = 33003, 33005


def blurred(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)


def stream(step: tuple[int, int], width: int = SIDE_PX, height: int = SIDE_PX, seed: int = 0) -> bytes:
    """A lossless codestream whose second and third component have a sample every ``step`` pixels (x, y)."""
    small = (-(-height // step[1]), -(-width // step[0]))
    planes = [blurred(height, width, seed), *(blurred(*small, seed + i) for i in (1, 2))]
    return encode_subsampled(planes, [(1, 1), step, step])


def slide(path: Path, tiles: list[bytes], compression: int = YCBCR) -> Path:
    """An Aperio slide of a row of square tiles."""
    photometric = 6 if compression == YCBCR else 2
    size = (SIDE_PX * len(tiles), SIDE_PX)
    tags = tiff.image_tags(*size, tile=SIDE_PX, compression=compression, photometric=photometric)
    tags.append(tiff.text(270, f"Aperio Image Library v12\r\n{size[0]}x{size[1]} |AppMag = 20|MPP = 0.5"))
    return tiff.write_tiff(path, [tiff.Page(tags, tiles)])


def test_the_tables_of_the_conversion_are_the_formula() -> None:
    """For all 2**24 colours."""
    blue, red = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    b, r = blue - 128, red - 128
    offsets = np.stack(
        [(91_881 * r + 32_768) >> 16, (-34_414 * b - 71_414 * r + 50_000) // 100_000, (116_130 * b + 32_768) >> 16],
        axis=-1,
    ).astype(np.int16)
    image = np.stack([np.zeros_like(blue), blue, red], axis=-1).astype(np.uint8)
    for luma in range(256):
        image[..., 0] = luma
        assert np.array_equal(ycbcr_to_rgb(image), np.clip(offsets + np.int16(luma), 0, 255))


def test_the_conversion_leaves_its_input_alone_and_takes_views() -> None:
    image = np.random.default_rng(1).integers(0, 256, (33, 70, 3), dtype=np.uint8)
    before = image.copy()
    part = ycbcr_to_rgb(image[3:20, 5:64])
    assert np.array_equal(image, before)
    assert np.array_equal(part, ycbcr_to_rgb(image)[3:20, 5:64])
    assert part.flags.c_contiguous


@pytest.mark.parametrize("compression", [YCBCR, RGB])
@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2), (1, 2)], ids=["4:4:4", "4:2:2", "4:2:0", "4:4:0"])
def test_subsampled_chroma_equals_openslide(step: tuple[int, int], compression: int, tmp_path: Path) -> None:
    path = slide(tmp_path / "a.svs", [stream(step, seed=s) for s in (0, 10, 20)], compression)
    with open_slide(path, "tiff") as ours, openslide.OpenSlide(path) as oracle:
        assert ours.info.backend == "tiff"
        got = ours.read_level(0, Box(0, 0, 3 * SIDE_PX, SIDE_PX))
        assert np.array_equal(got, np.asarray(oracle.read_region((0, 0), 0, (3 * SIDE_PX, SIDE_PX)).convert("RGB")))


@pytest.mark.parametrize("step", [(4, 1), (4, 4), (3, 1), (1, 4)])
def test_other_steps_are_left_to_openslide(step: tuple[int, int], tmp_path: Path) -> None:
    path = slide(tmp_path / "a.svs", [stream(step)])
    with pytest.raises(SlideError, match="the tiff backend cannot read"):
        open_slide(path, "tiff")
    with open_slide(path) as shown:
        assert shown.info.backend == "openslide"
        assert "sub-sampled" in shown.info.backend_note


def test_half_a_chroma_sample_at_the_border_is_refused() -> None:
    with pytest.raises(TileDamageError, match="sub-sampled"):
        decode_jpeg2000(stream((2, 1), width=63), 63, SIDE_PX, 3, ycbcr=True)


def test_the_size_is_compared_before_anything_is_decoded() -> None:
    for step in ((1, 1), (2, 1)):
        with pytest.raises(TileDamageError, match="64 x 64 px, not 64 x 32"):
            decode_jpeg2000(stream(step), SIDE_PX, 32, 3, ycbcr=True)


@pytest.mark.parametrize("ycbcr", [True, False])
def test_of_a_file_that_stream_is_decoded_whose_size_was_compared(*, ycbcr: bool) -> None:
    # A box in front holds a stream of the right size; the one that a reader of the file would find is larger.
    compared = stream((1, 1))
    file = imagecodecs.jpeg2k_encode(np.zeros((512, 512, 3), np.uint8), codecformat="jp2")
    place = 12 + int.from_bytes(file[12:16], "big")  # after the signature and the file type
    hidden = file[:place] + struct.pack(">I4s", 8 + len(compared), b"free") + compared + file[place:]
    assert imagecodecs.jpeg2k_decode(hidden).shape == (512, 512, 3)
    expected = decode_jpeg2000(compared, SIDE_PX, SIDE_PX, 3, ycbcr=ycbcr)
    assert (decode_jpeg2000(hidden, SIDE_PX, SIDE_PX, 3, ycbcr=ycbcr) == expected).all()


def test_a_tile_may_be_a_file() -> None:
    image = np.stack([blurred(SIDE_PX, SIDE_PX, seed) for seed in range(3)], axis=2)
    file = imagecodecs.jpeg2k_encode(image, codecformat="jp2", reversible=True, level=0)
    assert not file.startswith(b"\xff\x4f")
    assert (decode_jpeg2000(file, SIDE_PX, SIDE_PX, 3, ycbcr=False) == image).all()


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("kept", [0, 30, 60, 0.3, 0.9, 0.99])
def test_a_stream_cut_off_is_damage(step: tuple[int, int], kept: float) -> None:
    data = stream(step)
    cut = data[: kept if isinstance(kept, int) else int(len(data) * kept)]
    with pytest.raises(DECODER_ERRORS):
        decode_jpeg2000(cut, SIDE_PX, SIDE_PX, 3, ycbcr=True)


def test_a_wrong_number_of_components_is_damage() -> None:
    for ycbcr in (True, False):
        with pytest.raises(DECODER_ERRORS):
            decode_jpeg2000(stream((1, 1)), SIDE_PX, SIDE_PX, 1, ycbcr=ycbcr)
