"""Label rasters: a label, or an object's id, for each pixel of a raster of its own scale over the slide.

Pixel (i, j) of the raster covers the level-0 rectangle [i sx, (i + 1) sx) x [j sy, (j + 1) sy) with exact
ratios sx and sy. A pixel of a patch takes the value of the raster's pixel that holds its centre; shares are
exact areas. Places of the slide that no pixel of the raster covers (a border pixel that was rounded away)
are not annotated: 255.

What the values mean does not depend on the annotation state, with one exception: the 0 of an instance map and
pixels that no channel of a stack sets are "no object", which is background in a slide or tile annotated
exhaustively and not annotated (255) in a partial one.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.instance_maps import connected_parts
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.raster_values import ValueRule, integers
from wsiprep.annotations.raster_windows import bands, centres, overlaps, steps, weighted
from wsiprep.annotations.source import Fractions, Ints
from wsiprep.config import IGNORE
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import Box, PixelGrid, Size

BAND_PX = 1 << 24
"""Pixels of the raster looked at at once; larger windows are read in bands of rows."""

MAX_LISTED = 10


class RasterPlane(Protocol):
    """Where the numbers come from. Reading is thread-safe."""

    @property
    def size(self) -> Size: ...

    @property
    def block(self) -> Size:
        """What is cheapest read together: whole tiles or strips from the upper left corner on."""
        ...

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Numbers (height, width) of a box that lies within ``size``; not to be written to.

        A window of one value may be that value with strides of 0.
        """
        ...


class ArrayPlane:
    """Numbers in memory, or mapped into it.

    Args:
        values: (H, W), integers or floats that are whole numbers.
    """

    block = Size(1024, 1024)

    def __init__(self, values: npt.NDArray[Any], file: str | Path | None = None) -> None:
        if values.ndim != 2 or not values.size:
            raise AnnotationError(
                "a label raster is a plane of numbers",
                got=f"shape {values.shape}",
                expected="(height, width)",
                file=file,
            )
        self.size = Size(values.shape[1], values.shape[0])
        self._values = values

    def read(self, box: Box) -> npt.NDArray[Any]:
        return self._values[box.y : box.y_end, box.x : box.x_end]


