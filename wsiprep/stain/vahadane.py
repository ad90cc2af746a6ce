"""Stain vectors by Vahadane et al., "Structure-Preserving Color Normalization and Sparse Stain Separation" (2016).

The optimum of the paper's objective, found by alternating two exact steps, from a fixed start. staintools
stops SPAMS after one second of wall clock wherever it is by then; SPAMS given longer comes here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.stain.anderson import Anderson
from wsiprep.stain.density import Floats
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.macenko import haematoxylin_first

START: Floats = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
"""Where the search starts: the reference of the code that accompanies Macenko et al. (2009)."""
PENALTY = 0.1
TOLERANCE = 1e-5
MAX_ITERATIONS = 500
MEMORY = 4
"""Earlier steps that an accelerated one is made of."""
SHORTEST = 0.1
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
    (Mairal et al. 2010, algorithm 2). Alternating them converges linearly; Anderson's acceleration on the six
    numbers of D reaches the same fixed point in a third of the steps, and any step that makes the objective
    worse is taken back for a plain one.

    Args:
        density: float64 (3, k), tissue colours only.
        counts: int64 (k,), pixels of each colour.
        start: float64 (2, 3), non-negative, linearly independent.
    """
    weights = counts / counts.sum()
    power = float((density**2).sum(axis=0) @ weights) / 2
    atoms = np.array(start, dtype=np.float64)
    memory, plain = Anderson(MEMORY), atoms
    objective, iterations, converged = np.inf, 0, False
    while iterations < MAX_ITERATIONS and not converged:
        reached, moved = _alternation(density, weights, power, atoms)
        iterations += 1
        if reached > objective and atoms is not plain:
            memory, atoms = Anderson(MEMORY), plain
            continue
        objective = reached
        # Two equal atoms have no unique code; the one that is no stain of its own stays behind.
        if _dependent(moved):
            break
        converged = bool(np.abs(moved - atoms).max() < TOLERANCE)
        plain = moved
        guess = moved if converged else _feasible(memory.next(atoms, moved))
        atoms = plain if guess is None or _dependent(guess) else guess
    return Dictionary(haematoxylin_first(atoms), objective, iterations, converged)


def _alternation(density: Floats, weights: Floats, power: float, atoms: Floats) -> tuple[float, Floats]:
    """The objective at ``atoms`` with the best codes, and the best atoms for those codes.

    With ``power`` = 1/2 mean ||x||^2 the objective is a sum over A and B, without another look at the colours.
    """
    amounts = concentrations(density, atoms, PENALTY)
    weighted = amounts * weights
    second, cross = weighted @ amounts.T, weighted @ density.T
    residual = power - float((cross * atoms).sum()) + float((second * (atoms @ atoms.T)).sum()) / 2
    return residual + PENALTY * float(weighted.sum()), _dictionary_step(atoms, second, cross)


def _feasible(atoms: Floats) -> Floats | None:
    """Atoms without negative entries and of length 1 at most; None where one vanishes."""
    positive = np.maximum(atoms, 0)
    lengths = np.linalg.norm(positive, axis=1, keepdims=True)
    result: Floats = positive / np.maximum(lengths, 1.0)
    return result if lengths.min() > SHORTEST else None


def _dictionary_step(atoms: Floats, second: Floats, cross: Floats) -> Floats:
    """Block coordinate descent on D for fixed codes: ``second`` = A (2, 2), ``cross`` = B^T (2, 3)."""
    moved = atoms.copy()
    for _ in range(_SWEEPS):
        for k in range(2):
            if second[k, k] <= _UNUSED:
                continue
            free = np.maximum((cross[k] - second[k] @ moved) / second[k, k] + moved[k], 0)
            moved[k] = free / max(math.sqrt(free @ free), 1.0)
    return moved


def _dependent(atoms: Floats) -> bool:
    gram = atoms @ atoms.T
    return bool(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2 < 1e-10)
