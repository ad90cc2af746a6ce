"""What a plan says: counts per decision, shares before and after, what is lost, and what it will cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.config import Recipe
from wsiprep.errors import PlanError
from wsiprep.patches.lesions import Lesions, LostLesion, lost_lesions
from wsiprep.patches.select import TOLERANCE, Candidates, Decision, Decisions, kept_labels, tumour_share

SHARE_BINS = 20
"""Bins of a share histogram: [0, 0.05), [0.05, 0.1), ... [0.95, 1]."""

BYTES_PER_PIXEL = 4
"""Three of the image and one of the mask, before compression."""

NO_CELLS = "no_cells"
"""Reason of a slide that is smaller than one cell."""

_FROM_THE_LAST_RULE = (
    (Decision.EXCLUDED,),
    (Decision.OVER_QUOTA,),
    (Decision.UNDER_MIN, Decision.OVER_MAX),
    (Decision.TUMOUR_FREE_NOT_SAMPLED,),
    (Decision.NO_TISSUE,),
    (Decision.NOT_ANNOTATED,),
)
"""The decisions in the order in which they explain a slide that keeps nothing."""


@dataclass(frozen=True, slots=True)
class ShareHistogram:
    """Shares of the kept labels in the annotated area of cells.

    Attributes:
        tumour_free: cells without a kept label, which are not in the bins.
        bins: cells per bin, ``SHARE_BINS`` of them.
    """

    tumour_free: int
    bins: tuple[int, ...]

    def __add__(self, other: ShareHistogram) -> ShareHistogram:
        bins = tuple(a + b for a, b in zip(self.bins, other.bins, strict=True))
        return ShareHistogram(self.tumour_free + other.tumour_free, bins)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"tumour_free": self.tumour_free, "bins": list(self.bins)}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What packing will cost at most.

    Attributes:
        patches: patches to write.
        pixels_decoded: pixels of the source level under them; tiles on the border of a patch add to it.
        raw_bytes: image and mask before compression: an upper bound on the pixel data, whatever the codec.
    """

    patches: int = 0
    pixels_decoded: int = 0
    raw_bytes: int = 0

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(
            self.patches + other.patches,
            self.pixels_decoded + other.pixels_decoded,
            self.raw_bytes + other.raw_bytes,
        )


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """The plan of one slide in numbers.

    Attributes:
        slide_id: id of the slide.
        annotated: False for the annotation state ``none``; the histograms are then empty.
        counts: cells per decision, zeros included.
        tissue_cells: cells with at least ``keep.min_tissue`` tissue.
        before: shares of all annotated cells.
        after: shares of the kept ones.
        best_share: largest share of any annotated cell; None where none is annotated.
        lost: lesions that no kept cell meets.
        forecast: cost of packing.
    """

    slide_id: str
    annotated: bool
    counts: Mapping[Decision, int]
    tissue_cells: int
    before: ShareHistogram
    after: ShareHistogram
    best_share: float | None
    lost: tuple[LostLesion, ...]
    forecast: Forecast

    @property
    def cells(self) -> int:
        return sum(self.counts.values())

    @property
    def kept(self) -> int:
        return self.counts[Decision.KEPT]

    @property
    def reason(self) -> str:
        """Why the cell that came closest to being kept is not: most cells of any slide are glass, and that says little.

        Of the decisions about cells with a kept label, the more frequent one, of equal counts the lower number.
        """
        rejected = {d: n for d, n in self.counts.items() if d is not Decision.KEPT and n}
        for stage in _FROM_THE_LAST_RULE:
            found = [d for d in stage if d in rejected]
            if found:
                return max(found, key=lambda d: rejected[d]).name.lower()
        return NO_CELLS

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "slide_id": self.slide_id,
            "annotated": self.annotated,
            "cells": self.cells,
            "kept": self.kept,
            "counts": _named(self.counts),
            "tissue_cells": self.tissue_cells,
            "shares_before": self.before.to_dict(),
            "shares_after": self.after.to_dict(),
            "best_share": self.best_share,
            "lost_lesions": len(self.lost),
            "forecast": asdict(self.forecast),
        }


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """The plans of all slides, sorted by id."""

    slides: tuple[SlidePlan, ...]

    @property
    def counts(self) -> dict[Decision, int]:
        return {decision: sum(slide.counts[decision] for slide in self.slides) for decision in Decision}

    @property
    def forecast(self) -> Forecast:
        return sum((slide.forecast for slide in self.slides), Forecast())

    @property
    def empty(self) -> tuple[SlidePlan, ...]:
        """Slides that keep nothing."""
        return tuple(slide for slide in self.slides if not slide.kept)

    @property
    def lost(self) -> tuple[LostLesion, ...]:
        """Lesions that no patch shows, over all slides."""
        return tuple(lesion for slide in self.slides for lesion in slide.lost)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        nothing = ShareHistogram(0, (0,) * SHARE_BINS)
        counts = self.counts
        return {
            "slides": [slide.to_dict() for slide in self.slides],
            "cells": sum(counts.values()),
            "kept": counts[Decision.KEPT],
            "counts": _named(counts),
            "tissue_cells": sum(slide.tissue_cells for slide in self.slides),
            "shares_before": sum((slide.before for slide in self.slides), nothing).to_dict(),
            "shares_after": sum((slide.after for slide in self.slides), nothing).to_dict(),
            "keep_nothing": [
                {"slide_id": slide.slide_id, "reason": slide.reason, "best_share": slide.best_share}
                for slide in self.empty
            ],
            "lost_lesions": [asdict(lesion) for lesion in self.lost],
            "forecast": asdict(self.forecast),
        }


