"""HI-Net (Li et al. 2024, metastatic breast cancer): FPN with top-down attention and a shortcut branch.

ResNet trunk -> 1x1 laterals -> top-down path, where TDA blocks weigh what goes down (Fig. 5) -> 3x3
smoothing -> semantic branch to stride 4, in which the Shortcut module (Fig. 6) replaces the chain of
panoptic FPN -> 1x1 classifier, x4 bilinear. With both switches off it is the paper's "FPN".

The paper asks for 6 groups in its GroupNorms, which divides none of the usual widths. Reading A keeps
the groups and takes the widths next to 256 and 128 that 6 and CBAM's 16 divide; reading B keeps the
widths with panoptic FPN's 32 groups. ``narrow`` is no reading of the paper: it is for small machines.
"""

from __future__ import annotations

import urllib.error
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsiprep.errors import StorageError, TemporaryError, UsageError
from wsiprep.models.base import SegmentationModel, resize
from wsiprep.models.torchvision_guard import ensure_torchvision

ATTENTION_REDUCTION = 16  # CBAM's published default; the paper gives none
SPATIAL_KERNEL = 7


@dataclass(frozen=True, slots=True)
class Reading:
    """Widths: of the pyramid, of the semantic branch, and the groups of every GroupNorm."""

    pyramid: int
    branch: int
    groups: int


READINGS = {"A": Reading(240, 120, 6), "B": Reading(256, 128, 32), "narrow": Reading(96, 48, 6)}
TRUNKS = {
    "resnet18": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "resnet101": (256, 512, 1024, 2048),
    "resnext101_32x8d": (256, 512, 1024, 2048),
}


class Trunk(nn.Module):
    """A torchvision ResNet without its classifier: image -> C2 to C5, strides 4 to 32."""

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        net = _torchvision_resnet(name, pretrained=pretrained)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.stem(image)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


def _torchvision_resnet(name: str, *, pretrained: bool) -> Any:
    ensure_torchvision()
    from torchvision import models

    try:
        return models.get_model(name, weights="DEFAULT" if pretrained else None)
    except urllib.error.URLError as error:
        raise TemporaryError(
            "the pretrained weights cannot be downloaded",
            got=error.reason,
            fix="train with pretrained=false, or go online",
        ) from error
    except OSError as error:
        raise StorageError("the pretrained weights cannot be stored", got=error, fix="set TORCH_HOME") from error


def conv_norm_relu(width_in: int, width_out: int, groups: int) -> nn.Sequential:
    """3x3 convolution without bias, GroupNorm, ReLU."""
    conv = nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(groups, width_out), nn.ReLU(inplace=True))


class TopDownAttention(nn.Module):
    """TDA: transition, then channel and spatial attention in sequence (Eq. 4-6, read as in CBAM).

    The paper's text has one pooling each where CBAM, which it cites, uses the maximum and the mean in
    both; both are used here.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        hidden = width // ATTENTION_REDUCTION
        self.transition = conv_norm_relu(width, width, groups)
        self.channel = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(hidden, width, 1, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2, bias=False)

    def forward(self, deeper: Tensor) -> Tensor:
        features = self.transition(deeper)
        pooled_mean = features.mean(dim=(2, 3), keepdim=True)
        pooled_max = features.amax(dim=(2, 3), keepdim=True)
        features = features * torch.sigmoid(self.channel(pooled_mean) + self.channel(pooled_max))
        pooled = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        weighted: Tensor = features * torch.sigmoid(self.spatial(pooled))
        return weighted


class ChainBranch(nn.Module):
    """Panoptic FPN's way of one level to stride 4: ``halvings`` x (conv, GN, ReLU, x2), at least one conv."""

    def __init__(self, widths: tuple[int, int], groups: int, halvings: int) -> None:
        super().__init__()
        pyramid, branch = widths
        inputs = [pyramid] + [branch] * (max(halvings, 1) - 1)
        self.steps = nn.ModuleList(conv_norm_relu(width, branch, groups) for width in inputs)
        self.halvings = halvings

    def forward(self, features: Tensor) -> Tensor:
        for step in self.steps:
            features = step(features)
            if self.halvings:
                features = resize(features, (2 * features.shape[-2], 2 * features.shape[-1]))
        return features


class ShortcutBranch(nn.Module):
    """The Shortcut module: one conv, GN, ReLU and a single bilinear jump to stride 4 (Fig. 6)."""

    def __init__(self, widths: tuple[int, int], groups: int, halvings: int) -> None:
        super().__init__()
        self.step = conv_norm_relu(*widths, groups)
        self.factor = 2**halvings

    def forward(self, features: Tensor) -> Tensor:
        features = self.step(features)
        return resize(features, (self.factor * features.shape[-2], self.factor * features.shape[-1]))


class HINet(SegmentationModel):
    """HI-Net and its ablations.

    Args:
        n_classes: logits; the paper has background and tumour.
        reading: ``A``, ``B`` or ``narrow``, see the module.
        trunk: ``resnet101`` (the paper's choice), ``resnet50``, ``resnext101_32x8d``, or ``resnet18``
            (not in the paper).
        tda: top-down attention; off, the deeper map goes down as it is.
        shortcut: the Shortcut module; off, panoptic FPN's chain.
        dropout: rate of Dropout2d on the sum at stride 4 (the paper's dropout ablation; place assumed).
        pretrained: ImageNet weights for the trunk, downloaded by torchvision.

    Raises:
        UsageError: unknown reading or trunk, or a rate outside [0, 1).
        TemporaryError: the weights cannot be downloaded.
    """

    def __init__(
        self,
        n_classes: int = 2,
        *,
        reading: str = "A",
        trunk: str = "resnet101",
        tda: bool = True,
        shortcut: bool = True,
        dropout: float = 0.0,
        pretrained: bool = False,
    ) -> None:
        super().__init__(n_classes, size_divisor=32)
        _check_choice("reading", reading, READINGS)
        _check_choice("trunk", trunk, TRUNKS)
        if not 0.0 <= dropout < 1.0:
            raise UsageError("dropout is a rate", got=dropout, expected="0 <= dropout < 1")
        widths, levels = READINGS[reading], TRUNKS[trunk]
        pyramid, groups = widths.pyramid, widths.groups
        self.trunk = Trunk(trunk, pretrained=pretrained)
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in levels)
        steps = range(len(levels) - 1)
        self.attention = nn.ModuleList(TopDownAttention(pyramid, groups) for _ in steps) if tda else None
        self.smoothing = nn.ModuleList(nn.Conv2d(pyramid, pyramid, 3, padding=1) for _ in levels)
        branch = ShortcutBranch if shortcut else ChainBranch
        self.branches = nn.ModuleList(branch((pyramid, widths.branch), groups, k) for k in range(len(levels)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(widths.branch, n_classes, 1)

    def logits(self, image: Tensor) -> Tensor:
        maps = [lateral(c) for lateral, c in zip(self.laterals, self.trunk(image), strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            deeper = maps[level + 1]
            if self.attention is not None:
                deeper = self.attention[level](deeper)
            maps[level] = maps[level] + resize(deeper, maps[level].shape[-2:], "nearest")
        smoothed = [smooth(p) for smooth, p in zip(self.smoothing, maps, strict=True)]
        summed = torch.stack([branch(p) for branch, p in zip(self.branches, smoothed, strict=True)]).sum(dim=0)
        return resize(self.classifier(self.dropout(summed)), image.shape[-2:])


def _check_choice(name: str, value: str, known: dict[str, Any]) -> None:
    if value not in known:
        raise UsageError(f"unknown {name}", got=value, expected=", ".join(known))
