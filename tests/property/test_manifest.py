"""Slugs: always a safe id, stable, and different for different names."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from wsiprep.errors import ManifestError
from wsiprep.manifest import ID_PATTERN, read_manifest, slug

WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9])(\.|\Z)")
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
    assume(not name.endswith(".") and not WINDOWS_DEVICE.match(name))
    assert slug(name) == name


@given(st.from_regex(WINDOWS_DEVICE) | NAMES.map(lambda name: name + "."))
def test_no_id_is_a_device_or_ends_in_a_dot(name: str) -> None:
    made = slug(name)
    assert ID_PATTERN.fullmatch(made)
    assert not WINDOWS_DEVICE.match(made)
    assert not made.endswith(".")


@given(NAMES)
def test_case_and_accents_do_not_make_two_names_one(name: str) -> None:
    for other in (name.upper(), name.lower(), unicodedata.normalize("NFD", name)):
        assert (slug(other) == slug(name)) == (other == name)


@given(st.binary(max_size=40))
def test_names_that_are_not_utf8_have_slugs_too(raw: bytes) -> None:
    assert ID_PATTERN.fullmatch(slug(raw.decode("utf-8", "surrogateescape")))


PARTS = st.sampled_from(["..", ".", "", "a", "link", "up", "C:", "\\", "\u00a0", " ", "\n", "x.tif", "~", "file:"])


@given(st.lists(PARTS, min_size=1, max_size=6), st.sampled_from(["slide", "annotation", "tissue", "corrections"]))
def test_a_confined_manifest_never_names_a_file_outside(parts: list[str], column: str) -> None:
    """Whatever is accepted lies, links resolved, below the data root: the oracle is realpath."""
    ref = "/".join(parts)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        (root / "a").mkdir(parents=True)
        (root / "link").symlink_to("a")
        (root / "up").symlink_to("..")
        text = io.StringIO()
        row = {"slide": "s.tif", "annotation": "s.xml"} | {column: ref}
        csv.DictWriter(text, list(row)).writerows([dict(zip(row, row, strict=True)), row])
        (root / "m.csv").write_text(text.getvalue(), newline="")
        try:
            (read,) = read_manifest(root / "m.csv", confined=True)
        except ManifestError:
            return
        for named in (read.slide, read.annotation, read.tissue, *read.corrections):
            if named is not None:
                assert os.path.realpath(named).startswith(os.path.realpath(root))


@given(NAMES.filter(lambda name: name.strip()))
def test_any_name_is_read_or_refused_with_its_line(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "m.csv"
        text = io.StringIO()
        csv.writer(text).writerows([["slide", "patient"], [name, name]])
        path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
        try:
            (row,) = read_manifest(path)
        except ManifestError as error:
            refused = error
        else:
            assert row.slide_ref == name.strip()
            assert ID_PATTERN.fullmatch(row.slide_id)
            return
    assert refused.file == str(path)
