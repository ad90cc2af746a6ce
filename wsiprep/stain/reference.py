"""The built-in target: stain vectors and amounts of an H&E slide that many tools share."""

from __future__ import annotations

import numpy as np

from wsiprep.stain.model import Method, StainFit

_MATRIX = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_MAX_CONCENTRATIONS = np.array([1.9705, 1.0308])


def _reference(method: Method) -> StainFit:
    return StainFit(method, _MATRIX, _MAX_CONCENTRATIONS, origin="reference")


REFERENCE: dict[str, StainFit] = {"macenko": _reference("macenko"), "vahadane": _reference("vahadane")}
"""The reference of the code that accompanies Macenko et al. (2009), for both methods.

Rows haematoxylin and eosin, natural-log optical density, 22 degrees apart; amounts are 99th percentiles.
A target is a look, not an algorithm, so both methods aim at the same one.
"""
