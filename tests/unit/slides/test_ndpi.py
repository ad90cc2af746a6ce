"""NDPI through the plain reader: the pixels that OpenSlide decodes run by run, and no others from a damaged file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide
import pytest
import simplejpeg
from slide_files import texture
from vendor_slides import ndpi, tiff
from vendor_slides.made import Made, jpeg, reduced, scan

from wsiprep.errors import SlideError
from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide
from wsiprep.slides.damage import TileDamageError
from wsiprep.slides.ndpi import _mcu_starts
from wsiprep.slides.ndpi_jpeg import read_head
from wsiprep.slides.protocol import DamagedRegionError, Slide

GOOD: dict[str, dict[str, Any]] = {
    "4:4:4": {},
    "4:2:2": {"sampling": "422"},
    "one run a row": {"restart_px": 512, "size": (512, 320), "whole": (1, 2)},
    "runs of one block": {"restart_px": 8},
    "levels without markers": {"whole": (1, 2)},
    "upper halves": {"high": True},
    "beyond 4 GiB": {"hole_bytes": 2**32},
    "4:2:0 without markers": {"sampling": "420", "whole": (0, 1, 2)},
}


def whole(slide: Slide, index: int) -> np.ndarray:
    size = slide.info.levels[index].size
    return slide.read_level(index, Box(0, 0, size.width_px, size.height_px))


def of_openslide(path: Path, size: tuple[int, int]) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), slide.level_dimensions.index(size), size).convert("RGB"))


@pytest.mark.parametrize("case", list(GOOD))
def test_every_stored_level_equals_openslide(case: str, tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, **GOOD[case])
    with open_slide(made.path) as slide:
        assert (slide.info.backend, slide.info.vendor, slide.info.backend_note) == ("tiff", "hamamatsu", "")
        assert [level.factor for level in slide.info.levels] == list(ndpi.FACTORS)
        for index, plane in enumerate(made.planes):
            assert np.array_equal(whole(slide, index), of_openslide(made.path, plane.shape[1::-1]))


def test_header_facts_are_openslides(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path)
    with open_slide(made.path, "tiff") as ours, open_slide(made.path, "openslide") as theirs:
        assert ours.info.properties == theirs.info.properties
        assert (ours.info.spacing, ours.info.objective_power) == (theirs.info.spacing, theirs.info.objective_power)
        assert (ours.info.size, ours.info.identity) == (theirs.info.size, theirs.info.identity)


@pytest.mark.parametrize("size", [(382, 317), (384, 318), (379, 320)])
def test_partial_blocks_at_the_right_and_lower_border(size: tuple[int, int], tmp_path: Path) -> None:
    """The oracle is one decode of the whole JPEG: OpenSlide leaves out the last rows, and refuses to be wrong."""
    made = ndpi.write(tmp_path, size=size, restart_px=96)
    with open_slide(made.path, "tiff") as slide:
        for index, plane in enumerate(made.planes):
            assert np.array_equal(whole(slide, index), plane)


def test_openslide_is_not_trusted_with_runs_over_the_border(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, size=(382, 320), restart_px=96, listing=ndpi.unlisted)
    with pytest.raises(SlideError, match="OpenSlide misplaces"):
        open_slide(made.path)
    shown = of_openslide(made.path, (382, 320))
    assert (shown != made.planes[0]).any(axis=2)[8:].mean() > 0.9


def test_tiles_are_columns_of_runs_and_any_part_is_cut_from_the_whole(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, size=(512, 1200))
    rng = np.random.default_rng(3)
    with open_slide(made.path, cache_bytes=0) as slide:
        assert slide.info.levels[0].tile == Size(64, 256)
        for _ in range(20):
            width, height = int(rng.integers(1, 200)), int(rng.integers(1, 600))
            x, y = int(rng.integers(0, 512 - width)), int(rng.integers(0, 1200 - height))
            got = slide.read_level(0, Box(x, y, width, height))
            assert np.array_equal(got, made.planes[0][y : y + height, x : x + width])


def test_a_level_wider_than_a_jpeg_may_be(tmp_path: Path) -> None:
    """Its JPEG header says 0; the size is the TIFF tag's."""
    columns, rows, run_px = 129, 2, 512
    tall = texture(run_px, 8 * columns * rows)
    data = ndpi.side_by_side(tall, columns, run_px // 8)
    width, height = run_px * columns, 8 * rows
    assert width > 65_500
    path = tmp_path / "wide.ndpi"
    tiff.write_tiff(path, [ndpi.page(width, height, data, lens=40, starts=ndpi.run_starts(data))], "ndpi")
    runs = simplejpeg.decode_jpeg(jpeg(tall, run_px // 8), "RGB").reshape(rows, columns, 8, run_px, 3)
    expected = runs.transpose(0, 2, 1, 3, 4).reshape(height, width, 3)
    with open_slide(path) as slide:
        assert (slide.info.backend, slide.info.size) == ("tiff", Size(width, height))
        assert np.array_equal(whole(slide, 0), expected)
        assert np.array_equal(whole(slide, 0), of_openslide(path, (width, height)))


LEFT_TO_OPENSLIDE: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"listing": ndpi.unlisted}, "not listed"),
    "a list of another length": ({"listing": lambda level, starts: starts[:-1]}, "not listed"),
    "no list for one level": ({"listing": lambda level, starts: None if level == 1 else starts}, "not listed"),
    "focal planes": ({"focal_planes": (0, 2000)}, "focal planes"),
}


