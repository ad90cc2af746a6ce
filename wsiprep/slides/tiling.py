"""The tiles of one level as reading sees them: as stored or reduced, and which of them lie under a box."""

from __future__ import annotations

from dataclasses import dataclass

from wsiprep.geometry import Box, Size
from wsiprep.slides.jpeg_tiles import JpegTiles
from wsiprep.slides.protocol import RGB
from wsiprep.slides.tile_plan import TileRange
from wsiprep.slides.tile_table import TileTable

BACKGROUND = 255

Part = tuple[RGB, tuple[slice, slice]]
"""What a tile fills: a part of the image, and where in the tile it is found."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a level, as stored or each reduced.

    Attributes:
        kind: number among the tilings of the slide, for the cache.
        stored: size of the level without padding.
        size: the same, reduced.
        tile: of a reduced tile.
        columns: tiles in a row.
        written: for each tile whether it is in the file.
        jpeg: decoder of its JPEG tiles, None for other codecs.
    """

    kind: int
    level: int
    factor: int
    dct: int
    stored: Size
    size: Size
    tile: Size
    columns: int
    written: bytes
    table: TileTable
    jpeg: JpegTiles | None

    def range(self, box: Box) -> TileRange:
        return TileRange.under(box, self.tile, self.columns)


def cut(tiling: Tiling, box: Box, image: RGB) -> tuple[list[int], list[Part]]:
    """The written tiles under a box, with the part of the image that each fills and where it is found in the tile.

    What lies under tiles that were never written is filled here.
    """
    columns, written = tiling.columns, tiling.written
    across = _spans(box.x, box.width_px, tiling.tile.width_px)
    indices: list[int] = []
    parts: list[Part] = []
    for row, y, inside_y in _spans(box.y, box.height_px, tiling.tile.height_px):
        first = row * columns
        for column, x, inside_x in across:
            if written[first + column]:
                indices.append(first + column)
                parts.append((image[y, x], (inside_y, inside_x)))
            else:
                image[y, x] = BACKGROUND
    return indices, parts


def _spans(start: int, length: int, tile: int) -> list[tuple[int, slice, slice]]:
    """Along one axis: each tile under the box, its place in the box, and its part that lies there."""
    spans, at = [], 0
    while at < length:
        number, inside = divmod(start + at, tile)
        step = min(tile - inside, length - at)
        spans.append((number, slice(at, at + step), slice(inside, inside + step)))
        at += step
    return spans
