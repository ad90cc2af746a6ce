"""Moments of colours in Lab, as Reinhard et al., "Color transfer between images" (2001), move them.

staintools' ReinhardColorNormalizer is the definition: 8-bit Lab of OpenCV, mean and standard deviation of each
channel over every pixel, glass included. Here tissue alone counts by default: the share of glass in a picture
says nothing about its stain, and glass is not painted afterwards. ``over="all"`` is staintools' way.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.errors import StainError, UsageError
from wsiprep.stain.density import WHITE, Floats, White, is_tissue
from wsiprep.stain.model import ReinhardFit

MIN_DEVIATION = 0.5
"""Least standard deviation of a channel, in levels of 8-bit Lab (real tissue: 3.6 and more): the map divides by
it, and what varies less is one colour with noise."""
_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.950456], [1.0], [1.088754]])
_EPSILON = 216 / 24389
_KAPPA = 24389 / 27
_EVERY_LEVEL = np.arange(256.0)


def lab_of(colours: Floats) -> Floats:
    """Lab of sRGB colours on the scales of OpenCV's 8-bit Lab, without its rounding.

    Args:
        colours: float64 (3, k), R, G, B in 0..255.

    Returns:
        float64 (3, k): L 0 to 255, a and b with neutral at 128.
    """
    part = colours / 255.0
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    xyz = _TO_XYZ @ linear
    cube = np.where(xyz > _EPSILON, np.cbrt(xyz), (_KAPPA * xyz + 16) / 116)
    lightness = (116 * cube[1] - 16) * 2.55
    return np.stack([lightness, 500 * (cube[0] - cube[1]) + 128, 200 * (cube[1] - cube[2]) + 128])


def lab_moments(colours: Floats, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Means and standard deviations, float64 (3,) each, of colours (3, k) that occur ``counts`` times, (k,)."""
    lab = lab_of(colours)
    weights = counts / counts.sum()
    means = lab @ weights
    return means, np.sqrt(((lab - means[:, None]) ** 2) @ weights)


def pixel_moments(
    rgb: npt.NDArray[np.uint8], over: Literal["tissue", "all"] = "tissue", white: White = WHITE
) -> ReinhardFit:
    """The fit of every pixel of one picture, from OpenCV's own 8-bit Lab.

    Args:
        rgb: uint8 (h, w, 3).
        over: ``tissue`` (darker than L = 0.8), or ``all``, which is staintools' fit to the last bit of float64.
        white: the empty glass, from which tissue is told.

    Raises:
        UsageError: not RGB in uint8.
        StainError: no pixel is tissue, or the colours do not vary.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise UsageError("moments are of RGB", got=f"{rgb.dtype} {rgb.shape}", expected="uint8 (h, w, 3)")
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
    pixels = lab.reshape(-1, 3)
    if over == "tissue":
        pixels = pixels[is_tissue(rgb.reshape(-1, 3).T.astype(np.float64), white)]
    if not len(pixels):
        raise StainError("no pixel is tissue", got=f"{rgb.shape[0]} x {rgb.shape[1]} px of glass")
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    means = counts @ _EVERY_LEVEL / len(pixels)
    deviations = np.sqrt(((_EVERY_LEVEL - means[:, None]) ** 2 * counts).sum(axis=1) / len(pixels))
    return ReinhardFit(means, deviations, white=white)
