"""The chain of directories of a TIFF, walked before any library does: a loop or a lost link is told at once.

tifffile follows a loop for ever, and like OpenSlide's libtiff it drops directories that lie beyond the end
of the file, and their levels with them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wsiprep.errors import SlideError

MAX_DIRECTORIES = 65_536

_CLASSIC_LIMIT_BYTES = 2**32
_NDPI_TAG = 65420


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a TIFF writes its directories: ``struct`` letters with the byte order, and bytes per entry."""

    link: str
    count: str
    entry_bytes: int


def check_chain(handle: BinaryIO, file: str | Path) -> None:
    """Refuse a TIFF whose directories lead in a circle or beyond the end of the file; other files pass.

    Args:
        handle: the open file; its position is changed.
        file: its path or URL, for the messages.

    Raises:
        SlideError: damaged or truncated.
    """
    size = handle.seek(0, 2)
    handle.seek(0)
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 43:
        kind, at = _Kind(order + "Q", order + "Q", 20), struct.unpack(order + "Q", head[8:16])[0]
    elif version == 42:
        kind, at = _Kind(order + "I", order + "H", 12), struct.unpack(order + "I", head[4:8])[0]
        if size >= _CLASSIC_LIMIT_BYTES:
            # Only NDPI goes on here: the same marks, but links of 8 bytes.
            kind, at = _Kind(order + "Q", order + "H", 12), struct.unpack(order + "Q", head[4:12])[0]
            if not _is_ndpi(handle, at, kind, size):
                return
    else:
        return
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= MAX_DIRECTORIES:
            raise SlideError(
                "the directories of this TIFF lead in a circle", got=f"a link to byte {at}",
                expected="a chain with an end", fix="the header is damaged: fetch the file again", file=file,
            )  # fmt: skip
        seen.add(at)
        at = _next(handle, at, kind, size, file)


def _is_ndpi(handle: BinaryIO, at: int, kind: _Kind, size: int) -> bool:
    if at >= size:
        return False
    handle.seek(at)
    raw = handle.read(2)
    count = struct.unpack(kind.count, raw)[0] if len(raw) == 2 else 0
    entries = handle.read(count * kind.entry_bytes)
    codes = [struct.unpack(kind.count, entries[i : i + 2])[0] for i in range(0, len(entries) - 1, kind.entry_bytes)]
    return _NDPI_TAG in codes


def _next(handle: BinaryIO, at: int, kind: _Kind, size: int, file: str | Path) -> int:
    handle.seek(min(at, size))
    raw = handle.read(struct.calcsize(kind.count))
    link_bytes = struct.calcsize(kind.link)
    end = at + struct.calcsize(kind.count) + link_bytes
    if len(raw) == struct.calcsize(kind.count):
        end += struct.unpack(kind.count, raw)[0] * kind.entry_bytes
    if end > size:
        raise SlideError(
            "the file is truncated", got=f"{size} bytes", expected=f"a directory up to byte {end}",
            fix="fetch the file again: the copy or download stopped early", file=file,
        )  # fmt: skip
    handle.seek(end - link_bytes)
    found: int = struct.unpack(kind.link, handle.read(link_bytes))[0]
    return found
