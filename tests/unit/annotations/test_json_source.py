"""JSON with lines and limits, through the formats that use it; the scan of signs against a plain reading."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from annotation_files_json import collection, feature

from wsiprep.annotations import json_source, json_text
from wsiprep.annotations.json_kinds import json_kind
from wsiprep.annotations.json_source import JsonFile, read_json
from wsiprep.annotations.qupath import parse_qupath
from wsiprep.annotations.regions import SlideFrame
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

FRAME = SlideFrame(Size(100, 100), None, "slide.tif")
SQUARE = ((2, 2), (8, 2), (8, 8), (2, 8))


def refusal(tmp_path, data: bytes | str, match: str | None = None) -> AnnotationError:
    path = tmp_path / "a.geojson"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(AnnotationError, match=match) as caught:
        parse_qupath(path, FRAME)
    assert caught.value.file == str(path)
    return caught.value


def walked(tmp_path, text: str) -> JsonFile:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    return read_json(path, {("items",): lambda file: lambda value, line: (value, line)})


def test_each_element_has_its_line_and_all_else_is_as_json_says(tmp_path):
    text = (
        '{\n"a": [1, [2]],\n"items": [{"x": 1},\n\n[3], "s\\n\\u00fcü", {\n"y": null}\n],\n"items2": {"items": [4]}}\n'
    )
    found = walked(tmp_path, text)
    assert found.value["items"] == [({"x": 1}, 3), ([3], 5), ("s\nüü", 5), ({"y": None}, 5)]
    plain = json.loads(text)
    assert {key: value for key, value in found.value.items() if key != "items"} == {
        key: value for key, value in plain.items() if key != "items"
    }
    assert found.lines[("items2",)] == 8


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "3", '"x"', '{"items": []}', '{"items": {}}', ' \n{ "items" : 3 } \n']
)
def test_small_values_are_read_as_json_reads_them(tmp_path, text):
    assert walked(tmp_path, text).value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"items": [1,\n2,\n]}', 3),
        ('{"items": [1\n2]}', 2),
        ('{"items": [1],\n}', 2),
        ('{"items": [1]\n"b": 2}', 2),
        ('{"items"\n3}', 2),
        ('{items: 3}', 1),
        ('{"items": [{"a": 1,\n\n}]}', 3),
        ('{"items": ["a\nb"]}', 1),
        ('{"items": [1]}\n{}', 2),
        ('{"items": [1', 1),
        ('\n\n{"items": [1_000]}', 3),
        ('{"items": [0x10]}', 1),
        ('{"items": [01]}', 1),
        ('{"a', 1),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_line(tmp_path, text, line):
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(AnnotationError, match="not well-formed JSON") as caught:
        walked(tmp_path, text)
    assert caught.value.line == line


@pytest.mark.parametrize("text", ['{"a": 1,\n"a": 2}', '{"b": 1, "items": [1,\n{"a": 1, "b": 2, "a": 1}]}'])
def test_a_key_twice_is_refused(tmp_path, text):
    with pytest.raises(AnnotationError, match="twice in one object") as caught:
        walked(tmp_path, text)
    assert (caught.value.line, caught.value.got) == (2, "'a'")


@pytest.mark.parametrize(
    "value",
    [*("NaN", "Infinity", "-Infinity", "1e400", '"12.5"', '"12,5"'), *("true", "null", "1e8", "9" * 400, "[1]", "{}")],
)
def test_what_is_no_number_is_refused_with_its_line(tmp_path, value):
    good = feature([[SQUARE]], "Tumor")
    bad = feature([[[(1, 1), (9, value), (9, 9)]]], "Tumor")
    error = refusal(tmp_path, collection([good, bad]), "no number")
    assert error.line == 3
    assert ("decimal" in error.fix) == ("," in value)


def test_a_number_of_many_digits_is_no_crash(tmp_path):
    error = refusal(tmp_path, collection([feature([[[(1, 1), (9, "9" * 5000), (9, 9)]]], "Tumor")]))
    assert error.line == 2


def test_not_a_number_where_nothing_is_read_is_no_fault(tmp_path):
    """QuPath writes NaN into measurements."""
    path = tmp_path / "a.geojson"
    path.write_text(collection([feature([[SQUARE]], "Tumor", measurements={"Area": float("nan")})]))
    assert "NaN" in path.read_text()
    assert len(parse_qupath(path, FRAME).shapes) == 1


@pytest.mark.parametrize("point", ["1, 12,5", "12,5, 1", "12,5, 12,5", "1", ""])
def test_decimal_commas_and_points_of_other_lengths_are_refused(tmp_path, point):
    text = collection([feature([[SQUARE]], "Tumor")]).replace("[8, 8]", f"[{point}]")
    error = refusal(tmp_path, text, "coordinate")
    assert error.line == 2


def test_a_third_coordinate_of_zero_is_read(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text(collection([feature([[SQUARE]], "Tumor")]))
    flat = parse_qupath(path, FRAME).shapes[0].polygons[0][0]
    points = ", ".join(f"[{x}, {y}, 0.0]" for x, y in (*SQUARE, SQUARE[0]))
    path.write_text(f'{{"type": "Polygon", "coordinates": [[{points}]]}}')
    assert (parse_qupath(path, FRAME).shapes[0].polygons[0][0] == flat).all()


def test_half_a_character_is_refused(tmp_path):
    refusal(tmp_path, collection([feature([[SQUARE]], "a\ud800")]), "classification is no text")
    refusal(tmp_path, collection([feature([[SQUARE]], "a", name="\udfff")]), "properties.name is no text")


@pytest.mark.parametrize(
    ("data", "got"),
    [
        ("{}".encode("utf-16"), "UTF-16"),
        ("{}".encode("utf-16-le"), "NUL bytes (UTF-16 or UTF-32?)"),
        ("{}".encode("utf-32"), "UTF-32"),
        (b'{"a":\n"\xe9"}', "the byte 0xe9"),
    ],
)
def test_other_encodings_are_refused(tmp_path, data, got):
    error = refusal(tmp_path, data, "not in UTF-8")
    assert error.got == got
    assert error.line == (2 if b"\n" in data else 1)


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08\x00abc", b"PK\x03\x04abc"])
def test_compressed_files_are_refused(tmp_path, data):
    refusal(tmp_path, data, "compressed")


@pytest.mark.parametrize("data", [b"", b" \n\t", b"\xef\xbb\xbf"])
def test_empty_files_are_refused(tmp_path, data):
    refusal(tmp_path, data, "empty")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_bytes(b"\xef\xbb\xbf" + collection([feature([[SQUARE]], "Tumör")]).encode())
    assert parse_qupath(path, FRAME).shapes[0].group == "Tumör"


def test_missing_and_large_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(AnnotationError, match="no such annotation file"):
        parse_qupath(tmp_path / "none.geojson", FRAME)
    with pytest.raises(AnnotationError, match="cannot be read"):
        parse_qupath(tmp_path, FRAME)
    monkeypatch.setattr(json_text, "MAX_FILE_BYTES", 3)
    refusal(tmp_path, "[   ]", "too large")


def test_depth_is_refused_with_its_line_and_brackets_in_strings_do_not_count(tmp_path):
    assert walked(tmp_path, "[" * 64 + "]" * 64).value is not None
    assert walked(tmp_path, '["' + "[{" * 100 + '\\"[[[", 1]').value == ["[{" * 100 + '"[[[', 1]
    error = refusal(tmp_path, "[" * 100_000, "nested too deeply")
    assert error.line == 1


def test_masses_are_refused_before_anything_is_built(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the decoder was reached")

    monkeypatch.setattr(json_source, "_Walk", never)
    bomb = '{"type": "Polygon", "coordinates": [[' + "[1,2]," * 3_000_000 + "[1,2]]]}"
    refusal(tmp_path, bomb, "too many vertices")
    refusal(tmp_path, "[" + "1," * 10_000_001 + "1]", "too many values")


def test_vertices_are_counted_where_they_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(json_source, "MAX_VERTICES", 9)
    text = collection([feature([[SQUARE]], "a"), feature([[SQUARE]], "a")])
    assert refusal(tmp_path, text, "too many vertices").line == 3


@pytest.mark.parametrize("seed", range(4))
def test_signs_outside_of_strings_are_found_across_chunks(monkeypatch, seed):
    rng = random.Random(seed)
    for _ in range(300):
        monkeypatch.setattr(json_text, "_CHUNK", rng.choice((1, 2, 3, 7, 64)))
        data = bytes(rng.choice(b'"\\[]{},a') for _ in range(rng.randrange(1, 60)))
        wanted, inside, slashes = [], False, 0
        for code in data:
            if code == ord("\\"):
                slashes += 1
                continue
            if code == ord('"') and slashes % 2 == 0:
                inside = not inside
            elif not inside and code in b"[]{},":
                wanted.append(code)
            slashes = 0
        assert b"".join(signs for _, signs in json_text._signs(data)) == bytes(wanted)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ('{"type": "FeatureCollection", "features": []}', "geojson"),
        ('{"features": [', "geojson"),
        ('[{"type": "Feature", "properties": {"images": 1, "annotation": 2}', "geojson"),
        ('{"type": "MultiPolygon"', "geojson"),
        ('{"version": "5", "flags": {"elements": 1}, "shapes": [', "labelme"),
        ('{"flags": {}, "imageData": "aaaa', "labelme"),
        ('{"info": {}, "images": [{"shapes": 1', "coco"),
        ('{"annotation": {"elements": [{"type": "polyline"', "dsa"),
        ('[{"_id": 3, "annotation": {"name": "x"', "dsa"),
        ('{"name": "x", "elements": [', "dsa"),
        ('{"name": "x"}', ""),
        ("[]", ""),
        ("<a>", ""),
        ("", ""),
    ],
)
def test_the_kind_of_json_is_told_by_the_outermost_keys(head, kind):
    assert json_kind(head.encode()) == kind


def test_points_are_float64_rows(tmp_path):
    file = JsonFile(tmp_path)
    assert file.points([[1, 2.5], [3, 4]], "p", 1).dtype == np.float64
    assert file.points([], "p", 1).shape == (0, 2)
    assert file.vertices == 2
