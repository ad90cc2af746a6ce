"""What a recipe means, and which combinations it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import RecipeError

BASE: dict[str, Any] = {"name": "demo", "labels": ["tumour", "stroma"], "downsample": 2}


def made(**sections: Any) -> Recipe:
    return recipe_from_mapping({**BASE, **sections})


def test_label_values_follow_the_order() -> None:
    recipe = made()
    assert [recipe.label_value(name) for name in recipe.labels] == [1, 2]
    assert recipe_from_mapping({"name": "a", "downsample": 1}).labels == ("tumour",)


def test_the_stride_is_the_patch_unless_given() -> None:
    assert made().sampling.stride == 512
    assert made(sampling={"stride_px": 100}).sampling.stride == 100


def test_kept_labels_are_listed_once_in_order() -> None:
    rules = [{"labels": ["stroma"]}, {"labels": ["tumour", "stroma"]}]
    assert made(keep={"rules": rules}).keep.labels == ("stroma", "tumour")


def test_groups_named_like_a_label_map_to_it() -> None:
    recipe = made(annotations={"groups": {"_0": "tumour", "hole": "background"}})
    own = {name: name for name in ("tumour", "stroma", "background", "ignore", "roi")}
    assert recipe.group_map == own | {"_0": "tumour", "hole": "background"}


def test_sources_override_spacing_and_groups() -> None:
    sources = {"b": {"spacing_um": 0.5, "groups": {"x": "stroma"}, "expect_um": [0.25]}}
    recipe = made(sources=sources)
    other = recipe.for_source("b")
    assert (other.downsample, other.spacing_um, other.expect_um) == (None, 0.5, (0.25,))
    assert other.group_map["x"] == "stroma"
    assert recipe.for_source("a") is recipe
    assert recipe.for_source(None) is recipe


@pytest.mark.parametrize(
    ("sections", "word"),
    [
        ({"spacing_um": 1.0}, "exactly one"),
        ({"downsample": None}, "exactly one"),
        ({"labels": ["background"]}, "background"),
        ({"labels": []}, "labels"),
        ({"annotations": {"groups": {"x": "tumor"}}}, "tumor"),
        ({"sources": {"b": {"groups": {"x": "tumor"}}}}, "tumor"),
        ({"sources": {"b": {"downsample": 1, "spacing_um": 1.0}}}, "one of downsample and spacing_um"),
        ({"keep": {"rules": [{"labels": ["tumor"]}]}}, "tumor"),
        ({"keep": {"rules": [{"labels": []}]}}, "keep.rules.0.labels"),
        ({"keep": {"rules": [{"labels": ["tumour"], "splits": ["trian"]}]}}, "trian"),
        ({"keep": {"rules": [{"labels": ["tumour"], "splits": ["train"]}]}, "split": {"kind": "none"}}, "fixed splits"),
        (
            {"keep": {"rules": [{"labels": ["tumour"], "splits": ["train"]}]}, "split": {"kind": "folds"}},
            "fixed splits",
        ),
        ({"split": {"ratio": {}}}, "at least one split"),
        ({"split": {"ratio": {"all": 1}}}, "all"),
        ({"split": {"ratio": {"train": 0}}}, "split.ratio.train"),
        ({"split": {"kind": "folds", "folds": 2}}, "split.folds"),
        ({"split": {"by": "patch"}, "sampling": {"stride_px": 100}}, "overlap"),
        ({"sampling": {"tumour_free_per_slide": -1}, "keep": {"rules": [{"labels": ["tumour"]}]}}, "tumour_free"),
        ({"sampling": {"tumour_free_per_slide": 4}}, "needs a keep rule"),
        ({"training": {"stain": "fit"}}, "stain.when: load"),
        ({"training": {"stain": "augment"}, "stain": {"method": "macenko"}}, "stain.when: load"),
        ({"training": {"stain": "fit"}, "stain": {"when": "load"}}, "needs a stain.method"),
        ({"stain": {"method": "vahadane", "target": "image"}}, "target_image belong together"),
        ({"stain": {"method": "vahadane", "target_slide": "a"}}, "target_slide belong together"),
        ({"stain": {"method": "vahadane", "per": "patch", "when": "load"}}, "needs when: pack"),
        ({"stain": {"method": "ramakrishnan", "per": "patch", "backend": "staintools"}}, "no ramakrishnan"),
        ({"stain": {"method": "macenko", "backend": "staintools"}}, "needs per: patch"),
    ],
)
def test_contradictions_are_refused(sections: dict[str, Any], word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        made(**sections)


def test_rules_may_be_limited_to_the_splits_that_there_are() -> None:
    rule = {"labels": ["tumour"], "splits": ["holdout"]}
    split = {"ratio": {"train": 1, "holdout": 1}}
    assert made(keep={"rules": [rule]}, split=split).keep.rules[0].splits == ("holdout",)
    assert made(keep={"rules": [rule]}, split={"kind": "official"}).keep.rules[0].splits == ("holdout",)
