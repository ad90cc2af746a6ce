"""Slides through tiffslide: what OpenSlide refuses (striped TIFF, zstd, ...) and remote files.

tiffslide gives stored levels exactly but drops those whose sizes are padded. Three of its habits would
give wrong pixels without an error and are put right here: its ``read_region`` divides level-0 coordinates
by the inexact ratio of the sizes (asked in level pixels instead), tiles that were never written come
out black (white instead), and libjpeg's warnings are ignored, so that damaged JPEG tiles come out grey
(an error instead).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import simplejpeg
import tiffslide

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.slides.decode import JP2K_YCBCR, JPEG, TileDamageError
from wsiprep.slides.identity import TIFF_PARSE_ERRORS, is_url, slide_identity
from wsiprep.slides.metadata import believable_spacing, number
from wsiprep.slides.ome import check_plain_colour
from wsiprep.slides.opened import OpenedSlide, icc_digest, pyramid, tile_size
from wsiprep.slides.properties import allowed, bounds_of
from wsiprep.slides.protocol import (
    MAX_SIDE_PX,
    RGB,
    BackendRefusalError,
    DamagedRegionError,
    SlideInfo,
    check_sides,
    composite_on_white,
    level_for,
)
from wsiprep.slides.tiff_layouts import vendor_layout

_OPEN_ERRORS = (*TIFF_PARSE_ERRORS, OSError, ImportError, StopIteration, SyntaxError)
"""SyntaxError is what damaged XML ends in, StopIteration missing fields of Philips'."""

_DECODE_ERRORS = tuple(kind for kind in TIFF_PARSE_ERRORS if kind is not MemoryError)

_OVERLAPPING = ("ventana", "trestle")
_COPY = "copy the slide to a local disk: OpenSlide or the plain TIFF reader can read it there"

_WHITE = 255
_ICC_TAG = 34675


