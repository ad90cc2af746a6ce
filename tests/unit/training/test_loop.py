"""Training from end to end on a tiny dataset: the run's folder, resuming, folds, and what is refused."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import trainingcases as cases

from wsiprep.errors import StorageError, TrainingError, UsageError
from wsiprep.progress import LineReporter
from wsiprep.training import Evaluation, TrainingRun, evaluate_checkpoint, fit_model
from wsiprep.training.callbacks import BEST, HISTORY, LAST
from wsiprep.training.checkpoint import load_checkpoint
from wsiprep.training.metrics import scores
from wsiprep.training.trainer import make_trainer


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # other tests share the machine
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return cases.write_dataset(tmp_path_factory.mktemp("discs"))


def spec(root, out, **changes) -> TrainingRun:
    base = TrainingRun(
        root, "unet", cases.SMALL_UNET, epochs=4, batch_size=3, learning_rate=1e-2, crop_px=32,
        augmentation="flips", device="cpu", out=out,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    said = io.StringIO()
    folder = fit_model(spec(root, tmp_path_factory.mktemp("runs")), LineReporter(said))
    return folder, said.getvalue()


def weights(path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)["state_dict"]


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_runs_folder(root, trained):
    folder, said = trained
    assert folder.parts[-2:] == ("unet", "seed0")
    assert sorted(p.name for p in folder.iterdir()) == sorted([BEST, LAST, HISTORY, "run.json"])
    record = json.loads((folder / "run.json").read_text())
    assert record["dataset"]["synthetic"] is True
    assert record["training"]["learning_rate"] == 1e-2
    assert record["model"]["parameters"] == {"trainable": 8458, "with_bn_stats": 8642}
    assert record["model"]["pretrained"] is False
    assert record["patches"] == {"train": 7, "val": 2, "test": 3}
    assert record["hardware"]["device"] == "cpu"
    assert record["versions"]["torch"] == torch.__version__
    assert record["peak_memory_bytes"]["process"] > 10**8
    assert str(root) not in (folder / "run.json").read_text()
    test = record["test"]
    assert test["checkpoint"] == BEST
    assert sum(map(sum, test["confusion"])) == test["scores"]["pixels"] == 3 * 46 * 48
    assert "epoch 4 of 4: train_loss" in said
    assert "test_miou" in said


class Counting(LineReporter):
    """Counts what the task is told, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.totals: list[int] = []
        self.done = self.open = 0

    @contextlib.contextmanager
    def task(self, label, total=None):
        self.totals.append(total)
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    def advance(self, steps=1):
        self.done += steps


def test_the_reporter_sees_every_step_and_only_those_that_are_left(root, tmp_path):
    first, second, broken = Counting(), Counting(), Counting()
    fit_model(spec(root, tmp_path, epochs=1), first)
    fit_model(spec(root, tmp_path, epochs=3, resume=True), second)
    assert (first.totals, first.done, first.open) == ([3], 3, 0)
    assert (second.totals, second.done, second.open) == ([6], 6, 0)
    with pytest.raises(TrainingError):
        fit_model(spec(root, tmp_path, learning_rate=1e36, options=cases.SMALL_UNET | {"norm": "none"}), broken)
    assert broken.open == 0


