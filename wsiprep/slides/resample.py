"""Exact resampling by rational factors: every sum is of integers, rounded half up once, at the end.

Along one axis a grid cuts ``length`` level-0 pixels into ``count`` equal ones. With both divided by
their greatest common divisor, the overlap of an output pixel with a source pixel is a whole multiple
of 1 / count, so that area means have integer weights and no rounding error can differ between machines,
block sizes or neighbouring patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wsiprep.slides.protocol import RGB

Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.uint32 | np.int64]

_UINT32_LIMIT = 2**32

_FEW_TAPS = 6


@dataclass(frozen=True, slots=True)
class Taps:
    """What a run of source pixels adds to a run of output pixels.

    Attributes:
        start: first output pixel.
        first: int64[n], source pixel of the first tap, counted from the start of the run; taps whose weight is
            0 may lie outside it.
        weights: int64[n, taps].
    """

    start: int
    first: Ints
    weights: Ints


class Axis(Protocol):
    """The output pixels along one axis and the source pixels that they are made of.

    Attributes:
        total: the largest sum of the weights of one output pixel.
        totals: int64[count], the sum of the weights of each.
    """

    @property
    def totals(self) -> Ints: ...

    def source(self, start: int, stop: int) -> tuple[int, int]:
        """First and last (exclusive) source pixel of the output pixels ``start`` to ``stop``."""
        ...

    def taps(self, start: int, stop: int, low: int, high: int) -> Taps:
        """What the source pixels ``low`` to ``high`` add to the output pixels ``start`` to ``stop``."""
        ...


@dataclass(frozen=True, slots=True)
class AreaAxis:
    """Area means: output pixel i covers [begins[i], ends[i]) in units of 1 / ``unit`` source pixels."""

    begins: Ints
    ends: Ints
    unit: int

    @property
    def totals(self) -> Ints:
        return self.ends - self.begins

    def source(self, start: int, stop: int) -> tuple[int, int]:
        return int(self.begins[start]) // self.unit, -(-int(self.ends[stop - 1]) // self.unit)

    def taps(self, start: int, stop: int, low: int, high: int) -> Taps:
        # Only the pixels that overlap the run: both arrays ascend.
        start += int(np.searchsorted(self.ends[start:stop], low * self.unit, side="right"))
        stop = start + int(np.searchsorted(self.begins[start:stop], high * self.unit, side="left"))
        begins = np.maximum(self.begins[start:stop], low * self.unit)[:, np.newaxis]
        ends = np.minimum(self.ends[start:stop], high * self.unit)[:, np.newaxis]
        first = begins // self.unit
        count = int((-(-ends // self.unit) - first).max(initial=0))
        place = first + np.arange(count)
        weights = np.minimum((place + 1) * self.unit, ends) - np.maximum(place * self.unit, begins)
        return Taps(start, first[:, 0] - low, np.maximum(weights, 0))


@dataclass(frozen=True, slots=True)
class LinearAxis:
    """Linear interpolation between the centres of two source pixels, the outermost repeated beyond the slide."""

    nearer: Ints
    farther: Ints
    weight: Ints
    unit: int

    @property
    def totals(self) -> Ints:
        return np.full(len(self.nearer), self.unit, np.int64)

    def source(self, start: int, stop: int) -> tuple[int, int]:
        return int(self.nearer[start]), int(self.farther[stop - 1]) + 1

    def taps(self, start: int, stop: int, low: int, high: int) -> Taps:
        start += int(np.searchsorted(self.farther[start:stop], low, side="left"))
        stop = start + int(np.searchsorted(self.nearer[start:stop], high, side="left"))
        one, two, weight = (v[start:stop] for v in (self.nearer, self.farther, self.weight))
        # At the borders of the slide both are the same pixel: the second tap then counts for the first.
        here = np.where((low <= one) & (one < high), np.where(one == two, self.unit, self.unit - weight), 0)
        there = np.where((one != two) & (low <= two) & (two < high), weight, 0)
        return Taps(start, one - low, np.stack([here, there], axis=1))


def axis_of(begin: int, length: int, count: int, limit: int, reduced: int = 1) -> tuple[int, int, Axis]:
    """The axis of a grid whose ``count`` pixels divide ``length`` level-0 pixels from ``begin`` on.

    Args:
        limit: level-0 pixels that exist, from 0 on. Weights reach over no others.
        reduced: the source pixels are each so many level-0 pixels long; at most what a pixel of the grid is.

    Returns:
        First and last (exclusive) output pixel whose centre lies within 0 to ``limit``, and their axis:
        the area mean where an output pixel is at least a source pixel long, else linear interpolation.
    """
    divisor = math.gcd(length, count)
    step, unit = length // divisor, count // divisor
    centres = 2 * (begin * unit + np.arange(count, dtype=np.int64) * step) + step
    first = int(np.searchsorted(centres, 0, side="left"))
    stop = int(np.searchsorted(centres, 2 * limit * unit, side="left"))
    if step >= unit:
        begins = begin * unit + np.arange(first, stop, dtype=np.int64) * step
        ends = np.minimum(begins + step, limit * unit)
        return first, stop, AreaAxis(np.maximum(begins, 0), ends, unit * reduced)
    # Positions relative to the centre of source pixel 0, in units of 1 / (2 unit).
    place, weight = np.divmod(centres[first:stop] - unit, 2 * unit)
    return first, stop, LinearAxis(np.clip(place, 0, limit - 1), np.clip(place + 1, 0, limit - 1), weight, 2 * unit)


def accumulator(rows: Axis, columns: Axis, height_px: int, width_px: int) -> Sums:
    """Zeros that the sums of a whole patch fit into, 32 bits where they do (twice as fast)."""
    largest = 256 * int(rows.totals.max(initial=0)) * int(columns.totals.max(initial=0))
    return np.zeros((height_px, width_px, 3), np.uint32 if largest < _UINT32_LIMIT else np.int64)


def add_weighted(sums: Sums, image: RGB, rows: Taps, columns: Taps, start: tuple[int, int]) -> None:
    """Add the weighted sums of a block of source pixels.

    Args:
        sums: the accumulator.
        image: the block, (h, w, 3) uint8.
        rows, columns: its taps.
        start: output row and column of ``sums[0, 0]``.
    """
    kind = sums.dtype.type
    width = image.shape[1]
    half = (_few_rows if rows.weights.shape[1] <= _FEW_TAPS else _many_rows)(image, rows, kind)
    y, x = rows.start - start[0], columns.start - start[1]
    target = sums[y : y + len(rows.first), x : x + len(columns.first)]
    for tap in range(columns.weights.shape[1]):
        lines = np.take(half, np.clip(columns.first + tap, 0, width - 1), axis=1)
        lines *= columns.weights[:, tap, np.newaxis].astype(kind)
        target += lines


def _few_rows(image: RGB, rows: Taps, kind: type[np.uint32 | np.int64]) -> Sums:
    """Weighted sums down the columns, tap by tap over all output rows."""
    half = np.zeros((len(rows.first), *image.shape[1:]), kind)
    product = np.empty_like(half)
    for tap in range(rows.weights.shape[1]):
        lines = image[np.clip(rows.first + tap, 0, image.shape[0] - 1)]
        np.multiply(lines, rows.weights[:, tap, np.newaxis, np.newaxis].astype(kind), out=product)
        half += product
    return half


def _many_rows(image: RGB, rows: Taps, kind: type[np.uint32 | np.int64]) -> Sums:
    """The same where an output row covers many: plain sums, then less what the first and last count for less."""
    half = np.empty((len(rows.first), *image.shape[1:]), kind)
    for index, (first, taps) in enumerate(zip(rows.first.tolist(), rows.weights, strict=True)):
        used = np.flatnonzero(taps)
        start, stop = first + int(used[0]), first + int(used[-1]) + 1
        weights = taps[used[0] : used[-1] + 1]
        unit = int(weights.max())
        # 32 bits hold the sum of 2^24 rows; blocks have far fewer.
        half[index] = np.add.reduce(image[start:stop], axis=0, dtype=np.uint32)
        half[index] *= kind(unit)
        for partial in np.flatnonzero(weights != unit):
            half[index] -= image[start + partial] * kind(unit - weights[partial])
    return half


def rounded_mean(sums: Sums, rows: Ints, columns: Ints) -> RGB:
    """The sums over their weights, rounded half up; ``sums`` is overwritten.

    Args:
        rows, columns: the total weights of each output row and column.
    """
    if (rows == rows[0]).all() and (columns == columns[0]).all():
        whole = int(rows[0]) * int(columns[0])
        sums += sums.dtype.type(whole // 2)
        sums //= sums.dtype.type(whole)
    else:
        weights = np.outer(rows, columns)[..., np.newaxis].astype(sums.dtype)
        sums += weights // 2
        sums //= weights
    return sums.astype(np.uint8)
