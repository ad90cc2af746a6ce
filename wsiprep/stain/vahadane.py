"""Stain vectors by Vahadane et al., "Structure-Preserving Color Normalization and Sparse Stain Separation" (2016).

The optimum of the paper's objective, found by alternating two exact steps, from a fixed start. staintools
stops SPAMS after one second of wall clock wherever it is by then; SPAMS given longer comes here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.stain.density import Floats
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.macenko import haematoxylin_first

START: Floats = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
"""Where the search starts: the reference of the code that accompanies Macenko et al. (2009)."""
PENALTY = 0.1
TOLERANCE = 1e-5
MAX_ITERATIONS = 500
_SWEEPS = 5
_UNUSED = 1e-12


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A fitted dictionary.

    Attributes:
        matrix: float64 (2, 3), rows of unit length, haematoxylin first.
        objective: mean over pixels of 1/2 ||x - D a||^2 + lambda ||a||_1 at the last code step.
        iterations: alternations done.
        converged: the last one moved no entry of D by 1e-5.
    """

    matrix: Floats
    objective: float
    iterations: int
    converged: bool


def vahadane_matrix(density: Floats, counts: npt.NDArray[np.int64], start: Floats = START) -> Dictionary:
    """min over D, a of mean_i 1/2 ||x_i - D a_i||^2 + 0.1 ||a_i||_1, a >= 0, D >= 0, ||d_k|| <= 1.

    The code step is exact (two atoms); the dictionary step needs only A = sum w a a^T and B = sum w x a^T
    (Mairal et al. 2010, algorithm 2).

    Args:
        density: float64 (3, k), tissue colours only.
        counts: int64 (k,), pixels of each colour.
        start: float64 (2, 3), non-negative, linearly independent.
    """
    weights = counts / counts.sum()
    atoms = np.array(start, dtype=np.float64)
    objective, iterations, converged = np.inf, 0, False
    while iterations < MAX_ITERATIONS and not converged:
        amounts = concentrations(density, atoms, PENALTY)
        objective = _objective(density, weights, atoms, amounts)
        weighted = amounts * weights
        moved = _dictionary_step(atoms, weighted @ amounts.T, weighted @ density.T)
        # Two equal atoms have no unique code; the one that is no stain of its own stays behind.
        if _dependent(moved):
            break
        converged = bool(np.abs(moved - atoms).max() < TOLERANCE)
        atoms = moved
        iterations += 1
    return Dictionary(haematoxylin_first(atoms), objective, iterations, converged)


def _objective(density: Floats, weights: Floats, atoms: Floats, amounts: Floats) -> float:
    residual = density - atoms.T @ amounts
    return float(((residual**2).sum(axis=0) / 2 + PENALTY * amounts.sum(axis=0)) @ weights)


def _dictionary_step(atoms: Floats, second: Floats, cross: Floats) -> Floats:
    """Block coordinate descent on D for fixed codes: ``second`` = A (2, 2), ``cross`` = B^T (2, 3)."""
    moved = atoms.copy()
    for _ in range(_SWEEPS):
        for k in range(2):
            if second[k, k] <= _UNUSED:
                continue
            free = np.maximum((cross[k] - second[k] @ moved) / second[k, k] + moved[k], 0)
            moved[k] = free / max(float(np.linalg.norm(free)), 1.0)
    return moved


def _dependent(atoms: Floats) -> bool:
    gram = atoms @ atoms.T
    return bool(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2 < 1e-10)
