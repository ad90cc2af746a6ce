"""From colours to optical density and lightness, and percentiles of counted values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.stain.histogram import ColourHistogram

Floats = npt.NDArray[np.float64]

White = tuple[float, float, float]
WHITE: White = (255.0, 255.0, 255.0)
"""Io where nothing is known about a slide's glass: staintools' fixed white."""
TISSUE_LIGHTNESS = 0.8
"""Colours below this CIE L (of 1) are tissue, as in staintools' luminosity threshold."""
_LUMINANCE = np.array([0.212671, 0.715160, 0.072169])
_SORTED_BELOW, _STEPS = 2048, 1024
"""Of more values only those around a percentile are sorted, which a count in steps finds."""
_EPSILON = 216 / 24389
_KAPPA = 24389 / 27


def optical_density(intensity: npt.NDArray[Any], white: White = WHITE) -> Floats:
    """Natural-log optical density, max(-ln(max(I, 1) / Io), 1e-6); never negative, never infinite.

    Light brighter than Io, such as the noise of the glass, has the density of the glass.

    Args:
        intensity: (3, ...), first axis R, G, B, 0 to 255.
        white: Io, the colour of the empty glass.

    Returns:
        float64 of the same shape.
    """
    values = np.asarray(intensity, dtype=np.float64)
    io = np.asarray(white, dtype=np.float64).reshape(3, *[1] * (values.ndim - 1))
    return np.maximum(-np.log(np.maximum(values, 1.0) / io), 1e-6)


def is_tissue(colours: Floats, white: White = WHITE) -> npt.NDArray[np.bool_]:
    """Whether colours are darker than L = 0.8, of a white of L = 1.

    With a white of 255 the same as ``L < 0.8 * 255`` on OpenCV's 8-bit Lab, whose L is rounded:
    255 L* / 100 < 203.5.

    Args:
        colours: float64 (3, k), rows R, G, B in 0..255, sRGB.
        white: the colour of the empty glass.
    """
    weighted = luminance(colours, white)
    return is_dark(weighted[0] + weighted[1] + weighted[2])


def luminance(colours: Floats, white: White = WHITE) -> Floats:
    """What R, G and B (3, k) each add to the luminance of a colour, of a white of 1 in all: float64 (3, k)."""
    part = colours / np.asarray(white, dtype=np.float64)[:, None]
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    result: Floats = linear * _LUMINANCE[:, None]
    return result


def is_dark(total: Floats) -> npt.NDArray[np.bool_]:
    """Whether luminances (k,), of 1, are those of tissue."""
    lightness = np.where(total > _EPSILON, 116 * np.cbrt(total) - 16, _KAPPA * total)
    result: npt.NDArray[np.bool_] = lightness * 2.55 < TISSUE_LIGHTNESS * 255 - 0.5
    return result


def tissue_px(hist: ColourHistogram) -> int:
    """Pixels of tissue colour in a histogram."""
    return int(hist.counts[is_tissue(hist.centres())].sum())


def weighted_percentile(values: Floats, counts: npt.NDArray[np.int64], percent: float) -> float:
    """``numpy.percentile`` (linear) of ``values`` repeated ``counts`` times, without repeating them."""
    position = percent / 100.0 * (int(counts.sum()) - 1)
    lower = int(np.floor(position))
    upper = min(lower + 1, int(counts.sum()) - 1)
    if values.size > _SORTED_BELOW:
        values, counts, before = _around(values, counts, lower, upper)
    else:
        before = 0
    order = np.argsort(values)  # equal values may come in any order
    ends = np.cumsum(counts[order]) + before
    low, high = (float(values[order[np.searchsorted(ends, rank, side="right")]]) for rank in (lower, upper))
    return low + (high - low) * (position - lower)


def _around(
    values: Floats, counts: npt.NDArray[np.int64], lower: int, upper: int
) -> tuple[Floats, npt.NDArray[np.int64], int]:
    """Those values that have the ranks, with a few beside them, their counts, and how many come before."""
    least, span = float(values.min()), float(np.ptp(values))
    if not span:
        return values, counts, 0
    # Rounding is monotone: a larger value is never in an earlier step.
    steps = ((values - least) * ((_STEPS - 1) / span)).astype(np.intp)
    ends = np.cumsum(np.bincount(steps, counts, _STEPS)).astype(np.int64)  # whole numbers, exact in float64
    first, last = np.searchsorted(ends, (lower, upper), side="right")
    kept = (steps >= first) & (steps <= last)
    return values[kept], counts[kept], int(ends[first - 1]) if first else 0
