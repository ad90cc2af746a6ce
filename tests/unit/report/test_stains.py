"""The report's part on stains: the target, whose stains the slides have, and which ones fell back."""

from __future__ import annotations

import pyarrow as pa
import pytest

from wsiprep.artifacts import json_bytes, read_json
from wsiprep.report import render_report
from wsiprep.report.inputs import read_inputs
from wsiprep.report.stains import stain_view

TARGETS = {
    "reference": "the built-in reference",
    "cohort": "the slides of the train split",
    "image": "the image looks/a.png",
    "slide": "the slide alpha",
}


def with_stains(tree, kind="image", target=True):
    names = {"image": "looks/a.png", "slide": "alpha"}
    record = read_json(tree.plan_record)
    record["stain"] = {
        "target": {"kind": kind, "digest": "ab12" * 16, "name": names.get(kind, ""), "fit": {}} if target else None,
        "counts": [
            {"origin": "cohort", "status": "ink", "slides": 1},
            {"origin": "reference", "status": "too_little_tissue", "slides": 1},
            {"origin": "slide", "status": "ok", "slides": 1234},
        ],
        "slides": {
            "alpha": {"origin": "slide", "status": "ok"},
            "beta": {"origin": "cohort", "status": "ink"},
            "gamma": {"origin": "reference", "status": "too_little_tissue"},
        },
    }
    tree.plan_record.write_bytes(json_bytes(record))
    return tree


@pytest.mark.parametrize("kind", list(TARGETS))
def test_the_target_and_its_digest_are_told(tree, kind):
    view = stain_view(read_inputs(with_stains(tree, kind)))
    assert view.target == f"{TARGETS[kind]} (ab12ab12ab12)"
    assert view.method == "macenko"


def test_fallbacks_are_counted_and_listed_with_their_reasons(tree):
    view = stain_view(read_inputs(with_stains(tree)))
    assert [row[:3] for row in view.counts.rows] == [
        ("the cohort's", "ink", "1"),
        ("nobody's: kept its colours", "too little tissue", "1"),
        ("its own", "ok", "1,234"),
    ]
    assert [row[0] for row in view.fallbacks.rows] == ["beta", "gamma"]
    assert "haematoxylin and eosin cannot have" in view.fallbacks.rows[0][3]
    assert view.patches is None
    page = render_report(tree).read_text()
    assert '<h2 id="stains">Stains</h2>' in page
    assert "Slides whose own colours are no fit" in page
    assert "looks/a.png" in page


def test_patches_are_counted_by_whose_stains_they_have(tree):
    index = pa.table({"slide_id": ["a"] * 4, "stain_origin": ["patch", "patch", "slide", None]})
    inputs = read_inputs(with_stains(tree, target=False))
    object.__setattr__(inputs, "index", index)
    view = stain_view(inputs)
    assert view.patches.rows[0] == ("patch", "2", "50.0 %")
    assert {row[:2] for row in view.patches.rows[1:]} == {("slide", "1"), ("as scanned", "1")}
    assert "part of the plan" in view.target


def test_without_stains_the_page_says_nothing_of_them(tree):
    assert stain_view(read_inputs(tree)) is None
    assert 'id="stains"' not in render_report(tree).read_text()
