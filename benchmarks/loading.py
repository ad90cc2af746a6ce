"""How fast are patches loaded for training, beside zarr-python, HDF5 and a raw .npy memory map?

    python benchmarks/loading.py                    # patches of the 4x level, lz4 and zstd
    python benchmarks/loading.py --level0           # 2,106 patches
    python benchmarks/loading.py --workers          # loader processes 0, 1, 2 as well
    python benchmarks/loading.py --profile          # where the time of one epoch goes, instead

A sample is an image and its mask, in random order: each by itself, in batches of 16 as torch uint8, and images alone.
The files are in the page cache, so it is the processor that is measured, on one core: ratios are of CPU seconds for
the same samples (workers are counted with the process that they work for, their start included). zarr-python reads
the very same shards.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import zarr
from bench_slide import BenchSlide, add_slide, slide_of
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show
from planned import of_slide
from torch.utils.data import default_collate

from wsiprep.store import Dataset, by_slide, seal
from wsiprep.training.batch import collate_patches
from wsiprep.training.data import PatchDataset
from wsiprep.training.loader import make_loader
from wsiprep.training.sampler import EpochSampler, ShardSampler

CODECS = ("blosc-lz4", "zstd")
BATCH, EPOCHS = 16, 8
MEMMAP, ZARR, ZARR_SHARD, HDF5 = "raw .npy memmap", "zarr-python z[i]", "zarr-python whole shard files", "h5py, raw"
PIXELS, ITEM = "Dataset.read_pixels(i)", "PatchDataset[i]"
NUMPY, ITEMS, BATCHED, STREAMED = (
    "Dataset.read_batch", "PatchDataset[i], collated", "PatchDataset, batched", "PatchDataset, streamed",
)  # fmt: skip
STORED = "StoredArray.patches"
LEAST = {ZARR: 2.0, MEMMAP: 0.4}


def packed(subject: BenchSlide, folder: Path, codec: str, *, level0: bool) -> Path:
    """A sealed dataset of the slide's patches."""
    overrides = {"store": {"codec": codec, "patches_per_shard_file": 64}}
    way = of_slide(subject, folder / codec, level0=level0, overrides=overrides)
    way.survey()
    way.plan()
    way.pack()
    slides = [{"slide_id": way.row.slide_id, "patient": way.row.slide_id}]
    seal(way.tree, recipe=way.recipe, slides=slides, assignment=by_slide({way.row.slide_id: ("all", None)}))
    return way.tree.root


@dataclass(frozen=True)
class Subject:
    """One dataset in every form that is compared."""

    root: Path
    folder: Path

    def __post_init__(self) -> None:
        images, masks = self.dataset.read_batch(range(self.n))
        np.save(self.folder / "image.npy", images)
        np.save(self.folder / "mask.npy", masks)

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.root)

    @property
    def n(self) -> int:
        return len(self.dataset)

    def order(self) -> list[int]:
        return np.random.default_rng(0).permutation(self.n).tolist()


Pair = tuple[np.ndarray, np.ndarray]


def gathered(side: int, order: list[int], one: Callable[[int], Pair]) -> None:
    """Batches of what ``one`` gives for each number."""
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        images, masks = np.empty((len(rows), side, side, 3), np.uint8), np.empty((len(rows), side, side), np.uint8)
        for k, row in enumerate(rows):
            images[k], masks[k] = one(row)
        torch.from_numpy(images), torch.from_numpy(masks)


def whole_files(group: zarr.Group, per_file: int, side: int) -> None:
    """Shard files in random order, each read in one go and shuffled."""
    rng, n = np.random.default_rng(0), group["image"].shape[0]
    for start in rng.permutation(np.arange(0, n, per_file)).tolist():
        images, masks = (group[name][start : start + per_file] for name in ("image", "mask"))
        gathered(side, rng.permutation(len(images)).tolist(), lambda i, a=images, b=masks: (a[i], b[i]))


def run_through(batches: Iterable[Any], n: int) -> None:
    if sum(len(batch["row"]) for batch in batches) != n:
        raise SystemExit("a loader lost samples")


