"""Reading ASAP XML: shapes, groups, counts, and every way in which a file can be wrong."""

from __future__ import annotations

import time

import pytest
import shapely

from wsiprep.annotations import read_asap, xml_stream
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size


def test_a_polygon_keeps_its_points_name_group_and_line(read, asap):
    found = read(asap.document(asap.shape(asap.SQUARE, name="first"), asap.shape(((1.5, 0), (3, 0.25), (1, 9)))))
    first, second = found.regions
    assert first.geometry.equals_exact(shapely.Polygon(asap.SQUARE), 0)
    assert (first.label, first.group, first.name, first.kind, first.line) == ("tumour", "Tumor", "first", "Polygon", 4)
    assert second.line == 12
    assert shapely.get_coordinates(second.geometry).tolist() == [[1.5, 0], [3, 0.25], [1, 9], [1.5, 0]]
    assert dict(found.counts) == {"annotations": 2}
    assert found.notes == ()


def test_points_are_taken_in_their_order(read, asap):
    text = asap.document(asap.shape(asap.SQUARE))
    rows = text.splitlines()
    rows[5], rows[7] = rows[7], rows[5]
    assert read("\n".join(rows)).regions[0].geometry.equals_exact(shapely.Polygon(asap.SQUARE), 0)


def test_two_points_of_one_order_are_an_error(read, asap):
    with pytest.raises(AnnotationError, match="same Order") as caught:
        read(asap.document(asap.shape(asap.SQUARE)).replace('Order="2"', 'Order="1"'))
    assert caught.value.line == 4


def test_gaps_in_the_order_are_counted(read, asap):
    found = read(asap.document(asap.shape(asap.SQUARE)).replace('Order="3"', 'Order="7"'))
    assert found.counts["order_gaps"] == 1
    assert "line 4" in found.notes[0]