def slide_plan(
    slide_id: str,
    candidates: Candidates,
    decisions: Decisions,
    recipe: Recipe,
    *,
    annotated: bool,
    source_factor: int,
    lesions: Lesions | None = None,
) -> SlidePlan:
    """Count what was decided for one slide.

    Args:
        slide_id: id of the slide.
        candidates: its cells.
        decisions: what ``decide`` made of them.
        recipe: ``keep`` and ``labels`` are read.
        annotated: False for the annotation state ``none``.
        source_factor: level-0 pixels per pixel of the level that is decoded.
        lesions: its annotated regions, where it has any.
    """
    kept = decisions.kept
    known = candidates.annotated_fraction > TOLERANCE if annotated else np.zeros(len(candidates), dtype=np.bool_)
    share = tumour_share(candidates, kept_labels(recipe))
    cells = candidates.cells
    chosen = cells.take(kept)
    return SlidePlan(
        slide_id=slide_id,
        annotated=annotated,
        counts=decisions.counts,
        tissue_cells=int(np.count_nonzero(candidates.tissue_fraction >= recipe.keep.min_tissue - TOLERANCE)),
        before=share_histogram(share[known]),
        after=share_histogram(share[known & kept]),
        best_share=float(share[known].max()) if known.any() else None,
        lost=() if lesions is None else lost_lesions(slide_id, lesions, cells, kept),
        forecast=Forecast(
            patches=len(chosen),
            pixels_decoded=int((chosen.width_lv0 * chosen.height_lv0).sum()) // source_factor**2,
            raw_bytes=len(chosen) * cells.patch_size_px**2 * BYTES_PER_PIXEL,
        ),
    )


def dataset_plan(slides: Iterable[SlidePlan]) -> DatasetPlan:
    """The plan of a dataset, the same for every order of the slides."""
    return DatasetPlan(tuple(sorted(slides, key=lambda slide: slide.slide_id)))


def share_histogram(share: npt.NDArray[np.float64]) -> ShareHistogram:
    """Histogram of shares in [0, 1], float64 (n,); a share within 1e-9 of an edge belongs above it."""
    labelled = share[share > TOLERANCE]
    place = np.clip(np.floor((labelled + TOLERANCE) * SHARE_BINS), 0, SHARE_BINS - 1).astype(np.int64)
    bins = np.bincount(place, minlength=SHARE_BINS)
    return ShareHistogram(len(share) - len(labelled), tuple(bins.tolist()))


def require_enough(plan: DatasetPlan, failed: Mapping[str, str], max_failed: float) -> None:
    """Stop where too many slides failed, or nothing at all is kept.

    Args:
        plan: the slides that were surveyed.
        failed: slide id -> message, of those that could not be.
        max_failed: the recipe's share of slides that may fail.

    Raises:
        PlanError: (exit 65) with the first failures, or with the reasons why slides keep nothing.
    """
    total = len(plan.slides) + len(failed)
    if len(failed) > max_failed * total + TOLERANCE:
        first = "; ".join(f"{slide_id}: {failed[slide_id]}" for slide_id in sorted(failed)[:5])
        raise PlanError(
            f"{len(failed)} of {total} slides failed", got=first, expected=f"at most {max_failed:.1%} of them",
            fix="mend the slides, list them in exclude.csv, or raise max_failed",
        )  # fmt: skip
    if plan.counts[Decision.KEPT]:
        return
    reasons = "; ".join(f"{slide.slide_id}: {slide.reason}" for slide in plan.slides[:5])
    raise PlanError(
        "no cell of any slide is kept", got=reasons or "no slides",
        fix="the log names every slide; loosen keep, or set sampling.tumour_free_per_slide",
    )  # fmt: skip


def _named(counts: Mapping[Decision, int]) -> dict[str, int]:
    return {decision.name.lower(): counts[decision] for decision in Decision}
