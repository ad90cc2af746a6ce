"""Laws of the samplers over any split, number of processes and place to stop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.training.sampler import EpochSampler, ShardSampler

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@st.composite
def layouts(draw: st.DrawFn) -> list[int]:
    """The shard file of each position; usually runs of equal numbers, sometimes in any order."""
    files = [number for number, size in enumerate(draw(SIZES)) for _ in range(size)]
    return draw(st.permutations(files)) if draw(st.booleans()) else files


def samplers(files: list[int], seed: int, world_size: int, uneven: str, window: int, kind: type) -> list[EpochSampler]:
    options = {"world_size": world_size, "uneven": uneven}
    if kind is EpochSampler:
        return [EpochSampler(len(files), seed, rank=rank, **options) for rank in range(world_size)]
    return [ShardSampler(files, seed, window_files=window, rank=rank, **options) for rank in range(world_size)]


COMMON = {
    "files": layouts(),
    "seed": st.integers(0, 2**40),
    "epoch": st.integers(0, 50),
    "world_size": st.integers(1, 5),
    "window": st.integers(1, 6),
    "kind": st.sampled_from([EpochSampler, ShardSampler]),
}


@given(**COMMON)
def test_wrapped_parts_are_equally_long_and_together_everything(files, seed, epoch, world_size, window, kind) -> None:
    parts = [s.order(epoch).tolist() for s in samplers(files, seed, world_size, "wrap", window, kind)]
    assert {len(part) for part in parts} == {-(-len(files) // world_size)}
    counts = np.bincount(np.concatenate(parts), minlength=len(files))
    assert len(counts) == len(files)
    assert counts.min() >= 1
    extra = sum(map(len, parts)) - len(files)
    assert counts.sum() - np.count_nonzero(counts) == extra < world_size


@given(**COMMON)
def test_dropping_gives_no_position_twice(files, seed, epoch, world_size, window, kind) -> None:
    if len(files) < world_size:
        return
    parts = [s.order(epoch).tolist() for s in samplers(files, seed, world_size, "drop", window, kind)]
    assert {len(part) for part in parts} == {len(files) // world_size}
    together = [place for part in parts for place in part]
    assert len(set(together)) == len(together) > len(files) - world_size
    assert set(together) <= set(range(len(files)))


@given(**COMMON, cut=st.integers(0, 10**6), rank=st.integers(0, 4))
def test_any_place_of_an_epoch_is_gone_on_from(files, seed, epoch, world_size, window, kind, cut, rank) -> None:
    def make() -> EpochSampler:
        found = samplers(files, seed, world_size, "wrap", window, kind)[rank % world_size]
        found.set_epoch(epoch)
        return found

    whole = list(make())
    assert whole == [(epoch, place) for place in make().order(epoch).tolist()]
    assert len(whole) == len(make())
    done = cut % (len(whole) + 1)
    again = make()
    again.load_state_dict(make().state_dict(done))
    again.set_epoch(epoch)
    assert list(again) == whole[done:]
    assert list(again) == whole
    again.set_epoch(epoch + 1)
    assert {e for e, _ in again} == {epoch + 1}


@given(**COMMON)
def test_a_stream_reads_each_file_in_one_window(files, seed, epoch, world_size, window, kind) -> None:
    for sampler in samplers(files, seed, world_size, "wrap", window, ShardSampler):
        order = sampler.order(epoch)
        met = np.array(files)[order]
        # Once the stream has gone on to the next window, it never comes back to a file of this one: walk along it
        # and close a window when the files met so far are complete.
        mine = {file: np.count_nonzero(met == file) for file in set(met.tolist())}
        open_files: dict[int, int] = {}
        for file in met.tolist():
            open_files[file] = open_files.get(file, 0) + 1
            assert len(open_files) <= window + (len(files) % world_size > 0)
            if all(open_files[name] == mine[name] for name in open_files):
                open_files = {}
        assert not open_files


@given(sizes=SIZES, seed=st.integers(0, 1000), window=st.integers(1, 4))
def test_one_process_streams_whole_windows_of_files(sizes, seed, window) -> None:
    files = np.repeat(np.arange(len(sizes)), sizes)
    met = files[ShardSampler(files, seed, window_files=window).order(0)].tolist()
    left, start = len(sizes), 0
    while left:
        taken = min(window, left)
        # The next `taken` different files fill the stream exactly as far as they are long.
        chosen = list(dict.fromkeys(met[start:]))[:taken]
        length = sum(sizes[file] for file in chosen)
        assert set(met[start : start + length]) == set(chosen)
        start, left = start + length, left - taken
    assert start == len(met)
