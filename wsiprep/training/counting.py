"""Confusion matrices counted in torch, on the device where the predictions are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsiprep.config import IGNORE
from wsiprep.errors import TrainingError
from wsiprep.training.metrics import Matrix


def predict_classes(logits: Tensor) -> Tensor:
    """Classes int64 (N, H, W) of logits (N, K, H, W); one logit is foreground where it is above 0."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()
    return logits.argmax(dim=1)


class ConfusionCounter:
    """The confusion matrix of all batches so far, counted on their device."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._counts: Tensor | None = None

    def reset(self) -> None:
        self._counts = None

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Count classes (N, H, W) against an integer mask of the same shape; 255 is left out."""
        known = target != IGNORE
        truth, guess = target[known].long(), prediction[known].long()
        counts = torch.bincount(truth * self.n_classes + guess, minlength=self.n_classes**2)
        if counts.numel() != self.n_classes**2:
            raise TrainingError(
                "a mask has classes that the dataset's labels do not name",
                got=int(truth.max()),
                expected=f"0..{self.n_classes - 1} or {IGNORE}",
            )
        self._counts = counts if self._counts is None else self._counts + counts

    @property
    def matrix(self) -> Matrix:
        """int64 (K, K), rows are true classes."""
        if self._counts is None:
            return np.zeros((self.n_classes, self.n_classes), np.int64)
        return self._counts.cpu().numpy().reshape(self.n_classes, self.n_classes).astype(np.int64)
