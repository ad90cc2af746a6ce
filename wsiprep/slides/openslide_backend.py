"""Slides through OpenSlide: MIRAX, NDPI, DICOM, Philips, Leica, Ventana and the rest.

OpenSlide resamples wherever its own downsample is not an integer (up to 69 grey levels off), and its
``read_region`` takes whole level-0 coordinates, so there is no way round: such levels get factor None
and cannot be read. What lies outside the scan is transparent and becomes white.

An OpenSlide handle that met one error fails every later read. A damaged region must cost no more than
itself, so the handle is then replaced by a fresh one.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import tifffile

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.slides.identity import TIFF_PARSE_ERRORS, slide_identity
from wsiprep.slides.metadata import believable_spacing, number
from wsiprep.slides.ome import OmePixels, check_plain_colour
from wsiprep.slides.opened import OpenedSlide, icc_digest, pyramid, tile_size
from wsiprep.slides.properties import allowed, bounds_of
from wsiprep.slides.protocol import (
    RGB,
    BackendRefusalError,
    DamagedRegionError,
    Level,
    SlideInfo,
    composite_on_white,
    level_for,
)

INTEGRAL_TOLERANCE = 1e-9
"""How far OpenSlide's downsample may be from the integer factor for its read to be the stored pixels."""

_NDPI_LENS = 65421

_OPENSLIDE_ERRORS = (openslide.OpenSlideError, OSError, ValueError)
_DISK_FAULTS = tuple(os.strerror(code) for code in (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT))


