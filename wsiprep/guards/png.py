"""The chunks of a PNG, each checked against its checksum.

imagecodecs' PNG decoder can end the process on a truncated file; chunks that are whole and right are what it
handles.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

MARK = b"\x89PNG\r\n\x1a\n"


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each chunk, up to and with IEND.

    Raises:
        ValueError: the file is cut short, or a checksum is wrong.
    """
    if not data.startswith(MARK):
        raise ValueError("it does not begin as a PNG")
    place = len(MARK)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        if len(check) != 4 or struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
            raise ValueError(f"chunk {kind!r} is cut short or its checksum is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        place += 12 + length
    raise ValueError("it ends early")


def check_png(data: bytes) -> None:
    """Refuse a PNG that is cut short or has a wrong checksum.

    Raises:
        ValueError: where and why.
    """
    for _ in chunks(data):
        pass