class RasterLabels:
    """A label raster over one slide or tile; see the module for its rules. A ``LabelSource``.

    Args:
        plane: the numbers.
        rule: what they mean.
        spec: labels and annotation state; never ``normal`` or ``none``.
        size: of level 0.
        scale: level-0 pixels per pixel of the raster, exact, along x and y.
        file: for messages.
        counts, notes: what the reader of the file counted.
    """

    def __init__(
        self,
        plane: RasterPlane,
        rule: ValueRule,
        spec: LabelSpec,
        size: Size,
        scale: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1)),
        *,
        file: str | Path | None = None,
        counts: Mapping[str, int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        if spec.state in ("normal", "none"):
            raise UsageError(f"annotation state {spec.state} has no label raster", got=str(file))
        if min(scale) <= 0:
            raise UsageError("the scale of a label raster is positive", got=scale)
        self.spec = spec
        self.size = size
        self.scale = scale
        self.counts: dict[str, int] = dict(counts or {})
        self.notes = notes
        self._plane = plane
        self._rule = rule
        self._file = file

    @property
    def raster_size(self) -> Size:
        """Of the raster, in its own pixels."""
        return self._plane.size

    def mask(self, grid: PixelGrid) -> npt.NDArray[np.uint8]:
        """See ``LabelSource.mask``. A pixel of a plane that the slide's border cuts shows its part on it."""
        codes, _ = self._sample(grid, objects=False)
        return codes

    def inside_roi(self, grid: PixelGrid) -> npt.NDArray[np.bool_] | None:
        """None: a raster has no regions of interest; what it does not annotate is ``ignore``."""
        return None

    def instances(self, grid: PixelGrid) -> npt.NDArray[np.int32]:
        """See ``LabelSource.instances``: ids of an instance map or stack, cut into 4-connected pieces.

        A raster of classes names no objects; there the connected parts of each label stand for them.
        """
        _, objects = self._sample(grid, objects=True)
        return connected_parts(objects)

    def _sample(self, grid: PixelGrid, *, objects: bool) -> tuple[npt.NDArray[np.uint8], Ints]:
        box, size = grid.box_lv0, self.size
        codes = np.full((grid.height_px, grid.width_px), IGNORE, dtype=np.uint8)
        ids = np.zeros(codes.shape if objects else (0, 0), dtype=np.int64)
        raster = self._plane.size
        whole = grid.downsample is None
        column, in_x = centres(
            box.x, box.width_px, grid.width_px, self.scale[0], size.width_px, raster.width_px, whole=whole
        )
        row, in_y = centres(
            box.y, box.height_px, grid.height_px, self.scale[1], size.height_px, raster.height_px, whole=whole
        )
        x, y = np.flatnonzero(in_x), np.flatnonzero(in_y)
        if not len(x) or not len(y):
            return codes, ids
        column, row = column[x], row[y]
        left, width = int(column[0]), int(column[-1] - column[0]) + 1
        for first, last in bands(row, max(1, BAND_PX // width)):
            rows = row[first:last]
            window = self._read(Box(left, int(rows[0]), width, int(rows[-1] - rows[0]) + 1))
            values = window[np.ix_(rows - rows[0], column - left)]
            found = self._codes(values)
            target = np.ix_(y[first:last], x)
            codes[target] = found
            if objects:
                ids[target] = self._rule.objects(values, found)
        return codes, ids

    def fractions(self, x_lv0: Ints, y_lv0: Ints, width_lv0: Ints | int, height_lv0: Ints | int) -> Fractions:
        """Exact shares of cells, rounded once, to the nearest double.

        Args:
            x_lv0, y_lv0: int64 (n,), upper left corners in level-0 pixels.
            width_lv0, height_lv0: int64 (n,) or one number for every cell.
        """
        x, y = np.asarray(x_lv0, dtype=np.int64), np.asarray(y_lv0, dtype=np.int64)
        if x.ndim != 1 or x.shape != y.shape:
            raise UsageError("x and y of cells must be vectors of one length", got=(x.shape, y.shape))
        width, height = (np.broadcast_to(np.asarray(v, np.int64), x.shape) for v in (width_lv0, height_lv0))
        if len(x) and min(int(width.min()), int(height.min())) < 1:
            raise UsageError("a cell needs a positive size", got=(int(width.min()), int(height.min())))
        annotated = np.zeros(len(x))
        per_label = {label: np.zeros(len(x)) for label in self.spec.labels}
        unit = self.scale[0].denominator * self.scale[1].denominator
        for k, cell in enumerate(zip(x.tolist(), y.tolist(), width.tolist(), height.tolist(), strict=True)):
            part = Box(*cell).intersection(Box(0, 0, self.size.width_px, self.size.height_px))
            if not part.area_px:
                continue
            areas = self._areas(part)
            whole = part.area_px * unit
            annotated[k] = sum(area for code, area in areas.items() if code != IGNORE) / whole
            for value, label in enumerate(self.spec.labels, start=1):
                per_label[label][k] = areas.get(value, 0) / whole
        return Fractions(annotated, per_label)

    @cached_property
    def areas_px(self) -> dict[str, float]:
        """Total area of each label on the slide, in level-0 pixels. Reads, and so checks, the whole raster."""
        areas = self._areas(Box(0, 0, self.size.width_px, self.size.height_px))
        unit = self.scale[0].denominator * self.scale[1].denominator
        return {label: areas.get(value, 0) / unit for value, label in enumerate(self.spec.labels, start=1)}

    def _areas(self, part: Box) -> dict[int, int]:
        """mask value -> its exact area in a box on the slide, in 1 / (denominators) of a level-0 pixel."""
        raster = self._plane.size
        left, across = overlaps(part.x, part.x_end, self.scale[0], raster.width_px)
        top, down = overlaps(part.y, part.y_end, self.scale[1], raster.height_px)
        areas: dict[int, int] = {}
        if not len(across) or not len(down):
            return areas
        block = self._plane.block
        for y, y_end in steps(top, top + len(down), block.height_px):
            for x, x_end in steps(left, left + len(across), block.width_px):
                values = self._read(Box(x, y, x_end - x, y_end - y))
                if not any(values.strides) or values.min() == values.max():
                    values = values[:1, :1]
                codes = self._codes(values)
                for code, area in weighted(codes, across[x - left : x_end - left], down[y - top : y_end - top]):
                    areas[code] = areas.get(code, 0) + area
        return areas

    def _read(self, box: Box) -> npt.NDArray[Any]:
        return integers(self._plane.read(box), self._file, x=box.x, y=box.y)

    def _codes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        codes, wrong = self._rule.codes(values)
        if wrong.any():
            raise self._unlisted()
        return codes

    def _unlisted(self) -> AnnotationError:
        """What to say of a value that the recipe does not list: the whole raster is looked through."""
        found: dict[int, int] = {}
        place: tuple[int, int] | None = None
        size = self._plane.size
        rows = max(1, BAND_PX // size.width_px)
        for y in range(0, size.height_px, rows):
            values = self._read(Box(0, y, size.width_px, min(rows, size.height_px - y)))
            _, wrong = self._rule.codes(values)
            if not wrong.any():
                continue
            numbers, counts = np.unique(values[wrong], return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                found[number] = found.get(number, 0) + count
            if place is None:
                j, i = np.argwhere(wrong)[0].tolist()
                place = (i, y + j)
        listed = [f"{value} ({count} pixels)" for value, count in sorted(found.items())]
        more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        first = f", the first at x {place[0]}, y {place[1]} of the raster" if place else ""
        return AnnotationError(
            "the label raster has values that the recipe does not list",
            got=", ".join(listed[:MAX_LISTED]) + more + first,
            expected=self._rule.known,
            fix="say what they are in annotations.raster.values: a label, background or ignore",
            file=self._file,
        )
