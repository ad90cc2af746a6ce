"""What the Snakemake rules ask: inputs that exist, digests that decide reruns, names of training runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe, digest_of, plan_digest
from wsiprep.config.digest import survey_digest
from wsiprep.errors import StoreError, UsageError
from wsiprep.manifest import SlideRow
from wsiprep.slides.collections import is_collection
from wsiprep.stages.revisions import REVISION
from wsiprep.store.receipts import drop_broken_receipts

WORKFLOW_PARTS = ("Snakefile", "pipelines", "manifests")


def overrides_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """``--set`` items from Snakemake's config: a list, or one string with items separated by spaces."""
    value = config.get("set") or []
    return tuple(value.split() if isinstance(value, str) else [str(item) for item in value])


def known_inputs(row: SlideRow) -> list[str]:
    """The local files that survey of a row reads and that exist: a missing one is for survey to record.

    Corrections and readings of several people are among them, so that an edited one surveys its slide again.
    Folders of tiles are not: to Snakemake a folder is as old as the last name that came or went in it, so it
    would not see an edited tile. ``survey_params`` watches their files.
    """
    paths = [row.slide, row.annotation, row.tissue, *row.corrections, *(path for _, path in row.annotators)]
    return [p for p in dict.fromkeys(paths) if p is not None and "://" not in p and Path(p).is_file()]


def survey_params(row: SlideRow, recipe: Recipe) -> str:
    """What decides whether a slide is surveyed again, beside the times of its files.

    For collections also names, sizes and times of the files in their folders, and of the tables beside stacks.
    """
    own = recipe.for_source(row.source)
    parts = [REVISION["survey"], survey_digest(own), row.survey_digest()]
    if "://" not in row.slide and is_collection(row.slide):
        parts.append(_files_of_collection(row, own))
    return digest_of(parts)[:16]


def _files_of_collection(row: SlideRow, recipe: Recipe) -> list[list[object]]:
    """Path, size and time (ns) of every file that belongs to a collection beside those in ``known_inputs``."""
    found: list[list[object]] = []
    for root in dict.fromkeys(path for path in (row.slide, row.annotation) if path is not None):
        if Path(root).is_dir():
            for folder, names, files in os.walk(root):
                names.sort()
                found += [_file_state(Path(folder) / name, Path(root)) for name in sorted(files)]
    if not Path(row.slide).is_dir():
        beside = Path(row.slide).parent
        tables = (recipe.collection.table, recipe.collection.tissue)
        found += [_file_state(beside / name, beside) for name in tables if name is not None]
    return found


def _file_state(path: Path, root: Path) -> list[object]:
    # Names that are no UTF-8 are survey's to refuse; here they only have to be JSON.
    name = ascii(path.relative_to(root).as_posix())
    try:
        status = path.stat()
    except OSError:
        return [name, -1, -1]
    return [name, status.st_size, status.st_mtime_ns]


def plan_params(rows: Iterable[SlideRow], recipe: Recipe) -> str:
    """What decides whether the plan is made again: the recipe's part, and who is whose patient."""
    people = [[r.slide_id, r.patient, r.centre, r.split, r.fold, r.source, dict(r.extra)] for r in rows]
    return digest_of([REVISION["plan"], plan_digest(recipe), people])[:16]


def training_params(recipe: Recipe, model: str, run: str) -> str:
    """What decides whether a run is trained again, beside the dataset."""
    elsewhere, no_result = {"models", "seeds", "folds", "options"}, {"augment_on", "save_every_steps"}
    section = recipe.training.model_dump(mode="json", exclude=elsewhere | no_result)
    return digest_of([REVISION["train"], section, recipe.training.options.get(model, {}), run])[:16]


def drop_broken_promises(tree: DatasetTree) -> list[str]:
    """Slides that must be packed again although Snakemake would not see it; their ids, sorted.

    Snakemake does not look at intermediate files of a finished target. A receipt whose shard is gone or cut
    short is removed, and so is the seal (dataset.json) of a dataset that lacks a receipt: without them both are
    made again.
    """
    dropped = set(drop_broken_receipts(tree))
    if tree.plan_record.exists() and tree.dataset_record.exists():
        try:
            kept = read_json(tree.plan_record)["kept_slides"]
        except StoreError:
            kept = []
        dropped |= {slide_id for slide_id in kept if not tree.receipt(slide_id).exists()}
    if dropped:
        tree.dataset_record.unlink(missing_ok=True)
    return sorted(dropped)


def run_names(recipe: Recipe, config: Mapping[str, Any]) -> list[str]:
    """``model/seedS`` or ``model/seedS-foldF`` for every run that is asked for."""
    asked = str(config.get("models") or "")
    models = tuple(name.strip() for name in asked.split(",") if name.strip()) or recipe.training.models
    folds: tuple[int | None, ...] = (None,)
    if recipe.split.kind == "folds":
        folds = recipe.training.folds or tuple(range(recipe.split.folds))
    return [
        f"{model}/seed{seed}" + ("" if fold is None else f"-fold{fold}")
        for model in models
        for seed in recipe.training.seeds
        for fold in folds
    ]


def run_seed(run: str) -> int:
    """The seed in the name of a run."""
    return int(run.removeprefix("seed").split("-")[0])


def run_fold_option(run: str) -> str:
    """The command-line option for the fold in a run's name, or nothing."""
    return f"--fold {run.split('-fold')[1]}" if "-fold" in run else ""


def workflow_home() -> Path:
    """Where the workflow's files lie: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    for home in (package / "workflow", package.parent):
        if all((home / part).exists() for part in WORKFLOW_PARTS):
            return home
    raise UsageError("this installation has no workflow files", fix="install wsiprep from its wheel or checkout")


def copy_workflow(folder: Path, *, force: bool = False) -> list[Path]:
    """Copy Snakefile, pipelines/ and manifests/ into ``folder``; returns what was written.

    Raises:
        UsageError: a target exists and ``force`` is off.
    """
    home = workflow_home()
    targets = [folder / part for part in WORKFLOW_PARTS]
    present = [str(t) for t in targets if t.exists()]
    if present and not force:
        raise UsageError(
            "files are there already", got=", ".join(present), fix="choose another folder, or --force to replace them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for part, target in zip(WORKFLOW_PARTS, targets, strict=True):
        source = home / part
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    return targets
