"""The benchmark of a dataset: trivial predictors, our runs, their mean and median, and the published figures.

No torch: it gathers ``runs/{model}/{name}/run.json`` and counts pixels in the index.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.artifacts import DatasetTree, read_json, write_bytes
from wsiprep.progress import NullReporter, Reporter
from wsiprep.store import Dataset
from wsiprep.training.metrics import SCORE_NAMES, Matrix, scores, trivial_matrices
from wsiprep.training.page import render_page
from wsiprep.training.pixels import class_pixels
from wsiprep.training.published import PUBLISHED
from wsiprep.training.spec import RUN_RECORD

_AVERAGED = (*SCORE_NAMES, "label_iou", "train_seconds", "images_per_second")


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One row of ``benchmark.csv``; None where there is no such figure.

    Attributes:
        kind: ``trivial``, ``run``, ``mean`` or ``median`` (over the runs of a model), ``published``.
        model: model card, or the name of a trivial predictor.
        title: the name for people.
        data: the dataset.
        seed, fold: of a run.
        runs: how many runs the row stands for.
        split: what was scored.
        acc, mpa, miou, fwiou: see ``metrics``.
        label_iou: mean IoU of the labels, without background.
        n_trainable, n_with_bn_stats: parameters in both conventions.
        pretrained: whether the weights started from ImageNet.
        epochs: epochs trained.
        best_epoch: the epoch whose weights were scored.
        train_seconds: without validation and test.
        images_per_second: while training, data loading included.
        device: what it was trained on.
        options: of the model, beside its classes.
        source: where a published figure is from.
        note: what to know before comparing.
    """

    kind: str
    model: str
    title: str
    data: str
    seed: int | None = None
    fold: int | None = None
    runs: int | None = None
    split: str | None = None
    acc: float | None = None
    mpa: float | None = None
    miou: float | None = None
    fwiou: float | None = None
    label_iou: float | None = None
    n_trainable: int | None = None
    n_with_bn_stats: int | None = None
    pretrained: bool | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    train_seconds: float | None = None
    images_per_second: float | None = None
    device: str | None = None
    options: str = ""
    source: str = ""
    note: str = ""


COLUMNS = tuple(f.name for f in fields(BenchmarkRow))


@dataclass(frozen=True, slots=True)
class Runs:
    """The finished runs on a dataset, and the folders that do not count.

    Attributes:
        records: contents of ``run.json``, by folder (``unet/seed0``).
        left_out: folder and reason.
    """

    records: Mapping[str, Mapping[str, Any]]
    left_out: tuple[tuple[str, str], ...]


def write_benchmark(tree: DatasetTree, reporter: Reporter | None = None) -> list[BenchmarkRow]:
    """Write ``benchmark.csv`` and ``benchmark.html`` of a sealed dataset.

    Args:
        tree: the dataset's paths.
        reporter: hears which runs do not count.

    Returns:
        The rows.

    Raises:
        StoreError: the dataset is not sealed, or a run's record is damaged.
        UsageError: a run names a split that there is no longer.
    """
    reporter = NullReporter() if reporter is None else reporter
    dataset = Dataset(tree.root)
    runs = gather_runs(tree.runs, dataset.digest)
    for folder, reason in runs.left_out:
        reporter.say(f"{folder} does not count: {reason}", level="warning")
    sections = {
        "trivial": _with_averages(_trivial_rows(dataset, runs.records.values())),
        "ours": _with_averages([run_row(record) for record in runs.records.values()]),
        "published": _published_rows(),
    }
    rows = [row for section in sections.values() for row in section]
    write_bytes(tree.benchmark_table, csv_bytes(rows))
    write_bytes(tree.benchmark_page, render_page(dataset.record, sections, runs.left_out))
    return rows


def gather_runs(folder: Path, dataset_digest: str) -> Runs:
    """The runs below ``runs/``: those of this version of the dataset, and why the others are not.

    Raises:
        StoreError: a ``run.json`` is damaged.
    """
    records: dict[str, Mapping[str, Any]] = {}
    left_out: list[tuple[str, str]] = []
    for place in sorted(p for p in folder.glob("*/*") if p.is_dir()):
        name = place.relative_to(folder).as_posix()
        if not (place / RUN_RECORD).exists():
            left_out.append((name, "it is not finished"))
            continue
        record = read_json(place / RUN_RECORD)
        trained_on = record["dataset"]["dataset_digest"]
        if trained_on != dataset_digest:
            left_out.append((name, f"it was trained on another version of the dataset ({trained_on[:12]})"))
            continue
        records[name] = record
    return Runs(records, tuple(left_out))


