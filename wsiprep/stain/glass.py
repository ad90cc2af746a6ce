"""The colour of a slide's empty glass: the white from which its stains absorb."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.stain.density import TISSUE_LIGHTNESS, WHITE, White, optical_density

MIN_GLASS = 0.02
"""Least share of the picture that must be glass: less is lumens and gaps, which stain has touched."""
MAX_TINT = 0.03
"""Pale stain absorbs green more than red and than blue; glass hardly does. By that much at most: the glass of
five scanned slides differs by 0.013, the pale fringe of their tissue by 0.013 to 0.091, mostly above 0.04."""


@dataclass(frozen=True, slots=True)
class Glass:
    """What was found of a slide's glass.

    Attributes:
        rgb: its colour, or None.
        share: share of the picture that was taken for glass.
        reason: why ``rgb`` is None, else empty.
    """

    rgb: White | None
    share: float
    reason: str = ""

    @property
    def white(self) -> White:
        """The colour, or 255 where none was found."""
        return self.rgb or WHITE

    def to_dict(self) -> dict[str, Any]:
        """Entries of a slide's record: ``glass_rgb`` (or null), ``glass_share``, ``glass_reason``."""
        rgb = None if self.rgb is None else list(self.rgb)
        return {"glass_rgb": rgb, "glass_share": self.share, "glass_reason": self.reason}


def glass_colour(overview: npt.NDArray[np.uint8], tissue: npt.NDArray[np.bool_]) -> Glass:
    """The median colour, channel by channel, of what is bright and not tissue.

    Pixels of 255 in all channels do not count: scanners fill what they did not scan with it, up to the
    tissue's edge, and where the glass itself is so bright the default of 255 is right.

    Args:
        overview: uint8 (h, w, 3), the whole slide.
        tissue: bool (h, w), its tissue.

    Raises:
        UsageError: the two differ in shape.
    """
    if tissue.shape != overview.shape[:2]:
        raise UsageError("the tissue mask is of another picture", got=tissue.shape, expected=overview.shape[:2])
    if not overview.size:
        return Glass(None, 0.0, "the picture is empty")
    bright = (lightness(overview) >= TISSUE_LIGHTNESS * 255) & ~tissue & (overview < 255).any(axis=2)
    share = float(bright.mean())
    if share < MIN_GLASS:
        return Glass(None, share, f"less than {MIN_GLASS:.0%} of the slide is glass below 255")
    red, green, blue = (float(value) for value in np.median(overview[bright], axis=0))
    density = optical_density(np.array([red, green, blue]))
    if density[1] - max(density[0], density[2]) > MAX_TINT:
        return Glass(None, share, f"what is bright has the tint of pale stain ({red:g}, {green:g}, {blue:g})")
    return Glass((red, green, blue), share)


def lightness(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """L* of uint8 (..., 3) sRGB pixels times 2.55, to the bit what OpenCV's 8-bit Lab has.

    OpenCV builds the tables of all of Lab at the first conversion in a process: 0.2 s, more than the rest of survey.
    """
    shares, of_luminance = _lightness_tables()
    luminance = shares[0][rgb[..., 0]]
    for channel in (1, 2):
        luminance += shares[channel][rgb[..., channel]]
    result: npt.NDArray[np.uint8] = of_luminance[luminance >> _SHIFT]
    return result


_SHIFT, _GAMMA_STEPS, _ROOT_SHIFT = 12, 8, 15
"""Fixed point of OpenCV's 8-bit Lab: the weights' bits, steps a grey level of linear light, bits of the cube root."""


@cache
def _lightness_tables() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """int32 (3, 256), each channel's part of the luminance Y (with half a step for rounding), and L* of every Y."""
    share = np.arange(256) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1
    weights = np.rint(np.array([[0.212671], [0.715160], [0.072169]]) * (1 << _SHIFT))  # Y of Rec. 709's primaries
    shares = weights * np.rint(linear * 255 * _GAMMA_STEPS)
    shares[0] += 1 << (_SHIFT - 1)
    y = np.arange(255 * _GAMMA_STEPS + 1) / (255 * _GAMMA_STEPS)
    # CIE 1976: the straight part stands in for the cube root below 0.008856.
    root = np.rint(np.where(y < 0.008856, y * 7.787 + 16 / 116, np.cbrt(y)) * (1 << _ROOT_SHIFT))
    scale, offset = (116 * 255 + 50) // 100, ((16 * 255 << _ROOT_SHIFT) + 50) // 100
    scaled = (scale * root.astype(np.int64) - offset + (1 << (_ROOT_SHIFT - 1))) >> _ROOT_SHIFT
    return shares.astype(np.int32), scaled.astype(np.uint8)
