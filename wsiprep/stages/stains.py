"""Stain fits of the plan: a slide's own, else the cohort's, else the built-in reference; always recorded."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe
from wsiprep.errors import StainError, StoreError
from wsiprep.stages.colours import colours_of, white_of
from wsiprep.stages.tables import table_metadata
from wsiprep.stages.targets import Target, cohort_target, image_target, recorded_target, reference_target, slide_target
from wsiprep.stain import ColourHistogram, Fit, fit_cohort, fit_or_fallback, seen_on_white, tissue_part
from wsiprep.stain.model import OK
from wsiprep.store.tables import read_parquet

METHODS_TO_CHOOSE = ("vahadane", "macenko", "ramakrishnan", "reinhard")
"""Methods whose fits lie beside scanned pixels; ``hematoxylin`` draws with Vahadane's."""

_FITTED_AS = {"hematoxylin": "vahadane"}


@dataclass(frozen=True, slots=True)
class Stains:
    """What plan fitted of all slides.

    Attributes:
        sources: slide id -> its own fit, or what stands in for it.
        target: the look that all of them get; None where each slide keeps the one that its slice records
            already (an image, planned again without the recipe that says where it lies).
        tree: whose slices those are.
        others: method -> the same by other methods, for loaders to choose from (``stain.when: load``). Methods
            by which the target has no stains are left out.
    """

    sources: Mapping[str, Fit]
    target: Target | None
    tree: DatasetTree
    others: Mapping[str, Stains] = field(default_factory=dict)

    def of(self, slide_id: str) -> dict[str, Any]:
        """``source`` and ``target`` fit of one slide as plain values, and in ``target_from`` whose look that is.

        With fits for loaders to choose from, the same by method in ``methods``.

        Raises:
            StainError: no target is known for it.
        """
        found = self._of(slide_id, None)
        if self.others:
            found["methods"] = methods = {}
            for method, stains in self.others.items():
                with contextlib.suppress(StainError):  # left out when the image was there, so left out again
                    methods[method] = stains._of(slide_id, method)
        return found

    def _of(self, slide_id: str, method: str | None) -> dict[str, Any]:
        target = self.target or _recorded(self.tree, slide_id, method)
        if target is None:
            raise StainError(
                "the target image is not recorded for this slide", got=slide_id,
                fix="run plan with --recipe: the image's path is relative to the recipe",
            )  # fmt: skip
        return {
            "source": self.sources[slide_id].to_dict(),
            "target": target.fit.to_dict(),
            "target_from": target.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """For ``plan.json``: the target, how many slides have whose stains for which reason, and which ones."""
        fits = sorted(self.sources.items())
        counts = Counter((found.origin, found.status) for _, found in fits)
        target = None if self.target is None else self.target.to_dict() | {"fit": self.target.fit.to_dict()}
        return {
            "target": target,
            "counts": [{"origin": o, "status": s, "slides": n} for (o, s), n in sorted(counts.items())],
            "slides": {slide_id: {"origin": found.origin, "status": found.status} for slide_id, found in fits},
        }


def fit_stains(
    records: Sequence[Mapping[str, Any]],
    recipe: Recipe,
    tree: DatasetTree,
    *,
    recipe_path: Path | None = None,
    train: Sequence[str] | None = None,
    slide_ids: Mapping[str, str] | None = None,
    keep_image: bool = False,
) -> Stains | None:
    """Fit the stains of surveyed slides; None without stain normalisation.

    A slide without a fit of its own has the cohort's, and without a cohort it keeps its colours.

    Args:
        records: of survey.
        recipe: the resolved recipe.
        tree: where the slides were surveyed.
        recipe_path: of the recipe, from whose folder ``target_image`` counts.
        train: ids of the slides that make the cohort; None for slides that are planned one by one.
        slide_ids: ids of the manifest by id and raw id, one of which may be the target; None as for ``train``.
        keep_image: take the look of ``target_image`` from each slide's slice of the plan instead of the image:
            for planning again what was planned one by one, wherever the image may lie by now.

    Raises:
        StainError: the target is the cohort and the cohort makes no fit, or there is none; the target image or
            slide has none.
        StoreError: a slide was surveyed without colours.
    """
    if recipe.stain.method == "none":
        return None
    others: dict[str, Stains] = {}
    if recipe.stain.when == "load":
        # Other settings can then be compared without packing again: the pixels are the same for all.
        for method in (m for m in METHODS_TO_CHOOSE if m != _FITTED_AS.get(recipe.stain.method, recipe.stain.method)):
            section = recipe.stain.model_copy(update={"method": method, "when": "pack"})
            with contextlib.suppress(StainError):
                found = fit_stains(
                    records, recipe.model_copy(update={"stain": section}), tree, recipe_path=recipe_path, train=train,
                    slide_ids=slide_ids, keep_image=keep_image,
                )  # fmt: skip
                if found is not None:
                    others[method] = found
    own = {record["slide_id"]: own_fit(record, recipe, tree) for record in records}
    cohort = None if train is None else cohort_fit({i: own[i] for i in train}, recipe, tree)
    if keep_image and recipe.stain.target == "image":
        target = None
    else:
        target = _target(recipe, tree, cohort, recipe_path, slide_ids)
    if cohort is not None:
        own |= {i: replace(cohort, status=f.status, diagnostics=f.diagnostics, white=f.white)
                for i, f in own.items() if f.status != OK}  # fmt: skip
    return Stains(own, target, tree, others)


def require_target_alone(recipe: Recipe, tree: DatasetTree, recipe_path: Path | None) -> None:
    """See that slides which are planned one by one have a target.

    Raises:
        StainError: it needs the other slides, or the target image has no stains.
    """
    if recipe.stain.method != "none":
        _target(recipe, tree, None, recipe_path, None)


def own_fit(record: Mapping[str, Any], recipe: Recipe, tree: DatasetTree) -> Fit:
    """The fit of one surveyed slide, or the reference's with the white of the slide's own glass."""
    colours = colours_of(record["slide_id"], tree)
    return fit_or_fallback(colours, recipe.stain.method, recipe.stain.min_tissue_px, None, white_of(record))


def cohort_fit(own: Mapping[str, Fit], recipe: Recipe, tree: DatasetTree) -> Fit | None:
    """The fit on the colours of those of the given slides that have a fit of their own, or None.

    Each slide's colours are seen on white first, from the glass of its own fit; moments are of colours as
    scanned, without glass.

    Raises:
        StainError: the recipe's target is the cohort and the cohort makes no fit.
    """

    def seen() -> Iterator[ColourHistogram]:
        for slide_id, found in sorted(own.items()):
            if found.status == OK:
                total = colours_of(slide_id, tree).total
                part = tissue_part if recipe.stain.method == "reinhard" else seen_on_white
                yield part(total, found.white)

    try:
        return fit_cohort(seen(), recipe.stain.method, recipe.stain.min_tissue_px)
    except StainError:
        if recipe.stain.target == "cohort":
            raise
        return None


def _target(
    recipe: Recipe,
    tree: DatasetTree,
    cohort: Fit | None,
    recipe_path: Path | None,
    slide_ids: Mapping[str, str] | None,
) -> Target:
    kind = recipe.stain.target
    if kind == "image":
        return image_target(recipe, recipe_path)
    if kind == "reference":
        return reference_target(recipe.stain.method)
    if kind == "cohort" and cohort is not None:
        return cohort_target(cohort)
    if kind == "slide" and slide_ids is not None:
        return slide_target(recipe, tree, slide_ids)
    raise StainError(
        f"a {kind} target needs the other slides", got="one slide",
        fix="use stain.target: reference or image with tile, or run the workflow",
    )  # fmt: skip


def _recorded(tree: DatasetTree, slide_id: str, method: str | None) -> Target | None:
    try:
        stain = table_metadata(read_parquet(tree.plan_slice(slide_id)))["stain"]
        return recorded_target(stain if method is None else stain["methods"][method])
    except (StoreError, KeyError):
        return None
