"""Manifests: what a row means, and errors with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsiprep.errors import ManifestError
from wsiprep.manifest import ID_PATTERN, KNOWN_COLUMNS, read_exclusions, read_manifest, slug


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refused(path: Path) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert caught.value.exit_code == 65
    return caught.value


def test_a_row_has_resolved_paths_and_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "slide,annotation\nslides/tumor_001.tif,xml/tumor_001.xml\nslides/normal_001.tif,\n")
    first, second = read_manifest(path)
    assert first.slide_id == "tumor_001"
    assert first.slide == str(tmp_path / "slides" / "tumor_001.tif")
    assert first.slide_ref == "slides/tumor_001.tif"
    assert first.annotation == str(tmp_path / "xml" / "tumor_001.xml")
    assert (first.annotation_state, first.stain_type, first.group, first.line) == ("exhaustive", "he", "tumor_001", 2)
    assert (second.annotation, second.annotation_state, second.line) == (None, "none", 3)


def test_data_root_replaces_the_folder_and_urls_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "slide\na.tif\nhttps://host/b.tif\n/abs/c.tif\n")
    rows = read_manifest(path, tmp_path / "data")
    assert [row.slide for row in rows] == [str(tmp_path / "data" / "a.tif"), "https://host/b.tif", "/abs/c.tif"]


def test_every_known_column_is_read(tmp_path: Path) -> None:
    header = ",".join(KNOWN_COLUMNS)
    values = "s1,a.tif,a.xml,partial,p1,c1,train,3,camelyon,0.25,ihc,a.png,ABCDEF"
    (row,) = read_manifest(written(tmp_path, f"{header}\n{values}\n"))
    assert (row.slide_id, row.annotation_state, row.patient, row.group) == ("s1", "partial", "p1", "p1")
    assert (row.centre, row.split, row.fold, row.source) == ("c1", "train", 3, "camelyon")
    assert (row.spacing_um, row.stain_type, row.sha256) == (0.25, "ihc", "abcdef")
    assert row.tissue == str(tmp_path / "a.png")
    assert row.extra == {}


def test_unknown_columns_pass_through_in_order(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "stage,slide,scanner\npN1, a.tif ,3DHISTECH\n"))
    assert list(row.extra.items()) == [("stage", "pN1"), ("scanner", "3DHISTECH")]
    assert row.slide_ref == "a.tif"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bom_and_line_ends_do_not_matter(tmp_path: Path, encoding: str, newline: str) -> None:
    (row,) = read_manifest(written(tmp_path, newline.join(["slide,patient", "ä.tif,p", ""]), encoding))
    assert (row.slide_ref, row.patient) == ("ä.tif", "p")


@pytest.mark.parametrize("state", ["normal", "none"])
def test_states_without_a_file(tmp_path: Path, state: str) -> None:
    (row,) = read_manifest(written(tmp_path, f"slide,annotation_state\na.tif,{state}\n"))
    assert row.annotation_state == state


@pytest.mark.parametrize(
    ("header", "values", "word"),
    [
        ("slide,annotation_state", "a.tif,exhaustive", "needs an annotation file"),
        ("slide,annotation_state", "a.tif,partial", "needs an annotation file"),
        ("slide,annotation,annotation_state", "a.tif,a.xml,normal", "excludes an annotation file"),
        ("slide,annotation,annotation_state", "a.tif,a.xml,none", "excludes an annotation file"),
        ("slide,annotation_state", "a.tif,unknown", "unknown annotation_state"),
        ("slide,spacing_um", "a.tif,abc", "spacing_um"),
        ("slide,spacing_um", "a.tif,0", "spacing_um"),
        ("slide,spacing_um", "a.tif,-0.25", "spacing_um"),
        ("slide,spacing_um", "a.tif,inf", "spacing_um"),
        ("slide,spacing_um", "a.tif,nan", "spacing_um"),
        ("slide,fold", "a.tif,-1", "fold"),
        ("slide,fold", "a.tif,1.5", "fold"),
        ("slide,stain_type", "a.tif,pas", "stain_type"),
        ("slide,patient", ",p1", "names no slide"),
        ("slide,patient", "a\x07.tif,p1", "control characters"),
        ("slide,patient", "a.tif,p1,extra", "more fields"),
        ("slide,patient", '"a.tif"x,p1', "CSV"),
    ],
)
def test_a_bad_value_names_its_line(tmp_path: Path, header: str, values: str, word: str) -> None:
    good = ",".join("ok.tif" if name == "slide" else "" for name in header.split(","))
    path = written(tmp_path, f"{header}\n{good}\n{values}\n")
    error = refused(path)
    assert word in str(error)
    assert error.file == str(path)
    if word != "CSV":
        assert error.line == 3


def test_two_rows_of_one_id_name_both_lines(tmp_path: Path) -> None:
    error = refused(written(tmp_path, "slide\na/s1.tif\nb/s2.tif\nc/s1.svs\n"))
    assert "'s1'" in str(error)
    assert "lines 2 and 4" in str(error)


def test_an_id_of_ones_own_separates_equal_stems(tmp_path: Path) -> None:
    rows = read_manifest(written(tmp_path, "slide,slide_id\na/s1.tif,\nb/s1.tif,s1b\n"))
    assert [row.slide_id for row in rows] == ["s1", "s1b"]


def test_names_that_are_no_ids_are_slugged_and_kept(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "slide\nTumor 001 (β).tif\n"))
    assert row.raw_id == "Tumor 001 (β)"
    assert ID_PATTERN.fullmatch(row.slide_id)
    assert row.slide_id.startswith("tumor-001-")


def test_a_row_of_dots_still_has_an_id(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "slide\n.hidden.tif\n"))
    assert ID_PATTERN.fullmatch(row.slide_id)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column 'slide'"),
        ("path,patient\na.tif,p\n", "no column 'slide'"),
        ("slide,slide\na,b\n", "stands twice"),
        ("slide\n", "no rows"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, text: str, word: str) -> None:
    assert word in str(refused(written(tmp_path, text)))


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    assert "no such manifest" in str(refused(tmp_path / "absent.csv"))
    assert "CSV" in str(refused(written(tmp_path, "slide\nä.tif\n", "latin-1")))
    assert "CSV" in str(refused(tmp_path))


def test_the_survey_digest_ignores_grouping_and_folders(tmp_path: Path) -> None:
    header = "slide,patient,centre,split,fold,stage,spacing_um\n"
    (plain,) = read_manifest(written(tmp_path, header + "a.tif,,,,,,\n"))
    (grouped,) = read_manifest(written(tmp_path, header + "a.tif,p,c,train,1,pN0,\n"), tmp_path / "moved")
    (scaled,) = read_manifest(written(tmp_path, header + "a.tif,,,,,,0.5\n"))
    assert plain.survey_digest() == grouped.survey_digest()
    assert plain.survey_digest() != scaled.survey_digest()


def test_exclusions(tmp_path: Path) -> None:
    path = tmp_path / "exclude.csv"
    assert read_exclusions(path) == {}
    path.write_text("slide_id,reason\nnormal_086,renamed\n Big Slide ,\n,nobody\n", encoding="utf-8-sig")
    assert read_exclusions(path) == {"normal_086": "renamed", slug("Big Slide"): ""}
    path.write_text("slide,reason\na,b\n")
    with pytest.raises(ManifestError, match="no column 'slide_id'"):
        read_exclusions(path)
    path.write_bytes(b"slide_id\n\xff\n")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_exclusions(path)
