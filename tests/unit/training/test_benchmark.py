"""Gathering runs: from records of known scores, without training anything."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import trainingcases as cases

from wsiprep.artifacts import DatasetTree, write_json
from wsiprep.errors import StoreError
from wsiprep.models import model_cards
from wsiprep.progress import LineReporter
from wsiprep.store import Dataset
from wsiprep.training.benchmark import COLUMNS, write_benchmark
from wsiprep.training.published import PUBLISHED


@pytest.fixture
def tree(tmp_path):
    return DatasetTree(cases.write_dataset(tmp_path / "discs"))


def record_run(tree, model="unet", seed=0, right=900, **changes):
    dataset = Dataset(tree.root)
    fold = changes.pop("fold", None)
    record = {
        "training": {"seed": seed, "fold": fold, "train_split": "train", "epochs": 4},
        "dataset": {"name": "discs", "dataset_digest": dataset.digest, "synthetic": True},
        "model": {
            "name": model,
            "title": model.title(),
            "options": {"n_classes": 2, "base": 4},
            "pretrained": False,
            "parameters": {"trainable": 100, "with_bn_stats": 120},
        },
        "hardware": {"device": "cpu", "threads": 2, "device_name": "x"},
        "train_seconds": 10.0 * (seed + 1),
        "train_images_per_second": 5.0,
        "test": {"split": "test", "epoch": 3, "confusion": [[right, 1000 - right], [0, 1000]]},
    }
    name = f"seed{seed}" if fold is None else f"seed{seed}-fold{fold}"
    for key, value in changes.items():
        record[key.removeprefix("run_")] |= value
    write_json(tree.runs / model / name / "run.json", record)


def rows_of(tree) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tree.benchmark_table.read_text())))


def test_runs_are_averaged_per_model(tree):
    for seed, right in enumerate((900, 800, 400)):
        record_run(tree, seed=seed, right=right)
    record_run(tree, "hinet", hardware={"device": "cuda", "device_name": "H200"})
    written = write_benchmark(tree)
    rows = rows_of(tree)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(written)
    ours = [row for row in rows if row["n_trainable"]]
    assert [(r["kind"], r["model"], r["seed"]) for r in ours] == [
        ("run", "hinet", "0"), ("run", "unet", "0"), ("run", "unet", "1"), ("run", "unet", "2"),
        ("mean", "unet", ""), ("median", "unet", ""),
    ]  # fmt: skip
    assert [float(r["acc"]) for r in ours] == pytest.approx([0.95, 0.95, 0.9, 0.7, 0.85, 0.9])
    assert float(ours[-1]["train_seconds"]) == 20
    assert ours[-1]["runs"] == "3"
    assert ours[-1]["options"] == "base=4"
    assert ours[0]["device"] == "H200"
    assert ours[1]["device"] == "cpu, 2 threads"
    # IoU of tumour: 1000 / (1000 + 100)
    assert float(ours[1]["label_iou"]) == pytest.approx(10 / 11, abs=1e-6)


def test_runs_with_other_options_are_not_averaged_together(tree):
    record_run(tree, seed=0)
    record_run(tree, seed=1)
    wider = {"options": {"n_classes": 2, "base": 8}, "parameters": {"trainable": 400, "with_bn_stats": 480}}
    record_run(tree, seed=2, run_model=wider)
    means = [row for row in write_benchmark(tree) if row.kind == "mean"]
    assert [(row.options, row.runs, row.n_trainable) for row in means] == [("base=4", 2, 100)]


def test_trivial_predictors_are_those_of_the_test_masks(tree):
    rows = {row.model: row for row in write_benchmark(tree) if row.kind == "trivial"}
    dataset = Dataset(tree.root)
    mask = np.stack([dataset.read_pixels(int(i))[1] for i in dataset.split("test")])
    background = np.count_nonzero(mask == 0) / np.count_nonzero(mask != 255)
    assert list(rows) == ["all background", "all tumour", "train majority"]
    assert rows["all background"].acc == pytest.approx(background)
    assert rows["all tumour"].miou == pytest.approx((1 - background) / 2)
    assert replace(rows["train majority"], model="", title="") == replace(rows["all background"], model="", title="")


def test_each_fold_has_its_own_trivial_predictors(tmp_path):
    tree = DatasetTree(cases.write_dataset(tmp_path / "folds", cases.FOLDS, **cases.FOLD_SPLIT))
    before = [row for row in write_benchmark(tree) if row.model == "all background"]
    assert [(row.kind, row.fold) for row in before] == [
        ("trivial", 0), ("trivial", 1), ("trivial", 2), ("mean", None), ("median", None),
    ]  # fmt: skip
    record_run(tree, fold=1)
    after = [row for row in write_benchmark(tree) if row.model == "all background"]
    assert [row.fold for row in after] == [1]


def test_a_test_split_without_annotation_has_none(tmp_path):
    tree = DatasetTree(cases.write_dataset(tmp_path / "blank", unannotated=("d",)))
    assert {row.kind for row in write_benchmark(tree)} == {"published"}
    assert "no annotated test split" in tree.benchmark_page.read_text()


def test_unfinished_and_foreign_runs_do_not_count_and_are_named(tree):
    record_run(tree, seed=0)
    record_run(tree, seed=1, dataset={"dataset_digest": "f" * 64})
    (tree.runs / "hinet" / "seed0").mkdir(parents=True)
    said = io.StringIO()
    rows = write_benchmark(tree, LineReporter(said))
    assert [row.seed for row in rows if row.kind == "run"] == [0]
    page = tree.benchmark_page.read_text()
    for text in (said.getvalue(), page):
        assert "hinet/seed0" in text
        assert "not finished" in text
        assert "ffffffffffff" in text
        assert "unet/seed1" in text


def test_a_damaged_record_is_an_error(tree):
    record_run(tree)
    (tree.runs / "unet" / "seed0" / "run.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        write_benchmark(tree)


def test_the_page_is_self_contained_and_says_what_it_has_to(tree):
    record_run(tree)
    write_benchmark(tree)
    page = tree.benchmark_page.read_text()
    assert "Synthetic data" in page
    assert "no row here is a reproduction" in page
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    assert page.count("<tr") - page.count("<thead") == len(rows_of(tree))
    assert "None" not in page


def test_real_data_is_not_called_synthetic(tmp_path):
    tree = DatasetTree(cases.write_dataset(tmp_path / "real", synthetic=False))
    assert all(row.note != "synthetic data" for row in write_benchmark(tree))
    assert "Synthetic data" not in tree.benchmark_page.read_text()


def test_writing_twice_gives_the_same_bytes(tree):
    record_run(tree)
    write_benchmark(tree)
    first = tree.benchmark_table.read_bytes(), tree.benchmark_page.read_bytes()
    write_benchmark(tree)
    assert (tree.benchmark_table.read_bytes(), tree.benchmark_page.read_bytes()) == first


def test_published_figures_are_shares_and_name_our_models_where_there_are_some():
    names = {c.name for c in model_cards()}
    assert len(PUBLISHED) == 21
    assert {"unet", "hinet", "fpn"} <= {row.model for row in PUBLISHED} & names
    for row in PUBLISHED:
        assert all(0.6 < value < 0.95 for value in (row.acc, row.mpa, row.miou, row.fwiou))
    own = {row.title: row for row in PUBLISHED if row.data == "own data"}
    assert (own["HI-Net"].acc, own["HI-Net"].miou) == (0.904, 0.813)
    assert "misprint" in own["UNet"].note
