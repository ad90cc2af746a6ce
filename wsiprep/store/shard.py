"""Reading one shard: its metadata once, then a patch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.artifacts import read_json
from wsiprep.errors import StoreError, UsageError
from wsiprep.store.codecs import ChunkCodec, codec_of
from wsiprep.store.schema import ATTRIBUTES_KEY, INSTANCE, METADATA_FILE, SCHEMA_VERSION, ArrayLayout, array_layouts
from wsiprep.store.shardfile import Index, read_chunk, read_index


class StoredArray:
    """One array of a shard. Holds metadata and the indices of its shard files, and no open file.

    Attributes:
        shape: (N, H, W, 3) or (N, H, W).
        dtype: of its values.
    """

    def __init__(self, folder: Path, layout: ArrayLayout) -> None:
        self._folder = folder
        self._layout = layout
        value = read_json(folder / METADATA_FILE)
        try:
            sharding = value["codecs"][0]["configuration"]
            self._per_file = int(value["chunk_grid"]["configuration"]["chunk_shape"][0])
            self._codec: ChunkCodec = codec_of(sharding["codecs"])
            n_patches = int(value["shape"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _foreign(folder, "it is not a sharded Zarr v3 array") from error
        if value != layout.metadata(n_patches, self._per_file, self._codec):
            raise _foreign(folder, "its metadata is not what wsiprep writes")
        self.shape = (n_patches, *layout.patch_shape)
        self.dtype = layout.dtype
        self._indices: dict[int, Index] = {}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def per_file(self) -> int:
        """Patches in one shard file."""
        return self._per_file

    def patch(self, row: int) -> npt.NDArray[Any]:
        """One patch, a fresh array.

        Raises:
            UsageError: no such row.
            StoreError: its file is missing or damaged.
        """
        if not 0 <= row < self.shape[0]:
            raise UsageError("the shard has no such row", got=row, expected=f"0..{self.shape[0] - 1}")
        number, place = divmod(row, self._per_file)
        path = self._folder / self._layout.key(number)
        index = self._indices.get(number)
        if index is None:
            index = self._indices[number] = read_index(path, self._per_file)
        data = read_chunk(path, index, place)
        try:
            return self._codec.decode(data, self._layout.patch_shape, self.dtype)
        except ValueError as error:
            raise StoreError(
                "a patch is damaged", got=f"row {row}: {error}", file=path,
                fix="wsiprep verify --deep, delete the slide's receipt, and run the workflow again",
            ) from error  # fmt: skip

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Numpy's basic indexing; the first axis decides which patches are read (dask reads so)."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            one: npt.NDArray[Any] = self.patch(int(first))[tuple(rest)]
            return one
        rows = np.arange(self.shape[0])[first].tolist()
        block = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for place, row in enumerate(rows):
            block[place] = self.patch(row)
        return block[(slice(None), *rest)]


class Shard:
    """A shard's arrays and what it says about itself.

    Raises:
        StoreError: missing, or of another schema version.
    """

    def __init__(self, folder: Path) -> None:
        value = read_json(folder / METADATA_FILE)
        attributes = value.get("attributes", {}).get(ATTRIBUTES_KEY) if isinstance(value, dict) else None
        if not isinstance(attributes, Mapping):
            raise _foreign(folder, "it has no attributes of wsiprep")
        if attributes.get("schema_version") != SCHEMA_VERSION:
            raise StoreError(
                "a shard is of another version of wsiprep", got=attributes.get("schema_version"),
                expected=SCHEMA_VERSION, file=folder, fix="read it with that version, or pack the slide anew",
            )  # fmt: skip
        self.attributes: Mapping[str, Any] = attributes
        instances = (folder / INSTANCE).is_dir()
        layouts = array_layouts(int(attributes["patch_size_px"]), instances=instances)
        self.arrays = {layout.name: StoredArray(folder / layout.name, layout) for layout in layouts}
        counts = {array.shape[0] for array in self.arrays.values()}
        if len(counts) != 1:
            raise StoreError("the arrays of a shard have different lengths", got=sorted(counts), file=folder)
        self.n_patches: int = counts.pop()


def _foreign(folder: Path, why: str) -> StoreError:
    return StoreError("this is no shard of wsiprep", got=why, file=folder, fix="read it with zarr-python")
