"""Aperio ImageScope XML: labels in Text, layers, negative areas, rectangles, ellipses, MoNuSeg's nuclei."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from wsiprep.annotations import SlideFrame, read_annotations, xml_stream
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

SQUARE = ((20, 20), (80, 20), (80, 80), (20, 80))
INNER = ((30, 30), (60, 30), (60, 60), (30, 60))
ISLAND = ((40, 40), (50, 40), (50, 50), (40, 50))


def region(points, text="Tumor", kind: object = 0, negative: object = 0, number: object = 1) -> str:
    typed = "" if kind is None else f'Type="{kind}" '
    rows = [f'<Region Id="{number}" {typed}Text="{text}" NegativeROA="{negative}" InputRegionId="0" Analyze="1">',
            "<Attributes/>", "<Vertices>"]  # fmt: skip
    rows += [f'<Vertex X="{x}" Y="{y}" Z="0" />' for x, y in points]
    return "\n".join([*rows, "</Vertices>", "</Region>"])


def layer(*regions: str, name: str = "", attributes: tuple[tuple[str, str], ...] = ()) -> str:
    listed = "".join(f'<Attribute Name="{a}" Id="0" Value="{b}" />' for a, b in attributes)
    rows = [f'<Annotation Id="1" Name="{name}" ReadOnly="0" Type="4" LineColor="65280">',
            f"<Attributes>{listed}</Attributes>", "<Regions><RegionAttributeHeaders />"]  # fmt: skip
    return "\n".join([*rows, *regions, "</Regions>", "<Plots />", "</Annotation>"])


def document(*layers: str) -> str:
    return "\n".join(['<Annotations MicronsPerPixel="0.2520">', *layers, "</Annotations>"])


@pytest.fixture
def scope(tmp_path, asap):
    def run(*layers: str, groups: dict[str, str] | None = None, labels=("tumour",), **rules):
        path = tmp_path / "slide.xml"
        path.write_text(document(*layers), encoding="utf-8")
        recipe = asap.recipe({"Tumor": "tumour"} if groups is None else groups, labels, **rules)
        return read_annotations(path, recipe, SlideFrame(Size(200, 200)))

    return run


def test_the_text_is_the_group_without_its_blanks(scope):
    bach = ("Benign", "Carcinoma in situ ", " In situ carcinoma", "Carcinoma invasive", " Invasive carcinoma&#10;")
    groups = {"Benign": "benign", "Carcinoma in situ": "in_situ", "In situ carcinoma": "in_situ",
              "Carcinoma invasive": "invasive", "Invasive carcinoma": "invasive"}  # fmt: skip
    found = scope(layer(*(region(SQUARE, text) for text in bach)), groups=groups,
                  labels=("benign", "in_situ", "invasive"))  # fmt: skip
    assert [r.label for r in found.regions] == ["benign", "in_situ", "in_situ", "invasive", "invasive"]
    assert found.regions[4].group == "Invasive carcinoma"
    assert [r.line for r in found.regions] == [5, 14, 23, 32, 41]
    assert {r.kind for r in found.regions} == {"freehand"}
    assert found.regions[0].geometry.equals_exact(shapely.Polygon(SQUARE), 0)


def test_without_text_the_layer_decides(scope):
    groups = {"Tumor": "tumour", "Normal": "background", "Necrosis": "ignore"}
    found = scope(
        layer(region(SQUARE, ""), region(SQUARE, "Tumor"), name=" Normal "),
        layer(region(SQUARE, ""), attributes=(("Description", "Necrosis"),)),
        layer(region(SQUARE, ""), attributes=(("Normal", ""),)),
        layer(region(SQUARE, "a comment"), name="Necrosis"),
        groups=groups,
    )
    assert [r.label for r in found.regions] == ["background", "tumour", "ignore", "background", "ignore"]


def test_nuclei_without_any_name_are_mapped_by_the_empty_group(scope):
    nuclei = layer(region(SQUARE, ""), region(ISLAND, "", None), attributes=(("Description", ""),))
    found = scope(nuclei, groups={"": "nucleus"}, labels=("nucleus",))
    assert [r.group for r in found.regions] == ["", ""]
    assert dict(found.counts) == {"annotations": 2, "untyped_regions": 1}
    with pytest.raises(AnnotationError, match="does not map") as caught:
        scope(nuclei)
    assert caught.value.got == "'' (in 'Description')"
    assert len(scope(nuclei, groups={"Description": "tumour"}).regions) == 2


def test_negative_areas_are_cut_from_their_layer_only_wherever_they_stand(scope):
    found = scope(
        layer(region(INNER, "", negative=1), region(SQUARE)),
        layer(region(SQUARE), name="other"),
    )  # fmt: skip
    first, second = found.regions
    assert first.geometry.equals(shapely.Polygon(SQUARE, [INNER]))
    assert second.geometry.equals_exact(shapely.Polygon(SQUARE), 0)
    assert dict(found.counts) == {"annotations": 3, "negatives": 1, "cut_by_negatives": 1}


def test_islands_in_negative_areas_stay_and_may_have_holes_of_their_own(scope):
    pit = ((43, 43), (46, 43), (46, 46), (43, 46))
    found = scope(
        layer(region(SQUARE), region(INNER, negative=1), region(ISLAND), region(pit, negative=1))
    )  # fmt: skip
    assert found.regions[0].geometry.equals(shapely.Polygon(SQUARE, [INNER]))
    assert found.regions[1].geometry.equals(shapely.Polygon(ISLAND, [pit]))
    assert found.counts["negative_islands"] == 1
    assert found.counts["cut_by_negatives"] == 2
    assert "idle_negatives" not in found.counts


def test_a_negative_area_that_meets_nothing_is_counted_and_named(scope):
    beside = ((80, 20), (90, 20), (90, 80), (80, 80))
    found = scope(layer(region(SQUARE), region(beside, negative=1, number=7)))
    assert found.counts["idle_negatives"] == 1
    assert "cut_by_negatives" not in found.counts
    assert "'region 7' is negative and cuts nothing" in found.notes[0]
    # They only touch: not a point is added to the outline.
    assert found.regions[0].geometry.equals_exact(shapely.Polygon(SQUARE), 0)
    alone = scope(layer(region(SQUARE, negative=1)))
    assert alone.regions == ()
    assert alone.counts["idle_negatives"] == 1


def test_what_negative_areas_take_wholly_is_counted(scope):
    found = scope(layer(region(SQUARE), region(SQUARE, negative=1)))
    assert found.regions == ()
    assert found.counts["dropped_by_negatives"] == 1
    left = ((0, 0), (50, 0), (50, 99), (0, 99))
    right = ((50, 0), (99, 0), (99, 99), (50, 99))
    found = scope(layer(region(SQUARE), region(left, negative=1), region(right, negative=1)))
    assert found.regions == ()
    assert found.counts["dropped_by_negatives"] == 1


def test_a_negative_area_may_split_an_outline(scope):
    bar = ((10, 40), (90, 40), (90, 50), (10, 50))
    found = scope(layer(region(SQUARE), region(bar, negative=1)))
    assert found.regions[0].geometry.equals(
        shapely.union_all([shapely.box(20, 20, 80, 40), shapely.box(20, 50, 80, 80)])
    )
    assert isinstance(found.regions[0].geometry, shapely.MultiPolygon)


@pytest.mark.parametrize("corners", [((2, 3), (8, 9)), ((8, 9), (2, 3)), ((2, 3), (8, 3), (8, 9), (2, 9)),
                                     ((2, 3), (8, 3), (8, 9), (2, 9), (2, 3))])  # fmt: skip
def test_rectangles(scope, corners):
    found = scope(layer(region(corners, kind=1)))
    assert found.regions[0].geometry.equals(shapely.box(2, 3, 8, 9))
    assert found.regions[0].kind == "rectangle"


def test_a_turned_rectangle_keeps_its_corners(scope):
    turned = ((20, 10), (40, 20), (30, 40), (10, 30))
    assert scope(layer(region(turned, kind=1))).regions[0].geometry.equals(shapely.Polygon(turned))


@pytest.mark.parametrize(("kind", "count"), [(1, 0), (1, 1), (1, 3), (1, 6), (2, 0), (2, 1), (2, 3)])
def test_rectangles_and_ellipses_of_other_counts_are_errors_unless_dropped(scope, kind, count):
    odd = layer(region([(k, k * k) for k in range(count)], kind=kind))
    with pytest.raises(AnnotationError, match="corners") as caught:
        scope(odd)
    assert caught.value.line == 5
    assert caught.value.got == f"{count} points"
    assert scope(odd, groups={"Tumor": "drop"}).counts["dropped_groups"] == 1


@pytest.mark.parametrize("corners", [((20, 30), (120, 90)), ((120, 30), (20, 90)),
                                     ((20, 30), (120, 30), (120, 90), (20, 90))])  # fmt: skip
def test_an_ellipse_fills_its_box(scope, corners):
    found = scope(layer(region(corners, kind=2)))
    area = found.regions[0].geometry
    assert found.counts["ellipses"] == 1
    assert area.bounds == (20, 30, 120, 90)
    assert area.area == pytest.approx(math.pi * 50 * 30, rel=2e-3)
    points = shapely.get_coordinates(area)
    off = np.abs(np.hypot((points[:, 0] - 70) / 50, (points[:, 1] - 60) / 30) - 1) * 50
    assert off.max() < 1 / 16
    assert (points * 64 == np.round(points * 64)).all()


def test_the_outline_of_an_ellipse_is_taken_as_it_is(scope):
    drawn = ((20, 30), (50, 20), (80, 30), (80, 60), (50, 70), (20, 60))
    found = scope(layer(region(drawn, kind=2)))
    assert found.regions[0].geometry.equals_exact(shapely.Polygon(drawn), 0)


def test_arrows_and_rulers_have_no_area(scope):
    found = scope(layer(region(((1, 1), (2, 2)), "x", 3), region(((1, 1), (2, 2)), "y", 4)))
    assert found.regions == ()
    assert dict(found.counts) == {"annotations": 2, "arrows": 1, "measurements": 1}


@pytest.mark.parametrize(("change", "message", "line"), [
    (('Type="0"', 'Type="9"'), "unknown type of region", 5),
    (('Type="0"', 'Type="Polygon"'), "unknown type of region", 5),
    (('NegativeROA="0"', 'NegativeROA="yes"'), "neither 0 nor 1", 5),
    (('<Vertex X="20"', '<Vertex Q="20"'), "has no X", 8),
    (("<Vertices>", "<Vertices><V X='1' Y='2'/>"), "<Vertices> does not have", 7),
    (("</Vertices>", "</Vertices><Vertices/>"), "second <Vertices>", 12),
    (("<Plots />", "<Plot />"), "<Annotation> does not have", 15),
    (("<Vertices>", "<Vertices>x"), "text where", 7),
])  # fmt: skip
def test_what_is_not_understood_is_an_error_with_its_line(scope, tmp_path, asap, change, message, line):
    text = document(layer(region(SQUARE)))
    assert change[0] in text
    path = tmp_path / "slide.xml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(path, asap.recipe(), SlideFrame(Size(200, 200)))
    assert caught.value.line == line


def test_tables_of_measurements_may_hold_anything(tmp_path, asap):
    path = tmp_path / "slide.xml"
    text = document(layer(region(SQUARE)))
    path.write_text(text.replace("<Plots />", "<Plots><Plot a='1'>x<y/></Plot></Plots>"))
    assert len(read_annotations(path, asap.recipe(), SlideFrame(Size(200, 200))).regions) == 1


def test_many_large_ellipses_are_refused(scope, monkeypatch):
    monkeypatch.setattr(xml_stream, "MAX_VERTICES", 2000)
    with pytest.raises(AnnotationError, match="too many vertices"):
        scope(layer(*(region(((0, 0), (100_000, 100_000)), kind=2) for _ in range(2))))


def test_a_named_layer_is_not_one_without_a_name(scope):
    groups = {"": "tumour", "Normal": "background"}
    found = scope(layer(region(SQUARE, ""), name="Normal"), layer(region(SQUARE, "")), groups=groups)
    assert [r.label for r in found.regions] == ["background", "tumour"]
    with pytest.raises(AnnotationError) as caught:
        scope(layer(region(SQUARE, ""), name="Norm"), groups=groups)
    assert caught.value.got.startswith("'Norm'")
