"""The loops that people write: OpenSlide, patch by patch, into PNG files or into a Zarr array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide
import zarr
from PIL import Image
from zarr.codecs import BloscCodec

from wsiprep.geometry import Box

PER_SHARD = 64


def pictures(slide: Path, cells_lv0: Sequence[Box], patch_size_px: int) -> Iterator[Image.Image]:
    """The patches as OpenSlide reads them from the level that has about their scale."""
    with openslide.OpenSlide(slide) as opened:
        for cell in cells_lv0:
            level = opened.get_best_level_for_downsample(cell.width_px / patch_size_px + 0.01)
            size = (patch_size_px, patch_size_px)
            yield opened.read_region((cell.x, cell.y), level, size).convert("RGB")


def to_png(slide: Path, cells_lv0: Sequence[Box], patch_size_px: int, folder: Path) -> None:
    """A PNG file a patch, Pillow's default settings."""
    folder.mkdir()
    for cell, picture in zip(cells_lv0, pictures(slide, cells_lv0, patch_size_px), strict=True):
        picture.save(folder / f"{cell.x}_{cell.y}.png")


def to_zarr(slide: Path, cells_lv0: Sequence[Box], patch_size_px: int, folder: Path) -> None:
    """One Zarr array, a chunk a patch, LZ4, whole shards written at once: the fast way to use zarr-python."""
    side = patch_size_px
    array = zarr.create_array(
        folder, shape=(len(cells_lv0), side, side, 3), dtype="uint8", chunks=(1, side, side, 3),
        shards=(PER_SHARD, side, side, 3), compressors=BloscCodec(cname="lz4"),
    )  # fmt: skip
    waiting: list[npt.NDArray[np.uint8]] = []
    done = 0
    for picture in pictures(slide, cells_lv0, side):
        waiting.append(np.asarray(picture))
        if len(waiting) == PER_SHARD:
            array[done : done + PER_SHARD] = np.stack(waiting)
            done += PER_SHARD
            waiting = []
    if waiting:
        array[done:] = np.stack(waiting)
