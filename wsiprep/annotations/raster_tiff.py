"""Label rasters in TIFF, read tile by tile: the numbers that the file stores, whatever colours they stand for.

Only lossless compressions, because a lossy one invents labels along every edge. The first page counts;
pages marked as reduced resolution are left alone. Tiles that were never written hold 0.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from wsiprep.annotations.raster_pictures import one_channel
from wsiprep.errors import AnnotationError, SlideError, SpacingError
from wsiprep.geometry import Box, Size, Spacing
from wsiprep.guards.lzw import decode_lzw
from wsiprep.guards.tiff_chain import check_chain

CACHE_BYTES = 64 * 2**20
"""Decoded tiles kept per open raster."""

MAX_SIDE_PX = 2**31 - 1
MAX_TILE_BYTES = 2**28
"""Decoded bytes of a tile or strip that are believed."""

MAX_RATIO = 10_000
"""Pixels of written tiles per stored byte that are believed."""

MAX_AREA_PX = 2**38
"""Pixels of a raster that are believed, written or not (500,000 a side)."""

_BLOCK_PX = 1 << 20
_EVEN_BYTES = 16_384
_EVEN_KINDS = 64
"""Tiles of one value that are recognised by their bytes: so many, of at most so many bytes."""

_LOSSLESS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
_LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP"}
_PREDICTORS = (1, 2)

_ERRORS = (
    tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error,
    OverflowError, ZeroDivisionError, RuntimeError, EOFError, MemoryError,
)  # fmt: skip

_UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
_FINEST_UM, _COARSEST_UM = 0.02, 100.0


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Where the tiles of the first page lie and how they are stored."""

    size: Size
    tile: Size
    tiled: bool
    samples: int
    bits: int
    dtype: np.dtype[Any]
    codec: str
    predictor: int
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    spacing: Spacing | None

    @property
    def columns(self) -> int:
        return -(-self.size.width_px // self.tile.width_px)


class TiffPlane:
    """The numbers of a TIFF's first page; a ``RasterPlane``. Reading is thread-safe.

    Args:
        path: the file.

    Raises:
        AnnotationError: no TIFF, lossy, damaged, truncated, absurd, a stack of pages, or more than one channel
            that is not the same grey.
    """

    def __init__(self, path: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._path = path
        try:
            with path.open("rb") as stream:
                check_chain(stream, path)
            with tifffile.TiffFile(path) as tif:
                self._table = _table(tif, path)
        except SlideError as error:
            raise AnnotationError("the label raster is damaged", got=error.message, file=path) from error
        except OSError as error:
            raise AnnotationError("the label raster cannot be read", got=error.strerror, file=path) from error
        except _ERRORS as error:
            raise AnnotationError(
                "the label raster is no TIFF that can be read", got=f"{type(error).__name__}: {error}", file=path
            ) from error
        self._cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._limit_bytes = cache_bytes
        self._held_bytes = 0
        self._even: dict[tuple[bytes, int], Any] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> Size:
        return self._table.size

    @property
    def block(self) -> Size:
        """Whole tiles or strips, about a million pixels."""
        tile, most = self._table.tile, _BLOCK_PX
        if self._table.tiled:
            side = math.isqrt(most)
            return Size(tile.width_px * max(1, side // tile.width_px), tile.height_px * max(1, side // tile.height_px))
        return Size(tile.width_px, tile.height_px * max(1, most // tile.area_px))

    @property
    def tile(self) -> Size | None:
        """Of a tiled file, whose sides may be padded to whole tiles."""
        return self._table.tile if self._table.tiled else None

    @property
    def spacing(self) -> Spacing | None:
        """um/px as the resolution tags say, None where they say nothing credible."""
        return self._table.spacing

    def read(self, box: Box) -> npt.NDArray[Any]:
        table = self._table
        tile = table.tile
        rows = range(box.y // tile.height_px, -(-box.y_end // tile.height_px))
        columns = range(box.x // tile.width_px, -(-box.x_end // tile.width_px))
        if len(rows) == len(columns) == 1:
            y, x = box.y - rows[0] * tile.height_px, box.x - columns[0] * tile.width_px
            return self._tile(rows[0], columns[0])[y : y + box.height_px, x : x + box.width_px]
        values = np.empty((box.height_px, box.width_px), table.dtype.newbyteorder("="))
        for row in rows:
            for column in columns:
                place = Box(column * tile.width_px, row * tile.height_px, tile.width_px, tile.height_px)
                part = box.intersection(place)
                target = values[part.y - box.y : part.y_end - box.y, part.x - box.x : part.x_end - box.x]
                target[...] = self._tile(row, column)[
                    part.y - place.y : part.y_end - place.y, part.x - place.x : part.x_end - place.x
                ]
        return values

    def _tile(self, row: int, column: int) -> npt.NDArray[Any]:
        """The numbers of a tile; one of a single value is that value with strides of 0."""
        table = self._table
        index = row * table.columns + column
        height = table.tile.height_px
        if not table.tiled:
            height = min(height, table.size.height_px - row * height)
        shape = (height, table.tile.width_px)
        if not table.counts[index]:
            return np.broadcast_to(np.zeros((), table.dtype.newbyteorder("=")), shape)
        with self._lock:
            found = self._cache.get(index)
            if found is not None:
                self._cache.move_to_end(index)
                return found
        data = self._fetch(index)
        # Most tiles of a mask are empty, and then they are the same bytes: decoded once.
        known = self._even.get((data, height))
        if known is not None:
            return np.broadcast_to(known, shape)
        numbers = self._decoded(index, data, height)
        if numbers.min() == numbers.max():
            if len(data) <= _EVEN_BYTES and len(self._even) < _EVEN_KINDS:
                self._even[data, height] = numbers[0, 0]
            return np.broadcast_to(numbers[0, 0], shape)
        with self._lock:
            if index not in self._cache and numbers.nbytes <= self._limit_bytes:
                self._cache[index] = numbers
                self._held_bytes += numbers.nbytes
                while self._held_bytes > self._limit_bytes:
                    _, oldest = self._cache.popitem(last=False)
                    self._held_bytes -= oldest.nbytes
        return numbers

    def _fetch(self, index: int) -> bytes:
        table = self._table
        offset, count = int(table.offsets[index]), int(table.counts[index])
        try:
            # Opened for each read: a collection has thousands of masks, and this one must survive a fork.
            with self._path.open("rb") as stream:
                data = os.pread(stream.fileno(), count, offset)
        except OSError as error:
            raise AnnotationError("the label raster cannot be read", got=error.strerror, file=self._path) from error
        return data

    def _decoded(self, index: int, data: bytes, height: int) -> npt.NDArray[Any]:
        table = self._table
        try:
            numbers = _unpacked(table, data, table.tile.width_px, height)
        except _ERRORS as error:
            raise AnnotationError(
                f"a tile of the label raster cannot be decoded: number {index}", got=f"{table.codec}: {error}",
                expected=f"{table.tile.width_px} x {height} px", fix="fetch the file again", file=self._path,
            ) from error  # fmt: skip
        return one_channel(numbers, self._path)


def _table(tif: Any, path: Path) -> _Table:
    page = tif.pages[0]
    size = Size(int(page.imagewidth), int(page.imagelength))
    _check(min(size.width_px, size.height_px) >= 1 and max(size.width_px, size.height_px) <= MAX_SIDE_PX,
           "the size of the label raster is not believable", f"{size.width_px} x {size.height_px}", path)  # fmt: skip
    compression = int(page.compression)
    if compression in _LOSSY:
        raise AnnotationError(
            f"the label raster is compressed as {_LOSSY[compression]}, which changes values along every edge",
            expected=f"a lossless compression: {', '.join(sorted(set(_LOSSLESS.values())))}",
            fix="export the mask again without loss; it cannot be repaired from this file",
            file=path,
        )
    _check(compression in _LOSSLESS, "the compression of the label raster is not known", compression, path)
    others = [p for p in list(tif.pages)[1:] if p.shape == page.shape and int(p.subfiletype) & 1 == 0]
    _check(not others, "the label raster is a stack of pages", f"{len(others) + 1} pages of one size", path)
    samples, bits = int(page.samplesperpixel), int(page.bitspersample)
    dtype = page.dtype
    _check(dtype is not None and dtype.kind in "biuf" and bits in (1, 2, 4, 8, 16, 32, 64),
           "the type of the label raster's values is not known", f"{dtype}, {bits} bits", path)  # fmt: skip
    _check(samples == 1 or (samples in (3, 4) and int(page.planarconfig) == 1 and bits >= 8),
           "a label raster has one channel", f"{samples} samples a pixel", path)  # fmt: skip
    _check(int(page.predictor) in _PREDICTORS and (int(page.predictor) == 1 or (bits >= 8 and dtype.kind != "f")),
           "the predictor of the label raster is not known", int(page.predictor), path)  # fmt: skip
    _check(int(page.fillorder) == 1, "the bit order of the label raster is not known", int(page.fillorder), path)
    _check(int(page.imagedepth) == 1, "the label raster is a volume", int(page.imagedepth), path)
    if page.is_tiled:
        tile = Size(int(page.tilewidth), int(page.tilelength))
    else:
        tile = Size(size.width_px, min(int(page.rowsperstrip) or size.height_px, size.height_px))
    _check(0 < tile.area_px * samples * -(-bits // 8) <= MAX_TILE_BYTES,
           "the tiles of the label raster are too large", f"{tile.width_px} x {tile.height_px} px", path)  # fmt: skip
    offsets, counts = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
    file_bytes = path.stat().st_size
    expected = -(-size.width_px // tile.width_px) * -(-size.height_px // tile.height_px)
    _check(len(offsets) == len(counts) == expected,
           "the tile table of the label raster is damaged", f"{len(offsets)} of {expected} tiles", path)  # fmt: skip
    written = counts > 0
    _check(not (counts < 0).any() and not (offsets[written] < 8).any(),
           "the tile table of the label raster is damaged", "a tile at an impossible place", path)  # fmt: skip
    end = int((offsets + counts)[written].max(initial=0))
    _check(end <= file_bytes, "the label raster is truncated", f"{file_bytes} bytes, {end} needed", path)
    # Tiles that were never written cost neither bytes nor time: a slide without a lesion may have no others.
    declared = int(written.sum()) * tile.area_px
    _check(size.area_px <= MAX_AREA_PX and declared <= MAX_RATIO * file_bytes,
           "the label raster declares far more pixels than it can hold",
           f"{size.width_px} x {size.height_px} px in {file_bytes} bytes", path)  # fmt: skip
    order = "<" if tif.byteorder == "<" else ">"
    return _Table(
        size, tile, bool(page.is_tiled), samples, bits, np.dtype(dtype).newbyteorder(order), _LOSSLESS[compression],
        int(page.predictor), offsets, counts, _spacing(page),
    )  # fmt: skip


def _check(holds: bool, message: str, got: object, path: Path) -> None:
    if not holds:
        raise AnnotationError(
            message, got=got, expected="a tiled or striped TIFF with one value a pixel",
            fix="export the mask again as an 8-bit or 16-bit TIFF", file=path,
        )  # fmt: skip


def _unpacked(table: _Table, data: bytes, width: int, height: int) -> npt.NDArray[Any]:
    """The numbers of one tile: (height, width), or (height, width, samples)."""
    row_bytes = -(-width * table.samples * table.bits // 8)
    expected = row_bytes * height
    raw: bytes | bytearray = data
    # The decoders write at most ``out`` bytes: a crafted tile cannot blow up the memory.
    if table.codec == "deflate":
        raw = imagecodecs.zlib_decode(data, out=expected)
    elif table.codec == "lzw":
        raw = decode_lzw(data, expected)
    elif table.codec == "packbits":
        raw = imagecodecs.packbits_decode(data, out=expected)
    elif table.codec == "lzma":
        raw = imagecodecs.lzma_decode(data, out=expected)
    elif table.codec == "zstd":
        raw = imagecodecs.zstd_decode(data, out=expected)
    if len(raw) != expected:
        raise ValueError(f"holds {len(raw)} bytes, not {expected}")
    shape = (height, width) if table.samples == 1 else (height, width, table.samples)
    if table.bits < 8:
        return _bits(np.frombuffer(raw, np.uint8).reshape(height, row_bytes), table.bits)[:, :width]
    numbers = np.frombuffer(raw, table.dtype).reshape(shape)
    if table.predictor == 2:
        kind = np.dtype(f"u{table.dtype.itemsize}")
        native = numbers.astype(table.dtype.newbyteorder("=")).view(kind)
        return np.cumsum(native, axis=1, dtype=kind).view(table.dtype.newbyteorder("="))
    return numbers.astype(table.dtype.newbyteorder("="), copy=False)


def _bits(rows: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Bytes (height, n) to values (height, n * 8 / bits), the high bits first."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    values: npt.NDArray[np.uint8] = (rows[..., np.newaxis] >> shifts) & np.uint8((1 << bits) - 1)
    return values.reshape(rows.shape[0], -1)


def _spacing(page: Any) -> Spacing | None:
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")]
    if any(tag is None for tag in tags):
        return None
    try:
        um = _UM_PER_UNIT[int(tags[2].value)]
        x, y = (um * tag.value[1] / tag.value[0] for tag in tags[:2])
        # 72 dpi and the like come from default tags, not from a scanner.
        if not all(math.isfinite(v) and _FINEST_UM <= v <= _COARSEST_UM for v in (x, y)):
            return None
        return Spacing(x, y)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError, SpacingError):
        return None
