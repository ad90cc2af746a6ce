"""The colour of a slide's empty glass: the white from which its stains absorb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
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
    lightness = cv2.cvtColor(np.ascontiguousarray(overview), cv2.COLOR_RGB2LAB)[..., 0]
    bright = (lightness >= TISSUE_LIGHTNESS * 255) & ~tissue & (overview < 255).any(axis=2)
    share = float(bright.mean())
    if share < MIN_GLASS:
        return Glass(None, share, f"less than {MIN_GLASS:.0%} of the slide is glass below 255")
    red, green, blue = (float(value) for value in np.median(overview[bright], axis=0))
    density = optical_density(np.array([red, green, blue]))
    if density[1] - max(density[0], density[2]) > MAX_TINT:
        return Glass(None, share, f"what is bright has the tint of pale stain ({red:g}, {green:g}, {blue:g})")
    return Glass((red, green, blue), share)