def test_lines_are_right_beyond_sixteen_bits(read, asap):
    points = [(k % 50, k // 50 % 40) for k in range(70_000)]
    text = asap.document(asap.shape(points[:4]), asap.shape(points), asap.shape(asap.SQUARE, group="Oops"))
    with pytest.raises(AnnotationError) as caught:
        read(text, asap.recipe({"Tumor": "drop"}))
    line = caught.value.line
    assert line > 65_536
    assert 'PartOfGroup="Oops"' in text.splitlines()[line - 1]


@pytest.mark.parametrize("corners", [((2, 3), (8, 9)), ((8, 9), (2, 3)), ((2, 3), (8, 3), (8, 9), (2, 9))])
def test_rectangles_have_two_or_four_corners(read, asap, corners):
    region = read(asap.document(asap.shape(corners, kind="Rectangle"))).regions[0]
    assert region.geometry.equals(shapely.box(2, 3, 8, 9))
    assert region.kind == "Rectangle"


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_rectangles_of_other_counts_are_an_error(read, asap, count):
    with pytest.raises(AnnotationError, match="four corners"):
        read(asap.document(asap.shape([(k, k * k) for k in range(count)], kind="Rectangle")))


def test_splines_are_polygons_through_their_points_and_counted(read, asap):
    found = read(asap.document(asap.shape(asap.SQUARE, kind="Spline")))
    assert found.regions[0].geometry.area == 36
    assert found.counts["splines"] == 1


def test_shapes_without_area_are_counted_and_left_out(read, asap):
    kinds = ("Dot", "PointSet", "PointSet", "Measurement")
    found = read(asap.document(*(asap.shape(((1, 1), (5, 5)), kind=k, group="any") for k in kinds)))
    assert found.regions == ()
    assert dict(found.counts) == {"annotations": 4, "dots": 1, "point_sets": 2, "measurements": 1}


def test_an_unknown_type_is_an_error(read, asap):
    with pytest.raises(AnnotationError, match="unknown type") as caught:
        read(asap.document(asap.shape(asap.SQUARE, kind="Ellipse")))
    assert "Ellipse" in caught.value.got
    assert "Polygon" in caught.value.expected


@pytest.mark.parametrize("group", ["None", "Exclusion", "tumor", ""])
def test_an_unknown_group_names_file_line_value_and_known_groups(read, asap, group):
    with pytest.raises(AnnotationError) as caught:
        read(asap.document(asap.shape(asap.SQUARE), asap.shape(asap.SQUARE, group=group)))
    error = caught.value
    assert error.file.endswith("slide.xml")
    assert error.line == 12
    assert repr(group) in error.got
    assert "'Tumor'" in error.expected
    assert "'tumour'" in error.expected
    assert ("did you mean" in error.got) == (group == "tumor")


def test_unknown_groups_are_dropped_and_counted_where_the_recipe_says_so(read, asap):
    text = asap.document(asap.shape(asap.SQUARE), asap.shape(asap.SQUARE, group="None"))
    found = read(text, asap.recipe(unknown_group="drop"))
    assert len(found.regions) == 1
    assert found.counts["dropped_unknown_groups"] == 1
    assert "'None'" in found.notes[0]


def test_groups_map_to_labels_background_ignore_and_drop(read, asap):
    groups = {"_0": "tumour", "_2": "background", "blur": "ignore", "None": "drop"}
    shapes = [asap.shape(asap.SQUARE, group=g) for g in ("_0", "_2", "blur", "None", "tumour")]
    found = read(asap.document(*shapes), asap.recipe(groups))
    assert [r.label for r in found.regions] == ["tumour", "background", "ignore", "tumour"]
    assert found.counts["dropped_groups"] == 1


def test_nested_groups_take_the_nearest_mapped_ancestor(read, asap):
    groups = (
        '<Group Name="Tumor" PartOfGroup="None"/><Group Name="ductal" PartOfGroup="Tumor"/>'
        '<Group Name="necrosis" PartOfGroup="ductal"/><Group Name="comedo" PartOfGroup="necrosis"/>'
    )
    text = asap.document(
        asap.shape(asap.SQUARE, group="ductal"), asap.shape(asap.SQUARE, group="comedo"), groups=groups
    )
    found = read(text, asap.recipe({"Tumor": "tumour", "necrosis": "background"}))
    assert [(r.label, r.group) for r in found.regions] == [("tumour", "Tumor"), ("background", "necrosis")]


def test_groups_in_a_circle_are_an_error(read, asap):
    groups = '<Group Name="a" PartOfGroup="b"/><Group Name="b" PartOfGroup="a"/>'
    with pytest.raises(AnnotationError, match="part of each other"):
        read(asap.document(asap.shape(asap.SQUARE, group="a"), groups=groups))


def test_a_group_with_two_parents_is_an_error(read, asap):
    groups = '<Group Name="a" PartOfGroup="b"/><Group Name="a" PartOfGroup="None"/>'
    with pytest.raises(AnnotationError, match="declared twice"):
        read(asap.document(groups=groups))


def test_repeated_and_closing_points_are_removed_and_counted(read, asap):
    points = ((2, 2), (2, 2), (8, 2), (8, 8), (8, 8), (8, 8), (2, 8), (2, 2), (2, 2))
    found = read(asap.document(asap.shape(points)))
    assert found.regions[0].geometry.equals_exact(shapely.Polygon(asap.SQUARE), 0)
    assert found.counts["repeated_vertices"] == 5


@pytest.mark.parametrize("rule", ["even-odd", "non-zero", "error"])
@pytest.mark.parametrize(
    "points", [(), ((1, 1),), ((1, 1), (5, 5)), ((1, 1), (5, 5), (1, 1)), ((0, 0), (1, 1), (3, 3))]
)
def test_rings_without_area_are_dropped_counted_and_named(read, asap, points, rule):
    found = read(asap.document(asap.shape(points, name="thin")), asap.recipe(invalid_rings=rule))
    assert found.regions == ()
    assert found.counts["dropped_degenerate"] == 1
    assert "repaired_rings" not in found.counts
    assert found.notes == (f"line 4: annotation 'thin' left out, {len(points)} points enclose no area",)


def test_self_intersections_follow_the_rule_of_the_recipe(read, asap):
    bow = asap.document(asap.shape(((0, 0), (8, 8), (8, 0), (0, 8))))
    for rule in ("even-odd", "non-zero"):
        found = read(bow, asap.recipe(invalid_rings=rule))
        assert found.regions[0].geometry.area == 32
        assert found.counts["repaired_rings"] == 1
        assert rule in found.notes[0]
    with pytest.raises(AnnotationError, match="crosses or touches itself") as caught:
        read(bow, asap.recipe(invalid_rings="error"))
    assert caught.value.line == 4


def test_a_failure_of_the_geometry_engine_names_the_annotation(read, asap, monkeypatch):
    def fail(*_):
        raise shapely.errors.GEOSException("TopologyException: side location conflict")

    monkeypatch.setattr(shapely, "polygonize", fail)
    with pytest.raises(AnnotationError, match="cannot be repaired") as caught:
        read(asap.document(asap.shape(((0, 0), (8, 8), (8, 0), (0, 8)))))
    assert caught.value.line == 4


def test_points_outside_the_slide_are_counted_and_kept(read, asap):
    found = read(asap.document(asap.shape(((-5, 10), (100, 10), (100.5, 20), (0, 20)))))
    assert found.counts["outside_slide"] == 2
    assert "outside_regions" not in found.counts
    assert found.regions[0].geometry.bounds == (-5, 10, 100.5, 20)
    assert "2 of 4 points" in found.notes[0]
    far = read(asap.document(asap.shape(((200, 0), (300, 0), (300, 9)))))
    assert far.counts["outside_regions"] == 1


NUMBERS = ["nan", "inf", "-inf", "1e400", "1_000", "12,5", "", " 5", "0x10", "１２", "1e", ".", "5e9", "--1", "1d3"]


@pytest.mark.parametrize("value", NUMBERS)
def test_what_is_no_plain_number_is_an_error_with_its_line(read, asap, value):
    with pytest.raises(AnnotationError, match="X is no coordinate") as caught:
        read(asap.document(asap.shape([*asap.SQUARE[:2], (value, 3), (2, 8)])))
    assert caught.value.line == 8
    assert repr(value) in caught.value.got
    if "," in value:
        assert "decimal comma" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("+5.", 5), (".5", 0.5), ("1.25e1", 12.5), ("12711.2998", 12711.2998)]
)
def test_plain_numbers_are_read_exactly(read, asap, text, value):
    found = read(asap.document(asap.shape([(text, 0), (0, 1), (0, 2)])))
    assert shapely.get_coordinates(found.regions[0].geometry)[0].tolist() == [value, 0]


