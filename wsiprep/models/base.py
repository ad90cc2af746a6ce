"""What every segmentation network here shares: input checks, padding, cropping, counting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiprep.errors import UsageError

IN_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """The size of a network in the two conventions in which papers print it.

    Attributes:
        trainable: elements of all parameters (PyTorch's usual count).
        with_bn_stats: that plus running means and variances, Keras' and Paddle's "total parameters".
    """

    trainable: int
    with_bn_stats: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count a network's parameters; it may live on the meta device."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    statistics = sum(b.numel() for n, b in model.named_buffers() if n.endswith(("running_mean", "running_var")))
    return ParameterCount(trainable, trainable + statistics)


class SegmentationModel(nn.Module, ABC):
    """A network (N, 3, H, W) float -> logits (N, n_classes, H, W) of the same size, for any size.

    The one padding rule: images are padded at the bottom and right by reflection to the next
    multiple of ``size_divisor``, and the logits are cropped back. A subclass implements
    :meth:`logits`, which sees only such sizes. With ``n_classes`` 1 the logit is that of the
    foreground (sigmoid), else one logit a class (softmax).

    Args:
        n_classes: number of logits.
        size_divisor: 2 to the number of halvings of the network.

    Raises:
        UsageError: fewer than one class.
    """

    def __init__(self, n_classes: int, size_divisor: int) -> None:
        super().__init__()
        if n_classes < 1:
            raise UsageError("a model needs at least one class", got=n_classes, expected=">= 1")
        self.n_classes = n_classes
        self.size_divisor = size_divisor

    @abstractmethod
    def logits(self, image: Tensor) -> Tensor:
        """Logits of an image whose sides are multiples of ``size_divisor``, at its full size."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, n_classes, H, W).

        Raises:
            UsageError: not (N, 3, H, W) floats, or a side shorter than ``size_divisor``.
        """
        self._check(image)
        height, width = image.shape[-2:]
        below, right = -height % self.size_divisor, -width % self.size_divisor
        if below or right:
            image = functional.pad(image, (0, right, 0, below), mode="reflect")
        return self.logits(image)[..., :height, :width]

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != IN_CHANNELS:
            raise UsageError(
                "a model takes a batch of RGB images", got=tuple(image.shape), expected=f"(N, {IN_CHANNELS}, H, W)"
            )
        if not torch.is_floating_point(image):
            raise UsageError(
                "a model takes normalised floats", got=image.dtype, fix="divide by 255 or normalise before the model"
            )
        if min(image.shape[-2:]) < self.size_divisor:
            raise UsageError(
                "the image is too small for this model",
                got=f"{image.shape[-1]} x {image.shape[-2]} px",
                expected=f"at least {self.size_divisor} px on each side",
                fix="use larger patches or crops, or a shallower model",
            )


def resize(features: Tensor, size: tuple[int, int] | torch.Size, mode: str = "bilinear") -> Tensor:
    """Interpolate maps to ``size`` (H, W): ``bilinear`` with half-pixel centres, or ``nearest``."""
    if features.shape[-2:] == torch.Size(size):
        return features
    if mode == "nearest":
        return functional.interpolate(features, size=size, mode="nearest")
    return functional.interpolate(features, size=size, mode=mode, align_corners=False)
