"""Arrays as shards hold them, and every codec that packs them, for the tests of the codecs."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from wsiprep.store.codecs import ChunkCodec, CodecName

CODECS: tuple[CodecName, ...] = get_args(CodecName)
LOSSLESS = tuple(name for name in CODECS if name != "jpeg")
KINDS = ("image", "mask", "instance")


def texture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth picture with a little noise, uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + c) + seed) + np.cos(y / (11 - c)) for c in range(3)]
    return (150 + 40 * np.stack(waves, -1) + rng.normal(0, 3, (height, width, 3))).clip(0, 255).astype(np.uint8)


def mask(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A disc, a stripe and a corner that is not annotated, uint8 (h, w)."""
    y, x = np.mgrid[:height, :width]
    values = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (width / 3 + seed % 5) ** 2).astype(np.uint8)
    values[y > 0.8 * height] = 2
    values[: height // 4, : width // 4] = 255
    return values


def array(kind: str, height: int, width: int, seed: int = 0) -> npt.NDArray[Any]:
    """A patch's array of this kind."""
    if kind == "image":
        return texture(height, width, seed)
    values = mask(height, width, seed)
    return values if kind == "mask" else values.astype(np.int32) * 70_001 - seed


def codec_for(name: CodecName, kind: str) -> ChunkCodec:
    """The codec with which a dataset of codec ``name`` packs this kind of array."""
    return ChunkCodec(name).for_array((1, 1, 3) if kind == "image" else (1, 1))
