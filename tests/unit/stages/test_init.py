"""init pairs slides and annotations, and says what does not fit."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from slide_files import Writing, texture, write_pyramid
from vendor_slides import dicom

from wsiprep.config import load_recipe
from wsiprep.errors import UsageError
from wsiprep.manifest import read_manifest
from wsiprep.progress import NullReporter
from wsiprep.stages.init import init_cohort

XML = """<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#000000"><Coordinates>
<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="9" Y="0"/><Coordinate Order="2" X="9" Y="9"/>
</Coordinates></Annotation></Annotations><AnnotationGroups/></ASAP_Annotations>"""


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    slides, xml = tmp_path / "slides", tmp_path / "xml"
    slides.mkdir()
    xml.mkdir()
    for name, spacing in (("patient_001_node_1", 0.25), ("patient_001_node_2", 0.25), ("lonely", None)):
        write_pyramid(slides / f"{name}.tif", [texture(64, 64)], Writing(resolution_um=spacing))
    (slides / "broken.svs").write_bytes(b"no slide at all")
    (xml / "patient_001_node_1.xml").write_text(XML.format(group="metastases"))
    (xml / "patient_001_node_2.xml").write_text(XML.format(group="odd: one"))
    (xml / "orphan.xml").write_text(XML.format(group="metastases"))
    return tmp_path


def run(cohort: Path, **options: bool) -> str:
    return init_cohort(cohort / "slides", cohort / "xml", cohort / "out", NullReporter(), **options)


def test_manifest_and_recipe_are_valid(cohort: Path) -> None:
    run(cohort)
    rows = {r.slide_id: r for r in read_manifest(cohort / "out" / "manifest.csv")}
    assert set(rows) == {"patient_001_node_1", "patient_001_node_2", "lonely", "broken"}
    assert {r.patient for r in rows.values()} == {"patient_001", ""}
    assert rows["patient_001_node_1"].annotation_state == "exhaustive"
    assert Path(str(rows["patient_001_node_1"].annotation)).is_file()
    assert rows["lonely"].annotation_state == "none"
    recipe = load_recipe(cohort / "out" / "recipe.yaml")
    assert recipe.annotations.groups == {"metastases": "tumour", "odd: one": "drop"}
    assert recipe.downsample == 4


def test_summary_names_what_does_not_fit(cohort: Path) -> None:
    summary = run(cohort)
    for words in ("orphan.xml", "lonely.tif", "broken.svs", "metastases (1)", "0.25 (2 slides)", "unknown (1 slides)"):
        assert words in summary


def test_paths_are_relative_to_the_manifest(cohort: Path) -> None:
    run(cohort)
    with (cohort / "out" / "manifest.csv").open(newline="") as stream:
        assert all(not Path(r["slide"]).is_absolute() for r in csv.DictReader(stream))


def test_files_are_not_replaced_unless_forced(cohort: Path) -> None:
    run(cohort)
    with pytest.raises(UsageError, match="already"):
        run(cohort)
    run(cohort, force=True)


def test_folders_that_are_not_there(cohort: Path) -> None:
    with pytest.raises(UsageError, match="no such folder of slides"):
        init_cohort(cohort / "nowhere", None, cohort / "o", NullReporter())
    with pytest.raises(UsageError, match="no slides there"):
        init_cohort(cohort / "xml", None, cohort / "o", NullReporter())
    with pytest.raises(UsageError, match="folder of annotations"):
        init_cohort(cohort / "slides", cohort / "nowhere", cohort / "o", NullReporter())


def test_a_dicom_slide_is_listed_once(tmp_path: Path) -> None:
    """Its levels are files of their own, and each of them opens the whole slide."""
    slides = tmp_path / "slides"
    (slides / "second").mkdir(parents=True)
    dicom.write(slides)
    dicom.write(slides / "second", "b.dcm")
    for path in (slides / "second").iterdir():
        path.write_bytes(path.read_bytes().replace(f"{dicom.ROOT}.3".encode(), f"{dicom.ROOT}.4".encode()))
    summary = init_cohort(slides, None, tmp_path / "out", NullReporter())
    assert [r.slide_id for r in read_manifest(tmp_path / "out" / "manifest.csv")] == ["a-2", "b-2"]
    for part in ("a-4.dcm: of a-2.dcm", "a.dcm: of a-2.dcm", "b.dcm: of b-2.dcm"):
        assert part in summary
