"""seal: receipts and split become a dataset; what plan and pack recorded becomes the slides' one state each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe, pack_digest, plan_digest, recipe_digest, survey_digest
from wsiprep.errors import PlanError, StoreError
from wsiprep.manifest import SlideRow
from wsiprep.patches import BY_PATCH, Decision, patch_fold, patch_split, split_rule_codes
from wsiprep.progress import Reporter
from wsiprep.stages.plan import plan
from wsiprep.stages.rows import recipe_of_tree, record_recipe, rows_from_tree
from wsiprep.stages.tiles import all_tiles, unit_of
from wsiprep.store import SPLIT_ALL, Placement, Receipt, read_receipt, record_outcome
from wsiprep.store import seal as seal_store
from wsiprep.store.tables import read_parquet


def seal(rows: Sequence[SlideRow], recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """Seal a planned and packed dataset; returns ``dataset.json``.

    Raises:
        StoreError: the plan is not finished or of another recipe; a slide was not packed, or not since the plan
            changed.
        PlanError: more slides failed than the recipe allows.
    """
    record = _plan_record(recipe, tree)
    states = record["states"]
    receipts = {slide_id: _receipt(tree, slide_id) for slide_id in record["kept_slides"]}
    for slide_id, state in states.items():
        if state["state"] == "empty":
            receipts[slide_id] = record_outcome(tree, slide_id, "empty", reason=state["reason"])
    _require_few_failures(states, receipts, recipe)
    slides = [_slide(row, states[row.slide_id], receipts.get(row.slide_id), tree) for row in rows]
    assignment = _Assignment(read_parquet(tree.split), recipe, {r.slide_id: r.annotation_state for r in rows})
    record_recipe(tree, recipe)
    sealed = seal_store(
        tree,
        recipe=recipe,
        slides=slides,
        assignment=assignment,
        receipts={s: r for s, r in receipts.items() if r.state != "failed"},
        tiles=all_tiles(tree, [slide_id for slide_id, receipt in receipts.items() if receipt.state == "done"]),
    )
    counts = sealed["counts"]
    reporter.say(f"seal {recipe.name}: {counts['patches']} patches of {counts['slides']} slides",
                 digest=sealed["dataset_digest"][:12])  # fmt: skip
    return sealed


def seal_tiles(recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """Seal a folder that ``tile`` filled: plan and split what was surveyed there, then seal."""
    rows = rows_from_tree(tree)
    if not rows:
        raise StoreError(
            "there are no slides in this folder", got=str(tree.root),
            fix="run wsiprep tile first, or give --recipe and --manifest",
        )  # fmt: skip
    plan(rows, recipe, tree, reporter, cohort_fallback=False)
    return seal(rows, recipe, tree, reporter)


def _plan_record(recipe: Recipe, tree: DatasetTree) -> dict[str, Any]:
    """``plan.json`` of a plan that went through, made with this recipe; titles and training aside."""
    record: dict[str, Any] = read_json(tree.plan_record)
    if record["split"] is None:
        raise StoreError(
            "the last plan did not go through", file=tree.plan_record,
            fix="run wsiprep plan again and do what it says, then seal",
        )  # fmt: skip
    planned = recipe_of_tree(tree)
    if any(digest(planned) != digest(recipe) for digest in (survey_digest, plan_digest, pack_digest)):
        raise StoreError(
            "the plan was made with another recipe", got=f"recipe {recipe_digest(recipe)[:12]}", file=tree.plan_record,
            expected=f"recipe {recipe_digest(planned)[:12]} ({tree.recipe})",
            fix="run survey, plan and pack with this recipe (snakemake does), or seal with that one",
        )  # fmt: skip
    return record


class _Assignment:
    """Split and fold of each patch of a slide, and which patches a rule of one split leaves out."""

    def __init__(self, split: pa.Table, recipe: Recipe, states: Mapping[str, str]) -> None:
        self._places = {(r["slide_id"], r["tile"]): (r["split"], r["fold"], r["patient"]) for r in split.to_pylist()}
        self._recipe = recipe
        self._states = states

    def __call__(self, slide_id: str, rows: pa.Table) -> Placement:
        splits: list[str | None] = []
        folds: list[int | None] = []
        patients: list[str] = []
        for tile in rows["tile"].to_pylist():
            if (slide_id, tile) not in self._places:
                raise StoreError(
                    "a packed slide has no place in the split", got=unit_of(slide_id, tile), fix="run plan again"
                )
            split, fold, patient = self._places[slide_id, tile]
            splits.append(split)
            folds.append(fold)
            patients.append(patient)
        if BY_PATCH in splits:
            self._deal(slide_id, rows, splits, folds)
        if any(rule.splits is not None for rule in self._recipe.keep.rules) and self._states[slide_id] != "none":
            splits = self._ruled(rows, splits)
        return Placement(splits, folds, patients)

    def _deal(self, slide_id: str, rows: pa.Table, splits: list[str | None], folds: list[int | None]) -> None:
        """Deal out the patches that are placed one by one."""
        settings = self._recipe.split
        x, y = rows["x_lv0"].to_numpy(), rows["y_lv0"].to_numpy()
        tiles = rows["tile"].to_pylist()
        for tile in dict.fromkeys(tiles):
            dealt = [
                i for i, (own, split) in enumerate(zip(tiles, splits, strict=True)) if (own, split) == (tile, BY_PATCH)
            ]
            unit = unit_of(slide_id, tile)
            if settings.kind == "folds":
                for i, fold in zip(
                    dealt, patch_fold(unit, x[dealt], y[dealt], settings.folds, settings.seed), strict=True
                ):
                    splits[i], folds[i] = SPLIT_ALL, int(fold)
            else:
                names = patch_split(unit, x[dealt], y[dealt], settings.ratio, settings.seed)
                for i, name in zip(dealt, names.tolist(), strict=True):
                    splits[i] = name

    def _ruled(self, rows: pa.Table, splits: list[str | None]) -> list[str | None]:
        fractions = {name: rows[f"{name}_fraction"].to_numpy() for name in self._recipe.labels}
        known = rows["annotated_fraction"].to_numpy()
        result = list(splits)
        for name in {s for s in splits if s is not None}:
            codes = split_rule_codes(fractions, known, self._recipe.keep, name)
            for i in np.flatnonzero(codes != Decision.KEPT).tolist():
                if splits[i] == name:
                    result[i] = None
        return result


def _receipt(tree: DatasetTree, slide_id: str) -> Receipt:
    receipt = read_receipt(tree, slide_id)
    current = hashlib.sha256(tree.plan_slice(slide_id).read_bytes()).hexdigest()
    if receipt.provenance.get("plan_digest") != current:
        raise StoreError(
            "a slide was packed before its plan changed", got=slide_id, file=tree.receipt(slide_id),
            fix="run wsiprep pack for it (or tile it again)",
        )  # fmt: skip
    return receipt


def _require_few_failures(
    states: Mapping[str, Mapping[str, Any]], receipts: Mapping[str, Receipt], recipe: Recipe
) -> None:
    failed = {s: str(v["reason"]) for s, v in states.items() if v["state"] == "failed"}
    failed |= {s: r.reason for s, r in receipts.items() if r.state == "failed"}
    counted = [s for s, v in states.items() if v["state"] != "excluded"]
    if len(failed) > recipe.max_failed * len(counted) + 1e-9:
        first = "; ".join(f"{slide_id}: {failed[slide_id]}" for slide_id in sorted(failed)[:5])
        raise PlanError(
            f"{len(failed)} of {len(counted)} slides failed", got=first,
            expected=f"at most {recipe.max_failed:.1%} of them",
            fix="mend the slides, list them in exclude.csv, or raise max_failed",
        )  # fmt: skip


def _slide(row: SlideRow, state: Mapping[str, Any], receipt: Receipt | None, tree: DatasetTree) -> dict[str, Any]:
    """The slide's row of ``slides.parquet``."""
    record = read_json(tree.slide(row.slide_id).record)
    name, reason = str(state["state"]), str(state["reason"])
    if receipt is not None:
        name, reason = receipt.state, receipt.reason or reason
    spacing = record.get("spacing_um") or {}
    backend = record.get("backend") or {}
    own = {
        "slide_id": row.slide_id,
        "raw_id": row.raw_id,
        "patient": row.group,
        "centre": row.centre,
        "source": row.source,
        "state": name,
        "reason": reason,
        "annotation_state": row.annotation_state,
        "stain_type": row.stain_type,
        "identity": record.get("identity"),
        "spacing_file_um": _axis(spacing.get("file"), 0),
        "spacing_file_y_um": _axis(spacing.get("file"), 1),
        "spacing_override_um": _axis(spacing.get("override"), 0),
        "spacing_override_y_um": _axis(spacing.get("override"), 1),
        "spacing_patch_um": spacing.get("patch"),
        "spacing_patch_y_um": spacing.get("patch_y"),
        "backend_requested": backend.get("requested"),
        "backend_used": backend.get("used"),
        "damaged": len(receipt.provenance.get("damaged", ())) if receipt is not None else 0,
    }
    # Columns of the manifest that wsiprep does not know pass through; they do not overwrite what it says.
    return own | {k: v for k, v in row.extra.items() if k not in own}


def _axis(spacing: float | Sequence[float] | None, axis: int) -> float | None:
    """um/px along one axis of what a record says: one number for square pixels, two otherwise."""
    if spacing is None or isinstance(spacing, int | float):
        return spacing
    return float(spacing[axis])
