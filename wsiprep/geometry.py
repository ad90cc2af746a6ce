"""Sizes, boxes, spacings, pyramid levels and cell grids: integer arithmetic on planes of pixels.

One convention everywhere: a *plane* is the slide at one integer downsample N of level 0. Its pixel
(i, j) covers the level-0 square [i N, (i+1) N) x [j N, (j+1) N) and its centre lies at
((i + 1/2) N, (j + 1/2) N). Vertices of annotations are level-0 pixel *corners*. Boxes are half-open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SpacingError, UsageError

SPACING_TOLERANCE = 0.02
"""Relative difference of um/px up to which two spacings count as the same."""

SCALE_TOLERANCE = 0.005
"""Relative difference up to which a fractional scale may be off what was asked for; the true one is recorded."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of a plane in its own pixels."""

    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if self.width_px < 0 or self.height_px < 0:
            raise UsageError("a size cannot be negative", got=(self.width_px, self.height_px))

    @property
    def area_px(self) -> int:
        return self.width_px * self.height_px

    def reduced(self, factor: int) -> Size:
        """The size of the plane at ``factor``, partial border pixels included (ceil)."""
        return Size(-(-self.width_px // factor), -(-self.height_px // factor))

    def whole(self, factor: int) -> Size:
        """The size of the plane at ``factor`` counting only fully covered pixels (floor)."""
        return Size(self.width_px // factor, self.height_px // factor)


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle [x, x + width) x [y, y + height) in the pixels of one plane."""

    x: int
    y: int
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if self.width_px < 0 or self.height_px < 0:
            raise UsageError("a box cannot have a negative side", got=(self.width_px, self.height_px))

    @property
    def x_end(self) -> int:
        return self.x + self.width_px

    @property
    def y_end(self) -> int:
        return self.y + self.height_px

    @property
    def area_px(self) -> int:
        return self.width_px * self.height_px

    def scaled(self, factor: int) -> Box:
        """The same place on a plane that is ``factor`` times finer."""
        return Box(self.x * factor, self.y * factor, self.width_px * factor, self.height_px * factor)

    def intersection(self, other: Box) -> Box:
        """The common part; a box of area 0 where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        x_end, y_end = min(self.x_end, other.x_end), min(self.y_end, other.y_end)
        return Box(x, y, max(0, x_end - x), max(0, y_end - y))

    def within(self, size: Size) -> bool:
        return self.x >= 0 and self.y >= 0 and self.x_end <= size.width_px and self.y_end <= size.height_px


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixels of one patch: a whole box of level 0, cut into ``width_px`` x ``height_px`` equal pixels.

    Pixel (i, j) covers the level-0 rectangle from ``x + i w / W`` to ``x + (i + 1) w / W`` and alike in y,
    where w is the box's width and W is ``width_px``; its centre is ``x + (2 i + 1) w / (2 W)``. The box has
    whole level-0 corners, so every edge and centre is an exact rational number whatever the scale is.

    Attributes:
        box_lv0: in level-0 pixels; may reach over the slide.
        width_px, height_px: pixels of the patch.
    """

    box_lv0: Box
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px, self.box_lv0.width_px, self.box_lv0.height_px) < 1:
            raise UsageError("a grid of pixels has at least one", got=(self.box_lv0, self.width_px, self.height_px))

    @classmethod
    def of_plane(cls, box: Box, downsample: int) -> PixelGrid:
        """The pixels of ``box`` on the plane at an integer downsample."""
        return cls(box.scaled(downsample), box.width_px, box.height_px)

    @property
    def scale_x(self) -> float:
        """Level-0 pixels per pixel along x."""
        return self.box_lv0.width_px / self.width_px

    @property
    def scale_y(self) -> float:
        """Level-0 pixels per pixel along y."""
        return self.box_lv0.height_px / self.height_px

    @property
    def downsample(self) -> int | None:
        """N where the grid is that of a plane at integer downsample N (its corner too), else None."""
        n, rest = divmod(self.box_lv0.width_px, self.width_px)
        if rest or n * self.height_px != self.box_lv0.height_px or self.box_lv0.x % n or self.box_lv0.y % n:
            return None
        return n


@dataclass(frozen=True, slots=True)
class Spacing:
    """Physical pixel size in micrometres along both axes."""

    x_um: float
    y_um: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v > 0 for v in (self.x_um, self.y_um)):
            raise SpacingError("a spacing must be a positive number of um/px", got=(self.x_um, self.y_um))

    @property
    def mean_um(self) -> float:
        return (self.x_um + self.y_um) / 2

    @property
    def is_square(self) -> bool:
        return spacing_matches(self.x_um, self.y_um)


def spacing_matches(got_um: float, expected_um: float, tolerance: float = SPACING_TOLERANCE) -> bool:
    """Whether two spacings agree within a relative ``tolerance`` of the expected one, the bound included."""
    # 0.98 differs from 1.0 by a hair more than 0.02 in binary.
    return abs(got_um - expected_um) <= tolerance * expected_um * (1 + 1e-9)


def scale_for(
    file_um: float,
    *,
    downsample: int | None = None,
    spacing_um: float | None = None,
    common_px: int = 1,
    resample: bool = False,
    enlarge: bool = False,
) -> Fraction:
    """Level-0 pixels per pixel of a patch that a request means for a file of ``file_um`` um/px.

    ``downsample=N`` means N x the file's spacing. ``spacing_um=S`` means S / file: within 2 % of an integer that
    integer; else, where resampling is asked for, the nearest multiple of 1 / ``common_px``, so that cells and
    strides (multiples of ``common_px`` pixels) are whole numbers of level-0 pixels. The true spacing is
    ``file_um`` times the result.

    Args:
        file_um: of level 0.
        downsample, spacing_um: one of the two.
        common_px: greatest common divisor of patch size and stride.
        resample: whether a scale that is no integer is accepted.
        enlarge: whether one below 1 is.

    Raises:
        SpacingError: the scale is below 1, no integer, or not near enough to a multiple of 1 / ``common_px``.
        UsageError: not exactly one of the two was asked for.
    """
    if (downsample is None) == (spacing_um is None):
        raise UsageError("ask for exactly one of downsample and spacing_um", got=(downsample, spacing_um))
    if downsample is not None:
        if downsample < 1:
            raise SpacingError("a downsample must be at least 1", got=downsample)
        return Fraction(downsample)
    assert spacing_um is not None  # narrowed by the check above
    factor = spacing_um / file_um
    nearest = max(1, round(factor))
    if spacing_matches(factor, nearest):
        return Fraction(nearest)
    if factor < 1 and not enlarge:
        raise SpacingError(
            "the slide is coarser than the spacing asked for",
            got=f"{file_um:g} um/px in the file",
            expected=f"at most {spacing_um * (1 + SPACING_TOLERANCE):g} um/px",
            fix="ask for a coarser spacing_um, or leave the slide out; resample: zoom enlarges ready-cut tiles",
        )
    if not resample:
        raise SpacingError(
            "the spacing asked for is not an integer multiple of the file's (within 2 %)",
            got=f"{spacing_um:g} / {file_um:g} = {factor:.4f}",
            expected=f"a factor near an integer, such as spacing_um: {file_um * nearest:g}",
            fix="resample: area, or downsample: N in the recipe, or a spacing_um that fits this scanner",
        )
    scale = Fraction(round(factor * common_px), common_px)
    if abs(float(scale) - factor) > SCALE_TOLERANCE * factor:
        raise SpacingError(
            "patch size and stride have too little in common for this scale",
            got=f"a scale of {factor:.4f} in steps of 1/{common_px}",
            expected=f"a step within {SCALE_TOLERANCE:.1%} of it",
            fix="choose a sampling.stride_px that divides patch_size_px, or has a large common divisor with it",
        )
    return scale


def _axis_factors(length_0: int, length: int, tile: int | None, limit: int) -> tuple[int, int]:
    """First and last factor that take one side to ``length``: floor, ceil, or ceil padded to whole tiles.

    The three sets touch, so together they are one interval; ``limit`` stands for no upper end.
    """
    # floor(l0 / f) = l from l0 // (l + 1) + 1 to l0 // l; ceil(l0 / f) = l follows on, up to the last
    # f with l0 / f > l - 1, and with padding up to the last one with l0 / f > l - tile.
    padded = tile is not None and tile > 0 and length % tile == 0
    below = length - (tile or 1) if padded else length - 1
    last = (length_0 - 1) // below if below > 0 else limit
    return length_0 // (length + 1) + 1, max(last, length_0 // length)


def _fitting_factors(level_0: Size, level: Size, tile: Size | None) -> range:
    limit = max(level_0.width_px, level_0.height_px)
    in_x = _axis_factors(level_0.width_px, level.width_px, tile.width_px if tile else None, limit)
    in_y = _axis_factors(level_0.height_px, level.height_px, tile.height_px if tile else None, limit)
    return range(max(in_x[0], in_y[0]), min(in_x[1], in_y[1]) + 1)


def level_factors(levels: Sequence[Size], tiles: Sequence[Size | None]) -> tuple[int | None, ...]:
    """The integer downsample of each level of a pyramid, None where no single one is certain.

    A factor fits a level when both axes equal floor(w0/f) or ceil(w0/f), or ceil(w0/f) rounded up to
    whole tiles (ASAP pads so; dividing the sizes, as OpenSlide's ``level_downsamples`` does, is then
    wrong by up to hundreds of pixels). Among several, the power of two that continues the chain is
    taken; a level that stays ambiguous is None and must not be read.

    Args:
        levels: sizes from the finest on; ``levels[0]`` is level 0.
        tiles: tile size of each level, None for strips (no padding possible).
    """
    factors: list[int | None] = [1]
    last, step = 1, None
    for size, tile in zip(levels[1:], tiles[1:], strict=True):
        fitting = _fitting_factors(levels[0], size, tile)
        found = range(max(fitting.start, last + 1), fitting.stop)
        factor: int | None = found[0] if len(found) == 1 else None
        # Powers of two settle nothing in a chain of another kind (1, 3, 9).
        if len(found) > 1 and last & (last - 1) == 0:
            powers = [1 << k for k in range(found[-1].bit_length()) if 1 << k in found]
            if len(powers) == 1:
                factor = powers[0]
            elif step is not None and last * step in powers:
                factor = last * step
        factors.append(factor)
        if factor is not None:
            step = factor // last if factor % last == 0 else None
            last = factor
    return tuple(factors)


def area_mean(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Mean of ``factor`` x ``factor`` blocks, rounded half up: (sum + n/2) // n with n = factor^2.

    The plain definition, kept as the oracle: readers use ``slides.block_mean``, which tests hold equal to it.

    Args:
        image: (H, W, C) uint8 with H and W divisible by ``factor``.
    """
    if factor == 1:
        return image
    height, width = image.shape[:2]
    if height % factor or width % factor:
        raise UsageError("an area mean needs whole blocks", got=(width, height), expected=f"multiples of {factor}")
    blocks = image.reshape(height // factor, factor, width // factor, factor, -1)
    total = blocks.sum(axis=(1, 3), dtype=np.uint32)
    n = factor * factor
    mean: npt.NDArray[np.uint8] = ((total + n // 2) // n).astype(np.uint8)
    return mean


def cell_origins(length_px: int, cell_px: int, stride_px: int, *, pad: bool = False) -> range:
    """First pixels of the cells along one axis: full cells only, or also padded ones with ``pad``."""
    if cell_px < 1 or stride_px < 1:
        raise UsageError("cell and stride must be at least 1 px", got=(cell_px, stride_px))
    if pad:
        count = max(1, -(-max(0, length_px - cell_px) // stride_px) + 1) if length_px > 0 else 0
    else:
        count = (length_px - cell_px) // stride_px + 1 if length_px >= cell_px else 0
    # With a stride larger than the cell, a padded cell could otherwise lie wholly beyond the border.
    return range(0, min(count * stride_px, max(0, length_px)), stride_px)
