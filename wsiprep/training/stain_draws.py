"""Stain amounts varied at random: what is drawn, and what it does to pixels, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsiprep.errors import UsageError
from wsiprep.stain import StainFit
from wsiprep.stain.density import WHITE, optical_density
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.normalise import GLASS_NOISE, require_rgb
from wsiprep.training.streams import STAIN_STREAM

RIM_AMOUNT, FADE_AMOUNT = 0.05, 0.2
"""Biases are added in full from a sum of both amounts of 0.25 on, and fade to none at 0.05, which is darker than the
noise of glass: or its rim would show as an edge."""


@dataclass(frozen=True, slots=True)
class StainDraw:
    """What becomes of the amounts a of haematoxylin and eosin: max(factor a + bias, 0).

    Attributes:
        factors: of the amounts.
        biases: in parts of each stain's 99th percentile.
    """

    factors: tuple[float, float] = (1.0, 1.0)
    biases: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class StainSpread:
    """How far amounts are varied. As in staintools' augmentor and Tellez et al. (2018): uniform, a stain at a time.

    Attributes:
        sigma: factors are from 1 - sigma to 1 + sigma.
        bias: biases are from -bias to bias, in parts of each stain's 99th percentile.

    Raises:
        UsageError: a share outside 0..1.
    """

    sigma: tuple[float, float] = (0.2, 0.2)
    bias: tuple[float, float] = (0.05, 0.05)

    def __post_init__(self) -> None:
        for name, shares in (("sigma", self.sigma), ("bias", self.bias)):
            if len(shares) != 2 or not all(0 <= share < 1 for share in shares):
                raise UsageError(f"{name} is a share of each of two stains", got=shares, expected="0 to below 1")

    def draw(self, seed: int, epoch: int, row: int) -> StainDraw:
        """The draw of one row of the index in one epoch; it depends on nothing else."""
        h, e, bias_h, bias_e = np.random.default_rng([seed, STAIN_STREAM, epoch, row]).uniform(-1, 1, size=4).tolist()
        return StainDraw((1 + self.sigma[0] * h, 1 + self.sigma[1] * e), (self.bias[0] * bias_h, self.bias[1] * bias_e))


def varied(rgb: npt.NDArray[np.uint8], source: StainFit, draw: StainDraw) -> npt.NDArray[np.uint8]:
    """Pixels with other amounts of their own stains, in float64: the definition that ``StainAugment`` is held to.

    Amounts a by the non-negative lasso as in ``normalise``; each pixel is multiplied by exp(-W (a' - a)) and
    rounded. So what the two stains do not explain stays in it, a draw of no change changes nothing, and glass
    (no stain, or within the noise of a measured white) stays as it is.

    Args:
        rgb: uint8 (h, w, 3), never written to.
        source: fit of the slide that ``rgb`` is from.
        draw: what becomes of its amounts.

    Raises:
        UsageError: not RGB in uint8.
    """
    require_rgb(rgb)
    pixels = rgb.reshape(-1, 3)
    amounts = concentrations(optical_density(pixels.T, source.white), source.matrix)
    fade = np.clip((amounts.sum(axis=0) - RIM_AMOUNT) / FADE_AMOUNT, 0, 1)
    bias = (np.array(draw.biases) * source.max_concentrations)[:, None]
    other = np.maximum(amounts * np.array(draw.factors)[:, None] + bias * fade, 0)
    light = pixels * np.exp(source.matrix.T @ (amounts - other)).T
    if source.white != WHITE:
        glass = (pixels >= np.array(source.white) - GLASS_NOISE).all(axis=1)
        light[glass] = pixels[glass]
    result: npt.NDArray[np.uint8] = np.minimum(light + 0.5, 255).astype(np.uint8).reshape(rgb.shape)
    return result
