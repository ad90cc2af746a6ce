"""The whole slide at a low resolution, for tissue and for pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.geometry import Box
from wsiprep.slides.plane import MAX_DOWNSAMPLE, ComposedSource, Decode, dct_factor
from wsiprep.slides.protocol import RGB, DamagedRegionError, Level, Slide, SlideInfo

MAX_OVERVIEW_PX = 2**29
"""Pixels of an overview that are allocated (1.6 GB)."""

_BLOCK_SIDE_PX = 1024
_TILE_PX = 256
"""Smallest piece that damage is narrowed down to where the tiles are not known."""


class DamagedOverview(NamedTuple):
    """An overview with what could not be read.

    Attributes:
        image: (H, W, 3) uint8; white where it could not be read.
        downsample: its true integer downsample.
        damaged: bool (H, W), True where a tile under the pixel cannot be decoded. Whole tiles count, and where the
            downsample cuts them also their neighbours: never less than what is missing.
    """

    image: RGB
    downsample: int
    damaged: npt.NDArray[np.bool_]


def read_overview(slide: Slide, downsample: int, decode: Decode = "exact") -> tuple[RGB, int]:
    """The whole slide at about ``downsample``, never coarser.

    The coarsest level with a known factor not above ``downsample`` (``Level.factor``, or else ``shown_factor``:
    then up to a pixel of that level beside its place), averaged by the largest
    integer that keeps it so. Read tile by tile or in blocks: beside the result itself, memory stays bounded
    even for a slide that has level 0 alone. Tiles that were never written cost nothing.

    Args:
        decode: ``dct`` lets the JPEG decoder do what it can of the mean where that is level 0 (half the time of a
            full decode, about 44 dB to it); lower levels are always decoded in full.

    Returns:
        (H, W, 3) uint8 and its true integer downsample.

    Raises:
        UsageError: ``downsample`` out of range, or so small that the overview would be huge.
        DamagedRegionError: a tile cannot be decoded; ``read_damaged_overview`` survives that.
    """
    source, true = _source(slide, downsample, decode)
    return source.read(Box(0, 0, source.size.width_px, source.size.height_px)), true


def read_damaged_overview(slide: Slide, downsample: int, decode: Decode = "exact") -> DamagedOverview:
    """Like ``read_overview``, with white and a mask for the tiles that cannot be decoded.

    Every other pixel is the same as ``read_overview`` would give.

    Raises:
        UsageError: as ``read_overview``.
        StorageError: the disk or the network failed, which is no damage of the file.
    """
    source, true = _source(slide, downsample, decode)
    whole = Box(0, 0, source.size.width_px, source.size.height_px)
    image = np.full((whole.height_px, whole.width_px, 3), 255, np.uint8)
    damaged = np.zeros(image.shape[:2], np.bool_)
    steps = source.tile_steps(_TILE_PX)
    blocks = _cut(whole, *(max(step, _BLOCK_SIDE_PX // step * step) for step in steps))
    while blocks:
        box = blocks.pop()
        try:
            image[box.y : box.y_end, box.x : box.x_end] = source.read(box)
        except DamagedRegionError:
            if box.width_px <= steps[0] and box.height_px <= steps[1]:
                damaged[box.y : box.y_end, box.x : box.x_end] = True
            else:
                # Halves along whole tiles, until a piece is one tile.
                blocks += _cut(box, _half(box.width_px, steps[0]), _half(box.height_px, steps[1]))
    return DamagedOverview(image, true, damaged)


def overview_level(info: SlideInfo, downsample: int) -> tuple[Level, int]:
    """The level that an overview at ``downsample`` is made from, and the true downsample of that overview.

    Raises:
        UsageError: ``downsample`` out of range.
    """
    if not 1 <= downsample <= MAX_DOWNSAMPLE:
        raise UsageError("the downsample is out of range", got=downsample, expected=f"1 to {MAX_DOWNSAMPLE}")
    # A level that is only shown is as good here, and level 0 of a MIRAX takes minutes.
    factors = [(level.factor or level.shown_factor or 0, level.factor is not None) for level in info.levels]
    (factor, _), index = max((f, index) for index, f in enumerate(factors) if 1 <= f[0] <= downsample)
    return info.levels[index], downsample // factor * factor


def _source(slide: Slide, downsample: int, decode: Decode) -> tuple[ComposedSource, int]:
    level, true = overview_level(slide.info, downsample)
    dct = dct_factor(slide, 0, true, dividing=True) if decode == "dct" and level.index == 0 else 1
    source = ComposedSource(slide, level.index, true // (level.factor or level.shown_factor or 1), true, dct)
    if source.size.area_px > MAX_OVERVIEW_PX:
        raise UsageError(
            "the overview would be too large",
            got=f"{source.size.width_px} x {source.size.height_px} px at downsample {true}",
            expected=f"at most {MAX_OVERVIEW_PX} px",
            fix="ask for a coarser one",
        )
    return source, true


def _half(length_px: int, step_px: int) -> int:
    return max(step_px, -(-length_px // (2 * step_px)) * step_px)


def _cut(box: Box, step_x: int, step_y: int) -> list[Box]:
    """Pieces on a grid through the origin, so that they end where tiles end."""
    return [
        part
        for y in range(box.y - box.y % step_y, box.y_end, step_y)
        for x in range(box.x - box.x % step_x, box.x_end, step_x)
        if (part := Box(x, y, step_x, step_y).intersection(box)).area_px
    ]
