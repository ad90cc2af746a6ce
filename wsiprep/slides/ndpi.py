"""Hamamatsu NDPI: where the runs between restart markers lie, and how they make tiles for the plain TIFF reader.

A level is one strip: a JPEG of the whole level, with restart markers that divide each row of blocks into equal runs
and a tag (McuStarts) that names where they begin. A tile is a column of such runs. OpenSlide decodes each run by
itself, so that chroma of half the width is not smoothed from one run to the next; a column of runs gives the same
pixels. OpenSlide also lists levels that the file does not hold, which it makes by decoding at 1/2, 1/4 and 1/8: here
are the stored ones alone.

What is written otherwise (no tag, no markers in a large level, chroma of half the height, focal planes, JPEG XR,
fluorescence) is left to OpenSlide; tables that contradict the file are damage, which OpenSlide would not always notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError
from wsiprep.geometry import Size, Spacing, level_factors
from wsiprep.slides.damage import TileDamageError
from wsiprep.slides.decode import JPEG, YCBCR, PixelFormat
from wsiprep.slides.identity import TIFF_PARSE_ERRORS
from wsiprep.slides.metadata import number, resolution_spacing
from wsiprep.slides.ndpi_jpeg import BLOCK_PX, MAX_JPEG_SIDE_PX, read_head
from wsiprep.slides.ndpi_runs import RunTable, check_starts, run_table
from wsiprep.slides.opened import levels_of
from wsiprep.slides.protocol import (
    MAX_SIDE_PX,
    BackendRefusalError,
    ForeignLayoutError,
    check_sides,
)
from wsiprep.slides.tiff_layouts import HAMAMATSU
from wsiprep.slides.tiff_pixels import pixel_format
from wsiprep.slides.tile_table import TiffHeader, TileTable

_SOURCE_LENS, _X_OFFSET, _Y_OFFSET, _FOCAL_PLANE = 65421, 65422, 65423, 65424
_MCU_STARTS, _MCU_STARTS_HIGH = 65426, 65432
_ROWS_PER_STRIP, _STRIP_OFFSETS, _STRIP_BYTES = 278, 273, 279
_CENTIMETRE = 3

MAX_WHOLE_BYTES = 2**26
"""Pixels of a level without restart markers, which is decoded whole: as many as a slide may keep of them."""

_HEADER_BYTES = 2**16


def ndpi_header(tif: Any, path: Path | str) -> TiffHeader:
    """The levels of an NDPI file.

    Args:
        tif: a ``tifffile.TiffFile`` for which ``tiff_layouts.is_ndpi``.

    Raises:
        ForeignLayoutError: OpenSlide may read it.
        SlideError: damaged or truncated.
    """
    try:
        return _header(tif, path)
    except TileDamageError as error:
        raise ForeignLayoutError("a level is coded in another way", got=str(error), file=path) from error
    except TIFF_PARSE_ERRORS as error:
        got = f"{type(error).__name__}: {error}"
        raise ForeignLayoutError("its tags are not those of NDPI", got=got, file=path) from error
    except ForeignLayoutError:
        raise
    except BackendRefusalError as refusal:
        raise ForeignLayoutError(refusal.message, got=refusal.got, file=path) from refusal


def _header(tif: Any, path: Path | str) -> TiffHeader:
    pages = list(_levels(tif, path))
    tables = tuple(_table(tif.filehandle, page, level, path) for level, page in enumerate(pages))
    sizes = [table.size for table in tables]
    runs = [table.run if isinstance(table, RunTable) else None for table in tables]
    tiles = [table.tile if isinstance(table, RunTable) else None for table in tables]
    first = pages[0]
    power, spacing = number(_value(first, _SOURCE_LENS)), _spacing(first)
    properties: dict[str, object] = {
        "openslide.vendor": HAMAMATSU,
        "openslide.objective-power": _text(power),
        "hamamatsu.SourceLens": _text(power),
        "hamamatsu.XOffsetFromSlideCentre": _value(first, _X_OFFSET),
        "hamamatsu.YOffsetFromSlideCentre": _value(first, _Y_OFFSET),
    }
    if spacing is not None:
        properties |= {"openslide.mpp-x": _text(spacing.x_um), "openslide.mpp-y": _text(spacing.y_um)}
        properties |= {f"tiff.{name}": _text(_ratio(_value(first, name))) for name in ("XResolution", "YResolution")}
        properties["tiff.ResolutionUnit"] = "centimeter"
    profile = _value(first, "InterColorProfile")
    return TiffHeader(
        tables=tables,
        levels=levels_of(sizes, tiles, level_factors(sizes, runs)),
        vendor=HAMAMATSU,
        spacing=spacing,
        objective_power=power,
        properties=properties,
        icc=bytes(profile) if isinstance(profile, bytes) and profile else None,
    )


def _levels(tif: Any, path: Path | str) -> Iterator[Any]:
    """The pages of the scan, from the finest on; the macro image and the map have no lens."""
    width_px: int | None = None
    for page in tif.pages:
        lens = number(_value(page, _SOURCE_LENS))
        if lens is None or (lens <= 0 and page.index == 0):
            # OpenSlide would take the next level for the finest, with the spacing of this one.
            raise SlideError(
                "a page does not say with which lens it was taken", got=f"page {page.index}: {lens}",
                expected="a lens, -1 for the macro image, -2 for the map",
                fix="the header is damaged: fetch the file again or leave the slide out", file=path,
            )  # fmt: skip
        if lens <= 0:
            continue
        if number(_value(page, _FOCAL_PLANE)) != 0:
            raise ForeignLayoutError("it has focal planes", got=_value(page, _FOCAL_PLANE), expected="0", file=path)
        if width_px is not None and int(page.imagewidth) >= width_px:
            raise ForeignLayoutError("its levels are in another order", got=int(page.imagewidth), file=path)
        width_px = int(page.imagewidth)
        yield page


def _spacing(page: Any) -> Spacing | None:
    unit = _value(page, "ResolutionUnit")
    if unit is None or int(unit) != _CENTIMETRE:
        return None
    return resolution_spacing(_value(page, "XResolution"), _value(page, "YResolution"), _CENTIMETRE)


def _text(value: float | None) -> str:
    """A number as OpenSlide writes it."""
    return "" if value is None else f"{value:.17g}"


def _ratio(value: tuple[int, int]) -> float:
    return value[0] / value[1]


def _table(handle: Any, page: Any, level: int, path: Path | str) -> TileTable:
    size = Size(int(page.imagewidth), int(page.imagelength))
    check_sides(size, "a level", MAX_SIDE_PX, str(path))
    pixels = pixel_format(page, path)
    if (pixels.compression, pixels.photometric, pixels.samples) != (JPEG, YCBCR, 3) or pixels.jpeg_tables:
        raise ForeignLayoutError("a level is no YCbCr JPEG", got=f"{pixels.name} {pixels.photometric}", file=path)
    offset, count = _strip(page, size, path)
    if offset < 8 or count < 4 or offset + count > handle.size:
        raise SlideError(
            "the file is truncated",
            got=f"{handle.size} bytes",
            expected=f"at least {offset + count} bytes (level {level})",
            fix="fetch the file again: the copy or download stopped early",
            file=path,
        )
    head = read_head(_read(handle, offset, min(count, _HEADER_BYTES)))
    if max(size.width_px, size.height_px) <= MAX_JPEG_SIDE_PX and head.stated != size:
        raise SlideError(
            f"level {level} is a JPEG of another size", got=f"{head.stated.width_px} x {head.stated.height_px} px",
            expected=f"{size.width_px} x {size.height_px} px",
            fix="the header is damaged: fetch the file again or leave the slide out", file=path,
        )  # fmt: skip
    if not head.restart_mcus:
        return _whole(size, offset, count, pixels, path)
    across = -(-size.width_px // head.mcu.width_px)
    columns, left = divmod(across, head.restart_mcus)
    rows = -(-size.height_px // head.mcu.height_px)
    run = Size(head.mcu.width_px * head.restart_mcus, head.mcu.height_px)
    if head.mcu.height_px != BLOCK_PX:
        # The decoder would smooth it from one row of runs to the next: there is no decoding them one by one.
        raise ForeignLayoutError("its chroma has half the height", got=f"level {level}", file=path)
    if left or run.width_px > MAX_JPEG_SIDE_PX:
        raise ForeignLayoutError(
            "its restart markers do not divide the rows", got=f"{head.restart_mcus} of {across} blocks", file=path
        )
    stated = _mcu_starts(page)
    if len(stated) != rows * columns:
        raise ForeignLayoutError(
            f"the restart markers of level {level} are not listed", got=len(stated), expected=rows * columns, file=path
        )
    starts = np.append(stated, count)
    check_starts(lambda at, most: _read(handle, offset + at, most), starts, head.length, level, path)
    starts[0] = head.length
    return run_table(size, run, starts + offset, pixels, head, level, path)


def _strip(page: Any, size: Size, path: Path | str) -> tuple[int, int]:
    """Where the only strip of a page lies: offset and bytes."""
    offsets, counts = (np.atleast_1d(_value(page, code)) for code in (_STRIP_OFFSETS, _STRIP_BYTES))
    if len(offsets) != 1 or len(counts) != 1 or int(_value(page, _ROWS_PER_STRIP)) != size.height_px:
        raise ForeignLayoutError("a level is not one strip", got=len(offsets), file=path)
    return int(offsets[0]), int(counts[0])


def _mcu_starts(page: Any) -> npt.NDArray[np.int64]:
    """Where the runs begin, counted from the beginning of the strip; empty where the page does not say."""
    low, high = (_value(page, code) for code in (_MCU_STARTS, _MCU_STARTS_HIGH))
    if low is None:
        return np.empty(0, np.int64)
    starts: npt.NDArray[np.int64] = np.atleast_1d(np.asarray(low)).astype(np.int64)
    if high is not None:
        starts += np.atleast_1d(np.asarray(high)).astype(np.int64) << 32
    return starts


def _whole(size: Size, offset: int, count: int, pixels: PixelFormat, path: Path | str) -> TileTable:
    """A level without restart markers, as one strip."""
    if 3 * size.area_px > MAX_WHOLE_BYTES:
        raise ForeignLayoutError(
            "a level without restart markers is too large", got=f"{size.width_px} x {size.height_px} px", file=path
        )
    return TileTable(size, size, False, np.array([offset], np.int64), np.array([count], np.int64), pixels)


def _read(handle: Any, offset: int, count: int) -> bytes:
    handle.seek(offset)
    data: bytes = handle.read(count)
    return data


def _value(page: Any, code: int | str) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value
