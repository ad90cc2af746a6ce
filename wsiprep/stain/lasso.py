"""Amounts of two stains: the non-negative lasso with two atoms, which has a closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONCENTRATION_PENALTY = 0.01
"""Lambda of the amounts that are scaled and put together again (staintools)."""


def concentrations(density: Floats, matrix: Floats, penalty: float = CONCENTRATION_PENALTY) -> Floats:
    """argmin over a >= 0 of 1/2 ||x - matrix^T a||^2 + penalty * (a1 + a2), for every column x.

    With G = W W^T and b = W x - penalty the free optimum is f = G^-1 b. As long as the stains absorb alike
    (G12 >= 0), a1 = max(0, (b1 - G12 max(f2, 0)) / G11) and the same for a2: where both are present that is f
    itself; where f2 is negative the second stain is absent and the first stands alone; and where both are
    negative b1 and b2 are too. Where G12 < 0 both single-stain candidates are compared.

    Args:
        density: float64 (3, n).
        matrix: float64 (2, 3), one stain a row, linearly independent.
        penalty: lambda >= 0.

    Returns:
        float64 (2, n), non-negative.
    """
    gram = matrix @ matrix.T
    g11, g12, g22 = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    determinant = g11 * g22 - g12 * g12
    if g12 < 0:
        return _apart(matrix @ density - penalty, g11, g12, g22)
    inverse = np.array([[g22, -g12], [-g12, g11]]) / determinant
    free = (inverse @ matrix) @ density
    free -= penalty * inverse.sum(axis=1, keepdims=True)
    np.maximum(free, 0, out=free)
    free *= np.array([[g12 / g22], [g12 / g11]])
    result: Floats = (matrix / np.array([[g11], [g22]])) @ density
    result -= penalty / np.array([[g11], [g22]])
    result -= free[::-1]
    return np.maximum(result, 0, out=result)


def _apart(b: Floats, g11: float, g12: float, g22: float) -> Floats:
    """The same for stains more than 90 degrees apart: one may be present although both are negative freely."""
    determinant = g11 * g22 - g12 * g12
    b1, b2 = b
    first = (g22 * b1 - g12 * b2) / determinant
    second = (g11 * b2 - g12 * b1) / determinant
    without_first, without_second = first < 0, second < 0
    # Both negative: then at most one of b1, b2 is positive, and its stain is the one that stays.
    without_first &= ~(without_second & (b1 > 0))
    without_second &= ~without_first
    alone_1, alone_2 = np.maximum(b1, 0) / g11, np.maximum(b2, 0) / g22
    result = np.empty_like(b)
    result[0] = np.where(without_first, 0, np.where(without_second, alone_1, first))
    result[1] = np.where(without_second, 0, np.where(without_first, alone_2, second))
    return result