@pytest.mark.parametrize("case", list(LEFT_TO_OPENSLIDE))
def test_left_to_openslide(case: str, tmp_path: Path) -> None:
    how, reason = LEFT_TO_OPENSLIDE[case]
    made = ndpi.write(tmp_path, **how)
    with open_slide(made.path) as slide:
        assert slide.info.backend == "openslide"
        assert reason in slide.info.backend_note
        assert np.array_equal(whole(slide, 0), made.planes[0])


@pytest.mark.parametrize("sampling", ["420", "440"])
def test_chroma_of_half_the_height_between_markers_is_refused(sampling: str, tmp_path: Path) -> None:
    """OpenSlide cannot decode it either."""
    made = ndpi.write(tmp_path, sampling=sampling)
    with pytest.raises(SlideError, match="half the height"):
        open_slide(made.path)


def moved(by: int, first: int = 1, last: int | None = None) -> ndpi.Listing:
    """The list with the places of level 0 moved by so many runs; what would lie beyond either end stays."""

    def listing(level: int, starts: list[int]) -> Sequence[int]:
        if level:
            return starts
        end = len(starts) if last is None else last
        return [
            starts[min(max(i + by, 0), len(starts) - 1)] if first <= i < end else start
            for i, start in enumerate(starts)
        ]

    return listing


def changed(change: Callable[[list[int]], None]) -> ndpi.Listing:
    def listing(level: int, starts: list[int]) -> Sequence[int]:
        found = list(starts)
        if level == 0:
            change(found)
        return found

    return listing


def beyond(starts: list[int]) -> None:
    starts[-1] += 10**9


def swapped(starts: list[int]) -> None:
    starts[20], starts[21] = starts[21], starts[20]


def eight_off(starts: list[int]) -> None:
    """Ascending, and each with the right number: the runs up to the end are those eight further on."""
    starts[100:312] = starts[108:320]
    end = starts[319]
    starts[312:] = [end + 2 * i for i in range(1, 9)]


BAD: dict[str, ndpi.Listing] = {
    "all one run on": moved(1, 0),
    "all but the first one run on": moved(1),
    "all but the first one run back": moved(-1, 2),
    "the second half one run on": moved(1, 160),
    "zeros": changed(lambda starts: starts.__setitem__(slice(None), [0] * len(starts))),
    "descending": changed(lambda starts: starts.reverse()),
    "beyond the stream": changed(beyond),
    "two swapped": changed(swapped),
    "eight off up to the end": changed(eight_off),
    "between the markers": changed(lambda starts: starts.__setitem__(slice(1, None), [v + 1 for v in starts[1:]])),
}


def assert_no_wrong_pixel(made: Made) -> None:
    """Either the slide is refused, or each place has its pixels or is damaged; at least one place must be damaged."""
    try:
        slide = open_slide(made.path)
    except SlideError:
        return
    damaged = 0
    with slide:
        assert slide.info.backend == "tiff"
        plane = made.planes[0]
        for y in range(0, plane.shape[0], 8):
            for x in range(0, plane.shape[1], 64):
                try:
                    got = slide.read_level(0, Box(x, y, 64, min(8, plane.shape[0] - y)))
                except DamagedRegionError:
                    damaged += 1
                else:
                    assert np.array_equal(got, plane[y : y + 8, x : x + 64])
    assert damaged


@pytest.mark.parametrize("case", list(BAD))
def test_a_wrong_list_never_shows_wrong_pixels(case: str, tmp_path: Path) -> None:
    assert_no_wrong_pixel(ndpi.write(tmp_path, listing=BAD[case]))


def without_a_marker(data: bytes) -> bytes:
    place = ndpi.run_starts(data)[2] - 2
    return data[:place] + b"\0\0" + data[place + 2 :]


def with_a_marker_more(data: bytes) -> bytes:
    place = ndpi.run_starts(data)[2] + 40
    return data[:place] + b"\xff\xd2" + data[place + 2 :]


