"""Which backend opens what, what is refused and how it is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from slide_files import Writing, mean_of_blocks, texture, tiles_of, write_encoded, write_pyramid

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Box, Size, Spacing
from wsiprep.slides import Plane, open_slide
from wsiprep.slides.byte_source import LocalBytes
from wsiprep.slides.tiff import TiledTiff

APERIO = "Aperio Image Library v1\r\n330x270 (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5010|Filename = x"


def test_auto_prefers_the_plain_reader(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(200, 100)])
    with open_slide(path) as slide:
        assert (slide.info.backend_requested, slide.info.backend, slide.info.backend_note) == ("auto", "tiff", "")
    with open_slide(str(path), "openslide") as slide:
        assert (slide.info.backend_requested, slide.info.backend) == ("openslide", "openslide")


def test_auto_moves_on_and_says_why(tmp_path: Path) -> None:
    """A text that names a scanner whose tiles overlap; as strips OpenSlide refuses it too."""
    image = texture(200, 100)
    path = write_pyramid(tmp_path / "a.tif", [image], Writing(description="after a MedScan"))
    with open_slide(path) as slide:
        assert slide.info.backend != "tiff"
        assert "MedScan" in slide.info.backend_note
        assert np.array_equal(slide.read_level(0, Box(10, 20, 90, 70)), image[20:90, 10:100])
    striped = write_pyramid(tmp_path / "b.tif", [image], Writing(tile=None, description="after a MedScan"))
    with open_slide(striped) as slide:
        assert slide.info.backend == "tiffslide"
        assert "openslide:" in slide.info.backend_note
        assert np.array_equal(slide.read_level(0, Box(10, 20, 90, 70)), image[20:90, 10:100])


def test_auto_never_gives_a_vendors_layout_to_tiffslide(tmp_path: Path) -> None:
    """Made by the scanner itself, and refused by OpenSlide: damaged, whatever tiffslide would show."""
    path = write_pyramid(tmp_path / "a.tif", [texture(200, 100)], Writing(extra={"software": "MedScan"}))
    with pytest.raises(SlideError, match="no backend can read") as caught:
        open_slide(path)
    assert "tiffslide:" not in str(caught.value.got)
    assert "takes this trestle file for a generic TIFF" in str(caught.value.got)
    for backend in ("openslide", "tiffslide"):
        with pytest.raises(SlideError, match=f"the {backend} backend cannot read"):
            open_slide(path, backend)


def test_a_backend_asked_for_never_falls_back(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(200, 100)], Writing(extra={"software": "MedScan"}))
    with pytest.raises(SlideError, match="the tiff backend cannot read this slide") as caught:
        open_slide(path, "tiff")
    assert caught.value.fix is not None
    assert "auto" in caught.value.fix
    striped = write_pyramid(tmp_path / "b.tif", [texture(200, 100)], Writing(tile=None))
    with pytest.raises(SlideError, match="the openslide backend cannot read this slide"):
        open_slide(striped, "openslide")


def test_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such slide backend"):
        open_slide(tmp_path / "a.tif", "vips")
    for backend in ("openslide", "image"):
        with pytest.raises(UsageError, match="opens no URLs") as caught:
            open_slide("memory://a.tif", backend)
        assert "--stage" in str(caught.value.fix)


def message_of(path: Path, backend: str = "auto") -> SlideError:
    with pytest.raises(SlideError) as caught:
        open_slide(path, backend)
    assert caught.value.file == str(path)
    assert caught.value.got is not None
    assert caught.value.fix is not None
    return caught.value


def test_what_is_no_slide(tmp_path: Path) -> None:
    assert "no such slide" in message_of(tmp_path / "none.svs").message
    (tmp_path / "empty.svs").touch()
    assert "empty" in message_of(tmp_path / "empty.svs").message
    (tmp_path / "text.svs").write_text("hello\n" * 100)
    assert "no backend" in message_of(tmp_path / "text.svs").message
    with pytest.raises(SlideError, match="folder"):
        open_slide(tmp_path)


@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff", "unreadable.svs"])
def test_bad_files_are_refused_with_every_reason(shared_data: Path, name: str) -> None:
    error = message_of(shared_data / "bad" / name)
    assert "no backend can read this slide" in error.message
    assert all(f"{backend}: " in str(error.got) for backend in ("tiff", "openslide", "tiffslide"))
    for backend in ("tiff", "openslide", "tiffslide"):
        assert backend in message_of(shared_data / "bad" / name, backend).message


def test_a_truncated_file_is_told_before_any_pixel_is_read(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(600, 400)], Writing(64, None))
    size = path.stat().st_size
    os.truncate(path, size - 50_000)
    error = message_of(path)
    assert "truncated" in error.message
    assert str(size - 50_000) in str(error.got)
    assert str(size) in str(error.expected)


def test_a_truncated_real_slide(shared_data: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(shared_data / "slides_svs/tcga-cr-7395-01a-01-ts1.svs", tmp_path / "t.svs"))
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size // 2)
    message_of(path)


def overwrite(path: Path, **tags: Any) -> None:
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name, value in tags.items():
            tif.pages[0].tags[name].overwrite(value)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageWidth": 2**32 - 1}, "size of a level is not believable"),
        ({"ImageLength": 0}, "size of a level is not believable"),
        ({"TileWidth": 16400}, "size of a tile is not believable"),
        ({"ImageWidth": 900}, "tile table of level 0 is damaged"),
    ],
)
def test_absurd_headers_are_refused_before_allocation(tmp_path: Path, tags: dict[str, int], message: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(600, 400)], Writing(64))
    overwrite(path, **tags)
    with pytest.raises(SlideError, match=message):
        open_slide(path)


def test_a_file_that_declares_far_more_than_it_holds(tmp_path: Path) -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    tiles = [blank, *([None] * (200 * 200 - 1))]
    shape = (64 * 200, 64 * 200, 3)
    path = write_encoded(tmp_path / "a.tif", shape, tiles, 64, photometric="rgb", compression="zlib")
    # 491 MB of pixels in a table of 480 kB is still believed (a sparse slide); cut the table's share away.
    open_slide(path).close()
    single = write_encoded(
        tmp_path / "b.tif", (16384, 16384, 3), [b"x" * 100], 16384, photometric="rgb", compression="zlib"
    )
    assert "more pixels than it can hold" in message_of(single).message


def test_damaged_tiles_are_named(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(300, 200)], Writing(64, "jpeg"))
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[7], tif.pages[0].databytecounts[7]
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write(b"\xff\xd9" * (count // 4))
    with open_slide(path) as slide:
        slide.read_level(0, Box(0, 0, 100, 60))
        with pytest.raises(SlideError, match="level 0, column 2, row 1") as caught:
            slide.read_level(0, Box(100, 50, 100, 100))
        assert caught.value.file == str(path)
        # The handle survives: other tiles still read.
        slide.read_level(0, Box(0, 0, 100, 60))


def test_a_tile_at_an_impossible_place(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(300, 200)], Writing(64))
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages[0].tags["TileOffsets"]
        tag.overwrite((3, *tag.value[1:]))
    with pytest.raises(SlideError, match="tile table of level 0 is damaged"):
        open_slide(path)


def test_a_disk_that_fails_is_a_storage_error(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(300, 200)], Writing(64))
    slide = TiledTiff(path)
    source = slide._source
    assert isinstance(source, LocalBytes)
    assert source._file is not None
    os.close(source._file.number)  # EBADF stands for any error of the system call
    with pytest.raises(StorageError, match="cannot be read"):
        slide.read_level(0, Box(200, 100, 50, 50))
    source._file.number = -1
    source._file = None


def test_a_file_cut_while_it_is_open(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(600, 400)], Writing(64, None))
    with open_slide(path) as slide:
        os.truncate(path, 20_000)
        with pytest.raises(SlideError, match="became shorter"):
            slide.read_level(0, Box(500, 300, 50, 50))


@pytest.mark.parametrize("backend", ["tiff", "openslide", "tiffslide"])
def test_reads_that_make_no_sense(tmp_path: Path, backend: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(200, 100)])
    slide = open_slide(path, backend)
    assert slide.read_level(0, Box(5, 5, 0, 3)).shape == (3, 0, 3)
    for box in (Box(-1, 0, 5, 5), Box(196, 0, 5, 5), Box(0, 96, 5, 5)):
        with pytest.raises(UsageError, match="border of the level"):
            slide.read_level(0, box)
    for level in (-1, 1):
        with pytest.raises(UsageError, match="no such level"):
            slide.read_level(level, Box(0, 0, 1, 1))
    slide.close()
    slide.close()
    with pytest.raises(UsageError, match="closed"):
        slide.read_level(0, Box(0, 0, 1, 1))


# --- what the header says ------------------------------------------------------------------------


def test_aperio_levels_leave_out_thumbnail_label_and_macro(tmp_path: Path) -> None:
    image = texture(330, 270)
    common: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": "zlib"}
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        writer.write(image, tile=(64, 64), description=APERIO, **common)
        writer.write(texture(110, 90, seed=1), rowsperstrip=16, description=f"{APERIO} -> 110x90", **common)
        writer.write(mean_of_blocks(image, 2), tile=(64, 64), description=f"{APERIO} -> 165x135", **common)
        writer.write(texture(82, 67, seed=2), rowsperstrip=16, subfiletype=1, description="label", **common)
        writer.write(texture(82, 67, seed=3), tile=(64, 64), subfiletype=9, description="macro", **common)
    with open_slide(tmp_path / "a.svs") as slide:
        info = slide.info
        assert (info.backend, info.vendor, info.objective_power) == ("tiff", "aperio", 20.0)
        assert info.spacing == Spacing(0.501, 0.501)
        assert [(level.size, level.factor) for level in info.levels] == [(Size(330, 270), 1), (Size(165, 135), 2)]


def test_an_aperio_level_with_missing_tiles_is_unused(tmp_path: Path) -> None:
    image = texture(330, 270)
    half = mean_of_blocks(image, 2)
    tiles = [None if i == 2 else t for i, t in enumerate(tiles_of(half, 64))]
    common: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": "zlib", "tile": (64, 64)}
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        writer.write(image, description=APERIO, **common)
        writer.write(iter(tiles), shape=half.shape, dtype="uint8", description=APERIO, **common)
    with open_slide(tmp_path / "a.svs") as slide:
        assert [level.factor for level in slide.info.levels] == [1, None]
        plane = Plane(slide, 2)
        assert not plane.from_stored
        assert np.array_equal(plane.read(Box(0, 0, 165, 135)), half)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        (20_000, "CENTIMETER", Spacing(0.5, 0.5)),
        (25_400, "INCH", Spacing(1.0, 1.0)),
        (20_000, "NONE", None),
        (72, "INCH", None),
        (28.34, "CENTIMETER", None),
        (2_000_000, "CENTIMETER", None),
    ],
)
def test_spacing_from_resolution_tags(tmp_path: Path, resolution: float, unit: str, expected: Spacing | None) -> None:
    how = Writing(extra={"resolution": (resolution, resolution), "resolutionunit": unit})
    with open_slide(write_pyramid(tmp_path / "a.tif", [texture(100, 100)], how)) as slide:
        assert slide.info.spacing == expected


def test_no_spacing_at_all(tmp_path: Path) -> None:
    description = APERIO.replace("MPP = 0.5010", "Left = 3")
    path = write_pyramid(tmp_path / "a.svs", [texture(100, 100)], Writing(description=description))
    for backend in ("tiff", "openslide", "tiffslide"):
        with open_slide(path, backend) as slide:
            assert slide.info.spacing is None
            assert slide.info.objective_power == 20.0


@pytest.mark.parametrize(
    ("image", "how", "why"),
    [
        (texture(100, 100).astype(np.uint16), Writing(), "bits per sample"),
        (np.moveaxis(texture(100, 100), 2, 0), Writing(extra={"planarconfig": "separate"}), "planar"),
        (texture(100, 100)[..., 0], Writing(photometric="miniswhite"), "photometric"),
        (texture(100, 100), Writing(compression="jpegxl"), "compression"),
        (np.stack([texture(100, 100)] * 2), Writing(), "stack"),
    ],
)
def test_layouts_that_are_left_to_others(tmp_path: Path, image: np.ndarray, how: Writing, why: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [image], how)
    with pytest.raises(SlideError, match=why):
        open_slide(path, "tiff")


def test_a_stack_of_many_pages_is_left_to_others(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(257):
            writer.write(np.zeros((16, 16, 3), np.uint8), photometric="rgb", tile=(16, 16), metadata=None)
    with pytest.raises(SlideError, match="stack of pages"):
        open_slide(tmp_path / "a.tif", "tiff")


@pytest.mark.parametrize("channels", [1, 4])
def test_tiffslide_gives_rgb_whatever_is_stored(tmp_path: Path, channels: int) -> None:
    image = texture(100, 80, channels=channels)
    photometric = "minisblack" if channels == 1 else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    path = write_pyramid(tmp_path / "a.tif", [image.squeeze()], Writing(photometric=photometric, extra=extra))
    with open_slide(path, "tiffslide") as theirs, open_slide(path, "tiff") as ours:
        box = Box(0, 0, 100, 80)
        assert np.array_equal(theirs.read_level(0, box), ours.read_level(0, box))


@pytest.mark.parametrize("backend", ["auto", "tiff", "openslide", "tiffslide"])
def test_no_backend_narrows_16_bits_to_8(tmp_path: Path, backend: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(100, 80).astype(np.uint16)])
    with pytest.raises(SlideError, match="bits per sample of the slide are not 8"):
        open_slide(path, backend)


def test_huge_strips_are_left_to_others(tmp_path: Path) -> None:
    blank = np.zeros((9500, 9500, 3), np.uint8)
    path = write_pyramid(tmp_path / "a.tif", [blank], Writing(tile=None, extra={"rowsperstrip": 9500}))
    with pytest.raises(SlideError, match="strips are too large"):
        open_slide(path, "tiff")


def test_a_level_that_fits_no_factor_is_listed_and_unused(tmp_path: Path) -> None:
    odd = texture(111, 90, seed=5)
    path = write_pyramid(tmp_path / "a.tif", [texture(400, 270), odd])
    with open_slide(path) as slide:
        level = slide.info.levels[1]
        assert (level.factor, level.size, level.stored_size) == (None, Size(111, 90), Size(111, 90))
        assert np.array_equal(slide.read_level(1, Box(0, 0, 111, 90)), odd)
        assert not Plane(slide, 3).from_stored
