"""The map of two stains in whole numbers: exponents that add up over the channels, and one table of 2^-x.

With G12 >= 0 the lasso's amounts are a_k = max(0, min(free_k, alone_k)): what a stain has beside the other, or
alone, whichever is less (``lasso.concentrations``). Both are linear in the density, and so is what they add to the
exponents of the output: sums of three table entries, one a channel's level. A row of eight entries holds the first
stain's part of R, G and B and its amount, then the second's; another row the same for a stain alone. Minima and
maxima are taken entry by entry, a stain's entries being multiples of its amount.

Everything is an integer, 2^-16 of an octave: sums have no order and no rounding, so that numpy, the compiled kernel,
any processor and any number of pixels at a time give the same bits. The exponent is rounded to 1/4096 octave, and
so is the white: before truncation no level is off by more than 0.08.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.stain.density import Floats, optical_density
from wsiprep.stain.factors import code_step
from wsiprep.stain.lasso import CONCENTRATION_PENALTY
from wsiprep.stain.model import StainFit
from wsiprep.stain.normalise import EVERY_LEVEL, Rgb, glass_of, mixing_of

LEVELS = 256
OCTAVE = 1 << 12
"""Entries of the table of light an octave."""
FINE_BITS = 4
"""Bits by which sums are finer than the table of light."""
_AMOUNT = float(1 << 18)
"""Of one unit of amount."""
_BRIGHTER, _DARKER = 4, 252
"""Octaves of the table of light: a target's stain with a negative entry can make a channel brighter than white."""
_VISIBLE = 9
"""Octaves below white after which 8 bits have nothing left."""
_ROUNDING = 4
"""Sums of six rounded entries and a rounded bound are off by less."""
_LARGEST = (1 << 31) - (1 << 28)
_BLOCK_PX = 1 << 13
"""Eight int32 a pixel: 256 kB a plane, of which few are alive at a time."""
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Exponents:
    """Tables of one source and target.

    Attributes:
        rows: int32 (3, 256, 2, 8), C order, on a multiple of 64 bytes: [channel, level, free or alone, entry];
            entries 0 to 2 are the first stain's exponents of R, G and B, 3 its amount, 4 to 7 the second's.
            Red's carry ``least``.
        least: int32 (8,): what an absent stain has in their place; with the first stain's go white, half an entry
            of ``light`` for rounding, and its start.
        flipped: int32 (8,): -1 where the target's stain adds light (a negative entry of its vector), else 0: the
            row holds the entry's absolute value, and all bits of the result are turned over.
        light: uint8: the level of an exponent, ``OCTAVE`` entries an octave.
        glass: uint64 (3,): colours at or above all three are glass (``glass_of``).
        pale: amounts, both together and without their ``FINE_BITS``, up to which a colour may be glass or
            without stain: ``unstained`` knows.
        decisive: float64 (2, 3, 256), C order: densities weighed so that their sums over the channels decide
            whether a stain is there.
        threshold: a stain is there where its sum is larger.
    """

    rows: Ints
    least: Ints
    flipped: Ints
    light: Rgb
    glass: npt.NDArray[np.uint64]
    pale: int
    decisive: Floats
    threshold: float

    def unstained(self, levels: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Which colours (3, n) stay as they are: decided by the sums that ``normalise`` decides by."""
        glass = (levels >= self.glass[:, None].astype(np.intp)).all(axis=0)
        first, second = (
            table[0][levels[0]] + table[1][levels[1]] + table[2][levels[2]] <= self.threshold for table in self.decisive
        )
        result: npt.NDArray[np.bool_] = glass | (first & second)
        return result


def exponents(source: StainFit, target: StainFit, method: str) -> Exponents | None:
    """The tables, or None where they cannot be: ``normalise`` has to do it then.

    That is: stains more than 90 degrees apart, of which the formula above does not hold; and stains so close
    together, or so far from the target's in amount, that their sums leave 32 bits. Fits of tissue are neither.
    """
    if float(source.matrix[0] @ source.matrix[1]) < 0 and method != "ramakrishnan":
        return None
    density = optical_density(EVERY_LEVEL, source.white)
    mixing = mixing_of(source, target, method)
    unit = (OCTAVE << FINE_BITS) / np.log(2)
    scale = np.concatenate([np.abs(mixing.T) * unit, np.full((2, 1), _AMOUNT)], axis=1)  # (2, 4)
    exact = np.stack([_amounts(*part, density) for part in code_step(source.matrix, method)], axis=2)
    entries = exact[..., None] * scale  # (3, 256, 2, 2, 4)
    largest = np.maximum(entries[:, :, 1].max(axis=1).sum(axis=0), 0)  # (2, 4): of a stain, alone
    octave = OCTAVE << FINE_BITS
    # Down to an entry: where no stain is drawn the white itself remains when its light is truncated.
    offset = np.floor(np.log2(255 / np.array(source.white)) * OCTAVE) * (1 << FINE_BITS)
    brighter, darker = (np.where(mixing.T * sign > 0, largest[:, :3], 0).sum(axis=0).max() for sign in (-1, 1))
    if (
        np.abs(entries).max(axis=1).sum(axis=0).max() > _LARGEST
        or brighter > (_BRIGHTER - 1) * octave
        or darker + offset.max() > (_DARKER - 1) * octave
    ):
        return None
    flipped = np.zeros((2, 4), dtype=np.int32)
    flipped[:, :3] = np.where(mixing.T < 0, -1, 0)
    least = np.zeros((2, 4), dtype=np.int32)
    least[0, :3] = offset + _BRIGHTER * octave + (1 << FINE_BITS >> 1)
    least ^= flipped  # turned over once more it is itself
    rows = _aligned((3, LEVELS, 2, 8))
    rows[:] = np.rint(entries).reshape(rows.shape)
    rows[0] += least.reshape(8)
    glass = np.ceil(glass_of(source.white, method))
    return Exponents(
        rows, least.reshape(8), flipped.reshape(8), _light(), glass.astype(np.uint64),
        (_palest(exact[:, :, 1], glass) >> FINE_BITS) + 1, *_decisive(source, method, density),
    )  # fmt: skip


def _amounts(linear: Floats, constant: Floats, density: Floats) -> Floats:
    """What each channel's level adds to the two amounts, (3, 256, 2); the constants go with red."""
    result: Floats = np.einsum("kc,cl->clk", linear, density)
    result[0] += constant
    return result


def _aligned(shape: tuple[int, ...]) -> Ints:
    """Zeros of which the first is at a multiple of 64 bytes: a row is a line of the cache."""
    raw = np.zeros(4 * int(np.prod(shape)) + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + raw.size - 64].view(np.int32).reshape(shape)


def _palest(alone: Floats, glass: Floats) -> int:
    """A bound (2^-18) on both amounts together of colours that are glass, from amounts alone (3, 256, 2)."""
    if glass.max() >= LEVELS:
        return _ROUNDING
    most = np.array([alone[channel, int(level) :].max(axis=0) for channel, level in enumerate(glass)]).sum(axis=0)
    return int(_AMOUNT * np.maximum(most, 0).sum()) + _ROUNDING


def _decisive(source: StainFit, method: str, density: Floats) -> tuple[Floats, float]:
    """``Exponents.decisive`` and ``threshold``, with the products that ``normalise`` adds up.

    A colour without stain stays, and one with a trace of it is drawn from white: at this border the map jumps, by
    10 levels where a colour has density in a channel that the stains hardly have. So rounding must not decide.
    """
    projected = method == "ramakrishnan"
    weights = np.linalg.pinv(source.matrix.T) if projected else source.matrix
    return np.ascontiguousarray(weights[:, :, None] * density[None]), 0.0 if projected else CONCENTRATION_PENALTY


@cache
def _light() -> Rgb:
    """The level, truncated, of every exponent."""
    result = np.zeros((_BRIGHTER + _DARKER) * OCTAVE, dtype=np.uint8)
    result[: _BRIGHTER * OCTAVE] = 255
    steps = np.arange(_VISIBLE * OCTAVE)
    result[_BRIGHTER * OCTAVE :][: len(steps)] = 255 * np.exp2(-steps / OCTAVE)
    result.flags.writeable = False
    return result


class Planes:
    """The map in numpy. Safe to call from many threads."""

    def __init__(self, tables: Exponents) -> None:
        self._tables = tables
        self._free, self._alone = (np.ascontiguousarray(tables.rows[:, :, part]) for part in (0, 1))
        self._least: Ints = np.tile(tables.least, (_BLOCK_PX, 1))  # an inner loop of eight would be slow
        self._flipped = np.flatnonzero(tables.flipped)

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = rgb.reshape(-1, 3)
        result = np.empty(pixels.shape, dtype=np.uint8)
        # Planes that live for one call: fresh ones a block would take twice as long as the arithmetic.
        length = min(_BLOCK_PX, len(pixels))
        planes = np.empty((3, length, 8), dtype=np.int32)
        total = np.empty((4, length), dtype=np.int32)
        for start in range(0, len(pixels), _BLOCK_PX):
            block = pixels[start : start + _BLOCK_PX]
            n = len(block)
            self._block(block, result[start : start + n], planes[:, :n], total[:, :n])
        return result.reshape(rgb.shape)

    def _block(self, pixels: Rgb, result: Rgb, planes: Ints, total: Ints) -> None:
        free, alone, entry = planes
        levels = pixels.T.astype(np.intp, order="C")
        _join(self._free, levels, free, entry)
        _join(self._alone, levels, alone, entry)
        np.minimum(free, alone, out=free)
        np.maximum(free, self._least[: len(free)], out=free)
        for turned in self._flipped:
            np.invert(free[:, turned], out=free[:, turned])
        for place in range(4):
            np.add(free[:, place], free[:, 4 + place], out=total[place])
        np.right_shift(total, FINE_BITS, out=total)
        drawn = self._tables.light.take(total[:3], mode="clip")
        cv2.merge([plane[None] for plane in drawn], result[None])
        if total[3].min() <= self._tables.pale:
            pale = np.flatnonzero(total[3] <= self._tables.pale)
            pale = pale[self._tables.unstained(levels[:, pale])]
            result[pale] = pixels[pale]


def _join(table: Ints, levels: npt.NDArray[np.intp], joined: Ints, entry: Ints) -> None:
    """Rows of R, G and B for levels (3, n), put together in ``joined`` (n, 8); ``entry`` is scratch."""
    table[0].take(levels[0], axis=0, mode="clip", out=joined)
    for channel in (1, 2):
        table[channel].take(levels[channel], axis=0, mode="clip", out=entry)
        np.add(joined, entry, out=joined)
