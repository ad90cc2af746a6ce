"""Export and import are the identity."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import AnnotationSet, Region, read_asap, read_regions, write_asap, write_regions
from wsiprep.annotations.repair import repair_ring
from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Size

LABELS = ("tumour", "stroma")
GROUPS = {"Tumor": "tumour", "a <&\"'> b": "stroma", "None": "ignore", "_2": "background"}
RECIPE = recipe_from_mapping({"name": "t", "labels": list(LABELS), "downsample": 1, "annotations": {"groups": GROUPS}})

number = st.floats(-1e6, 1e6) | st.integers(0, 200_000).map(float)
ring = st.lists(st.tuples(number, number), min_size=3, max_size=8)
# What XML 1.0 can carry: no control characters but tab, newline and carriage return, no surrogates.
text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r"),
    max_size=12,
)


@st.composite
def annotation_sets(draw, simple: bool = True) -> AnnotationSet:
    found = []
    for points in draw(st.lists(ring, max_size=4)):
        result = repair_ring(np.array(points), "even-odd")
        if result.area is None or (simple and result.invalid):
            continue
        group = draw(st.sampled_from(sorted(GROUPS)))
        kind = draw(st.sampled_from(("Polygon", "Spline")))
        found.append(Region(GROUPS[group], result.area, group, draw(text), kind, draw(st.integers(1, 10**6))))
    return AnnotationSet(tuple(found), {"annotations": len(found)})


def comparable(found: AnnotationSet) -> list[tuple[object, ...]]:
    return [(r.label, r.group, r.name, r.kind, shapely.to_wkb(r.geometry)) for r in found.regions]


@given(annotation_sets())
def test_asap_export_and_import_give_the_same_regions(annotations):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.xml"
        data = write_asap(annotations, path)
        again = read_asap(path, RECIPE, Size(200_000, 200_000))
    assert comparable(again) == comparable(annotations)
    assert write_asap(again) == data


@given(annotation_sets(simple=False))
def test_geojson_round_trips_bit_for_bit(annotations):
    data = write_regions(annotations, LABELS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "regions.geojson"
        path.write_bytes(data)
        again = read_regions(path)
    assert again == annotations
    assert comparable(again) == comparable(annotations)
    assert write_regions(again, LABELS) == data
