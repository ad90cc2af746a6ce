"""Corrections over a base, and readings made into one: what stays of a region and what is counted."""

from __future__ import annotations

import pytest
import shapely

from wsiprep.annotations import AnnotationSet, Region
from wsiprep.annotations.layers import apply_corrections, combine_readings
from wsiprep.errors import AnnotationError, UsageError

LABELS = ("tumour", "stroma")


def region(label, *box, **more):
    return Region(label, shapely.box(*box), **more)


def layer(*regions, **counts):
    return AnnotationSet(tuple(regions), counts, ())


def areas(found):
    return [(r.label, r.geometry.area) for r in found.regions]


def test_an_earlier_region_is_cut_where_a_later_layer_speaks_and_keeps_where_it_comes_from():
    base = layer(region("tumour", 0, 0, 10, 10, group="T", name="a", line=7, author="anna", date="2020-01-01"))
    correction = layer(region("background", 5, 0, 10, 10, author="ben", date="2021-02-02"))
    found = apply_corrections(base, [("c1", correction)], LABELS)
    assert areas(found) == [("tumour", 50.0), ("background", 50.0)]
    kept = found.regions[0]
    assert (kept.group, kept.name, kept.line, kept.author, kept.date) == ("T", "a", 7, "anna", "2020-01-01")
    assert kept.geometry.equals(shapely.box(0, 0, 5, 10))
    assert (found.regions[1].author, found.regions[1].date) == ("ben", "2021-02-02")


def test_counts_of_layers_stand_apart_and_what_they_did_is_counted():
    base = layer(region("tumour", 0, 0, 4, 4), region("tumour", 20, 0, 30, 10), annotations=2, repaired_rings=1)
    first = layer(region("stroma", 0, 0, 4, 4), annotations=1, repaired_rings=3)
    second = layer(region("ignore", 25, 5, 50, 50), annotations=1)
    found = apply_corrections(base, [("one", first), ("two", second)], LABELS)
    assert found.counts == {
        "annotations": 2, "repaired_rings": 1, "one:annotations": 1, "one:repaired_rings": 3,
        "one:replaced_regions": 1, "two:annotations": 1, "two:cut_regions": 1,
    }  # fmt: skip
    assert found.notes == ("one: 1 replaced_regions of earlier layers", "two: 1 cut_regions of earlier layers")


def test_later_corrections_win_over_earlier_ones():
    corrections = [("one", layer(region("background", 0, 0, 8, 8))), ("two", layer(region("stroma", 2, 2, 4, 4)))]
    found = apply_corrections(layer(region("tumour", 0, 0, 10, 10)), corrections, LABELS)
    assert areas(found) == [("tumour", 36.0), ("background", 60.0), ("stroma", 4.0)]


def test_regions_of_one_layer_keep_overlapping_and_untouched_ones_keep_their_geometry():
    base = layer(region("tumour", 0, 0, 4, 4), region("background", 2, 2, 3, 3))
    found = apply_corrections(base, [("far", layer(region("stroma", 50, 50, 60, 60)))], LABELS)
    assert found.regions[:2] == base.regions
    assert found.regions[0].geometry is base.regions[0].geometry


def test_the_last_regions_of_interest_replace_all_others_and_cut_nothing():
    base = layer(region("roi", 0, 0, 50, 50), region("roi", 60, 0, 90, 50), region("tumour", 0, 0, 10, 10))
    found = apply_corrections(base, [("c", layer(region("roi", 5, 5, 20, 20)))], LABELS)
    assert areas(found) == [("tumour", 100.0), ("roi", 225.0)]
    assert found.counts == {"c:replaced_rois": 2}
    assert apply_corrections(base, [("c", layer())], LABELS).regions == base.regions


def test_a_region_that_is_cut_in_two_stays_one_region():
    found = apply_corrections(
        layer(region("tumour", 0, 0, 9, 3)), [("c", layer(region("background", 3, -1, 6, 4)))], LABELS
    )
    assert [(r.label, shapely.get_num_geometries(r.geometry)) for r in found.regions] == [
        ("tumour", 2), ("background", 1),
    ]  # fmt: skip


def test_outlines_that_leave_faces_thinner_than_float64():
    """Found by hypothesis: the second layer's crossings with the cut edges of the first leave such a face."""
    thin = shapely.Polygon([(2.5, -0.625), (0.125, 0), (0, 0)])
    wide = shapely.Polygon([(0, -0.75), (12.625, 0), (12.5, 13.375), (0, 8.75)])
    one, two = layer(Region("tumour", wide)), layer(Region("tumour", thin))
    found = apply_corrections(layer(Region("tumour", thin)), [("one", one), ("two", two)], LABELS)
    assert all(r.geometry.is_valid for r in found.regions)
    assert sum(r.geometry.area for r in found.regions) == pytest.approx(wide.union(thin).area, abs=1e-4)


