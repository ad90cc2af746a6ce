"""A dataset section says what it means, or is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from wsiprep.config import Recipe, pack_digest, plan_digest, recipe_digest, recipe_from_mapping, survey_digest
from wsiprep.config.dataset import (
    Checksums,
    DatasetSpec,
    Fact,
    GroupRule,
    Items,
    licence_record,
    places_of,
)
from wsiprep.config.licence import Licence
from wsiprep.config.published import Expectation, PublishedPatches, TileNote
from wsiprep.errors import RecipeError

LAYOUT: dict[str, Any] = {"items": [{"path": "{slide}.tif"}]}
SPEC: dict[str, Any] = {"licence": {"spdx": "CC0-1.0"}, "layouts": {"a": LAYOUT}, "states": {"*": {}}}


@pytest.mark.parametrize(
    "path", ["/a", "../a", "a/../b", "a/./b", "a\\b", "", "a/{}", "a/{0}", "a/{x!r}", "a/{x:3}", "{x.y}"]
)
def test_paths_that_are_no_patterns(path: str) -> None:
    with pytest.raises(ValueError, match=r"relative path|is no place"):
        places_of(path)


@pytest.mark.parametrize(
    "items",
    [
        {"path": "{slide}.tif", "annotation": ["{other}.xml"]},
        {"path": "{slide}.tif", "id": "{class}"},
        {"path": "{slide}.tif", "where": {"other": "x"}},
        {"path": "{slide}.tif", "where": {"slide": "("}},
        {"path": "{slide}.tif", "where": {"slide": "(a)"}},
        {"path": "{slide}/"},
        {"path": "{slide}.tif", "unknown": 1},
    ],
)
def test_items_that_cannot_be(items: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Items.model_validate(items)


@pytest.mark.parametrize(
    "change",
    [
        {"layouts": {}},
        {"parts": {"x": {"dataset": "y", "folders": ["z"]}}},
        {"states": {}},
        {"facts": "../facts.csv"},
        {"facts": "/facts.csv"},
        {"layouts": {}, "parts": {"x": {"dataset": "y", "folders": ["../z"]}}},
        {"layouts": {}, "parts": {"x": {"dataset": "../y", "folders": ["z"]}}},
        {"expect": [{"count": 1, "source": "s", "layouts": ["b"]}]},
        {"classes": {"a": "("}},
    ],
)
def test_sections_that_cannot_be(change: dict[str, Any]) -> None:
    DatasetSpec.model_validate(SPEC)
    with pytest.raises(ValidationError):
        DatasetSpec.model_validate(SPEC | change)


def test_the_section_is_in_no_digest() -> None:
    plain = recipe_from_mapping({"name": "a", "downsample": 4, "licence": "CC0-1.0"})
    known = recipe_from_mapping({"name": "a", "downsample": 4, "licence": "CC0-1.0", "dataset": SPEC})
    for digest in (recipe_digest, survey_digest, plan_digest, pack_digest):
        assert digest(plain) == digest(known)
    assert Recipe.model_validate(known.model_dump(mode="json")) == known


def test_the_two_licences_agree() -> None:
    with pytest.raises(RecipeError, match="is not the dataset section's"):
        recipe_from_mapping({"name": "a", "downsample": 4, "dataset": SPEC})


@pytest.mark.parametrize(
    ("spdx", "words"),
    [
        ("CC-BY-NC-ND-4.0", {"redistribute_derived": False, "non_commercial": True, "share_alike": False}),
        ("CC-BY-NC-SA-4.0", {"redistribute_derived": True, "non_commercial": True, "share_alike": True}),
        ("CC0-1.0", {"redistribute_derived": True, "non_commercial": False, "share_alike": False}),
        ("Sandia-ND-Thing", {"redistribute_derived": True, "non_commercial": False, "share_alike": False}),
        ("unknown", {"redistribute_derived": True, "non_commercial": False, "share_alike": False}),
    ],
)
def test_a_licence_name_alone_says_its_limits(spdx: str, words: dict[str, bool]) -> None:
    record = licence_record(spdx, None)
    assert {k: record[k] for k in words} == words
    assert any("must not be redistributed" in s for s in record["limits"]) is not words["redistribute_derived"]


@pytest.mark.parametrize("spdx", ["CC-BY-ND-4.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0"])
def test_a_licence_is_not_declared_wider_than_its_name(spdx: str) -> None:
    with pytest.raises(ValidationError, match=spdx):
        Licence(spdx=spdx)


def test_centre_by_integer_division() -> None:
    rule = GroupRule(match=r"patient_(\d{3})_node_\d", divide=20, names={"2": "UMCU"}, source="s")
    assert rule.result("patient_059_node_0") == "UMCU"
    assert rule.result("patient_060_node_0") == "3"
    assert rule.result("patient_060_node_0_mask") is None


def test_rules_have_a_result() -> None:
    with pytest.raises(ValidationError, match="no group"):
        GroupRule(match="abc", source="s")
    with pytest.raises(ValidationError, match="not divided"):
        GroupRule(match="(1)", value="a", divide=2, source="s")


def test_facts_that_contradict_themselves() -> None:
    for bad in ({"optional": True}, {"withdrawn": True}, {"exclude": "r", "optional": True, "withdrawn": True}):
        with pytest.raises(ValidationError):
            Fact.model_validate({"slide": "a", "source": "s", **bad})


def test_checksums_are_of_one_kind() -> None:
    Checksums(algorithm="md5", path="a", digest="0" * 32)
    for bad in ({}, {"file": "a", "path": "b"}, {"path": "a"}, {"path": "a", "digest": "0" * 31}):
        with pytest.raises(ValidationError):
            Checksums.model_validate({"algorithm": "md5", **bad})


def test_marked_facts_are_listed_as_unverified() -> None:
    spec = DatasetSpec.model_validate(
        SPEC
        | {
            "unverified": ["one"],
            "expect": [Expectation(count=3, source="two", unverified=True).model_dump()],
            "slides": [{"slide": "x", "note": "n", "source": "three", "unverified": True}],
            "centre": [{"match": "(a)", "source": "four", "unverified": True}],
        }
    )
    assert [text.split(": ")[-1] for text in spec.unverified_facts] == ["one", "two", "three", "four"]


def test_notes_on_tiles_and_patches_of_papers() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        TileNote(match="(", note="x", source="y")
    with pytest.raises(ValidationError, match="greater than or equal"):
        PublishedPatches(split="train", count=-1, source="y")
    spec = DatasetSpec.model_validate(
        SPEC | {"fold": [{"match": "fold([12])", "names": {"1": "0", "2": "1"}, "source": "z", "unverified": True}]}
    )
    assert [rule.result("fold2") for rule in spec.fold] == ["1"]
    assert spec.unverified_facts == ("fold of fold([12]): z",)
