"""Any box of a level or plane is the same crop of the whole; means agree however they are cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slide_files import Writing, mean_of_blocks, padded, texture, write_pyramid

from wsiprep.geometry import Box, Size
from wsiprep.slides import Plane, Slide, block_mean, open_slide
from wsiprep.slides.protocol import composite_on_white

WIDTH, HEIGHT = 397, 281
IMAGE = texture(WIDTH, HEIGHT, seed=3)
STORED = texture(-(-WIDTH // 4), -(-HEIGHT // 4), seed=4)


@pytest.fixture(scope="module")
def slides() -> Iterator[dict[str, Slide]]:
    """One small pyramid as tiles, strips and behind the other backends."""
    with tempfile.TemporaryDirectory() as folder:
        tiles = write_pyramid(Path(folder) / "t.tif", [IMAGE, padded(STORED, 48)], Writing(48))
        plain = write_pyramid(Path(folder) / "p.tif", [IMAGE, STORED], Writing(64, "lzw"))
        strips = write_pyramid(
            Path(folder) / "s.tif", [IMAGE, STORED], Writing(None, "zlib", extra={"rowsperstrip": 10})
        )
        opened = {
            "padded tiles": open_slide(tiles, cache_bytes=20_000),
            "plain tiles": open_slide(plain, cache_bytes=0),
            "strips": open_slide(strips),
            "tiffslide": open_slide(plain, "tiffslide"),
            "openslide": open_slide(plain, "openslide"),
        }
        yield opened
        for slide in opened.values():
            slide.close()


@st.composite
def boxes_in(draw: st.DrawFn, size: Size) -> Box:
    x = draw(st.integers(0, size.width_px))
    y = draw(st.integers(0, size.height_px))
    return Box(x, y, draw(st.integers(0, size.width_px - x)), draw(st.integers(0, size.height_px - y)))


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    return image[box.y : box.y_end, box.x : box.x_end]


@given(st.data(), st.sampled_from(["padded tiles", "plain tiles", "strips", "tiffslide", "openslide"]))
def test_a_box_of_a_level_is_the_crop_of_the_level(slides: dict[str, Slide], data: st.DataObject, name: str) -> None:
    slide = slides[name]
    levels = [level for level in slide.info.levels if level.factor is not None]
    level = data.draw(st.sampled_from(levels))
    box = data.draw(boxes_in(level.size))
    expected = crop((IMAGE, STORED)[level.index], box)
    got = slide.read_level(level.index, box)
    assert got.dtype == np.uint8
    assert np.array_equal(got, expected)


@given(
    st.data(),
    st.sampled_from(["padded tiles", "plain tiles", "strips", "tiffslide", "openslide"]),
    st.sampled_from([1, 2, 3, 4, 7, 16]),
    st.sampled_from(["stored", "level0"]),
)
def test_a_box_of_a_plane_is_the_crop_of_the_plane(
    slides: dict[str, Slide], data: st.DataObject, name: str, factor: int, pixels: Literal["stored", "level0"]
) -> None:
    plane = Plane(slides[name], factor, pixels)
    assert plane.size == Size(WIDTH, HEIGHT).reduced(factor)
    from_level_1 = plane.source_level == 1
    assert from_level_1 == (factor == 4 and pixels == "stored" and name != "openslide")
    whole = STORED if from_level_1 else mean_of_blocks(IMAGE, factor)
    box = data.draw(boxes_in(plane.size))
    assert np.array_equal(plane.read(box), crop(whole, box))


@given(st.data(), st.integers(1, 30))
def test_read_padded_is_the_crop_of_the_padded_plane(
    slides: dict[str, Slide], data: st.DataObject, factor: int
) -> None:
    plane = Plane(slides["plain tiles"], factor, "level0")
    margin = 20
    x = data.draw(st.integers(-margin, plane.size.width_px))
    y = data.draw(st.integers(-margin, plane.size.height_px))
    box = Box(x, y, data.draw(st.integers(0, margin)), data.draw(st.integers(0, margin)))
    around = np.pad(mean_of_blocks(IMAGE, factor), ((margin,) * 2, (margin,) * 2, (0, 0)), constant_values=9)
    expected = crop(around, Box(x + margin, y + margin, box.width_px, box.height_px))
    assert np.array_equal(plane.read_padded(box, fill=9), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**32 - 1))
def test_block_mean_of_any_size(height: int, width: int, factor: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert np.array_equal(block_mean(image, factor), mean_of_blocks(image, factor))


@given(st.integers(0, 255), st.integers(0, 255))
def test_compositing_is_the_rounded_blend(colour: int, alpha: int) -> None:
    rgba = np.array([[[colour, colour, colour, alpha]]], np.uint8)
    exact = (colour * alpha + 255 * (255 - alpha)) / 255
    assert abs(int(composite_on_white(rgba)[0, 0, 0]) - exact) <= 0.5
    flat = composite_on_white(rgba, premultiplied=True)[0, 0, 0]
    assert flat == min(255, colour + 255 - alpha) if alpha < 255 else flat == colour
