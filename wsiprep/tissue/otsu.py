"""Otsu's threshold, defined on every input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
BINS = 256


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut of a histogram in two.

    Attributes:
        value: what is strictly above it belongs to the upper class.
        contrast: difference of the means of the two classes; 0 where there is nothing to cut.
    """

    value: float
    contrast: float


def otsu(values: Floats) -> Threshold:
    """The threshold of maximal between-class variance (Otsu 1979) over 256 equal bins from min to max.

    A constant or empty input has the threshold at its maximum: nothing is above it.

    Args:
        values: finite floats of any shape.
    """
    flat = np.ravel(values)
    if flat.size == 0:
        return Threshold(0.0, 0.0)
    low, high = float(flat.min()), float(flat.max())
    # Equal, or apart by the rounding of their last bits: no 256 bins fit in between.
    if high - low <= BINS * float(np.spacing(np.abs(flat).max())):
        return Threshold(high, 0.0)
    counts, edges = np.histogram(flat, bins=BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts, dtype=np.float64)
    above = below[-1] - below[:-1]
    sums = np.cumsum(counts * centres)
    # The first and the last bin hold the extremes, so neither class of a cut is empty.
    mean_below = sums[:-1] / below[:-1]
    mean_above = (sums[-1] - sums[:-1]) / above
    cut = int(np.argmax(below[:-1] * above * (mean_above - mean_below) ** 2))
    return Threshold(float(centres[cut]), float(mean_above[cut] - mean_below[cut]))


def otsu_with_contrast(values: Floats, min_contrast: float) -> Threshold:
    """Otsu's threshold, cut again above itself until the classes differ by ``min_contrast``.

    Where tissue is a speck on a large slide, the first cut halves the noise of the glass; the second, among
    what lies above the first, finds the speck. Where no cut has the contrast, nothing is above the result.
    """
    rest = np.ravel(values)
    cut = otsu(rest)
    while 0 < cut.contrast < min_contrast:
        rest = rest[rest > cut.value]
        cut = otsu(rest)
    return cut
