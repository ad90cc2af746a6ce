"""Where a patch is cropped and how it is turned: numbers that depend on nothing but (seed, epoch, row)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.training.streams import CROP_STREAM

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Variation:
    """A crop and one of the eight symmetries of a square: mirrored, then turned.

    Attributes:
        y_px, x_px: corner of the crop.
        mirror: left for right.
        upside_down: top for bottom.
        turn: rows for columns, where the crop is square.
    """

    y_px: int = 0
    x_px: int = 0
    mirror: bool = False
    upside_down: bool = False
    turn: bool = False

    def oriented(self, array: Pixels, out: Pixels) -> None:
        """Write ``array`` (h, w) or (h, w, 3) into the contiguous ``out``, mirrored and turned.

        ``dihedral`` is the plain form; OpenCV's is faster on RGB, whose pixels numpy copies one by one.
        """
        turned = self.turn and array.shape[0] == array.shape[1]
        if self.mirror or self.upside_down:
            code = -1 if self.mirror and self.upside_down else int(self.mirror)
            if turned:
                array = cv2.flip(array, code).view(np.uint8)
            else:
                _require_same(cv2.flip(array, code, out), out)
                return
        if turned:
            _require_same(cv2.transpose(array, out), out)
        else:
            np.copyto(out, array)


def _require_same(written: npt.NDArray[Any], out: Pixels) -> None:
    # OpenCV allocates anew, and says nothing, where the given array does not suit it.
    if not np.shares_memory(written, out):
        np.copyto(out, written)


def draw(
    seed: int, epoch: int, row: int, *, height_px: int, width_px: int, crop_px: int | None, symmetries: bool
) -> Variation:
    """The variation of one row of the index in one epoch.

    Args:
        height_px, width_px: of the whole patch.
        crop_px: side of the crop; None takes the whole patch.
        symmetries: draw one of the eight; else upright.
    """
    if crop_px is None and not symmetries:
        return Variation()
    rng = np.random.default_rng([seed, CROP_STREAM, epoch, row])
    y = x = 0
    if crop_px is not None:
        y, x = (int(rng.integers(length - crop_px + 1)) for length in (height_px, width_px))
    mirror, down, turn = (bool(b) for b in rng.integers(2, size=3)) if symmetries else (False, False, False)
    return Variation(y, x, mirror, down, turn)


def dihedral(array: Pixels, mirror: bool, upside_down: bool, turn: bool) -> Pixels:
    """One of the eight symmetries of (H, W, ...): left-right, top-bottom, and rows for columns where square."""
    if mirror:
        array = array[:, ::-1]
    if upside_down:
        array = array[::-1]
    if turn and array.shape[0] == array.shape[1]:
        array = array.swapaxes(0, 1)
    return array
