"""Which slides a command is about, and by which recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import ManifestError, UsageError
from wsiprep.stages.rows import recipe_for, record_recipe, require_same_recipe, row_of, rows_of

BASE = {"name": "r", "downsample": 4}


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def test_an_unknown_source_is_an_error_with_its_line(tmp_path: Path) -> None:
    recipe = recipe_from_mapping(BASE | {"sources": {"near": {"downsample": 2}}})
    path = manifest(tmp_path, "slide,source\na.tif,near\nb.tif,far\n")
    with pytest.raises(ManifestError) as caught:
        rows_of(recipe, None, path)
    assert (caught.value.line, caught.value.got, caught.value.expected) == (3, "far", "near")


def test_sources_are_free_words_where_the_recipe_has_none(tmp_path: Path) -> None:
    rows = rows_of(recipe_from_mapping(BASE), None, manifest(tmp_path, "slide,source\na.tif,anywhere\n"))
    assert rows[0].source == "anywhere"


def test_a_source_overrides_scale_and_groups() -> None:
    recipe = recipe_from_mapping(
        BASE | {"sources": {"near": {"spacing_um": 0.5, "expect_um": [0.25], "groups": {"T": "tumour"}}}}
    )
    near = recipe.for_source("near")
    assert (near.downsample, near.spacing_um, near.expect_um) == (None, 0.5, (0.25,))
    assert near.annotations.groups == {"T": "tumour"}
    assert recipe.for_source(None) is recipe


def test_the_recipes_own_manifest_is_beside_it(tmp_path: Path) -> None:
    manifest(tmp_path, "slide\na.tif\n")
    recipe = recipe_from_mapping(BASE | {"manifest": "manifest.csv"})
    assert rows_of(recipe, tmp_path / "recipe.yaml", None)[0].slide == str(tmp_path / "a.tif")
    with pytest.raises(UsageError, match="no manifest"):
        rows_of(recipe_from_mapping(BASE), None, None)


def test_a_slide_is_found_by_its_raw_id_and_missed_with_a_list(tmp_path: Path) -> None:
    rows = rows_of(recipe_from_mapping(BASE), None, manifest(tmp_path, "slide\nSlide One.tif\nb.tif\n"))
    assert row_of(rows, "Slide One") == rows[0]
    with pytest.raises(ManifestError, match="no such slide") as caught:
        row_of(rows, "c")
    assert "b" in str(caught.value.expected)


def test_a_folder_remembers_its_recipe(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path / "out")
    with pytest.raises(UsageError, match=r"no recipe\.json"):
        recipe_for(None, (), tree)
    recipe = recipe_from_mapping(BASE)
    record_recipe(tree, recipe)
    assert recipe_for(None, (), tree) == recipe
    assert recipe_for(None, ("downsample=2",), tree).downsample == 2
    require_same_recipe(tree, recipe)
    with pytest.raises(UsageError, match="another recipe"):
        require_same_recipe(tree, recipe_from_mapping(BASE | {"downsample": 2}))
