"""The JPEG tiles of one level, decoded with as little beside libjpeg-turbo as there can be.

``decode.decode_tile`` is the plain way and gives the same pixels. Tiles of a level mostly begin with the same bytes,
up to the scan: what they say (size, colours) and what has to be put in (shared tables, the colour space) is worked
out once for such a beginning and then only compared.

With ``dct`` libjpeg-turbo transforms fewer coefficients of each 8 x 8 block, so that a tile comes out at 1/2, 1/4 or
1/8 of its sides. All of the stream is still read: damage is met as in a full decode.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg

from wsiprep.slides.damage import TileDamageError
from wsiprep.slides.decode import JPEG, PixelFormat, complete_jpeg
from wsiprep.slides.protocol import RGB

DCT_FACTORS = (8, 4, 2, 1)
"""What the decoder can reduce a tile by."""

_SOS = 0xDA


class _Beginning(NamedTuple):
    """A beginning of a stream that was checked: up to the marker of the scan, and what stands for it."""

    stored: bytes
    complete: bytes
    width_px: int
    height_px: int


class JpegTiles:
    """Decodes the tiles of one level. Thread-safe.

    Args:
        pixels: how the level is coded; its compression is JPEG.
    """

    def __init__(self, pixels: PixelFormat) -> None:
        assert pixels.compression == JPEG
        self._pixels = pixels
        self._known = _Beginning(b"\0", b"\0", 0, 0)

    def decode(self, data: bytes, width_px: int, height_px: int, dct: int = 1, out: RGB | None = None) -> RGB:
        """One tile.

        Args:
            data: the stored bytes.
            width_px, height_px: the size that the tile must have, before it is reduced.
            dct: 1, 2, 4 or 8.
            out: a contiguous (ceil(height_px / dct), ceil(width_px / dct), 3) uint8 array to decode to. After an
                error it holds anything.

        Returns:
            ``out``, or a new array of that kind.

        Raises:
            TileDamageError, or one of DECODER_ERRORS: the data cannot be decoded to exactly this size.
        """
        stream = self._stream(data, width_px, height_px)
        height, width = -(-height_px // dct), -(-width_px // dct)
        if out is None:
            # Not zeroed first, as the decoder would do it.
            out = np.empty((height, width, 3), np.uint8)
        if dct == 1 and self._pixels.samples != 1:
            shape = simplejpeg.decode_jpeg(stream, "RGB", buffer=out).shape
        else:
            shape = _reduced(stream, width, height, dct, out, grey=self._pixels.samples == 1)
        if shape != (height, width, 3):
            raise TileDamageError(f"decodes to {shape}, not {(height, width, 3)}")
        return out

    def _stream(self, data: bytes, width_px: int, height_px: int) -> bytes:
        """The complete stream, after its size and colours were found to be the expected ones."""
        known = self._known  # one read: another thread may replace it
        if data.startswith(known.stored) and (known.width_px, known.height_px) == (width_px, height_px):
            return data if known.complete is known.stored else known.complete + data[len(known.stored) :]
        stream = complete_jpeg(data, self._pixels.jpeg_tables, self._pixels.photometric)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(stream)
        # Compared before decoding: the size in the stream decides how much is written.
        if (height, width) != (height_px, width_px):
            raise TileDamageError(f"is a JPEG of {width} x {height} px, not {width_px} x {height_px}")
        if (colours.upper() == "GRAY") != (self._pixels.samples == 1) or colours.upper() in ("CMYK", "YCCK"):
            raise TileDamageError(f"is a {colours} JPEG where the header says {self._pixels.samples} samples")
        end = _scan(data)
        if end:
            # What follows the marker was put in unchanged.
            stored = data[:end]
            complete = stream[: len(stream) - len(data) + end]
            self._known = _Beginning(stored, stored if complete == stored else complete, width_px, height_px)
        return stream


def _reduced(stream: bytes, width: int, height: int, dct: int, out: RGB, *, grey: bool) -> tuple[int, ...]:
    # The decoder takes the smallest size that is not below these: exactly 1 / dct.
    least = {"min_height": height, "min_width": width, "min_factor": dct}
    if not grey:
        return tuple(simplejpeg.decode_jpeg(stream, "RGB", buffer=out, **least).shape)
    found = simplejpeg.decode_jpeg(stream, "GRAY", **least)
    if found.shape[:2] == out.shape[:2]:
        out[...] = found
    return (*found.shape[:2], 3)


def _scan(data: bytes) -> int:
    """Where the marker of the first scan ends, 0 where the segments do not lead to it."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == _SOS:
            return place + 2
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0
