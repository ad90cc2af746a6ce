"""The Lightning module: normalise, predict, loss, confusion matrices, Adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsiprep.errors import TrainingError, UsageError
from wsiprep.training.checkpoint import IDENTITY
from wsiprep.training.counting import ConfusionCounter, predict_classes
from wsiprep.training.guarded_lightning import LightningModule
from wsiprep.training.losses import loss_function
from wsiprep.training.metrics import SCORE_NAMES, Scores, scores
from wsiprep.training.spec import Normalisation

ADAM_BETAS = (0.9, 0.999)
_EPOCH_SO_FAR = "wsiprep_epoch_so_far"


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What the module needs beside the network.

    Attributes:
        n_classes: classes of the dataset, background included.
        loss: name of the loss.
        learning_rate: of Adam, constant.
        seed: of what is random within an epoch (dropout).
        normalisation: of the images.
        identity: what the checkpoint says about itself; JSON.
        augmentation: applied to training batches on their device; None leaves them as they are loaded.
    """

    n_classes: int
    loss: str
    learning_rate: float
    seed: int
    normalisation: Normalisation
    identity: Mapping[str, Any]
    augmentation: Callable[[dict[str, Any]], dict[str, Any]] | None = None


class SegmentationTask(LightningModule):
    """Trains one network on batches of ``PatchDataset`` items.

    Raises:
        UsageError: the network's number of logits does not fit the classes, or an unknown loss.
        TrainingError: (while training) the loss is not finite.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, settings: TaskSettings) -> None:
        super().__init__()
        check_classes(net, settings.n_classes)
        self.net = net
        self.settings = settings
        self.loss = loss_function(settings.loss)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(settings.normalisation, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values)
        self.validation = ConfusionCounter(settings.n_classes)
        self.test = ConfusionCounter(settings.n_classes)
        self._loss_sum: Tensor | None = None
        self._images = 0

    def forward(self, image: Tensor) -> Tensor:
        """Logits of uint8 images (N, 3, H, W)."""
        logits: Tensor = self.net((image.float() - self.mean) / self.std)
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.settings.learning_rate, betas=ADAM_BETAS)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        augment = self.settings.augmentation
        return augment(batch) if augment is not None and self.trainer.training else batch

    def on_train_epoch_start(self) -> None:
        self._loss_sum, self._images = None, 0

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        # Seeded anew each step: dropout after a resume is what it would have been, though loaders
        # draw from the same generator whenever they are started.
        place = np.random.SeedSequence([self.settings.seed, self.current_epoch, batch_idx])
        torch.manual_seed(int(place.generate_state(1)[0]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self.loss(self._train_logits(batch["image"]), batch["mask"])
        n = batch["image"].shape[0]
        weighted = loss.detach() * n
        self._loss_sum = weighted if self._loss_sum is None else self._loss_sum + weighted
        self._images += n
        return loss

    def _train_logits(self, image: Tensor) -> Tensor:
        try:
            logits: Tensor = self(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(
                "a batch has too few pixels for BatchNorm at the network's lowest resolution",
                got=f"{image.shape[0]} image of {image.shape[3]} x {image.shape[2]} px",
                fix="take larger crops, or a batch size that leaves no single image over",
            ) from error
        return logits

    def train_loss(self) -> float:
        """Mean loss of the epoch's images so far.

        Raises:
            TrainingError: it is not finite.
        """
        value = float("nan") if self._loss_sum is None else float(self._loss_sum) / self._images
        if not np.isfinite(value):
            raise TrainingError(
                "the training loss is not finite",
                got=f"{value} in epoch {self.current_epoch + 1}",
                fix="lower the learning rate, or train with precision 32",
            )
        return value

    @property
    def images_seen(self) -> int:
        """Images of the epoch so far."""
        return self._images

    def on_validation_epoch_start(self) -> None:
        self.validation.reset()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validation.add(predict_classes(self(batch["image"])), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        found = scores(self.validation.matrix)
        self.log_dict({f"val_{name}": getattr(found, name) for name in SCORE_NAMES}, batch_size=1)

    def on_test_epoch_start(self) -> None:
        self.test.reset()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.test.add(predict_classes(self(batch["image"])), batch["mask"])

    def test_scores(self) -> Scores:
        """Scores of what was tested last, pooled over all pixels."""
        return scores(self.test.matrix)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[IDENTITY] = dict(self.settings.identity)
        checkpoint[_EPOCH_SO_FAR] = {"loss_sum": self._loss_sum, "images": self._images}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # An epoch that is resumed in its middle does not start again.
        so_far = checkpoint[_EPOCH_SO_FAR]
        self._loss_sum, self._images = so_far["loss_sum"], so_far["images"]


def check_classes(net: nn.Module, n_classes: int) -> None:
    """One logit a class, or a single one where there is one label.

    Raises:
        UsageError: neither.
    """
    logits = getattr(net, "n_classes", None)
    if logits != n_classes and not (logits == 1 and n_classes == 2):
        raise UsageError(
            "the model's classes do not fit the dataset's",
            got=f"n_classes={logits}",
            expected=f"{n_classes} (background and the labels){' or 1' if n_classes == 2 else ''}",
        )
