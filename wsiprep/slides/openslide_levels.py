"""Which levels of an OpenSlide slide hold the pixels of the file, at their places.

OpenSlide resamples wherever a tile or a whole level does not lie on whole pixels, and lists levels that the
file does not hold, and says neither. Such levels get no factor, so that no patch is read from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import simplejpeg
import tifffile

from wsiprep.geometry import Size
from wsiprep.slides.companions import is_vms, vms_map
from wsiprep.slides.identity import TIFF_PARSE_ERRORS
from wsiprep.slides.metadata import number
from wsiprep.slides.protocol import BackendRefusalError, Level

INTEGRAL_TOLERANCE = 1e-9
"""How far OpenSlide's downsample may be from the integer factor for its read to be the stored pixels."""

_NDPI_LENS = 65421
_XMP = 700
_OVERLAP = re.compile(rb'Overlap[XY]\s*=\s*"\s*([^"]*?)\s*"')
_NO_OVERLAP = re.compile(rb"[-+]?0*\.?0*")


def exact_levels(
    levels: Sequence[Level], downsamples: Sequence[float], properties: Mapping[str, str], path: Path
) -> tuple[Level, ...]:
    """The levels, those without their factor whose pixels OpenSlide makes up or moves.

    Args:
        levels: with the factors that the sizes allow.
        downsamples: OpenSlide's own; it resamples where one is not an integer.
        properties: of OpenSlide.
    """
    vendor = properties.get("openslide.vendor", "")
    corners = _region_corners(properties)
    stored = _hamamatsu_sizes(path, levels[0].size) if vendor == "hamamatsu" else None
    overlapping = _overlapping(vendor, properties, path)
    found = []
    for level, own in zip(levels, downsamples, strict=True):
        factor = level.factor
        if factor is None or factor == 1:
            found.append(level)
            continue
        exact = (
            abs(own - factor) <= INTEGRAL_TOLERANCE
            and not overlapping
            # OpenSlide cuts the places of regions at lower levels off to whole pixels.
            and all(x % factor == 0 and y % factor == 0 for x, y in corners)
            and (stored is None or level.stored_size in stored)
        )
        found.append(level if exact else replace(level, factor=None, size=level.stored_size, shown_factor=factor))
    return tuple(found)


def check_runs(sizes: Sequence[Size], tiles: Sequence[Size | None], vendor: str, path: Path) -> None:
    """Refuse an NDPI level whose last run between restart markers reaches over its border.

    OpenSlide counts the whole runs of a row alone, and shows all that follow the first row at other places.

    Raises:
        BackendRefusalError: such a level.
    """
    for size, tile in zip(sizes, tiles, strict=True):
        if vendor == "hamamatsu" and not is_vms(path) and tile is not None and size.width_px % tile.width_px:
            raise BackendRefusalError(
                "OpenSlide misplaces what is between restart markers", got=f"{size.width_px} px wide",
                expected=f"whole runs of {tile.width_px} px", file=path,
            )  # fmt: skip


def _region_corners(properties: Mapping[str, str]) -> list[tuple[int, int]]:
    """Corners of the scanned regions (``openslide.region[i].x`` and ``.y``: Leica, Ventana)."""
    found: list[tuple[int, int]] = []
    while f"openslide.region[{len(found)}].x" in properties:
        sides = (number(properties.get(f"openslide.region[{len(found)}].{side}")) or 0 for side in "xy")
        x, y = (int(v) for v in sides)
        found.append((x, y))
    return found


def _overlapping(vendor: str, properties: Mapping[str, str], path: Path) -> bool:
    """Whether tiles overlap: OpenSlide divides their places at level 0 by the factor and interpolates between pixels.

    (Trestle's overlaps are whole pixels of each level and need no interpolation.)
    """
    if vendor not in ("mirax", "ventana") or "openslide.level[0].tile-width" in properties:
        return False
    # OpenSlide names no tiles for any BIF: there the joints between the tiles tell.
    return vendor == "mirax" or not _bif_without_overlap(path)


def _bif_without_overlap(path: Path) -> bool:
    try:
        with tifffile.TiffFile(path) as tif:
            every: list[Any] = list(tif.pages)
            values = [page.tags[_XMP].value for page in every if _XMP in page.tags]
    except TIFF_PARSE_ERRORS:
        return False
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    overlaps = [value for text in texts for value in _OVERLAP.findall(text)]
    return bool(overlaps) and all(_NO_OVERLAP.fullmatch(value) for value in overlaps)


def _hamamatsu_sizes(path: Path, level_0: Size) -> set[Size] | None:
    """The levels that the file holds; OpenSlide adds others, decoding JPEGs at 1/2, 1/4 and 1/8 of their size.

    None where it adds none (VMU).
    """
    if is_vms(path):
        mapped = vms_map(path)
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(mapped.read_bytes() if mapped is not None else b"")
        except (OSError, ValueError):
            return {level_0}
        return {level_0, Size(width, height)}
    try:
        with tifffile.TiffFile(path) as tif:
            every: list[Any] = list(tif.pages)
            pages = [page for page in every if _NDPI_LENS in page.tags and page.tags[_NDPI_LENS].value > 0]
            return {Size(int(page.imagewidth), int(page.imagelength)) for page in pages} or None
    except TIFF_PARSE_ERRORS:
        return None
