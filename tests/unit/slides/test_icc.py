"""Colours from the slide's profile to sRGB, against Pillow's own binding of LittleCMS."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
from PIL import Image, ImageCms
from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.errors import SlideError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import InSrgb, Plane, apply_icc, open_slide, read_grid

ADOBE = bytes(imagecodecs.cms_profile("adobergb"))


def by_pillow(image: np.ndarray, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    out = ImageCms.profileToProfile(
        Image.fromarray(image), source, ImageCms.createProfile("sRGB"), ImageCms.Intent.PERCEPTUAL
    )
    return np.asarray(out)


def with_profile(path: Path, image: np.ndarray, profile: bytes | None = ADOBE, **more: Any) -> Path:
    return write_pyramid(path, [image, mean_of_blocks(image, 2)], Writing(64, extra={"iccprofile": profile} | more))


def test_it_is_what_pillow_gives() -> None:
    image = texture(300, 200)
    got = apply_icc(image, ADOBE)
    assert np.abs(got.astype(int) - by_pillow(image, ADOBE)).max() <= 1
    assert np.abs(got.astype(int) - image).max() > 10, "no conversion at all"
    assert np.array_equal(apply_icc(got, bytes(imagecodecs.cms_profile("srgb"))), got)


def test_any_crop_is_converted_alike() -> None:
    image = texture(200, 150)
    whole = apply_icc(image, ADOBE)
    assert np.array_equal(apply_icc(image[20:90, 33:140], ADOBE), whole[20:90, 33:140])
    assert apply_icc(image[:0], ADOBE).shape == (0, 200, 3)


@pytest.mark.parametrize("backend", ["tiff", "openslide", "tiffslide"])
def test_a_slide_in_srgb(tmp_path: Path, backend: str) -> None:
    image = texture(300, 200)
    path = with_profile(tmp_path / "a.tif", image)
    with open_slide(path, backend) as slide:
        assert slide.icc_profile() == ADOBE
        assert len(slide.info.icc_digest) == 64
    with open_slide(path, backend, icc="srgb") as slide:
        box = Box(10, 20, 200, 100)
        assert np.array_equal(slide.read_level(0, box), apply_icc(image, ADOBE)[20:120, 10:210])
        assert slide.icc_profile() == ADOBE
        # Converted first, averaged then.
        expected = mean_of_blocks(apply_icc(image, ADOBE), 4)
        assert np.array_equal(Plane(slide, 4).read(Box(0, 0, 75, 50)), expected)
        assert np.array_equal(read_grid(slide, PixelGrid(Box(0, 0, 300, 200), 75, 50)), expected)


def test_pixels_are_as_stored_unless_asked(tmp_path: Path) -> None:
    image = texture(300, 200)
    path = with_profile(tmp_path / "a.tif", image)
    with open_slide(path) as slide:
        assert np.array_equal(slide.read_level(0, Box(0, 0, 300, 200)), image)
    with openslide.OpenSlide(path) as raw:
        assert np.array_equal(np.asarray(raw.read_region((0, 0), 0, (300, 200)).convert("RGB")), image)


def test_a_slide_without_a_profile_says_what_to_do(tmp_path: Path) -> None:
    path = with_profile(tmp_path / "a.tif", texture(100, 100), None)
    for backend in ("tiff", "openslide", "tiffslide"):
        with open_slide(path, backend) as slide:
            assert (slide.icc_profile(), slide.info.icc_digest) == (None, "")
            with pytest.raises(SlideError, match="no ICC profile"):
                InSrgb(slide)
            with pytest.raises(SlideError, match="no ICC profile") as caught:
                open_slide(path, backend, icc="srgb")
            assert "icc: ignore" in str(caught.value.fix)
            assert caught.value.file == str(path)


@pytest.mark.parametrize("profile", [b"no profile", ADOBE[:200], bytes(imagecodecs.cms_profile("gray", gamma=2.2))])
def test_a_profile_that_cannot_be_used(tmp_path: Path, profile: bytes) -> None:
    path = with_profile(tmp_path / "a.tif", texture(100, 100), profile)
    with open_slide(path, "tiff") as slide, pytest.raises(SlideError, match="profile of the slide cannot be used"):
        InSrgb(slide)
