"""Losses on logits: cross-entropy, soft Dice, and their sum. Pixels of value 255 take no part.

With one logit the foreground is class 1 (sigmoid); with K logits the classes are 0..K-1 (softmax).
Everything is computed in float32, whatever the precision of the network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from wsiprep.config import IGNORE
from wsiprep.errors import UsageError

Loss = Callable[[Tensor, Tensor], Tensor]

DICE_SMOOTH = 1.0


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy (binary for one logit) over the annotated pixels; 0 where there are none.

    HI-Net's Eq. 2-3 with the minus sign that Eq. 2 lacks in print.

    Args:
        logits: (N, K, H, W).
        target: integers (N, H, W), 255 is left out.
    """
    logits, known = logits.float(), target != IGNORE
    if logits.shape[1] == 1:
        foreground = (target == 1).float()
        per_pixel = functional.binary_cross_entropy_with_logits(logits[:, 0], foreground, reduction="none")
        per_pixel = per_pixel * known
    else:
        # One-hot and not nll_loss: its CUDA kernel has no deterministic form.
        chosen = _one_hot(target, known, logits.shape[1])
        per_pixel = -(functional.log_softmax(logits, dim=1) * chosen).sum(dim=1)
    return per_pixel.sum() / known.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of the foreground classes, pooled over the batch, mean over the classes.

    (2 sum p t + 1) / (sum p + sum t + 1) per class; the ones make it defined where a class is absent.

    Args:
        logits: (N, K, H, W).
        target: integers (N, H, W), 255 is left out.
    """
    logits, known = logits.float(), target != IGNORE
    if logits.shape[1] == 1:
        probability, truth = torch.sigmoid(logits), (target == 1)[:, None].float()
    else:
        probability = torch.softmax(logits, dim=1)[:, 1:]
        truth = _one_hot(target, known, logits.shape[1])[:, 1:]
    weight = known[:, None]
    axes = (0, 2, 3)
    common = (probability * truth * weight).sum(axes)
    total = ((probability + truth) * weight).sum(axes)
    return 1 - ((2 * common + DICE_SMOOTH) / (total + DICE_SMOOTH)).mean()


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of :func:`cross_entropy` and :func:`dice`."""
    return cross_entropy(logits, target) + dice(logits, target)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dice": dice, "dice_ce": dice_cross_entropy}


def loss_function(name: str) -> Loss:
    """A loss by its name in recipes.

    Raises:
        UsageError: no such loss.
    """
    if name not in LOSSES:
        raise UsageError("unknown loss", got=name, expected=", ".join(LOSSES))
    return LOSSES[name]


def _one_hot(target: Tensor, known: Tensor, n_classes: int) -> Tensor:
    """float32 (N, K, H, W); all zero where nothing is annotated."""
    classes = torch.arange(n_classes, device=target.device).view(1, -1, 1, 1)
    return ((target[:, None] == classes) & known[:, None]).float()
