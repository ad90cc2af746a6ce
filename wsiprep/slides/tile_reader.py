"""Boxes of pixels put together from compressed tiles: fetched, decoded and reduced once each.

The counterpart of ``tiff.py``, which knows the file: here are the tiles that are wanted, those that are kept, and
what was done for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsiprep.geometry import Box, Size
from wsiprep.slides.block_mean import block_mean
from wsiprep.slides.damage import DECODER_ERRORS
from wsiprep.slides.decode import JPEG, decode_tile
from wsiprep.slides.jpeg_tiles import DCT_FACTORS, JpegTiles
from wsiprep.slides.protocol import RGB, DamagedRegionError, LevelRead, TileCounts
from wsiprep.slides.tiff_tables import TileTable
from wsiprep.slides.tile_cache import TileCache
from wsiprep.slides.tile_plan import TilePlan, TileRange

BACKGROUND = 255


@dataclass(frozen=True, slots=True)
class _Tiling:
    """The tiles of a level, as stored or each reduced.

    Attributes:
        kind: number among the tilings of the slide, for the cache.
        size: of the level without padding, before it is reduced.
        tile: of a reduced tile.
        jpeg: decoder of its JPEG tiles, None for other codecs.
    """

    kind: int
    level: int
    factor: int
    dct: int
    size: Size
    tile: Size
    table: TileTable
    jpeg: JpegTiles | None

    def range(self, box: Box) -> TileRange:
        return TileRange.under(box, self.tile, self.table.columns)


class TileReader:
    """The tiles of one slide. Thread-safe.

    Args:
        tables: of the levels.
        sizes: of the levels, without padding.
        fetch: the bytes of the file at an offset, exactly so many.
        path: for messages.
        cache_bytes: decoded tiles to keep.
        plan_bytes: decoded tiles to keep at most while there is a plan.
    """

    def __init__(
        self, tables: Sequence[TileTable], sizes: Sequence[Size], fetch: Callable[[int, int], bytes], path: Path,
        cache_bytes: int, plan_bytes: int,
    ) -> None:  # fmt: skip
        self.counts = TileCounts()
        self._tables, self._sizes, self._fetch, self._path = tables, sizes, fetch, path
        self._cache = TileCache(cache_bytes)
        self._cache_bytes, self._plan_bytes = cache_bytes, plan_bytes
        self._tilings: list[_Tiling] = []
        self._tiling_of: dict[tuple[int, int, int], _Tiling] = {}
        self._decoded = [bytearray(len(table.counts)) for table in tables]
        self._lock = threading.Lock()

    def probe(self, level: int, index: int) -> None:
        """Decode a tile and forget it.

        Raises:
            DamagedRegionError: it cannot be decoded.
        """
        tiling = self._tiling(level, 1, 1)
        self._decode(tiling, index, self._stored(tiling.table, index))
        with self._lock:
            self.counts = replace(self.counts, probed=self.counts.probed + 1)

    def decoded(self, level: int) -> npt.NDArray[np.int64]:
        """The indices of the tiles of a level that were decoded, ascending."""
        return np.flatnonzero(np.frombuffer(self._decoded[level], np.uint8))

    def can_reduce(self, level: int, factor: int, dct: int) -> bool:
        """Whether tiles can be reduced one by one."""
        table = self._tables[level]
        if dct != 1 and (dct not in DCT_FACTORS or factor % dct or table.pixels.compression != JPEG):
            return False
        # Where one tile spans the level, what is left over is the level's own border.
        across = table.columns == 1 or table.tile.width_px % factor == 0
        down = table.rows == 1 or table.tile.height_px % factor == 0
        return factor >= 1 and across and down

    def plan(self, patches: Sequence[Sequence[LevelRead]]) -> None:
        """See ``TileSlide.plan``."""
        plan = TilePlan()
        for number, reads in enumerate(patches):
            for kind, tiles in self._ranges(reads):
                tiling = self._tilings[kind]
                plan.add(number, kind, tiles, tiling.table.rows, 3 * tiling.tile.area_px)
        limit = max(self._cache_bytes, min(self._cache_bytes + plan.peak_bytes(), self._plan_bytes))
        self._cache.plan(plan.counts(), limit)

    def finish(self, patch: Sequence[LevelRead]) -> None:
        """See ``TileSlide.finish``."""
        for kind, tiles in self._ranges(patch):
            self._cache.finish(kind, tiles.indices())

    def clear(self) -> None:
        """Forget all tiles and the plan."""
        self._cache.clear()

    def _ranges(self, reads: Sequence[LevelRead]) -> Iterator[tuple[int, TileRange]]:
        for read in reads:
            tiling = self._tiling(read.level, read.factor, read.dct)
            yield tiling.kind, tiling.range(read.box)

    def _tiling(self, level: int, factor: int, dct: int) -> _Tiling:
        found = self._tiling_of.get((level, factor, dct))
        if found is None:
            with self._lock:
                found = self._tiling_of.get((level, factor, dct)) or self._new_tiling(level, factor, dct)
        return found

    def _new_tiling(self, level: int, factor: int, dct: int) -> _Tiling:
        table = self._tables[level]
        jpeg = JpegTiles(table.pixels) if table.pixels.compression == JPEG else None
        tile = table.tile.reduced(factor)
        made = _Tiling(len(self._tilings), level, factor, dct, self._sizes[level], tile, table, jpeg)
        self._tilings.append(made)
        self._tiling_of[level, factor, dct] = made
        return made

    def read(self, read: LevelRead, out: RGB | None = None) -> RGB:
        """A box within the level that ``can_reduce``; see ``TileSlide.read_reduced``.

        The loop that all pixels go through: what it does for a tile besides decoding must stay below the time of
        a copy.
        """
        tiling, box = self._tiling(read.level, read.factor, read.dct), read.box
        image = np.empty((box.height_px, box.width_px, 3), np.uint8) if out is None else out
        left, top, right, bottom = box.x, box.y, box.x_end, box.y_end
        width, height, counts, cache = tiling.tile.width_px, tiling.tile.height_px, tiling.table.counts, self._cache
        tiles = tiling.range(box)
        for row in range(tiles.row, tiles.row_end):
            y = row * height
            y_from, y_to = max(y, top), min(y + height, bottom)
            for column in range(tiles.column, tiles.column_end):
                x = column * width
                x_from, x_to = max(x, left), min(x + width, right)
                target = image[y_from - top : y_to - top, x_from - left : x_to - left]
                index = row * tiles.columns + column
                if not counts[index]:
                    target[...] = BACKGROUND
                    continue
                key = (tiling.kind, index)
                pixels = cache.acquire(key, self._make)
                target[...] = pixels[y_from - y : y_to - y, x_from - x : x_to - x]
                cache.release(key)
        return image

    def _make(self, key: tuple[int, int]) -> RGB:
        """A tile for the cache."""
        tiling, index = self._tilings[key[0]], key[1]
        data = self._stored(tiling.table, index)
        tile = self._decode(tiling, index, data)
        decoded = self._decoded[tiling.level]
        with self._lock:
            was = self.counts
            self.counts = TileCounts(
                was.decoded + 1, was.redecoded + decoded[index], was.fetched_bytes + len(data), was.probed
            )
            decoded[index] = 1
        return tile if tiling.factor == tiling.dct else self._mean(tiling, index, tile)

    def _mean(self, tiling: _Tiling, index: int, tile: RGB) -> RGB:
        """The mean of a tile, at the border of the slide that of its part within; its memory is free then."""
        row, column = divmod(index, tiling.table.columns)
        dct, stored = tiling.dct, tiling.table.tile
        height = -(-(tiling.size.height_px - row * stored.height_px) // dct)
        width = -(-(tiling.size.width_px - column * stored.width_px) // dct)
        mean = block_mean(tile[:height, :width], tiling.factor // dct)
        self._cache.give_back(tile)
        return mean

    def _stored(self, table: TileTable, index: int) -> bytes:
        return table.stored(index, self._fetch)

    def _decode(self, tiling: _Tiling, index: int, data: bytes) -> RGB:
        """The pixels of a tile as stored, or as its JPEG decoder reduces them."""
        table = tiling.table
        row, column = divmod(index, table.columns)
        size = table.tile_size(row)
        try:
            if tiling.jpeg is None:
                return decode_tile(table.pixels, data, size.width_px, size.height_px)
            reduced = size.reduced(tiling.dct)
            out = self._cache.buffer((reduced.height_px, reduced.width_px, 3))
            return tiling.jpeg.decode(data, size.width_px, size.height_px, dct=tiling.dct, out=out)
        except DECODER_ERRORS as error:
            raise DamagedRegionError(
                f"a tile cannot be decoded: level {tiling.level}, column {column}, row {row}",
                got=f"{table.pixels.name}: {error or type(error).__name__}",
                expected=f"{size.width_px} x {size.height_px} px in {len(data)} bytes",
                fix="fetch the file again, or list the slide in exclude.csv",
                file=self._path,
            ) from error
