"""One fit for many slides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from wsiprep.stain.density import tissue_px
from wsiprep.stain.fit import fit
from wsiprep.stain.histogram import ColourHistogram, merge
from wsiprep.stain.model import StainFit

SLIDE_WEIGHT = 1 << 30
"""What every slide's counts are scaled to add up to, about: its sampled area does not decide its vote."""


def merge_cohort(histograms: Iterable[ColourHistogram]) -> ColourHistogram:
    """The colours of many slides, each with equal weight, in any order.

    Counts are scaled to 2^30 a slide and rounded to whole numbers, at least 1, so that the sum is of
    integers and does not depend on the order. Slides without pixels are left out.
    """
    return merge(_levelled(part) for part in histograms if part.total_px > 0)


def fit_cohort(histograms: Iterable[ColourHistogram], method: str, min_tissue_px: int) -> StainFit:
    """The stains of a cohort: of the slides of the train split, so that nothing leaks from the others.

    Slides with fewer than ``min_tissue_px`` tissue pixels have no vote. Give the histograms of slides whose
    own fit is ``ok``: ink and black padding would vote too.

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
