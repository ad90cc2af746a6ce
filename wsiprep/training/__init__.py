"""Training, evaluating and comparing models on a sealed dataset. Importing this imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsiprep.training.batch import collate_patches
    from wsiprep.training.benchmark import write_benchmark
    from wsiprep.training.checkpoint import OtherRunError
    from wsiprep.training.data import PatchDataset
    from wsiprep.training.evaluate import Evaluation, evaluate_checkpoint
    from wsiprep.training.loader import StatefulLoader
    from wsiprep.training.loop import fit_model
    from wsiprep.training.metrics import Scores, confusion_matrix, scores
    from wsiprep.training.on_device import DeviceAugmentation
    from wsiprep.training.sampler import EpochSampler, ShardSampler
    from wsiprep.training.spec import TrainingRun

__all__ = [
    "DeviceAugmentation",
    "EpochSampler",
    "Evaluation",
    "OtherRunError",
    "PatchDataset",
    "Scores",
    "ShardSampler",
    "StatefulLoader",
    "TrainingRun",
    "collate_patches",
    "confusion_matrix",
    "evaluate_checkpoint",
    "fit_model",
    "scores",
    "write_benchmark",
]

_PLACES = {
    "Evaluation": "evaluate",
    "DeviceAugmentation": "on_device",
    "EpochSampler": "sampler",
    "OtherRunError": "checkpoint",
    "PatchDataset": "data",
    "Scores": "metrics",
    "ShardSampler": "sampler",
    "StatefulLoader": "loader",
    "TrainingRun": "spec",
    "collate_patches": "batch",
    "confusion_matrix": "metrics",
    "evaluate_checkpoint": "evaluate",
    "fit_model": "loop",
    "scores": "metrics",
    "write_benchmark": "benchmark",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `scores` is a function of a module of another name: no module is shadowed by what is returned.
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
