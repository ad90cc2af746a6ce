"""One JPEG 2000 codestream in, its RGB pixels out, as OpenSlide gives them for Aperio's slides.

The colour space is the one of the TIFF tag, and chroma planes that are stored at half the size (Aperio's
compression 33003 does so) are repeated, not smoothed. imagecodecs converts such streams to RGB by a
rounding of its own, whatever the tag says: Pillow decodes these.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from wsiprep.slides.damage import TileDamageError
from wsiprep.slides.protocol import RGB

Pixels = npt.NDArray[np.uint8]

MAX_SUBSAMPLED_PX = 2**26
"""Tiles beyond this are not decoded where their chroma is sub-sampled; Pillow warns from 89 million pixels on."""

_START = b"\xff\x4f\xff\x51"
_SEARCHED_BYTES = 4096
_GRID_AT, _COMPONENTS_AT = 8, 40
_SRGB = 16
_STORED_STEPS = {(2, 1), (1, 2), (2, 2)}


@dataclass(frozen=True, slots=True)
class _Header:
    """The SIZ segment: where the codestream begins, its size, and what a sample of each component spans."""

    start: int
    width_px: int
    height_px: int
    origin: tuple[int, int]
    steps: tuple[tuple[int, int], ...]

    @property
    def is_subsampled(self) -> bool:
        return any(step != (1, 1) for step in self.steps)


def decode_jpeg2000(data: bytes, width_px: int, height_px: int, samples: int, *, ycbcr: bool) -> Pixels:
    """Decode one tile to (height, width, samples) uint8.

    Args:
        data: a codestream, or a JP2 file.
        samples: components that the header of the slide promises.
        ycbcr: the components are YCbCr, to be converted; else they are given as they are.

    Raises:
        TileDamageError, RuntimeError, OSError, struct.error: it cannot be decoded to exactly this size.
    """
    header = _header(data)
    if (header.width_px, header.height_px) != (width_px, height_px):
        raise TileDamageError(
            f"is a JPEG 2000 image of {header.width_px} x {header.height_px} px, not {width_px} x {height_px}"
        )
    if header.is_subsampled:
        image = _subsampled(data, header)
        return ycbcr_to_rgb(image) if ycbcr else image
    # Of a JP2 file the codestream whose size was compared, not one that other boxes may lead to.
    stream = data[header.start :] if header.start else data
    if not ycbcr:
        image = imagecodecs.jpeg2k_decode(stream, numthreads=1)
        return _checked(image[..., np.newaxis] if image.ndim == 2 else image, (height_px, width_px, samples))
    planes = _checked(imagecodecs.jpeg2k_decode(stream, planar=True, numthreads=1), (samples, height_px, width_px))
    return planes_to_rgb(*planes)


def _header(data: bytes) -> _Header:
    start = data.find(_START, 0, _SEARCHED_BYTES)
    if start < 0:
        raise TileDamageError("is no JPEG 2000 codestream")
    x_end, y_end, x, y = struct.unpack_from(">4I", data, start + _GRID_AT)
    (components,) = struct.unpack_from(">H", data, start + _COMPONENTS_AT)
    each = struct.unpack_from(f">{3 * components}B", data, start + _COMPONENTS_AT + 2)
    return _Header(start, x_end - x, y_end - y, (x, y), tuple(zip(each[1::3], each[2::3], strict=True)))


def _checked(image: Pixels, expected: tuple[int, ...]) -> Pixels:
    if image.shape != expected or image.dtype != np.uint8:
        raise TileDamageError(f"decodes to {image.shape} {image.dtype}, not {expected} uint8")
    return image


def _subsampled(data: bytes, header: _Header) -> Pixels:
    """The three components at full size, each chroma sample repeated over the pixels that it stands for.

    Pillow takes a bare codestream with such steps for YCbCr and converts it. In a file that says sRGB, the components
    are given as they are.
    """
    from PIL import Image

    width_px, height_px = header.width_px, header.height_px
    first, *others = header.steps
    if (
        header.start != 0
        or header.origin != (0, 0)
        or len(others) != 2
        or first != (1, 1)
        or others[0] != others[1]
        or others[0] not in _STORED_STEPS
        or width_px % others[0][0]
        or height_px % others[0][1]
        or width_px * height_px > MAX_SUBSAMPLED_PX
    ):
        raise TileDamageError(f"is a sub-sampled JPEG 2000 image of a kind that is not read: {header.steps}")
    with Image.open(io.BytesIO(_as_srgb_file(data, header)), formats=["JPEG2000"]) as image:
        return _checked(np.asarray(image), (height_px, width_px, 3))


def _as_srgb_file(data: bytes, header: _Header) -> bytes:
    """A JP2 file (ISO 15444-1, annex I) of three components of 8 bits around a codestream."""
    size = struct.pack(">IIHBBBB", header.height_px, header.width_px, 3, 7, 7, 0, 0)
    head = _box(b"ihdr", size) + _box(b"colr", struct.pack(">BBBI", 1, 0, 0, _SRGB))
    return b"".join((_box(b"jP  ", b"\r\n\x87\n"), _box(b"ftyp", b"jp2 \0\0\0\0jp2 "), _box(b"jp2h", head),
                     _box(b"jp2c", data)))  # fmt: skip


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


# --- YCbCr ----------------------------------------------------------------------------------------

_CHROMA = np.arange(-128, 128, dtype=np.int64)
_HALF = 1 << 15
_RED = ((91_881 * _CHROMA + _HALF) >> 16).astype(np.int16)
_BLUE = ((116_130 * _CHROMA + _HALF) >> 16).astype(np.int16)
_GREEN_BITS = 20
_GREEN_OF_BLUE, _GREEN_OF_RED = (
    np.floor(v * 2.0**_GREEN_BITS / 100_000 + 0.5).astype(np.int32)
    for v in (-34_414 * _CHROMA, -71_414 * _CHROMA + 50_000)
)
"""Their sum, shifted down, is (-34414 Cb - 71414 Cr + 50000) // 100000 for all 65,536 pairs: a test holds it."""


def ycbcr_to_rgb(image: Pixels) -> RGB:
    """Full-range BT.601 YCbCr (H, W, 3) uint8 to RGB, rounded as OpenSlide rounds Aperio's JPEG 2000.

    R = Y + 1.402 Cr, G = Y - 0.34414 Cb - 0.71414 Cr, B = Y + 1.772 Cb with Cb and Cr less 128. Red and
    blue are libjpeg's 16-bit fixed point; for green that is off by one for 22 pairs of chroma values.
    """
    import cv2

    return planes_to_rgb(*(np.asarray(plane, np.uint8) for plane in cv2.split(image)))


def planes_to_rgb(luma: Pixels, blue: Pixels, red: Pixels) -> RGB:
    """``ycbcr_to_rgb`` of three (H, W) planes, by tables: a third of the time of 32-bit arithmetic on the pixels."""
    # Costs 0.1 s at import, and few slides are JPEG 2000 in YCbCr.
    import cv2

    green = np.right_shift(cv2.add(cv2.LUT(blue, _GREEN_OF_BLUE), cv2.LUT(red, _GREEN_OF_RED)), _GREEN_BITS)
    offsets = (cv2.LUT(red, _RED), green, cv2.LUT(blue, _BLUE))
    channels: Any = [cv2.add(luma, offset, dtype=cv2.CV_8U) for offset in offsets]
    return np.asarray(cv2.merge(channels), np.uint8)
