"""When colours are no two stains, so that nothing is fitted on them: rules, thresholds, reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.stain.counted import Counted
from wsiprep.stain.density import Floats
from wsiprep.stain.model import OK

MAX_INK = 0.25
MAX_GREY = 0.5
GREY_CHROMA = 0.10
"""Densities that differ by less than this part of their mean are grey."""
MIN_ANGLE_DEG: dict[str, float] = {"macenko": 10.0, "vahadane": 6.0, "ramakrishnan": 6.0, "hematoxylin": 6.0}
"""Real H&E: 16 to 39 (Macenko) and 8 to 26 degrees (Vahadane); one stain with noise: at most 7.3 and 5.7."""
MAX_ANGLE_DEG = 45.0
MIN_COMPONENT = -0.05
MIN_ACTIVE = 0.02
"""Least share of the stained pixels that has any of a stain."""
MIN_RATIO = 0.05
"""Least ratio of the two stains' 99th percentiles (real slides: 0.25 and more)."""
MIN_AMOUNT = 0.1
"""Least 99th percentile of a stain's amount (real slides: 0.7 and more): the transform divides by it."""

REASONS: dict[str, str] = {
    "too_little_tissue": "fewer tissue pixels than min_tissue_px",
    "grey_or_black": f"more than {MAX_GREY:.0%} of the tissue has no colour",
    "ink": f"more than {MAX_INK:.0%} of the tissue has a colour that haematoxylin and eosin cannot have",
    "single_stain": "the two stains are nearly the same, or one of them is on hardly any pixel",
    "faint": f"an amount's 99th percentile is below {MIN_AMOUNT:g}: pale stain, or nearly all glass was counted",
    "not_two_stains": f"the stains are more than {MAX_ANGLE_DEG:g} degrees apart, or one adds light",
}
"""Why a fit is refused, by the code that goes into a fit's ``status``; in the record of every fallback."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No fit: the code of ``REASONS``, and what the colours showed as far as they were looked at."""

    reason: str
    diagnostics: dict[str, float]


def refused_colours(colours: Counted, min_tissue_px: int, diagnostics: dict[str, float]) -> str:
    """``ok``, or why nothing can be fitted on the colours; what is measured is added to ``diagnostics``."""
    if diagnostics["tissue_px"] < max(min_tissue_px, 1):
        return "too_little_tissue"
    diagnostics["grey"] = _grey_share(*colours.of_part(colours.tissue))
    diagnostics["ink"] = colours.total(colours.ink) / diagnostics["tissue_px"]
    if diagnostics["grey"] > MAX_GREY:
        return "grey_or_black"
    return "ink" if diagnostics["ink"] > MAX_INK else OK


def refused_vectors(matrix: Floats, method: str, diagnostics: dict[str, float]) -> str:
    """``ok``, or why the rows of ``matrix`` (2, 3) are not two stains."""
    cosine = float(np.clip(matrix[0] @ matrix[1], -1, 1))
    angle = float(np.degrees(np.arccos(cosine)))
    diagnostics["angle_deg"] = angle
    if angle < MIN_ANGLE_DEG[method]:
        return "single_stain"
    return "not_two_stains" if angle > MAX_ANGLE_DEG or matrix.min() < MIN_COMPONENT else OK


def refused_amounts(amounts: Floats, largest: Floats, colours: Counted, diagnostics: dict[str, float]) -> str:
    """``ok``, or why the amounts (2, k) with the 99th percentiles ``largest`` (2,) cannot be scaled."""
    stained = colours.stained
    active = [colours.total(stained & (amount > 0)) / colours.total(stained) for amount in amounts]
    diagnostics |= {"active_h": active[0], "active_e": active[1]}
    diagnostics |= {"max_h": float(largest[0]), "max_e": float(largest[1])}
    if min(active) < MIN_ACTIVE or largest.min() < MIN_RATIO * largest.max():
        return "single_stain"
    return "faint" if largest.min() < MIN_AMOUNT else OK


def _grey_share(density: Floats, counts: npt.NDArray[np.int64]) -> float:
    """Share of pixels whose three densities differ by less than a tenth of their mean."""
    chroma = (density.max(axis=0) - density.min(axis=0)) / density.mean(axis=0)
    return float(counts[chroma < GREY_CHROMA].sum() / counts.sum())
