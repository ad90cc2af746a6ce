"""Stain vectors by Macenko et al., "A method for normalizing histology slides for quantitative analysis" (2009)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.stain.density import Floats, weighted_percentile

ANGLE_PERCENTILES = (1.0, 99.0)


def macenko_matrix(density: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """The two extreme directions of tissue colours in the plane of their two principal components.

    Angles are taken in the order PC1, PC2; the stains are the directions at the 1st and 99th percentile.
    A component points to the side of the mean colour. staintools makes its red entry positive instead;
    that is the same, except on eosin-rich slides where it turns PC1 away from every colour and the
    angles wrap round.

    Args:
        density: float64 (3, k), k >= 1, tissue colours only.
        counts: int64 (k,), pixels of each colour.

    Returns:
        float64 (2, 3), rows of unit length, haematoxylin first (see ``haematoxylin_first``).
    """
    weights = counts / counts.sum()
    mean = density @ weights
    centred = density - mean[:, None]
    _, vectors = np.linalg.eigh((centred * weights) @ centred.T)
    plane = vectors[:, [2, 1]].T
    plane = np.where((plane @ mean < 0)[:, None], -plane, plane)
    along, across = plane @ density
    angles = np.arctan2(across, along)
    ends = [weighted_percentile(angles, counts, percent) for percent in ANGLE_PERCENTILES]
    matrix = np.array([[np.cos(angle), np.sin(angle)] for angle in ends]) @ plane
    return haematoxylin_first(matrix)


def haematoxylin_first(matrix: Floats) -> Floats:
    """Rows of unit length, the one that absorbs more red first: haematoxylin is blue, eosin is not."""
    ordered = matrix if matrix[0, 0] > matrix[1, 0] else matrix[::-1]
    result: Floats = ordered / np.linalg.norm(ordered, axis=1, keepdims=True)
    return result
