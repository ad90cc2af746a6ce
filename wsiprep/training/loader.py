"""Loaders of patches: batches that are not copied, and an epoch that goes on in its middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from wsiprep.errors import TrainingError, UsageError
from wsiprep.training.batch import Item, collate_patches
from wsiprep.training.sampler import EpochSampler


class StatefulLoader(DataLoader[Item]):
    """A ``DataLoader`` that knows how many samples of the epoch were handed out, and resumes after them.

    What counts is what ``next`` returned, not what workers have prefetched: a state taken after the training step of
    a batch has that batch behind it. Lightning saves and restores the state in its checkpoints by itself. Elsewhere:

        state = loader.state_dict()            # beside the weights
        loader.load_state_dict(state)          # in the new process, before iterating

    Args:
        dataset: of (epoch, position) items, as ``PatchDataset``.
        sampler: whose order it has, and whose ``set_epoch`` begins an epoch.
        options: of ``DataLoader``; ``collate_fn`` is ``collate_patches`` unless given.

    Raises:
        UsageError: a batch_sampler or shuffle, which have no position to go on from.
    """

    def __init__(self, dataset: TorchDataset[Item], sampler: EpochSampler, **options: Any) -> None:
        if options.get("batch_sampler") is not None or options.get("shuffle") or options.get("batch_size", 1) is None:
            raise UsageError("a loader that resumes takes a sampler and a batch size", got=", ".join(sorted(options)))
        super().__init__(dataset, sampler=sampler, **({"collate_fn": collate_patches} | options))
        self._order = sampler
        self._begin()

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        self._begin()
        return self._counted(super().__iter__())

    def _begin(self) -> None:
        self._epoch, self._consumed = self._order.epoch, self._order.resumed_at

    def _counted(self, batches: Iterator[Item]) -> Iterator[Item]:
        if self.num_workers == 0:
            self._begin()  # without workers the sampler begins now, maybe in another epoch than at iter()
        for batch in batches:
            self._consumed = min(self._consumed + (self.batch_size or 1), len(self._order))
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch and how many of its samples were handed out; after the last one, the start of the next epoch."""
        whole = len(self._order) - (len(self._order) % (self.batch_size or 1) if self.drop_last else 0)
        done = self._consumed >= whole
        state = self._order.state_dict(0 if done else self._consumed)
        return state | {"epoch": self._epoch + done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the samples that were handed out when the state was taken.

        Raises:
            TrainingError: it is of another order, or a batch was torn.
        """
        self._order.load_state_dict(state)
        if self._order.resumed_at % (self.batch_size or 1):
            raise TrainingError(
                "the epoch was left in the middle of a batch of this size", got=self._order.resumed_at,
                expected=f"a multiple of {self.batch_size}", fix="resume with the same batch size",
            )  # fmt: skip
        self._begin()


def make_loader(
    dataset: TorchDataset[Item], batch_size: int, *, sampler: EpochSampler | None = None, num_workers: int = 0
) -> DataLoader[Item]:
    """A loader in the order of ``sampler``, or of the dataset without one; keeps the last, smaller batch."""
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }
    if sampler is None:
        return DataLoader(dataset, collate_fn=collate_patches, **options)
    return StatefulLoader(dataset, sampler, **options)