def with_swapped_numbers(data: bytes) -> bytes:
    second, third = (ndpi.run_starts(data)[i] - 1 for i in (2, 3))
    out = bytearray(data)
    out[second], out[third] = out[third], out[second]
    return bytes(out)


def without_end(data: bytes) -> bytes:
    return data[:-2] + b"\0\0"


def with_zeros(data: bytes) -> bytes:
    starts = ndpi.run_starts(data)
    return data[: starts[3]] + bytes(starts[9] - starts[3]) + data[starts[9] :]


@pytest.mark.parametrize("edit", [without_a_marker, with_a_marker_more, with_swapped_numbers, without_end, with_zeros])
def test_a_damaged_stream_never_shows_wrong_pixels(edit: Callable[[bytes], bytes], tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, edit=edit)
    assert_no_wrong_pixel(made)


def test_what_is_damaged_costs_no_more_than_its_tile(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, edit=with_zeros)
    with open_slide(made.path) as slide:
        with pytest.raises(DamagedRegionError):
            slide.read_level(0, Box(200, 0, 8, 8))
        assert np.array_equal(slide.read_level(0, Box(0, 256, 512, 64)), made.planes[0][256:])


def test_numbers_of_another_order_are_openslides(tmp_path: Path) -> None:
    def all_zero(data: bytes) -> bytes:
        out = bytearray(data)
        for start in ndpi.run_starts(data)[1:]:
            out[start - 1] = 0xD0
        return bytes(out)

    made = ndpi.write(tmp_path, edit=all_zero)
    with open_slide(made.path) as slide:
        assert slide.info.backend == "openslide"
        assert "not numbered in turn" in slide.info.backend_note
        assert np.array_equal(whole(slide, 0), made.planes[0])


def test_a_jpeg_of_another_size_is_damage(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path, edit=lambda data: ndpi.with_stated_size(data, 504, 320))
    with pytest.raises(SlideError, match="another size"):
        open_slide(made.path)


def test_macro_and_map_are_no_levels(tmp_path: Path) -> None:
    """Wherever they stand, and whatever their size."""
    image = scan(512, 320, (211, 37))
    streams = [jpeg(level, 8) for level in reduced(image, (1, 2))]
    pages = [ndpi.page(512, 320, streams[0], lens=20, starts=ndpi.run_starts(streams[0]))]
    pages += [ndpi.page(300, 100, jpeg(scan(300, 100, (5, 5))), lens=lens) for lens in (-1, -2)]
    pages += [ndpi.page(256, 160, streams[1], lens=10, starts=ndpi.run_starts(streams[1]))]
    with open_slide(tiff.write_tiff(tmp_path / "a.ndpi", pages, "ndpi")) as slide:
        assert (slide.info.backend, [level.factor for level in slide.info.levels]) == ("tiff", [1, 2])


def test_upper_halves_of_starts() -> None:
    """They cannot stand in a small file: a run of 4 GiB would have to come before."""

    def tag(values: list[int]) -> Any:
        return SimpleNamespace(value=np.array(values, np.uint32))

    page = SimpleNamespace(tags={65426: tag([600, 2**32 - 1, 5]), 65432: tag([0, 0, 1])})
    assert _mcu_starts(page).tolist() == [600, 2**32 - 1, 2**32 + 5]
    assert _mcu_starts(SimpleNamespace(tags={})).tolist() == []


def test_colours_are_those_that_libjpeg_would_take() -> None:
    data = jpeg(scan(64, 64, (5, 5)), 8)
    assert read_head(data).mcu == Size(8, 8)
    bare = data[:2] + data[20:]  # without JFIF
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    frame = bare.index(b"\xff\xc0")
    named = bytearray(bare)
    named[frame + 10], named[frame + 13], named[frame + 16] = 82, 71, 66
    assert read_head(bare).stated == read_head(bare[:2] + adobe + b"\1" + bare[2:]).stated == Size(64, 64)
    for other in (bare[:2] + adobe + b"\0" + bare[2:], bytes(named), data[:300], b"", b"\xff\xd8" + bytes(50)):
        with pytest.raises(TileDamageError):
            read_head(other)


def test_the_cost_of_a_patch_is_its_tiles(tmp_path: Path) -> None:
    """Runs of other columns are not even read."""
    made = ndpi.write(tmp_path)
    with open_slide(made.path) as slide:
        slide.read_level(0, Box(70, 10, 50, 50))
        assert slide.decoded_tiles(0).tolist() == [1]  # type: ignore[attr-defined]
        fetched = slide.tile_counts.fetched_bytes  # type: ignore[attr-defined]
        assert 0 < fetched < made.path.stat().st_size / 8
