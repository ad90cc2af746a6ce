"""Recipes from YAML: where an error is, what --set does, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsiprep.config import load_recipe, parse_override, recipe_from_mapping
from wsiprep.errors import RecipeError, UsageError

GOOD = """\
name: demo
labels: [tumour, stroma]
downsample: 2
sampling:
  patch_size_px: 256
keep:
  rules:
    - {labels: [tumour], min: 0.1}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 65
    return caught.value


def test_a_good_recipe_has_its_values_and_the_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert (recipe.name, recipe.downsample, recipe.sampling.patch_size_px) == ("demo", 2, 256)
    assert recipe.keep.rules[0].min == 0.1
    assert recipe.keep.rules[0].max == 0.995
    assert recipe.keep.min_tissue == 0.1
    assert recipe.split.ratio == {"train": 8.0, "val": 1.0, "test": 1.0}


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "word"),
    [
        ("patch_size_px: 256", "patch_size_px: tiny", 5, 3, "sampling.patch_size_px"),
        ("patch_size_px: 256", "patch_size: 256", 5, 3, "sampling.patch_size"),
        ("min: 0.1", "min: 1.5", 8, 26, "keep.rules.0.min"),
        ("downsample: 2", "downsample: 0", 3, 1, "downsample"),
        ("labels: [tumour, stroma]", "labels: [tumour, Stroma]", 2, 1, "Stroma"),
        ("labels: [tumour, stroma]", "labels: [tumour, tumour]", 2, 1, "differ"),
        ("min: 0.1", "min: 0.9, max: 0.2", 8, 7, "above max"),
        ("name: demo", "name: Demo Cohort", 1, 1, "name"),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, old: str, new: str, line: int, column: int, word: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new))
    error = refused(path)
    assert (error.line, error.column) == (line, column)
    assert str(error).startswith(f"{path}:{line}:{column}: ")
    assert word in str(error)


def test_several_errors_are_counted(tmp_path: Path) -> None:
    assert "(and 1 more)" in str(refused(written(tmp_path, GOOD + "zoom: 1\ncolour: red\n")))


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: str) -> None:
    text = GOOD.replace("downsample: 2", f"spacing_um: {value}")
    assert refused(written(tmp_path, text)).line == 3


def test_broken_yaml_says_where(tmp_path: Path) -> None:
    error = refused(written(tmp_path, "name: demo\nlabels: [tumour\nsampling: {}\n"))
    assert error.line is not None
    assert error.line >= 2
    assert "not valid YAML" in str(error)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    error = refused(written(tmp_path, GOOD + "downsample: 4\n"))
    assert error.line == 9


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    assert "no such recipe" in str(refused(tmp_path / "absent.yaml"))
    assert refused(written(tmp_path, "- a\n- b\n")).line == 1
    assert "mapping" in str(refused(written(tmp_path, "")))
    (tmp_path / "latin.yaml").write_bytes(b"name: d\xe9mo\n")
    assert "cannot be read" in str(refused(tmp_path / "latin.yaml"))
    (tmp_path / "huge.yaml").write_bytes(b"#" * 1_000_001)
    assert "too large" in str(refused(tmp_path / "huge.yaml"))


def test_overrides_win_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    recipe = load_recipe(path, ["sampling.patch_size_px=128", "sampling.patch_size_px=64", "tissue.method=od"])
    assert recipe.sampling.patch_size_px == 64
    assert recipe.tissue.method == "od"
    assert load_recipe(path, ["split.ratio={train: 3, test: 1}"]).split.ratio == {"train": 3.0, "test": 1.0}
    assert load_recipe(path, ["downsample=", "spacing_um=1.0"]).spacing_um == 1.0


def test_a_wrong_override_is_blamed_on_the_command_line(tmp_path: Path) -> None:
    error = refused(written(tmp_path, GOOD), "sampling.patch_size_px=4")
    assert (error.file, error.line) == (None, None)
    assert "--set sampling.patch_size_px=4" in str(error)
    error = refused(written(tmp_path, GOOD.replace("min: 0.1", "min: 7")), "sampling.patch_size_px=64")
    assert error.line == 8


@pytest.mark.parametrize("text", ["a.b", "=3", "a..b=1", ".=1", "a=[1"])
def test_overrides_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_override(text)
    assert caught.value.exit_code == 64


def test_an_override_through_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no section"):
        load_recipe(written(tmp_path, GOOD), ["name.first=x"])


def test_override_values_are_yaml() -> None:
    assert parse_override("a.b=true") == (("a", "b"), True)
    assert parse_override("a=x=y") == (("a",), "x=y")
    assert parse_override("a=") == (("a",), None)
    assert parse_override("a=[1, 2]") == (("a",), [1, 2])


def test_a_mapping_gives_the_same_recipe_as_the_file(tmp_path: Path) -> None:
    data = {
        "name": "demo", "labels": ["tumour", "stroma"], "downsample": 2, "sampling": {"patch_size_px": 256},
        "keep": {"rules": [{"labels": ["tumour"], "min": 0.1}]},
    }  # fmt: skip
    assert recipe_from_mapping(data) == load_recipe(written(tmp_path, GOOD))
    with pytest.raises(RecipeError) as caught:
        recipe_from_mapping({**data, "downsample": "x"})
    assert caught.value.file is None
