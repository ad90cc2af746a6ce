"""What the index says about a patch: checked where it is given, counted where the pixels decide it."""

from __future__ import annotations

import math
import threading
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


class RowRules:
    """What a row of a shard may hold, read from the schema once. Thread-safe.

    Args:
        labels: mask values 1, 2, ... in order.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        fractions = fraction_columns(labels)
        self._given = [_Column.of(field) for field in place_columns() + fractions]
        self._fractions = [field.name for field in fractions]
        self._counted = [field.name for field in pixel_columns(labels)]
        self._known = {column.name for column in self._given} | set(self._counted)

    def row(self, patch: PatchRecord, digest: str, image: npt.NDArray[np.uint8] | None = None) -> dict[str, Any]:
        """All columns of ``schema.rows_schema`` for one patch, in order.

        Args:
            image: the pixels as readers will see them, where they differ from the patch's.

        Raises:
            UsageError: a column is missing, unknown or of the wrong type.
            StoreError: a fraction outside [0, 1], a mask value without a label, a count that disagrees.
        """
        given = patch.row
        if not given.keys() <= self._known:
            unknown = sorted(given.keys() - self._known)
            raise UsageError("a patch has columns that the index does not know", got=", ".join(unknown))
        counted: dict[str, Any] = {
            **pixel_counts(patch.mask, self.labels),
            **channel_sums(patch.image if image is None else image),
            "digest": digest,
        }
        row: dict[str, Any] = {}
        for column in self._given:
            # Nearly every value is of its column's own type, and no call is needed to see that.
            value = given.get(column.name)
            row[column.name] = value if type(value) is column.plain else column.value(given)
        for name in self._fractions:
            value = row[name]
            if value is not None and not -_TOLERANCE <= value <= 1 + _TOLERANCE:
                raise StoreError("a fraction lies outside [0, 1]", got=f"{name} = {value!r}")
        for name in self._counted:
            value = counted[name]
            if name in given and given[name] != value:
                raise StoreError("a row does not agree with its pixels", got=f"{name} = {given[name]}", expected=value)
            row[name] = value
        return row


@dataclass(frozen=True, slots=True)
class _Column:
    """One given column: its name and what Python types its values have."""

    name: str
    nullable: bool
    kinds: tuple[type, ...]
    arrow: str
    plain: type | None
    """The type whose every value is right as it is; None for floats, of which some are not."""

    @classmethod
    def of(cls, field: pa.Field) -> _Column:
        kind: tuple[type, ...]
        if pa.types.is_boolean(field.type):
            kind = (bool,)
        elif pa.types.is_string(field.type):
            kind = (str,)
        else:
            kind = (int,) if pa.types.is_integer(field.type) else (float, int)
        return cls(field.name, field.nullable, kind, str(field.type), None if float in kind else kind[0])

    def value(self, row: Mapping[str, Any]) -> Any:
        value = row.get(self.name)
        if value is None:
            if self.nullable and self.name in row:
                return None
            raise UsageError("a patch lacks a column of the index", expected=self.name)
        if isinstance(value, np.generic):
            value = value.item()
        # By type and not by isinstance: a flag is no number.
        fits = type(value) in self.kinds
        if fits and float in self.kinds:
            fits = math.isfinite(value)
            # 0.0 and -0.0 are equal but have different bytes and digests.
            value = float(value) + 0.0 if fits else value
        if not fits:
            raise UsageError(
                "a column of a patch has the wrong type", got=f"{self.name} = {value!r}", expected=self.arrow
            )
        return value


def pixel_counts(mask: npt.NDArray[np.uint8], labels: Sequence[str]) -> dict[str, int]:
    """``{label}_px`` and ``ignore_px`` of a mask.

    Raises:
        StoreError: a value that is neither background, a label nor 255.
    """
    low, high, *_ = cv2.minMaxLoc(mask)
    values = (*range(1, len(labels) + 1), IGNORE)
    names = (*(f"{label}_px" for label in labels), "ignore_px")
    # Most masks have one value, or few: only those between the extremes are counted.
    counts = {
        name: cv2.countNonZero(cv2.compare(mask, value, cv2.CMP_EQ))
        if low <= value <= high and low != high
        else mask.size * (low == high == value)
        for name, value in zip(names, values, strict=True)
    }
    background = mask.size - cv2.countNonZero(mask)
    if background + sum(counts.values()) != mask.size:
        allowed = {BACKGROUND, IGNORE, *range(1, len(labels) + 1)}
        strange = sorted(set(np.unique(mask).tolist()) - allowed)
        raise StoreError(
            "a mask has values that are no label", got=strange, expected=f"0, 1..{len(labels)} or {IGNORE}"
        )
    return counts


def channel_sums(image: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Exact sums and sums of squares of each channel, ``sum_r`` .. ``sumsq_b``."""
    # OpenCV adds bytes and their squares in integers and carries them in doubles, exact up to 2^53. The norm of
    # squares goes through a square root, whose square is off by 2^-51 of the value: far less than half, so
    # rounding brings the integer back for every patch that is allowed (8192^2 x 255^2 < 2^43).
    sums = [int(v) for v in cv2.sumElems(image)[: len(CHANNELS)]]
    planes = cv2.split(image, _scratch(image.shape[:2]))
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    return {f"sum_{c}": s for c, s in zip(CHANNELS, sums, strict=True)} | {
        f"sumsq_{c}": s for c, s in zip(CHANNELS, squares, strict=True)
    }


_PLANES = threading.local()


def _scratch(shape: tuple[int, ...]) -> list[npt.NDArray[np.uint8]]:
    """Three planes of this thread to split an image into: new memory costs three times the splitting."""
    planes: list[npt.NDArray[np.uint8]] | None = getattr(_PLANES, "planes", None)
    if planes is None or planes[0].shape != shape:
        planes = [np.empty(shape, np.uint8) for _ in CHANNELS]
        _PLANES.planes = planes
    return planes
