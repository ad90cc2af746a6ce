"""Slugs: always a safe id, stable, and different for different names."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from wsiprep.manifest import ID_PATTERN, slug

NAMES = st.text(max_size=200) | st.text(alphabet="aA .-_/ä0", max_size=12)


@given(NAMES)
def test_a_slug_is_a_safe_id_and_stable(name: str) -> None:
    made = slug(name)
    assert ID_PATTERN.fullmatch(made)
    assert slug(made) == made


@given(st.lists(NAMES, unique=True, min_size=2, max_size=20))
def test_different_names_have_different_slugs(names: list[str]) -> None:
    raw = [name for name in names if not ID_PATTERN.fullmatch(name)]
    assert len({slug(name) for name in raw}) == len(raw)


@given(st.from_regex(ID_PATTERN, fullmatch=True))
def test_safe_ids_are_left_alone(name: str) -> None:
    assert slug(name) == name


@given(NAMES)
def test_case_and_accents_do_not_make_two_names_one(name: str) -> None:
    for other in (name.upper(), name.lower(), unicodedata.normalize("NFD", name)):
        assert (slug(other) == slug(name)) == (other == name)


@given(st.binary(max_size=40))
def test_names_that_are_not_utf8_have_slugs_too(raw: bytes) -> None:
    assert ID_PATTERN.fullmatch(slug(raw.decode("utf-8", "surrogateescape")))
