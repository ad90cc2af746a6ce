"""A dataset's patches as dask arrays. Importing this imports no dask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import StoreError
from wsiprep.store.schema import IMAGE, MASK, array_layouts
from wsiprep.store.shard import Shard

if TYPE_CHECKING:
    import dask.array


@dataclass(frozen=True, slots=True)
class Block:
    """Patches of one shard file: one task.

    Attributes:
        folder: of the shard.
        n_patches: how many the shard has to have.
        rows: int64, the wanted ones, in order.
    """

    folder: str
    n_patches: int
    rows: npt.NDArray[np.int64]

    def read(self, name: str) -> npt.NDArray[Any]:
        """These rows of one array of the shard.

        Raises:
            StoreError: the shard is missing, damaged or another one.
        """
        # Opened by the task and dropped after it: half a millisecond a file, and nothing that could be stale.
        shard = Shard(Path(self.folder))
        if shard.n_patches != self.n_patches:
            raise StoreError(
                "a shard has another number of patches than the dataset's record", got=shard.n_patches,
                expected=self.n_patches, file=self.folder, fix="wsiprep verify --deep",
            )  # fmt: skip
        return shard.arrays[name].patches(self.rows.tolist())


def blocks_of(
    files: npt.NDArray[np.int64],
    shard_of: npt.NDArray[np.int64],
    row_of: npt.NDArray[np.int64],
    shards: Sequence[tuple[str, int]],
) -> list[Block]:
    """One block for each run of equal numbers in ``files``.

    Args:
        files: shard file of each patch.
        shard_of: number of its shard.
        row_of: its row in that shard.
        shards: folder and number of patches of each shard.
    """
    edges = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(files)]
    blocks = []
    for start, stop in pairwise(edges):
        folder, n_patches = shards[int(shard_of[start])]
        blocks.append(Block(folder, n_patches, row_of[start:stop].astype(np.int64)))
    return blocks


def lazy_arrays(blocks: Sequence[Block], patch_size_px: int, name: str) -> tuple[dask.array.Array, dask.array.Array]:
    """Images (n, H, W, 3) and masks (n, H, W), a block a chunk.

    Args:
        name: equal for equal pixels only; part of dask's keys.
    """
    import dask.array

    make: Any = dask.array.Array  # has no annotations
    arrays = []
    lengths = tuple(len(block.rows) for block in blocks)
    layouts = {layout.name: layout for layout in array_layouts(patch_size_px)}
    for which in (IMAGE, MASK):
        layout = layouts[which]
        key = f"{which}-{name}"
        zeros = (0,) * len(layout.patch_shape)
        graph = {(key, number, *zeros): (Block.read, block, which) for number, block in enumerate(blocks)}
        chunks = (lengths, *((side,) for side in layout.patch_shape))
        arrays.append(make(graph, key, chunks, dtype=layout.dtype))
    images, masks = arrays
    return images, masks
