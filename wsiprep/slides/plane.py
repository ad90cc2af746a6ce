"""The slide at one integer downsample of level 0.

A pixel of the plane at downsample N covers N x N level-0 pixels. It comes from the stored level with
exactly that factor, or is the mean of its level-0 pixels, rounded half up. The two differ by about
30 dB, so a plane never mixes them inside the slide; the one exception is the partial border pixel that
writers which round down leave out of a stored level: it is the mean of the level-0 pixels that exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, Size
from wsiprep.slides.block_mean import MAX_DOWNSAMPLE, block_mean
from wsiprep.slides.protocol import RGB, LevelRead, Slide, TileSlide

__all__ = ["MAX_DOWNSAMPLE", "ComposedSource", "Decode", "Pixels", "Plane", "block_mean", "dct_factor"]

_BLOCK_SIDE_PX = 2048
"""Side of the source blocks that are averaged at once (12.6 MB), rounded to whole tiles."""

Pixels = Literal["stored", "level0"]
Decode = Literal["exact", "dct"]


class _Source:
    """One level reduced by an integer mean (1: as stored), read in blocks so that memory stays bounded.

    Where the tiles are decoded here and each is a whole number of pixels of the plane, tiles are reduced one by one
    (``TileSlide.read_reduced``): neighbouring patches then share the means as well.

    Args:
        dct: the part of the reduction that the decoder of the tiles does, see ``LevelRead``.
    """

    def __init__(self, slide: Slide, level: int, reduction: int, dct: int = 1) -> None:
        found = slide.info.levels[level]
        self._tiles = slide if found.factor is not None and isinstance(slide, TileSlide) else None
        # Only an overview takes a level that has no factor.
        self._read = slide.show_level if found.factor is None else slide.read_level
        self.level = level
        self.reduction = reduction
        self._by_tile = self._tiles is not None and self._tiles.can_reduce(level, reduction, dct)
        self._dct = dct
        self._level_size = found.size
        self.size = self._level_size.reduced(reduction)
        self.tile = tile = found.tile
        self._steps = (
            _block_side(reduction, tile.width_px if tile else 1),
            _block_side(reduction, tile.height_px if tile else 1),
        )

    def reads(self, box: Box) -> LevelRead:
        """What ``read`` of this box reads."""
        if self._by_tile:
            return LevelRead(self.level, box, self.reduction, self._dct)
        whole = self._level_size.reduced(self._dct)
        stored = box.scaled(self.reduction // self._dct).intersection(Box(0, 0, whole.width_px, whole.height_px))
        return LevelRead(self.level, stored, self._dct, self._dct)

    def read(self, box: Box) -> RGB:
        if self.reduction == 1:
            return self._read(self.level, box)
        if self._by_tile and self._tiles is not None:
            return self._tiles.read_reduced(self.reads(box))
        image = np.empty((box.height_px, box.width_px, 3), np.uint8)
        for part in self._blocks(box):
            image[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x] = block_mean(
                self._stored(self.reads(part)), self.reduction // self._dct
            )
        return image

    def _stored(self, read: LevelRead) -> RGB:
        if self._dct > 1 and self._tiles is not None:
            return self._tiles.read_reduced(read)
        return self._read(read.level, read.box)

    def _blocks(self, box: Box) -> Iterator[Box]:
        """The box cut along a fixed grid of whole tiles, so that no tile is decoded for two blocks."""
        step_x, step_y = self._steps
        for y in range(box.y - box.y % step_y, box.y_end, step_y):
            for x in range(box.x - box.x % step_x, box.x_end, step_x):
                part = Box(x, y, step_x, step_y).intersection(box)
                if part.area_px:
                    yield part


def _block_side(reduction: int, tile_px: int) -> int:
    """Side of a block in reduced pixels: whole tiles where these fit into twice the usual side."""
    aligned_px = math.lcm(reduction, tile_px)
    if aligned_px <= 2 * _BLOCK_SIDE_PX:
        return aligned_px * max(1, _BLOCK_SIDE_PX // aligned_px) // reduction
    return max(1, _BLOCK_SIDE_PX // reduction)


class ComposedSource:
    """The whole slide at a downsample, from one level reduced by an integer mean.

    Where that level ends short of the plane, the last pixels are the mean of level 0.

    Args:
        dct: the part of the reduction that the JPEG decoder does; the slide can do it (``dct_factor``).

    Attributes:
        size: of the plane, ceil(level 0 / downsample).
    """

    def __init__(self, slide: Slide, level: int, reduction: int, downsample: int, dct: int = 1) -> None:
        self.main = _Source(slide, level, reduction, dct)
        self.size = slide.info.size.reduced(downsample)
        self._border = self.main if level == 0 else _Source(slide, 0, downsample)

    def tile_steps(self, usual_px: int) -> tuple[int, int]:
        """Width and height of the source's tiles in pixels of the plane, rounded up to whole ones."""
        tile = self.main.tile or Size(usual_px, usual_px)
        return -(-tile.width_px // self.main.reduction), -(-tile.height_px // self.main.reduction)

    def reads(self, box: Box) -> tuple[LevelRead, ...]:
        """What ``read`` of this box reads."""
        if box.within(self.main.size):
            return (self.main.reads(box),)
        return tuple(source.reads(part) for part, source in self._parts(box))

    def read(self, box: Box) -> RGB:
        """The pixels of a box within ``size``."""
        if box.within(self.main.size):
            return self.main.read(box)
        image = np.empty((box.height_px, box.width_px, 3), np.uint8)
        for part, source in self._parts(box):
            image[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x] = source.read(part)
        return image

    def _parts(self, box: Box) -> Iterator[tuple[Box, _Source]]:
        covered = self.main.size
        # The main part, then all that is right of it, then what is left below it.
        split_x = min(max(covered.width_px, box.x), box.x_end)
        split_y = min(max(covered.height_px, box.y), box.y_end)
        parts = (
            (Box(box.x, box.y, split_x - box.x, split_y - box.y), self.main),
            (Box(split_x, box.y, box.x_end - split_x, box.height_px), self._border),
            (Box(box.x, split_y, split_x - box.x, box.y_end - split_y), self._border),
        )
        for part, source in parts:
            if part.area_px:
                yield part, source


def dct_factor(slide: Slide, level: int, reduction: float, *, dividing: bool) -> int:
    """How much the JPEG decoder can reduce the tiles of a level towards a reduction: 1, 2, 4 or 8.

    Args:
        reduction: wanted in all, at least 1.
        dividing: whether the rest must be a whole number.
    """
    if not isinstance(slide, TileSlide):
        return 1
    usable = (k for k in (8, 4, 2) if k <= reduction and not (dividing and reduction % k))
    return next((k for k in usable if slide.can_reduce(level, k, k)), 1)


class Plane:
    """The slide at downsample N.

    Args:
        slide: an open slide.
        downsample: N, 1 to 4096.
        pixels: ``stored`` takes the level whose factor is exactly N where there is one, else the mean of
            level 0; ``level0`` always the mean of level 0.
        decode: ``dct`` lets the JPEG decoder do what it can of a mean of level 0 (44 to 64 dB to the exact one). A
            partial pixel at the border of the slide then holds some of the padding beside it.

    Attributes:
        size: of the plane, partial border pixels included: ceil(level 0 / N).
        source_level: the level that the pixels come from.
        from_stored: True where they are that level's pixels as stored, False where they are a mean.
        dct_factor: what the JPEG decoder does of the mean, 1 for nothing.

    Raises:
        UsageError: N out of range, or no such kind of pixels.
    """

    def __init__(self, slide: Slide, downsample: int, pixels: Pixels = "stored", decode: Decode = "exact") -> None:
        if pixels not in ("stored", "level0"):
            raise UsageError("no such kind of pixels", got=pixels, expected="stored or level0")
        if decode not in ("exact", "dct"):
            raise UsageError("no such way of decoding", got=decode, expected="exact or dct")
        if not 1 <= downsample <= MAX_DOWNSAMPLE:
            raise UsageError("the downsample is out of range", got=downsample, expected=f"1 to {MAX_DOWNSAMPLE}")
        stored = slide.info.level_at(downsample) if pixels == "stored" or downsample == 1 else None
        self.downsample = downsample
        self.pixels = pixels
        self.from_stored = stored is not None
        self.source_level = stored.index if stored is not None else 0
        mean = decode == "dct" and stored is None
        self.dct_factor = dct_factor(slide, 0, downsample, dividing=True) if mean else 1
        self._source = ComposedSource(
            slide, self.source_level, 1 if stored else downsample, downsample, self.dct_factor
        )
        self.size: Size = self._source.size

    def read(self, box: Box) -> RGB:
        """The pixels of ``box`` (in plane pixels), (H, W, 3) uint8.

        Raises:
            UsageError: the box reaches over ``size``.
            SlideError: the pixels cannot be decoded.
        """
        if not box.within(self.size):
            raise UsageError(
                "the box reaches over the border of the plane",
                got=f"x {box.x} to {box.x_end}, y {box.y} to {box.y_end}",
                expected=f"within {self.size.width_px} x {self.size.height_px} px",
                fix="crop the box, or use read_padded",
            )
        return self._source.read(box)

    def reads(self, box: Box) -> tuple[LevelRead, ...]:
        """What ``read_padded`` of this box reads."""
        if box.within(self.size):
            return self._source.reads(box)
        inner = box.intersection(Box(0, 0, self.size.width_px, self.size.height_px))
        return self._source.reads(inner) if inner.area_px else ()

    def read_padded(self, box: Box, fill: int = 255) -> RGB:
        """Like ``read`` for a box that may reach over the slide, or lie beside it: outside is ``fill``."""
        if box.within(self.size):
            return self._source.read(box)
        inner = box.intersection(Box(0, 0, self.size.width_px, self.size.height_px))
        image = np.full((box.height_px, box.width_px, 3), fill, np.uint8)
        if inner.area_px:
            image[inner.y - box.y : inner.y_end - box.y, inner.x - box.x : inner.x_end - box.x] = self.read(inner)
        return image
