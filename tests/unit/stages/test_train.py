"""train takes its settings from the recipe, then from the options, and resumes only its own run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from trainingcases import SPLIT, write_dataset

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import UsageError
from wsiprep.progress import LineReporter, NullReporter
from wsiprep.stages.train import TrainRequest, train, training_run
from wsiprep.training import OtherRunError


def recipe(stain: Mapping[str, object] | None = None, **training: object) -> Recipe:
    section = {"epochs": 1, "batch_size": 2, "options": {"unet": {"base": 4, "depth": 2}}, **training}
    return recipe_from_mapping({"name": "r", "downsample": 1, "training": section, "stain": stain or {}})


def test_options_win_over_the_recipe(tmp_path: Path) -> None:
    request = TrainRequest("unet", model_options=("base=8",), settings={"epochs": 9, "batch_size": None})
    run = training_run(request, recipe(learning_rate=0.01), DatasetTree(tmp_path))
    assert (run.epochs, run.batch_size, run.learning_rate) == (9, 2, 0.01)
    assert run.options == {"base": 8, "depth": 2}


def test_folds_must_be_named(tmp_path: Path) -> None:
    folded = recipe_from_mapping({"name": "r", "downsample": 1, "split": {"kind": "folds", "folds": 4}})
    with pytest.raises(UsageError, match="folds") as caught:
        training_run(TrainRequest("unet"), folded, DatasetTree(tmp_path))
    assert "--fold 0 to 3" in str(caught.value)


def test_resume_of_another_run_starts_afresh_or_stops(tmp_path: Path) -> None:
    tree = DatasetTree(write_dataset(tmp_path / "dataset"))
    folder = train(TrainRequest("unet"), recipe(), tree, NullReporter())
    changed = recipe(learning_rate=0.02)
    with pytest.raises(OtherRunError, match="another run"):
        train(TrainRequest("unet", resume="must"), changed, tree, NullReporter())
    assert read_json(folder / "run.json")["training"]["learning_rate"] == 1e-4
    heard = io.StringIO()
    train(TrainRequest("unet", resume="same"), changed, tree, LineReporter(heard))
    assert "starting afresh" in heard.getvalue()
    assert read_json(folder / "run.json")["training"]["learning_rate"] == 0.02


def test_a_dataset_without_val_says_so(tmp_path: Path) -> None:
    places = {name: ("test" if split == "test" else "train", fold) for name, (split, fold) in SPLIT.items()}
    tree = DatasetTree(write_dataset(tmp_path / "dataset", places))
    heard = io.StringIO()
    folder = train(TrainRequest("unet"), recipe(), tree, LineReporter(heard))
    assert "no val split" in heard.getvalue()
    assert read_json(folder / "run.json")["test"]["checkpoint"] == "last.ckpt"


@pytest.mark.parametrize(("stain", "warned"), [({"method": "vahadane", "when": "load"}, True), ({}, False)])
def test_scanned_pixels_where_stains_wait_are_not_taken_in_silence(
    tmp_path: Path, stain: dict[str, object], warned: bool
) -> None:
    tree = DatasetTree(write_dataset(tmp_path / "dataset"))
    heard = io.StringIO()
    train(TrainRequest("unet"), recipe(stain), tree, LineReporter(heard))
    assert ("training on scanned pixels" in heard.getvalue()) == warned