def run_row(record: Mapping[str, Any]) -> BenchmarkRow:
    """The row of one ``run.json``."""
    training, model, test = record["training"], record["model"], record["test"]
    options = {k: v for k, v in model["options"].items() if k != "n_classes"}
    found = scores(_matrix(test["confusion"]))
    return BenchmarkRow(
        kind="run",
        model=model["name"],
        title=model["title"],
        data=record["dataset"]["name"],
        seed=training["seed"],
        fold=training["fold"],
        runs=1,
        split=test["split"],
        **{name: getattr(found, name) for name in SCORE_NAMES},
        label_iou=_label_iou(found.iou),
        n_trainable=model["parameters"]["trainable"],
        n_with_bn_stats=model["parameters"]["with_bn_stats"],
        pretrained=model["pretrained"],
        epochs=training["epochs"],
        best_epoch=test["epoch"],
        train_seconds=record["train_seconds"],
        images_per_second=record["train_images_per_second"],
        device=_device(record["hardware"]),
        options=" ".join(f"{k}={v}" for k, v in sorted(options.items())),
        note="synthetic data" if record["dataset"]["synthetic"] else "",
    )


def _trivial_rows(dataset: Dataset, records: Iterable[Mapping[str, Any]]) -> list[BenchmarkRow]:
    """The trivial predictors on every split that a run was scored on, and on the test split."""
    rows = []
    for train_split, split, fold in _scored_splits(dataset, records):
        train_px = class_pixels(dataset, dataset.split(train_split, fold))
        test_px = class_pixels(dataset, dataset.split(split, fold))
        if not any(test_px):
            continue
        for name, matrix in trivial_matrices(train_px, test_px, dataset.labels).items():
            found = scores(matrix)
            rows.append(
                BenchmarkRow(
                    kind="trivial",
                    model=name,
                    title=name,
                    data=dataset.record["name"],
                    fold=fold,
                    runs=1,
                    split=split,
                    **{score: getattr(found, score) for score in SCORE_NAMES},
                    label_iou=_label_iou(found.iou),
                    note="synthetic data" if dataset.record["synthetic"] else "",
                )
            )
    return rows


def _scored_splits(dataset: Dataset, records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int | None]]:
    """(train split, scored split, fold), each once, in order."""
    found = {(r["training"]["train_split"], r["test"]["split"], r["training"]["fold"]): None for r in records}
    if not found and dataset.folds:
        found = {("train", "test", fold): None for fold in dataset.folds}
    if not found and {"train", "test"} <= set(dataset.splits):
        found = {("train", "test", None): None}
    return sorted(found, key=lambda place: (place[0], place[1], -1 if place[2] is None else place[2]))


def _with_averages(rows: Sequence[BenchmarkRow]) -> list[BenchmarkRow]:
    """The rows of each model with the same options, followed by their mean and median where there are several."""
    result: list[BenchmarkRow] = []
    for place in dict.fromkeys((row.model, row.options) for row in rows):
        alike = [row for row in rows if (row.model, row.options) == place]
        result += sorted(alike, key=lambda row: (-1 if row.fold is None else row.fold, row.seed or 0))
        if len(alike) > 1:
            result += [_average(alike, "mean", statistics.fmean), _average(alike, "median", statistics.median)]
    return result


def _average(rows: Sequence[BenchmarkRow], kind: str, middle: Callable[[list[float]], float]) -> BenchmarkRow:
    """One row for several; what differs between them and has no middle is left empty."""
    values: dict[str, Any] = {"kind": kind, "runs": len(rows)}
    for name in (f.name for f in fields(BenchmarkRow) if f.name not in values):
        given = [getattr(row, name) for row in rows]
        if name in _AVERAGED:
            values[name] = None if None in given else middle(given)
        else:
            values[name] = given[0] if len(set(given)) == 1 else None
    return BenchmarkRow(**values)


def _published_rows() -> list[BenchmarkRow]:
    return [
        BenchmarkRow(
            kind="published",
            model=result.model,
            title=result.title,
            data=result.data,
            acc=result.acc,
            mpa=result.mpa,
            miou=result.miou,
            fwiou=result.fwiou,
            source=result.source,
            note=result.note,
        )
        for result in PUBLISHED
    ]


def csv_bytes(rows: Sequence[BenchmarkRow]) -> bytes:
    """``benchmark.csv``: scores with six decimals, empty where there is no figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    return stream.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _label_iou(iou: Sequence[float | None]) -> float | None:
    known = [value for value in iou[1:] if value is not None]
    return statistics.fmean(known) if known else None


def _matrix(confusion: Sequence[Sequence[int]]) -> Matrix:
    return np.array(confusion, np.int64)


def _device(hardware: Mapping[str, Any]) -> str:
    if hardware["device"] == "cpu":
        return f"cpu, {hardware['threads']} threads"
    return str(hardware["device_name"])
