"""Planes the plain way: coverage as most tests of rasterising think of it, area means, the tiles under a read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import EdgeTable
from wsiprep.annotations.rasterise import coverage
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides.protocol import LevelRead
from wsiprep.slides.resample import Axis, accumulator, add_weighted, rounded_mean
from wsiprep.slides.tile_table import TileTable


def plane_coverage(edges: EdgeTable, box: Box, downsample: int) -> npt.NDArray[np.bool_]:
    """``coverage`` of a box in the plane's own pixels; an empty box is covered by nothing."""
    if box.area_px == 0:
        return np.zeros((box.height_px, box.width_px), dtype=bool)
    return coverage(edges, PixelGrid.of_plane(box, downsample))


def plain_area_mean(image: npt.NDArray[np.uint8], rows: Axis, columns: Axis) -> npt.NDArray[np.uint8]:
    """The area mean over whole axes by the plain weighted sums: each tap of each pixel on its own."""
    sums = accumulator(rows, columns, len(rows.totals), len(columns.totals))
    (y, y_end), (x, x_end) = rows.source(0, len(rows.totals)), columns.source(0, len(columns.totals))
    down, across = rows.taps(0, len(rows.totals), y, y_end), columns.taps(0, len(columns.totals), x, x_end)
    add_weighted(sums, image[y:y_end, x:x_end], down, across, (0, 0))
    return rounded_mean(sums, rows.totals, columns.totals)


def planned_tiles(reads: Iterable[LevelRead], tables: Sequence[TileTable]) -> set[tuple[int, int, tuple[int, int]]]:
    """The tiles that reads lie on, pixel by pixel: level, index, and how they are reduced."""
    found = set()
    for read in reads:
        table, box = tables[read.level], read.box.scaled(read.factor)
        across = {x // table.tile.width_px for x in range(box.x, min(box.x_end, table.size.width_px))}
        down = {y // table.tile.height_px for y in range(box.y, min(box.y_end, table.size.height_px))}
        found |= {(read.level, y * table.columns + x, (read.factor, read.dct)) for y in down for x in across}
    return found
