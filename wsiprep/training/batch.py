"""One batch: patches decoded straight into one tensor each of images and masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

Item = dict[str, Any]


class PatchBatch(Sequence[Item]):
    """What ``PatchDataset.__getitems__`` gives: items that are views of whole tensors, and those tensors.

    As a sequence it suits torch's default collation, which copies; ``collate_patches`` hands the tensors over.

    Attributes:
        tensors: ``image`` uint8 (n, 3, H, W) in channels-last memory, ``mask`` uint8 (n, H, W), and the other
            entries of the items, a tensor int64 (n,) or a list each.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(self.tensors["row"])

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        return {name: _plain(values[place]) for name, values in self.tensors.items()}

    def __iter__(self) -> Iterator[Item]:
        return (self[place] for place in range(len(self)))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, Tensor) and value.ndim == 0 else value


def collate_patches(items: Any) -> dict[str, Any]:
    """The ``collate_fn`` of loaders of a ``PatchDataset``: nothing is copied that is one batch already.

    Single items, as of a dataset that wraps it, are stacked as they lie, without transposing.
    """
    if isinstance(items, PatchBatch):
        return items.tensors
    images = [item["image"] for item in items]
    if not all(isinstance(image, Tensor) and image.ndim == 3 for image in images):
        batch: dict[str, Any] = default_collate(items)
        return batch
    stacked: Tensor = default_collate([image.permute(1, 2, 0) for image in images])
    rest: dict[str, Any] = default_collate(
        [{name: value for name, value in item.items() if name != "image"} for item in items]
    )
    return {"image": stacked.permute(0, 3, 1, 2)} | rest


def empty_pixels(shape: tuple[int, ...]) -> tuple[Tensor, npt.NDArray[np.uint8]]:
    """A uint8 tensor of undefined values, and the same memory for numpy.

    In a loader's worker it lies in shared memory, so that the process that trains gets it without a copy.
    """
    if get_worker_info() is None:
        array = np.empty(shape, np.uint8)  # in large pages, which torch does not ask for: a third fewer page faults
        return torch.from_numpy(array), array
    shared: Any = torch.UntypedStorage
    storage: torch.UntypedStorage = shared._new_shared(math.prod(shape))  # as torch's own collation does
    tensor = torch.empty(0, dtype=torch.uint8).set_(storage).reshape(shape)
    return tensor, tensor.numpy()
