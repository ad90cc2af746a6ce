"""A map of colours remembered colour by colour: a table of all 2^24, filled only where a slide has colours.

A slide has 0.1 to 1 million of them, and most come with its first patches. Looking one up is one gather from
memory, in numpy. The table takes 64 MB for each slide and process, whatever the slide: the kernel gives large
arrays huge pages, so that all of it is resident soon.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.stain.normalise import Rgb

_Codes = npt.NDArray[np.uint32]

TABLE_BYTES = 4 << 24
_FILLED = np.uint32(1 << 24)
"""Entries from here on hold a colour: 0xff in the top byte, then B, G, R; those below hold nothing."""
_COLOUR = np.uint32((1 << 24) - 1)
_BLOCK_PX = 1 << 16


class Table:
    """The map of ``colours``, remembered. Safe to call from many threads; equal to it bit for bit.

    Args:
        colours: a map of uint8 (h, w, 3) whose pixels do not depend on their neighbours.
    """

    def __init__(self, colours: Callable[[Rgb], Rgb]) -> None:
        self._map = colours
        self._table: _Codes = np.zeros(1 << 24, dtype=np.uint32)
        self._filling = Lock()

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = np.ascontiguousarray(rgb).reshape(1, -1, 3)  # OpenCV is slow on narrow pictures
        result = np.empty(pixels.shape, dtype=np.uint8)
        for start in range(0, pixels.shape[1], _BLOCK_PX):
            block = np.s_[:, start : start + _BLOCK_PX]
            cv2.cvtColor(self._found(_packed(pixels[block])), cv2.COLOR_RGBA2RGB, result[block])
        return result.reshape(rgb.shape)

    @property
    def n_filled(self) -> int:
        """Colours remembered."""
        return int(np.count_nonzero(self._table >= _FILLED))

    def _found(self, codes: _Codes) -> Rgb:
        """Mapped colours (1, n, 4)."""
        found = np.take(self._table, codes, mode="clip")
        if found.size and found.min() < _FILLED:
            missing = np.flatnonzero(found < _FILLED)
            self._fill(codes[missing])
            found[missing] = self._table[codes[missing]]
        return found.view(np.uint8).reshape(1, -1, 4)

    def _fill(self, codes: _Codes) -> None:
        """Remember colours that may come several times, by one thread at a time; others read meanwhile.

        A reader meets the old entry or the new one of four bytes, never half of it. Places of ``codes`` that
        are written first tell the colours apart without sorting: of those that share a colour one stays. They
        are below ``_FILLED``, and so mean nothing to a reader.
        """
        table = self._table
        with self._filling:
            codes = codes[table[codes] < _FILLED]
            places = np.arange(len(codes), dtype=np.uint32)
            table[codes] = places
            codes = codes[table[codes] == places]
            if codes.size:
                rgb: Any = cv2.cvtColor(codes.view(np.uint8).reshape(1, -1, 4), cv2.COLOR_RGBA2RGB)
                table[codes] = _packed(self._map(rgb), alpha=True)


def _packed(pixels: Rgb, alpha: bool = False) -> _Codes:
    """R, G, B (1, n, 3) as R + 256 G + 65,536 B, and with 0xff above them on request."""
    codes: _Codes = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).reshape(-1).view(np.uint32)
    if not alpha:
        codes &= _COLOUR
    return codes
