"""Export to ASAP and back."""

from __future__ import annotations

import pytest
import shapely

from wsiprep.annotations import AnnotationSet, Region, read_asap, write_asap
from wsiprep.errors import StorageError
from wsiprep.geometry import Size

SIZE = Size(100, 100)
HOLED = shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 4, 4)).difference(shapely.box(5, 5, 8, 7))
ISLANDS = shapely.MultiPolygon([HOLED, shapely.box(20, 20, 25, 25), shapely.box(2.5, 2.5, 3.5, 3.5)])


def without_lines(found):
    return [(r.label, r.group, r.name, r.kind, shapely.to_wkb(r.geometry)) for r in found.regions]


def test_reading_the_export_gives_the_same_regions(tmp_path, read, asap):
    text = asap.document(
        asap.shape(((0.1, 0.2), (12.7112998, 5), (3, 99.5)), name="&lt;&amp;&quot;' ü&#10;x"),
        asap.shape(((2, 3), (8, 9)), kind="Rectangle"),
        asap.shape(asap.SQUARE, kind="Spline", group="None"),
        asap.shape(asap.SQUARE, group="_2"),
    )
    recipe = asap.recipe({"Tumor": "tumour", "None": "ignore", "_2": "background"})
    first = read(text, recipe)
    path = tmp_path / "export.xml"
    data = write_asap(first, path)
    assert path.read_bytes() == data
    second = read_asap(path, recipe, SIZE)
    assert without_lines(second) == without_lines(first)
    assert write_asap(second) == data


@pytest.mark.parametrize("rule", ["even-odd", "non-zero"])
@pytest.mark.parametrize("area", [HOLED, ISLANDS, shapely.MultiPolygon([shapely.box(1, 1, 5, 5)])])
@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle", "geojson"])
def test_holes_and_islands_come_back(read, asap, area, rule, kind):
    data = write_asap(AnnotationSet((Region("tumour", area, kind=kind),)))
    found = read(data, asap.recipe(invalid_rings=rule))
    assert found.regions[0].geometry.equals(area)
    assert found.regions[0].group == "tumour"


def test_an_empty_set_is_an_empty_list(read):
    assert read(write_asap(AnnotationSet(()))).regions == ()


def test_an_unwritable_place_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_asap(AnnotationSet(()), tmp_path / "file" / "export.xml")
