"""Label rasters in PNG and BMP: the numbers that the file stores, not the colours they are shown in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from wsiprep.errors import AnnotationError
from wsiprep.guards import bmp, png

MAX_PX = 1 << 28
"""Largest picture that is decoded whole; larger rasters are tiled TIFFs."""

MAX_RATIO = 10_000
"""Declared pixels per stored byte that are believed."""

PNG_MARK = png.MARK
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DECODER_ERRORS = (ValueError, RuntimeError, TypeError, MemoryError, OSError)


def read_png(data: bytes, path: Path) -> npt.NDArray[Any]:
    """The numbers (H, W) of a PNG: grey of 1 to 16 bits, or the indices of a palette.

    RGB counts where all three channels are equal everywhere: some programs save grey so.

    Raises:
        AnnotationError: damaged, truncated, too large, coloured or transparent.
    """
    try:
        chunks = list(png.chunks(data))
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise _damaged(path, "no header")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    check_size(width, height, len(data), path)
    head = chunks[0][1]
    if colour == _PALETTE:
        # Told that it is grey, the decoder hands out the indices themselves.
        head = struct.pack(">IIBBBBB", width, height, depth, _GREY, *rest)
    # Colour tables, gamma and transparency are about showing; only the numbers are wanted.
    stream = PNG_MARK + _chunk(b"IHDR", head)
    stream += b"".join(_chunk(kind, body) for kind, body in chunks[1:] if kind == b"IDAT")
    stream += _chunk(b"IEND", b"")
    try:
        values = imagecodecs.png_decode(stream)
    except _DECODER_ERRORS as error:
        raise _damaged(path, str(error)) from error
    if values.shape[:2] != (height, width):
        raise _damaged(path, f"decodes to {values.shape}")
    if depth < 8:
        # The decoder spreads n bits over 0 to 255.
        values = values // np.uint8(255 // ((1 << depth) - 1))
    return one_channel(values, path)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def read_bmp(data: bytes, path: Path) -> npt.NDArray[Any]:
    """The numbers (H, W) of a BMP: the indices of an 8-bit palette, or 24 bits with three equal channels.

    Raises:
        AnnotationError: damaged, truncated, too large, coloured, or of another depth.
    """
    try:
        width, height, bits, compression = bmp.bmp_size(data)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    check_size(width, height, len(data), path)
    if bits not in (8, 24) or compression:
        raise AnnotationError(
            "a BMP of this kind does not say its values", got=f"{bits} bits, compression {compression}",
            expected="8 bits with a palette", fix="save the mask as an 8-bit PNG", file=path,
        )  # fmt: skip
    try:
        return one_channel(bmp.read_bmp(data).values, path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def check_size(width: int, height: int, stored_bytes: int, path: Path) -> None:
    """Refuse a picture by its declared size, before anything is allocated."""
    if width < 1 or height < 1 or width * height > MAX_PX:
        raise AnnotationError(
            "the label raster is too large to be decoded at once",
            got=f"{width} x {height} px", expected=f"1 to {MAX_PX} pixels",
            fix="save it as a tiled TIFF, which is read in parts", file=path,
        )  # fmt: skip
    if width * height > MAX_RATIO * stored_bytes:
        raise AnnotationError(
            "the label raster declares far more pixels than it can hold",
            got=f"{width} x {height} px in {stored_bytes} bytes", expected=f"at most {MAX_RATIO} to 1", file=path,
        )  # fmt: skip


def one_channel(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The plane of numbers in a picture that may repeat it in three channels, and be opaque in one more.

    Args:
        values: (H, W), or (H, W, C) with C 1 to 4.

    Raises:
        AnnotationError: colours, or transparency.
    """
    if values.ndim == 2:
        return values
    channels = values.shape[2]
    if channels in (2, 4):
        opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
        if (values[..., -1] != opaque).any():
            raise AnnotationError(
                "the label raster is transparent in places", expected="one value a pixel",
                fix="save it without an alpha channel", file=path,
            )  # fmt: skip
    first = values[..., 0]
    if channels >= 3:
        differs = (values[..., 1] != first) | (values[..., 2] != first)
        if differs.any():
            y, x = np.argwhere(differs)[0].tolist()
            raise AnnotationError(
                "the label raster is in colours, which are no values",
                got=f"{tuple(values[y, x, :3].tolist())} at x {x}, y {y}; {int(differs.sum())} coloured pixels",
                expected="one value a pixel: grey, or a palette",
                fix="save the labels themselves, not their colours", file=path,
            )  # fmt: skip
    return np.ascontiguousarray(first)


def _damaged(path: Path, what: str) -> AnnotationError:
    return AnnotationError(
        "the label raster is damaged", got=what, expected="a whole PNG or BMP", fix="fetch it again", file=path
    )
