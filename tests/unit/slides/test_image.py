"""Plain PNG and JPEG files as slides, against Pillow."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from slide_files import texture

from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.slides import apply_icc, open_slide, read_overview
from wsiprep.slides.image_profile import jpeg_profile, png_profile


def whole(path: Path, backend: str = "auto") -> np.ndarray:
    with open_slide(path, backend) as slide:
        return slide.read_level(0, Box(0, 0, slide.info.size.width_px, slide.info.size.height_px))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
@pytest.mark.parametrize("size", [(97, 61), (1, 1)])
def test_a_png_of_any_kind_is_what_pillow_shows_on_white(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    rgba = texture(*size, channels=4)
    image = Image.fromarray(rgba).convert(mode) if mode != "RGBA" else Image.fromarray(rgba)
    image.save(tmp_path / "a.png")
    shown = np.asarray(image.convert("RGBA")).astype(int)
    alpha = shown[..., 3:]
    expected = (shown[..., :3] * alpha * 2 + 255 * (255 - alpha) * 2 + 255) // 510
    assert np.array_equal(whole(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_what_pillow_decodes(tmp_path: Path, mode: str) -> None:
    Image.fromarray(texture(97, 61)).convert(mode).save(tmp_path / "a.jpg", quality=80)
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    assert np.array_equal(whole(tmp_path / "a.jpg"), expected)


def test_what_is_said_of_it(tmp_path: Path) -> None:
    image = texture(300, 200)
    path = tmp_path / "a.PNG"
    Image.fromarray(image).save(path, dpi=(72, 72))
    with open_slide(path) as slide:
        info = slide.info
        assert (info.backend_requested, info.backend, info.backend_note) == ("auto", "image", "")
        assert (info.size, info.spacing, info.compression, info.vendor) == (Size(300, 200), None, "png", "png")
        assert [level.factor for level in info.levels] == [1]
        part = slide.read_level(0, Box(10, 20, 30, 40))
        assert np.array_equal(part, image[20:60, 10:40])
        part[...] = 0
        assert np.array_equal(slide.read_level(0, Box(10, 20, 30, 40)), image[20:60, 10:40])
        assert read_overview(slide, 8)[1] == 8
    with pytest.raises(UsageError, match="closed"):
        slide.read_level(0, Box(0, 0, 1, 1))


def test_only_the_name_of_an_image_makes_auto_take_it(tmp_path: Path) -> None:
    """A MIRAX index is a JPEG: without its folder it must not turn into a slide."""
    Image.fromarray(texture(90, 60)).save(tmp_path / "a.mrxs", format="jpeg")
    with pytest.raises(SlideError, match="no backend"):
        open_slide(tmp_path / "a.mrxs")
    assert whole(tmp_path / "a.mrxs", "image").shape == (60, 90, 3)


def test_an_image_by_name_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello" * 100)
    with pytest.raises(SlideError, match="no backend") as caught:
        open_slide(tmp_path / "a.png")
    assert "image: " in str(caught.value.got)
    with pytest.raises(SlideError, match="the image backend cannot read"):
        open_slide(tmp_path / "a.png", "image")


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_the_size_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(50_000, 50_000))
    with pytest.raises(SlideError, match="too large") as caught:
        open_slide(tmp_path / "a.png")
    assert "50000 x 50000" in str(caught.value.got)
    jpeg = tmp_path / "a.jpg"
    Image.fromarray(texture(90, 60)).save(jpeg)
    data = bytearray(jpeg.read_bytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    jpeg.write_bytes(data)
    with pytest.raises(SlideError, match="too large"):
        open_slide(jpeg)


@pytest.mark.parametrize("cut", [20, 30, 200, -5])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_images_are_errors(tmp_path: Path, cut: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(texture(90, 60)).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SlideError):
        open_slide(path)


def test_what_is_not_8_bit_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="8-bit"):
        open_slide(tmp_path / "a.png")
    Image.fromarray(texture(90, 60)).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(SlideError, match="RGB"):
        open_slide(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_icc_profile(tmp_path: Path, suffix: str) -> None:
    """A profile longer than one segment of a JPEG too; without it there is nothing to convert from."""
    image = Image.fromarray(texture(90, 60))
    small = bytes(imagecodecs.cms_profile("adobergb"))
    for number, profile in enumerate((small, small + bytes(150_000), None)):
        path = tmp_path / f"{number}{suffix}"
        image.save(path, icc_profile=profile)
        with open_slide(path) as slide:
            assert slide.icc_profile() == profile
            assert (slide.info.icc_digest == "") == (profile is None)
    stored = whole(tmp_path / f"0{suffix}")
    with open_slide(tmp_path / f"0{suffix}", icc="srgb") as slide:
        assert np.array_equal(slide.read_level(0, Box(0, 0, 90, 60)), apply_icc(stored, small))
    with pytest.raises(SlideError, match="no ICC profile"):
        open_slide(tmp_path / f"2{suffix}", icc="srgb")


def test_a_profile_in_pieces_or_packed_badly_is_none() -> None:
    chunk = struct.pack(">I4s", 12, b"iCCP") + b"name\0\0broken" + bytes(4)
    assert png_profile(b"\x89PNG\r\n\x1a\n" + chunk) is None
    bomb = b"name\0\0" + zlib.compress(bytes(2**25))
    assert png_profile(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", len(bomb), b"iCCP") + bomb) is None

    def part(number: int, count: int, data: bytes) -> bytes:
        body = b"ICC_PROFILE\0" + bytes([number, count]) + data
        return b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body

    assert jpeg_profile(b"\xff\xd8" + part(2, 2, b"b") + part(1, 2, b"a")) == b"ab"
    assert jpeg_profile(b"\xff\xd8" + part(2, 2, b"b")) is None
    assert jpeg_profile(b"\xff\xd8\xff\xe2\0\0" * 3) is None


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_photograph_that_is_to_be_turned_is_refused(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(texture(90, 60)).save(tmp_path / "a.jpg", exif=exif)
    if orientation == 1:
        assert whole(tmp_path / "a.jpg").shape == (60, 90, 3)
    else:
        with pytest.raises(SlideError, match="turned or mirrored"):
            open_slide(tmp_path / "a.jpg")
