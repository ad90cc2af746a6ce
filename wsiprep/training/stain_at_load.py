"""Stains where the dataset holds scanned pixels: normalised or varied while a patch is loaded.

A dataset packed with ``stain.when: load`` has the fits of each slide beside its pixels, so that settings can be
compared without packing again. What is done to a patch is exactly what ``pack`` would have done (``stain.normaliser``),
but for pixels that ``sampling.outside_roi: pad`` filled: those are filled after normalising when packing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from wsiprep.errors import StainError, UsageError
from wsiprep.stain import Fit, StainFit, fit_from_dict, normaliser, way_of_own_fits
from wsiprep.stain.model import TwoStains
from wsiprep.store import Dataset
from wsiprep.training.stain import StainAugment

FIT, AUGMENT = "fit", "augment"
STAINS = (FIT, "vahadane", "macenko", "ramakrishnan", "hematoxylin", "reinhard", AUGMENT)
NOBODYS = "none"
"""The origin of patches that stay as they are, since the slide has no fit of its own."""

_SHARE_A_FIT = frozenset({"vahadane", "hematoxylin"})
_FIX = "pack with stain.when: load, or leave stain out"

Pixels = npt.NDArray[np.uint8]


class StainAtLoad:
    """Applies the fits beside a dataset's patches. Pickles; keeps one fit a shard.

    Args:
        dataset: packed with ``stain.when: load``.
        choice: one of ``STAINS``, see ``PatchDataset``.
        seed: of ``augment``.
        n_patches: how many patches one epoch has; decides whether compiling the map pays for itself.

    Attributes:
        way: how pixels are mapped, ``plain`` or ``fused`` (``stain.transform``): the same colours.

    Raises:
        UsageError: no such choice.
    """

    def __init__(self, dataset: Dataset, choice: str, seed: int = 0, *, n_patches: int = 1) -> None:
        if choice not in STAINS:
            raise UsageError("unknown stain", got=choice, expected=", ".join(STAINS))
        self.dataset, self.choice, self.seed, self.n_patches = dataset, choice, seed, n_patches
        # No table of all colours: it takes 64 MB a slide, and loaders meet many slides at once.
        self.way = way_of_own_fits(n_patches, dataset.patch_size_px)
        self._augment = StainAugment(seed)
        self._fits: dict[str, tuple[Fit, Fit] | None] = {}
        self._maps: dict[str, Callable[[Pixels], Pixels]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(StainAtLoad, n_patches=self.n_patches), (self.dataset, self.choice, self.seed)

    def require(self, rows: npt.NDArray[np.int64]) -> None:
        """See that all shards of these rows have a fit that can be applied.

        Raises:
            StainError: a patch was normalised when it was packed, or its shard has no such fit.
        """
        index = self.dataset.index.select(["shard", "stain_origin"]).take(rows)
        done = index.filter(pc.is_valid(index["stain_origin"]))
        if done.num_rows:
            raise StainError(
                "the dataset's stains were normalised when it was packed",
                got=f"{done.num_rows} of {index.num_rows} patches, the first in {done['shard'][0].as_py()}",
                expected="scanned pixels",
                fix="leave stain out, or pack with stain.when: load",
            )
        shards = index["shard"].combine_chunks().dictionary_encode()
        first = np.unique(shards.indices.to_numpy(), return_index=True)[1]
        for row in rows[first].tolist():
            self._fit(row)

    def apply(self, image: Pixels, row: int, epoch: int) -> tuple[Pixels, str]:
        """The pixels (h, w, 3) of one row of the index, normalised or varied, and whose stains they were taken for.

        ``augment`` is ``stain.StainAugment`` on one image; what it draws depends on (seed, epoch, row) alone.
        """
        fits = self._fit(row)
        if fits is None:
            return image, NOBODYS
        source, target = fits
        if isinstance(source, StainFit) and self.choice == AUGMENT:
            batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
            return self._augment(batch, [source], [epoch], [row])[0].permute(1, 2, 0).numpy(), source.origin
        shard = self._shard(row)
        if shard not in self._maps:
            method = source.method if self.choice == FIT else self.choice
            self._maps[shard] = normaliser(source, target, method=method, way=self.way)
        return self._maps[shard](image), source.origin

    def _shard(self, row: int) -> str:
        return str(self.dataset.index["shard"][row].as_py())

    def _fit(self, row: int) -> tuple[Fit, Fit] | None:
        """Source and target; None where they are nobody's own, and the patch stays as it is."""
        shard = self._shard(row)
        if shard not in self._fits:
            value = self.dataset.attributes_of(row).get("stain")
            if value is None:
                raise StainError("a shard has no stain fit", got=shard, fix=_FIX)
            chosen = self._chosen(value, shard)
            fits = fit_from_dict(chosen["source"]), fit_from_dict(chosen["target"])
            self._fits[shard] = None if fits[0].origin == "reference" else fits
        return self._fits[shard]

    def _chosen(self, stain: Mapping[str, Any], shard: str) -> Mapping[str, Any]:
        """The record of the fit to use: the recipe's own, or that of another method beside it."""
        own, others = str(stain["source"]["method"]), stain.get("methods", {})
        if self.choice == FIT or self._draws_with(own):
            return stain
        found = next((record for method, record in others.items() if self._draws_with(method)), None)
        if found is None:
            raise StainError(
                "a shard has no fit of that method", got=f"{', '.join([own, *others])} in {shard}",
                expected=self.choice, fix="take stain='fit', or pack with that method and stain.when: load",
            )  # fmt: skip
        result: Mapping[str, Any] = found
        return result

    def _draws_with(self, method: str) -> bool:
        """Whether fits of a method will do for what was chosen."""
        if self.choice == AUGMENT:
            return method in get_args(TwoStains)
        return method == self.choice or {self.choice, method} <= _SHARE_A_FIT
