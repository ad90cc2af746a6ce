"""Patches of a sealed dataset for torch, with random numbers that depend on nothing but (seed, epoch, row).

The sampler hands out (epoch, position) pairs and the dataset seeds itself from them. So a patch is
cropped, flipped and stained in the same way whatever the number of workers, however they were started,
whether they live on between epochs, and after a resume.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset as TorchDataset

from wsiprep.errors import UsageError
from wsiprep.store import Dataset
from wsiprep.training.batch import Item, PatchBatch, empty_pixels
from wsiprep.training.spec import AUGMENTATIONS
from wsiprep.training.variation import Pixels, draw

if TYPE_CHECKING:
    from wsiprep.training.stain_at_load import StainAtLoad

Position = int | tuple[int, int]


class PatchDataset(TorchDataset[Item]):
    """One split of a sealed dataset. Pickles as its arguments; files are opened in the process that reads.

    Items are dicts: ``image`` uint8 (3, H, W) RGB, ``mask`` uint8 (H, W) with 255 = not annotated,
    ``row`` (number in the index), ``epoch``, ``slide_id``, ``x_lv0``, ``y_lv0`` (of the patch, level-0 pixels),
    and with ``stain`` ``stain_origin`` (whose stains the patch was taken to have; ``none`` where it was left as
    it is). Images are views of (H, W, 3) memory: torch's channels-last format, nothing is transposed.

    Many items at once (``__getitems__``, which torch's loaders call) are decoded into one tensor; with
    ``collate_patches`` as the loader's ``collate_fn`` they are the batch.

    Args:
        root: the dataset's folder.
        split: name of a split.
        fold: with k folds, the one that tests.
        crop_px: side of a random crop; None gives whole patches.
        augmentation: ``none``, or ``flips``: one of the eight symmetries (four where H != W).
        seed: of crops, flips and stains.
        stain: None gives the pixels as they are stored. On a dataset packed with ``stain.when: load``: ``fit``
            normalises with the recipe's fit; ``vahadane``, ``macenko``, ``reinhard`` and so on with that
            method's, which lies beside it (``hematoxylin`` and ``vahadane`` share theirs); ``augment`` varies the
            amounts of the slide's own stains.

    Raises:
        StoreError: the folder is no sealed dataset.
        UsageError: no such split, an unknown augmentation or stain, or crops larger than the patches.
        StainError: stains are asked for and a shard has no such fit, or was normalised when it was packed.
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
        stain: str | None = None,
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise UsageError("unknown augmentation", got=augmentation, expected=", ".join(AUGMENTATIONS))
        self.dataset = Dataset(root)
        self.split, self.fold = split, fold
        self.crop_px, self.augmentation, self.seed = crop_px, augmentation, seed
        side = self.dataset.patch_size_px
        if crop_px is not None and not 1 <= crop_px <= side:
            raise UsageError("crops do not fit into the patches", got=f"crop_px={crop_px}", expected=f"1..{side}")
        self._take_rows()
        self.stain = None if stain is None else _stains(self.dataset, stain, seed, self.rows)

    def _take_rows(self) -> None:
        self.rows = self.dataset.split(self.split, self.fold)
        index = self.dataset.index.select(["slide_id", "x_lv0", "y_lv0"]).take(self.rows).combine_chunks()
        slides = index["slide_id"].combine_chunks().dictionary_encode()
        self._slides: list[str] = slides.dictionary.to_pylist()
        self._slide_of = slides.indices.to_numpy()
        self._x_lv0, self._y_lv0 = index["x_lv0"].to_numpy(), index["y_lv0"].to_numpy()
        self._scratch = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("dataset", "split", "fold", "crop_px", "augmentation", "seed", "stain")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_rows()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: Position) -> Item:
        epoch, place = self._place(position)
        row, side = int(self.rows[place]), self._side_px
        image, pixels = empty_pixels((side, side, 3))
        mask, labels = empty_pixels((side, side))
        origin = self._read(row, epoch, pixels, labels)
        item = {
            "image": image.permute(2, 0, 1),
            "mask": mask,
            "row": row,
            "epoch": epoch,
            "slide_id": self._slides[self._slide_of[place]],
            "x_lv0": int(self._x_lv0[place]),
            "y_lv0": int(self._y_lv0[place]),
        }
        return item if self.stain is None else item | {"stain_origin": origin}

    def __getitems__(self, positions: Sequence[Position]) -> PatchBatch:
        pairs = np.array([self._place(position) for position in positions], dtype=np.int64).reshape(-1, 2)
        epochs, places = pairs.T
        rows, side = self.rows[places], self._side_px
        image, images = empty_pixels((len(rows), side, side, 3))
        mask, masks = empty_pixels((len(rows), side, side))
        origins = [""] * len(rows)
        # In the order of the index, which is that of the files.
        for k in np.argsort(rows, kind="stable").tolist():
            origins[k] = self._read(int(rows[k]), int(epochs[k]), images[k], masks[k])
        tensors: dict[str, Any] = {
            "image": image.permute(0, 3, 1, 2),
            "mask": mask,
            "row": torch.from_numpy(rows),
            "epoch": torch.from_numpy(epochs.copy()),
            "slide_id": [self._slides[code] for code in self._slide_of[places].tolist()],
            "x_lv0": torch.from_numpy(self._x_lv0[places]),
            "y_lv0": torch.from_numpy(self._y_lv0[places]),
        }
        return PatchBatch(tensors if self.stain is None else tensors | {"stain_origin": origins})

    @property
    def _side_px(self) -> int:
        return self.dataset.patch_size_px if self.crop_px is None else self.crop_px

    def _place(self, position: Position) -> tuple[int, int]:
        epoch, place = position if isinstance(position, tuple) else (0, position)
        if not -len(self.rows) <= place < len(self.rows):
            raise IndexError(f"position {place} of {len(self.rows)}")
        return epoch, place

    def _read(self, row: int, epoch: int, image: Pixels, mask: Pixels) -> str:
        """Decode, crop, stain and turn one patch into ``image`` and ``mask``; whose stains it was taken to have."""
        plain = self.crop_px is None and self.augmentation == "none"
        if plain and self.stain is None:
            self.dataset.read_pixels(row, image, mask)
            return ""
        whole, labels = self._whole()
        self.dataset.read_pixels(row, whole, labels)
        side, (height, width) = mask.shape[0], labels.shape
        variation = draw(
            self.seed, epoch, row,
            height_px=height, width_px=width, crop_px=self.crop_px, symmetries=self.augmentation == "flips",
        )  # fmt: skip
        window = np.s_[variation.y_px : variation.y_px + side, variation.x_px : variation.x_px + side]
        pixels, origin = whole[window], ""
        if self.stain is not None:
            pixels, origin = self.stain.apply(pixels, row, epoch)
        variation.oriented(pixels, image)
        variation.oriented(labels[window], mask)
        return origin

    def _whole(self) -> tuple[Pixels, Pixels]:
        """Arrays of this thread for one whole patch."""
        kept: tuple[Pixels, Pixels] | None = getattr(self._scratch, "kept", None)
        if kept is None:
            side = self.dataset.patch_size_px
            kept = self._scratch.kept = np.empty((side, side, 3), np.uint8), np.empty((side, side), np.uint8)
        return kept


def _stains(dataset: Dataset, choice: str, seed: int, rows: npt.NDArray[np.int64]) -> StainAtLoad:
    from wsiprep.training.stain_at_load import StainAtLoad  # with what normalises; few trainings need it

    stains = StainAtLoad(dataset, choice, seed, n_patches=len(rows))
    stains.require(rows)
    return stains
