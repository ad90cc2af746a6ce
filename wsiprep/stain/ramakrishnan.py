"""Stains by region: the fast variant of Vahadane's method by Ramakrishnan et al. (2019).

Vectors are Vahadane's of each region, and the component-wise median of them stands for the slide, so that a few
odd regions move nothing. Amounts are max(X pinv(W), 0), without a penalty; what is scaled is the 99th percentile
of the positive ones. Theirs are up to 20 regions of 1000 x 1000 px with at most 10 % white; ours the cells that
survey sampled, counted in the same histogram as everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from wsiprep.stain.counted import Counted
from wsiprep.stain.density import WHITE, Floats, White, weighted_percentile
from wsiprep.stain.histogram import ColourHistogram
from wsiprep.stain.macenko import haematoxylin_first
from wsiprep.stain.vahadane import START, vahadane_matrix

MIN_STAINED = 0.5
"""Share of a region's pixels that must be stained, where any region has so many."""
WHITE_LEVEL = 220
WHITE_PERCENTILE = 80.0
MIN_WHITE_PX = 10_000


def glass_of(hist: ColourHistogram) -> White:
    """Io where survey measured none: the 80th percentile of each channel over the pixels above 220 in all of them.

    255 where fewer than 10,000 pixels are so bright.
    """
    centres = hist.centres()
    bright = (centres > WHITE_LEVEL).all(axis=0)
    if hist.counts[bright].sum() < MIN_WHITE_PX:
        return WHITE
    red, green, blue = (weighted_percentile(c[bright], hist.counts[bright], WHITE_PERCENTILE) for c in centres)
    return red, green, blue


def median_matrix(
    regions: Iterable[ColourHistogram], white: White, diagnostics: dict[str, float], start: Floats = START
) -> Floats | None:
    """The median of the regions' vectors, rows of unit length, haematoxylin first; None where no region has any.

    Regions without two stained colours are left out; ``diagnostics`` gets the number of the others, and the
    median angle by which their vectors differ from the result (degrees).
    """
    found = [(_stained_share(region, white), region_matrix(region, white, start)) for region in regions]
    usable = [(share, matrix) for share, matrix in found if matrix is not None]
    enough = [matrix for share, matrix in usable if share >= MIN_STAINED] or [matrix for _, matrix in usable]
    if not enough:
        return None
    matrix, spread = median_of(enough)
    diagnostics |= {"regions": float(len(enough)), "spread_h_deg": spread[0], "spread_e_deg": spread[1]}
    return matrix


def median_of(matrices: Sequence[Floats]) -> tuple[Floats, tuple[float, float]]:
    """Component-wise median of stain matrices (2, 3), and the median angle of each row to it (degrees)."""
    found = np.stack(matrices)
    matrix = haematoxylin_first(np.median(found, axis=0))
    cosines = np.clip((found * matrix).sum(axis=2), -1, 1)
    spread = np.median(np.degrees(np.arccos(cosines)), axis=0)
    return matrix, (float(spread[0]), float(spread[1]))


def region_matrix(region: ColourHistogram, white: White = WHITE, start: Floats = START) -> Floats | None:
    """Vahadane's vectors of one region, float64 (2, 3); None where fewer than two of its colours are stained."""
    colours = Counted.of(region, white)
    part = colours.stained
    if part.sum() < 2:
        return None
    return vahadane_matrix(*colours.of_part(part), start).matrix


def _stained_share(region: ColourHistogram, white: White) -> float:
    colours = Counted.of(region, white)
    return colours.total(colours.stained) / max(region.total_px, 1)


def projected(density: Floats, matrix: Floats) -> Floats:
    """Amounts max(X pinv(W), 0) of densities (3, n): float64 (2, n)."""
    return np.maximum(np.linalg.pinv(matrix.T) @ density, 0.0)


def positive_percentile(amounts: Floats, counts: npt.NDArray[np.int64], percent: float) -> float:
    """Percentile of the amounts (k,) above 0; 0 where there are none."""
    positive = amounts > 0
    return weighted_percentile(amounts[positive], counts[positive], percent) if positive.any() else 0.0
