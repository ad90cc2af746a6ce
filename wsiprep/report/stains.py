"""Whose stains each slide was taken to have, why, and what all of them were normalised to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsiprep.report.figures import MISSING, Table, count, percent, words
from wsiprep.report.inputs import Inputs
from wsiprep.stain import REASONS

LISTED = 2000
_WHOSE = {
    "slide": "its own",
    "cohort": "the cohort's",
    "reference": "nobody's: kept its colours",
    "image": "the image's",
}
_SHORT = 12


@dataclass(frozen=True, slots=True)
class StainView:
    """What the page shows of the stains.

    Attributes:
        method, when, per: of the recipe.
        target: whose look the slides get, in words.
        counts: how many slides have whose stains, for which reason.
        fallbacks: the slides whose own colours were no fit; no rows where there are none.
        patches: whose stains the packed patches were taken to have; None before the dataset is sealed.
    """

    method: str
    when: str
    per: str
    target: str
    counts: Table
    fallbacks: Table
    patches: Table | None


def stain_view(inputs: Inputs) -> StainView | None:
    """The stains of a planned dataset; None without stain normalisation or before the plan."""
    planned = (inputs.plan or {}).get("stain")
    if not planned:
        return None
    recipe: Mapping[str, Any] = (inputs.recipe or {}).get("stain") or {}
    rows = [
        (
            _WHOSE.get(row["origin"], row["origin"]),
            words(row["status"]),
            count(row["slides"]),
            REASONS.get(row["status"], ""),
        )
        for row in planned["counts"]
    ]
    slides = [
        (slide_id, _WHOSE.get(row["origin"], row["origin"]), words(row["status"]), REASONS.get(row["status"], ""))
        for slide_id, row in sorted(planned["slides"].items())
        if row["status"] != "ok"
    ]
    return StainView(
        method=str(recipe.get("method", MISSING)),
        when=str(recipe.get("when", MISSING)),
        per=str(recipe.get("per", MISSING)),
        target=_target(planned.get("target")),
        counts=Table.of(("stains", "own fit", "slides", "that is"), rows, limit=LISTED),
        fallbacks=Table.of(("slide", "stains", "own fit", "that is"), slides, limit=LISTED),
        patches=_patches(inputs),
    )


def _target(target: Mapping[str, Any] | None) -> str:
    if target is None:
        return "as each slide's part of the plan records it"
    digest = str(target["digest"])[:_SHORT]
    names = {
        "reference": "the built-in reference",
        "cohort": "the slides of the train split",
        "image": f"the image {target['name']}",
        "slide": f"the slide {target['name']}",
    }
    return f"{names.get(target['kind'], target['kind'])} ({digest})"


def _patches(inputs: Inputs) -> Table | None:
    if inputs.index is None or "stain_origin" not in inputs.index.column_names:
        return None
    values = inputs.index["stain_origin"].value_counts().to_pylist()
    total = sum(int(item["counts"]) for item in values)
    rows = [
        (words(item["values"]) if item["values"] is not None else "as scanned", count(item["counts"]),
         percent(item["counts"] / total))
        for item in sorted(values, key=lambda item: -item["counts"])
    ]  # fmt: skip
    return Table.of(("stains of the", "patches", "share"), rows, limit=LISTED) if rows else None
