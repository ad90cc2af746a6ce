"""One training, from a sealed dataset to a run's folder.

runs/{model}/{seed0[-fold1]}/
  metrics.csv   a row an epoch
  best.ckpt     by validation MIoU (absent without a validation split)
  last.ckpt     after the last epoch, or the last saved step; what ``resume`` goes on from
  run.json      written last: what was trained, on what, where, and its scores on the test split
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from wsiprep.artifacts import write_json
from wsiprep.errors import TrainingError, from_os_error
from wsiprep.models import create_model
from wsiprep.progress import NullReporter, Reporter
from wsiprep.store import Dataset
from wsiprep.training.callbacks import BEST, HISTORY, LAST, History, StepProgress, checkpoints
from wsiprep.training.checkpoint import epochs_done, load_checkpoint
from wsiprep.training.data import PatchDataset
from wsiprep.training.guarded_lightning import Trainer, seed_everything
from wsiprep.training.loader import make_loader
from wsiprep.training.on_device import DeviceAugmentation
from wsiprep.training.pixels import class_pixels, normalisation_of
from wsiprep.training.record import hardware, model_record, peak_memory_bytes, versions
from wsiprep.training.sampler import EpochSampler, ShardSampler
from wsiprep.training.spec import RUN_RECORD, TrainingRun
from wsiprep.training.task import SegmentationTask, TaskSettings
from wsiprep.training.trainer import fit, make_trainer, quiet_lightning

RUN_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunData:
    """The splits of one run; ``val`` is None where the last checkpoint is taken."""

    train: PatchDataset
    val: PatchDataset | None
    test: PatchDataset


def fit_model(spec: TrainingRun, reporter: Reporter | None = None) -> Path:
    """Train, evaluate on the test split, and write the run's folder.

    Args:
        spec: the training.
        reporter: who hears about each epoch, and shows the steps.

    Returns:
        The run's folder.

    Raises:
        StoreError: the dataset is not sealed, or damaged.
        UsageError: no such model, option or split, or a precision that the device has not.
        TrainingError: a split without annotation, a checkpoint of another run, or a loss that is not finite.
        StorageError: the folder cannot be written.
    """
    reporter = NullReporter() if reporter is None else reporter
    data = _open_splits(spec)
    _require_annotation(data)
    try:
        return _fit_and_test(spec, data, reporter)
    except OSError as error:
        raise from_os_error(error, path=error.filename or spec.folder) from error


def _fit_and_test(spec: TrainingRun, data: RunData, reporter: Reporter) -> Path:
    last = spec.folder / LAST if spec.resume and (spec.folder / LAST).exists() else None
    with quiet_lightning():
        seed_everything(spec.seed, verbose=False)
        task = build_task(spec, data.train)
        first = 0 if last is None else epochs_done(last, task.settings.identity, spec.epochs)
        history = History(spec.folder / HISTORY, spec.epochs, reporter)
        progress = StepProgress(f"{spec.model} {spec.name}", reporter)
        trainer = make_trainer(
            spec.device,
            spec.precision,
            deterministic=spec.deterministic,
            max_epochs=spec.epochs,
            callbacks=[progress, history, *checkpoints(spec.folder, spec.save_every_steps, validated=bool(data.val))],
            enable_progress_bar=False,
            default_root_dir=spec.folder,
        )
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        # Only now, when nothing about the request can be wrong any more, is an earlier run given up.
        _clear(spec.folder, resumed=last is not None)
        if last is not None:
            reporter.say(f"resuming after epoch {first}")
        fit(trainer, task, _loaders(spec, data, first), last)
        tested = _test(spec, trainer, task, data)
    record = _record(spec, data, task, history)
    record |= {"hardware": hardware(device), "peak_memory_bytes": peak_memory_bytes(device), "test": tested}
    write_json(spec.folder / RUN_RECORD, record)
    reporter.say(f"trained {spec.model} {spec.name}", test_miou=round(tested["scores"]["miou"], 4))
    return spec.folder


def build_task(spec: TrainingRun, train: PatchDataset) -> SegmentationTask:
    """The Lightning module of a run, with fresh weights and the train split's normalisation."""
    dataset = train.dataset
    n_classes = len(dataset.labels) + 1
    options = {"n_classes": n_classes} | dict(spec.options)
    net = create_model(spec.model, **options)
    normalisation = normalisation_of(dataset, train.rows)
    identity = {
        "digest": spec.digest,
        "dataset_digest": dataset.digest,
        "model": spec.model,
        "options": options,
        "labels": list(dataset.labels),
        "loss": spec.loss,
        "stain": scored_stain(spec.stain),
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }
    return SegmentationTask(
        net,
        TaskSettings(
            n_classes, spec.loss, spec.learning_rate, spec.seed, normalisation, identity, _on_device(spec, dataset)
        ),
    )


