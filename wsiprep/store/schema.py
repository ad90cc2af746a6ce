"""Names, columns and Zarr metadata of a dataset's shards: everything that a reader has to know.

A shard is a plain Zarr v3 group ``{digest12}.zarr``:

    image     uint8  (N, H, W, 3)
    mask      uint8  (N, H, W)     0 background, 1.. labels in recipe order, 255 not annotated
    instance  int32  (N, H, W)     only where the recipe has instances; 0 is none

One patch is one chunk. ``patches_per_shard_file`` chunks lie in one file (a Zarr *shard*), which is
written once, whole, by one process. Keys are ``c.0.0.0.0``, so that an array is one folder.
The fill value of ``mask`` is 255: a reader that does not notice a lost file sees "not annotated"
there and not background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from wsiprep.config import IGNORE
from wsiprep.store.codecs import ChunkCodec

SCHEMA_VERSION = 3

IMAGE, MASK, INSTANCE = "image", "mask", "instance"
CHANNELS = ("r", "g", "b")
ATTRIBUTES_KEY = "wsiprep"
METADATA_FILE = "zarr.json"
SPLIT_ALL = "all"
"""The split that holds every patch, whatever the others are called."""

RECEIPT_STATES = ("done", "empty", "failed")
SLIDE_STATES = (*RECEIPT_STATES, "excluded")


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """One array of a shard.

    Attributes:
        name: ``image``, ``mask`` or ``instance``.
        dtype: numpy dtype of its values.
        patch_shape: shape of one patch, (H, W, 3) or (H, W).
        dimensions: names of the axes, the first is the patch.
        fill_value: what a reader sees where a file is lost.
    """

    name: str
    dtype: np.dtype[Any]
    patch_shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    fill_value: int

    def metadata(self, n_patches: int, per_file: int, codec: ChunkCodec) -> dict[str, Any]:
        """The array's ``zarr.json`` for ``n_patches`` patches, ``per_file`` in a file."""
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        sharding = {
            "chunk_shape": [1, *self.patch_shape],
            "codecs": codec.metadata(self.dtype),
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [n_patches, *self.patch_shape],
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [per_file, *self.patch_shape]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": self.fill_value,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": {},
            "dimension_names": list(self.dimensions),
            "storage_transformers": [],
        }

    def key(self, number: int) -> str:
        """File name of the shard file with this number."""
        return ".".join(("c", str(number), *("0" for _ in self.patch_shape)))


def array_layouts(patch_size_px: int, *, instances: bool = False) -> tuple[ArrayLayout, ...]:
    """The arrays of a shard with square patches of ``patch_size_px``."""
    side = (patch_size_px, patch_size_px)
    arrays = (
        ArrayLayout(IMAGE, np.dtype(np.uint8), (*side, len(CHANNELS)), ("patch", "y", "x", "channel"), 0),
        ArrayLayout(MASK, np.dtype(np.uint8), side, ("patch", "y", "x"), IGNORE),
    )
    if instances:
        return (*arrays, ArrayLayout(INSTANCE, np.dtype(np.int32), side, ("patch", "y", "x"), 0))
    return arrays


def group_metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The group's ``zarr.json``."""
    return {"zarr_format": 3, "node_type": "group", "attributes": {ATTRIBUTES_KEY: dict(attributes)}}


def place_columns() -> list[pa.Field]:
    """Columns of a patch that ``pack`` is given: where it lies.

    Pixel (i, j) of the patch covers level-0 pixels from ``x_lv0 + i scale`` and ``y_lv0 + j scale_y`` on, where
    ``scale`` is ``width_lv0`` over the patch's side; ``tile`` names the tile of a collection. ``dct_factor`` is how
    much JPEG tiles were reduced while decoding (1: not at all). ``stain_origin`` says whose stains the patch was
    taken to have when it was normalised (``patch``, ``slide``, ``cohort``), null where it was not.
    """
    return [
        pa.field("tile", pa.string()),
        pa.field("x_lv0", pa.int64(), nullable=False),
        pa.field("y_lv0", pa.int64(), nullable=False),
        pa.field("width_lv0", pa.int64(), nullable=False),
        pa.field("height_lv0", pa.int64(), nullable=False),
        pa.field("scale", pa.float64(), nullable=False),
        pa.field("scale_y", pa.float64(), nullable=False),
        pa.field("spacing_um", pa.float64(), nullable=False),
        pa.field("source_level", pa.int32()),
        pa.field("from_stored", pa.bool_(), nullable=False),
        pa.field("dct_factor", pa.int32(), nullable=False),
        pa.field("stain_origin", pa.string()),
    ]


def fraction_columns(labels: Sequence[str]) -> list[pa.Field]:
    """Columns of a patch that ``pack`` is given: shares of the cell's area, from the vectors."""
    names = [*(f"{label}_fraction" for label in labels), "annotated_fraction"]
    return [*(pa.field(n, pa.float64(), nullable=False) for n in names), pa.field("tissue_fraction", pa.float64())]


def pixel_columns(labels: Sequence[str]) -> list[pa.Field]:
    """Columns of a patch that the store counts itself, from the pixels that it writes."""
    counts = [*(f"{label}_px" for label in labels), "ignore_px"]
    sums = [f"{kind}_{channel}" for kind in ("sum", "sumsq") for channel in CHANNELS]
    return [
        *(pa.field(n, pa.int64(), nullable=False) for n in counts),
        *(pa.field(n, pa.uint64(), nullable=False) for n in sums),
        pa.field("digest", pa.string(), nullable=False),
    ]


def rows_schema(labels: Sequence[str]) -> pa.Schema:
    """Columns of ``{digest12}.rows.parquet``: a row per patch of one shard, in row order."""
    return pa.schema([*place_columns(), *fraction_columns(labels), *pixel_columns(labels)])


def index_schema(labels: Sequence[str]) -> pa.Schema:
    """Columns of ``index.parquet``: a row per patch of the dataset, by slide id, y, x."""
    head = [
        pa.field("slide_id", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("centre", pa.string()),
        pa.field("source", pa.string()),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("fold", pa.int32()),
    ]
    return pa.schema([*head, *rows_schema(labels)])
