"""What the index knows about the pixels of a split: counts per class and their mean colour. No torch, no decoding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.store import Dataset
from wsiprep.store.statistics import channel_statistics
from wsiprep.training.spec import Normalisation

_GREY_LEVELS = 255.0


def class_pixels(dataset: Dataset, rows: npt.NDArray[np.int64]) -> list[int]:
    """Annotated pixels per class of these rows of the index, background first."""
    part = dataset.index.take(rows)
    label_px = [sum(part[f"{label}_px"].to_pylist()) for label in dataset.labels]
    unknown_px = sum(part["ignore_px"].to_pylist())
    return [len(rows) * dataset.patch_size_px**2 - unknown_px - sum(label_px), *label_px]


def normalisation_of(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Normalisation:
    """Mean and deviation per channel of these rows' pixels; a channel that never varies is divided by 255."""
    found = channel_statistics(dataset.index.take(rows), dataset.patch_size_px)
    return Normalisation(tuple(found["mean"]), tuple(deviation or _GREY_LEVELS for deviation in found["std"]))
