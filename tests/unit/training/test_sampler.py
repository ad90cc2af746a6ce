"""Orders of the samplers: of an epoch, a seed and a rank alone."""

from __future__ import annotations

import numpy as np
import pytest

from wsiprep.errors import UsageError
from wsiprep.training.sampler import EpochSampler, ShardSampler

FILES = np.repeat(np.arange(10), 16)


def test_a_stream_differs_with_epoch_and_seed_and_repeats() -> None:
    orders = {
        (seed, epoch): ShardSampler(FILES, seed, window_files=3).order(epoch).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    assert ShardSampler(FILES, 1, window_files=3).order(1).tolist() == orders[1, 1]
    assert all(sorted(order) == list(range(160)) for order in orders.values())
    # The files come in another order too, not only their patches.
    first = {tuple(dict.fromkeys(FILES[np.array(order)].tolist())) for order in orders.values()}
    assert len(first) == 4


def test_the_orders_are_what_they_were() -> None:
    """Written down: a run that is resumed with a newer wsiprep meets the same patches."""
    assert EpochSampler(6, 3).order(2).tolist() == [5, 2, 4, 1, 3, 0]
    assert ShardSampler([0, 0, 0, 1, 1, 2, 2, 2], 3, window_files=2).order(2).tolist() == [6, 0, 2, 7, 5, 1, 4, 3]


def test_patches_are_mixed_within_a_window() -> None:
    order = ShardSampler(FILES, 0, window_files=5).order(0)
    for half in np.split(order, 2):
        files = FILES[half]
        assert len(set(files.tolist())) == 5
        # 80 patches in random order change file after most of them.
        assert np.count_nonzero(np.diff(files)) > 50


def test_each_process_reads_files_of_its_own() -> None:
    parts = [ShardSampler(FILES, 0, rank=rank, world_size=4, uneven="drop").order(3) for rank in range(4)]
    met = [set(FILES[part].tolist()) for part in parts]
    assert [len(files) for files in met] == [3, 3, 3, 3]
    # 40 patches are two files and a half, which a neighbour has the other half of.
    assert all(len(a & b) == (1 if {i, j} in ({0, 1}, {2, 3}) else 0) for i, a in enumerate(met) for j, b in
               enumerate(met) if i != j)  # fmt: skip


def test_what_is_left_out_differs_from_epoch_to_epoch() -> None:
    files = FILES[:37]
    left_out = {
        tuple(sorted(set(range(37)) - {p for r in range(4) for p in sampler(files, r).order(epoch).tolist()}))
        for epoch in range(6)
    }
    assert len(left_out) > 3


def sampler(files: np.ndarray, rank: int) -> EpochSampler:
    return EpochSampler(len(files), 0, rank=rank, world_size=4, uneven="drop")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 2, "world_size": 2}, "no such process"),
        ({"rank": -1}, "no such process"),
        ({"uneven": "pad"}, "wrap or drop"),
        ({"n": 0}, "fewer patches"),
        ({"n": 3, "world_size": 4, "uneven": "drop"}, "fewer patches"),
    ],
    ids=str,
)
def test_impossible_samplers_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        EpochSampler(**({"n": 8, "seed": 0} | options))  # type: ignore[arg-type]


def test_a_window_without_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one file"):
        ShardSampler(FILES, 0, window_files=0)


def test_a_million_patches_are_ordered_at_once() -> None:
    files = np.repeat(np.arange(20_000), 50)
    order = ShardSampler(files, 0).order(0)
    assert np.array_equal(np.sort(order), np.arange(len(files)))
