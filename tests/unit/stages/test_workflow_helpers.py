"""What the Snakemake rules ask the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import UsageError
from wsiprep.manifest import SlideRow
from wsiprep.stages.workflow import (
    copy_workflow,
    known_inputs,
    overrides_of,
    plan_params,
    run_fold_option,
    run_names,
    run_seed,
    survey_params,
    training_params,
)

ROW = SlideRow(slide_id="a", raw_id="a", slide="/no/a.tif", slide_ref="a.tif", patient="p")


def recipe(**keys: object) -> Recipe:
    return recipe_from_mapping({"name": "r", "downsample": 4, **keys})


def test_overrides_from_a_list_or_a_string() -> None:
    assert overrides_of({"set": ["a=1", "b=2"]}) == ("a=1", "b=2")
    assert overrides_of({"set": "a=1 b=2"}) == ("a=1", "b=2")
    assert overrides_of({}) == ()


def test_run_names_cover_models_seeds_and_folds() -> None:
    plain = recipe(training={"models": ["unet", "hinet"], "seeds": [0, 3]})
    assert run_names(plain, {}) == ["unet/seed0", "unet/seed3", "hinet/seed0", "hinet/seed3"]
    assert run_names(plain, {"models": "fpn"}) == ["fpn/seed0", "fpn/seed3"]
    folded = recipe(training={"models": ["unet"]}, split={"kind": "folds", "folds": 3})
    assert run_names(folded, {}) == ["unet/seed0-fold0", "unet/seed0-fold1", "unet/seed0-fold2"]
    assert run_names(recipe(), {}) == []


def test_run_names_read_back() -> None:
    assert (run_seed("seed12-fold3"), run_fold_option("seed12-fold3")) == (12, "--fold 3")
    assert (run_seed("seed0"), run_fold_option("seed0")) == (0, "")


def test_only_what_a_stage_reads_changes_its_params() -> None:
    base, other_split = recipe(), recipe(split={"seed": 9})
    assert survey_params(ROW, base) == survey_params(ROW, other_split)
    assert plan_params([ROW], base) != plan_params([ROW], other_split)
    moved = SlideRow(slide_id="a", raw_id="a", slide="/elsewhere/a.tif", slide_ref="a.tif", patient="q")
    assert survey_params(moved, base) == survey_params(ROW, base)
    assert plan_params([moved], base) != plan_params([ROW], base)
    patched = recipe(sampling={"patch_size_px": 256})
    assert survey_params(ROW, patched) != survey_params(ROW, base)
    longer = recipe(training={"epochs": 3})
    assert plan_params([ROW], longer) == plan_params([ROW], base)
    assert training_params(longer, "unet", "seed0") != training_params(base, "unet", "seed0")


@pytest.mark.parametrize(
    ("key", "value", "decides"),
    [("jitter", 0.1, True), ("order", "stream", True), ("stain", "augment", True), ("augmentation", "flips", True),
     ("augment_on", "device", False), ("save_every_steps", 5, False)],
)  # fmt: skip
def test_a_run_is_trained_again_for_what_decides_it(key: str, value: object, decides: bool) -> None:
    base, changed = (recipe(stain={"method": "vahadane", "when": "load"}, training=t) for t in ({}, {key: value}))
    assert (training_params(changed, "unet", "seed0") != training_params(base, "unet", "seed0")) == decides


def test_known_inputs_are_the_files_that_exist(tmp_path: Path) -> None:
    there = tmp_path / "a.tif"
    there.write_bytes(b"")
    row = SlideRow(slide_id="a", raw_id="a", slide=str(there), slide_ref="a.tif", annotation=str(tmp_path / "gone.xml"))
    assert known_inputs(row) == [str(there)]
    remote = SlideRow(slide_id="b", raw_id="b", slide="https://example.org/b.tif", slide_ref="b")
    assert known_inputs(remote) == []


def test_copied_workflow_is_complete_and_not_overwritten(tmp_path: Path) -> None:
    copy_workflow(tmp_path / "w")
    for part in ("Snakefile", "pipelines/rules/dataset.smk", "pipelines/config/config.yaml", "manifests/demo.yaml"):
        assert (tmp_path / "w" / part).is_file()
    with pytest.raises(UsageError, match="already"):
        copy_workflow(tmp_path / "w")
    copy_workflow(tmp_path / "w", force=True)
