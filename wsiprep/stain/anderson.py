"""Anderson's acceleration of a fixed-point iteration (1965), in the form of Walker & Ni (2011)."""

from __future__ import annotations

import numpy as np

from wsiprep.stain.density import Floats

_RELATIVE_RANK = 1e-10


class Anderson:
    """Where to go next on the way to x = g(x), from the last few points and what g made of them.

    Args:
        memory: earlier steps that are combined.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._steps: list[Floats] = []
        self._images: list[Floats] = []

    def next(self, point: Floats, image: Floats) -> Floats:
        """The combination of images whose step is shortest by least squares; g(x) itself at first.

        Args:
            point: x.
            image: g(x), of the same shape.
        """
        self._steps = [*self._steps, (image - point).ravel()][-self._memory - 1 :]
        self._images = [*self._images, image.ravel()][-self._memory - 1 :]
        if len(self._steps) == 1:
            return image
        steps, images = np.diff(self._steps, axis=0), np.diff(self._images, axis=0)
        weights = np.linalg.lstsq(steps.T, self._steps[-1], rcond=_RELATIVE_RANK)[0]
        result: Floats = (self._images[-1] - weights @ images).reshape(image.shape)
        return result
