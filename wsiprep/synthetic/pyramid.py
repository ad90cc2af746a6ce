"""Write an image as a pyramidal, tiled JPEG TIFF, row of tiles by row of tiles."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
import tifffile

from wsiprep.errors import SlideError, UsageError, from_os_error
from wsiprep.geometry import Size

RGB = npt.NDArray[np.uint8]

WHITE = 255
DESCRIPTION = "wsiprep synthetic slide (made by a script, not from a patient)"


class RowSource(Protocol):
    """An image that is made a band of rows at a time."""

    @property
    def size(self) -> Size: ...

    def rows(self, y: int, y_end: int) -> RGB:
        """Rows [y, y_end) over the full width: (y_end - y, width, 3) uint8. Asked for from the top down."""
        ...


class ImageSource:
    """An (H, W, 3) uint8 array as a source of rows."""

    def __init__(self, image: RGB) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise UsageError("an image must be (H, W, 3) uint8", got=f"{image.shape} {image.dtype}")
        self._image = image

    @property
    def size(self) -> Size:
        return Size(self._image.shape[1], self._image.shape[0])

    def rows(self, y: int, y_end: int) -> RGB:
        return self._image[y:y_end]


def write_pyramid(
    path: str | os.PathLike[str],
    image: RGB | RowSource,
    *,
    spacing_um: float,
    tile_px: int = 256,
    downsamples: Sequence[int] = (1, 2, 4, 8, 16),
    quality: int = 80,
    padded: bool = False,
) -> tuple[Size, ...]:
    """Write a pyramidal TIFF that OpenSlide (generic-tiff) opens, levels as pages from the finest on.

    Each level is the area mean of the one above it, at exactly the declared integer downsample; border
    pixels average the pixels that exist. Tiles are YCbCr 4:2:0 JPEG, the resolution tags are in px/cm.
    Level 0 is never held whole: memory is about a third of it, plus one row of tiles.

    Args:
        path: the file to write; it appears complete or not at all.
        image: an (H, W, 3) uint8 array, or a source of rows.
        spacing_um: um/px of level 0, written to the resolution tags.
        tile_px: side of a tile, a multiple of 16.
        downsamples: from 1 on, each a multiple of the one before.
        quality: JPEG quality, 1 to 100.
        padded: store every level, level 0 too, at its size rounded up to whole tiles, white beyond the
            content, as ASAP does; the level sizes are then no longer in the ratio of the downsamples.

    Returns:
        The stored size of each level.

    Raises:
        UsageError: an argument is out of range.
        SlideError: the source's rows are not of its declared width.
        StorageError: the file cannot be written.
    """
    source = ImageSource(image) if isinstance(image, np.ndarray) else image
    _check(spacing_um, tile_px, downsamples, quality)
    sizes = tuple(_stored(source.size.reduced(n), tile_px, padded) for n in downsamples)
    target = Path(path)
    make_folder(target.parent)
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        with tifffile.TiffWriter(temporary, bigtiff=False) as tiff:
            for n, size, tiles in _levels(source, sizes, downsamples, (tile_px, quality, padded)):
                resolution = 1e4 / (spacing_um * n)
                tiff.write(
                    tiles,
                    shape=(size.height_px, size.width_px, 3),
                    dtype=np.uint8,
                    tile=(tile_px, tile_px),
                    photometric="ycbcr",
                    compression="jpeg",
                    subsampling=(2, 2),
                    subfiletype=0 if n == 1 else 1,
                    resolution=(resolution, resolution),
                    resolutionunit="CENTIMETER",
                    description=DESCRIPTION if n == 1 else None,
                    software=False,
                    metadata=None,
                )
        temporary.replace(target)
    except OSError as error:
        raise from_os_error(error, path=target) from error
    finally:
        temporary.unlink(missing_ok=True)
    return sizes


def make_folder(folder: Path) -> None:
    """Make ``folder`` where it is missing.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, path=folder) from error