class ViaOpenSlide(OpenedSlide):
    """A slide read by OpenSlide.

    Raises:
        BackendRefusalError: OpenSlide cannot open or read the file.
        SlideError: absurd sizes.
    """

    def __init__(self, path: Path, *, requested: str = "openslide", note: str = "") -> None:
        try:
            self._slide: openslide.OpenSlide | None = openslide.OpenSlide(path)
        except _OPENSLIDE_ERRORS as error:
            got = str(error) or type(error).__name__
            raise BackendRefusalError("OpenSlide cannot open it", got=got, file=path) from error
        self._path = path
        self._lock = threading.Lock()
        self._icc: bytes | None = None
        try:
            self.info = self._describe(requested, note)
            self._probe()
        except (SlideError, StorageError):
            self.close()
            raise

    def _describe(self, requested: str, note: str) -> SlideInfo:
        slide = self._handle()
        properties = slide.properties
        generic = properties.get(openslide.PROPERTY_NAME_VENDOR) == "generic-tiff"
        ome = self._checked_tiff() if generic else None
        sizes = [Size(w, h) for w, h in slide.level_dimensions]
        tiles = [
            tile_size(*(number(properties.get(f"openslide.level[{i}].tile-{side}")) for side in ("width", "height")))
            for i in range(len(sizes))
        ]
        mpp = (number(properties.get(name)) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        kept = allowed(properties)
        corners = _region_corners(properties)
        stored = _ndpi_sizes(self._path) if properties.get(openslide.PROPERTY_NAME_VENDOR) == "hamamatsu" else None
        return SlideInfo(
            size=sizes[0],
            levels=tuple(
                _exact(level, own, corners, stored)
                for level, own in zip(pyramid(sizes, tiles, str(self._path)), slide.level_downsamples, strict=True)
            ),
            spacing=(ome and ome.spacing) or believable_spacing(*mpp),
            backend_requested=requested,
            backend="openslide",
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            objective_power=number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
            identity=slide_identity(self._path),
            compression="unknown",
            backend_note=note,
            properties=kept,
            bounds=bounds_of(kept, sizes[0]),
        )

    def _checked_tiff(self) -> OmePixels | None:
        """OpenSlide takes the first channel, or the upper 8 bits, of TIFFs that are not plain colour."""
        try:
            with tifffile.TiffFile(self._path) as tif:
                return check_plain_colour(tif, self._path)
        except TIFF_PARSE_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise BackendRefusalError("it is a TIFF that cannot be checked", got=got, file=self._path) from error

    def _probe(self) -> None:
        """Read one pixel of the middle: some files open and cannot be decoded at all.

        Where the middle alone is damaged, one of the other places tells; the damage is then met when it is read.
        """
        size, failure = self.info.size, None
        for part in (4, 1, 2, 6, 7):
            try:
                image = self._region((size.width_px * part // 8, size.height_px * part // 8), 0, (1, 1))
            except DamagedRegionError as error:
                failure = failure or error
            else:
                self._icc = image.info.get("icc_profile")
                self.info = replace(self.info, icc_digest=icc_digest(self._icc))
                return
        assert failure is not None
        raise BackendRefusalError("OpenSlide cannot read its pixels", got=failure.got, file=self._path) from failure

    def _handle(self) -> openslide.OpenSlide:
        slide = self._slide
        if slide is None:
            raise UsageError("the slide is closed", file=self._path)
        return slide

    def icc_profile(self) -> bytes | None:
        """The ICC profile of level 0, None where OpenSlide finds none."""
        return self._icc

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
        origin = (box.x * found.factor, box.y * found.factor)
        return composite_on_white(np.asarray(self._region(origin, level, (box.width_px, box.height_px))))

    def _region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Any:
        """The region as a PIL image, from a fresh handle where the shared one is broken."""
        slide = self._handle()
        try:
            return slide.read_region(origin, level, size)
        except _OPENSLIDE_ERRORS:
            # Perhaps earlier damage, or another thread's, broke the handle: a fresh one of our own decides.
            fresh = self._reopened()
        try:
            image = fresh.read_region(origin, level, size)
        except _OPENSLIDE_ERRORS as error:
            raise self._fault(error, origin, level, size) from error
        self._take_over(slide, fresh)
        return image

    def _take_over(self, broken: openslide.OpenSlide, fresh: openslide.OpenSlide) -> None:
        """Put a fresh handle in the place of a broken one, unless another thread or ``close`` came first.

        The broken one is let go rather than closed: other threads may still be inside it, and it frees
        itself when the last of them has left.
        """
        with self._lock:
            if self._slide is broken:
                self._slide = fresh

    def _reopened(self) -> openslide.OpenSlide:
        try:
            return openslide.OpenSlide(self._path)
        except _OPENSLIDE_ERRORS as error:
            raise StorageError(
                "the slide cannot be opened any more",
                got=str(error) or type(error).__name__,
                fix="check the disk or the network share",
                file=self._path,
            ) from error

    def _fault(
        self, error: Exception, origin: tuple[int, int], level: int, size: tuple[int, int]
    ) -> DamagedRegionError | StorageError:
        got = str(error) or type(error).__name__
        if any(fault in got for fault in _DISK_FAULTS):
            return StorageError(
                "the slide cannot be read", got=got, fix="check the disk or the network share", file=self._path
            )
        return DamagedRegionError(
            f"OpenSlide cannot decode level {level} at level-0 x {origin[0]}, y {origin[1]} ({size[0]} x {size[1]} px)",
            got=got,
            fix="fetch the file again, or list the slide in exclude.csv",
            file=self._path,
        )

    def close(self) -> None:
        """Free the handle; closing twice is harmless."""
        with self._lock:
            slide, self._slide = self._slide, None
        if slide is not None:
            slide.close()


def _exact(level: Level, own_downsample: float, corners: list[tuple[int, int]], stored: set[Size] | None) -> Level:
    """The level, without its factor where what OpenSlide gives are not the pixels of the file at their places.

    Args:
        own_downsample: OpenSlide resamples where this is not an integer.
        corners: of the scanned regions at level 0. OpenSlide cuts their places at lower levels off to whole pixels.
        stored: sizes of the levels that the file holds, None where it holds all that OpenSlide lists.
    """
    factor = level.factor
    exact = (
        factor is not None
        and abs(own_downsample - factor) <= INTEGRAL_TOLERANCE
        and all(x % factor == 0 and y % factor == 0 for x, y in corners)
        and (stored is None or level.stored_size in stored)
    )
    return level if exact else replace(level, factor=None, size=level.stored_size)


def _region_corners(properties: Mapping[str, str]) -> list[tuple[int, int]]:
    """Corners of the scanned regions (``openslide.region[i].x`` and ``.y``: Leica, MIRAX)."""
    found: list[tuple[int, int]] = []
    while f"openslide.region[{len(found)}].x" in properties:
        sides = (number(properties.get(f"openslide.region[{len(found)}].{side}")) or 0 for side in "xy")
        x, y = (int(v) for v in sides)
        found.append((x, y))
    return found


def _ndpi_sizes(path: Path) -> set[Size] | None:
    """The levels that an NDPI holds; OpenSlide adds others, decoded at 1/2, 1/4 and 1/8 of their size.

    None for what is no TIFF (VMS, VMU).
    """
    try:
        with tifffile.TiffFile(path) as tif:
            every: list[Any] = list(tif.pages)
            pages = [page for page in every if _NDPI_LENS in page.tags and page.tags[_NDPI_LENS].value > 0]
            return {Size(int(page.imagewidth), int(page.imagelength)) for page in pages} or None
    except TIFF_PARSE_ERRORS:
        return None
