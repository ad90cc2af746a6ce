"""TIFF containers written with ``struct``: classic, Big and Hamamatsu's own (64-bit links)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ASCII, SHORT, LONG, RATIONAL, SLONG, FLOAT, BYTE, LONG8 = 2, 3, 4, 5, 9, 11, 1, 16
_FORMAT = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", SLONG: "i", FLOAT: "f", LONG8: "Q"}

Tag = tuple[int, int, Any]
"""Code, type, and a value or a sequence of values (bytes for ASCII and BYTE)."""

Kind = Literal["classic", "big", "ndpi"]

_MARK_BYTES = 12
"""Of an NDPI file: TIFF's mark and the link to the first directory."""


@dataclass(frozen=True)
class Page:
    """A directory: its tags without those of the data, and the encoded tiles or strips (b"" if never written)."""

    tags: Sequence[Tag]
    data: Sequence[bytes]
    is_tiled: bool = True


def image_tags(width: int, height: int, *, tile: int | None, compression: int = 7, photometric: int = 6) -> list[Tag]:
    """The tags of an 8-bit RGB image; 4:4:4 where it is YCbCr."""
    tags: list[Tag] = [(256, LONG, width), (257, LONG, height), (258, SHORT, (8, 8, 8)), (259, SHORT, compression)]
    tags += [(262, SHORT, photometric), (277, SHORT, 3), (284, SHORT, 1)]
    tags += [(278, LONG, height)] if tile is None else [(322, LONG, tile), (323, LONG, tile)]
    if photometric == 6:
        tags.append((530, SHORT, (1, 1)))
    return tags


def resolution_tags(spacing_um: tuple[float, float]) -> list[Tag]:
    """Pixels per centimetre, in rationals of 1/1000."""
    x, y = (round(10_000_000 / um) for um in spacing_um)
    return [(282, RATIONAL, (x, 1000)), (283, RATIONAL, (y, 1000)), (296, SHORT, 3)]


def text(code: int, value: str) -> Tag:
    return code, ASCII, value.encode() + b"\0"


def write_tiff(path: Path, pages: Sequence[Page], kind: Kind = "classic", *, hole_bytes: int = 0) -> Path:
    """Data first, then the directories; all little-endian.

    Args:
        hole_bytes: of nothing between the mark of the file and the rest (NDPI alone; the file is sparse).
    """
    assert kind == "ndpi" or not hole_bytes
    long, inline = ("Q", 8) if kind == "big" else ("I", 4)
    out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if kind == "big" else struct.pack("<2sHQ", b"II", 42, 0))
    link_at = 8 if kind == "big" else 4
    link = "<I" if kind == "classic" else "<Q"
    if kind == "classic":
        del out[8:]
    for page in pages:
        starts = []
        for blob in page.data:
            starts.append(len(out) + hole_bytes if blob else 0)
            out += blob + b"\0" * (len(blob) % 2)
        where, sizes = (324, 325) if page.is_tiled else (273, 279)
        offset_type = LONG8 if kind == "big" else LONG
        tags = sorted(
            [*page.tags, (where, offset_type, starts), (sizes, offset_type, [len(b) for b in page.data])],
            key=lambda tag: tag[0],
        )
        entries, high = bytearray(), bytearray()
        for code, kind_of_value, value in tags:
            # Hamamatsu keeps the upper halves of inline values behind the directory.
            is_start = kind == "ndpi" and code == where
            above = value[0] >> 32 if is_start else 0
            packed, count = _pack(kind_of_value, [v & 0xFFFFFFFF for v in value] if is_start else value)
            if len(packed) > inline:
                out += b"\0" * (-len(out) % 8)
                place = len(out) + hole_bytes
                field, above = struct.pack("<" + long, place & 0xFFFFFFFF if kind == "ndpi" else place), place >> 32
                out += packed
            else:
                field = packed.ljust(inline, b"\0")
            entries += struct.pack("<HH" + long, code, kind_of_value, count) + field
            high += struct.pack("<I", above if kind == "ndpi" else 0)
        out += b"\0" * (-len(out) % 8)
        struct.pack_into(link, out, link_at, len(out) + hole_bytes)
        out += struct.pack("<Q" if kind == "big" else "<H", len(tags)) + entries
        link_at = len(out)
        out += struct.pack(link, 0)
        if kind == "ndpi":
            # The high halves of the value fields: all zero below 4 GiB.
            out += high
    with path.open("wb") as stream:
        stream.write(out[:_MARK_BYTES])
        stream.seek(hole_bytes, 1)
        stream.write(out[_MARK_BYTES:])
    return path


def _pack(kind: int, value: Any) -> tuple[bytes, int]:
    if isinstance(value, bytes):
        return value, len(value)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    letters = _FORMAT[kind]
    return struct.pack("<" + letters[0] * len(values), *values), len(values) // len(letters)
