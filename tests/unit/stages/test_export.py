"""export, annotations show and annotations compare: what is written, what it reads back as, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from slide_files import Writing, texture, write_pyramid

from wsiprep.annotations import AnnotationSet, Region, SlideFrame, read_annotations, write_asap, write_regions
from wsiprep.annotations.qupath_export import write_qupath
from wsiprep.annotations.repair import repair_ring
from wsiprep.artifacts import DatasetTree, write_bytes, write_json
from wsiprep.cli import main
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError, StoreError, UsageError
from wsiprep.geometry import Box, Size, Spacing
from wsiprep.progress import NullReporter
from wsiprep.stages import annotations, export
from wsiprep.stages.tables import table_bytes

LABELS = ("tumour", "stroma")
GROUPS = {"Tumor": "tumour", "_2": "background", "": "stroma", "ignore": "ignore", "ROI": "roi"}
RECIPE = recipe_from_mapping(
    {"name": "t", "labels": list(LABELS), "downsample": 1,
     "annotations": {"groups": {**GROUPS, "wsiprep patch": "drop"}}}
)  # fmt: skip
FRAME = SlideFrame(Size(4000, 3000), Spacing(0.5, 0.5), "a.tif")
HOLED = shapely.box(10, 10, 60, 60).difference(shapely.box(20, 20, 30.5, 30))
TWO = shapely.MultiPolygon([shapely.box(100, 0, 120, 20), shapely.box(200, 0, 220, 20)])


def some() -> AnnotationSet:
    return AnnotationSet(
        (
            Region("tumour", HOLED, "Tumor", 'a <"&> \u00e9', "Polygon", 3, "anna", "2026-01-02"),
            Region("background", TWO, "_2", "", "Polygon", 9),
            Region("roi", shapely.box(0, 0, 300, 300), "ROI", "", "Rectangle", 12, "ben"),
        ),
        {"annotations": 3},
    )


def same(found: AnnotationSet) -> list[tuple[object, ...]]:
    return [
        (r.label, r.group, r.name, r.kind, r.author, r.date, shapely.normalize(r.geometry).wkb) for r in found.regions
    ]


def without_kind(found: AnnotationSet) -> list[tuple[object, ...]]:
    return [(*row[:3], *row[4:]) for row in same(found)]


def read_back(folder: Path, data: bytes, name: str, frame: SlideFrame = FRAME) -> AnnotationSet:
    path = folder / name
    path.write_bytes(data)
    return read_annotations(path, RECIPE, frame)


def tree_with(folder: Path, bounds: dict[str, int] | None = None, kept: int = 3) -> DatasetTree:
    """A dataset as far as export looks at it."""
    tree = DatasetTree(folder / "dataset")
    for slide_id, record in {
        "a": {"state": "surveyed", "annotation": {"kind": "vectors", "state": "exhaustive"}, "bounds": bounds},
        "bad": {"state": "failed", "error": {"code": "x", "message": "no um/px"}},
        "pixels": {"state": "surveyed", "annotation": {"kind": "raster", "state": "exhaustive"}, "bounds": None},
    }.items():
        write_json(tree.slide(slide_id).record, {"slide_id": slide_id, **record})
    write_bytes(tree.slide("a").regions, write_regions(some(), LABELS))
    if kept:
        columns = {"x_lv0": np.arange(kept) * 64, "y_lv0": np.zeros(kept, np.int64)}
        sides = {"width_lv0": np.full(kept, 64), "height_lv0": np.full(kept, 32)}
        table = pa.table(
            {name: pa.array(v.astype(np.int64).tolist(), pa.int64()) for name, v in (columns | sides).items()}
        )
        write_bytes(tree.plan_slice("a"), table_bytes(table))
    return tree


def test_geojson_of_a_slide_reads_back_as_its_regions(tmp_path: Path) -> None:
    data = export.export_slide(tree_with(tmp_path), "a", "geojson")
    assert same(read_back(tmp_path, data, "a.geojson")) == same(some())
    for feature in json.loads(data)["features"]:
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "annotation"
        assert len(feature["properties"]["classification"]["color"]) == 3


def test_asap_of_a_slide_reads_back_without_who_drew_it_and_when(tmp_path: Path) -> None:
    data = export.export_slide(tree_with(tmp_path), "a", "asap")
    found = read_back(tmp_path, data, "a.xml")
    assert [(r.label, r.group, r.name, r.kind) for r in found.regions] == [
        (r.label, r.group, r.name, r.kind) for r in some().regions
    ]
    assert all(a.geometry.equals(b.geometry) for a, b in zip(found.regions, some().regions, strict=True))
    assert {(r.author, r.date) for r in found.regions} == {("", "")}


def test_qupath_counts_from_the_corner_of_the_scanned_part(tmp_path: Path) -> None:
    bounds = {"x": 1000, "y": 500, "width_px": 2000, "height_px": 2000}
    tree = tree_with(tmp_path, bounds)
    data = export.export_slide(tree, "a", "geojson")
    first = json.loads(data)["features"][2]
    assert min(first["geometry"]["coordinates"][0]) == [-1000, -500]
    frame = SlideFrame(Size(4000, 3000), bounds=Box(1000, 500, 2000, 2000))
    found = read_back(tmp_path, data, "a.geojson", frame)
    assert found.counts["shifted_by_bounds"] == 3
    assert without_kind(found) == without_kind(some())
    asap = read_back(tmp_path, export.export_slide(tree, "a", "asap"), "a.xml", frame)
    assert asap.regions[0].geometry.equals(HOLED)


def test_kept_patches_are_annotations_of_their_own_class(tmp_path: Path) -> None:
    tree = tree_with(tmp_path)
    features = json.loads(export.export_slide(tree, "a", "geojson", patches=True))["features"]
    patches = [f for f in features if f["properties"]["classification"]["name"] == "wsiprep patch"]
    assert len(patches) == 3
    ring = patches[1]["geometry"]["coordinates"][0]
    assert sorted(map(tuple, ring[:-1])) == [(64, 0), (64, 32), (128, 0), (128, 32)]
    again = read_back(tmp_path, export.export_slide(tree, "a", "geojson", patches=True), "a.geojson")
    assert (same(again), again.counts["dropped_groups"]) == (same(some()), 3)
    with pytest.raises(StoreError, match="keeps no patch"):
        export.export_slide(tree_with(tmp_path / "none", kept=0), "a", "geojson", patches=True)


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    tree = tree_with(tmp_path)
    for slide_id, why in {"b": "no such slide", "bad": "survey failed", "pixels": "no outlines"}.items():
        with pytest.raises(StoreError, match=why):
            export.export_slide(tree, slide_id, "asap")
    record = json.loads(tree.slide("a").record.read_text())
    del record["bounds"]
    write_json(tree.slide("a").record, record)
    with pytest.raises(StoreError, match="which part of the slide was scanned"):
        export.export_slide(tree, "a", "geojson")


def test_all_slides_go_into_a_folder_and_the_others_are_named(tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(NullReporter):
        def say(self, message: str, *, level: str = "info", **fields: Any) -> None:
            said.append(message)

    files = export.export_dataset(tree_with(tmp_path), tmp_path / "out", "asap", Heard(), patches=False)
    assert [path.name for path in files] == ["a.xml"]
    assert said == ["bad: its survey failed, left out", "pixels: its labels are a raster, left out"]
    with pytest.raises(StoreError, match="no slide was surveyed"):
        export.export_dataset(DatasetTree(tmp_path / "empty"), tmp_path, "asap", Heard(), patches=False)


half = st.integers(-20, 9000).map(lambda k: k / 2)
rings = st.lists(st.tuples(half, half), min_size=3, max_size=8, unique=True)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=9)


@st.composite
def annotation_sets(draw: st.DrawFn) -> AnnotationSet:
    found = []
    for points in draw(st.lists(rings, max_size=4)):
        area = repair_ring(np.array(points), "even-odd").area
        if area is not None:
            group = draw(st.sampled_from([g for g in GROUPS if g]))
            author = draw(text)
            found.append(Region(GROUPS[group], area, group, draw(text), "Spline", None, author, draw(text)))
    return AnnotationSet(tuple(found))


@given(annotation_sets(), st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_geojson_export_and_import_are_the_identity(tmp_path_factory: Any, found: AnnotationSet, corner: Any) -> None:
    folder = tmp_path_factory.mktemp("identity")
    frame = SlideFrame(Size(9000, 9000), bounds=Box(*corner, 8000, 8000))
    again = read_back(folder, write_qupath(found, LABELS, corner), "a.geojson", frame)
    if not any(corner):
        assert same(again) == same(found)
        return
    # A file that counts from the corner is not marked as wsiprep's own, and kinds are read of those alone. Where
    # rings cross, their crossings are no multiples of 1/64 px: counting from the corner rounds their last bit.
    assert [row[:-1] for row in without_kind(again)] == [row[:-1] for row in without_kind(found)]
    for one, other in zip(again.regions, found.regions, strict=True):
        assert shapely.equals_exact(one.geometry, other.geometry, tolerance=1e-11)


def test_a_shift_is_exact_for_vertices_that_programs_write(tmp_path: Path) -> None:
    """Whole, half and quarter pixels: the sum and the difference with a corner have room in a float64."""
    area = shapely.Polygon([(100.25, 7.5), (800.75, 9), (640.5, 900.25)])
    found = AnnotationSet((Region("tumour", area, "Tumor"),))
    frame = SlideFrame(Size(9000, 9000), bounds=Box(17, 31, 8000, 8000))
    again = read_back(tmp_path, write_qupath(found, LABELS, (17, 31)), "a.geojson", frame)
    assert again.regions[0].geometry.wkb == area.wkb


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a slide of 256 x 192 px at 0.5 um/px, its recipe, its manifest and its annotation file."""
    monkeypatch.chdir(tmp_path)
    write_pyramid(tmp_path / "s.tif", [texture(256, 192)], Writing(resolution_um=0.5))
    (tmp_path / "r.yaml").write_text(
        "name: r\nlabels: [tumour, stroma]\ndownsample: 1\nmanifest: m.csv\n"
        "annotations: {groups: {Tumor: tumour, _2: background, ROI: roi}}\nsampling: {patch_size_px: 64}\n"
        "tissue: {min_hole_um2: 0, min_speck_um2: 0}\n"
    )
    (tmp_path / "m.csv").write_text("slide_id,slide,annotation,annotation_state\ns,s.tif,s.xml,exhaustive\n")
    annotate(tmp_path / "s.xml", ("Tumor", 0, 0, 100, 100))
    return tmp_path


