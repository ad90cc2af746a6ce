"""Fits of a slide's, patch's or picture's stains by each method, and what stands in for a fit that is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast, get_args

import numpy as np

from wsiprep.errors import StainError, UsageError
from wsiprep.stain.counted import Counted
from wsiprep.stain.density import WHITE, Floats, White, weighted_percentile
from wsiprep.stain.histogram import ColourHistogram
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.macenko import macenko_matrix
from wsiprep.stain.model import OK, Fit, Method, ReinhardFit, StainFit, TwoStains
from wsiprep.stain.ramakrishnan import glass_of, median_matrix, positive_percentile, projected
from wsiprep.stain.reference import REFERENCE
from wsiprep.stain.refusal import REASONS, Refusal, refused_amounts, refused_colours, refused_vectors
from wsiprep.stain.reinhard import MIN_DEVIATION, lab_moments
from wsiprep.stain.sample import ColourSample
from wsiprep.stain.vahadane import START, vahadane_matrix

MAX_PERCENTILE = 99.0
"""Of the amounts, over all pixels: what is scaled to the target's."""

Colours = ColourHistogram | ColourSample
"""What is fitted: one histogram, or the regions of a slide; only ``ramakrishnan`` looks at them apart."""


def fit(colours: Colours, method: str, min_tissue_px: int, white: White = WHITE) -> Fit:
    """The stains of the counted pixels.

    Tissue colours (L < 0.8) that are not ink decide the vectors. The amounts' 99th percentiles are over every
    pixel but ink, glass included, as in staintools: they depend on how much glass was counted, so count
    cells of tissue. Moments (``reinhard``) are of the tissue alone, and only of colours on which two stains
    can be fitted too: moments themselves do not tell a pen from a slide.

    Args:
        colours: of a sample of the slide.
        method: ``macenko``, ``vahadane``, ``ramakrishnan``, ``hematoxylin`` (the same vectors and amounts as
            Vahadane's) or ``reinhard``.
        min_tissue_px: fewer tissue pixels are not fitted.
        white: the slide's empty glass (``glass_colour``), from which densities and lightness count; the
            default is staintools' definition. ``ramakrishnan`` takes the bright pixels' 80th percentile then.

    Raises:
        StainError: the colours are not two stains; the message has a code of ``REASONS``.
        UsageError: unknown method.
    """
    result = attempt(colours, known(method), min_tissue_px, white)
    if isinstance(result, Refusal):
        raise refused(result)
    return result


def fit_or_fallback(colours: Colours, method: str, min_tissue_px: int, cohort: Fit | None, white: White = WHITE) -> Fit:
    """The slide's own fit; where it is refused the cohort's, and without one the reference's.

    ``status`` is then the reason, ``origin`` whose stains they are, and ``diagnostics`` and ``white`` the slide's.

    Raises:
        UsageError: unknown method.
    """
    name = known(method)
    result = attempt(colours, name, min_tissue_px, white)
    if not isinstance(result, Refusal):
        return result
    stand_in = REFERENCE[name] if cohort is None else cohort
    return replace(stand_in, status=result.reason, diagnostics=result.diagnostics, white=white)


def refused(refusal: Refusal) -> StainError:
    """The error that says why."""
    return StainError(
        f"no stains can be fitted ({refusal.reason})",
        got={name: round(value, 4) for name, value in refusal.diagnostics.items()},
        expected=f"not: {REASONS[refusal.reason]}",
        fix="leave the slide out, give a tissue mask without ink, or let it fall back to the cohort's stains",
    )


