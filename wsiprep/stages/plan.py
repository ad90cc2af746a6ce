"""plan: keep rules, draws and the split over all surveyed slides; no pixel is read.

A slide's slice of the plan (``plan/{id}.parquet``) is rewritten only where its bytes change, and holds
everything that decides the slide's shard; the split is not in it, so a new split packs nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsiprep.artifacts import DatasetTree, json_bytes, read_json, write_bytes, write_bytes_if_changed
from wsiprep.config import Recipe, plan_digest
from wsiprep.errors import ManifestError, PlanError, SplitError
from wsiprep.manifest import SlideRow, check_files, read_allowed_duplicates, read_exclusions
from wsiprep.patches import (
    ALL,
    BY_PATCH,
    Assignment,
    check_leaks,
    dataset_plan,
    require_enough,
    split_table,
)
from wsiprep.patches.duplicates import DuplicatePair, find_duplicates, require_no_duplicates
from wsiprep.progress import Reporter
from wsiprep.stages.decided import DecidedSlide, columns_of, decide_slide
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.rows import record_recipe
from wsiprep.stages.stains import Stains, fit_stains
from wsiprep.stages.tables import table_bytes
from wsiprep.stages.units import Unit, assigned, duplicate_entry, split_rows, units_of

_TRAINING = ("train", ALL, BY_PATCH)


def plan(
    rows: Sequence[SlideRow],
    recipe: Recipe,
    tree: DatasetTree,
    reporter: Reporter,
    *,
    recipe_path: Path | None = None,
    cohort_fallback: bool = True,
) -> dict[str, Any]:
    """Plan a dataset from its surveyed slides; returns the record (``plan.json``).

    Args:
        rows: the slides.
        recipe: the resolved recipe.
        tree: where they were surveyed.
        reporter: hears what keeps nothing.
        recipe_path: where the recipe lies, if it is a file: ``stain.target_image`` counts from its folder.
        cohort_fallback: slides without a stain fit take the cohort's; off for folders that ``tile`` filled
            slide by slide, whose slices must not depend on slides that came later.

    Raises:
        PlanError: too many slides failed, nothing is kept, or stored and averaged pixels would mix.
        SplitError: too few patients, or one patient in two splits.
        StainError: the target that slides are to be normalised to has no stains.
        StoreError: a slide was not surveyed yet.
    """
    check_files(rows)
    excluded = read_exclusions(tree.exclusions)
    unknown = sorted(set(excluded) - {row.slide_id for row in rows})
    if unknown:
        raise ManifestError("exclude.csv names slides that the manifest lacks", got=", ".join(unknown[:8]))
    decided: list[DecidedSlide] = []
    failed: dict[str, str] = {}
    for row in rows:
        record = read_json(tree.slide(row.slide_id).record)
        if row.slide_id in excluded:
            continue
        if record["state"] == "failed":
            failed[row.slide_id] = record["error"]["message"]
            continue
        decided.append(decide_slide(row, record, recipe, tree))
    summary = dataset_plan(d.summary for d in decided)
    kept = [d for d in decided if d.kept_count]
    record = {
        "revision": REVISION["plan"],
        "plan_digest": plan_digest(recipe),
        "plan": summary.to_dict(),
        "states": _states(rows, decided, failed, excluded),
        "kept_slides": sorted(d.slide_id for d in kept),
        "sources": {row.slide_id: row.source or "" for row in rows},
    }
    _report_losses(record, reporter)
    write_bytes(tree.plan_record, json_bytes(record | {"split": None}))
    require_enough(summary, failed, recipe.max_failed)
    _require_one_kind_of_pixels(kept, recipe)
    units = units_of([(d.row, d.record, d.kept_cells) for d in kept], recipe.split.by, tree)
    assignment = assigned(units, recipe, tree)
    record["split"] = split_table([u.group for u in units], assignment, recipe.split).to_dict()
    _require_whole_groups(units, assignment)
    record["duplicates"] = [pair.to_dict() for pair in _duplicates(kept, units, assignment, tree, reporter)]
    if cohort_fallback:
        ids = {name: row.slide_id for row in rows for name in (row.raw_id, row.slide_id)}
        train = _train(kept, assignment, units)
        stains = fit_stains(
            [d.record for d in kept], recipe, tree, recipe_path=recipe_path, train=train, slide_ids=ids
        )  # fmt: skip
    else:
        stains = fit_stains([d.record for d in kept], recipe, tree, keep_image=True)
    record["stain"] = None if stains is None else stains.to_dict()
    _write_slices(kept, recipe, tree, stains)
    write_bytes(tree.split, table_bytes(split_rows(units, assignment), {"leaking": assignment.leaking}))
    write_bytes(tree.plan, table_bytes(pa.concat_tables([d.table() for d in decided])))
    record_recipe(tree, recipe)
    write_bytes(tree.plan_record, json_bytes(record))
    forecast = summary.forecast
    reporter.say(f"plan: {len(kept)} slides, {forecast.patches} patches, at most {forecast.raw_bytes / 1e9:.2f} GB")
    return record


def write_slice(decided: DecidedSlide, recipe: Recipe, tree: DatasetTree, stains: Stains | None) -> bool:
    """Write a slide's slice of the plan where its bytes change; True if written.

    Raises:
        StainError: see ``Stains.of``.
    """
    recipe = recipe.for_source(decided.row.source)
    kept = pa.table(columns_of(decided.candidates, decided.decisions.kept))
    record = decided.record
    metadata = {
        "revision": REVISION["plan"],
        "slide_id": decided.slide_id,
        "identity": record["identity"],
        "annotation_digest": record["annotation"]["digest"],
        "annotation_state": decided.row.annotation_state,
        "labels": list(recipe.labels),
        "scale": record["scale"],
        "patch_size_px": recipe.sampling.patch_size_px,
        "pixels": record["pixels"],
        "spacing_um": record["spacing_um"],
        "stain": None if stains is None else stains.of(decided.slide_id),
    }
    return write_bytes_if_changed(tree.plan_slice(decided.slide_id), table_bytes(kept, metadata))


def _states(
    rows: Sequence[SlideRow], decided: Sequence[DecidedSlide], failed: Mapping[str, str], excluded: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """slide id -> its one state and the reason; every row of the manifest has one."""
    kept = {d.slide_id: d for d in decided}
    states: dict[str, dict[str, Any]] = {}
    for row in rows:
        slide_id = row.slide_id
        if slide_id in excluded:
            states[slide_id] = {"state": "excluded", "reason": excluded[slide_id] or "listed in exclude.csv"}
        elif slide_id in failed:
            states[slide_id] = {"state": "failed", "reason": failed[slide_id]}
        elif kept[slide_id].kept_count:
            states[slide_id] = {"state": "planned", "reason": ""}
        else:
            states[slide_id] = {"state": "empty", "reason": kept[slide_id].summary.reason}
    return states


def _report_losses(record: Mapping[str, Any], reporter: Reporter) -> None:
    for item in record["plan"]["keep_nothing"]:
        share = item["best_share"]
        reporter.say(
            f"{item['slide_id']} keeps nothing: {item['reason']}", level="warning",
            best_share=None if share is None else round(share, 4),
        )  # fmt: skip
    lost = record["plan"]["lost_lesions"]
    if lost:
        reporter.say(f"{len(lost)} lesion(s) are in no kept cell; plan.json lists them", level="warning")


def _require_whole_groups(units: Sequence[Unit], assignment: Assignment) -> None:
    torn = [] if assignment.leaking else check_leaks([unit.group for unit in units], assignment)
    if torn:
        raise SplitError("a group is in two splits", got=", ".join(torn[:8]), fix="correct the manifest or splits.csv")


def _duplicates(
    kept: Sequence[DecidedSlide],
    units: Sequence[Unit],
    assignment: Assignment,
    tree: DatasetTree,
    reporter: Reporter,
) -> tuple[DuplicatePair, ...]:
    """Slides and tiles that are there twice, or look so.

    Raises:
        SplitError: identical files, or pictures of two patients in two splits that are nearly the same.
    """
    records = {d.slide_id: d.record for d in kept}
    entries = [duplicate_entry(unit, records[unit.slide_id], assignment) for unit in units]
    pairs = find_duplicates(entries, read_allowed_duplicates(tree.allowed_duplicates))
    for pair in pairs:
        if pair.verdict == "warning":
            reporter.say(f"{pair.slide_a} and {pair.slide_b} may be one slide: {pair.reason}", level="warning")
    require_no_duplicates(pairs)
    return pairs


def _require_one_kind_of_pixels(kept: Sequence[DecidedSlide], recipe: Recipe) -> None:
    """Stored levels and area means of level 0 differ by about 30 dB; do not mix them unless told to."""
    if recipe.mix_pixels:
        return
    averaged = [d for d in kept if not d.record["pixels"]["from_stored"]]
    stored = [d for d in kept if d.record["pixels"]["from_stored"] and d.record["pixels"]["source_level"] > 0]
    if averaged and stored:
        raise PlanError(
            "some slides have the level and others must be averaged from level 0",
            got=f"{len(stored)} stored, {len(averaged)} averaged, such as {averaged[0].slide_id}",
            expected="one kind of pixels in a dataset",
            fix="pixels: level0 for all, or mix_pixels: true if you accept the difference",
        )


def _train(kept: Sequence[DecidedSlide], assignment: Assignment, units: Sequence[Unit]) -> list[str]:
    """Slides of which nothing is held out."""
    # A collection whose tiles are in several splits has one histogram for all: it trains nobody's target.
    held_out = {u.slide_id for u in units if assignment.places[u.group.slide_id].split not in _TRAINING}
    return [d.slide_id for d in kept if d.slide_id not in held_out]


def _write_slices(kept: Sequence[DecidedSlide], recipe: Recipe, tree: DatasetTree, stains: Stains | None) -> None:
    for decided in kept:
        write_slice(decided, recipe, tree, stains)
    wanted = {tree.plan_slice(d.slide_id) for d in kept}
    folder = tree.plan_slice("x").parent
    for path in sorted(folder.glob("*.parquet")):
        if path not in wanted:
            path.unlink()
