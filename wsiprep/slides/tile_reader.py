"""Boxes of pixels put together from compressed tiles: fetched, decoded and reduced once each.

The counterpart of ``tiff.py``, which knows the file: here are the tiles that are wanted, those that are kept, and
what was done for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.geometry import Size
from wsiprep.slides.block_mean import block_mean
from wsiprep.slides.byte_source import Ranges
from wsiprep.slides.damage import DECODER_ERRORS
from wsiprep.slides.decode import JPEG, decode_tile
from wsiprep.slides.jpeg_tiles import DCT_FACTORS, JpegTiles
from wsiprep.slides.protocol import RGB, DamagedRegionError, LevelRead, TileCounts
from wsiprep.slides.tiff_tables import TileTable
from wsiprep.slides.tile_cache import CachedTile, TileCache
from wsiprep.slides.tile_plan import TilePlan, TileRange
from wsiprep.slides.tiling import Part, Tiling, cut


class TileReader:
    """The tiles of one slide. Thread-safe.

    Args:
        tables: of the levels.
        sizes: of the levels, without padding.
        fetch: the bytes of the file at an offset, exactly so many.
        path: for messages.
        cache_bytes: decoded tiles to keep.
        plan_bytes: decoded tiles to keep at most while there is a plan.
        announce: told which bytes ``fetch`` will be asked for, where that helps.
    """

    def __init__(
        self, tables: Sequence[TileTable], sizes: Sequence[Size], fetch: Callable[[int, int], bytes],
        path: Path | str, cache_bytes: int, plan_bytes: int, announce: Callable[[Ranges], None] | None = None,
    ) -> None:  # fmt: skip
        self._announce = announce
        self.counts = TileCounts()
        self._tables, self._sizes, self._fetch, self._path = tables, sizes, fetch, path
        self._cache = TileCache(cache_bytes)
        self._cache_bytes, self._plan_bytes = cache_bytes, plan_bytes
        self._tilings: list[Tiling] = []
        self._tiling_of: dict[tuple[int, int, int], Tiling] = {}
        self._decoded = [bytearray(len(table.counts)) for table in tables]
        self._lock = threading.Lock()

    def probe(self, level: int, index: int) -> None:
        """Decode a tile and forget it.

        Raises:
            DamagedRegionError: it cannot be decoded.
        """
        tiling = self._tiling(level, 1, 1)
        self._decode(tiling, index, None)
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
        if self._announce is not None:
            self._announce(self._stored_ranges(plan))

    def _stored_ranges(self, plan: TilePlan) -> Ranges:
        """What will be fetched, as it is needed first."""
        found = [np.empty((0, 2), np.int64)]
        for kind, indices in plan.order():
            table = self._tilings[kind].table
            found.append(table.ranges(indices[table.counts[indices] > 0]))
        return np.concatenate(found)

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

    def _tiling(self, level: int, factor: int, dct: int) -> Tiling:
        found = self._tiling_of.get((level, factor, dct))
        if found is None:
            with self._lock:
                found = self._tiling_of.get((level, factor, dct)) or self._new_tiling(level, factor, dct)
        return found

    def _new_tiling(self, level: int, factor: int, dct: int) -> Tiling:
        if not self.can_reduce(level, factor, dct):
            raise UsageError("tiles cannot be reduced like this", got=(level, factor, dct), file=self._path)
        table, size = self._tables[level], self._sizes[level]
        made = Tiling(
            kind=len(self._tilings),
            level=level,
            factor=factor,
            dct=dct,
            stored=size,
            size=size.reduced(factor),
            tile=table.tile.reduced(factor),
            columns=table.columns,
            written=(table.counts > 0).tobytes(),
            table=table,
            jpeg=JpegTiles(table.pixels) if table.pixels.compression == JPEG else None,
        )
        self._tilings.append(made)
        self._tiling_of[level, factor, dct] = made
        return made

    def read(self, read: LevelRead, out: RGB | None = None) -> RGB:
        """See ``TileSlide.read_reduced``.

        The way of all pixels. The decoder leaves nothing of the interpreter in the caches of the processor, so what
        is done here for a tile costs three times what it seems to: plain numbers, and few calls.
        """
        tiling = self._tiling(read.level, read.factor, read.dct)
        if not read.box.within(tiling.size):
            raise UsageError("the box reaches over the border of the level", got=read, expected=tiling.size)
        shape = (read.box.height_px, read.box.width_px, 3)
        if out is not None and (out.shape != shape or out.dtype != np.uint8):
            raise UsageError("the pixels do not fit", got=f"{out.shape} {out.dtype}", expected=f"{shape} uint8")
        image = np.empty(shape, np.uint8) if out is None else out
        indices, parts = cut(tiling, read.box, image)
        if not indices:
            return image
        own, others = self._cache.claim(tiling.kind, indices)
        held = [tile for _, tile in others]
        try:
            if own:
                self._read_own(tiling, indices, parts, own, held)
            for position, cached in others:
                pixels = cached.awaited()
                if pixels is None:
                    # The thread that was to decode it met an error: this one meets its own.
                    pixels, _ = self._decode(tiling, indices[position], None)
                target, where = parts[position]
                target[...] = pixels[where]
        finally:
            if held:
                self._cache.release(held)
        return image

    def _read_own(
        self, tiling: Tiling, indices: Sequence[int], parts: Sequence[Part],
        own: Sequence[tuple[int, CachedTile | None]], held: list[CachedTile],
    ) -> None:  # fmt: skip
        """Decode the tiles that nobody else does; those that others may want are published and added to ``held``."""
        cache, scratch, seen = self._cache, None, self._decoded[tiling.level]
        whole = (tiling.tile.height_px, tiling.tile.width_px, 3)
        decoded = again = fetched = done = 0
        try:
            for position, place in own:
                index = indices[position]
                target, where = parts[position]
                if place is not None:
                    pixels, count = self._decode(tiling, index, None)
                    held.append(place)
                    cache.publish(place, pixels)
                elif target.shape == whole and target.flags.c_contiguous:
                    pixels, count = self._decode(tiling, index, target)
                else:
                    scratch, count = self._decode(tiling, index, scratch)
                    pixels = scratch
                if pixels is not target:
                    target[...] = pixels[where]
                done += 1
                decoded, again, fetched = decoded + 1, again + seen[index], fetched + count
                seen[index] = 1
        finally:
            for _, place in own[done:]:
                if place is not None:
                    cache.abandon(place)
            if scratch is not None:
                cache.give_back(scratch)
            with self._lock:
                was = self.counts
                self.counts = TileCounts(
                    was.decoded + decoded, was.redecoded + again, was.fetched_bytes + fetched, was.probed
                )

    def _decode(self, tiling: Tiling, index: int, memory: RGB | None) -> tuple[RGB, int]:
        """A tile, decoded and reduced, and the number of its stored bytes.

        Args:
            memory: a tile that is not needed any more, to decode to.
        """
        table, factor, dct = tiling.table, tiling.factor, tiling.dct
        data = table.stored(index, self._fetch)
        size = table.tile_size(index // tiling.columns)
        width, height = size.width_px, size.height_px
        try:
            if tiling.jpeg is None:
                tile = decode_tile(table.pixels, data, width, height)
            else:
                shape = (height, width, 3) if dct == 1 else (-(-height // dct), -(-width // dct), 3)
                if memory is None or memory.shape != shape:
                    memory = self._cache.buffer(shape)
                tile = tiling.jpeg.decode(data, width, height, dct, memory)
        except DECODER_ERRORS as error:
            row, column = divmod(index, tiling.columns)
            raise DamagedRegionError(
                f"a tile cannot be decoded: level {tiling.level}, column {column}, row {row}",
                got=f"{table.pixels.name}: {error or type(error).__name__}",
                expected=f"{width} x {height} px in {len(data)} bytes",
                fix="fetch the file again, or list the slide in exclude.csv",
                file=self._path,
            ) from error
        return tile if factor == dct else self._mean(tiling, index, tile), len(data)

    def _mean(self, tiling: Tiling, index: int, tile: RGB) -> RGB:
        """The mean of a tile, at the border of the slide that of its part within; its memory is free then."""
        row, column = divmod(index, tiling.columns)
        dct, stored = tiling.dct, tiling.table.tile
        height = -(-(tiling.stored.height_px - row * stored.height_px) // dct)
        width = -(-(tiling.stored.width_px - column * stored.width_px) // dct)
        mean = block_mean(tile[:height, :width], tiling.factor // dct)
        self._cache.give_back(tile)
        return mean