def known(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in get_args(Method):
        raise UsageError("unknown stain method", got=name, expected=" or ".join(get_args(Method)))
    return cast(Method, name)


def attempt(
    colours: Colours,
    method: Method,
    min_tissue_px: int,
    white: White,
    *,
    start: Floats = START,
    matrix: Floats | None = None,
) -> Fit | Refusal:
    """The fit, or why there is none.

    Args:
        colours, min_tissue_px, white: as of ``fit``.
        method: one that is known.
        start: where Vahadane's search begins, which decides only its length.
        matrix: vectors to take instead of finding any.
    """
    sample = ColourSample((colours,)) if isinstance(colours, ColourHistogram) else colours
    if method == "reinhard":
        return _moments(sample.total, min_tissue_px, white)
    if method == "ramakrishnan" and white == WHITE:
        white = glass_of(sample.total)
    counted = Counted.of(sample.total, white)
    if matrix is None and method != "ramakrishnan":
        return attempt_counted(counted, method, min_tissue_px, white, start)
    diagnostics = _counts_of(counted)
    reason = refused_colours(counted, min_tissue_px, diagnostics)
    if reason != OK:
        return Refusal(reason, diagnostics)
    if matrix is None:
        matrix = median_matrix(sample.regions, white, diagnostics, start)
    if matrix is None:
        return Refusal("single_stain", diagnostics)
    return _two_stains(counted, method, white, matrix, diagnostics)


def attempt_counted(
    counted: Counted, method: TwoStains, min_tissue_px: int, white: White, start: Floats
) -> StainFit | Refusal:
    """As ``attempt`` for the methods that look at all colours together, on colours that were counted in any way."""
    diagnostics = _counts_of(counted)
    reason = refused_colours(counted, min_tissue_px, diagnostics)
    if reason != OK:
        return Refusal(reason, diagnostics)
    return _two_stains(counted, method, white, _matrix(counted, method, start, diagnostics), diagnostics)


def _counts_of(counted: Counted) -> dict[str, float]:
    return {"total_px": float(counted.counts.sum()), "tissue_px": counted.total(counted.tissue)}


def _two_stains(
    counted: Counted, method: TwoStains, white: White, matrix: Floats, diagnostics: dict[str, float]
) -> StainFit | Refusal:
    reason = refused_vectors(matrix, method, diagnostics)
    if reason != OK:
        return Refusal(reason, diagnostics)
    free = method == "ramakrishnan"
    amounts = (projected if free else concentrations)(counted.density, matrix)
    largest = _largest(amounts, counted, positive=free)
    reason = refused_amounts(amounts, largest, counted, diagnostics)
    if reason != OK:
        return Refusal(reason, diagnostics)
    return StainFit(method, matrix, largest, diagnostics=diagnostics, white=white)


def _matrix(counted: Counted, method: TwoStains, start: Floats, diagnostics: dict[str, float]) -> Floats:
    density, counts = counted.of_part(counted.stained)
    if method == "macenko":
        return macenko_matrix(density, counts)
    found = vahadane_matrix(density, counts, start)
    diagnostics |= {"objective": found.objective, "iterations": float(found.iterations)}
    diagnostics["converged"] = float(found.converged)
    return found.matrix


def _largest(amounts: Iterable[Floats], counted: Counted, *, positive: bool) -> Floats:
    """99th percentile of each stain's amount over every pixel but ink, or over those that have any of it."""
    kept = ~counted.ink
    percentile = positive_percentile if positive else weighted_percentile
    return np.array([percentile(stain[kept], counted.counts[kept], MAX_PERCENTILE) for stain in amounts])


def _moments(hist: ColourHistogram, min_tissue_px: int, white: White) -> ReinhardFit | Refusal:
    stains = attempt(hist, "macenko", min_tissue_px, white)
    if isinstance(stains, Refusal):
        return stains
    counted = Counted.of(hist, white)
    part = counted.stained
    means, deviations = lab_moments(np.compress(part, counted.colours, axis=1), counted.counts[part])
    diagnostics = dict(stains.diagnostics)
    if deviations.min() < MIN_DEVIATION:
        return Refusal("single_stain", diagnostics)
    return ReinhardFit(means, deviations, diagnostics=diagnostics, white=white)
