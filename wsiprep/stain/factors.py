"""The map of two stains as products of table entries, one factor a channel: no exponential is left per pixel.

With both stains present their amounts are linear in the density, so the exponent of every output channel is
too, and exp of a sum over R, G and B is a product of three factors that depend on one channel's level each. The
same holds where only one of the stains is present. Which of the cases a colour is in depends on the signs of
linear functions of the density: sums of three entries. Tables of 256 levels hold all of it: 120 kB in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.stain.density import Floats, optical_density
from wsiprep.stain.lasso import CONCENTRATION_PENALTY
from wsiprep.stain.model import StainFit
from wsiprep.stain.normalise import EVERY_LEVEL, Rgb, glass_of, mixing_of

LEVELS = 256
BOTH, FIRST, SECOND, UNSTAINED = range(4)
"""Cases: which stains a colour has."""
_BLOCK_PX = 1 << 13
"""Four float64 a pixel: 256 kB a plane, of which few are alive at a time."""
_MAX_EXPONENT = 230.0
"""Three factors of at most e^230 neither overflow nor vanish in float64. Fits of tissue have exponents below 40;
stains less than half a degree apart, or scaled a hundredfold, may not."""
_BITS_OF_FOUR_BOOLS = np.uint32(0x01020408)
"""Multiplied with four bytes of 0 or 1, the first of them lowest, this gathers them as bits 24 to 27."""


@dataclass(frozen=True, slots=True)
class Factors:
    """Tables of one source and target.

    Attributes:
        signs: float64 (3, 256, 4), C order: entry [channel, level, which]; summed over the channels they are
            the first and the second stain's amount beside the other, free of sign, and minus the amounts of
            the first and of the second alone.
        light: float64 (3, 1024, 4), C order: entry [channel, 256 case + level, output]; multiplied over the
            channels they are the output's light, 0 to the glass's. The fourth output is padding.
        cases: intp (16,): 256 case, by which of the four sums are below 0 (bit 0 the first's).
        glass: intp (3,): colours at or above all three are glass (``glass_of``).
    """

    signs: Floats
    light: Floats
    cases: npt.NDArray[np.intp]
    glass: npt.NDArray[np.intp]


def factors(source: StainFit, target: StainFit, method: str) -> Factors | None:
    """The tables, or None where float64 cannot hold the factors (``normalise`` has to do it then)."""
    density = optical_density(EVERY_LEVEL, source.white)
    free, alone = code_step(source.matrix, method)
    # (3, 256, 2) each; the constants go with red.
    free_amounts, alone_amounts = (
        np.einsum("kc,cl->clk", linear, density) + constant * np.array([1, 0, 0])[:, None, None]
        for linear, constant in (free, alone)
    )
    mixing = mixing_of(source, target, method)
    exponents = np.zeros((3, 4, LEVELS, 4))
    exponents[:, BOTH, :, :3] = -free_amounts @ mixing.T
    exponents[:, FIRST, :, :3] = -alone_amounts[..., :1] * mixing[:, 0]
    exponents[:, SECOND, :, :3] = -alone_amounts[..., 1:] * mixing[:, 1]
    if np.abs(exponents).max() > _MAX_EXPONENT:
        return None
    light = np.exp(exponents)
    light[0, :, :, :3] *= np.array(source.white)
    light[:, UNSTAINED] = 1.0
    for channel in range(3):  # the middle of a level, truncated, is the level
        light[channel, UNSTAINED, :, channel] = np.arange(LEVELS) + 0.5
    return Factors(
        np.concatenate([free_amounts, -alone_amounts], axis=2),
        light.reshape(3, 4 * LEVELS, 4),
        LEVELS * np.array([_case(bits) for bits in range(16)], dtype=np.intp),
        np.ceil(glass_of(source.white, method)).astype(np.intp),
    )


def code_step(matrix: Floats, method: str) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Amounts beside the other stain, and alone, each as coefficients (2, 3) and constants (2,) of the density.

    The lasso's, of which ``lasso.concentrations`` has the derivation; or those of Ramakrishnan, whose amounts
    are one and the same whether the other stain is present or not.
    """
    if method == "ramakrishnan":
        inverse = np.asarray(np.linalg.pinv(matrix.T), dtype=np.float64)
        return (inverse, np.zeros(2)), (inverse, np.zeros(2))
    gram = matrix @ matrix.T
    free, alone = np.linalg.inv(gram), np.diag(1 / np.diag(gram))
    return _penalised(free, matrix), _penalised(alone, matrix)


def _penalised(inverse: npt.NDArray[Any], matrix: Floats) -> tuple[Floats, Floats]:
    linear = np.asarray(inverse @ matrix, dtype=np.float64)
    return linear, np.asarray(-CONCENTRATION_PENALTY * inverse.sum(axis=1), dtype=np.float64)


def _case(bits: int) -> int:
    """As in ``lasso.concentrations``: a negative stain is absent; of two, one that is positive alone is not."""
    no_first, no_second, first_alone, second_alone = (bool(bits >> k & 1) for k in range(4))
    if not no_first and not no_second:
        return BOTH
    if not no_first or (no_second and first_alone):
        return FIRST if first_alone else UNSTAINED
    return SECOND if second_alone else UNSTAINED


class Planes:
    """The map in numpy. Safe to call from many threads.

    The kernel in ``fused`` does the same operations in the same order: not one bit differs.
    """

    def __init__(self, tables: Factors) -> None:
        self._tables = tables

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = rgb.reshape(-1, 3)
        result = np.empty(pixels.shape, dtype=np.uint8)
        # Planes that live for one call: fresh ones a block would take twice as long as the arithmetic.
        joined, entry = np.empty((2, min(_BLOCK_PX, len(pixels)), 4))
        for start in range(0, len(pixels), _BLOCK_PX):
            block = pixels[start : start + _BLOCK_PX]
            self._block(block, result[start : start + _BLOCK_PX], joined[: len(block)], entry[: len(block)])
        return result.reshape(rgb.shape)

    def _block(self, pixels: Rgb, result: Rgb, joined: Floats, entry: Floats) -> None:
        tables = self._tables
        levels = pixels.T.astype(np.intp, order="C")
        _join(tables.signs, levels, np.add, joined, entry)
        bits = (joined < 0).view(np.uint32).reshape(-1) * _BITS_OF_FOUR_BOOLS >> np.uint32(24)
        case = np.take(tables.cases, bits, mode="clip")
        if tables.glass[0] < LEVELS:
            np.putmask(case, (levels >= tables.glass[:, None]).all(axis=0), UNSTAINED * LEVELS)
        levels += case
        _join(tables.light, levels, np.multiply, joined, entry)
        truncated = joined.astype(np.uint8)
        cv2.cvtColor(truncated[None], cv2.COLOR_RGBA2RGB, result[None])  # 20 times as fast as a strided copy


def _join(table: Floats, levels: npt.NDArray[np.intp], operation: np.ufunc, joined: Floats, entry: Floats) -> None:
    """Rows of R, G and B for levels (3, n), put together in ``joined`` (n, 4); ``entry`` is scratch."""
    np.take(table[0], levels[0], axis=0, mode="clip", out=joined)
    for channel in (1, 2):
        np.take(table[channel], levels[channel], axis=0, mode="clip", out=entry)
        operation(joined, entry, out=joined)
