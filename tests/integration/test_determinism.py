"""Equal bytes of everything: for 1 and 4 threads, for two runs, in this process and in another one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelinecases import build, differing, tree_bytes
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.synthetic import CohortFiles

NORMALISED = ["--set", "stain={method: macenko, target: cohort, min_tissue_px: 1000}"]
SLIDES = tuple(f"synthetic_{i:02d}" for i in range(1, 5))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("determinism")


@pytest.fixture(scope="module")
def options(cohort: CohortFiles, place: Path) -> list[object]:
    """Stains as well, because fits and histograms are the numbers that could differ."""
    return recipe_beside(cohort.manifest, place / "recipe")


def recipe_beside(manifest: Path, folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(SMALL_RECIPE)
    return ["-r", folder / "recipe.yaml", "-m", manifest, *NORMALISED]


@pytest.fixture(scope="module")
def first(options: list[object], place: Path) -> dict[str, bytes]:
    """Every file of a first run on one thread, sealed."""
    return tree_bytes(build(DatasetTree(place / "first"), options, SLIDES).root)


def test_every_artefact_is_there(first: dict[str, bytes]) -> None:
    patterns = ("slide.json", "regions.geojson", "tissue.png", "candidates.parquet", "colours.npz", "overview.jpg",
                "plan.json", "split.parquet", "rows.parquet", "zarr.json", "index.parquet", "dataset.json")  # fmt: skip
    assert [p for p in patterns if not any(name.endswith(p) for name in first)] == []


def test_threads_and_order_of_slides_change_nothing(
    first: dict[str, bytes], options: list[object], tmp_path: Path
) -> None:
    other = build(DatasetTree(tmp_path / "other"), options, reversed(SLIDES), threads=4)
    assert differing(first, tree_bytes(other.root)) == []


def test_a_second_run_over_the_first_changes_nothing(
    first: dict[str, bytes], options: list[object], place: Path
) -> None:
    again = build(DatasetTree(place / "first"), options, SLIDES, threads=2)
    assert differing(first, tree_bytes(again.root)) == []


def test_tile_in_two_processes_makes_one_tree(cohort: CohortFiles, tmp_path: Path, wsiprep: Callable[..., Any]) -> None:
    slide, annotations = (cohort.folder / name for name in ("slides/synthetic_01.tif", "annotations/synthetic_01.xml"))
    trees = []
    for number, seed in enumerate(("1", "2")):
        out = tmp_path / f"tile{number}"
        # Another order of sets and dicts of strings, other names of everything around.
        environment = os.environ | {"PYTHONHASHSEED": seed, "TMPDIR": str(tmp_path), "HOME": str(out)}
        result = wsiprep(
            "tile", slide, "-o", out, "-a", annotations, "--patch-size-px", 128, "--downsample", 4,
            "--threads", 1 + 3 * number, env=environment, cwd=out.parent,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        trees.append(tree_bytes(out))
    assert differing(*trees) == []
    assert any(name.startswith("shards/") for name in trees[0])


def test_the_folder_is_in_no_artefact(first: dict[str, bytes], place: Path) -> None:
    assert [name for name, data in first.items() if str(place).encode() in data] == []


def test_another_folder_of_the_slides_changes_nothing(
    first: dict[str, bytes], cohort: CohortFiles, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(cohort.folder, moved)
    other = build(DatasetTree(tmp_path / "elsewhere"), recipe_beside(moved / "manifest.csv", tmp_path / "r"), SLIDES)
    assert differing(first, tree_bytes(other.root)) == []


def test_other_seeds_change_the_draw(tmp_path: Path, options: list[object]) -> None:
    """The comparisons above would not see it if the drawing of cells ignored its seed."""
    kept = []
    for seed in (0, 1):
        tree = DatasetTree(tmp_path / f"seed{seed}")
        build(tree, [*options, "--set", f"sampling.seed={seed}"], SLIDES, through="plan")
        kept.append({s: tree.plan_slice(s).read_bytes() for s in read_json(tree.plan_record)["kept_slides"]})
    assert kept[0] != kept[1]
