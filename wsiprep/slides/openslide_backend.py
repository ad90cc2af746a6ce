"""Slides through OpenSlide: MIRAX, NDPI, DICOM, Philips, Leica, Ventana and the rest.

OpenSlide resamples wherever its own downsample is not an integer (up to 69 grey levels off), and its
``read_region`` takes whole level-0 coordinates, so there is no way round: such levels get factor None,
and only overviews may show them. What lies outside the scan is transparent and becomes white.

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
from wsiprep.slides.companions import series_parts
from wsiprep.slides.dicom import check_offsets
from wsiprep.slides.identity import TIFF_PARSE_ERRORS, all_pages, slide_identity
from wsiprep.slides.metadata import believable_spacing, number
from wsiprep.slides.ome import OmePixels, check_plain_colour
from wsiprep.slides.opened import OpenedSlide, icc_digest, pyramid, tile_size
from wsiprep.slides.openslide_levels import check_runs, exact_levels
from wsiprep.slides.properties import allowed, bounds_of
from wsiprep.slides.protocol import (
    RGB,
    BackendRefusalError,
    DamagedRegionError,
    SlideInfo,
    composite_on_white,
    level_for,
)
from wsiprep.slides.tiff_layouts import vendor_layout

_OPENSLIDE_ERRORS = (openslide.OpenSlideError, OSError, ValueError)
_DISK_FAULTS = tuple(os.strerror(code) for code in (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT))


class ViaOpenSlide(OpenedSlide):
    """A slide read by OpenSlide.

    Raises:
        BackendRefusalError: OpenSlide cannot open or read the file.
        SlideError: absurd sizes.
    """

    def __init__(self, path: Path, *, requested: str = "openslide", note: str = "") -> None:
        _check_counts(path)
        for part in series_parts(path):
            check_offsets(part.path)
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
        properties = _readable(slide.properties)
        generic = properties.get(openslide.PROPERTY_NAME_VENDOR) == "generic-tiff"
        ome = self._checked_tiff() if generic else None
        sizes = [Size(w, h) for w, h in slide.level_dimensions]
        tiles = [
            tile_size(*(number(properties.get(f"openslide.level[{i}].tile-{side}")) for side in ("width", "height")))
            for i in range(len(sizes))
        ]
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        check_runs(sizes, tiles, vendor, self._path)
        mpp = (number(properties.get(name)) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        kept = allowed(properties)
        levels = pyramid(sizes, tiles, str(self._path))
        return SlideInfo(
            size=sizes[0],
            levels=exact_levels(levels, slide.level_downsamples, properties, self._path),
            spacing=(ome and ome.spacing) or believable_spacing(*mpp),
            backend_requested=requested,
            backend="openslide",
            vendor=vendor,
            objective_power=number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
            identity=slide_identity(self._path),
            compression="unknown",
            backend_note=note,
            properties=kept,
            bounds=bounds_of(kept, sizes[0]),
        )

    def _checked_tiff(self) -> OmePixels | None:
        """OpenSlide takes the first channel, or the upper 8 bits, of TIFFs that are not plain colour.

        And it takes a damaged file of a vendor for a generic one, and its macro image for the slide.
        """
        try:
            with tifffile.TiffFile(self._path) as tif:
                vendor = vendor_layout(tif)
                if vendor is not None:
                    raise BackendRefusalError(
                        f"OpenSlide takes this {vendor} file for a generic TIFF", got="generic-tiff", expected=vendor,
                        file=self._path,
                    )  # fmt: skip
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
        return self._pixels(level, found.factor, box)

    def show_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.show_level``."""
        shown = level_for(self.info, level, box).shown_factor
        return self.read_level(level, box) if shown is None else self._pixels(level, shown, box)

    def _pixels(self, level: int, factor: int, box: Box) -> RGB:
        if not box.area_px:
            return np.empty((box.height_px, box.width_px, 3), np.uint8)
        region = self._region((box.x * factor, box.y * factor), level, (box.width_px, box.height_px))
        return composite_on_white(np.asarray(region))

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


def _check_counts(path: Path) -> None:
    """Refuse a TIFF with a tile larger than the file: OpenSlide's allocator would end the process."""
    size = path.stat().st_size
    try:
        with tifffile.TiffFile(path) as tif:
            largest = max((int(max(page.databytecounts, default=0)) for page in all_pages(tif)), default=0)
    except TIFF_PARSE_ERRORS:
        return
    if largest > size:
        raise SlideError(
            "a tile table of the slide is damaged",
            got=f"a tile of {largest} bytes",
            expected=f"at most the {size} bytes of the file",
            fix="fetch the file again or leave the slide out",
            file=path,
        )


def _readable(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties that can be had: names and values that are not UTF-8 (old VMS and MIRAX) cannot."""
    found: dict[str, str] = {}
    for name in properties:
        try:
            found[name] = properties[name]
        except (KeyError, UnicodeDecodeError):
            continue
    return found
