"""One patch made ready for its shard: checked, digested, counted and packed. No file is touched here.

This is all the work of writing but the appending itself, so that it can run on many threads while one of them
appends in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.errors import StoreError
from wsiprep.store.appendfile import Buffer
from wsiprep.store.codecs import ChunkCodec, Packed
from wsiprep.store.digest import patch_digest
from wsiprep.store.rows import PatchRecord, RowRules
from wsiprep.store.schema import IMAGE, INSTANCE, MASK, array_layouts


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPatch:
    """One patch as it goes into the files.

    Attributes:
        row: all columns of ``schema.rows_schema``.
        chunks: name of an array -> the bytes of its chunk, in one piece or more.
    """

    row: dict[str, Any]
    chunks: Mapping[str, Sequence[Buffer]]


class PatchEncoder:
    """Packs the patches of one shard. Thread-safe; equal patches give equal bytes on every thread.

    Args:
        labels: mask values 1, 2, ... in order.
        patch_size_px: side of the square patches.
        codec: of the recipe; masks and instances have theirs by ``ChunkCodec.for_array``.
        instances: whether there is an ``instance`` array.
    """

    def __init__(self, labels: Sequence[str], patch_size_px: int, codec: ChunkCodec, *, instances: bool) -> None:
        self._rules = RowRules(labels)
        self._layouts = array_layouts(patch_size_px, instances=instances)
        self._even: dict[tuple[str, float], bytes] = {}
        self._codecs = {layout.name: codec.for_array(layout.patch_shape) for layout in self._layouts}

    def encode(self, patch: PatchRecord) -> EncodedPatch:
        """The row and the chunks of one patch.

        Raises:
            StoreError: arrays of another shape or dtype, mask values without a label, counts that disagree.
            UsageError: a row that does not fit the schema.
        """
        packed = {name: self._pack(name, values) for name, values in self._checked(patch).items()}
        # What readers will see: with a lossy codec other pixels than were given, and those are digested and counted.
        seen = {name: one.values for name, one in packed.items()}
        row = self._rules.row(patch, patch_digest(seen), seen[IMAGE])
        return EncodedPatch(row, {name: one.parts for name, one in packed.items()})

    def _pack(self, name: str, values: npt.NDArray[Any]) -> Packed:
        """One chunk; that of a mask of one value, as nearly all are off the annotations, is made once."""
        if values.ndim != 2:
            return self._codecs[name].pack(values)
        low, high, *_ = cv2.minMaxLoc(values)
        if low != high:
            return self._codecs[name].pack(values)
        chunk = self._even.get((name, low))
        if chunk is None:
            chunk = self._even[name, low] = self._codecs[name].encode(values)
        return Packed((chunk,), values)

    def _checked(self, patch: PatchRecord) -> dict[str, npt.NDArray[Any]]:
        given = {IMAGE: patch.image, MASK: patch.mask, INSTANCE: patch.instance}
        arrays: dict[str, npt.NDArray[Any]] = {}
        for layout in self._layouts:
            values = given[layout.name]
            if values is None or values.shape != layout.patch_shape or values.dtype != layout.dtype:
                got = "nothing" if values is None else f"{values.dtype} {values.shape}"
                raise StoreError(
                    f"a patch has another {layout.name} than its shard",
                    got=f"{got} at x {patch.row.get('x_lv0')}, y {patch.row.get('y_lv0')}",
                    expected=f"{layout.dtype} {layout.patch_shape}",
                )
            arrays[layout.name] = np.ascontiguousarray(values)
        if patch.instance is not None and INSTANCE not in arrays:
            raise StoreError("a patch has instances and its shard has none", got=dict(patch.row))
        return arrays
