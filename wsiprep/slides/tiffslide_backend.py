"""Slides through tiffslide: what OpenSlide refuses (striped TIFF, zstd, ...) and remote files.

tiffslide gives stored levels exactly but drops those whose sizes are padded. Its ``read_region`` divides
level-0 coordinates by the inexact ratio of the sizes; the subclass below asks in level pixels instead.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tiffslide

from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Box, Size, level_factors
from wsiprep.slides.identity import TIFF_PARSE_ERRORS, slide_identity
from wsiprep.slides.metadata import believable_spacing, number
from wsiprep.slides.protocol import (
    MAX_SIDE_PX,
    MAX_TILE_SIDE_PX,
    RGB,
    BackendRefusalError,
    Level,
    SlideInfo,
    check_sides,
    composite_on_white,
    cropped_size,
    level_for,
)

_READ_ERRORS = (*TIFF_PARSE_ERRORS, OSError, ImportError)


class _LevelCoordinates(tiffslide.TiffSlide):
    """TiffSlide whose ``read_region`` takes the pixels of the level itself (its documented hook)."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        del level
        return location


class ViaTiffSlide:
    """A slide read by tiffslide; ``path`` may be a URL.

    Raises:
        BackendRefusalError: tiffslide cannot open or read the file.
        SlideError: absurd sizes.
    """

    def __init__(self, path: str | Path, *, requested: str = "tiffslide", note: str = "") -> None:
        try:
            self._slide: Any = _LevelCoordinates(str(path))
        except _READ_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise BackendRefusalError("tiffslide cannot open it", got=got, file=path) from error
        self._path = path
        self._lock = threading.Lock()
        try:
            self.info = self._describe(requested, note)
            self._probe()
        except SlideError:
            self.close()
            raise

    def _describe(self, requested: str, note: str) -> SlideInfo:
        try:
            properties = dict(self._slide.properties)
            sizes = [Size(int(w), int(h)) for w, h in self._slide.level_dimensions]
        except _READ_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise BackendRefusalError("tiffslide cannot describe it", got=got, file=self._path) from error
        for size in sizes:
            check_sides(size, "a level", MAX_SIDE_PX, str(self._path))
        tiles = [_tile(properties, i) for i in range(len(sizes))]
        for tile in tiles:
            if tile is not None:
                check_sides(tile, "a tile", MAX_TILE_SIDE_PX, str(self._path))
        factors = level_factors(sizes, tiles)
        mpp = (number(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
        return SlideInfo(
            size=sizes[0],
            levels=tuple(
                Level(i, cropped_size(sizes[0], s, f), s, f, t)
                for i, (s, f, t) in enumerate(zip(sizes, factors, tiles, strict=True))
            ),
            spacing=believable_spacing(*mpp),
            backend_requested=requested,
            backend="tiffslide",
            vendor=str(properties.get("tiffslide.vendor") or "unknown"),
            objective_power=number(properties.get("tiffslide.objective-power")),
            identity=slide_identity(self._path),
            compression="unknown",
            backend_note=note,
        )

    def _probe(self) -> None:
        size = self.info.size
        try:
            self.read_level(0, Box(size.width_px // 2, size.height_px // 2, 1, 1))
        except SlideError as error:
            raise BackendRefusalError("tiffslide cannot read its pixels", got=error.got, file=self._path) from error

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        if self._slide is None:
            raise UsageError("the slide is closed", file=self._path)
        if not box.area_px:
            return np.empty((box.height_px, box.width_px, 3), np.uint8)
        try:
            image = np.asarray(
                self._slide.read_region((box.x, box.y), level, (box.width_px, box.height_px), as_array=True)
            )
        except _READ_ERRORS as error:
            raise SlideError(
                f"tiffslide cannot read level {level} at x {box.x}, y {box.y}",
                got=f"{type(error).__name__}: {error}",
                fix="fetch the file again, or list the slide in exclude.csv",
                file=self._path,
            ) from error
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
            raise SlideError("not an 8-bit RGB slide", got=f"{image.shape} {image.dtype}", file=self._path)
        if image.shape[2] == 1:
            return np.repeat(image, 3, axis=2)
        return composite_on_white(image) if image.shape[2] == 4 else np.ascontiguousarray(image)

    def close(self) -> None:
        """Free the file; closing twice is harmless."""
        with self._lock:
            slide, self._slide = self._slide, None
        if slide is not None:
            slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tile(properties: dict[str, Any], level: int) -> Size | None:
    sides = [number(properties.get(f"tiffslide.level[{level}].tile-{side}")) for side in ("width", "height")]
    # Strips have tiles of size 0 here.
    if not sides[0] or not sides[1]:
        return None
    return Size(int(sides[0]), int(sides[1]))
