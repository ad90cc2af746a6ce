"""What one training is: dataset, model, seed, fold and hyperparameters. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.config import digest_of
from wsiprep.errors import UsageError

AUGMENTATIONS = ("none", "flips")
PRECISIONS = ("32", "16-mixed", "bf16-mixed")
LOSS_NAMES = ("ce", "dice", "dice_ce")
ORDERS = ("random", "stream")
PLACES = ("loader", "device")
RUN_RECORD = "run.json"
"""Written last: a run's folder without it is not finished."""

_NOT_RECORDED = {"root", "out", "device", "num_workers", "resume", "augment_on", "save_every_steps"}
_NOT_IN_DIGEST = _NOT_RECORDED | {"epochs"}

_LEAST = {
    "epochs": 1, "batch_size": 1, "num_workers": 0, "seed": 0, "crop_px": 16, "window_files": 1, "save_every_steps": 1,
}  # fmt: skip

Option = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation per channel (R, G, B), in grey levels 0-255, of the training pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One training; the defaults are HI-Net's recipe where the paper speaks.

    Attributes:
        root: the sealed dataset's folder.
        model: name of a model card.
        options: of ``create_model``; ``n_classes`` is that of the dataset unless given.
        seed: decides initial weights, order, crops, flips and dropout.
        fold: with k folds, the one that tests; the next one validates, the others train.
        train_split: split that is trained on.
        val_split: split that picks the checkpoint; None takes the last one.
        test_split: split that is reported, once, at the end.
        device: ``auto``, or a Lightning accelerator: ``cpu``, ``cuda``, ``mps``.
        precision: ``32``, ``16-mixed`` or ``bf16-mixed``.
        epochs: passes over the train split.
        batch_size: images a step.
        learning_rate: of Adam, constant.
        loss: ``ce``, ``dice`` or ``dice_ce``.
        augmentation: ``none`` or ``flips`` (the eight symmetries of the square).
        augment_on: ``loader`` or ``device``: where patches are flipped; the result is the same.
        crop_px: side of random training crops; None trains on whole patches.
        stain: None trains on the pixels as stored; else as ``PatchDataset(stain=)`` has it. ``augment`` is for
            training alone: validation and test see the pixels as stored.
        jitter: 0, or the strength of colour jitter in training (``on_device.DeviceAugmentation``).
        order: ``random``, or ``stream``: shard file by shard file (``sampler.ShardSampler``).
        window_files: shard files that ``stream`` mixes.
        save_every_steps: write ``last.ckpt`` after every so many steps too, beside each epoch's end.
        num_workers: loader processes; 0 loads in this one.
        resume: go on from ``last.ckpt`` of the run's folder where there is one.
        deterministic: ask torch for reproducible kernels (enforced on a CPU, as far as there are any elsewhere).
        out: folder of all runs; default ``runs`` of the dataset.

    Raises:
        UsageError: a value out of its range.
    """

    root: Path
    model: str
    options: Mapping[str, Option] = field(default_factory=dict)
    seed: int = 0
    fold: int | None = None
    train_split: str = "train"
    val_split: str | None = "val"
    test_split: str = "test"
    device: str = "auto"
    precision: str = "32"
    epochs: int = 70
    batch_size: int = 6
    learning_rate: float = 1e-4
    loss: str = "ce"
    augmentation: str = "none"
    augment_on: str = "loader"
    crop_px: int | None = None
    stain: str | None = None
    jitter: float = 0.0
    order: str = "random"
    window_files: int = 8
    save_every_steps: int | None = None
    num_workers: int = 0
    resume: bool = False
    deterministic: bool = True
    out: Path | None = None

    def __post_init__(self) -> None:
        _check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("loss", self.loss, LOSS_NAMES)
        _check_choice("order", self.order, ORDERS)
        _check_choice("augment_on", self.augment_on, PLACES)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is too small", got=value, expected=f">= {least}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError("learning_rate must be positive", got=self.learning_rate)
        if not 0 <= self.jitter < 1:
            raise UsageError("colour jitter is a share", got=self.jitter, expected="0 to below 1")

    @property
    def name(self) -> str:
        """``seed0`` or ``seed0-fold1``."""
        return f"seed{self.seed}" if self.fold is None else f"seed{self.seed}-fold{self.fold}"

    @property
    def folder(self) -> Path:
        """Where the run is written: ``runs/{model}/{name}``."""
        runs = DatasetTree(self.root).runs if self.out is None else self.out
        return runs / self.model / self.name

    def recorded(self) -> dict[str, Any]:
        """What decides the result, for ``run.json`` and checkpoints: no paths, no device."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_RECORDED}
        return values | {"options": dict(self.options)}

    @property
    def digest(self) -> str:
        """Runs with equal digests go through the same weights; more epochs only go further."""
        return digest_of({k: v for k, v in self.recorded().items() if k not in _NOT_IN_DIGEST})


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"unknown {name}", got=value, expected=", ".join(known))
