"""What every source of labels answers, vectors and rasters alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.geometry import PixelGrid, Size

Ints = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of cells, each of the part of the cell that lies on the slide (0 where none does).

    Attributes:
        annotated: float64 (n,), share that somebody looked at.
        per_label: label -> float64 (n,), share that carries the label.
    """

    annotated: Shares
    per_label: dict[str, Shares]


class LabelSource(Protocol):
    """Labels of one slide or tile. Reading is thread-safe."""

    @property
    def spec(self) -> LabelSpec: ...

    @property
    def size(self) -> Size:
        """Of level 0."""
        ...

    @property
    def areas_px(self) -> dict[str, float]:
        """Total area of each label on the slide, in level-0 pixels."""
        ...

    def mask(self, grid: PixelGrid) -> npt.NDArray[np.uint8]:
        """uint8 (H, W): label of each pixel's centre; 255 not annotated or outside the slide."""
        ...

    def inside_roi(self, grid: PixelGrid) -> npt.NDArray[np.bool_] | None:
        """bool (H, W): pixels whose centre lies in a region of interest; None where there are none."""
        ...

    def instances(self, grid: PixelGrid) -> npt.NDArray[np.int32]:
        """int32 (H, W): 1, 2, ... for the objects in the grid, 0 for none; connected objects only where the
        mask has a label, numbered anew in each grid in the order of their first pixel.
        """
        ...

    def fractions(self, x_lv0: Ints, y_lv0: Ints, width_lv0: Ints, height_lv0: Ints) -> Fractions:
        """Shares of cells; int64 (n,) each, in level-0 pixels."""
        ...
