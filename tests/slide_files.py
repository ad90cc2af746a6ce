"""Small TIFF slides made by script, for the tests of everything that reads slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

Image = npt.NDArray[np.uint8]


def texture(width: int, height: int, seed: int = 0, channels: int = 3) -> Image:
    """Blotches with noise: no two places alike, so that a displaced read never compares equal."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (height // 16 + 1, width // 16 + 1, channels))
    fine = rng.integers(-40, 40, (height, width, channels))
    return (np.kron(coarse, np.ones((16, 16, 1), np.int64))[:height, :width] + fine).astype(np.uint8)


def mean_by_loop(image: Image, factor: int) -> Image:
    """The area mean, rounded half up, pixel by pixel in Python integers: the plain oracle."""
    height, width = image.shape[:2]
    out = np.empty((-(-height // factor), -(-width // factor), image.shape[2]), np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            block = image[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            count = block.shape[0] * block.shape[1]
            for c in range(image.shape[2]):
                out[y, x, c] = (2 * sum(int(v) for v in block[..., c].ravel()) + count) // (2 * count)
    return out


def mean_of_blocks(image: Image, factor: int) -> Image:
    """The same in 64-bit sums: fast enough for whole levels, and checked against the loop."""
    sums = image.astype(np.int64)
    counts = np.ones(image.shape[:2], np.int64)
    for axis in (0, 1):
        starts = np.arange(0, image.shape[axis], factor)
        sums = np.add.reduceat(sums, starts, axis=axis)
        counts = np.add.reduceat(counts, starts, axis=axis)
    return ((2 * sums + counts[..., None]) // (2 * counts[..., None])).astype(np.uint8)


def padded(image: Image, tile: int, value: int = 255) -> Image:
    """The image enlarged to whole tiles, as ASAP stores its lower levels."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % tile), (0, -width % tile), (0, 0)), constant_values=value)


@dataclass(frozen=True)
class Writing:
    """How to write a pyramid; ``extra`` goes to every ``TiffWriter.write``."""

    tile: int | None = 64
    compression: str | None = "zlib"
    photometric: str = "rgb"
    description: str | None = None
    resolution_um: float | None = None
    subifds: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def write_pyramid(path: Path, levels: Sequence[Image], how: Writing | None = None) -> Path:
    """Write the levels as given: pages marked as reduced, or SubIFDs of the first."""
    how = how or Writing()
    common: dict[str, Any] = {"photometric": how.photometric, "compression": how.compression, "metadata": None}
    if how.tile:
        common["tile"] = (how.tile, how.tile)
    common |= how.extra
    with tifffile.TiffWriter(path) as writer:
        for index, image in enumerate(levels):
            first: dict[str, Any] = {}
            if index == 0:
                first = {"description": how.description, "subifds": len(levels) - 1 if how.subifds else None}
            if index == 0 and how.resolution_um is not None:
                per_cm = 10_000 / how.resolution_um
                first |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            aperio = (how.description or "").startswith("Aperio")
            later: dict[str, Any] = {} if aperio or index == 0 else {"subfiletype": 1}
            if aperio and index:
                later["description"] = f"{how.description} level {index}"
            writer.write(image, **common, **first, **later)
    return path


def tiles_of(image: Image, tile: int) -> Iterator[Image]:
    """The whole tiles of an image, row by row, padded with white."""
    full = padded(image, tile)
    for y in range(0, full.shape[0], tile):
        for x in range(0, full.shape[1], tile):
            yield np.ascontiguousarray(full[y : y + tile, x : x + tile])


def write_encoded(path: Path, shape: tuple[int, ...], tiles: Sequence[Any], tile: int, **tags: Any) -> Path:
    """Write tiles that are encoded already (bytes), or None for tiles that are left out."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(iter(tiles), shape=shape, dtype="uint8", tile=(tile, tile), metadata=None, **tags)
    return path
