"""The tissue mask of one slide, and exact shares of tissue per cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.geometry import Size

BoolPlane = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """Tissue on the plane at one integer downsample.

    Attributes:
        mask: bool (h, w); pixel (i, j) covers level-0 [i t, (i+1) t) x [j t, (j+1) t), t = ``downsample``.
        downsample: level-0 pixels per mask pixel.
        method: what decided: ``hsv``, ``s``, ``od`` or ``given``. ``hsv`` on an IHC slide is ``s``.
        thresholds: the thresholds and the shares before and after cleaning, for the record.
        share: share of tissue pixels in the mask.
        empty: there is no tissue at all.
    """

    mask: BoolPlane
    downsample: int
    method: str
    thresholds: dict[str, float]
    share: float
    empty: bool

    @classmethod
    def of(cls, mask: BoolPlane, downsample: int, method: str, thresholds: dict[str, float]) -> TissueMask:
        """The record of ``mask``, with its share and emptiness counted.

        Raises:
            UsageError: the downsample is below 1 or the mask is not a bool plane.
        """
        if downsample < 1:
            raise UsageError("a tissue mask needs a downsample of at least 1", got=downsample)
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise UsageError("a tissue mask is a bool plane", got=f"{mask.dtype} {mask.shape}", expected="bool (h, w)")
        count = int(np.count_nonzero(mask))
        return cls(mask, downsample, method, thresholds, count / mask.size if mask.size else 0.0, count == 0)

    def at(self, downsample: int, size_lv0: Size) -> BoolPlane:
        """The mask on another plane of the slide, by the rule of the pixel's centre."""
        if downsample == self.downsample:
            return self.mask
        return at_centres(self.mask, size_lv0, downsample, self.downsample, self.downsample)


def at_centres(picture: BoolPlane, size_lv0: Size, downsample: int, scale_x: float, scale_y: float) -> BoolPlane:
    """What a picture of the slide says at the centres of the plane's pixels; ``scale``: level-0 px per its px."""
    height, width = picture.shape
    plane = size_lv0.reduced(downsample)
    columns = np.minimum((np.arange(plane.width_px) + 0.5) * downsample, size_lv0.width_px - 0.5) / scale_x
    rows = np.minimum((np.arange(plane.height_px) + 0.5) * downsample, size_lv0.height_px - 0.5) / scale_y
    at_x = np.minimum(columns.astype(np.int64), width - 1)
    at_y = np.minimum(rows.astype(np.int64), height - 1)
    return picture[np.ix_(at_y, at_x)]


def cell_fractions(
    mask: TissueMask, size_lv0: Size, x_lv0: Ints, y_lv0: Ints, width_lv0: Ints | int, height_lv0: Ints | int
) -> npt.NDArray[np.float64]:
    """Exact area-weighted share of tissue of each cell.

    The area of tissue in [0, x) x [0, y) is bilinear within a mask pixel, so four looks at the integral
    image (Crow 1984) give the area of a cell that cuts mask pixels, in integers. Mask pixels end at the
    slide's border; the denominator is the cell's area within the slide.

    Args:
        mask: the slide's mask.
        size_lv0: size of level 0.
        x_lv0: left edges, int (n,), may be negative.
        y_lv0: top edges, int (n,).
        width_lv0: widths, int (n,), or one for every cell.
        height_lv0: heights, likewise.

    Returns:
        float64 (n,) in [0, 1]; 0 for cells wholly outside the slide.

    Raises:
        UsageError: the mask does not cover the slide, or the arrays differ in shape.
    """
    x, y = np.asarray(x_lv0, dtype=np.int64), np.asarray(y_lv0, dtype=np.int64)
    if x.shape != y.shape or x.ndim != 1:
        raise UsageError("cells need x and y of one length", got=(x.shape, y.shape), expected="two arrays (n,)")
    width, height = (np.broadcast_to(np.asarray(v, np.int64), x.shape) for v in (width_lv0, height_lv0))
    if min(int(width.min(initial=1)), int(height.min(initial=1))) < 1:
        raise UsageError("cells need a positive size", got=(int(width.min()), int(height.min())))
    padded = _covering(mask, size_lv0)
    left, right = (np.clip(v, 0, size_lv0.width_px) for v in (x, x + width))
    top, bottom = (np.clip(v, 0, size_lv0.height_px) for v in (y, y + height))
    integral = np.zeros((padded.shape[0] + 1, padded.shape[1] + 1), dtype=np.int64)
    np.cumsum(padded, axis=0, out=integral[1:, 1:])
    np.cumsum(integral[1:, 1:], axis=1, out=integral[1:, 1:])

    def area(at_x: Ints, at_y: Ints) -> Ints:
        return _area_up_to(integral, mask.downsample, at_x, at_y)

    tissue = area(right, bottom) - area(left, bottom) - area(right, top) + area(left, top)
    whole = (right - left) * (bottom - top)
    fractions: npt.NDArray[np.float64] = np.where(whole > 0, tissue / np.maximum(whole, 1), 0.0)
    return fractions


def _covering(mask: TissueMask, size_lv0: Size) -> npt.NDArray[np.uint8]:
    """The mask with one more row and column of nothing, so that a look at the last edge stays inside."""
    t = mask.downsample
    ceil, floor = size_lv0.reduced(t), size_lv0.whole(t)
    height, width = mask.mask.shape
    # Some pyramids store floor(w / t) columns; the missing sliver then counts as no tissue.
    if width not in (ceil.width_px, max(1, floor.width_px)) or height not in (ceil.height_px, max(1, floor.height_px)):
        raise UsageError(
            "the tissue mask does not cover the slide",
            got=f"{width} x {height} at downsample {t}",
            expected=f"{ceil.width_px} x {ceil.height_px}",
        )
    padded = np.zeros((ceil.height_px + 1, ceil.width_px + 1), dtype=np.uint8)
    padded[:height, :width] = mask.mask
    return padded


def _area_up_to(integral: Ints, step: int, x: Ints, y: Ints) -> Ints:
    """Tissue area in [0, x) x [0, y), level-0 px^2."""
    i, a = np.divmod(x, step)
    j, b = np.divmod(y, step)
    base, right = integral[j, i], integral[j, i + 1]
    below, beyond = integral[j + 1, i], integral[j + 1, i + 1]
    pixel = beyond - right - below + base
    result: Ints = base * step * step + a * step * (right - base) + b * step * (below - base) + a * b * pixel
    return result
