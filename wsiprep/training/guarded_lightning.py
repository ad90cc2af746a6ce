"""Lightning, imported behind the torchvision guard; every other module takes Lightning's names from here."""

from __future__ import annotations

from wsiprep.models.torchvision_guard import ensure_torchvision

ensure_torchvision()  # Lightning imports torchvision where it is installed, and fails with it

from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # noqa: E402
from lightning.fabric.utilities.exceptions import MisconfigurationException  # noqa: E402
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402

__all__ = [
    "Callback",
    "LightningEnvironment",
    "LightningModule",
    "MisconfigurationException",
    "ModelCheckpoint",
    "Trainer",
    "seed_everything",
]