def items(data: PatchDataset, order: list[int], collate: Callable[[Any], Any]) -> Iterator[Any]:
    for start in range(0, len(order), BATCH):
        yield collate([data[i] for i in order[start : start + BATCH]])


def batches(data: PatchDataset, sampler: EpochSampler) -> Iterator[Any]:
    order = list(sampler)
    for start in range(0, len(order), BATCH):
        yield collate_patches(data.__getitems__(order[start : start + BATCH]))


def read_batches(dataset: Dataset, order: list[int]) -> None:
    for start in range(0, len(order), BATCH):
        images, masks = dataset.read_batch(order[start : start + BATCH])
        torch.from_numpy(images), torch.from_numpy(masks)


def one_by_one(subject: Subject) -> list[Contestant]:
    """Sample after sample, in no batch."""
    dataset, order = subject.dataset, subject.order()
    data = PatchDataset(subject.root, "all")
    raw = [np.load(subject.folder / f"{name}.npy", mmap_mode="r") for name in ("image", "mask")]
    group = zarr.open_group(subject.root / dataset.record["shards"][0]["path"], mode="r")
    theirs = [group[name] for name in ("image", "mask")]

    def through(one: Callable[[int], object]) -> None:
        for row in order:
            one(row)

    ways: dict[str, Callable[[int], object]] = {
        MEMMAP: lambda i: [torch.from_numpy(np.array(array[i])) for array in raw],
        ZARR: lambda i: [torch.from_numpy(array[i]) for array in theirs],
        PIXELS: lambda i: [torch.from_numpy(array) for array in dataset.read_pixels(i)],
        ITEM: data.__getitem__,
    }
    return [Contestant(name, partial(through, one)) for name, one in ways.items()]


def contestants(subject: Subject) -> list[Contestant]:
    dataset, order, n = subject.dataset, subject.order(), subject.n
    data = PatchDataset(subject.root, "all")
    side = dataset.patch_size_px
    raw = [np.load(subject.folder / f"{name}.npy", mmap_mode="r") for name in ("image", "mask")]
    group = zarr.open_group(subject.root / dataset.record["shards"][0]["path"], mode="r")
    arrays = group["image"], group["mask"]
    per_file = arrays[0].shards[0]
    samplers = {BATCHED: EpochSampler(n, 0), STREAMED: ShardSampler(data.dataset.shard_files(data.rows), 0)}
    found = {
        MEMMAP: partial(gathered, side, order, lambda i: (raw[0][i], raw[1][i])),
        ZARR: partial(gathered, side, order, lambda i: (arrays[0][i], arrays[1][i])),
        ZARR_SHARD: partial(whole_files, group, per_file, side),
        NUMPY: lambda: read_batches(dataset, order),
        ITEMS: lambda: run_through(items(data, order, collate_patches), n),
        "PatchDataset[i], torch's collation": lambda: run_through(items(data, order, default_collate), n),
        BATCHED: lambda: run_through(batches(data, samplers[BATCHED]), n),
        STREAMED: lambda: run_through(batches(data, samplers[STREAMED]), n),
    }
    if (hdf5 := _hdf5(subject)) is not None:
        found[HDF5] = partial(gathered, side, order, hdf5)
    return [Contestant(name, work) for name, work in found.items()]


def with_workers(subject: Subject) -> list[Contestant]:
    """Whole loaders over several epochs; processes are counted with their start, and when they have ended."""
    data = PatchDataset(subject.root, "all")

    def epochs(count: int) -> None:
        sampler = ShardSampler(data.dataset.shard_files(data.rows), 0)
        loader = make_loader(data, BATCH, sampler=sampler, num_workers=count)
        for number in range(EPOCHS):
            sampler.set_epoch(number)
            run_through(loader, subject.n)

    return [Contestant(f"loader, {count} workers", partial(epochs, count)) for count in (0, 1, 2)]


