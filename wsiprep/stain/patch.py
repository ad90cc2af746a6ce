"""A fit of one patch's own pixels, with its slide's behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.stain.bins import binned
from wsiprep.stain.counted import Counted
from wsiprep.stain.fit import attempt, attempt_counted
from wsiprep.stain.histogram import histogram
from wsiprep.stain.model import Fit, StainFit
from wsiprep.stain.refusal import Refusal
from wsiprep.stain.vahadane import START

MIN_TISSUE = 0.1
"""Share of a patch that must be tissue, where that is less than the slide's ``min_tissue_px``."""


def fit_patch(rgb: npt.NDArray[np.uint8], method: str, slide_fit: Fit, min_tissue_px: int) -> Fit:
    """The stains of one patch; where they cannot be fitted its slide's.

    Declared rule: patch -> slide -> cohort -> reference, of which ``slide_fit`` has taken the last two steps
    already. ``origin`` says whose stains the result is (``patch``, else that of ``slide_fit``; pixels of a
    source of origin ``reference`` stay as they were scanned), ``status`` why it is not the patch's own.

    The patch is seen from the slide's glass, and the search for Vahadane's optimum starts at the slide's stains.

    Args:
        rgb: uint8 (h, w, 3), stored pixels.
        method: the recipe's.
        slide_fit: the slide's source fit, of the same method.
        min_tissue_px: the recipe's; a tenth of the patch is enough where that is less.

    Raises:
        UsageError: not RGB in uint8; the slide was fitted by another method.
    """
    if slide_fit.method != method:
        raise UsageError("the slide was fitted by another method", got=slide_fit.method, expected=method)
    least = min(min_tissue_px, max(1, int(MIN_TISSUE * rgb.shape[0] * rgb.shape[1])))
    found: Fit | Refusal
    if isinstance(slide_fit, StainFit) and slide_fit.method != "ramakrishnan" and rgb.size:
        counted = Counted.of_bins(binned(rgb), slide_fit.white)
        found = attempt_counted(counted, slide_fit.method, least, slide_fit.white, _start(slide_fit))
    else:
        found = attempt(histogram(rgb), slide_fit.method, least, slide_fit.white, start=_start(slide_fit))
    if isinstance(found, Refusal):
        return replace(slide_fit, status=found.reason, diagnostics=found.diagnostics)
    return replace(found, origin="patch")


def _start(slide_fit: Fit) -> npt.NDArray[np.float64]:
    """The slide's vectors; the usual start where they have none, or a negative entry, which no step leaves."""
    if isinstance(slide_fit, StainFit) and slide_fit.matrix.min() >= 0:
        return slide_fit.matrix
    return START
