"""The lightness by which glass is told from tissue: OpenCV's, without building the tables of all of Lab."""

from __future__ import annotations

import cv2
import numpy as np

from wsiprep.stain.glass import lightness


def test_every_colour_has_opencv_s_8_bit_lightness() -> None:
    level = np.arange(256, dtype=np.uint8)
    for blue in range(0, 256, 4):
        rgb = np.stack(np.broadcast_arrays(level[:, None], level, (level[blue : blue + 4])[:, None, None]), axis=-1)
        flat = np.ascontiguousarray(rgb.reshape(-1, 256, 3))
        assert np.array_equal(lightness(rgb).reshape(-1, 256), cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)[..., 0])
