"""The tile tables of a TIFF pyramid: which pages are levels, where their tiles lie, how they are coded.

Level 0 is the first page. Levels are, as in OpenSlide, the further tiled pages of an Aperio file
(thumbnail, label and macro are striped or marked as reduced: they carry names and are never levels;
what libvips marks so although it is a level has level 0's shape), and elsewhere the sub-images
(SubIFDs) of the first page and the pages marked as reduced resolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from wsiprep.errors import SlideError
from wsiprep.geometry import Size, level_factors
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.slides.byte_source import ByteSource, byte_source
from wsiprep.slides.identity import TIFF_PARSE_ERRORS, page_tables
from wsiprep.slides.metadata import aperio_field, believable_spacing, number, resolution_spacing
from wsiprep.slides.ndpi import ndpi_header
from wsiprep.slides.ome import check_plain_colour
from wsiprep.slides.opened import levels_of
from wsiprep.slides.protocol import (
    MAX_SIDE_PX,
    MAX_TILE_SIDE_PX,
    BackendRefusalError,
    Level,
    check_sides,
)
from wsiprep.slides.tiff_layouts import is_ndpi, refuse_foreign
from wsiprep.slides.tiff_pixels import pixel_format
from wsiprep.slides.tile_table import TiffHeader, TileTable

__all__ = ["MAX_RATIO", "TiffHeader", "TileTable", "read_header"]

MAX_STRIP_BYTES = 2**28
"""A strip is decoded whole; beyond this one strip is an untiled slide in disguise."""

MAX_RATIO = 10_000
"""Declared bytes of pixels per stored byte that are believed."""

MAX_PAGES = 256

_ORIGINAL_SIDES = ("OriginalWidth", "OriginalHeight")


def read_header(path: Path | str, source: ByteSource | None = None) -> TiffHeader:
    """Parse the header of a TIFF.

    Args:
        path: a file, or a URL.
        source: its bytes, where they are open already.

    Raises:
        BackendRefusalError: not a TIFF, or one that this reader cannot read exactly.
        SlideError: damaged, truncated or absurd.
        StorageError: the server of a URL fails.
    """
    if source is None:
        source = byte_source(path)
        try:
            return read_header(path, source)
        finally:
            source.close()
    with source.open() as handle:
        check_chain(handle, path)
        handle.seek(0)
        return _parsed(handle, source.size, path)


def _parsed(handle: BinaryIO, file_bytes: int, path: Path | str) -> TiffHeader:
    try:
        with tifffile.TiffFile(handle) as tif:
            return replace(_header(tif, file_bytes, path), page_tables=page_tables(tif))
    except TIFF_PARSE_ERRORS as error:
        raise BackendRefusalError(
            "tifffile cannot read it", got=f"{type(error).__name__}: {error}", file=path
        ) from error


def _header(tif: Any, file_bytes: int, path: Path | str) -> TiffHeader:
    if len(tif.pages) > MAX_PAGES:
        raise BackendRefusalError(
            "it is a stack of pages", got=len(tif.pages), expected=f"at most {MAX_PAGES}", file=path
        )
    first = tif.pages[0]
    if is_ndpi(tif):
        header = ndpi_header(tif, path)
        _check_ratio(header.tables[0], file_bytes, path)
        return header
    refuse_foreign(tif, path)
    aperio = bool(tif.is_svs)
    ome = check_plain_colour(tif, path)
    pages = [first, *(_aperio_levels(tif) if aperio else _generic_levels(tif))]
    tables = tuple(_table(page, path) for page in pages)
    for number_, table in enumerate(tables):
        _check_stored(table, number_, file_bytes, path)
    _check_ratio(tables[0], file_bytes, path)
    description = str(first.description)
    spacing = resolution_spacing(*(_tag(first, name) for name in ("XResolution", "YResolution", "ResolutionUnit")))
    power = None
    properties: dict[str, object] = {"openslide.vendor": "aperio" if aperio else "generic-tiff"}
    if aperio:
        fields = {name: aperio_field(description, name) for name in ("AppMag", "MPP", *_ORIGINAL_SIDES)}
        properties |= {f"aperio.{name}": value for name, value in fields.items()}
        mpp, power = number(fields["MPP"]), number(fields["AppMag"])
        spacing = believable_spacing(mpp, mpp) or spacing
    if ome is not None:
        spacing = ome.spacing or spacing
    if spacing is not None:
        properties |= {"openslide.mpp-x": spacing.x_um, "openslide.mpp-y": spacing.y_um}
    return TiffHeader(
        tables=tables,
        levels=_levels(tables, aperio=aperio),
        vendor="aperio" if aperio else "generic-tiff",
        spacing=spacing,
        objective_power=power,
        properties=properties | {"openslide.objective-power": power},
        icc=_icc(first),
    )


def _icc(page: Any) -> bytes | None:
    profile = _tag(page, "InterColorProfile")
    return bytes(profile) if isinstance(profile, bytes) and profile else None


def _aperio_levels(tif: Any) -> Iterator[Any]:
    for page in list(tif.pages)[1:]:
        if page.is_tiled and (not page.is_reduced or _is_marked_level(page, tif.pages[0])):
            yield page


def _is_marked_level(page: Any, first: Any) -> bool:
    """Whether a page marked as reduced is a level after all: libvips keeps Aperio's description and marks levels.

    Level 0's shape and tiles, and not called label or macro; OpenSlide takes every tiled page.
    """
    width, height = int(first.imagewidth), int(first.imagelength)
    same_shape = abs(int(page.imagewidth) * height - int(page.imagelength) * width) <= max(width, height)
    same_tiles = (page.tilewidth, page.tilelength) == (first.tilewidth, first.tilelength)
    named = any(word in str(page.description) for word in ("label", "macro"))
    return bool(page.subfiletype == 1 and same_shape and same_tiles and not named)


def _generic_levels(tif: Any) -> Iterator[Any]:
    first = tif.pages[0]
    reduced = list(first.pages) if first.subifds else []
    # 1 is "reduced resolution" alone; 9 is a macro image, 4 and 5 are masks.
    reduced += [p for p in list(tif.pages)[1:] if p.subfiletype == 1 and p.is_tiled == first.is_tiled]
    full_size = [p for p in list(tif.pages)[1:] if p.shape == first.shape and p.subfiletype == 0]
    if full_size:
        raise BackendRefusalError("it is a stack of focal planes or pages", got=f"{len(full_size) + 1} full-size pages")
    yield from sorted(reduced, key=lambda p: -int(p.imagewidth) * int(p.imagelength))


def _tag(page: Any, name: str) -> Any:
    tag = page.tags.get(name)
    value = None if tag is None else tag.value
    return int(value) if name == "ResolutionUnit" and value is not None else value


def _table(page: Any, path: Path | str) -> TileTable:
    size = Size(int(page.imagewidth), int(page.imagelength))
    check_sides(size, "a level", MAX_SIDE_PX, str(path))
    pixels = pixel_format(page, path)
    if page.is_tiled:
        tile = Size(int(page.tilewidth), int(page.tilelength))
        check_sides(tile, "a tile", MAX_TILE_SIDE_PX, str(path))
    else:
        rows = min(int(page.rowsperstrip) or size.height_px, size.height_px)
        tile = Size(size.width_px, rows)
        if tile.area_px * pixels.samples > MAX_STRIP_BYTES:
            raise BackendRefusalError(
                "its strips are too large to decode one at a time",
                got=f"{tile.width_px} x {tile.height_px} px",
                expected="tiles, or strips of a few rows",
                fix="convert it: vips tiffsave --tile --pyramid --compression jpeg",
                file=path,
            )
    offsets, counts = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
    return TileTable(size, tile, bool(page.is_tiled), offsets, counts, pixels)


def _check_stored(table: TileTable, level: int, file_bytes: int, path: Path | str) -> None:
    rows = -(-table.size.height_px // table.tile.height_px)
    expected = rows * table.columns
    if len(table.offsets) != expected or len(table.counts) != expected:
        raise SlideError(
            f"the tile table of level {level} is damaged",
            got=f"{len(table.offsets)} offsets, {len(table.counts)} byte counts",
            expected=f"{expected} tiles",
            fix="fetch the file again or leave the slide out",
            file=path,
        )
    written = table.counts > 0
    if (table.counts < 0).any() or (table.offsets[written] < 8).any():
        raise SlideError(f"the tile table of level {level} is damaged", got="a tile at an impossible place", file=path)
    end = int((table.offsets + table.counts)[written].max(initial=0))
    if end > file_bytes:
        raise SlideError(
            "the file is truncated",
            got=f"{file_bytes} bytes",
            expected=f"at least {end} bytes (level {level})",
            fix="fetch the file again: the copy or download stopped early",
            file=path,
        )


def _check_ratio(table: TileTable, file_bytes: int, path: Path | str) -> None:
    declared = table.size.area_px * table.pixels.samples
    if declared > MAX_RATIO * file_bytes:
        raise SlideError(
            "the file declares far more pixels than it can hold",
            got=f"{declared} bytes of pixels in a file of {file_bytes} bytes",
            expected=f"at most {MAX_RATIO} to 1",
            fix="the header is damaged, or this is no slide: leave it out",
            file=path,
        )


def _levels(tables: tuple[TileTable, ...], *, aperio: bool) -> tuple[Level, ...]:
    sizes = [t.size for t in tables]
    tiles = [t.tile if t.tiled else None for t in tables]
    factors = list(level_factors(sizes, tiles))
    for index, table in enumerate(tables[1:], 1):
        # Aperio scanners drop tiles of single lower levels although level 0 has them (OpenSlide paints
        # them from the level above): such a level would show white where there is tissue.
        if aperio and not table.counts.all():
            factors[index] = None
    return levels_of(sizes, tiles, factors)
