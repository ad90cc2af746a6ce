"""Corrections and several people's readings, end to end: masks, counts, agreement, and what a new reading changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from slide_files import texture
from stagecases import Case, altered, asap, box, case, patches, polygon_mask, write_slide

from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError, StoreError
from wsiprep.manifest import SlideRow
from wsiprep.stages.workflow import known_inputs, survey_params

SIZE = (256, 192)
LABELS: dict[str, Any] = {
    "labels": ["tumour", "stroma"], "downsample": 1, "sampling": {"patch_size_px": 64},
    "keep": {"min_annotated": 0.0, "min_tissue": 0.0},
}  # fmt: skip
GROUPS = {"Tumor": "tumour", "Stroma": "stroma", "Exclusion": "background", "Unsure": "ignore"}
WHOLE = {"x_lv0": 0, "y_lv0": 0, "width_lv0": 256, "height_lv0": 256}


def painted(*layers: list[tuple[str, Any]], outside: int = 0) -> npt.NDArray[np.uint8]:
    """The plane, a layer painted over the others, within a layer by the order of precedence."""
    result = np.full((256, 256), outside, np.uint8)
    values = {"Stroma": 2, "Tumor": 1, "Exclusion": 0, "Unsure": 255}
    for layer in layers:
        for group, value in values.items():
            for name, corners in layer:
                if name == group:
                    result[polygon_mask(corners, WHOLE, 256)] = value
    return result[: SIZE[1], : SIZE[0]]


def plane(made: Case) -> npt.NDArray[np.uint8]:
    """All masks of a dataset, put together."""
    result = np.full((SIZE[1], SIZE[0]), 7, np.uint8)
    for _, mask, row in patches(made.build()):
        result[row["y_lv0"] : row["y_lv0"] + 64, row["x_lv0"] : row["x_lv0"] + 64] = mask
    return result


def with_slide(folder: Path, columns: dict[str, object], **recipe: Any) -> Case:
    write_slide(folder / "s.tif", texture(*SIZE, seed=2), 0.5)
    annotations = {"groups": GROUPS} | recipe.pop("annotations", {})
    return case(folder, [{"slide_id": "s", "slide": "s.tif"} | columns], annotations=annotations, **LABELS, **recipe)


BASE: list[tuple[str, Any]] = [("Tumor", box(10, 10, 120, 100)), ("Stroma", box(100, 50, 200, 150))]
FIRST: list[tuple[str, Any]] = [("Stroma", box(50, 40, 90, 80)), ("Exclusion", box(150, 100, 256, 192))]
SECOND: list[tuple[str, Any]] = [("Tumor", box(60, 60, 160, 120)), ("Unsure", box(0, 0, 30, 30))]


def test_corrections_are_painted_over_the_base_in_order(tmp_path: Path) -> None:
    for name, shapes in (("base", BASE), ("2024-01-05", FIRST), ("2024-03-01", SECOND)):
        asap(tmp_path / f"{name}.xml", shapes)
    columns = {"annotation": "base.xml", "corrections": "2024-01-05.xml;2024-03-01.xml"}
    made = with_slide(tmp_path, columns)
    expected = painted(BASE, FIRST, SECOND)
    np.testing.assert_array_equal(plane(made), expected)
    known = made.record("s")["annotation"]
    assert known["corrections"] == ["2024-01-05.xml", "2024-03-01.xml"]
    assert known["area_px"] == {
        "tumour": pytest.approx((expected == 1).sum(), abs=1e-6),
        "stroma": pytest.approx((expected == 2).sum(), abs=1e-6),
    }
    counts = known["counts"]
    # The first one cuts both regions; the second one cuts what is left of them and the first one's two.
    assert counts["2024-01-05.xml:cut_regions"] == 2
    assert counts["2024-03-01.xml:cut_regions"] == 4
    assert (counts["annotations"], counts["2024-01-05.xml:annotations"]) == (2, 2)
    backwards = with_slide(tmp_path, columns | {"corrections": "2024-03-01.xml;2024-01-05.xml"}, out="backwards")
    np.testing.assert_array_equal(plane(backwards), painted(BASE, SECOND, FIRST))
    assert (painted(BASE, SECOND, FIRST) != expected).any()


READINGS: dict[str, list[tuple[str, Any]]] = {
    "annotation": [("Tumor", box(20, 20, 120, 120))],
    "anna": [("Tumor", box(60, 20, 160, 120)), ("Stroma", box(180, 20, 240, 80))],
    "ben": [("Tumor", box(20, 60, 120, 160)), ("Stroma", box(200, 20, 250, 80))],
}


def read_by_three(folder: Path, **annotations: Any) -> Case:
    for name, shapes in READINGS.items():
        asap(folder / f"{name}.xml", shapes)
    columns = {"annotation": "annotation.xml", "annotators": "anna=anna.xml;ben=ben.xml"}
    return with_slide(folder, columns, annotations=annotations, out="-".join(annotations.values()))


def union(masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    named = np.where(masks == 0, 99, masks).min(axis=0)
    return np.where(named == 99, 0, named)


def majority(masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    votes = np.stack([(masks == value).sum(axis=0) for value in range(3)])
    return np.where(2 * votes.max(axis=0) > 3, votes.argmax(axis=0), 255)


@pytest.mark.parametrize(
    ("rule", "of"),
    [
        ({"annotators": "union"}, union),
        ({"annotators": "majority"}, majority),
        ({"annotators": "choose"}, lambda masks: masks[0]),
        ({"annotators": "choose", "annotator": "ben"}, lambda masks: masks[2]),
    ],
)
def test_readings_of_three_people(
    tmp_path: Path, rule: dict[str, str], of: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
) -> None:
    made = read_by_three(tmp_path, **rule)
    masks = np.stack([painted(shapes) for shapes in READINGS.values()])
    np.testing.assert_array_equal(plane(made), of(masks))
    known = made.record("s")["annotation"]
    assert known["annotators"] == {
        "rule": rule["annotators"], "chosen": rule.get("annotator"), "readers": ["annotation", "anna", "ben"],
    }  # fmt: skip
    rows = {(r["label"], r["reader_a"], r["reader_b"]): r for r in known["agreement"]["labels"]}
    names = list(READINGS)
    assert len(rows) == 2 * 3
    for (label, one, other), row in rows.items():
        a, b = (masks[names.index(name)] == ("tumour", "stroma").index(label) + 1 for name in (one, other))
        both, either = int((a & b).sum()), int((a | b).sum())
        assert row["area_a_px"] == pytest.approx(a.sum(), abs=1e-6)
        assert row["intersection_px"] == pytest.approx(both, abs=1e-6)
        total = int(a.sum() + b.sum())
        assert row["dice"] == (pytest.approx(2 * both / total, abs=1e-12) if total else None)
        assert row["iou"] == (pytest.approx(both / either, abs=1e-12) if either else None)


def test_a_reader_whom_the_recipe_chooses_and_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="has not read this slide") as caught:
        read_by_three(tmp_path, annotators="choose", annotator="carl").survey()
    assert "anna" in str(caught.value)


def test_a_chosen_reader_is_asked_for_where_there_is_one_reading_too(tmp_path: Path) -> None:
    asap(tmp_path / "base.xml", BASE)
    made = with_slide(tmp_path, {"annotation": "base.xml"}, annotations={"annotator": "anna"})
    with pytest.raises(AnnotationError, match="has not read this slide"):
        made.survey()
    named = with_slide(tmp_path, {"annotators": "anna=base.xml"}, annotations={"annotator": "anna"}, out="named")
    np.testing.assert_array_equal(plane(named), painted(BASE))


def test_surveying_again_tells_what_a_correction_changes(tmp_path: Path) -> None:
    asap(tmp_path / "base.xml", BASE)
    asap(tmp_path / "fix.xml", [("Exclusion", box(0, 0, 20, 20))])
    made = with_slide(tmp_path, {"annotation": "base.xml", "corrections": "fix.xml"})
    before = painted(BASE, [("Exclusion", box(0, 0, 20, 20))])
    made.survey()
    assert not [text for _, text in made.reporter.said if "changed" in text]
    made.survey()
    assert not [text for _, text in made.reporter.said if "changed" in text], "nothing changed"
    asap(tmp_path / "fix.xml", SECOND)
    after = painted(BASE, SECOND)
    made.survey()
    said = {text for level, text in made.reporter.said if level == "warning" and "changed" in text}
    expected = set()
    for number, old in ((0, "background"), (1, "tumour"), (2, "stroma"), (255, "not annotated")):
        for value, new in ((0, "background"), (1, "tumour"), (2, "stroma"), (255, "not annotated")):
            area = int(((before == number) & (after == value)).sum())
            if number != value and area:
                expected.add(f"s: {area} px of level 0 ({area * 0.25 / 1e6:.4f} mm2) changed from {old} to {new}")
    assert said == expected
    assert len(said) >= 3
    assert not (made.tree.root / "shards").exists(), "told before anything is packed"


def test_labels_that_were_surveyed_after_the_plan_are_not_packed(tmp_path: Path) -> None:
    """Else a shard would hold new masks beside the shares and the digest of old ones."""
    asap(tmp_path / "base.xml", BASE)
    made = with_slide(tmp_path, {"annotation": "base.xml"})
    made.survey()
    made.plan()
    asap(tmp_path / "base.xml", SECOND)
    made.survey()
    with pytest.raises(StoreError, match="surveyed again since the plan"):
        made.pack()
    made.plan()
    regions = made.tree.slide("s").regions
    with (
        altered(regions, regions.read_bytes() + b" "),
        pytest.raises(AnnotationError, match="not the ones that survey"),
    ):
        made.pack()
    made.pack()
    made.seal()


def test_no_changed_record_says_what_was_there_before(tmp_path: Path) -> None:
    """The record of a slide follows from its files alone, whatever an earlier survey left."""
    asap(tmp_path / "base.xml", BASE)
    made = with_slide(tmp_path, {"annotation": "base.xml"})
    made.survey()
    asap(tmp_path / "base.xml", SECOND)
    made.survey()
    fresh = with_slide(tmp_path, {"annotation": "base.xml"}, out="fresh")
    fresh.survey()
    for name in ("slide.json", "regions.geojson", "candidates.parquet"):
        assert (made.tree.root / "slides" / "s" / name).read_bytes() == (
            fresh.tree.root / "slides" / "s" / name
        ).read_bytes()


# --- what the workflow watches ------------------------------------------------------------------------------


def test_the_workflow_watches_corrections_and_readings(tmp_path: Path) -> None:
    for name in ("s.tif", "base.xml", "one.xml", "two.xml", "anna.xml"):
        (tmp_path / name).write_text("x")
    paths = {name: str(tmp_path / name) for name in ("s.tif", "base.xml", "one.xml", "two.xml", "anna.xml", "gone.xml")}
    row = SlideRow(
        slide_id="s", raw_id="s", slide=paths["s.tif"], slide_ref="s.tif", annotation=paths["base.xml"],
        corrections=(paths["one.xml"], paths["two.xml"], paths["gone.xml"]), annotators=(("anna", paths["anna.xml"]),),
    )  # fmt: skip
    assert known_inputs(row) == [paths[n] for n in ("s.tif", "base.xml", "one.xml", "two.xml", "anna.xml")]


def test_the_workflow_watches_the_files_of_a_collection(tmp_path: Path) -> None:
    """Snakemake takes a folder for as old as its own entry, which an edited file does not touch."""
    recipe = recipe_from_mapping({"name": "r", "downsample": 1, "collection": {"labels": "masks/{tile}.png"}})
    labels = tmp_path / "labels" / "masks"
    tiles = tmp_path / "tiles"
    for folder in (labels, tiles):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"1")
    row = SlideRow(
        slide_id="c", raw_id="c", slide=str(tiles), slide_ref="tiles", annotation=str(labels.parent),
        annotation_state="exhaustive",
    )  # fmt: skip
    assert known_inputs(row) == []
    seen = [survey_params(row, recipe), survey_params(row, recipe)]
    assert seen[0] == seen[1]
    (labels / "a.png").write_bytes(b"22")
    seen.append(survey_params(row, recipe))
    (tiles / "b.png").write_bytes(b"1")
    seen.append(survey_params(row, recipe))
    (tiles / "b.png").rename(tiles / "c.png")
    seen.append(survey_params(row, recipe))
    os.utime(tiles / "c.png", ns=(1, 1))
    seen.append(survey_params(row, recipe))
    (tiles / "c.png").unlink()
    assert len(set(seen)) == 5
    assert survey_params(row, recipe) == seen[2]


def test_the_workflow_watches_a_stack_and_the_tables_beside_it(tmp_path: Path) -> None:
    recipe = recipe_from_mapping(
        {"name": "r", "downsample": 1, "collection": {"tissue": "types.npy", "table": "t.csv"}}
    )
    for name in ("images.npy", "masks.npy", "types.npy"):
        (tmp_path / name).write_bytes(b"1")
    row = SlideRow(
        slide_id="c", raw_id="c", slide=str(tmp_path / "images.npy"), slide_ref="images.npy",
        annotation=str(tmp_path / "masks.npy"), annotation_state="exhaustive",
    )  # fmt: skip
    assert known_inputs(row) == [str(tmp_path / "images.npy"), str(tmp_path / "masks.npy")]
    before = survey_params(row, recipe)
    (tmp_path / "types.npy").write_bytes(b"22")
    after = survey_params(row, recipe)
    (tmp_path / "t.csv").write_text("tile\n")
    assert len({before, after, survey_params(row, recipe)}) == 3
