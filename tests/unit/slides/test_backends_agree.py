"""Where two backends read the same file they give the same pixels; URLs; requested and used are recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from slide_files import Writing, mean_of_blocks, texture, tiles_of, write_encoded, write_pyramid

from wsiprep.errors import SlideError, StorageError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.slides import Plane, Slide, open_slide, read_damaged_overview, read_grid, slide_identity

JPEG = {"compressionargs": {"level": 85}}
REAL = [
    "slides/celiac_10x.tif",
    "slides/granular_20x.tif",
    "slides/mesothelioma_10x.tif",
    "slides_svs/cmu-1-small-region.svs",
    "slides_svs/tcga-cr-7395-01a-01-ts1.svs",
]


def write(folder: Path, name: str) -> Path:
    """One small file of each kind that more than one backend reads."""
    image = texture(320, 256)
    levels = [image, mean_of_blocks(image, 2), mean_of_blocks(image, 4)]
    kinds: dict[str, Writing] = {
        "deflate tiles": Writing(64),
        "jpeg tiles": Writing(64, "jpeg", extra=JPEG),
        "jpeg 4:2:0": Writing(64, "jpeg", extra=JPEG | {"subsampling": (2, 2)}),
        "rgb jpeg": Writing(64, "jpeg", extra={"compressionargs": {"level": 85, "outcolorspace": "rgb"}}),
        "uncompressed": Writing(64, None),
        "lzw, predictor": Writing(64, "lzw", extra={"predictor": True}),
        "zstd": Writing(64, "zstd"),
        "strips": Writing(None, "zlib", extra={"rowsperstrip": 16}),
        "jpeg strips": Writing(None, "jpeg", extra=JPEG | {"rowsperstrip": 16}),
        "sub-images": Writing(64, subifds=True),
    }
    how = kinds[name]
    return write_pyramid(folder / "a.tif", levels, how)


NAMES = [
    "deflate tiles", "jpeg tiles", "jpeg 4:2:0", "rgb jpeg", "uncompressed", "lzw, predictor", "zstd", "strips",
    "jpeg strips", "sub-images",
]  # fmt: skip
NOT_FOR_OPENSLIDE = {"strips", "jpeg strips"}


def assert_same(ours: Slide, theirs: Slide, count: int = 6) -> int:
    """Every level that the second one may read, corners and random boxes; returns how many levels."""
    rng = np.random.default_rng(5)
    compared = 0
    for level in theirs.info.levels:
        if level.factor is None:
            continue
        twin = ours.info.level_at(level.factor)
        assert twin is not None
        assert twin.size == level.size
        side = Size(min(90, level.size.width_px), min(70, level.size.height_px))
        last_x, last_y = level.size.width_px - side.width_px, level.size.height_px - side.height_px
        places = [(0, 0), (last_x, 0), (0, last_y), (last_x, last_y)]
        places += [(int(rng.integers(0, last_x + 1)), int(rng.integers(0, last_y + 1))) for _ in range(count)]
        for x, y in places:
            box = Box(x, y, side.width_px, side.height_px)
            assert np.array_equal(ours.read_level(twin.index, box), theirs.read_level(level.index, box)), box
        compared += 1
    return compared


@pytest.mark.parametrize("name", NAMES)
def test_tiffslide_agrees_at_every_level(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    with open_slide(path, "tiff") as ours, open_slide(path, "tiffslide") as theirs:
        assert assert_same(ours, theirs) == 3


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_FOR_OPENSLIDE])
def test_openslide_agrees_at_level_0_and_integral_downsamples(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    with open_slide(path, "tiff") as ours, open_slide(path, "openslide") as theirs:
        # OpenSlide looks for levels among the pages, not among the sub-images.
        assert assert_same(ours, theirs) == (1 if name == "sub-images" else 3)


@pytest.mark.parametrize("name", sorted(NOT_FOR_OPENSLIDE))
def test_openslide_says_what_it_cannot_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlideError, match="openslide backend cannot read"):
        open_slide(write(tmp_path, name), "openslide")


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("backend", ["openslide", "tiffslide"])
def test_real_slides_agree(shared_data: Path, name: str, backend: str) -> None:
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"{name} is absent from the shared data")
    with open_slide(path, "tiff") as ours, open_slide(path, backend) as theirs:
        assert assert_same(ours, theirs, 3) >= 1
        grid = PixelGrid(Box(501, 333, 700, 600), 300, 250)
        assert np.array_equal(read_grid(ours, grid), read_grid(theirs, grid))


@pytest.mark.parametrize("backend", ["tiff", "openslide", "tiffslide"])
def test_tiles_that_were_never_written_are_white_everywhere(tmp_path: Path, backend: str) -> None:
    image = texture(320, 256)
    tiles = [None if i in (1, 7, 12) else t for i, t in enumerate(tiles_of(image, 64))]
    path = write_encoded(tmp_path / "a.tif", image.shape, tiles, 64, photometric="rgb", compression="zlib")
    expected = image.copy()
    for i in (1, 7, 12):
        expected[i // 5 * 64 : i // 5 * 64 + 64, i % 5 * 64 : i % 5 * 64 + 64] = 255
    with open_slide(path, backend) as slide:
        assert np.array_equal(slide.read_level(0, Box(0, 0, 320, 256)), expected)


@pytest.fixture
def in_memory(tmp_path: Path) -> tuple[str, np.ndarray]:
    """A slide that exists in fsspec's memory alone."""
    image = texture(320, 256)
    path = write_pyramid(tmp_path / "a.tif", [image, mean_of_blocks(image, 2)], Writing(64, resolution_um=0.5))
    url = "memory://wsiprep-tests/a.tif"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    path.unlink()
    return url, image


