"""The floor of reading: libjpeg-turbo on exactly the compressed tiles that patches touch, each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import simplejpeg
import tifffile

from wsiprep.geometry import Box


@dataclass(frozen=True, slots=True)
class TouchedTiles:
    """The compressed tiles of one level, complete JPEG files, in the order of the file.

    Attributes:
        indices: their places in the level, row by row, ascending.
        tiles: their bytes.
        area_px: pixels of all of them.
    """

    indices: tuple[int, ...]
    tiles: tuple[bytes, ...]
    area_px: int

    def decode(self) -> None:
        """Decode each once, and drop the pixels."""
        for tile in self.tiles:
            simplejpeg.decode_jpeg(tile, "RGB")


def touched(path: Path, cells_lv0: Iterable[Box], downsample: int) -> TouchedTiles:
    """The tiles of the stored level at ``downsample`` under the cells.

    Raises:
        SystemExit: the slide has no such level, or its tiles are no YCbCr JPEG.
    """
    with tifffile.TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
        page = next((p for p in pages if round(pages[0].imagewidth / p.imagewidth) == downsample), None)
        if page is None or (page.compression, page.photometric) != (7, 6):
            raise SystemExit(f"{path.name} has no level at 1/{downsample} in tiles of YCbCr JPEG")
        across = -(-page.imagewidth // page.tilewidth)
        wanted: set[int] = set()
        for cell in cells_lv0:
            rows = range(cell.y // downsample // page.tilelength, -(-cell.y_end // downsample // page.tilelength))
            columns = range(cell.x // downsample // page.tilewidth, -(-cell.x_end // downsample // page.tilewidth))
            wanted.update(row * across + column for row in rows for column in columns)
        tables = page.jpegtables
        with path.open("rb") as stream:
            tiles = []
            written = tuple(index for index in sorted(wanted) if page.databytecounts[index])
            for index in written:
                stream.seek(page.dataoffsets[index])
                data = stream.read(page.databytecounts[index])
                tiles.append(data if tables is None else tables[:-2] + data[2:])
        return TouchedTiles(written, tuple(tiles), len(tiles) * page.tilewidth * page.tilelength)
