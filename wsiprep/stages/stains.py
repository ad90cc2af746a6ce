"""Stain fits of the plan: a slide's own, else the cohort's, else the built-in reference; always recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe
from wsiprep.errors import StainError, StoreError
from wsiprep.stain import REFERENCE, WHITE, ColourSample, StainFit, White, fit_cohort, fit_or_fallback, seen_on_white


def white_of(record: Mapping[str, Any]) -> White:
    """The colour of a surveyed slide's glass; 255 where survey found none (``glass_reason`` says why)."""
    found = record["glass_rgb"]
    if found is None:
        return WHITE
    red, green, blue = (float(value) for value in found)
    return red, green, blue


def cohort_fit(whites: Mapping[str, White], recipe: Recipe, tree: DatasetTree) -> StainFit | None:
    """The fit on the colours of those of the given slides that make a fit of their own, or None.

    ``whites`` maps the slides' ids to their own glass: each slide's colours are seen on white first.

    None without stain normalisation, and where not even all the slides together make a fit while
    the recipe's target is the built-in reference.

    Raises:
        StainError: the recipe's target is the cohort and the cohort makes no fit.
    """
    if recipe.stain.method == "none" or not whites:
        return None
    method, least = recipe.stain.method, recipe.stain.min_tissue_px
    histograms = [seen_on_white(colours_of(slide_id, tree).total, whites[slide_id]) for slide_id in sorted(whites)]
    good = [h for h in histograms if fit_or_fallback(h, method, least, None).status == "ok"]
    try:
        return fit_cohort(good, method, least)
    except StainError:
        if recipe.stain.target == "cohort":
            raise
        return None


def slide_stain(
    record: Mapping[str, Any], recipe: Recipe, tree: DatasetTree, cohort: StainFit | None
) -> dict[str, Any] | None:
    """``{"source": fit, "target": fit}`` of one surveyed slide as plain values; None without normalisation.

    The source has the white of the slide's own glass, whosever stains it falls back to.
    """
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
    colours = colours_of(record["slide_id"], tree).total
    source = fit_or_fallback(colours, method, recipe.stain.min_tissue_px, cohort, white_of(record))
    return {"source": source.to_dict(), "target": target.to_dict()}


def colours_of(slide_id: str, tree: DatasetTree) -> ColourSample:
    """The colours that survey stored.

    Raises:
        StoreError: survey ran without a stain to fit.
    """
    path = tree.slide(slide_id).colours
    try:
        return ColourSample.load(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            "the slide was surveyed without colours", got=str(path), fix="run survey again with this recipe"
        ) from error
