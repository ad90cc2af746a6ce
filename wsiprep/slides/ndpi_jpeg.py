"""The JPEG streams of NDPI: one a level, of any size, with restart markers between runs of blocks.

What stands between two restart markers can be decoded alone: the coder starts afresh there. The runs of one column
are such streams, one below the other, and a header with their size in front makes a JPEG of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wsiprep.geometry import Size
from wsiprep.slides.damage import TileDamageError

MAX_JPEG_SIDE_PX = 65_500
"""Longest side that libjpeg takes. Longer levels have 0 or nonsense in the JPEG header."""

BLOCK_PX = 8
"""Side of what is coded at a time, before chroma is sub-sampled."""

_SOI, _SOS, _DRI, _COM, _DHT, _JPG, _DAC = 0xD8, 0xDA, 0xDD, 0xFE, 0xC4, 0xC8, 0xCC
_BASELINE, _EXTENDED = 0xC0, 0xC1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_SAMPLINGS = {(1, 1), (2, 1), (1, 2), (2, 2)}
_RED_GREEN_BLUE = (82, 71, 66)


@dataclass(frozen=True, slots=True)
class JpegHead:
    """The header of a baseline YCbCr stream.

    Attributes:
        stated: the size in the header; means nothing where a side of the level is too long for JPEG.
        mcu: pixels of the smallest unit that is coded: 8 x 8 without chroma sub-sampling.
        restart_mcus: units from one restart marker to the next, 0 for a stream without.
        length: bytes up to the first coded unit.
        segments: the header that libjpeg takes for YCbCr, without anything else that it does not need.
        size_at: where in ``segments`` the size stands, as height and width.
    """

    stated: Size
    mcu: Size
    restart_mcus: int
    length: int
    segments: bytes
    size_at: int

    def sized(self, size: Size) -> bytes:
        """The header of a stream of this size."""
        put = bytearray(self.segments)
        struct.pack_into(">HH", put, self.size_at, size.height_px, size.width_px)
        return bytes(put)


def read_head(data: bytes) -> JpegHead:
    """Parse the header of a stream, from SOI to the first scan.

    Raises:
        TileDamageError: no stream of three YCbCr components in one baseline scan, or longer than ``data``.
    """
    if data[:2] != bytes((0xFF, _SOI)):
        raise TileDamageError("is no JPEG stream (no SOI marker)")
    kept = bytearray(data[:2]) + _JFIF
    place, size_at, restart_mcus = 2, 0, 0
    frame, adobe, jfif = b"", None, False
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place : place + 2 + length]
        body = segment[4:]
        if length < 2 or len(segment) != 2 + length:
            break
        place += len(segment)
        if marker in _FRAMES:
            if frame or marker not in (_BASELINE, _EXTENDED):
                raise TileDamageError("is not one baseline image")
            frame, size_at = body, len(kept) + 5
        elif marker == _DRI and len(body) == 2:
            restart_mcus = int.from_bytes(body, "big")
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == 0xE0 and body[:5] == b"JFIF\0":
            jfif = True
        if not (0xE0 <= marker <= 0xEF or marker == _COM):
            kept += segment
        if marker == _SOS:
            stated, mcu, names = _frame(frame, body)
            _check_colours(jfif, adobe, names)
            return JpegHead(stated, mcu, restart_mcus, place, bytes(kept), size_at)
    raise TileDamageError("has a JPEG header that does not lead to its pixels")


def _frame(frame: bytes, scan: bytes) -> tuple[Size, Size, tuple[int, ...]]:
    """Size, size of a unit, and names of the components."""
    if len(frame) != 15 or frame[0] != 8 or frame[5] != 3 or not scan or scan[0] != 3:
        raise TileDamageError("is not one scan of three components of 8 bits")
    height, width = struct.unpack_from(">HH", frame, 1)
    names = tuple(frame[6::3])
    luma, *chroma = ((v >> 4, v & 15) for v in frame[7::3])
    if luma not in _SAMPLINGS or set(chroma) != {(1, 1)}:
        raise TileDamageError(f"has chroma sub-sampled in an unusual way: {luma} to {chroma}")
    return Size(width, height), Size(BLOCK_PX * luma[0], BLOCK_PX * luma[1]), names


def _check_colours(jfif: bool, adobe: int | None, names: tuple[int, ...]) -> None:
    """What libjpeg, and so OpenSlide, would not take for YCbCr."""
    if not jfif and (adobe not in (None, 1) or (adobe is None and names == _RED_GREEN_BLUE)):
        raise TileDamageError("is not YCbCr by its own markers")
