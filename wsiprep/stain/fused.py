"""The map of two stains, one pixel at a time in a compiled kernel. Importing it imports numba (0.4 CPU s).

Compiled for one signature at import and cached by numba: beside this file, else in the user's cache folder (or in
``NUMBA_CACHE_DIR``); where none of them can be written it is compiled in every process (1 CPU s).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from wsiprep.stain.factors import BOTH, FIRST, LEVELS, SECOND, UNSTAINED, Factors
from wsiprep.stain.normalise import Rgb

_BOTH, _FIRST, _SECOND, _UNSTAINED = (LEVELS * case for case in (BOTH, FIRST, SECOND, UNSTAINED))
_SIGNATURE = types.void(
    types.Array(types.uint8, 2, "C", readonly=True),
    types.Array(types.uint8, 2, "C"),
    types.Array(types.float64, 3, "C", readonly=True),
    types.Array(types.float64, 3, "C", readonly=True),
    types.Array(types.intp, 1, "C", readonly=True),
)


def _kernel(pixels: Any, result: Any, signs: Any, light: Any, glass: Any) -> None:
    """``Planes``, pixel by pixel. No fastmath: the operations and their order are the same, and so is every bit.

    Half of the sums are of use to few colours: branches, as in ``factors._case``, instead of its table.
    """
    for i in range(pixels.shape[0]):
        red, green, blue = np.intp(pixels[i, 0]), np.intp(pixels[i, 1]), np.intp(pixels[i, 2])
        no_first = signs[0, red, 0] + signs[1, green, 0] + signs[2, blue, 0] < 0
        no_second = signs[0, red, 1] + signs[1, green, 1] + signs[2, blue, 1] < 0
        case = _BOTH
        if no_first or no_second:
            case = _FIRST
            alone = signs[0, red, 2] + signs[1, green, 2] + signs[2, blue, 2] < 0
            if no_first and not (no_second and alone):
                case = _SECOND
                alone = signs[0, red, 3] + signs[1, green, 3] + signs[2, blue, 3] < 0
            if not alone:
                case = _UNSTAINED
        if red >= glass[0] and green >= glass[1] and blue >= glass[2]:
            case = _UNSTAINED
        red, green, blue = red + case, green + case, blue + case
        result[i, 0] = np.uint8(light[0, red, 0] * light[1, green, 0] * light[2, blue, 0])
        result[i, 1] = np.uint8(light[0, red, 1] * light[1, green, 1] * light[2, blue, 1])
        result[i, 2] = np.uint8(light[0, red, 2] * light[1, green, 2] * light[2, blue, 2])


def _compiled() -> Any:
    def compiled(cache: bool) -> Any:
        return numba.njit([_SIGNATURE], cache=cache, nogil=True, boundscheck=False, error_model="numpy")(_kernel)

    try:
        return compiled(cache=True)
    except (RuntimeError, OSError):  # no folder for the cache, or a full one
        return compiled(cache=False)


_mapped = _compiled()


class Fused:
    """The map in one compiled pass over the pixels. Safe to call from many threads; releases the GIL."""

    def __init__(self, tables: Factors) -> None:
        self._tables = tables

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = np.ascontiguousarray(rgb)
        result = np.empty(pixels.shape, dtype=np.uint8)
        t = self._tables
        _mapped(pixels.reshape(-1, 3), result.reshape(-1, 3), t.signs, t.light, t.glass)
        return result
