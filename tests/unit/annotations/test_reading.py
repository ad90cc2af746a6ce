"""The format is taken from the content, or is the one that the recipe names."""

from __future__ import annotations

import pytest

from wsiprep.annotations import SlideFrame, read_annotations
from wsiprep.annotations.reading import FORMATS, parse_annotations, sniff
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

FRAME = SlideFrame(Size(100, 100))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_asap_is_known_under_any_name_and_encoding(tmp_path, asap, encoding):
    path = tmp_path / "slide.txt"
    text = asap.document(asap.shape(asap.SQUARE))
    if encoding == "utf-16-be":
        text = "\ufeff" + text
    path.write_bytes(text.encode(encoding))
    assert len(read_annotations(path, asap.recipe(), FRAME).regions) == 1


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("<html/>", "XML with the root <html>"),
        ("<OME/>", "XML with the root <OME> (OME-XML)"),
        ("<!-- x -->\n<?p?><ann:annotations xmlns:ann='x'/>", "<ann:annotations>"),
        ('  {"nothing": 1, "known": []}', "JSON with the keys nothing, known"),
        ("PK\x03\x04", "begins with b'PK"),
        (" \n", "blanks"),
    ],
)
def test_an_unknown_format_says_what_was_seen_and_what_is_known(tmp_path, asap, content, got):
    path = tmp_path / "slide.xml"
    path.write_text(content)
    with pytest.raises(AnnotationError, match="unknown format") as caught:
        read_annotations(path, asap.recipe(), FRAME)
    assert got in caught.value.got
    for known in FORMATS.values():
        assert known.title in caught.value.expected
    assert caught.value.fix is not None
    assert caught.value.file == str(path)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a <b", "not well-formed"),
        ("<?xml version='1.0'?>\n<!DOCTYPE a>\n<a/>", "DOCTYPE"),
        ("<?xml version='1.0' encoding='nonsense'?><a/>", "encoding"),
        ("<!--" + "x" * 70_000 + "--><a/>", "no element begins"),
    ],
)
def test_xml_that_does_not_come_to_its_root_is_an_error_with_a_line(tmp_path, asap, content, message):
    path = tmp_path / "slide.xml"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(path, asap.recipe(), FRAME)
    assert caught.value.line is not None


def test_the_head_may_end_in_the_middle_of_anything(tmp_path, asap):
    path = tmp_path / "slide.xml"
    for blanks in range(65_400, 65_560, 7):
        path.write_text(asap.document().replace("<Annotations>", " " * blanks + "<Annotations>"))
        assert sniff(path) == "asap"


def test_a_damage_behind_the_root_is_the_readers_business(tmp_path):
    path = tmp_path / "slide.xml"
    path.write_text("<ASAP_Annotations><Annotations></ASAP_Annotations>")
    assert sniff(path) == "asap"
    with pytest.raises(AnnotationError, match="not well-formed"):
        parse_annotations(path, "auto", FRAME)


def test_a_named_format_is_used_or_fails(tmp_path, asap):
    path = tmp_path / "slide.xml"
    path.write_text(asap.document(asap.shape(asap.SQUARE)))
    assert len(read_annotations(path, asap.recipe(format="asap"), FRAME).regions) == 1
    with pytest.raises(AnnotationError, match="not an annotation file of Aperio") as caught:
        read_annotations(path, asap.recipe(format="imagescope"), FRAME)
    assert caught.value.got == "<ASAP_Annotations> (ASAP)"
    assert caught.value.line == 2
    with pytest.raises(AnnotationError, match="no outlines"):
        read_annotations(path, asap.recipe(format="raster"), FRAME)


@pytest.mark.parametrize("name", FORMATS)
def test_every_entry_of_the_table_has_its_parser(name):
    assert callable(FORMATS[name].parse)
    assert FORMATS[name].title


@pytest.mark.parametrize("name", ["auto", *FORMATS])
def test_empty_and_missing_files_are_errors(tmp_path, asap, name):
    (tmp_path / "empty.xml").write_text("")
    with pytest.raises(AnnotationError, match="empty"):
        read_annotations(tmp_path / "empty.xml", asap.recipe(format=name), FRAME)
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(tmp_path / "none.xml", asap.recipe(format=name), FRAME)
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotations(tmp_path, asap.recipe(format=name), FRAME)
