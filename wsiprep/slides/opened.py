"""What the backends share: closing, the ICC profile, the list of levels."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from wsiprep.geometry import Box, Size, level_factors
from wsiprep.slides.protocol import (
    MAX_SIDE_PX,
    MAX_TILE_SIDE_PX,
    RGB,
    Level,
    SlideInfo,
    check_sides,
    cropped_size,
)


class OpenedSlide(ABC):
    """The base of the backends: a context manager that closes itself."""

    info: SlideInfo

    @abstractmethod
    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""

    def show_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.show_level``; a backend that gives stored pixels alone shows these."""
        return self.read_level(level, box)

    @abstractmethod
    def close(self) -> None:
        """Free the file; closing twice is harmless."""

    def icc_profile(self) -> bytes | None:
        """The ICC profile of level 0 as stored, None where the file has none."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def icc_digest(profile: bytes | None) -> str:
    """sha256 (hexadecimal) of a profile, ``""`` for none."""
    return hashlib.sha256(profile).hexdigest() if profile else ""


def pyramid(sizes: Sequence[Size], tiles: Sequence[Size | None], path: str) -> tuple[Level, ...]:
    """The levels of a pyramid that a library describes.

    Raises:
        SlideError: a side that is not believable.
    """
    for size in sizes:
        check_sides(size, "a level", MAX_SIDE_PX, path)
    for tile in tiles:
        if tile is not None:
            check_sides(tile, "a tile", MAX_TILE_SIDE_PX, path)
    return levels_of(sizes, tiles, level_factors(sizes, tiles))


def levels_of(sizes: Sequence[Size], tiles: Sequence[Size | None], factors: Sequence[int | None]) -> tuple[Level, ...]:
    """The levels, padding cropped off where the factor is known."""
    return tuple(
        Level(i, cropped_size(sizes[0], size, factor), size, factor, tile)
        for i, (size, factor, tile) in enumerate(zip(sizes, factors, tiles, strict=True))
    )


def tile_size(width: float | None, height: float | None) -> Size | None:
    """A tile as a library names it; None where it does not, or names 0 (strips)."""
    return Size(int(width), int(height)) if width and height else None