def test_nothing_to_correct_and_nothing_corrected():
    base = layer(region("tumour", 0, 0, 4, 4), annotations=1)
    assert apply_corrections(base, [], LABELS) == base
    found = apply_corrections(layer(), [("c", layer(region("tumour", 0, 0, 4, 4)))], LABELS)
    assert areas(found) == [("tumour", 16.0)]


def test_unknown_labels_and_layers_of_one_name_are_refused():
    with pytest.raises(UsageError, match="unknown label"):
        apply_corrections(layer(), [("c", layer(region("fat", 0, 0, 1, 1)))], LABELS)
    with pytest.raises(UsageError, match="one name"):
        apply_corrections(layer(), [("c", layer()), ("c", layer())], LABELS)


THREE = {
    "base": layer(region("tumour", 0, 0, 10, 10), annotations=1),
    "anna": layer(region("tumour", 0, 0, 6, 10), annotations=1),
    "ben": layer(region("stroma", 4, 0, 10, 10), annotations=1, repaired_rings=2),
}


def test_choose_takes_the_first_reading_or_the_one_named():
    assert combine_readings(THREE, "choose", None, LABELS) is THREE["base"]
    assert combine_readings(THREE, "choose", "ben", LABELS) is THREE["ben"]
    with pytest.raises(AnnotationError, match="has not read this slide") as caught:
        combine_readings(THREE, "choose", "carla", LABELS)
    assert caught.value.expected == "base, anna, ben"


def test_union_takes_the_first_label_of_the_recipe_and_says_who_gave_it():
    found = combine_readings(THREE, "union", None, LABELS)
    assert [(r.label, r.geometry.area, r.author) for r in found.regions] == [("tumour", 100.0, "base, anna")]
    swapped = combine_readings(THREE, "union", None, ("stroma", "tumour"))
    assert [(r.label, r.geometry.area, r.author) for r in swapped.regions] == [
        ("stroma", 60.0, "ben"), ("tumour", 40.0, "base, anna"),
    ]  # fmt: skip


def test_majority_needs_more_than_half_and_counts_where_it_fails():
    found = combine_readings(THREE, "majority", None, LABELS)
    # 0 to 6: two of three say tumour (base, anna); 6 to 10: tumour, background and stroma have one each.
    assert [(r.label, r.geometry.bounds, r.author) for r in found.regions] == [
        ("tumour", (0, 0, 6, 10), "base, anna"), ("ignore", (6, 0, 10, 10), ""),
    ]  # fmt: skip
    assert found.counts == {
        "base:annotations": 1, "anna:annotations": 1, "ben:annotations": 1, "ben:repaired_rings": 2,
        "no_majority_px": 40, "annotations": 2,
    }  # fmt: skip
    assert found.notes == ("no majority on 40.0 px of level 0: ignored there",)


def test_two_readings_that_differ_have_no_majority():
    found = combine_readings({k: THREE[k] for k in ("base", "anna")}, "majority", None, LABELS)
    assert [(r.label, r.geometry.area) for r in found.regions] == [("tumour", 60.0), ("ignore", 40.0)]


def test_in_state_partial_who_did_not_draw_does_not_vote():
    found = combine_readings(THREE, "majority", None, LABELS, "partial")
    assert [(r.label, r.geometry.bounds) for r in found.regions] == [
        ("tumour", (0, 0, 6, 10)), ("ignore", (6, 0, 10, 10)),
    ]  # fmt: skip
    alone = combine_readings({"a": layer(region("background", 0, 0, 4, 4)), "b": layer()}, "majority", None, LABELS,
                             "partial")  # fmt: skip
    assert areas(alone) == [("background", 16.0)]


def test_somebodys_ignore_beats_somebodys_background_and_nobodys_label():
    one = layer(region("tumour", 0, 0, 4, 4))
    other = layer(region("ignore", 2, 0, 8, 4))
    found = combine_readings({"a": one, "b": other}, "union", None, LABELS)
    assert areas(found) == [("tumour", 16.0), ("ignore", 16.0)]


def test_regions_of_interest_hold_only_if_every_reading_has_some():
    one = layer(region("roi", 0, 0, 10, 10), region("tumour", 0, 0, 4, 4))
    other = layer(region("roi", 0, 0, 10, 10), region("roi", 20, 0, 30, 10), region("tumour", 22, 0, 40, 4))
    found = combine_readings({"a": one, "b": other}, "union", None, LABELS)
    assert areas(found) == [("roi", 100.0), ("roi", 100.0), ("tumour", 16.0), ("tumour", 32.0)]
    open_too = combine_readings({"a": one, "b": layer()}, "union", None, LABELS)
    assert areas(open_too) == [("tumour", 16.0)]
    assert open_too.counts == {"dropped_rois": 1, "annotations": 1}


def test_one_reading_stays_as_it_is_by_any_rule():
    for rule in ("union", "majority"):
        assert combine_readings({"ben": THREE["ben"]}, rule, None, LABELS).regions == THREE["ben"].regions


def test_unknown_rules_are_refused():
    with pytest.raises(UsageError, match="cannot be combined"):
        combine_readings(THREE, "average", None, LABELS)
