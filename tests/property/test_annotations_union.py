"""Only regions that meet are united by GEOS: the same area as uniting and cutting all at once."""

from __future__ import annotations

import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.annotations import LabelMap, Region
from wsiprep.geometry import Size

corner = st.integers(0, 40)
boxes = st.tuples(corner, corner, st.integers(1, 12), st.integers(1, 12)).map(
    lambda b: shapely.box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
regions = st.lists(
    st.builds(Region, st.sampled_from(["tumour", "stroma", "background", "ignore", "roi"]), boxes), max_size=14
)


def united(found: list[Region], *labels: str) -> shapely.Geometry:
    return shapely.union_all([region.geometry for region in found if region.label in labels])


@given(regions)
def test_labels_are_what_one_union_and_one_difference_give(found):
    geometries = LabelMap(found, ("tumour", "stroma"), "exhaustive", Size(64, 64)).geometries
    taken = united(found, "background", "ignore")
    rois = united(found, "roi")
    for label in ("tumour", "stroma"):
        expected = shapely.difference(united(found, label), taken)
        if any(region.label == "roi" for region in found):
            expected = shapely.intersection(expected, rois)
        assert shapely.area(shapely.symmetric_difference(geometries[label], expected)) == 0
        assert geometries[label].is_valid
        taken = shapely.union_all([taken, united(found, label)])


def test_a_long_chain_is_one_piece() -> None:
    """Each box meets the next one alone; their order in the file is mixed."""
    chain = [shapely.box(10 * k, 0, 10 * k + 10, 10) for k in range(200)]
    mixed = [Region("tumour", chain[(k * 77) % 200]) for k in range(200)]
    alone = Region("tumour", shapely.box(0, 20, 5, 25))
    whole = LabelMap([*mixed, alone], ("tumour",), "exhaustive", Size(2000, 64)).geometries["tumour"]
    assert sorted(part.area for part in whole.geoms) == [25.0, 20_000.0]
