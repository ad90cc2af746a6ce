"""LZW tiles of TIFFs, walked before they are decoded: imagecodecs' decoder ends the process on some damaged streams.

The codes of a TIFF's LZW stream lie at places that depend only on how many codes came since the last Clear:
the first ones are 9 bits long, and each code but the first makes one table entry, so the width grows at
fixed counts. All codes between two Clears can therefore be looked at at once.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt

_CLEAR, _END, _FIRST = 256, 257, 258
_LAST_ENTRY = 4095
_GLANCE = 64
"""Codes looked at first: a stream that clears its table all the time shall not cost a whole table each time."""


def _tables() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For the n-th code after a Clear: bits before it, its width, and the highest code that it may be."""
    n = np.arange(_LAST_ENTRY - _FIRST + 2, dtype=np.int64)
    free = _FIRST + np.maximum(n - 1, 0)
    # "Early change": a width is left one entry before its last code would be used.
    width = 9 + (free >= 511) + (free >= 1023) + (free >= 2047)
    limit = np.where(n == 0, _CLEAR - 1, free)
    return np.cumsum(width) - width, width, limit


_OFFSET, _WIDTH, _LIMIT = _tables()


def decode_lzw(data: bytes, size_bytes: int) -> bytes:
    """The bytes of a tile.

    Args:
        data: the LZW stream (high bits first, as TIFF 6.0 has it).
        size_bytes: how many bytes it has to give.

    Raises:
        ValueError: a code that no table has, or a table that overflows.
        imagecodecs.LzwError: (a RuntimeError) the decoder refuses it.
    """
    check_codes(data)
    return bytes(imagecodecs.lzw_decode(data, out=size_bytes))


def check_codes(data: bytes) -> None:
    """Refuse a stream with a code that is not defined at its place; what follows the end code is not looked at.

    Raises:
        ValueError: with the place.
    """
    total = len(data) * 8
    padded = np.frombuffer(data + bytes(3), np.uint8).astype(np.int64)
    start = 0
    while start + 9 <= total:
        for count in (_GLANCE, len(_OFFSET)):
            places = start + _OFFSET[:count]
            known = int(np.searchsorted(places + _WIDTH[:count], total, side="right"))
            codes = _codes(padded, places[:known], _WIDTH[:known])
            special = np.flatnonzero((codes == _CLEAR) | (codes == _END))
            if len(special) or known < count:
                break
        used = int(special[0]) if len(special) else known
        wrong = np.flatnonzero(codes[:used] > _LIMIT[:used])
        if len(wrong):
            raise ValueError(f"LZW code {codes[wrong[0]]} at bit {places[wrong[0]]} is not defined there")
        if not len(special):
            if known == len(_OFFSET):
                raise ValueError(f"the LZW table overflows at bit {places[-1]}")
            return
        if codes[used] == _END:
            return
        start = int(places[used] + _WIDTH[used])


def _codes(
    padded: npt.NDArray[np.int64], places: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    byte, bit = places >> 3, places & 7
    three = (padded[byte] << 16) | (padded[byte + 1] << 8) | padded[byte + 2]
    codes: npt.NDArray[np.int64] = (three >> (24 - bit - widths)) & ((1 << widths) - 1)
    return codes
