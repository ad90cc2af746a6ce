"""One fit for many slides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from wsiprep.stain.density import WHITE, Floats, White, is_tissue, tissue_px
from wsiprep.stain.fit import attempt, known, refused
from wsiprep.stain.histogram import ColourHistogram, recounted, summed
from wsiprep.stain.model import Fit
from wsiprep.stain.ramakrishnan import median_of, region_matrix
from wsiprep.stain.refusal import Refusal

SLIDE_WEIGHT = 1 << 30
"""What every slide's counts are scaled to add up to, about: its sampled area does not decide its vote."""


def merge_cohort(histograms: Iterable[ColourHistogram]) -> ColourHistogram:
    """The colours of many slides, each with equal weight, in any order; one slide is in memory at a time.

    Counts are scaled to 2^30 a slide and rounded to whole numbers, at least 1, so that the sum is of
    integers and does not depend on the order. Slides without pixels are left out.
    """
    return summed(_levelled(part) for part in histograms if part.total_px > 0)


def seen_on_white(hist: ColourHistogram, white: White) -> ColourHistogram:
    """The colours as under a light that makes ``white`` 255: 255 I / Io, at most 255, back in their 7-bit bins.

    Densities relative to ``white`` become densities relative to 255, to half a bin (one level); with a
    white of 255 nothing changes.
    """
    lit = hist.centres() * (255.0 / np.asarray(white, dtype=np.float64))[:, None]
    return recounted(np.minimum(lit, 255.0), hist.counts)


def tissue_part(hist: ColourHistogram, white: White) -> ColourHistogram:
    """The tissue colours alone, as scanned: what moments are taken of, which no light is divided out of."""
    tissue = is_tissue(hist.centres(), white)
    return ColourHistogram(hist.codes[tissue], hist.counts[tissue])


def fit_cohort(histograms: Iterable[ColourHistogram], method: str, min_tissue_px: int) -> Fit:
    """The stains of a cohort: of the slides of the train split, so that nothing leaks from the others.

    Slides with fewer than ``min_tissue_px`` tissue pixels have no vote. Give the histograms of slides whose
    own fit is ``ok``: ink and black padding would vote too. Give them ``seen_on_white``: what two scanners'
    lamps differ by is no stain, and a fit has one white, which here is 255; for ``reinhard`` give each one's
    ``tissue_part``. For ``ramakrishnan`` each slide is a region, of whose vectors the median is taken.

    Args:
        histograms: one a slide; read once, one at a time.
        method: any of ``Method``.
        min_tissue_px: tissue pixels needed on each slide.

    Raises:
        StainError: see ``fit``; no slide has enough tissue.
        UsageError: unknown method.
    """
    name = known(method)
    matrices: list[Floats] = []

    def votes() -> Iterator[ColourHistogram]:
        for part in histograms:
            if tissue_px(part) >= min_tissue_px:
                if name == "ramakrishnan" and (matrix := region_matrix(part)) is not None:
                    matrices.append(matrix)
                yield part

    merged = merge_cohort(votes())
    found = attempt(merged, name, 1, WHITE, matrix=median_of(matrices)[0] if matrices else None)
    if isinstance(found, Refusal):
        raise refused(found)
    return replace(found, origin="cohort")


def _levelled(part: ColourHistogram) -> ColourHistogram:
    scale = SLIDE_WEIGHT / part.total_px
    return ColourHistogram(part.codes, np.maximum(np.rint(part.counts * scale), 1).astype(np.int64))
