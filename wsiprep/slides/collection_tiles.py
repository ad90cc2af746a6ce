"""One ready-cut tile as a slide of one level: a picture of a folder, or an entry of a stack."""

from __future__ import annotations

import hashlib
import struct
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.guards.bmp import bmp_size, read_bmp
from wsiprep.slides.decode import DECODER_ERRORS
from wsiprep.slides.image_backend import MAX_IMAGE_PX, PlainImage
from wsiprep.slides.opened import OpenedSlide
from wsiprep.slides.protocol import (
    RGB,
    BackendRefusalError,
    Level,
    Slide,
    SlideInfo,
    level_for,
)
from wsiprep.slides.tiff import TiledTiff
from wsiprep.slides.tiff_tables import MAX_RATIO, read_header

NPY_ERRORS = (
    ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, AttributeError, KeyError,
    RecursionError, tokenize.TokenError,
)  # fmt: skip
"""What numpy raises on damaged headers of .npy files, which hold a Python expression."""

MAX_TILE_BYTES = 4 * MAX_IMAGE_PX
REQUESTED = "collection"
_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class TileImage(OpenedSlide):
    """Pixels in memory behind the ``Slide`` protocol.

    Args:
        image: (H, W, 3) uint8.
        identity: 64 hexadecimal digits.
        kind: ``bmp`` or ``npy``.
    """

    def __init__(self, image: RGB, identity: str, kind: str) -> None:
        size = Size(image.shape[1], image.shape[0])
        self._image: RGB | None = image
        self.info = SlideInfo(
            size=size,
            levels=(Level(0, size, size, 1, None),),
            spacing=None,
            backend_requested=REQUESTED,
            backend=REQUESTED,
            vendor=kind,
            objective_power=None,
            identity=identity,
            compression="none",
            backend_note="",
        )

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        if self._image is None:
            raise UsageError("the tile is closed")
        return self._image[box.y : box.y_end, box.x : box.x_end].copy()

    def close(self) -> None:
        """Let the pixels go; closing twice is harmless."""
        self._image = None


