"""Coverage on the plane of an integer downsample, as most tests of rasterising think of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import EdgeTable
from wsiprep.annotations.rasterise import coverage
from wsiprep.geometry import Box, PixelGrid


def plane_coverage(edges: EdgeTable, box: Box, downsample: int) -> npt.NDArray[np.bool_]:
    """``coverage`` of a box in the plane's own pixels; an empty box is covered by nothing."""
    if box.area_px == 0:
        return np.zeros((box.height_px, box.width_px), dtype=bool)
    return coverage(edges, PixelGrid.of_plane(box, downsample))
