"""The built-in target: the colours of haematoxylin and eosin as published, in usual amounts."""

from __future__ import annotations

import numpy as np

from wsiprep.stain.model import StainFit, TwoStains

_MEASURED = np.array([[0.644211, 0.716556, 0.266844], [0.092789, 0.954111, 0.283111]])
_MATRIX = _MEASURED / np.linalg.norm(_MEASURED, axis=1, keepdims=True)
_MAX_CONCENTRATIONS = np.array([1.9705, 1.0308])


def _reference(method: TwoStains) -> StainFit:
    return StainFit(method, _MATRIX, _MAX_CONCENTRATIONS, origin="reference")


REFERENCE: dict[str, StainFit] = {"macenko": _reference("macenko"), "vahadane": _reference("vahadane")}
"""Vectors "H&E" of Landini, Martinelli & Piccinini, "Colour deconvolution: stain unmixing in histological
imaging" (Bioinformatics 37, 2021), measured in their laboratory and shipped with the ImageJ plugin; 99th
percentiles of the amounts from the reference of the code that accompanies Macenko et al. (2009).

Rows haematoxylin and eosin, natural-log optical density, 35 degrees apart. The vectors of Macenko's reference
(``vahadane.START``) are 22 degrees apart and their eosin takes 0.56 in blue: a look of brick and brown, which
few H&E slides have. A target is a look, not an algorithm, so both methods aim at the same one.
"""
