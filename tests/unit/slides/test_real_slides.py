"""Every backend against an independent decode of the shared slides."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, Spacing
from wsiprep.slides import Slide, open_slide, read_overview
from wsiprep.slides.protocol import Level

PYRAMIDS = ["slides/celiac_10x.tif", "slides/granular_20x.tif", "slides/mesothelioma_10x.tif"]
APERIO = ["slides_svs/cmu-1-small-region.svs", "slides_svs/tcga-cr-7395-01a-01-ts1.svs"]


def whole(slide: Slide, level: Level) -> np.ndarray:
    return slide.read_level(level.index, Box(0, 0, level.size.width_px, level.size.height_px))


def boxes(level: Level, count: int, seed: int = 0, side: int = 300) -> list[Box]:
    """Random boxes and the four corners."""
    rng = np.random.default_rng(seed)
    width, height = min(side, level.size.width_px), min(side, level.size.height_px)
    last_x, last_y = level.size.width_px - width, level.size.height_px - height
    corners = [(0, 0), (last_x, 0), (0, last_y), (last_x, last_y)]
    inside = [(int(rng.integers(0, last_x + 1)), int(rng.integers(0, last_y + 1))) for _ in range(count)]
    return [Box(x, y, width, height) for x, y in corners + inside]


def page_decode(page: tifffile.TiffPage, path: Path, box: Box) -> np.ndarray:
    """The tiles under a box decoded by imagecodecs straight from the file, tile by tile."""
    size = page.tilewidth
    columns = -(-page.imagewidth // size)
    x_first, y_first = box.x // size, box.y // size
    x_last, y_last = (box.x_end - 1) // size, (box.y_end - 1) // size
    canvas = np.zeros(((y_last - y_first + 1) * size, (x_last - x_first + 1) * size, 3), np.uint8)
    with path.open("rb") as file:
        for row in range(y_first, y_last + 1):
            for column in range(x_first, x_last + 1):
                index = row * columns + column
                file.seek(page.dataoffsets[index])
                tile = imagecodecs.jpeg8_decode(file.read(page.databytecounts[index]))
                y, x = (row - y_first) * size, (column - x_first) * size
                canvas[y : y + size, x : x + size] = tile
    return canvas[box.y - y_first * size :, box.x - x_first * size :][: box.height_px, : box.width_px]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_stored_levels_equal_the_decode_of_their_pages(shared_data: Path, name: str) -> None:
    path = shared_data / name
    with open_slide(path) as slide, tifffile.TiffFile(path) as tif:
        assert slide.info.backend == "tiff"
        assert [level.factor for level in slide.info.levels] == [2**i for i in range(len(slide.info.levels))]
        for level in slide.info.levels:
            page = tif.series[0].levels[level.index].pages[0]
            if level.index >= 2:
                assert np.array_equal(whole(slide, level), page.asarray())
            for box in boxes(level, 6):
                assert np.array_equal(slide.read_level(level.index, box), page_decode(page, path, box))


@pytest.mark.long
@pytest.mark.parametrize("name", PYRAMIDS)
def test_whole_level_0_equals_its_page(shared_data: Path, name: str) -> None:
    with open_slide(shared_data / name) as slide, tifffile.TiffFile(shared_data / name) as tif:
        assert np.array_equal(whole(slide, slide.info.levels[0]), tif.pages[0].asarray())


@pytest.mark.parametrize("name", APERIO)
def test_aperio_levels_equal_the_decode_of_their_pages(shared_data: Path, name: str) -> None:
    path = shared_data / name
    with open_slide(path) as slide, tifffile.TiffFile(path) as tif:
        assert (slide.info.backend, slide.info.vendor) == ("tiff", "aperio")
        levels = tif.series[0].levels
        assert len(slide.info.levels) == len(levels)
        for level in slide.info.levels:
            assert np.array_equal(whole(slide, level), levels[level.index].pages[0].asarray())


@pytest.mark.parametrize("name", PYRAMIDS + APERIO)
def test_tiff_equals_openslide_at_level_0_and_integral_downsamples(shared_data: Path, name: str) -> None:
    path = shared_data / name
    with open_slide(path, "tiff") as ours, open_slide(path, "openslide") as theirs, openslide.OpenSlide(path) as raw:
        assert ours.info.size == theirs.info.size
        assert theirs.info.levels[0].factor == 1
        for level in theirs.info.levels:
            own = raw.level_downsamples[level.index]
            if level.factor is None:
                assert own != round(own)
                with pytest.raises(UsageError, match="resamples"):
                    theirs.read_level(level.index, Box(0, 0, 1, 1))
                continue
            for box in boxes(level, 4, side=200):
                assert np.array_equal(ours.read_level(level.index, box), theirs.read_level(level.index, box))


def test_some_openslide_level_below_0_is_integral(shared_data: Path) -> None:
    with open_slide(shared_data / PYRAMIDS[1], "openslide") as slide:
        assert [level.factor for level in slide.info.levels[:3]] == [1, 2, None]


@pytest.mark.parametrize("name", PYRAMIDS + APERIO)
def test_tiff_equals_tiffslide_at_every_level_it_lists(shared_data: Path, name: str) -> None:
    with open_slide(shared_data / name, "tiff") as ours, open_slide(shared_data / name, "tiffslide") as theirs:
        assert [level.size for level in theirs.info.levels] == [level.size for level in ours.info.levels]
        for level in theirs.info.levels:
            for box in boxes(level, 2, side=200):
                assert np.array_equal(ours.read_level(level.index, box), theirs.read_level(level.index, box))


def test_rgb_jpeg_decoded_as_ycbcr_would_be_far_off(shared_data: Path) -> None:
    """The oracle of this file: imagecodecs with the colour space given, tile by tile."""
    path = shared_data / APERIO[0]
    with open_slide(path) as slide, tifffile.TiffFile(path) as tif, path.open("rb") as file:
        page = tif.pages[0]
        for index in (0, 37, 100):
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
            right = imagecodecs.jpeg8_decode(data, tables=page.jpegtables, colorspace=2, outcolorspace=2)
            wrong = imagecodecs.jpeg8_decode(data, tables=page.jpegtables)  # its guess is YCbCr
            box = Box(index % 10 * 240, index // 10 * 240, 240, 240)
            box = box.intersection(Box(0, 0, slide.info.size.width_px, slide.info.size.height_px))
            got = slide.read_level(0, box)
            assert np.array_equal(got, right[: box.height_px, : box.width_px])
            assert np.abs(right.astype(int) - wrong).max() > 50


def test_spacing_is_what_the_file_says_and_never_guessed(shared_data: Path) -> None:
    def spacings(name: str) -> list[Spacing | None]:
        found = []
        for backend in ("tiff", "openslide", "tiffslide"):
            with open_slide(shared_data / name, backend) as slide:
                found.append(slide.info.spacing)
        return found

    assert spacings(PYRAMIDS[1]) == [Spacing(0.5, 0.5)] * 3
    assert spacings(APERIO[0]) == [Spacing(0.499, 0.499)] * 3
    assert spacings(APERIO[1]) == [None] * 3


def test_backends_agree_on_identity_and_power(shared_data: Path) -> None:
    infos = []
    for backend in ("tiff", "openslide", "tiffslide"):
        with open_slide(shared_data / APERIO[0], backend) as slide:
            infos.append(slide.info)
    assert len({info.identity for info in infos}) == 1
    assert {info.objective_power for info in infos} == {20.0}
    assert [info.backend for info in infos] == ["tiff", "openslide", "tiffslide"]


def test_overview_of_a_single_level_slide(shared_data: Path) -> None:
    with open_slide(shared_data / APERIO[0]) as slide:
        overview, downsample = read_overview(slide, 16)
        level_0 = whole(slide, slide.info.levels[0]).astype(np.int64)
    assert downsample == 16
    assert overview.shape[:2] == (-(-2967 // 16), -(-2220 // 16))
    blocks = level_0[: 2967 // 16 * 16, : 2220 // 16 * 16].reshape(185, 16, 138, 16, 3).sum((1, 3))
    assert np.array_equal(overview[:185, :138], (blocks + 128) // 256)
