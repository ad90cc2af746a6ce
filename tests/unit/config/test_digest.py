"""Digests: equal content gives equal digests, and a change redoes no more than it must."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsiprep.config import (
    Recipe,
    canonical_json,
    digest_of,
    pack_digest,
    plan_digest,
    recipe_digest,
    recipe_from_mapping,
    survey_digest,
)

BASE: dict[str, Any] = {
    "name": "demo",
    "labels": ["tumour"],
    "downsample": 2,
    "keep": {"rules": [{"labels": ["tumour"]}]},
}
DIGESTS = {"recipe": recipe_digest, "survey": survey_digest, "plan": plan_digest, "pack": pack_digest}


def made(**sections: Any) -> Recipe:
    return recipe_from_mapping({**BASE, **sections})


@pytest.mark.parametrize(
    ("sections", "changed"),
    [
        ({"manifest": "other.csv", "data_root": "elsewhere"}, set()),
        ({"title": "Another"}, set()),
        ({"training": {"epochs": 3}}, set()),
        ({"version": 2}, {"recipe"}),
        ({"split": {"seed": 7}}, {"recipe", "plan"}),
        ({"keep": {"rules": [{"labels": ["tumour"], "min": 0.2}]}}, {"recipe", "plan"}),
        ({"sampling": {"seed": 3}}, {"recipe", "plan"}),
        ({"sampling": {"tumour_free_per_slide": 4}}, {"recipe", "plan"}),
        ({"max_failed": 0.5}, {"recipe", "plan"}),
        ({"sampling": {"patch_size_px": 256}}, {"recipe", "survey", "plan", "pack"}),
        ({"sampling": {"stride_px": 256}}, {"recipe", "survey", "plan"}),
        ({"labels": ["tumour", "stroma"]}, {"recipe", "survey", "plan", "pack"}),
        ({"tissue": {"method": "od"}}, {"recipe", "survey"}),
        ({"downsample": 4}, {"recipe", "survey"}),
        ({"store": {"zstd_level": 3}}, {"recipe", "plan", "pack"}),
        ({"stain": {"method": "macenko"}}, {"recipe", "survey", "plan", "pack"}),
    ],
)
def test_a_change_reaches_only_the_stages_that_read_it(sections: dict[str, Any], changed: set[str]) -> None:
    before, after = made(), made(**sections)
    assert {name for name, digest in DIGESTS.items() if digest(before) != digest(after)} == changed


@pytest.mark.parametrize("digest", DIGESTS.values(), ids=DIGESTS)
def test_writing_a_default_out_changes_no_digest(digest: Any) -> None:
    said = made(
        split={"ratio": {"test": 1, "train": 8, "val": 1}}, keep={"rules": [{"labels": ["tumour"], "min": 0.05}]},
        max_failed=0, tissue={"spacing_um": 16}, sampling={"patch_size_px": 512},
    )  # fmt: skip
    assert digest(said) == digest(made())


@pytest.mark.parametrize("digest", DIGESTS.values(), ids=DIGESTS)
def test_a_resolved_recipe_read_back_has_the_same_digest(digest: Any) -> None:
    recipe = made(expect_um=[0.25, 1], split={"ratio": {"train": 2, "val": 1}})
    again = recipe_from_mapping(json.loads(json.dumps(recipe.model_dump(mode="json"), sort_keys=True)))
    assert again == recipe
    assert digest(again) == digest(recipe)


def test_canonical_json_is_sorted_dense_and_strict() -> None:
    assert canonical_json({"b": 1, "a": ["ä", 0.5]}) == '{"a":["ä",0.5],"b":1}'.encode()
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_a_digest_is_the_same_in_every_version() -> None:
    # A change here invalidates every dataset that exists.
    assert digest_of({"a": [1]}) == "ff5464c34287e9ec505b9f76573a4cb0bd408c96c6537b458fdd993fc7c615ce"
