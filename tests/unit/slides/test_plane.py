"""Planes and overviews: the right pixels at the right place, stored or averaged."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import openslide
import pytest
from slide_files import Writing, mean_by_loop, mean_of_blocks, padded, texture, write_pyramid

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, Size, area_mean
from wsiprep.slides import Plane, block_mean, open_slide, read_overview


def test_block_mean_is_the_plain_loop_partial_borders_included() -> None:
    image = texture(53, 37)
    for factor in (1, 2, 3, 4, 7, 16, 40, 64):
        expected = mean_by_loop(image, factor)
        assert np.array_equal(block_mean(image, factor), expected), factor
        assert np.array_equal(mean_of_blocks(image, factor), expected), factor


def test_block_mean_rounds_half_up() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image.reshape(-1)[:24] = 1  # 8 of 16 pixels: mean 0.5
    assert (block_mean(image, 4) == 1).all()
    image[0, 0] = 0  # 7 of 16
    assert (block_mean(image, 4) == 0).all()


def test_block_mean_equals_area_mean_of_geometry() -> None:
    image = texture(320, 192, seed=4)
    for factor in (2, 4, 8, 16, 32, 64):
        assert np.array_equal(block_mean(image, factor), area_mean(image, factor))


def test_large_factors_do_not_overflow() -> None:
    white = np.full((4096, 4096, 3), 255, np.uint8)
    assert (block_mean(white, 4096) == 255).all()
    assert (block_mean(white[:600, :600], 300) == 255).all()


@pytest.mark.parametrize("factor", [0, -1, 4097])
def test_block_mean_refuses_other_factors(factor: int) -> None:
    with pytest.raises(UsageError):
        block_mean(np.zeros((2, 2, 3), np.uint8), factor)


@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Level 0 of 331 x 275 px and a level at 4 with pixels of its own."""
    image = texture(331, 275)
    stored = texture(83, 69, seed=9)
    return write_pyramid(tmp_path / "p.tif", [image, stored]), image, stored