def images_alone(subject: Subject) -> list[Contestant]:
    """The same without masks, as most published figures are."""
    dataset, order = subject.dataset, subject.order()
    raw = np.load(subject.folder / "image.npy", mmap_mode="r")
    path = subject.root / dataset.record["shards"][0]["path"]
    theirs = zarr.open_group(path, mode="r")["image"]
    ours = dataset._shard(0).arrays["image"]

    def gather(one: Callable[[int], np.ndarray]) -> None:
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            images = np.empty((len(rows), *raw.shape[1:]), np.uint8)
            for k, row in enumerate(rows):
                images[k] = one(row)
            torch.from_numpy(images)

    def fill() -> None:
        for start in range(0, len(order), BATCH):
            torch.from_numpy(ours.patches(order[start : start + BATCH]))

    ways = {MEMMAP: lambda: gather(raw.__getitem__), ZARR: lambda: gather(theirs.__getitem__), STORED: fill}
    return [Contestant(name, work) for name, work in ways.items()]


def _hdf5(subject: Subject) -> Callable[[int], Pair] | None:
    try:
        import h5py
    except ImportError:
        return None
    path = subject.folder / "patches.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            for name in ("image", "mask"):
                values = np.load(subject.folder / f"{name}.npy", mmap_mode="r")
                file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]))
    file = h5py.File(path)
    return lambda i: (file["image"][i], file["mask"][i])


def compare(subject: Subject, codec: str, options: argparse.Namespace) -> list[Measure]:
    n = subject.n
    print(f"\n{codec}: one by one")
    single = interleaved(one_by_one(subject), options.rounds)
    show(single, n, "samples", MEMMAP)
    print("in batches")
    runs = interleaved(contestants(subject), options.rounds)
    show(runs, n, "samples", MEMMAP)
    alone = interleaved(images_alone(subject), options.rounds)
    print("images alone")
    show(alone, n, "images", MEMMAP)
    if options.workers:
        print(f"{EPOCHS} epochs")
        show(interleaved(with_workers(subject), options.rounds), n * EPOCHS, "samples", "loader, 0 workers")
    measures = []
    compared = (
        (single, (PIXELS, ITEM), "one by one"),
        (runs, (NUMPY, ITEMS, BATCHED, STREAMED), "in batches"),
        (alone, (STORED,), "images alone"),
    )
    for found, names, what in compared:
        for name in names:
            rate = n / statistics.median(cpu(found[name]))
            for peer, least in LEAST.items():
                ratio = quotients(cpu(found[peer]), cpu(found[name]))
                # The target is the default codec's, one by one and in batches; zstd is reported beside it.
                target = least if codec == "blosc-lz4" or peer == ZARR else None
                measures.append(
                    Measure(f"{what}: {name} / {peer}", rate, "patches/CPU s", ratio, target, subject=f"{codec}, {n}")
                )
    return measures


def profile(subject: Subject) -> None:
    data = PatchDataset(subject.root, "all")
    sampler = EpochSampler(subject.n, 0)
    run_through(batches(data, sampler), subject.n)
    with cProfile.Profile() as found:
        run_through(batches(data, sampler), subject.n)
    pstats.Stats(found).sort_stats("tottime").print_stats(15)


def main() -> None:
    parser = arguments(__doc__)
    add_slide(parser)
    parser.add_argument("--level0", action="store_true", help="patches at level 0")
    parser.add_argument("--workers", action="store_true", help="loader processes too")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--profile", action="store_true", help="profile one epoch instead of comparing")
    options = parser.parse_args()
    options.rounds = 1 if options.smoke else options.rounds
    torch.set_num_threads(1)
    measures = []
    with tempfile.TemporaryDirectory() as folder:
        subject = slide_of(options, Path(folder))
        for codec in options.codecs:
            place = Path(folder) / f"raw-{codec}"
            place.mkdir()
            found = Subject(packed(subject, Path(folder), codec, level0=options.level0), place)
            if options.profile:
                profile(found)
            else:
                measures += compare(found, codec, options)
    if measures:
        libraries = ("torch", "zarr", "numcodecs")
        report("loading", measures, libraries=libraries, results=results_of(options), rounds=options.rounds)


if __name__ == "__main__":
    main()
