"""Damage declared as data on top of one good slide per format, after OpenSlide's own test suite."""

from __future__ import annotations

import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vendor_slides.made import Made

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 9: 4, 11: 4, 16: 8}
_LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 9: "i", 11: "f", 16: "Q"}


@dataclass(frozen=True)
class Truncate:
    """Keep only so much of the file; ``part`` names one beside the slide (MIRAX, DICOM)."""

    keep: float
    part: str = ""

    def __call__(self, made: Made) -> None:
        path = _part(made, self.part)
        os.truncate(path, int(path.stat().st_size * self.keep))


@dataclass(frozen=True)
class Remove:
    """Delete a file or folder that belongs to the slide."""

    part: str

    def __call__(self, made: Made) -> None:
        path = _part(made, self.part)
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass(frozen=True)
class Swap:
    """Replace bytes, everywhere or only the first time; of the same length, so that no offset moves."""

    old: bytes
    new: bytes
    part: str = ""
    times: int = -1

    def __call__(self, made: Made) -> None:
        path = _part(made, self.part)
        data = path.read_bytes()
        assert self.old in data
        assert len(self.old) == len(self.new) or path.suffix == ".ini"
        path.write_bytes(data.replace(self.old, self.new, self.times))


@dataclass(frozen=True)
class Poke:
    """Overwrite bytes at a place; a negative one counts from the end."""

    at: int
    data: bytes
    part: str = ""

    def __call__(self, made: Made) -> None:
        path = _part(made, self.part)
        data = bytearray(path.read_bytes())
        at = self.at % len(data)
        data[at : at + len(self.data)] = self.data
        path.write_bytes(data)


@dataclass(frozen=True)
class SetTag:
    """Overwrite values of a TIFF tag, from value ``first`` on; -1 as the page means the last page."""

    page: int
    code: int
    values: tuple[Any, ...]
    first: int = 0

    def __call__(self, made: Made) -> None:
        data = bytearray(made.path.read_bytes())
        kind, _, at = directories(bytes(data))[self.page].tags[self.code]
        at += self.first * (4 if kind == 5 else _SIZES[kind])
        struct.pack_into(f"<{len(self.values)}{_LETTERS[kind]}", data, at, *self.values)
        made.path.write_bytes(data)


@dataclass(frozen=True)
class SetCount:
    """Declare another number of values for a TIFF tag."""

    page: int
    code: int
    count: int

    def __call__(self, made: Made) -> None:
        data = bytearray(made.path.read_bytes())
        where = directories(bytes(data))[self.page].entries[self.code]
        struct.pack_into("<Q" if _is_big(data) else "<I", data, where + 4, self.count)
        made.path.write_bytes(data)


@dataclass(frozen=True)
class Loop:
    """The link of the last directory leads back to the first."""

    def __call__(self, made: Made) -> None:
        data = bytearray(made.path.read_bytes())
        pages = directories(bytes(data))
        struct.pack_into("<Q" if _is_big(data) else "<I", data, pages[-1].link_at, pages[0].at)
        made.path.write_bytes(data)


@dataclass(frozen=True)
class ZeroTile:
    """The first bytes of a tile (or strip) become zero: no codec begins so."""

    page: int
    tile: int

    def __call__(self, made: Made) -> None:
        data = bytearray(made.path.read_bytes())
        tags = directories(bytes(data))[self.page].tags
        kind, count, at = tags.get(324) or tags[273]
        letter = _LETTERS[kind]
        index = self.tile % count
        (offset,) = struct.unpack_from("<" + letter, data, at + index * _SIZES[kind])
        data[offset : offset + 64] = bytes(64)
        made.path.write_bytes(data)


Mutation = Truncate | Remove | Swap | Poke | SetTag | SetCount | Loop | ZeroTile


@dataclass(frozen=True)
class Directory:
    """Where a directory lies; of each tag its entry, and its type, count and the place of its values."""

    at: int
    link_at: int
    entries: dict[int, int]
    tags: dict[int, tuple[int, int, int]]


def directories(data: bytes) -> list[Directory]:
    """Walk a little-endian TIFF as ``tiff.write_tiff`` writes it (offsets below 4 GiB in the classic ones)."""
    big = _is_big(data)
    link, head, entry, inline = ("<Q", 8, 20, 8) if big else ("<I", 2, 12, 4)
    (at,) = struct.unpack_from(link, data, 8 if big else 4)
    found = []
    while at:
        (count,) = struct.unpack_from("<Q" if big else "<H", data, at)
        entries, tags = {}, {}
        for i in range(count):
            where = at + head + i * entry
            code, kind, values = struct.unpack_from("<HHQ" if big else "<HHI", data, where)
            place = where + entry - inline
            if values * _SIZES[kind] > inline:
                (place,) = struct.unpack_from(link, data, place)
            entries[code], tags[code] = where, (kind, values, place)
        link_at = at + head + count * entry
        found.append(Directory(at, link_at, entries, tags))
        (at,) = struct.unpack_from(link, data, link_at)
    return found


def _is_big(data: bytes | bytearray) -> bool:
    return data[2] == 43


def _part(made: Made, part: str) -> Path:
    """The slide itself, a file in MIRAX's folder, or a file beside the slide."""
    if not part:
        return made.path
    inside = made.path.with_suffix("") / part
    return inside if inside.exists() else made.path.parent / part