def test_stored_takes_the_level_and_level0_the_mean(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, image, stored = pyramid
    with open_slide(path) as slide:
        plane = Plane(slide, 4, "stored")
        assert (plane.from_stored, plane.source_level, plane.size) == (True, 1, Size(83, 69))
        assert np.array_equal(plane.read(Box(0, 0, 83, 69)), stored)
        plane = Plane(slide, 4, "level0")
        assert (plane.from_stored, plane.source_level, plane.size) == (False, 0, Size(83, 69))
        assert np.array_equal(plane.read(Box(0, 0, 83, 69)), mean_of_blocks(image, 4))


@pytest.mark.parametrize("downsample", [2, 3, 5, 8, 64, 331, 1000])
def test_without_a_stored_level_it_is_the_mean_of_level_0(
    pyramid: tuple[Path, np.ndarray, np.ndarray], downsample: int
) -> None:
    path, image, _ = pyramid
    with open_slide(path) as slide:
        plane = Plane(slide, downsample, "stored")
        assert (plane.from_stored, plane.source_level) == (False, 0)
        expected = mean_of_blocks(image, downsample)
        assert plane.size == Size(expected.shape[1], expected.shape[0])
        assert np.array_equal(plane.read(Box(0, 0, plane.size.width_px, plane.size.height_px)), expected)


@pytest.mark.parametrize("pixels", ["stored", "level0"])
def test_downsample_1_is_level_0(pyramid: tuple[Path, np.ndarray, np.ndarray], pixels: str) -> None:
    path, image, _ = pyramid
    with open_slide(path) as slide:
        plane = Plane(slide, 1, pixels)  # type: ignore[arg-type]
        assert plane.from_stored
        assert np.array_equal(plane.read(Box(20, 30, 100, 90)), image[30:120, 20:120])


def test_blocks_join_without_seams(tmp_path: Path) -> None:
    image = texture(4600, 1100)
    expected = {n: area_mean(image[: 1100 // n * n, : 4600 // n * n], n) for n in (3, 8, 100)}
    with open_slide(write_pyramid(tmp_path / "a.tif", [image], Writing(256, None))) as slide:
        for factor, mean in expected.items():
            plane = Plane(slide, factor)
            got = plane.read(Box(0, 0, mean.shape[1], mean.shape[0]))
            assert np.array_equal(got, mean), factor
            part = Box(mean.shape[1] // 3, mean.shape[0] // 4, mean.shape[1] // 2, mean.shape[0] // 2)
            assert np.array_equal(plane.read(part), got[part.y : part.y_end, part.x : part.x_end])


def test_border_pixel_that_the_writer_rounded_away_comes_from_level_0(tmp_path: Path) -> None:
    image = texture(331, 275)
    stored = mean_of_blocks(image[:272, :328], 4)  # floor: 82 x 68
    stored[...] = 255 - stored  # so that it can be told from level 0
    with open_slide(write_pyramid(tmp_path / "a.tif", [image, stored])) as slide:
        assert slide.info.levels[1].factor == 4
        assert slide.info.levels[1].size == Size(82, 68)
        plane = Plane(slide, 4)
        got = plane.read(Box(0, 0, 83, 69))
        assert np.array_equal(got[:68, :82], stored)
        mean = mean_of_blocks(image, 4)
        assert np.array_equal(got[68:], mean[68:])
        assert np.array_equal(got[:, 82:], mean[:, 82:])
        assert np.array_equal(plane.read(Box(82, 68, 1, 1)), mean[68:, 82:])
        assert np.array_equal(plane.read(Box(80, 10, 3, 5)), got[10:15, 80:83])
        assert np.array_equal(plane.read(Box(3, 66, 5, 3)), got[66:69, 3:8])
        overview, downsample = read_overview(slide, 9)
        assert downsample == 8
        assert overview.shape == (35, 42, 3)


def test_padded_pyramid_is_read_at_its_true_place(tmp_path: Path) -> None:
    """ASAP's padding makes the ratio of the sizes wrong; a marker in the far corner must stay put."""
    image = np.full((2 * 496, 2 * 544, 3), 200, np.uint8)
    height, width = image.shape[:2]
    marker_x, marker_y = width - 64, height - 96
    image[marker_y : marker_y + 32, marker_x : marker_x + 32] = (255, 0, 0)
    levels = [image, *(padded(mean_of_blocks(image, f), 64) for f in (2, 4, 8, 16))]
    path = write_pyramid(tmp_path / "asap.tif", levels, Writing(64))
    with openslide.OpenSlide(path) as other:
        assert max(abs(d - round(d)) for d in other.level_downsamples) > 0.1, "not the trap it should be"
    with open_slide(path) as slide:
        assert slide.info.backend == "tiff"
        assert [level.factor for level in slide.info.levels] == [1, 2, 4, 8, 16]
        for factor in (1, 2, 4, 8, 16):
            for pixels in ("stored", "level0"):
                plane = Plane(slide, factor, pixels)  # type: ignore[arg-type]
                assert plane.from_stored == (pixels == "stored" or factor == 1)
                whole = plane.read(Box(0, 0, plane.size.width_px, plane.size.height_px))
                red_y, red_x = np.nonzero(whole[..., 1] == 0)
                assert (red_x.min(), red_y.min()) == (marker_x // factor, marker_y // factor)
                assert (red_x.max() + 1, red_y.max() + 1) == ((marker_x + 32) // factor, (marker_y + 32) // factor)


def test_padded_levels_are_unused_behind_openslide(tmp_path: Path) -> None:
    image = texture(1088, 992)
    levels = [image, padded(mean_of_blocks(image, 4), 64)]
    path = write_pyramid(tmp_path / "asap.tif", levels, Writing(64))
    with open_slide(path, "openslide") as slide:
        assert [level.factor for level in slide.info.levels] == [1, None]
        plane = Plane(slide, 4)
        assert not plane.from_stored
        assert np.array_equal(plane.read(Box(200, 200, 60, 40)), mean_of_blocks(image, 4)[200:240, 200:260])


def test_read_padded_fills_outside(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, _, stored = pyramid
    with open_slide(path) as slide:
        plane = Plane(slide, 4)
        got = plane.read_padded(Box(-5, -3, 20, 10), fill=7)
        assert (got[:3] == 7).all()
        assert (got[:, :5] == 7).all()
        assert np.array_equal(got[3:, 5:], stored[:7, :15])
        got = plane.read_padded(Box(80, 60, 10, 20))
        assert np.array_equal(got[:9, :3], stored[60:, 80:])
        assert (got[9:] == 255).all()
        assert (plane.read_padded(Box(500, 500, 4, 4)) == 255).all()
        assert np.array_equal(plane.read_padded(Box(1, 2, 3, 4)), stored[2:6, 1:4])


def test_boxes_outside_the_plane_are_refused(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    with open_slide(pyramid[0]) as slide:
        plane = Plane(slide, 4)
        for box in (Box(-1, 0, 2, 2), Box(82, 0, 2, 2), Box(0, 68, 1, 2)):
            with pytest.raises(UsageError, match="border of the plane"):
                plane.read(box)


def test_planes_that_make_no_sense_are_refused(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    with open_slide(pyramid[0]) as slide:
        with pytest.raises(UsageError, match="out of range"):
            Plane(slide, 0)
        with pytest.raises(UsageError, match="out of range"):
            Plane(slide, 5000)
        with pytest.raises(UsageError, match="kind of pixels"):
            Plane(slide, 2, "best")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="out of range"):
            read_overview(slide, 0)


def test_overview_takes_the_coarsest_level_and_averages_on(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, image, stored = pyramid
    with open_slide(path) as slide:
        for asked, true in ((1, 1), (3, 3), (4, 4), (7, 4), (8, 8), (11, 8), (33, 32)):
            overview, downsample = read_overview(slide, asked)
            assert downsample == true
            source, rest = (image, true) if asked < 4 else (stored, true // 4)
            assert np.array_equal(overview, mean_of_blocks(source, rest)), asked


def test_threads_read_the_same_pixels(pyramid: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, image, _ = pyramid
    wrong: list[Box] = []

    def read(slide: object, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            x, y = int(rng.integers(0, 231)), int(rng.integers(0, 175))
            box = Box(x, y, 100, 100)
            if not np.array_equal(opened.read_level(0, box), image[y : y + 100, x : x + 100]):
                wrong.append(box)

    for backend in ("tiff", "openslide", "tiffslide"):
        with open_slide(path, backend, cache_bytes=5 * 64 * 64 * 3) as opened:
            threads = [threading.Thread(target=read, args=(opened, seed)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert wrong == []
