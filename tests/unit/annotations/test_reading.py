"""The format is taken from the content."""

from __future__ import annotations

import pytest

from wsiprep.annotations import read_annotations
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

SIZE = Size(100, 100)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_asap_is_known_under_any_name_and_encoding(tmp_path, asap, encoding):
    path = tmp_path / "slide.txt"
    text = asap.document(asap.shape(asap.SQUARE))
    if encoding == "utf-16-be":
        text = "\ufeff" + text
    path.write_bytes(text.encode(encoding))
    assert len(read_annotations(path, asap.recipe(), SIZE).regions) == 1


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("<Annotations MicronsPerPixel='0.5'></Annotations>", "<Annotations> (Aperio ImageScope)"),
        ("<annotations/>", "<annotations> (NDP.view (NDPA))"),
        ("<html/>", "<html>"),
        ('  {"type": "FeatureCollection"}', "JSON"),
        ("[]", "JSON"),
        ("PK\x03\x04", "begins with b'PK"),
    ],
)
def test_other_formats_are_named_with_the_known_ones(tmp_path, asap, content, got):
    path = tmp_path / "slide.xml"
    path.write_text(content)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(path, asap.recipe(), SIZE)
    assert got in caught.value.got
    assert "ASAP" in caught.value.expected
    assert caught.value.fix is not None
    assert caught.value.line == 1


def test_empty_and_missing_files_are_errors(tmp_path, asap):
    (tmp_path / "empty.xml").write_text("")
    with pytest.raises(AnnotationError, match="empty"):
        read_annotations(tmp_path / "empty.xml", asap.recipe(), SIZE)
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(tmp_path / "none.xml", asap.recipe(), SIZE)
