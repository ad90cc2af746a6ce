"""Slides through OpenSlide: MIRAX, NDPI, DICOM, Philips, Leica, Ventana and the rest.

OpenSlide resamples wherever its own downsample is not an integer (up to 69 grey levels off), and its
``read_region`` takes whole level-0 coordinates, so there is no way round: such levels get factor None
and cannot be read. What lies outside the scan is transparent and becomes white.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import openslide

from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Box, Size, level_factors
from wsiprep.slides.identity import slide_identity
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

INTEGRAL_TOLERANCE = 1e-9
"""How far OpenSlide's downsample may be from the integer factor for its read to be the stored pixels."""


class ViaOpenSlide:
    """A slide read by OpenSlide. An OpenSlide handle stays broken after its first error.

    Raises:
        BackendRefusalError: OpenSlide cannot open or read the file.
        SlideError: absurd sizes.
    """

    def __init__(self, path: Path, *, requested: str = "openslide", note: str = "") -> None:
        try:
            self._slide: openslide.OpenSlide | None = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError, ValueError) as error:
            got = str(error) or type(error).__name__
            raise BackendRefusalError("OpenSlide cannot open it", got=got, file=path) from error
        self._path = path
        self._closing = threading.Lock()
        try:
            self.info = self._describe(requested, note)
            self._probe()
        except SlideError:
            self.close()
            raise

    def _describe(self, requested: str, note: str) -> SlideInfo:
        slide = self._handle()
        properties = slide.properties
        sizes = [Size(w, h) for w, h in slide.level_dimensions]
        tiles = [_tile(properties, i) for i in range(len(sizes))]
        for size in sizes:
            check_sides(size, "a level", MAX_SIDE_PX, str(self._path))
        for tile in tiles:
            if tile is not None:
                check_sides(tile, "a tile", MAX_TILE_SIDE_PX, str(self._path))
        factors = [
            f if f is not None and abs(own - f) <= INTEGRAL_TOLERANCE else None
            for f, own in zip(level_factors(sizes, tiles), slide.level_downsamples, strict=True)
        ]
        mpp = (number(properties.get(name)) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        return SlideInfo(
            size=sizes[0],
            levels=tuple(
                Level(i, cropped_size(sizes[0], s, f), s, f, t)
                for i, (s, f, t) in enumerate(zip(sizes, factors, tiles, strict=True))
            ),
            spacing=believable_spacing(*mpp),
            backend_requested=requested,
            backend="openslide",
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            objective_power=number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
            identity=slide_identity(self._path),
            compression="unknown",
            backend_note=note,
        )

    def _probe(self) -> None:
        """Read one pixel of the middle: some files open and cannot be decoded at all."""
        size = self.info.size
        try:
            self.read_level(0, Box(size.width_px // 2, size.height_px // 2, 1, 1))
        except SlideError as error:
            raise BackendRefusalError("OpenSlide cannot read its pixels", got=error.got, file=self._path) from error

    def _handle(self) -> openslide.OpenSlide:
        if self._slide is None:
            raise UsageError("the slide is closed", file=self._path)
        return self._slide

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``; levels without an integer factor are refused with a UsageError."""
        found = level_for(self.info, level, box)
        if found.factor is None:
            raise UsageError(
                "OpenSlide resamples this level: its pixels are not those of the file",
                got=f"level {level} of {self._path.name}",
                expected="a level with an integer factor",
                fix="read level 0 and average (Plane does), or use another backend",
            )
        if not box.area_px:
            return np.empty((box.height_px, box.width_px, 3), np.uint8)
        origin, size = (box.x * found.factor, box.y * found.factor), (box.width_px, box.height_px)
        try:
            image = self._handle().read_region(origin, level, size)
        except (openslide.OpenSlideError, OSError, ValueError) as error:
            raise SlideError(
                f"OpenSlide cannot read level {level} at x {box.x}, y {box.y}",
                got=str(error) or type(error).__name__,
                fix="fetch the file again, or list the slide in exclude.csv",
                file=self._path,
            ) from error
        return composite_on_white(np.asarray(image))

    def close(self) -> None:
        """Free the handle; closing twice is harmless."""
        with self._closing:
            slide, self._slide = self._slide, None
        if slide is not None:
            slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tile(properties: Mapping[str, str], level: int) -> Size | None:
    sides = [number(properties.get(f"openslide.level[{level}].tile-{side}")) for side in ("width", "height")]
    if sides[0] is None or sides[1] is None:
        return None
    return Size(int(sides[0]), int(sides[1]))
