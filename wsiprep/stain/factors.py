"""Amounts of two stains as linear functions of a density: their factors, beside the other stain and alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.stain.density import Floats
from wsiprep.stain.lasso import CONCENTRATION_PENALTY


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
