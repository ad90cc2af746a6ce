"""The plain rasteriser: every edge that cuts the grid's rows, every crossing, a running count; nothing is left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import EdgeTable
from wsiprep.annotations.rasterise import Axis
from wsiprep.geometry import PixelGrid


def plain_coverage(edges: EdgeTable, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """bool (height, width): pixels whose centre lies in any of the table's geometries."""
    box = grid.box_lv0
    across = Axis.of(box.x, box.width_px, grid.width_px)
    down = Axis.of(box.y, box.height_px, grid.height_px)
    covered = np.zeros((grid.height_px, grid.width_px), np.bool_)
    for region in range(len(edges.region_x)):
        crossings: list[list[int]] = [[] for _ in range(grid.height_px)]
        for edge in np.flatnonzero(edges.region == region):
            top, bottom = down.first(np.array([edges.y_top[edge], edges.y_bottom[edge]])).tolist()
            rows = np.arange(top, bottom)
            x = edges.crossings(np.full(len(rows), edge), down.centres(rows))
            for row, column in zip(rows.tolist(), across.first(x).tolist(), strict=True):
                crossings[row].append(column)
        for row, columns in enumerate(crossings):
            columns.sort()
            for start, end in zip(columns[0::2], columns[1::2], strict=True):
                covered[row, start:end] = True
    return covered
