"""What the index says about a patch: checked where it is given, counted where the pixels decide it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import StoreError, UsageError
from wsiprep.store.schema import CHANNELS, fraction_columns, pixel_columns, place_columns

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class PatchRecord:
    """One patch on its way into a shard.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        mask: uint8 (H, W): 0 background, 1.. labels in recipe order, 255 not annotated.
        row: the place and fraction columns of the index (``schema.place_columns``,
            ``schema.fraction_columns``). Counts of pixels may be given and must then agree.
        instance: int32 (H, W), 0 is none; only where the shard has instances.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    row: Mapping[str, Any]
    instance: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class DamagedPatch:
    """A patch that was announced and whose pixels cannot be decoded: listed in the receipt, never written.

    Attributes:
        tile: of a collection, else None.
        x_lv0, y_lv0: where it lies.
        reason: what the decoder said.
    """

    tile: str | None
    x_lv0: int
    y_lv0: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"tile": self.tile, "x_lv0": self.x_lv0, "y_lv0": self.y_lv0, "reason": self.reason}


def row_order(row: Mapping[str, Any]) -> tuple[str, int, int, int, int]:
    """The key by which the rows of a shard ascend, each value once."""
    return (row["tile"] or "", row["y_lv0"], row["x_lv0"], row["height_lv0"], row["width_lv0"])


def full_row(patch: PatchRecord, labels: Sequence[str], digest: str) -> dict[str, Any]:
    """All columns of ``schema.rows_schema`` for one patch, in order.

    Raises:
        UsageError: a column is missing, unknown or of the wrong type.
        StoreError: a fraction outside [0, 1], a mask value without a label, a count that disagrees.
    """
    counted = {**pixel_counts(patch.mask, labels), **channel_sums(patch.image), "digest": digest}
    given = place_columns() + fraction_columns(labels)
    known = {f.name for f in given} | counted.keys()
    unknown = sorted(set(patch.row) - known)
    if unknown:
        raise UsageError("a patch has columns that the index does not know", got=", ".join(unknown))
    row = {field.name: _value(patch.row, field) for field in given}
    for field in fraction_columns(labels):
        value = row[field.name]
        if value is not None and not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            raise StoreError("a fraction lies outside [0, 1]", got=f"{field.name} = {value!r}")
    for name, value in counted.items():
        if name in patch.row and patch.row[name] != value:
            raise StoreError("a row does not agree with its pixels", got=f"{name} = {patch.row[name]}", expected=value)
    return {**row, **{field.name: counted[field.name] for field in pixel_columns(labels)}}


def _value(row: Mapping[str, Any], field: pa.Field) -> Any:
    value = row.get(field.name)
    if value is None:
        if field.nullable and field.name in row:
            return None
        raise UsageError("a patch lacks a column of the index", expected=field.name)
    if isinstance(value, np.generic):
        value = value.item()
    if pa.types.is_boolean(field.type):
        fits = isinstance(value, bool)
    elif pa.types.is_string(field.type):
        fits = isinstance(value, str)
    elif pa.types.is_integer(field.type):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        # 0.0 and -0.0 are equal but have different bytes and digests.
        value = float(value) + 0.0 if fits else value
    if not fits:
        raise UsageError(
            "a column of a patch has the wrong type", got=f"{field.name} = {value!r}", expected=str(field.type)
        )
    return value


def pixel_counts(mask: npt.NDArray[np.uint8], labels: Sequence[str]) -> dict[str, int]:
    """``{label}_px`` and ``ignore_px`` of a mask.

    Raises:
        StoreError: a value that is neither background, a label nor 255.
    """
    counts = {f"{label}_px": int(np.count_nonzero(mask == value)) for value, label in enumerate(labels, start=1)}
    counts["ignore_px"] = int(np.count_nonzero(mask == IGNORE))
    background = int(np.count_nonzero(mask == BACKGROUND))
    if background + sum(counts.values()) != mask.size:
        allowed = {BACKGROUND, IGNORE, *range(1, len(labels) + 1)}
        strange = sorted(set(np.unique(mask).tolist()) - allowed)
        raise StoreError(
            "a mask has values that are no label", got=strange, expected=f"0, 1..{len(labels)} or {IGNORE}"
        )
    return counts


def channel_sums(image: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Exact sums and sums of squares of each channel, ``sum_r`` .. ``sumsq_b``."""
    # OpenCV adds 8- and 16-bit values in integers and carries them in doubles, exact up to 2^53.
    # (Its norm of squares is not: it goes through a square root.)
    sums = [int(v) for v in cv2.sumElems(image)[: len(CHANNELS)]]
    squares = [int(v) for v in cv2.sumElems(np.multiply(image, image, dtype=np.uint16))[: len(CHANNELS)]]
    return {f"sum_{c}": s for c, s in zip(CHANNELS, sums, strict=True)} | {
        f"sumsq_{c}": s for c, s in zip(CHANNELS, squares, strict=True)
    }