def measure(path: Path) -> tuple[Size, str]:
    """Size by the header and sha256 (hexadecimal) of a tile's file; no pixel is decoded.

    Raises:
        SlideError: unreadable, no picture, or of a size that is not believable.
    """
    data = _bytes_of(path)
    try:
        size = _declared_size(data, path)
    except (*DECODER_ERRORS, IndexError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    _check_size(size, len(data), path)
    return size, hashlib.sha256(data).hexdigest()


def open_tile(path: Path, identity: str, size: Size) -> Slide:
    """A tile of a folder, decoded: PNG, JPEG, TIFF or BMP by its content, 8 bits, alpha on white.

    Raises:
        SlideError: damaged, of more than 8 bits, of another size than when the collection was opened.
    """
    head = _bytes_of(path, 16)
    try:
        if head.startswith(_BMP):
            slide: Slide = TileImage(_bmp(_bytes_of(path), path), identity, "bmp")
        elif head.startswith(_TIFF):
            slide = TiledTiff(path, requested=REQUESTED)
        else:
            slide = PlainImage(path, requested=REQUESTED)
    except BackendRefusalError as refusal:
        raise SlideError(
            f"the tile cannot be read exactly: {refusal.message}",
            got=refusal.got,
            expected="an 8-bit RGB or grey PNG, TIFF, JPEG or BMP",
            file=path,
        ) from refusal
    if slide.info.size != size:
        slide.close()
        raise SlideError("the tile changed since the collection was opened", got=slide.info.size, file=path)
    return slide


def _bytes_of(path: Path, most: int = MAX_TILE_BYTES) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(most)
            longer = most == MAX_TILE_BYTES and bool(stream.read(1))
    except OSError as error:
        raise SlideError("the tile cannot be read", got=error.strerror, file=path) from error
    if longer:
        raise SlideError(
            "the file is too large for a tile", got=f"over {most} bytes", fix="give it a manifest row", file=path
        )
    if not data:
        raise SlideError("the tile is empty", got="0 bytes", file=path)
    return data


def _declared_size(data: bytes, path: Path) -> Size:
    if data.startswith(_PNG):
        return Size(*struct.unpack_from(">II", data, 16))
    if data.startswith(_JPEG):
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        return Size(int(width), int(height))
    if data.startswith(_TIFF):
        try:
            return read_header(path).tables[0].size
        except BackendRefusalError as refusal:
            raise SlideError(f"the tile cannot be read exactly: {refusal.message}", got=refusal.got, file=path) from (
                refusal
            )
    if data.startswith(_BMP):
        width, height = struct.unpack_from("<ii", data, 18)
        return Size(max(0, width), abs(height))
    raise SlideError("the tile is no picture", got=repr(data[:8]), expected="PNG, TIFF, JPEG or BMP", file=path)


def _check_size(size: Size, stored_bytes: int, path: Path) -> None:
    if not 0 < size.area_px <= MAX_IMAGE_PX:
        raise SlideError(
            "the tile's size is not believable",
            got=f"{size.width_px} x {size.height_px} px",
            expected=f"1 to {MAX_IMAGE_PX} pixels",
            fix="give larger pictures a manifest row of their own",
            file=path,
        )
    if size.area_px > MAX_RATIO * stored_bytes:
        raise SlideError(
            "the tile declares far more pixels than it can hold",
            got=f"{size.width_px} x {size.height_px} px in {stored_bytes} bytes",
            file=path,
        )


def _bmp(data: bytes, path: Path) -> RGB:
    try:
        width, height, bits, compression = bmp_size(data)
        _check_size(Size(width, height), len(data), path)
        if bits not in (8, 24) or compression:
            raise SlideError(
                "a BMP of this kind is not read", got=f"{bits} bits, compression {compression}",
                expected="8 or 24 bits, uncompressed", fix="save the tile as PNG", file=path,
            )  # fmt: skip
        return read_bmp(data).rgb
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> SlideError:
    return SlideError("the tile is damaged", got=what, fix="fetch it again or leave it out", file=path)


def map_stack(path: Path) -> npt.NDArray[Any]:
    """A stack (N, H, W, 3) mapped into memory; never unpickled, never larger than its file.

    Raises:
        SlideError: no whole ``.npy`` file, or of another shape or type.
    """
    try:
        stack: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_ERRORS as error:
        raise SlideError(
            "the stack of tiles cannot be read",
            got=str(error)[:200],
            expected="a whole .npy file of numbers, without pickles",
            fix="fetch it again, or save it with numpy.save(..., allow_pickle=False)",
            file=path,
        ) from error
    fits = stack.ndim == 4 and stack.shape[3] == 3 and min(stack.shape) > 0 and stack.dtype.kind in "iuf"
    if not fits or stack.shape[1] * stack.shape[2] > MAX_IMAGE_PX:
        raise SlideError(
            "the array is no stack of RGB tiles",
            got=f"{stack.dtype} of shape {stack.shape}",
            expected="(N, height, width, 3) of numbers from 0 to 255",
            file=path,
        )
    return stack


def tile_of_stack(stack: npt.NDArray[Any], index: int, identity: str, path: Path) -> TileImage:
    """One entry of a stack; numbers of any type that are whole and within 0 to 255.

    Raises:
        SlideError: fractions, or numbers that no 8-bit image has.
    """
    tile = np.array(stack[index])
    if tile.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            wrong = ~((tile >= 0) & (tile <= 255) & (tile == np.rint(tile)))
        if wrong.any():
            raise SlideError(
                f"tile {index} of the stack has values that no 8-bit image has",
                got=f"{tile[wrong][0]}, {int(wrong.sum())} such values",
                expected="whole numbers from 0 to 255",
                fix="save the stack as uint8, without scaling to 0..1 or normalising",
                file=path,
            )
    return TileImage(np.ascontiguousarray(tile.astype(np.uint8)), identity, "npy")
