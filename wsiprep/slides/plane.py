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
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, Size
from wsiprep.slides.protocol import RGB, Slide

MAX_DOWNSAMPLE = 4096
"""255 x 4096^2 is the largest sum of a block that 32 bits hold."""

_BLOCK_SIDE_PX = 2048
"""Side of the source blocks that are averaged at once (12.6 MB), rounded to whole tiles."""

Pixels = Literal["stored", "level0"]


def block_mean(image: RGB, factor: int) -> RGB:
    """Mean of ``factor`` x ``factor`` blocks from the upper left corner, rounded half up.

    Equal to ``geometry.area_mean`` on whole blocks, at 15 to 25 times its speed; blocks that reach
    over the right or lower border average only the pixels that exist.

    Args:
        image: (H, W, 3) uint8 of any size.
        factor: 1 to 4096.

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) uint8.
    """
    if not 1 <= factor <= MAX_DOWNSAMPLE:
        raise UsageError("the downsample is out of range", got=factor, expected=f"1 to {MAX_DOWNSAMPLE}")
    if factor == 1:
        return image
    height, width = image.shape[:2]
    kind = np.uint16 if factor * 255 <= np.iinfo(np.uint16).max else np.uint32
    rows = _sums(image, factor, kind)
    # Columns are summed as rows of the transposed sums: adding whole planes is what numpy does fast.
    out_width, whole = -(-width // factor), width // factor
    total = np.zeros((rows.shape[0], out_width, image.shape[2]), np.uint32)
    blocks = rows[:, : whole * factor].reshape(rows.shape[0], whole, factor, image.shape[2])
    for column in range(factor):
        total[:, :whole] += blocks[:, :, column]
    if out_width > whole:
        total[:, whole] = rows[:, whole * factor :].sum(axis=1, dtype=np.uint32)
    if height % factor == 0 and width % factor == 0:
        area = factor * factor
        total += area // 2
        total //= area
    else:
        counts = np.outer(_counts(height, factor), _counts(width, factor)).astype(np.uint32)[..., np.newaxis]
        total += counts // 2
        total //= counts
    return total.astype(np.uint8)


def _sums(image: RGB, factor: int, kind: type[np.uint16 | np.uint32]) -> npt.NDArray[np.uint16 | np.uint32]:
    height, width, channels = image.shape
    whole = height // factor
    sums = np.empty((-(-height // factor), width, channels), kind)
    blocks = image[: whole * factor].reshape(whole, factor, width, channels)
    np.add.reduce(blocks, axis=1, dtype=kind, out=sums[:whole])
    if height % factor:
        np.add.reduce(image[whole * factor :], axis=0, dtype=kind, out=sums[whole])
    return sums


def _counts(length: int, factor: int) -> npt.NDArray[np.int64]:
    counts = np.full(-(-length // factor), factor, np.int64)
    if length % factor:
        counts[-1] = length % factor
    return counts


class _Source:
    """One level reduced by an integer mean (1: as stored), read in blocks so that memory stays bounded."""

    def __init__(self, slide: Slide, level: int, reduction: int) -> None:
        found = slide.info.levels[level]
        # Only an overview takes a level that has no factor.
        self._read = slide.show_level if found.factor is None else slide.read_level
        self.level = level
        self.reduction = reduction
        self._level_size = found.size
        self.size = self._level_size.reduced(reduction)
        self.tile = tile = found.tile
        self._steps = (
            _block_side(reduction, tile.width_px if tile else 1),
            _block_side(reduction, tile.height_px if tile else 1),
        )

    def read(self, box: Box) -> RGB:
        if self.reduction == 1:
            return self._read(self.level, box)
        image = np.empty((box.height_px, box.width_px, 3), np.uint8)
        whole = Box(0, 0, self._level_size.width_px, self._level_size.height_px)
        for part in self._blocks(box):
            pixels = self._read(self.level, part.scaled(self.reduction).intersection(whole))
            image[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x] = block_mean(
                pixels, self.reduction
            )
        return image

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

    Attributes:
        size: of the plane, ceil(level 0 / downsample).
    """

    def __init__(self, slide: Slide, level: int, reduction: int, downsample: int) -> None:
        self.main = _Source(slide, level, reduction)
        self.size = slide.info.size.reduced(downsample)
        self._border = self.main if level == 0 else _Source(slide, 0, downsample)

    def tile_steps(self, usual_px: int) -> tuple[int, int]:
        """Width and height of the source's tiles in pixels of the plane, rounded up to whole ones."""
        tile = self.main.tile or Size(usual_px, usual_px)
        return -(-tile.width_px // self.main.reduction), -(-tile.height_px // self.main.reduction)

    def read(self, box: Box) -> RGB:
        """The pixels of a box within ``size``."""
        covered = self.main.size
        # The main part, then all that is right of it, then what is left below it.
        split_x = min(max(covered.width_px, box.x), box.x_end)
        split_y = min(max(covered.height_px, box.y), box.y_end)
        if (split_x, split_y) == (box.x_end, box.y_end):
            return self.main.read(box)
        parts = (
            (Box(box.x, box.y, split_x - box.x, split_y - box.y), self.main),
            (Box(split_x, box.y, box.x_end - split_x, box.height_px), self._border),
            (Box(box.x, split_y, split_x - box.x, box.y_end - split_y), self._border),
        )
        image = np.empty((box.height_px, box.width_px, 3), np.uint8)
        for part, source in parts:
            if part.area_px:
                image[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x] = source.read(part)
        return image


class Plane:
    """The slide at downsample N.

    Args:
        slide: an open slide.
        downsample: N, 1 to 4096.
        pixels: ``stored`` takes the level whose factor is exactly N where there is one, else the mean of
            level 0; ``level0`` always the mean of level 0.

    Attributes:
        size: of the plane, partial border pixels included: ceil(level 0 / N).
        source_level: the level that the pixels come from.
        from_stored: True where they are that level's pixels as stored, False where they are a mean.

    Raises:
        UsageError: N out of range, or no such kind of pixels.
    """

    def __init__(self, slide: Slide, downsample: int, pixels: Pixels = "stored") -> None:
        if pixels not in ("stored", "level0"):
            raise UsageError("no such kind of pixels", got=pixels, expected="stored or level0")
        if not 1 <= downsample <= MAX_DOWNSAMPLE:
            raise UsageError("the downsample is out of range", got=downsample, expected=f"1 to {MAX_DOWNSAMPLE}")
        stored = slide.info.level_at(downsample) if pixels == "stored" or downsample == 1 else None
        self.downsample = downsample
        self.pixels = pixels
        self.from_stored = stored is not None
        self.source_level = stored.index if stored is not None else 0
        self._source = ComposedSource(slide, self.source_level, 1 if stored else downsample, downsample)
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

    def read_padded(self, box: Box, fill: int = 255) -> RGB:
        """Like ``read`` for a box that may reach over the slide, or lie beside it: outside is ``fill``."""
        inner = box.intersection(Box(0, 0, self.size.width_px, self.size.height_px))
        if inner == box:
            return self.read(box)
        image = np.full((box.height_px, box.width_px, 3), fill, np.uint8)
        if inner.area_px:
            image[inner.y - box.y : inner.y_end - box.y, inner.x - box.x : inner.x_end - box.x] = self.read(inner)
        return image
