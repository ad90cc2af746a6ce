"""Stains of whole batches, normalised or varied on whichever device they are.

The arithmetic is that of ``stain.normalise`` in float32, one number after the other: no matrix product, which a
trainer's TF32 or autocast would cut to ten bits. It is within one grey level of the float64 definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wsiprep.errors import UsageError
from wsiprep.stain import WHITE, Fit, ReinhardFit, StainFit, normaliser
from wsiprep.stain.factors import code_step
from wsiprep.stain.moments import LabShift
from wsiprep.stain.normalise import glass_of, mixing_of
from wsiprep.training.lab_tables import from_lab, to_lab
from wsiprep.training.stain_draws import FADE_AMOUNT, RIM_AMOUNT, StainSpread

_Numbers = npt.NDArray[np.float32]

# Where the numbers of one source lie: glass R G B, white R G B, four amounts as (R, G, B, constant) of the density,
# and what one unit of either stain adds to the density of R, G, B.
_GLASS, _WHITE, _AMOUNTS, _MIXING = slice(0, 3), slice(3, 6), slice(6, 22), slice(22, 28)
_N_NUMBERS = 28
_N_MOMENT_NUMBERS = 3 + 3 * 256
_LEAST_DENSITY = 1e-6


class StainTransform(nn.Module):
    """Maps batches to one target's look, each image from the stains of its own slide.

    Args:
        target: the look to have.
        method: as of ``stain.normaliser``.

    Raises:
        UsageError: an unknown method, or a target of another kind.
    """

    def __init__(self, target: Fit, method: str) -> None:
        super().__init__()
        normaliser(target, target, method=method)  # checks the two
        self.target, self.method = target, method
        if method == "reinhard":
            self.register_buffer("_to_lab", torch.from_numpy(to_lab()), persistent=False)
            self.register_buffer("_from_lab", torch.from_numpy(from_lab()), persistent=False)

    def numbers(self, source: Fit | None) -> _Numbers:
        """What ``forward`` needs to know of one image's stains, float32 (k,): a dataset's workers can make it.

        Args:
            source: its fit; None leaves the image as it is.

        Raises:
            UsageError: a fit of another kind.
        """
        target = self.target
        if source is None:
            return _unchanged(_N_NUMBERS if isinstance(target, StainFit) else _N_MOMENT_NUMBERS)
        if isinstance(source, StainFit) and isinstance(target, StainFit):
            return _stain_numbers(source, target, self.method)
        if isinstance(source, ReinhardFit) and isinstance(target, ReinhardFit):
            return _moment_numbers(source, target)
        raise UsageError("a fit of another kind", got=type(source).__name__, expected=type(target).__name__)

    def forward(self, image: Tensor, sources: Sequence[Fit | None] | Tensor) -> Tensor:
        """Images in the target's colours.

        Args:
            image: uint8 (n, 3, H, W), in any memory format.
            sources: a fit an image, None for those that stay; or float32 (n, k), a row of ``numbers`` each.

        Returns:
            New uint8 (n, 3, H, W) on the same device, in the same memory format.

        Raises:
            UsageError: another shape or type, or not one fit an image.
        """
        given = sources if isinstance(sources, Tensor) else _stacked(self.numbers(source) for source in sources)
        numbers = _on(given, image)
        if self.method == "reinhard":
            return self._moved(image, numbers)
        amounts = _amounts(image, numbers)
        white, unstained = numbers[:, _WHITE], amounts[0] + amounts[1] <= 0

        def light(channel: int, density: Tensor) -> Tensor:
            return torch.where(unstained, image[:, channel], torch.exp(-density) * _plane(white[:, channel]))

        return _painted(image, numbers, light, amounts)

    def _moved(self, image: Tensor, numbers: Tensor) -> Tensor:
        """Reinhard's map, exact: both conversions are tables of all 2^24 colours, 64 MB each on the device."""
        glass, tables = numbers[:, _GLASS], numbers[:, 3:].long()
        lab = self.get_buffer("_to_lab")[_codes([image[:, c].long() for c in range(3)])].long()
        flat = [(lab >> 8 * c & 255).flatten(1) for c in range(3)]
        moved = [torch.gather(tables[:, 256 * c : 256 * c + 256], 1, flat[c]).view_as(lab) for c in range(3)]
        rgb = self.get_buffer("_from_lab")[_codes(moved)]
        is_glass = _all_at_least(image, glass)
        result = torch.empty_like(image)
        for channel in range(3):
            level = (rgb >> 8 * channel & 255).to(torch.uint8)
            result[:, channel] = torch.where(is_glass, image[:, channel], level)
        return result


