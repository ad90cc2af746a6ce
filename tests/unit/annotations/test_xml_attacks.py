"""What every reader of XML refuses, and the limits that it keeps."""

from __future__ import annotations

import resource

import pytest
from annotation_files import FILE_FORMATS, FRAME, Outline, recipe_for

from wsiprep.annotations import read_annotations, xml_stream
from wsiprep.annotations.xml_stream import ROOTS
from wsiprep.errors import AnnotationError

XML = ("asap", "imagescope", "ndpa")
SQUARE = ((20, 20), (80, 20), (80, 80), (20, 80))
GROUPS = {"Stroma": "stroma"}
ATTACKS = {
    "plain": "<!DOCTYPE a>",
    "xxe": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "laughs": "<!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{k} '{f'&a{k - 1};' * 10}'>" for k in range(1, 12))
    + "]>",
    "quadratic": f"<!DOCTYPE a [<!ENTITY x '{'A' * 100_000}'>]>",
}


@pytest.fixture
def refusal(tmp_path):
    """Read a text under the named format and give back the error that it ends in."""

    def run(name: str, content: str | bytes, how: str = "auto") -> AnnotationError:
        path = tmp_path / "slide.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(AnnotationError) as caught:
            read_annotations(path, recipe_for(FILE_FORMATS[name], GROUPS, ["stroma"], format=how), FRAME)
        assert caught.value.file == str(path)
        return caught.value

    return run


def good(name: str, *more: object) -> str:
    return FILE_FORMATS[name].write([Outline("Stroma", [[SQUARE]]), *more])


@pytest.mark.parametrize("how", ["auto", "named"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", XML)
def test_any_doctype_is_refused_before_it_is_read(refusal, name, attack, encoding, how):
    body = good(name).split("?>")[-1].replace("Stroma", "&x;&a11;")
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n{ATTACKS[attack]}\n{body}'
    error = refusal(name, text.encode(encoding), name if how == "named" else "auto")
    assert "DOCTYPE" in error.message
    assert error.line == 2


@pytest.mark.parametrize("name", XML)
def test_deep_nesting_is_refused(refusal, name):
    place = {"asap": "</Annotation>", "imagescope": "<Plots/>", "ndpa": "<details />"}[name]
    deep = {"asap": ("<Attributes>", "</Attributes></Annotation>"), "imagescope": ("<Plots>", "</Plots>"),
            "ndpa": ("<details>", "</details>")}[name]  # fmt: skip
    text = good(name)
    assert place in text
    error = refusal(name, text.replace(place, deep[0] + "<x>" * 300 + "</x>" * 300 + deep[1], 1))
    if name == "ndpa":
        assert "<details> does not have" in error.message
    else:
        assert "nested too deeply" in error.message
        assert str(xml_stream.MAX_DEPTH) in error.expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("limit", "value"), [("MAX_VERTICES", 3), ("MAX_ANNOTATIONS", 0), ("MAX_FILE_BYTES", 100)])
@pytest.mark.parametrize("name", XML)
def test_declared_limits_are_kept_in_every_encoding(refusal, monkeypatch, name, limit, value, encoding):
    text = good(name).replace(' encoding="utf-8" standalone="yes"', "").encode(encoding)
    monkeypatch.setattr(xml_stream, limit, value)
    error = refusal(name, text)
    assert "too many" in error.message or "too large" in error.message
    assert str(value) in error.expected


BOMBS = {
    "asap": ('<Coordinate\tOrder="0" X="1" Y="1" />', '<Annotation Name="" Type="Dot" PartOfGroup="a"/>'),
    "imagescope": ('<Vertex\nX="1" Y="1"/>', '<Region\nType="0"/>'),
    "ndpa": ("<point ><x>1</x><y>1</y></point>", '<annotation type="pin"/>'),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("what", ["vertices", "annotations"])
@pytest.mark.parametrize("name", XML)
def test_a_bomb_is_refused_before_it_is_parsed_and_in_little_memory(refusal, monkeypatch, name, what, encoding):
    mark = BOMBS[name][what == "annotations"]
    if encoding != "utf-8":
        monkeypatch.setattr(xml_stream, "MAX_VERTICES", 20_000)
        monkeypatch.setattr(xml_stream, "MAX_ANNOTATIONS", 3000)
    limit = xml_stream.MAX_VERTICES if what == "vertices" else xml_stream.MAX_ANNOTATIONS
    text = good(name).replace(' encoding="utf-8" standalone="yes"', "")
    head, tail = text.split({"asap": "<Coordinates>", "imagescope": "<Vertices>", "ndpa": "<pointlist>"}[name])
    byte_order_mark = "" if encoding == "utf-8" else "\ufeff"
    content = b"".join(
        [(byte_order_mark + head).encode(encoding), mark.encode(encoding) * (limit + 1), tail.encode(encoding)]
    )
    monkeypatch.setattr(xml_stream.XmlReader, "_feed", lambda *_: pytest.fail("it came to the parser"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(name, content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024
    assert error.message == f"too many {what}"
    assert error.got == limit + (2 if what == "annotations" else 5)


@pytest.mark.parametrize("chunk", range(1, 90, 4))
@pytest.mark.parametrize("name", XML)
def test_exactly_as_many_as_allowed_are_read_however_the_blocks_fall(refusal, tmp_path, monkeypatch, name, chunk):
    monkeypatch.setattr(xml_stream, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(xml_stream, "MAX_VERTICES", 8)
    monkeypatch.setattr(xml_stream, "MAX_ANNOTATIONS", 2)
    twice = Outline("Stroma", [[SQUARE]])
    path = tmp_path / "good.xml"
    path.write_text(good(name, twice))
    read_annotations(path, recipe_for(FILE_FORMATS[name], GROUPS, ["stroma"]), FRAME)
    error = refusal(name, good(name, Outline("Stroma", [[(*SQUARE, (5, 5))]])))
    assert (error.message, error.got) == ("too many vertices", 9)
    error = refusal(name, good(name, twice, Outline("Stroma", [[()]])))
    assert (error.message, error.got) == ("too many annotations", 3)


@pytest.mark.parametrize("name", XML)
def test_another_root_is_named(refusal, name):
    for root in ROOTS:
        if root == {"asap": "ASAP_Annotations", "imagescope": "Annotations", "ndpa": "annotations"}[name]:
            continue
        error = refusal(name, f"<{root}/>", name)
        assert f"<{root}>" in error.got
        assert ROOTS[root] in error.got
        assert error.line == 1


@pytest.mark.parametrize("content", ["", " \n", "no xml", "<a", b"\xff\xfe<\x00", b"<a>\x00</a>", "<annotations></a>"])
@pytest.mark.parametrize("name", XML)
def test_what_is_no_xml_is_an_error_with_a_line(refusal, name, content):
    error = refusal(name, content, name)
    assert error.line is not None
    assert error.expected is not None


@pytest.mark.parametrize("name", XML)
def test_a_cut_file_is_an_error_wherever_it_is_cut(refusal, name):
    text = good(name).rstrip()
    for end in range(1, len(text), 17):
        refusal(name, text[:end], name)
