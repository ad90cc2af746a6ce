"""Digests of content: equal patches, shards and datasets have equal digests on every machine.

Nothing with a time, a host, a path or a worker count goes in. A patch is hashed over the canonical
(name, shape, dtype, bytes) of its arrays, a shard over its attributes, its rows and the ordered
digests of its patches, a dataset over its shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from wsiprep.config import canonical_json, digest_of

_BLOCK_BYTES = 1 << 20


def patch_digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """xxh3-128 (hex) of one patch.

    Args:
        arrays: name -> array, in the order of the schema (image, mask, instance).
    """
    state = xxhash.xxh3_128()
    for name, array in arrays.items():
        state.update(_head(name, array.shape, array.dtype))
        state.update(_little_endian(array))
    return state.hexdigest()


@lru_cache(maxsize=64)
def _head(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    return canonical_json([name, list(shape), dtype.name])


def _little_endian(array: npt.NDArray[Any]) -> memoryview:
    plain = array if array.dtype.itemsize == 1 else array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(plain).reshape(-1).view(np.uint8).data


def shard_digest(attributes: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], patches: Sequence[str]) -> str:
    """sha256 (hex) of a shard: its attributes, its rows and the digests of its patches in row order."""
    return digest_of({"attributes": dict(attributes), "patches": list(patches), "rows": digest_of(list(rows))})


def pixels_digest(shards: Iterable[tuple[str, str]]) -> str:
    """sha256 (hex) over the sorted (slide id, shard digest): the same for every split."""
    return digest_of(sorted([slide_id, digest] for slide_id, digest in shards))


def dataset_digest(pixels: str, recipe: str, places: Iterable[tuple[str, int, str, int | None]]) -> str:
    """sha256 (hex) over pixels, recipe and who is where.

    Args:
        pixels: what ``pixels_digest`` gave.
        recipe: digest of the recipe.
        places: (slide id, row of its shard, split, fold) of each patch, in index order.
    """
    lines = "\n".join(f"{slide}\t{row}\t{split}\t{'' if fold is None else fold}" for slide, row, split, fold in places)
    state = xxhash.xxh3_128(lines.encode())
    return digest_of({"pixels": pixels, "places": state.hexdigest(), "recipe": recipe})


def file_digest(path: Path) -> str:
    """xxh3-128 (hex) of a file's bytes."""
    state = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def bytes_digest(data: bytes) -> str:
    """xxh3-128 (hex) of bytes."""
    return str(xxhash.xxh3_128_hexdigest(data))