class StainAugment(nn.Module):
    """Varies the amounts of each image's own stains. ``stain_draws.varied`` is the same in float64.

    Args:
        seed: of the training.
        spread: how far.
    """

    def __init__(self, seed: int, spread: StainSpread | None = None) -> None:
        super().__init__()
        self.seed, self.spread = seed, spread or StainSpread()

    def forward(
        self, image: Tensor, sources: Sequence[StainFit | None], epoch: Sequence[int], row: Sequence[int]
    ) -> Tensor:
        """Images with other amounts of haematoxylin and eosin, drawn from (seed, epoch, row) alone.

        Args:
            image: uint8 (n, 3, H, W), in any memory format.
            sources: the fit of each image's slide; None leaves the image as it is.
            epoch, row: of each image; tensors and lists of integers alike.

        Returns:
            New uint8 (n, 3, H, W) on the same device, in the same memory format.

        Raises:
            UsageError: another shape or type, or not one of each an image.
        """
        draws = [self.spread.draw(self.seed, int(e), int(r)) for e, r in zip(epoch, row, strict=True)]
        numbers = _on(
            _stacked(
                _unchanged(_N_NUMBERS) if source is None else _stain_numbers(source, source, "vahadane")
                for source in sources
            ),
            image,
        )
        largest = [np.zeros(2) if source is None else source.max_concentrations for source in sources]
        factors = _on(_stacked(np.array(draw.factors) for draw in draws), image)
        biases = _on(_stacked(np.array(d.biases) * most for d, most in zip(draws, largest, strict=True)), image)
        amounts = _amounts(image, numbers)
        fade = ((amounts[0] + amounts[1] - RIM_AMOUNT) / FADE_AMOUNT).clamp_(0, 1)
        less = [
            amounts[k] - (amounts[k] * _plane(factors[:, k]) + _plane(biases[:, k]) * fade).clamp_(min=0)
            for k in range(2)
        ]
        return _painted(image, numbers, lambda c, density: image[:, c] * torch.exp(density) + 0.5, less)


def _unchanged(n: int) -> _Numbers:
    """Every colour is glass: at least 0."""
    numbers = np.zeros(n, dtype=np.float32)
    numbers[_WHITE] = WHITE
    return numbers


def _stain_numbers(source: StainFit, target: StainFit, method: str) -> _Numbers:
    numbers = np.zeros(_N_NUMBERS, dtype=np.float32)
    numbers[_GLASS] = np.ceil(glass_of(source.white, method))
    numbers[_WHITE] = source.white
    amounts = [np.column_stack(part) for part in code_step(source.matrix, method)]
    numbers[_AMOUNTS] = np.concatenate(amounts).ravel()
    numbers[_MIXING] = mixing_of(source, target, method).ravel()
    return numbers


def _moment_numbers(source: ReinhardFit, target: ReinhardFit) -> _Numbers:
    shift = LabShift(source, target)
    return np.concatenate([shift.glass, shift.table.T.ravel()]).astype(np.float32)


def _amounts(image: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Amounts of both stains, float32 (n, H, W) each, as in ``factors``: which case, and what stands in it."""
    white = numbers[:, _WHITE]
    density = [
        (-torch.log(image[:, c].float().clamp_(min=1) / _plane(white[:, c]))).clamp_(min=_LEAST_DENSITY)
        for c in range(3)
    ]
    terms = numbers[:, _AMOUNTS].view(-1, 4, 4)
    free_1, free_2, alone_1, alone_2 = (
        density[0] * _plane(terms[:, k, 0])
        + density[1] * _plane(terms[:, k, 1])
        + density[2] * _plane(terms[:, k, 2])
        + _plane(terms[:, k, 3])
        for k in range(4)
    )
    no_first, no_second = free_1 < 0, free_2 < 0
    both = ~(no_first | no_second)
    first = ~both & (~no_first | (no_second & (alone_1 > 0)))
    nothing = torch.zeros_like(free_1)
    one = torch.where(both, free_1, torch.where(first, alone_1.clamp_(min=0), nothing))
    two = torch.where(both, free_2, torch.where(first, nothing, alone_2.clamp_(min=0)))
    return one, two


def _painted(
    image: Tensor, numbers: Tensor, light: Callable[[int, Tensor], Tensor], amounts: Sequence[Tensor]
) -> Tensor:
    """``light(channel, density of amounts)``, truncated, and glass as it was."""
    mixing = numbers[:, _MIXING].view(-1, 3, 2)
    glass = _all_at_least(image, numbers[:, _GLASS])
    result = torch.empty_like(image)
    for c in range(3):
        density = amounts[0] * _plane(mixing[:, c, 0]) + amounts[1] * _plane(mixing[:, c, 1])
        level = light(c, density).clamp_(0, 255).to(torch.uint8)
        result[:, c] = torch.where(glass, image[:, c], level)
    return result


def _codes(planes: Sequence[Tensor]) -> Tensor:
    return planes[0] + (planes[1] << 8) + (planes[2] << 16)


def _all_at_least(image: Tensor, levels: Tensor) -> Tensor:
    """Which pixels (n, H, W) reach the levels (n, 3) in every channel."""
    return (image >= levels[:, :, None, None]).all(dim=1)


def _plane(values: Tensor) -> Tensor:
    """A number an image (n,), to be taken to its every pixel."""
    return values[:, None, None]


def _stacked(rows: Iterable[npt.NDArray[np.floating]]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in rows]))


def _on(numbers: Tensor, image: Tensor) -> Tensor:
    if image.dtype != torch.uint8 or image.ndim != 4 or image.shape[1] != 3:
        raise UsageError(
            "stains are normalised on RGB", got=f"{image.dtype} {tuple(image.shape)}", expected="uint8 (n, 3, H, W)"
        )
    if len(numbers) != len(image):
        raise UsageError("one fit an image", got=f"{len(numbers)} for {len(image)} images")
    return numbers.to(image.device, torch.float32, non_blocking=True)
