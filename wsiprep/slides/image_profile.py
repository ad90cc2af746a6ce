"""The ICC profile within a PNG (chunk iCCP) or a JPEG (its APP2 segments)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

from wsiprep.guards.png import chunks

MAX_PROFILE_BYTES = 2**24
"""A longer profile is not believed."""

_APP1, _APP2, _SCAN = 0xE1, 0xE2, 0xDA
_ICC = b"ICC_PROFILE\0"


def png_profile(data: bytes) -> bytes | None:
    """The profile of a PNG, None where there is none or it cannot be unpacked."""
    with suppress(ValueError):
        for kind, body in chunks(data):
            if kind == b"iCCP":
                # A name, a zero, the method (0: deflate), then the stream.
                packed = body.partition(b"\0")[2]
                return _unpacked(packed[1:]) if packed[:1] == b"\0" else None
            if kind == b"IDAT":
                return None
    return None


def jpeg_profile(data: bytes) -> bytes | None:
    """The profile of a JPEG, None where there is none or a part of it is missing."""
    parts: dict[int, bytes] = {}
    count = 0
    for marker, segment in jpeg_segments(data):
        if marker == _APP2 and segment.startswith(_ICC) and len(segment) > len(_ICC) + 2:
            number, count = segment[len(_ICC)], segment[len(_ICC) + 1]
            parts[number] = segment[len(_ICC) + 2 :]
    if not parts or sorted(parts) != list(range(1, count + 1)):
        return None
    return b"".join(parts[number] for number in sorted(parts))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the first scan."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2:
            return
        yield data[place + 1], data[place + 4 : place + 2 + length]
        place += 2 + length


def exif_of(data: bytes) -> bytes:
    """The EXIF block of a JPEG, empty where there is none."""
    for marker, segment in jpeg_segments(data):
        if marker == _APP1 and segment.startswith(b"Exif\0\0"):
            return segment[6:]
    return b""


def _unpacked(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed, MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if profile and unpacker.eof else None
