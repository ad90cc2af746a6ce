"""The pixels of a patch: any whole box of level 0 at any number of pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.slides.plane import MAX_DOWNSAMPLE, Pixels, Plane
from wsiprep.slides.protocol import RGB, Slide
from wsiprep.slides.resample import Axis, accumulator, add_weighted, axis_of, rounded_mean

MAX_GRID_PX = 2**29
"""Pixels of one patch that are allocated (1.6 GB)."""

_MAX_SUM = 2**62
_CHUNK_PX = 1024
_BLOCK_SIDE_PX = 2048


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Where the pixels of a patch come from.

    Attributes:
        source_level: index of the level that is read.
        from_stored: True where the pixels are that level's as stored, False where they are computed.
        dct_factor: how much its JPEG tiles were reduced while they were decoded; 1 is not at all.
    """

    source_level: int
    from_stored: bool
    dct_factor: int = 1


class PatchReader:
    """Reads patches of one slide.

    Three cases, by the grid alone:

    - the grid is that of the plane at an integer downsample N (``PixelGrid.downsample``): ``Plane``'s pixels,
      that is the stored level with factor N with ``pixels="stored"``, else the area mean of level 0;
    - any other grid whose pixels are at least a level-0 pixel long along an axis: the exact area mean of
      level 0 along that axis, with fractional weights at the edges. No stored level is used, also where the
      scale is an integer N but the corner is no multiple of N: the stored pixels lie elsewhere;
    - along an axis with pixels shorter than those of level 0 (a declared zoom): linear interpolation between
      the centres of level-0 pixels, the outermost ones repeated beyond the slide. One axis may be averaged
      while the other is interpolated.

    All sums are of integers and rounded half up once, so that a pixel does not depend on the patch that it is
    read for. A pixel whose centre lies outside the slide is ``fill``; one that the border cuts is the mean of
    its part on the slide. (On an aligned grid, partial pixels of the plane's border count as inside, whatever
    their centre: there ``Plane.read_padded`` decides.)

    Memory stays bounded whatever the box is: the source is read in blocks of about 2048 x 2048 px.
    """

    def __init__(self, slide: Slide, pixels: Pixels = "stored") -> None:
        if pixels not in ("stored", "level0"):
            raise UsageError("no such kind of pixels", got=pixels, expected="stored or level0")
        self.slide = slide
        self.pixels = pixels
        self._planes: dict[int, Plane] = {}

    def read(self, grid: PixelGrid, fill: int = 255) -> RGB:
        """The pixels of ``grid``, (H, W, 3) uint8.

        Raises:
            UsageError: the grid is too large to allocate or to sum exactly.
            SlideError: the pixels cannot be decoded.
        """
        if grid.width_px * grid.height_px > MAX_GRID_PX:
            raise UsageError(
                "the patch is too large", got=f"{grid.width_px} x {grid.height_px} px", expected=f"{MAX_GRID_PX} px"
            )
        plane = self._plane(grid)
        if plane is not None:
            n = plane.downsample
            box = Box(grid.box_lv0.x // n, grid.box_lv0.y // n, grid.width_px, grid.height_px)
            return plane.read_padded(box, fill)
        return _resampled(self.slide, grid, fill)

    def source_of(self, grid: PixelGrid) -> PixelSource:
        """Where ``read`` takes the pixels of this grid from."""
        plane = self._plane(grid)
        return PixelSource(0, False) if plane is None else PixelSource(plane.source_level, plane.from_stored)

    def _plane(self, grid: PixelGrid) -> Plane | None:
        n = grid.downsample
        if n is None or n > MAX_DOWNSAMPLE:
            return None
        if n not in self._planes:
            self._planes[n] = Plane(self.slide, n, self.pixels)
        return self._planes[n]


def read_grid(slide: Slide, grid: PixelGrid, *, pixels: Pixels = "stored", fill: int = 255) -> RGB:
    """The pixels of one grid; see ``PatchReader``, which saves work when there are many.

    Raises:
        UsageError: the grid is too large to allocate or to sum exactly.
        SlideError: the pixels cannot be decoded.
    """
    return PatchReader(slide, pixels).read(grid, fill)


def sources_of(slide: Slide, grid: PixelGrid, *, pixels: Pixels = "stored") -> PixelSource:
    """Where ``read_grid`` takes the pixels from."""
    return PatchReader(slide, pixels).source_of(grid)


def _resampled(slide: Slide, grid: PixelGrid, fill: int) -> RGB:
    box, size = grid.box_lv0, slide.info.size
    left, right, columns = axis_of(box.x, box.width_px, grid.width_px, size.width_px)
    top, bottom, rows = axis_of(box.y, box.height_px, grid.height_px, size.height_px)
    image = np.full((grid.height_px, grid.width_px, 3), fill, np.uint8)
    if left >= right or top >= bottom:
        return image
    if 256 * int(rows.totals.max()) * int(columns.totals.max()) > _MAX_SUM:
        raise UsageError("the box is too large to average exactly", got=f"{box.width_px} x {box.height_px} px")
    inner = image[top:bottom, left:right]
    for y in range(0, bottom - top, _CHUNK_PX):
        for x in range(0, right - left, _CHUNK_PX):
            part = inner[y : y + _CHUNK_PX, x : x + _CHUNK_PX]
            part[...] = _chunk(slide, rows, columns, Box(x, y, part.shape[1], part.shape[0]))
    return image


def _chunk(slide: Slide, rows: Axis, columns: Axis, part: Box) -> RGB:
    """A piece of the patch, from source blocks that are each read once."""
    left, right = columns.source(part.x, part.x_end)
    top, bottom = rows.source(part.y, part.y_end)
    sums = accumulator(rows, columns, part.height_px, part.width_px)
    for block in _blocks(Box(left, top, right - left, bottom - top), slide.info.levels[0].tile):
        pixels = slide.read_level(0, block)
        add_weighted(
            sums,
            pixels,
            rows.taps(part.y, part.y_end, block.y, block.y_end),
            columns.taps(part.x, part.x_end, block.x, block.x_end),
            (part.y, part.x),
        )
    return rounded_mean(sums, rows.totals[part.y : part.y_end], columns.totals[part.x : part.x_end])


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
