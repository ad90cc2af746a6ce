"""What the numbers in a label raster mean: value -> mask value, or an object's id, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.regions import BACKGROUND_REGION, IGNORE_REGION
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import AnnotationError, UsageError

Numbers = npt.NDArray[Any]
Codes = npt.NDArray[np.uint8]
Wrong = npt.NDArray[np.bool_]

_HISTOGRAM_PX = 1 << 23


class ValueRule(Protocol):
    """Reads the numbers of a raster."""

    @property
    def known(self) -> str:
        """The values that mean something, for messages."""
        ...

    def codes(self, values: Numbers) -> tuple[Codes, Wrong]:
        """uint8 mask values of integers of any shape, and where a value is not known."""
        ...

    def objects(self, values: Numbers, codes: Codes) -> npt.NDArray[np.int64]:
        """int64 ids of objects, 0 where the mask value is no label; equal ids that do not touch may be several."""
        ...


def code_of(name: str, spec: LabelSpec) -> int:
    """The mask value of a label, ``background`` or ``ignore``."""
    if name == BACKGROUND_REGION:
        return BACKGROUND
    if name == IGNORE_REGION:
        return IGNORE
    if name not in spec.labels:
        allowed = ", ".join((*spec.labels, BACKGROUND_REGION, IGNORE_REGION))
        raise UsageError("a value of the raster has an unknown label", got=name, expected=allowed)
    return spec.labels.index(name) + 1


def integers(values: Numbers, file: str | Path | None = None, *, x: int = 0, y: int = 0) -> Numbers:
    """The same numbers as integers; float arrays only where each is a whole number.

    Args:
        values: (H, W) or (H, W, C).
        file: for the message.
        x, y: place of a window in its raster, for the message.

    Raises:
        AnnotationError: fractions, NaN, infinity, or a type that holds no numbers.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 8:
        if values.dtype == np.uint64 and values.size and int(values.max()) >= 2**62:
            raise AnnotationError("a label raster has values that no id reaches", got=int(values.max()), file=file)
        return values
    if values.dtype.kind != "f":
        raise AnnotationError("labels are whole numbers", got=f"an array of {values.dtype}", file=file)
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)) & (np.abs(values) < 2.0**53)
    if not whole.all():
        place = np.argwhere(~whole)[0].tolist()
        number = values[tuple(place)]
        raise AnnotationError(
            "a value of the label raster is no whole number",
            got=f"{number} at x {x + place[1]}, y {y + place[0]}, {int((~whole).sum())} such values in this part",
            expected="labels or ids",
            fix="this is an image or a probability map: name the label raster instead",
            file=file,
        )
    return values.astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class ClassValues:
    """Each value is a class: label rasters. Values that are not listed are errors, 0 too."""

    table: Mapping[int, int]

    @classmethod
    def of(cls, values: Mapping[int, str], spec: LabelSpec) -> ClassValues:
        if not values:
            raise AnnotationError(
                "the recipe does not say what the values of a label raster mean",
                fix="list them: annotations: {raster: {values: {0: background, 1: " + spec.labels[0] + "}}}",
            )
        return cls({value: code_of(name, spec) for value, name in values.items()})

    @property
    def known(self) -> str:
        return ", ".join(str(value) for value in sorted(self.table))

    def codes(self, values: Numbers) -> tuple[Codes, Wrong]:
        return lookup(self.table, values)

    def objects(self, values: Numbers, codes: Codes) -> npt.NDArray[np.int64]:
        """A class raster knows no objects: the connected parts of each label stand for them."""
        return np.where(_labelled(codes), codes, 0).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class InstanceValues:
    """Each value is the id of an object, 0 is none: instance maps.

    Attributes:
        label: mask value of every object.
        outside: mask value of 0, as the annotation state says.
        listed: values that the recipe names beside (65535: ignore); they are no objects unless labels.
    """

    label: int
    outside: int
    listed: Mapping[int, int]

    @property
    def known(self) -> str:
        return ", ".join(["ids from 1 on, 0 for none", *(str(value) for value in sorted(self.listed))])

    def codes(self, values: Numbers) -> tuple[Codes, Wrong]:
        codes = np.where(values == 0, np.uint8(self.outside), np.uint8(self.label))
        wrong = values < 0
        for value, code in self.listed.items():
            here = values == value
            codes[here] = code
            wrong = wrong & ~here
        return codes, wrong

    def objects(self, values: Numbers, codes: Codes) -> npt.NDArray[np.int64]:
        return np.where(_labelled(codes), values, 0).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelValues:
    """``id * C + channel`` for the C channels of a stack, 0 for none: see ``instance_maps.combine_channels``."""

    channels: tuple[int, ...]
    outside: int

    @property
    def known(self) -> str:
        return f"ids in {len(self.channels)} channels"

    def codes(self, values: Numbers) -> tuple[Codes, Wrong]:
        of_channel = np.array(self.channels, dtype=np.uint8)
        codes = np.where(values == 0, np.uint8(self.outside), of_channel[values % len(self.channels)])
        return codes, np.zeros(values.shape, dtype=bool)

    def objects(self, values: Numbers, codes: Codes) -> npt.NDArray[np.int64]:
        return np.where(_labelled(codes), values, 0).astype(np.int64)


def _labelled(codes: Codes) -> Wrong:
    labelled: Wrong = (codes != BACKGROUND) & (codes != IGNORE)
    return labelled


def lookup(table: Mapping[int, int], values: Numbers) -> tuple[Codes, Wrong]:
    """``table`` applied to integers of any shape, and where it has no entry (there the code is 255)."""
    if values.dtype == np.uint8:
        dense = np.full(256, IGNORE, dtype=np.uint8)
        listed = np.zeros(256, dtype=bool)
        for value, code in table.items():
            if 0 <= value < 256:
                dense[value], listed[value] = code, True
        # OpenCV looks bytes up several times faster than numpy, and masks have hundreds of megabytes.
        plane = np.ascontiguousarray(values)
        flat: Codes = np.asarray(cv2.LUT(plane.reshape(1, -1), dense), dtype=np.uint8).reshape(values.shape)
        if (histogram(plane)[~listed] == 0).all():
            return flat, np.zeros(values.shape, dtype=bool)
        unlisted: Wrong = ~listed[values]
        return flat, unlisted
    keys = np.array(sorted(table), dtype=np.int64)
    codes = np.array([table[int(key)] for key in keys], dtype=np.uint8)
    numbers = values.astype(np.int64)
    place = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
    wrong = keys[place] != numbers
    return np.where(wrong, np.uint8(IGNORE), codes[place]), wrong


def histogram(values: Codes) -> npt.NDArray[np.float64]:
    """How often each byte occurs in an array of any shape: float64 (256,), exact."""
    flat = np.ascontiguousarray(values).reshape(1, -1)
    counts = np.zeros(256)
    for start in range(0, flat.shape[1], _HISTOGRAM_PX):
        # Counted in single precision, which is exact for pieces of this size.
        piece = flat[:, start : start + _HISTOGRAM_PX]
        counts += cv2.calcHist([piece], [0], None, [256], [0, 256]).reshape(256)
    return counts
