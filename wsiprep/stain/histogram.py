"""Colours of a slide, counted: everything that a stain fit needs, in a form that adds up.

Seven bits a channel reproduce per-pixel fits to less than a tenth of a degree, and integer counts give the
same sum in every order, from any number of cells, threads or processes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.errors import StainError, UsageError

ARCHIVE_DAMAGE = (
    OSError, ValueError, KeyError, EOFError, TypeError, IndexError, RuntimeError, OverflowError, MemoryError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What numpy raises on an npz file that is none."""
BITS = 7
_LEVELS = 1 << BITS
_STEP = 256 // _LEVELS
_DROPPED = np.uint8(8 - BITS)
LEVEL_CENTRES: npt.NDArray[np.float64] = np.arange(_LEVELS, dtype=np.float64) * _STEP + (_STEP - 1) / 2
"""The middle of each of the 128 bins of a channel, float64 (128,)."""
_SORTED_BELOW_PX = 1 << 22
"""Sorting fewer 32-bit codes is faster than scattering them over the two million cells of a dense histogram."""


@dataclass(frozen=True, slots=True, eq=False)
class ColourHistogram:
    """How often each 7-bit colour occurs.

    Attributes:
        codes: uint32 (k,), ascending, unique: ``(r >> 1) << 14 | (g >> 1) << 7 | (b >> 1)``.
        counts: int64 (k,), positive.
    """

    codes: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int64]

    @classmethod
    def empty(cls) -> ColourHistogram:
        """The histogram of no pixels: the neutral element of ``+``."""
        return cls(np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64))

    @property
    def total_px(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    def centres(self) -> npt.NDArray[np.float64]:
        """Colours in the middle of their bins, float64 (3, k), rows R, G, B in [0.5, 254.5]."""
        colours: npt.NDArray[np.float64] = LEVEL_CENTRES[self.levels()]
        return colours

    def levels(self) -> npt.NDArray[np.intp]:
        """Their bins in each channel, intp (3, k), 0 to 127: places in ``LEVEL_CENTRES`` and tables like it."""
        shifts = np.array([[2 * BITS], [BITS], [0]], dtype=np.uint32)
        return ((self.codes[None, :] >> shifts) & np.uint32(_LEVELS - 1)).astype(np.intp)

    def __add__(self, other: ColourHistogram) -> ColourHistogram:
        if not isinstance(other, ColourHistogram):
            return NotImplemented
        return merge((self, other))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColourHistogram):
            return NotImplemented
        return np.array_equal(self.codes, other.codes) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # arrays inside

    def save(self) -> bytes:
        """The bytes of an npz file; equal histograms give equal bytes (numpy dates its members 1980)."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, codes=self.codes, counts=self.counts)
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> ColourHistogram:
        """The histogram that ``save`` wrote.

        Raises:
            StainError: damaged, or not a colour histogram.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                codes, counts = arrays["codes"], arrays["counts"]
        except ARCHIVE_DAMAGE as error:
            raise StainError(
                "the colour histogram cannot be read", got=error, fix="run the survey of this slide again"
            ) from error
        return cls.checked(codes, counts)

    @classmethod
    def checked(cls, codes: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> ColourHistogram:
        """The histogram of codes and counts that were stored.

        Raises:
            StainError: they are none.
        """
        _check(codes, counts)
        return cls(codes, counts)


def histogram(rgb: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None) -> ColourHistogram:
    """The colours of an image, or of the part of it that ``mask`` marks.

    Args:
        rgb: uint8 (h, w, 3) or (n, 3).
        mask: bool of the leading shape of ``rgb``.

    Raises:
        UsageError: another dtype or shape.
    """
    if rgb.dtype != np.uint8 or rgb.ndim not in (2, 3) or rgb.shape[-1] != 3:
        raise UsageError("colours are counted on RGB", got=f"{rgb.dtype} {rgb.shape}", expected="uint8 (h, w, 3)")
    if mask is not None and (mask.shape != rgb.shape[:-1] or mask.dtype != np.bool_):
        raise UsageError(
            "the mask of a colour histogram has the shape of the image",
            got=f"{mask.dtype} {mask.shape}",
            expected=f"bool {rgb.shape[:-1]}",
        )
    pixels = rgb.reshape(-1, 3) if mask is None else rgb[mask]
    codes = _codes(pixels)
    if codes.size < _SORTED_BELOW_PX:
        codes.sort()
        last = np.flatnonzero(codes[1:] != codes[:-1])
        ends = np.append(last, codes.size - 1) if codes.size else last
        return ColourHistogram(codes[ends], np.diff(ends, prepend=-1).astype(np.int64))
    dense = np.bincount(codes, minlength=_LEVELS**3)
    present = np.flatnonzero(dense)
    return ColourHistogram(present.astype(np.uint32), dense[present].astype(np.int64))


def _codes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The code of each pixel (n, 3): uint32 (n,)."""
    codes = (pixels[:, 0] >> _DROPPED).astype(np.uint32)
    for channel in (1, 2):
        codes <<= np.uint32(BITS)
        codes |= pixels[:, channel] >> _DROPPED
    return codes


def merge(histograms: Iterable[ColourHistogram]) -> ColourHistogram:
    """The sum of any number of histograms, in any order."""
    parts = list(histograms)
    if not parts:
        return ColourHistogram.empty()
    return _added(np.concatenate([part.codes for part in parts]), np.concatenate([part.counts for part in parts]))


def summed(histograms: Iterable[ColourHistogram]) -> ColourHistogram:
    """As ``merge``, for very many: one of them is in memory at a time, beside 17 MB."""
    dense = np.zeros(_LEVELS**3, dtype=np.int64)
    for part in histograms:
        dense[part.codes] += part.counts
    codes = np.flatnonzero(dense)
    return ColourHistogram(codes.astype(np.uint32), dense[codes])


def recounted(colours: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> ColourHistogram:
    """The histogram of ``colours``, float64 (3, k) in 0..255, that occur ``counts`` times, (k,)."""
    levels = (colours // _STEP).astype(np.uint32)
    return _added(levels[0] << 2 * BITS | levels[1] << BITS | levels[2], counts)


def _added(codes: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> ColourHistogram:
    """Codes in any order, also repeated, with their counts summed."""
    present, inverse = np.unique(codes, return_inverse=True)
    total = np.zeros(present.size, dtype=np.int64)
    np.add.at(total, inverse, counts)
    return ColourHistogram(present, total)


def _check(codes: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> None:
    kinds = codes.dtype == np.uint32 and counts.dtype == np.int64
    if not kinds or codes.ndim != 1 or codes.shape != counts.shape:
        raise StainError("not a colour histogram", got=f"{codes.dtype} {codes.shape}, {counts.dtype} {counts.shape}")
    ascending = bool((codes[1:] > codes[:-1]).all())
    if not ascending or (codes >= _LEVELS**3).any() or (counts < 1).any():
        raise StainError("the colour histogram is damaged: codes ascend and counts are positive")
