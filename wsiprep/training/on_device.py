"""Augmentation of whole batches on the device that trains: symmetries and colours.

What is drawn depends on (seed, epoch, row) alone, as in ``PatchDataset``; the symmetries are the very same, so that it
makes no difference to a training where they are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsiprep.errors import UsageError
from wsiprep.training.streams import COLOUR_STREAM
from wsiprep.training.variation import draw

_LUMA = (0.299, 0.587, 0.114)
_HUE_SHARE = 0.1
"""Turns of the colour circle at a strength of 1."""


@dataclass(frozen=True, slots=True)
class DeviceAugmentation:
    """Turns and colours a batch of a ``PatchDataset``, on whichever device its tensors are.

    Attributes:
        seed: of the training.
        patch_size_px: side of the dataset's whole patches.
        crop_px: of the dataset, which cropped already: the same numbers are drawn here again.
        flips: mirror and turn images and masks, as ``augmentation="flips"`` of the dataset would.
        jitter: 0 leaves colours alone; at s brightness, contrast and saturation are multiplied by 1 - s to 1 + s,
            and hues turned by at most a tenth of a circle times s.

    Raises:
        UsageError: a jitter outside 0..1.
    """

    seed: int
    patch_size_px: int
    crop_px: int | None = None
    flips: bool = False
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 1:
            raise UsageError("colour jitter is a share", got=self.jitter, expected="0 to below 1")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with other ``image`` uint8 (n, 3, H, W) and ``mask`` uint8 (n, H, W)."""
        image, mask = batch["image"], batch["mask"]
        places = list(zip(batch["epoch"].tolist(), batch["row"].tolist(), strict=True))
        if self.flips:
            image, mask = self._turned(image, mask, places)
        if self.jitter:
            factors = np.stack([self._factors(epoch, row) for epoch, row in places])
            image = jittered(image, torch.from_numpy(factors).to(image.device))
        return batch | {"image": image, "mask": mask}

    def _turned(self, image: Tensor, mask: Tensor, places: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        side = self.patch_size_px
        drawn = [
            draw(self.seed, epoch, row, height_px=side, width_px=side, crop_px=self.crop_px, symmetries=True)
            for epoch, row in places
        ]
        ways = torch.tensor([(v.mirror, v.upside_down, v.turn) for v in drawn], device=image.device)
        # The memory format decides which kernels a network runs, and with them its last bits.
        image = turned(image, ways).contiguous(memory_format=torch.channels_last)
        return image, turned(mask, ways).contiguous()

    def _factors(self, epoch: int, row: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        rng = np.random.default_rng([self.seed, COLOUR_STREAM, epoch, row])
        scales = rng.uniform(1 - self.jitter, 1 + self.jitter, size=3)
        hue = rng.uniform(-1, 1) * 2 * np.pi * _HUE_SHARE * self.jitter
        return np.array([*scales, hue], dtype=np.float32)


def turned(pixels: Tensor, ways: Tensor) -> Tensor:
    """Each of (n, ..., H, W) mirrored left-right, top-bottom and transposed, as ``ways`` bool (n, 3) says."""
    mirror, upside_down, turn = (way.view(-1, *[1] * (pixels.ndim - 1)) for way in ways.T)
    pixels = torch.where(mirror, pixels.flip(-1), pixels)
    pixels = torch.where(upside_down, pixels.flip(-2), pixels)
    return torch.where(turn, pixels.mT, pixels) if pixels.shape[-1] == pixels.shape[-2] else pixels


def jittered(image: Tensor, factors: Tensor) -> Tensor:
    """Images uint8 (n, 3, H, W) in other colours.

    Brightness, contrast about the image's mean grey, saturation about each pixel's grey and a turn of the hue in the
    YIQ plane are linear, so all four are one affine map of the colours, in one pass.

    Args:
        factors: float32 (n, 4): brightness, contrast, saturation, angle in radians.

    Returns:
        uint8 in the memory format of ``image``, rounded to the nearest level.
    """
    brightness, contrast, saturation, angle = (factor.view(-1, 1, 1) for factor in factors.float().T)
    luma = torch.tensor(_LUMA, device=image.device)
    identity = torch.eye(3, device=image.device)
    grey = luma.expand(3, 3)
    colours = _hue_turn(angle, image.device) @ (saturation * identity + (1 - saturation) * grey)
    mean_grey = (image.float().mean(dim=(2, 3)) * luma).sum(dim=1).view(-1, 1, 1)
    matrix = brightness * contrast * colours
    # Greys stay greys under the other two maps, so what contrast adds to each channel comes through as it is.
    offset = (1 - contrast) * brightness * mean_grey
    pixels = image.permute(0, 2, 3, 1).reshape(image.shape[0], -1, 3).float()
    result = torch.baddbmm(offset, pixels, matrix.transpose(1, 2)).round_().clamp_(0, 255).to(torch.uint8)
    return result.view(image.shape[0], *image.shape[2:], 3).permute(0, 3, 1, 2)


def _hue_turn(angle: Tensor, device: torch.device) -> Tensor:
    """Matrices (n, 3, 3) of RGB that turn the hue by ``angle`` (n, 1, 1) in the YIQ plane; greys stay."""
    to_yiq = torch.tensor([_LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], device=device)
    cosine, sine, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [(one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine)]
    turn = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)
    turned_back: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return turned_back
