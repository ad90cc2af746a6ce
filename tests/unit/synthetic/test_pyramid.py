"""Pyramids: sizes, padding, spacing, content at the declared downsamples, as other readers see them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Size, level_factors
from wsiprep.synthetic import write_pyramid
from wsiprep.synthetic.pyramid import reduce_image


def smooth_image(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([60 + x * 120 // width, 80 + y * 120 // height, np.full_like(x, 150)], -1).astype(np.uint8)


def test_openslide_opens_it_as_generic_tiff_with_its_spacing(tmp_path: Path) -> None:
    image = smooth_image(1000, 700)
    sizes = write_pyramid(tmp_path / "a.tif", image, spacing_um=0.25, downsamples=(1, 2, 4))
    assert sizes == (Size(1000, 700), Size(500, 350), Size(250, 175))
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.level_dimensions == ((1000, 700), (500, 350), (250, 175))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25, rel=1e-6)
        seen = np.asarray(slide.read_region((0, 0), 0, (1000, 700)).convert("RGB")).astype(int)
    assert np.abs(seen - image).max() <= 12
    assert np.abs(seen - image).mean() < 1.5


def test_pages_are_tiled_ycbcr_jpeg_with_their_own_resolution(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.tif", smooth_image(600, 500), spacing_um=0.5, downsamples=(1, 4), tile_px=128)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        finest, coarse = tiff.pages
        assert (finest.compression, finest.photometric, finest.tile) == (7, 6, (128, 128))
        assert (finest.subfiletype, coarse.subfiletype) == (0, 1)
        assert finest.tags["XResolution"].value == (20000, 1)
        assert coarse.tags["XResolution"].value == (5000, 1)
        assert finest.tags["ResolutionUnit"].value == 3
        assert tuple(finest.tags["YCbCrSubSampling"].value) == (2, 2)


@pytest.mark.parametrize("padded", [False, True])
def test_levels_hold_the_area_mean_at_the_declared_place(tmp_path: Path, padded: bool) -> None:
    image = np.full((640 + 130, 640 + 70, 3), 200, np.uint8)
    image[-130:, -70:] = (90, 20, 140)
    write_pyramid(tmp_path / "a.tif", image, spacing_um=0.25, downsamples=(1, 2, 4), padded=padded, quality=95)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        for page, factor in zip(tiff.pages, (1, 2, 4), strict=True):
            level = page.asarray().astype(int)
            want = reduce_image(image, factor).astype(int)
            height, width = want.shape[:2]
            # Away from the edges of the marker by a block or two: exact but for JPEG.
            corner = level[height - 130 // factor + 8 : height - 8, width - 70 // factor + 4 : width - 4]
            assert np.abs(corner - (90, 20, 140)).max() <= 40
            assert np.abs(level[:height, :width] - want).mean() < 2
            if padded:
                assert level.shape[0] % 256 == 0
                assert level.shape[1] % 256 == 0
                assert level[height + 16 :].min(initial=255) >= 245
                assert level[:, width + 16 :].min(initial=255) >= 245
            else:
                assert level.shape[:2] == (height, width)


def test_a_padded_pyramid_lies_about_its_downsamples_yet_its_factors_are_certain(tmp_path: Path) -> None:
    sizes = write_pyramid(
        tmp_path / "a.tif", smooth_image(1280, 1280), spacing_um=0.25, downsamples=(1, 2, 4), padded=True
    )
    assert sizes == (Size(1280, 1280), Size(768, 768), Size(512, 512))
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.level_downsamples[1] == pytest.approx(1280 / 768)
    assert level_factors(sizes, (Size(256, 256),) * 3) == (1, 2, 4)


def test_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.tif", "b.tif"):
        write_pyramid(tmp_path / name, smooth_image(300, 300), spacing_um=0.25, downsamples=(1, 2))
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(("width", "height", "factor"), [(7, 5, 2), (16, 9, 4), (5, 5, 8), (12, 12, 3)])
def test_reduction_averages_the_pixels_that_exist(width: int, height: int, factor: int) -> None:
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    got = reduce_image(image, factor)
    assert got.shape == (-(-height // factor), -(-width // factor), 3)
    for row in range(got.shape[0]):
        for column in range(got.shape[1]):
            block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            assert np.abs(got[row, column] - block.mean((0, 1))).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    "arguments",
    [
        {"spacing_um": 0.0},
        {"tile_px": 100},
        {"tile_px": 0},
        {"quality": 0},
        {"downsamples": ()},
        {"downsamples": (2, 4)},
        {"downsamples": (1, 2, 3)},
        {"downsamples": (1, 7)},
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    given: dict[str, object] = {"spacing_um": 0.25, **arguments}
    with pytest.raises(UsageError):
        write_pyramid(tmp_path / "a.tif", smooth_image(64, 64), **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_image_must_be_rgb_bytes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="uint8"):
        write_pyramid(tmp_path / "a.tif", np.zeros((10, 10)), spacing_um=0.25)  # type: ignore[arg-type]


class ShortRows:
    size = Size(300, 300)

    def rows(self, y: int, y_end: int) -> np.ndarray:
        return np.zeros((y_end - y, 299, 3), np.uint8)


def test_a_source_that_gives_other_rows_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="unexpected shape"):
        write_pyramid(tmp_path / "a.tif", ShortRows(), spacing_um=0.25)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        write_pyramid(tmp_path / "file" / "a.tif", smooth_image(64, 64), spacing_um=0.25)
    assert caught.value.exit_code == 74
