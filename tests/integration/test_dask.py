"""A dataset as dask arrays: on threads, on workers of a distributed scheduler, and as the oracle of seal's sums."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import storecases as cases

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError
from wsiprep.store import Dataset, Placement, by_slide, seal

FOLDS = {"slide_a": ("all", 0), "slide_b": ("all", 1), "slide_c": ("all", 2), "slide_d": ("all", 0)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of several files, of which the split leaves out every third patch."""
    root = tmp_path_factory.mktemp("lazy")
    for number, (slide_id, count) in enumerate((("slide_a", 11), ("slide_b", 5), ("slide_c", 1), ("slide_d", 0))):
        cases.write(root, slide_id, count, seed=number)

    def most(slide_id: str, rows: Any) -> Placement:
        split = ["val" if slide_id == "slide_b" else "train" for _ in range(rows.num_rows)]
        return Placement([None if i % 3 == 2 else name for i, name in enumerate(split)], [None] * rows.num_rows)

    seal(DatasetTree(root), recipe=cases.recipe(), slides=cases.SLIDES, assignment=most)
    return root


def integer_sums(images: Any) -> tuple[list[int], list[int]]:
    """Sum and sum of squares of each channel as dask adds up the pixels, in integers."""
    wide = images.astype(np.uint64)
    return wide.sum(axis=(0, 1, 2)).compute().tolist(), (wide**2).sum(axis=(0, 1, 2)).compute().tolist()


def check_all(root: Path) -> None:
    dataset = Dataset(root)
    for split in ("all", "train", "val"):
        images, masks = dataset.to_dask(split)
        wanted = dataset.read_batch(dataset.split(split))
        assert images.dtype == masks.dtype == np.uint8
        assert np.array_equal(images.compute(), wanted[0])
        assert np.array_equal(masks.compute(), wanted[1])


def check_oracle(dataset: Dataset, split: str, statistics: dict[str, Any], fold: int | None = None) -> None:
    """Pixels that dask decodes against what ``seal`` added up from the sums of each row."""
    images, masks = dataset.to_dask(split, fold)
    sums, squares = integer_sums(images)
    part = dataset.index.take(dataset.split(split, fold))
    for k, channel in enumerate("rgb"):
        assert sum(part[f"sum_{channel}"].to_pylist()) == sums[k]
        assert sum(part[f"sumsq_{channel}"].to_pylist()) == squares[k]
    n = int(np.prod(images.shape[:3]))
    assert statistics["n_px"] == n
    # The same integers divided once: equal to the last bit.
    assert statistics["mean"] == [total / n for total in sums]
    variances = [(n * square - total * total) / (n * n) for total, square in zip(sums, squares, strict=True)]
    assert statistics["std"] == np.sqrt(variances).tolist()
    for value, name in ((1, "tumour"), (2, "stroma"), (255, "ignore")):
        assert sum(part[f"{name}_px"].to_pylist()) == int((masks == value).sum().compute())


def test_threads_read_in_the_order_of_the_split(root: Path) -> None:
    check_all(root)


def test_a_block_is_the_wanted_part_of_a_shard_file(root: Path) -> None:
    images, masks = Dataset(root).to_dask("train")
    # Files of four: rows 0 1 3, 4 6 7, 9 10 of the first slide, 0 of the third.
    assert images.chunks[0] == masks.chunks[0] == (3, 3, 2, 1)
    again, _ = Dataset(root).to_dask("train")
    assert again.name == images.name
    assert Dataset(root).to_dask("val")[0].name != images.name
    assert np.array_equal(images[2:5, 3].compute(), images.compute()[2:5, 3])


def test_dask_is_the_oracle_of_the_statistics(root: Path) -> None:
    dataset = Dataset(root)
    check_oracle(dataset, "train", dataset.statistics["train"])


def test_dask_is_the_oracle_of_each_folds_statistics(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)
    recipe = cases.recipe(split={"kind": "folds", "folds": 3})
    seal(DatasetTree(tmp_path), recipe=recipe, slides=cases.SLIDES, assignment=by_slide(FOLDS))
    dataset = Dataset(tmp_path)
    for fold in range(3):
        check_oracle(dataset, "train", dataset.statistics["folds"][str(fold)], fold)


def test_what_is_lost_raises_when_it_is_computed(tmp_path: Path) -> None:
    cases.sealed(tmp_path)
    dataset = Dataset(tmp_path)
    images, masks = dataset.to_dask()
    path = tmp_path / dataset.record["shards"][1]["path"] / "image" / "c.0.0.0.0"
    path.unlink()
    assert masks.compute().shape[0] == images[:6].compute().shape[0] + 5
    with pytest.raises(StoreError, match="missing"):
        images.compute()


def test_dask_is_imported_only_when_it_is_asked_for(root: Path) -> None:
    code = (
        "import sys, wsiprep\n"
        "dataset = wsiprep.Dataset(sys.argv[1])\n"
        "dataset.read_batch([0, 1])\n"
        "assert 'dask' not in sys.modules\n"
        "dataset.to_dask()\n"
        "assert 'dask.array' in sys.modules and 'distributed' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=120)


def test_workers_on_threads_of_a_distributed_scheduler(root: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        check_all(root)
        dataset = Dataset(root)
        check_oracle(dataset, "train", dataset.statistics["train"])


@pytest.mark.long
def test_workers_that_are_processes(root: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        check_all(root)
        dataset = Dataset(root)
        check_oracle(dataset, "train", dataset.statistics["train"])
        images, _ = dataset.to_dask()
        (total,) = client.gather([client.compute(images.sum())])
        assert total == int(dataset.read_batch(range(len(dataset)))[0].astype(np.int64).sum())
