"""Reading one shard: its metadata once, then a patch at a time, straight into the memory where it is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.artifacts import read_json
from wsiprep.errors import StoreError, UsageError
from wsiprep.store.codecs import ChunkCodec, codec_of
from wsiprep.store.openfiles import OpenFiles
from wsiprep.store.schema import ATTRIBUTES_KEY, INSTANCE, METADATA_FILE, SCHEMA_VERSION, ArrayLayout, array_layouts
from wsiprep.store.shardfile import Index, chunk_place, read_index


class StoredArray:
    """One array of a shard: its metadata and the indices of its shard files. Threads may read at once.

    Args:
        folder: of the array.
        layout: what the schema says about it.
        files: keeps its shard files open; default a table of its own.

    Attributes:
        shape: (N, H, W, 3) or (N, H, W).
        dtype: of its values.
    """

    def __init__(self, folder: Path, layout: ArrayLayout, files: OpenFiles | None = None) -> None:
        self._folder = folder
        self._layout = layout
        self._files = OpenFiles() if files is None else files
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
        self._parts: dict[int, tuple[Path, Index]] = {}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def per_file(self) -> int:
        """Patches in one shard file."""
        return self._per_file

    def patch(self, row: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """One patch.

        Args:
            row: its number in the shard.
            out: array of the patch's shape and dtype, C-contiguous and writable, that it is decoded into and that
                is returned; default a fresh one.

        Raises:
            UsageError: no such row, or ``out`` does not fit.
            StoreError: its file is missing or damaged; ``out`` may then be written in part.
        """
        if not 0 <= row < self.shape[0]:
            raise UsageError("the shard has no such row", got=row, expected=f"0..{self.shape[0] - 1}")
        number, place = divmod(row, self._per_file)
        path, index = self._parts.get(number) or self._part(number)
        data = self._files.read(path, *chunk_place(path, index, place))
        try:
            return self._codec.decode(data, self._layout.patch_shape, self.dtype, out=out)
        except ValueError as error:
            raise StoreError(
                "a patch is damaged", got=f"row {row}: {error}", file=path,
                fix="wsiprep verify --deep, delete the slide's receipt, and run the workflow again",
            ) from error  # fmt: skip

    def _part(self, number: int) -> tuple[Path, Index]:
        path = self._folder / self._layout.key(number)
        part = self._parts[number] = (path, read_index(path, self._per_file))
        return part

    def patches(self, rows: Iterable[int]) -> npt.NDArray[Any]:
        """Several patches, (len(rows), *shape[1:]), in the order of ``rows``."""
        rows = list(rows)
        block = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for place, row in enumerate(rows):
            self.patch(int(row), out=block[place])
        return block

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Numpy's basic indexing; the first axis decides which patches are read (dask reads so)."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            one: npt.NDArray[Any] = self.patch(int(first))[tuple(rest)]
            return one
        return self.patches(np.arange(self.shape[0])[first].tolist())[(slice(None), *rest)]


class Shard:
    """A shard's arrays and what it says about itself.

    Args:
        folder: ``{digest12}.zarr``.
        files: keeps its shard files open; default a table of its own.

    Raises:
        StoreError: missing, or of another schema version.
    """

    def __init__(self, folder: Path, files: OpenFiles | None = None) -> None:
        files = OpenFiles() if files is None else files
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
        self.arrays = {layout.name: StoredArray(folder / layout.name, layout, files) for layout in layouts}
        counts = {array.shape[0] for array in self.arrays.values()}
        if len(counts) != 1:
            raise StoreError("the arrays of a shard have different lengths", got=sorted(counts), file=folder)
        self.n_patches: int = counts.pop()


def _foreign(folder: Path, why: str) -> StoreError:
    return StoreError("this is no shard of wsiprep", got=why, file=folder, fix="read it with zarr-python")