def annotate(path: Path, *regions: tuple[Any, ...]) -> None:
    labels = {"Tumor": "tumour", "_2": "background"}
    found = tuple(Region(labels[group], shapely.box(*box), group, "n") for group, *box in regions)
    write_asap(AnnotationSet(found), path)


def test_compare_of_two_files(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotate(work / "new.xml", ("Tumor", 0, 0, 100, 50), ("_2", 0, 0, 10, 50))
    words = ["annotations", "compare", "s.xml", "new.xml", "-r", "r.yaml", "--slide", "s.tif"]
    assert main([*words, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert found["changes"] == [{"from": "tumour", "to": "background", "area_px": 5500.0, "area_um2": 1375.0}]
    assert found["classes"][0] == {
        "class": "tumour", "before_px": 10000.0, "after_px": 4500.0, "gained_px": 0.0, "lost_px": 5500.0,
    }  # fmt: skip
    assert main([*words, "--exit-code"]) == 2
    assert "change" in capsys.readouterr().err
    assert main([*words[:2], "s.xml", "s.xml", *words[4:], "--exit-code"]) == 0
    assert "changes: none" in capsys.readouterr().out


def test_compare_of_a_dataset_with_the_files_of_now(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["annotations", "compare", "--dataset", "out", "-r", "r.yaml"]
    assert main([*words]) == 0
    assert "no, not surveyed" in capsys.readouterr().out
    assert main(["survey", "s", "-r", "r.yaml", "-o", "out", "--strict", "--log-format", "none"]) == 0
    before = sorted((p, p.read_bytes()) for p in Path("out").rglob("*") if p.is_file())
    assert main([*words, "s", "--exit-code"]) == 0
    annotate(work / "s.xml", ("Tumor", 0, 0, 100, 120))
    capsys.readouterr()
    assert main([*words, "--json", "--exit-code"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["s"]["changes"] == [
        {"from": "background", "to": "tumour", "area_px": 2000.0, "area_um2": 500.0},
    ]  # fmt: skip
    assert sorted((p, p.read_bytes()) for p in Path("out").rglob("*") if p.is_file()) == before


def test_show_without_and_with_a_recipe(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotate(work / "s.xml", ("Tumor", 0, 0, 100, 100), ("Tumor", 90, 90, 300, 100), ("_2", 0, 0, 10, 10))
    assert main(["annotations", "show", "s.xml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "ASAP XML"
    assert found["groups"] == [
        {"group": "Tumor", "annotations": 2, "regions": 2, "area_px": 12100.0},
        {"group": "_2", "annotations": 1, "regions": 1, "area_px": 100.0},
    ]
    assert "outside_slide" not in found["counts"]
    assert main(["annotations", "show", "s.xml", "--slide", "s.tif", "-r", "r.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["outside_slide"] == 2
    assert [(g["becomes"], g["area_um2"]) for g in found["groups"]] == [("tumour", 3025.0), ("background", 25.0)]
    assert main(["annotations", "show", "s.xml"]) == 0
    assert "Tumor            2        2" in capsys.readouterr().out


def test_export_of_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "s.xml", "-r", "r.yaml", "--slide", "s.tif", "-o", "s.geojson"]) == 0
    assert main(["annotations", "compare", "s.xml", "s.geojson", "-r", "r.yaml", "--size", "256x192",
                 "--exit-code"]) == 0  # fmt: skip
    assert main(["export", "s.geojson", "-r", "r.yaml", "--size", "256x192", "-f", "asap", "-o", "again.xml"]) == 0
    assert Path("again.xml").read_bytes() == Path("s.xml").read_bytes()


def test_export_of_a_dataset(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree_with(work)
    assert main(["export", "dataset", "--slide", "a", "-o", "a.geojson", "--patches"]) == 0
    assert len(json.loads(Path("a.geojson").read_text())["features"]) == 6
    assert main(["export", "dataset", "-f", "asap", "-o", "xml", "--log-format", "none"]) == 0
    assert "1 files in xml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["annotations", "show", "gone.xml"], 65, "no such annotation file"),
        (["annotations", "show", "s.xml", "--size", "12"], 64, "WIDTHxHEIGHT"),
        (["annotations", "show", "s.xml", "--size", "9x9", "--slide", "s.tif"], 64, "one of --slide and --size"),
        (["annotations", "compare", "s.xml", "-r", "r.yaml"], 64, "an old and a new file"),
        (["annotations", "compare", "s.xml", "s.xml", "-r", "r.yaml"], 64, "the slide is not known"),
        (["annotations", "compare", "s.xml", "s.xml"], 64, "no recipe"),
        (["annotations", "compare", "--dataset", "out", "-r", "r.yaml", "--size", "9x9"], 64, "knows its slides"),
        (["annotations", "compare", "--dataset", "out", "-r", "r.yaml", "t"], 65, "no such slide"),
        (["export", "s.xml", "-o", "x.xml", "--patches"], 64, "only a dataset"),
        (["export", ".", "-o", "x.xml", "--size", "9x9"], 64, "its own sizes"),
        (["export", ".", "-o", "x"], 65, "no slide was surveyed"),
    ],
)
def test_mistakes_are_told(
    work: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    assert main(words) == code
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_pieces_of_the_command_line() -> None:
    assert annotations.read_size("97792x221184") == Size(97792, 221184)
    for text in ("x", "0x9", "9", "-1x4", "1e3x4", "99999999999x9999999999"):
        with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
            annotations.read_size(text)
    with pytest.raises(AnnotationError, match="no such annotation file"):
        annotations.require_outlines(Path("/nowhere.xml"))
