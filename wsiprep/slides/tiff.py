"""The plain TIFF reader: look a tile up, pread it, decode it. Nothing is resampled or blended.

It gives the pixels that the file holds, at 4 to 5 times OpenSlide's speed, for tiled and striped
8-bit RGB, RGBA and grey TIFFs (Aperio SVS included) in the codecs of ``decode.COMPRESSIONS``. Tiles
that were never written (byte count 0) are white background, as generic TIFF and Aperio writers mean
them; alpha is composited on white.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.slides.decode import DECODER_ERRORS, decode_tile
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.opened import OpenedSlide, icc_digest
from wsiprep.slides.properties import allowed
from wsiprep.slides.protocol import RGB, BackendRefusalError, DamagedRegionError, SlideInfo, level_for
from wsiprep.slides.tiff_tables import TileTable, read_header

CACHE_BYTES = 64 * 2**20
"""Decoded tiles kept per open slide; enough for three rows of 256 px tiles of a 4x level 25,000 px wide."""

BACKGROUND = 255

_PROBES = 5
"""Tiles of a kind that are tried before the file counts as unreadable."""


class TileCache:
    """The tiles used last, up to a number of bytes. Thread-safe; its arrays must not be written to."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._tiles: OrderedDict[tuple[int, int], RGB] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> RGB | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int], tile: RGB) -> None:
        if tile.nbytes > self._limit_bytes:
            return
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._held_bytes += tile.nbytes
            while self._held_bytes > self._limit_bytes:
                _, oldest = self._tiles.popitem(last=False)
                self._held_bytes -= oldest.nbytes

    def clear(self) -> None:
        with self._lock:
            self._tiles.clear()
            self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._held_bytes


class TiledTiff(OpenedSlide):
    """A slide read by its tile tables. See the module for what it can read.

    Args:
        path: a local file.
        requested: the backend that the user asked for, recorded in ``info``.
        cache_bytes: decoded tiles to keep.

    Raises:
        BackendRefusalError: another backend may read it.
        SlideError: missing, damaged, truncated or absurd.
    """

    def __init__(self, path: Path, *, requested: str = "tiff", cache_bytes: int = CACHE_BYTES) -> None:
        header = read_header(path)
        self._path = path
        self._tables = header.tables
        self._icc = header.icc
        self._cache = TileCache(cache_bytes)
        self._file: int | None = os.open(path, os.O_RDONLY)
        self.info = SlideInfo(
            size=header.tables[0].size,
            levels=header.levels,
            spacing=header.spacing,
            backend_requested=requested,
            backend="tiff",
            vendor=header.vendor,
            objective_power=header.objective_power,
            identity=slide_identity(path),
            compression=header.tables[0].pixels.name,
            backend_note="",
            properties=allowed(header.properties),
            icc_digest=icc_digest(header.icc),
        )
        try:
            self._probe()
        except SlideError:
            self.close()
            raise

    def icc_profile(self) -> bytes | None:
        """The ICC profile of the first page, None where there is none."""
        return self._icc

    def _probe(self) -> None:
        """Decode one tile of each kind, so that what only the stream tells (sub-sampled JPEG 2000) shows now."""
        seen: set[tuple[int, int, int]] = set()
        for level, table in enumerate(self._tables):
            kind = (table.pixels.compression, table.pixels.photometric, table.pixels.samples)
            written = np.flatnonzero(table.counts)
            if kind in seen or not written.size:
                continue
            seen.add(kind)
            self._probe_kind(level, table, written)

    def _probe_kind(self, level: int, table: TileTable, written: npt.NDArray[np.int64]) -> None:
        """The first tile that decodes will do: a few damaged ones are met when they are read."""
        failure: SlideError | None = None
        for index in written[np.linspace(0, len(written) - 1, _PROBES).astype(np.int64)]:
            try:
                self._tile(level, table, int(index))
            except SlideError as error:
                failure = failure or error
            else:
                return
        assert failure is not None
        raise BackendRefusalError(
            "its tiles cannot be decoded exactly", got=failure.got or failure.message, file=self._path
        ) from failure

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        table = self._tables[level]
        image = np.empty((box.height_px, box.width_px, 3), np.uint8)
        if not box.area_px:
            return image
        tile = table.tile
        for row in range(box.y // tile.height_px, -(-box.y_end // tile.height_px)):
            for column in range(box.x // tile.width_px, -(-box.x_end // tile.width_px)):
                place = Box(column * tile.width_px, row * tile.height_px, tile.width_px, tile.height_px)
                part = box.intersection(place)
                pixels = self._tile(level, table, row * table.columns + column)
                target = image[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x]
                if pixels is None:
                    target[...] = BACKGROUND
                else:
                    target[...] = pixels[
                        part.y - place.y : part.y_end - place.y, part.x - place.x : part.x_end - place.x
                    ]
        return image

    def _tile(self, level: int, table: TileTable, index: int) -> RGB | None:
        """The decoded tile, or None where it was never written."""
        count = int(table.counts[index])
        if not count:
            return None
        tile = self._cache.get((level, index))
        if tile is not None:
            return tile
        data = self._fetch(int(table.offsets[index]), count)
        row, column = divmod(index, table.columns)
        size: Size = table.tile_size(row)
        try:
            tile = decode_tile(table.pixels, data, size.width_px, size.height_px)
        except DECODER_ERRORS as error:
            raise DamagedRegionError(
                f"a tile cannot be decoded: level {level}, column {column}, row {row}",
                got=f"{table.pixels.name}: {error or type(error).__name__}",
                expected=f"{size.width_px} x {size.height_px} px in {count} bytes",
                fix="fetch the file again, or list the slide in exclude.csv",
                file=self._path,
            ) from error
        self._cache.put((level, index), tile)
        return tile

    def _fetch(self, offset: int, count: int) -> bytes:
        if self._file is None:
            raise UsageError("the slide is closed", file=self._path)
        try:
            data = os.pread(self._file, count, offset)
        except OSError as error:
            raise StorageError(
                "the slide cannot be read",
                got=error.strerror,
                fix="check the disk or the network share",
                file=self._path,
            ) from error
        if len(data) != count:
            raise SlideError(
                "the file became shorter while it was read", got=len(data), expected=f"{count} bytes", file=self._path
            )
        return data

    def close(self) -> None:
        """Free the file and the tiles; closing twice is harmless."""
        file, self._file = self._file, None
        self._cache.clear()
        if file is not None:
            os.close(file)
