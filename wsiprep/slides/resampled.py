"""The pixels of grids that are no plane's: level 0 averaged or interpolated by rational factors, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.slides.area_sums import AreaSums, can_sum
from wsiprep.slides.block_mean import MAX_DOWNSAMPLE, block_mean
from wsiprep.slides.protocol import RGB, LevelRead, Slide, TileSlide
from wsiprep.slides.resample import AreaAxis, Axis, accumulator, add_weighted, axis_of, rounded_mean

_MAX_SUM = 2**62
_CHUNK_PX = 1024
_BLOCK_SIDE_PX = 2048


class Axes(NamedTuple):
    """A grid on the slide: its pixels [top, bottom) x [left, right) are there, made of ``source``."""

    top: int
    bottom: int
    left: int
    right: int
    rows: Axis
    columns: Axis
    source: LevelRead


def axes_of(slide: Slide, grid: PixelGrid, dct: int) -> Axes | None:
    """None where no pixel of the grid is on the slide.

    Args:
        dct: level 0 is read at 1 / dct of its sides.
    """
    box, size = grid.box_lv0, slide.info.size
    left, right, columns = axis_of(box.x, box.width_px, grid.width_px, size.width_px, dct)
    top, bottom, rows = axis_of(box.y, box.height_px, grid.height_px, size.height_px, dct)
    if left >= right or top >= bottom:
        return None
    x, x_end = columns.source(0, right - left)
    y, y_end = rows.source(0, bottom - top)
    return Axes(top, bottom, left, right, rows, columns, LevelRead(0, Box(x, y, x_end - x, y_end - y), dct, dct))


def resampled(slide: Slide, grid: PixelGrid, fill: int, dct: int = 1) -> RGB:
    """The pixels of a grid, (H, W, 3) uint8, made of level 0; ``fill`` where its pixels have their centre outside.

    Args:
        dct: level 0 is read at 1 / dct of its sides, as its JPEG decoder reduces it.

    Raises:
        UsageError: the box is too large to average exactly.
        SlideError: the pixels cannot be decoded.
    """
    image = np.full((grid.height_px, grid.width_px, 3), fill, np.uint8)
    found = axes_of(slide, grid, dct)
    if found is None:
        return image
    top, bottom, left, right, rows, columns, _ = found
    if 256 * int(rows.totals.max()) * int(columns.totals.max()) > _MAX_SUM:
        box = grid.box_lv0
        raise UsageError("the box is too large to average exactly", got=f"{box.width_px} x {box.height_px} px")
    inner = image[top:bottom, left:right]
    for y in range(0, bottom - top, _CHUNK_PX):
        for x in range(0, right - left, _CHUNK_PX):
            part = inner[y : y + _CHUNK_PX, x : x + _CHUNK_PX]
            part[...] = _chunk(slide, rows, columns, Box(x, y, part.shape[1], part.shape[0]), dct)
    return image


def _chunk(slide: Slide, rows: Axis, columns: Axis, part: Box, dct: int) -> RGB:
    """A piece of the patch, from source blocks that are each read once."""
    left, right = columns.source(part.x, part.x_end)
    top, bottom = rows.source(part.y, part.y_end)
    tile = slide.info.levels[0].tile
    blocks = list(_blocks(Box(left, top, right - left, bottom - top), tile and tile.reduced(dct)))
    whole = _whole_pixels(rows, columns, part)
    if whole is not None and len(blocks) == 1:
        return block_mean(_source_pixels(slide, blocks[0], dct), whole)
    if isinstance(rows, AreaAxis) and isinstance(columns, AreaAxis) and can_sum(rows, columns):
        fast = AreaSums(rows, columns, part)
        for block in blocks:
            fast.add(_source_pixels(slide, block, dct), block)
        return fast.mean()
    sums = accumulator(rows, columns, part.height_px, part.width_px)
    for block in blocks:
        add_weighted(
            sums,
            _source_pixels(slide, block, dct),
            rows.taps(part.y, part.y_end, block.y, block.y_end),
            columns.taps(part.x, part.x_end, block.x, block.x_end),
            (part.y, part.x),
        )
    return rounded_mean(sums, rows.totals[part.y : part.y_end], columns.totals[part.x : part.x_end])


def _whole_pixels(rows: Axis, columns: Axis, part: Box) -> int | None:
    """N where every pixel of the piece is N x N whole source pixels, on the slide altogether; else None."""
    if not isinstance(rows, AreaAxis) or not isinstance(columns, AreaAxis) or (rows.unit, columns.unit) != (1, 1):
        return None
    down, across = rows.totals[part.y : part.y_end], columns.totals[part.x : part.x_end]
    n = int(down[0])
    return n if n <= MAX_DOWNSAMPLE and (down == n).all() and (across == n).all() else None


def _source_pixels(slide: Slide, block: Box, dct: int) -> RGB:
    if dct > 1 and isinstance(slide, TileSlide):
        return slide.read_reduced(LevelRead(0, block, dct, dct))
    return slide.read_level(0, block)


def _blocks(box: Box, tile: Size | None) -> Iterator[Box]:
    """The box cut along a fixed grid of whole tiles, unless it is small enough as it is."""
    if max(box.width_px, box.height_px) <= 2 * _BLOCK_SIDE_PX:
        yield box
        return
    step_x, step_y = (
        math.ceil(_BLOCK_SIDE_PX / side) * side for side in ((tile.width_px, tile.height_px) if tile else (1, 1))
    )
    for y in range(box.y - box.y % step_y, box.y_end, step_y):
        for x in range(box.x - box.x % step_x, box.x_end, step_x):
            yield Box(x, y, step_x, step_y).intersection(box)
