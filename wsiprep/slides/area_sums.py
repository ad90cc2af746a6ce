"""Area means by rational factors, fast: each source pixel is added once, only those at edges are weighted.

``resample.add_weighted`` is the plain way, and gives the same integers. Along an axis the output pixels lie edge to
edge. With C(e) the sum of all source pixels before an edge e, the one that e cuts taken in part, an output pixel is
C(e[i + 1]) - C(e[i]): the whole pixels between the edges, plus a part at one end, less a part at the other. Of two
axes the second is done on the transposed sums, because adding whole rows is what numpy does fast.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.geometry import Box
from wsiprep.slides.protocol import RGB
from wsiprep.slides.resample import AreaAxis, Axis, Ints, rounded_mean

Sums = npt.NDArray[np.uint32]

_LIMIT = 2**32
_SHORT_ROWS = 2**16 // 256
_LEAST_SCALE = 1.5
"""Below it an output pixel has about two source pixels, and the plain way is as fast."""


class AreaSums:
    """Collects the sums of a piece of a patch, block by block of the source.

    Args:
        rows, columns: axes of the patch, for which ``can_sum`` holds.
        part: the piece, in pixels of the patch.
    """

    def __init__(self, rows: AreaAxis, columns: AreaAxis, part: Box) -> None:
        self._rows = _Edges(rows, part.y, part.y_end)
        self._columns = _Edges(columns, part.x, part.x_end)
        # Column by column of the patch.
        self._shape = part.width_px, part.height_px, 3
        self._sums: Sums | None = None

    def add(self, image: RGB, block: Box) -> None:
        """Add the source pixels of a block, (h, w, 3) uint8."""
        down, down_edges = self._rows.within(block.y, block.y_end)
        across, across_edges = self._columns.within(block.x, block.x_end)
        height, width = image.shape[:2]
        lines = _along(image.reshape(height, -1), down_edges, self._rows.unit).reshape(-1, width, 3)
        turned = np.asarray(cv2.transpose(lines.view(np.int32))).view(np.uint32)
        sums = _along(turned.reshape(width, -1), across_edges, self._columns.unit)
        sums = sums.reshape(len(sums), -1, 3)
        if sums.shape == self._shape and self._sums is None:
            self._sums = sums
            return
        if self._sums is None:
            self._sums = np.zeros(self._shape, np.uint32)
        self._sums[across, down] += sums

    def mean(self) -> RGB:
        """The sums over their weights, rounded half up; once, at the end."""
        assert self._sums is not None
        mean = rounded_mean(self._sums, self._columns.totals, self._rows.totals)
        return np.asarray(cv2.transpose(mean), np.uint8)


def can_sum(rows: Axis, columns: Axis) -> bool:
    """Whether ``AreaSums`` is for these axes: means along both, of at least 1.5 pixels, in sums of 32 bits."""
    if not isinstance(rows, AreaAxis) or not isinstance(columns, AreaAxis):
        return False
    down, across = int(rows.totals.max(initial=0)), int(columns.totals.max(initial=0))
    return 256 * down * across < _LIMIT and min(down / rows.unit, across / columns.unit) >= _LEAST_SCALE


class _Edges:
    """The edges of a run of output pixels, in units of 1 / ``unit`` source pixels."""

    def __init__(self, axis: AreaAxis, start: int, stop: int) -> None:
        self.unit = axis.unit
        self.totals = axis.totals[start:stop]
        self._edges = np.append(axis.begins[start:stop], axis.ends[stop - 1])

    def within(self, low: int, high: int) -> tuple[slice, Ints]:
        """The output pixels that overlap the source pixels ``low`` to ``high``, and their edges from ``low`` on."""
        edges = np.clip(self._edges, low * self.unit, high * self.unit) - low * self.unit
        first = max(0, int(np.searchsorted(edges, 0, side="right")) - 1)
        last = int(np.searchsorted(edges, edges[-1], side="left"))
        return slice(first, last), edges[first : last + 1]


def _along(lines: npt.NDArray[np.uint8] | Sums, edges: Ints, unit: int) -> Sums:
    """Weighted sums of the rows between neighbouring edges, (len(edges) - 1, width)."""
    whole, parts = (values.tolist() for values in np.divmod(edges, unit))
    short = lines.dtype == np.uint8 and max(b - a for a, b in pairwise(whole)) <= _SHORT_ROWS
    between = np.empty(lines.shape[1], np.uint16 if short else np.uint32)
    cut, sums = np.zeros(lines.shape[1], np.uint32), np.empty((len(whole) - 1, lines.shape[1]), np.uint32)
    if parts[0]:
        np.multiply(lines[whole[0]], np.uint32(parts[0]), out=cut)
    for index, (start, stop) in enumerate(pairwise(whole)):
        target = sums[index]
        np.add.reduce(lines[start:stop], axis=0, dtype=between.dtype, out=between)
        np.multiply(between, np.uint32(unit), out=target)
        if parts[index]:
            target -= cut
        if parts[index + 1]:
            np.multiply(lines[stop], np.uint32(parts[index + 1]), out=cut)
            target += cut
    return sums
