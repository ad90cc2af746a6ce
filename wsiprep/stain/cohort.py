"""One fit for many slides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from wsiprep.stain.density import White, tissue_px
from wsiprep.stain.fit import fit
from wsiprep.stain.histogram import ColourHistogram, merge, recounted
from wsiprep.stain.model import StainFit

SLIDE_WEIGHT = 1 << 30
"""What every slide's counts are scaled to add up to, about: its sampled area does not decide its vote."""


def merge_cohort(histograms: Iterable[ColourHistogram]) -> ColourHistogram:
    """The colours of many slides, each with equal weight, in any order.

    Counts are scaled to 2^30 a slide and rounded to whole numbers, at least 1, so that the sum is of
    integers and does not depend on the order. Slides without pixels are left out.
    """
    return merge(_levelled(part) for part in histograms if part.total_px > 0)


def seen_on_white(hist: ColourHistogram, white: White) -> ColourHistogram:
    """The colours as under a light that makes ``white`` 255: 255 I / Io, at most 255, back in their 7-bit bins.

    Densities relative to ``white`` become densities relative to 255, to half a bin (one level); with a
    white of 255 nothing changes.
    """
    lit = hist.centres() * (255.0 / np.asarray(white, dtype=np.float64))[:, None]
    return recounted(np.minimum(lit, 255.0), hist.counts)


def fit_cohort(histograms: Iterable[ColourHistogram], method: str, min_tissue_px: int) -> StainFit:
    """The stains of a cohort: of the slides of the train split, so that nothing leaks from the others.

    Slides with fewer than ``min_tissue_px`` tissue pixels have no vote. Give the histograms of slides whose
    own fit is ``ok``: ink and black padding would vote too. Give them ``seen_on_white``: what two scanners'
    lamps differ by is no stain, and a fit has one white, which here is 255.

    Args:
        histograms: one a slide.
        method: ``macenko`` or ``vahadane``.
        min_tissue_px: tissue pixels needed on each slide.

    Raises:
        StainError: see ``fit``; no slide has enough tissue.
        UsageError: unknown method.
    """
    merged = merge_cohort(part for part in histograms if tissue_px(part) >= min_tissue_px)
    return replace(fit(merged, method, 1), origin="cohort")


def _levelled(part: ColourHistogram) -> ColourHistogram:
    scale = SLIDE_WEIGHT / part.total_px
    return ColourHistogram(part.codes, np.maximum(np.rint(part.counts * scale), 1).astype(np.int64))
