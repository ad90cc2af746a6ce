"""Score a checkpoint on a split of a sealed dataset."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.errors import TrainingError
from wsiprep.models import create_model
from wsiprep.training.checkpoint import IDENTITY, load_checkpoint
from wsiprep.training.data import PatchDataset
from wsiprep.training.loader import make_loader
from wsiprep.training.record import hardware
from wsiprep.training.spec import Normalisation
from wsiprep.training.task import SegmentationTask, TaskSettings
from wsiprep.training.trainer import make_trainer, quiet_lightning


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is scored on what.

    Attributes:
        checkpoint: ``best.ckpt`` or ``last.ckpt`` of a run.
        root: the sealed dataset's folder; its labels must be the checkpoint's.
        split: name of a split.
        fold: with k folds, the one that tests.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: ``32``, ``16-mixed`` or ``bf16-mixed``.
        batch_size: images at a time.
        num_workers: loader processes.
    """

    checkpoint: Path
    root: Path
    split: str = "test"
    fold: int | None = None
    device: str = "auto"
    precision: str = "32"
    batch_size: int = 6
    num_workers: int = 0


def evaluate_checkpoint(spec: Evaluation) -> dict[str, Any]:
    """Scores pooled over all annotated pixels of the split, as JSON.

    Returns:
        ``model``, ``dataset_digest``, ``trained_on`` (the dataset digest of the training), ``split``,
        ``fold``, ``patches``, ``confusion``, ``scores``, ``seconds``, ``images_per_second``, ``hardware``.

    Raises:
        StoreError: the dataset is not sealed, or damaged.
        UsageError: no such split or device.
        TrainingError: the checkpoint cannot be read, is for other labels, or nothing is annotated.
    """
    state = load_checkpoint(spec.checkpoint)
    identity = state[IDENTITY]
    data = PatchDataset(spec.root, spec.split, fold=spec.fold, stain=identity.get("stain"))
    if list(data.dataset.labels) != identity["labels"]:
        raise TrainingError(
            "the checkpoint was trained for other labels",
            got=", ".join(identity["labels"]),
            expected=", ".join(data.dataset.labels),
            file=spec.checkpoint,
        )
    task = load_task(state)
    with quiet_lightning():
        trainer = make_trainer(
            spec.device,
            spec.precision,
            deterministic=True,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=spec.checkpoint.parent,
        )
        started = time.monotonic()
        loader = make_loader(data, spec.batch_size, num_workers=spec.num_workers)
        trainer.test(task, loader, verbose=False)
        seconds = time.monotonic() - started
    return {
        "model": identity["model"],
        "options": identity["options"],
        "trained_on": identity["dataset_digest"],
        "dataset_digest": data.dataset.digest,
        "split": spec.split,
        "fold": spec.fold,
        "patches": len(data),
        "confusion": task.test.matrix.tolist(),
        "scores": task.test_scores().to_dict(),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(data) / seconds, 3),
        "hardware": hardware(trainer.strategy.root_device),
    }


def load_task(state: dict[str, Any]) -> SegmentationTask:
    """The module of a checkpoint, with its weights and normalisation.

    Raises:
        TrainingError: the weights are not those of the network that the checkpoint names.
    """
    identity = state[IDENTITY]
    # Pretrained weights would be downloaded to be overwritten at once.
    options = {k: v for k, v in identity["options"].items() if k != "pretrained"}
    normalisation = Normalisation(tuple(identity["mean"]), tuple(identity["std"]))
    settings = TaskSettings(len(identity["labels"]) + 1, identity["loss"], 1e-4, 0, normalisation, identity)
    task = SegmentationTask(create_model(identity["model"], **options), settings)
    try:
        task.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise TrainingError(
            "the checkpoint's weights do not fit its model",
            got=str(error).splitlines()[0],
            fix="use the wsiprep that wrote it",
        ) from error
    return task
