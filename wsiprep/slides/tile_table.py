"""Where the tiles of each level lie in a file, and how they are coded: what the plain TIFF reader works from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.geometry import Size, Spacing
from wsiprep.slides.decode import PixelFormat
from wsiprep.slides.protocol import Level

Fetch = Callable[[int, int], bytes]
"""Bytes of the file, from an offset, so many."""


@dataclass(frozen=True, slots=True, eq=False)
class TileTable:
    """Where the tiles (or strips, as tiles of full width) of one level lie in the file.

    Attributes:
        size: stored size in pixels.
        tile: size of a tile; of a strip the full width and its rows.
        tiled: False for strips, whose last one may be shorter.
        offsets: int64[tiles], row by row.
        counts: int64[tiles] bytes; 0 marks a tile that was not written.
    """

    size: Size
    tile: Size
    tiled: bool
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    pixels: PixelFormat

    @property
    def columns(self) -> int:
        return -(-self.size.width_px // self.tile.width_px)

    @property
    def rows(self) -> int:
        return -(-self.size.height_px // self.tile.height_px)

    def stored(self, index: int, fetch: Fetch) -> bytes:
        """The bytes of a tile that was written, as its decoder takes them."""
        return fetch(int(self.offsets[index]), int(self.counts[index]))

    def ranges(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 (n, 2): offset and bytes of all that ``stored`` fetches for these tiles, in turn."""
        return np.stack((self.offsets[indices], self.counts[indices]), axis=1)

    def tile_size(self, row: int) -> Size:
        """The pixels that a tile of this row decodes to."""
        if self.tiled:
            return self.tile
        return Size(self.tile.width_px, min(self.tile.height_px, self.size.height_px - row * self.tile.height_px))


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """What the plain TIFF reader needs to know of a file.

    Attributes:
        page_tables: of all its pages, for ``identity.slide_identity``; None where they were not read.
    """

    tables: tuple[TileTable, ...]
    levels: tuple[Level, ...]
    vendor: str
    spacing: Spacing | None
    objective_power: float | None
    properties: Mapping[str, object]
    icc: bytes | None
    page_tables: Sequence[bytes] | None = None