def test_the_table_of_epochs_and_the_best_of_them(trained):
    folder, _ = trained
    rows = list(csv.DictReader((folder / HISTORY).open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(row["images"] == "7" and float(row["train_seconds"]) > 0 for row in rows)
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    record = json.loads((folder / "run.json").read_text())
    best = max(rows, key=lambda row: float(row["val_miou"]))
    assert record["test"]["epoch"] == int(best["epoch"]) == load_checkpoint(folder / BEST)["epoch"] + 1


def test_evaluating_the_checkpoint_gives_the_runs_scores(root, trained):
    folder, _ = trained
    test = json.loads((folder / "run.json").read_text())["test"]
    found = evaluate_checkpoint(Evaluation(folder / BEST, root, device="cpu", batch_size=1))
    assert found["confusion"] == test["confusion"]
    assert found["trained_on"] == found["dataset_digest"]
    assert json.loads(json.dumps(found))["scores"] == test["scores"]
    other = evaluate_checkpoint(Evaluation(folder / BEST, root, split="val", device="cpu"))
    rows = list(csv.DictReader((folder / HISTORY).open()))
    assert other["scores"]["miou"] == pytest.approx(max(float(row["val_miou"]) for row in rows))


def test_a_second_run_has_the_same_weights_and_another_seed_others(root, trained, tmp_path):
    folder, _ = trained
    again = fit_model(spec(root, tmp_path))
    assert same(weights(again / LAST), weights(folder / LAST))
    other = fit_model(spec(root, tmp_path, seed=1, epochs=1))
    assert other.name == "seed1"
    assert not same(weights(other / LAST), weights(folder / LAST))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_is_the_uninterrupted_one(root, trained, tmp_path, workers):
    folder, _ = trained
    half = fit_model(spec(root, tmp_path, epochs=2, num_workers=workers))
    assert not same(weights(half / LAST), weights(folder / LAST))
    resumed = fit_model(spec(root, tmp_path, resume=True, num_workers=workers))
    assert same(weights(resumed / LAST), weights(folder / LAST))
    assert same(weights(resumed / BEST), weights(folder / BEST))
    whole = [{k: v for k, v in r.items() if k != "train_seconds"} for r in csv.DictReader((folder / HISTORY).open())]
    parts = [{k: v for k, v in r.items() if k != "train_seconds"} for r in csv.DictReader((resumed / HISTORY).open())]
    assert parts == whole


@pytest.mark.long
def test_dropout_too_is_the_same_after_a_resume(root, tmp_path):
    options = {"reading": "narrow", "trunk": "resnet18", "dropout": 0.5}
    run = spec(root, tmp_path / "whole", model="hinet", options=options, epochs=2, crop_px=None, loss="dice_ce")
    whole = fit_model(run)
    fit_model(replace(run, out=tmp_path / "parts", epochs=1))
    parts = fit_model(replace(run, out=tmp_path / "parts", resume=True))
    assert same(weights(parts / LAST), weights(whole / LAST))


def test_resuming_a_finished_run_trains_nothing_and_a_fresh_start_clears_it(root, tmp_path):
    run = spec(root, tmp_path, epochs=1)
    folder = fit_model(run)
    before = weights(folder / LAST)
    stamp = (folder / LAST).stat().st_mtime_ns
    fit_model(replace(run, resume=True))
    assert (folder / LAST).stat().st_mtime_ns == stamp
    fit_model(replace(run, resume=False, learning_rate=1e-3))
    assert not same(weights(folder / LAST), before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learning_rate": 1e-3}, "of another run"),
        ({"options": {"base": 8, "depth": 3}}, "of another run"),
        ({"epochs": 1}, "more epochs"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_run_is_refused(root, tmp_path, changes, says):
    fit_model(spec(root, tmp_path, epochs=2))
    with pytest.raises(TrainingError, match=says):
        fit_model(spec(root, tmp_path, resume=True, **({"epochs": 2} | changes)))


def test_the_fold_that_is_held_out_tests_and_the_next_validates(tmp_path):
    root = cases.write_dataset(tmp_path / "folds", cases.FOLDS, **cases.FOLD_SPLIT)
    folder = fit_model(spec(root, None, fold=0, epochs=1))
    assert folder == root / "runs" / "unet" / "seed0-fold0"
    record = json.loads((folder / "run.json").read_text())
    assert record["patches"] == {"train": 2, "val": 3, "test": 4 + 3}
    assert record["test"]["checkpoint"] == BEST
    with pytest.raises(UsageError, match="no patch"):
        fit_model(spec(root, None, epochs=1))


def test_a_batch_too_small_for_batchnorm_says_so(root, tmp_path):
    options = {"reading": "narrow", "trunk": "resnet18"}
    with pytest.raises(TrainingError, match="larger crops"):
        fit_model(spec(root, tmp_path, model="hinet", options=options, epochs=1))


def test_without_validation_the_last_weights_count(root, tmp_path):
    folder = fit_model(spec(root, tmp_path, val_split=None, epochs=1))
    assert json.loads((folder / "run.json").read_text())["test"]["checkpoint"] == LAST
    assert next(csv.DictReader((folder / HISTORY).open()))["val_miou"] == ""


def test_one_logit_trains_too(root, tmp_path):
    folder = fit_model(spec(root, tmp_path, options=cases.SMALL_UNET | {"n_classes": 1}, epochs=1))
    record = json.loads((folder / "run.json").read_text())
    assert record["model"]["options"]["n_classes"] == 1
    found = evaluate_checkpoint(Evaluation(folder / BEST, root, device="cpu"))
    assert found["confusion"] == record["test"]["confusion"]
    assert len(scores(torch.tensor(found["confusion"]).numpy()).iou) == 2


def test_bfloat16_trains_on_a_cpu(root, tmp_path):
    folder = fit_model(spec(root, tmp_path, precision="bf16-mixed", epochs=1))
    assert json.loads((folder / "run.json").read_text())["training"]["precision"] == "bf16-mixed"


def test_a_split_without_annotation_is_refused_before_training(tmp_path):
    root = cases.write_dataset(tmp_path / "blank", unannotated=("c",))
    with pytest.raises(TrainingError, match="val split is annotated"):
        fit_model(spec(root, tmp_path))


def test_a_loss_that_is_not_finite_stops_the_run(root, tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        fit_model(spec(root, tmp_path, learning_rate=1e36, options=cases.SMALL_UNET | {"norm": "none"}))
    assert not (tmp_path / "unet" / "seed0" / "run.json").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "nonet"}, "unknown model"),
        ({"options": {"n_classes": 3}}, "classes do not fit"),
        ({"test_split": "nowhere"}, "no patch"),
        ({"crop_px": 64}, "do not fit"),
        ({"precision": "16-mixed"}, "needs a GPU"),
        ({"device": "tpu"}, "unknown device"),
        ({"device": "cuda"}, "cannot train on that device"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(root, tmp_path, changes, says):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(UsageError, match=says):
        fit_model(spec(root, tmp_path, **changes))


def test_a_request_that_fails_leaves_the_earlier_run_alone(root, trained):
    folder, _ = trained
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    run = spec(root, folder.parent.parent)
    for wrong in (replace(run, device="tpu"), replace(run, resume=True, loss="dice"), replace(run, options={"bas": 1})):
        with pytest.raises((UsageError, TrainingError)):
            fit_model(wrong)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_a_storage_error(root, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        fit_model(spec(root, tmp_path / "runs", epochs=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": "elastic"},
        {"precision": "64"},
        {"loss": "focal"},
        {"epochs": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"crop_px": 8},
        {"num_workers": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(root, changes):
    with pytest.raises(UsageError):
        spec(root, None, **changes)


def test_the_digest_is_of_what_decides_the_weights(root, tmp_path):
    run = spec(root, tmp_path)
    for changes in ({"out": None}, {"num_workers": 3}, {"device": "auto"}, {"epochs": 9}, {"resume": True}):
        assert replace(run, **changes).digest == run.digest
    for changes in ({"seed": 1}, {"loss": "dice"}, {"options": {}}, {"fold": 0}, {"crop_px": None}):
        assert replace(run, **changes).digest != run.digest


@pytest.mark.parametrize("what", ["missing", "damaged", "foreign", "weights", "labels"])
def test_checkpoints_that_are_none_are_refused(root, trained, tmp_path, what):
    folder, _ = trained
    path = tmp_path / "some.ckpt"
    state = load_checkpoint(folder / BEST)
    if what == "damaged":
        path.write_bytes((folder / BEST).read_bytes()[:1000])
    if what == "foreign":
        torch.save({"state_dict": state["state_dict"]}, path)
    if what == "weights":
        state["state_dict"].popitem()
        torch.save(state, path)
    if what == "labels":
        state["wsiprep"]["labels"] = ["stroma"]
        torch.save(state, path)
    says = {"missing": "no such", "damaged": "cannot be read", "foreign": "none of wsiprep", "weights": "do not fit"}
    with pytest.raises(TrainingError, match=says.get(what, "other labels")):
        evaluate_checkpoint(Evaluation(path, root, device="cpu"))


def test_torchs_switches_are_put_back(trained):
    assert not torch.are_deterministic_algorithms_enabled()
    make_trainer("cpu", "32", deterministic=False, enable_checkpointing=False, enable_progress_bar=False)
    assert not torch.are_deterministic_algorithms_enabled()


_TRAIN = """
import sys
from pathlib import Path
from wsiprep.training import TrainingRun, fit_model
from wsiprep.progress import LineReporter
try:
    fit_model(TrainingRun(Path(sys.argv[1]), "unet", {"base": 4, "depth": 3}, epochs=100000, batch_size=3,
              device="cpu", out=Path(sys.argv[2])), LineReporter(sys.stdout))
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.long
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_exit_code_and_leave_a_checkpoint(root, tmp_path, sent, code):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, str(root), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        for line in child.stdout:
            if line.startswith("epoch 3"):
                break
        started = time.monotonic()
        child.send_signal(sent)
        child.communicate(timeout=60)
    assert child.returncode == code
    assert time.monotonic() - started < 10
    folder = tmp_path / "unet" / "seed0"
    assert load_checkpoint(folder / LAST)["epoch"] >= 1
    assert not (folder / "run.json").exists()
