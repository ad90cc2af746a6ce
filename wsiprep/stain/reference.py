"""The built-in target: the colours of haematoxylin and eosin as published, in usual amounts."""

from __future__ import annotations

import numpy as np

from wsiprep.stain.model import Fit, ReinhardFit, StainFit, TwoStains

_MEASURED = np.array([[0.644211, 0.716556, 0.266844], [0.092789, 0.954111, 0.283111]])
_MATRIX = _MEASURED / np.linalg.norm(_MEASURED, axis=1, keepdims=True)
_MAX_CONCENTRATIONS = np.array([1.9705, 1.0308])


_LAB_MEANS = np.array([151.0, 166.0, 98.0])
_LAB_DEVIATIONS = np.array([36.0, 10.8, 8.7])


def _stains(method: TwoStains) -> StainFit:
    return StainFit(method, _MATRIX, _MAX_CONCENTRATIONS, origin="reference")


REFERENCE: dict[str, Fit] = {
    "macenko": _stains("macenko"),
    "vahadane": _stains("vahadane"),
    "ramakrishnan": _stains("ramakrishnan"),
    "hematoxylin": _stains("hematoxylin"),
    "reinhard": ReinhardFit(_LAB_MEANS, _LAB_DEVIATIONS, origin="reference"),
}
"""Vectors "H&E" of Landini, Martinelli & Piccinini, "Colour deconvolution: stain unmixing in histological
imaging" (Bioinformatics 37, 2021), measured in their laboratory and shipped with the ImageJ plugin; 99th
percentiles of the amounts from the reference of the code that accompanies Macenko et al. (2009).

Rows haematoxylin and eosin, natural-log optical density, 35 degrees apart. The vectors of Macenko's reference
(``vahadane.START``) are 22 degrees apart and their eosin takes 0.56 in blue: a look of brick and brown, which
few H&E slides have. A target is a look, not an algorithm, so both methods aim at the same one.

The moments are those of tissue in these stains: means over five slides (three scanned at 10x and 20x, one of TCGA,
one shipped with InstanSeg) that were normalised to them. They differ by at most 7 in L, 4 in a, 2 in b and by 4, 2
and 1 in deviation, where the slides as scanned differ by 40, 20 and 24, and by 13, 3 and 3.
"""
