"""Stain fits of the plan: a slide's own, else the cohort's, else the built-in reference; always recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe
from wsiprep.errors import StainError, StoreError
from wsiprep.stain import REFERENCE, ColourHistogram, StainFit, fit_cohort, fit_or_fallback


def cohort_fit(slide_ids: Sequence[str], recipe: Recipe, tree: DatasetTree) -> StainFit | None:
    """The fit on the colours of those of the given slides that make a fit of their own, or None.

    None without stain normalisation, and where not even all the slides together make a fit while
    the recipe's target is the built-in reference.

    Raises:
        StainError: the recipe's target is the cohort and the cohort makes no fit.
    """
    if recipe.stain.method == "none" or not slide_ids:
        return None
    method, least = recipe.stain.method, recipe.stain.min_tissue_px
    histograms = [colours_of(slide_id, tree) for slide_id in sorted(slide_ids)]
    good = [h for h in histograms if fit_or_fallback(h, method, least, None).status == "ok"]
    try:
        return fit_cohort(good, method, least)
    except StainError:
        if recipe.stain.target == "cohort":
            raise
        return None


def slide_stain(slide_id: str, recipe: Recipe, tree: DatasetTree, cohort: StainFit | None) -> dict[str, Any] | None:
    """``{"source": fit, "target": fit}`` of one slide as plain values; None without normalisation."""
    method = recipe.stain.method
    if method == "none":
        return None
    if recipe.stain.target == "cohort":
        if cohort is None:
            raise StainError(
                "a cohort target needs the cohort", got="one slide",
                fix="use stain.target: reference with tile, or run the workflow",
            )  # fmt: skip
        target = cohort
    else:
        target = REFERENCE[method]
    source = fit_or_fallback(colours_of(slide_id, tree), method, recipe.stain.min_tissue_px, cohort)
    return {"source": source.to_dict(), "target": target.to_dict()}


def colours_of(slide_id: str, tree: DatasetTree) -> ColourHistogram:
    """The colour histogram that survey stored.

    Raises:
        StoreError: survey ran without a stain to fit.
    """
    path = tree.slide(slide_id).colours
    try:
        return ColourHistogram.load(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            "the slide was surveyed without colours", got=str(path), fix="run survey again with this recipe"
        ) from error
