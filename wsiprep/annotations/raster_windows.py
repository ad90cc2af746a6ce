"""Windows of a label raster: which of its pixels hold a patch's centres, and how much of each a cell covers."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.raster_values import histogram
from wsiprep.annotations.source import Ints


def centres(
    start: int, length: int, count: int, scale: Fraction, limit: int, cells: int, *, whole: bool
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Along one axis: the raster's pixel that holds each centre, and where there is one on the slide.

    Args:
        start, length: of the grid's box in level-0 pixels.
        count: pixels of the grid.
        scale: level-0 pixels per pixel of the raster.
        limit: the slide's length.
        cells: the raster's length.
        whole: a pixel is on the slide where its centre is; else also where the slide's border cuts it (see
            ``labelmap.blank_outside``).
    """
    k = np.arange(count, dtype=np.int64)
    # A centre is centre / (2 count) level-0 pixels from the slide's corner: whole numbers all along.
    centre = 2 * start * count + (2 * k + 1) * length
    on_slide = (2 * start * count + (2 * k + 2) * length > 0) & (2 * start * count + 2 * k * length < 2 * limit * count)
    if whole:
        on_slide &= (centre >= 0) & (centre < 2 * limit * count)
    # A pixel that the border cuts shows the slide's own last pixel where its centre is beyond it.
    centre = np.where(centre < 0, count, centre)
    centre = np.where(centre >= 2 * limit * count, (2 * limit - 1) * count, centre)
    index = (centre * scale.denominator) // (2 * count * scale.numerator)
    return index, on_slide & (index < cells)


def overlaps(start: int, end: int, scale: Fraction, cells: int) -> tuple[int, Ints]:
    """Along one axis: the raster's first pixel in [start, end), and how much of each lies in it.

    Returns:
        first pixel, and int64 lengths in 1 / ``scale.denominator`` of a level-0 pixel.
    """
    low, high, side = start * scale.denominator, end * scale.denominator, scale.numerator
    first, last = low // side, min(-(-high // side), cells)
    edges = np.clip(np.arange(first, max(first, last) + 1, dtype=np.int64) * side, low, high)
    return first, np.diff(edges)


def bands(row: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Runs of grid rows whose raster rows span at most ``most`` (one grid row at least)."""
    first = 0
    while first < len(row):
        last = max(first + 1, int(np.searchsorted(row, row[first] + most)))
        yield first, last
        first = last


def steps(start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """[start, end) cut at the multiples of ``step``."""
    while start < end:
        stop = min((start // step + 1) * step, end)
        yield start, stop
        start = stop


def weighted(codes: npt.NDArray[np.uint8], across: Ints, down: Ints) -> Iterator[tuple[int, int]]:
    """(mask value, exact area) of a window whose columns and rows have integer weights; (1, 1) codes fill it."""
    if codes.size == 1:
        yield int(codes[0, 0]), int(across.sum()) * int(down.sum())
        return
    # Only border pixels weigh less than the others: at most nine parts of even weight.
    for top, bottom, high in _runs(down):
        for left, right, wide in _runs(across):
            counts = np.rint(histogram(codes[top:bottom, left:right])).astype(np.int64)
            for code in np.flatnonzero(counts).tolist():
                yield code, int(counts[code]) * wide * high


def _runs(weights: Ints) -> Iterator[tuple[int, int, int]]:
    """(first, last + 1, weight) of runs of equal weights."""
    cuts = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(weights)]
    for first, last in pairwise(cuts):
        yield first, last, int(weights[first])