def _on_device(spec: TrainingRun, dataset: Dataset) -> DeviceAugmentation | None:
    flips = spec.augment_on == "device" and spec.augmentation == "flips"
    if not flips and not spec.jitter:
        return None
    return DeviceAugmentation(spec.seed, dataset.patch_size_px, spec.crop_px, flips, spec.jitter)


def _open_splits(spec: TrainingRun) -> RunData:
    train = PatchDataset(
        spec.root,
        spec.train_split,
        fold=spec.fold,
        crop_px=spec.crop_px,
        augmentation="none" if spec.augment_on == "device" else spec.augmentation,
        seed=spec.seed,
        stain=spec.stain,
    )
    stain = scored_stain(spec.stain)
    val = None if spec.val_split is None else PatchDataset(spec.root, spec.val_split, fold=spec.fold, stain=stain)
    return RunData(train, val, PatchDataset(spec.root, spec.test_split, fold=spec.fold, stain=stain))


def scored_stain(stain: str | None) -> str | None:
    """How stains are treated where a model is scored: as in training, but nothing random is done to them."""
    return None if stain == "augment" else stain


def _require_annotation(data: RunData) -> None:
    for name, part in (("train", data.train), ("val", data.val), ("test", data.test)):
        if part is not None and not any(class_pixels(part.dataset, part.rows)):
            raise TrainingError(
                f"no pixel of the {name} split is annotated",
                got=f"{len(part)} patches, all 255",
                fix="choose other splits, or annotate some of its slides",
            )


def _clear(folder: Path, *, resumed: bool) -> None:
    """Until the run is done again its folder must not look finished; a fresh start keeps nothing of an earlier one."""
    for name in (RUN_RECORD,) if resumed else (RUN_RECORD, LAST, BEST, HISTORY):
        (folder / name).unlink(missing_ok=True)


def _loaders(
    spec: TrainingRun, data: RunData, first_epoch: int
) -> tuple[DataLoader[dict[str, Any]], DataLoader[dict[str, Any]] | None]:
    sampler = EpochSampler(len(data.train), spec.seed, first_epoch=first_epoch)
    if spec.order == "stream":
        files = data.train.dataset.shard_files(data.train.rows)
        sampler = ShardSampler(files, spec.seed, window_files=spec.window_files, first_epoch=first_epoch)
    train = make_loader(data.train, spec.batch_size, sampler=sampler, num_workers=spec.num_workers)
    if data.val is None:
        return train, None
    return train, make_loader(data.val, spec.batch_size, num_workers=spec.num_workers)


def _test(spec: TrainingRun, trainer: Trainer, task: SegmentationTask, data: RunData) -> dict[str, Any]:
    chosen = BEST if data.val is not None else LAST
    state = load_checkpoint(spec.folder / chosen)
    task.load_state_dict(state["state_dict"])
    loader = make_loader(data.test, spec.batch_size, num_workers=spec.num_workers)
    started = time.monotonic()
    trainer.test(task, loader, verbose=False)
    seconds = time.monotonic() - started
    return {
        "split": spec.test_split,
        "checkpoint": chosen,
        "epoch": int(state["epoch"]) + 1,
        "patches": len(data.test),
        "confusion": task.test.matrix.tolist(),
        "scores": task.test_scores().to_dict(),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(data.test) / seconds, 3),
    }


def _record(spec: TrainingRun, data: RunData, task: SegmentationTask, history: History) -> dict[str, Any]:
    dataset = data.train.dataset
    identity = task.settings.identity
    seconds = sum(row["train_seconds"] for row in history.rows)
    images = sum(row["images"] for row in history.rows)
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "training": spec.recorded(),
        "training_digest": spec.digest,
        "dataset": {
            "name": dataset.record["name"],
            "dataset_digest": dataset.digest,
            "pixels_digest": dataset.record["pixels_digest"],
            "recipe_digest": dataset.record["recipe_digest"],
            "synthetic": bool(dataset.record["synthetic"]),
            "labels": list(dataset.labels),
        },
        "patches": {"train": len(data.train), "val": 0 if data.val is None else len(data.val), "test": len(data.test)},
        "model": model_record(spec.model, dict(identity["options"]), task.net),
        "normalisation": {"mean": identity["mean"], "std": identity["std"]},
        "optimiser": "Adam, betas 0.9 and 0.999, constant rate, no weight decay",
        "versions": versions(),
        "train_seconds": round(seconds, 3),
        "train_images_per_second": round(images / seconds, 3),
    }
