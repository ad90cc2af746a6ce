"""Colours of one slide in the stains of another: the plain definition, which the fast ways are held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.stain.density import WHITE, Floats, White, optical_density
from wsiprep.stain.lasso import CONCENTRATION_PENALTY
from wsiprep.stain.model import StainFit

Rgb = npt.NDArray[np.uint8]

BLOCK_PX = 1 << 14
"""Pixels at a time: the float64 planes of a block stay in the second-level cache."""
GLASS_NOISE = 5
"""Levels by which glass is darker than its own median: 99 % of it on a shaded slide with JPEG noise. The
stains' vectors cannot draw such grey, and would put up to 4 levels of colour in its place."""
EVERY_LEVEL = np.repeat(np.arange(256.0)[None], 3, axis=0)
"""Each level of each channel, (3, 256): what a table a channel is made from."""


def normalise(rgb: Rgb, source: StainFit, target: StainFit, method: str | None = None) -> Rgb:
    """``rgb`` as it would look in the stains of ``target``.

    Amounts of the source's stains by the non-negative lasso (lambda 0.01), scaled by the ratio of the 99th
    percentiles, put together with the target's vectors and truncated to uint8, as staintools does. Glass is
    returned as it is: pixels without either stain and, where the source's white was measured, pixels no
    darker than it but for noise (5 levels). With the default white of 255 all is as staintools defines it.

    Two methods differ in one step each: ``ramakrishnan`` has the amounts max(X pinv(W), 0), and
    ``hematoxylin`` draws the first stain alone: eosin is told from it, and then contributes nothing.

    Both densities are relative to the source's own white, I' = white exp(-s C W_target): the stains become
    the target's, the lamp stays the slide's. Two scanners whose glass differs by 10 levels still do after
    it, in glass and in proportion in tissue; the target's white is not used.

    Args:
        rgb: uint8 (h, w, 3); read-only and strided arrays are fine, and it is never written to.
        source: fit of the slide that ``rgb`` is from.
        target: the look to have.
        method: of the two stains' methods; the one that ``source`` was fitted by where it is not given.

    Returns:
        A new uint8 (h, w, 3).

    Raises:
        UsageError: not RGB in uint8.
    """
    require_rgb(rgb)
    method = source.method if method is None else method
    mixing = mixing_of(source, target, method)
    table = optical_density(EVERY_LEVEL, source.white)
    glass_levels = glass_of(source.white, method)
    pixels = rgb.reshape(-1, 3)
    result = np.empty(pixels.shape, dtype=np.uint8)
    for start in range(0, len(pixels), BLOCK_PX):
        block = pixels[start : start + BLOCK_PX]
        out = result[start : start + BLOCK_PX]
        amounts = _amounts(_looked_up(table, block), source.matrix, method)
        glass = (amounts[0] + amounts[1] <= 0) | (block >= glass_levels).all(axis=1)
        for channel in range(3):
            density = mixing[channel, 0] * amounts[0] + mixing[channel, 1] * amounts[1]
            light = source.white[channel] * np.exp(-density)
            # A stain that adds light (a negative entry) can make it brighter than 8 bits hold.
            out[:, channel] = np.where(glass, block[:, channel], np.minimum(light, 255).astype(np.uint8))
    return result.reshape(rgb.shape)


def require_rgb(rgb: Any) -> None:
    """Let nothing pass but uint8 (h, w, 3).

    Raises:
        UsageError: anything else.
    """
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise UsageError(
            "stains are normalised on RGB",
            got=f"{getattr(rgb, 'dtype', type(rgb).__name__)} {getattr(rgb, 'shape', '')}".strip(),
            expected="uint8 (h, w, 3)",
            fix="drop the alpha channel, or scale to 0..255 and cast to uint8",
        )


def mixing_of(source: StainFit, target: StainFit, method: str) -> Floats:
    """Density in R, G, B of one unit of each of the source's stains in the target's look, float64 (3, 2)."""
    scale = target.max_concentrations / source.max_concentrations
    if method == "hematoxylin":
        scale = scale * np.array([1.0, 0.0])
    return np.ascontiguousarray((target.matrix * scale[:, None]).T)


def glass_of(white: White, method: str) -> Floats:
    """Levels (3,) at or above which, in all channels, a colour is glass without a look at its stain.

    The glass of a measured white, with its noise. The default has none to allow for, and to the lasso 255 is no
    stain (256 is no colour); to a projection it is a trace of one, which truncation would make 254.
    """
    if white == WHITE:
        return np.full(3, 255.0 if method == "ramakrishnan" else 256.0)
    return np.array(white) - GLASS_NOISE


def _amounts(density: Floats, matrix: Floats, method: str) -> Floats:
    """Amounts (2, n) of two stains in densities (3, n).

    Sum by sum, without a matrix product: not one bit of a colour's amounts may depend on the colours beside it,
    nor on the processor for which a BLAS was tuned.
    """
    if method == "ramakrishnan":
        return np.maximum([_weighed(row, density) for row in np.linalg.pinv(matrix.T)], 0.0)
    return _lasso(density, matrix)


def _lasso(density: Floats, matrix: Floats) -> Floats:
    """``lasso.concentrations``, in the order of operations that the transform is defined by."""
    gram = matrix @ matrix.T
    g11, g12, g22 = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    b1, b2 = (_weighed(row, density) - CONCENTRATION_PENALTY for row in matrix)
    determinant = g11 * g22 - g12 * g12
    first, second = (g22 * b1 - g12 * b2) / determinant, (g11 * b2 - g12 * b1) / determinant
    without_first, without_second = first < 0, second < 0
    # Both negative, which only stains that repel each other can be: of them one that is positive alone stays.
    without_first &= ~(without_second & (b1 > 0))
    without_second &= ~without_first
    alone_1, alone_2 = np.maximum(b1, 0) / g11, np.maximum(b2, 0) / g22
    one = np.where(without_first, 0, np.where(without_second, alone_1, first))
    two = np.where(without_second, 0, np.where(without_first, alone_2, second))
    return np.stack([one, two])


def _weighed(weights: Floats, density: Floats) -> Floats:
    result: Floats = weights[0] * density[0] + weights[1] * density[1] + weights[2] * density[2]
    return result


def _looked_up(table: Floats, block: Rgb) -> Floats:
    """Densities (3, n) of pixels (n, 3), a table a channel."""
    density = np.empty((3, len(block)))
    for channel in range(3):
        np.take(table[channel], block[:, channel], out=density[channel], mode="clip")
    return density
