"""One compressed TIFF tile in, its exact RGB pixels out.

JPEG goes through simplejpeg (libjpeg-turbo), strictly: a warning of the decoder, such as a premature
end, is an error here because libjpeg paints over the damage. The colour space is the one that the
TIFF tag names, as in libtiff and OpenSlide, whatever the markers within the stream say: decoding an
RGB stream as YCbCr is wrong by up to 143 levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import imagecodecs
import numpy as np
import numpy.typing as npt
import simplejpeg

from wsiprep.guards.lzw import decode_lzw
from wsiprep.slides.damage import DECODER_ERRORS, TileDamageError
from wsiprep.slides.jpeg2000 import decode_jpeg2000
from wsiprep.slides.protocol import RGB, composite_on_white

__all__ = [
    "BLACK_IS_ZERO", "COMPRESSIONS", "DECODER_ERRORS", "HORIZONTAL", "JP2K", "JP2K_RGB", "JP2K_YCBCR", "JPEG",
    "NO_PREDICTOR", "PHOTOMETRIC_RGB", "WEBP", "YCBCR", "Alpha", "PixelFormat", "TileDamageError", "complete_jpeg",
    "decode_tile",
]  # fmt: skip

JPEG = 7
JP2K_YCBCR, JP2K_RGB, JP2K = 33003, 33005, 34712
WEBP = 50001

COMPRESSIONS = {
    1: "none",
    5: "lzw",
    JPEG: "jpeg",
    8: "deflate",
    32773: "packbits",
    32946: "deflate",
    JP2K_YCBCR: "jpeg2000-ycbcr",
    JP2K_RGB: "jpeg2000-rgb",
    JP2K: "jpeg2000",
    50000: "zstd",
    WEBP: "webp",
}
"""TIFF compression tags that are decoded exactly, and what ``SlideInfo.compression`` calls them."""

BLACK_IS_ZERO, PHOTOMETRIC_RGB, YCBCR = 1, 2, 6
NO_PREDICTOR, HORIZONTAL = 1, 2

Pixels = npt.NDArray[np.uint8]


class Alpha(Enum):
    """What a fourth sample means (TIFF tag ExtraSamples)."""

    NONE = 0
    PREMULTIPLIED = 1
    STRAIGHT = 2


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the tiles of a level are encoded; values are those of the TIFF tags."""

    compression: int
    photometric: int
    samples: int
    predictor: int = NO_PREDICTOR
    alpha: Alpha = Alpha.NONE
    jpeg_tables: bytes | None = None

    @property
    def name(self) -> str:
        return COMPRESSIONS[self.compression]


def decode_tile(pixels: PixelFormat, data: bytes, width_px: int, height_px: int) -> RGB:
    """Decode one tile or strip to (height, width, 3) uint8.

    Raises:
        TileDamageError, or one of DECODER_ERRORS: the data cannot be decoded to exactly this size.
    """
    if pixels.compression == JPEG:
        return _jpeg(pixels, data, width_px, height_px)
    if pixels.compression in (JP2K_YCBCR, JP2K_RGB, JP2K):
        ycbcr = pixels.compression == JP2K_YCBCR
        return _to_rgb(decode_jpeg2000(data, width_px, height_px, pixels.samples, ycbcr=ycbcr), pixels)
    if pixels.compression == WEBP:
        # The decoder compares the size in the stream with that of ``out`` before it decodes.
        out = np.empty((height_px, width_px, pixels.samples), np.uint8)
        return _to_rgb(imagecodecs.webp_decode(data, out=out), pixels)
    return _to_rgb(_lossless(pixels, data, width_px, height_px), pixels)


def _to_rgb(samples: Pixels, pixels: PixelFormat) -> RGB:
    if pixels.samples == 1:
        return np.repeat(samples, 3, axis=2)
    if pixels.samples == 4:
        return composite_on_white(samples, premultiplied=pixels.alpha is Alpha.PREMULTIPLIED)
    return samples


