"""Fits of a slide's stains, with the reasons for which a fit is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from wsiprep.errors import StainError, UsageError
from wsiprep.stain.density import WHITE, Floats, White, is_tissue, optical_density, weighted_percentile
from wsiprep.stain.histogram import ColourHistogram
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.macenko import macenko_matrix
from wsiprep.stain.model import OK, StainFit, TwoStains
from wsiprep.stain.reference import REFERENCE
from wsiprep.stain.vahadane import vahadane_matrix

MAX_PERCENTILE = 99.0
"""Of the amounts, over all pixels: what is scaled to the target's."""
INK_GREEN = 0.70
"""Haematoxylin and eosin both absorb green most, or nearly: darker colours whose green density is below this
part of their largest are ink. On eleven clean H&E images of five origins this moves no vector by more than
0.3 degrees; on a slide with 1.3 % of green ink it turns H by 13, to (0.65, 0.66, 0.36). Red pen passes."""
MAX_INK = 0.25
MAX_GREY = 0.5
GREY_CHROMA = 0.10
"""Densities that differ by less than this part of their mean are grey."""
MIN_ANGLE_DEG: dict[str, float] = {"macenko": 10.0, "vahadane": 6.0}
"""Real H&E: 16 to 39 and 8 to 26 degrees; one stain with noise: at most 7.3 and 5.7."""
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
"""Why a fit is refused, by the code that goes into ``StainFit.status``; in the record of every fallback."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    diagnostics: dict[str, float]


def fit(hist: ColourHistogram, method: str, min_tissue_px: int, white: White = WHITE) -> StainFit:
    """The stains of the pixels in ``hist``.

    Tissue colours (L < 0.8) that are not ink decide the vectors. The amounts' 99th percentiles are over every
    pixel but ink, glass included, as in staintools: they depend on how much glass was counted, so count
    cells of tissue.

    Args:
        hist: colours of a sample of the slide.
        method: ``macenko`` or ``vahadane``.
        min_tissue_px: fewer tissue pixels are not fitted.
        white: the slide's empty glass (``glass_colour``), from which densities and lightness count; the
            default is staintools' definition.

    Raises:
        StainError: the colours are not two stains; the message has a code of ``REASONS``.
        UsageError: unknown method.
    """
    result = _attempt(hist, _method(method), min_tissue_px, white)
    if isinstance(result, _Refusal):
        shown = {name: round(value, 4) for name, value in result.diagnostics.items()}
        raise StainError(
            f"no stains can be fitted ({result.reason})",
            got=shown,
            expected=f"not: {REASONS[result.reason]}",
            fix="leave the slide out, give a tissue mask without ink, or let it fall back to the cohort's stains",
        )
    return result


def fit_or_fallback(
    hist: ColourHistogram, method: str, min_tissue_px: int, cohort: StainFit | None, white: White = WHITE
) -> StainFit:
    """The slide's own fit; where it is refused the cohort's, and without one the reference's.

    ``status`` is then the reason, ``origin`` whose stains they are, and ``diagnostics`` and ``white`` the slide's.

    Raises:
        UsageError: unknown method.
    """
    name = _method(method)
    result = _attempt(hist, name, min_tissue_px, white)
    if isinstance(result, StainFit):
        return result
    stand_in = REFERENCE[name] if cohort is None else cohort
    return replace(stand_in, status=result.reason, diagnostics=result.diagnostics, white=white)


def _method(name: str) -> TwoStains:
    if name not in MIN_ANGLE_DEG:
        raise UsageError("unknown stain method", got=name, expected=" or ".join(MIN_ANGLE_DEG))
    return cast(TwoStains, name)


@dataclass(frozen=True, slots=True)
class _Colours:
    """The counted colours: density (3, k), counts (k,), and which of them are tissue, and which ink."""

    density: Floats
    counts: npt.NDArray[np.int64]
    tissue: npt.NDArray[np.bool_]
    ink: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, hist: ColourHistogram, white: White) -> _Colours:
        centres = hist.centres()
        density, tissue = optical_density(centres, white), is_tissue(centres, white)
        return cls(density, hist.counts, tissue, tissue & (density[1] < INK_GREEN * density.max(axis=0)))

    @property
    def stained(self) -> npt.NDArray[np.bool_]:
        return self.tissue & ~self.ink

    def total(self, part: npt.NDArray[np.bool_]) -> float:
        return float(self.counts[part].sum())


def _attempt(hist: ColourHistogram, method: TwoStains, min_tissue_px: int, white: White) -> StainFit | _Refusal:
    colours = _Colours.of(hist, white)
    diagnostics = {"total_px": float(hist.total_px), "tissue_px": colours.total(colours.tissue)}
    reason = _refused_colours(colours, min_tissue_px, diagnostics)
    if reason != OK:
        return _Refusal(reason, diagnostics)
    matrix = _matrix(colours.density[:, colours.stained], colours.counts[colours.stained], method, diagnostics)
    reason = _refused_vectors(matrix, method, diagnostics)
    if reason != OK:
        return _Refusal(reason, diagnostics)
    amounts = concentrations(colours.density, matrix)
    counted = ~colours.ink
    largest = np.array([weighted_percentile(a[counted], colours.counts[counted], MAX_PERCENTILE) for a in amounts])
    reason = _refused_amounts(amounts, largest, colours, diagnostics)
    if reason != OK:
        return _Refusal(reason, diagnostics)
    return StainFit(method, matrix, largest, diagnostics=diagnostics, white=white)


def _refused_colours(colours: _Colours, min_tissue_px: int, diagnostics: dict[str, float]) -> str:
    if diagnostics["tissue_px"] < max(min_tissue_px, 1):
        return "too_little_tissue"
    diagnostics["grey"] = _grey_share(colours.density[:, colours.tissue], colours.counts[colours.tissue])
    diagnostics["ink"] = colours.total(colours.ink) / diagnostics["tissue_px"]
    if diagnostics["grey"] > MAX_GREY:
        return "grey_or_black"
    return "ink" if diagnostics["ink"] > MAX_INK else OK


def _grey_share(density: Floats, counts: npt.NDArray[np.int64]) -> float:
    """Share of pixels whose three densities differ by less than a tenth of their mean."""
    chroma = (density.max(axis=0) - density.min(axis=0)) / density.mean(axis=0)
    return float(counts[chroma < GREY_CHROMA].sum() / counts.sum())


def _matrix(density: Floats, counts: npt.NDArray[np.int64], method: TwoStains, diagnostics: dict[str, float]) -> Floats:
    if method == "macenko":
        return macenko_matrix(density, counts)
    found = vahadane_matrix(density, counts)
    diagnostics |= {"objective": found.objective, "iterations": float(found.iterations)}
    diagnostics["converged"] = float(found.converged)
    return found.matrix


def _refused_vectors(matrix: Floats, method: TwoStains, diagnostics: dict[str, float]) -> str:
    cosine = float(np.clip(matrix[0] @ matrix[1], -1, 1))
    angle = float(np.degrees(np.arccos(cosine)))
    diagnostics["angle_deg"] = angle
    if angle < MIN_ANGLE_DEG[method]:
        return "single_stain"
    return "not_two_stains" if angle > MAX_ANGLE_DEG or matrix.min() < MIN_COMPONENT else OK


def _refused_amounts(amounts: Floats, largest: Floats, colours: _Colours, diagnostics: dict[str, float]) -> str:
    stained = colours.stained
    active = (amounts[:, stained] > 0) @ colours.counts[stained] / colours.total(stained)
    diagnostics |= {"active_h": float(active[0]), "active_e": float(active[1])}
    diagnostics |= {"max_h": float(largest[0]), "max_e": float(largest[1])}
    if active.min() < MIN_ACTIVE or largest.min() < MIN_RATIO * largest.max():
        return "single_stain"
    return "faint" if largest.min() < MIN_AMOUNT else OK
