"""Reinhard's map: means and deviations in Lab of one picture given to another (Reinhard et al. 2001, as in staintools).

On OpenCV's 8-bit Lab each output channel depends on one input channel alone, so three tables of 256 entries
between two conversions are exact. OpenCV converts 8-bit Lab in integers: a pixel does not depend on its place.
"""

from __future__ import annotations

import cv2
import numpy as np

from wsiprep.stain.model import ReinhardFit
from wsiprep.stain.normalise import GLASS_NOISE, Rgb

_BLOCK_PX = 1 << 16


class LabShift:
    """The map (v - mean) deviation' / deviation + mean' on L, a and b; truncated to 8 bits as in staintools.

    Colours of the source's white, less its noise of 5 levels, stay as they are, also with the default of 255:
    moments know no stain, and paint glass like anything else. Safe to call from many threads.

    Attributes:
        table: uint8 (256, 3): the level of L, a and b that each becomes.
        glass: float64 (3,): colours at or above all three stay.
    """

    def __init__(self, source: ReinhardFit, target: ReinhardFit) -> None:
        levels = np.arange(256.0)[:, None]
        moved = (levels - source.means) * (target.deviations / source.deviations) + target.means
        self.table = np.clip(moved, 0, 255).astype(np.uint8)
        self.glass = np.ceil(np.array(source.white) - GLASS_NOISE)

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = np.ascontiguousarray(rgb).reshape(1, -1, 3)  # OpenCV is slow on narrow pictures
        result = np.empty(pixels.shape, dtype=np.uint8)
        for start in range(0, pixels.shape[1], _BLOCK_PX):
            block, out = (array[:, start : start + _BLOCK_PX] for array in (pixels, result))
            lab = cv2.LUT(cv2.cvtColor(block, cv2.COLOR_RGB2LAB), self.table[None])
            cv2.cvtColor(lab, cv2.COLOR_LAB2RGB, out)
            low = cv2.inRange(block, (*self.glass.tolist(), 0), (255, 255, 255, 0))
            if low.any():
                cv2.copyTo(block, low, out)
        return result.reshape(rgb.shape)