def _lossless(pixels: PixelFormat, data: bytes, width_px: int, height_px: int) -> Pixels:
    expected = width_px * height_px * pixels.samples
    # The decoders write at most ``out`` bytes: a crafted tile cannot blow up the memory.
    raw: bytes | bytearray
    match pixels.name:
        case "none":
            raw = data
        case "deflate":
            # libdeflate: what zlib takes and refuses, in half the time.
            raw = imagecodecs.deflate_decode(data, out=expected)
        case "lzw":
            raw = decode_lzw(data, expected)
        case "packbits":
            raw = imagecodecs.packbits_decode(data, out=expected)
        case _:
            raw = imagecodecs.zstd_decode(data, out=expected)
    if len(raw) != expected:
        raise TileDamageError(f"holds {len(raw)} bytes of pixels, not {expected}")
    image = np.frombuffer(raw, np.uint8).reshape(height_px, width_px, pixels.samples)
    if pixels.predictor == HORIZONTAL:
        # A running sum modulo 256.
        return np.asarray(imagecodecs.delta_decode(image, axis=1), np.uint8)
    return image


# --- JPEG -----------------------------------------------------------------------------------------

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP14, _SOS = 0xE0, 0xEE, 0xDA


def _adobe(transform: int) -> bytes:
    """The APP14 segment by which libjpeg tells RGB (0) from YCbCr (1)."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


def _jpeg(pixels: PixelFormat, data: bytes, width_px: int, height_px: int) -> RGB:
    stream = complete_jpeg(data, pixels.jpeg_tables, pixels.photometric)
    height, width, colours, _ = simplejpeg.decode_jpeg_header(stream)
    # Compared before decoding: the size in the stream decides how much is allocated.
    if (height, width) != (height_px, width_px):
        raise TileDamageError(f"is a JPEG of {width} x {height} px, not {width_px} x {height_px}")
    if (colours.upper() == "GRAY") != (pixels.samples == 1) or colours.upper() in ("CMYK", "YCCK"):
        raise TileDamageError(f"is a {colours} JPEG where the header says {pixels.samples} samples")
    if pixels.samples == 1:
        return np.repeat(simplejpeg.decode_jpeg(stream, "GRAY"), 3, axis=2)
    # A buffer that is not zeroed first saves a fifth of the time.
    image = np.empty((height_px, width_px, 3), np.uint8)
    simplejpeg.decode_jpeg(stream, "RGB", buffer=image)
    return image


def complete_jpeg(data: bytes, tables: bytes | None, photometric: int) -> bytes:
    """A self-contained JPEG stream: shared tables put in, the colour space made explicit.

    Args:
        data: the tile, abbreviated or not.
        tables: the JPEGTables tag (SOI, tables, EOI), or None.
        photometric: the TIFF tag that decides: 2 RGB, 6 YCbCr, 1 grey.
    """
    if data[:2] != _SOI:
        raise TileDamageError("is no JPEG stream (no SOI marker)")
    plain_jfif = data[2:4] == b"\xff\xe0" and b"Adobe" not in data[:1024]
    if photometric == BLACK_IS_ZERO or (photometric == YCBCR and plain_jfif):
        head, body = b"", data[2:]
    else:
        head, body = _adobe(0 if photometric == PHOTOMETRIC_RGB else 1), _without_colour_markers(data)
    shared = b""
    if tables:
        if tables[:2] != _SOI or tables[-2:] != _EOI:
            raise TileDamageError("has JPEG tables that do not run from SOI to EOI")
        shared = tables[2:-2]
    return b"".join((_SOI, head, shared, body))


def _without_colour_markers(data: bytes) -> bytes:
    """The stream after SOI without JFIF and Adobe segments, by which libjpeg would guess."""
    kept: list[bytes] = []
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SOS:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker not in (_APP0, _APP14):
            kept.append(data[place : place + 2 + length])
        place += 2 + length
    kept.append(data[place:])
    return b"".join(kept)
