"""Hamamatsu NDPA: nanometres from the slide's centre, by both offsets and both um/px."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import SlideFrame, read_annotations, xml_stream
from wsiprep.annotations.ndpa import X_OFFSET, Y_OFFSET, parse_ndpa
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size, Spacing

# CMU-1.ndpi's header: 51200 x 38144 px, its two um/px differ.
FRAME = SlideFrame(Size(51200, 38144), Spacing(0.45641259698767683, 0.45506257110352671), "CMU-1.ndpi",
                   {X_OFFSET: "-2094250", Y_OFFSET: "500125"})  # fmt: skip


def nm(x_px: float, y_px: float, frame: SlideFrame = FRAME) -> tuple[Fraction, Fraction]:
    """Where a program draws a pixel, in exact nanometres."""
    return (
        (Fraction(x_px) - Fraction(frame.size.width_px, 2)) * 1000 * Fraction(frame.spacing.x_um)
        + int(frame.properties[X_OFFSET]),
        (Fraction(y_px) - Fraction(frame.size.height_px, 2)) * 1000 * Fraction(frame.spacing.y_um)
        + int(frame.properties[Y_OFFSET]),
    )


def view(*annotations: str, title: str = "Tumor", unit: str | None = "nanometers", more: str = "") -> str:
    told = "" if unit is None else f"<coordformat>{unit}</coordformat>\n"
    return "\n".join([f'<ndpviewstate id="1">\n<title>{title}</title>\n<details/>\n{told}<lens>1.5</lens>',
                      f"<x>5</x><y>6</y><z>0</z><showtitle>0</showtitle>{more}", *annotations,
                      "</ndpviewstate>"])  # fmt: skip


def freehand(points, closed: object = 1, colour: str = "#00FF00", more: str = "") -> str:
    rows = [
        f'<annotation type="freehand" displayname="AnnotateFreehand" color="{colour}">',
        "<measuretype>0</measuretype>",
    ]
    rows += [] if closed is None else [f"<closed>{closed}</closed>"]
    rows += ["<pointlist>", *(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in points), "</pointlist>", more]
    return "\n".join([*rows, "</annotation>"])


def document(*views: str) -> str:
    return "\n".join(
        ['<?xml version="1.0" encoding="utf-8" standalone="yes"?>', "<annotations>", *views, "</annotations>"]
    )


TRIANGLE = [tuple(round(v) for v in nm(*p)) for p in ((1000, 2000), (3000, 2000), (3000, 5000))]


@pytest.fixture
def ndpa(tmp_path, asap):
    def run(text: str, frame: SlideFrame = FRAME, groups: dict[str, str] | None = None, **rules):
        path = tmp_path / "slide.ndpi.ndpa"
        path.write_text(text, encoding="utf-8")
        return read_annotations(path, asap.recipe(groups, **rules), frame)

    return run


@given(st.lists(st.tuples(st.floats(-100, 60_000), st.floats(-100, 60_000)), min_size=3, max_size=6),
       st.tuples(st.integers(-(10**8), 10**8), st.integers(-(10**8), 10**8)),
       st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0)),
       st.tuples(st.integers(1, 200_001), st.integers(1, 200_001)))  # fmt: skip
def test_whole_nanometres_come_back_within_half_a_pixel(tmp_path_factory, points, offsets, spacing, size):
    frame = SlideFrame(Size(*size), Spacing(*spacing), "s.ndpi", {X_OFFSET: str(offsets[0]), Y_OFFSET: str(offsets[1])})
    path = tmp_path_factory.getbasetemp() / "round.ndpa"
    path.write_text(document(view(freehand([[round(v) for v in nm(*p, frame)] for p in points]))))
    ring = parse_ndpa(path, frame).shapes[0].polygons[0][0]
    # Half a nanometre of rounding, at 0.1 um/px or more: 0.005 px.
    assert np.abs(ring - np.array(points)).max() < 0.0051


def test_both_offsets_and_both_spacings_count(ndpa):
    found = ndpa(document(view(freehand(TRIANGLE))))
    np.testing.assert_allclose(shapely.get_coordinates(found.regions[0].geometry)[:3],
                               [(1000, 2000), (3000, 2000), (3000, 5000)], atol=0.002)  # fmt: skip
    assert (found.regions[0].group, found.regions[0].kind, found.regions[0].line) == ("Tumor", "freehand", 9)
    # The centre of the slide is the centre of the image, less the offset.
    middle = freehand([(-2094250, 500125), (-2094250 + 456413, 500125), (-2094250, 500125 + 455063)])
    first = shapely.get_coordinates(ndpa(document(view(middle))).regions[0].geometry)
    assert first[0].tolist() == [25600, 19072]
    np.testing.assert_allclose(first[1:3], [(26600, 19072), (25600, 20072)], atol=0.002)


@pytest.mark.parametrize("lacking", [X_OFFSET, Y_OFFSET, "um/px"])
def test_a_slide_that_lacks_a_number_is_an_error_and_nothing_is_assumed(ndpa, lacking):
    frame = replace(FRAME, properties={k: v for k, v in FRAME.properties.items() if k != lacking})
    if lacking == "um/px":
        frame = replace(FRAME, spacing=None)
    with pytest.raises(AnnotationError, match="does not say where") as caught:
        ndpa(document(view(freehand(TRIANGLE))), frame)
    assert lacking in caught.value.got
    assert "CMU-1.ndpi" in caught.value.got
    assert X_OFFSET in caught.value.expected
    assert caught.value.fix is not None


@pytest.mark.parametrize("value", ["", "x", "nan", "1,5", "1e400"])
def test_an_offset_that_is_no_number_is_an_error(ndpa, value):
    frame = replace(FRAME, properties={**FRAME.properties, Y_OFFSET: value})
    with pytest.raises(AnnotationError, match="YOffsetFromSlideCentre is no number"):
        ndpa(document(view(freehand(TRIANGLE))), frame)


@pytest.mark.parametrize(("unit", "scale"), [("nanometers", 1), (" Nanometers ", 1), ("micrometers", 1000)])
def test_units(ndpa, unit, scale):
    points = [(x / scale, y / scale) for x, y in TRIANGLE]
    plain = ndpa(document(view(freehand(TRIANGLE)))).regions[0].geometry
    found = ndpa(document(view(freehand(points), unit=unit))).regions[0].geometry
    assert found.equals_exact(plain, 1e-6)


@pytest.mark.parametrize("unit", [None, "", "pixels", "millimeters"])
def test_other_units_are_refused(ndpa, unit):
    with pytest.raises(AnnotationError, match="unit of the coordinates") as caught:
        ndpa(document(view(freehand(TRIANGLE), unit=unit)))
    assert caught.value.line == 3
    assert "nanometers" in caught.value.expected


def test_circles_are_round_on_the_glass(ndpa):
    x, y = (round(v) for v in nm(4000, 3000))
    circle = f'<annotation type="circle" displayname="AnnotateCircle" color="#ff0000"><x>{x}</x><y>{y}</y>' \
             "<radius>100000</radius><measuretype>0</measuretype></annotation>"  # fmt: skip
    found = ndpa(document(view(circle)))
    area = found.regions[0].geometry
    radius_x, radius_y = 100 / FRAME.spacing.x_um, 100 / FRAME.spacing.y_um
    assert found.counts["circles"] == 1
    np.testing.assert_allclose(
        area.bounds, (4000 - radius_x, 3000 - radius_y, 4000 + radius_x, 3000 + radius_y), atol=0.05
    )
    assert area.area == pytest.approx(math.pi * radius_x * radius_y, rel=1e-3)


def test_the_colour_may_stand_for_a_class(ndpa):
    views = [
        view(freehand(TRIANGLE, colour=c), title=t)
        for t, c in (("a note", "#00FF00"), ("", "#ff0000"), ("Tumor", "#ff0000"))
    ]
    found = ndpa(document(*views), groups={"#00ff00": "background", "#ff0000": "ignore", "Tumor": "tumour"})
    assert [(r.label, r.group) for r in found.regions] == [
        ("background", "#00ff00"), ("ignore", "#ff0000"), ("tumour", "Tumor"),
    ]  # fmt: skip


def test_what_has_no_area_is_counted_and_needs_no_offsets(ndpa):
    pin = '<annotation type="pin" displayname="AnnotatePin" color="#ffffff"><x>1</x><icon>red</icon></annotation>'
    ruler = '<annotation type="linearmeasure" color="#000000"><x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2></annotation>'
    arrow = '<annotation type="pointer" color="#000000"><x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2></annotation>'
    found = ndpa(document(*(view(a) for a in (pin, ruler, arrow, freehand(TRIANGLE, 0)))), SlideFrame(Size(9, 9)))
    assert found.regions == ()
    assert dict(found.counts) == {
        "annotations": 4, "measurements": 1, "open_lines": 1, "pins": 1, "pointers": 1, "unknown_elements": 5,
    }  # fmt: skip


def test_rectangles_are_closed_outlines(ndpa):
    corners = [[round(v) for v in nm(*p)] for p in ((10, 20), (60, 20), (60, 90), (10, 90))]
    found = ndpa(document(view(freehand(corners, more="<specialtype>rectangle</specialtype>"))))
    np.testing.assert_allclose(found.regions[0].geometry.bounds, (10, 20, 60, 90), atol=0.002)


GOOD = document(view(freehand(TRIANGLE)))


@pytest.mark.parametrize(("change", "message", "line"), [
    (('type="freehand"', 'type="spiral"'), "unknown type of annotation", 9),
    (('type="freehand"', ""), "has no type", 9),
    (('type="freehand"', 'type="circle"'), "circle needs x, y and radius", 9),
    (("<closed>1</closed>", ""), "needs <pointlist> and <closed>", 9),
    (("<closed>1</closed>", "<closed>yes</closed>"), "neither 0 nor 1", 11),
    (("</closed>", "</closed><closed>0</closed>"), "second <closed>", 11),
    (("</pointlist>", "</pointlist><pointlist/>"), "second <pointlist>", 16),
    (("<point><x>", "<point><x>1</x><x>"), "second <x> in one point", 13),
    (("</y></point>", "</y></point><point><x>5</x></point>"), "a point needs x and y", 13),
    (("<point>", "<spot><x>1</x></spot><point>"), "<pointlist> does not have", 13),
    (("</title>", "</title><title>b</title>"), "second <title>", 4),
    (("<lens>", "<extra><annotation/></extra><lens>"), "<ndpviewstate> does not have", 7),
    (("<pointlist>", "<pointlist>text"), "text where", 12),
    (("<x>-", "<x>-99999"), "far from any slide", 9),
])  # fmt: skip
def test_what_is_not_understood_is_an_error_with_its_line(ndpa, change, message, line):
    assert change[0] in GOOD
    with pytest.raises(AnnotationError, match=message) as caught:
        ndpa(GOOD.replace(*change, 1))
    assert caught.value.line == line


def test_faults_of_a_dropped_group_stop_nothing(ndpa):
    bad = GOOD.replace("<closed>1</closed>", "")
    assert ndpa(bad, groups={"Tumor": "drop"}).counts["dropped_groups"] == 1


def test_many_large_circles_are_refused(ndpa, monkeypatch):
    monkeypatch.setattr(xml_stream, "MAX_VERTICES", 5000)
    circle = '<annotation type="circle" color=""><x>0</x><y>0</y><radius>100000000</radius></annotation>'
    with pytest.raises(AnnotationError, match="too many vertices") as caught:
        ndpa(document(view(circle, circle)))
    assert caught.value.line == 10
