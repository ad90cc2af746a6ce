"""In which order patches are read: shuffled over the whole split, or streamed shard file by shard file.

Samplers yield (epoch, position) pairs in an order that depends on (seed, epoch) alone, and in a distributed training
on (rank, world size): not on the number of workers. Where an epoch was left is a number of samples, so that a resume
goes on with the same ones (``state_dict``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from wsiprep.errors import TrainingError, UsageError
from wsiprep.store.digest import bytes_digest
from wsiprep.training.streams import FILES_STREAM, ORDER_STREAM, WINDOW_STREAM

Uneven = Literal["wrap", "drop"]

_Positions = npt.NDArray[np.int64]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position), shuffled by (seed, epoch). Lightning calls ``set_epoch`` before each epoch.

    Args:
        n: positions 0 .. n - 1.
        seed: of the order.
        first_epoch: until ``set_epoch`` says another one.
        rank, world_size: of this process among those that train together.
        uneven: where n is no multiple of the processes: ``wrap`` gives some positions twice, ``drop`` leaves some
            out (others in each epoch). Either way all processes have equally many.

    Raises:
        UsageError: arguments out of their range.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        *,
        first_epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        uneven: Uneven = "wrap",
    ) -> None:
        super().__init__()
        if not 0 <= rank < world_size:
            raise UsageError("no such process", got=f"rank {rank}", expected=f"0..{world_size - 1}")
        if uneven not in ("wrap", "drop"):
            raise UsageError("uneven is wrap or drop", got=uneven)
        if n < 1 or (uneven == "drop" and n < world_size):
            raise UsageError("there are fewer patches than processes", got=n, expected=f">= {world_size}")
        self.n, self.seed, self.epoch = n, seed, first_epoch
        self.rank, self.world_size, self.uneven = rank, world_size, uneven
        self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin that epoch when iterated next, from its start unless it is the one that was resumed."""
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def __len__(self) -> int:
        """Samples of a whole epoch for this process."""
        return self.n // self.world_size if self.uneven == "drop" else -(-self.n // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, start = self.epoch, self._start
        # Whoever iterates the same epoch again, gets all of it.
        self._start = 0
        return ((epoch, place) for place in self.order(epoch)[start:].tolist())

    def order(self, epoch: int) -> _Positions:
        """The positions of this process in one epoch."""
        order = np.random.default_rng([self.seed, ORDER_STREAM, epoch]).permutation(self.n)
        return np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]

    def state_dict(self, consumed: int = 0) -> dict[str, Any]:
        """Where the epoch stands: JSON.

        Args:
            consumed: samples of this epoch that were trained on. A loader's workers are ahead of that, so the
                sampler cannot know it; ``StatefulLoader`` counts.
        """
        return {"epoch": self.epoch, "consumed": int(consumed), "identity": self.identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken, when iterated next.

        Raises:
            TrainingError: it is of another order: another seed, number of patches or processes, or damaged.
        """
        try:
            epoch, consumed, identity = int(state["epoch"]), int(state["consumed"]), dict(state["identity"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError("the state of a sampler is damaged", got=str(error)) from error
        if identity != self.identity:
            keys = sorted(k for k in identity.keys() | self.identity.keys() if identity.get(k) != self.identity.get(k))
            raise TrainingError(
                "the sampler's state is of another order",
                got=", ".join(f"{k}={identity.get(k)}" for k in keys),
                expected=", ".join(f"{k}={self.identity.get(k)}" for k in keys),
                fix="resume with the same data, seed and number of processes, or begin the epoch anew",
            )
        if not 0 <= consumed <= len(self):
            raise TrainingError("the state of a sampler is damaged", got=consumed, expected=f"0..{len(self)}")
        self.epoch, self._start = epoch, consumed

    @property
    def resumed_at(self) -> int:
        """Samples that the next iteration leaves out at its start."""
        return self._start

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the order; equal for all processes of a training, so that one state serves them all."""
        return {
            "kind": type(self).__name__, "n": self.n, "seed": self.seed, "world_size": self.world_size,
            "uneven": self.uneven,
        }  # fmt: skip


class ShardSampler(EpochSampler):
    """Streams: shuffles the shard files, takes ``window_files`` at a time and shuffles the patches within them.

    So each file is read once an epoch and for a short while only, which suits cold storage, where a file is fetched
    in sequence and falls out of the cache again. Patches of one slide stand closer together than in
    ``EpochSampler``: with 8 files of 64 patches, among about 500.

    In a distributed training the files are dealt out, in an order that differs in each epoch; at most one file is
    shared by two neighbours, since the parts are equally long to the sample.

    Args:
        files: int64 (n,), which shard file each position lies in (``Dataset.shard_files``).
        seed, first_epoch, rank, world_size, uneven: as in ``EpochSampler``.
        window_files: shard files that are mixed.

    Raises:
        UsageError: arguments out of their range.
    """

    def __init__(
        self,
        files: npt.ArrayLike,
        seed: int,
        *,
        window_files: int = 8,
        first_epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        uneven: Uneven = "wrap",
    ) -> None:
        self.files = np.asarray(files, dtype=np.int64).reshape(-1)
        super().__init__(
            len(self.files), seed, first_epoch=first_epoch, rank=rank, world_size=world_size, uneven=uneven
        )
        if window_files < 1:
            raise UsageError("a window has at least one file", got=window_files)
        self.window_files = window_files
        # Positions file by file, and where each file begins among them.
        self._by_file = np.argsort(self.files, kind="stable")
        self._edges = np.append(np.unique(self.files[self._by_file], return_index=True)[1], self.n)
        self._digest = bytes_digest(self.files.astype("<i8").tobytes())

    def order(self, epoch: int) -> _Positions:
        rng = np.random.default_rng([self.seed, FILES_STREAM, epoch])
        stream = self._concatenated(rng.permutation(len(self._edges) - 1))
        mine = np.resize(stream, len(self) * self.world_size).reshape(self.world_size, -1)[self.rank]
        # A file that a neighbour shares, or that is met twice by wrapping, is as good as another one here.
        starts = np.flatnonzero(np.diff(self.files[mine], prepend=-1))[:: self.window_files]
        rng = np.random.default_rng([self.seed, WINDOW_STREAM, epoch, self.rank])
        return np.concatenate([rng.permutation(part) for part in np.split(mine, starts[1:])])

    def _concatenated(self, files: _Positions) -> _Positions:
        """The positions of these files, one file after the other."""
        lengths = np.diff(self._edges)[files]
        ends = np.cumsum(lengths)
        # Number of each within its file, plus where the file begins.
        within = np.arange(self.n) - np.repeat(ends - lengths, lengths)
        positions: _Positions = self._by_file[np.repeat(self._edges[:-1][files], lengths) + within]
        return positions

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"window_files": self.window_files, "files": self._digest}
