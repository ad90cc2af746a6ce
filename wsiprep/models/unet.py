"""U-Net (Ronneberger et al. 2015) and the variants that the source papers trained, as one class.

All use "same" padding. What differs between published "U-Nets" is the normalisation, how the
decoder goes up, the widths of the decoder and the head's kernel; a parameter count tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsiprep.errors import UsageError
from wsiprep.models.base import IN_CHANNELS, SegmentationModel, resize

NORMS = ("none", "batch")
UPS = ("deconv", "upconv", "bilinear", "nearest")


def _conv_block(width_in: int, width_out: int, norm: str) -> list[nn.Module]:
    """3x3 convolution (with bias in every variant), normalisation, ReLU."""
    normalisation = [nn.BatchNorm2d(width_out)] if norm == "batch" else []
    return [nn.Conv2d(width_in, width_out, 3, padding=1), *normalisation, nn.ReLU(inplace=True)]


def double_conv(width_in: int, width_out: int, norm: str) -> nn.Sequential:
    """Two 3x3 convolutions, each with its normalisation and ReLU."""
    return nn.Sequential(*_conv_block(width_in, width_out, norm), *_conv_block(width_out, width_out, norm))


class UpStep(nn.Module):
    """One decoder step: up-sample, concatenate behind the skip connection, two convolutions.

    Args:
        widths: channels of the deeper map, of the skip connection, and of the result.
        norm: ``none`` or ``batch``.
        up: ``deconv`` (2x2 transposed convolution to the skip's width), ``upconv`` (nearest x2, then
            3x3 convolution to the skip's width), ``bilinear`` or ``nearest`` (no weights, width kept).
    """

    def __init__(self, widths: tuple[int, int, int], norm: str, up: str) -> None:
        super().__init__()
        deeper, skip, out = widths
        self.mode = "bilinear" if up == "bilinear" else "nearest"
        self.deconv = nn.ConvTranspose2d(deeper, skip, 2, stride=2) if up == "deconv" else None
        self.upconv = nn.Sequential(*_conv_block(deeper, skip, norm)) if up == "upconv" else None
        risen = skip if up in ("deconv", "upconv") else deeper
        self.convs = double_conv(skip + risen, out, norm)

    def forward(self, deeper: Tensor, skip: Tensor) -> Tensor:
        risen = resize(deeper, skip.shape[-2:], self.mode) if self.deconv is None else self.deconv(deeper)
        if self.upconv is not None:
            risen = self.upconv(risen)
        result: Tensor = self.convs(torch.cat([skip, risen], dim=1))
        return result


class UNet(SegmentationModel):
    """The U-Net.

    Args:
        n_classes: logits.
        widths: channels of the encoder from full resolution to the bottleneck.
        decoder_widths: channels of the decoder from full resolution down; default those of the encoder.
        norm: ``none`` or ``batch`` after each 3x3 convolution.
        up: see :class:`UpStep`.
        head_kernel: side of the last convolution, 1 or 3.

    Raises:
        UsageError: an unknown ``norm`` or ``up``, an even kernel, too few or unmatched widths.
    """

    def __init__(
        self,
        n_classes: int,
        widths: Sequence[int],
        *,
        decoder_widths: Sequence[int] | None = None,
        norm: str = "batch",
        up: str = "upconv",
        head_kernel: int = 1,
    ) -> None:
        super().__init__(n_classes, size_divisor=2 ** (len(widths) - 1))
        decoder = tuple(widths[:-1]) if decoder_widths is None else tuple(decoder_widths)
        _check_unet(widths, decoder, norm, up, head_kernel)
        inputs = [IN_CHANNELS, *widths[:-1]]
        self.encoder = nn.ModuleList(double_conv(a, b, norm) for a, b in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        deeper = [*decoder[1:], widths[-1]]
        steps = zip(deeper, widths[:-1], decoder, strict=True)
        self.decoder = nn.ModuleList(UpStep(step, norm, up) for step in steps)
        self.head = nn.Conv2d(decoder[0], n_classes, head_kernel, padding=head_kernel // 2)

    def logits(self, image: Tensor) -> Tensor:
        maps = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            maps.append(block(self.pool(maps[-1])))
        features = maps[-1]
        for step, skip in zip(reversed(self.decoder), reversed(maps[:-1]), strict=True):
            features = step(features, skip)
        result: Tensor = self.head(features)
        return result


def _check_unet(widths: Sequence[int], decoder: Sequence[int], norm: str, up: str, head_kernel: int) -> None:
    if len(widths) < 2 or min(*widths, *decoder) < 1:
        raise UsageError("a U-Net needs two or more positive widths", got=tuple(widths))
    if len(decoder) != len(widths) - 1:
        raise UsageError("one decoder width a step up is needed", got=len(decoder), expected=len(widths) - 1)
    if norm not in NORMS:
        raise UsageError("unknown norm", got=norm, expected=", ".join(NORMS))
    if up not in UPS:
        raise UsageError("unknown up", got=up, expected=", ".join(UPS))
    if head_kernel % 2 == 0 or head_kernel < 1:
        raise UsageError("head_kernel must be odd", got=head_kernel, expected="1 or 3")


def unet(
    n_classes: int = 2,
    *,
    base: int = 64,
    depth: int = 5,
    norm: str = "batch",
    up: str = "upconv",
    head_kernel: int = 1,
    paddle_widths: bool = False,
) -> UNet:
    """A U-Net by its width at full resolution, doubled at each of the ``depth`` levels.

    Args:
        n_classes: logits.
        base: channels at full resolution.
        depth: levels, the bottleneck included.
        norm: ``none`` or ``batch``.
        up: ``deconv``, ``upconv``, ``bilinear`` or ``nearest``.
        head_kernel: side of the last convolution.
        paddle_widths: PaddleSeg's widths: the bottleneck is no wider than the level above it, and a
            decoder step ends at the width of the next skip connection.

    Raises:
        UsageError: a value that makes no network.
    """
    if base < 1 or not 2 <= depth <= 8:
        raise UsageError("no such U-Net", got=f"base={base}, depth={depth}", expected="base >= 1, depth 2 to 8")
    widths = [base * 2**level for level in range(depth)]
    decoder = None
    if paddle_widths:
        widths[-1] = widths[-2]
        decoder = [base, *widths[: depth - 2]]
    return UNet(n_classes, widths, decoder_widths=decoder, norm=norm, up=up, head_kernel=head_kernel)