@pytest.mark.parametrize(("requested", "used"), [("auto", "tiff"), ("tiff", "tiff"), ("tiffslide", "tiffslide")])
def test_a_slide_behind_a_url(in_memory: tuple[str, np.ndarray], requested: str, used: str) -> None:
    url, image = in_memory
    with open_slide(url, requested) as slide:
        assert (slide.info.backend_requested, slide.info.backend, slide.info.backend_note) == (requested, used, "")
        assert slide.info.identity == slide_identity(url)
        assert [level.factor for level in slide.info.levels] == [1, 2]
        assert np.array_equal(slide.read_level(0, Box(0, 0, 320, 256)), image)
        assert Plane(slide, 2).from_stored
        assert not read_damaged_overview(slide, 4).damaged.any()


@pytest.mark.parametrize("requested", ["tiff", "tiffslide"])
def test_the_same_file_by_path_and_by_url_is_the_same_slide(tmp_path: Path, requested: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(320, 256)], Writing(64))
    with open_slide(path, "tiff") as ours, open_slide(f"file://{path}", requested) as theirs:
        assert ours.info.identity == theirs.info.identity
        assert assert_same(ours, theirs) == 1


@pytest.mark.parametrize("url", ["memory://wsiprep-tests/none.tif", "nonsense://x/a.tif", "file:///nowhere/a.tif"])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(SlideError) as caught:
        open_slide(url)
    assert caught.value.file == url


def test_a_url_whose_bytes_are_no_slide() -> None:
    with fsspec.open("memory://wsiprep-tests/text.tif", "wb") as file:
        file.write(b"hello" * 1000)
    with pytest.raises(SlideError, match="tiffslide"):
        open_slide("memory://wsiprep-tests/text.tif")


def test_a_network_that_fails_is_no_damage(in_memory: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(in_memory[0], "tiffslide") as slide:
        inner: Any = slide

        def fail(*_: object, **__: object) -> None:
            raise TimeoutError("the server does not answer")

        monkeypatch.setattr(inner._slide, "read_region", fail)
        with pytest.raises(StorageError, match="cannot be read"):
            slide.read_level(0, Box(0, 0, 9, 9))
        with pytest.raises(StorageError):
            read_damaged_overview(slide, 4)


@pytest.mark.parametrize("requested", ["auto", "tiff", "openslide", "tiffslide"])
def test_what_was_asked_for_and_what_was_used_are_recorded(tmp_path: Path, requested: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(100, 80)])
    with open_slide(path, requested) as slide:
        assert slide.info.backend_requested == requested
        assert slide.info.backend == ("tiff" if requested == "auto" else requested)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken.svs", ("tiff: tifffile cannot read it", "openslide: OpenSlide cannot open it")),
        ("unreadable.svs", ("tiff: its tiles cannot be decoded", "openslide: OpenSlide cannot read its pixels")),
        ("unopenable.tiff", ("tiff: ", "compression", "openslide: OpenSlide cannot open it")),
    ],
)
def test_bad_files_say_what_is_wrong_with_them(shared_data: Path, name: str, words: tuple[str, ...]) -> None:
    path = shared_data / "bad" / name
    if not path.is_file():
        pytest.skip(f"{name} is absent from the shared data")
    with pytest.raises(SlideError, match="no backend can read this slide") as caught:
        open_slide(path)
    for word in words:
        assert word in str(caught.value.got)
