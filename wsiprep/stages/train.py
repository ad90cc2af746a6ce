"""train: one run on a sealed dataset, with the recipe's settings and the options on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe, parse_override
from wsiprep.errors import UsageError
from wsiprep.progress import Reporter
from wsiprep.store import Dataset
from wsiprep.training import OtherRunError, TrainingRun, fit_model


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The options of ``wsiprep train``; settings that are None come from the recipe."""

    model: str
    seed: int = 0
    fold: int | None = None
    device: str = "auto"
    workers: int = 0
    resume: Literal["no", "same", "must"] = "no"
    model_options: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def train(request: TrainRequest, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> Path:
    """Train and test one model; returns the run's folder.

    Raises:
        StoreError: the dataset is not sealed.
        TrainingError: the model, its options or a checkpoint do not fit.
    """
    run = training_run(request, recipe, tree)
    dataset = Dataset(tree.root)
    if run.stain is None and recipe.stain.method != "none" and recipe.stain.when == "load":
        reporter.say(
            "the dataset keeps scanned pixels and training.stain is not set: training on scanned pixels",
            level="warning", expected="training.stain: fit to normalise them",
        )  # fmt: skip
    if run.fold is None and run.val_split not in dataset.splits:
        # Said, not hidden: without a validation split the last epoch is the one that is tested.
        reporter.say("the dataset has no val split: the last epoch is tested", level="warning")
        run = replace(run, val_split=None)
    try:
        return fit_model(run, reporter)
    except OtherRunError as error:
        if request.resume != "same":
            raise
        reporter.say(f"{error.message}: starting afresh", level="warning")
        return fit_model(replace(run, resume=False), reporter)


def training_run(request: TrainRequest, recipe: Recipe, tree: DatasetTree) -> TrainingRun:
    """The full description of a run: recipe, then options."""
    section = recipe.training
    chosen: dict[str, Any] = {
        "epochs": section.epochs,
        "batch_size": section.batch_size,
        "learning_rate": section.learning_rate,
        "precision": section.precision,
        "augmentation": section.augmentation,
        "loss": section.loss,
        "augment_on": section.augment_on,
        "jitter": section.jitter,
        "stain": section.stain,
        "order": section.order,
        "window_files": section.window_files,
        "save_every_steps": section.save_every_steps,
        "crop_px": section.crop_px,
    }
    chosen |= {key: value for key, value in request.settings.items() if value is not None}
    options: dict[str, Any] = dict(section.options.get(request.model, {}))
    for item in request.model_options:
        keys, value = parse_override(item)
        if len(keys) != 1:
            raise UsageError("--option wants key=value", got=item)
        options[keys[0]] = value
    if recipe.split.kind == "folds" and request.fold is None:
        raise UsageError("the dataset has folds", expected=f"--fold 0 to {recipe.split.folds - 1}")
    return TrainingRun(
        root=tree.root,
        model=request.model,
        options=options,
        seed=request.seed,
        fold=request.fold,
        device=request.device,
        num_workers=request.workers,
        resume=request.resume != "no",
        **chosen,
    )