def _check(spacing_um: float, tile_px: int, downsamples: Sequence[int], quality: int) -> None:
    if not 0 < spacing_um < 1e4:
        raise UsageError("spacing_um must be positive", got=spacing_um)
    if tile_px < 16 or tile_px % 16:
        raise UsageError("tile_px must be a multiple of 16", got=tile_px)
    if not 1 <= quality <= 100:
        raise UsageError("quality must be from 1 to 100", got=quality)
    steps = list(itertools.pairwise(downsamples))
    if not downsamples or downsamples[0] != 1 or any(b <= a or b % a for a, b in steps):
        raise UsageError("downsamples must start at 1, each a multiple of the one before", got=tuple(downsamples))
    if len(downsamples) > 1 and tile_px % downsamples[1]:
        raise UsageError("tile_px must be a multiple of the second downsample", got=(tile_px, downsamples[1]))


def _stored(size: Size, tile_px: int, padded: bool) -> Size:
    if not padded:
        return size
    whole = size.reduced(tile_px)
    return Size(whole.width_px * tile_px, whole.height_px * tile_px)


def _levels(
    source: RowSource, sizes: Sequence[Size], downsamples: Sequence[int], coding: tuple[int, int, bool]
) -> Iterator[tuple[int, Size, Iterator[bytes]]]:
    """(downsample, stored size, encoded tiles) of each level; a level must be used up before the next."""
    step = downsamples[1] if len(downsamples) > 1 else None
    bands: list[RGB] = []
    yield 1, sizes[0], _encode(_bands(source, step, coding[0], bands), coding)
    for index in range(1, len(downsamples)):
        content = np.concatenate(bands)
        if index + 1 < len(downsamples):
            bands = [reduce_image(content, downsamples[index + 1] // downsamples[index])]
        tile_px = coding[0]
        rows = (content[y : y + tile_px] for y in range(0, content.shape[0], tile_px))
        yield downsamples[index], sizes[index], _encode(rows, coding)


def _bands(source: RowSource, step: int | None, tile_px: int, reduced: list[RGB]) -> Iterator[RGB]:
    """The rows of tiles of level 0; their means for the next level are appended to ``reduced``."""
    size = source.size
    for y in range(0, size.height_px, tile_px):
        y_end = min(size.height_px, y + tile_px)
        band = source.rows(y, y_end)
        if band.shape != (y_end - y, size.width_px, 3) or band.dtype != np.uint8:
            raise SlideError(
                "a source of rows gave an unexpected shape",
                got=f"{band.shape} {band.dtype}",
                expected=f"{(y_end - y, size.width_px, 3)} uint8",
            )
        if step is not None:
            reduced.append(reduce_image(band, step))
        yield band


def _encode(bands: Iterator[RGB], coding: tuple[int, int, bool]) -> Iterator[bytes]:
    tile_px, quality, padded = coding
    for band in bands:
        below, right = -band.shape[0] % tile_px, -band.shape[1] % tile_px
        whole: Any = band
        if below or right:
            # Beyond the image: white where it is stored as padding, else a continuation that rings least.
            border = cv2.BORDER_CONSTANT if padded else cv2.BORDER_REPLICATE
            whole = cv2.copyMakeBorder(band, 0, below, 0, right, border, value=(WHITE,) * 3)
        for x in range(0, whole.shape[1], tile_px):
            tile = np.ascontiguousarray(whole[:, x : x + tile_px])
            yield simplejpeg.encode_jpeg(tile, quality=quality, colorspace="RGB", colorsubsampling="420")


def reduce_image(image: RGB, factor: int) -> RGB:
    """The area mean at ``factor``: (ceil(H/factor), ceil(W/factor), 3), border blocks over what exists."""
    height, width = image.shape[:2]
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    for rows, rows_out in _parts(height, factor):
        for columns, columns_out in _parts(width, factor):
            target = out[rows_out, columns_out]
            part = np.ascontiguousarray(image[rows, columns])
            target[...] = cv2.resize(part, (target.shape[1], target.shape[0]), interpolation=cv2.INTER_AREA)
    return out


def _parts(length: int, factor: int) -> list[tuple[slice, slice]]:
    """The whole blocks of one axis, then the partial one: (slice in, slice out)."""
    whole = length // factor
    parts = [(slice(0, whole * factor), slice(0, whole)), (slice(whole * factor, length), slice(whole, whole + 1))]
    return [(a, b) for a, b in parts if a.stop > a.start]