@pytest.mark.parametrize("value", ["-1", "1.0", "", "x", "9" * 5000])
def test_an_order_is_a_whole_number(read, asap, value):
    with pytest.raises(AnnotationError, match="Order"):
        read(asap.document(asap.shape(asap.SQUARE)).replace('Order="2"', f'Order="{value}"'))


DAMAGES = {
    "misspelt element": ("</Annotation>", "</Annotation><Annotatino/>", "<Annotatino>"),
    "nested element": ("<Coordinates>", "<Coordinates><Annotation/>", "<Annotation>"),
    "stray text": ("<Coordinates>", "<Coordinates>&lt;Coordinate", "Coordinate"),
    "no Y": ('Y="2"', "", "Order, X"),
    "no type": ('Type="Polygon"', "", "Name"),
    "no group": ('PartOfGroup="Tumor"', "", "Name"),
    "two lists": ("</Coordinates>", "</Coordinates><Coordinates/>", ""),
    "no group name": ('Group Name="Tumor"', "Group", "PartOfGroup"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_structure_is_checked_so_that_nothing_is_lost(read, asap, damage):
    old, new, got = DAMAGES[damage]
    text = asap.document(asap.shape(asap.SQUARE))
    assert old in text
    with pytest.raises(AnnotationError) as caught:
        read(text.replace(old, new, 1))
    assert got in str(caught.value.got)
    assert caught.value.line is not None


def test_free_attributes_may_hold_anything(read, asap):
    groups = '<Group Name="a" PartOfGroup="None"><Attributes><x>5<y/></x>text</Attributes></Group>'
    assert len(read(asap.document(asap.shape(asap.SQUARE), groups=groups)).regions) == 1


def test_a_file_without_annotations_is_an_empty_set(read, asap):
    assert dict(read(asap.document()).counts) == {"annotations": 0}


def test_a_file_without_the_list_of_annotations_is_an_error(read):
    with pytest.raises(AnnotationError, match="no <Annotations>"):
        read("<ASAP_Annotations/>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (" \n", "not well-formed"),
        ("no xml", "not well-formed"),
        ("<ASAP_Annotations><Annotations>", "not well-formed"),
        ("<ASAP_Annotations><Annotations></ASAP_Annotations>", "not well-formed"),
        (b"<ASAP_Annotations>\x00</ASAP_Annotations>", "not well-formed"),
        (b"\xff\xfe<\x00", "not well-formed"),
        ('<?xml version="1.0" encoding="nonsense"?><ASAP_Annotations/>', "encoding|well-formed"),
        ('<?xml version="1.0" encoding="utf-7"?><ASAP_Annotations/>', "encoding|well-formed"),
        ('<?xml version="1.0" encoding="gb18030"?><ASAP_Annotations/>', "encoding|well-formed"),
    ],
)
def test_what_is_no_xml_is_an_error_with_a_line(read, content, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        read(content)
    assert caught.value.line is not None
    assert caught.value.expected is not None
    assert caught.value.fix is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings_that_expat_knows_are_read(read, asap, encoding):
    text = asap.document(asap.shape(asap.SQUARE, name="größe"))
    declared = {"utf-16": "utf-16", "utf-8-sig": "utf-8", "latin-1": "iso-8859-1"}[encoding]
    text = text.replace('version="1.0"', f'version="1.0" encoding="{declared}"')
    assert read(text.encode(encoding)).regions[0].name == "größe"


ATTACKS = {
    "plain": "<!DOCTYPE ASAP_Annotations>",
    "xxe": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "laughs": "<!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{k} '{f'&a{k - 1};' * 10}'>" for k in range(1, 12))
    + "]>",
    "quadratic": f"<!DOCTYPE a [<!ENTITY x '{'A' * 100_000}'>]>",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_any_doctype_is_refused_at_once(read, attack, encoding):
    start = time.perf_counter()
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    text = f"{head}{ATTACKS[attack]}<ASAP_Annotations><Annotations>&x;&a11;</Annotations></ASAP_Annotations>"
    with pytest.raises(AnnotationError, match="DOCTYPE"):
        read(text.encode(encoding))
    assert time.perf_counter() - start < 2


def test_deep_nesting_is_refused(read, asap):
    deep = "<x>" * 300 + "</x>" * 300
    groups = f'<Group Name="a" PartOfGroup="None"><Attributes>{deep}</Attributes></Group>'
    with pytest.raises(AnnotationError, match="nested too deeply"):
        read(asap.document(groups=groups))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("limit", "value"), [("MAX_VERTICES", 3), ("MAX_ANNOTATIONS", 0), ("MAX_FILE_BYTES", 100)])
def test_declared_limits_are_kept(read, asap, monkeypatch, limit, value, encoding):
    text = asap.document(asap.shape(asap.SQUARE)).encode(encoding)
    read(text)
    monkeypatch.setattr(xml_stream, limit, value)
    with pytest.raises(AnnotationError, match=r"too (many|large)") as caught:
        read(text)
    assert str(value) in caught.value.expected


def test_exactly_as_many_vertices_as_allowed_are_read(read, asap, monkeypatch):
    monkeypatch.setattr(xml_stream, "MAX_VERTICES", 4)
    monkeypatch.setattr(xml_stream, "_CHUNK_BYTES", 5)
    assert len(read(asap.document(asap.shape(asap.SQUARE))).regions) == 1
    with pytest.raises(AnnotationError, match="too many vertices") as caught:
        read(asap.document(asap.shape([*asap.SQUARE, (1, 5)])))
    assert caught.value.got == 5


def test_missing_files_and_folders_are_errors(tmp_path, asap):
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_asap(tmp_path / "none.xml", asap.recipe(), Size(9, 9))
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_asap(tmp_path, asap.recipe(), Size(9, 9))