class _LevelCoordinates(tiffslide.TiffSlide):
    """TiffSlide whose ``read_region`` takes the pixels of the level itself (its documented hook)."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        del level
        return location


class ViaTiffSlide(OpenedSlide):
    """A slide read by tiffslide; ``path`` may be a URL.

    Raises:
        BackendRefusalError: tiffslide cannot open or read the file.
        SlideError: absurd sizes.
    """

    def __init__(self, path: str | Path, *, requested: str = "tiffslide", note: str = "") -> None:
        try:
            if is_url(path):
                _check_remote(str(path))
            self._slide: Any = _LevelCoordinates(str(path))
        except _OPEN_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise BackendRefusalError("tiffslide cannot open it", got=got, file=path) from error
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
        try:
            ome = check_plain_colour(self._slide.ts_tifffile, self._path)
            self._check_layout()
            properties = dict(self._slide.properties)
            sizes = [Size(int(w), int(h)) for w, h in self._slide.level_dimensions]
            first = self._strictly_decoded()
            profile = first.tags.get(_ICC_TAG)
            self._icc = None if profile is None else bytes(profile.value)
        except _OPEN_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise BackendRefusalError("tiffslide cannot describe it", got=got, file=self._path) from error
        tiles = [
            tile_size(*(number(properties.get(f"tiffslide.level[{i}].tile-{side}")) for side in ("width", "height")))
            for i in range(len(sizes))
        ]
        mpp = (number(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
        kept = allowed(properties)
        return SlideInfo(
            size=sizes[0],
            levels=pyramid(sizes, tiles, str(self._path)),
            spacing=(ome and ome.spacing) or believable_spacing(*mpp),
            backend_requested=requested,
            backend="tiffslide",
            vendor=str(properties.get("tiffslide.vendor") or "unknown"),
            objective_power=number(properties.get("tiffslide.objective-power")),
            identity=slide_identity(self._path),
            compression="unknown",
            backend_note=note,
            properties=kept,
            bounds=bounds_of(kept, sizes[0]),
            icc_digest=icc_digest(self._icc),
        )

    def _check_layout(self) -> None:
        """Refuse what tiffslide would read without complaint and wrongly."""
        tif = self._slide.ts_tifffile
        vendor = vendor_layout(tif)
        if vendor in _OVERLAPPING:
            raise BackendRefusalError(
                "tiffslide does not place the tiles of this layout", got=vendor, fix=_COPY, file=self._path
            )
        for page in self._level_pages():
            if int(page.compression) == JP2K_YCBCR:
                raise BackendRefusalError(
                    "tiffslide shows the luminance of this JPEG 2000 as red", got="YCbCr", fix=_COPY, file=self._path
                )
            size = Size(int(page.imagewidth), int(page.imagelength))
            check_sides(size, "a level", MAX_SIDE_PX, str(self._path))
            expected = math.prod(page.chunked)
            if len(page.dataoffsets) != expected or len(page.databytecounts) != expected:
                raise SlideError(
                    "a tile table of the slide is damaged",
                    got=f"{len(page.dataoffsets)} offsets, {len(page.databytecounts)} byte counts",
                    expected=f"{expected} tiles",
                    fix="fetch the file again or leave the slide out",
                    file=self._path,
                )

    def _level_pages(self) -> list[Any]:
        pages = [level.keyframe for series in self._slide.ts_tifffile.series for level in series.levels]
        return list({id(page): page for page in pages}.values())

    def _strictly_decoded(self) -> Any:
        """Make every level's decoder strict and its missing tiles white; returns the page of level 0."""
        for page in self._level_pages():
            page.nodata = _WHITE
            if int(page.compression) == JPEG and page.bitspersample == 8:
                page.decode = _strict(page.decode)
        return self._slide.ts_tifffile.pages[0]

    def _probe(self) -> None:
        size, failure = self.info.size, None
        for part in (4, 1, 2, 6, 7):
            try:
                self.read_level(0, Box(size.width_px * part // 8, size.height_px * part // 8, 1, 1))
            except SlideError as error:
                failure = failure or error
            else:
                return
        assert failure is not None
        raise BackendRefusalError("tiffslide cannot read its pixels", got=failure.got, file=self._path) from failure

    def icc_profile(self) -> bytes | None:
        """The ICC profile of the first page, None where there is none."""
        return self._icc

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        slide = self._slide
        if slide is None:
            raise UsageError("the slide is closed", file=self._path)
        if not box.area_px:
            return np.empty((box.height_px, box.width_px, 3), np.uint8)
        try:
            image = np.asarray(slide.read_region((box.x, box.y), level, (box.width_px, box.height_px), as_array=True))
        except OSError as error:
            raise StorageError(
                "the slide cannot be read",
                got=f"{type(error).__name__}: {error}",
                fix="check the disk or the network",
                file=self._path,
            ) from error
        except ImportError as error:
            raise SlideError("the codec of the slide is not installed", got=str(error), file=self._path) from error
        except _DECODE_ERRORS as error:
            raise DamagedRegionError(
                f"tiffslide cannot decode level {level} at x {box.x}, y {box.y} ({box.width_px} x {box.height_px} px)",
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


def _check_remote(url: str) -> None:
    import fsspec

    with fsspec.open(url, "rb") as handle:
        check_chain(cast(BinaryIO, handle), url)


def _strict(decode: Callable[..., Any]) -> Callable[..., Any]:
    """tifffile's decoder of JPEG tiles, after a check that libjpeg has nothing to complain of.

    The check decodes at an eighth of the size, which costs little more than the entropy decoding.
    """

    def checked(data: bytes | None, index: int, /, **options: Any) -> Any:
        if data is not None and options.get("jpegheader") is None:
            tables = options.get("jpegtables")
            if data[:2] != b"\xff\xd8":
                raise TileDamageError("is no JPEG stream (no SOI marker)")
            stream = b"".join((tables[:-2], data[2:])) if tables else data
            simplejpeg.decode_jpeg(stream, min_height=1, min_width=1, min_factor=8)
        return decode(data, index, **options)

    return checked
