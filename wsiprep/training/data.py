"""Patches of a sealed dataset for torch, with random numbers that depend on nothing but (seed, epoch, row).

The sampler hands out (epoch, position) pairs and the dataset seeds itself from them. So a patch is
cropped and flipped in the same way whatever the number of workers, however they were started, whether
they live on between epochs, and after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from wsiprep.errors import UsageError
from wsiprep.store import Dataset
from wsiprep.training.spec import AUGMENTATIONS

Position = int | tuple[int, int]
Item = dict[str, Any]

_CROP_STREAM, _ORDER_STREAM = 1, 2


class PatchDataset(TorchDataset[Item]):
    """One split of a sealed dataset. Pickles; files are opened in the process that reads.

    Items are dicts: ``image`` uint8 (3, H, W) RGB, ``mask`` uint8 (H, W) with 255 = not annotated,
    ``row`` (number in the index), ``slide_id``, ``x_lv0``, ``y_lv0`` (of the patch, level-0 pixels).

    Args:
        root: the dataset's folder.
        split: name of a split.
        fold: with k folds, the one that tests.
        crop_px: side of a random crop; None gives whole patches.
        augmentation: ``none``, or ``flips``: one of the eight symmetries (four where H != W).
        seed: of crops and flips.

    Raises:
        StoreError: the folder is no sealed dataset.
        UsageError: no such split, an unknown augmentation, or crops larger than the patches.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        fold: int | None = None,
        crop_px: int | None = None,
        augmentation: str = "none",
        seed: int = 0,
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise UsageError("unknown augmentation", got=augmentation, expected=", ".join(AUGMENTATIONS))
        self.dataset = Dataset(root)
        self.rows = self.dataset.split(split, fold)
        side = self.dataset.patch_size_px
        if crop_px is not None and not 1 <= crop_px <= side:
            raise UsageError("crops do not fit into the patches", got=f"crop_px={crop_px}", expected=f"1..{side}")
        self.crop_px = crop_px
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: Position) -> Item:
        epoch, place = position if isinstance(position, tuple) else (0, position)
        if not -len(self.rows) <= place < len(self.rows):
            raise IndexError(f"position {place} of {len(self.rows)}")
        row = int(self.rows[place])
        image, mask, meta = self.dataset.read(row)
        if self.crop_px is not None or self.augmentation != "none":
            image, mask = self._vary(image, mask, np.random.default_rng([self.seed, _CROP_STREAM, epoch, row]))
        return {
            "image": torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C")),
            "mask": torch.from_numpy(np.array(mask, order="C")),
            "row": row,
            "slide_id": meta["slide_id"],
            "x_lv0": meta["x_lv0"],
            "y_lv0": meta["y_lv0"],
        }

    def _vary(
        self, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        if self.crop_px is not None:
            side = self.crop_px
            y, x = (int(rng.integers(length - side + 1)) for length in mask.shape)
            image, mask = image[y : y + side, x : x + side], mask[y : y + side, x : x + side]
        if self.augmentation == "flips":
            mirror, down, turn = (bool(b) for b in rng.integers(2, size=3))
            image, mask = dihedral(image, mirror, down, turn), dihedral(mask, mirror, down, turn)
        return image, mask


def dihedral(array: npt.NDArray[np.uint8], mirror: bool, upside_down: bool, turn: bool) -> npt.NDArray[np.uint8]:
    """One of the eight symmetries of (H, W, ...): left-right, top-bottom, and rows for columns where square."""
    if mirror:
        array = array[:, ::-1]
    if upside_down:
        array = array[::-1]
    if turn and array.shape[0] == array.shape[1]:
        array = array.swapaxes(0, 1)
    return array


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position), shuffled by (seed, epoch). Lightning calls ``set_epoch`` before each epoch."""

    def __init__(self, n: int, seed: int, *, first_epoch: int = 0) -> None:
        super().__init__()
        self.n, self.seed, self.epoch = n, seed, first_epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, _ORDER_STREAM, epoch]).permutation(self.n)
        return iter([(epoch, int(place)) for place in order])


def make_loader(
    dataset: TorchDataset[Item], batch_size: int, *, sampler: EpochSampler | None = None, num_workers: int = 0
) -> DataLoader[Item]:
    """A loader in the order of ``sampler``, or of the dataset without one; keeps the last, smaller batch."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
