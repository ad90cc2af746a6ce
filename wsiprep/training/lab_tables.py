"""OpenCV's conversions between 8-bit RGB and Lab as tables, for devices that have no OpenCV.

Its 8-bit Lab is rounded in ways of its own, and one level of Lab is several of RGB: to give the same pixels, the same
table is needed. 2^24 int32 each, made in about half a second.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.int32]


def to_lab() -> Table:
    """L + 256 a + 65,536 b at R + 256 G + 65,536 B, int32 (2^24,)."""
    return _converted(cv2.COLOR_RGB2LAB)


def from_lab() -> Table:
    """R + 256 G + 65,536 B at L + 256 a + 65,536 b, int32 (2^24,)."""
    return _converted(cv2.COLOR_LAB2RGB)


def _converted(conversion: int) -> Table:
    table = np.empty(1 << 24, dtype=np.int32)
    plane = np.arange(1 << 16, dtype=np.uint32).view(np.uint8).reshape(256, 256, 4)[..., :3].copy()
    for third, part in enumerate(table.reshape(256, 1 << 16)):
        plane[..., 2] = third
        rgba = cv2.cvtColor(cv2.cvtColor(plane, conversion), cv2.COLOR_RGB2RGBA)
        part[:] = rgba.reshape(-1).view(np.int32) & 0xFFFFFF
    return table
