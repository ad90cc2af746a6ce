"""Path patterns match letter by letter, and filling is the inverse of matching."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.datasets.patterns import compile_pattern, filled

names = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(names, names)
def test_filling_then_matching_gives_the_places(slide: str, kind: str) -> None:
    pattern = "training/{class}/[x, y] {slide}.tif"
    places = compile_pattern(pattern).match(filled(pattern, {"class": kind, "slide": slide}))
    assert places == {"class": unicodedata.normalize("NFC", kind), "slide": unicodedata.normalize("NFC", slide)}


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a/{slide}.tif", "a/b/c.tif"),
        ("a/{slide}.tif", "a/.tif"),
        ("a/{slide}.tif", "a/b.tiff"),
        ("a/{slide}.tif", "A/b.tif"),
        ("a/{slide}.tif", "a/bXtif"),
        ("a[1].{slide}", "a1.b"),
        ("{fold}/f{fold}/{slide}", "1/f2/x"),
    ],
)
def test_nothing_else_matches(pattern: str, path: str) -> None:
    assert compile_pattern(pattern).match(path) is None


def test_the_same_place_takes_the_same_text() -> None:
    pattern = compile_pattern("Fold {fold}/images/fold{fold}/images.npy")
    assert pattern.match("Fold 2/images/fold2/images.npy") == {"fold": "2"}
    assert pattern.match("Fold 2/images/fold3/images.npy") is None


def test_tiger_boxes_in_names() -> None:
    pattern = compile_pattern("{slide}_[{x0}, {y0}, {x1}, {y1}].png")
    found = pattern.match("TCGA-A1-A0SK-01Z-00-DX1.A44D_[34061, 24725, 35279, 25785].png")
    assert found is not None
    assert [int(found[n]) for n in ("x0", "y0", "x1", "y1")] == [34061, 24725, 35279, 25785]


def test_names_from_a_mac_match() -> None:
    composed, decomposed = "ö.tif", unicodedata.normalize("NFD", "ö.tif")
    assert composed != decomposed
    assert compile_pattern("ö.tif").match(decomposed) is not None
    assert compile_pattern(unicodedata.normalize("NFD", "ö.tif")).match(composed) is not None
